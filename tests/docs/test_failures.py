"""docs/failures.md has the tables that the tests provoke, whole, and the contract it shows can be written."""

import re
from typing import Any

from langgraph_control.guards.failures import Fault
from langgraph_control.nodes.contracts import Contract
from tests.docs.failures_page import MARKED, PAGE, TABLES, rewritten


def test_the_tables_are_the_tests() -> None:
    """Each table is there, and is what the tests assert; ``python -m tests.docs.failures_page`` rewrites them."""
    page = PAGE.read_text("utf-8")
    assert [found["name"] for found in MARKED.finditer(page)] == list(TABLES)
    assert page == rewritten(page)


def test_the_contract_it_shows_can_be_written() -> None:
    """The page's one program makes a contract that says what the page says of it."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, PAGE.name, "exec"), names)  # noqa: S102 - under test
    contract = names["reserve"]
    assert isinstance(contract, Contract)
    assert {one.answer: one.fault for one in contract.refusals} == {
        503: Fault.TRANSIENT,
        409: None,
        names["OutOfStock"]: Fault.PERMANENT,
    }
