"""What happens to requests is told: all of it, at least once, in order, and nobody waits for it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from langgraph_control import Approvals, Policy
from langgraph_control.audit.asking.ledger import Answer
from langgraph_control.audit.asking.notices import NoticeSinks, NoticeState, RetryNotices, SettleNotice, TakeNotice
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.names import approval_name
from langgraph_control.audit.seals.checkpoints import SignedCheckpoint
from langgraph_control.audit.seals.rotation import create_key
from langgraph_control.audit.seals.sealing import Sealer
from langgraph_control.audit.seals.signers import FileSigner
from langgraph_control.graphs.notices.notifier import Notifier
from langgraph_control.graphs.notices.sink import Sink, Told
from langgraph_control.guards.notices import NoticeEvent
from tests.graphs.notices.conftest import Hook, Notifying
from tests.support.receivers import Receiver, receiver
from tests.support.trails import FINANCE, OpenRun, TrailWriter, tamper
from tests.support.waiting import until

EMERGENCIES = Policy.parse(
    """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example]}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 1000}}, then: approve, by: {finance: 2}, break_glass: finance}
""",
    source="control.yaml",
)
ESCALATING = {
    **FINANCE.canonical(),
    "within_seconds": 60,
    "on_expiry": {"escalate": {"finance": 2}, "within_seconds": 600},
}


def asked(trail: TrailWriter, run: OpenRun | None = None, **changes: Any) -> UUID:
    """Ask for the refund, and return the request."""
    _, claimed = trail.claim(run or trail.open(f"ticket/{uuid4()}"), verb="approve", **changes)
    assert claimed.approval_id is not None
    return claimed.approval_id


def test_the_life_of_a_request(trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying) -> None:
    """Asked, reminded of at half the time, decided: each is told once, signed, with the request and no argument."""
    ops = notifying(hook())
    ops.once()
    request = asked(trail)
    ops.once()
    trail.pass_time(days=3, hours=13)
    ops.once()
    trail.vote(request)
    ops.once()
    assert ops.once() == 0
    assert place.events == ["requested", "reminder", "decided: granted"]
    assert all(one.is_signed() for one in place.received)
    assert len({one.id for one in place.received}) == 3
    data = place.received[0].data["data"]
    assert data.pop("expires_at")
    assert data == {
        "approval": approval_name(request),
        "tool": "refund",
        "system": "billing",
        "target": "invoice 17",
        "asked_by": "support-agent",
        "on_behalf_of": "dora@acme.example",
        "link": f"https://control.acme.example/requests/{approval_name(request)}",
    }


def test_nobody_answers(trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying) -> None:
    """A request that goes to others is told as escalated, with a reminder of its own, and as expired in the end."""
    ops = notifying(hook())
    ops.once()
    run = trail.open()
    asked(trail, run, requirement=ESCALATING)
    ops.once()
    trail.pass_time(seconds=61)
    asked(trail, run, requirement=ESCALATING)
    ops.once()
    trail.pass_time(seconds=301)
    ops.once()
    trail.pass_time(seconds=300)
    ops.once()
    assert place.events == ["requested", "escalated", "reminder", "expired"]


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_decided_request_is_not_brought_to_mind(
    trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying, decision: str
) -> None:
    """After the decision there is neither a reminder nor an expiry."""
    ops = notifying(hook())
    ops.once()
    trail.vote(asked(trail), decision=decision)
    trail.pass_time(days=8)
    ops.once()
    assert place.events == ["requested", f"decided: {'granted' if decision == 'approve' else 'denied'}"]


def days_pass(trail: TrailWriter, ops: Notifier, days: int) -> None:
    """Let days pass on which the places are served."""
    for _ in range(days):
        trail.pass_time(days=1)
        ops.once()


def test_a_grant_that_is_used_weeks_later(
    trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying
) -> None:
    """What was told of a request is not told again when its grant is used, however long that took."""
    ops = notifying(hook())
    ops.once()
    run = trail.open()
    patient = {**FINANCE.canonical(), "execute_within_seconds": 30 * 86_400}
    trail.vote(asked(trail, run, requirement=patient))
    days_pass(trail, ops, 20)
    assert place.events == ["requested", "decided: granted"]
    run = trail.resume(run)
    _, claimed = trail.claim(run, verb="approve", requirement=patient)
    assert claimed.answer is Answer.GO
    days_pass(trail, ops, 1)
    assert place.events == ["requested", "decided: granted"]


def test_a_request_that_is_open_for_weeks(
    trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying
) -> None:
    """It is told as asked for once, also when it goes to others after weeks and when a place is named afresh."""
    ops = notifying(hook())
    ops.once()
    run = trail.open()
    slow = {**ESCALATING, "within_seconds": 20 * 86_400}
    asked(trail, run, requirement=slow)
    days_pass(trail, ops, 21)
    asked(trail, trail.resume(run), requirement=slow)
    ops.once()
    said = ["requested", "reminder", "escalated"]
    assert place.events == said
    tamper(trail.database, "UPDATE control.notice_sink SET caught_up = false")
    ops.once()
    assert place.events == said


@pytest.fixture
def emergencies(trail: TrailWriter) -> dict[str, object]:
    """What a request asks for that one person of finance may decide alone, where the floor lets them."""
    publish_policy(trail.database.admin, EMERGENCIES)
    return {**FINANCE.canonical(), "quorum": {"finance": 2}, "break_glass": ["finance"]}


def test_a_yes_that_is_taken_back(trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying) -> None:
    """People who were told that it is decided are told that it is asked for again, each time; the ids differ."""
    ops = notifying(hook())
    ops.once()
    request = asked(trail)
    with Approvals(trail.database.approver("ana")) as ana:
        for _ in range(2):
            ana.approve(request)
            ops.once()
            ana.withdraw(request)
            ops.once()
    assert place.events == ["requested", *["decided: granted", "requested"] * 2]
    assert len({one.id for one in place.received}) == 5


def test_a_yes_that_is_not_missed(trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying) -> None:
    """Where the request stays granted, or was open all the time, nobody is told again."""
    ops = notifying(hook())
    ops.once()
    run = trail.open()
    request = asked(trail, run, requirement={**FINANCE.canonical(), "quorum": {"finance": 2}})
    with Approvals(trail.database.approver("ana")) as ana:
        ana.approve(request)
        ana.withdraw(request)
    ops.once()
    assert place.events == ["requested"]


def test_an_emergency_to_look_at(
    trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying, emergencies: dict[str, object]
) -> None:
    """What one person decided alone is told to those who look at it afterwards; also when it is done again."""
    ops = notifying(hook())
    ops.once()
    request = asked(trail, requirement=emergencies)
    with Approvals(trail.database.approver("ana")) as ana:
        ana.break_glass(request, comment="The bank closes at noon.")
        ops.once()
        assert place.events == ["requested", "decided: granted", "review"]
        ana.withdraw(request)
        ana.break_glass(request, comment="It does.")
        ops.once()
    assert sorted(place.events[3:]) == ["decided: granted", "requested", "review"]
    assert place.received[2].data["type"] == "approval.review"


def test_an_emergency_that_was_looked_at(
    trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying, emergencies: dict[str, object]
) -> None:
    """Nobody is told to review what was reviewed; a place that is new is told of what is still to be."""
    first, second = asked(trail, requirement=emergencies), asked(trail, requirement=emergencies)
    notifying(hook()).once()
    with Approvals(trail.database.approver("ana")) as ana, Approvals(trail.database.approver("bo")) as bo:
        ana.break_glass(first, comment="The bank closes at noon.")
        ana.break_glass(second, comment="The bank closes at noon.")
        bo.review(first, "accepted")
    later = notifying(hook(name="later", events=(NoticeEvent.REVIEW,)))
    for _ in range(4):
        later.once()
    assert [one.data["data"]["approval"] for one in place.received if one.data["type"] == "approval.review"] == [
        approval_name(second)
    ]


def test_only_what_was_asked_for(trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying) -> None:
    """A place that names its events is told no others."""
    ops = notifying(hook(events=(NoticeEvent.DECIDED,)))
    ops.once()
    trail.vote(asked(trail))
    ops.once()
    assert place.events == ["decided: granted"]


def test_requests_from_before(trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying) -> None:
    """A place that is new is told of requests that are open already, and of nothing that is over."""
    trail.vote(asked(trail))
    request = asked(trail)
    ops = notifying(hook())
    for _ in range(4):
        ops.once()
    assert [one.data["data"]["approval"] for one in place.received] == [approval_name(request)]


def test_a_request_whose_commit_is_late(trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying) -> None:
    """A request that was being made while a place was named, and is committed long after, is told, too."""
    ops = notifying(hook())
    request = asked(trail)
    with psycopg.connect(trail.database.admin) as late:
        late.execute("SET LOCAL session_replication_role = replica")  # no trigger, as if it had not seen the place
        row = late.execute(
            "INSERT INTO control.approval (approval_id, tenant, key, run_id, tool, scope, digest, requirement, card,"
            " state, requested_at, expires_at) SELECT gen_random_uuid(), tenant, key, run_id, tool, scope, digest,"
            " requirement, card, state, requested_at, expires_at FROM control.approval WHERE approval_id = %s"
            " RETURNING approval_id",
            (request,),
        ).fetchone()
        assert row is not None
        late.execute(
            "INSERT INTO control.open_approval SELECT tenant, requested_at, approval_id FROM control.approval"
            " WHERE approval_id = %s",
            row,
        )
        for _ in range(4):
            ops.once()
        late.commit()
    for _ in range(3):
        ops.once()
    assert [one.data["data"]["approval"] for one in place.received] == [approval_name(request), approval_name(row[0])]


def test_commits_out_of_order(trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying) -> None:
    """What is committed later than a newer one that was told already is told."""
    ops = notifying(hook())
    for _ in range(3):
        ops.once()
    request = asked(trail)
    with psycopg.connect(trail.database.admin) as late:
        late.execute("UPDATE control.approval SET state = 'denied', closed_at = control.clock()")
        asked(trail)
        ops.once()
        late.commit()
    ops.once()
    assert place.events == ["requested", "requested", "decided: denied"]
    assert place.received[2].data["data"]["approval"] == approval_name(request)


def test_two_senders_at_once(trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying) -> None:
    """Two processes that serve the same place send each notice once."""
    notifying(hook()).once()
    for _ in range(20):
        asked(trail)
    with notifying(hook()), notifying(hook()):
        until(lambda: len(place.received) >= 20)
        time.sleep(0.1)
    assert len(place.received) == len({one.id for one in place.received}) == 20


def test_a_sender_that_is_killed(trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying) -> None:
    """Killed between sending and saying so, its notice is sent again by another one, under the same id."""
    ops = notifying(hook(), lease_extra_seconds=-1.5)
    ops.once()
    asked(trail)
    program = (
        "import sys\n"
        "from langgraph_control.audit.connecting.store import Store\n"
        "from langgraph_control.graphs.notices.notifier import Notifier\n"
        "from langgraph_control.graphs.notices.webhook import Webhook\n"
        "from langgraph_control.guards.notices import NoticeEvent\n"
        "hook = Webhook(name='ops', events=tuple(NoticeEvent), attempts=3, timeout_seconds=2.0, url=sys.argv[2],\n"
        "               secrets=(b'a secret of thirty-two bytes, ok',), allow_private=True)\n"
        "Notifier(Store(sys.argv[1]), [hook], console=None, remind_at=0.5, lease_extra_seconds=-1.5).once()\n"
    )
    started: list[subprocess.Popen[bytes]] = []
    ready = threading.Event()

    def kill() -> None:
        ready.wait(10)
        os.kill(started[0].pid, signal.SIGKILL)
        started[0].wait()
        place.before = lambda: None

    place.before = kill
    started.append(subprocess.Popen([sys.executable, "-c", program, trail.database.agent, place.url]))
    ready.set()
    assert started[0].wait(30) == -signal.SIGKILL
    until(lambda: ops.once() == 1)
    first, second = place.received
    assert first.id == second.id
    assert second.is_signed()


def test_threads_survive_what_nobody_foresaw(
    trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is raised while a place is told is logged once by its kind, and the place is told afterwards."""
    failing = [ValueError("secret"), ValueError("secret")]
    whole = Notifier.tell

    def tell(notifier: Notifier, sink: Sink) -> Told | None:
        if failing:
            raise failing.pop()
        return whole(notifier, sink)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Notifier, "tell", tell)
        with notifying(hook()):
            asked(trail)
            until(lambda: place.events == ["requested"])
    assert caplog.text.count("unforeseen (ValueError)") == 1
    assert "secret" not in caplog.text


def test_a_place_that_is_down(trail: TrailWriter, hook: Hook, notifying: Notifying) -> None:
    """It is tried again with growing pauses, given up after its attempts, and tried anew when a person says so."""
    with receiver() as gone:
        url = gone.url
    ops = notifying(hook(url=url))
    ops.once()
    asked(trail)
    until(lambda: ops.once() == 0 and trail.agent.ask(NoticeSinks())[0].dead == 1)
    row = trail.agent.ask(NoticeSinks())[0]
    assert (row.waiting, row.error) == (0, "cannot be reached (ConnectionRefusedError)")
    assert trail.agent.ask(RetryNotices(sink="another")) == 0
    assert trail.agent.ask(RetryNotices()) == 1
    assert trail.agent.ask(NoticeSinks())[0].waiting == 1


def test_a_place_that_fails_stops_no_other(
    trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying
) -> None:
    """While one place hangs until its time is over, another one is told at once."""
    with receiver() as slow:
        slow.drip_seconds = 0.05
        with notifying(hook(name="slow", url=slow.url, timeout_seconds=5.0), hook()):
            asked(trail)
            until(lambda: bool(slow.received))
            asked(trail)
            until(lambda: len(place.received) == 2)
            assert len(slow.received) == 1
            slow.drip_seconds = 0.0


def test_votes_keep_their_speed(trail: TrailWriter, hook: Hook, notifying: Notifying) -> None:
    """While a place takes nothing, voting waits for nobody: it is as fast as the database."""
    with receiver() as slow:
        slow.drip_seconds = 0.05
        with notifying(hook(url=slow.url, timeout_seconds=60.0)):
            requests = [asked(trail) for _ in range(5)]
            until(lambda: bool(slow.received))
            began = time.monotonic()
            for request in requests:
                trail.vote(request)
            assert time.monotonic() - began < 2.0
            slow.drip_seconds = 0.0


def test_a_lost_lease_says_nothing(trail: TrailWriter, hook: Hook, notifying: Notifying) -> None:
    """Who comes back after the lease was over, and another has taken the notice, changes nothing."""
    notifying(hook()).once()
    asked(trail)
    first, second = uuid4(), uuid4()
    due = trail.agent.ask(TakeNotice(sink="ops", lease=first, lease_ms=1))
    assert due is not None
    until(lambda: trail.agent.ask(TakeNotice(sink="ops", lease=second, lease_ms=60_000)) is not None)

    def settled(lease: UUID) -> bool:
        named: dict[str, Any] = {"approval_id": due.approval_id, "event": due.event, "mark": due.mark}
        return trail.agent.ask(SettleNotice(sink="ops", lease=lease, state=NoticeState.SENT, **named))

    assert (settled(first), settled(second), settled(second)) == (False, True, False)


def test_what_kills_its_senders(trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying) -> None:
    """A notice that was taken too often, and nobody came back, is given up without being sent once more."""
    ops = notifying(hook(attempts=1), lease_extra_seconds=-1.999)
    ops.once()
    asked(trail)
    assert trail.agent.ask(TakeNotice(sink="ops", lease=uuid4(), lease_ms=1)) is not None
    until(lambda: ops.once() == 0 and trail.agent.ask(NoticeSinks())[0].dead == 1)
    assert place.received == []


def test_an_agent_cannot_hold_back_what_approvers_serve(
    trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying
) -> None:
    """A place that an approver's login serves is not the agent's of that name: an agent takes nothing of it."""
    ops = notifying(hook(), dsn=trail.database.approver("cy"))
    ops.once()
    asked(trail)
    assert trail.agent.ask(TakeNotice(sink="ops", lease=uuid4(), lease_ms=60_000)) is None
    assert trail.agent.ask(NoticeSinks()) == ()
    assert ops.once() == 1
    assert place.events == ["requested"]


def test_the_newest_checkpoint_goes_with_it(
    trail: TrailWriter, place: Receiver, hook: Hook, notifying: Notifying, tmp_path: Path
) -> None:
    """Once the record is sealed, each message carries the newest signed checkpoint: whoever keeps messages keeps it."""
    database = trail.database
    verifier = create_key(database.admin, tmp_path / "seal.key")
    ops = notifying(hook(), dsn=database.local_approver)
    ops.once()
    asked(trail)
    ops.once()
    sealer = Sealer(database.auditor, FileSigner(tmp_path / "seal.key"))
    note = sealer.once().checkpoint
    sealer.close()
    asked(trail)
    ops.once()
    before, after = (one.data["data"].get("checkpoint") for one in place.received)
    assert (before, after) == (None, note)
    assert SignedCheckpoint.parse(after).signed_by([verifier]) == (verifier,)
