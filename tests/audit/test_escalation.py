"""A request that nobody answers in time goes to others where the policy says so: once, and never to a yes by itself."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from langgraph_control.audit.asking.rows import Voting
from langgraph_control.audit.people.approvals import Approvals
from langgraph_control.errors import ApprovalRefused
from tests.support.postgres import PEOPLE, Database
from tests.support.trails import FINANCE, OpenRun, TrailWriter

ESCALATING: dict[str, Any] = {
    **FINANCE.canonical(),
    "within_seconds": 60,
    "on_expiry": {"escalate": {"support": 1}, "within_seconds": 600},
}


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """A writer in a database where ana is finance and bo is support."""
    with TrailWriter(database) as writer:
        writer.publish(members={PEOPLE["ana"]: "finance", PEOPLE["bo"]: "support"})
        yield writer


def asked(trail: TrailWriter, run: OpenRun) -> tuple[str, str]:
    """Ask for the refund, and return the claim's reason and the request's id."""
    _, claimed = trail.claim(run, verb="approve", requirement=ESCALATING)
    return claimed.reason, str(claimed.approval_id)


def events(trail: TrailWriter, run: OpenRun) -> list[str]:
    """Return what the run's chain says happened."""
    return [event for row in trail.agent.entries(run.run_id) for event in orjson.loads(row.facts)["events"]]


def test_a_claim_after_the_time_asks_the_others(trail: TrailWriter) -> None:
    """The same request stays open with other people and a new clock, and their yes unlocks the write."""
    run = trail.open()
    _, request = asked(trail, run)
    trail.pass_time(seconds=61)
    assert asked(trail, run) == ("needs_approval", request)
    assert events(trail, run).count("approval.escalated") == 1
    with Approvals(trail.database.approver("bo")) as bo:
        assert bo.get(request).requirement["quorum"] == {"support": 1}
        assert bo.approve(request).answer is Voting.GRANTED
    _, claimed = trail.claim(run, verb="approve", requirement=ESCALATING)
    assert claimed.answer == "go"


def test_a_vote_after_the_time_is_the_others(trail: TrailWriter) -> None:
    """Without a claim in between the request is in the inbox still; who was asked first comes too late."""
    run = trail.open()
    _, request = asked(trail, run)
    trail.pass_time(seconds=61)
    with Approvals(trail.database.approver("ana")) as ana:
        assert [row.state for row in ana.inbox()] == ["open"]
        with pytest.raises(ApprovalRefused) as refused:
            ana.approve(request)
    assert refused.value.code == "not_in_role"
    assert events(trail, run)[-2:] == ["approval.escalated", "approval.refused"]


def test_nobody_at_all_means_no(trail: TrailWriter) -> None:
    """When the others do not answer either, the request has expired."""
    run = trail.open()
    asked(trail, run)
    trail.pass_time(seconds=61)
    asked(trail, run)
    trail.pass_time(seconds=601)
    assert asked(trail, run)[0] == "approval_expired"
