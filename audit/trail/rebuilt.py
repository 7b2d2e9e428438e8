"""What a run is, put together from its entries: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = [
    "Asked",
    "Attempt",
    "Change",
    "Decided",
    "Drive",
    "Edited",
    "Late",
    "Looked",
    "Rebuilt",
    "Resolved",
    "Stopped",
    "Voted",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """Somebody had the run's lease.

    Args:
        at: since when.
        token: its fencing token.
        worker: who.
        policy: hash of the policy it decided by.
    """

    at: datetime
    token: int
    worker: str
    policy: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The run stood still.

    Args:
        since: when it was parked.
        state: one of the six.
        reason: why.
        until: when it went on; None while it stands.
    """

    since: datetime
    state: str
    reason: str
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A read.

    Args:
        at: when.
        tool: which tool.
        target: the record.
        answered: the system answered.
        fallback: something stood in for its answer.
    """

    at: datetime
    tool: str
    target: str | None
    answered: bool
    fallback: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was decided about a write at one of its claims, and what followed.

    Args:
        seq: the entry.
        at: when.
        verb: the decision.
        answer: what the ledger said.
        reason: why, a stable word; None for go.
        reasons: of the decision, in words.
        rules: every rule that took part.
        signals: what it looked at, in words.
        policy: the policy's hash.
        digest: what exactly would be done.
        observed: what the policy would have said, where it is only observed.
        question: what the user was asked.
    """

    seq: int
    at: datetime
    verb: str
    answer: str
    reason: str | None
    reasons: tuple[str, ...]
    rules: tuple[str, ...]
    signals: tuple[str, ...]
    policy: str | None
    digest: str | None
    observed: str | None
    question: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try.

    Args:
        attempt: its id.
        number: 1 for the first.
        at: when it began.
        digest: what was done.
        arguments: as they were sent, without what the contract redacts.
        outcome: what came of it; "" where nothing was heard.
        until: when that was.
        confirmed: ``verified`` or ``mismatch`` where the record was read after the write.
        why: the failure's reason.
        error: the failure's kind.
        left: where the action stood then.
    """

    attempt: str
    number: int
    at: datetime
    digest: str | None
    arguments: Mapping[str, Any]
    outcome: str = ""
    until: datetime | None = None
    confirmed: str = ""
    why: str | None = None
    error: str | None = None
    left: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A reading back, or a word that came too late.

    Args:
        at: when.
        attempt: who read, or the late attempt.
        outcome: what it says.
        answer: how the ledger took it.
        left: where the action stood then.
    """

    at: datetime
    attempt: str
    outcome: str
    answer: str
    left: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A person said what became of it.

    Args:
        at: when.
        person: who.
        verdict: what.
        counted: whether their word counts.
        reason: why not.
        comment: their words.
    """

    at: datetime
    person: str
    verdict: str
    counted: bool
    reason: str | None
    comment: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One action, as this run's entries tell it.

    Args:
        key: the action key.
        tool: the tool's name.
        system: the system of record.
        impact: what it affects.
        target: the record.
        kind: of the effect.
        saga: the saga it is a step of.
        undoes: the action it takes back.
        arguments: of the newest digest, without what the contract redacts.
        before: the record before it.
        after: what the record was to be like.
        erased: a payload was erased.
        state: what the entries leave it at; "" where none says.
        approval: the newest request for it.
        decisions: each claim's.
        attempts: each try.
        later: readings back and late words.
        resolutions: what people said became of it.
    """

    key: str
    tool: str
    system: str | None = None
    impact: str | None = None
    target: str | None = None
    kind: str | None = None
    saga: str | None = None
    undoes: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    before: Any = None
    after: Any = None
    erased: bool = False
    state: str = ""
    approval: str | None = None
    decisions: tuple[Decided, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    later: tuple[Late, ...] = ()
    resolutions: tuple[Resolved, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Voted:
    """One person's word on a request.

    Args:
        at: when.
        person: who.
        roles: theirs at that time, or those that the delegation gave.
        decision: ``approve``, ``reject``, ``break_glass`` or ``withdraw``.
        counted: whether it counts.
        reason: why not.
        comment: their words.
        delegator: for whom, by delegation.
    """

    at: datetime
    person: str
    roles: tuple[str, ...]
    decision: str
    counted: bool
    reason: str | None
    comment: str | None
    delegator: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """Somebody wanted other arguments.

    Args:
        at: when.
        person: who.
        roles: theirs at that time, or those that the delegation gave.
        delegator: for whom, by delegation.
        counted: whether it counts.
        reason: why not.
        changes: argument → value; nothing where it was erased.
        comment: their words.
        problem: why the tool does not take it; None as long as no entry says so.
    """

    at: datetime
    person: str
    roles: tuple[str, ...]
    delegator: str | None
    counted: bool
    reason: str | None
    changes: Mapping[str, Any]
    comment: str | None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request for people's yes.

    Args:
        approval: its id.
        key: the action.
        tool: the tool's name.
        digest: what a yes unlocks.
        since: when it was opened; None where another run opened it.
        escalated: it was put to others.
        outcome: how it ended; "" while it is open.
        until: when.
        votes: what people said, in order.
        edits: what people changed, in order.
        cards: SHA-256 of what people were shown, as each entry about it says: one at most, if nobody changed it.
    """

    approval: str
    key: str
    tool: str
    digest: str
    since: datetime | None = None
    escalated: bool = False
    outcome: str = ""
    until: datetime | None = None
    votes: tuple[Voted, ...] = ()
    edits: tuple[Edited, ...] = ()
    cards: frozenset[str] = frozenset()

    @property
    def yes(self) -> frozenset[str]:
        """Whose yes stands."""
        standing: set[str] = set()
        for vote in self.votes:
            if vote.counted and vote.decision in {"approve", "break_glass"}:
                standing.add(vote.person)
            elif vote.counted:
                standing.discard(vote.person)
        return frozenset(standing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A run.

    Args:
        trigger: the delivery that began it.
        intent: the business request.
        actor: the identity the agent acts under.
        on_behalf_of: for whom.
        graph: the graph's name.
        thread: its thread.
        entries: how many entries there are.
        counted: how many its end says there are; None before it.
        state: where it stands.
        reason: why.
        drives: who had it.
        changes: its actions, in the order of their first mention.
        requests: for people's yes, likewise.
        stops: its waits.
        reads: what it looked at.
    """

    trigger: str | None
    intent: str | None
    actor: str | None
    on_behalf_of: str | None
    graph: str | None
    thread: str | None
    entries: int
    counted: int | None
    state: str
    reason: str
    drives: tuple[Drive, ...]
    changes: tuple[Change, ...]
    requests: tuple[Asked, ...]
    stops: tuple[Stopped, ...]
    reads: tuple[Looked, ...]
