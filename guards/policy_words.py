"""The words of a policy file: what a name, a time, a number of people may look like, and what is refused for now."""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.rules import Then
from langgraph_control.guards.signals import Impact, Operation

__all__ = [
    "EXACT_NAME",
    "EXACT_NAMES",
    "LATER_KEYS",
    "Decides",
    "Duration",
    "Effects",
    "FieldName",
    "Impacts",
    "Member",
    "Name",
    "Names",
    "Operations",
    "Positive",
    "Question",
    "Quorum",
    "Rate",
    "RoleName",
    "Shape",
    "Whole",
    "WholeSeconds",
    "did_you_mean",
    "not_later",
    "one_or_more",
]

MAX_QUORUM: Final = 100  # the texts below say these numbers
MAX_SECONDS: Final = 366 * 86400
MAX_WHOLE: Final = 1_000_000
_UNITS: Final[Mapping[str, int | Decimal]] = {"ms": Decimal("0.001"), "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")

# Exact names only: `refund*` would match nothing and silently leave a deny rule without effect.
EXACT_NAME: Final = re.compile(r"[^\s*?]{1,128}")
EXACT_NAMES: Final = "exact names, without blanks, * or ?"

# Words with a meaning to come that nothing here reads.
LATER_KEYS: Final = frozenset({"delegation", "break_glass", "all_of", "distinct_from"})
_LATER_VALUES: Final = frozenset({"on_behalf_of", "approvers"})


class Shape(BaseModel):
    """A part of the file: no keys but the ones named, nothing coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint at the nearest known word, or the list of all of them.

    Args:
        word: what was written.
        known: what could have been meant.
    """
    words = list(known)
    close = get_close_matches(word, words, n=1)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(words)}"


def not_later(value: object) -> object:
    """Refuse a value that comes in a later version; a validator.

    Args:
        value: what is written.
    """
    if isinstance(value, str) and value in _LATER_VALUES:
        raise PydanticCustomError("policy_not_built", "{word} comes in a later version; remove it", {"word": value})
    return value


def one_or_more(value: object) -> object:
    """Read one value as a list of it; a validator.

    Args:
        value: what is written.
    """
    return value if isinstance(value, list) else [value]


def _seconds(value: object) -> int | float:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= MAX_SECONDS:
        raise PydanticCustomError("policy_duration", "write a time like 500ms, 30s, 15m, 24h or 7d, at most 366d")
    return int(seconds) if seconds == int(seconds) else float(seconds)


def _whole_seconds(value: object) -> int | float:
    seconds = _seconds(value)
    if not isinstance(seconds, int):
        raise PydanticCustomError("policy_duration", "write whole seconds here, like 30s, 15m, 24h or 7d")
    return seconds


def _quorum(value: object) -> object:
    quorum = {value: 1} if isinstance(value, str) else value
    if not isinstance(quorum, dict) or not quorum:
        raise PydanticCustomError("policy_quorum", "write a role, or roles with numbers like {{finance: 2}}")
    for count in quorum.values():
        if type(count) is not int or not 1 <= count <= MAX_QUORUM:
            raise PydanticCustomError("policy_quorum", "each role needs a whole number of people, 1 to 100")
    return quorum


def _whole(value: object) -> object:
    if type(value) is not int or not 1 <= value <= MAX_WHOLE:
        raise PydanticCustomError("policy_value", "write a whole number from 1 to 1000000")
    return value


def _positive(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value <= 0:
        raise PydanticCustomError("policy_value", "write a number above 0, without quotes")
    return value


def _rate(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 < value <= 1:
        raise PydanticCustomError("policy_value", "write a share above 0 and up to 1, like 0.5")
    return Decimal(value)


def _word(allowed: str, shape: str | re.Pattern[str]) -> Callable[[str], str]:
    """A validator for one word; Pydantic's own text would show the pattern."""
    pattern = re.compile(shape)

    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise PydanticCustomError("policy_value", "write {allowed}", {"allowed": allowed})
        return value

    return check


Decides = Annotated[Then, BeforeValidator(not_later)]
Duration = Annotated[int | float, BeforeValidator(_seconds)]
WholeSeconds = Annotated[int, BeforeValidator(_whole_seconds)]
Quorum = Annotated[dict[str, int], BeforeValidator(_quorum)]
Whole = Annotated[int, BeforeValidator(_whole)]
Positive = Annotated[Any, BeforeValidator(_positive)]
Rate = Annotated[Any, BeforeValidator(_rate)]
Name = Annotated[str, AfterValidator(_word(EXACT_NAMES, EXACT_NAME))]
Names = Annotated[list[Name], BeforeValidator(one_or_more), Field(min_length=1)]
Impacts = Annotated[list[Impact], BeforeValidator(one_or_more), Field(min_length=1)]
Operations = Annotated[list[Operation], BeforeValidator(one_or_more), Field(min_length=1)]
Effects = Annotated[list[Kind], BeforeValidator(one_or_more), Field(min_length=1)]
FieldName = Annotated[
    str, AfterValidator(_word("an argument's name or record.<field>, without empty parts", r"[^\s.]+(\.[^\s.]+)*"))
]
Question = Annotated[str, AfterValidator(_word("a question of 1 to 500 characters", r"(?s)\s*\S.{0,499}"))]
RoleName = Annotated[str, AfterValidator(_word("letters, digits, _ and - only", r"[A-Za-z][A-Za-z0-9_-]{0,63}"))]
Member = Annotated[str, AfterValidator(_word("a person or group:<name>, without blanks", r"(?!group:$)\S{1,254}"))]
