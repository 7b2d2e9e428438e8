"""The fields ``system.…`` and ``run.…`` of a rule's conditions: what is known of the system written to and of the run.

They are gathered only where a rule about the call asks for one of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from langgraph_control.guards.signals import Breaker, Prior, Signals

__all__ = ["GATHERED", "SIGNAL_FIELDS", "SignalField", "gathered_head", "given", "value_problem"]

GATHERED: Final = frozenset({"system", "run"})
"""What a field's name starts with, before its first dot."""


NUMBER_MAX: Final = 1_000_000_000
"""Thirty years of seconds, and more calls than anybody counts: what times can still be reckoned with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalField:
    """One field.

    Args:
        of: reads it.
        kept: which attribute of system state or progress it is, for tests that give it.
        stored: makes that attribute's value of what a test says, at a time.
        words: the words it can be; None for a number or a flag.
        flag: it is true or false.
        whole: it is a whole number.
        most: the largest number that a test can give for it.
    """

    of: Callable[[Signals], object]
    kept: str
    stored: Callable[[Any, datetime], object]
    words: type[StrEnum] | None = None
    flag: bool = False
    whole: bool = False
    most: int = NUMBER_MAX


def _exactly(number: float | None) -> Decimal:
    """A system that nobody called lately failed at no call and took no time."""
    return Decimal(repr(number or 0.0))


def _is_limited(signals: Signals) -> bool:
    until = signals.system_state.rate_limited_until
    return until is not None and until > signals.now


def _seconds_left(signals: Signals) -> Decimal | None:
    deadline = signals.progress.deadline
    return None if deadline is None else _exactly(max(0.0, (deadline - signals.now).total_seconds()))


def _of_system(read: Callable[[Signals], object]) -> Callable[[Signals], object]:
    return lambda signals: None if signals.system is None else read(signals)


def _whole(kept: str, read: Callable[[Signals], object]) -> SignalField:
    return SignalField(of=read, kept=kept, stored=lambda value, _: int(value), whole=True)


def _measured(kept: str, read: Callable[[Signals], object], most: int = NUMBER_MAX) -> SignalField:
    return SignalField(of=read, kept=kept, stored=lambda value, _: float(value), most=most)


def _worded(kept: str, words: type[StrEnum], read: Callable[[Signals], object]) -> SignalField:
    return SignalField(of=read, kept=kept, stored=lambda value, _: words(value), words=words)


SIGNAL_FIELDS: Final[Mapping[str, SignalField]] = MappingProxyType(
    {
        "system.rate_limited": SignalField(
            of=_of_system(_is_limited),
            kept="rate_limited_until",
            stored=lambda limited, now: now + timedelta(seconds=1) if limited else None,
            flag=True,
        ),
        "system.breaker": _worded("breaker", Breaker, _of_system(lambda signals: signals.system_state.breaker.value)),
        "system.error_rate": _measured(
            "error_rate", _of_system(lambda signals: _exactly(signals.system_state.error_rate)), most=1
        ),
        "system.calls": _whole("calls", _of_system(lambda signals: signals.system_state.calls)),
        "system.latency_seconds": _measured(
            "latency_seconds", _of_system(lambda signals: _exactly(signals.system_state.latency_seconds))
        ),
        "run.prior": _worded("prior", Prior, lambda signals: signals.progress.prior.value),
        "run.attempts": _whole("attempts", lambda signals: signals.progress.attempts),
        "run.same_failures": _whole("same_failures", lambda signals: signals.progress.same_failures),
        "run.tool_calls": _whole("tool_calls", lambda signals: signals.progress.tool_calls),
        "run.retrying_seconds": _measured(
            "run_retrying_seconds", lambda signals: _exactly(signals.progress.run_retrying_seconds)
        ),
        "run.seconds_left": SignalField(
            of=_seconds_left,
            kept="deadline",
            stored=lambda seconds, now: now + timedelta(seconds=float(seconds)),
        ),
    }
)
"""What conditions can ask for as ``system.<field>`` and ``run.<field>``."""


def gathered_head(field: str) -> str | None:
    """Return ``system`` or ``run`` where a field has to be gathered, None for any other.

    Args:
        field: its name, as a condition has it.
    """
    head, dot, _ = field.partition(".")
    return head if dot and head in GATHERED else None


def value_problem(field: str, value: object) -> str | None:
    """Return what is wrong with a value that a test gives for a field, or None.

    Args:
        field: one of :data:`SIGNAL_FIELDS`.
        value: what the test says.
    """
    known = SIGNAL_FIELDS[field]
    if known.words is not None:
        is_word = isinstance(value, str) and value in set(known.words)
        return None if is_word else f"{field} is one of: {', '.join(known.words)}"
    if known.flag:
        return None if isinstance(value, bool) else f"{field} is true or false"
    return None if _is_number(value, known) else f"{field} is a {_number_of(known)} from 0 to {known.most}"


def _is_number(value: object, known: SignalField) -> bool:
    if not isinstance(value, int | Decimal) or isinstance(value, bool) or not 0 <= value <= known.most:
        return False
    return not known.whole or value == int(value)


def _number_of(known: SignalField) -> str:
    return "whole number" if known.whole else "number"


def given(signals: Signals, values: Mapping[str, Any]) -> Signals:
    """Return signals in which these fields have these values.

    Args:
        signals: a call.
        values: of :data:`SIGNAL_FIELDS`, of the right kind.
    """
    changes: dict[str, dict[str, Any]] = {head: {} for head in GATHERED}
    for field, value in values.items():
        known = SIGNAL_FIELDS[field]
        changes[field.partition(".")[0]][known.kept] = known.stored(value, signals.now)
    if changes["system"]:
        signals = replace(signals, system_state=replace(signals.system_state, **changes["system"]))
    if changes["run"]:
        signals = replace(signals, progress=replace(signals.progress, **changes["run"]))
    return signals
