"""What a worker sees to beside runs: months for entries to come, and that the database is the one it was."""

import asyncio
import logging
from typing import Final

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.keeping.requests import MonthsAhead
from langgraph_control.audit.keeping.restored import SameServer
from langgraph_control.errors import ControlError

__all__ = ["upkeep"]

EVERY_SECONDS: Final = 3600.0

logger = logging.getLogger("langgraph_control.worker")


async def upkeep(store: Store, *, every_seconds: float = EVERY_SECONDS) -> None:
    """Look now and then, until cancelled.

    Args:
        store: the agent login's.
        every_seconds: how long between two looks.
    """
    while True:
        try:
            if not await store.acall(SameServer()):
                logger.warning(
                    "the database was restored: writes stand still until it is known what was lost"
                    " (langgraph-control accept-restore)"
                )
            await store.acall(MonthsAhead())
        except ControlError as error:
            logger.warning("cannot look after the database (%s); trying again", error.code)
        except Exception as error:  # noqa: BLE001 - a look that fails must not be the last one
            logger.warning("a look after the database failed unforeseen (%s); trying again", type(error).__name__)
        await asyncio.sleep(every_seconds)
