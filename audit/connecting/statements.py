"""The named statements of ``sql/statements.sql``."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import LiteralString, cast

__all__ = ["REQUIRED_FUNCTIONS", "statement", "statements"]

_NAMED = re.compile(r"^-- name: (?P<name>\w+)\n(?P<text>.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)
_FUNCTION = re.compile(r"control\.(\w+_v\d+)\(")


@cache
def statements() -> Mapping[str, str]:
    """Return every statement by name, comments left out."""
    text = files("langgraph_control.audit").joinpath("sql", "statements.sql").read_text("utf-8")
    return MappingProxyType(
        {
            match["name"]: "\n".join(line for line in match["text"].splitlines() if not line.startswith("--")).strip(
                " ;\n"
            )
            for match in _NAMED.finditer(text)
        }
    )


def statement(name: str) -> LiteralString:
    """Return one statement's text.

    Args:
        name: as written after ``-- name:``.
    """
    # Never built from input; psycopg asks for that by type. mypy takes LiteralString for str, pyright does not.
    return cast("LiteralString", statements()[name])  # type: ignore[redundant-cast]


REQUIRED_FUNCTIONS = frozenset(_FUNCTION.findall("\n".join(statements().values())))
"""The versioned functions this release calls. A database that offers them all is good enough, however new it is."""
