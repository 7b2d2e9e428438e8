"""What a thread's newest checkpoint says of a run: what is left, and our interrupts apart from the user's."""

import re
from collections.abc import Mapping
from typing import Any, Final

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.pregel import Pregel
from langgraph.types import Interrupt, Send, StateSnapshot

from langgraph_control.graphs.advance import Thread
from langgraph_control.graphs.unanswered_calls import unanswered_calls

__all__ = ["checkpoint_of", "gone_steps", "questions_of", "thread_of"]

_CARD: Final = frozenset({"control", "reason", "wake_ms", "what", "why"})
_BRANCH: Final = "branch:to:"  # the channel that triggers a step
_SENT: Final = "__pregel_tasks"  # the channel of what was sent to steps
_KEY: Final = re.compile("[0-9a-f]{64}")  # and a digest
_APPROVAL: Final = re.compile("apr_[0-9a-f]{32}")


def thread_of(snapshot: StateSnapshot) -> Thread:
    """Return what driving a run needs to know of its thread.

    The root's snapshot lists every pending interrupt, those of subgraphs and of graphs inside tools included. It also
    lists one that was answered before its node failed: answered again, the second answer would go to the node's next
    question, so a failed task is only gone on with.

    Args:
        snapshot: the root graph's newest state.
    """
    parked = {pending.id: _wait(pending.value) for pending in _pending(snapshot) if _is_ours(pending)}
    ours = {pending.id: _wait(pending.value) for pending in snapshot.interrupts if _is_ours(pending)}
    return Thread(
        checkpoint=checkpoint_of(snapshot),
        # Not `next`: it leaves out tasks that have their writes, and a step of which all have is not over before the
        # checkpoint after it. Killed in between, the run is in the middle.
        pending=bool(snapshot.tasks),
        parked=parked,
        questions=frozenset(questions_of(snapshot)),
        failed={name: card for name, card in ours.items() if name not in parked},
        unanswered=unanswered_calls(snapshot),
    )


def questions_of(snapshot: StateSnapshot) -> dict[str, Any]:
    """Return the user's own pending questions: interrupt id → what was asked.

    Args:
        snapshot: the root graph's newest state.
    """
    return {pending.id: pending.value for pending in _pending(snapshot) if not _is_ours(pending)}


def checkpoint_of(snapshot: StateSnapshot) -> str:
    """Return the checkpoint's id; "" for a thread that has none.

    Args:
        snapshot: a state of the root graph.
    """
    return str(snapshot.config.get("configurable", {}).get("checkpoint_id") or "")


def gone_steps(graph: Pregel[Any, Any, Any, Any], stored: CheckpointTuple | None) -> frozenset[str]:
    """Return the steps that a checkpoint goes on with and a graph does not have.

    A step that was renamed or removed is left out by LangGraph without a word: the thread looks as if it had ended.

    Args:
        graph: the root graph as it is now.
        stored: the thread's newest checkpoint; None for none.
    """
    if stored is None:
        return frozenset()
    values = stored.checkpoint["channel_values"]
    waiting = {name.removeprefix(_BRANCH) for name in values if name.startswith(_BRANCH)}
    waiting |= {sent.node for sent in values.get(_SENT) or () if isinstance(sent, Send)}
    return frozenset(waiting - graph.nodes.keys())


def _pending(snapshot: StateSnapshot) -> list[Interrupt]:
    answered = {pending.id for task in snapshot.tasks if task.error is not None for pending in task.interrupts}
    return [pending for pending in snapshot.interrupts if pending.id not in answered]


def _is_ours(pending: Interrupt) -> bool:
    # A user's own payload may well have a field "control": what is taken for ours is answered without asking anybody.
    card = pending.value
    if not isinstance(card, Mapping) or not card.keys() >= _CARD:
        return False
    key = card["control"]
    return isinstance(key, str) and _KEY.fullmatch(key) is not None


def _wait(card: Mapping[str, Any]) -> dict[str, Any]:
    approval, owner, digest = card.get("approval"), card.get("owner"), card.get("digest")
    return {
        "control": card["control"],
        "reason": card["reason"],
        "wake_ms": card["wake_ms"],
        "owner": owner if isinstance(owner, str) else "",
        "approval": approval if isinstance(approval, str) and _APPROVAL.fullmatch(approval) else "",
        "digest": digest if isinstance(digest, str) and _KEY.fullmatch(digest) else "",
    }
