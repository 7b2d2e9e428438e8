"""What really happened, from the service's own log. Works on the running service's connection and on the file alone."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

ROWS_MAX: Final = 1_000

_SUMMARY: Final = """
SELECT (SELECT count(*) FROM request)                                    AS requests,
       (SELECT count(*) FROM request WHERE ended = 'dropped')            AS dropped,
       count(*)                                                          AS effects,
       count(DISTINCT action_key)                                        AS action_keys,
       count(action_key) - count(DISTINCT action_key)                    AS duplicates,
       count(*) - count(action_key)                                      AS unattributed
  FROM effect
"""

_KEYS: Final = """
SELECT action_key, count(*) AS requests, (SELECT count(*) FROM effect e WHERE e.action_key = r.action_key) AS effects
  FROM request r WHERE action_key > ? GROUP BY action_key ORDER BY action_key LIMIT ?
"""


def summary(db: sqlite3.Connection) -> dict[str, int]:
    """Count requests, effects, and duplicates: effects beyond the first under one action key.

    Args:
        db: a connection to the service's file whose rows are ``sqlite3.Row``.

    Returns:
        ``requests``, ``dropped`` (closed without an answer), ``effects``, ``action_keys``, ``duplicates``, and
        ``unattributed`` (effects whose request named no action).
    """
    return dict(db.execute(_SUMMARY).fetchone())


def keys(db: sqlite3.Connection, *, after: str = "") -> list[dict[str, Any]]:
    """Return requests and effects by action key, a page of them in the order of the keys, from behind ``after``."""
    return [dict(row) for row in db.execute(_KEYS, (after, ROWS_MAX))]


def effects(db: sqlite3.Connection, *, after: int = 0) -> list[dict[str, Any]]:
    """Return a page of effects, oldest first, from behind the id ``after``."""
    return [dict(row) for row in db.execute("SELECT * FROM effect WHERE id > ? ORDER BY id LIMIT ?", (after, ROWS_MAX))]


def requests(db: sqlite3.Connection, *, after: int = 0) -> list[dict[str, Any]]:
    """Return a page of requests, oldest first, from behind the id ``after``."""
    return [
        dict(row) for row in db.execute("SELECT * FROM request WHERE id > ? ORDER BY id LIMIT ?", (after, ROWS_MAX))
    ]


def read(path: Path) -> Mapping[str, int]:
    """Return the summary from the file alone, whether or not a service runs on it."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        return summary(db)
