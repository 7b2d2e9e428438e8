"""What a schema permits by name, wherever in the arguments it stands, however the schema says so."""

from enum import StrEnum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.tools import BaseTool, StructuredTool, tool
from pydantic import BaseModel, Field

from langgraph_control.nodes.contracts import writes
from langgraph_control.nodes.parameters import tool_parameters
from langgraph_control.nodes.permitted_texts import permitted_texts
from tests.support.desk import Desk, told
from tests.support.scripted_model import ScriptedModel, call, calls


class Status(StrEnum):
    """Where an order stands."""

    OPEN = "open"
    UNKNOWN = "unknown"


class Line(BaseModel):
    """A part of an order."""

    kind: Literal["tbd", "goods"] = Field(alias="lineKind")
    inner: "Line | None" = None


@tool
def note(
    status: Status,
    lines: list[Line],
    size: Literal["n/a"] | None = None,
    reach: Literal["todo", 3] = 3,
    text: str = "",
) -> str:
    """Note something."""
    return f"{status} {lines} {size} {reach} {text}"


def served(schema: dict[str, Any]) -> BaseTool:
    """Return a tool that declares a JSON Schema, as those of MCP servers do."""
    return StructuredTool(name="note", description="Note.", args_schema=schema, func=lambda **given: str(given))


def test_a_tools_enums_and_literals_are_found() -> None:
    """Enums, literals, optional ones, those of models in lists and inside themselves; nothing of an open text."""
    permitted = tool_parameters(note).permitted
    assert {path: permitted[path] for path in ("status", "size", "reach", "lines[].kind", "lines[].inner.kind")} == {
        "status": {"open", "unknown"},
        "size": {"n/a"},
        "reach": {"todo"},
        "lines[].kind": {"tbd", "goods"},
        "lines[].inner.kind": {"tbd", "goods"},
    }
    assert "text" not in permitted


def test_a_servers_schema_says_so_too() -> None:
    """`enum`, `const`, branches and references of a declared JSON Schema."""
    schema = {
        "type": "object",
        "$defs": {"state": {"enum": ["open", "unknown", 7, None]}},
        "properties": {
            "state": {"$ref": "#/$defs/state"},
            "kind": {"oneOf": [{"const": "todo"}, {"type": "string"}]},
            "pair": {"prefixItems": [{"const": "tba"}, {"type": "integer"}]},
            "lost": {"$ref": "#/$defs/nowhere"},
        },
    }
    found = {"state": {"open", "unknown"}, "kind": {"todo"}, "pair[]": {"tba"}}
    assert tool_parameters(served(schema)).permitted == found


def test_a_schema_without_end_ends() -> None:
    """A part that branches into itself is followed for a while and no longer."""
    endless = {"anyOf": [{"$ref": "#/$defs/a"}] * 9, "const": "todo"}
    assert permitted_texts({"$defs": {"a": endless}, "properties": {"a": endless}})["a"] == {"todo"}


parts = st.sampled_from(["enum", "const", "$ref", "anyOf", "items", "properties", "prefixItems", "#/a", "a"])


@given(
    st.recursive(
        st.none() | st.integers() | parts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(parts, inner, max_size=4),
    )
)
def test_whatever_stands_for_a_schema_never_raises(schema: object) -> None:
    """A server may send anything; what is no schema permits nothing by name."""
    permitted = permitted_texts({"properties": {"a": schema}})
    assert all(path == "a" or path.startswith(("a.", "a[")) for path in permitted)
    assert isinstance(schema, dict) or permitted == {}


@pytest.mark.parametrize(
    ("args", "done"),
    [
        ({"status": "unknown"}, True),
        ({"status": "open"}, True),
        ({"status": "open", "tag": "unknown"}, True),
        ({"status": "open", "tag": "tbd"}, False),
    ],
    ids=["named by the schema", "a default", "a default that was given", "a placeholder"],
)
def test_a_value_of_the_schema_is_done(desk: Desk, trigger: str, args: dict[str, str], *, done: bool) -> None:
    """Neither a status that the tool's schema names nor what the tool takes by itself is sent back to the model."""

    @tool
    @writes(key="order_id", impact="record")
    def mark(order_id: str, status: Literal["open", "unknown"], tag: str = "unknown") -> str:
        """Mark an order."""
        return f"marked {order_id} {status} {tag}"

    script = ScriptedModel(script=(calls(call("mark", order_id="o1", **args)), "done"))
    graph = desk.control.bind(create_agent(script, desk.control.govern([mark])), name="marks")
    (said,) = told(desk.run(graph, trigger=trigger))
    assert said.startswith("marked o1") is done
    assert ("tag holds a placeholder" in said) is not done
