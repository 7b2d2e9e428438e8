"""What the ledger answers, as values. The requests that ask are in :mod:`langgraph_control.audit.asking.requests`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from langgraph_control.guards.run_states import RunState

__all__ = [
    "ActionRow",
    "ApprovalRow",
    "ApprovalState",
    "ChainEnd",
    "EntryRow",
    "Release",
    "Released",
    "Replacing",
    "RunAnswer",
    "RunLease",
    "RunRow",
    "RunState",
    "Session",
    "Voted",
    "Voting",
]


class RunLease(StrEnum):
    """What opening or acquiring a run is answered with."""

    ACQUIRED = "acquired"  # the lease is yours: drive it
    HELD = "held"  # another worker drives it
    FINISHED = "finished"  # it is done
    THREAD_BUSY = "thread_busy"  # another run of this thread is unfinished
    MISMATCH = "mismatch"  # the trigger has a run with another intent or graph
    UNKNOWN = "unknown"  # no such run for this tenant, or none of this worker's graphs
    QUEUED = "queued"  # registered, now or before: a worker drives it
    NOT_DUE = "not_due"  # there is nothing to drive it for yet


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAnswer:
    """The answer to whoever registers a run or wants its lease.

    Args:
        answer: whether the lease was given.
        run_id: the run the trigger belongs to; None where the thread is busy or the run unknown.
        token: the fencing token; None unless acquired.
        generation: wake-ups counted when the lease was taken, to be handed back with it.
        lease_ms_left: until the lease ends, yours or the other worker's; where it is not due, until it is.
        state: where the run stood before.
        reason: why it stood there.
        thread_id: its thread.
        intent: the business request it serves.
        trigger: the delivery that began it.
        graph: the graph's name.
        actor: who asked.
        on_behalf_of: for whom.
        deadline: nothing new is begun after it.
        input: the input it was started with, as stored; None unless acquired.
        base_checkpoint: newest checkpoint of a shared thread before the run; "" for none, None if not yet known.
        other_run: the unfinished run that keeps the thread busy.
        recall: what earlier drives knew of the run, as stored; None unless acquired.
    """

    answer: RunLease
    run_id: UUID | None
    token: int | None
    generation: int | None
    lease_ms_left: int | None
    state: RunState | None
    reason: str | None
    thread_id: str | None
    intent: str | None
    trigger: str | None
    graph: str | None
    actor: str | None
    on_behalf_of: str | None
    deadline: datetime | None
    input: bytes | None
    base_checkpoint: str | None
    other_run: UUID | None
    recall: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "RunAnswer":
        """Read a ``control.run_answer``."""
        state = row["state"]
        return cls(**{**row, "answer": RunLease(row["answer"]), "state": None if state is None else RunState(state)})


class Release(StrEnum):
    """What giving up a run's lease is answered with."""

    RELEASED = "released"  # done or parked, as asked
    AGAIN = "again"  # something happened that the run has not seen: drive it once more
    UNSETTLED = "unsettled"  # it is not done: an action of it is undecided
    STALE = "stale"  # the lease was not yours any more, or an earlier send of this very release gave it up


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The answer to :class:`RunRelease`.

    Args:
        answer: whether the lease was given up.
        generation: wake-ups counted now.
        entries: length of the run's chain.
        unsettled: tools of the actions that are undecided.
        needs_human: one of them waits for a person to say what happened.
        state: where the run stands now; None unless released.
        reason: why.
    """

    answer: Release
    generation: int
    entries: int | None
    unsettled: tuple[str, ...]
    needs_human: bool
    state: RunState | None = None
    reason: str | None = None


class Replacing(StrEnum):
    """What ending a run for a new message on its thread is answered with."""

    REPLACED = "replaced"
    FINISHED = "finished"  # it had ended by then
    NOT_WAITING = "not_waiting"  # somebody drives it, or it waits for something else than people's approval
    DECIDED = "decided"  # a request was granted: its write goes first
    UNSETTLED = "unsettled"  # a write is under way, or nobody knows what became of it
    SAGA = "saga"  # steps of a saga are done
    UNKNOWN_RUN = "unknown_run"
    NOT_ALLOWED = "not_allowed"  # the published policy does not say so


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as people and programs see it.

    Args:
        run_id: its id.
        trigger: the delivery that began it.
        intent: the business request it serves.
        graph: the graph's name.
        thread_id: its thread.
        actor: who asked.
        on_behalf_of: for whom.
        deadline: nothing new is begun after it.
        started_at: when it was registered.
        state: where it stands.
        reason: why it stands there.
        state_since: since when.
        wake_at: when it goes on by itself.
        lease_until: when its worker's lease ends; None if nobody holds it.
        entries: length of its chain.
        head: hash of its newest entry.
        owner: who has to act: roles, whoever asked for it, or workers; "" for a run that is done.
        next_step: what to do, as a command or a call; "" where nothing was stored.
        tools: the tools of the writes it waits for.
    """

    run_id: UUID
    trigger: str
    intent: str
    graph: str
    thread_id: str
    actor: str
    on_behalf_of: str | None
    deadline: datetime | None
    started_at: datetime
    state: RunState
    reason: str
    state_since: datetime
    wake_at: datetime | None
    lease_until: datetime | None
    entries: int
    head: bytes
    owner: str
    next_step: str
    tools: tuple[str, ...]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "RunRow":
        """Read a ``control.run_row``."""
        return cls(**{**row, "state": RunState(row["state"]), "tools": tuple(row["tools"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRow:
    """An action a run asked for or waits for.

    Args:
        key: the action key.
        tool: the tool's name.
        impact: the contract's impact.
        kind: the effect's kind.
        state: where it stands, a :class:`~langgraph_control.guards.lifecycle.State`.
        attempts: attempts so far.
        approval_id: its newest request.
        open: whether it is undecided for this run.
        reason: the reason of its last claim.
        wait_ms: until the lease on it ends; 0 if nobody has one.
    """

    key: bytes
    tool: str
    impact: str
    kind: str
    state: str
    attempts: int
    approval_id: UUID | None
    open: bool
    reason: str
    wait_ms: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "ActionRow":
        """Read a row of ``control.actions_v1``."""
        return cls(**{**row, "wait_ms": row["wait_ms"] or 0})


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRow:
    """One entry of a chain, with the exact bytes that were hashed.

    Args:
        seq: its place, from 1.
        at: the database's time.
        tenant: whose.
        facts: what the database decided, JSON text.
        body: what the client said, canonical bytes.
        commitment: sha256 of salt and payload; None where there was no payload.
        salt: drawn for this entry; None once erased.
        payload: what may be erased; None once it was, or where there was none.
        hash: over all of it and the previous hash.
    """

    seq: int
    at: datetime
    tenant: str
    facts: str
    body: bytes
    commitment: bytes | None
    salt: bytes | None
    payload: bytes | None
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEnd:
    """Where the chain of what belongs to no run ends, as its row says.

    Args:
        run_id: the chain's id, in a run's place.
        entries: how many entries it has; None where the row is gone.
        head: hash of its newest entry; None where the row is gone.
    """

    run_id: UUID
    entries: int | None
    head: bytes | None


class Voting(StrEnum):
    """What a vote is answered with."""

    OPEN = "open"  # counted; more people are needed
    EDITED = "edited"  # the call is asked to go on with other arguments, and comes back with a request for those
    GRANTED = "granted"  # counted, and that was enough
    DENIED = "denied"  # counted; the request is closed
    REFUSED = "refused"  # not counted; the reason says which rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Voted:
    """The answer to :class:`Vote`.

    Args:
        answer: how the vote was taken.
        reason: why it was refused, a stable word; None if it counted.
        approval_id: the request.
        run_id: the run that asked; None for an unknown request.
        tool: the tool's name; None for an unknown request.
        votes: people who have said yes.
        expires_at: when the request expires.
    """

    answer: Voting
    reason: str | None
    approval_id: UUID
    run_id: UUID | None
    tool: str | None
    votes: int | None
    expires_at: datetime | None


class ApprovalState(StrEnum):
    """Where a request for a grant stands."""

    OPEN = "open"  # waits for votes
    GRANTED = "granted"  # may be used until ``execute_by``
    DENIED = "denied"  # a person said no
    EXPIRED = "expired"  # nobody said yes in time
    SUPERSEDED = "superseded"  # another digest took its place
    WITHDRAWN = "withdrawn"  # its run no longer wants it
    USED = "used"  # the action it was for has consumed it


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRow:
    """A request for a grant of one digest.

    Args:
        approval_id: its id.
        run_id: the run that asked.
        tool: the tool's name.
        digest: what a grant unlocks.
        requirement: who must say yes, as :meth:`Requirement.canonical` wrote it.
        card: what is shown to the approver, canonical bytes.
        state: where it stands.
        requested_at: since when.
        expires_at: until when votes count.
        execute_by: until when a grant may be used; None unless granted.
        closed_at: when it was decided; None while open.
        comment: of the person who decided.
        intent: the business request of the run.
        trigger: the delivery that began the run.
        actor: who asked.
        on_behalf_of: for whom.
        voters: ``person:decision``, or ``person for another:decision`` by delegation, in the order they voted.
        code: why it was rejected, as one of :data:`~langgraph_control.guards.approvals.REJECTIONS`; None otherwise.
        supersedes: the request whose place it took, because what would be done had changed.
        edited_by: who changed the arguments of that one, or ``person for another`` by delegation; None: nobody.
        in_review: it was done on one person's word in an emergency, and nobody has looked at that since.
    """

    approval_id: UUID
    run_id: UUID
    tool: str
    digest: bytes
    requirement: Mapping[str, Any]
    card: bytes
    state: ApprovalState
    requested_at: datetime
    expires_at: datetime
    execute_by: datetime | None
    closed_at: datetime | None
    comment: str | None
    intent: str
    trigger: str
    actor: str
    on_behalf_of: str | None
    voters: tuple[str, ...]
    code: str | None = None
    supersedes: UUID | None = None
    edited_by: str | None = None
    in_review: bool = False

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "ApprovalRow":
        """Read a ``control.approval_row``."""
        return cls(**{**row, "state": ApprovalState(row["state"]), "voters": tuple(row["voters"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What an agent process needs once.

    Args:
        tenant: the tenant its login speaks for.
        secret: names that tenant's actions; never logged, never stored elsewhere.
        policies: hashes of the published policies.
    """

    tenant: str
    secret: bytes
    policies: frozenset[str]

    def __repr__(self) -> str:
        """Leave the secret out: a repr ends up in logs and tracebacks."""
        return f"Session(tenant={self.tenant!r}, policies={len(self.policies)})"
