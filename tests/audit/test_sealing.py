"""The tree over the chains' heads: everything is sealed once, nothing twice, and nobody but the ledger makes a leaf."""

import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from langgraph_control.audit.asking.ledger import Request
from langgraph_control.audit.asking.requests import FindTenantChain
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.seals import rotation
from langgraph_control.audit.seals.checkpoints import Checkpoint, SignedCheckpoint, sign
from langgraph_control.audit.seals.pins import FilePin, pinned_notes
from langgraph_control.audit.seals.requests import (
    AddCheckpoint,
    Added,
    Checkpoints,
    FindTree,
    LeafRow,
    Leaves,
    RotateKey,
    Seal,
    SealDue,
    Sealing,
    SigningKeys,
    TreeNodes,
)
from langgraph_control.audit.seals.rotation import create_key, replace_lost_key, rotate_key
from langgraph_control.audit.seals.sealing import Sealer, SealRound
from langgraph_control.audit.seals.signers import FileSigner
from langgraph_control.audit.seals.tree import CompactRange, leaf_data, leaf_hash
from langgraph_control.audit.seals.verified import NewestNote
from langgraph_control.audit.telemetry.sinks.requests import SealLag
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.sentences import sentence
from langgraph_control.errors import ControlError, SealRefused
from tests.audit.test_checkpoints import OTHER
from tests.support.postgres import Database
from tests.support.trails import TrailWriter, tamper

T = TypeVar("T")

TENANT = "default"


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A database with a signing key and a file to pin in."""

    database: Database
    folder: Path

    @property
    def key(self) -> Path:
        """The key file."""
        return self.folder / "seal.key"

    @property
    def pin(self) -> FilePin:
        """The pin."""
        return FilePin(self.folder / "pins")

    def sealer(self, **changes: object) -> Sealer:
        """A sealer on the auditor's login."""
        return Sealer(self.database.auditor, FileSigner(self.key), [self.pin], **changes)  # type: ignore[arg-type]

    def seal(self) -> int:
        """Seal once, in a sealer of its own, and return how many leaves were added."""
        sealer = self.sealer()
        try:
            return sealer.once().sealed
        finally:
            sealer.close()

    def pinned(self) -> tuple[str, ...]:
        """What the pin has."""
        return pinned_notes(self.pin.path.read_text()) if self.pin.path.exists() else ()


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> Ground:
    """A ground with the first key made."""
    made = Ground(database=database, folder=tmp_path)
    create_key(database.admin, made.key)
    return made


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """Runs to seal."""
    with TrailWriter(database) as writer:
        yield writer


def leaves(ground: Ground, run_id: UUID | None = None) -> tuple[LeafRow, ...]:
    """The leaves, as an auditor reads them."""
    with LedgerConnection(ground.database.auditor) as auditor:
        return auditor.ask(Leaves(run_id=run_id))


def root_of(rows: tuple[LeafRow, ...]) -> bytes:
    """The root over leaves, made in Python."""
    tree = CompactRange()
    for row in rows:
        tree = tree.append(leaf_hash(leaf_data(tenant=TENANT, run_id=row.run_id, seq=row.seq, head=row.head)))
    return tree.root()


def test_every_head_is_a_leaf_once(ground: Ground, trail: TrailWriter) -> None:
    """Runs and the tenant's own chain are sealed at the heads they have; sealed again, nothing is added."""
    runs = [trail.open(f"ticket/{number}") for number in range(5)]
    assert ground.seal() == 6
    assert ground.seal() == 0
    trail.observe(runs[2])
    trail.observe(runs[2])
    assert ground.seal() == 1
    rows = leaves(ground)
    assert [row.index for row in rows] == list(range(7))
    assert [(row.run_id, row.seq) for row in rows[6:]] == [(runs[2].run_id, 3)]
    for run in runs:
        *_, newest = leaves(ground, run.run_id)
        *_, entry = trail.agent.entries(run.run_id)
        assert (newest.seq, newest.head) == (entry.seq, entry.hash)


def test_the_tree_in_sql_is_the_rfcs(ground: Ground, trail: TrailWriter) -> None:
    """After each of many growths of many sizes, SQL's root and nodes are those that Python makes of the leaves."""
    with LedgerConnection(ground.database.auditor) as auditor:
        for number in range(24):
            for more in range(number % 4 + 1):
                trail.open(f"ticket/{number}/{more}")
            sealed = auditor.ask(Seal(limit=1 + number % 3))
            while sealed.answer is Sealing.MORE:
                sealed = auditor.ask(Seal(limit=1 + number % 3))
            rows = auditor.ask(Leaves())
            assert (sealed.size, sealed.root) == (len(rows), root_of(rows))
        rows = auditor.ask(Leaves())
        size = len(rows)
        wanted = [(level, index) for level in range(8) for index in range(size + 1)]
        nodes = auditor.ask(TreeNodes(levels=[level for level, _ in wanted], indexes=[index for _, index in wanted]))
        assert set(nodes) == {(level, index) for level, index in wanted if (index + 1) << level <= size}
        for (level, index), value in nodes.items():
            assert value == root_of(rows[index << level : (index + 1) << level])


def test_what_commits_late_is_sealed(ground: Ground, trail: TrailWriter) -> None:
    """An entry of a transaction that was under way while others committed and were sealed is sealed once it commits."""
    late, soon = trail.open("ticket/late"), trail.open("ticket/soon")
    ground.seal()
    with psycopg.connect(ground.database.admin) as slow:
        slow.execute(
            "SELECT control.append(%s, %s, clock_timestamp(), '{run.resumed}', '{}', '{}', NULL)", (TENANT, late.run_id)
        )
        for _ in range(3):
            trail.observe(soon)
            assert ground.seal() == 1
        slow.commit()
    assert ground.seal() == 1
    assert [row.seq for row in leaves(ground, late.run_id)] == [1, 2]
    assert ground.seal() == 0


def test_a_run_is_not_locked_by_sealing(ground: Ground, trail: TrailWriter) -> None:
    """While somebody holds a run's row, its chain is sealed all the same, and nobody waits."""
    run = trail.open()
    with psycopg.connect(ground.database.admin) as holder:
        holder.execute("SELECT 1 FROM control.run_state WHERE run_id = %s FOR UPDATE", (run.run_id,))
        assert ground.seal() == 2


def test_two_sealers_take_turns(ground: Ground, trail: TrailWriter) -> None:
    """Sealers that are all at it at once leave one tree without a gap, each head in it once, and right checkpoints."""
    sealers = [ground.sealer(leaves=3) for _ in range(4)]
    stop, failed = threading.Event(), list[BaseException]()

    def toil(sealer: Sealer) -> None:
        try:
            while not stop.is_set():
                sealer.once()
        except BaseException as error:  # noqa: BLE001 - looked at below
            failed.append(error)

    threads = [threading.Thread(target=toil, args=(sealer,)) for sealer in sealers]
    for thread in threads:
        thread.start()
    for number in range(40):
        trail.open(f"ticket/{number}")
    stop.set()
    for thread in threads:
        thread.join()
    for sealer in sealers:
        sealer.close()
    assert failed == []
    ground.seal()
    rows = leaves(ground)
    assert [row.index for row in rows] == list(range(len(rows)))
    assert len({row.run_id for row in rows}) == 41
    with LedgerConnection(ground.database.auditor) as auditor:
        for kept in auditor.ask(Checkpoints(limit=1000)):
            assert kept.root == root_of(rows[: kept.size])


def test_another_signs_more_meanwhile(ground: Ground, trail: TrailWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sealer that is overtaken between its growth and its signature finds nothing left to sign, and nothing amiss."""
    trail.open("ticket/1")
    slow, overtaken = ground.sealer(), list[int]()
    ask = slow._store.call

    def call(request: Request[T]) -> T:
        answer = ask(request)
        if request.statement == Checkpoints.statement and not overtaken:
            trail.open("ticket/2")
            overtaken.append(ground.seal())
        return answer

    monkeypatch.setattr(slow._store, "call", call)
    done = slow.once()
    slow.close()
    assert overtaken == [1]
    assert (done.sealed, done.checkpoint) == (2, ground.pinned()[-1])


def test_somebody_else_is_at_it(ground: Ground, trail: TrailWriter) -> None:
    """Where another holds the tree, a sealer does not wait: it says so, and pins what there is."""
    ground.seal()
    trail.open()
    with psycopg.connect(ground.database.admin) as holder:
        holder.execute("SELECT 1 FROM control.tree FOR UPDATE")
        sealer = ground.sealer()
        done = sealer.once()
        sealer.close()
    assert (done.busy, done.sealed, done.checkpoint) == (True, 0, ground.pinned()[-1])


def test_broken_off_before_the_checkpoint(ground: Ground, trail: TrailWriter) -> None:
    """Leaves whose checkpoint was never signed are signed with the next round, though no run has moved."""
    trail.open()
    with LedgerConnection(ground.database.auditor) as auditor:
        assert auditor.ask(Seal(limit=100)).sealed == 2
        assert auditor.ask(Checkpoints()) == ()
        assert ground.seal() == 0
        (kept,) = auditor.ask(Checkpoints())
    assert (kept.size, ground.pinned()) == (2, (kept.note,))


def test_broken_off_before_the_pin(ground: Ground, trail: TrailWriter) -> None:
    """A checkpoint that no pin was given is pinned by the next round, of whichever process."""
    trail.open()
    unpinned = Sealer(ground.database.auditor, FileSigner(ground.key))
    note = unpinned.once().checkpoint
    unpinned.close()
    assert ground.pinned() == ()
    ground.seal()
    assert ground.pinned() == (note,)


def test_broken_off_in_mid_growth(ground: Ground, trail: TrailWriter) -> None:
    """When the database fails while the tree grows, nothing of it is kept; the next round has it all."""
    for number in range(5):
        trail.open(f"ticket/{number}")
    ground.seal()
    before = leaves(ground)
    tamper(ground.database, "ALTER TABLE control.tree_node ADD CONSTRAINT full_disk CHECK (level < 2) NOT VALID")
    for number in range(5, 9):
        trail.open(f"ticket/{number}")
    with pytest.raises(ControlError):
        ground.seal()
    assert leaves(ground) == before
    tamper(ground.database, "ALTER TABLE control.tree_node DROP CONSTRAINT full_disk")
    assert ground.seal() == 4
    with LedgerConnection(ground.database.auditor) as auditor:
        assert auditor.ask(FindTree()).root == root_of(leaves(ground)) == auditor.ask(Checkpoints())[0].root


class BrokenPin:
    """A pin whose disk is full until it is told otherwise."""

    def __init__(self) -> None:
        self.full = True
        self.notes: list[str] = []

    def __str__(self) -> str:
        return "broken"

    def pin(self, note: str) -> None:
        """Keep it, or fail."""
        if self.full:
            raise OSError(28, "No space left on device")
        self.notes.append(note)


def test_a_pin_that_fails_stops_nothing(ground: Ground, trail: TrailWriter) -> None:
    """A pin that raises anything keeps back neither sealing nor other pins; it is given the newest once it can."""
    broken = BrokenPin()
    sealer = Sealer(ground.database.auditor, FileSigner(ground.key), [broken, ground.pin])
    trail.open("ticket/1")
    assert sealer.once().unpinned == (("broken", "OSError"),)
    trail.open("ticket/2")
    assert sealer.once().sealed == 1
    assert [SignedCheckpoint.parse(note).checkpoint.size for note in ground.pinned()] == [2, 3]
    broken.full = False
    done = sealer.once()
    sealer.once()
    sealer.close()
    assert (done.unpinned, broken.notes) == ((), [done.checkpoint])


def test_sealing_in_a_thread(ground: Ground, trail: TrailWriter, caplog: pytest.LogCaptureFixture) -> None:
    """An entered sealer seals what comes, outlives a key that is gone for a while, and says that once."""
    done = threading.Event()

    class Seen:
        def pin(self, note: str) -> None:
            if SignedCheckpoint.parse(note).checkpoint.size == 3:
                done.set()

    trail.open("ticket/1")
    sealer = Sealer(ground.database.auditor, FileSigner(ground.key), [Seen()], every_seconds=0.01)
    away = ground.key.with_name("away")
    ground.key.rename(away)
    with caplog.at_level("INFO", "langgraph_control"), sealer:
        while not caplog.records:
            done.wait(0.01)
        trail.open("ticket/2")
        away.rename(ground.key)
        assert done.wait(20)
    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1
    assert "key_missing" in warned[0].message


def test_a_round_begins_early_when_enough_has_come(ground: Ground, trail: TrailWriter) -> None:
    """Where so many chains moved as are to be signed at the latest, nothing waits for the time between rounds."""
    sizes: queue.SimpleQueue[int] = queue.SimpleQueue()

    class Seen:
        def pin(self, note: str) -> None:
            sizes.put(SignedCheckpoint.parse(note).checkpoint.size)

    ground.seal()
    before = len(leaves(ground))
    trail.open("ticket/0")
    with Sealer(ground.database.auditor, FileSigner(ground.key), [Seen()], every_seconds=600, leaves=5):
        assert sizes.get(timeout=20) == before + 1  # its first round
        for number in range(5):
            trail.open(f"ticket/{number + 1}")
        assert sizes.get(timeout=20) == before + 6


def test_whether_a_round_is_due_is_known_without_a_look_at_entries(ground: Ground, trail: TrailWriter) -> None:
    """Before there were so many transactions as leaves are asked for none is due; after that, chains are counted."""
    ground.seal()
    auditor = Store(ground.database.auditor)
    run = trail.open("ticket/1")
    later = auditor.call(SealDue(leaves=100_000, not_before=None))
    assert later is not None
    assert auditor.call(SealDue(leaves=100_000, not_before=later)) == later
    assert auditor.call(SealDue(leaves=1, not_before=later)) == later
    for _ in range(4):
        trail.observe(run)
    soon = auditor.call(SealDue(leaves=2, not_before=None))
    assert soon is not None
    assert soon < later  # one chain moved: another transaction could be enough
    trail.open("ticket/2")
    assert auditor.call(SealDue(leaves=2, not_before=soon)) is None
    ground.seal()
    assert auditor.call(SealDue(leaves=1, not_before=None)) is not None
    auditor.close()


def test_a_clock_that_jumps_back(ground: Ground, trail: TrailWriter) -> None:
    """Entries whose time lies before what was sealed are sealed like any other."""
    trail.open("ticket/1")
    ground.seal()
    trail.pass_time(days=-400)
    run = trail.open("ticket/2")
    assert ground.seal() == 1
    assert leaves(ground)[-1].run_id == run.run_id
    assert ground.seal() == 0


def test_a_dump_that_was_read_into_another_server(ground: Ground, trail: TrailWriter) -> None:
    """Where transactions are numbered afresh, lower than those that were sealed, all chains are looked through once."""
    run = trail.open("ticket/1")
    ground.seal()
    trail.observe(run)
    tamper(ground.database, "UPDATE control.entry SET xact = xact + 1000000000")
    tamper(ground.database, "UPDATE control.tree SET seen_before = seen_before + 1000000000")
    trail.open("ticket/2")
    assert ground.seal() == 2
    trail.observe(run)
    assert ground.seal() == 1


def test_a_large_dump_is_gone_through_once(ground: Ground, trail: TrailWriter) -> None:
    """However many entries a server has of which it cannot have numbered one, sealing ends, and lags behind nothing."""
    trail.open("ticket/1")
    ground.seal()
    more = [trail.open(f"ticket/more/{number}") for number in range(7)]
    tamper(
        ground.database,
        "INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, hash)"
        " SELECT gen_random_uuid(), 1, 'default', now() - interval '200 days', '{}', '{}', ''"
        " FROM generate_series(1, 100000)",
    )
    tamper(ground.database, "UPDATE control.entry SET xact = xact + 1000000000")
    tamper(ground.database, "UPDATE control.tree SET seen_before = seen_before + 1000000000")
    sealer = ground.sealer(leaves=3)
    ask, asked = sealer._store.call, list[object]()

    def call(request: Request[T]) -> T:
        asked.append(request)
        assert len(asked) < 100
        return ask(request)

    sealer._store.call = call  # type: ignore[method-assign, assignment]
    assert sealer.once().sealed == len(more)
    sealer.close()
    assert ground.seal() == 0
    with LedgerConnection(ground.database.auditor) as auditor:
        assert auditor.ask(SealLag(covered=auditor.ask(FindTree()).size)) == 0
    trail.observe(more[0])
    assert ground.seal() == 1


def test_a_dump_on_a_server_that_is_not_younger(ground: Ground, trail: TrailWriter) -> None:
    """Entries that were not sealed yet are sealed there, also where the numbers of their transactions lie ahead."""
    run = trail.open("ticket/1")
    ground.seal()
    trail.observe(run)
    tamper(ground.database, "UPDATE control.entry SET xact = xact + 1000000000")
    tamper(ground.database, "UPDATE control.tree SET system = system + 1")
    assert ground.seal() == 1
    assert ground.seal() == 0


def test_a_long_backlog(ground: Ground, trail: TrailWriter) -> None:
    """After more entries than a round looks at, all chains are gone through, part by part, and every one is sealed."""
    run = trail.open("ticket/1")
    ground.seal()
    trail.observe(run)
    tamper(
        ground.database,
        "INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, hash)"
        " SELECT %s, n, 'default', now(), '{}', '{}', '' FROM generate_series(1000, 101000) n",
        run.run_id,
    )
    more = [trail.open(f"ticket/more/{number}") for number in range(7)]
    sealer = ground.sealer(leaves=3)
    assert sealer.once().sealed == 8
    sealer.close()
    assert all(leaves(ground, one.run_id) for one in more)
    assert ground.seal() == 0
    with psycopg.connect(ground.database.admin) as admin:
        assert (admin.execute("SELECT blocks FROM control.summarized").fetchone() or (0,))[0] > 0
    trail.observe(run)
    assert ground.seal() == 1


# --- What a compromised agent can and cannot do ---


@pytest.mark.parametrize("table", ["tree", "tree_seen", "leaf", "tree_node", "checkpoint", "signing_key", "summarized"])
def test_no_login_touches_the_tables(ground: Ground, table: str) -> None:
    """Neither agent, approver nor auditor reads or writes the tree's tables: there are functions for what they may."""
    for dsn in (ground.database.agent, ground.database.auditor, ground.database.local_approver):
        with psycopg.connect(dsn, autocommit=True) as login:
            for statement in (
                "SELECT FROM control.{}",
                "DELETE FROM control.{}",
                "INSERT INTO control.{} DEFAULT VALUES",
            ):
                with pytest.raises(errors.InsufficientPrivilege):
                    login.execute(statement.format(table).encode())


@pytest.mark.parametrize("table", ["leaf", "tree_node", "checkpoint"])
def test_the_owner_only_adds(ground: Ground, trail: TrailWriter, table: str) -> None:
    """Even the owner's changes are refused as long as the triggers are on."""
    trail.open()
    ground.seal()
    with psycopg.connect(ground.database.admin, autocommit=True) as owner:
        for statement in ("DELETE FROM control.{}", "TRUNCATE control.{}", "UPDATE control.{} SET tenant = 'x'"):
            with pytest.raises(errors.InsufficientPrivilege, match="only ever added to"):
                owner.execute(statement.format(table).encode())


@pytest.mark.parametrize(
    "call",
    [
        "SELECT control.grow('default', 0, 1)",
        "SELECT control.tree_of('default')",
        "SELECT control.tree_root('default', 0)",
        "SELECT control.moved('default', 0, '{}', 1)",
        "SELECT control.unsealed('default', '{}', 1)",
        "SELECT control.summarize()",
        "SELECT control.key_rotate_v1('x', '\\x00', '{}')",
    ],
)
def test_the_inner_functions_are_closed(ground: Ground, call: str) -> None:
    """What the functions are made of, and changing the key, is nothing an agent or auditor can call."""
    for dsn in (ground.database.agent, ground.database.auditor):
        with psycopg.connect(dsn, autocommit=True) as login, pytest.raises(errors.InsufficientPrivilege):
            login.execute(call.encode())


def test_an_agent_may_seal_and_nothing_more(ground: Ground, trail: TrailWriter) -> None:
    """An agent's login seals and hands in right checkpoints; an approver's does neither, and tenants do not meet."""
    trail.open()
    sealer = Sealer(ground.database.agent, FileSigner(ground.key))
    assert sealer.once().sealed == 2
    sealer.close()
    with LedgerConnection(ground.database.local_approver) as approver, pytest.raises(ControlError):
        approver.ask(Seal(limit=1))
    with LedgerConnection(ground.database.second_tenant_agent) as other:
        assert other.ask(Seal(limit=10)).size == 0
        assert (other.ask(Leaves()), other.ask(Checkpoints()), other.ask(SigningKeys())) == ((), (), ())
        assert other.ask(TreeNodes(levels=[0], indexes=[0])) == {}
        assert other.ask(FindTree()).origin != sealer_origin(ground)


def sealer_origin(ground: Ground) -> str:
    """The name of the first tenant's tree."""
    with LedgerConnection(ground.database.auditor) as auditor:
        return auditor.ask(FindTree()).origin


def test_a_wrong_checkpoint_is_not_kept(ground: Ground, trail: TrailWriter) -> None:
    """One with another root, size or origin, or signed by no key of the tree, is refused, whoever hands it in."""
    trail.open()
    with LedgerConnection(ground.database.agent) as agent:
        sealed = agent.ask(Seal(limit=10))
        tree = agent.ask(FindTree())
        signer = FileSigner(ground.key)
        right = Checkpoint(origin=tree.origin, size=tree.size, root=tree.root)
        wrong = {
            "root": Checkpoint(origin=tree.origin, size=tree.size, root=bytes(32)),
            "size": Checkpoint(origin=tree.origin, size=tree.size + 1, root=tree.root),
            "origin": Checkpoint(origin="another", size=tree.size, root=tree.root),
        }
        for checkpoint in wrong.values():
            for size in (tree.size, tree.size + 1):
                assert agent.ask(AddCheckpoint(size=size, note=sign(checkpoint, [signer]))) is Added.WRONG
        note = sign(right, [signer])
        for text in (note + "x", note[:-1], note + "\n", f"x{note}", note.replace("—", "-"), right.text() + "\n"):
            assert agent.ask(AddCheckpoint(size=tree.size, note=text)) is Added.WRONG
        assert agent.ask(AddCheckpoint(size=tree.size, note=sign(right, [OTHER]))) is Added.KEY
        assert agent.ask(AddCheckpoint(size=tree.size, note=sign(right, [signer, OTHER]))) is Added.KEY
        assert agent.ask(Checkpoints()) == ()
        assert agent.ask(AddCheckpoint(size=tree.size, note=note)) is Added.STORED
        assert agent.ask(AddCheckpoint(size=tree.size, note=note)) is Added.KNOWN
        assert [row.root for row in agent.ask(Checkpoints(from_size=1))] == [sealed.root]


def test_a_checkpoint_with_a_false_signature_is_passed_over(ground: Ground, trail: TrailWriter) -> None:
    """What is handed in under the key's name without the key is neither pinned nor taken for ours; sealing goes on."""
    trail.open("ticket/1")
    false_signature(ground)
    same_login = Sealer(ground.database.agent, FileSigner(ground.key), [ground.pin])
    assert same_login.once().checkpoint is None
    assert ground.pinned() == ()
    trail.open("ticket/2")
    assert same_login.once().checkpoint is not None
    same_login.close()
    assert [SignedCheckpoint.parse(one).checkpoint.size for one in ground.pinned()] == [3]


def false_signature(ground: Ground) -> None:
    """Hand in a checkpoint of the tree as it stands, on the agent's login, with a signature that is none."""
    with LedgerConnection(ground.database.agent) as agent:
        agent.ask(Seal(limit=10))
        tree = agent.ask(FindTree())
        note = sign(Checkpoint(origin=tree.origin, size=tree.size, root=tree.root), [FileSigner(ground.key)])
        head, _, signature = note.rpartition(" ")
        false = f"{head} {signature[:20]}{'A' * 60}{signature[80:]}"
        assert agent.ask(AddCheckpoint(size=tree.size, note=false)) is Added.STORED


def test_false_signatures_switch_nothing_off(
    ground: Ground, trail: TrailWriter, caplog: pytest.LogCaptureFixture
) -> None:
    """However many sizes an agent's login takes, a sealer on another one signs them, and messages carry what is signed.

    It is logged once for each, and not with each round.
    """
    trail.open("ticket/0")
    ground.seal()
    (first,) = ground.pinned()
    with LedgerConnection(ground.database.auditor) as auditor:
        newest = NewestNote(auditor.ask)
        assert newest() == first
        for number in range(1, 21):
            trail.open(f"ticket/{number}")
            false_signature(ground)
            assert newest() == first
        assert NewestNote(auditor.ask)() == first
        same_login, sealer = Sealer(ground.database.agent, FileSigner(ground.key)), ground.sealer()
        caplog.clear()
        assert [same_login.once().checkpoint for _ in range(3)] == [first] * 3
        assert len(caplog.records) == 1
        assert "of size 22" in caplog.text
        assert "19 smaller ones" in caplog.text
        assert sealer.once().checkpoint == newest() == ground.pinned()[-1] != first
        trail.open("ticket/more")
        false_signature(ground)
        caplog.clear()
        assert same_login.once().checkpoint == newest()
        assert len(caplog.records) == 1
    same_login.close()
    sealer.close()


def test_a_tree_that_was_rewritten_is_not_signed(ground: Ground, trail: TrailWriter) -> None:
    """A sealer that has signed a tree signs no other that does not begin with it, whatever the database says."""
    trail.open("ticket/1")
    sealer = ground.sealer()
    sealer.once()
    for table in ("leaf", "tree_node", "checkpoint"):
        tamper(ground.database, f"ALTER TABLE control.{table} DISABLE TRIGGER ALL")
        tamper(ground.database, f"DELETE FROM control.{table}")
    tamper(
        ground.database,
        "UPDATE control.tree SET size = 0, sweep_after = '00000000-0000-0000-0000-000000000000'",
    )
    tamper(ground.database, "UPDATE control.run_state SET head = sha256(head)")
    trail.open("ticket/2")
    with pytest.raises(SealRefused) as refused:
        sealer.once()
    sealer.close()
    assert refused.value.code == "tree_rewritten"
    assert len(ground.pinned()) == 1


@pytest.mark.parametrize("taken_out", [1, 2], ids=["one", "all that it signed"])
@pytest.mark.parametrize("more", [False, True], ids=["cut", "cut and grown again"])
def test_a_tree_that_was_cut_is_not_signed(ground: Ground, trail: TrailWriter, taken_out: int, *, more: bool) -> None:
    """Where the newest leaves were cut off and the checkpoints left, sealers that run and those that begin refuse."""
    trail.open("ticket/1")
    sealer = ground.sealer()
    sealer.once()
    for number in range(taken_out):
        trail.open(f"ticket/more/{number}")
    sealer.once()
    with psycopg.connect(ground.database.admin, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(
            "DELETE FROM control.run_state USING control.leaf l WHERE l.run_id = run_state.run_id AND index > 1"
        )
        owner.execute("DELETE FROM control.leaf WHERE index > 1")
        owner.execute("DELETE FROM control.tree_node")
        owner.execute("SELECT control.grow('default', 0, 2)")
        owner.execute("UPDATE control.tree SET size = 2")
    if more:
        trail.open("ticket/instead")
    for one in (sealer, ground.sealer()):
        for _ in range(2):
            with pytest.raises(SealRefused) as refused:
                one.once()
            assert refused.value.code == "tree_rewritten"
        one.close()


# --- Keys ---


def test_a_new_key_is_on_record_and_the_old_one_still_verifies(ground: Ground, trail: TrailWriter) -> None:
    """A rotation is an entry; its checkpoint is signed by both keys, later ones by the new one, earlier ones verify."""
    trail.open("ticket/1")
    ground.seal()
    old = FileSigner(ground.key)
    running = ground.sealer()
    running.once()
    done = rotate_key(ground.database.admin, ground.key)
    trail.open("ticket/2")
    assert running.once().sealed == 1  # it has read the new file
    running.close()
    with LedgerConnection(ground.database.auditor) as auditor:
        first, second = auditor.ask(SigningKeys())
        notes = [SignedCheckpoint.parse(row.note) for row in auditor.ask(Checkpoints(from_size=0, limit=10))]
        *_, entry = auditor.entries(auditor.ask(Leaves(limit=1))[0].run_id)
    keys = (first.verifier(), second.verifier())
    assert [note.signed_by(keys) for note in notes] == [keys[:1], keys, keys[1:]]
    assert (first.until is not None, second.until, second.public) == (True, None, FileSigner(ground.key).public_key())
    assert second.name == f"{first.name}/2"
    assert (done.key, FileSigner(done.kept).public_key()) == (keys[1], old.public_key())
    events = [e.facts for run in {row.run_id for row in leaves(ground)} for e in trail.agent.entries(run)]
    assert sum("key.rotated" in facts for facts in events) == 2
    assert entry is not None


def test_the_old_key_signs_no_more(ground: Ground, trail: TrailWriter) -> None:
    """A sealer that still has the old key refuses to go on, and names what to do."""
    copy = ground.folder / "copy"
    copy.write_bytes(ground.key.read_bytes())
    copy.chmod(0o600)
    rotate_key(ground.database.admin, ground.key)
    trail.open()
    sealer = Sealer(ground.database.auditor, FileSigner(copy))
    with pytest.raises(SealRefused) as refused:
        sealer.once()
    sealer.close()
    assert refused.value.code == "key_not_current"
    with pytest.raises(SealRefused):
        rotate_key(ground.database.admin, copy)


def test_a_rotation_waits_for_its_turn(ground: Ground, trail: TrailWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another holds the tree, the files stay as they are; then one checkpoint is signed by both keys."""
    trail.open()
    ground.seal()
    old = ground.key.read_bytes()
    monkeypatch.setattr(rotation, "PAUSE_SECONDS", 0.01)
    with psycopg.connect(ground.database.admin) as holder:
        holder.execute("SELECT 1 FROM control.tree FOR UPDATE")
        with monkeypatch.context() as hasty:
            hasty.setattr(rotation, "BUSY_SECONDS", 0.0)
            with pytest.raises(SealRefused) as refused:
                rotate_key(ground.database.admin, ground.key)
        assert refused.value.code == "key_not_signed"
        assert ground.key.read_bytes() == old
    done = rotate_key(ground.database.admin, ground.key)
    with LedgerConnection(ground.database.auditor) as auditor:
        keys = [row.verifier() for row in auditor.ask(SigningKeys())]
    assert len(keys) == 2
    assert len(SignedCheckpoint.parse(done.checkpoint).signed_by(keys)) == 2


@pytest.mark.parametrize("step", ["link", "ask", "once", "kept", "replace"])
def test_a_rotation_that_was_broken_off_goes_on(ground: Ground, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Broken off after the new file, before it is registered, before it has signed or taken its place: it goes on."""

    class BrokenOff(Exception):  # noqa: N818 - a crash
        pass

    def crash(*args: object, **named: object) -> None:
        raise BrokenOff

    targets: dict[str, tuple[object, str]] = {
        "link": (os, "fsync"),
        "ask": (RotateKey, "parameters"),
        "once": (Sealer, "once"),
        "kept": (rotation, "_take_place"),
        "replace": (Path, "replace"),
    }
    with monkeypatch.context() as broken:
        place, name = targets[step]
        broken.setattr(place, name, crash)
        with pytest.raises(BrokenOff):
            rotate_key(ground.database.admin, ground.key)
    done = rotate_key(ground.database.admin, ground.key)
    with LedgerConnection(ground.database.auditor) as auditor:
        keys = auditor.ask(SigningKeys())
        note = SignedCheckpoint.parse(auditor.ask(Checkpoints())[0].note)
    assert len(keys) == 2
    assert FileSigner(ground.key).public_key() == done.key.public == keys[1].public
    assert len(note.signed_by([key.verifier() for key in keys])) == 2
    assert sorted(path.name for path in ground.folder.iterdir()) == sorted([ground.key.name, done.kept.name])


def test_a_rotation_that_was_done_twice_says_so(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off behind its last step, it has happened; repeated, it is a second one, and names the key before."""

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(rotation, "sync_folder", crash)
        with pytest.raises(KeyboardInterrupt):
            rotate_key(ground.database.admin, ground.key)
    first = FileSigner(ground.key)
    done = rotate_key(ground.database.admin, ground.key)
    with LedgerConnection(ground.database.auditor) as auditor:
        keys = auditor.ask(SigningKeys())
    assert [key.verifier() for key in keys[1:]] == [done.before, done.key]
    assert (done.before.public, done.before_since) == (first.public_key(), keys[1].since)
    assert {FileSigner(path).name() for path in ground.folder.iterdir()} == {key.name for key in keys}


def test_two_rotations_at_once_are_one(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command, run beside itself, is refused; one new key is in the file, and the old one under its hash."""
    old, once, inner = FileSigner(ground.key), Sealer.once, list[rotation.Rotated]()

    def overtaken(sealer: Sealer) -> SealRound:
        if not inner:
            monkeypatch.setattr(Sealer, "once", once)
            inner.append(rotate_key(ground.database.admin, ground.key))
        return once(sealer)

    monkeypatch.setattr(Sealer, "once", overtaken)
    with pytest.raises(SealRefused):
        rotate_key(ground.database.admin, ground.key)
    (done,) = inner
    assert FileSigner(done.kept).public_key() == old.public_key()
    assert FileSigner(ground.key).public_key() == done.key.public


def test_a_lost_key_is_replaced_on_record(ground: Ground, trail: TrailWriter) -> None:
    """Where the key file is gone for good, another key signs; the entry says that the one before did not endorse it."""
    trail.open("ticket/1")
    ground.seal()
    ground.key.unlink()
    with pytest.raises(SealRefused):
        create_key(ground.database.admin, ground.key)
    key = replace_lost_key(ground.database.admin, ground.key)
    assert replace_lost_key(ground.database.admin, ground.key) == key
    trail.open("ticket/2")
    assert ground.seal() == 2
    with LedgerConnection(ground.database.auditor) as auditor:
        first, second = auditor.ask(SigningKeys())
        own = auditor.ask(FindTenantChain()).run_id
        *_, entry = [Entry.of(row) for row in auditor.entries(own)]
    assert (second.verifier(), first.endorsed, second.endorsed) == (key, None, None)
    assert (entry.fact("before"), entry.fact("endorsed")) == (first.name, None)
    assert "did not sign it" in sentence(entry)[0]


def test_a_rotation_that_a_restore_took_back_is_made_again(ground: Ground) -> None:
    """After a restore from before a rotation the kept file endorses the same key again; without it, it is lost."""
    key = FileSigner(ground.key)
    FileSigner.create(ground.folder / "lost", name=f"{key.name()}/2")
    restored = replace_lost_key(ground.database.admin, ground.folder / "lost")
    assert restored.public == FileSigner(ground.folder / "lost").public_key()
    FileSigner.create(ground.folder / "lost.next", name=f"{key.name()}/3")
    done = rotate_key(ground.database.admin, ground.folder / "lost")
    assert done.key.public == FileSigner(ground.folder / "lost").public_key()
    with pytest.raises(SealRefused) as refused:
        replace_lost_key(ground.database.admin, ground.key)
    assert refused.value.code == "key_not_current"


def test_the_first_key(database: Database, tmp_path: Path) -> None:
    """Made twice, it is one key; another file, or another tree's key, does not become it."""
    key = create_key(database.admin, tmp_path / "seal.key")
    assert create_key(database.admin, tmp_path / "seal.key") == key
    with pytest.raises(SealRefused) as refused:
        create_key(database.admin, tmp_path / "another")
    assert refused.value.code == "key_exists"
    FileSigner.create(tmp_path / "strange", name="langgraph-control/strange")
    with pytest.raises(SealRefused):
        create_key(database.admin, tmp_path / "strange")
    with LedgerConnection(database.admin) as admin, pytest.raises(ControlError):
        admin.ask(RotateKey(name="another name", public=bytes(32), body=b"{}"))
