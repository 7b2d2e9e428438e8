"""What does not follow from its entries is named: each row of the ledger broken by a superuser, one at a time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.audit.asking.ledger_rows import LedgerActions, LedgerRequests, LedgerRuns, Standing
from langgraph_control.audit.asking.rows import EntryRow
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.differences import Kind, Seen, Thread, differences
from langgraph_control.audit.keeping.reconcile import reconcile, reconcile_rest
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.follows import possible_states
from tests.support.postgres import Database
from tests.support.trails import OpenRun, TrailWriter, tamper


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """A writer of trails in a database of its own, with finance published."""
    with TrailWriter(database) as writer:
        writer.publish()
        yield writer


def found(trail: TrailWriter) -> set[str]:
    """Return the kinds of all differences in the database."""
    with LedgerConnection(trail.database.auditor) as auditor:
        requests = list(reconcile(auditor))
        known = {run_id for request in requests for run_id in request.run_ids}
        named = [one for request in requests for one in request.differences]
        return {one.kind.value for one in (*named, *reconcile_rest(auditor, known))}


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


def test_a_grant_that_nobody_gave_is_named(trail: TrailWriter) -> None:
    """A request that is granted without an entry that says so."""
    run = trail.open()
    trail.claim(run, verb="approve")
    tamper(trail.database, "UPDATE control.approval SET state = 'granted'")
    assert Kind.REQUEST_STATE_DIFFERS in found(trail)


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


@pytest.mark.parametrize(
    ("done", "thread", "kind"),
    [
        (True, Thread(exists=True, pending=True, own=True), Kind.CHECKPOINT_OPEN),
        (True, Thread(exists=True, pending=True, own=False), None),
        (True, Thread(exists=True, pending=False, own=True), None),
        (False, Thread(exists=False, pending=False, own=True), Kind.CHECKPOINT_MISSING),
        (False, Thread(exists=True, pending=True, own=True, wrote=frozenset({"refund"})), None),
        (False, Thread(exists=True, pending=True, own=True, wrote=frozenset({"pay"})), Kind.CHECKPOINT_WITHOUT_ENTRY),
    ],
)
def test_threads_are_held_against_the_record(
    trail: TrailWriter, *, done: bool, thread: Thread, kind: Kind | None
) -> None:
    """A thread that is behind its run, that is gone, or that tells of a write without an entry is named."""
    run = trail.refund() if done else trail.open()
    if not done:
        trail.claim(run)
    said, chains = standing(trail, run)
    threads = {run.run_id: thread}
    assert [one.kind for one in differences(said, chains, threads=threads)] == ([kind] if kind else [])


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
