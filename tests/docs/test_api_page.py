"""docs/api.md has every public name, with what its docstring says."""

from pathlib import Path

import langgraph_control
from tests.docs.api_page import MODULES, PAGE, page


def test_the_page_is_what_the_code_says() -> None:
    """``python -m tests.docs.api_page`` rewrites it."""
    assert PAGE.read_text("utf-8") == page()


def test_every_public_module_is_there() -> None:
    """A module at the top of the package that lists names is public, and stands on the page."""
    folder = Path(langgraph_control.__file__).parent
    modules = {file.stem for file in folder.glob("*.py")} - {"__init__", "__main__"}
    public = {"langgraph_control", "langgraph_control.testing", *(f"langgraph_control.{name}" for name in modules)}
    assert set(MODULES) == public


def test_every_name_is_explained() -> None:
    """No row is empty."""
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    assert [row for row in rows if row.endswith("|  |")] == []
