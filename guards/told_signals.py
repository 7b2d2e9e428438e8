"""What a decision was looking at, by the names that rules use: for the approver's card and for the trail.

Only what says something is told: a signal that has its neutral value, or that nobody asked for, is left out. Amounts,
counts and the record's fields are values of the call, which lie where they can be erased, and never here.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from langgraph_control.guards.decisions import Decision, Source
from langgraph_control.guards.signal_fields import SIGNAL_FIELDS
from langgraph_control.guards.signals import Context, Equal, Signals

__all__ = ["signal_texts", "told_signals"]

_DECIDED_BY: Final = "decided_by"

_SAID_OF_CONTEXT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "context.read_failed": "the record could not be read",
        "context.record_missing": "there is no such record",
        "context.already_done": "the record is in the target state already",
        "context.changed": "the record is not as this run last saw it",
    }
)


def told_signals(signals: Signals, decision: Decision) -> dict[str, str]:
    """Return the signals that say something: field → value.

    Args:
        signals: what the decision looked at.
        decision: what was decided.
    """
    told: dict[str, str] = {}
    if decision.radius is not None:
        told["risk.radius"] = decision.radius.value
    if signals.risk.reversible:
        told["risk.reversible"] = "true"
    told |= _of_context(signals.context)
    for field, known in SIGNAL_FIELDS.items():
        value = known.of(signals)
        if value and value not in _NEUTRAL:
            told[field] = "true" if value is True else str(value)
    if decision.source is not Source.RULES:
        told[_DECIDED_BY] = decision.source.value
    return told


_NEUTRAL: Final = frozenset({"none", "closed"})


def _of_context(context: Context) -> Iterator[tuple[str, str]]:
    for field in _SAID_OF_CONTEXT:
        if getattr(context, field.partition(".")[2]):
            yield field, "true"
    if context.equal is not Equal.NONE:
        yield "context.equal", context.equal.value


def signal_texts(told: object) -> Iterator[str]:
    """Return told signals in words; nothing for what is none.

    Args:
        told: what :func:`told_signals` returned, as it was read back from a card or an entry.
    """
    if not isinstance(told, Mapping):
        return
    for field, value in told.items():
        if not isinstance(field, str) or not isinstance(value, str):
            continue
        yield _SAID.get((field, value)) or _SAID_OF_CONTEXT.get(field) or f"{field.replace('_', ' ')}: {value}"


_SAID: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("risk.radius", "small"): "risk: small",
        ("risk.radius", "medium"): "risk: medium",
        ("risk.radius", "large"): "risk: large",
        ("risk.reversible", "true"): "it can be undone",
        ("context.equal", "under_way"): "another request is doing the same right now",
        ("context.equal", "done"): "another request has done the same",
    }
)
