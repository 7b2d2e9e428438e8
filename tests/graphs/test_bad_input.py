"""What callers get wrong: each a named error with a stable code, before any effect."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.types import Command

from langgraph_control import Control, ControlError
from langgraph_control.errors import DatabaseRefused, PolicyError, RunRefused, SchemaMismatch, TrailUnavailable
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
