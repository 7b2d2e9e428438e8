"""What hooks get and what they answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from langchain_core.tools import BaseTool

from langgraph_control.errors import ContractError
from langgraph_control.guards.canonical import ABSENT, Absent
from langgraph_control.guards.retries import RETRY_AFTER_SECONDS_MAX
from langgraph_control.nodes.durations import Duration, pause_of

__all__ = ["ABSENT", "Absent", "Action", "Call", "Done", "NotDone", "Outcome", "Unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One intended effect, as every hook sees it.

    Args:
        tool: the tool's name.
        args: the arguments the tool gets, injected ones left out.
        key: the action key, 64 hexadecimal digits; the same on every attempt, so it can be an idempotency key.
        intent: the business request the change belongs to.
        run_id: the run that carries it now.
        attempt: 1 for the first try; 0 before any.
        before: what ``read`` returned before the first attempt that may have had an effect: the record, ``ABSENT``
            where there is none, None without a read hook.
        result: what the tool returned; None outside ``outcome`` and ``expect`` after the write.
        deadline: when this attempt must have sent its last byte, in UTC; None where nothing limits it.
    """

    tool: str
    args: Mapping[str, Any]
    key: str
    intent: str
    run_id: str
    attempt: int = 0
    before: Any = None
    result: Any = None
    deadline: datetime | None = None


class Call:
    """A tool with the arguments to call it with: what ``undo`` returns, and what a saga's steps return.

    Args:
        tool: the tool's name; or the tool or function itself, whose name is taken.
        **args: its arguments.

    Raises:
        ContractError: that is no tool's name (code ``call_tool``).
    """

    __slots__ = ("args", "tool")

    def __init__(self, tool: str | BaseTool | Callable[..., Any], /, **args: Any) -> None:
        named = tool.name if isinstance(tool, BaseTool) else getattr(tool, "__name__", "")
        self.tool: str = tool if isinstance(tool, str) else named
        if not isinstance(self.tool, str) or not self.tool.strip():
            raise ContractError(
                "A Call names no tool.",
                todo='Write Call("tool", argument=value, ...), or give the tool or function itself.',
                code="call_tool",
            )
        self.args: Mapping[str, Any] = args

    def __repr__(self) -> str:
        # Arguments may hold what must not reach a log.
        return f"Call({self.tool!r}, {', '.join(f'{name}=…' for name in self.args)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """``outcome``: the effect is there.

    Args:
        result: what the model gets in place of the tool's own result; None keeps that.
    """

    result: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDone:
    """``outcome``: the effect certainly is not there, whatever the tool returned.

    Args:
        reason: for the model and the record, without secrets.
        transient: whether trying again is reasonable. It also counts as a failed call of the system, for its breaker.
        retry_after: the system asks to be left alone for so long: ``"30s"``, a timedelta, or seconds; ``0`` where it
            does not say for how long. It is heeded like 429 with Retry-After: all workers stay away from the system
            for that time, a day at most, and then it is tried again. Implies ``transient``.
        retry_after_seconds: that in seconds, None where it is not given; computed.

    Raises:
        ContractError: ``retry_after`` is no span of time (code ``contract_duration``). Raised inside a hook, it leaves
            the outcome unknown, as any error of a hook does.
    """

    reason: str
    transient: bool = False
    retry_after: Duration | None = None
    retry_after_seconds: float | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.retry_after is not None:
            seconds = min(pause_of(self.retry_after, field="retry_after"), RETRY_AFTER_SECONDS_MAX)
            object.__setattr__(self, "retry_after_seconds", seconds)
            object.__setattr__(self, "transient", True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """``outcome``: the tool's answer does not tell.

    Args:
        reason: for the record, without secrets.
    """

    reason: str


Outcome = Done | NotDone | Unknown
"""What an ``outcome`` hook answers."""
