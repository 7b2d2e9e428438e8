"""Asking what users hand in, hooks and checks, for no longer than it may take.

Nothing can end a synchronous function from outside. It runs in a thread of its own, with its caller's context
variables; the wait for it ends in time, and what it says later reaches nobody. No such thread keeps its process alive.
"""

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from typing import Any

__all__ = ["aheard", "heard"]


def heard(asked: Callable[[Any], Any], given: Any, *, seconds: float) -> Any:
    """Return what a hook or a check says, asked from synchronous code.

    An async one runs to its end on an event loop of its own: it must not share a client with the graph's loop.

    Args:
        asked: sync or async; it may raise anything.
        given: its one argument.
        seconds: how long it may take.

    Raises:
        TimeoutError: it took longer. A sync one may go on; an async one is cancelled.
    """

    def asking(one: Any) -> Any:
        answer = asked(one)
        return asyncio.run(_in_time(answer, seconds)) if inspect.isawaitable(answer) else answer

    return _threaded(asking, given).result(timeout=seconds)


async def aheard(asked: Callable[[Any], Any], given: Any, *, seconds: float) -> Any:
    """Return what a hook or a check says, asked on an event loop: an async one there, a sync one in a thread.

    Args:
        asked: sync or async; it may raise anything.
        given: its one argument.
        seconds: how long it may take.

    Raises:
        TimeoutError: it took longer. A sync one may go on; an async one is cancelled.
    """
    async with asyncio.timeout(seconds):
        if inspect.iscoroutinefunction(asked):
            return await asked(given)
        answer = await asyncio.wrap_future(_threaded(asked, given))
        return await answer if inspect.isawaitable(answer) else answer


def _threaded(asked: Callable[[Any], Any], given: Any) -> Future[Any]:
    said: Future[Any] = Future()
    said.set_running_or_notify_cancel()  # from now on nobody can cancel it, so that what comes late can still be set

    def asking() -> None:
        try:
            said.set_result(asked(given))
        except BaseException as error:  # noqa: BLE001 - whatever it raises is what came of it
            said.set_exception(error)

    Thread(target=copy_context().run, args=(asking,), name="langgraph-control-hook", daemon=True).start()
    return said


async def _in_time(answer: Any, seconds: float) -> Any:
    async with asyncio.timeout(seconds):
        return await answer
