"""What was found outside the ledger: in the systems of record, and in LangGraph's threads; and what was not asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

__all__ = ["SHORTFALL", "Answers", "Seen", "Thread", "Unasked", "Wrote"]


class Seen(StrEnum):
    """What the system of record said of an action when it was asked."""

    THERE = "there"  # the effect is there
    ABSENT = "absent"  # it certainly is not
    UNCLEAR = "unclear"  # it was asked, and the hook cannot tell


class Unasked(StrEnum):
    """Why nobody knows what the system of record has of an action."""

    UNANSWERED = "unanswered"  # its system could not be asked: the hook raised
    NO_TOOL = "no_tool"  # its run's graph is named, and no graph that is has the tool
    NO_FIND = "no_find"  # its contract has no `find`
    NO_ARGUMENTS = "no_arguments"  # what `find` needs was erased, dropped, or never written down


SHORTFALL: Final = frozenset({Unasked.UNANSWERED, Unasked.NO_TOOL})
"""For these somebody can be asked another time, or with another file; the others can only be looked up by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrote:
    """A thread's answer of a governed write that says it was done.

    Args:
        tool: the write.
        call_id: the tool call that it answers, as the record has it.
    """

    tool: str
    call_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """What a run's thread says.

    Args:
        exists: it has a checkpoint.
        pending: its newest one is not the end.
        wrote: the answers of governed writes among its messages, whichever of its runs they are of.
    """

    exists: bool
    pending: bool
    wrote: frozenset[Wrote] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What was found outside about one business request. Without anything: nobody was asked.

    Args:
        seen: action key → what its system says.
        unasked: action key → why there is no word of its system, and the system or tool that it is about.
        threads: run → what its thread says.
        no_graph: run → its graph, where that is not among those that were named: nothing of it was asked.
    """

    seen: Mapping[str, Seen] = field(default_factory=dict)
    unasked: Mapping[str, tuple[Unasked, str]] = field(default_factory=dict)
    threads: Mapping[UUID, Thread] = field(default_factory=dict)
    no_graph: Mapping[UUID, str] = field(default_factory=dict)
