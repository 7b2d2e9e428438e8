"""What a report of a period holds, and which events of the trail are told in which part of it. Plain values.

:mod:`langgraph_control.audit.trail.period_telling` fills it from entries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

from langgraph_control.audit.trail.entries import Entry

__all__ = ["HAPPENINGS", "REQUESTS", "UNTOLD", "WRITES", "Happening", "Period", "Read", "ToldRequest", "ToldWrite"]

WRITES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "decided": frozenset(
            {
                *("action.proposed", "action.decided", "action.attempt_started", "action.succeeded", "effect.verified"),
                *("compensation.started", "compensation.succeeded"),
            }
        ),
        "refused": frozenset({"action.failed", "approval.denied", "approval.expired"}),
        "open": frozenset({"action.unknown", "effect.mismatch", "compensation.failed"}),
    }
)
"""Events that leave a write where it stands: they are told by where it stands at the period's end."""

REQUESTS: Final = frozenset(
    {
        *("approval.requested", "approval.voted", "approval.vote_withdrawn", "approval.granted", "approval.denied"),
        *("approval.expired", "approval.escalated", "approval.superseded", "approval.withdrawn"),
    }
)
"""Events of requests: each request that has one in the period is told, with what people said until its end."""

HAPPENINGS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "emergencies": frozenset({"approval.broke_glass", "review.opened", "review.closed"}),
        "settled": frozenset({"action.resolved", "run.cancelled", "run.replaced"}),
        "authority": frozenset({"policy.loaded", "delegation.given", "delegation.revoked", "approval.edited"}),
        "stops": frozenset(
            {"freeze.set", "freeze.lifted", "breaker.opened", "breaker.closed", "loop.stopped", "loop.parked"}
        ),
        "record": frozenset(
            {
                *("payload.erased", "entries.dropped", "hold.set", "hold.lifted", "key.rotated", "record.reconciled"),
                *("restore.detected", "restore.declared", "restore.accepted"),
            }
        ),
        "noticed": frozenset(
            {
                *("approval.refused", "approval.edit_refused", "review.refused", "action.resolution_refused"),
                *("run.cancel_refused", "freeze.refused", "delegation.refused", "question.answer_refused"),
                *("run.fenced", "resume.ignored", "access.refused", "effect.mismatch", "effect.late"),
            }
        ),
    }
)
"""Events that are told one by one. An entry that carries some of two parts is told in both."""

UNTOLD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "run.started": "a run's own course is told by `show`; its writes are told here",
        "run.resumed": "likewise",
        "run.finished": "likewise; where a person or a new message ended it, that is told",
        "wait.started": "likewise",
        "action.duplicate": "nothing was asked for anew, and nothing done",
        "loop.noticed": "the model was told; nothing was stopped",
        "question.answered": "what the user was asked about a write, and not whether it may be done",
    }
)
"""Events that no part of a report tells, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldRequest:
    """A request for people's yes, as entries leave it at the period's end.

    Args:
        approval: its id.
        run_id: the run that asked; None where what is left of the record does not say.
        key: the action.
        tool: the tool's name.
        target: the record.
        asked_at: when; None likewise.
        outcome: how it ended; "" while it is open.
        ended_at: when.
        escalated: it was put to others.
        votes: ``person:decision`` of each word that counts, in order.
    """

    approval: str
    run_id: UUID | None
    key: str
    tool: str
    target: str | None
    asked_at: datetime | None
    outcome: str
    ended_at: datetime | None
    escalated: bool
    votes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldWrite:
    """A write, as entries leave it at the period's end.

    Args:
        run_id: the run that first asked for it, as far as the record is left.
        key: the action key.
        tool: the tool's name.
        target: the record.
        system: the system of record.
        impact: what it affects.
        kind: of the effect.
        undoes: the action that it takes back.
        intent: the business request.
        actor: who asked; "" where what is left of the record does not say.
        on_behalf_of: for whom.
        verb: what was decided first.
        policy: hash of the policy that decided then.
        asked_at: when it was first asked for; None where that is not left.
        state: where it stands at the end, or, where the order of two runs' entries is not known, could stand.
        since: since when.
        done_at: when it was done; None for one that is not, or where that is not left.
        attempts: tries until the end.
        request: the newest request for it; None where nobody was asked.
    """

    run_id: UUID
    key: str
    tool: str
    target: str | None
    system: str | None
    impact: str | None
    kind: str | None
    undoes: str | None
    intent: str
    actor: str
    on_behalf_of: str | None
    verb: str
    policy: str | None
    asked_at: datetime | None
    state: str
    since: datetime
    done_at: datetime | None
    attempts: int
    request: ToldRequest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that is told by itself.

    Args:
        chain: the run, or the tenant's own chain.
        entry: its entry, without its payload.
    """

    chain: UUID
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a report was told from.

    Args:
        chains: so many chains.
        entries: so many entries of theirs until the period's end.
        dropped: so many before these were dropped by retention.
        broken: the chains that are not whole, and what is wrong.
    """

    chains: int
    entries: int
    dropped: int
    broken: tuple[tuple[UUID, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What was asked for and done in a period.

    Args:
        since: from this time on.
        until: before this time.
        read: what it is told from.
        asked: writes that were first asked for in it.
        unasked: writes that were done in it without asking anybody, as the policy allowed.
        approved: writes that were done in it with people's yes.
        not_done: writes that were refused, rejected, found not done or given up in it.
        open: writes with an entry in it that are neither at its end.
        requests: for people's yes, with an entry in it.
        by_tool: tool, state at its end and number of the writes above.
        emergencies: one person's word alone, and its review.
        settled: what people settled or ended.
        authority: policies, delegations and changes by people.
        stops: what stopped writes, and what let them go on.
        record: what changed about the record itself.
        noticed: words that did not count, and what was noticed.
    """

    since: datetime
    until: datetime
    read: Read
    asked: tuple[ToldWrite, ...]
    unasked: tuple[ToldWrite, ...]
    approved: tuple[ToldWrite, ...]
    not_done: tuple[ToldWrite, ...]
    open: tuple[ToldWrite, ...]
    requests: tuple[ToldRequest, ...]
    by_tool: tuple[tuple[str, str, int], ...]
    emergencies: tuple[Happening, ...]
    settled: tuple[Happening, ...]
    authority: tuple[Happening, ...]
    stops: tuple[Happening, ...]
    record: tuple[Happening, ...]
    noticed: tuple[Happening, ...]
