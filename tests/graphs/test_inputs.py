"""A run's input comes back as it was given."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

from langgraph_control.graphs.inputs import decode_input, encode_input

plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


@given(plain.filter(lambda value: value is not None))
def test_plain_values_come_back_equal_and_of_their_type(value: Any) -> None:
    """Numbers, texts, lists and mappings come back as they were, 64-bit integers and odd texts included."""
    back = decode_input(encode_input(value))
    assert (back, repr(back)) == (value, repr(value))


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [HumanMessage("hello", id="1"), AIMessage("hi", tool_calls=[])]},
        {"amount": Decimal("12.50"), "day": date(2026, 1, 31)},
        {"tags": {"a", "b"}},
        HumanMessage("alone"),
    ],
)
def test_messages_and_python_values_come_back(value: Any) -> None:
    """Messages, decimals, dates and sets come back as LangGraph's serializer brings them back from checkpoints."""
    assert decode_input(encode_input(value)) == value


def test_tuples_come_back_as_lists() -> None:
    """As from a checkpoint: LangGraph takes a message written as a pair either way."""
    assert decode_input(encode_input({"messages": [("user", "hello")]})) == {"messages": [["user", "hello"]]}


def test_plain_input_is_stored_readably() -> None:
    """What people may have to read in the record is JSON where JSON loses nothing."""
    assert encode_input({"question": "Wo?", "n": 1}) == b'json\n{"question":"Wo?","n":1}'
