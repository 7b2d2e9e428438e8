"""Graphs under LangGraph Server, which starts and resumes them by itself and brings its own checkpointer.

::

    control = Control("control.yaml")
    agent = serve(control, create_agent(model, control.govern([refund])), name="support", actor="support-bot")

``langgraph.json`` then names ``agent``. Each of the server's runs takes the control run of its thread and gives it up
when the graph ends or waits; what resumes a graph wakes it and decides nothing by itself.
"""

from typing import Any, TypeVar

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel import Pregel

from langgraph_control.graphs.control import Control, ledger_of
from langgraph_control.graphs.served import served

__all__ = ["checkpointer", "serve"]

G = TypeVar("G", bound=Pregel[Any, Any, Any, Any])


def serve(
    control: Control, graph: G, *, name: str, actor: str, approver_dsn: str | None = None, version: str | None = None
) -> G:
    """Return a checked copy of a graph for a server to run: each call of it is part of a run in the ledger.

    Trigger and intent come from the run's ``configurable`` or metadata (``trigger``, ``intent``); without a trigger it
    is the server's run. The person it acts for is the user whom the server authenticated.

    Args:
        control: governs the graph's tools, and has the agent's login.
        graph: what ``compile()`` or ``create_agent`` gave, without a checkpointer.
        name: under which its runs are found again; a worker that has a graph of this name drives them, too, so share
            it only where both keep their checkpoints in one place.
        actor: the identity the agent runs under; no client can choose it.
        approver_dsn: the login of a service that may name persons (``login add … --service``). With it, a resume that
            comes from an authenticated user and names the request's digest is a vote. It then lies where the agent's
            code runs, which could vote with it: leave it out, and have people decide in the console or by command.
        version: of the agent, as :meth:`Control.bind` takes it.

    Raises:
        GraphRefused, ContractError: as :meth:`Control.bind`; the text says what to write instead.
        DatabaseRefused: ``approver_dsn`` cannot be read.
    """
    return served(graph, ledger_of(control), name=name, actor=actor, approver_dsn=approver_dsn, version=version)


def checkpointer(control: Control) -> BaseCheckpointSaver[Any]:
    """Return what keeps checkpoints in the ledger's database, for ``"checkpointer": {"path": …}`` in langgraph.json.

    With it, what a worker that lost its run would still write is refused, and workers that have the graph under the
    same name go on with the server's runs, on the same threads.

    Args:
        control: whose login is used.

    Raises:
        DatabaseRefused: no DSN is known, or it cannot be read.
    """
    return ledger_of(control).runs().saver
