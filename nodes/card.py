"""What a parked call shows: what would change, where, why, and what it waits for. JSON primitives only."""

import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from langgraph_control.audit.asking.ledger import Claimed, Reason
from langgraph_control.audit.names import approval_name, question_name
from langgraph_control.guards.canonical import observed_bytes, observed_identity_bytes
from langgraph_control.guards.redaction import REDACTED, covered, paths_inside
from langgraph_control.guards.routing import Decision
from langgraph_control.nodes.call import GovernedCall, View
from langgraph_control.nodes.presenting import presentable
from langgraph_control.nodes.review_shapes import review_shapes

__all__ = ["card_bytes", "named_target", "parked_card", "record_digest"]

CARD_BYTES_MAX: Final = 1024 * 1024

_RECORD: Final = b"langgraph-control/record/1"
_PARTS: Final = b"langgraph-control/card-parts/1"


def card_bytes(call: GovernedCall, view: View, decision: Decision, *, now: datetime) -> bytes:
    """Return what an approver is shown, as canonical bytes: what, where, why, and which record it was decided about.

    Args:
        call: the call.
        view: the target as it is.
        decision: why people are asked.
        now: when the record had just been read.
    """
    card = _card(call, view, decision)
    if call.contract.read is not None:
        card["record"] = {"at": now.astimezone(UTC).isoformat(), "digest": record_digest(call, view)}
    if call.contract.shown_to and (parts := _parts(call, view)):
        # The card's plain hash is on record, and whoever sees the rest of it could guess a short value by that.
        salt = hmac.digest(call.run.secret, _PARTS + observed_identity_bytes(parts), hashlib.sha256).hex()
        card["by_role"] = {"salt": salt, "parts": parts}
    return observed_bytes(card, bytes_max=CARD_BYTES_MAX)


def record_digest(call: GovernedCall, view: View) -> str:
    """Return what is equal for equal records, and tells nothing of them: a plain hash of a small one could be guessed.

    Args:
        call: the call.
        view: the target as it is.
    """
    return hmac.digest(call.run.secret, _RECORD + observed_identity_bytes(view.before), hashlib.sha256).hex()


def _card(call: GovernedCall, view: View, decision: Decision) -> dict[str, Any]:
    hidden, fallbacks = call.contract.redact, call.run.memory.fallbacks
    shown = {name: presentable(covered(name, value, hidden)) for name, value in call.args.items()}
    link = call.contract.link_text(call.args)
    return {
        "what": {
            "tool": call.tool,
            "impact": call.impact.value,
            "operation": call.operation.value,
            "version": call.contract.version,
            "arguments": shown,
        },
        "where": {
            "system": call.contract.system,
            "target": view.target,
            # The name of the record itself is for those who decide: the ledger shows it to approvers' logins alone.
            **({"target_redacted": True} if _names_redacted(call) else {}),
            **({"target_by_role": True} if _names(call, call.contract.shown_to) else {}),
            **({} if link is None else {"link": link}),
        },
        "why": {
            "intent": call.run.intent,
            "reasons": list(decision.reasons),
            **({"signals": dict(decision.signals)} if decision.signals else {}),
            # The model's words, and marked as such: they explain, they prove nothing.
            "model_says": {name: shown[name] for name in call.contract.explain if name in shown},
            # What the model knows from no system, but from what was prepared for the case that it does not answer.
            **({"fallbacks": [one.as_json() for one in fallbacks]} if fallbacks else {}),
        },
        "who": {
            "actor": call.run.actor,
            "on_behalf_of": call.run.on_behalf_of,
            **({} if call.run.version is None else {"version": call.run.version}),
        },
        "diff": _diff(view, hidden),
        **({"saga": dict(call.place.standing)} if call.place is not None and call.place.standing else {}),
    }


def _parts(call: GovernedCall, view: View) -> list[dict[str, Any]]:
    """Return what each role sees of what is redacted for all others. The ledger gives a part to its role's people."""
    redact, shown_to = call.contract.redact, call.contract.shown_to
    parts: list[dict[str, Any]] = []
    for role in sorted(frozenset().union(*shown_to.values())):
        opened = frozenset(path for path in redact if role in shown_to.get(path, ()))
        hidden = redact - opened
        arguments = {
            name: presentable(covered(name, value, hidden))
            for name, value in call.args.items()
            if paths_inside(name, opened)
        }
        diff = {name: pair for name, pair in _diff(view, hidden).items() if paths_inside(name, opened)}
        named = _names(call, opened) and not _names(call, hidden)
        part = {
            **({"arguments": arguments} if arguments else {}),
            **({"diff": diff} if diff else {}),
            **({"target": view.target} if named else {}),
        }
        if part:
            parts.append({"role": role, **part})
    return parts


def named_target(call: GovernedCall, view: View) -> str | None:
    """Return what the trail calls the record: a name made of what the contract redacts is not written into a hash.

    Args:
        call: the call.
        view: the target as it is.
    """
    return REDACTED if _names_redacted(call) else view.target


def _names_redacted(call: GovernedCall) -> bool:
    return _names(call, call.contract.redact)


def _names(call: GovernedCall, paths: Collection[str]) -> bool:
    """Whether the record's name is made of what the paths lead to."""
    return any(paths_inside(name, paths) for name in call.target_arguments)


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
    reason = str(claimed.reason)  # a checkpoint holds plain values only
    card = {"control": call.key.hex(), "reason": reason, "wake_ms": wake_ms, **_card(shown, view, decision)}
    owner = _owner(call, decision, claimed)
    if owner is not None:
        card["owner"] = owner
    if decision.question is not None:
        card["question"] = decision.question
        card["question_id"] = question_name(call.question_id)
    if claimed.approval_id is not None:
        card["approval"] = approval_name(claimed.approval_id)
        card["expires_at"] = claimed.expires_at.astimezone(UTC).isoformat() if claimed.expires_at else None
        card["digest"] = claimed.digest.hex() if claimed.digest else None
        card |= review_shapes(card)
    return card


def _owner(call: GovernedCall, decision: Decision, claimed: Claimed) -> str | None:
    """Who can end the wait: the roles asked, else the role of the rule, else the policy's owner of the write."""
    if claimed.reason == Reason.NEEDS_APPROVAL and decision.requirement is not None:
        return ", ".join(sorted(decision.requirement.quorum))
    return decision.owner or call.run.policy.owner_for(call.tool, call.contract.system, call.impact)
