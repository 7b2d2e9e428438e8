"""A small support desk: governed tools that note what they did, agents that play a script, a Control of its own."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any, Literal, TypeAlias

from langchain.agents import create_agent
from langchain_core.tools import BaseTool

from langgraph_control import Approvals, Control, Policy, Run, reads, writes
from langgraph_control.audit.asking.publishing import publish_policy
from tests.support.postgres import Database
from tests.support.scripted_model import Answer, ScriptedModel, call, calls

How: TypeAlias = Literal["sync", "async"]

POLICY_TEXT = """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example]}
owner: finance
approve: {within: 1h, on_expiry: deny, not_by: [requester]}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: refund, when: {amount: {gt: 100, lte: 5000}}, then: approve, by: finance}
otherwise:
  - {impact: record, then: allow}
"""
POLICY = Policy.parse(POLICY_TEXT, source="control.yaml")

GO: dict[str, Any] = {"messages": [{"role": "user", "content": "Refund my order."}]}

_numbers = count(1)


@dataclass(kw_only=True)
class Desk:
    """One process's side of it, and what it did to the world."""

    database: Database
    control: Control
    done: list[str] = field(default_factory=list)

    @classmethod
    def on(cls, database: Database) -> "Desk":
        """Return a desk on a database whose policy is published."""
        return cls(database=database, control=Control(POLICY, dsn=database.agent))

    def tools(self) -> list[BaseTool]:
        """Return its governed tools."""

        @reads()
        def look(order_id: str) -> str:
            """Look at an order."""
            return f"order {order_id}"

        @writes(key="order_id", impact="money")
        def refund(order_id: str, amount: Decimal) -> str:
            """Refund an order."""
            self.done.append(f"{order_id}:{amount}")
            return f"refunded {amount}"

        return self.control.govern([look, refund])

    def tool(self, name: str) -> BaseTool:
        """Return one governed tool."""
        return next(tool for tool in self.tools() if tool.name == name)

    def agent(self, *script: Answer, name: str = "support") -> Any:
        """Return a bound agent that plays a script."""
        return self.control.bind(create_agent(ScriptedModel(script=script), self.tools()), name=name)

    def refunding(self, *amounts: int | str, closing: Answer = "done") -> Any:
        """Return a bound agent that asks for refunds of different orders at once, then ends."""
        asked = [
            call("refund", order_id=f"o{place}", amount=str(amount), call_id=f"call_{place}")
            for place, amount in enumerate(amounts)
        ]
        return self.agent(calls(*asked), closing)

    def run(self, graph: Any, how: How = "sync", *, trigger: str, given: Any = GO, **options: Any) -> Run:
        """Run a graph in one of the two ways."""
        options = {"actor": "support-bot", **options}
        if how == "sync":
            return self.control.run(graph, given, trigger=trigger, **options)
        return asyncio.run(self.control.arun(graph, given, trigger=trigger, **options))

    def resume(self, run: Run, how: How = "sync", answers: Mapping[str, Any] | None = None) -> Run:
        """Resume a run in one of the two ways."""
        if how == "sync":
            return self.control.resume(run.id, answers)
        return asyncio.run(self.control.aresume(run.id, answers))

    def approve(self, names: Sequence[str], *, person: str = "ana", comment: str | None = None) -> None:
        """Approve from another connection, on the approver's login."""
        with Approvals(self.database.approver(person)) as approvals:
            for name in names:
                approvals.approve(name, comment=comment)

    def reject(self, names: Sequence[str], *, comment: str | None = None) -> None:
        """Reject likewise."""
        with Approvals(self.database.approver("ana")) as approvals:
            for name in names:
                approvals.reject(name, comment=comment)

    def forged(self, graph: Any, run: Run) -> tuple[Any, Any]:
        """Return what a forger has: the graph with the run's own checkpointer, and the config of its thread."""
        with_saver = self.control._ledger.runs().with_saver(graph)
        return with_saver, {"configurable": {"thread_id": run.thread}}


def forge(forged: Any, given: Any, config: Any, how: How = "sync") -> None:
    """Call a forger's graph as LangGraph lets anybody do."""
    if how == "sync":
        forged.invoke(given, config, durability="sync")
    else:
        asyncio.run(forged.ainvoke(given, config, durability="sync"))


def new_trigger() -> str:
    """Return a delivery nobody has seen."""
    return f"ticket/{next(_numbers)}"


def publish(database: Database) -> None:
    """Publish the desk's policy."""
    publish_policy(database.admin, POLICY)


def told(run: Run) -> list[str]:
    """Return what the model was told by the tools."""
    return [str(message.content) for message in run.output["messages"] if message.type == "tool"]


Node: TypeAlias = Callable[[Any], Any]
