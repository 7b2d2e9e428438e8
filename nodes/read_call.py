"""One governed call of a read, and everything about it that can be computed without asking anyone."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from langgraph_control.guards.canonical import observed_identity_bytes
from langgraph_control.guards.loops import Step
from langgraph_control.nodes.action import Action
from langgraph_control.nodes.call import TARGET_CHARS_MAX, body_bytes
from langgraph_control.nodes.contracts import Contract
from langgraph_control.nodes.looping import Turn, mark
from langgraph_control.nodes.presenting import presentable
from langgraph_control.nodes.run_context import RunContext

__all__ = ["GovernedRead"]

_ORIGIN: Final = b"langgraph-control/read-origin/1"
_CALL: Final = b"langgraph-control/read-call/1"


@dataclass(frozen=True, kw_only=True)
class GovernedRead:
    """A call of a read.

    Args:
        contract: what the tool does.
        tool: its name.
        args: its arguments, injected ones left out.
        run: the run it belongs to.
        call_id: the tool call's id; evidence. None where code calls, which nobody has to tell that it repeats itself.
        where: thread, checkpoint, task and trace ids, for the record.
        turn: when a model made it.
    """

    contract: Contract
    tool: str
    args: Mapping[str, Any]
    run: RunContext
    call_id: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    turn: Turn

    @cached_property
    def call(self) -> bytes:
        """Names tool and arguments, and tells neither."""
        whole = self.tool.encode("utf-8", "replace"), observed_identity_bytes(dict(self.args))
        return hmac.digest(self.run.secret, mark(_CALL, *whole), hashlib.sha256)

    @cached_property
    def origin(self) -> bytes:
        """Names this very call: the same when its task runs again, another in another task."""
        at = self.where.get("task_id", ""), self.call_id or ""
        return mark(_ORIGIN, self.call, *(part.encode("utf-8", "replace") for part in at))

    def step(self, result: bytes, *, at: datetime) -> Step | None:
        """Return this call as a step of its run; None where no model made it.

        Args:
            result: equal for equal answers.
            at: when.
        """
        if self.call_id is None:
            return None
        return Step(
            origin=self.origin,
            scope=self.turn.scope,
            turn=self.turn.message,
            call=self.call,
            result=result,
            at=at,
            writes=0,
        )

    def action(self) -> Action:
        """Return what a hook sees of this call."""
        return Action(
            tool=self.tool,
            args=dict(self.args),
            key=self.origin.hex(),
            intent=self.run.intent,
            run_id=str(self.run.run_id),
        )

    def card(self, reason: str, *, why: str, wake_ms: int = 0, owner: str = "") -> dict[str, Any]:
        """Return what is shown of this call while it is parked.

        Args:
            reason: what it waits for, a stable word.
            why: the same for people.
            wake_ms: when to look again by itself, in milliseconds; 0: when something happens.
            owner: the role that can end the wait; "" where nobody in particular can.
        """
        target = self.contract.target_text(self.args)
        return {
            "control": self.origin.hex(),
            "reason": str(reason),  # a checkpoint holds plain values only
            "wake_ms": wake_ms,
            **({"owner": owner} if owner else {}),
            "what": {"tool": self.tool, "arguments": {name: presentable(value) for name, value in self.args.items()}},
            "where": {"system": self.contract.system, "target": target and target[:TARGET_CHARS_MAX]},
            "why": {"intent": self.run.intent, "reasons": [why]},
            "who": {"actor": self.run.actor, "on_behalf_of": self.run.on_behalf_of},
        }

    def body(self, **facts: Any) -> bytes:
        """Return the entry's body.

        Args:
            **facts: what this entry is about; None values are left out.
        """
        run = self.run
        return body_bytes(
            {
                "who": {"actor": run.actor, "on_behalf_of": run.on_behalf_of},
                "intent": run.intent,
                "tool": self.tool,
                "system": self.contract.system,
                "target": self.contract.target_text(self.args),
                "call_id": self.call_id,
                "where": {**self.where, "worker": run.worker, "thread_id": run.thread_id, "graph": run.graph},
                **facts,
            }
        )
