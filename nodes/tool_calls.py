"""One call of a governed tool: from what LangChain calls its body with, to what the caller gets."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.pydantic import get_fields
from pydantic import ValidationError

from langgraph_control.audit.connecting.store import Store
from langgraph_control.errors import ArgumentError, ContractError, GraphRefused, KeyConflict, NoRun, WriteRefused
from langgraph_control.guards.canonical import canonical_bytes, normalise, refuse_money_floats
from langgraph_control.guards.signals import Impact
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.bubbles import RunTakenOver
from langgraph_control.nodes.call import GovernedCall
from langgraph_control.nodes.contexts import current_run, in_a_write
from langgraph_control.nodes.contracts import Contract
from langgraph_control.nodes.fallbacks import MARK, StoodIn
from langgraph_control.nodes.looping import turn_of, watched
from langgraph_control.nodes.money_floats import as_sent, exactly
from langgraph_control.nodes.occurrence import messages_in_sight, occurrence
from langgraph_control.nodes.parameters import Parameters, validate_arguments
from langgraph_control.nodes.read_call import GovernedRead
from langgraph_control.nodes.reading import Found, NotFound, consult
from langgraph_control.nodes.results import readdress, with_note
from langgraph_control.nodes.run_context import RunContext
from langgraph_control.nodes.saga_places import SagaPlace, taken_place
from langgraph_control.nodes.steps import Delivered, Refused, TakenOver
from langgraph_control.nodes.surroundings import Surroundings
from langgraph_control.nodes.wakes import configurable, placed

__all__ = ["BY_HAND", "CALL_ID_CHARS_MAX", "Seam", "ToolCalled"]

CALL_ID_CHARS_MAX: Final = 256
BY_HAND: Final = "undo "  # before the name of what people take back by hand


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """What a governed body needs to know of its tool.

    Args:
        original: the tool as declared.
        contract: what it does to the world.
        parameters: what it takes.
        store: gives the ledger.
    """

    original: BaseTool
    contract: Contract
    parameters: Parameters
    store: Callable[[], Store]

    def called(
        self, body: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], call_id: str | None
    ) -> "ToolCalled":
        """Return this call of the body, arguments by name.

        Args:
            body: the tool's own function.
            args: positional arguments.
            kwargs: arguments by name, injected ones included.
            call_id: the tool call's id; None outside tool calls.
        """
        given = dict(kwargs)
        if args:
            given |= inspect.signature(body).bind_partial(*args).arguments
        return ToolCalled(seam=self, body=body, given=given, call_id=call_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled:
    """One call of a governed body.

    Args:
        seam: its tool.
        body: the tool's own function.
        given: what it was called with, by name, injected arguments included.
        call_id: the tool call's id; None outside tool calls.
    """

    seam: Seam
    body: Callable[..., Any]
    given: Mapping[str, Any]
    call_id: str | None

    def run(self) -> RunContext | None:
        """Return the run; None for a read outside one, which nobody has to record.

        Raises:
            NoRun: a write outside a run, or a run that this process does not drive.
            ContractError: code ``write_inside_write``.
            GraphRefused: code ``durability_not_sync``.
        """
        name, contract = self.seam.original.name, self.seam.contract
        run = current_run(configurable())
        if not contract.is_write:
            return run
        if run is None:
            raise NoRun(
                f"Tool {name} changes something and was called outside a run.",
                todo="Start the graph with control.run(graph, input, trigger=..., actor=...).",
            )
        if in_a_write():
            raise ContractError(
                f"Tool {name} was called from inside another governed write.",
                safe=f"{name} was not called; what the outer tool did before is found out by its own contract.",
                todo="Declare the outer tool with reads(): what runs governed tools has no effect of its own.",
                code="write_inside_write",
            )
        durability = configurable().get("__pregel_durability")
        if durability != "sync":
            raise GraphRefused(
                f"Tool {name} changes something, in a graph invoked with durability={durability or 'async'!r}: a crash "
                "could make it forget what it had decided.",
                todo='Run the graph with control.run; invoke a graph of your own inside a tool with durability="sync".',
                code="durability_not_sync",
            )
        return run

    def begun(self, run: RunContext) -> tuple[Any, Surroundings]:
        """Return the gate or the read, not started, and where it runs.

        Args:
            run: the run it belongs to.

        Raises:
            ArgumentError: the arguments cannot be keyed; nothing was done.
        """
        seam, place = self.seam, taken_place()
        args = seam.parameters.visible(self.given)
        where = placed()
        if seam.parameters.schema is not None:
            validate_arguments(seam.original, args)
        turn = turn_of(messages_in_sight(configurable()), where.get("task_id", ""))
        gate: Any
        if seam.contract.is_write:
            call = self._write(run, args, where, place)
            gate, plain = watched(call, turn), call.args
        else:
            read = GovernedRead(
                contract=seam.contract,
                tool=seam.original.name,
                args=args,
                run=run,
                call_id=self._evidence,
                where=where,
                turn=turn,
            )
            gate, plain = consult(read), args
        return gate, Surroundings(
            store=seam.store(),
            contract=seam.contract,
            tool=seam.original.name,
            drive=run.drive,
            body=self.body,
            given=self.given,
            prepare=functools.partial(self._prepared, plain),
            fit=self._fitted,
        )

    def _write(
        self, run: RunContext, args: Mapping[str, Any], where: Mapping[str, str], place: SagaPlace | None
    ) -> GovernedCall:
        seam, name = self.seam, self.seam.original.name
        contract = seam.contract
        if contract.impact is Impact.MONEY:
            args = self._exactly(args)
            refuse_money_floats(args, tool=name, free_text=contract.explain)
        identifying = {key: args.get(key) for key in contract.key}
        number = 0
        if contract.repeatable:
            number = occurrence(
                seam.original, identifying, self.call_id, messages_in_sight(configurable()), seam.parameters.defaults
            )
        return GovernedCall(
            contract=contract,
            tool=name if place is None or not place.by_hand else f"{BY_HAND}{name}",
            # Plain values, so that hooks, rules and the record see the same in a repeat that runs from what is stored.
            args={argument: normalise(value, at=argument) for argument, value in args.items()},
            defaults=seam.parameters.defaults,
            permitted=seam.parameters.permitted,
            run=run,
            call_id=self._evidence,
            occurrence=number,
            where=where,
            place=place,
        )

    def _exactly(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arguments by a JSON Schema with the numbers that were sent; the tool itself gets them as they came."""
        return args if self.seam.parameters.schema is None else {name: exactly(one) for name, one in args.items()}

    @property
    def _evidence(self) -> str | None:
        """The call's id as it goes on record: a model's provider may make it as long as it likes."""
        return None if self.call_id is None else self.call_id[:CALL_ID_CHARS_MAX]

    def _prepared(self, plain: Mapping[str, Any], sent: Mapping[str, Any]) -> Mapping[str, Any]:
        """What to call the body with: as it was called, or stored arguments in the types its schema makes of them."""
        if all(sent.get(name, self) is value for name, value in plain.items()) and len(sent) == len(plain):
            return self.given
        if canonical_bytes(dict(sent)) == canonical_bytes(dict(plain)):
            return self.given
        return self._typed(sent)

    def _fitted(self, args: Mapping[str, Any]) -> ask.Fits:
        """Hold arguments that are not the model's own against the schema, as LangChain does with the model's."""
        unknown = args.keys() - set(self.seam.parameters.names)
        if unknown:
            return ask.Fits(args={}, problem=f"the tool has no argument {', '.join(sorted(unknown))}")
        try:
            plain = {
                name: normalise(value, at=name)
                for name, value in self.seam.parameters.visible(self._typed(args)).items()
            }
            if self.seam.contract.impact is Impact.MONEY:
                plain = {name: normalise(value, at=name) for name, value in self._exactly(plain).items()}
                refuse_money_floats(plain, tool=self.seam.original.name, free_text=self.seam.contract.explain)
        except ArgumentError as wrong:
            return ask.Fits(args={}, problem=wrong.what)
        except ValidationError as wrong:
            first = wrong.errors(include_url=False, include_context=False, include_input=False)[0]
            return ask.Fits(args={}, problem=f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        return ask.Fits(args=plain)

    def _typed(self, sent: Mapping[str, Any]) -> Mapping[str, Any]:
        """Plain arguments in the types the tool's schema makes of them, and what LangGraph injects beside them."""
        tool, injected = self.seam.original, self.seam.parameters.injected
        kept = {name: value for name, value in self.given.items() if name in injected}
        if isinstance(tool.args_schema, dict):
            is_money = self.seam.contract.impact is Impact.MONEY
            return {**kept, **validate_arguments(tool, as_sent(dict(sent)) if is_money else sent)}
        fields = get_fields(tool.get_input_schema())
        raw = {_alias(fields[name], name): value for name, value in sent.items() if name in fields}
        raw |= {name: value for name, value in kept.items() if name in fields}
        parsed: Any = tool._parse_input(raw, self.call_id)  # noqa: SLF001 - what LangChain itself makes of a model's call
        return {**parsed, **kept}

    def delivered(self, step: object) -> Any:
        """Return what the tool's caller gets.

        Args:
            step: what the gate or the read ended with.

        Raises:
            WriteRefused, KeyConflict: it was not done; only outside tool calls, where nobody reads a tool message.
            RunTakenOver: another worker drives the run.
        """
        match step:
            case Delivered(value=value, note=note):
                value = readdress(value, self.call_id)
                return self._formed(with_note(value, note) if note and self.call_id is not None else value)
            case Found(value=value):
                return value
            case NotFound(error=error):
                raise error
            case StoodIn():
                return self._stood_in(step)
            case Refused(code=code, text=text):
                if self.call_id is not None:
                    return self._error_message(text)
                raise (KeyConflict if code == "key_conflict" else WriteRefused)(text, safe="", code=code)
            case TakenOver():
                raise RunTakenOver
            case _:
                raise TypeError(f"a gate ended with {type(step).__name__}")

    def _stood_in(self, stood_in: StoodIn) -> Any:
        if self.call_id is None:
            return self._formed(stood_in.for_code())
        name, marked = self.seam.original.name, {MARK: stood_in.mark}
        text = stood_in.for_model()
        return self._formed(ToolMessage(content=text, tool_call_id=self.call_id, name=name, additional_kwargs=marked))

    def told(self, wrong: ArgumentError) -> Any:
        """Tell the model that its arguments cannot be used; anyone else gets the error itself.

        Args:
            wrong: what is wrong with them.
        """
        if self.call_id is None:
            raise wrong
        return self._error_message(str(wrong))

    def _error_message(self, text: str) -> Any:
        return self._formed(
            ToolMessage(content=text, tool_call_id=self.call_id, name=self.seam.original.name, status="error")
        )

    def _formed(self, value: Any) -> Any:
        """A value in the shape that the tool's response format promises LangChain."""
        is_pair = isinstance(value, tuple) and len(value) == 2  # noqa: PLR2004 - content and artifact
        return value if self.seam.original.response_format == "content" or is_pair else (value, None)


def _alias(declared: Any, name: str) -> str:
    alias = getattr(declared, "validation_alias", None) or getattr(declared, "alias", None)
    return alias if isinstance(alias, str) else name
