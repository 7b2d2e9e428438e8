"""A contract's link leads to its own host, whatever a model writes into its slots."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.errors import ContractError
from langgraph_control.nodes.contracts import writes
from langgraph_control.nodes.links import filled

LINK = "https://crm.example/orders/{order_id}?tab={tab}"


@pytest.mark.parametrize(
    "link",
    [
        "",
        7,
        "crm.example/{order_id}",
        "javascript:alert({order_id})",
        "ftp://crm.example/{order_id}",
        "https://{order_id}.example/",
        "https://crm.example:{order_id}/",
        "https://crm.example{order_id}",
        "https://user@crm.example/{order_id}",
        "https://crm.example\\@evil.example/{order_id}",
        "{order_id}://crm.example/",
        "https:///{order_id}",
        "https://crm.example/{order_id!r}",
        "https://crm.example/{order_id:>9}",
        "https://crm.example/{order_id.name}",
        "https://crm.example/{}",
        "https://crm.example/{order_id",
        "https://crm.example/ {order_id}",
        "https://crm.example/\n{order_id}",
    ],
)
def test_what_is_no_link(link: Any) -> None:
    """An address of another kind, or with a slot before its path, is refused where it is declared."""
    with pytest.raises(ContractError, match="contract_link"):
        writes(key="order_id", impact="money", link=link)


def test_names_are_arguments() -> None:
    """A slot that names none of the tool's arguments is refused where the contract meets the tool."""

    def refund(order_id: str) -> None:
        """Refund."""

    with pytest.raises(ContractError, match="link names tab"):
        writes(key="order_id", impact="money", link=LINK)(refund)


@given(order=st.text(), tab=st.text())
def test_no_argument_leaves_its_slot(order: str, tab: str) -> None:
    """Whatever text fills the slots, the address has the contract's host, its depth of path, and its one query."""
    link = filled(LINK, {"order_id": order, "tab": tab}, hidden=frozenset())
    if link is not None:
        assert link.startswith("https://crm.example/orders/")
        path, _, query = link.removeprefix("https://crm.example/").partition("?tab=")
        assert path.count("/") == 1
        assert not set("/?#&@:\\<>\"' \n") & set(query + path.removeprefix("orders/"))
        assert path not in {"orders/.", "orders/..", "orders/"}


@pytest.mark.parametrize(
    ("value", "link"),
    [
        ("A 1/é", "https://crm.example/A%201%2F%C3%A9"),
        (17, "https://crm.example/17"),
        (Decimal("1.50"), "https://crm.example/1.50"),
        ("..", None),
        ("", None),
        (None, None),
        (True, None),
        (["a"], None),
        ("\ud800", None),
        ("x" * 3000, None),
    ],
)
def test_values(value: Any, link: str | None) -> None:
    """Texts and numbers are encoded; what is missing, of another kind, a step in a path or too long makes no link."""
    assert filled("https://crm.example/{id}", {"id": value}, hidden=frozenset()) == link


def test_what_is_redacted_makes_no_link() -> None:
    """An argument that is not to be written down is in no address."""
    assert filled(LINK, {"order_id": "1", "tab": "x"}, hidden={"order_id"}) is None
