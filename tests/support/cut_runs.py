"""A run of which retention dropped the beginning: it began two months before it ended."""

from datetime import timedelta

import psycopg

from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.keeping.erasure import Month, retain
from tests.support.trails import OpenRun, TrailWriter, tamper

TOLD = b'"This was done."'


def dropped(trail: TrailWriter, *, days: int = 0, dry_run: bool = False) -> list[Month]:
    """Drop what was over by so many days after the test began, as soon as the ledger's clock is that far."""
    if trail.passed < timedelta(days=days):
        trail.pass_time(days=days - trail.passed.days)
    older = trail.passed - timedelta(days=days)
    return list(retain(trail.database.admin, older, comment="400 days", told=TOLD, dry_run=dry_run))


def over_two_months(trail: TrailWriter) -> OpenRun:
    """Write a run that waited for people over the end of a month, and is done."""
    run = trail.open()
    trail.claim(run, verb="approve")
    trail.release(run, RunState.NEEDS_APPROVAL, "needs_approval")
    with psycopg.connect(trail.database.admin) as connection:
        row = connection.execute("SELECT approval_id FROM control.approval").fetchone()
    assert row is not None
    trail.pass_time(days=6)
    trail.vote(row[0])
    trail.pass_time(days=70)
    run = trail.resume(run)
    trail.claim(run, verb="approve")
    trail.release(run, RunState.WAITING, "later")
    trail.pass_time(seconds=1)
    tamper(trail.database, "UPDATE control.action SET state = 'denied'")
    tamper(trail.database, "DELETE FROM control.waiter")
    run = trail.resume(run)
    trail.release(run)
    return run
