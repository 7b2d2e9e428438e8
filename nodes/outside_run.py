"""A governed call that a resume of the graph reached outside its run: it is refused, and the run's record says so.

Whoever has the checkpoints and a thread's id can resume it by plain LangGraph. What the process knows that refuses it
goes on record there and then: not every forged answer stays in the thread.
"""

import logging
import os
import socket
from collections.abc import Callable, Generator
from typing import Any, Final

from langgraph_control.audit.asking.attempts import FindThreadRun, Ignored, NoteAttempt
from langgraph_control.audit.connecting.store import Store
from langgraph_control.errors import ControlError
from langgraph_control.nodes.call import body_bytes
from langgraph_control.nodes.surroundings import LOST, NOTE_SECONDS
from langgraph_control.nodes.wakes import configurable, placed

__all__ = ["anote_outside", "note_outside"]

_RESUMING: Final = "__pregel_resuming"

logger = logging.getLogger(__name__)


def note_outside(store: Callable[[], Store]) -> None:
    """Put on record that a resume reached a governed call outside the run of its thread, if it was one.

    Args:
        store: gives the ledger. That it does not answer is logged, and changes nothing about the refusal.
    """
    steps, answer = _noting(), None
    try:
        for_ledger = steps.send(None)
        while True:
            answer = store().call(for_ledger, patience_seconds=NOTE_SECONDS)
            for_ledger = steps.send(answer)
    except StopIteration:
        pass
    except (ControlError, *LOST) as error:
        _not_noted(error)


async def anote_outside(store: Callable[[], Store]) -> None:
    """Do what :func:`note_outside` does, on any event loop."""
    steps, answer = _noting(), None
    try:
        for_ledger = steps.send(None)
        while True:
            answer = await store().acall(for_ledger, patience_seconds=NOTE_SECONDS)
            for_ledger = steps.send(answer)
    except StopIteration:
        pass
    except (ControlError, *LOST) as error:
        _not_noted(error)


def _noting() -> Generator[Any, Any, None]:
    known = configurable()
    thread = known.get("thread_id")
    if not thread or not known.get(_RESUMING):
        return  # a graph that was started, not resumed: there is nothing that anybody could have answered
    run_id = yield FindThreadRun(thread=str(thread))
    if run_id is None:
        return
    where = {"worker": f"{socket.gethostname()}:{os.getpid()}", "thread_id": str(thread), **placed()}
    body = body_bytes({"who": {"person": None}, "where": where})
    yield NoteAttempt(run_id=run_id, approval_id=None, reason=Ignored.OUTSIDE_RUN, body=body)


def _not_noted(error: BaseException) -> None:
    logger.warning("A resume outside a run could not be put on record: %s", type(error).__name__)
