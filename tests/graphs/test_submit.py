"""submit and asubmit: a run is registered and the call returns; somebody else drives it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias

import pytest

from langgraph_control import Control, Policy, Run
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.errors import PolicyError, RunRefused
from tests.support.desk import GO, Desk, How

Submit: TypeAlias = Callable[..., Run]


@pytest.fixture
def submit(desk: Desk, how: How) -> Submit:
    """Submit in one of the two ways."""

    def submitted(name: str = "support", given: Any = GO, **options: Any) -> Run:
        options = {"actor": "support-bot", **options}
        if how == "sync":
            return desk.control.submit(name, given, **options)
        return asyncio.run(desk.control.asubmit(name, given, **options))

    return submitted


def test_a_submitted_run_waits(submit: Submit, trigger: str) -> None:
    """It has a name and a trigger, waits, is due now, and says what drives it."""
    run = submit(trigger=trigger, intent="order/1")
    assert (run.trigger, run.intent, run.graph) == (trigger, "order/1", "support")
    assert (run.state, run.reason) == (RunState.WAITING, "queued")
    assert str(run) == "waiting - langgraph-control worker"
    assert run.wake_at is not None


def test_whoever_has_the_graph_can_drive_it(desk: Desk, submit: Submit, how: How, trigger: str) -> None:
    """A submitted run is driven by `run` with its trigger, or by `resume`, with the input it was submitted with."""
    queued = submit(trigger=trigger)
    run = desk.run(desk.refunding(50), how, trigger=trigger, given={"messages": [("user", "another delivery's")]})
    assert (run.id, run.state) == (queued.id, RunState.DONE)
    assert run.output["messages"][0].content == GO["messages"][0]["content"]


def test_a_known_trigger_is_the_same_run(desk: Desk, submit: Submit, trigger: str) -> None:
    """Submitted again, a run is told as it stands: done, where it is done."""
    done = desk.run(desk.refunding(50), trigger=trigger)
    again = submit(trigger=trigger)
    assert (again.id, again.state) == (done.id, RunState.DONE)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"trigger": ""}, "trigger_missing"),
        ({"actor": ""}, "actor_missing"),
        ({"name": ""}, "graph_missing"),
        ({"name": "a\nb"}, "graph_invalid"),
        ({"name": "g" * 257}, "graph_invalid"),
        ({"given": None}, "input_missing"),
        ({"deadline": timedelta(seconds=-1)}, "deadline_invalid"),
        ({"intent": "another"}, "trigger_mismatch"),
        ({"name": "another"}, "trigger_mismatch"),
    ],
)
def test_what_cannot_be_submitted_is_named(submit: Submit, trigger: str, options: dict[str, Any], code: str) -> None:
    """An argument that cannot be used, and a trigger that stands for something else, are refused by a code."""
    submit(trigger=trigger)
    with pytest.raises(RunRefused) as refused:
        submit(**{"trigger": trigger, **options})
    assert refused.value.code == code


def test_a_busy_thread_takes_no_second_run(submit: Submit, trigger: str) -> None:
    """A thread whose run is unfinished takes no other."""
    submit(trigger=trigger, thread=f"thread/{trigger}")
    with pytest.raises(RunRefused, match="busy"):
        submit(trigger=f"{trigger}/b", thread=f"thread/{trigger}")


def test_an_unpublished_policy_submits_nothing(desk: Desk, trigger: str) -> None:
    """Whoever submits under rules that no admin has published is told so, and nothing is registered."""
    unknown = Policy.parse("version: 1\notherwise:\n  - {impact: record, then: allow}\n", source="unknown.yaml")
    with Control(unknown, dsn=desk.database.agent) as control, pytest.raises(PolicyError):
        control.submit("support", GO, trigger=trigger, actor="bot")
