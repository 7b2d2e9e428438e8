"""Checkpoints that a key of the log signed. Whoever may seal can store a note with a signature that is none."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from langgraph_control.audit.connecting.connection import Ask
from langgraph_control.audit.seals.checkpoints import NotACheckpointError, SignedCheckpoint, VerifierKey
from langgraph_control.audit.seals.requests import CheckpointRow, Checkpoints, SigningKeys

__all__ = ["CoveredSize", "NewestNote", "verified_checkpoints"]

FIRST: Final = 16
PAGE: Final = 500
LOOKED_AT_MAX: Final = 256


def verified_checkpoints(
    ask: Ask,
    keys: Iterable[VerifierKey],
    *,
    known: str | None = None,
    passed_over: Callable[[int, str], None] = lambda _size, _why: None,
) -> Iterator[CheckpointRow]:
    """Yield the checkpoints that one of the keys signed, the newest first.

    Args:
        ask: carries out requests.
        keys: the log's.
        known: a note that was verified before.
        passed_over: told the size of each other one, and what is wrong with it.
    """
    own = tuple(keys)
    page = ask(Checkpoints(limit=FIRST))
    while page:
        for row in page:
            try:
                if row.note == known or SignedCheckpoint.parse(row.note).signed_by(own):
                    yield row
            except NotACheckpointError as error:
                passed_over(row.size, str(error))
        page = ask(Checkpoints(below=page[-1].size, limit=PAGE))


class NewestNote:
    """The newest checkpoint as it is given away, in messages and spans; the last one is remembered.

    Args:
        ask: carries out requests.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: str | None = None

    def __call__(self) -> str | None:
        """Return its note; None where nothing was signed yet."""
        rows = self._ask(Checkpoints())
        if rows and self._known not in {row.note for row in rows}:
            keys = [row.verifier() for row in self._ask(SigningKeys())]
            newest = next(verified_checkpoints(self._ask, keys, known=self._known), None)
            self._known = None if newest is None else newest.note
        return self._known if rows else None


class CoveredSize:
    """How many leaves the newest signed checkpoint covers, for whoever asks again and again.

    The last one is remembered. However many others were handed in, each time only the newest few are looked at. Where
    none of these is signed, it is the one that was known, or none: rather too few leaves are covered than too many.

    Args:
        ask: carries out requests.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: CheckpointRow | None = None

    def __call__(self) -> int:
        """Return the size; 0 where nothing is covered."""
        page = self._ask(Checkpoints(limit=FIRST))
        if page and page[0] == self._known:
            return page[0].size
        keys = tuple(row.verifier() for row in self._ask(SigningKeys()))
        looked_at = 0
        while page:
            found = next((row for row in page if row == self._known or _signed(row, keys)), None)
            if found is not None:
                self._known = found
                return found.size
            looked_at += len(page)
            if looked_at >= LOOKED_AT_MAX:
                return 0 if self._known is None else self._known.size
            page = self._ask(Checkpoints(below=page[-1].size, limit=LOOKED_AT_MAX - looked_at))
        self._known = None
        return 0


def _signed(row: CheckpointRow, keys: tuple[VerifierKey, ...]) -> bool:
    try:
        return bool(SignedCheckpoint.parse(row.note).signed_by(keys))
    except NotACheckpointError:
        return False
