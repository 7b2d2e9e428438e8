"""Every request to the ledger beside claim and settle: runs, reading, votes, publishing.

Each is a value that knows its statement, its parameters and how to read its answer, in the manner of
:mod:`langgraph_control.audit.asking.ledger`; the answers are in :mod:`langgraph_control.audit.asking.rows`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

import orjson

from langgraph_control.audit.asking.rows import (
    ActionRow,
    ApprovalRow,
    ChainEnd,
    EntryRow,
    Release,
    Released,
    Replacing,
    RunAnswer,
    RunRow,
    RunState,
    Session,
    Voted,
    Voting,
)
from langgraph_control.guards.approvals import OPEN_PER_RUN, OPEN_PER_TENANT

__all__ = [
    "Chains",
    "FieldsAreParameters",
    "FindApproval",
    "FindRun",
    "FindTenantChain",
    "Inbox",
    "LastError",
    "NewestRuns",
    "OpenSession",
    "PublishPolicy",
    "RunAcquire",
    "RunActions",
    "RunBase",
    "RunEntries",
    "RunOpen",
    "RunRelease",
    "RunRenew",
    "RunReplace",
    "Vote",
]

Rows = Sequence[Mapping[str, Any]]


class FieldsAreParameters:
    """A request whose fields are the statement's parameters, name by name."""

    __slots__: tuple[str, ...] = ()

    def parameters(self) -> Mapping[str, Any]:
        """Return the statement's parameters by name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession(FieldsAreParameters):
    """Ask what an agent process needs once."""

    statement: ClassVar[str] = "session"

    def read(self, rows: Rows) -> Session:
        """Return the answer as a value."""
        row = rows[0]
        return Session(tenant=row["tenant"], secret=row["secret"], policies=frozenset(row["policies"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOpen(FieldsAreParameters):
    """Register a run for a trigger, or join the run the trigger has, and take its lease.

    Args:
        run_id: made by the client; a re-sent request carries the same.
        trigger: the delivery; the same twice is the same run.
        intent: the business request.
        graph: the graph's name.
        thread: the thread it runs on.
        own_thread: whether nothing else ever ran on that thread.
        actor: who asks.
        on_behalf_of: for whom; None if for the actor.
        deadline: nothing new is begun after it; None for no end.
        input: the graph's input, encoded.
        holder: names this driver, one value per try, so that its own re-sent request finds its own lease.
        lease_ms: how long the lease lasts.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "run_open"

    run_id: UUID
    trigger: str
    intent: str
    graph: str
    thread: str
    own_thread: bool
    actor: str
    on_behalf_of: str | None
    deadline: datetime | None
    input: bytes
    holder: str
    lease_ms: int
    body: bytes

    def read(self, rows: Rows) -> RunAnswer:
        """Return the answer as a value."""
        return RunAnswer.of(rows[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReplace(FieldsAreParameters):
    """End a run that waits for people's approval, for a new message came on its thread. What it asked is withdrawn.

    Args:
        run_id: the run.
        trigger: the message's.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "run_replace"

    run_id: UUID
    trigger: str
    body: bytes

    def read(self, rows: Rows) -> Replacing:
        """Return the answer as a value."""
        return Replacing(rows[0]["answer"])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAcquire(FieldsAreParameters):
    """Take the lease of a known run.

    Args:
        run_id: the run.
        holder: names this driver, one value per try.
        lease_ms: how long the lease lasts.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "run_acquire"

    run_id: UUID
    holder: str
    lease_ms: int
    body: bytes

    def read(self, rows: Rows) -> RunAnswer:
        """Return the answer as a value."""
        return RunAnswer.of(rows[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBase(FieldsAreParameters):
    """Remember the newest checkpoint that a shared thread had before the run; the first to say so wins.

    The answer is the remembered checkpoint id, "" for none, or None if this worker no longer owns the run.

    Args:
        run_id: the run.
        token: its fencing token.
        checkpoint: the checkpoint's id, "" for none.
    """

    statement: ClassVar[str] = "run_base"

    run_id: UUID
    token: int
    checkpoint: str

    def read(self, rows: Rows) -> str | None:
        """Return the answer as a value."""
        base: str | None = rows[0]["base"]
        return base


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRenew(FieldsAreParameters):
    """Lengthen the leases this process holds, all in one statement. The answer names those for which it worked.

    A run whose row was busy with a claim is left out, too, so that no heartbeat waits: absence proves nothing.

    Args:
        run_ids: the runs.
        tokens: their fencing tokens, in the same order.
        lease_ms: how long the leases last from now.
    """

    statement: ClassVar[str] = "run_renew"

    run_ids: list[UUID]
    tokens: list[int]
    lease_ms: int

    def read(self, rows: Rows) -> frozenset[UUID]:
        """Return the answer as a value."""
        return frozenset(row["run_id"] for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRelease(FieldsAreParameters):
    """Give up a run's lease: done, or parked with a reason.

    Args:
        run_id: the run.
        token: its fencing token.
        generation: as read under the lease; if it rose since, the answer is "again".
        state: where the run stands now.
        reason: why, for people.
        owner: who has to act; the roles that are asked now take its place where people must vote.
        next_step: what to do: commands of ours or a call, nothing else.
        wake_ms: when it goes on by itself, from now; None for never.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "run_release"

    run_id: UUID
    token: int
    generation: int
    state: RunState
    reason: str
    wake_ms: int | None
    body: bytes
    owner: str = ""
    next_step: str = ""

    def parameters(self) -> Mapping[str, Any]:
        """Return the statement's parameters by name."""
        return {
            "run_id": self.run_id,
            "token": self.token,
            "generation": self.generation,
            "state": self.state.value,
            "reason": self.reason,
            "owner": self.owner,
            "next_step": self.next_step,
            "wake_ms": self.wake_ms,
            "body": self.body,
        }

    def read(self, rows: Rows) -> Released:
        """Return the answer as a value."""
        row = rows[0]
        return Released(
            answer=Release(row["answer"]),
            generation=row["generation"],
            entries=row["entries"],
            unsettled=tuple(row["unsettled"] or ()),
            needs_human=bool(row["needs_human"]),
            state=None if row["state"] is None else RunState(row["state"]),
            reason=row["reason"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FindRun(FieldsAreParameters):
    """Read one run by its id or its trigger; give one of the two. The answer is None if there is none.

    Args:
        run_id: its id, or None.
        trigger: its trigger, or None.
    """

    statement: ClassVar[str] = "run"

    run_id: UUID | None = None
    trigger: str | None = None

    def read(self, rows: Rows) -> RunRow | None:
        """Return the answer as a value."""
        return RunRow.of(rows[0]) if rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestRuns(FieldsAreParameters):
    """Read the newest runs, or the unfinished ones that stand where they stand longest.

    Args:
        limit: at most so many.
        state: only those that stand there; None for all.
        owner: only those whose owner it is, alone or with others; None for all.
        longest: the longest wait first, and nothing that is done: what a list of waits that is cut must not leave out.
        since: with `longest`, go on after this place in that order; None: from its beginning.
        after: which of those that stand there since that moment.
    """

    statement: ClassVar[str] = "runs"

    limit: int
    state: RunState | None = None
    owner: str | None = None
    longest: bool = False
    since: datetime | None = None
    after: UUID | None = None

    def read(self, rows: Rows) -> tuple[RunRow, ...]:
        """Return the answer as a value."""
        return tuple(RunRow.of(row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunActions(FieldsAreParameters):
    """Read the actions a run asked for or waits for.

    Args:
        run_id: the run.
        only_open: leave out those that are decided.
    """

    statement: ClassVar[str] = "actions"

    run_id: UUID
    only_open: bool = False

    def read(self, rows: Rows) -> tuple[ActionRow, ...]:
        """Return the answer as a value."""
        return tuple(ActionRow.of(row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastError(FieldsAreParameters):
    """Read the text that the newest settle of an action left; None for nothing.

    Args:
        key: the action key, 32 bytes.
    """

    statement: ClassVar[str] = "last_error"

    key: bytes

    def read(self, rows: Rows) -> str | None:
        """Return the answer as a value."""
        error: str | None = rows[0]["error"]
        return error


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEntries(FieldsAreParameters):
    """Read a run's entries after a place in its chain, in order.

    Args:
        run_id: the run.
        after: the last place already read; 0 for the start.
        limit: at most so many.
    """

    statement: ClassVar[str] = "entries"

    run_id: UUID
    after: int
    limit: int

    def read(self, rows: Rows) -> tuple[EntryRow, ...]:
        """Return the answer as a value."""
        return tuple(EntryRow(**row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindTenantChain(FieldsAreParameters):
    """Read where the tenant's own chain ends, which holds what belongs to no run."""

    statement: ClassVar[str] = "tenant_chain"

    def read(self, rows: Rows) -> ChainEnd:
        """Return the answer as a value."""
        return ChainEnd(**rows[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains(FieldsAreParameters):
    """Read the ids of all chains of which the tenant has any trace, runs' and its own, in their order.

    Args:
        after: the last id already read; None for the start.
        limit: at most so many.
    """

    statement: ClassVar[str] = "chains"

    after: UUID | None
    limit: int

    def read(self, rows: Rows) -> tuple[UUID, ...]:
        """Return the answer as a value."""
        return tuple(row["run_id"] for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote(FieldsAreParameters):
    """Say yes or no to one request, on an approver's login.

    Args:
        approval_id: the request.
        decision: yes, no, or a yes that shall do alone because of an emergency.
        comment: why, for the record and for the model; None for nothing.
        person: who votes, where the login may name one (the development server); None for the login's own person.
        identity: how a service that authenticates people found out who votes, as JSON; None where the login says it.
        code: with a no: why, as one of :data:`~langgraph_control.guards.approvals.REJECTIONS`.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "vote"

    approval_id: UUID
    decision: Literal["approve", "reject", "break_glass"]
    comment: str | None
    person: str | None
    body: bytes
    identity: str | None = None
    code: str | None = None

    def read(self, rows: Rows) -> Voted:
        """Return the answer as a value."""
        row = rows[0]
        return Voted(**{**row, "answer": Voting(row["answer"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox(FieldsAreParameters):
    """Read the open requests, oldest first.

    Args:
        limit: at most so many.
    """

    statement: ClassVar[str] = "inbox"

    limit: int

    def read(self, rows: Rows) -> tuple[ApprovalRow, ...]:
        """Return the answer as a value."""
        return tuple(ApprovalRow.of(row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindApproval(FieldsAreParameters):
    """Read one request, open or closed. The answer is None if there is none.

    Args:
        approval_id: the request.
    """

    statement: ClassVar[str] = "approval"

    approval_id: UUID

    def read(self, rows: Rows) -> ApprovalRow | None:
        """Return the answer as a value."""
        return ApprovalRow.of(rows[0]) if rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishPolicy(FieldsAreParameters):
    """Make a policy the current one, on the admin login. The answer is the entry's place in the tenant's chain.

    Args:
        hash: the policy's hash.
        text: its text.
        members: ``{"role": …, "member": …}`` for everyone in a role.
        floors: ``{"tool": …, "must": …, "roles": […], "quorum": …}`` for what no request may fall below; with
            ``"most"`` (a requirement or None) also what can be asked for at most, for counting open requests again.
        body: the entry's body, canonical bytes.
        owners: ``{"scope": …, "name": …, "role": …}`` for who settles what the program cannot; scope is ``tool``,
            ``system``, ``impact`` or ``default`` (with the name "").
        open_per_run: how many requests of one run may wait for people at once.
        open_per_tenant: how many of all its runs.
        on_new_message: whether a new message ends a run that waits for people on its thread, and withdraws their
            requests.
    """

    statement: ClassVar[str] = "policy_publish"

    hash: str
    text: str
    members: Sequence[Mapping[str, Any]]
    floors: Sequence[Mapping[str, Any]]
    body: bytes
    owners: Sequence[Mapping[str, str]] = ()
    open_per_run: int = OPEN_PER_RUN
    open_per_tenant: int = OPEN_PER_TENANT
    on_new_message: Literal["refuse", "withdraw"] = "refuse"

    def parameters(self) -> Mapping[str, Any]:
        """Return the statement's parameters by name."""
        return {
            "hash": self.hash,
            "text": self.text,
            "members": orjson.dumps(self.members).decode(),
            "floors": orjson.dumps(self.floors).decode(),
            "owners": orjson.dumps(self.owners).decode(),
            "open_per_run": self.open_per_run,
            "open_per_tenant": self.open_per_tenant,
            "on_new_message": self.on_new_message,
            "body": self.body,
        }

    def read(self, rows: Rows) -> int:
        """Return the answer as a value."""
        return int(rows[0]["seq"])
