"""A desk whose agent somebody else starts and resumes, in the way LangGraph Server does, and what its record says."""

import asyncio
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import orjson
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langgraph_control import Run
from langgraph_control.audit.asking.requests import RunEntries
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.server import serve
from tests.support.desk import GO, Desk, How
from tests.support.scripted_model import Answer, ScriptedModel, call, calls

_numbers = count(1)


@dataclass(kw_only=True)
class User:
    """A user as a server's authentication hands it to a run."""

    identity: str
    is_authenticated: bool = True


@dataclass(kw_only=True)
class FrontDesk:
    """A served graph with the server's own checkpointer, and one of its threads."""

    desk: Desk
    graph: Any
    thread: str
    how: How

    @classmethod
    def of(
        cls,
        desk: Desk,
        graph: Any,
        how: How,
        *,
        votes: bool = False,
        name: str = "support",
        version: str | None = None,
    ) -> "FrontDesk":
        """Serve a graph, and copy it as the server does for each of its runs."""
        dsn = desk.database.local_approver if votes else None
        made = serve(desk.control, graph, name=name, actor="support-bot", approver_dsn=dsn, version=version)
        copied = made.copy(update={"checkpointer": InMemorySaver(), "store": None})
        return cls(desk=desk, graph=copied, thread=f"thread-{next(_numbers)}-{uuid4()}", how=how)

    @classmethod
    def refunding(cls, desk: Desk, how: How, *amounts: int, votes: bool = False) -> "FrontDesk":
        """Serve an agent that asks for refunds of different orders at once, then ends."""
        asked = [
            call("refund", order_id=f"o{place}", amount=str(amount), call_id=f"call_{place}")
            for place, amount in enumerate(amounts)
        ]
        return cls.of(desk, agent(desk, calls(*asked), "done"), how, votes=votes)

    def call(self, given: Any, *, user: Any = None, options: dict[str, Any] | None = None, **configurable: Any) -> Any:
        """Call the graph as the server does, with the run's own durability; return the values it ends with."""
        config = {
            "configurable": {"thread_id": self.thread, "langgraph_auth_user": user, **configurable},
            "metadata": {"run_id": str(uuid4())},
        }
        told = {"stream_mode": ["values", "debug"], "durability": "async", **(options or {})}
        if self.how == "sync":
            return self.graph.invoke(given, config, **told)
        return asyncio.run(self.graph.ainvoke(given, config, **told))

    def start(self, trigger: str, **configurable: Any) -> Run:
        """Give the graph an input, and return the run it belongs to."""
        self.call(GO, trigger=trigger, **configurable)
        return self.desk.control.get(trigger=trigger)

    def resume(self, value: Any, *, user: str | None = None, **more: Any) -> Any:
        """Resume the thread, as nobody or as a user."""
        return self.call(Command(resume=value, **more), user=None if user is None else User(identity=user))

    @property
    def state(self) -> Any:
        """The thread's newest state."""
        return self.graph.get_state({"configurable": {"thread_id": self.thread}})

    @property
    def card(self) -> dict[str, Any]:
        """The only pending interrupt's value."""
        (pending,) = self.state.interrupts
        value: dict[str, Any] = pending.value
        return value

    def facts(self, run: Run) -> list[dict[str, Any]]:
        """Return what a run's entries say, in their order."""
        with LedgerConnection(self.desk.database.agent) as ledger:
            entries = ledger.ask(RunEntries(run_id=run_id(run.id), after=0, limit=1000))
        return [orjson.loads(entry.facts) for entry in entries]

    def ignored(self, run: Run) -> list[str]:
        """Return why resumes of a run were ignored, in their order."""
        return [fact["reason"] for fact in self.facts(run) if "resume.ignored" in fact["events"]]


def agent(desk: Desk, *script: Answer, middleware: tuple[Any, ...] = ()) -> Any:
    """Return an agent with a desk's tools, bound to nothing."""
    return create_agent(ScriptedModel(script=script), desk.tools(), middleware=middleware)
