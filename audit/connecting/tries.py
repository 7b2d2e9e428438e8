"""How long one statement is sent again after its connection was lost."""

import logging
import random
import time
from typing import Final

import psycopg

from langgraph_control.audit.connecting.failures import final, gave_up

__all__ = ["PATIENCE_SECONDS", "Tries", "lost_a_race"]

PATIENCE_SECONDS: Final = 10.0
WARN_SECONDS: Final = 10.0
PAUSE_SECONDS_FIRST: Final = 0.05
PAUSE_SECONDS_MAX: Final = 1.0

RACES: Final = frozenset({"40001", "40P01"})
SAME_KEY: Final = "action_pkey"  # two claims of one action: the one that came second finds it with the next try

logger = logging.getLogger(__name__)


class Tries:
    """Decides after each failure whether to send again, and when. It sends nothing and sleeps nowhere.

    Args:
        dsn: the connection string in use, for error texts.
        patience_seconds: how long to go on; None for as long as the process runs (a settle, which must land).
    """

    __slots__ = ("_began", "_dsn", "_patience_seconds", "_pause_seconds", "_warned")

    def __init__(self, dsn: str, *, patience_seconds: float | None = PATIENCE_SECONDS) -> None:
        self._dsn = dsn
        self._patience_seconds = patience_seconds
        self._pause_seconds = PAUSE_SECONDS_FIRST
        self._began = self._warned = time.monotonic()

    def pause_seconds_after(self, error: psycopg.Error) -> float:
        """Return how long to wait before the same statement is sent again.

        Args:
            error: what came of sending it.

        Raises:
            TrailUnavailable, DatabaseRefused, SchemaMismatch, LedgerRefused: it is not to be sent again.
        """
        endless = self._patience_seconds is None
        refusal = final(error, self._dsn, endless=endless)
        if refusal is not None:
            raise refusal from None
        now = time.monotonic()
        pause = self._pause_seconds * random.uniform(0.5, 1.0)  # noqa: S311 - spreads workers that lost one server
        self._pause_seconds = min(PAUSE_SECONDS_MAX, 2 * self._pause_seconds)
        if self._patience_seconds is not None and now - self._began + pause >= self._patience_seconds:
            raise gave_up(error, self._dsn) from None
        if endless and now - self._warned >= WARN_SECONDS:
            self._warned = now
            logger.warning("A settle has not landed for %.0f s; it is sent again until it does.", now - self._began)
        return pause


def lost_a_race(error: Exception) -> bool:
    """Whether somebody else changed the same rows at the same moment: nothing was kept, and the next try sees it.

    Args:
        error: what came of sending a statement.
    """
    if isinstance(error, psycopg.errors.UniqueViolation):
        return error.diag.constraint_name == SAME_KEY
    return isinstance(error, psycopg.Error) and error.sqlstate in RACES
