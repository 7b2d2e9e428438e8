"""How often and how long something is tried: attempts, pauses, circuit breakers, caps."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, TypeVar

from langgraph_control.guards.loops import LoopRules

__all__ = ["BreakerRules", "Caps", "Named", "RetryRules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """How one tool's or system's actions are tried again.

    Args:
        attempts: how many attempts one action may have, the first included, over all runs and restarts.
        base_seconds: the first pause is between nothing and this; it doubles with every attempt.
        cap_seconds: no pause is longer, unless the other side asked for it.
        give_up_after_seconds: since the first attempt; then the owner has it.
        same_failure: that many times the same failure in a row means stop.
    """

    attempts: int = 5
    base_seconds: float = 0.2
    cap_seconds: float = 60.0
    give_up_after_seconds: float = 86_400.0
    same_failure: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    """When calls to one system are held back, for all workers.

    Args:
        error_rate: it opens when at least this share of the calls in the window failed, above 0 and up to 1.
        window_seconds: over which the share is taken.
        minimum_calls: with fewer calls in the window it stays closed.
        open_seconds: how long it stays open before probes go through.
        probes: how many calls must succeed, one at a time, before it closes.
        degraded_seconds: calls that take longer on the average mean a degraded system; None: none does.
    """

    error_rate: Decimal = Decimal("0.5")
    window_seconds: float = 60.0
    minimum_calls: int = 20
    open_seconds: float = 30.0
    probes: int = 3
    degraded_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What one run may use up.

    Args:
        tool_calls: how many tool calls it may make.
        retry_seconds: how long it may wait for retries of all its actions together.
        same_answer: see :class:`LoopRules`.
        bounces: likewise.
        loop_seconds: calls that lie further apart than that are no loop.
    """

    tool_calls: int = 10_000
    retry_seconds: float = 7 * 86_400.0
    same_answer: int = 3
    bounces: int = 2
    loop_seconds: float = 120.0

    @property
    def loops(self) -> LoopRules:
        """From where on the run goes in circles."""
        return LoopRules(same_answer=self.same_answer, bounces=self.bounces, within_seconds=self.loop_seconds)


_Rules = TypeVar("_Rules", RetryRules, BreakerRules)
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Rules by name: ``default``, and what single tools or systems have otherwise.

    Args:
        given: name → field → value, as the file has them; ``default`` is one of the names.
    """

    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def fill(self, rules: _Rules, *names: str | None) -> _Rules:
        """Return rules with what the file says: ``default`` first, then each name, the last one over all others.

        Args:
            rules: what holds where the file says nothing.
            *names: from general to particular; None is nobody's.
        """
        changes: dict[str, Any] = {}
        for name in ("default", *names):
            if name is not None:
                changes |= self.given.get(name, _NOTHING)
        return replace(rules, **changes) if changes else rules
