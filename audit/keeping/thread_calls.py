"""The tool calls that entries tell of, to be held against a thread's answers. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from langgraph_control.audit.keeping.outside import Wrote
from langgraph_control.audit.trail.entries import Entry

__all__ = ["Calls"]

_CLAIMED: Final = frozenset({"action.decided", "action.duplicate"})


@dataclass(frozen=True, slots=True)
class Calls:
    """Which calls of which writes entries tell of.

    Args:
        known: the calls by tool and id.
        nameless: the tools of which a write came from code, which makes no tool call: what answers whose it is, is not
            known by an id.
    """

    known: frozenset[Wrote] = frozenset()
    nameless: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """Return the calls that entries tell of.

        Args:
            entries: of any chains, in any order.
        """
        known: set[Wrote] = set()
        nameless: set[str] = set()
        for entry in entries:
            tool, call_id = entry.fact("tool"), entry.said("call_id")
            if tool is not None and call_id is not None:
                known.add(Wrote(tool=tool, call_id=call_id))
            elif tool is not None and _CLAIMED & set(entry.events):
                nameless.add(tool)
        return cls(frozenset(known), frozenset(nameless))

    def __or__(self, other: "Calls") -> "Calls":
        return Calls(self.known | other.known, self.nameless | other.nameless)

    def untold(self, wrote: Iterable[Wrote]) -> tuple[Wrote, ...]:
        """Return the answers that no entry tells of, in order; where code wrote, its tool's answers are believed.

        Args:
            wrote: a thread's answers.
        """
        left = (one for one in wrote if one not in self.known and one.tool not in self.nameless)
        return tuple(sorted(left, key=lambda one: (one.tool, one.call_id)))
