"""Each run, put together from the trail alone, against what the simulator itself saw: requests, answers and effects.

The two have nothing in common but the database's functions between them: one reads entries, the other kept every
request and its answer in the one order in which they happened, and what the systems of record logged.
"""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from langgraph_control.audit.asking.authority_requests import Edit, WithdrawVote
from langgraph_control.audit.asking.ledger import Answer, Claim, Claimed, Settle
from langgraph_control.audit.asking.ledger_rows import LedgerActions
from langgraph_control.audit.asking.operator_requests import Cancel, Resolve
from langgraph_control.audit.asking.requests import RunOpen, RunRelease, RunReplace, Vote
from langgraph_control.audit.asking.rows import EntryRow, Release, Replacing, RunLease, Voting
from langgraph_control.audit.asking.wakes import RunTake
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.reconcile import reconcile
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.entry_schemas import problems
from langgraph_control.audit.trail.period import Period, Read
from langgraph_control.audit.trail.period_telling import Telling
from langgraph_control.audit.trail.rebuild import rebuild
from langgraph_control.audit.trail.rebuilt import Rebuilt
from langgraph_control.guards.canonical import from_canonical
from tests.simulation.scheduler import Simulation
from tests.simulation.violation import Violation
from tests.support.complete_entries import note_events

__all__ = ["compare_with_memory"]

DOWNGRADED = {("absent", "undetermined"), ("not_done", "lose"), ("fail", "lose")}
"""What the ledger does not believe, and what it takes it for."""
NOT_ON_RECORD = {"unknown_run", "unknown_action", "unknown_request"}


def compare_with_memory(simulation: Simulation) -> int:
    """Hold what the trail says of a seed's runs against what the simulator saw, and return how many runs there were.

    Raises:
        Violation: they differ.
    """
    runs = simulation.runs()
    chains = {run_id: [_entry(row) for row in rows] for run_id, rows in simulation.entries(runs).items()}
    for entry in (entry for chain in chains.values() for entry in chain):
        _same("entries are complete", problems(entry), ())
    note_events({event for chain in chains.values() for entry in chain for event in entry.events})
    memory = _Memory(simulation.memory or [])
    told = {run_id: rebuild(chain) for run_id, chain in chains.items()}
    for run in runs:
        _compare_run(simulation, run, told[run["run_id"]], memory)
    _compare_people(list(told.values()), memory)
    _compare_ledger(simulation)
    _compare_reports(simulation, chains)
    _compare_effects(simulation, told)
    return len(runs)


def _entry(row: dict[str, Any]) -> Entry:
    names = EntryRow.__dataclass_fields__
    return Entry.of(EntryRow(**{**{name: row[name] for name in names}, "facts": row["text"]}))


class _Memory:
    """What was asked and answered, sorted by what it is about."""

    def __init__(self, memory: list[tuple[Any, Any]]) -> None:
        self.tokens: dict[UUID, list[int]] = defaultdict(list)
        self.stops: dict[UUID, list[tuple[str, str]]] = defaultdict(list)
        self.begun: dict[UUID, list[tuple[str, str, str, Any]]] = defaultdict(list)
        self.claims: dict[UUID, set[tuple[str, str, str, str]]] = defaultdict(set)
        self.ended: dict[UUID, dict[str, tuple[str, str, str]]] = defaultdict(dict)
        self.votes: dict[str, list[tuple[str, str, bool, str | None]]] = defaultdict(list)
        self.edits: dict[str, list[tuple[str, bool, str | None]]] = defaultdict(list)
        self.resolved: dict[str, list[tuple[str, str, str | None]]] = defaultdict(list)
        self.last_release: dict[UUID, int] = {}
        for request, answer in memory:
            self._hear(request, answer)

    def _hear(self, request: Any, answer: Any) -> None:
        match request:
            case RunOpen() | RunTake() if answer.answer is RunLease.ACQUIRED:
                if answer.token not in self.tokens[answer.run_id]:
                    self.tokens[answer.run_id].append(answer.token)
            case RunRelease() | RunReplace() | Cancel():
                self._stop(request, answer)
            case Claim():
                self._claim(request, answer)
            case Settle():
                said = (request.outcome.value, answer.answer.value, answer.state)
                self.ended[request.run_id].setdefault(str(request.attempt), said)
            case Vote() | WithdrawVote():
                self._word(request, answer)
            case Edit() if answer.reason not in NOT_ON_RECORD:
                counted = answer.answer is not Voting.REFUSED
                self.edits[str(request.approval_id)].append((request.person or "", counted, answer.reason))
            case Resolve() if answer.refused not in NOT_ON_RECORD:
                said = (request.person or "", request.verdict.value, answer.refused)
                self.resolved[request.key.hex()].append(said)

    def _stop(self, request: RunRelease | RunReplace | Cancel, answer: Any) -> None:
        match request:
            case RunRelease() if answer.answer is Release.RELEASED:
                if self.last_release.get(request.run_id) != request.token:  # else it was sent again
                    self.last_release[request.run_id] = request.token
                    self.stops[request.run_id].append((answer.state.value, answer.reason))
            case RunReplace() if answer is Replacing.REPLACED:
                self.stops[request.run_id].append(("done", "replaced"))
            case Cancel() if answer.refused is None:
                self.stops[request.run_id].append(("done", "cancelled"))

    def _claim(self, request: Claim, answer: Claimed) -> None:
        said = (str(request.attempt), str(request.verb), answer.answer.value, str(answer.reason))
        self.claims[request.run_id].add(said)
        attempt = str(request.attempt)
        if answer.answer is Answer.GO and attempt not in {one[0] for one in self.begun[request.run_id]}:
            args = from_canonical(answer.payload or request.payload)["args"]
            self.begun[request.run_id].append((attempt, request.key.hex(), request.tool, args))

    def _word(self, request: Vote | WithdrawVote, answer: Any) -> None:
        if answer.reason in NOT_ON_RECORD:
            return
        decision = request.decision if isinstance(request, Vote) else "withdraw"
        said = (request.person or "", decision, answer.answer is not Voting.REFUSED, answer.reason)
        earlier = self.votes[str(request.approval_id)]
        of_person = [one for one in earlier if one[0] == said[0] and one[2]]
        if said[2] and of_person and of_person[-1][1] == decision != "withdraw":
            return  # the same word again is no news
        earlier.append(said)


def _compare_run(simulation: Simulation, run: dict[str, Any], told: Rebuilt, memory: _Memory) -> None:
    run_id: UUID = run["run_id"]
    whose = (told.trigger, told.intent, told.actor, told.on_behalf_of, told.graph)
    expected = (run["trigger"], simulation.intent, simulation.scenario.actor, None, simulation.name)
    _same("whose run", whose, expected)
    _same("who drove it", [drive.token for drive in told.drives], memory.tokens[run_id])
    stops = [(stop.state, stop.reason) for stop in told.stops]
    if told.counted is not None:
        stops.append(("done", told.reason))
    _same("where it stood", stops, memory.stops[run_id])
    _same("where it stands", told.state, run["state"])
    begun = {
        attempt.attempt: (change.key, change.tool, dict(attempt.arguments))
        for change in told.changes
        for attempt in change.attempts
    }
    _same("what began", begun, {attempt: (*rest,) for attempt, *rest in memory.begun[run_id]})
    for change in told.changes:
        for one in change.decisions:
            heard = [claim for claim in memory.claims[run_id] if claim[1:3] == (one.verb, one.answer)]
            if not any(one.answer == "go" or claim[3] == one.reason for claim in heard):
                raise Violation(f"the trail tells a decision that nobody got: {one.verb}, {one.answer}, {one.reason}")
    _compare_endings(told, memory.ended[run_id])


def _compare_endings(told: Rebuilt, ended: dict[str, tuple[str, str, str]]) -> None:
    found: dict[str, tuple[str, str, str]] = {}
    for change in told.changes:
        for attempt in change.attempts:
            if attempt.outcome:
                found[attempt.attempt] = (attempt.outcome, "settled", attempt.left)
        for late in change.later:
            # A settle that was sent again after others had settled is late, and says what is known.
            found.setdefault(late.attempt, (late.outcome, late.answer, late.left))
    for name in found.keys() | ended.keys():
        heard, recorded = ended.get(name), found.get(name)
        if heard is not None and recorded is not None and (heard[0], recorded[0]) in DOWNGRADED:
            heard = (recorded[0], *heard[1:])
        _same("what came of an attempt", recorded, heard)


def _compare_people(runs: list[Rebuilt], memory: _Memory) -> None:
    asked = {one.approval: one for run in runs for one in run.requests if one.since is not None}
    for name in asked.keys() | memory.votes.keys() | memory.edits.keys():
        if name not in asked:
            raise Violation("people were asked, and the trail does not say what")
        votes = [(vote.person, vote.decision, vote.counted, vote.reason) for vote in asked[name].votes]
        _same("who voted", votes, memory.votes[name])
        edits = [(edit.person, edit.counted, edit.reason) for edit in asked[name].edits]
        _same("who changed what was asked", edits, memory.edits[name])
    resolved: dict[str, list[Any]] = defaultdict(list)
    for change in (change for run in runs for change in run.changes):
        resolved[change.key] += [(one.at, one.person, one.verdict, one.reason) for one in change.resolutions]
    for key in resolved.keys() | memory.resolved.keys():
        said = [
            (person, verdict, reason) for _, person, verdict, reason in sorted(resolved[key], key=lambda one: one[0])
        ]
        _same("who settled it", said, memory.resolved[key])


def _compare_ledger(simulation: Simulation) -> None:
    """What the ledger says follows from its entries: a reconciliation finds nothing."""
    with LedgerConnection(simulation.database.database.auditor) as auditor:
        (run_id, *_) = [run["run_id"] for run in simulation.runs()]
        for one in reconcile(auditor, run_id=run_id):
            _same("nothing differs", [(found.kind.value, found.what) for found in one.differences], [])


def _compare_reports(simulation: Simulation, chains: dict[UUID, list[Entry]]) -> None:
    """A report of all time has each action where its row has it; one of a part has what was done in that part."""
    intents = {run_id: chain[0].fact("intent") or "" for run_id, chain in chains.items()}
    times = sorted(entry.at for chain in chains.values() for entry in chain)
    begin, middle, end = times[0], times[len(times) // 2], times[-1] + timedelta(microseconds=1)
    with LedgerConnection(simulation.database.database.auditor) as auditor:
        for intent in set(intents.values()):
            rows = {one.key.hex(): one.state for one in auditor.ask(LedgerActions(intent=intent))}
            own = {run_id: chain for run_id, chain in chains.items() if intents[run_id] == intent}
            whole, first, second = _told(own, begin, end), _told(own, begin, middle), _told(own, middle, end)
            states = {one.key: one.state for one in whole.asked}
            wrong = {key for key, state in rows.items() if state not in states.get(key, "").split(" or ")}
            _same("actions whose state is told otherwise", wrong, set())
            _same("each write is told", set(states), set(rows))
            done = {one.key: one.done_at for one in (*whole.unasked, *whole.approved)}
            later = {key for key, at in done.items() if at is not None and at >= middle}
            _same("done in the second part", {one.key for one in (*second.unasked, *second.approved)}, later)
            before = {one.key for one in (*first.unasked, *first.approved)}
            _same("done in the first part", set(done) - later - before, set())
            succeeded = {one.key for one in whole.asked if one.state == "succeeded"}
            _same("done", set(done), succeeded)


def _told(chains: dict[UUID, list[Entry]], since: datetime, until: datetime) -> Period:
    telling = Telling(since=since, until=until)
    telling.take(chains)
    return telling.whole(Read(chains=0, entries=0, dropped=0, broken=()))


def _compare_effects(simulation: Simulation, told: dict[UUID, Rebuilt]) -> None:
    """What happened in the world is an attempt of the trail, with these arguments."""
    begun = {
        (change.key, change.tool, attempt.arguments["target"], attempt.arguments["amount"])
        for run in told.values()
        for change in run.changes
        for attempt in change.attempts
    }
    for effect in simulation.judge.effects():
        tool = effect["tool"]
        if (effect["key"], tool, effect["target"], effect["amount"]) not in begun:
            raise Violation(f"an effect that the trail does not tell: {effect}")


def _same(what: str, told: Any, seen: Any) -> None:
    if told != seen:
        raise Violation(f"{what}: the trail says {told}, and the simulator saw {seen}")
