"""docs/entries.md and docs/schemas/ are what the code writes."""

from langgraph_control.audit.keeping.differences import Kind
from langgraph_control.audit.trail.entry_schemas import EVENTS, published
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


def test_every_kind_of_difference_is_explained() -> None:
    """docs/operations.md says what to do about each."""
    page = (DOCS / "operations.md").read_text("utf-8").split("### Reconciling")[1].split("## Backup")[0]
    assert [kind.value for kind in Kind if f"`{kind.value}`" not in page] == []
