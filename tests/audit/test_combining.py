"""Requests made at the same moment go to the server in one statement, and nobody pays for a neighbour's fault."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest

from langgraph_control.audit.asking.ledger import Answer, Claim, Verdict
from langgraph_control.audit.asking.requests import RunEntries
from langgraph_control.audit.connecting import combining
from langgraph_control.audit.connecting.combining import Combiner
from langgraph_control.audit.connecting.failures import LedgerRefused
from langgraph_control.audit.connecting.store import Store
from tests.support.ledger_requests import claim, run_open, settle
from tests.support.postgres import Database
from tests.support.waiting import until

NAME = "combining"
CREW = 6


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    """A store on the agent's login."""
    store = Store(database.agent, application_name=NAME)
    yield store
    store.close()


@pytest.fixture
def superuser(database: Database) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection that sees everything."""
    with psycopg.connect(database.admin, autocommit=True) as connection:
        yield connection


def opened(store: Store) -> tuple[UUID, int]:
    """Open a run, and return it with its token."""
    answer = store.call(run_open())
    assert answer.run_id is not None
    assert answer.token is not None
    return answer.run_id, answer.token


class Gathered:
    """Requests that all wait in line, because one before them waits for a lock that the test holds."""

    def __init__(self, database: Database, store: Store, statement: str) -> None:
        self._database, self._store = database, store
        self._line: Any = store._combiners[statement]._line
        self._threads = ThreadPoolExecutor(32)

    def answers(self, first: Any, others: Sequence[Any]) -> list[Any]:
        """Send the first, then the others while it waits, and return what came of all."""
        with psycopg.connect(self._database.admin) as connection:
            connection.execute("SELECT 1 FROM control.run_state WHERE run_id = %s FOR UPDATE", (first.run_id,))
            sent = [self._threads.submit(self._store.call, first)]
            until(lambda: self._line._busy)
            sent += [self._threads.submit(self._store.call, other) for other in others]
            until(lambda: len(self._line._waiting) == len(others))
        return [one.exception() or one.result() for one in sent]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody in line loses patience while the test gathers the others."""
    monkeypatch.setattr(combining, "WAIT_SECONDS", 30.0)


def commits(superuser: psycopg.Connection[tuple[Any, ...]], claims: Sequence[Claim]) -> int:
    """Return in how many transactions the actions of these claims were written."""
    row = superuser.execute(
        "SELECT count(DISTINCT xmin::text) FROM control.action WHERE key = ANY (%s)", ([one.key for one in claims],)
    ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.usefixtures("patient")
def test_who_waits_goes_together(
    database: Database, store: Store, superuser: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """Claims of several runs that wait behind one statement are one commit, and each gets its own answer."""
    runs = [opened(store) for _ in range(3)]
    first = claim(*opened(store))
    crew = [replace(claim(*runs[number % 3]), digest=bytes([number]) * 32) for number in range(CREW)]
    answers = Gathered(database, store, "claim").answers(first, crew)
    assert [answer.answer for answer in answers] == [Answer.GO] * (1 + CREW)
    assert [answer.digest for answer in answers[1:]] == [one.digest for one in crew]
    assert commits(superuser, crew) == 1
    for run_id, _ in runs:
        assert [row.seq for row in store.call(RunEntries(run_id=run_id, after=0, limit=99))] == [1, 2, 3]


@pytest.mark.usefixtures("patient")
def test_settles_go_together(database: Database, store: Store) -> None:
    """Settles with and without facts of their own are one commit, and each is on record with what it said."""
    run = opened(store)
    claims = [claim(*run) for _ in range(CREW + 1)]
    for one in claims:
        store.call(one)
    settles = [
        replace(settle(one), events=("effect.verified",) if number % 2 else ()) for number, one in enumerate(claims)
    ]
    answers = Gathered(database, store, "settle").answers(settles[0], settles[1:])
    assert [answer.answer for answer in answers] == [Verdict.SETTLED] * len(settles)
    facts = [row.facts for row in store.call(RunEntries(run_id=run[0], after=0, limit=99))][1 + len(claims) :]
    assert sum("effect.verified" in fact for fact in facts) == sum(bool(one.events) for one in settles)


@pytest.mark.usefixtures("patient")
def test_a_neighbours_fault_is_his_own(database: Database, store: Store) -> None:
    """Where one of a crew is refused, the others get what they would have got alone."""
    run = opened(store)
    crew = [claim(*run) for _ in range(CREW)]
    crew[2] = replace(crew[2], key=b"too short")
    answers = Gathered(database, store, "claim").answers(claim(*opened(store)), crew)[1:]
    refused = answers.pop(2)
    assert isinstance(refused, LedgerRefused)
    assert refused.sqlstate == "LC002"
    assert [answer.answer for answer in answers] == [Answer.GO] * (CREW - 1)


@pytest.mark.usefixtures("patient")
def test_two_of_one_key_in_a_crew(database: Database, store: Store) -> None:
    """Of two claims of one key that go together, one has the effect and the other waits."""
    one = claim(*opened(store))
    two = replace(one, attempt=UUID(int=7))
    answers = Gathered(database, store, "claim").answers(claim(*opened(store)), [one, two])[1:]
    assert sorted(answer.answer for answer in answers) == [Answer.GO, Answer.WAIT]
    holder = (one, two)[[answer.answer for answer in answers].index(Answer.GO)]
    assert store.call(settle(holder)).answer is Verdict.SETTLED  # who was told to go is who has it


@pytest.mark.usefixtures("patient")
def test_a_crew_whose_backend_is_killed_is_sent_again(
    database: Database, store: Store, superuser: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """A connection that is lost with a crew under way costs nobody his answer."""
    blocked, run = opened(store), opened(store)
    crew = [claim(*run) for _ in range(CREW)] + [claim(*blocked)]
    with ThreadPoolExecutor(1) as killer:

        def kill() -> None:
            query = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
                " AND wait_event_type = 'Lock' AND query LIKE '%%unnest%%'"
            )
            until(lambda: superuser.execute(query, (NAME,)).fetchall())
            holder.rollback()

        holder = psycopg.connect(database.admin)
        holder.execute("SELECT 1 FROM control.run_state WHERE run_id = %s FOR UPDATE", (blocked[0],))
        killed = killer.submit(kill)
        answers = Gathered(database, store, "claim").answers(claim(*opened(store)), crew)
        killed.result()
        holder.close()
    assert [answer.answer for answer in answers] == [Answer.GO] * (CREW + 2)


def test_a_crew_that_hangs_holds_up_nobody_else(database: Database, store: Store) -> None:
    """Who waits in line behind somebody's lock for too long goes alone."""
    blocked, free = opened(store), opened(store)
    with psycopg.connect(database.admin) as holder, ThreadPoolExecutor(2) as threads:
        holder.execute("SELECT 1 FROM control.run_state WHERE run_id = %s FOR UPDATE", (blocked[0],))
        stuck = threads.submit(store.call, claim(*blocked))
        line: Any = store._combiners["claim"]._line
        until(lambda: line._busy)
        assert store.call(claim(*free)).answer is Answer.GO
        assert not stuck.done()
        holder.rollback()
        assert stuck.result().answer is Answer.GO


async def test_loops_go_together_too(store: Store, superuser: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Coroutines that claim at once need fewer commits than there are claims."""
    run = opened(store)
    crew = [claim(*run) for _ in range(24)]
    answers = await asyncio.gather(*(store.acall(one) for one in crew))
    assert {answer.answer for answer in answers} == {Answer.GO}
    assert commits(superuser, crew) < len(crew)


class Interrupted(BaseException):
    """What Ctrl-C is to a thread that leads."""


@pytest.mark.usefixtures("patient")
def test_a_leader_who_is_interrupted_leaves_nobody_behind() -> None:
    """Where the thread that carries a crew is stopped, the others send their own, and the next crew goes."""
    may_answer, line_is_full = threading.Event(), threading.Event()

    def alone(parameters: Any) -> dict[str, Any]:
        if parameters["key"] == 0:
            line_is_full.set()
            may_answer.wait()
        return {"key": parameters["key"]}

    def together(crew: Sequence[Any]) -> list[dict[str, Any]]:
        raise Interrupted

    combiner = Combiner(alone, together)
    line: Any = combiner._line
    with ThreadPoolExecutor(8) as threads:
        sent = [threads.submit(combiner.run, {"run_id": 0, "key": 0})]
        line_is_full.wait()
        sent += [threads.submit(combiner.run, {"run_id": 0, "key": key}) for key in range(1, 5)]
        until(lambda: len(line._waiting) == 4)
        may_answer.set()
        outcomes = [one.exception() or one.result() for one in sent]
    interrupted = [outcome for outcome in outcomes if isinstance(outcome, Interrupted)]
    assert len(interrupted) == 1
    assert sum(isinstance(outcome, dict) for outcome in outcomes) == 4
    assert combiner.run({"run_id": 0, "key": 9}) == {"key": 9}
