"""What ``context:`` asks the ledger to look for before a write is decided about."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from langgraph_control.guards.signals import Impact

__all__ = ["NO_LOOKS", "ContextRule", "Looks", "looks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextRule:
    """One item of ``context:``.

    Args:
        place: where it stands: ``context[0] policy.yaml:4``.
        tools: the tools it is about; empty means any.
        impacts: the impacts it is about; empty means any.
        systems: the systems it is about; empty means any.
        equal_within_seconds: how long an equal action of another request counts; None: it is not looked for.
        changed: whether to look for a record that changed since the run last asked for the write.
    """

    place: str
    tools: tuple[str, ...] = ()
    impacts: tuple[Impact, ...] = ()
    systems: tuple[str, ...] = ()
    equal_within_seconds: float | None = None
    changed: bool = False

    def is_about(self, tool: str, impact: Impact, system: str | None) -> bool:
        """Whether it asks to look at a call.

        Args:
            tool: the tool's name.
            impact: its impact.
            system: its system, None where it names none.
        """
        return (
            (not self.tools or tool in self.tools)
            and (not self.impacts or impact in self.impacts)
            and (not self.systems or system in self.systems)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What is looked for at one call.

    Args:
        equal_within_seconds: how long an equal action of another request counts; None: it is not looked for.
        changed: whether the record is compared with the one that the run last saw.
    """

    equal_within_seconds: float | None = None
    changed: bool = False


NO_LOOKS: Final = Looks()


def looks(rules: Iterable[ContextRule]) -> Looks:
    """Return what several items ask for together: the longest time, and each kind of look.

    Args:
        rules: the items that are about a call.
    """
    about = list(rules)
    if not about:
        return NO_LOOKS
    times = [rule.equal_within_seconds for rule in about if rule.equal_within_seconds is not None]
    return Looks(equal_within_seconds=max(times, default=None), changed=any(rule.changed for rule in about))
