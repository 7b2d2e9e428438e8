"""What somebody with the database in hand can do to a record, each in SQL as they would do it.

Who does it has switched off before what stands in the way, as the owner or as a superuser; hashes are made anew where
the one who tampers is thorough, and checkpoints are signed anew where they have stolen the key.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import orjson
import psycopg

from langgraph_control.audit.seals.checkpoints import VerifierKey, endorsement
from langgraph_control.audit.seals.sealing import Sealer
from langgraph_control.audit.seals.signers import FileSigner, key_hash
from langgraph_control.audit.seals.tree import CompactRange, leaf_data, leaf_hash
from langgraph_control.audit.trail.chain import ZERO, entry_hash
from tests.support.sealing import SealedRecord

TENANT: Final = "default"


@dataclass(frozen=True, slots=True)
class Hand:
    """A connection on which nothing is refused any more, and the record it is about."""

    connection: psycopg.Connection[tuple[Any, ...]]
    record: SealedRecord

    @property
    def victim(self) -> UUID:
        """The run that somebody would rather have had otherwise."""
        return self.record.runs[0]

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        """Carry out a statement, which must have found something."""
        done = self.connection.execute(text.encode(), values)
        assert done.rowcount != 0, text
        return done.fetchall() if done.description else []

    def rehash(self, run: UUID) -> None:
        """Make a chain's hashes anew, so that it fits itself."""
        previous = ZERO
        rows = self.sql("SELECT seq, facts, body, commitment FROM control.entry WHERE run_id = %s ORDER BY seq", run)
        for seq, facts, body, commitment in rows:
            previous = entry_hash(
                tenant=TENANT,
                run_id=run,
                seq=seq,
                previous=previous,
                facts=facts,
                commitment=commitment,
                body=body,
            )
            self.sql("UPDATE control.entry SET hash = %s WHERE run_id = %s AND seq = %s", previous, run, seq)
        self.sql("UPDATE control.run_state SET seq = %s, head = %s WHERE run_id = %s", len(rows), previous, run)

    def heads_anew(self) -> None:
        """Have each leaf say what its chain says now."""
        self.sql(
            "UPDATE control.leaf l SET head = e.hash FROM control.entry e WHERE e.run_id = l.run_id AND e.seq = l.seq"
        )

    def tree_anew(self, signer: FileSigner | None) -> None:
        """Make the tree anew from its leaves, and its checkpoints with a key at hand or with their old signatures."""
        self.sql("DELETE FROM control.tree_node WHERE tenant = %s", TENANT)
        leaves = self.sql("SELECT run_id, seq, head FROM control.leaf WHERE tenant = %s ORDER BY index", TENANT)
        self.sql("SELECT control.grow(%s, 0, %s)", TENANT, len(leaves))
        self.sql("UPDATE control.tree SET size = %s WHERE tenant = %s", len(leaves), TENANT)
        grown, roots = CompactRange(), {}
        for run, seq, head in leaves:
            grown = grown.append(leaf_hash(leaf_data(tenant=TENANT, run_id=run, seq=seq, head=head)))
            roots[grown.size] = grown.root()
        for size, note in self.sql("SELECT size, note FROM control.checkpoint WHERE tenant = %s", TENANT):
            if size not in roots:
                self.sql("DELETE FROM control.checkpoint WHERE tenant = %s AND size = %s", TENANT, size)
                continue
            origin = note.partition("\n")[0]
            text = f"{origin}\n{size}\n{base64.b64encode(roots[size]).decode()}\n"
            signed = note.partition("\n\n")[2]
            if signer is not None:
                both = key_hash(signer.name(), signer.public_key()) + signer.sign(text.encode())
                own = f"\u2014 {signer.name()} {base64.b64encode(both).decode()}\n"
                signed = own if not note.startswith(text) or own in signed else signed + own
            self.sql(
                "UPDATE control.checkpoint SET root = %s, note = %s WHERE tenant = %s AND size = %s",
                roots[size],
                f"{text}\n{signed}",
                TENANT,
                size,
            )


def edit(hand: Hand) -> None:
    """Write another amount into an entry."""
    hand.sql("UPDATE control.entry SET body = '{}' WHERE run_id = %s AND seq = 3", hand.victim)


def edit_with_rehash(hand: Hand) -> None:
    """Change an entry, and make all hashes after it anew."""
    edit(hand)
    hand.rehash(hand.victim)


def edit_and_seal_again(hand: Hand) -> None:
    """Change an entry, make the hashes anew, append one entry more, and let the sealer seal what stands there now."""
    edit(hand)
    hand.sql(
        "INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, hash) SELECT run_id, seq + 1, tenant, at,"
        ' \'{"at": 1, "events": ["effect.late"]}\', \'{}\', hash FROM control.entry WHERE run_id = %s AND seq = 9',
        hand.victim,
    )
    hand.rehash(hand.victim)
    hand.record.seal()


def edit_payload(hand: Hand) -> None:
    """Write other arguments beside an entry."""
    hand.sql("UPDATE control.entry SET payload = '{}' WHERE run_id = %s AND seq = 3", hand.victim)


def move_payload(hand: Hand) -> None:
    """Move the arguments into their salt, over which the same commitment goes, and leave nothing to read."""
    hand.sql("ALTER TABLE control.entry DROP CONSTRAINT entry_salt")
    hand.sql("UPDATE control.entry SET salt = salt || payload, payload = '' WHERE run_id = %s AND seq = 3", hand.victim)


def delete(hand: Hand) -> None:
    """Take an entry out, close the gap and make the hashes anew."""
    hand.sql("DELETE FROM control.entry WHERE run_id = %s AND seq = 4", hand.victim)
    for seq in range(5, 10):
        hand.sql("UPDATE control.entry SET seq = seq - 1 WHERE run_id = %s AND seq = %s", hand.victim, seq)
    hand.rehash(hand.victim)


def cut_tail(hand: Hand) -> None:
    """Take the newest entries out, and have the run's own row agree."""
    hand.sql("DELETE FROM control.entry WHERE run_id = %s AND seq > 6", hand.victim)
    hand.rehash(hand.victim)


def swap(hand: Hand) -> None:
    """Exchange two entries, and make the hashes anew."""
    for old, new in ((3, -3), (4, 3), (-3, 4)):
        hand.sql("UPDATE control.entry SET seq = %s WHERE run_id = %s AND seq = %s", new, hand.victim, old)
    hand.rehash(hand.victim)


def insert_back_dated(hand: Hand) -> None:
    """Put an approval between two entries, with a time that fits there."""
    for seq in range(9, 4, -1):
        hand.sql("UPDATE control.entry SET seq = seq + 1 WHERE run_id = %s AND seq = %s", hand.victim, seq)
    hand.sql(
        "INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, hash) SELECT run_id, 5, tenant, at,"
        " facts, body, hash FROM control.entry WHERE run_id = %s AND seq = 4",
        hand.victim,
    )
    hand.rehash(hand.victim)


def replace_run(hand: Hand) -> None:
    """Put the whole record of another run in a run's place."""
    hand.sql("DELETE FROM control.entry WHERE run_id = %s", hand.victim)
    hand.sql(
        "INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, commitment, salt, payload, hash)"
        " SELECT %s, seq, tenant, at, facts, body, commitment, salt, payload, hash FROM control.entry"
        " WHERE run_id = %s",
        hand.victim,
        hand.record.runs[1],
    )
    hand.rehash(hand.victim)


def delete_run(hand: Hand) -> None:
    """Take a run out of every table, its leaf too."""
    for table in ("entry", "run_state", "leaf"):
        hand.sql(f"DELETE FROM control.{table} WHERE run_id = %s", hand.victim)


def fork_tree(hand: Hand) -> None:
    """Change an entry, and make hashes and tree anew; the checkpoints say so, with the signatures they had."""
    edit_with_rehash(hand)
    hand.heads_anew()
    hand.tree_anew(None)


def cut_tail_with_checkpoint(hand: Hand) -> None:
    """Take the newest run out with its leaf, and the newest checkpoint with it: the log ends earlier."""
    newest = hand.record.runs[-1]
    for table in ("entry", "run_state", "leaf"):
        hand.sql(f"DELETE FROM control.{table} WHERE run_id = %s", newest)
    hand.sql("DELETE FROM control.tree_node WHERE tenant = %s", TENANT)
    hand.sql("SELECT control.grow(%s, 0, (SELECT count(*) FROM control.leaf))", TENANT)
    hand.sql("UPDATE control.tree SET size = (SELECT count(*) FROM control.leaf)")
    hand.sql("DELETE FROM control.checkpoint WHERE size > (SELECT count(*) FROM control.leaf)")


def rewrite_with_stolen_key(hand: Hand) -> None:
    """Change an entry, and make everything anew, signed with the stolen key."""
    edit_with_rehash(hand)
    hand.heads_anew()
    hand.tree_anew(FileSigner(hand.record.key))


def register_own_key(hand: Hand) -> None:
    """Forge the entry of a rotation to a key at hand, have the sealer seal it, and rewrite with it what comes after.

    What the sealer signed is signed with it, too: as who only looks for checkpoints of both keys would want it.
    """
    ((origin,),) = hand.sql("SELECT origin FROM control.tree WHERE tenant = %s", TENANT)
    own = FileSigner.create(hand.record.folder / "own.key", name=f"{origin}/2")
    key = VerifierKey(name=own.name(), public=own.public_key())
    endorsed = own.sign(endorsement(key))
    hand.sql(
        "SELECT control.append(%s, control.tenant_chain_id(%s), control.clock(), ARRAY['key.rotated'],"
        " jsonb_build_object('name', %s::text, 'public', %s::text, 'before', %s::text, 'endorsed', %s::text),"
        " convert_to(%s, 'UTF8'), NULL)",
        TENANT,
        TENANT,
        own.name(),
        own.public_key().hex(),
        origin,
        endorsed.hex(),
        orjson.dumps({"key": str(key)}).decode(),
    )
    hand.record.seal()
    hand.sql("UPDATE control.signing_key SET until = now() WHERE tenant = %s", TENANT)
    hand.sql(
        "INSERT INTO control.signing_key (tenant, name, public, key_hash, endorsed, since)"
        " VALUES (%s, %s, %s, %s, %s, now())",
        TENANT,
        own.name(),
        own.public_key(),
        key_hash(own.name(), own.public_key()),
        endorsed,
    )
    late = hand.record.refund("ticket/late")
    hand.sql("UPDATE control.entry SET body = '{}' WHERE run_id = %s AND seq = 3", late)
    hand.rehash(late)
    sealer = Sealer(hand.record.database.auditor, own)
    sealer.once()
    sealer.close()
    hand.tree_anew(own)


@dataclass(frozen=True, slots=True)
class Attack:
    """Something that is done to a record.

    Args:
        does: does it.
        pin: whether it takes a pin to find it.
        found: what the verifier says of it.
        payloads: whether it is found only in a bundle with payloads.
    """

    does: Callable[[Hand], None]
    pin: bool
    found: str
    payloads: bool = False


ATTACKS: Final[Mapping[str, Attack]] = MappingProxyType(
    {
        "edit an entry": Attack(edit, pin=False, found="entry 3 of {run}: its hash does not follow"),
        "edit, hashes made anew": Attack(
            edit_with_rehash, pin=False, found="{run} up to entry 9 is not what was sealed"
        ),
        "edit, hashes made anew, sealed again": Attack(
            edit_and_seal_again, pin=False, found="{run} up to entry 9 is not what was sealed"
        ),
        "edit a payload (in a bundle with payloads)": Attack(
            edit_payload, pin=False, found="entry 3 of {run}: its payload was changed", payloads=True
        ),
        "move a payload into its salt (likewise)": Attack(
            move_payload, pin=False, found="entry 3 of {run}: its salt has", payloads=True
        ),
        "delete an entry": Attack(delete, pin=False, found="entry 8 of {run} ends the run and counts another number"),
        "cut the tail of a run": Attack(
            cut_tail, pin=False, found="{run} was sealed with 9 entries, and ends with entry 6"
        ),
        "swap two entries": Attack(swap, pin=False, found="{run} up to entry 9 is not what was sealed"),
        "insert a back-dated entry": Attack(
            insert_back_dated, pin=False, found="{run} up to entry 9 is not what was sealed"
        ),
        "replace a run": Attack(replace_run, pin=False, found="{run} up to entry 9 is not what was sealed"),
        "delete a run": Attack(delete_run, pin=False, found="is missing: what was sealed was deleted"),
        "fork the tree": Attack(fork_tree, pin=False, found="no checkpoint was signed"),
        "rewrite the newest with a key of one's own": Attack(
            register_own_key, pin=False, found="signed by a key that nothing here links to the one that was given"
        ),
        "cut the tail of the log, with its checkpoint": Attack(
            cut_tail_with_checkpoint, pin=True, found="the end of the log was cut off together with its checkpoints"
        ),
        "rewrite everything with the stolen key": Attack(
            rewrite_with_stolen_key, pin=True, found="the tree is not the one that was pinned with"
        ),
    }
)
