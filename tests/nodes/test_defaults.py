"""Arguments that are left to their defaults: left out or spelled out, in this release or the next, it is one change."""

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Annotated, Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode
from langgraph.types import Command
from pydantic import BaseModel, Field, create_model
from pydantic.v1 import BaseModel as OldModel
from pydantic.v1 import Field as OldField

from langgraph_control.errors import ContractError
from langgraph_control.nodes.contracts import Contract, reads, resolve_contracts, writes
from langgraph_control.nodes.made_defaults import made_defaults
from tests.compat.building import around
from tests.support.entered_run import EnteredRun, async_form, invoked
from tests.support.scripted_model import call, calls

HOWS = ["sync", "async"]
MESSAGES = writes(key=("order", "channel"), impact="record")


def sending(style: str, sent: list[tuple[str, str]], channel: str = "email") -> BaseTool:
    """Return a tool that sends a message, declared in one of three ways."""

    def send(order: str, channel: str = channel) -> str:
        """Send a message."""
        sent.append((order, channel))
        return f"sent by {channel}"

    if style == "function":
        return StructuredTool.from_function(func=send, coroutine=async_form(send))
    said = {"order": {"type": "string"}, "channel": {"type": "string", "default": channel}}
    schema: Any = {"type": "object", "properties": said, "required": ["order"]}
    if style == "model":
        schema = create_model("Ask", order=(str, ...), channel=(str, channel))
    return StructuredTool(
        name="send", description="Send a message.", args_schema=schema, func=send, coroutine=async_form(send)
    )


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("style", ["function", "model", "JSON Schema"])
@pytest.mark.parametrize("repeatable", [False, True])
def test_a_default_spelled_out_is_the_default(*, style: str, how: str, repeatable: bool, run: EnteredRun) -> None:
    """A model that leaves an identifying argument out, and one that names its default, ask for one change."""
    sent: list[tuple[str, str]] = []
    contract = writes(key=("order", "channel"), impact="record", repeatable=repeatable)
    both = calls(call("send", order="o1", call_id="c1"), call("send", order="o1", channel="email", call_id="c2"))
    graph = around(InMemorySaver(), ToolNode([run.govern(sending(style, sent), contract)]))
    invoked(how, graph, {"messages": [both]}, run.config)
    assert len(sent) == (2 if repeatable else 1)
    assert len({row.key for row in run.rows()}) == len(sent)


@pytest.mark.parametrize("style", ["function", "model", "JSON Schema"])
@pytest.mark.parametrize("first", [{}, {"channel": "email"}], ids=["left out first", "spelled out first"])
def test_what_was_approved_is_the_same_spelled_out(first: dict[str, str], style: str, run: EnteredRun) -> None:
    """A request is for what it comes to: the call it was asked for by may name its defaults or leave them out."""
    sent: list[tuple[str, str]] = []
    contract = writes(key="order", impact="message")
    graph = around(InMemorySaver(), ToolNode([run.govern(sending(style, sent), contract)]))
    invoked("sync", graph, {"messages": [calls(call("send", order="o1", call_id="c1", **first))]}, run.config)
    run.approve()
    other = {} if first else {"channel": "email"}
    invoked("sync", graph, {"messages": [calls(call("send", order="o1", call_id="c2", **other))]}, run.config)
    assert sent == [("o1", "email")]


@pytest.mark.parametrize("style", ["function", "model", "JSON Schema"])
def test_what_was_approved_by_another_default_is_asked_anew(style: str, run: EnteredRun) -> None:
    """Where the next release has another default, nothing runs that nobody saw."""
    sent: list[tuple[str, str]] = []
    contract = writes(key="order", impact="message")
    graph = around(InMemorySaver(), ToolNode([run.govern(sending(style, sent), contract)]))
    invoked("sync", graph, {"messages": [calls(call("send", order="o1", call_id="c1"))]}, run.config)
    run.approve()
    later = sending(style, sent, channel="sms")
    graph = around(InMemorySaver(), ToolNode([run.govern(later, contract)]))
    invoked("sync", graph, {"messages": [calls(call("send", order="o1", call_id="c2"))]}, run.config)
    assert sent == []
    assert run.actions() == [("send", "needs_approval", 0)]


@pytest.mark.parametrize("style", ["function", "model", "JSON Schema"])
def test_another_value_than_the_default_is_another_change(style: str, run: EnteredRun) -> None:
    """Only what equals the default counts as not given."""
    sent: list[tuple[str, str]] = []
    both = calls(call("send", order="o1", call_id="c1"), call("send", order="o1", channel="sms", call_id="c2"))
    graph = around(InMemorySaver(), ToolNode([run.govern(sending(style, sent), MESSAGES)]))
    invoked("sync", graph, {"messages": [both]}, run.config)
    assert sorted(sent) == [("o1", "email"), ("o1", "sms")]


def test_a_default_that_changes_with_a_release_does_nothing_twice(run: EnteredRun) -> None:
    """A call that was left to its default is the same call where the next release has another one."""
    sent: list[tuple[str, str]] = []
    for number, made in enumerate((sending("function", sent), sending("function", sent, channel="sms"))):
        graph = around(InMemorySaver(), ToolNode([run.govern(made, MESSAGES)]))
        invoked("sync", graph, {"messages": [calls(call("send", order="o1", call_id=f"c{number}"))]}, run.config)
    assert sent == [("o1", "email")]


class Line(BaseModel):
    """A line with an id of its own."""

    sku: str
    line_id: str = Field(default_factory=lambda: uuid.uuid4().hex)


@dataclass
class Stamp:
    """When something was asked for."""

    by: str
    at: dt.datetime = dataclass_field(default_factory=dt.datetime.now)


class OldAsk(OldModel):
    """As pydantic's version 1 declares it."""

    order: str
    request_id: str = OldField(default_factory=lambda: uuid.uuid4().hex)


class Category(BaseModel):
    """Refers to itself."""

    name: str
    inside: "list[Category]" = Field(default_factory=list)
    made: float = Field(default_factory=lambda: uuid.uuid4().int)


def taking(kind: Any, name: str = "request_id") -> BaseTool:
    """Return a tool that takes an order and one more argument."""

    def pay(order: str, **more: Any) -> str:
        """Pay."""
        return f"{order} {more}"

    model: Any = type("Pay", (BaseModel,), {"__annotations__": {"order": str, name: kind}, "__module__": __name__})
    return StructuredTool(name="pay", description="Pay.", args_schema=model, func=pay)


ANEW = {
    "an id": Annotated[str, Field(default_factory=lambda: uuid.uuid4().hex)],
    "a time": Annotated[dt.datetime, Field(default_factory=dt.datetime.now)],
    "a day": Annotated[dt.date, Field(default_factory=dt.date.today)],
    "an id of each line": list[Line],
    "a time inside a dataclass": Stamp,
    "an id inside a model that holds itself": dict[str, Category],
}


@pytest.mark.parametrize("kind", ANEW.values(), ids=ANEW)
@pytest.mark.parametrize(
    "contract",
    [writes(key="order", impact="money"), writes(key=("order", "request_id"), impact="money")],
    ids=["not in key", "in key"],
)
def test_a_default_that_is_made_anew_is_refused(kind: Any, contract: Contract) -> None:
    """What is another with each call identifies nothing, and no repeat would be what was approved."""
    with pytest.raises(ContractError, match="request_id") as refused:
        resolve_contracts([taking(kind)], {"pay": contract})
    assert refused.value.code == "contract_default_made"


def test_so_is_one_of_an_old_model() -> None:
    """Pydantic's version 1 says it in its own way."""
    old: Any = OldAsk
    made = StructuredTool(name="pay", description="Pay.", args_schema=old, func=lambda **given: str(given))
    for key in ("order", ("order", "request_id")):
        with pytest.raises(ContractError, match="request_id"):
            resolve_contracts([made], {"pay": writes(key=key, impact="money")})


class Early(BaseModel):
    """Refers to what comes after it."""

    order: str
    lines: "list[Late]"


class Late(BaseModel):
    """Comes after it."""

    line_id: str = Field(default_factory=lambda: uuid.uuid4().hex)


def test_so_is_one_of_a_model_that_was_not_whole_yet() -> None:
    """What a model refers to by name is looked at, too."""
    made = StructuredTool(name="pay", description="Pay.", args_schema=Early, func=lambda **given: str(given))
    assert made_defaults(made).anew == {"lines"}


STEADY: dict[str, Any] = {
    "list": Annotated[list[str], Field(default_factory=list)],
    "a constant of a function": Annotated[list[str], Field(default_factory=lambda: ["a"])],
    "made of the others": Annotated[str, Field(default_factory=lambda given: f"for {given['order']}")],
    "a function that fails": Annotated[str, Field(default_factory=lambda: 1 / 0)],
    "a constant": Annotated[str, Field(default="x")],
}


@pytest.mark.parametrize("kind", STEADY.values(), ids=STEADY)
def test_a_default_that_is_always_the_same_is_taken(kind: Any) -> None:
    """What a function makes is no fault as long as it makes the same."""
    assert resolve_contracts([taking(kind)], {"pay": writes(key="order", impact="money")})


def test_only_what_plainly_stays_the_same_may_identify() -> None:
    """Whether some function makes the same tomorrow nobody knows; what list makes everybody does."""
    identifying = {"pay": writes(key=("order", "request_id"), impact="money")}
    for name in ("list", "a constant"):
        assert resolve_contracts([taking(STEADY[name])], identifying)
    for name in ("a constant of a function", "made of the others", "a function that fails"):
        with pytest.raises(ContractError, match="request_id"):
            resolve_contracts([taking(STEADY[name])], identifying)


def paying(paid: list[tuple[str, str]]) -> Callable[..., Any]:
    """Return a function whose argument nobody sends."""

    def pay(order: str, request_id: Annotated[str, Field(default_factory=lambda: uuid.uuid4().hex)]) -> str:
        """Pay."""
        paid.append((order, request_id))
        return "paid"

    return pay


@pytest.mark.parametrize("how", HOWS)
def test_where_it_is_wording_what_is_on_record_runs(how: str, run: EnteredRun) -> None:
    """Named in explain=, a value that is made anew makes no other call: what people approved runs, once."""
    paid: list[tuple[str, str]] = []
    body = paying(paid)
    made = StructuredTool.from_function(func=body, coroutine=async_form(body), name="send")
    governed = run.govern(made, writes(key="order", impact="message", explain="request_id"))
    graph = around(InMemorySaver(), ToolNode([governed]))
    invoked(how, graph, {"messages": [calls(call("send", order="o1", call_id="c1"))]}, run.config)
    (card,) = graph.get_state(run.config).interrupts
    assert paid == []
    run.approve()
    for _ in range(2):  # the second finds it done
        invoked(how, graph, Command(resume={card.id: {"control": card.value["control"]}}), run.config)
    assert paid == [("o1", card.value["what"]["arguments"]["request_id"])]


def test_a_read_may_have_any_default() -> None:
    """Reading is free to repeat."""

    @tool
    def look(order: str, asked_at: Annotated[float, Field(default_factory=lambda: uuid.uuid4().int)]) -> str:
        """Look."""
        return f"{order} {asked_at}"

    assert resolve_contracts([look], {"look": reads()})
