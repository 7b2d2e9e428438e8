"""A period told from entries: every event is told in its section, and nothing that came after the period's end."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.period import HAPPENINGS, REQUESTS, WRITES, Period, Read
from langgraph_control.audit.trail.period_telling import Telling

BEGIN = datetime(2026, 12, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)
RUN = UUID(int=1)
KEY = "ab" * 32
NOTHING = Read(chains=0, entries=0, dropped=0, broken=())
LEFT_AT = {"decided": "executing", "refused": "failed", "open": "unknown"}


def entry(seq: int, at: datetime, *events: str, **facts: Any) -> Entry:
    """An entry that says this."""
    said = {"events": events, **facts}
    return Entry.told(seq=seq, tenant="default", at=at, facts=json.dumps(said), body=b"{}")


def asked_before() -> Entry:
    """A write for which people were asked before the period."""
    facts = {"tool": "refund", "key": KEY, "verb": "approve", "answer": "park", "state": "needs_approval"}
    events = ("action.proposed", "action.decided", "approval.requested")
    return entry(1, BEGIN - timedelta(days=1), *events, **facts, approval="one")


def told(*entries: Entry) -> Period:
    """The period, told from one run."""
    telling = Telling(since=BEGIN, until=END)
    telling.take({RUN: entries})
    return telling.whole(NOTHING)


@pytest.mark.parametrize(
    ("section", "event"), [(name, one) for name, events in HAPPENINGS.items() for one in sorted(events)]
)
def test_what_happened_is_told_in_its_section(section: str, event: str) -> None:
    """Once, whichever else of its events there are."""
    happened = told(entry(2, BEGIN, event))
    assert [one.entry.events for one in getattr(happened, section)] == [(event,)]


@pytest.mark.parametrize("event", sorted(REQUESTS))
def test_a_request_is_told_when_something_was_said_of_it(event: str) -> None:
    """Also where it was opened before the period."""
    said = entry(2, BEGIN, event, tool="refund", key=KEY, approval="one")
    assert [one.approval for one in told(asked_before(), said).requests] == ["one"]
    assert told(asked_before()).requests == ()


@pytest.mark.parametrize(
    ("section", "event"), [(name, one) for name, events in WRITES.items() for one in sorted(events)]
)
def test_a_write_is_told_by_where_its_events_leave_it(section: str, event: str) -> None:
    """Refused where it was refused in the period, open where its outcome is open, and counted in either."""
    state = {} if event.startswith("approval.") else {"state": LEFT_AT[section]}
    period = told(asked_before(), entry(2, BEGIN, event, tool="refund", key=KEY, approval="one", **state))
    (write,) = period.not_done if section == "refused" else period.open
    assert period.by_tool == (("refund", write.state, 1),)


def test_nothing_after_the_end_is_heeded() -> None:
    """Neither a later entry nor a later run of the request changes what is told."""
    later = entry(2, END, "action.succeeded", tool="refund", key=KEY, outcome="succeed", state="succeeded")
    begun = entry(1, BEGIN, "action.attempt_started", tool="refund", key=KEY, verb="allow", answer="go", attempts=1)
    telling = Telling(since=BEGIN, until=END)
    telling.take({RUN: [begun, later], UUID(int=2): [later]})
    assert telling.whole(NOTHING) == told(begun)


def test_what_runs_did_at_one_instant_is_not_guessed() -> None:
    """Two chains, one instant: where the write stands is either."""
    telling = Telling(since=BEGIN, until=END)
    facts = {"tool": "refund", "key": KEY}
    telling.take(
        {
            RUN: [entry(1, BEGIN, "action.failed", **facts, outcome="fail", state="failed")],
            UUID(int=2): [entry(1, BEGIN, "action.unknown", **facts, outcome="lose", state="unknown")],
        }
    )
    assert [one.state for one in telling.whole(NOTHING).open] == ["failed or unknown"]


def test_a_repeat_at_the_very_instant_hides_nothing_that_was_done() -> None:
    """Another run's stored answer bears the time of the success itself, and may be sorted before it."""
    facts = {"tool": "refund", "key": KEY, "state": "succeeded"}
    telling = Telling(since=BEGIN, until=END)
    telling.take(
        {
            RUN: [entry(1, BEGIN, "action.duplicate", **facts, verb="allow", answer="stored")],
            UUID(int=2): [entry(1, BEGIN, "action.succeeded", **facts, outcome="succeed")],
        }
    )
    assert [one.done_at for one in telling.whole(NOTHING).unasked] == [BEGIN]


def test_what_only_a_forged_resume_names_is_no_write() -> None:
    """It is noticed, and told as nothing that was asked for."""
    forged = entry(1, BEGIN, "resume.ignored", tool="refund", key=KEY, reason="forged")
    period = told(forged)
    assert (period.open, period.by_tool, len(period.noticed)) == ((), (), 1)
