"""Which run code is in, and what a tool may know of its call."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from langgraph_control.audit.connecting.drives import RUN_KEY, drive_name
from langgraph_control.errors import NoRun
from langgraph_control.guards.policy import Policy
from langgraph_control.nodes.action import Action
from langgraph_control.nodes.bubbles import RunTakenOver
from langgraph_control.nodes.contexts import (
    acting,
    current_action,
    current_run,
    enter_run,
    in_a_write,
    leave_run,
    within,
)
from langgraph_control.nodes.run_context import RunContext
from tests.support.entered_run import POLICY

RUN_ID = uuid.UUID("7f6d1c1c-5d0b-4d3a-8b55-0000000000aa")
KEY = "ab" * 32
DEADLINE = datetime(2030, 1, 1, tzinfo=UTC)
ACTION = Action(
    tool="pay", args={}, key=KEY, intent="ticket/47 ü\r\nX-Evil: 1", run_id=str(RUN_ID), attempt=2, deadline=DEADLINE
)


def context(**changes: Any) -> RunContext:
    """Return a run that nobody has entered."""
    made = RunContext(
        run_id=uuid.uuid4(),
        token=1,
        tenant="acme",
        secret=bytes(32),
        trigger="mail/1",
        intent="mail/1",
        graph="support",
        thread_id="t",
        actor="agent@acme.example",
        on_behalf_of=None,
        deadline=None,
        policy=Policy.parse(POLICY, source="control.yaml"),
        worker="w",
    )
    return replace(made, **changes)


def test_a_run_is_found_by_config_before_context() -> None:
    """The id in the config wins over the surrounding block's; without either there is no run."""
    named, surrounding = context(), context()
    enter_run(named)
    enter_run(surrounding)
    assert current_run({}) is None
    with within(surrounding.drive):
        assert current_run({}) is surrounding
        assert current_run({RUN_KEY: drive_name(named.drive)}) is named
    assert current_run({}) is None
    leave_run(named)
    leave_run(surrounding)


@pytest.mark.parametrize("named", [f"{RUN_ID}/1", str(RUN_ID), "no id", 7])
def test_a_run_of_another_process_is_refused(named: Any) -> None:
    """A config that names a run this process does not drive is an error, not "no run": nothing may be done for it."""
    with pytest.raises(NoRun) as caught:
        current_run({RUN_KEY: named})
    assert caught.value.code == "run_not_here"


@pytest.fixture
def drives() -> Iterator[tuple[RunContext, RunContext]]:
    """Two drives of one run, entered one after the other."""
    older = context()
    newer = replace(older, token=2)
    for drive in (older, newer):
        enter_run(drive)
    yield older, newer
    for drive in (older, newer):
        leave_run(drive)


def test_each_drive_of_a_run_keeps_its_own_token(drives: tuple[RunContext, RunContext]) -> None:
    """When this process takes a run again, calls of its older drive go on with the older token."""
    for drive in drives:
        assert current_run({RUN_KEY: drive_name(drive.drive)}) is drive
        with within(drive.drive):
            assert current_run({}) is drive


def test_leaving_an_older_drive_keeps_the_newer(drives: tuple[RunContext, RunContext]) -> None:
    """The end of the older drive does not forget the newer one."""
    older, newer = drives
    leave_run(older)
    assert current_run({RUN_KEY: drive_name(newer.drive)}) is newer


@pytest.mark.parametrize("by", ["config", "context"])
def test_a_drive_that_was_left_is_taken_over(drives: tuple[RunContext, RunContext], by: str) -> None:
    """What a left drive still runs never gets the newer drive's token: it is told that the run was taken over."""
    older, _ = drives
    leave_run(older)
    with within(older.drive), pytest.raises(RunTakenOver):
        current_run({RUN_KEY: drive_name(older.drive)} if by == "config" else {})


def test_a_config_kept_from_an_older_drive_is_refused(drives: tuple[RunContext, RunContext]) -> None:
    """Code of the newer drive that uses a config of the older one has not lost the run: it is told of its mistake."""
    older, newer = drives
    leave_run(older)
    with within(newer.drive), pytest.raises(NoRun) as caught:
        current_run({RUN_KEY: drive_name(older.drive)})
    assert caught.value.code == "run_not_here"


def test_outside_a_write_there_is_no_action() -> None:
    """`current_action()` outside the body of a governed write says where to call it."""
    with pytest.raises(NoRun, match="writes") as caught:
        current_action()
    assert caught.value.code == "no_action"
    assert not in_a_write()


def test_a_tool_knows_its_action() -> None:
    """Key, attempt, deadline and the seconds left are there inside the block, and gone after it."""
    with acting(ACTION, not_after=time.monotonic() + 30):
        action = current_action()
        assert (action.key, action.attempt, action.deadline, action.run_id) == (KEY, 2, DEADLINE, str(RUN_ID))
        assert 29 < action.seconds_left() <= 30
        assert in_a_write()
    assert not in_a_write()
    with acting(ACTION, not_after=time.monotonic() - timedelta(hours=1).total_seconds()):
        assert current_action().seconds_left() == 0


def test_headers_carry_key_run_and_trace() -> None:
    """The key serves as idempotency key, the trace is the run's, a free-text intent cannot leave its header."""
    with acting(ACTION, not_after=0):
        headers = current_action().headers
    assert headers["Idempotency-Key"] == headers["X-Action-Key"] == KEY
    assert headers["X-Run-Id"] == str(RUN_ID)
    assert headers["X-Correlation-Id"] == "ticket/47%20%C3%BC%0D%0AX-Evil:%201"
    version, trace, span, flags = headers["traceparent"].split("-")
    assert (version, trace, len(span), flags) == ("00", RUN_ID.hex, 16, "01")


def test_a_connection_is_for_sql_tools() -> None:
    """Only a tool declared with sql=True has the ledger's connection."""
    with acting(ACTION, not_after=0), pytest.raises(NoRun, match="sql=True") as caught:
        assert current_action().connection
    assert caught.value.code == "no_connection"
    connection = object()
    with acting(ACTION, not_after=0, connection=connection):
        assert current_action().connection is connection
