"""What was done in a period, with which approvals: writes, and what people did, by what a control asks about. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from langgraph_control.audit.asking.searching import FoundWrite
from langgraph_control.audit.trail.entries import Entry

__all__ = ["EVENTS", "Happening", "Period", "period"]

EVENTS: Final = (
    *("approval.broke_glass", "approval.refused", "approval.edited", "review.closed", "review.refused"),
    *("action.resolved", "action.resolution_refused", "run.cancelled", "run.cancel_refused", "run.fenced"),
    *("freeze.set", "freeze.lifted", "freeze.refused", "breaker.opened", "breaker.closed", "policy.loaded"),
    *("delegation.given", "delegation.revoked", "delegation.refused", "effect.mismatch", "effect.late"),
    *("resume.ignored", "access.refused", "question.answer_refused", "payload.erased", "key.rotated"),
)
"""What happened beside writes that a report tells."""

_DONE: Final = frozenset({"succeeded"})
_OVER: Final = frozenset({"denied", "failed", "abandoned"})

_BY_CONTROL: Final = (
    ("emergencies", frozenset({"approval.broke_glass", "review.closed"})),
    ("settled", frozenset({"action.resolved", "run.cancelled"})),
    ("authority", frozenset({"policy.loaded", "delegation.given", "delegation.revoked", "approval.edited"})),
    ("stops", frozenset({"freeze.set", "freeze.lifted", "breaker.opened", "breaker.closed"})),
    ("record", frozenset({"payload.erased", "key.rotated"})),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened beside writes.

    Args:
        chain: the run, or the tenant's own chain.
        entry: its entry.
    """

    chain: UUID
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What was done in a period.

    Args:
        since: from this time on.
        until: before this time.
        unasked: writes that were done without asking anybody, as the policy allowed.
        approved: writes that were done with people's yes.
        not_done: writes that were refused, rejected, or given up.
        open: writes that are neither.
        by_tool: tool, state and number.
        emergencies: one person's word alone, and its review.
        settled: what people settled or ended.
        authority: policies, delegations and changes by people.
        stops: what stopped writes, and what let them go on.
        record: what changed about the record itself.
        refused: words that did not count, and what was noticed.
    """

    since: datetime
    until: datetime
    unasked: tuple[FoundWrite, ...]
    approved: tuple[FoundWrite, ...]
    not_done: tuple[FoundWrite, ...]
    open: tuple[FoundWrite, ...]
    by_tool: tuple[tuple[str, str, int], ...]
    emergencies: tuple[Happening, ...]
    settled: tuple[Happening, ...]
    authority: tuple[Happening, ...]
    stops: tuple[Happening, ...]
    record: tuple[Happening, ...]
    refused: tuple[Happening, ...]


def period(
    writes: Iterable[FoundWrite], happenings: Iterable[Happening], *, since: datetime, until: datetime
) -> Period:
    """Sort what was done.

    Args:
        writes: first decided about in the period.
        happenings: entries of the period that carry one of :data:`EVENTS`.
        since: the period's beginning.
        until: its end.
    """
    found = tuple(writes)
    done = [one for one in found if one.state in _DONE]
    counted = Counter((one.tool, one.state) for one in found)
    sorted_out = _sorted_out(tuple(happenings))
    return Period(
        since=since,
        until=until,
        unasked=tuple(one for one in done if not _was_asked(one)),
        approved=tuple(one for one in done if _was_asked(one)),
        not_done=tuple(one for one in found if one.state in _OVER),
        open=tuple(one for one in found if one.state not in _DONE | _OVER),
        by_tool=tuple((tool, state, number) for (tool, state), number in sorted(counted.items())),
        **sorted_out,
    )


def _was_asked(one: FoundWrite) -> bool:
    return one.approval_state in {"used", "granted"}


def _sorted_out(happenings: Sequence[Happening]) -> dict[str, tuple[Happening, ...]]:
    """Each where it belongs; what belongs nowhere else is a word that did not count, or was noticed."""
    found = {name: tuple(one for one in happenings if events & set(one.entry.events)) for name, events in _BY_CONTROL}
    told = frozenset().union(*(events for _, events in _BY_CONTROL))
    return {**found, "refused": tuple(one for one in happenings if not told & set(one.entry.events))}
