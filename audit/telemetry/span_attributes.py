"""What entries say as attributes of spans. Never their payloads: arguments do not go to telemetry."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from langgraph_control.audit.telemetry import span_names as names
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.guards.told_signals import signal_texts

__all__ = ["Attributes", "Value", "about"]

Value: TypeAlias = str | int | Sequence[str]
Attributes: TypeAlias = Mapping[str, Value]

_FACTS: Final = {
    "tool": names.GEN_AI_TOOL,
    "key": names.ACTION_KEY,
    "attempt": names.ATTEMPT_ID,
    "approval": names.APPROVAL_ID,
    "digest": names.DIGEST,
    "kind": names.KIND,
    "verb": names.VERB,
    "answer": names.ANSWER,
    "reason": names.REASON,
    "state": names.STATE,
    "person": names.PERSON,
    "decision": names.DECISION,
}
_SAID: Final = {
    "trigger": names.TRIGGER,
    "intent": names.INTENT,
    "call_id": names.GEN_AI_TOOL_CALL,
    "target": names.TARGET,
    "system": names.SYSTEM,
    "impact": names.IMPACT,
    "policy": names.POLICY,
}
_SAID_WITHIN: Final = {
    "who": {"actor": names.ACTOR, "on_behalf_of": names.ON_BEHALF_OF},
    "why": {"trigger": names.TRIGGER, "intent": names.INTENT},
    "where": {"thread_id": names.GEN_AI_CONVERSATION, "graph": names.GEN_AI_AGENT, "worker": names.WORKER},
}


def about(entry: Entry) -> dict[str, Value]:
    """Return what an entry says as attributes.

    Args:
        entry: the entry.
    """
    found: dict[str, Value] = {}
    body, facts = entry.body, entry.facts
    for part, within in _SAID_WITHIN.items():
        if isinstance(inner := body.get(part), dict):
            _take(found, inner, within)
    _take(found, body, _SAID)
    _take(found, facts, _FACTS)
    for part, name in (("reasons", names.REASONS), ("rules", names.RULES)):
        if texts := entry.said_list(part):
            found[name] = texts
    if told := tuple(signal_texts(body.get("signals"))):
        found[names.SIGNALS] = told
    attempts = facts.get("attempts")
    if isinstance(attempts, int):
        found[names.ATTEMPTS] = attempts
    roles = facts.get("roles")
    if isinstance(roles, list):
        found[names.ROLES] = tuple(str(role) for role in roles)
    return found


def _take(found: dict[str, Value], told: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
    for key, name in wanted.items():
        if key in told and isinstance(value := told[key], str):
            found[name] = value
