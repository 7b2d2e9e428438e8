"""What the ledger stored is what every delivery gives; no result, whatever it is, stops a settle."""

import dataclasses
import json
import sys
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from fractions import Fraction
from typing import Annotated, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import StructuredTool, tool
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Overwrite, Send
from pydantic import BaseModel
from typing_extensions import TypedDict

from langgraph_control.errors import SchemaMismatch
from langgraph_control.guards.canonical import ABSENT
from langgraph_control.nodes.results import RESULT_BYTES_MAX, decode, encode, readdress

texts = st.text(max_size=8) | st.sampled_from(["$tuple", "$message", "$$", "\ud800", "\x00", ""])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.decimals(allow_nan=False)
    | texts
    | st.binary(max_size=8)
    | st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=2))))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.just(ABSENT)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(texts | st.integers() | st.tuples(st.integers(), texts), inner, max_size=4)
    ),
    max_leaves=12,
)
blocks = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=8)}), max_size=3)
tool_messages = st.builds(
    ToolMessage,
    content=st.text(max_size=8) | blocks,
    tool_call_id=st.sampled_from(["", "call_1", "call_2"]),
    id=st.none() | st.text(max_size=4),
    name=st.none() | st.text(max_size=4),
    status=st.sampled_from(["success", "error"]),
    artifact=values,
)
ai_messages = st.builds(
    lambda content, call: AIMessage(content, tool_calls=[{"name": "f", "args": {}, "id": call}] if call else []),
    st.text(max_size=8),
    st.sampled_from([None, "call_1", "inner"]),
)
messages = tool_messages | ai_messages | st.builds(HumanMessage, content=st.text(max_size=8), id=st.text(max_size=3))
commands = st.builds(
    Command,
    graph=st.none() | st.just(Command.PARENT),
    update=st.none()
    | st.dictionaries(st.text(max_size=4), values | st.lists(messages, max_size=3), max_size=3)
    | st.lists(st.tuples(st.text(max_size=4), values), max_size=3),
    resume=st.none() | values,
    goto=st.text(min_size=1, max_size=4) | st.lists(st.builds(Send, st.text(max_size=4), values), max_size=2),
)
results = (
    values | messages | commands | st.tuples(texts | blocks, values) | st.lists(tool_messages | commands, max_size=3)
)


def same(one: Any, other: Any) -> bool:
    """Equality that sees types, orders and objects without an equality of their own."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Send):
        return same((one.node, one.arg, one.timeout), (other.node, other.arg, other.timeout))
    if isinstance(one, Command):
        return same(
            (one.graph, one.update, one.resume, one.goto), (other.graph, other.update, other.resume, other.goto)
        )
    if isinstance(one, BaseMessage):
        return same(dict(one), dict(other))
    return bool(one == other)


@given(values)
def test_values_come_back_as_they_were(value: Any) -> None:
    """Type, order, digits and time zone offsets of plain results survive."""
    assert same(decode(encode(value)), value)


@given(results)
def test_what_was_delivered_once_is_delivered_again(result: Any) -> None:
    """Encoding a delivered result gives the stored bytes again: first delivery and replay are equal."""
    stored = encode(result)
    delivered = decode(stored)
    assert encode(delivered) == stored
    assert same(decode(encode(delivered)), delivered)


@given(results)
def test_readdressing_gives_every_answer_this_calls_id_and_none_of_its_own(result: Any) -> None:
    """After delivery no tool message is without a call, and storing the delivery again gives the same bytes."""
    stored = encode(result)
    delivered = readdress(decode(stored), "this call")
    assert all(message.tool_call_id for message in found(delivered))
    assert all(message.id is None for message in found(delivered) if message.tool_call_id == "this call")


def found(result: Any) -> list[ToolMessage]:
    """Return the tool messages anywhere in a result, artifacts aside."""
    if isinstance(result, ToolMessage):
        return [result]
    if isinstance(result, Command):
        return found(result.update) + found(result.goto)
    if isinstance(result, Send):
        return found(result.arg)
    if isinstance(result, dict):
        return [message for item in result.values() for message in found(item)]
    if isinstance(result, (list, tuple)):
        return [message for item in result for message in found(item)]
    return []


def test_a_tool_message_keeps_everything_but_its_ids() -> None:
    """Content blocks, artifact, status and name come back; id and call id are this delivery's."""
    message = ToolMessage(
        [{"type": "text", "text": "a"}, "b"],
        tool_call_id="call_old",
        id="old",
        name="refund",
        status="error",
        artifact={"total": Decimal("12.50"), "rows": [(1, 2)]},
        additional_kwargs={"k": 1},
        response_metadata={"m": 2},
    )
    delivered = readdress(decode(encode(message)), "call_new")
    assert same(delivered, message.model_copy(update={"tool_call_id": "call_new", "id": None}))
    assert b"call_old" not in encode(message)


def test_content_and_artifact_come_back_as_the_pair() -> None:
    """A tool with response_format="content_and_artifact" can be given its stored pair."""
    assert decode(encode(("3 rows", {"rows": {1, 2, 3}}))) == ("3 rows", {"rows": {1, 2, 3}})


def test_a_command_comes_back_whole() -> None:
    """Messages, goto, Send with its timeout, Overwrite and the parent graph survive."""
    command = Command(
        graph=Command.PARENT,
        update={
            "messages": [
                ToolMessage("handed over", tool_call_id="call_old"),
                HumanMessage("hi", id="h"),
                SystemMessage("s"),
                ChatMessage(content="c", role="r"),
                AIMessageChunk(content="chunk"),
                RemoveMessage(id="gone"),
            ],
            "seen": {1, 2},
            "total": Overwrite([1]),
        },
        goto=[Send("worker", {"order": "o1"}, timeout=3), "end"],
    )
    delivered = readdress(decode(encode(command)), "call_new")
    assert delivered.update["messages"][0].tool_call_id == "call_new"
    assert same(delivered.update["messages"][1:], command.update["messages"][1:])  # type: ignore[index]
    assert (delivered.update["seen"], delivered.update["total"]) == ({1, 2}, Overwrite([1]))
    assert same(delivered.goto, command.goto)
    assert delivered.graph == Command.PARENT


def test_a_handed_over_history_keeps_its_own_calls() -> None:
    """A tool message that answers a call made inside the same result is not turned into an answer to this one."""
    history = [
        AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "inner"}]),
        ToolMessage("found", tool_call_id="inner", id="kept"),
        ToolMessage("done", tool_call_id="call_old", id="dropped"),
    ]
    _, inner, outer = readdress(decode(encode(Command(update={"messages": history}))), "call_new").update["messages"]
    assert (inner.tool_call_id, inner.id) == ("inner", "kept")
    assert (outer.tool_call_id, outer.id) == ("call_new", None)


def test_outside_a_tool_call_there_is_nothing_to_address() -> None:
    """A direct call of the tool gets its result as stored."""
    assert readdress(decode(encode("x")), None) == "x"


class _Order(BaseModel):
    number: str
    note: str | None = None


@dataclasses.dataclass
class _Row:
    number: str


class _Plain:
    def __str__(self) -> str:
        return "a plain object"


class _Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class _Hue(Enum):
    RED = 1


class _Word(StrEnum):
    A = "a"


_Pair = namedtuple("_Pair", "a b")  # noqa: PYI024 - what older libraries return


@pytest.mark.parametrize(
    ("result", "delivered"),
    [
        (_Plain(), "a plain object"),
        (_Order(number="o1"), "number='o1' note=None"),
        (_Row(number="o1"), "_Row(number='o1')"),
        ({"order": _Plain.__name__, "n": Fraction(1, 2)}, "{'order': '_Plain', 'n': Fraction(1, 2)}"),
        (_Hue.RED, "_Hue.RED"),
        (_Word.A, "a"),
        ({1}, "{1}"),
        (_Pair(1, 2), (1, 2)),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (("text", _Plain()), ("text", "a plain object")),
        (("text", _Order(number="o1")), ("text", {"number": "o1", "note": None})),
        (("text", [_Row(number="o1")]), ("text", [{"number": "o1"}])),
        ((_Row(number="o1"), None), ("_Row(number='o1')", None)),
        (Command(update=_Order(number="o1")), Command(update={"number": "o1"})),
        (Command(update=_Row(number="o1")), Command(update={"number": "o1"})),
        (Command(update={"order": _Plain()}), Command(update={"order": "a plain object"})),
    ],
)
def test_what_other_objects_become(result: Any, delivered: Any) -> None:
    """As content an object is the text the model would have seen; as data it is its fields, or its text."""
    assert same(decode(encode(result)), delivered)


def _cycle() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def _unfolding() -> list[Any]:
    value: list[Any] = ["x"]
    for _ in range(100):
        value = [value, value]
    return value


def _unreadable_message() -> ToolMessage:
    unchecked: dict[str, Any] = {"content": object(), "tool_call_id": 7, "status": "odd", "artifact": _Broken()}
    return ToolMessage.model_construct(**unchecked)


class _Raising(UserDict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


@dataclasses.dataclass(frozen=True)
class _Tag:
    name: str


HOSTILE: dict[str, Any] = {
    "broken": _Broken(),
    "broken inside": {"a": [_Broken()]},
    "cycle": _cycle(),
    "deep": _deep(70),
    "very deep": _deep(5000),
    "unfolding": _unfolding(),
    "long integer": 10**6000,
    "surrogates": ["\ud800", {"\udfff": "\ud800"}],
    "zero byte": "a\x00b",
    "raising mapping": _Raising(a=1),
    "unreadable message": _unreadable_message(),
    "unhashable once stored": {_Tag("a")},
    "unhashable key once stored": {_Tag("a"): 1},
    "class": _Order,
    "module": sys,
    "generator": (i for i in range(3)),
    "exception": ValueError("x"),
    "not a number": [float("nan"), Decimal("sNaN"), float("-inf")],
    "memory": memoryview(b"a"),
    "command of odd parts": Command(update=object(), resume=_Broken(), goto="x"),
}


@pytest.mark.parametrize("name", list(HOSTILE))
@pytest.mark.parametrize(
    "placed",
    [
        lambda value: value,
        lambda value: ("content", value),
        lambda value: (value, "artifact"),
        lambda value: Command(update={"x": value}),
        lambda value: ToolMessage("content", tool_call_id="1", artifact=value),
    ],
)
def test_no_result_stops_a_settle(name: str, placed: Any) -> None:
    """Whatever a tool returns, something is stored, it can be delivered, and it is delivered the same each time."""
    stored = encode(placed(HOSTILE[name]))
    json.loads(stored)
    assert encode(decode(stored)) == stored
    assert encode(readdress(decode(stored), "call")) == stored


@pytest.mark.parametrize("name", ["broken", "cycle", "unfolding", "long integer", "class"])
def test_hostile_artifacts_do_not_cost_the_content(name: str) -> None:
    """The model's half of a pair survives an artifact that cannot be stored."""
    content, artifact = decode(encode(("the refund is done", HOSTILE[name])))
    assert content == "the refund is done"
    assert isinstance(artifact, (str, list))


def test_a_result_over_the_limit_keeps_its_shape() -> None:
    """Long texts give way to their size and hash; what is short stays, and the whole is under the limit."""
    long = "x" * (RESULT_BYTES_MAX + 1)
    message = ToolMessage(long, tool_call_id="1", artifact={"id": "o1", "pdf": long.encode()})
    stored = encode(message)
    delivered = decode(stored)
    assert len(stored) < RESULT_BYTES_MAX
    assert f"text of {len(long)} bytes left out" in delivered.content
    assert "sha256" in delivered.content
    assert delivered.artifact["id"] == "o1"
    assert "bytes left out" in delivered.artifact["pdf"]
    assert encode(delivered) == stored


def test_a_result_of_too_many_short_parts_is_left_out_whole() -> None:
    """When shortening is not enough, a note with size and hash stands for all of it."""
    parts = ["x" * 60_000] * 300
    assert decode(encode(parts)).startswith("[list of 18")


def test_a_result_of_a_newer_release_is_refused_with_a_remedy() -> None:
    """A format this release does not know is never half read, and its effect is not repeated."""
    with pytest.raises(SchemaMismatch) as refused:
        decode(b'{"version":2,"result":1}')
    assert refused.value.code == "result_format_unknown"
    assert "not repeated" in refused.value.safe


class _State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


@pytest.mark.parametrize(
    "result",
    [
        "text",
        {"b": 1, "a": [1.5, Decimal("12.50")]},
        [{"type": "text", "text": "block"}],
        ("tuple", 1),
        ToolMessage("message", tool_call_id="call_1"),
        _Order(number="o1"),
        datetime(2026, 1, 1, tzinfo=UTC),
        [date(2026, 1, 1), time(1), UUID(int=1)],
        None,
    ],
)
def test_the_model_reads_the_same_with_and_without_the_codec(result: Any) -> None:
    """Through LangGraph's ToolNode a stored result makes the message that the tool's own return makes."""

    def through(returned: Any) -> ToolMessage:
        made = StructuredTool.from_function(lambda: returned, name="look", description="Look.")
        builder = StateGraph(_State)
        builder.add_node("tools", ToolNode([made]))
        builder.add_edge(START, "tools")
        call = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "call_1"}])
        last: ToolMessage = builder.compile().invoke({"messages": [call]})["messages"][-1]
        return last

    plain, stored = through(result), through(readdress(decode(encode(result)), "call_1"))
    assert (plain.content, plain.tool_call_id, plain.status) == (stored.content, stored.tool_call_id, stored.status)


def test_a_stored_command_drives_a_tool_node() -> None:
    """ToolNode accepts a readdressed command: its tool message answers the call that is made now."""

    @tool
    def hand_over() -> Command[str]:
        """Hand over."""
        old: Command[str] = Command(update={"messages": [ToolMessage("handed over", tool_call_id="call_old")]})
        command: Command[str] = readdress(decode(encode(old)), "call_1")
        return command

    builder = StateGraph(_State)
    builder.add_node("tools", ToolNode([hand_over]))
    builder.add_edge(START, "tools")
    call = AIMessage("", tool_calls=[{"name": "hand_over", "args": {}, "id": "call_1"}])
    last = builder.compile().invoke({"messages": [call]})["messages"][-1]
    assert (last.content, last.tool_call_id) == ("handed over", "call_1")
