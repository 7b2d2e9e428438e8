"""The shape of a policy file, checked by Pydantic: which keys there are and what each may hold."""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import ErrorDetails, PydanticCustomError

from langgraph_control.guards.approvals import REQUESTER
from langgraph_control.guards.policy_text import Path
from langgraph_control.guards.rules import Then
from langgraph_control.guards.signals import Impact

__all__ = [
    "ApproveShape",
    "OtherwiseShape",
    "PolicyShape",
    "RuleShape",
    "Shape",
    "TestShape",
    "did_you_mean",
    "shape_problem",
]

MAX_QUORUM: Final = 100  # the texts below say these two numbers
MAX_SECONDS: Final = 366 * 86400
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})([smhd])")

# Words with a meaning that this version does not act on yet. Reading over them would be worse than refusing.
_LATER_KEYS: Final = frozenset(
    {
        *("limits", "retries", "mode", "deadlines", "deadline", "owners", "delegation", "break_glass"),
        *("operation", "environment", "actor", "tenant", "count", "effect", "escalate_to", "all_of", "distinct_from"),
    }
)
_LATER_VALUES: Final = frozenset({"ask", "escalate", "dry_run", "on_behalf_of", "approvers"})


def _not_built(word: str) -> PydanticCustomError:
    return PydanticCustomError("policy_not_built", "{word} comes in a later version; remove it", {"word": word})


def _one_or_more(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _seconds(value: object) -> int:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= MAX_SECONDS:
        raise PydanticCustomError("policy_duration", "write a time like 30s, 15m, 24h or 7d, at most 366d")
    return seconds


def _quorum(value: object) -> object:
    quorum = {value: 1} if isinstance(value, str) else value
    if not isinstance(quorum, dict) or not quorum:
        raise PydanticCustomError("policy_quorum", "write a role, or roles with numbers like {{finance: 2}}")
    for count in quorum.values():
        if type(count) is not int or not 1 <= count <= MAX_QUORUM:
            raise PydanticCustomError("policy_quorum", "each role needs a whole number of people, 1 to 100")
    return quorum


def _version(value: object) -> object:
    if type(value) is not int or value != 1:
        raise PydanticCustomError("policy_version", "this release reads version 1; write `version: 1`")
    return value


def _not_later(value: object) -> object:
    if isinstance(value, str) and value in _LATER_VALUES:
        raise _not_built(value)
    return value


def _word(allowed: str, shape: str) -> Callable[[str], str]:
    """A validator for one word; Pydantic's own text would show the pattern."""
    pattern = re.compile(shape)

    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise PydanticCustomError("policy_value", "write {allowed}", {"allowed": allowed})
        return value

    return check


_Then = Annotated[Then, BeforeValidator(_not_later)]
_Seconds = Annotated[int, BeforeValidator(_seconds)]
_Quorum = Annotated[dict[str, int], BeforeValidator(_quorum)]
# Exact names only: `refund*` would match nothing and silently leave a deny rule without effect.
_Name = Annotated[str, AfterValidator(_word("exact names, without blanks, * or ?", r"[^\s*?]{1,128}"))]
_Names = Annotated[list[_Name], BeforeValidator(_one_or_more), Field(min_length=1)]
_Impacts = Annotated[list[Impact], BeforeValidator(_one_or_more), Field(min_length=1)]
_RoleName = Annotated[str, AfterValidator(_word("letters, digits, _ and - only", r"[A-Za-z][A-Za-z0-9_-]{0,63}"))]
_Member = Annotated[str, AfterValidator(_word("a person or group:<name>, without blanks", r"(?!group:$)\S{1,254}"))]
_NotBy = Annotated[Literal["requester"], BeforeValidator(_not_later)]


class Shape(BaseModel):
    """A part of the file: no keys but the ones named, nothing coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ApproveShape(Shape):
    """``approve:``, the defaults of every rule that asks people."""

    within: _Seconds = 86400
    execute_within: _Seconds | None = None
    on_expiry: Annotated[Literal["deny"], BeforeValidator(_not_later)] = "deny"
    not_by: list[_NotBy] = Field(default=[REQUESTER])


class OtherwiseShape(Shape):
    """An item of ``otherwise:``."""

    impact: _Impacts
    then: _Then
    by: _Quorum | None = None
    comment: Literal["required"] | None = None
    within: _Seconds | None = None


class RuleShape(Shape):
    """An item of ``rules:``. Conditions are read elsewhere, operator by operator."""

    tool: _Names = Field(default_factory=list)
    impact: _Impacts = Field(default_factory=list)
    system: _Names = Field(default_factory=list)
    when: dict[str, Any] = Field(default_factory=dict)
    then: _Then
    by: _Quorum | None = None
    comment: Literal["required"] | None = None
    within: _Seconds | None = None


class TestShape(Shape):
    """An item of ``tests:``."""

    __test__ = False  # pytest would take the name for a test class

    call: _Name
    arguments: dict[str, Any] = Field(default_factory=dict, alias="with")
    expect: _Then
    by: _Quorum | None = None
    impact: Impact | None = None
    system: _Name | None = None


class PolicyShape(Shape):
    """The file. Items of its lists are read one by one, so that a wrong rule does not hide the next one's mistakes."""

    version: Annotated[int, BeforeValidator(_version)]
    roles: dict[_RoleName, Annotated[list[_Member], Field(min_length=1)]] = Field(default_factory=dict)
    owner: str | None = None
    approve: ApproveShape = Field(default_factory=ApproveShape)
    rules: Annotated[list[Any], Field(max_length=1000)] = Field(default_factory=list)
    otherwise: Annotated[list[Any], Field(max_length=100)] = Field(default_factory=list)
    tests: Annotated[list[Any], Field(max_length=1000)] = Field(default_factory=list)


def did_you_mean(word: str, known: Any) -> str:
    """Return a hint at the nearest known word, or the list of all of them.

    Args:
        word: what was written.
        known: what could have been meant.
    """
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"


def shape_problem(error: ErrorDetails, shape: type[Shape]) -> tuple[Path, str, str]:
    """Return path, code and text of one of Pydantic's errors, in this file format's words.

    Args:
        error: the error, as ``ValidationError.errors()`` lists it.
        shape: the model that was checked.
    """
    path: Path = tuple(part for part in error["loc"] if part != "[key]")
    if error["type"] == "extra_forbidden":
        word = str(path[-1])
        if word in _LATER_KEYS:
            return path, "policy_not_built", f"{word} comes in a later version; remove it"
        inside: type[Shape] = ApproveShape if path[0] == "approve" and len(path) > 1 else shape
        known = [part.alias or name for name, part in inside.model_fields.items()]
        return path, "policy_unknown_key", f"there is no such key; {did_you_mean(word, known)}"
    if error["type"] == "missing":
        return path, "policy_missing_key", "this key is required"
    if error["type"] == "model_type":
        return path, "policy_value", "write keys with values here, in braces or indented"
    code = error["type"] if error["type"].startswith("policy_") else "policy_value"
    return path, code, error["msg"][:1].lower() + error["msg"][1:]
