"""Eight processes at one instant: one effect, and everybody gets its result."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from langgraph_control import Control
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_id, run_id
from langgraph_control.audit.trail.verify import verify_run
from tests.support.desk import POLICY, Desk, new_trigger
from tests.support.racing import Racer, build, given, race

RACERS = 8


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    """Where each effect leaves a line."""
    file = tmp_path / "effects"
    file.touch()
    return file


def whole(desk: Desk, runs: set[str]) -> bool:
    """Whether all chains are."""
    with LedgerConnection(desk.database.auditor) as auditor:
        found = [verify_run(auditor, run_id(run)) for run in runs]
    return all(one is not None and one.ok for one in found)


@pytest.mark.must_run_in_ci
def test_one_delivery_in_eight_processes(desk: Desk, trigger: str, effects: Path) -> None:
    """The same trigger in eight processes is one run with one effect, and all eight return its result."""
    racer = Racer(dsn=desk.database.agent, trigger=trigger, intent=trigger, effects=effects, amount="50")
    got = race([racer] * RACERS)
    assert len(effects.read_text().splitlines()) == 1
    assert [one.state for one in got] == ["done"] * RACERS
    assert len({one.run for one in got}) == 1
    (told,) = {one.told for one in got}
    assert told.startswith("refunded 50 by ")
    assert whole(desk, {one.run for one in got})


@pytest.mark.must_run_in_ci
def test_one_key_in_eight_runs(desk: Desk, trigger: str, effects: Path) -> None:
    """Eight deliveries about one request ask for the same change at once: one effect, and every run gets its result."""
    racer = Racer(dsn=desk.database.agent, trigger=trigger, intent=trigger, effects=effects, amount="50")
    got = race([replace(racer, trigger=new_trigger()) for _ in range(RACERS)])
    assert len(effects.read_text().splitlines()) == 1
    assert [one.state for one in got] == ["done"] * RACERS
    assert len({one.run for one in got}) == RACERS
    assert len({one.told for one in got}) == 1
    assert whole(desk, {one.run for one in got})


@pytest.mark.must_run_in_ci
def test_one_approved_run_resumed_by_eight_processes(desk: Desk, trigger: str, effects: Path) -> None:
    """Eight processes resume one approved run: the grant is used once, and all of them see the run done."""
    with Control(POLICY, dsn=desk.database.agent) as control:
        parked = control.run(build(control, effects), given("500"), trigger=trigger, actor="racer")
    desk.approve(parked.approvals)
    dsn = desk.database.agent
    racer = Racer(dsn=dsn, trigger=trigger, intent=trigger, effects=effects, amount="500", way="resume")
    got = race([racer] * RACERS)
    assert len(effects.read_text().splitlines()) == 1
    assert [one.state for one in got] == ["done"] * RACERS
    assert len({one.told for one in got}) == 1
    assert whole(desk, {parked.id})


@pytest.mark.must_run_in_ci
def test_one_grant_for_eight_runs(desk: Desk, trigger: str, effects: Path) -> None:
    """Eight runs of one request wait for one yes and go on at one instant: it is used once, and all get the result."""
    triggers = [new_trigger() for _ in range(RACERS)]
    with Control(POLICY, dsn=desk.database.agent) as control:
        graph = build(control, effects)
        parked = [control.run(graph, given("500"), trigger=one, intent=trigger, actor="racer") for one in triggers]
    (name,) = {name for run in parked for name in run.approvals}
    desk.approve([name])
    dsn = desk.database.agent
    got = race(
        [Racer(dsn=dsn, trigger=one, intent=trigger, effects=effects, amount="500", way="resume") for one in triggers]
    )
    assert len(effects.read_text().splitlines()) == 1
    assert [one.state for one in got] == ["done"] * RACERS
    assert len({one.told for one in got}) == 1
    assert whole(desk, {run.id for run in parked})
    with psycopg.connect(desk.database.admin) as admin:
        state = admin.execute("SELECT state FROM control.approval WHERE approval_id = %s", (approval_id(name),))
        assert state.fetchall() == [("used",)]
        began = admin.execute(
            "SELECT count(*) FROM control.entry WHERE run_id = ANY (%s)"
            " AND facts::jsonb -> 'events' ? 'action.attempt_started'",
            ([run_id(run.id) for run in parked],),
        )
        assert began.fetchone() == (1,)


@pytest.mark.must_run_in_ci
def test_other_amounts_under_one_key_do_not_both_happen(desk: Desk, trigger: str, effects: Path) -> None:
    """Eight deliveries about one request that ask for eight amounts: one happens, the others are told of a conflict."""
    racer = Racer(dsn=desk.database.agent, trigger=trigger, intent=trigger, effects=effects, amount="")
    got = race([replace(racer, trigger=new_trigger(), amount=str(50 + number)) for number in range(RACERS)])
    assert len(effects.read_text().splitlines()) == 1
    assert [one.state for one in got] == ["done"] * RACERS
    assert sum(one.told.startswith("refunded") for one in got) == 1
    assert sum("already asked for with other arguments" in one.told for one in got) == RACERS - 1
