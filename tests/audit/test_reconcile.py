"""What does not follow from its entries is named: each row of the ledger broken by a superuser, one at a time."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.audit.asking.ledger import Answer, Outcome
from langgraph_control.audit.asking.ledger_rows import LedgerActions, LedgerRequests, LedgerRuns, Standing
from langgraph_control.audit.asking.requests import FindTenantChain, Vote
from langgraph_control.audit.asking.rows import EntryRow, RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.differences import ILL_FORMED_MAX, Difference, Kind, Said, differences
from langgraph_control.audit.keeping.erasure import ErasureScope, Selection, erase, retain
from langgraph_control.audit.keeping.outside import Seen, Thread, Wrote
from langgraph_control.audit.keeping.reconcile import reconcile, reconcile_rest
from langgraph_control.audit.keeping.thread_calls import Calls
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.follows import possible_states
from tests.support.postgres import Database
from tests.support.trails import POLICY, OpenRun, TrailWriter, bytes_of, json_bytes, tamper


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """A writer of trails in a database of its own, with finance published."""
    with TrailWriter(database) as writer:
        writer.publish()
        yield writer


def named(trail: TrailWriter) -> list[Difference]:
    """Return all differences in the database."""
    with LedgerConnection(trail.database.auditor) as auditor:
        requests = list(reconcile(auditor))
        known = {run_id for request in requests for run_id in request.run_ids}
        return [*(one for request in requests for one in request.differences), *reconcile_rest(auditor, known)]


def found(trail: TrailWriter) -> set[str]:
    """Return the kinds of all differences in the database."""
    return {one.kind.value for one in named(trail)}


def standing(trail: TrailWriter, run: OpenRun) -> tuple[Standing, dict[UUID, list[EntryRow]]]:
    """Return what the ledger says, and the entries."""
    with LedgerConnection(trail.database.auditor) as auditor:
        said = Standing(
            runs=auditor.ask(LedgerRuns(intent=run.trigger)),
            actions=auditor.ask(LedgerActions(intent=run.trigger)),
            requests=auditor.ask(LedgerRequests(intent=run.trigger)),
        )
        return said, {run.run_id: list(auditor.entries(run.run_id))}


def test_nothing_differs_in_what_the_ledger_wrote(trail: TrailWriter) -> None:
    """An approved refund, a rejected one, a lost answer and a run that waits: every row follows from its entries."""
    trail.refund()
    run = trail.open("ticket/2")
    trail.claim(run, "lost")
    _, asked = trail.claim(run, "rejected", verb="approve")
    assert asked.approval_id is not None
    trail.vote(asked.approval_id, decision="reject", by="bo")
    trail.claim(run, "rejected", verb="approve")
    trail.claim(run, "waits", verb="approve")
    assert found(trail) == set()


def test_what_retention_dropped_is_no_difference(trail: TrailWriter) -> None:
    """A run of which nothing is left, with its write, its approval and its vote, differs in nothing."""
    trail.refund()
    dropped(trail)
    assert found(trail) == set()
    trail.refund("ticket/young")
    assert found(trail) == set()


def test_a_run_that_retention_cut_in_the_middle_is_no_difference(trail: TrailWriter) -> None:
    """What began before the cut and went on after it follows from what is left, as far as that says."""
    run = cut_in_the_middle(trail)
    with LedgerConnection(trail.database.auditor) as auditor:
        assert next(iter(auditor.entries(run.run_id))).seq > 1
    assert found(trail) == set()


def test_a_run_that_was_erased_and_then_cut_is_no_difference(trail: TrailWriter) -> None:
    """Where nothing is left but the entry of its erasure, that it was done is not asked of it."""
    run = trail.refund()
    trail.pass_time(days=60)
    chosen = Selection(scope=ErasureScope.RUN, run_id=run.run_id)
    erase(trail.database.admin, chosen, comment="asked for", told=b'"done"')
    dropped(trail, days=0)
    with LedgerConnection(trail.database.auditor) as auditor:
        assert [row.seq for row in auditor.entries(run.run_id)] == [10]
    assert found(trail) == set()


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE control.action SET state = 'failed'", Kind.ACTION_STATE_DIFFERS),
        ("UPDATE control.run_state SET state = 'blocked' WHERE state = 'done'", Kind.RUN_STATE_DIFFERS),
        ("DELETE FROM control.action", Kind.ENTRY_WITHOUT_ACTION),
        ("DELETE FROM control.dropped", Kind.CHAIN_BROKEN),
        ("UPDATE control.dropped SET head = '\\x00'", Kind.CHAIN_BROKEN),
        ("DELETE FROM control.entry WHERE facts LIKE '%%run.finished%%'", Kind.CHAIN_BROKEN),
    ],
)
def test_what_is_left_after_retention_is_still_held_to_account(trail: TrailWriter, statement: str, kind: Kind) -> None:
    """A cut takes nothing away of what the entries that are left prove."""
    cut_in_the_middle(trail)
    tamper(trail.database, statement)
    assert kind in found(trail)


def test_a_request_whose_later_month_was_dropped_first_is_no_difference(trail: TrailWriter) -> None:
    """A month that was kept for another run's sake tells what was so before the month that went after it."""
    first = trail.open("ticket/1")
    claim, _ = trail.claim(first)
    trail.settle(first, claim, Outcome.FAIL, error="no")
    trail.release(first)
    kept = trail.open("ticket/2")
    trail.pass_time(days=60)
    again = trail.open("ticket/3", intent="ticket/1")
    claim, _ = trail.claim(again, key=bytes_of("ticket/1/refund"), call_id="c2")
    trail.settle(again, claim)
    trail.release(again)
    trail.pass_time(days=60)
    months = retain(trail.database.admin, timedelta(0), comment="over", told=b'"done"')
    assert [month.kept_for is None for month in months] == [False, True]
    with LedgerConnection(trail.database.auditor) as auditor:
        left = {run.run_id: len(list(auditor.entries(run.run_id))) for run in (first, kept, again)}
    assert left == {first.run_id: 4, kept.run_id: 1, again.run_id: 0}
    assert found(trail) == set()


def dropped(trail: TrailWriter, *, days: int = 60, older: timedelta = timedelta(0)) -> None:
    """Drop the months that are over by then, of which there is one."""
    trail.pass_time(days=days)
    months = list(retain(trail.database.admin, older, comment="over", told=b'"done"'))
    assert [month.kept_for for month in months] == [None] * len(months) != []


def cut_in_the_middle(trail: TrailWriter) -> OpenRun:
    """A run that asked, was approved two months later and is done; its first month is dropped."""
    run = trail.open()
    _, asked = trail.claim(run, verb="approve")
    assert asked.approval_id is not None
    trail.release(run, RunState.NEEDS_APPROVAL, "needs_approval")
    trail.pass_time(days=6)
    trail.vote(asked.approval_id)
    trail.pass_time(days=60)
    run = trail.resume(run)
    claim, granted = trail.claim(run, verb="approve")
    if granted.answer is not Answer.GO:  # the grant is too old by now: asked and answered anew
        assert granted.approval_id is not None
        trail.vote(granted.approval_id)
        claim, granted = trail.claim(run, verb="approve")
    assert granted.answer is Answer.GO
    trail.settle(run, claim)
    trail.release(run)
    dropped(trail, days=0, older=timedelta(days=20))
    return run


def test_a_run_that_begins_meanwhile_is_not_missing(trail: TrailWriter) -> None:
    """What began while a reconciliation went on is no run without a row."""
    trail.refund()

    class Beginning(LedgerConnection):
        """Lets a worker begin a run before the chains are read."""

        def chains(self) -> Iterator[UUID]:
            trail.open("ticket/new")
            return super().chains()

    with Beginning(trail.database.auditor) as auditor:
        known = {run_id for request in reconcile(auditor) for run_id in request.run_ids}
        assert list(reconcile_rest(auditor, known)) == []


def test_a_clock_that_is_set_back_is_no_difference(trail: TrailWriter) -> None:
    """Within a run the entries' places say what came first, whatever the clock showed."""
    run = trail.open()
    claim, _ = trail.claim(run)
    trail.pass_time(hours=-1)
    trail.settle(run, claim)
    trail.release(run)
    assert found(trail) == set()


# Each breaks one thing as only a superuser can, and is named so.
BROKEN: dict[str, tuple[str, set[Kind]]] = {
    "an action that no entry speaks of": (
        (
            "INSERT INTO control.action SELECT (jsonb_populate_record(a, jsonb_build_object("
            "'key', '\\x' || repeat('ab', 32)))).* FROM control.action a"
        ),
        {Kind.ACTION_WITHOUT_ENTRY},
    ),
    "an action that is gone": ("DELETE FROM control.action", {Kind.ENTRY_WITHOUT_ACTION}),
    "a success that was none": ("UPDATE control.action SET state = 'failed'", {Kind.ACTION_STATE_DIFFERS}),
    "an action of another tool": ("UPDATE control.action SET tool = 'ship'", {Kind.ACTION_DIFFERS}),
    "another attempt": (
        "UPDATE control.action SET execution_id = gen_random_uuid()",
        {Kind.ATTEMPT_WITHOUT_ENTRY},
    ),
    "a run that stands elsewhere": (
        "UPDATE control.run_state SET state = 'blocked' WHERE state = 'done'",
        {Kind.RUN_STATE_DIFFERS},
    ),
    "a run with another reason": (
        "UPDATE control.run_state SET reason = 'cancelled' WHERE state = 'done'",
        {Kind.RUN_STATE_DIFFERS},
    ),
    "a run of somebody else": ("UPDATE control.run SET actor = 'another'", {Kind.RUN_DIFFERS}),
    "a run with another trigger": ("UPDATE control.run SET trigger = 'ticket/1'", {Kind.RUN_DIFFERS}),
    "a run's row gone": ("DELETE FROM control.run", {Kind.RUN_MISSING}),
    "a state row gone": ("DELETE FROM control.run_state WHERE state = 'done'", {Kind.RUN_STATE_DIFFERS}),
    "an entry gone": ("DELETE FROM control.entry WHERE seq = 3", {Kind.CHAIN_BROKEN, Kind.REQUEST_WITHOUT_ENTRY}),
    "the last entry gone": (
        "DELETE FROM control.entry WHERE seq = 9",
        {Kind.CHAIN_BROKEN, Kind.RUN_STATE_DIFFERS},
    ),
    "a settle gone, and the count with it": (
        (
            "DELETE FROM control.entry WHERE seq >= 8; UPDATE control.run_state SET seq = 7,"
            " head = (SELECT hash FROM control.entry WHERE seq = 7) WHERE state = 'done'"
        ),
        {Kind.ACTION_STATE_DIFFERS, Kind.RUN_STATE_DIFFERS},
    ),
    "a forged vote": (
        (
            "INSERT INTO control.vote (approval_id, person, decision, login, groups, voted_at)"
            " SELECT approval_id, 'bo@acme.example', 'approve', 'postgres', '{}', now() FROM control.approval"
        ),
        {Kind.VOTE_WITHOUT_ENTRY},
    ),
    "a vote gone": ("DELETE FROM control.vote", {Kind.ENTRY_WITHOUT_VOTE}),
    "a request gone": (
        "DELETE FROM control.vote; DELETE FROM control.approval",
        {Kind.ENTRY_WITHOUT_REQUEST},
    ),
    "a request that nobody opened": (
        (
            "INSERT INTO control.approval SELECT (jsonb_populate_record(a, jsonb_build_object('approval_id',"
            " gen_random_uuid()))).* FROM control.approval a"
        ),
        {Kind.REQUEST_WITHOUT_ENTRY},
    ),
    "a card": ("UPDATE control.approval SET card = convert_to('{}', 'UTF8')", {Kind.CARD_DIFFERS}),
    "a denial": ("UPDATE control.approval SET state = 'denied'", {Kind.REQUEST_STATE_DIFFERS}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named(trail: TrailWriter, name: str) -> None:
    """Whichever row is changed, added or deleted, what does not follow any more is named."""
    trail.refund()
    assert found(trail) == set()
    statements, kinds = BROKEN[name]
    with psycopg.connect(trail.database.admin) as superuser:
        superuser.execute(statements.encode())
    assert kinds <= found(trail)


def test_a_card_that_nobody_voted_on_is_held_against_its_request(trail: TrailWriter) -> None:
    """What people are about to see is what the request was opened with."""
    trail.claim(trail.open(), verb="approve")
    assert found(trail) == set()
    tamper(trail.database, "UPDATE control.approval SET card = convert_to('{}', 'UTF8')")
    assert found(trail) == {Kind.CARD_DIFFERS}


def test_a_card_that_came_later_is_held_against_the_votes(trail: TrailWriter) -> None:
    """A request may be opened without a card; what people saw when they voted is in their votes' entries."""
    run = trail.open()
    claim, waits = trail.claim(run, verb="approve", card=b"")
    trail.agent.ask(replace(claim, attempt=uuid4(), card=b'{"what":{}}'))
    assert waits.approval_id is not None
    trail.vote(waits.approval_id)
    assert found(trail) == set()
    tamper(trail.database, "UPDATE control.approval SET card = convert_to('{}', 'UTF8')")
    assert found(trail) == {Kind.CARD_DIFFERS}


def test_a_grant_that_nobody_gave_is_named(trail: TrailWriter) -> None:
    """A request that is granted without an entry that says so."""
    run = trail.open()
    trail.claim(run, verb="approve")
    tamper(trail.database, "UPDATE control.approval SET state = 'granted'")
    assert Kind.REQUEST_STATE_DIFFERS in found(trail)


ILL_FORMED = {
    "spaces": b'{ "comment" : 1 }',
    "a name twice": b'{"reasons":["a"],"reasons":["b"]}',
    "no number": b'{"a":NaN}',
    "not in order": b'{"b":1,"a":2}',
    "a list": b'["a"]',
    "no text": b"\xff",
}


@pytest.mark.parametrize("body", ILL_FORMED.values(), ids=ILL_FORMED)
def test_an_entry_that_is_not_canonical_is_named(trail: TrailWriter, body: bytes) -> None:
    """What an agent's login sends as a body is chained as it is; where readers may read it differently, it is named."""
    run = trail.open()
    request, _ = trail.claim(run)
    trail.settle(run, request, body=body)
    odd = [one for one in named(trail) if one.kind is Kind.ENTRY_NOT_CANONICAL]
    assert [(one.run_id, one.tool, one.key) for one in odd] == [(run.run_id, "refund", request.key.hex())]
    assert odd[0].what.startswith("entry 3: its body is ")
    assert found(trail) == {Kind.ENTRY_NOT_CANONICAL}


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "body.reasons: required"),
        (b'{"s3cret":1}', "body.reasons: required"),
        (json_bytes(at="t", impact="money", policy=POLICY, reasons=["s3cret", 7], rules=[]), "body.reasons.*: type"),
        (json_bytes(at="t", impact="money", policy="s3cret", reasons=[], rules=[]), "body.policy: pattern"),
        (
            json_bytes(at="t", impact="m", policy=POLICY, reasons=[], rules=[], signals={"s3cret": 1}),
            "body.signals.*: type",
        ),
    ],
    ids=["nothing", "another name", "a list", "a hash", "a name in a map"],
)
def test_an_entry_that_is_not_as_published_is_named(trail: TrailWriter, body: bytes, place: str) -> None:
    """A body that says something else than the schema of its event is named by the place, and no word of it is told."""
    trail.claim(trail.open(), body=body)
    (odd,) = named(trail)
    assert (odd.kind, odd.what) == (
        Kind.ENTRY_NOT_AS_PUBLISHED,
        f"entry 2 is not as the schema of action.proposed says: {place}",
    )


def test_what_a_newer_version_adds_is_no_difference(trail: TrailWriter) -> None:
    """A further field keeps the version of the schemas, so that an older reader does not call it wrong."""
    run = trail.open()
    request, _ = trail.claim(run)
    trail.settle(run, request, body=json_bytes(confirmation="read back", later={"than": "this version"}))
    assert found(trail) == set()


def test_ill_formed_entries_of_the_tenants_own_chain_are_named(trail: TrailWriter) -> None:
    """What belongs to no run is looked at as well: a refused word there is whatever an approver's login sent."""
    with LedgerConnection(trail.database.approver("ana")) as ana:
        own = ana.ask(FindTenantChain()).run_id
        for body in (b'{"comment": "s3cret"}', b'{"comment":7}'):
            ana.ask(Vote(approval_id=uuid4(), decision="approve", comment=None, person=None, body=body))
    odd = named(trail)
    assert [(one.kind, one.run_id) for one in odd] == [
        (Kind.ENTRY_NOT_CANONICAL, own),
        (Kind.ENTRY_NOT_AS_PUBLISHED, own),
    ]
    assert "s3cret" not in str(odd)


def test_a_flood_of_ill_formed_entries_is_counted(trail: TrailWriter) -> None:
    """The first of a chain are named one by one, and the others by their number."""
    run = trail.open()
    for name in range(ILL_FORMED_MAX + 5):
        trail.claim(run, str(name), body=b"{}" if name % 2 else b"{ }")
    odd = named(trail)
    assert len(odd) == ILL_FORMED_MAX + 1
    assert odd[-1].what == "5 more entries of it are not canonical, or not as published"


@pytest.mark.parametrize(
    ("state", "seen", "kind"),
    [
        ("succeeded", Seen.ABSENT, Kind.ENTRY_WITHOUT_EFFECT),
        ("denied", Seen.THERE, Kind.EFFECT_WITHOUT_ENTRY),
        ("succeeded", Seen.THERE, None),
        ("denied", Seen.ABSENT, None),
        ("succeeded", Seen.UNCLEAR, None),
        ("denied", Seen.UNCLEAR, None),
    ],
)
def test_the_system_of_record_is_held_against_the_record(
    trail: TrailWriter, state: str, seen: Seen, kind: Kind | None
) -> None:
    """An effect without an entry and an entry without its effect are named; what the system cannot tell is neither."""
    run = trail.open()
    claim, _ = trail.claim(run, verb="allow" if state == "succeeded" else "deny")
    if state == "succeeded":
        trail.settle(run, claim)
    said, chains = standing(trail, run)
    (action,) = said.actions
    assert action.state == state
    assert [one.kind for one in differences(said, chains, seen={action.key.hex(): seen})] == ([kind] if kind else [])


PENDING = Thread(exists=True, pending=True)
TOLD = Wrote(tool="refund", call_id="call_1")
UNTOLD = Wrote(tool="refund", call_id="call_2")


@pytest.mark.parametrize(
    ("done", "own", "thread", "kind"),
    [
        (True, True, PENDING, Kind.CHECKPOINT_OPEN),
        (True, False, PENDING, None),
        (True, True, Thread(exists=True, pending=False), None),
        (False, True, Thread(exists=False, pending=False), Kind.CHECKPOINT_MISSING),
        (False, True, replace(PENDING, wrote=frozenset({TOLD})), None),
        (False, True, replace(PENDING, wrote=frozenset({TOLD, UNTOLD})), Kind.CHECKPOINT_WITHOUT_ENTRY),
        (False, False, replace(PENDING, wrote=frozenset({TOLD, UNTOLD})), Kind.CHECKPOINT_WITHOUT_ENTRY),
    ],
)
def test_threads_are_held_against_the_record(
    trail: TrailWriter, *, done: bool, own: bool, thread: Thread, kind: Kind | None
) -> None:
    """A thread that is behind its run, that is gone, or that tells of a write without an entry is named."""
    run = trail.refund() if done else trail.open()
    if not done:
        trail.claim(run)
    said, chains = standing(trail, run)
    calls = Calls.of(map(Entry.of, chains[run.run_id]))
    threads = {run.run_id: Said(thread=thread, own=own, calls=calls)}
    assert [one.kind for one in differences(said, chains, threads=threads)] == ([kind] if kind else [])
    gone = {run.run_id: Said(thread=thread, own=own, calls=None)}
    named = {one.kind for one in differences(said, chains, threads=gone)}
    assert Kind.CHECKPOINT_WITHOUT_ENTRY not in named


def _entry(at: int, seq: int, state: str) -> Entry:
    facts = {"key": "k", "outcome": "x", "state": state}
    when = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
    return Entry(
        seq=seq, tenant="t", at=when, events=("action.succeeded",), facts=facts, body={}, payload=None, erased=False
    )


STATES = st.sampled_from(["ready", "executing", "succeeded", "failed", "unknown"])


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), STATES), max_size=8))
def test_where_an_action_may_stand_is_where_some_order_leaves_it(said: list[tuple[int, bool, str]]) -> None:
    """Over two chains: the states that may be left are those of the last entries of the last instant, and no others."""
    chains: dict[UUID, list[Entry]] = {uuid4(): [], uuid4(): []}
    for at, second, state in sorted(said, key=lambda one: one[0]):
        chain = list(chains.values())[second]
        chain.append(_entry(at, len(chain) + 1, state))
    last = max((chain[-1].at for chain in chains.values() if chain), default=None)
    expected = {chain[-1].facts["state"] for chain in chains.values() if chain and chain[-1].at == last}
    assert possible_states(chains, "k") == (expected or {""})


def test_a_stretch_that_a_clock_went_through_twice_has_no_order() -> None:
    """Where one chain's clock was set back, another chain's entry of that time may have come before or after."""
    back = [_entry(10, 1, "executing"), _entry(5, 2, "unknown")]
    other = [_entry(7, 1, "succeeded")]
    assert possible_states({uuid4(): back}, "k") == {"unknown"}
    assert possible_states({uuid4(): back, uuid4(): other}, "k") == {"unknown", "succeeded"}
    assert possible_states({uuid4(): back, uuid4(): [_entry(11, 1, "ready")]}, "k") == {"ready"}


def test_what_came_before_a_cut_may_have_left_an_action_anywhere() -> None:
    """Only what came after it counts; where nothing did, every state is possible."""
    chains = {uuid4(): [_entry(1, 5, "failed"), _entry(8, 6, "succeeded")]}
    begin = _entry(0, 1, "").at
    assert possible_states(chains, "k", since=begin + timedelta(seconds=5)) == {"succeeded"}
    assert possible_states(chains, "k", since=begin + timedelta(seconds=9)) >= {"failed", "succeeded", "denied"}
