"""What a read gives when its system does not answer: a stand-in that is marked as one, or another try later."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Literal

import orjson

from langgraph_control.errors import ContractError
from langgraph_control.nodes.presenting import presentable

__all__ = ["MARK", "WAIT", "StoodIn", "Wait", "check_fallback", "stand_in"]

MARK: Final = "control_fallback"
"""Under this name a stand-in says of itself that it is one: in the tool message, or in the value where code gets it."""

VALUE_BYTES_MAX: Final = 1024 * 1024


class Wait(Enum):
    """The type of :data:`WAIT`."""

    WAIT = "wait"

    def __repr__(self) -> str:
        return "WAIT"


WAIT: Final = Wait.WAIT
"""``fallback=``: nothing stands in; the run waits and tries the read again later, a bounded number of times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoodIn:
    """The read failed, something stands in for its answer, and that is on record.

    Args:
        value: JSON primitives.
        tool: whose answer it stands in for.
        system: the system that did not answer; None where the contract names none.
        failure: the class of what the read raised.
        note: what else the model is to be told, behind it.
    """

    value: Any
    tool: str
    system: str | None
    failure: str
    note: str = ""

    @property
    def mark(self) -> dict[str, str | None]:
        """What tells it from an answer of the system's own."""
        return {"tool": self.tool, "system": self.system, "failure": self.failure}

    def for_model(self) -> str:
        """Return it as the model reads it."""
        who = self.system or self.tool
        shown = self.value if isinstance(self.value, str) else json.dumps(self.value, ensure_ascii=False)
        return (
            f"[{who} could not be asked ({self.failure}). What follows is a fallback prepared for that case, not "
            f"{who}'s own answer: do not take it for one, and say so where it matters.]\n{shown}{self.note}"
        )

    def for_code(self) -> dict[str, Any]:
        """Return it as code gets it: a mapping with its mark; what is no mapping is under ``value``."""
        value = self.value if isinstance(self.value, dict) else {"value": self.value}
        return {**value, MARK: self.mark}


def stand_in(answer: object) -> Any | Literal[Wait.WAIT] | None:
    """Return what a fallback gives as JSON primitives, or ``WAIT``; None where it gives nothing that can be shown.

    Args:
        answer: what ``fallback=`` is, or what that hook returned.
    """
    if answer is None or answer is WAIT:
        return answer
    try:
        value = _plain(answer)
        return value if len(orjson.dumps(value)) <= VALUE_BYTES_MAX else None
    except Exception:  # noqa: BLE001 - somebody else's object may raise anything while it is read
        return None


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str() | Decimal() | date() | time():
            return presentable(value)
        case Mapping():
            return {str(name): _plain(part) for name, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case _:
            raise TypeError(type(value).__name__)


def check_fallback(fallback: object) -> None:
    """Check that what stands in for a read can be shown to a model.

    Args:
        fallback: what the contract says, when it is no hook.

    Raises:
        ContractError: code ``contract_fallback``.
    """
    plain = isinstance(fallback, (str, int, float, bool, Mapping, list, tuple, Wait)) or fallback is None
    if not plain or (fallback is not None and stand_in(fallback) is None):
        raise ContractError(
            f"fallback is a {type(fallback).__name__}, which cannot stand in for a read's answer.",
            todo="Write a text, a mapping or list of plain values, WAIT, or a function of the action that returns one.",
            code="contract_fallback",
        )
