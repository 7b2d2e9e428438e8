"""Bad input, one line each: a named error with a stable code that says what happened, what is safe and what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from psycopg.conninfo import make_conninfo

from langgraph_control import Approvals, Control, ControlError, Policy, writes
from langgraph_control.errors import (
    ArgumentError,
    ContractError,
    DatabaseRefused,
    GraphRefused,
    NoRun,
    PolicyError,
    RunRefused,
    SchemaMismatch,
    TrailUnavailable,
    UnknownRun,
)
from tests.support.desk import GO, POLICY, POLICY_TEXT, Desk, new_trigger, publish
from tests.support.postgres import Database

SECRET: Final = "hunter2"  # noqa: S105 - in every DSN below; no error may repeat it


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One mistake.

    Args:
        kind: the class of the error.
        code: its stable code.
        make: makes the mistake.
    """

    kind: type[ControlError]
    code: str
    make: Callable[[Desk, Path], object]


def deliver(desk: Desk, *, dsn: str | None = None, **options: Any) -> object:
    """Run an allowed refund, over another DSN if one is given."""
    if dsn is None:
        return desk.run(desk.refunding(50), **{"trigger": new_trigger(), **options})
    other = Desk(database=desk.database, control=Control(POLICY, dsn=dsn), done=desk.done)
    with other.control:
        return other.run(other.refunding(50), trigger=new_trigger(), **options)


def with_policy(text: str) -> Callable[[Desk, Path], object]:
    """Return what makes a Control of a policy file with a text."""

    def make(_: Desk, folder: Path) -> object:
        file = folder / "control.yaml"
        file.write_text(text)
        return Control(file)

    return make


def with_tools(*tools: Any, **options: Any) -> Callable[[Desk, Path], object]:
    """Return what governs tools."""
    return lambda desk, _: desk.control.govern(list(tools), **options)


@writes(key="order_id", impact="money")
def refund(order_id: str, amount: Any) -> str:
    """Refund an order."""
    raise AssertionError("done")


@tool("refund")
@writes(key="order_id", impact="money")
def same_name(order_id: str) -> str:
    """Refund an order."""
    raise AssertionError("done")


@tool("refund" * 50)
@writes(key="order_id", impact="money")
def tool_named_at_length(order_id: str) -> str:
    """Refund an order."""
    raise AssertionError("done")


@tool
def bare(order_id: str) -> str:
    """Do nobody knows what."""
    raise AssertionError("done")


two_arguments: Any = isinstance  # any function that is not called with an action alone


def graph_of(node: Any) -> Any:
    """Return a compiled graph of one node."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    builder.add_node("pay", node)
    builder.add_edge(START, "pay")
    return builder.compile()


def calling(amount: Any) -> Callable[[Desk, Path], object]:
    """Return what calls a governed refund in a node, with an amount of one's own."""

    def make(desk: Desk, _: Path) -> object:
        (governed,) = desk.control.govern([refund])
        graph = graph_of(lambda _: {"messages": [governed.invoke({"order_id": "o1", "amount": amount})]})
        return desk.run(desk.control.bind(graph, name="refunds"), trigger=new_trigger())

    return make


def outside_a_run(desk: Desk, _: Path) -> object:
    """Call a governed write by itself."""
    return desk.tool("refund").invoke({"order_id": "o1", "amount": "50"})


def resume_from_inside(desk: Desk, _: Path) -> object:
    """Resume a run while it is being driven."""

    def pay(_: Any) -> Any:
        return desk.control.resume(desk.control.get(trigger=trigger).id)

    trigger = new_trigger()
    return desk.run(desk.control.bind(graph_of(pay), name="inside"), trigger=trigger)


def elsewhere(desk: Desk, **parts: Any) -> str:
    """Return the agent's DSN with other parts and a password in it."""
    return make_conninfo(desk.database.agent, **{"password": SECRET, **parts})


CASES: Final[dict[str, Case]] = {
    "no Postgres there": Case(
        kind=TrailUnavailable,
        code="database_unreachable",
        make=lambda desk, _: deliver(desk, dsn=f"postgresql://a:{SECRET}@127.0.0.1:1/none"),
    ),
    "a DSN that is none": Case(
        kind=DatabaseRefused, code="dsn_invalid", make=lambda desk, _: deliver(desk, dsn=f"password={SECRET} what is")
    ),
    "a DSN of another database": Case(
        kind=DatabaseRefused,
        code="database_connection_refused",
        make=lambda desk, _: deliver(desk, dsn=elsewhere(desk, dbname="nowhere")),
    ),
    "a DSN of nobody": Case(
        kind=DatabaseRefused,
        code="database_connection_refused",
        make=lambda desk, _: deliver(desk, dsn=elsewhere(desk, user="nobody_at_all")),
    ),
    "a read-only login": Case(
        kind=DatabaseRefused,
        code="database_read_only",
        make=lambda desk, _: deliver(desk, dsn=elsewhere(desk, options="-c default_transaction_read_only=on")),
    ),
    "a login of another role": Case(
        kind=DatabaseRefused,
        code="database_login_lacks_rights",
        make=lambda desk, _: deliver(desk, dsn=desk.database.auditor),
    ),
    "a policy with an unknown key": Case(
        kind=PolicyError, code="policy_unknown_key", make=with_policy(POLICY_TEXT + "surprise: 1\n")
    ),
    "a policy with an unknown operator": Case(
        kind=PolicyError,
        code="policy_unknown_operator",
        make=with_policy(POLICY_TEXT.replace("lte: 100}", "upto: 100}")),
    ),
    "a policy with a duplicate key": Case(
        kind=PolicyError, code="policy_duplicate_key", make=with_policy(POLICY_TEXT + "owner: finance\n")
    ),
    "a policy with a section of later": Case(
        kind=PolicyError, code="policy_not_built", make=with_policy(POLICY_TEXT + "delegation: {refund: 3}\n")
    ),
    "a policy nobody published": Case(
        kind=PolicyError,
        code="policy_unpublished",
        make=lambda desk, _: deliver(
            Desk(
                database=desk.database,
                control=Control(Policy.parse(POLICY_TEXT + "# new\n", source="new.yaml"), dsn=desk.database.agent),
            )
        ),
    ),
    "a hook with the wrong signature": Case(
        kind=ContractError,
        code="contract_hook_signature",
        make=lambda *_: writes(key="order_id", impact="money", find=two_arguments),
    ),
    "a write without key": Case(
        kind=ContractError, code="contract_key_missing", make=lambda *_: writes(impact="money")
    ),
    "a write without impact": Case(
        kind=ContractError, code="contract_impact_missing", make=lambda *_: writes(key="order_id")
    ),
    "two tools of one name": Case(
        kind=ContractError, code="contract_duplicate_tool", make=with_tools(refund, same_name)
    ),
    "a tool whose name the record cannot keep": Case(
        kind=ContractError, code="contract_value", make=with_tools(tool_named_at_length)
    ),
    "a tool without a contract": Case(kind=ContractError, code="tool_ungoverned", make=with_tools(bare)),
    "arguments that cannot be canonical": Case(
        kind=ArgumentError, code="arguments_not_canonical", make=calling(object())
    ),
    "a float where money is declared": Case(kind=ArgumentError, code="money_is_float", make=calling(50.0)),
    "a write outside a run": Case(kind=NoRun, code="no_run", make=outside_a_run),
    "a run without intent": Case(
        kind=RunRefused, code="intent_missing", make=lambda desk, _: deliver(desk, intent=" ")
    ),
    "a run without trigger": Case(
        kind=RunRefused, code="trigger_missing", make=lambda desk, _: deliver(desk, trigger="")
    ),
    "an ungoverned tool in a graph": Case(
        kind=GraphRefused,
        code="ungoverned_tool",
        make=lambda desk, _: desk.control.bind(graph_of(lambda _: bare.invoke({})), name="bare"),
    ),
    "a write around the gate": Case(
        kind=GraphRefused,
        code="write_outside_gate",
        make=lambda desk, _: desk.control.bind(graph_of(lambda _: same_name.invoke({})), name="around"),
    ),
    "a graph without name": Case(
        kind=GraphRefused,
        code="graph_name_missing",
        make=lambda desk, _: desk.control.bind(graph_of(lambda _: {}), name=""),
    ),
    "a graph that was not bound": Case(
        kind=RunRefused,
        code="graph_not_bound",
        make=lambda desk, _: desk.run(graph_of(lambda _: {}), trigger=new_trigger()),
    ),
    "an unknown run": Case(
        kind=UnknownRun, code="run_unknown", make=lambda desk, _: desk.control.resume("run_" + "0" * 32)
    ),
    "a run that is not parked": Case(kind=RunRefused, code="run_not_parked", make=resume_from_inside),
}


@pytest.fixture(scope="module")
def desk_database(shared_database: Database) -> Database:
    """A ledger with the desk's policy."""
    publish(shared_database)
    return shared_database


@pytest.fixture
def desk(desk_database: Database) -> Iterator[Desk]:
    """A desk that is closed at the end."""
    made = Desk.on(desk_database)
    with made.control:
        yield made


def check(error: ControlError, kind: type[ControlError], code: str) -> None:
    """Check that an error is named, and says the three things that people need."""
    assert type(error) is kind
    assert error.code == code
    assert error.what
    assert error.safe
    assert error.todo
    text = str(error)
    assert text.endswith(f"[{code}]")
    assert SECRET not in text
    assert "0x" not in text  # no object's repr


def effects(database: Database) -> int:
    """Return how many attempts were ever begun on a ledger."""
    with psycopg.connect(database.admin) as admin:
        row = admin.execute("SELECT coalesce(sum(attempts), 0) FROM control.action").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("what", CASES)
def test_a_mistake_is_named_before_any_effect(desk: Desk, tmp_path: Path, what: str) -> None:
    """The error has its class, its code, what happened, what is safe and what to do; nothing was begun."""
    case = CASES[what]
    before = effects(desk.database)
    with pytest.raises(ControlError) as raised:
        case.make(desk, tmp_path)
    check(raised.value, case.kind, case.code)
    assert (desk.done, effects(desk.database)) == ([], before)


def test_a_schema_without_our_functions(database: Database) -> None:
    """A database of another make is told apart from one that is down: migrate."""
    with psycopg.connect(database.admin, autocommit=True) as admin:
        admin.execute("DROP FUNCTION control.claim_v1 CASCADE")
    made = Desk.on(database)
    with made.control, pytest.raises(ControlError) as raised:
        deliver(made)
    check(raised.value, SchemaMismatch, "schema_functions_missing")
    assert "claim_v1" in str(raised.value)
    assert made.done == []


@contextmanager
def unwritable(database: Database, condition: str) -> Iterator[None]:
    """Make the trail refuse entries, as a full disk does."""
    with psycopg.connect(database.admin, autocommit=True) as admin:
        admin.execute(
            "CREATE FUNCTION public.no_space() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END$$"
        )
        admin.execute(
            f"CREATE TRIGGER no_space BEFORE INSERT ON control.entry FOR EACH ROW WHEN ({condition})"
            " EXECUTE FUNCTION public.no_space()".encode()
        )
        try:
            yield
        finally:
            admin.execute("DROP TRIGGER no_space ON control.entry")
            admin.execute("DROP FUNCTION public.no_space")


def test_a_trail_that_takes_no_entry_stops_the_run(database: Database) -> None:
    """Where not even the run can be recorded, nothing is begun."""
    publish(database)
    made = Desk.on(database)
    with made.control, unwritable(database, "true"), pytest.raises(ControlError) as raised:
        deliver(made)
    check(raised.value, TrailUnavailable, "database_unreachable")
    assert (made.done, effects(database)) == ([], 0)


def test_a_trail_that_takes_no_claim_stops_the_write(database: Database) -> None:
    """Where the claim cannot be recorded, the tool is not called; once it can, the same delivery goes on."""
    publish(database)
    made = Desk.on(database)
    with made.control:
        graph, trigger = made.refunding(50), new_trigger()
        with (
            unwritable(database, "NEW.facts LIKE '%action.attempt_started%'"),
            pytest.raises(TrailUnavailable) as raised,
        ):
            made.run(graph, trigger=trigger)
        assert raised.value.todo
        assert trigger not in str(raised.value)
        assert (made.done, effects(database)) == ([], 0)
        assert made.control.get(trigger=trigger).state != "done"
        assert str(made.run(graph, trigger=trigger)) == "done"
        assert made.done == ["o0:50"]


def test_an_approval_by_a_name_that_is_none(desk: Desk) -> None:
    """A vote on what is no request is refused by name."""
    with Approvals(desk.database.approver("ana")) as approvals, pytest.raises(ControlError) as raised:
        approvals.approve("apr_1")
    assert raised.value.code == "approval_name_invalid"
    assert raised.value.todo


def test_the_model_is_told_what_it_did_wrong(desk: Desk) -> None:
    """Inside a tool call a bad argument is no crash but an error message that the model can act on."""
    (governed,) = desk.control.govern([refund])

    def pay(_: Any) -> Any:
        asked = {"name": "refund", "args": {"order_id": "o1", "amount": 50.0}, "id": "c1", "type": "tool_call"}
        return {"messages": [governed.invoke(asked)]}

    run = desk.run(desk.control.bind(graph_of(pay), name="told"), trigger=new_trigger(), given=GO)
    message = run.output["messages"][-1]
    assert isinstance(message, ToolMessage)
    assert message.status == "error"
    assert "money_is_float" in str(message.content)
