"""What people ask of the ledger beside votes: to settle an action, cancel a run, stop writes and let them go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters

__all__ = [
    "Brake",
    "Brakes",
    "Cancel",
    "Cancelled",
    "Freeze",
    "Frozen",
    "InFlight",
    "NamesSeen",
    "Resolution",
    "Resolve",
    "Resolved",
    "Scope",
    "Unfreeze",
    "Unfrozen",
]

Rows = Sequence[Mapping[str, Any]]


class Resolution(StrEnum):
    """What a person says became of an action."""

    HAPPENED = "happened"  # it was done; repeats get its result
    DID_NOT = "did_not"  # it was certainly not done: it may be tried again
    GIVE_UP = "give_up"  # nobody will find out, or it is not wanted any more: it is not tried again


class Scope(StrEnum):
    """What a freeze stops."""

    TENANT = "tenant"  # all writes of this tenant
    AGENT = "agent"  # those of runs that this actor asked for
    SYSTEM = "system"  # those to one system of record
    TOOL = "tool"  # those of one tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A resolution's answer.

    Args:
        refused: a stable word that says why it does not count; None where it does.
        state: where the action stands now; None where there is no such action.
        tool: the action's tool; likewise.
    """

    refused: str | None
    state: str | None
    tool: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve(FieldsAreParameters):
    """Say what became of an action that the program cannot settle, on an approver's or the admin's login.

    Args:
        run_id: a run that asked for it or waits for it.
        key: the action key.
        verdict: what became of it.
        result: the encoded result that repeats get; only where it happened.
        person: who says so, where the login may name one (the development server); None for the login's own person.
        identity: how a service that authenticates people found out who it is, as JSON; None: the login says it.
        comment: how it is known, for the record.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "resolve"

    run_id: UUID
    key: bytes
    verdict: Resolution
    result: bytes | None
    person: str | None
    comment: str
    body: bytes
    identity: str | None = None

    def read(self, rows: Rows) -> Resolved:
        """Return the answer as a value."""
        row = rows[0]
        return Resolved(refused=row["reason"], state=row["state"], tool=row["tool"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """A cancellation's answer.

    Args:
        refused: a stable word that says why it was not done; None where it was.
        unsettled: the tools whose outcome somebody has to settle first; or of what is in effect of its sagas.
    """

    refused: str | None
    unsettled: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(FieldsAreParameters):
    """End a run that is not wanted any more. What it asked for is withdrawn.

    Args:
        run_id: the run.
        person: who says so, where the login may name one; None for the login's own person.
        identity: how a service that authenticates people found out who it is, as JSON; None: the login says it.
        comment: why, for the record.
        body: the entry's body, canonical bytes.
        leave_applied: whether to end it although steps of its sagas are in effect, which then nothing takes back.
    """

    statement: ClassVar[str] = "run_cancel"

    run_id: UUID
    person: str | None
    comment: str
    body: bytes
    identity: str | None = None
    leave_applied: bool = False

    def read(self, rows: Rows) -> Cancelled:
        """Return the answer as a value."""
        return Cancelled(refused=rows[0]["reason"], unsettled=tuple(rows[0]["unsettled"] or ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """A call that was under way when writes were stopped.

    Args:
        run_id: its run.
        key: its action key.
        tool: its tool.
        state: executing or verifying.
        lease_until: when it is over at the latest.
    """

    run_id: UUID
    key: bytes
    tool: str
    state: str
    lease_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A freeze's answer.

    Args:
        refused: a stable word that says why it does not count; None where it does.
        under_way: the calls that it does not stop.
    """

    refused: str | None
    under_way: tuple[InFlight, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze(FieldsAreParameters):
    """Stop writes from the next claim on. The answer lists what is under way.

    Args:
        scope: what is stopped.
        name: of the agent, system or tool; "" for the tenant.
        person: who says so, where the login may name one; None for the login's own person.
        identity: how a service that authenticates people found out who it is, as JSON; None: the login says it.
        comment: why, for the record.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "freeze"

    scope: Scope
    name: str
    person: str | None
    comment: str
    body: bytes
    identity: str | None = None

    def read(self, rows: Rows) -> Frozen:
        """Return the answer as a value."""
        refused = next((row["refused"] for row in rows if row["refused"]), None)
        calls = ({name: value for name, value in row.items() if name != "refused"} for row in rows)
        return Frozen(refused=refused, under_way=() if refused else tuple(InFlight(**call) for call in calls))


@dataclass(frozen=True, slots=True, kw_only=True)
class NamesSeen(FieldsAreParameters):
    """Ask which names a freeze could mean: those that the newest runs wrote by.

    Args:
        scope: whose names.
    """

    statement: ClassVar[str] = "names_seen"

    scope: Scope

    def read(self, rows: Rows) -> frozenset[str]:
        """Return the answer as a value."""
        return frozenset(row["name"] for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfrozen:
    """What came of letting writes go on.

    Args:
        refused: a stable word that says why it does not count; None where it does.
        woken: so many runs stood still for it.
    """

    refused: str | None
    woken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfreeze(FieldsAreParameters):
    """Let writes go on.

    Args:
        scope: what was stopped.
        name: of the agent, system or tool; "" for the tenant.
        person: who says so, where the login may name one; None for the login's own person.
        identity: how a service that authenticates people found out who it is, as JSON; None: the login says it.
        comment: why, for the record.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "unfreeze"

    scope: Scope
    name: str
    person: str | None
    comment: str
    body: bytes
    identity: str | None = None

    def read(self, rows: Rows) -> Unfrozen:
        """Return the answer as a value."""
        return Unfrozen(refused=rows[0]["reason"], woken=rows[0]["woken"] or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brake:
    """Something that holds writes back.

    Args:
        scope: what is stopped.
        name: of the agent, system or tool; "" for the tenant.
        cause: why.
        until: when it ends by itself; far in the future for a freeze.
        since: when it was set.
        set_by: who set it.
        comment: what they said.
    """

    scope: Scope
    name: str
    cause: str
    until: datetime
    since: datetime
    set_by: str
    comment: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Brakes(FieldsAreParameters):
    """Read what is stopped now."""

    statement: ClassVar[str] = "brakes"

    def read(self, rows: Rows) -> tuple[Brake, ...]:
        """Return the answer as a value."""
        return tuple(
            Brake(
                scope=Scope(row["scope"]),
                **{name: row[name] for name in ("name", "cause", "until", "since", "set_by", "comment")},
            )
            for row in rows
        )
