"""What runs a gate inside LangGraph: loops that carry out its requests. The sync one is here, the async one beside it.

A driver decides nothing. It keeps two promises of its own: a request to the ledger that is under way is never left
without its answer, and once a tool may have been called, its settle is sent whatever stops the caller meanwhile. The
stop (KeyboardInterrupt, SystemExit, a cancelled task) is noted, and raised when no attempt is in hand any more.
"""

import logging
import time
from collections.abc import Generator
from typing import Any, TypeVar

from langgraph_control.audit.asking.ledger import Answer, Claim, Claimed, Settle
from langgraph_control.audit.connecting import transactions
from langgraph_control.audit.connecting.failures import LedgerRefused
from langgraph_control.audit.connecting.transaction_ends import has_failed, undo, was_committed
from langgraph_control.errors import TrailUnavailable
from langgraph_control.guards.checks import Failed
from langgraph_control.guards.signals import SystemState
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.bodies import answered, has_not_run
from langgraph_control.nodes.bubbles import TrailLost
from langgraph_control.nodes.contexts import within
from langgraph_control.nodes.hearing import heard
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

__all__ = ["drive"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


def drive(gate: Generator[Any, Any, T], surroundings: Surroundings) -> T:
    """Run a gate or a read to its end in this thread, and return what it ended with.

    A hook runs in a thread of its own, with this one's context variables; an async one on an event loop of its own: it
    must not share a client with the graph's loop. After :data:`HOOK_SECONDS_MAX` it has failed.

    Args:
        gate: made, not started.
        surroundings: where it runs.

    Raises:
        GraphInterrupt: the call parked.
        TrailLost: the ledger stopped answering.
        KeyboardInterrupt, SystemExit: raised in mid-call; what came of the call is on record.
    """
    driver = _Driver(surroundings)
    answer: Any = None
    try:
        while True:
            try:
                request = gate.send(answer)
            except StopIteration as ended:
                driver.stand_back()
                value: T = ended.value
                return value
            answer = driver.answer(request)
    except TrailLost:
        driver.stand_back()
        raise
    finally:
        gate.close()
        driver.close()


class _Driver:
    """The state of one synchronous drive."""

    __slots__ = ("_at", "_call", "_in_hand", "_stop", "_took_seconds", "_transaction")

    def __init__(self, surroundings: Surroundings) -> None:
        self._at = surroundings
        self._stop: BaseException | None = None
        self._call: CallInHand | None = None  # what the end of the run's drive waits for
        self._in_hand = False  # a tool may have been called, and no settle was answered yet
        self._took_seconds = 0.0  # the last call of the tool
        self._transaction: transactions.Transaction | None = None

    def answer(self, request: Any) -> Any:
        if not self._in_hand and not isinstance(request, (ask.Send, Settle)):
            self.stand_back()
        match request:
            case ask.NewTicket() | ask.FitArguments():
                return at_hand(request, self._at)
            case ask.Ask() | ask.AskCheck():
                return _checked(request) if isinstance(request, ask.AskCheck) else self._ask(request)
            case ask.Send() | Consult():
                began = time.monotonic()
                answer = self._consult() if isinstance(request, Consult) else self._send(request)
                self._took_seconds = time.monotonic() - began
                return answer
            case ask.ReplayWakes() | ask.Park() | ask.HasAnswers():
                return at_langgraph(request)
            case ask.Sleep(seconds=seconds):
                return self._sleep(seconds)
            case Settle():
                return self._settle(request)
            case ask.HowIs() | ask.Noted():
                return self._about_a_system(request)
            case _:
                return self._heed(request)

    def stand_back(self) -> None:
        """Raise what stopped the caller, if anything did."""
        if self._stop is not None:
            raise self._stop

    def close(self) -> None:
        self._let_go()
        if self._transaction is not None:
            self._transaction.rollback()

    def _tell(self, request: Any) -> Any:
        try:
            try:
                return self._at.store.call(request)
            except (KeyboardInterrupt, SystemExit) as stop:
                if self._stop is not None:
                    raise  # asked a second time: the process is to end now
                self._stop = stop
                return self._at.store.call(request)  # sent again: the ledger knows the attempt
        except LOST as error:
            raise TrailLost.during(self._at.tool, error) from error

    def _heed(self, request: Any) -> Any:
        """Tell the ledger. A claim is in hand from before it is sent: it may be let go the moment the drive ends."""
        if not isinstance(request, Claim):
            return self._tell(request)
        self._let_go()
        self._call = CallInHand.of(self._at.drive, request)
        claimed: Claimed = self._tell(request)
        if claimed.answer not in {Answer.GO, Answer.VERIFY}:
            self._let_go()
        return claimed

    def _let_go(self) -> None:
        if self._call is not None:
            self._call.end()

    def _ask(self, request: ask.Ask) -> ask.Heard | ask.AskFailed:
        try:
            value = heard(self._at.hook(request), request.action, seconds=HOOK_SECONDS_MAX)
            return ask.Heard(value=value)
        except Exception as error:  # noqa: BLE001 - a hook may raise anything; the gate decides what it means
            return ask.AskFailed(error=error)
        except BaseException as stop:
            if not self._in_hand:
                raise
            self._stop = stop
            return ask.AskFailed(error=stop)

    def _sleep(self, seconds: float) -> None:
        try:
            time.sleep(seconds)
        except BaseException as stop:
            if not self._in_hand:
                raise
            self._stop = stop

    def _consult(self) -> Looked:
        repeatable, before = True, uses()
        try:
            with within(self._at.drive):
                value = answered(self._at.body(**self._at.given), tool=self._at.tool)
            outcome: ask.Returned | ask.Raised = ask.Returned(value=value)
        except Exception as error:  # noqa: BLE001 - outcomes are values
            outcome, repeatable = ask.Raised(error=error), uses() == before
        return Looked(outcome=outcome, repeatable=repeatable)

    def _send(self, request: ask.Send) -> Any:
        self._in_hand = True
        try:
            given = self._at.prepare(request.args)
        except Exception:  # noqa: BLE001 - stored arguments that the tool's schema no longer takes
            return ask.NotSent(why="its stored arguments no longer fit the tool")
        if request.transaction:
            try:
                self._transaction = self._at.store.open_transaction()
            except TrailUnavailable:
                return ask.NotSent(why="its transaction could not be opened")
        connection = self._transaction.connection if self._transaction else None
        if self._stop is not None or time.monotonic() >= request.not_after:
            self._undone()
            return ask.NotSent()
        try:
            with within(self._at.drive), self._at.acting(request, connection):
                value = answered(self._at.body(**given), tool=self._at.tool)
        except Exception as error:  # noqa: BLE001 - outcomes are values
            return ask.Raised(error=error, ended_transaction=self._undone(), ended=not has_not_run(error))
        except BaseException as stop:  # noqa: BLE001 - noted, and raised once the settle has landed
            self._stop = stop
            return ask.Raised(error=stop, ended_transaction=True) if self._undone() else ask.Cancelled()
        return self._returned(value)

    def _returned(self, value: Any) -> ask.Returned | ask.Raised:
        if self._transaction is None:
            return ask.Returned(value=value)
        if has_failed(self._transaction):
            return swallowed_error(ended_transaction=self._undone())
        return ask.Returned(value=value, xid=self._transaction.xid)

    def _undone(self) -> bool:
        """Undo an open transaction; True if the tool had ended it by itself."""
        transaction, self._transaction = self._transaction, None
        try:
            return transaction is not None and undo(self._at.store, transaction)
        except LOST as error:
            raise TrailLost.during(self._at.tool, error) from error

    def _was_committed(self, transaction: transactions.Transaction) -> bool:
        try:
            return was_committed(self._at.store, transaction)
        except LOST as error:
            raise TrailLost.during(self._at.tool, error) from error

    def _about_a_system(self, request: ask.HowIs | ask.Noted) -> SystemState | None:
        if isinstance(request, ask.HowIs):
            return self._how_is(request)
        self._note(request)
        return None

    def _how_is(self, request: ask.HowIs) -> SystemState:
        asked = asking_about(request)
        rows = self._at.store.health.heard(asked.window_ms)
        if rows is None:
            rows = self._tell(asked)
            self._at.store.health.hear(asked.window_ms, rows)
        return state_of(request, rows)

    def _note(self, request: ask.Noted) -> None:
        report = due_report(self._at.store, request, took_seconds=self._took_seconds)
        if report is None:
            return
        try:
            self._at.store.call(report, patience_seconds=NOTE_SECONDS)
            self._at.store.health.forget()
        except LOST as error:  # what is lost is knowledge, no effect; the next report brings it back
            logger.warning("The ledger was not told how %s is doing: %s", request.system, error.__class__.__name__)

    def _settle(self, request: Settle) -> Any:
        if self._transaction is not None and request.xid is not None:
            return self._settle_inside(request)
        if self._undone():  # nothing succeeded, so nothing may stay
            return ask.RolledBack(why="ended")
        settled = self._tell(request)
        self._in_hand = False
        self._let_go()
        return settled

    def _settle_inside(self, request: Settle) -> Any:
        transaction, self._transaction = self._transaction, None
        assert transaction is not None  # noqa: S101 - the caller looked
        try:
            answer: Any = transaction.execute(request)
            transaction.commit()
        except LedgerRefused as error:
            answer = self._refused(error)
        except transactions.RolledBack as error:
            answer = rolled_back(error, committed=self._was_committed(transaction))
        except transactions.CommitUnknown:
            answer = ask.RolledBack(why="unsure")
        except BaseException as stop:  # noqa: BLE001 - noted; whether it was committed the ledger knows
            transaction.rollback()
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


def _checked(request: ask.AskCheck) -> object:
    """Ask a check in a thread of its own, for nothing else can end the wait for it."""
    try:
        return heard(request.check, request.proposal, seconds=CHECK_SECONDS_MAX)
    except Exception as error:  # noqa: BLE001 - a check may raise anything; what cannot be checked is not done now
        return Failed(error=type(error).__name__)
