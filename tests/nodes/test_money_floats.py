"""Money is no float: a parameter that is one is refused, and a JSON number is what was written."""

from decimal import Decimal
from typing import Annotated, Any

import pytest
from langchain_core.tools import StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode
from pydantic import AfterValidator, BaseModel, Field

from langgraph_control.errors import ArgumentError, ContractError
from langgraph_control.nodes.contracts import resolve_contracts, writes
from langgraph_control.nodes.money_floats import as_sent, exactly
from tests.compat.building import around, on
from tests.support.entered_run import EnteredRun, async_form, invoked
from tests.support.scripted_model import call, calls

HOWS = ["sync", "async"]
MONEY = writes(key=(), impact="money", explain="why")


class Line(BaseModel):
    """A line of an invoice."""

    price: float
    then: list["Line"] = []


def paying(kind: Any) -> Any:
    """Return a tool whose amount is of a type."""

    def pay(amount: Any, why: float = 0.0) -> None:
        """Pay."""
        del amount, why

    pay.__annotations__["amount"] = kind
    return tool(pay)


@pytest.mark.parametrize(
    "kind",
    [
        float,
        float | None,
        Decimal | float,
        Annotated[float, Field(gt=0)],
        list[float],
        dict[str, float],
        tuple[str, float],
        Line,
        list[Line] | None,
    ],
    ids=str,
)
def test_a_float_where_money_is_declared_is_refused_when_it_is_governed(kind: Any) -> None:
    """Whoever declares the tool is told, not the model in each call; any other impact may have floats."""
    pay = paying(kind)
    with pytest.raises(ContractError, match="amount is, or holds, a float") as refused:
        resolve_contracts([pay], {"pay": MONEY})
    assert refused.value.code == "contract_money_float"
    assert "Decimal" in refused.value.todo
    assert resolve_contracts([pay], {"pay": writes(key=(), impact="record")})


@pytest.mark.parametrize(
    "kind",
    [Decimal, int, str, Any, list[Decimal], Annotated[float, AfterValidator(lambda value: Decimal(str(value)))]],
    ids=["Decimal", "int", "str", "Any", "list", "validator"],
)
def test_what_is_or_may_become_exact_is_governed(kind: Any) -> None:
    """Decimals, minor units and texts are money, and so is what a validator makes of a float; words may be anything."""
    assert resolve_contracts([paying(kind)], {"pay": MONEY})


def remote(paid: list[Any]) -> StructuredTool:
    """Return a tool that declares a number by JSON Schema, as servers do."""

    def pay(**given: Any) -> str:
        paid.append(given)
        return "paid"

    schema = {"type": "object", "properties": {"amount": {"type": "number"}, "lines": {"type": "array"}}}
    return StructuredTool(name="pay", description="Pay.", args_schema=schema, func=pay, coroutine=async_form(pay))


@pytest.mark.parametrize("how", HOWS)
def test_a_json_number_is_what_was_written(how: str, run: EnteredRun) -> None:
    """The policy, people and the record see 50.10 exactly; the tool gets the number that it is to send."""
    paid: list[Any] = []
    graph = around(InMemorySaver(), ToolNode([run.govern(remote(paid), writes(key="amount", impact="money"))]))
    asked = {"messages": [calls(call("pay", amount=50.1, lines=[{"price": 0.1}]))]}
    result = invoked(how, graph, asked, run.config)
    assert result["messages"][-1].content == "paid"
    assert paid == [{"amount": 50.1, "lines": [{"price": 0.1}]}]
    assert type(paid[0]["amount"]) is float


@pytest.mark.parametrize("how", HOWS)
def test_a_json_number_that_was_approved_is_sent_as_a_number(how: str, run: EnteredRun) -> None:
    """What runs after the yes is the number that was asked for."""
    paid: list[Any] = []
    graph = around(InMemorySaver(), ToolNode([run.govern(remote(paid), writes(key=(), impact="money"))]))
    config = on(run.config, thread_id="approved")
    invoked(how, graph, {"messages": [calls(call("pay", amount=120.5))]}, config)
    assert paid == []
    run.approve()
    invoked(how, graph, None, config)
    assert paid == [{"amount": 120.5}]


def test_exact_numbers_come_back_as_they_were_sent() -> None:
    """To and fro a number is the same; what no JSON number keeps is refused, not rounded."""
    sent = {"a": 0.1, "b": [1e22, 3, "x", None, True], "c": {"d": 12.5}}
    assert exactly(sent)["a"] == Decimal("0.1")
    assert as_sent(exactly(sent)) == sent
    with pytest.raises(ArgumentError) as refused:
        as_sent({"a": Decimal("0.12345678901234567890")})
    assert refused.value.code == "money_is_float"
