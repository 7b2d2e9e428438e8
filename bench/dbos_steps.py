"""The same no-op as a step of DBOS, whose checkpoint of each step is its record. Needs the ``[bench]`` extra."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from psycopg.conninfo import conninfo_to_dict

__all__ = ["dbos_steps"]


@contextmanager
def dbos_steps(dsn: str) -> Iterator[Callable[[int], None]]:
    """Give a call that runs one workflow of so many steps.

    Args:
        dsn: an empty database for what DBOS records.
    """
    dbos: Any = import_module("dbos").DBOS
    dbos(
        config={
            "name": "bench",
            "system_database_url": _url(dsn),
            "run_admin_server": False,
            "log_level": "WARNING",
        }
    )
    pay = dbos.step()(_pay)

    def work(steps: int) -> None:
        for order in range(steps):
            pay(order)

    workflow = dbos.workflow()(work)
    dbos.launch()
    try:
        yield workflow
    finally:
        dbos.destroy()


def _pay(order: int) -> str:
    return f"paid 49.90 for order-{order:06d}"


def _url(dsn: str) -> str:
    """What SQLAlchemy takes in place of psycopg's own form."""
    part = conninfo_to_dict(dsn)
    return f"postgresql+psycopg://{part['user']}@/{part['dbname']}?host={part['host']}&port={part['port']}"
