"""What a ``Control`` keeps open, once it is first used: the store, the leases, the saver, the development server."""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from langgraph.checkpoint.serde.base import SerializerProtocol

from langgraph_control.audit.connecting.leases import RunLeases
from langgraph_control.audit.connecting.saver import ControlSaver
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.postgres.local_server import LocalServer
from langgraph_control.errors import DatabaseRefused
from langgraph_control.graphs.policies import Policies
from langgraph_control.graphs.runs import Runs
from langgraph_control.graphs.trip import Graph
from langgraph_control.guards.checks import NamedCheck
from langgraph_control.guards.policy import Policy
from langgraph_control.nodes.bubbles import RunTakenOver

__all__ = ["DSN_VARIABLE", "Ledger"]

DSN_VARIABLE: Final = "LANGGRAPH_CONTROL_DSN"

logger = logging.getLogger("langgraph_control.policy")


@dataclass(slots=True, kw_only=True, weakref_slot=True, eq=False)
class Ledger:
    """Opens what is needed when it is needed, once for all threads.

    Args:
        policies: the rules that decide, and their file.
        graphs: the bound graphs by name.
        dsn: the agent login's; None to look into the environment.
        checks: what is heard after the policy.
        server: a development server to be stopped at the end.
        serde: how LangGraph's checkpoints are stored; LangGraph's own way if None.
    """

    policies: Policies
    graphs: dict[str, Graph]
    dsn: str | None
    checks: tuple[NamedCheck, ...] = ()
    server: LocalServer | None = None
    serde: SerializerProtocol | None = None
    _store: Store | None = None
    _runs: Runs | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _others: list[Callable[[], None]] = field(default_factory=list)

    def store(self) -> Store:
        """Return the store; nothing is connected yet.

        Raises:
            DatabaseRefused: no DSN is known, or it cannot be read.
        """
        with self._lock:
            if self._store is None:
                self._store = Store(self._dsn())
                _say_if_observing(self.policies.policy)
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
                saver = ControlSaver(store, leases=leases, refused=RunTakenOver, serde=self.serde)
                self._runs = Runs(
                    store=store,
                    leases=leases,
                    saver=saver,
                    policies=self.policies,
                    graphs=self.graphs,
                    checks=self.checks,
                )
            return self._runs

    def at_close(self, close: Callable[[], None]) -> None:
        """Have something closed together with the connections.

        Args:
            close: closes it; safe to repeat.
        """
        self._others.append(close)

    def close(self) -> None:
        """Close the connections, and give the development server back. Safe to repeat."""
        for close in self._others:
            close()
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


def _say_if_observing(policy: Policy) -> None:
    if policy.observes:
        logger.warning(
            "OBSERVE: the policy %s is not enforced (mode: observe). Its decisions are recorded, and the tools run.",
            policy.source,
        )
