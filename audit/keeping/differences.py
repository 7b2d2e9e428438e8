"""The ledger against its entries, and both against what was found outside: every difference by name. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from langgraph_control.audit.asking.ledger_rows import LedgerAction, LedgerRequest, LedgerRun, Standing
from langgraph_control.audit.asking.rows import EntryRow, RunRow
from langgraph_control.audit.keeping.outside import Seen, Thread
from langgraph_control.audit.keeping.requests import Dropped
from langgraph_control.audit.keeping.thread_calls import Calls
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.follows import keys_of, possible_states
from langgraph_control.audit.trail.rebuild import rebuild
from langgraph_control.audit.trail.rebuilt import Asked, Rebuilt
from langgraph_control.audit.trail.verify import verify_chain
from langgraph_control.audit.trail.well_formed import not_as_published, not_canonical

__all__ = ["ILL_FORMED_MAX", "Difference", "Kind", "Said", "differences", "ill_formed", "row_differences"]

ILL_FORMED_MAX: Final = 20
"""So many ill-formed entries of a chain are named one by one: whoever can send one can send any number."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    """What differs."""

    CHAIN_BROKEN = "chain_broken"  # entries are missing, or were changed
    ENTRY_NOT_CANONICAL = "entry_not_canonical"  # two readers may read its body differently
    ENTRY_NOT_AS_PUBLISHED = "entry_not_as_published"  # it does not say what the schemas of its events ask for
    RUN_MISSING = "run_missing"  # entries of a run that the ledger does not have
    START_MISSING = "start_missing"  # a run whose entries do not begin with its start
    RUN_DIFFERS = "run_differs"  # the run's row says something else than the entry that started it
    RUN_STATE_DIFFERS = "run_state_differs"  # the run stands elsewhere than its entries leave it
    ACTION_WITHOUT_ENTRY = "action_without_entry"  # no entry speaks of it
    ENTRY_WITHOUT_ACTION = "entry_without_action"  # entries speak of an action that the ledger does not have
    ACTION_DIFFERS = "action_differs"  # its row names another tool than its entries
    ACTION_STATE_DIFFERS = "action_state_differs"  # it stands elsewhere than its entries leave it
    ATTEMPT_WITHOUT_ENTRY = "attempt_without_entry"  # a try that no entry began
    REQUEST_WITHOUT_ENTRY = "request_without_entry"  # a request that no entry opened
    ENTRY_WITHOUT_REQUEST = "entry_without_request"  # an entry opened a request that the ledger does not have
    REQUEST_STATE_DIFFERS = (
        "request_state_differs"  # granted or denied, and the entries do not say so; or the other way
    )
    CARD_DIFFERS = "card_differs"  # people are shown something else than when they were asked, or voted
    VOTE_WITHOUT_ENTRY = "vote_without_entry"  # a vote that no entry records
    ENTRY_WITHOUT_VOTE = "entry_without_vote"  # a recorded vote that the ledger does not have
    EFFECT_WITHOUT_ENTRY = (
        "effect_without_entry"  # the system of record has it, and the record says that it was not done
    )
    ENTRY_WITHOUT_EFFECT = "entry_without_effect"  # the record says that it was done, and the system does not have it
    CHECKPOINT_OPEN = "checkpoint_open"  # the run is done, and its thread's newest checkpoint is not
    CHECKPOINT_MISSING = "checkpoint_missing"  # an unfinished run has begun writes, and its thread has no checkpoint
    CHECKPOINT_WITHOUT_ENTRY = "checkpoint_without_entry"  # the thread tells of a write that no entry speaks of
    THREAD_WITHOUT_RUN = "thread_without_run"  # a thread that is called by a run, and there is no such run


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that does not follow from another.

    Args:
        kind: what differs.
        what: in words, without payloads.
        run_id: the run.
        tool: the tool's name; None where it is about none.
        key: the action, likewise.
    """

    kind: Kind
    what: str
    run_id: UUID
    tool: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a run's thread is held against.

    Args:
        thread: what it says.
        own: nothing but this run ever ran on it.
        calls: the calls that the entries of all of its runs tell of; None where some of these are gone.
    """

    thread: Thread
    own: bool
    calls: Calls | None


def differences(
    standing: Standing,
    chains: Mapping[UUID, Sequence[EntryRow]],
    *,
    cuts: Mapping[UUID, Dropped] | None = None,
    seen: Mapping[str, Seen] | None = None,
    threads: Mapping[UUID, Said] | None = None,
) -> tuple[Difference, ...]:
    """Return everything that differs about one business request.

    What retention dropped is no difference: where a chain was cut, nothing is missed that may have stood before that.

    Args:
        standing: what the ledger says.
        chains: the entries of each of its runs, in order.
        cuts: run → where retention cut its chain, as of the same moment; nothing for one that is whole.
        seen: action key → what the system of record said; nothing for actions that nobody asked about.
        threads: run → what its thread says, and what that is held against; likewise.
    """
    entries = {run_id: [Entry.of(row) for row in rows] for run_id, rows in chains.items()}
    told = {run_id: rebuild(chain) for run_id, chain in entries.items()}
    cuts = cuts or {}
    found: list[Difference] = []
    for run in standing.runs:
        rows = chains.get(run.run_id, ())
        found += _run(run, rows, told.get(run.run_id), cuts.get(run.run_id))
        found += ill_formed(run.run_id, zip(rows, entries.get(run.run_id, ()), strict=True))
    found += _actions(standing, entries, cuts)
    found += _requests(standing, told, cuts)
    for action in standing.actions:
        found += _effect(action, (seen or {}).get(action.key.hex()), standing)
    for run in standing.runs:
        if run.run_id not in cuts:  # else its writes may have been told of by what was dropped
            found += _thread(run, told.get(run.run_id), (threads or {}).get(run.run_id))
    return tuple(found)


def ill_formed(run_id: UUID, entries: Iterable[tuple[EntryRow, Entry]]) -> Iterator[Difference]:
    """Yield what is ill-formed in a chain: the first entries one by one, then how many more there are.

    Args:
        run_id: the chain.
        entries: its rows, with what was read of each.
    """
    found = 0
    more: Difference | None = None
    for row, entry in entries:
        one = _ill_formed(run_id, row, entry)
        if one is None:
            continue
        found += 1
        if found <= ILL_FORMED_MAX:
            yield one
        else:
            more = more or one
    if more is not None:
        left = found - ILL_FORMED_MAX
        said = "entry of it is" if left == 1 else "entries of it are"
        yield Difference(kind=more.kind, what=f"{left} more {said} not canonical, or not as published", run_id=run_id)


def _ill_formed(run_id: UUID, row: EntryRow, entry: Entry) -> Difference | None:
    kind, said = Kind.ENTRY_NOT_CANONICAL, not_canonical(row.body)
    if said is not None:
        what = f"entry {row.seq}: {said}"
    elif (place := not_as_published(entry)) is not None:
        kind = Kind.ENTRY_NOT_AS_PUBLISHED
        what = (
            f"entry {row.seq} is not as the schema of {entry.events[0] if entry.events else 'any event'} says: {place}"
        )
    else:
        return None
    return Difference(kind=kind, what=what, run_id=run_id, tool=entry.fact("tool"), key=entry.fact("key"))


# --- runs ---


def _run(run: LedgerRun, rows: Sequence[EntryRow], told: Rebuilt | None, cut: Dropped | None) -> Iterator[Difference]:
    if run.entries is None or run.head is None:
        yield _of(run, Kind.RUN_STATE_DIFFERS, "the row that says where it stands is gone")
        return
    chain = verify_chain(run.run_id, rows, head=run.head, entries=run.entries, cut=cut)
    if chain.broken is not None:
        yield _of(run, Kind.CHAIN_BROKEN, str(chain.broken))
    if told is None or not rows:
        return
    yield from row_differences(run, Entry.of(rows[0]), told, cut)
    ends = [row.seq for row in rows if "run.finished" in Entry.of(row).events]
    if told.counted is not None and ends[-1:] != [told.counted]:
        yield _of(run, Kind.CHAIN_BROKEN, f"its end counts {told.counted} entries, and is entry {ends[-1]}")


def row_differences(run: LedgerRun | RunRow, first: Entry, told: Rebuilt, cut: Dropped | None) -> Iterator[Difference]:
    """Yield what a run's row says, and its entries do not.

    Args:
        run: the row.
        first: the first entry there is.
        told: the run, put together from all of them.
        cut: where retention cut the chain; None for one that is whole.
    """
    if first.seq == 1 and "run.started" in first.events:
        yield from _whose(run, first)
    elif cut is None:
        yield _of(run, Kind.START_MISSING, "its entries do not begin with its start")
    says_nothing = cut is not None and not told.state  # what left it where it stands was dropped
    if not says_nothing and (told.state, told.reason) != (run.state, run.reason):
        said = f"it is {_stands(run.state, run.reason)}, and its entries leave it {_stands(told.state, told.reason)}"
        yield _of(run, Kind.RUN_STATE_DIFFERS, said)


def _whose(run: LedgerRun | RunRow, first: Entry) -> Iterator[Difference]:
    deadline = None if run.deadline is None else (run.deadline - _EPOCH) // timedelta(microseconds=1)
    rows = {
        "trigger": run.trigger,
        "intent": run.intent,
        "graph": run.graph,
        "thread": run.thread_id,
        "actor": run.actor,
        "on_behalf_of": run.on_behalf_of,
        "deadline": deadline,
    }
    for name, value in rows.items():
        if first.facts.get(name) != value:
            yield _of(run, Kind.RUN_DIFFERS, f"its row has another {name} than the entry that started it")


def _stands(state: str | None, reason: str | None) -> str:
    return f"{state} ({reason})" if reason else str(state)


def _of(run: LedgerRun | RunRow, kind: Kind, what: str) -> Difference:
    return Difference(kind=kind, what=what, run_id=run.run_id)


# --- actions ---


def _actions(
    standing: Standing, entries: Mapping[UUID, list[Entry]], cuts: Mapping[UUID, Dropped]
) -> Iterator[Difference]:
    known = {action.key.hex(): action for action in standing.actions}
    about: dict[str, dict[UUID, list[Entry]]] = {key: {} for key in known}
    for run_id, chain in entries.items():
        for entry in chain:
            for key in keys_of(entry):
                if key not in about:
                    about[key] = {}
                    yield Difference(
                        kind=Kind.ENTRY_WITHOUT_ACTION,
                        what=f"entry {entry.seq} is the first to speak of it, and the ledger has no such action",
                        run_id=run_id,
                        tool=entry.fact("tool"),
                        key=key,
                    )
                about[key].setdefault(run_id, []).append(entry)
    kept_since = max((cut.until for cut in cuts.values()), default=None)
    for key, action in known.items():
        yield from _action(action, about[key], cut=action.run_id in cuts, kept_since=kept_since)


def _action(
    action: LedgerAction, about: Mapping[UUID, list[Entry]], *, cut: bool, kept_since: datetime | None
) -> Iterator[Difference]:
    entries = [entry for chain in about.values() for entry in chain]
    if not entries:
        if not cut:  # the chain of the run that first asked for it begins with its start
            yield _concerning(action, Kind.ACTION_WITHOUT_ENTRY, f"it is {action.state}, and no entry speaks of it")
        return
    if not {entry.fact("tool") for entry in entries} <= {action.tool, None}:
        yield _concerning(action, Kind.ACTION_DIFFERS, "its row has another tool than its entries")
    begun = {entry.fact("attempt") for entry in entries if "action.attempt_started" in entry.events}
    # Any run of the request may have begun it, one that was cut as well.
    if kept_since is None and action.execution_id is not None and str(action.execution_id) not in begun:
        yield _concerning(action, Kind.ATTEMPT_WITHOUT_ENTRY, "its newest attempt was begun by no entry")
    states = possible_states(about, action.key.hex(), since=kept_since)
    if action.state not in states:
        left = " or ".join(sorted(states)) or "nowhere"
        yield _concerning(
            action, Kind.ACTION_STATE_DIFFERS, f"it is {action.state}, and its entries leave it at {left}"
        )


def _concerning(action: LedgerAction, kind: Kind, what: str) -> Difference:
    return Difference(kind=kind, what=what, run_id=action.run_id, tool=action.tool, key=action.key.hex())


# --- requests ---


def _requests(standing: Standing, told: Mapping[UUID, Rebuilt], cuts: Mapping[UUID, Dropped]) -> Iterator[Difference]:
    opened: dict[str, Asked] = {}
    ended: dict[str, set[str]] = {}
    for run in told.values():
        for one in run.requests:
            ended.setdefault(one.approval, set()).add(one.outcome)
            if one.since is not None:
                opened[one.approval] = one
    known = {str(request.approval_id): request for request in standing.requests}
    for run_id, run in told.items():
        for one in run.requests:
            if one.since is not None and one.approval not in known:
                what = "an entry opened a request for it that the ledger does not have"
                yield Difference(kind=Kind.ENTRY_WITHOUT_REQUEST, what=what, run_id=run_id, tool=one.tool, key=one.key)
    for name, request in known.items():
        asked = opened.get(name)
        if asked is None:
            if request.run_id not in cuts:
                yield _asked(request, Kind.REQUEST_WITHOUT_ENTRY, "no entry opened this request")
        else:
            yield from _request(request, asked, ended[name])


def _request(request: LedgerRequest, asked: Asked, ended: set[str]) -> Iterator[Difference]:
    rejected = {vote.person for vote in asked.votes if vote.counted and vote.decision == "reject"}
    for person in sorted(set(request.yes) - asked.yes | set(request.no) - rejected):
        yield _asked(request, Kind.VOTE_WITHOUT_ENTRY, f"no entry records the vote of {person}")
    for person in sorted(asked.yes - set(request.yes) | rejected - set(request.no)):
        yield _asked(request, Kind.ENTRY_WITHOUT_VOTE, f"the ledger has lost the vote of {person}")
    if request.card is not None and asked.cards - {request.card}:
        yield _asked(request, Kind.CARD_DIFFERS, "its card is not the one that entries say was shown")
    if request.state in {"granted", "used"} and not ended & {"granted", "used"}:
        yield _asked(request, Kind.REQUEST_STATE_DIFFERS, f"it is {request.state}, and no entry granted it")
    if request.state == "denied" and "denied" not in ended:
        yield _asked(request, Kind.REQUEST_STATE_DIFFERS, "it is denied, and no entry denied it")
    if asked.outcome == "denied" and request.state not in {"denied", "superseded"}:
        yield _asked(request, Kind.REQUEST_STATE_DIFFERS, f"it is {request.state}, and an entry denied it")


def _asked(request: LedgerRequest, kind: Kind, what: str) -> Difference:
    return Difference(kind=kind, what=what, run_id=request.run_id, tool=request.tool, key=request.key.hex())


# --- outside ---

_NOT_DONE: Final = frozenset({"ready", "failed", "denied", "needs_approval"})


def _effect(action: LedgerAction, seen: Seen | None, standing: Standing) -> Iterator[Difference]:
    taken_back = any(other.undoes == action.key and other.state == "succeeded" for other in standing.actions)
    if action.state == "succeeded" and seen is Seen.ABSENT and not taken_back:
        yield _concerning(action, Kind.ENTRY_WITHOUT_EFFECT, "it is recorded as done, and its system does not have it")
    if action.state in _NOT_DONE and seen is Seen.THERE:
        what = f"its system has it, and it is recorded as {action.state}"
        yield _concerning(action, Kind.EFFECT_WITHOUT_ENTRY, what)


def _thread(run: LedgerRun, told: Rebuilt | None, said: Said | None) -> Iterator[Difference]:
    if said is None or told is None:
        return
    thread = said.thread
    if run.state == "done" and run.reason not in {"cancelled", "replaced"} and said.own and thread.pending:
        yield _of(run, Kind.CHECKPOINT_OPEN, "it is done, and the newest checkpoint of its thread is not its end")
    begun = any(change.attempts for change in told.changes)
    if run.state != "done" and begun and not thread.exists:
        yield _of(run, Kind.CHECKPOINT_MISSING, "it has begun writes, and its thread has no checkpoint")
    whose = "the run" if said.own else "any run of the thread"
    for one in said.calls.untold(thread.wrote) if said.calls is not None else ():
        yield Difference(
            kind=Kind.CHECKPOINT_WITHOUT_ENTRY,
            what=f"its thread has an answer of this write, to call {one.call_id}, and no entry of {whose} speaks of it",
            run_id=run.run_id,
            tool=one.tool,
        )
