"""The shape of a policy file, checked by Pydantic: which keys there are and what each may hold."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field
from pydantic_core import ErrorDetails, PydanticCustomError

from langgraph_control.guards.approvals import OPEN_PER_RUN, OPEN_PER_TENANT, REQUESTER
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.policy_text import Path
from langgraph_control.guards.policy_words import (
    LATER_KEYS,
    Decides,
    Effects,
    Impacts,
    Member,
    Name,
    Names,
    Operations,
    Question,
    Quorum,
    RoleName,
    Shape,
    WholeSeconds,
    did_you_mean,
    not_later,
)
from langgraph_control.guards.signals import Impact, Operation

__all__ = ["ApproveShape", "ExpiryShape", "OtherwiseShape", "PolicyShape", "RuleShape", "TestShape", "shape_problem"]


def _version(value: object) -> object:
    if type(value) is not int or value != 1:
        raise PydanticCustomError("policy_version", "this release reads version 1; write `version: 1`")
    return value


_NotBy = Annotated[Literal["requester", "editor", "previous_approver"], BeforeValidator(not_later)]


class ExpiryShape(Shape):
    """``on_expiry:`` where it is not ``deny``: who is asked next, and for how long."""

    escalate_to: Quorum
    within: WholeSeconds


class ApproveShape(Shape):
    """``approve:``, the defaults of every rule that asks people."""

    within: WholeSeconds = 86400
    execute_within: WholeSeconds | None = None
    on_expiry: Any = "deny"
    not_by: list[_NotBy] = Field(default=[REQUESTER])
    open_per_run: int = Field(default=OPEN_PER_RUN, ge=1, le=100_000, strict=True)
    open_per_tenant: int = Field(default=OPEN_PER_TENANT, ge=1, le=1_000_000, strict=True)
    on_new_message: Literal["refuse", "withdraw"] = "refuse"


class DecidingShape(Shape):
    """What ``rules:`` and ``otherwise:`` have in common: a decision, and whom it names."""

    then: Decides
    by: Quorum | None = None
    comment: Literal["required"] | None = None
    within: WholeSeconds | None = None
    on_expiry: Any = None
    break_glass: Names = Field(default_factory=list)
    to: str | None = None
    question: Question | None = None


class OtherwiseShape(DecidingShape):
    """An item of ``otherwise:``."""

    impact: Impacts


class RuleShape(DecidingShape):
    """An item of ``rules:``. Conditions are read elsewhere, operator by operator."""

    tool: Names = Field(default_factory=list)
    impact: Impacts = Field(default_factory=list)
    system: Names = Field(default_factory=list)
    operation: Operations = Field(default_factory=list)
    effect: Effects = Field(default_factory=list)
    environment: Names = Field(default_factory=list)
    actor: Names = Field(default_factory=list)
    tenant: Names = Field(default_factory=list)
    when: dict[str, Any] = Field(default_factory=dict)


class TestShape(Shape):
    """An item of ``tests:``."""

    __test__ = False  # pytest would take the name for a test class

    call: Name
    arguments: dict[str, Any] = Field(default_factory=dict, alias="with")
    expect: Decides
    by: Quorum | None = None
    to: str | None = None
    impact: Impact | None = None
    effect: Kind | None = None
    system: Name | None = None
    operation: Operation | None = None
    environment: Name | None = None
    actor: Name | None = None
    tenant: Name | None = None


class PolicyShape(Shape):
    """The file. Its sections are read one by one, so that a wrong one does not hide the next one's mistakes."""

    version: Annotated[int, BeforeValidator(_version)]
    mode: Literal["enforce", "observe"] = "enforce"
    roles: dict[RoleName, Annotated[list[Member], Field(min_length=1)]] = Field(default_factory=dict)
    owner: str | None = None
    owners: Any = None
    approve: Any = None
    risk: Annotated[list[Any], Field(max_length=100)] = Field(default_factory=list)
    records: Annotated[list[Any], Field(max_length=100)] = Field(default_factory=list)
    context: Annotated[list[Any], Field(max_length=100)] = Field(default_factory=list)
    rules: Annotated[list[Any], Field(max_length=1000)] = Field(default_factory=list)
    otherwise: Annotated[list[Any], Field(max_length=100)] = Field(default_factory=list)
    limits: Annotated[list[Any], Field(max_length=100)] = Field(default_factory=list)
    retries: Any = None
    breakers: Any = None
    caps: Any = None
    deadlines: Any = None
    tests: Annotated[list[Any], Field(max_length=1000)] = Field(default_factory=list)


def shape_problem(error: ErrorDetails, shape: type[Shape]) -> tuple[Path, str, str]:
    """Return path, code and text of one of Pydantic's errors, in this file format's words.

    Args:
        error: the error, as ``ValidationError.errors()`` lists it.
        shape: the model that was checked.
    """
    path: Path = tuple(part for part in error["loc"] if part != "[key]")
    if error["type"] == "extra_forbidden":
        word = str(path[-1])
        if word in LATER_KEYS:
            return path, "policy_not_built", f"{word} comes in a later version; remove it"
        known = [part.alias or name for name, part in _inside(shape, path[:-1]).model_fields.items()]
        return path, "policy_unknown_key", f"there is no such key; {did_you_mean(word, known)}"
    if error["type"] == "missing":
        return path, "policy_missing_key", "this key is required"
    if error["type"] == "model_type":
        return path, "policy_value", "write keys with values here, in braces or indented"
    code = error["type"] if error["type"].startswith("policy_") else "policy_value"
    return path, code, error["msg"][:1].lower() + error["msg"][1:]


def _inside(shape: type[Shape], path: Path) -> type[Shape]:
    """The shape at a place inside a shape."""
    for part in path:
        field = next((one for name, one in shape.model_fields.items() if part in {name, one.alias}), None)
        inner = next(_shapes(field.annotation), None) if field is not None else None
        shape = inner or shape
    return shape


def _shapes(annotation: Any) -> Iterator[type[Shape]]:
    if isinstance(annotation, type) and issubclass(annotation, Shape):
        yield annotation
    for part in get_args(annotation):
        yield from _shapes(part)
