"""From a call and what was found out about its target to a decision, and to the bounds that the ledger holds it to."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from langgraph_control.guards.decisions import Decision, Source, Verb
from langgraph_control.guards.intent import ask_for, missing_pieces
from langgraph_control.guards.limits import Charge
from langgraph_control.guards.retry_rules import RetryRules
from langgraph_control.guards.routing import route_for_claim
from langgraph_control.guards.signals import NO_PROGRESS, Context, Progress, Risk, Signals
from langgraph_control.nodes.call import GovernedCall, View, is_missing

__all__ = ["Bounds", "bounds_of", "decide", "signals_of", "with_watch_told"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How often and how long an action may be tried, and what it takes of budgets.

    Args:
        retries: the policy's rules for this tool and system.
        calls_max: how many tool calls the run may make.
        retry_ms_max: how long the run may wait for retries, all its actions together.
        charges: what the call takes of which budgets, as the ledger counts it; None for nothing.
    """

    retries: RetryRules
    calls_max: int
    retry_ms_max: int
    charges: tuple[dict[str, Any], ...] | None


NAME_SEPARATOR: Final = "\x1f"


def signals_of(call: GovernedCall, view: View, *, now: datetime) -> Signals:
    """Return everything a decision may look at.

    Args:
        call: the write.
        view: its target as it is.
        now: the time of the decision, with a zone.
    """
    return Signals(
        tool=call.tool,
        impact=call.impact,
        kind=call.kind,
        system=call.contract.system,
        arguments=call.args,
        record=view.before if isinstance(view.before, Mapping) else None,
        actor=call.run.actor,
        on_behalf_of=call.run.on_behalf_of,
        tenant=call.run.tenant,
        now=now,
        agent=call.run.graph,
        environment=call.run.environment,
        risk=Risk(operation=call.contract.operation, reversible=call.contract.undo is not None),
        progress=NO_PROGRESS if call.place is None else Progress(applied=call.place.applied),
        context=Context(
            read_failed=view.failed, record_missing=is_missing(view.before), already_done=view.already_done
        ),
    )


def decide(call: GovernedCall, view: View, signals: Signals) -> Decision:
    """Decide about a write: a change that cannot be stated is not done, everything else is the policy's.

    Args:
        call: the write.
        view: its target as it is.
        signals: everything known about it.
    """
    policy = call.run.policy
    if call.place is not None and call.place.closing:
        return _by_saga(call, Verb.DENY, "its saga is being taken back, so it is not begun any more")
    if call.place is not None and call.place.for_people is not None:
        return _by_saga(call, Verb.ESCALATE, call.place.for_people)
    missing = missing_pieces(
        intent=call.run.intent,
        arguments=call.args,
        explained_by=call.contract.explain,
        target_named_by=call.target_arguments,
        target_found=view.failed or view.target is not None or not callable(call.contract.target),
        permitted=call.permitted,
        at_default=call.at_default,
    )
    if missing:
        return Decision(
            verb=Verb.DENY,
            reasons=(ask_for(call.tool, missing),),
            requirement=None,
            matched=(),
            policy_hash=policy.hash,
            source=Source.CHECKS,
        )
    return route_for_claim(signals, policy)


def with_watch_told(call: GovernedCall, view: View, decision: Decision) -> Decision:
    """Return the decision with what people are told of a record that lacks a watched field: the name may be misspelt.

    Args:
        call: the write.
        view: its target as it is.
        decision: what was decided.
    """
    missing = call.contract.not_in(view.before)
    if not missing or decision.verb is not Verb.APPROVE:
        return decision
    told = f"the record has no {', '.join(missing)}, which watch= names, so any change of it makes a yes stale"
    return replace(decision, reasons=(*decision.reasons, told))


def _by_saga(call: GovernedCall, verb: Verb, reason: str) -> Decision:
    policy = call.run.policy
    return Decision(
        verb=verb,
        reasons=(reason,),
        requirement=None,
        matched=(),
        policy_hash=policy.hash,
        source=Source.RUN_STATE,
        owner=policy.owner_for(call.tool, call.contract.system, call.impact) if verb is Verb.ESCALATE else None,
    )


def bounds_of(call: GovernedCall, signals: Signals) -> Bounds:
    """Return the bounds that the policy sets for a write.

    Args:
        call: the write.
        signals: everything known about it.
    """
    policy = call.run.policy
    charges = tuple(_counted(charge, call) for charge in policy.charges(signals)) if policy.limits else ()
    return Bounds(
        retries=policy.retries_for(call.tool, call.contract.system),
        calls_max=policy.caps.tool_calls,
        retry_ms_max=max(1, int(policy.caps.retry_seconds * 1000)),
        charges=charges or None,
    )


def _counted(charge: Charge, call: GovernedCall) -> dict[str, Any]:
    """A charge as SQL counts it. A budget of a run is one of its own for each run, and never ends."""
    seconds = charge.limit.per.seconds
    owner = charge.bucket if seconds is not None else (*charge.bucket, str(call.run.run_id))
    return {
        "name": NAME_SEPARATOR.join((charge.limit.name, *owner)),
        "amount": format(charge.amount, "f"),
        "max": format(charge.limit.max, "f"),
        "seconds": seconds,
    }
