"""Whether the entries that tests wrote are as the schemas of their events say, and which events were written at all."""

import os
from pathlib import Path

import psycopg

from langgraph_control.audit.asking.rows import EntryRow
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.entry_schemas import EVENTS, problems
from tests.support.postgres import DATA_VARIABLE, Database

__all__ = ["incomplete_entries", "never_written", "note_events"]

COLUMNS = ("seq", "at", "tenant", "facts", "body", "commitment", "salt", "payload", "hash")


def incomplete_entries(database: Database, *roots: str) -> list[str]:
    """Return what is wrong with the entries of a database, and note which events they carry.

    Args:
        database: the ledger.
        roots: of these events alone, by the word before the dot; none for all. For tests that make the others up.
    """
    with psycopg.connect(database.admin) as admin:
        if admin.execute("SELECT to_regclass('control.entry')").fetchone() == (None,):
            return []  # a test that took everything away
        rows = admin.execute(
            "SELECT seq, at, tenant, facts, body, commitment, salt, payload, hash FROM control.entry"
        ).fetchall()
    entries = [Entry.of(EntryRow(**dict(zip(COLUMNS, row, strict=True)))) for row in rows]
    entries = [one for one in entries if not roots or {event.partition(".")[0] for event in one.events} & {*roots}]
    note_events({event for entry in entries for event in entry.events})
    return sorted({problem for entry in entries for problem in problems(entry)})


def note_events(events: set[str]) -> None:
    """Remember, over all processes of this run of the suite, that these events were written."""
    with (_noted()).open("a", encoding="utf-8") as file:
        file.write("".join(f"{event}\n" for event in sorted(events)))


def never_written() -> set[str]:
    """Return the events of the vocabulary that nothing has written in this run of the suite."""
    noted = _noted()
    return set(EVENTS) - set(noted.read_text("utf-8").split() if noted.exists() else ())


def _noted() -> Path:
    return Path(os.environ[DATA_VARIABLE]) / "events-written"
