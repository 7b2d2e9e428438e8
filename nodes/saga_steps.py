"""What the nodes of a saga do, as generators without I/O: one step, deciding what is to be taken back, taking it back.

Like the gate, they yield what they want done and are sent the answer. What they return is where the graph goes next and
what its state becomes.
"""

import logging
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypedDict

from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp
from pydantic import ValidationError

from langgraph_control.audit.asking.ledger import Reason
from langgraph_control.audit.asking.sagas import ReadSaga, SagaRow
from langgraph_control.errors import (
    ArgumentError,
    ContractError,
    ControlError,
    KeyConflict,
    TrailUnavailable,
    WriteRefused,
)
from langgraph_control.guards.canonical import from_canonical, normalise
from langgraph_control.guards.keys import saga_id
from langgraph_control.guards.lifecycle import State
from langgraph_control.guards.redaction import paths_inside
from langgraph_control.guards.sagas import Closed, Part, SettleFirst, half_done, next_move, still_applied
from langgraph_control.nodes.action import Action, Call
from langgraph_control.nodes.results import decode
from langgraph_control.nodes.run_context import RunContext
from langgraph_control.nodes.saga_places import SagaPlace
from langgraph_control.nodes.texts import said
from langgraph_control.nodes.tool_calls import Seam
from langgraph_control.nodes.tools import seam_of

__all__ = ["AskUndo", "CameBack", "InvokeTool", "Saga", "SagaSoFar", "SagaState", "Step", "Stopped", "Then"]

logger = logging.getLogger(__name__)


class SagaState(TypedDict, total=False):
    """A saga's state: ``request`` goes in, all of it comes out.

    ``results`` holds each step's result by the step's name. ``outcome`` is ``done``, ``undone`` or ``partly_undone``;
    ``failed`` names the step that could not be done, ``why`` says the reason; ``applied`` lists what is still
    in effect.
    ``undoing`` and ``refused`` are the saga's own.
    """

    request: Mapping[str, Any]
    results: dict[str, Any]
    outcome: str
    failed: str | None
    why: str | None
    applied: list[dict[str, Any]]
    undoing: dict[str, Any]
    refused: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaSoFar:
    """What a step may look at to say what is to be called.

    Args:
        request: what the saga is asked.
        results: the results of the steps before it, by the steps' names.
    """

    request: Mapping[str, Any]
    results: Mapping[str, Any]


Step: TypeAlias = Callable[[SagaSoFar], Call]


@dataclass(frozen=True, slots=True, kw_only=True)
class InvokeTool:
    """Call a governed tool. Answered with :class:`CameBack` or :class:`Stopped`; parking passes through.

    Args:
        tool: which.
        args: with what.
        place: where in the saga it stands.
    """

    tool: BaseTool
    args: Mapping[str, Any]
    place: SagaPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class AskUndo:
    """Ask what takes an effect back. Answered with :class:`CameBack` or :class:`Stopped`.

    Args:
        hook: the contract's.
        action: what was done.
    """

    hook: Callable[[Action], Any]
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class CameBack:
    """It returned.

    Args:
        value: what.
    """

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """It raised.

    Args:
        error: what.
    """

    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Then:
    """Where the graph goes, and what its state becomes.

    Args:
        goto: a step's name, or one of the three below; a step's successor is known to the graph.
        update: of the state.
    """

    goto: str
    update: Mapping[str, Any]


NEXT: Final = "next"
COMPENSATE: Final = "compensate"
UNDO: Final = "undo"
ENDED: Final = "ended"

_CANNOT: Final = (WriteRefused, KeyConflict, ArgumentError, ValidationError)
"""What a governed write ends with where it was not done and will not be."""

_WAITS: Final = (GraphBubbleUp, TrailUnavailable)
"""What a step's code ends with where it has not failed: it asked, waits, or could not look into the ledger."""


class Saga:
    """One saga, as its nodes see it.

    Args:
        name: its name in the record.
        steps: by name, in order.
        tools: governed tools by name.
    """

    def __init__(self, name: str, steps: Mapping[str, Step], tools: Mapping[str, BaseTool]) -> None:
        self.name = name
        self._steps = tuple(steps.items())
        self._tools = tools

    def stepping(self, number: int, state: SagaState, run: RunContext) -> Generator[Any, Any, Then]:
        """Do one step. One that cannot say its call has failed for good, where something would stay half done.

        Args:
            number: which, from 1.
            state: the graph's.
            run: the run it is part of.

        Raises:
            ArgumentError: the saga was given no request (code ``saga_request``).
            ContractError: the step does not say what to call, or names a tool that the saga does not have.
            Exception: what the step's code raised, or what a write cannot end with; the run is then blocked and goes
                on with this step.
        """
        self._check_request(state)
        name, _ = self._steps[number - 1]
        try:
            call, tool, seam = self._call(number, state)
        except _WAITS:
            raise
        except Exception as error:
            rows: tuple[SagaRow, ...] = yield ReadSaga(saga=self._id(state, run))
            if not half_done([row.part for row in rows], steps=len(self._steps)):
                raise
            why = _of_code(error, f"Step {name} of saga {self.name}")
            logger.warning("%s What is in effect is taken back.", why, exc_info=logger.isEnabledFor(logging.DEBUG))
            return Then(goto=COMPENSATE, update={"failed": name, "why": why})
        came = yield InvokeTool(tool=tool, args=call.args, place=self._place(state, run, number, applied=number - 1))
        if isinstance(came, CameBack):
            return Then(goto=NEXT, update={"results": {**(state.get("results") or {}), name: came.value}})
        if isinstance(came.error, WriteRefused) and came.error.code == Reason.DEDUPLICATE:
            # The record is as the step would make it: nothing was done, and there is nothing to take back.
            return Then(goto=NEXT, update={"results": {**(state.get("results") or {}), name: came.error.what}})
        # A read that fails has changed nothing.
        if isinstance(came.error, _CANNOT) or not seam.contract.is_write:
            return Then(goto=COMPENSATE, update={"failed": name, "why": _reason(came.error)})
        raise came.error

    def compensating(self, state: SagaState, run: RunContext) -> Generator[Any, Any, Then]:
        """Decide what comes next on the way back; find out first what nobody knows.

        Args:
            state: the graph's.
            run: the run it is part of.
        """
        rows: tuple[SagaRow, ...] = yield ReadSaga(saga=self._id(state, run))
        parts = [row.part for row in rows]
        move = next_move(parts)
        if isinstance(move, Closed):
            update = {"outcome": move.outcome.value, "applied": self._told(still_applied(parts), rows, state)}
            return Then(goto=ENDED, update=update)
        row = next(row for row in rows if row.part is move.part)
        args, before = self._as_it_ran(row, state)
        if isinstance(move, SettleFirst):
            place = self._place(state, run, move.part.step, closing=True)
            came = yield InvokeTool(tool=self._tools[move.part.tool], args=args, place=place)
            if isinstance(came, Stopped) and not isinstance(came.error, WriteRefused):
                raise came.error
            return Then(goto=COMPENSATE, update={})
        refused = state.get("refused") or {}
        why = refused.get("why") if refused.get("key") == move.part.key.hex() else None
        if why is not None and refused.get("unfit"):
            planned = _for_people(row.part, args, why)
        else:
            planned = yield from self._planned(row, args, before, run)
        if move.to_people and why is None:
            why = "it was tried, and refused or failed for good"
        standing = {
            "name": self.name,
            "failed": state.get("failed"),
            "applied": self._told(still_applied(parts), rows, state),
            "undone": self._told([part for part in parts if part.undo is State.SUCCEEDED], rows, state),
        }
        undoing = {"step": move.part.step, "key": move.part.key.hex(), "standing": standing, **planned}
        if why is not None:
            undoing["for_people"] = f"{move.part.tool} could not be taken back: {why}"
        return Then(goto=UNDO, update={"undoing": undoing})

    def undoing(self, state: SagaState, run: RunContext) -> Generator[Any, Any, Then]:
        """Take back what was decided to be taken back.

        Args:
            state: the graph's.
            run: the run it is part of.
        """
        planned = state["undoing"]
        place = self._place(
            state,
            run,
            planned["step"],
            applied=len(planned["standing"]["applied"]),
            undoes=bytes.fromhex(planned["key"]),
            for_people=planned.get("for_people"),
            by_hand=planned.get("by_hand", False),
            standing=planned["standing"],
        )
        came = yield InvokeTool(tool=self._tools[planned["tool"]], args=planned["args"], place=place)
        if isinstance(came, CameBack):
            return Then(goto=COMPENSATE, update={"refused": None})
        unfit = isinstance(came.error, ArgumentError | ValidationError)
        if not isinstance(came.error, _CANNOT) or (unfit and planned.get("by_hand")):
            raise came.error
        if unfit:  # it never reached the ledger, and would not if it were handed over as it is
            why = f"its undo hook gave arguments that {planned['tool']} does not take"
            return Then(goto=COMPENSATE, update={"refused": {"key": planned["key"], "why": why, "unfit": True}})
        again = isinstance(came.error, WriteRefused) and came.error.code == "ready_again"
        refused = None if again else {"key": planned["key"], "why": _reason(came.error)}
        return Then(goto=COMPENSATE, update={"refused": refused})

    def _planned(
        self, row: SagaRow, args: Mapping[str, Any], before: Any, run: RunContext
    ) -> Generator[Any, Any, dict[str, Any]]:
        """What takes an action back: a tool and its arguments, or why the program has none."""
        seam = self._seam(row.part.tool)
        hook = seam.contract.undo
        if hook is None:
            return _for_people(row.part, args, "its contract has no undo")
        action = Action(
            tool=row.part.tool,
            args=dict(args),
            key=row.part.key.hex(),
            intent=run.intent,
            run_id=str(run.run_id),
            before=before,
            result=None if row.result is None else decode(row.result),
        )
        came = yield AskUndo(hook=hook, action=action)
        if isinstance(came, Stopped):
            return _for_people(row.part, args, f"its undo hook raised {type(came.error).__name__}")
        call = came.value
        if call is None:
            return _for_people(row.part, args, "its undo hook knows no way")
        if not isinstance(call, Call) or call.tool not in self._tools:
            wrong = "names a tool that the saga was not given" if isinstance(call, Call) else "returned no Call"
            return _for_people(row.part, args, f"its undo hook {wrong}")
        if not self._seam(call.tool).contract.is_write:
            return _for_people(row.part, args, "its undo hook names a read")
        return {"tool": call.tool, "args": dict(call.args)}

    def _place(self, state: SagaState, run: RunContext, step: int, **more: Any) -> SagaPlace:
        return SagaPlace(saga=self._id(state, run), name=self.name, step=step, **more)

    def _id(self, state: SagaState, run: RunContext) -> bytes:
        request = normalise(dict(state.get("request") or {}), at="request")
        return saga_id(run.secret, intent=run.intent, name=self.name, request=request)

    def _check_request(self, state: SagaState) -> None:
        if not isinstance(state.get("request"), Mapping):
            raise ArgumentError(
                f"Saga {self.name} was given no request, or one that is no mapping.",
                todo='Give it {"request": {...}}, with what its steps look at.',
                code="saga_request",
            )

    def _call(self, number: int, state: SagaState) -> tuple[Call, BaseTool, Seam]:
        """What a step says is to be called."""
        name, step = self._steps[number - 1]
        who = f"Step {name} of saga {self.name}"
        call: object = step(_so_far(state))
        if not isinstance(call, Call):
            raise ContractError(
                f"{who} returned a {type(call).__name__} instead of a Call.",
                safe="This step was not begun.",
                todo="Return Call(tool, argument=value, ...).",
                code="saga_step_no_call",
            )
        tool = self._tools.get(call.tool)
        if tool is None:
            raise ContractError(
                f"{who} calls {call.tool}, which is none of the saga's tools.",
                safe="This step was not begun.",
                todo="Add the governed tool to tools=[...] of the saga.",
                code="saga_unknown_tool",
            )
        return call, tool, self._seam(call.tool)

    def _seam(self, tool: str) -> Seam:
        seam = seam_of(self._tools[tool])
        assert seam is not None  # noqa: S101 - checked when the saga was made
        return seam

    def _as_it_ran(self, row: SagaRow, state: SagaState) -> tuple[Mapping[str, Any], Any]:
        """Arguments and before-image as on record; what is not there, as of a step that was refused, the step says."""
        redact = self._seam(row.part.tool).contract.redact if row.part.tool in self._tools else frozenset()
        stated: Mapping[str, Any] = {}
        if (row.payload is None or redact) and row.part.step <= len(self._steps):
            stated = self._call(row.part.step, state)[0].args
        if row.payload is None:
            return stated, None
        kept = from_canonical(row.payload)
        return {**kept["args"], **{name: stated[name] for name in stated if paths_inside(name, redact)}}, kept["before"]

    def _told(self, parts: Collection[Part], rows: tuple[SagaRow, ...], state: SagaState) -> list[dict[str, Any]]:
        by_key = {row.part.key: row for row in rows}
        told = []
        for part in parts:
            contract = self._seam(part.tool).contract if part.tool in self._tools else None
            args, _ = self._as_it_ran(by_key[part.key], state)
            target = None if contract is None else contract.target_text(args)
            where = {"system": contract.system if contract else None, "target": target}
            told.append({"step": part.step, "tool": part.tool, **{name: text for name, text in where.items() if text}})
        return told


def _for_people(part: Part, args: Mapping[str, Any], why: str) -> dict[str, Any]:
    for_people = f"{part.tool} must be taken back by hand: {why}"
    return {"tool": part.tool, "args": dict(args), "by_hand": True, "for_people": for_people}


def _so_far(state: SagaState) -> SagaSoFar:
    return SagaSoFar(request=state.get("request") or {}, results=state.get("results") or {})


def _of_code(error: Exception, who: str) -> str:
    """What became of a step's code, fit to be kept: another's text may hold what must not be."""
    return error.what if isinstance(error, ControlError) else f"{who} raised {type(error).__name__}."


def _reason(error: Exception) -> str:
    """What happened, fit to be kept: of our own errors their first sentence, of others their kind."""
    what = getattr(error, "what", None)
    return said(what) if isinstance(what, str) else type(error).__name__
