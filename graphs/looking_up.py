"""What is outside the ledger, for a reconciliation: systems of record, by the contracts' ``find``, and threads."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from langchain_core.messages import AIMessage, ToolMessage

from langgraph_control.audit.asking.ledger_rows import LedgerAction, LedgerRun, Standing
from langgraph_control.audit.connecting.leases import RunLeases
from langgraph_control.audit.connecting.saver import ControlSaver
from langgraph_control.audit.keeping.outside import Answers, Seen, Thread, Unasked, Wrote
from langgraph_control.audit.names import run_name
from langgraph_control.audit.trail.rebuilt import Change, Rebuilt
from langgraph_control.graphs.ledger import Ledger
from langgraph_control.graphs.thread_view import thread_of
from langgraph_control.graphs.walk import walk
from langgraph_control.nodes.action import ABSENT, Action
from langgraph_control.nodes.bubbles import RunTakenOver
from langgraph_control.nodes.contracts import Contract, contract_of
from langgraph_control.nodes.hearing import heard
from langgraph_control.nodes.reading_back import tells_nothing
from langgraph_control.nodes.surroundings import HOOK_SECONDS_MAX
from langgraph_control.nodes.tool_calls import BY_HAND, CALL_ID_CHARS_MAX
from langgraph_control.nodes.tools import GovernedTool

if TYPE_CHECKING:
    from langgraph_control.graphs.trip import Graph

__all__ = ["Lookup"]

_OVER: Final = frozenset({"succeeded", "failed", "denied", "ready", "needs_approval"})
"""Here the record says whether it was done, so that its system can contradict it."""


class Lookup:
    """Asks systems of record and threads, with the graphs that ``langgraph.json`` names.

    Args:
        ledgers: graph's name → its ledger, as :func:`~langgraph_control.graphs.langgraph_json.load_graphs` finds them.
    """

    def __init__(self, ledgers: Mapping[str, Ledger]) -> None:
        self._graphs: dict[str, Graph] = {}
        self._contracts: dict[str, dict[str, Contract]] = {}
        self._writes: set[str] = set()
        for name, ledger in ledgers.items():
            graph = ledger.graphs[name]
            store = ledger.store()
            saver = ControlSaver(store, leases=RunLeases(store), refused=RunTakenOver, serde=ledger.serde)
            self._graphs[name] = graph.copy(update={"checkpointer": saver})
            self._contracts[name] = contracts = {}
            for seen in walk(graph, stop=lambda item: isinstance(item, GovernedTool)):
                if isinstance(seen.item, GovernedTool) and (contract := contract_of(seen.item)) is not None:
                    contracts[seen.item.name] = contract
            self._writes |= {tool for tool, contract in contracts.items() if contract.is_write}

    def __call__(self, standing: Standing, told: Mapping[UUID, Rebuilt]) -> Answers:
        """Return what systems and threads say of one business request, and what could not be asked.

        Args:
            standing: what the ledger says of it.
            told: its runs as their entries tell them.
        """
        changes: dict[str, Change] = {}
        for change in (change for run in told.values() for change in run.changes):
            if change.key not in changes or change.arguments:
                changes[change.key] = change
        runs = {run.run_id: run for run in standing.runs}
        seen: dict[str, Seen] = {}
        unasked: dict[str, tuple[Unasked, str]] = {}
        for action in standing.actions:
            if action.state not in _OVER or runs[action.run_id].graph not in self._graphs:
                continue
            key = action.key.hex()
            came = self._looked_up(action, changes.get(key), runs[action.run_id])
            if isinstance(came, Seen):
                seen[key] = came
            else:
                unasked[key] = came
        return Answers(
            seen=seen,
            unasked=unasked,
            threads={run.run_id: self._thread(run) for run in standing.runs if run.graph in self._graphs},
            no_graph={run.run_id: run.graph for run in standing.runs if run.graph not in self._graphs},
        )

    def _looked_up(self, action: LedgerAction, change: Change | None, run: LedgerRun) -> Seen | tuple[Unasked, str]:
        contract = self._contract(run.graph, action.tool)
        if contract is None:
            # What no hook can look up, whichever graph has it: a blind write, and what people took back by hand.
            nothing_to_ask = action.kind == "blind" or (action.undoes is not None and action.tool.startswith(BY_HAND))
            return (Unasked.NO_FIND if nothing_to_ask else Unasked.NO_TOOL), action.tool
        if contract.find is None:
            return Unasked.NO_FIND, action.tool
        if change is None or (not change.arguments and (change.erased or not change.attempts)):
            return Unasked.NO_ARGUMENTS, action.tool
        asked = Action(
            tool=action.tool,
            args=change.arguments,
            key=action.key.hex(),
            intent=run.intent,
            run_id=run_name(action.run_id),
            attempt=action.attempts,
            before=change.before,
        )
        try:
            found = heard(contract.find, asked, seconds=HOOK_SECONDS_MAX)
        except Exception as error:  # noqa: BLE001 - a hook may raise anything: whatever it is, it is no answer
            if _was_redacted(error, contract):
                return Unasked.NO_ARGUMENTS, action.tool
            return Unasked.UNANSWERED, contract.system or action.tool
        if tells_nothing(found):
            return Seen.UNCLEAR
        return Seen.ABSENT if found is ABSENT else Seen.THERE

    def _contract(self, graph: str, tool: str) -> Contract | None:
        """The tool's contract: that of its own graph, else of another one that has it, as what undoes may be."""
        each = (self._contracts[graph], *self._contracts.values())
        return next((contracts[tool] for contracts in each if tool in contracts), None)

    def _thread(self, run: LedgerRun) -> Thread:
        snapshot = self._graphs[run.graph].get_state({"configurable": {"thread_id": run.thread_id}})
        thread = thread_of(snapshot)
        messages = snapshot.values.get("messages", ()) if isinstance(snapshot.values, Mapping) else ()
        return Thread(
            exists=bool(thread.checkpoint),
            pending=thread.pending,
            wrote=frozenset(
                Wrote(tool=tool, call_id=call_id) for tool, call_id in answered(messages) if tool in self._writes
            ),
        )


def answered(messages: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield what was answered as done among messages: tool, and the tool call's id as the record has it.

    An answer that is marked as an error tells of nothing that was done, and may be of a call that never was a write's.

    Args:
        messages: a thread's, of any kind.
    """
    names: dict[str, str] = {}
    for message in messages:
        if isinstance(message, AIMessage):
            names |= {str(call["id"]): call["name"] for call in message.tool_calls}
        elif isinstance(message, ToolMessage) and message.status != "error":
            tool = message.name or names.get(message.tool_call_id)
            if tool:
                yield tool, message.tool_call_id[:CALL_ID_CHARS_MAX]


def _was_redacted(error: Exception, contract: Contract) -> bool:
    """Whether a hook missed an argument that the contract keeps out of the record: nothing was asked then."""
    if not isinstance(error, KeyError) or len(error.args) != 1 or not isinstance(error.args[0], str):
        return False
    missed = unicodedata.normalize("NFC", error.args[0])
    return any(missed in path.split(".") for path in contract.redact)
