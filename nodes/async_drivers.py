"""The async driver: what :mod:`langgraph_control.nodes.drivers` promises, on an event loop and under cancellation."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, TypeVar

from langgraph_control.audit.asking.ledger import Answer, Claim, Claimed, Settle
from langgraph_control.audit.connecting import transactions
from langgraph_control.audit.connecting.failures import LedgerRefused
from langgraph_control.audit.connecting.transaction_ends import aundo, awas_committed, has_failed
from langgraph_control.errors import TrailUnavailable
from langgraph_control.guards.checks import Failed
from langgraph_control.guards.signals import SystemState
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.bodies import answered, has_not_run, is_pending
from langgraph_control.nodes.bubbles import TrailLost
from langgraph_control.nodes.contexts import within
from langgraph_control.nodes.hearing import aheard
from langgraph_control.nodes.in_hand import CallInHand
from langgraph_control.nodes.reading import Consult, Looked
from langgraph_control.nodes.surroundings import (
    CHECK_SECONDS_MAX,
    HOOK_SECONDS_MAX,
    LOST,
    NOTE_SECONDS,
    Surroundings,
    as_answer,
    asking_about,
    at_hand,
    due_report,
    must_settle_again,
    rolled_back,
    state_of,
    swallowed_error,
)
from langgraph_control.nodes.wakes import at_langgraph, uses

__all__ = ["adrive"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


async def adrive(gate: Generator[Any, Any, T], surroundings: Surroundings) -> T:
    """Run a gate or a read to its end on this event loop, and return what it ended with.

    A synchronous hook runs in a thread, so that it cannot block the loop. After :data:`HOOK_SECONDS_MAX` a hook has
    failed.

    Args:
        gate: made, not started.
        surroundings: where it runs; the body is a coroutine function.

    Raises:
        GraphInterrupt: the call parked.
        TrailLost: the ledger stopped answering.
        CancelledError: cancelled in mid-call; what came of the call is on record.
        BaseException: what the tool or a hook ended with that is no Exception, such as SystemExit; likewise.
    """
    driver = _AsyncDriver(surroundings)
    answer: Any = None
    try:
        while True:
            try:
                request = gate.send(answer)
            except StopIteration as ended:
                driver.stand_back()
                value: T = ended.value
                return value
            answer = await driver.answer(request)
    except TrailLost:
        driver.stand_back()
        raise
    finally:
        gate.close()
        await driver.close()


class _AsyncDriver:
    """The state of one asynchronous drive."""

    __slots__ = ("_at", "_call", "_in_hand", "_stop", "_took_seconds", "_transaction")

    def __init__(self, surroundings: Surroundings) -> None:
        self._at = surroundings
        self._stop: BaseException | None = None
        self._call: CallInHand | None = None  # what the end of the run's drive waits for
        self._in_hand = False  # a tool may have been called, and no settle was answered yet
        self._took_seconds = 0.0  # the last call of the tool
        self._transaction: transactions.AsyncTransaction | None = None

    async def answer(self, request: Any) -> Any:
        if not self._in_hand and not isinstance(request, (ask.Send, Settle)):
            self.stand_back()
        match request:
            case ask.NewTicket() | ask.FitArguments():
                return at_hand(request, self._at)
            case ask.Ask() | ask.AskCheck():
                return await (_checked(request) if isinstance(request, ask.AskCheck) else self._ask(request))
            case ask.Send() | Consult():
                began = time.monotonic()
                answer = await (self._consult() if isinstance(request, Consult) else self._send(request))
                self._took_seconds = time.monotonic() - began
                return answer
            case ask.ReplayWakes() | ask.Park() | ask.HasAnswers():
                return at_langgraph(request)
            case ask.Sleep(seconds=seconds):
                return await self._sleep(seconds)
            case Settle():
                return await self._settle(request)
            case ask.HowIs() | ask.Noted():
                return await self._about_a_system(request)
            case _:
                return await self._heed(request)

    def stand_back(self) -> None:
        """Raise what stopped the caller, if anything did."""
        if self._stop is not None:
            raise self._stop

    def _stopped_by(self, stop: BaseException) -> None:
        """Note what is to be raised once nothing is in hand: a cancellation only where nothing else was noted."""
        if self._stop is None or isinstance(self._stop, asyncio.CancelledError):
            self._stop = stop

    async def close(self) -> None:
        self._let_go()
        if self._transaction is not None:
            await self._transaction.rollback()

    async def _finish(self, work: Awaitable[T]) -> T:
        """Wait for something that must not be left in the middle; a cancellation meanwhile is noted.

        Raises:
            CancelledError: the work itself was cancelled, as ``asyncio.run`` does once with every task when it ends.
        """
        task = asyncio.ensure_future(work)
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as stop:
                self._stopped_by(stop)
            except BaseException:
                if not task.done():
                    raise  # this coroutine itself is closed
                break  # raised by result() below
        return task.result()

    async def _finish_again(self, work: Callable[[], Awaitable[T]]) -> T:
        """Finish what may be begun anew: a request to the ledger is recognised when it is sent again."""
        try:
            return await self._finish(work())
        except asyncio.CancelledError:
            return await self._finish(work())

    async def _tell(self, request: Any) -> Any:
        try:
            return await self._finish_again(lambda: self._at.store.acall(request))
        except LOST as error:
            raise TrailLost.during(self._at.tool, error) from error

    async def _heed(self, request: Any) -> Any:
        """Tell the ledger. A claim is in hand from before it is sent: it may be let go the moment the drive ends."""
        if not isinstance(request, Claim):
            return await self._tell(request)
        self._let_go()
        self._call = CallInHand.of(self._at.drive, request)
        claimed: Claimed = await self._tell(request)
        if claimed.answer not in {Answer.GO, Answer.VERIFY}:
            self._let_go()
        return claimed

    def _let_go(self) -> None:
        if self._call is not None:
            self._call.end()

    async def _ask(self, request: ask.Ask) -> ask.Heard | ask.AskFailed:
        answering = aheard(self._at.hook(request), request.action, seconds=HOOK_SECONDS_MAX)
        try:
            return ask.Heard(value=await (self._finish(answering) if self._in_hand else answering))
        except Exception as error:  # noqa: BLE001 - a hook may raise anything; the gate decides what it means
            return ask.AskFailed(error=error)
        except GeneratorExit:
            raise
        except BaseException as stop:
            if not self._in_hand:
                raise
            self._stopped_by(stop)
            return ask.AskFailed(error=stop)

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError as stop:
            if not self._in_hand:
                raise
            self._stop = stop

    async def _consult(self) -> Looked:
        repeatable, before = True, uses()
        try:
            with within(self._at.drive):
                outcome: ask.Returned | ask.Raised = ask.Returned(value=await self._called(self._at.given))
        except Exception as error:  # noqa: BLE001 - outcomes are values
            outcome, repeatable = ask.Raised(error=error), uses() == before
        return Looked(outcome=outcome, repeatable=repeatable)

    async def _send(self, request: ask.Send) -> Any:
        self._in_hand = True
        try:
            given = self._at.prepare(request.args)
        except Exception:  # noqa: BLE001 - stored arguments that the tool's schema no longer takes
            return ask.NotSent(why="its stored arguments no longer fit the tool")
        if request.transaction:
            try:
                self._transaction = await self._at.store.aopen_transaction()
            except TrailUnavailable:
                return ask.NotSent(why="its transaction could not be opened")
            except asyncio.CancelledError as stop:
                self._stop = stop
                return ask.NotSent(why="it was cancelled before it was sent")
        connection = self._transaction.connection if self._transaction else None
        seconds_left = request.not_after - time.monotonic()
        if self._stop is not None or seconds_left <= 0:
            await self._undone()
            return ask.NotSent()
        limit = asyncio.timeout(seconds_left)
        try:
            with within(self._at.drive), self._at.acting(request, connection):
                async with limit:
                    value = await self._called(given)
        except asyncio.CancelledError as error:
            return await self._cancelled(error)
        except Exception as error:  # noqa: BLE001 - outcomes are values
            # Cancelling an await stops no thread that it waited for; and what has not run may still run elsewhere.
            ended = not limit.expired() and not has_not_run(error)
            return ask.Raised(error=error, ended_transaction=await self._undone(), ended=ended)
        except GeneratorExit:
            raise  # the loop is gone, and closes what it left
        except BaseException as stop:  # noqa: BLE001 - noted, and raised once the settle has landed
            self._stopped_by(stop)
            return ask.Raised(error=stop, ended_transaction=True) if await self._undone() else ask.Cancelled()
        return await self._returned(value)

    async def _called(self, given: Mapping[str, Any]) -> Any:
        value = await self._at.body(**given)
        return answered(await value if is_pending(value) else value, tool=self._at.tool)

    async def _cancelled(self, error: asyncio.CancelledError) -> ask.Cancelled | ask.Raised:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            self._stop = error
        ended = await self._undone()
        if self._stop is None or ended:
            # Not the call was cancelled, but something the tool awaited; or the tool had committed before.
            return ask.Raised(error=error, ended_transaction=ended, ended=False)
        return ask.Cancelled()

    async def _returned(self, value: Any) -> ask.Returned | ask.Raised:
        if self._transaction is None:
            return ask.Returned(value=value)
        if has_failed(self._transaction):
            return swallowed_error(ended_transaction=await self._undone())
        return ask.Returned(value=value, xid=self._transaction.xid)

    async def _undone(self) -> bool:
        """Undo an open transaction; True if the tool had ended it by itself."""
        transaction, self._transaction = self._transaction, None
        try:
            return transaction is not None and await self._finish_again(lambda: aundo(self._at.store, transaction))
        except LOST as error:
            raise TrailLost.during(self._at.tool, error) from error

    async def _was_committed(self, transaction: transactions.AsyncTransaction) -> bool:
        try:
            return await self._finish_again(lambda: awas_committed(self._at.store, transaction))
        except LOST as error:
            raise TrailLost.during(self._at.tool, error) from error

    async def _about_a_system(self, request: ask.HowIs | ask.Noted) -> SystemState | None:
        if isinstance(request, ask.HowIs):
            return await self._how_is(request)
        await self._note(request)
        return None

    async def _how_is(self, request: ask.HowIs) -> SystemState:
        asked = asking_about(request)
        rows = self._at.store.health.heard(asked.window_ms)
        if rows is None:
            rows = await self._tell(asked)
            self._at.store.health.hear(asked.window_ms, rows)
        return state_of(request, rows)

    async def _note(self, request: ask.Noted) -> None:
        report = due_report(self._at.store, request, took_seconds=self._took_seconds)
        if report is None:
            return
        try:
            await self._at.store.acall(report, patience_seconds=NOTE_SECONDS)
            self._at.store.health.forget()
        except LOST as error:  # what is lost is knowledge, no effect; the next report brings it back
            logger.warning("The ledger was not told how %s is doing: %s", request.system, error.__class__.__name__)

    async def _settle(self, request: Settle) -> Any:
        if self._transaction is not None and request.xid is not None:
            return await self._settle_inside(request)
        if await self._undone():  # nothing succeeded, so nothing may stay
            return ask.RolledBack(why="ended")
        settled = await self._tell(request)
        self._in_hand = False
        self._let_go()
        return settled

    async def _settle_inside(self, request: Settle) -> Any:
        transaction, self._transaction = self._transaction, None
        assert transaction is not None  # noqa: S101 - the caller looked
        try:
            answer: Any = await self._finish(_settled(transaction, request))
        except LedgerRefused as error:
            answer = self._refused(error)
        except transactions.RolledBack as error:
            answer = rolled_back(error, committed=await self._was_committed(transaction))
        except transactions.CommitUnknown:
            answer = ask.RolledBack(why="unsure")
        except asyncio.CancelledError as stop:
            await transaction.rollback()
            self._stop, answer = stop, ask.RolledBack(why="unsure")
        self._in_hand = must_settle_again(answer)
        if not self._in_hand:
            self._let_go()
        return answer

    def _refused(self, error: LedgerRefused) -> ask.RolledBack:
        answer = as_answer(error)
        if answer is None:
            raise TrailLost.during(self._at.tool, error) from error
        return answer


async def _checked(request: ask.AskCheck) -> object:
    """Ask a check, a synchronous one in a thread. Cancelled, the call ends here: nothing was claimed yet."""
    try:
        return await aheard(request.check, request.proposal, seconds=CHECK_SECONDS_MAX)
    except Exception as error:  # noqa: BLE001 - a check may raise anything; what cannot be checked is not done now
        return Failed(error=type(error).__name__)


async def _settled(transaction: transactions.AsyncTransaction, request: Settle) -> Any:
    answer = await transaction.execute(request)
    await transaction.commit()
    return answer
