"""What a decision may look at beside the call and its record, asked only where the policy looks at it."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from langgraph_control.audit.asking.signal_requests import ActionProgress, Look, Looked
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.signals import Progress, Signals, SystemState
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.call import GovernedCall, View

__all__ = ["gathered"]


def gathered(call: GovernedCall, view: View, signals: Signals) -> Generator[Any, Any, Signals]:
    """Return the signals with what the policy's rules about this call ask for.

    Args:
        call: the write.
        view: its target as it is.
        signals: what is known without asking anyone.
    """
    policy = call.run.policy
    if _depends_on_the_system(call, signals):
        rules = policy.breaker_for(signals.system)
        state: SystemState = yield ask.HowIs(system=signals.system or "", rules=rules)
        signals = replace(signals, system_state=state)
    if policy.asks("run", signals):
        progress: Progress = yield ActionProgress(run_id=call.run.run_id, key=call.key)
        signals = replace(signals, progress=replace(progress, applied=signals.progress.applied))
    looks = policy.looks_for(call.tool, call.impact, call.contract.system)
    # What takes something back is about that one effect alone, however equal it looks to others.
    takes_back = call.place is not None and call.place.undoes is not None
    if (looks.equal_within_seconds is not None or looks.changed) and not takes_back:
        within = looks.equal_within_seconds
        looked: Looked = yield Look(
            run_id=call.run.run_id,
            token=call.run.token,
            key=call.key,
            twin=call.twin,
            within_ms=None if within is None else int(within * 1000),
            seen=call.scope(view),
        )
        changed = looked.changed and looks.changed
        signals = replace(signals, context=replace(signals.context, equal=looked.equal, changed=changed))
    return signals


def _depends_on_the_system(call: GovernedCall, signals: Signals) -> bool:
    """Whether a rule asks about it, or a slow system holds this write back: the claim looks for all else itself."""
    policy, system = call.run.policy, signals.system
    if system is None:
        return False
    slow_counts = signals.kind is Kind.BLIND and policy.breaker_for(system).degraded_seconds is not None
    return slow_counts or policy.asks("system", signals)
