"""Budgets: how much may be done in a span of time. The ledger counts; what one call takes of them is decided here."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from langgraph_control.guards.conditions import Facts
from langgraph_control.guards.signals import Impact, Signals

__all__ = ["Charge", "Each", "Limit", "Per", "charge"]


class Per(StrEnum):
    """Over which span a limit counts. The span ends now: the last hour, not this hour by the clock."""

    HOUR = "hour"  # 3,600 seconds
    DAY = "day"  # 24 hours
    WEEK = "week"  # 7 days
    RUN = "run"  # the whole run, however long

    @property
    def seconds(self) -> int | None:
        """How long the span is; None for the run."""
        return _SECONDS.get(self)


_SECONDS: Final[Mapping[Per, int]] = MappingProxyType({Per.HOUR: 3600, Per.DAY: 86_400, Per.WEEK: 604_800})


class Each(StrEnum):
    """What has a budget of its own. Tenants always do."""

    TENANT = "tenant"  # the tenant, all of it
    AGENT = "agent"  # each bound graph, by its name
    ACTOR = "actor"  # each identity that agents run under
    PERSON = "person"  # each person that runs are started for
    TOOL = "tool"  # each tool
    SYSTEM = "system"  # each system


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One item of ``limits:``.

    Args:
        place: where it stands: ``limits[0] policy.yaml:15``.
        name: what is counted, without the maximum: it goes on counting when the maximum is changed.
        tools: the tools it is about; empty means any.
        impacts: the impacts it is about; empty means any.
        systems: the systems it is about; empty means any.
        sum: the field whose numbers are added up; None: calls are counted.
        max: how much may be done in one span; positive.
        per: the span.
        each: what has a budget of its own.
    """

    place: str
    name: str
    tools: tuple[str, ...] = ()
    impacts: tuple[Impact, ...] = ()
    systems: tuple[str, ...] = ()
    sum: str | None = None
    max: int | Decimal
    per: Per
    each: tuple[Each, ...] = (Each.TENANT,)

    def is_about(self, tool: str, impact: Impact, system: str | None) -> bool:
        """Whether a call counts against it.

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

    @property
    def needs(self) -> str:
        """What must be known to count a call, for people."""
        owners = " and ".join(f"the {each}" for each in self.each)
        return owners if self.sum is None else f"{self.sum} (a number from 0 on) and {owners}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one call takes of one limit.

    Args:
        limit: the limit.
        bucket: whose budget it is, one text for each of the limit's ``each``.
        amount: how much; never negative.
    """

    limit: Limit
    bucket: tuple[str, ...]
    amount: int | Decimal


def charge(limit: Limit, signals: Signals, facts: Facts) -> Charge | None:
    """Return what a call takes of a limit, or None where that cannot be told: then it may not go through.

    It cannot be told where the number that is added up is missing, is no number or is negative (a negative one would
    give back what others took), or where nobody knows whose budget it is.

    Args:
        limit: a limit that is about the call.
        signals: the call.
        facts: the call's fields, ``risk.`` ones included.
    """
    amount = 1 if limit.sum is None else facts.value(limit.sum)
    owners = {
        Each.TENANT: signals.tenant,
        Each.AGENT: signals.agent,
        Each.ACTOR: signals.actor,
        Each.PERSON: signals.on_behalf_of,
        Each.TOOL: signals.tool,
        Each.SYSTEM: signals.system,
    }
    bucket = tuple(owner for each in limit.each if (owner := owners[each]) is not None)
    if len(bucket) < len(limit.each) or isinstance(amount, bool) or not isinstance(amount, int | Decimal):
        return None
    if not (isinstance(amount, int) or amount.is_finite()) or amount < 0:
        return None
    return Charge(limit=limit, bucket=bucket, amount=amount)
