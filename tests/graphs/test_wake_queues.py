"""What every queue does for workers, told by one set of tests that runs over procrastinate and over Temporal."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from uuid import UUID, uuid4

import pytest

from langgraph_control.errors import QueueUnavailable
from langgraph_control.graphs.procrastinate_queue import ProcrastinateQueue
from langgraph_control.graphs.temporal_queue import TemporalQueue
from langgraph_control.graphs.wake_queue import Advanced, WakeQueue
from tests.support.postgres import Database
from tests.support.temporal_server import temporal_address
from tests.support.waiting import auntil

Make: TypeAlias = Callable[[], WakeQueue]

GRAPH = "support"
SECONDS = 20.0


@pytest.fixture(scope="module")
def temporal() -> Iterator[str]:
    """The address of a server."""
    with temporal_address() as address:
        yield address


@pytest.fixture(params=["procrastinate", pytest.param("temporal", marks=pytest.mark.xdist_group("temporal"))])
def make(request: pytest.FixtureRequest, shared_database: Database) -> Make:
    """Makes a queue that nobody has entered; all of one test are of one tenant of its own."""
    tenant = uuid4().hex
    if request.param == "procrastinate":
        return lambda: ProcrastinateQueue(shared_database.agent, tenant=tenant)
    address: str = request.getfixturevalue("temporal")
    return lambda: TemporalQueue(address, tenant=tenant)


class Hands:
    """Notes what it is woken for, and can be slow about it."""

    def __init__(self) -> None:
        self.looked: list[tuple[UUID, str]] = []
        self.moments: list[datetime] = []
        self.at_once = self.at_once_max = 0
        self.free = asyncio.Event()
        self.free.set()
        self.again_at: dict[UUID, datetime] = {}
        self.broken_off = 0

    async def advance(self, run_id: UUID, graph: str) -> Advanced:
        """Do what a worker does."""
        self.looked.append((run_id, graph))
        self.moments.append(datetime.now(UTC))
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            await self.free.wait()
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        finally:
            self.at_once -= 1
        return Advanced(again_at=self.again_at.pop(run_id, None))

    async def looked_times(self, count: int) -> None:
        """Return once it was woken so often; fail if it is not in time."""
        await auntil(lambda: len(self.looked) >= count, seconds=SECONDS)


@asynccontextmanager
async def consumed(
    queue: WakeQueue, hands: Hands, *, graph: str = GRAPH, concurrency: int = 4, drain_seconds: float = 5
) -> AsyncIterator["asyncio.Task[None]"]:
    """Have a queue consumed for as long as the block runs."""
    task = asyncio.create_task(
        queue.consume(hands.advance, graphs=[graph], concurrency=concurrency, drain_seconds=drain_seconds)
    )
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_wake_up_reaches_a_worker(make: Make) -> None:
    """A run that is woken is looked at, by its id and its graph's name."""
    hands, run_id = Hands(), uuid4()
    async with make() as queue, consumed(queue, hands):
        await queue.wake(run_id, GRAPH)
        await hands.looked_times(1)
    assert hands.looked == [(run_id, GRAPH)]


async def test_a_wake_up_waits_for_a_worker(make: Make) -> None:
    """A run that is woken while nobody consumes is looked at when somebody does."""
    hands, run_id = Hands(), uuid4()
    async with make() as queue:
        await queue.wake(run_id, GRAPH)
    async with make() as queue, consumed(queue, hands):
        await hands.looked_times(1)
    assert hands.looked == [(run_id, GRAPH)]


async def test_a_time_is_waited_for(make: Make) -> None:
    """A scheduled run is looked at at its time, not before and not two seconds after."""
    hands, run_id = Hands(), uuid4()
    at = datetime.now(UTC) + timedelta(seconds=1.5)
    async with make() as queue, consumed(queue, hands):
        await queue.schedule(run_id, GRAPH, at)
        await hands.looked_times(1)
    assert at <= hands.moments[0] <= at + timedelta(seconds=2)


async def test_a_wake_up_does_not_wait_for_a_time(make: Make) -> None:
    """A run that is scheduled for later and then woken is looked at now."""
    hands, run_id = Hands(), uuid4()
    at = datetime.now(UTC) + timedelta(seconds=60)
    async with make() as queue, consumed(queue, hands):
        await queue.schedule(run_id, GRAPH, at)
        await queue.wake(run_id, GRAPH)
        await hands.looked_times(1)
    assert hands.moments[0] < at - timedelta(seconds=30)


async def test_the_answer_says_when_to_look_again(make: Make) -> None:
    """A run whose look ends with a time is looked at again at that time."""
    hands, run_id = Hands(), uuid4()
    again_at = datetime.now(UTC) + timedelta(seconds=1.5)
    hands.again_at[run_id] = again_at
    async with make() as queue, consumed(queue, hands):
        await queue.wake(run_id, GRAPH)
        await hands.looked_times(2)
    assert hands.moments[0] < again_at <= hands.moments[1]


async def test_a_wake_up_during_a_look_is_another_look(make: Make) -> None:
    """Woken while it is being looked at, a run is looked at once more: that look may have been too early."""
    hands, run_id = Hands(), uuid4()
    hands.free.clear()
    async with make() as queue, consumed(queue, hands):
        await queue.wake(run_id, GRAPH)
        await hands.looked_times(1)
        await queue.wake(run_id, GRAPH)
        hands.free.set()
        await hands.looked_times(2)
    assert hands.looked == [(run_id, GRAPH)] * 2


async def test_only_workers_with_the_graph_are_woken(make: Make) -> None:
    """A run is looked at by whoever has its graph, however long others have been idle."""
    ours, others, run_id = Hands(), Hands(), uuid4()
    async with make() as queue, make() as second, consumed(second, others, graph="another"):
        await queue.wake(run_id, GRAPH)
        async with consumed(queue, ours):
            await ours.looked_times(1)
    assert (ours.looked, others.looked) == ([(run_id, GRAPH)], [])


async def test_workers_share_the_work(make: Make) -> None:
    """Each of thirty wake-ups is looked at by one of two workers."""
    first, second, runs = Hands(), Hands(), [uuid4() for _ in range(30)]
    async with make() as one, make() as other, consumed(one, first), consumed(other, second):
        for run_id in runs:
            await one.wake(run_id, GRAPH)
        await auntil(lambda: len(first.looked) + len(second.looked) >= len(runs), seconds=SECONDS)
    assert sorted(run_id for run_id, _ in first.looked + second.looked) == sorted(runs)


async def test_no_more_than_asked_at_once(make: Make) -> None:
    """Ten wake-ups are looked at two at a time by a worker with two hands."""
    hands = Hands()
    hands.free.clear()
    async with make() as queue, consumed(queue, hands, concurrency=2):
        for _ in range(10):
            await queue.wake(uuid4(), GRAPH)
        await hands.looked_times(2)
        hands.free.set()
        await hands.looked_times(10)
    assert hands.at_once_max == 2


async def test_what_is_in_hand_may_end(make: Make) -> None:
    """Cancelled, the consumer takes nothing new and lets what is in hand come to its end."""
    hands, late = Hands(), uuid4()
    hands.free.clear()
    async with make() as queue, consumed(queue, hands, drain_seconds=10) as consuming:
        await queue.wake(uuid4(), GRAPH)
        await hands.looked_times(1)
        consuming.cancel()
        await asyncio.sleep(0)
        hands.free.set()
        await asyncio.gather(consuming, return_exceptions=True)
        await queue.wake(late, GRAPH)
    assert (hands.broken_off, hands.at_once, len(hands.looked)) == (0, 0, 1)


async def test_a_worker_stops_that_is_told_to_while_it_begins(
    shared_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a wait for the database swallows the cancellation, as Python 3.11 may, the worker stops all the same."""
    begun = asyncio.Event()

    async def swallowing(_: float) -> list[int]:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.3)
        return []

    async with ProcrastinateQueue(shared_database.agent, tenant=uuid4().hex) as queue:
        monkeypatch.setattr(queue._app.job_manager, "prune_stalled_workers", swallowing)
        consuming = asyncio.create_task(
            queue.consume(Hands().advance, graphs=[GRAPH], concurrency=1, drain_seconds=SECONDS)
        )
        await begun.wait()
        consuming.cancel()
        ended, _ = await asyncio.wait([consuming], timeout=SECONDS)
        assert ended
        assert consuming.cancelled()


async def test_what_does_not_end_is_broken_off(make: Make) -> None:
    """What is in hand when the time for draining is over is cancelled."""
    hands = Hands()
    hands.free.clear()
    async with make() as queue, consumed(queue, hands, drain_seconds=0.2):
        await queue.wake(uuid4(), GRAPH)
        await hands.looked_times(1)
    assert (hands.broken_off, hands.at_once) == (1, 0)


@pytest.mark.parametrize(
    "nowhere",
    [
        lambda: ProcrastinateQueue("postgresql://nobody@127.0.0.1:1/nowhere", tenant="t"),
        lambda: TemporalQueue("127.0.0.1:1", tenant="t"),
    ],
    ids=["procrastinate", "temporal"],
)
async def test_an_engine_that_is_not_there_is_named(nowhere: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever enters a queue without its engine is told where it should be."""
    for module in ("procrastinate_queue", "temporal_queue"):
        monkeypatch.setattr(f"langgraph_control.graphs.{module}.CONNECT_SECONDS", 1.0)
    before = asyncio.all_tasks()
    with pytest.raises(QueueUnavailable, match=r"127\.0\.0\.1:1"):
        async with nowhere():
            pass
    assert asyncio.all_tasks() == before, "something goes on trying"
