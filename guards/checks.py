"""Checks of what is proposed, handed in by users: they may look at everything and can only make things stricter.

A check is a callable. It gets a frozen view and answers what the call still lacks (back to the model), a question for
the user, or a stricter decision; None means that it has nothing to say. Whatever it answers, what it adds is joined
with the decision: of two verbs the stricter prevails, of two requirements both must be met. So a check that asks a
model, and is talked into anything, cannot loosen what the policy decided.
"""

from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias

from langgraph_control.guards.approvals import Requirement, stricter
from langgraph_control.guards.decisions import Decision, Source, Verb
from langgraph_control.guards.intent import Missing, ask_for
from langgraph_control.guards.signals import Impact

__all__ = [
    "Check",
    "CheckAnswer",
    "Failed",
    "Lacking",
    "NamedCheck",
    "Proposal",
    "Question",
    "Stricter",
    "frozen",
    "tightened",
]

AGAIN_SECONDS: Final = 60.0
"""When to try again what could not be checked."""

NAME_CHARS_MAX: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a check looks at. Nothing in it can be changed.

    Args:
        intent: the business request the change belongs to.
        tool: the tool's name.
        impact: what the contract says it touches.
        arguments: the call's arguments, normalised.
        record: the target as it is, None where it was not read.
    """

    intent: str
    tool: str
    impact: Impact
    arguments: Mapping[str, Any]
    record: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", frozen(self.arguments))
        object.__setattr__(self, "record", None if self.record is None else frozen(self.record))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """The change cannot be stated: the model is told what is missing, and nothing is done.

    Args:
        pieces: what is missing; at least one.

    Raises:
        ValueError: nothing is missing; return None instead.
    """

    pieces: tuple[Missing, ...]

    def __post_init__(self) -> None:
        if not self.pieces:
            raise ValueError("a check that finds nothing missing returns None")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Only the user can say: the run waits for an answer.

    Args:
        text: what the user is asked; not blank.

    Raises:
        ValueError: there is no question.
    """

    text: str

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("a question says what is asked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stricter:
    """A decision of the check's own. It counts only as far as it is stricter than the policy's.

    Args:
        verb: what to do.
        reason: why, for people and the trail; without argument values. With ``ask``, it is what the user is asked.
        requirement: who must say yes; with ``approve``, and only with it.
        owner: the role that owns the matter; with ``escalate``.

    Raises:
        ValueError: ``approve`` without a requirement, or a requirement without ``approve``.
    """

    verb: Verb
    reason: str
    requirement: Requirement | None = None
    owner: str | None = None

    def __post_init__(self) -> None:
        if (self.verb is Verb.APPROVE) is (self.requirement is None):
            raise ValueError("approve, and nothing else, says who must approve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The check could not be made. What cannot be checked is not done now.

    Args:
        error: the class of what it raised, or what it answered instead of an answer.
    """

    error: str


CheckAnswer: TypeAlias = Lacking | Question | Stricter


class Check(Protocol):
    """What users hand in: a function of a proposal, sync or async. It is asked again whenever the write is."""

    def __call__(self, proposal: Proposal, /) -> CheckAnswer | Awaitable[CheckAnswer | None] | None:
        """Return what is missing, what to ask, what is stricter, or None.

        Args:
            proposal: what the agent wants to do.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCheck:
    """A check as it is called in the record.

    Args:
        name: the function's, or its class's.
        function: the check.
    """

    name: str
    function: Check

    @classmethod
    def of(cls, function: Check) -> "NamedCheck":
        """Return a check under its own name.

        Args:
            function: what was handed in.
        """
        name = getattr(function, "__name__", type(function).__name__)
        return cls(name=str(name)[:NAME_CHARS_MAX], function=function)


def tightened(decision: Decision, answers: Iterable[tuple[str, object]], *, tool: str) -> Decision:
    """Return a decision with what checks add to it. It is at least as strict, whatever they answer.

    The answers' order makes no difference to verb and requirement. An answer that is none counts as a check that
    failed.

    Args:
        decision: the policy's.
        answers: the checks' names with their answers; :class:`Failed` for one that raised.
        tool: the tool's name, for what is told to the model.
    """
    for name, answer in answers:
        if answer is not None:
            decision = _joined(decision, _as_decision(name, answer, decision, tool))
    return decision


def _as_decision(name: str, answer: object, decision: Decision, tool: str) -> Decision:
    verb, reason, more = _says(name, answer, tool)
    return Decision(
        verb=verb,
        reasons=(reason,),
        requirement=more.get("requirement"),
        matched=(),
        policy_hash=decision.policy_hash,
        source=Source.CHECKS,
        seconds=more.get("seconds"),
        owner=more.get("owner"),
        question=more.get("question"),
    )


def _says(name: str, answer: object, tool: str) -> tuple[Verb, str, dict[str, Any]]:
    match answer:
        case Lacking():
            return Verb.DENY, ask_for(tool, answer.pieces), {}
        case Question():
            return Verb.ASK, f"check {name} has a question for the user", {"question": answer.text}
        case Stricter():
            asked = answer.reason if answer.verb is Verb.ASK else None
            more = {"requirement": answer.requirement, "owner": answer.owner, "question": asked}
            return answer.verb, f"check {name}: {answer.reason}", more
        case _:
            error = answer.error if isinstance(answer, Failed) else f"it answered with a {type(answer).__name__}"
            return Verb.RETRY_LATER, f"check {name} could not be made: {error}", {"seconds": AGAIN_SECONDS}


def _joined(one: Decision, other: Decision) -> Decision:
    reasons = (*one.reasons, *other.reasons)
    if other.verb.strictness < one.verb.strictness:
        return replace(one, reasons=reasons)
    if other.verb.strictness > one.verb.strictness:
        return replace(
            one,
            verb=other.verb,
            reasons=(*other.reasons, *one.reasons),
            requirement=other.requirement,
            matched=(),
            source=Source.CHECKS,
            seconds=other.seconds,
            owner=other.owner,
            question=other.question,
        )
    return replace(
        one,
        reasons=reasons,
        requirement=stricter(one.requirement, other.requirement),
        seconds=_later(one, other),
        owner=one.owner or other.owner,
        question="\n".join(sorted({*_lines(one.question), *_lines(other.question)})) or None,
    )


def _later(one: Decision, other: Decision) -> float | None:
    """None waits for something to change, which no number of seconds is as long as."""
    return None if one.seconds is None or other.seconds is None else max(one.seconds, other.seconds)


def _lines(question: str | None) -> list[str]:
    return question.split("\n") if question else []


def frozen(value: Any) -> Any:
    """Return a copy of a value that cannot be changed: mappings read-only, lists as tuples, all the way down.

    Args:
        value: an argument, a record, or a part of one.
    """
    if isinstance(value, Mapping):
        return MappingProxyType({name: frozen(part) for name, part in value.items()})
    if isinstance(value, list | tuple):
        return tuple(frozen(part) for part in value)
    return value
