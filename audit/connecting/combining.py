"""Requests of one kind that are made at the same moment go to the server together: one statement, one commit.

A process that makes one request at a time notices nothing of it. Where many do, each commit carries several, and
PL/pgSQL sets up its expressions once for all of them. What goes wrong with a crew goes wrong for nobody in particular,
so its members are then sent again one by one; claim and settle know an attempt they have seen.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

__all__ = ["Combiner", "LoopCombiner", "columns"]

Row: TypeAlias = dict[str, Any]
Parameters: TypeAlias = Mapping[str, Any]
Turn = TypeVar("Turn")

CREW_MAX: Final = 32
CREW_BYTES_MAX: Final = 256 * 1024

WAIT_SECONDS: Final = 0.25
"""How long a request waits for its turn. A crew that hangs on somebody's lock holds up nobody but its members."""


class _Member(Generic[Turn]):
    """One request in line.

    Args:
        parameters: of its statement.
        turn: wakes whoever made it.
    """

    __slots__ = ("crew", "parameters", "row", "turn")

    def __init__(self, parameters: Parameters, turn: Turn) -> None:
        self.parameters = parameters
        self.turn = turn
        self.crew: list[_Member[Turn]] | None = None  # it is to send these, itself among them
        self.row: Row | None = None  # its answer; None once it is woken without a crew: it is to go alone


class _Line(Generic[Turn]):
    """Who waits while a crew is under way."""

    __slots__ = ("_busy", "_lock", "_waiting")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = False
        self._waiting: list[_Member[Turn]] = []

    def join(self, parameters: Parameters, turn: Callable[[], Turn]) -> _Member[Turn] | None:
        """Stand in line; None for whoever finds nobody under way and goes at once."""
        with self._lock:
            if not self._busy:
                self._busy = True
                return None
            member = _Member(parameters, turn())
            self._waiting.append(member)
            return member

    def leave(self, member: _Member[Turn]) -> bool:
        """Leave the line; False for whoever is no longer in it: a crew has taken him along."""
        with self._lock:
            if member in self._waiting:
                self._waiting.remove(member)
                return True
            return False

    def next(self) -> _Member[Turn] | None:
        """Make up the next crew, and return who leads it."""
        with self._lock:
            number, size = 0, 0
            for member in self._waiting[:CREW_MAX]:
                size += _size(member.parameters)
                if number and size > CREW_BYTES_MAX:
                    break
                number += 1
            crew, self._waiting = self._waiting[:number], self._waiting[number:]
            self._busy = bool(crew)
            if not crew:
                return None
            crew.sort(key=_lock_order)  # two crews of two processes do not wait for each other's runs
            crew[0].crew = crew
            return crew[0]


class Combiner:
    """For threads: whoever comes while a request is under way joins those that go next.

    Args:
        alone: sends one request.
        together: sends several; their answers come in the same order.
    """

    def __init__(
        self, alone: Callable[[Parameters], Row], together: Callable[[Sequence[Parameters]], list[Row]]
    ) -> None:
        self._alone, self._together = alone, together
        self._line: _Line[threading.Lock] = _Line()

    def run(self, parameters: Parameters) -> Row:
        """Send a request, alone or with others, and return its answer.

        Args:
            parameters: of its statement.

        Raises:
            psycopg.Error: as sending it alone raised it.
        """
        member = self._line.join(parameters, _taken)
        if member is None or not self._waited(member):
            try:
                return self._alone(parameters)
            finally:
                self._pass_on()
        if member.crew is not None:
            self._lead(member.crew)
        return self._alone(parameters) if member.row is None else member.row

    def _waited(self, member: "_Member[threading.Lock]") -> bool:
        """Wait until this member was taken along; False if that took too long, and it has left the line."""
        try:
            if not member.turn.acquire(timeout=WAIT_SECONDS):
                if self._line.leave(member):
                    return False
                member.turn.acquire()
        except BaseException:
            if not self._line.leave(member) and member.crew is not None:
                self._dismiss(member.crew)
            raise
        return True

    def _lead(self, crew: "list[_Member[threading.Lock]]") -> None:
        try:
            if len(crew) > 1:
                _answered(crew, self._together([member.parameters for member in crew]))
        except Exception:  # noqa: BLE001 - whose fault it was shows when each is sent alone
            return
        finally:
            self._dismiss(crew)

    def _dismiss(self, crew: "list[_Member[threading.Lock]]") -> None:
        self._pass_on()
        for member in crew[1:]:
            member.turn.release()

    def _pass_on(self) -> None:
        leader = self._line.next()
        if leader is not None:
            leader.turn.release()


class LoopCombiner:
    """For one event loop: as :class:`Combiner` for threads.

    Args:
        alone: sends one request.
        together: sends several; their answers come in the same order.
    """

    def __init__(
        self,
        alone: Callable[[Parameters], Awaitable[Row]],
        together: Callable[[Sequence[Parameters]], Awaitable[list[Row]]],
    ) -> None:
        self._alone, self._together = alone, together
        self._line: _Line[asyncio.Event] = _Line()

    async def run(self, parameters: Parameters) -> Row:
        """Send a request, alone or with others, and return its answer. See :meth:`Combiner.run`.

        Args:
            parameters: of its statement.
        """
        member = self._line.join(parameters, asyncio.Event)
        if member is None or not await self._waited(member):
            try:
                return await self._alone(parameters)
            finally:
                self._pass_on()
        if member.crew is not None:
            await self._lead(member.crew)
        return await self._alone(parameters) if member.row is None else member.row

    async def _waited(self, member: "_Member[asyncio.Event]") -> bool:
        try:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await member.turn.wait()
            except TimeoutError:
                if self._line.leave(member):
                    return False
                await member.turn.wait()
        except BaseException:
            if not self._line.leave(member) and member.crew is not None:
                self._dismiss(member.crew)
            raise
        return True

    async def _lead(self, crew: "list[_Member[asyncio.Event]]") -> None:
        try:
            if len(crew) > 1:
                _answered(crew, await self._together([member.parameters for member in crew]))
        except Exception:  # noqa: BLE001 - whose fault it was shows when each is sent alone
            return
        finally:
            self._dismiss(crew)

    def _dismiss(self, crew: "list[_Member[asyncio.Event]]") -> None:
        self._pass_on()
        for member in crew[1:]:
            member.turn.set()

    def _pass_on(self) -> None:
        leader = self._line.next()
        if leader is not None:
            leader.turn.set()


def columns(crew: Sequence[Parameters]) -> Parameters:
    """Return the parameters of several requests as one list each, for the statement that carries them together.

    Args:
        crew: their parameters, with the same names.
    """
    lists: dict[str, Any] = {name: [parameters[name] for parameters in crew] for name in crew[0]}
    if "events" in lists:
        lists["events"] = [",".join(events) for events in lists["events"]]  # a list of lists would have to be a matrix
    return lists


def _lock_order(member: "_Member[Any]") -> tuple[Any, ...]:
    return member.parameters["run_id"], member.parameters["key"]


def _answered(crew: "list[_Member[Any]]", rows: list[Row]) -> None:
    for member, row in zip(crew, rows, strict=True):
        member.row = row


def _taken() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _size(parameters: Parameters) -> int:
    return sum(len(value) for value in parameters.values() if isinstance(value, bytes))
