"""How far a place is, as it is told: always what it lacks, and for what moved since it was last noted alone."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from opentelemetry.sdk.trace import ReadableSpan

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.keeping.erasure import retain
from langgraph_control.audit.telemetry.sinks import following as following_module
from langgraph_control.audit.telemetry.sinks.following import Following, Stepped
from langgraph_control.audit.telemetry.sinks.requests import RetrySpans, SpanNote, SpanSinks
from langgraph_control.audit.telemetry.sinks.sink import Answer, Verdict
from tests.support.pages import pages_read
from tests.support.postgres import Database
from tests.support.trails import OpenRun, TrailWriter, tamper

# What is told, by its definition: all chains, and of each the entries after the one that the place has.
LACKING = """
SELECT coalesce(sum(s.seq - h.has), 0)::bigint, min(e.at) FROM control.run_state s
    LEFT JOIN control.span_cursor c
        ON c.sink = 'place' AND c.role = 'auditor' AND c.tenant = s.tenant AND c.run_id = s.run_id
    CROSS JOIN LATERAL (SELECT greatest(coalesce(c.seq, 0), coalesce(max(d.seq), 0)) AS has FROM control.dropped d
                        WHERE d.tenant = s.tenant AND d.run_id = s.run_id) h
    JOIN control.entry e ON e.run_id = s.run_id AND e.seq = h.has + 1
WHERE s.tenant = 'default' AND s.seq > h.has
"""
# Ids that grow, as those of runs do.
ID = "(lpad(to_hex(n), 8, '0') || '-0000-7000-8000-000000000000')::uuid"
NUMBERS = "FROM generate_series(%(first)s::integer, %(first)s::integer + 9999) n"
CHAINS = (
    f"""
INSERT INTO control.run_state (run_id, tenant, seq, state, state_since)
SELECT {ID}, 'default', 1, 'done', now() {NUMBERS}
""",
    f"""
INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, hash)
SELECT {ID}, 1, 'default', now(), '{{}}', convert_to(repeat('x', 200), 'UTF8'), '' {NUMBERS}
""",
    f"""
INSERT INTO control.span_cursor (tenant, role, sink, run_id, seq)
SELECT 'default', 'auditor', 'place', {ID}, 1 {NUMBERS}
""",
)


class Place:
    """A place in this process."""

    name, batch_spans, timeout_seconds = "place", 512, 5.0

    def __init__(self) -> None:
        self.away = False
        self.refuses = ""

    def send(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Take them, or not, or not those of a name."""
        if self.away:
            return Answer(verdict=Verdict.AWAY, error="away")
        if any(span.name == self.refuses for span in spans):
            return Answer(verdict=Verdict.REFUSED, error="refused")
        return Answer(verdict=Verdict.TAKEN)

    def takes_nothing(self) -> bool | None:
        """It does, unless it is away."""
        return not self.away

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """Runs whose spans are sent."""
    with TrailWriter(database) as writer:
        writer.publish()
        yield writer


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    """The ledger on the auditor's login."""
    made = Store(database.auditor)
    yield made
    made.close()


@pytest.fixture
def place() -> Place:
    """Where the spans go."""
    return Place()


@pytest.fixture
def following(store: Store, place: Place, monkeypatch: pytest.MonkeyPatch) -> Following:
    """A process that sends there, and notes with every step what is lacking."""
    monkeypatch.setattr(following_module, "NOTE_SECONDS", 0.0)
    return Following(store, place)


def everything(following: Following) -> None:
    """Send what there is."""
    while following.step() is Stepped.SENT:
        pass


def told(database: Database, store: Store) -> int:
    """Return how many entries the place is said to lack, which is what it lacks, and since when."""
    with psycopg.connect(database.admin) as admin:
        row = admin.execute(LACKING).fetchone()
    (state,) = store.call(SpanSinks())
    assert (state.behind, state.oldest) == row
    return state.behind


def noted(database: Database) -> tuple[Any, ...] | None:
    """Return up to which transaction it is known what is lacking, and how many chains that is."""
    with psycopg.connect(database.admin) as admin:
        return admin.execute("SELECT seen_before, cardinality(lacking) FROM control.span_sink").fetchone()


def test_before_all_was_looked_through_nothing_is_noted(
    database: Database, trail: TrailWriter, store: Store, following: Following, place: Place
) -> None:
    """Of a place that took nothing yet, and of one that has everything, it is told what it lacks."""
    trail.refund()
    place.away = True
    assert following.step() is Stepped.FAILED
    assert noted(database) == (None, 0)
    assert told(database, store) > 0
    place.away = False
    everything(following)
    assert noted(database) != (None, 0)
    assert told(database, store) == 0


def test_what_moves_is_told(
    database: Database, trail: TrailWriter, store: Store, following: Following, place: Place
) -> None:
    """What is written after it was noted is told, for as long as the place takes nothing, however often it is noted."""
    run = trail.refund()
    everything(following)
    place.away = True
    write(database, run)
    lacking = told(database, store)
    assert lacking > 0
    assert following.step() is Stepped.FAILED
    trail.refund("ticket/2")
    assert told(database, store) > lacking
    assert store.call(SpanNote(sink="place"))
    assert noted(database) != (None, 0)
    write(database, run)
    assert told(database, store) > lacking + 1
    place.away = False
    everything(following)
    assert told(database, store) == 0


def test_what_commits_late_is_told(database: Database, trail: TrailWriter, store: Store, following: Following) -> None:
    """An entry whose transaction was under way while it was noted counts once it is there, whatever was noted since."""
    late = trail.open("ticket/late")
    everything(following)
    with psycopg.connect(database.admin) as slow:
        append(slow, late)
        trail.refund("ticket/soon")
        everything(following)
        assert told(database, store) == 0
    trail.refund("ticket/later")
    assert store.call(SpanNote(sink="place"))
    assert told(database, store) > 1
    everything(following)
    assert told(database, store) == 0


def test_what_is_to_be_sent_again_is_told(
    database: Database, trail: TrailWriter, store: Store, following: Following, place: Place
) -> None:
    """Chains that are gone back in count, though nobody wrote to them, and go on counting until they are sent."""
    place.refuses = "control.approval"
    trail.refund()
    trail.refund("ticket/2")
    everything(following)
    assert told(database, store) == 0
    place.refuses = ""
    assert store.call(RetrySpans(sink="place")) == 2
    lacking = told(database, store)
    assert lacking > 0
    for _ in range(2):
        assert store.call(SpanNote(sink="place"))
        assert told(database, store) == lacking
    everything(Following(store, place))
    assert told(database, store) == 0


def test_what_retention_dropped_is_not_told(
    database: Database, trail: TrailWriter, store: Store, following: Following, place: Place
) -> None:
    """What nobody can be sent any more is not lacking, also where it was noted as that."""
    everything(following)
    trail.refund()
    place.away = True
    assert following.step() is Stepped.FAILED
    assert store.call(SpanNote(sink="place"))
    lacking = told(database, store)
    trail.pass_time(days=75)
    list(retain(database.admin, timedelta(0), comment="over", told=b'"gone"'))
    assert told(database, store) < lacking


@pytest.mark.parametrize("changed", ["seen_before = seen_before + 1000000000", "system = system + 1"])
def test_a_dump_read_into_another_server(
    database: Database, trail: TrailWriter, store: Store, following: Following, changed: str
) -> None:
    """What another server had noted counts for nothing here: all chains are gone through until it is noted anew."""
    run = trail.refund()
    everything(following)
    write(database, run)
    tamper(database, f"UPDATE control.span_sink SET lacking = '{{}}', {changed}")
    assert told(database, store) > 0
    assert store.call(SpanNote(sink="place"))
    assert told(database, store) > 0
    everything(following)
    assert told(database, store) == 0


def test_too_much_to_note(database: Database, trail: TrailWriter, store: Store, following: Following) -> None:
    """Where more chains are lacking than are noted, what was noted before stays, and what is told is right."""
    everything(following)
    before = noted(database)
    add_chains(database, first=0)
    tamper(database, "DELETE FROM control.span_cursor WHERE run_id <> control.tenant_chain_id('default')")
    trail.refund()
    assert told(database, store) > 10_000
    assert not store.call(SpanNote(sink="place"))
    assert noted(database) == before
    assert told(database, store) > 10_000


QUESTIONS = (
    "SELECT * FROM control.span_sinks_v1()",
    "SELECT * FROM control.span_recent_v1('place', 0, 100)",
    "SELECT * FROM control.span_behind_v1('place', '00000fff-0000-0000-0000-000000000000', 1000)",
    "SELECT control.span_note_v1('place')",
)


def test_asking_costs_the_same_beside_more_chains(
    database: Database, trail: TrailWriter, store: Store, following: Following
) -> None:
    """However many chains a place has, as many pages are looked at for the one that it lacks."""
    run = trail.refund()
    add_chains(database, first=0)
    everything(following)
    pages: dict[str, list[int]] = {question: [] for question in QUESTIONS}
    for first in (10_000, 30_000):
        for part in (0, 10_000):
            add_chains(database, first=first + part)
        looks = []
        for _ in range(3):  # the least of them: the server may still tidy up meanwhile
            assert store.call(SpanNote(sink="place"))
            write(database, run)
            looks.append([pages_read(database, question) for question in QUESTIONS])
            everything(following)
        for question, least in zip(QUESTIONS, map(min, zip(*looks, strict=True)), strict=True):
            pages[question].append(least)
    assert all(more <= fewer * 1.1 + 8 for fewer, more in pages.values()), pages


def write(database: Database, run: OpenRun) -> None:
    """Add an entry to a run's chain."""
    with psycopg.connect(database.admin) as admin:
        append(admin, run)


def append(connection: psycopg.Connection, run: OpenRun) -> None:
    """Add an entry to a run's chain, in a transaction that goes on."""
    connection.execute(
        "SELECT control.append('default', %s, control.clock(), '{run.resumed}', '{}', '{}', NULL)", (run.run_id,)
    )


def add_chains(database: Database, *, first: int) -> None:
    """Add ten thousand chains of one entry each, which the place has."""
    with psycopg.connect(database.admin) as admin:
        for statement in CHAINS:
            admin.execute(statement, {"first": first})
