"""Writes docs/api.md from the public modules and their docstrings: ``python -m tests.docs.api_page``."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

__all__ = ["MODULES", "PAGE", "page"]

PAGE: Final = Path(__file__).parents[2] / "docs" / "api.md"

MODULES: Final = {
    "langgraph_control": "[contracts](contracts.md), [sagas](sagas.md), [policy](policy.md), [approvals](approvals.md)",
    "langgraph_control.contracts": "[contracts](contracts.md)",
    "langgraph_control.checks": "[checks of your own](policy.md#checks-of-your-own)",
    "langgraph_control.errors": "[all codes](operations.md#errors)",
    "langgraph_control.identity": "[identity](identity.md)",
    "langgraph_control.middleware": "[frontends](frontends.md)",
    "langgraph_control.server": "[frontends](frontends.md)",
    "langgraph_control.httpx": "[contracts](contracts.md)",
    "langgraph_control.otel": "[observability](observability.md)",
    "langgraph_control.testing": "[testing](testing.md)",
}
"""Every public module, and where it is explained."""

_WITHOUT_DOCSTRING: Final = {
    "Hook": "What a contract's hook is: a function of an `Action`, plain or async.",
    "TIMEOUT_SECONDS": "How long one attempt of a write may take, where its contract does not say it.",
    "VISIBLE_WITHIN_SECONDS": "How long an effect may take to show when read back, where its contract does not say it.",
}

_HEAD: Final = """\
# Every public name

The public face is what these modules list in `__all__`; everything else may change in any release. Each docstring
says what a thing does, its arguments with units, what it raises and what to do then:
`help(langgraph_control.writes)`. What talks to the ledger has a twin for event loops, its name with an `a` before it:
`run` and `arun`. This page is made from the docstrings by `python -m tests.docs.api_page`.
"""


def page() -> str:
    """Return the page."""
    return _HEAD + "".join(_module(name, explained) for name, explained in MODULES.items())


def _module(name: str, explained: str) -> str:
    module = importlib.import_module(name)
    rows = [row for listed in module.__all__ for row in _rows(listed, getattr(module, listed))]
    return f"\n## {name}\n\nExplained in {explained}.\n\n| Name | |\n|---|---|\n" + "".join(rows)


def _rows(name: str, thing: Any) -> Iterator[str]:
    yield f"| `{name}` | {_WITHOUT_DOCSTRING.get(name) or _first_line(thing)} |\n"
    if not inspect.isclass(thing) or issubclass(thing, BaseException):
        return
    for member, value in vars(thing).items():
        said = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        twin = member[0] == "a" and member[1:] in vars(thing)
        if member[0] != "_" and not twin and (inspect.isfunction(said) or isinstance(said, property)):
            yield f"| `{name}.{member}` | {_first_line(said)} |\n"


def _first_line(thing: Any) -> str:
    text = "" if isinstance(thing, str | int | float | tuple | dict) else inspect.getdoc(thing) or ""
    line = " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")
    return re.sub(r"(?::\w+:)?`+~?([^`]+)`+", r"`\1`", line)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
