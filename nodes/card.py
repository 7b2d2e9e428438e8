"""What a parked call shows: what would change, where, why, and what it waits for. JSON primitives only."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

import orjson

from langgraph_control.audit.ledger import Claimed
from langgraph_control.audit.names import approval_name
from langgraph_control.guards.canonical import observed_bytes, observed_identity_bytes
from langgraph_control.guards.redaction import covered
from langgraph_control.guards.routing import Decision
from langgraph_control.nodes.call import GovernedCall, View

__all__ = ["card_bytes", "parked_card", "presentable"]

CARD_BYTES_MAX: Final = 1024 * 1024


def presentable(value: Any) -> Any:
    """Return a value as JSON primitives that people can read: decimals and moments as text.

    Args:
        value: an argument, a record, or a part of one.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return str(value)
        case datetime():
            return value.astimezone(UTC).isoformat()
        case date() | time():
            return value.isoformat()
        case Mapping():
            return {str(name): presentable(part) for name, part in value.items()}
        case list() | tuple():
            return [presentable(part) for part in value]
        case _:
            return orjson.loads(observed_bytes(value))


def card_bytes(call: GovernedCall, view: View, decision: Decision) -> bytes:
    """Return what an approver is shown, as canonical bytes: what, where, why.

    Args:
        call: the call.
        view: the target as it is.
        decision: why people are asked.
    """
    return observed_bytes(_card(call, view, decision), bytes_max=CARD_BYTES_MAX)


def _card(call: GovernedCall, view: View, decision: Decision) -> dict[str, Any]:
    hidden = call.contract.redact
    shown = {name: presentable(covered(name, value, hidden)) for name, value in call.args.items()}
    return {
        "what": {"tool": call.tool, "impact": call.impact.value, "arguments": shown},
        "where": {"system": call.contract.system, "target": view.target},
        "why": {
            "intent": call.run.intent,
            "reasons": list(decision.reasons),
            # The model's words, and marked as such: they explain, they prove nothing.
            "model_says": {name: shown[name] for name in call.contract.explain if name in shown},
        },
        "who": {"actor": call.run.actor, "on_behalf_of": call.run.on_behalf_of},
        "diff": _diff(view, hidden),
    }


def _diff(view: View, hidden: frozenset[str]) -> dict[str, list[Any]]:
    if view.after is None:
        return {}
    before = view.before if isinstance(view.before, Mapping) else {}
    changed = {
        name: value
        for name, value in view.after.items()
        if name not in before or observed_identity_bytes(before[name]) != observed_identity_bytes(value)
    }
    return {
        name: [presentable(covered(name, was, hidden)) for was in (before.get(name), value)]
        for name, value in changed.items()
    }


def parked_card(
    call: GovernedCall, view: View, decision: Decision, claimed: Claimed, *, wake_ms: int
) -> dict[str, Any]:
    """Return the interrupt's value: the card, what it waits for, and how to go on.

    Args:
        call: the call; where other arguments than its own are kept to run, those are shown.
        view: the target as it is.
        decision: why it does not simply run.
        claimed: the claim's answer.
        wake_ms: when to look again by itself, in milliseconds from now; 0: when something happens.
    """
    shown = call if claimed.payload is None else replace(call, args=call.stored(claimed.payload)[0])
    card = {"control": call.key.hex(), "reason": claimed.reason, "wake_ms": wake_ms, **_card(shown, view, decision)}
    if decision.owner is not None:
        card["owner"] = decision.owner
    if decision.question is not None:
        card["question"] = decision.question
    if claimed.approval_id is not None:
        card["approval"] = approval_name(claimed.approval_id)
        card["expires_at"] = claimed.expires_at.astimezone(UTC).isoformat() if claimed.expires_at else None
    return card
