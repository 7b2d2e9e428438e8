"""How far sealing lags: the age of the oldest entry that no checkpoint covers, whatever is in the tree or handed in."""

import base64
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.seals import verified
from langgraph_control.audit.seals.checkpoints import Checkpoint, sign
from langgraph_control.audit.seals.requests import AddCheckpoint, Added, FindTree, Seal
from langgraph_control.audit.seals.verified import CoveredSize
from langgraph_control.audit.telemetry import meter_names as metrics
from langgraph_control.audit.telemetry.gauges import readings
from langgraph_control.audit.telemetry.sinks.requests import SealLag
from tests.audit.test_checkpoints import OTHER
from tests.support.pages import pages_read
from tests.support.postgres import Database
from tests.support.sealing import SealedRecord
from tests.support.trails import TrailWriter, tamper

DAY_SECONDS = 86_400


@pytest.fixture
def record(database: Database, tmp_path: Path) -> SealedRecord:
    """A record with the first key made."""
    return SealedRecord(database=database, folder=tmp_path)


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """Runs to seal."""
    with TrailWriter(database) as writer:
        yield writer


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    """Whoever collects, on the auditor's login."""
    made = Store(database.auditor)
    yield made
    made.close()


def lag(store: Store) -> float | None:
    """Return what a process says that began now."""
    return next((value for metric, value, _ in readings(store) if metric is metrics.SEAL_LAG), None)


def extend(trail: TrailWriter) -> None:
    """Have the heads become leaves, as an agent's login may, and sign nothing."""
    while trail.agent.ask(Seal(limit=1000)).answer == "more":
        pass


def hand_in_rubbish(database: Database, trail: TrailWriter) -> None:
    """Hand in a checkpoint of the tree as it stands under the present key's name, on the agent's login, unsigned."""
    extend(trail)
    tree = trail.agent.ask(FindTree())
    with psycopg.connect(database.admin) as admin:
        row = admin.execute("SELECT name, key_hash FROM control.signing_key WHERE until IS NULL").fetchone()
    assert row is not None
    note = sign(Checkpoint(origin=tree.origin, size=tree.size, root=tree.root), [OTHER])
    text = note[: note.index("— ")]
    false = f"{text}— {row[0]} {base64.b64encode(row[1] + bytes(64)).decode()}\n"
    assert trail.agent.ask(AddCheckpoint(size=tree.size, note=false)) is Added.STORED


def test_it_is_told_where_there_is_a_tree(database: Database, trail: TrailWriter, store: Store) -> None:
    """Nothing is said where nobody seals; where a tree grows and no key signs it, it is the age of the oldest entry."""
    trail.publish()
    assert lag(store) is None
    trail.pass_time(hours=1)
    trail.open()
    trail.pass_time(hours=1)
    extend(trail)
    assert lag(store) == pytest.approx(7200, abs=60)


def test_what_is_signed_lags_behind_nothing(record: SealedRecord, trail: TrailWriter, store: Store) -> None:
    """It is the age of the oldest entry that no checkpoint covers, of a new run or an old one, and 0 if all are."""
    run = trail.open("ticket/1")
    record.seal()
    trail.pass_time(days=3)
    assert lag(store) == 0
    trail.open("ticket/2")
    trail.pass_time(hours=1)
    trail.observe(run)
    trail.pass_time(hours=1)
    assert lag(store) == pytest.approx(7200, abs=60)
    record.seal()
    assert lag(store) == 0
    trail.observe(run)
    trail.pass_time(hours=1)
    assert lag(store) == pytest.approx(3600, abs=60)


@pytest.mark.parametrize("login", ["agent", "auditor"])
def test_leaves_that_nobody_signs_are_not_sealed(record: SealedRecord, trail: TrailWriter, login: str) -> None:
    """The tree may go on growing without a checkpoint, by a sealer without its key or an agent: the lag grows, too."""
    trail.open("ticket/1")
    record.seal()
    trail.open("ticket/2")
    store = Store(getattr(record.database, login))
    for _ in range(2):
        extend(trail)
        trail.pass_time(days=1)
        trail.open(f"ticket/{trail.passed.days}/more")
        extend(trail)
    assert lag(store) == pytest.approx(2 * DAY_SECONDS, abs=60)
    record.seal()
    assert lag(store) == 0
    store.close()


def test_rubbish_handed_in_hides_nothing(record: SealedRecord, trail: TrailWriter, store: Store) -> None:
    """Checkpoints that nobody signed cover nothing, before there is a signed one and after, however many there are."""
    trail.open("ticket/0")
    trail.pass_time(days=1)
    hand_in_rubbish(record.database, trail)
    assert lag(store) == pytest.approx(DAY_SECONDS, abs=60)
    record.seal()
    assert lag(store) == 0
    for number in range(1, 21):
        trail.open(f"ticket/{number}")
        hand_in_rubbish(record.database, trail)
    trail.pass_time(days=1)
    assert lag(store) == pytest.approx(DAY_SECONDS, abs=60)


def test_a_heap_of_rubbish_is_not_gone_through(
    record: SealedRecord, trail: TrailWriter, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One collection looks at so many checkpoints and no more; behind them is what was known, or nothing is covered."""
    monkeypatch.setattr(verified, "FIRST", 2)
    monkeypatch.setattr(verified, "LOOKED_AT_MAX", 4)
    trail.open("ticket/0")
    record.seal()
    covered = CoveredSize(store.call)
    assert covered() == 2
    for number in range(1, 6):
        trail.open(f"ticket/{number}")
        hand_in_rubbish(record.database, trail)
    assert covered() == 2
    assert CoveredSize(store.call)() == 0
    record.seal()
    assert covered() == CoveredSize(store.call)() == 7


def test_a_checkpoint_that_is_gone_covers_nothing(record: SealedRecord, trail: TrailWriter, store: Store) -> None:
    """What was known is forgotten where the ledger has it no more, as after a restore."""
    trail.open("ticket/0")
    record.seal()
    covered = CoveredSize(store.call)
    assert covered() == 2
    tamper(record.database, "ALTER TABLE control.checkpoint DISABLE TRIGGER ALL")
    tamper(record.database, "DELETE FROM control.checkpoint")
    assert covered() == 0


def test_what_commits_late_is_not_covered(record: SealedRecord, trail: TrailWriter, store: Store) -> None:
    """An entry whose transaction was under way while others were sealed and signed counts once it is there."""
    late = trail.open("ticket/late")
    record.seal()
    with psycopg.connect(record.database.admin) as slow:
        slow.execute(
            "SELECT control.append('default', %s, control.clock(), '{run.resumed}', '{}', '{}', NULL)", (late.run_id,)
        )
        trail.open("ticket/soon")
        record.seal()
        trail.pass_time(hours=1)
        assert lag(store) == 0
    assert lag(store) == pytest.approx(3600, abs=60)
    record.seal()
    assert lag(store) == 0


@pytest.mark.parametrize("changed", ["seen_before = seen_before + 1000000000", "system = system + 1"])
def test_a_dump_read_into_another_server(record: SealedRecord, trail: TrailWriter, store: Store, changed: str) -> None:
    """What another server had looked through counts for nothing until all chains were looked through here."""
    trail.open("ticket/1")
    record.seal()
    trail.pass_time(days=1)
    for table in ("tree", "tree_seen"):
        tamper(record.database, f"UPDATE control.{table} SET {changed}")
    assert lag(store) == pytest.approx(DAY_SECONDS, abs=60)
    record.seal()
    assert lag(store) == 0


def test_of_a_long_backlog_only_the_beginning_is_read(record: SealedRecord, trail: TrailWriter, store: Store) -> None:
    """However much is not sealed, as many pages are read as for little; the oldest entry is among the first."""
    run = trail.open("ticket/1")
    record.seal()
    pages = []
    for _ in range(2):
        tamper(
            record.database,
            "INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, hash)"
            " SELECT gen_random_uuid(), 1, 'default', control.clock() - interval '1 hour', '{}', '{}', ''"
            " FROM generate_series(1, 10000)",
        )
        assert store.call(SealLag(covered=2)) == pytest.approx(3_600_000, abs=60_000)
        pages.append(pages_read(record.database, "SELECT control.seal_lag_v1(2)"))
        trail.observe(run)
    assert pages[1] <= pages[0] * 1.1 + 8, pages
