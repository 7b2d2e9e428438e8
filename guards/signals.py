"""What a decision may look at. Plain values only, gathered by the gate before anything is decided."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from langgraph_control.guards.lifecycle import Kind

__all__ = ["Impact", "Signals"]


class Impact(StrEnum):
    """What a write touches if it is wrong or happens twice. Each contract names one."""

    MONEY = "money"  # moves funds, or promises to
    ACCESS = "access"  # grants or takes permissions, roles, credentials
    MESSAGE = "message"  # reaches a customer or the public
    DELETE = "delete"  # removes what cannot simply be put back
    BULK = "bulk"  # changes many records at once
    PRODUCTION = "production"  # changes a running system
    RECORD = "record"  # changes one record in a system of record


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Everything a decision may look at.

    Args:
        tool: the tool's name, as the policy's rules write it.
        impact: what the contract says the write touches.
        kind: what is known of the effect after a lost answer.
        system: the system of record written to, None where the contract names none.
        arguments: normalised argument values: str, int, bool, None, Decimal, datetime, list, dict.
        record: the target as ``read`` returned it, normalised likewise; None where there is no read hook.
        actor: the identity the agent runs under.
        on_behalf_of: the person the run was started for, None where there is none.
        tenant: whose data this is.
        record_missing: the read hook says there is no such record.
        read_failed: the read hook failed, so the record's state is not known now.
        already_done: ``expect`` holds before the write: the record is in the target state.
        reversible: the contract can undo the effect.
    """

    tool: str
    impact: Impact
    kind: Kind
    system: str | None
    arguments: Mapping[str, Any]
    record: Mapping[str, Any] | None
    actor: str
    on_behalf_of: str | None
    tenant: str
    record_missing: bool = False
    read_failed: bool = False
    already_done: bool = False
    reversible: bool = False
