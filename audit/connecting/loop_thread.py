"""One daemon thread with an event loop, for everything that talks to the ledger.

Graphs run anywhere: on threads, in several event loops, in a sync call on a loop's own thread. The ledger's connections
live on this one loop instead, so that they survive the loops of their callers.
"""

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from langgraph_control.audit.connecting.home_process import HomeProcess
from langgraph_control.errors import TrailUnavailable

__all__ = ["Closer", "LoopThread", "closed"]

T = TypeVar("T")
Closer = Callable[[], Awaitable[None]]

CLOSE_SECONDS: Final = 5.0
EXECUTOR_THREADS: Final = 4


@dataclass(slots=True, kw_only=True)
class _Running:
    """A started thread. It knows nothing of its :class:`LoopThread`, which may be collected while it runs."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    home: HomeProcess
    closers: list[Closer]

    @classmethod
    def start(cls, name: str, home: HomeProcess, closers: list[Closer]) -> "_Running":
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_serve, args=(loop,), name=name, daemon=True)
        thread.start()
        return cls(loop=loop, thread=thread, home=home, closers=closers)

    def stop(self) -> None:
        """Cancel what still runs, close what was registered, end the thread. A forked child has none: nothing to do."""
        if not self.home.is_here() or not self.thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._wind_up(), self.loop).add_done_callback(
            lambda _: self.loop.call_soon_threadsafe(self.loop.stop)
        )
        if self.thread is not threading.current_thread():  # where the collector may have run
            self.thread.join()

    async def _wind_up(self) -> None:
        """Cancel first: what waits for a connection or for Postgres to come back would never let go of it."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=CLOSE_SECONDS)
        for closer in reversed(self.closers):
            async with asyncio.timeout(CLOSE_SECONDS):
                await closer()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    # An executor of its own: since Python 3.12 the loop cannot wind its default one up while the interpreter exits.
    with ThreadPoolExecutor(EXECUTOR_THREADS, thread_name_prefix="langgraph-control-work") as executor:
        loop.set_default_executor(executor)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


class LoopThread:
    """Runs coroutines on one event loop for callers on any thread and any other loop.

    Started by the first call. Ends with :meth:`close`, with the interpreter, or when it is collected.

    Args:
        name: the thread's name.
    """

    def __init__(self, name: str = "langgraph-control-io") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._home = HomeProcess()
        self._closers: list[Closer] = []
        self._running: _Running | None = None
        self._finalizer: weakref.finalize[[], LoopThread] | None = None
        self._closed = False

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the loop. It runs to its end, whoever stops waiting for it.

        Args:
            coroutine: what to run.

        Returns:
            A future that cannot be cancelled: a statement that was sent may have been carried out.

        Raises:
            TrailUnavailable: this thread is closed, or belongs to the process that this one was forked from.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()

        def start() -> None:
            task = asyncio.ensure_future(coroutine)
            task.add_done_callback(lambda done: _hand_over(done, future))

        try:
            with self._lock:
                self._started().loop.call_soon_threadsafe(start)
        except TrailUnavailable:
            coroutine.close()
            raise
        return future

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and block until it ends.

        Args:
            coroutine: what to run.

        Raises:
            RuntimeError: called on the loop's own thread, where it would wait for itself.
            TrailUnavailable: as :meth:`submit`.
        """
        if self.is_current():
            coroutine.close()
            raise RuntimeError("A blocking call on the ledger's own thread would wait for itself; await it there.")
        return self.submit(coroutine).result()

    async def wrap(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and await it from any loop. Cancelling the caller does not cancel the coroutine.

        Args:
            coroutine: what to run.

        Raises:
            TrailUnavailable: as :meth:`submit`.
        """
        if self.is_current():
            return await coroutine
        return await asyncio.wrap_future(self.submit(coroutine))

    def is_current(self) -> bool:
        """Return whether the caller is on the loop's own thread."""
        running = self._running
        return running is not None and running.thread is threading.current_thread()

    def at_close(self, closer: Closer) -> None:
        """Have something closed on the loop before it ends, the latest first. A loop that never ran closes nothing.

        Args:
            closer: called once, on the loop. It must not refer to this object, which could never be collected then.
        """
        self._closers.append(closer)

    def close(self) -> None:
        """Close everything on the loop and end the thread; what still runs there raises TrailUnavailable."""
        if self.is_current():
            raise RuntimeError("The ledger's thread cannot close itself; close it from another one.")
        with self._lock:
            self._closed = True
            finalizer, self._finalizer = self._finalizer, None
        if finalizer is not None:
            finalizer()

    def _started(self) -> _Running:
        if self._closed:
            raise closed()
        self._home.check()
        if self._running is None:
            self._running = _Running.start(self._name, self._home, self._closers)
            self._finalizer = weakref.finalize(self, self._running.stop)
        return self._running


def _hand_over(task: asyncio.Future[T], future: Future[T]) -> None:
    if task.cancelled():
        future.set_exception(closed())
    elif (error := task.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())


def closed() -> TrailUnavailable:
    """Return what a call on something closed raises."""
    return TrailUnavailable(
        "The connection to the ledger is closed.",
        safe="What was not recorded was not done; what was sent last may have been recorded.",
        todo="Use the Control inside its with block, or make a new one.",
        code="control_closed",
    )
