"""Checkpoints that are encrypted by LangGraph's own serializer: governed runs park, resume and finish on them."""

import hashlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.serde.base import CipherProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from langgraph_control import Control
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.keeping.erasure import ErasureScope, Selection, erase
from langgraph_control.audit.names import run_id
from langgraph_control.nodes.results import encode
from tests.support.desk import POLICY, Desk, How
from tests.support.postgres import Database

WORDS = "something that nobody else may read"
GIVEN = {"messages": [{"role": "user", "content": WORDS}]}


class Mask(CipherProtocol):
    """A cipher for tests: it hides, and that is all that is asked of it here."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """Return the name of the cipher, and the text masked."""
        return "mask", self._masked(plaintext)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """Return the text."""
        assert ciphername == "mask"
        return self._masked(ciphertext)

    def _masked(self, text: bytes) -> bytes:
        length = len(text) // 32 + 1
        mask = b"".join(hashlib.sha256(number.to_bytes(4)).digest() for number in range(length))
        return bytes(one ^ other for one, other in zip(text, mask, strict=False))


@pytest.fixture
def encrypted(desk_database: Database) -> Iterator[Desk]:
    """A desk whose Control stores checkpoints encrypted."""
    control = Control(POLICY, dsn=desk_database.agent, serde=EncryptedSerializer(Mask()))
    with control:
        yield Desk(database=desk_database, control=control)


def stored(database: Database, thread: str) -> str:
    """Return all that the checkpoint tables hold of a thread, as text and as bytes read as text."""
    found: list[Any] = []
    with psycopg.connect(database.admin) as connection:
        for column in ("checkpoints.checkpoint::text", "checkpoint_blobs.blob", "checkpoint_writes.blob"):
            table = column.partition(".")[0]
            query = f"SELECT {column} FROM control_checkpoints.{table} WHERE thread_id = %s"
            found += [row[0] for row in connection.execute(query.encode(), (thread,)).fetchall() if row[0] is not None]
    return "\n".join(one if isinstance(one, str) else bytes(one).decode(errors="replace") for one in found)


def test_a_governed_run_parks_and_goes_on_with_encrypted_checkpoints(encrypted: Desk, how: How, trigger: str) -> None:
    """What was said is in no checkpoint in clear, and the run goes on after a yes as any other."""
    graph = encrypted.refunding(500)
    run = encrypted.run(graph, how, trigger=trigger, given=GIVEN)
    assert run.state is RunState.NEEDS_APPROVAL
    assert stored(encrypted.database, run.thread)
    assert WORDS not in stored(encrypted.database, run.thread)
    encrypted.approve(run.approvals)
    done = encrypted.resume(run, how)
    assert done.state is RunState.DONE
    assert encrypted.done == ["o0:500"]
    assert WORDS not in stored(encrypted.database, run.thread)


def test_without_a_serializer_checkpoints_are_in_clear_until_they_are_erased(desk: Desk, trigger: str) -> None:
    """LangGraph keeps the conversation in clear; an erasure with checkpoints takes it away, and a repeat stays done."""
    graph = desk.refunding(50)
    run = desk.run(graph, trigger=trigger, given=GIVEN)
    assert run.state is RunState.DONE
    assert WORDS in stored(desk.database, run.thread)
    chosen = Selection(scope=ErasureScope.RUN, run_id=run_id(run.id))
    erased = erase(desk.database.admin, chosen, comment="asked for", told=encode("It was done."), checkpoints=True)
    assert erased.threads == 1
    assert stored(desk.database, run.thread) == ""
    again = desk.run(graph, trigger=trigger, given=GIVEN)
    assert (again.state, desk.done) == (RunState.DONE, ["o0:50"])
