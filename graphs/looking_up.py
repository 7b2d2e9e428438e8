"""What is outside the ledger, for a reconciliation: systems of record, by the contracts' ``find``, and threads."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from langchain_core.messages import ToolMessage

from langgraph_control.audit.asking.ledger_rows import LedgerAction, LedgerRun, Standing
from langgraph_control.audit.connecting.leases import RunLeases
from langgraph_control.audit.connecting.saver import ControlSaver
from langgraph_control.audit.keeping.differences import Seen, Thread
from langgraph_control.audit.names import run_name
from langgraph_control.audit.trail.rebuilt import Change, Rebuilt
from langgraph_control.graphs.ledger import Ledger
from langgraph_control.graphs.thread_view import thread_of
from langgraph_control.graphs.walk import walk
from langgraph_control.nodes.action import ABSENT, Action
from langgraph_control.nodes.bubbles import RunTakenOver
from langgraph_control.nodes.contracts import Contract, contract_of
from langgraph_control.nodes.drivers import finished
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
        self._contracts: dict[str, Contract] = {}
        for name, ledger in ledgers.items():
            graph = ledger.graphs[name]
            store = ledger.store()
            saver = ControlSaver(store, leases=RunLeases(store), refused=RunTakenOver)
            self._graphs[name] = graph.copy(update={"checkpointer": saver})
            for seen in walk(graph, stop=lambda item: isinstance(item, GovernedTool)):
                if isinstance(seen.item, GovernedTool) and (contract := contract_of(seen.item)) is not None:
                    self._contracts[seen.item.name] = contract

    def __call__(
        self, standing: Standing, told: Mapping[UUID, Rebuilt]
    ) -> tuple[Mapping[str, Seen], Mapping[UUID, Thread]]:
        """Return what systems and threads say of one business request.

        Args:
            standing: what the ledger says of it.
            told: its runs as their entries tell them.
        """
        changes = {change.key: change for run in told.values() for change in run.changes if change.arguments}
        intents = {run.run_id: run.intent for run in standing.runs}
        seen = {
            action.key.hex(): self._seen(action, changes[action.key.hex()], intents[action.run_id])
            for action in standing.actions
            if self._can_be_found(action) and action.key.hex() in changes
        }
        threads = {run.run_id: self._thread(run) for run in standing.runs if run.graph in self._graphs}
        return seen, threads

    def _can_be_found(self, action: LedgerAction) -> bool:
        contract = self._contracts.get(action.tool)
        return action.state in _OVER and contract is not None and contract.find is not None

    def _seen(self, action: LedgerAction, change: Change, intent: str) -> Seen:
        find = self._contracts[action.tool].find
        asked = Action(
            tool=action.tool,
            args=change.arguments,
            key=action.key.hex(),
            intent=intent,
            run_id=run_name(action.run_id),
            attempt=action.attempts,
            before=change.before,
        )
        try:
            found: Any = None if find is None else find(asked)
            found = finished(found) if inspect.isawaitable(found) else found
        except Exception:  # noqa: BLE001 - a hook may raise anything, and arguments may lack what was redacted
            return Seen.UNCLEAR
        if found is None:
            return Seen.UNCLEAR
        return Seen.ABSENT if found is ABSENT else Seen.THERE

    def _thread(self, run: LedgerRun) -> Thread:
        snapshot = self._graphs[run.graph].get_state({"configurable": {"thread_id": run.thread_id}})
        thread = thread_of(snapshot)
        messages = snapshot.values.get("messages", ()) if isinstance(snapshot.values, Mapping) else ()
        answered = {message.name for message in messages if isinstance(message, ToolMessage) and message.name}
        return Thread(
            exists=bool(thread.checkpoint),
            pending=thread.pending,
            own=run.thread_id == run_name(run.run_id),
            wrote=frozenset(name for name in answered if (known := self._contracts.get(name)) and known.is_write),
        )
