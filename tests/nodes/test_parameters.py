"""What a tool takes is known whatever way it declares it, and schemas that LangChain does not check are checked."""

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, StructuredTool, tool
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from langgraph.store.base import BaseStore
from pydantic import BaseModel, Field

from langgraph_control.errors import ArgumentError, ContractError
from langgraph_control.guards.canonical import canonical_bytes, from_canonical
from langgraph_control.nodes.parameters import revive_arguments, tool_parameters, validate_arguments

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "order_id": {"type": "string", "pattern": "^o"},
        "lines": {"type": "array", "items": {"type": "integer"}},
        "mode": {"enum": ["soft", "hard"], "default": "soft"},
    },
    "required": ["order_id"],
    "additionalProperties": False,
}


def remote(schema: dict[str, Any]) -> StructuredTool:
    """Return a tool as an MCP adapter makes it: a JSON Schema and a coroutine of any arguments."""

    async def call(runtime: ToolRuntime | None = None, **arguments: Any) -> str:
        return str(arguments)

    return StructuredTool(name="close", description="Close.", args_schema=schema, coroutine=call)


def test_a_functions_parameters() -> None:
    """Names and defaults are the function's; what LangGraph injects is set apart."""

    @tool
    def refund(  # noqa: PLR0917 - one of each kind
        order_id: str,
        config: RunnableConfig,
        runtime: ToolRuntime,
        state: Annotated[dict[str, Any], InjectedState],
        store: Annotated[BaseStore, InjectedStore],
        call: Annotated[str, InjectedToolCallId],
        secret: Annotated[str, InjectedToolArg],
        amount: Decimal = Decimal(0),
        tags: list[str] | None = None,
    ) -> None:
        """Refund an order."""

    known = tool_parameters(refund)
    assert known.names == ("order_id", "amount", "tags")
    assert known.defaults == {"amount": Decimal(0), "tags": None}
    assert known.injected == {"config", "runtime", "state", "store", "call", "secret"}
    assert known.schema is None
    assert known.visible({"order_id": "o", "runtime": 1, "config": 2}) == {"order_id": "o"}


def test_a_model_as_schema() -> None:
    """Field names count, not aliases; factories give their default; a factory that fails gives none."""

    def fail() -> str:
        raise RuntimeError

    class Schema(BaseModel):
        order_id: str = Field(alias="orderId")
        tags: list[str] = Field(default_factory=list)
        broken: str = Field(default_factory=fail)

    def refund(order_id: str, tags: list[str], broken: str, runtime: ToolRuntime) -> None: ...

    made = StructuredTool.from_function(refund, description="Refund.", args_schema=Schema)
    known = tool_parameters(made)
    assert known.names == ("order_id", "tags", "broken")
    assert known.defaults == {"tags": []}
    assert known.injected == {"runtime"}


def test_a_subclass_with_a_body_of_its_own() -> None:
    """A BaseTool's arguments are those of its ``_run``."""

    class Close(BaseTool):
        name: str = "close"
        description: str = "Close."

        def _run(self, order_id: str, force: bool = False, run_manager: Any = None) -> None: ...  # noqa: FBT001, FBT002

    known = tool_parameters(Close())
    assert known.names == ("order_id", "force")
    assert known.defaults == {"force": False}
    assert known.injected == {"run_manager"}


def test_open_arguments_are_no_parameter() -> None:
    """``**kwargs`` names nothing, and hides nothing."""

    @tool
    def refund(order_id: str, **kwargs: Any) -> None:
        """Refund an order."""

    known = tool_parameters(refund)
    assert known.names == ("order_id",)
    assert known.visible({"order_id": 1, "more": 2}) == {"order_id": 1, "more": 2}


def test_a_json_schema_tool() -> None:
    """Names and defaults come from the schema; what the function takes beside it is injected."""
    known = tool_parameters(remote(SCHEMA))
    assert known.names == ("order_id", "lines", "mode")
    assert known.defaults == {"mode": "soft"}
    assert known.injected == {"runtime"}
    assert known.schema == SCHEMA


def test_langchain_parses_a_models_float_into_a_declared_decimal_exactly() -> None:
    """The remedy for money holds: a parameter declared Decimal gets 0.1, not 0.1000000000000000055."""
    got: list[Decimal] = []

    @tool
    def refund(amount: Decimal) -> None:
        """Refund an amount."""
        got.append(amount)

    for sent in (0.1, 12.5, "12.50", 100):
        refund.invoke({"amount": sent})
    assert got == [Decimal("0.1"), Decimal("12.5"), Decimal("12.50"), Decimal(100)]


def test_langchain_does_not_validate_json_schema_tools() -> None:
    """The reason why we do: whatever the model sends reaches the function."""
    assert remote(SCHEMA)._parse_input({"order_id": 5}, None) == {"order_id": 5}


def test_arguments_that_fit_pass_unchanged() -> None:
    """Validation neither fills in defaults nor converts: what was sent is what would run."""
    assert validate_arguments(remote(SCHEMA), {"order_id": "o1", "lines": [1]}) == {"order_id": "o1", "lines": [1]}


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        ({}, "the call lacks order_id"),
        ({"order_id": 4711}, "order_id must be string"),
        ({"order_id": "x4711"}, 'order_id must fit pattern "^o"'),
        ({"order_id": "o", "lines": [1, "x4711"]}, "lines[1] must be integer"),
        ({"order_id": "o", "mode": "x4711"}, 'mode must fit enum ["soft","hard"]'),
        ({"order_id": "o", "x4711x": 1}, "the call has an argument the schema does not name"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_field(raw: dict[str, Any], what: str) -> None:
    """The model is told the field and what belongs there; the value is not repeated."""
    with pytest.raises(ArgumentError) as refused:
        validate_arguments(remote(SCHEMA), raw)
    assert refused.value.what == f"Tool close: {what}."
    assert refused.value.code == "arguments_invalid"
    assert "4711" not in str(refused.value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"properties": {"a": {"pattern": "("}}},
        {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}},
        {"properties": {"a": {"$ref": "#/$defs/missing"}}},
        {"properties": {"a": {"default": object()}}},
    ],
)
def test_a_schema_that_cannot_be_used_is_the_tools_fault(schema: dict[str, Any]) -> None:
    """A broken schema, or one that points to the network, is a contract error; nothing is fetched."""
    with pytest.raises(ContractError) as refused:
        validate_arguments(remote(schema), {"a": "x"})
    assert refused.value.code == "contract_schema"


def test_tools_with_a_model_validate_themselves() -> None:
    """LangChain's own parsing is not done twice."""

    @tool
    def close(order_id: str) -> None:
        """Close an order."""

    assert validate_arguments(close, {"order_id": 5}) == {"order_id": 5}


class _Mode(Enum):
    HARD = "hard"


class _Line(BaseModel):
    net: Decimal
    tags: set[str] = Field(default_factory=set)


def test_stored_arguments_come_back_as_the_function_expects_them() -> None:
    """Models, sets and enums are made again of their plain forms; the bytes of the call stay the same."""

    @tool
    def refund(order_id: str, line: _Line, mode: _Mode, when: datetime, runtime: ToolRuntime) -> None:
        """Refund an order."""

    call = {
        "order_id": "o1",
        "line": _Line(net=Decimal("12.50"), tags={"b", "a"}),
        "mode": _Mode.HARD,
        "when": datetime(2026, 1, 1, tzinfo=UTC),
    }
    stored = canonical_bytes(call)
    revived = revive_arguments(refund, from_canonical(stored))
    assert revived == call
    assert isinstance(revived["line"], _Line)
    assert canonical_bytes(revived) == stored


def test_stored_arguments_are_named_as_the_function_names_them() -> None:
    """A model's alias is what a model sends; the ledger has the parameter's name."""

    class Schema(BaseModel):
        order_id: int = Field(alias="orderId")

    def refund(order_id: int, **kwargs: Any) -> None: ...

    made = StructuredTool.from_function(refund, description="Refund.", args_schema=Schema)
    assert revive_arguments(made, {"order_id": 5, "more": [1]}) == {"order_id": 5, "more": [1]}
    assert revive_arguments(remote(SCHEMA), {"order_id": "o"}) == {"order_id": "o"}


def test_stored_arguments_that_no_longer_fit_are_refused() -> None:
    """A tool whose parameters changed under an approval does not run on the old ones, and no value is shown."""

    @tool
    def refund(order_id: int) -> None:
        """Refund an order."""

    with pytest.raises(ArgumentError) as refused:
        revive_arguments(refund, {"order_id": "x4711"})
    assert refused.value.code == "arguments_stored_unfit"
    assert "4711" not in str(refused.value)
