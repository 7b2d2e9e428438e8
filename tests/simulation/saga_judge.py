"""The invariants of sagas: all of it or nothing, the last step first, and nobody is refused an undo by silence."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tests.simulation.violation import Violation

if TYPE_CHECKING:
    from uuid import UUID

    from tests.simulation.scheduler import Simulation

__all__ = ["judge_sagas"]

Rows = list[dict[str, Any]]

TAKEN_BACK = ("succeeded", "abandoned")


def judge_sagas(simulation: "Simulation", runs: Rows, chains: "dict[UUID, Rows]") -> None:
    """Judge every saga of a seed.

    Args:
        simulation: the seed, at its end.
        runs: its runs.
        chains: their entries.
    """
    parts: dict[bytes, Rows] = defaultdict(list)
    for row in simulation.database.rows(
        "SELECT t.saga, t.step, t.key, a.state, u.state AS undo, u.key AS undo_key"
        " FROM control.saga_step t JOIN control.run r ON r.run_id = t.run_id"
        " JOIN control.action a ON a.tenant = t.tenant AND a.key = t.key"
        " LEFT JOIN control.action u ON u.tenant = t.tenant AND u.undoes = t.key WHERE r.intent = %s"
        " ORDER BY t.saga, t.step",
        simulation.intent,
    ):
        parts[row["saga"]].append(row)
    if not parts:
        return
    over = all(run["state"] == "done" for run in runs) and not simulation.scenario.swallows
    for saga in parts.values():
        if over:
            _all_or_nothing(saga)
        _no_silence(simulation, saga)
        entries = [entry for chain in chains.values() for entry in chain]
        _none_begun_on_the_way_back(saga, entries)
        for chain in chains.values():
            _last_first(saga, chain, alone=len(runs) == 1)


def _all_or_nothing(saga: Rows) -> None:
    """Once every run is done, either all steps are in effect, or none but what a person left."""
    undoing = any(part["undo"] is not None for part in saga)
    done = [part for part in saga if part["state"] == "succeeded"]
    if undoing:
        left = [part["step"] for part in done if part["undo"] not in TAKEN_BACK]
        if left:
            raise Violation(f"a saga was left half taken back: steps {left} of {[part['step'] for part in saga]}")
    elif done and any(part["state"] in ("failed", "denied") for part in saga):
        raise Violation("a step of a saga failed for good, and what was done before it was left")


def _no_silence(simulation: "Simulation", saga: Rows) -> None:
    for part in saga:
        if part["undo_key"] is not None and simulation.database.rows(
            "SELECT 1 FROM control.approval WHERE key = %s AND state = 'expired'", part["undo_key"]
        ):
            raise Violation("silence refused an undo")


def _none_begun_on_the_way_back(saga: Rows, entries: Rows) -> None:
    keys = {part["key"].hex() for part in saga}
    undos = {part["undo_key"].hex() for part in saga if part["undo_key"] is not None}
    began = [
        entry["at"]
        for entry in entries
        if "compensation.started" in entry["facts"]["events"] and entry["facts"]["key"] in undos
    ]
    for entry in entries:
        facts = entry["facts"]
        fresh = "action.attempt_started" in facts["events"] and facts.get("attempts") == 1
        if began and fresh and facts["key"] in keys and entry["at"] > min(began):
            raise Violation(f"a step began while its saga was being taken back: {facts.get('tool')}")


def _last_first(saga: Rows, chain: Rows, *, alone: bool) -> None:
    """Where one run drives a saga, each undo begins when no later step is in effect any more."""
    if not alone:
        return
    step_of = {part["key"].hex(): part["step"] for part in saga}
    undo_of = {part["undo_key"].hex(): part["step"] for part in saga if part["undo_key"] is not None}
    applied: set[int] = set()
    for entry in chain:
        facts = entry["facts"]
        key, state = facts.get("key"), facts.get("state")
        if "compensation.started" in facts["events"] and key in undo_of:
            later = [step for step in applied if step > undo_of[key]]
            if later:
                raise Violation(f"step {undo_of[key]} was taken back before step {later}")
        if key in step_of and "action.succeeded" in facts["events"]:
            applied.add(step_of[key])
        if key in undo_of and state in TAKEN_BACK:
            applied.discard(undo_of[key])
