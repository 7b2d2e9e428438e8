"""The verdict: the service's own log and the booking table beside the ledger and what the models were told."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg

from langgraph_control.audit.asking.sagas import RunSagas
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.reconstruct import reconstruct
from langgraph_control.audit.trail.timeline import timeline
from langgraph_control.audit.trail.verify import verify_run
from langgraph_control.guards.lifecycle import State
from langgraph_control.guards.sagas import standing
from tests.chaos.plans import BACK, Job, PlannedCall
from tests.chaos.worker import Report, Told
from tests.support.postgres import Database

SETTLED: Final = frozenset({"succeeded", "failed", "denied", "ready"})
CLOSED: Final = SETTLED | {"needs_human", "abandoned"}
AT_REST: Final = frozenset({"done", "needs_human"})

_ACTIONS: Final = """
SELECT encode(a.key, 'hex'), a.tool, a.kind, a.state, a.run_id::text, e.target
  FROM control.action a
  LEFT JOIN LATERAL (
       SELECT convert_from(p.payload, 'UTF8')::jsonb #>> '{args,target}' AS target
         FROM control.entry p WHERE p.run_id = a.payload_run AND p.seq = a.payload_seq) e ON true
"""
"""Every action with the business identity it is about, as its own recorded arguments have it."""

_HAPPENINGS: Final = """
SELECT what, count(*)
  FROM control.entry e
 CROSS JOIN LATERAL (SELECT e.facts::jsonb AS facts) f
 CROSS JOIN LATERAL (
       SELECT 'parked as ' || (f.facts ->> 'state') AS what WHERE f.facts -> 'events' ? 'wait.started'
       UNION ALL SELECT 'settled by a person' WHERE f.facts -> 'events' ? 'action.resolved'
       UNION ALL SELECT 'expired' WHERE f.facts -> 'events' ? 'approval.expired'
       UNION ALL SELECT 'resumed' WHERE f.facts -> 'events' ? 'run.resumed') w
 GROUP BY what
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something that must not be.

    Args:
        what: the promise that was broken, in a word.
        why: what shows it.
        run: the run's name; "" where none is known.
    """

    what: str
    why: str
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One action as the ledger has it at the end."""

    key: str
    tool: str
    kind: str
    state: str
    run: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What really happened, and what was recorded of it.

    Args:
        by_key: effects by action key.
        by_target: effects by business identity.
        actions: of the ledger.
    """

    by_key: Mapping[str, int]
    by_target: Mapping[str, int]
    actions: tuple[Action, ...]

    @property
    def effects(self) -> int:
        """How many effects there are."""
        return sum(self.by_target.values())


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What was found.

    Args:
        violations: all of them.
        needs_human: tools of the actions that were handed to a person.
        given_up: tools of the calls that were, honestly, told to be undone though nobody forbade them.
        entries: length of all chains together.
        listed: steps of sagas whose standing was held against the systems of record.
    """

    violations: list[Violation] = field(default_factory=list)
    needs_human: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
    entries: int = 0
    listed: int = 0

    def count(self, what: str) -> int:
        """Return how many violations of one kind there are.

        Args:
            what: the kind.
        """
        return sum(violation.what == what for violation in self.violations)


def look(database: Database, billing_db: Path) -> World:
    """Read effects and actions.

    Args:
        database: the ledger and the booking table.
        billing_db: the service's file.
    """
    by_key: Counter[str] = Counter()
    by_target: Counter[str] = Counter()
    with closing(sqlite3.connect(f"file:{billing_db}?mode=ro", uri=True)) as service:
        for key, target in service.execute("SELECT action_key, target FROM effect"):
            by_key[key or "(none)"] += 1
            by_target[target] += 1
    with psycopg.connect(database.admin) as connection:
        for key, target in connection.execute("SELECT action_key, target FROM chaos.booking"):
            by_key[key] += 1
            by_target[target] += 1
        rows = connection.execute(_ACTIONS).fetchall()
    actions = tuple(
        Action(key=key, tool=tool, kind=kind, state=state, run=run, target=target or "")
        for key, tool, kind, state, run, target in rows
    )
    return World(by_key=by_key, by_target=by_target, actions=actions)


def judge(world: World, reports: Mapping[str, Report], jobs: Iterable[Job], database: Database) -> Verdict:
    """Hold what happened against what was recorded and told.

    Args:
        world: from :func:`look`, after everything came to rest.
        reports: the last report of each delivery.
        jobs: all deliveries that were made.
        database: for the chains.
    """
    verdict = Verdict()
    verdict.needs_human.update(action.tool for action in world.actions if action.state == "needs_human")
    verdict.violations += _of_effects(world)
    for job in jobs:
        report = reports.get(job.trigger)
        verdict.violations += _of_job(job, report, world)
        allowed = {call.target for call in job.calls if not call.must_not_happen and call.tool != "move"}
        undone = (said for said in (report.told if report else ()) if not said.done and said.target in allowed)
        verdict.given_up.update(said.tool for said in undone)
    _check_chains(verdict, reports, database)
    _check_lists(verdict, reports, world, database)
    return verdict


def happenings(database: Database) -> Mapping[str, int]:
    """Count what the runs went through: whether the session was as rough as it was meant to be.

    Args:
        database: the ledger.
    """
    with psycopg.connect(database.admin) as connection:
        return {str(what): int(count) for what, count in connection.execute(_HAPPENINGS)}


def told(database: Database, run: str) -> list[str]:
    """Return a run's timeline as lines.

    Args:
        database: the ledger.
        run: the run's name.
    """
    with LedgerConnection(database.auditor) as connection:
        story = reconstruct(Entry.of(row) for row in connection.entries(run_id(run)))
    return [
        "  ".join(part for part in (str(line.seq), line.time, line.who, line.what, *line.why, *line.details) if part)
        for line in timeline(story)
    ]


def _of_effects(world: World) -> Iterator[Violation]:
    runs = {action.key: action.run for action in world.actions}
    for key, count in world.by_key.items():
        if count > 1:
            yield Violation(what="duplicate", why=f"{count} effects of action {key}", run=runs.get(key, ""))
        if key not in runs:
            yield Violation(what="unrecorded", why=f"the ledger does not know action {key}")
    for target, count in world.by_target.items():
        if count > 1:
            yield Violation(what="duplicate", why=f"{count} effects on {target}")
    for action in world.actions:
        effects = world.by_key.get(action.key, 0)
        if action.state == "succeeded" and effects != 1:
            yield Violation(what="lost", why=f"{action.target} succeeded, {effects} effects", run=action.run)
        if action.state in SETTLED - {"succeeded"} and effects:
            yield Violation(what="wrong", why=f"{action.target} is {action.state}, and it happened", run=action.run)
        if action.state not in CLOSED:
            yield Violation(what="stuck", why=f"{action.target} is {action.state} at the end", run=action.run)


def _of_job(job: Job, report: Report | None, world: World) -> Iterator[Violation]:
    if report is None or report.state not in AT_REST:
        state = f"{report.state} {report.reason}" if report else "never reported"
        yield Violation(what="stuck", why=f"{job.trigger}: {state}", run=report.run_id if report else "")
        return
    targets = {target for call in job.calls for target in call.targets}
    open_ones = {action.target: action for action in world.actions if action.target in targets}
    if report.state == "needs_human":
        if not any(action.state == "needs_human" for action in open_ones.values()):
            yield Violation(what="stuck", why=f"{job.trigger} needs a person for nothing", run=report.run_id)
        return
    answered = {said.target: said for said in report.told}
    for call in job.calls:
        said = answered.get(call.target)
        if call.tool == "move":
            yield from _of_saga(job, call, said, world, report)
            continue
        effects = world.by_target.get(call.target, 0)
        state = open_ones[call.target].state if call.target in open_ones else "missing"
        where = f"{job.trigger} is done; {call.target} is {state} with {effects} effects"
        if said is None:
            yield Violation(what="lost", why=f"{where}; the model was told nothing", run=report.run_id)
        elif said.done and effects != 1:
            yield Violation(what="lost", why=f"{where}; told: done", run=report.run_id)
        elif said.done and call.must_not_happen:
            yield Violation(what="wrong", why=f"{where}; told: done", run=report.run_id)
        elif not said.done and effects and state != "abandoned":
            yield Violation(what="wrong", why=f"{where}; told: {said.text}", run=report.run_id)


def _of_saga(job: Job, call: PlannedCall, said: Told | None, world: World, report: Report) -> Iterator[Violation]:
    """All of it or nothing, as the systems of record show it; some of it only where a person gave up."""
    done = [world.by_target.get(part, 0) for part in call.parts]
    back = [world.by_target.get(f"{part}{BACK}", 0) for part in call.parts[:-1]]
    where = f"{job.trigger} is done; saga {call.target}: {done} effects, {back} taken back"
    match said.text if said else None:
        case "done":
            if done != [1, 1, 1] or any(back) or call.locked:
                yield Violation(what="wrong", why=f"{where}; told: done", run=report.run_id)
        case "undone":
            if done != [*back, 0]:
                yield Violation(what="wrong", why=f"{where}; told: undone", run=report.run_id)
        case "partly_undone":
            given_up = {"needs_human", "abandoned"} & {one.state for one in world.actions if one.target in call.targets}
            if not given_up:
                yield Violation(what="wrong", why=f"{where}; told: partly undone, by nobody", run=report.run_id)
        case other:
            yield Violation(what="lost", why=f"{where}; told: {other}", run=report.run_id)


def _check_lists(verdict: Verdict, reports: Mapping[str, Report], world: World, database: Database) -> None:
    """Hold what is listed of each saga, step by step, against the systems of record."""
    targets = {action.key: action.target for action in world.actions}
    with LedgerConnection(database.auditor) as connection:
        for report in reports.values():
            for row in connection.ask(RunSagas(run_id=run_id(report.run_id))) if report.run_id else ():
                key, part = row.part.key.hex(), row.part
                done, back = world.by_key.get(key, 0), world.by_target.get(f"{targets.get(key, '')}{BACK}", 0)
                verdict.listed += 1
                match part.state, part.undo:
                    case State.SUCCEEDED, State.SUCCEEDED:
                        true = (done, back) == (1, 1)
                    case State.SUCCEEDED, None | State.READY | State.NEEDS_APPROVAL | State.FAILED | State.DENIED:
                        true = (done, back) == (1, 0)
                    case State.SUCCEEDED, _:  # whether it was taken back is for a person
                        true = done == 1
                    case State.FAILED | State.DENIED | State.READY | State.NEEDS_APPROVAL, _:
                        true = (done, back) == (0, 0)
                    case _:  # nobody knows, and that is what it says
                        true = True
                if not true:
                    why = f"saga step {part.step} is listed as {standing(part)!r}: {done} effects, {back} taken back"
                    verdict.violations.append(Violation(what="wrong", why=why, run=report.run_id))


def _check_chains(verdict: Verdict, reports: Mapping[str, Report], database: Database) -> None:
    with LedgerConnection(database.auditor) as connection:
        for report in reports.values():
            if not report.run_id:
                continue
            found = verify_run(connection, run_id(report.run_id))
            verdict.entries += found.entries if found else 0
            if found is None or not found.ok:
                why = f"chain: {found.broken if found else 'no trace of the run'}"
                verdict.violations.append(Violation(what="chain", why=why, run=report.run_id))
