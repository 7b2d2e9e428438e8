"""What lasted, and from which entry to which: attempts, readings back, approvals, waits. Pure.

One pass over the entries of one run, in order. An interval is final once a later entry of the same chain ended it; what
is final never changes, however long the chain grows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from langgraph_control.audit.trail.entries import Entry

__all__ = ["LEFT_OPEN", "Interval", "Lasting", "Pairing", "intervals"]

LOST: Final = "lost"
LEFT_OPEN: Final = "left open"


class Lasting(StrEnum):
    """What an interval is."""

    ATTEMPT = "attempt"  # one try of an effect: claimed … settled, or found lost
    READING = "reading"  # finding out what became of a lost try
    APPROVAL = "approval"  # a request for people's yes … granted, denied, expired, superseded
    WAIT = "wait"  # the run was parked … resumed


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Something that lasted.

    Args:
        lasting: what it is.
        opened: the entry that began it.
        within: entries about it in between: votes.
        closed: the entry that ended it; None while it is open.
        outcome: how it ended: a settle's outcome, ``granted`` and the like, ``resumed``; ``lost`` for an attempt of
            which this chain never learnt the end; ``left open`` where the run ended first. "" while open.
    """

    lasting: Lasting
    opened: Entry
    within: tuple[Entry, ...] = ()
    closed: Entry | None = None
    outcome: str = ""


def intervals(entries: Iterable[Entry]) -> tuple[Interval, ...]:
    """Return everything that lasted, in the order of its beginning.

    Args:
        entries: one run's, in order.
    """
    pairing = Pairing()
    ended = [interval for entry in entries for interval in pairing.take(entry) or ()]
    return tuple(sorted([*ended, *pairing.still_open()], key=lambda interval: (interval.opened.seq, interval.lasting)))


@dataclass(slots=True)
class _Open:
    opened: Entry
    lasting: Lasting
    within: list[Entry] = field(default_factory=list)


_ENDS_APPROVAL: Final = ("granted", "denied", "expired", "superseded", "withdrawn")


@dataclass(slots=True)
class Pairing:
    """What is open so far. Attempts and readings by action key, approvals by their id, the wait under one name."""

    open: dict[tuple[Lasting, str], _Open] = field(default_factory=dict)
    _ended: list[Interval] = field(default_factory=list)
    _belongs: bool = False  # the newest entry begins, ends or is within something

    def take(self, entry: Entry) -> tuple[Interval, ...] | None:
        """Take the next entry and return what it ends; None where it neither begins, ends nor is within anything.

        Args:
            entry: the entry after the one before.
        """
        self._ended, self._belongs = [], False
        self._end_wait(entry)
        self._vote(entry)
        if entry.fact("outcome") is not None:
            self._settle(entry)
        elif entry.fact("verb") is not None:
            self._claim(entry)
        if "wait.started" in entry.events:
            self._begin(Lasting.WAIT, "", entry)
        if "run.finished" in entry.events:
            for kind, name in list(self.open):
                self._end(kind, name, entry, LEFT_OPEN)
        return tuple(self._ended) if self._belongs else None

    def still_open(self) -> Iterator[Interval]:
        """Yield what has not ended."""
        for now in self.open.values():
            yield Interval(lasting=now.lasting, opened=now.opened, within=tuple(now.within))

    def _end_wait(self, entry: Entry) -> None:
        if "run.resumed" in entry.events:
            self._end(Lasting.WAIT, "", entry, "resumed")

    def _vote(self, entry: Entry) -> None:
        approval = entry.fact("approval")
        if approval is None or entry.fact("verb") is not None:
            return
        ended = next((word for word in _ENDS_APPROVAL if f"approval.{word}" in entry.events), None)
        if ended is not None:  # also where no vote did it, but a policy that was published
            self._end(Lasting.APPROVAL, approval, entry, ended)
        elif entry.fact("person") is not None and (now := self.open.get((Lasting.APPROVAL, approval))) is not None:
            now.within.append(entry)
            self._belongs = True

    def _settle(self, entry: Entry) -> None:
        key, outcome = entry.fact("key") or "", entry.fact("outcome") or ""
        reading = self.open.get((Lasting.READING, key))
        if reading is not None and outcome in {"found", "absent", "undetermined"}:
            self._end(Lasting.READING, key, entry, outcome)  # also where its reader was taken over without an entry
            return
        attempt = self.open.get((Lasting.ATTEMPT, key))
        if attempt is not None and attempt.opened.fact("attempt") == entry.fact("attempt"):
            self._end(Lasting.ATTEMPT, key, entry, outcome)

    def _claim(self, entry: Entry) -> None:
        key, answer = entry.fact("key") or "", entry.fact("answer")
        started = "action.attempt_started" in entry.events
        if started or "action.unknown" in entry.events or answer in {"verify", "stored"}:
            self._end(Lasting.ATTEMPT, key, entry, LOST)
            self._end(Lasting.READING, key, entry, LOST)
        self._end_request(entry, key)
        if started:
            self._begin(Lasting.ATTEMPT, key, entry)
        elif answer == "verify":
            self._begin(Lasting.READING, key, entry)
        if "approval.requested" in entry.events:
            self._begin(Lasting.APPROVAL, entry.fact("approval") or "", entry)

    def _end_request(self, entry: Entry, key: str) -> None:
        ended = next((word for word in _ENDS_APPROVAL if f"approval.{word}" in entry.events), None)
        if ended is None:
            return
        # The claim names the new request, if there is one; the old one is known by its action.
        for kind, name in [*self.open]:
            if kind is Lasting.APPROVAL and self.open[kind, name].opened.fact("key") == key:
                self._end(kind, name, entry, ended)

    def _begin(self, lasting: Lasting, name: str, entry: Entry) -> None:
        self.open[lasting, name] = _Open(opened=entry, lasting=lasting)
        self._belongs = True

    def _end(self, lasting: Lasting, name: str, entry: Entry, outcome: str) -> None:
        now = self.open.pop((lasting, name), None)
        if now is not None:
            self._belongs = True
            self._ended.append(
                Interval(lasting=lasting, opened=now.opened, within=tuple(now.within), closed=entry, outcome=outcome)
            )
