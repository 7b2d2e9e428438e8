"""A contract says what two calls have in common and what is at stake, or says what is missing from it."""

import asyncio
import copy
import pickle
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, tool

from langgraph_control.errors import ContractError
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.signals import Impact
from langgraph_control.nodes.contracts import (
    ABSENT,
    TIMEOUT_SECONDS,
    VISIBLE_WITHIN_SECONDS,
    Action,
    Contract,
    contract_of,
    contracts_by_name,
    reads,
    resolve_contracts,
    writes,
)
from langgraph_control.nodes.durations import Duration, seconds_of


def refund(order_id: str, amount: Decimal, reason: str = "") -> str:
    """Refund an order."""
    return f"{order_id} {amount} {reason}"


class Lookup(BaseTool):
    """A tool with a body of its own and no function inside."""

    name: str = "lookup"
    description: str = "Look up an order."

    def _run(self, order_id: str) -> str:
        return order_id


def hook(action: Action) -> Any:
    """Answer nothing in particular."""
    return action.args


async def async_hook(action: Action) -> Any:
    """Answer nothing in particular, later."""
    return action.args


def new_function() -> Callable[..., str]:
    """Return a function of its own, so that a contract on it stays with it."""

    def refund(order_id: str, amount: Decimal, reason: str = "") -> str:
        """Refund an order."""
        return f"{order_id} {amount} {reason}"

    return refund


def untyped(value: Any) -> Any:
    """Return a mistake that a type checker would have found."""
    return value


def code_of(make: Callable[[], object]) -> str:
    """Return the code of the error that this raises; it must carry a remedy."""
    with pytest.raises(ContractError) as refused:
        make()
    assert refused.value.todo
    return refused.value.code


def test_a_function_keeps_being_that_function() -> None:
    """The decorator returns the function it was given, which can be called as before and made a tool of."""
    function = new_function()
    decorated = writes(key="order_id", impact="money", explain="reason")(function)
    assert decorated is function
    assert decorated("o1", Decimal(5)) == "o1 5 "
    contract = contract_of(tool(decorated))
    assert contract is not None
    assert (contract.key, contract.impact, contract.explain) == (("order_id",), Impact.MONEY, ("reason",))


async def test_a_coroutine_function_keeps_being_one() -> None:
    """An async tool's contract is found on its coroutine."""

    @tool
    @writes(key="order_id", impact="record")
    async def close(order_id: str) -> str:
        """Close an order."""
        await asyncio.sleep(0)
        return order_id

    assert contract_of(close) is not None
    assert await close.ainvoke({"order_id": "o1"}) == "o1"


def made_tools() -> list[BaseTool]:
    """Return one tool of each sort."""
    return [StructuredTool.from_function(new_function()), Lookup(), tool(new_function())]


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(
    "copied",
    [
        lambda made: made,
        lambda made: made.model_copy(),
        lambda made: made.model_copy(update={"name": "other"}),
        lambda made: made.model_copy(deep=True),
        copy.copy,
        copy.deepcopy,
    ],
)
def test_a_tool_carries_its_contract_through_copies(index: int, copied: Callable[[BaseTool], BaseTool]) -> None:
    """LangChain and LangGraph copy tools; a copy that lost its contract would be ungoverned."""
    made = made_tools()[index]
    contract = writes(key="order_id", impact="record")
    assert contract(made) is made
    assert contract_of(copied(made)) == contract


def test_a_tool_carries_its_contract_through_a_pickle() -> None:
    """A tool sent to another process stays governed."""
    made = writes(key="order_id", impact="record", read=hook)(Lookup())
    assert contract_of(pickle.loads(pickle.dumps(made))) == contract_of(made)  # noqa: S301 - our own bytes


def test_a_contract_is_not_shown_to_model_or_tracing() -> None:
    """Neither a tool's fields, its metadata nor its schema change."""
    plain, made = Lookup(), writes(key="order_id", impact="record")(Lookup())
    assert made.model_dump(exclude={"args_schema"}) == plain.model_dump(exclude={"args_schema"})
    assert made.metadata is None
    assert made.args == plain.args


def test_a_contract_beside_a_tool_does_not_touch_it() -> None:
    """A contract for a tool one does not own stays outside the tool."""
    made = Lookup()
    assert resolve_contracts([made], {"lookup": reads(target="order_id")})["lookup"].effect == "read"
    assert contract_of(made) is None


def test_a_tool_with_neither_is_left_out() -> None:
    """What to do with an ungoverned tool is for the caller to decide."""
    assert resolve_contracts([Lookup()], None) == {}
    assert contracts_by_name([Lookup()]) == {}


@pytest.mark.parametrize(
    ("options", "kind", "fallback"),
    [
        ({}, Kind.BLIND, Kind.BLIND),
        ({"read": hook}, Kind.BLIND, Kind.BLIND),
        ({"outcome": hook}, Kind.BLIND, Kind.BLIND),
        ({"find": hook}, Kind.VERIFIED, Kind.VERIFIED),
        ({"read": hook, "expect": hook}, Kind.VERIFIED, Kind.VERIFIED),
        ({"keyed_for": "24h"}, Kind.KEYED, Kind.BLIND),
        ({"keyed_for": "24h", "find": hook}, Kind.KEYED, Kind.VERIFIED),
        ({"sql": True}, Kind.TRANSACTION, Kind.BLIND),
        ({"sql": True, "read": hook, "expect": hook}, Kind.TRANSACTION, Kind.VERIFIED),
    ],
)
def test_the_kind_is_the_strongest_the_hooks_allow(options: dict[str, Any], kind: Kind, fallback: Kind) -> None:
    """Transaction before keyed before verified before blind; a keyed effect past its time is what is left."""
    contract = writes(key="order_id", impact="money", **options)
    assert (contract.kind, contract.fallback_kind) == (kind, fallback)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: writes(impact="money"), "contract_key_missing"),
        (lambda: writes(key="a"), "contract_impact_missing"),
        (lambda: writes(key="a", impact="funds"), "contract_impact_unknown"),
        (lambda: writes(key="a", impact="record", operation="make"), "contract_operation_unknown"),
        (lambda: writes(key=("a", "a"), impact="money"), "contract_names"),
        (lambda: writes(key=("a", ""), impact="money"), "contract_names"),
        (lambda: writes(key="a", impact="money", explain=untyped(0)), "contract_names"),
        (lambda: writes(key="a", impact="money", read=hook, watch=untyped(0)), "contract_names"),
        (lambda: writes(key="a", impact="money", redact="items[0].iban"), "contract_redacted_path"),
        (lambda: writes(key="a", impact="money", redact=("b", "$.customer.iban")), "contract_redacted_path"),
        (lambda: writes(key="a", impact="money", redact="customer..iban"), "contract_redacted_path"),
        (lambda: writes(key="a", impact="money", explain="note", redact="note.iban"), "contract_redacted_words"),
        (lambda: writes(key="a", impact="money", redact={"b[0]": "finance"}), "contract_redacted_path"),
        (lambda: writes(key="a", impact="money", redact={"b": ("hr", "hr")}), "contract_names"),
        (lambda: writes(key="a", impact="money", redact={"\u00e9": "hr", "e\u0301": ()}), "contract_names"),
        (lambda: writes(key="a", impact="money", redact={"b": "hr", "b.c": ("hr", "it")}), "contract_redacted_path"),
        (lambda: writes(key="a", impact="money", redact={"b": (), "b.c.d": "hr"}), "contract_redacted_path"),
        (lambda: writes(key="a", impact="money", redact={"b": untyped(None)}), "contract_names"),
        (lambda: writes(key="a", impact="money", redact={"b": ("hr", "")}), "contract_names"),
        (lambda: writes(key=("a", "why"), impact="money", explain="why"), "contract_key_free_text"),
        (lambda: writes(key="a", impact="money", expect=hook), "contract_needs_read"),
        (lambda: writes(key="a", impact="money", watch="open"), "contract_needs_read"),
        (lambda: writes(key="a", impact="money", sql=True, keyed_for="1h"), "contract_sql"),
        (lambda: writes(key="a", impact="money", sql=True, find=hook), "contract_sql"),
        (lambda: writes(key="a", impact="money", keyed_for=0), "contract_duration"),
        (lambda: writes(key="a", impact="money", timeout="-1s"), "contract_duration"),
        (lambda: writes(key="a", impact="money", visible_within="soon"), "contract_duration"),
        (lambda: writes(key="a", impact="money", read=untyped(lambda: None)), "contract_hook_signature"),
        (lambda: writes(key="a", impact="money", find=untyped(lambda _action, _more: None)), "contract_hook_signature"),
        (lambda: writes(key="a", impact="money", outcome=untyped(lambda *, action: action)), "contract_hook_signature"),
        (lambda: writes(key="a", impact="money", read=untyped("record")), "contract_hook_signature"),
        (lambda: writes(key="a", impact="money", target=untyped(lambda: "x")), "contract_hook_signature"),
        (lambda: writes(key="a", impact="money", target="order {}"), "contract_target"),
        (lambda: writes(key="a", impact="money", target="order/{a.b}"), "contract_target"),
        (lambda: writes(key="a", impact="money", target="order/{a!r}"), "contract_target"),
        (lambda: writes(key="a", impact="money", target="order/{a"), "contract_target"),
        (lambda: writes(key="a", impact="money", target="an order"), "contract_target"),
        (lambda: reads(impact="money"), "contract_read_option"),
        (lambda: reads(target="{"), "contract_target"),
        (lambda: writes(key="id", impact="money")(new_function()), "contract_unknown_argument"),
        (lambda: writes(key="order_id", impact="money", explain="why")(new_function()), "contract_unknown_argument"),
        (lambda: writes(key="order_id", impact="money", target="x/{id}")(Lookup()), "contract_unknown_argument"),
        (lambda: reads(target="id")(Lookup()), "contract_unknown_argument"),
        (lambda: reads()(reads()(new_function())), "contract_twice"),
        (lambda: reads()(Lookup), "contract_not_attachable"),
        (lambda: reads()("".join), "contract_not_attachable"),
        (lambda: resolve_contracts([Lookup(), Lookup()], None), "contract_duplicate_tool"),
        (lambda: contracts_by_name([reads()(Lookup()), Lookup()]), "contract_duplicate_tool"),
        (lambda: resolve_contracts([Lookup()], {"look": reads()}), "contract_unknown_tool"),
        (lambda: resolve_contracts([reads()(Lookup())], {"lookup": reads(system="crm")}), "contract_twice"),
        (lambda: resolve_contracts([Lookup()], {"lookup": untyped(reads)}), "contract_not_a_contract"),
        (
            lambda: resolve_contracts([Lookup()], {"lookup": writes(key="id", impact="money")}),
            "contract_unknown_argument",
        ),
    ],
)
def test_a_wrong_contract_is_refused_by_name(make: Callable[[], object], code: str) -> None:
    """Every mistake has a stable code and a remedy, and is found before any run."""
    assert code_of(make) == code


def test_the_two_required_answers_are_asked_for_as_questions() -> None:
    """Leaving out key or impact explains what is asked, with an example."""
    with pytest.raises(ContractError, match=r"which arguments say that two calls are the same change\?.*order_id"):
        writes(impact="money")
    with pytest.raises(ContractError, match=r"what breaks if this is wrong, or done twice\?.*access.*message"):
        writes(key="order_id")


def test_an_injected_argument_cannot_identify() -> None:
    """State, runtime and call ids are evidence, never identity."""

    @tool
    def close(order_id: str, call: Annotated[str, InjectedToolCallId]) -> str:
        """Close an order."""
        return order_id + call

    assert code_of(lambda: writes(key="call", impact="record")(close)) == "contract_unknown_argument"


def test_a_tool_without_arguments_can_be_a_write() -> None:
    """key=() is an answer too: one change per intent."""
    assert writes(key=(), impact="production").key == ()


def test_hooks_are_sync_async_or_callable_objects() -> None:
    """Anything that takes the action will do."""

    class Reader:
        def __call__(self, action: Action, limit: int = 1) -> object:
            return action.args, limit

    contract = writes(key="a", impact="money", read=async_hook, expect=lambda action: action.before, find=Reader())
    assert contract.can_verify


def test_defaults_are_the_documented_ones() -> None:
    """Thirty seconds for an attempt, thirty for an effect to show, version 1."""
    contract = writes(key="a", impact=Impact.RECORD)
    assert (contract.timeout_seconds, contract.visible_within_seconds) == (TIMEOUT_SECONDS, VISIBLE_WITHIN_SECONDS)
    assert (TIMEOUT_SECONDS, VISIBLE_WITHIN_SECONDS, contract.version) == (30, 30, "1")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("1.5m", 90), ("24h", 86400), ("7 d", 604800), (2, 2), (0.5, 0.5)],
)
def test_spans_of_time_are_read_as_people_write_them(written: Duration, seconds: float) -> None:
    """A unit is always written, except on plain seconds."""
    assert seconds_of(written, field="timeout") == seconds
    assert seconds_of(timedelta(seconds=seconds), field="timeout") == seconds


@given(st.text(max_size=8))
def test_no_text_is_a_span_of_time_by_accident(text: str) -> None:
    """Whatever text is given, the answer is a positive number or an error of ours."""
    try:
        seconds = seconds_of(text, field="timeout")
    except ContractError:
        return
    assert seconds > 0


@pytest.mark.parametrize(
    "wrong", [True, "1", "s", "1 week", "\u0661s", float("nan"), float("inf"), timedelta(0), None, []]
)
def test_what_is_no_span_of_time_is_refused(wrong: Any) -> None:
    """A bare number in quotes has no unit; foreign digits are a mistake."""
    assert code_of(lambda: seconds_of(wrong, field="timeout")) == "contract_duration"


@pytest.mark.parametrize(
    ("target", "args", "text"),
    [
        ("order_id", {"order_id": "o1"}, "o1"),
        ("order/{order_id}", {"order_id": "{x}"}, "order/{x}"),
        ("{a}-{b}", {"a": 1, "b": Decimal("2.5")}, "1-2.5"),
        ("order_id", {"order_id": ""}, None),
        ("order/{order_id}", {}, None),
        (None, {"order_id": "o1"}, None),
        (hook, {"order_id": "o1"}, None),
    ],
)
def test_a_target_is_resolved_or_is_none(target: Any, args: dict[str, Any], text: str | None) -> None:
    """A missing or empty argument gives no target rather than a wrong one."""
    assert Contract(effect="write", target=target).target_text(args) == text


def test_the_before_image_is_the_watched_fields() -> None:
    """An approval goes stale by what it depends on, not by every field that moves."""
    record = {"open": 5, "seen_at": "now"}
    watched = writes(key="a", impact="money", read=hook, watch="open")
    assert watched.before_image(record) == {"open": 5}
    assert writes(key="a", impact="money", read=hook).before_image(record) == record
    assert watched.before_image(ABSENT) is ABSENT
    assert watched.before_image(None) is None


@pytest.mark.parametrize("watch", ["opne", ("open", "opne")], ids=["alone", "beside another"])
def test_a_watched_field_that_is_not_there_makes_the_whole_record_count(watch: Any) -> None:
    """A misspelt name must not switch off what it was to watch: nobody can tell which field was meant."""
    watched = writes(key="a", impact="money", read=hook, watch=watch)
    record = {"open": 5, "seen_at": "now"}
    assert watched.before_image(record) == record
    assert watched.not_in(record) == ("opne",)
    assert watched.not_in({**record, "opne": None}) == watched.not_in(ABSENT) == watched.not_in(None) == ()


def test_absent_is_one_value_everywhere() -> None:
    """ABSENT survives pickling and copying as itself, so that hooks and the gate agree by identity."""
    assert pickle.loads(pickle.dumps(ABSENT)) is ABSENT  # noqa: S301 - our own bytes
    assert copy.deepcopy(ABSENT) is ABSENT
    assert repr(ABSENT) == "ABSENT"
