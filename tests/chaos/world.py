"""What the workers live in: a Postgres of their own that is restarted under them, and a billing service with faults."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import psycopg

from demo.billing.client import BillingProcess
from demo.billing.faults import Fault, FaultKind
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.postgres.server import PostgresServer
from tests.chaos.plans import Job
from tests.chaos.shop import BOOKING_TABLE, POLICY
from tests.support.postgres import Database, cloned, template

RESTART_SECONDS: Final = 60.0

LATE_MS: Final = 900  # all delays stay well under the tools' visible_within

FAULTS: Final = (
    (FaultKind.APPLY_THEN_DROP, 0.06),
    (FaultKind.APPLY_LATE, 0.05),
    (FaultKind.DROP_BEFORE, 0.05),
    (FaultKind.RATE_LIMIT, 0.04),
    (FaultKind.ERROR_BEFORE, 0.04),
    (FaultKind.ERROR_AFTER, 0.05),
    (FaultKind.SLOW, 0.05),
    (FaultKind.READ_LAG, 0.06),
)
"""How often each is played on a write; one request meets one at most."""

PAUSES: Final = (("/refunds", 0.01), ("/notes", 0.05), ("/emails", 0.05))
"""How often a write is told to come again later than a call waits in its process. A refund's 429 holds all refunds."""

PAUSE_SECONDS: Final = 6

READ_FAULTS: Final = ((FaultKind.RATE_LIMIT, 0.05), (FaultKind.DROP_BEFORE, 0.05))
WRITE_PATHS: Final = ("/refunds", "/notes", "/emails")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Server, database and service of one run of chaos.

    Args:
        server: the Postgres server, of this run's own.
        database: the ledger, and the table that the sql tool writes.
        billing: the system of record.
    """

    server: PostgresServer
    database: Database
    billing: BillingProcess

    def restart(self, mode: Literal["fast", "immediate"]) -> None:
        """Restart Postgres under everybody: in order, or as if its machine had lost power.

        Args:
            mode: as ``pg_ctl`` knows them.
        """
        cluster = self.server.cluster
        arguments = ("restart", "-D", str(cluster.folder), "-m", mode, "-w", "-t", "60", "-l", str(cluster.log))
        cluster.programs.run("pg_ctl", *arguments, within_seconds=RESTART_SECONDS)
        cluster.wait_until_ready()

    def asks_people(self) -> bool:
        """Whether the ledger still waits for somebody's yes or no."""
        with psycopg.connect(self.database.admin) as connection:
            return connection.execute("SELECT FROM control.action WHERE state = 'needs_approval' LIMIT 1").rowcount > 0

    def prepare(self, job: Job) -> None:
        """Have the service know the orders that a job is about.

        Args:
            job: drawn, not yet delivered.
        """
        for call in job.calls:
            if call.tool in ("refund", "move"):
                self.billing.put_order(call.parts[-1], "10000", locked=call.locked)

    def misbehave(self, dice: random.Random, *, pausing: bool = False) -> None:
        """Have the service play faults from now on, with dice of its own.

        Args:
            dice: seeded.
            pausing: it also asks for pauses so long that runs are parked for them.
        """
        for path, chance in PAUSES if pausing else ():
            self.billing.schedule(
                Fault(
                    kind=FaultKind.RATE_LIMIT,
                    path=path,
                    times=None,
                    probability=chance,
                    seed=dice.getrandbits(32),
                    retry_after_seconds=PAUSE_SECONDS,
                )
            )
        planned = [("POST", path, kind, chance) for path in WRITE_PATHS for kind, chance in FAULTS]
        planned += [("GET", "/refunds", kind, chance) for kind, chance in READ_FAULTS]
        for method, path, kind, chance in planned:
            slow = dice.choice((300, 1_500)) if kind is FaultKind.SLOW else LATE_MS
            self.billing.schedule(
                Fault(
                    kind=kind,
                    method=method,
                    path=path,
                    times=None,
                    probability=chance,
                    seed=dice.getrandbits(32),
                    delay_ms=slow,
                    visible_after_ms=LATE_MS if kind is FaultKind.READ_LAG else 0,
                    retry_after_seconds=0,
                )
            )


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Yield a world with a migrated database, a published policy and a service that does as it is told.

    Args:
        folder: for the server's data; the server's user may enter it.
    """
    with (
        PostgresServer.start(folder, settings={"fsync": "on"}) as server,
        cloned(server.dsn(), template(server.dsn())) as database,
        BillingProcess(folder / "billing.db", honour_keys=True) as billing,
    ):
        publish_policy(database.admin, POLICY)
        with psycopg.connect(database.admin) as connection:
            connection.execute(BOOKING_TABLE)
        yield World(server=server, database=database, billing=billing)
