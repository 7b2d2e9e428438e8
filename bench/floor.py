"""The floor g2: what an engineer would write by hand for one write that is not to happen twice, and not a line more.

``INSERT … ON CONFLICT`` and commit, the tool, ``UPDATE`` and commit; prepared, autocommit; no audit, no fencing.
"""

from itertools import count
from typing import Final, Self
from uuid import uuid4

import psycopg

__all__ = ["FLOOR_TABLE", "FloorWorker"]

FLOOR_TABLE: Final = """
CREATE TABLE IF NOT EXISTS floor_action (
    key text PRIMARY KEY, state text NOT NULL, result text, claimed_at timestamptz NOT NULL, settled_at timestamptz
) WITH (fillfactor = 50)
"""
CLAIM: Final = """
INSERT INTO floor_action (key, state, claimed_at) VALUES (%s, 'executing', clock_timestamp())
ON CONFLICT DO NOTHING RETURNING key
"""
SETTLE: Final = (
    "UPDATE floor_action SET state = 'succeeded', result = %s, settled_at = clock_timestamp() WHERE key = %s"
)


class FloorWorker:
    """One worker with a connection of its own, as its thread would have.

    Args:
        dsn: the database that has the floor's table.
    """

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True, prepare_threshold=0)
        self._orders = count(1)
        self._name = uuid4().hex

    def __call__(self) -> None:
        """Make one call of a change that was never made before."""
        key = f"{self._name}/{next(self._orders)}"
        if self._connection.execute(CLAIM, (key,), binary=True).fetchone() is None:
            raise RuntimeError("somebody else has made this change")
        result = tool(key)
        self._connection.execute(SETTLE, (result, key), binary=True)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def tool(key: str) -> str:
    """Do nothing, as the governed tool does."""
    return f"paid 49.90 for {key}"
