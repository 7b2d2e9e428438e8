"""What a ``Control`` keeps open, once it is first used: the store, the leases, the saver, the development server."""

import os
import threading
from dataclasses import dataclass, field
from typing import Final

from langgraph_control.audit.leases import RunLeases
from langgraph_control.audit.local_server import LocalServer
from langgraph_control.audit.saver import ControlSaver
from langgraph_control.audit.store import Store
from langgraph_control.errors import DatabaseRefused
from langgraph_control.graphs.runs import Runs
from langgraph_control.graphs.trip import Graph
from langgraph_control.guards.policy import Policy
from langgraph_control.nodes.bubbles import RunTakenOver

__all__ = ["DSN_VARIABLE", "Ledger"]

DSN_VARIABLE: Final = "LANGGRAPH_CONTROL_DSN"


@dataclass(slots=True, kw_only=True, weakref_slot=True, eq=False)
class Ledger:
    """Opens what is needed when it is needed, once for all threads.

    Args:
        policy: the rules that decide.
        graphs: the bound graphs by name.
        dsn: the agent login's; None to look into the environment.
        server: a development server to be stopped at the end.
    """

    policy: Policy
    graphs: dict[str, Graph]
    dsn: str | None
    server: LocalServer | None = None
    _store: Store | None = None
    _runs: Runs | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def store(self) -> Store:
        """Return the store; nothing is connected yet.

        Raises:
            DatabaseRefused: no DSN is known, or it cannot be read.
        """
        with self._lock:
            if self._store is None:
                self._store = Store(self._dsn())
            return self._store

    def runs(self) -> Runs:
        """Return the driver of runs; nothing is connected yet.

        Raises:
            DatabaseRefused: no DSN is known, or it cannot be read.
        """
        store = self.store()
        with self._lock:
            if self._runs is None:
                leases = RunLeases(store)
                saver = ControlSaver(store, leases=leases, refused=RunTakenOver)
                self._runs = Runs(store=store, leases=leases, saver=saver, policy=self.policy, graphs=self.graphs)
            return self._runs

    def close(self) -> None:
        """Close the connections, and give the development server back. Safe to repeat."""
        if self._store is not None:
            self._store.close()
        server, self.server = self.server, None
        if server is not None:
            server.stop()

    def _dsn(self) -> str:
        dsn = self.dsn or os.environ.get(DSN_VARIABLE)
        if not dsn:
            raise DatabaseRefused(
                "No database was named.",
                todo=f"Set {DSN_VARIABLE}, write Control(policy, dsn=…), or use Control.local(policy) for development.",
                code="dsn_missing",
            )
        return dsn
