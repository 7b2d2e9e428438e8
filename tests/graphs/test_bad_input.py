"""What callers get wrong: each a named error with a stable code, before any effect."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.types import Command

from langgraph_control import Approvals, Control, ControlError, reads, writes
from langgraph_control.errors import (
    ArgumentError,
    DatabaseRefused,
    PolicyError,
    RunRefused,
    SchemaMismatch,
    TrailUnavailable,
    UnknownRun,
)
from langgraph_control.graphs.ledger import DSN_VARIABLE
from tests.support.desk import GO, POLICY, POLICY_TEXT, Desk
from tests.support.postgres import Database

ARGUMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "no trigger": ("trigger_missing", {"trigger": ""}),
    "a trigger that is no text": ("trigger_missing", {"trigger": 4711}),
    "a long trigger": ("trigger_invalid", {"trigger": "t" * 513}),
    "a trigger with a line feed": ("trigger_invalid", {"trigger": "a\nb"}),
    "an empty intent": ("intent_missing", {"intent": " "}),
    "no actor": ("actor_missing", {"actor": ""}),
    "an empty person": ("on_behalf_of_missing", {"on_behalf_of": ""}),
    "an empty thread": ("thread_missing", {"thread": ""}),
    "a deadline without a zone": ("deadline_invalid", {"deadline": datetime(2999, 1, 1)}),  # noqa: DTZ001 - the mistake
    "a deadline that has passed": ("deadline_invalid", {"deadline": datetime(2000, 1, 1, tzinfo=UTC)}),
    "a deadline that is no span": ("deadline_invalid", {"deadline": "soon"}),
    "a negative deadline": ("deadline_invalid", {"deadline": timedelta(seconds=-1)}),
    "an endless deadline": ("deadline_invalid", {"deadline": timedelta(days=999_999_999)}),
    "no input": ("input_missing", {"given": None}),
    "a command as input": ("input_missing", {"given": Command(resume="yes")}),
    "an input that cannot be stored": ("input_not_storable", {"given": {"log": [object()]}}),
    "a huge input": ("input_too_large", {"given": {"log": ["x" * 5_000_000]}}),
    "a thread in the config": ("config_refused", {"config": {"configurable": {"thread_id": "mine"}}}),
    "a checkpoint in the config": ("config_refused", {"config": {"configurable": {"checkpoint_id": "old"}}}),
    "a run in the config": ("config_refused", {"config": {"configurable": {"__control_run": "another"}}}),
    "another durability": ("config_refused", {"config": {"configurable": {"__pregel_durability": "exit"}}}),
    "durability itself": ("config_refused", {"config": {"durability": "exit"}}),
    "a config that is none": ("config_refused", {"config": 42}),
    "a configurable that is none": ("config_refused", {"config": {"configurable": 5}}),
}


@pytest.mark.parametrize("what", ARGUMENTS)
def test_a_wrong_argument_is_refused(desk: Desk, trigger: str, what: str) -> None:
    """Each is refused by name before a run is registered."""
    code, wrong = ARGUMENTS[what]
    with pytest.raises(RunRefused) as refused:
        desk.run(desk.refunding(50), **{"trigger": trigger, **wrong})
    assert refused.value.code == code
    assert desk.done == []
    with pytest.raises(ControlError):
        desk.control.get(trigger=trigger)


@pytest.mark.parametrize("deadline", ["2h", timedelta(hours=2), datetime(2999, 1, 1, tzinfo=UTC)])
def test_a_deadline_has_three_forms(desk: Desk, trigger: str, deadline: Any) -> None:
    """A span as text, a timedelta and a moment are all accepted and stored as a moment."""
    assert str(desk.run(desk.refunding(50), trigger=trigger, deadline=deadline)) == "done"


def test_a_run_needs_a_bound_graph(desk: Desk, trigger: str) -> None:
    """A graph that was never bound, or bound by another Control, is refused."""
    bound_elsewhere = Desk.on(desk.database)
    with bound_elsewhere.control, pytest.raises(RunRefused) as refused:
        desk.run(bound_elsewhere.refunding(50), trigger=trigger)
    assert refused.value.code == "graph_not_bound"


def test_get_takes_a_name_or_a_trigger(desk: Desk) -> None:
    """Neither and both are refused."""
    for wrong in ({}, {"run_id": "run_1", "trigger": "t"}):
        with pytest.raises(RunRefused) as refused:
            desk.control.get(**wrong)
        assert refused.value.code == "run_not_named"


@pytest.mark.parametrize("trigger", ["a\x00b", "\ud800", 7, "t" * 1025])
def test_a_trigger_that_none_can_have_is_named(desk: Desk, trigger: Any) -> None:
    """Nothing is asked of the ledger: what cannot be a trigger is said to be that."""
    with pytest.raises(ArgumentError, match="trigger"):
        desk.control.get(trigger=trigger)


@pytest.mark.parametrize("name", [b"x", 5, "run_1", "a\x00b", "\ud800"])
def test_a_name_that_no_run_can_have_is_unknown(desk: Desk, name: Any) -> None:
    """Whoever looks up, drives on or answers by it is told that it is no run's name."""
    for asking in (desk.control.get, desk.control.resume, partial(desk.control.answer, answers={"q": "yes"})):
        with pytest.raises(UnknownRun, match="not the name of a run"):
            asking(name)


@pytest.mark.parametrize("answers", [[1], "x", 5])
def test_answers_are_by_question(desk: Desk, trigger: str, answers: Any) -> None:
    """Anything else than a mapping is refused before the run is driven."""
    run = desk.run(desk.refunding(900), trigger=trigger)
    for resuming in (desk.control.resume, desk.control.answer):
        with pytest.raises(ArgumentError) as refused:
            resuming(run.id, answers)
        assert refused.value.code == "answers_invalid"


FRONT_DOOR: dict[str, tuple[str, Callable[[Any], object], Any]] = {
    "no policy": ("policy_missing", Control, None),
    "an approver's DSN that is none": ("dsn_invalid", Approvals, 5),
    "no list of tools": ("tools_invalid", lambda it: Control(POLICY).govern(it), 5),
    "no mapping of contracts": ("contracts_invalid", lambda it: Control(POLICY).govern([], contracts=it), 5),
    "a partial as a tool": ("tool_invalid", lambda it: Control(POLICY).govern([it]), partial(print, 1)),
    "reads without parentheses": ("contract_parentheses", reads, print),
    "writes without parentheses": ("contract_parentheses", writes, print),
    "sql that is neither": ("contract_value", lambda it: writes(key="a", impact="money", sql=it), "no"),
    "repeatable that is neither": ("contract_value", lambda it: writes(key="a", impact="money", repeatable=it), 1),
    "a system that is no text": ("contract_value", lambda it: reads(system=it), 5),
    "a system that does not print": ("contract_value", lambda it: reads(system=it), "a\x00b"),
    "an empty system": ("contract_value", lambda it: reads(system=it), " "),
    "a long system": ("contract_value", lambda it: writes(key="a", impact="money", system=it), "s" * 257),
    "no version": ("contract_value", lambda it: writes(key="a", impact="money", version=it), None),
}


@pytest.mark.parametrize("what", FRONT_DOOR)
def test_a_slip_at_the_front_door_is_named(what: str) -> None:
    """What a beginner gets wrong is an error with a code and a remedy, and none of Python's own."""
    code, slip, given = FRONT_DOOR[what]
    with pytest.raises(ControlError) as refused:
        slip(given)
    assert refused.value.code == code
    assert refused.value.todo


def test_a_dsn_that_is_no_text_is_named() -> None:
    """Found when it is used first, like any other that is wrong."""
    dsn: Any = 5
    with Control(POLICY, dsn=dsn) as control, pytest.raises(DatabaseRefused) as refused:
        control.get(trigger="any")
    assert refused.value.code == "dsn_invalid"


def test_a_missing_dsn_names_every_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a DSN nothing is opened; the first use names the variable, the argument and the development server."""
    monkeypatch.delenv(DSN_VARIABLE, raising=False)
    with Control(POLICY) as control, pytest.raises(DatabaseRefused) as refused:
        control.get(trigger="any")
    assert refused.value.code == "dsn_missing"
    for remedy in (DSN_VARIABLE, "dsn=", "Control.local"):
        assert remedy in refused.value.todo


@pytest.fixture
def unpublished(database: Database) -> Iterator[Desk]:
    """A desk on a ledger without its policy."""
    made = Desk.on(database)
    with made.control:
        yield made


def test_an_unpublished_policy_is_refused(unpublished: Desk, trigger: str) -> None:
    """A policy the admin never published decides nothing; the error says how to publish it."""
    with pytest.raises(PolicyError, match="langgraph-control policy publish") as refused:
        unpublished.run(unpublished.refunding(50), trigger=trigger)
    assert refused.value.code == "policy_unpublished"
    assert unpublished.done == []


@pytest.mark.parametrize(
    ("dsn", "kind", "code"),
    [
        ("postgresql://nobody@127.0.0.1:1/none", TrailUnavailable, "database_unreachable"),
        ("what is this", DatabaseRefused, "dsn_invalid"),
    ],
)
def test_a_database_that_is_not_there_is_named(trigger: str, dsn: str, kind: type[ControlError], code: str) -> None:
    """A server that cannot be reached and a DSN that cannot be read are errors of their own; nothing is done."""
    with Control(POLICY, dsn=dsn) as control, pytest.raises(kind) as refused:
        control.get(trigger=trigger)
    assert refused.value.code == code


def test_an_auditors_login_cannot_run(desk: Desk, trigger: str) -> None:
    """A login of another role may read, and is refused when it is to drive a run."""
    made = Desk(database=desk.database, control=Control(POLICY, dsn=desk.database.auditor))
    with made.control, pytest.raises(DatabaseRefused):
        made.run(made.refunding(50), trigger=trigger)
    assert made.done == []


def test_a_database_that_was_never_migrated_is_named(database: Database) -> None:
    """Without our functions the error says to migrate."""
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute("DROP SCHEMA control CASCADE")
    with (
        Control(POLICY, dsn=database.agent) as control,
        pytest.raises(SchemaMismatch, match="langgraph-control migrate"),
    ):
        control.get(trigger="any")


def test_a_policy_file_is_read_when_the_control_is_made(tmp_path: Path) -> None:
    """A missing, undecodable or wrong file is an error at once, and named."""
    file = tmp_path / "control.yaml"
    with pytest.raises(PolicyError) as refused:
        Control(file)
    assert refused.value.code == "policy_unreadable"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError):
        Control(file)
    file.write_text(POLICY_TEXT + "surprise: 1\n")
    with pytest.raises(PolicyError, match=r"control\.yaml:\d+ surprise"):
        Control(str(file))
    file.write_text(POLICY_TEXT)
    assert Control(file).policy.hash == POLICY.hash


def test_a_closed_control_says_so(desk: Desk, trigger: str) -> None:
    """After closing, nothing is done, and the error says what to do."""
    graph = desk.refunding(50)
    desk.run(graph, trigger=trigger)
    desk.control.close()
    desk.control.close()
    with pytest.raises(TrailUnavailable) as refused:
        desk.run(graph, trigger=trigger)
    assert refused.value.code == "control_closed"


def test_the_first_deliverys_input_counts(desk: Desk, trigger: str) -> None:
    """A run's input is stored with it: what a later delivery brings is not used."""
    assert GO
    graph = desk.refunding(500)
    run = desk.run(graph, trigger=trigger)
    desk.approve(run.approvals)
    again = desk.run(graph, trigger=trigger, given={"messages": [{"role": "user", "content": "something else"}]})
    assert again.output["messages"][0].content == GO["messages"][0]["content"]
