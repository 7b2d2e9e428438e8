"""The sealer: has the tree grow, signs what it has become, and gives that to pins. Nothing a run does waits for it.

Each step is safe to break off after: leaves without a checkpoint get one with the next round, and a checkpoint that may
not have reached a pin is given to it again.
"""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Self

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.seals.checkpoints import (
    Checkpoint,
    SignedCheckpoint,
    VerifierKey,
    sign,
)
from langgraph_control.audit.seals.pinning import Pinning
from langgraph_control.audit.seals.pins import Pin
from langgraph_control.audit.seals.requests import (
    AddCheckpoint,
    Added,
    FindTree,
    Seal,
    SealDue,
    Sealing,
    SigningKeys,
    with_nodes,
)
from langgraph_control.audit.seals.signers import Signer
from langgraph_control.audit.seals.tree import consistency_proof, verify_consistency
from langgraph_control.audit.seals.verified import verified_checkpoints
from langgraph_control.errors import ControlError, SealRefused

__all__ = ["EVERY_SECONDS", "LEAVES", "SealRound", "Sealer"]

EVERY_SECONDS: Final = 10.0
LEAVES: Final = 10_000
JOIN_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 1.0
"""So often it is asked, between rounds, whether enough has come to begin the next one."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealRound:
    """What one round came to.

    Args:
        sealed: leaves added.
        busy: somebody else was sealing; what there was to pin was pinned all the same.
        checkpoint: the newest one signed with a key of this tree; None: there is none.
        unpinned: what kept it from pins, by pin; none: every pin has it.
    """

    sealed: int
    busy: bool
    checkpoint: str | None
    unpinned: tuple[tuple[str, str], ...]


class Sealer:
    """Seals one tenant's chains, once or for as long as it is entered. Any number may be at it; they take turns.

    Args:
        dsn: of an agent's, the auditor's or the admin's login.
        signer: whose key signs; the one that is registered as the present one.
        pins: where checkpoints are kept outside the database.
        every_seconds: how long it waits between rounds, at most.
        leaves: from 1 to 100000. Where so many chains moved, the next round begins early, a second later at most; in a
            round, too, a checkpoint is signed at the latest after so many.
        beside: who signs, too: the keys before, while a key is changed.
    """

    def __init__(
        self,
        dsn: str,
        signer: Signer,
        pins: Sequence[Pin] = (),
        *,
        every_seconds: float = EVERY_SECONDS,
        leaves: int = LEAVES,
        beside: Sequence[Signer] = (),
    ) -> None:
        self._store = Store(dsn, application_name="langgraph-control seal", connections_max=1)
        self._signers = (signer, *beside)
        self._pinning = Pinning(pins)
        self._every_seconds = every_seconds
        self._leaves = leaves
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._last: Checkpoint | None = None
        self._verified: str | None = None
        self._passed_over = 0  # the size of the largest checkpoint of which it was said that nobody signed it
        self._telling = ExitStack()
        self._said: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Begin sealing in a thread, and telling whoever collects metrics how the pins stand."""
        self._telling.enter_context(self._pinning.gauges())
        self._thread = threading.Thread(target=self._keep_on, name="sealer", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Begin no other round. One that does not end in a few seconds is broken off; nothing is lost by that."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)
        self._telling.close()
        self.close()

    def close(self) -> None:
        """Close the connection. Harmless when repeated."""
        self._store.close()

    def once(self) -> SealRound:
        """Seal all there is, sign, and pin.

        Raises:
            SealRefused: the key is not the present one, or the tree does not go on from what was signed before.
            TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger cannot be asked.
        """
        sealed, busy = 0, False
        while True:
            answer = self._store.call(Seal(limit=self._leaves))
            if answer.origin is None or answer.size is None or answer.root is None:
                busy = True
                break
            sealed += answer.sealed or 0
            self._sign(Checkpoint(origin=answer.origin, size=answer.size, root=answer.root))
            if answer.answer is Sealing.SEALED or self._stop.is_set():
                break
        note = self._newest()
        unpinned = () if note is None else self._pinning.give(note, self._say)
        return SealRound(sealed=sealed, busy=busy, checkpoint=note, unpinned=unpinned)

    def _sign(self, tree: Checkpoint) -> None:
        """Sign a tree that goes on from what was signed before, by this sealer and by others.

        Another sealer may have signed a larger one since this one grew: then there is nothing left to sign.
        """
        if self._last is not None:
            self._check_goes_on(self._last, tree)
        note = self._newest()
        newest = None if note is None else SignedCheckpoint.parse(note).checkpoint
        if newest is not None and newest.size > tree.size:
            if self._store.call(FindTree()).size < newest.size:
                raise _rewritten()
            return
        if newest is not None:
            self._check_goes_on(newest, tree)
        gone = self._last is not None and (newest is None or newest.size < self._last.size)
        self._say("ledger", "a checkpoint that was signed here is not in it any more; the tree is" if gone else "")
        if tree.size == (0 if newest is None else newest.size):
            return
        added = self._store.call(AddCheckpoint(size=tree.size, note=sign(tree, self._signers)))
        if added is Added.KEY:
            raise SealRefused(
                f"The key {self._signers[0].name()} is not the one that signs for this tree now.",
                safe="The tree has grown; it was not signed.",
                todo="Seal with the present key, which langgraph-control keys list names.",
                code="key_not_current",
            )
        if added is Added.WRONG:
            raise _rewritten()
        if added is Added.STORED:  # else this login has handed in another note of that size, signed or not
            self._last = tree

    def _check_goes_on(self, last: Checkpoint, tree: Checkpoint) -> None:
        """Refuse a tree that does not begin with one that was signed before."""
        if last.origin != tree.origin or last.size > tree.size:
            raise _rewritten()
        try:
            proof = with_nodes(partial(consistency_proof, last.size, tree.size), self._store.call)
        except KeyError:
            raise _rewritten() from None
        if not verify_consistency(old_size=last.size, size=tree.size, old_root=last.root, root=tree.root, proof=proof):
            raise _rewritten()

    def _newest(self) -> str | None:
        """Return the newest checkpoint that a key of this tree signed: whoever can store one can store rubbish."""
        own = VerifierKey(name=self._signers[0].name(), public=self._signers[0].public_key())
        keys = {own, *(row.verifier() for row in self._store.call(SigningKeys()))}
        rubbish: list[tuple[int, str]] = []
        row = next(
            verified_checkpoints(
                self._store.call, keys, known=self._verified, passed_over=lambda *told: rubbish.append(told)
            ),
            None,
        )
        new = [told for told in rubbish if told[0] > self._passed_over]
        if new:
            (size, why), more = new[0], len(new) - 1
            others = f", and {more} smaller ones are like it; they are" if more else "; it is"
            logger.warning("checkpoint: the one of size %d is %s%s passed over", size, why, others)
            self._passed_over = size
        self._verified = None if row is None else row.note
        return self._verified

    def _keep_on(self) -> None:
        while not self._stop.is_set():
            until, well = time.monotonic() + self._every_seconds, False
            try:
                done = self.once()
            except ControlError as error:
                self._say("sealer", str(error))
            except Exception as error:  # noqa: BLE001 - a signer is anybody's code; the next round may find it well
                self._say("sealer", type(error).__name__)
            else:
                self._say("sealer", "")
                well = not done.busy
                if done.sealed:
                    logger.info("sealed %d heads of chains", done.sealed)
            self._wait(until, early=well)

    def _wait(self, until: float, *, early: bool) -> None:
        """Wait for the next round: till then, or till enough has come, where the round before ended well."""
        not_before: int | None = None
        while not self._stop.wait(max(0.0, min(until - time.monotonic(), LOOK_SECONDS))):
            if time.monotonic() >= until:
                return
            if not early:
                continue
            try:
                not_before = self._store.call(SealDue(leaves=self._leaves, not_before=not_before))
            except ControlError:
                early = False  # the next round says what it is
            else:
                if not_before is None:
                    return

    def _say(self, name: str, what: str) -> None:
        """Log what is wrong once, and once that it is well again."""
        before = self._said.get(name, "")
        self._said[name] = what
        if what and what != before:
            logger.warning("%s: %s", name, what)
        elif before and not what:
            logger.info("%s: well again", name)


def _rewritten() -> SealRefused:
    return SealRefused(
        "The tree does not go on from what was signed before: leaves are gone or were changed.",
        safe="Nothing was signed. Pinned checkpoints tell what was there.",
        todo="Was the database restored? Else treat it as tampering: langgraph-control audit verify with the pins.",
        code="tree_rewritten",
    )
