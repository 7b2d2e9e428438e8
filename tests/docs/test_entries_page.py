"""docs/entries.md, docs/schemas/ and docs/controls.md are what the code writes."""

import re
from fnmatch import fnmatchcase

from langgraph_control.audit.keeping.differences import Kind
from langgraph_control.audit.trail.entry_schemas import EVENTS, published
from langgraph_control.audit.trail.period import HAPPENINGS, REQUESTS, UNTOLD, WRITES
from langgraph_control.cli.audit_report import CONTROLS
from tests.docs.entries_page import DOCS, FOLDER, PAGE, rewritten, schema_file


def test_the_page_lists_every_event_and_form() -> None:
    """``python -m tests.docs.entries_page`` rewrites it."""
    page = PAGE.read_text("utf-8")
    assert page == rewritten(page)
    assert "`run.finished`" in page


def test_each_event_has_its_published_schema() -> None:
    """One file for each event, byte for byte, and no others."""
    assert {file.name for file in FOLDER.iterdir()} == {f"{event}.json" for event in EVENTS}
    assert [event for event in EVENTS if schema_file(event).read_bytes() != published(event)] == []


def test_the_map_of_controls_has_each_section_of_the_report() -> None:
    """docs/controls.md has a row for each section, and begins it as the report does."""
    page = (DOCS / "controls.md").read_text("utf-8")
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("|")]
    assert [title for title in CONTROLS.values() if not any(title.startswith(row) for row in rows if row)] == []


def test_the_map_of_controls_names_the_events_that_each_section_tells() -> None:
    """Each event that a row of docs/controls.md names is told in that section, and each that is told is named."""
    page = (DOCS / "controls.md").read_text("utf-8")
    told = {**WRITES, "oversight": REQUESTS, **HAPPENINGS}
    wrong = []
    for name, title in CONTROLS.items():
        (row,) = [
            line.split("|")
            for line in page.splitlines()
            if line.startswith("| ") and title.startswith(line.split("|")[1].strip() or "-")
        ]
        words = [word for word in re.findall(r"`([^`]+)`", row[2]) if "." in word or "*" in word]
        named = {event for word in words for event in EVENTS if fnmatchcase(event, word)}
        wrong += [word for word in words if not any(fnmatchcase(event, word) for event in EVENTS)]
        wrong += [f"{name}: {event}" for event in named ^ told[name]]
    assert wrong == []


def test_every_event_is_told_in_a_report_or_said_not_to_be() -> None:
    """A new event has its section in ``audit report``, or its reason why none tells it, which docs/controls.md has."""
    told = REQUESTS.union(*WRITES.values(), *HAPPENINGS.values())
    assert told | set(UNTOLD) == set(EVENTS)
    assert told & set(UNTOLD) == set()
    page = (DOCS / "controls.md").read_text("utf-8").split("In no section:")[1].split("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+\.[a-z_]+)`", page)) == set(UNTOLD)


def test_every_kind_of_difference_is_explained() -> None:
    """docs/operations.md says what to do about each."""
    page = (DOCS / "operations.md").read_text("utf-8").split("### Reconciling")[1].split("## Backup")[0]
    assert [kind.value for kind in Kind if f"`{kind.value}`" not in page] == []
