"""What entries say of a period: which writes were asked for and done in it, where they stood at its end. Pure.

Only entries before the period's end are heeded, so that the same period is told the same however much later.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.follows import Place, keys_of, next_state, possible_states
from langgraph_control.audit.trail.period import HAPPENINGS, REQUESTS, Happening, Period, Read, ToldRequest, ToldWrite
from langgraph_control.audit.trail.rebuild import rebuild
from langgraph_control.audit.trail.rebuilt import Asked, Change, Edited, Voted

__all__ = ["Telling"]

_OVER: Final = frozenset({"denied", "failed", "abandoned"})
_YES: Final = frozenset({"used", "granted"})
_NOT_KNOWN: Final = "not known"


@dataclass(slots=True, kw_only=True)
class Telling:
    """Takes the chains of one business request after the other; keeps what is told of them, and not their entries.

    Args:
        since: the period's beginning.
        until: its end.
    """

    since: datetime
    until: datetime
    _asked: list[ToldWrite] = field(default_factory=list)
    _done: list[ToldWrite] = field(default_factory=list)
    _not_done: list[ToldWrite] = field(default_factory=list)
    _open: list[ToldWrite] = field(default_factory=list)
    _requests: list[ToldRequest] = field(default_factory=list)
    _happenings: dict[str, list[Happening]] = field(default_factory=lambda: {name: [] for name in HAPPENINGS})
    _by_tool: Counter[tuple[str, str]] = field(default_factory=Counter)

    def take(self, chains: Mapping[UUID, Sequence[Entry]]) -> None:
        """Take all chains of a business request, or one that belongs to none.

        Args:
            chains: run → its entries in order; what comes after the period's end is not heeded.
        """
        heeded = {run_id: [one for one in entries if one.at < self.until] for run_id, entries in chains.items()}
        placed = _in_order(heeded)
        for run_id, entry in placed:
            if entry.at >= self.since:
                self._happen(run_id, entry)
        request = _Request(placed)
        for key in dict.fromkeys(key for _, entry in placed if entry.at >= self.since for key in keys_of(entry)):
            self._write(request.write(key), request.about[key])
        for name in request.requests_since(self.since):
            self._requests.append(request.request(name))

    def _happen(self, run_id: UUID, entry: Entry) -> None:
        for name, events in HAPPENINGS.items():
            if events & set(entry.events):
                self._happenings[name].append(Happening(chain=run_id, entry=entry))

    def _write(self, told: ToldWrite, about: Sequence[tuple[UUID, Entry]]) -> None:
        if told.state == _NOT_KNOWN and not told.verb and told.request is None:
            return  # a forged resume named it, or what is left of the record says nothing of the write itself
        parts = [self._asked] if told.asked_at is not None and told.asked_at >= self.since else []
        if told.state == "succeeded":
            parts += [self._done] if told.done_at is not None and told.done_at >= self.since else []
        elif told.state not in _OVER:
            parts.append(self._open)
        elif told.since >= self.since or any(one.at >= self.since and one.fact("verb") for _, one in about):
            parts.append(self._not_done)
        for part in parts:
            part.append(told)
        if parts:
            self._by_tool[told.tool, told.state] += 1

    def whole(self, read: Read) -> Period:
        """Return the period.

        Args:
            read: what it was told from.
        """
        done = _by(self._done, lambda one: one.done_at)
        happened = {
            name: tuple(sorted(some, key=lambda one: (one.entry.at, one.chain, one.entry.seq)))
            for name, some in self._happenings.items()
        }
        return Period(
            since=self.since,
            until=self.until,
            read=read,
            asked=_by(self._asked, lambda one: one.asked_at),
            unasked=tuple(one for one in done if not _was_asked(one)),
            approved=tuple(one for one in done if _was_asked(one)),
            not_done=_by(self._not_done, lambda one: one.since),
            open=_by(self._open, lambda one: one.since),
            requests=tuple(sorted(self._requests, key=lambda one: (one.asked_at or self.since, one.approval))),
            by_tool=tuple((tool, state, number) for (tool, state), number in sorted(self._by_tool.items())),
            **happened,
        )


def _by(writes: Iterable[ToldWrite], when: Callable[[ToldWrite], datetime | None]) -> tuple[ToldWrite, ...]:
    return tuple(sorted(writes, key=lambda one: (when(one) or one.since, one.key)))


def _was_asked(one: ToldWrite) -> bool:
    return one.request is not None and one.request.outcome in _YES


class _Request:
    """One business request, put together from its chains: an action's entries may lie in those of several runs."""

    def __init__(self, placed: Sequence[tuple[UUID, Entry]]) -> None:
        told = rebuild(entry for _, entry in placed)
        self._changes = {change.key: change for change in told.changes}
        self._asked = {asked.approval: asked for asked in told.requests}
        self._placed = placed
        self.about: dict[str, list[tuple[UUID, Entry]]] = {}
        self._starts: dict[UUID, Entry] = {}
        self._openers: dict[str, UUID] = {}
        for run_id, entry in placed:
            self._starts.setdefault(run_id, entry)
            for key in keys_of(entry):
                self.about.setdefault(key, []).append((run_id, entry))
            approval = entry.fact("approval")
            if approval is not None and entry.fact("verb") is not None and "approval.requested" in entry.events:
                self._openers.setdefault(approval, run_id)

    def write(self, key: str) -> ToldWrite:
        about = self.about[key]
        change = self._changes.get(key) or Change(key=key, tool="")
        run_id, first = about[0]
        start = self._starts[run_id]
        claim = next((decided for decided in change.decisions), None)
        state, since, done_at = _stood(about, key)
        return ToldWrite(
            run_id=run_id,
            key=key,
            tool=change.tool,
            target=change.target,
            system=change.system,
            impact=change.impact,
            kind=change.kind,
            undoes=change.undoes,
            intent=start.fact("intent") or first.said("intent") or "",
            actor=start.fact("actor") or start.said("who", "actor") or "",
            on_behalf_of=start.fact("on_behalf_of") or start.said("who", "on_behalf_of"),
            verb="" if claim is None else claim.verb,
            policy=None if claim is None else claim.policy,
            asked_at=next((entry.at for _, entry in about if "action.proposed" in entry.events), None),
            state=state,
            since=since,
            done_at=done_at,
            attempts=len(change.attempts),
            request=None if change.approval is None else self.request(change.approval),
        )

    def requests_since(self, since: datetime) -> Iterator[str]:
        """Requests with an entry of their own from a time on, or that ended by one about another."""
        named = (
            entry.fact("approval") for _, entry in self._placed if entry.at >= since and REQUESTS & set(entry.events)
        )
        ended = (
            one.approval
            for one in self._asked.values()
            if one.outcome != "used" and one.until is not None and one.until >= since
        )
        yield from dict.fromkeys(name for name in (*named, *ended) if name is not None)

    def request(self, name: str) -> ToldRequest:
        asked = self._asked.get(name) or Asked(approval=name, key="", tool="", digest="")
        change = self._changes.get(asked.key)
        return ToldRequest(
            approval=name,
            run_id=self._openers.get(name),
            key=asked.key,
            tool=asked.tool,
            target=None if change is None else change.target,
            asked_at=asked.since,
            outcome=asked.outcome,
            ended_at=asked.until,
            escalated=asked.escalated,
            votes=tuple(_voices(asked)),
        )


def _voices(asked: Asked) -> Iterator[str]:
    said = [(vote.at, f"{_speaker(vote)}:{vote.decision}") for vote in asked.votes if vote.counted]
    said += [(edit.at, f"{_speaker(edit)}:edit") for edit in asked.edits if edit.counted]
    yield from (voice for _, voice in sorted(said, key=lambda one: one[0]))


def _speaker(word: Voted | Edited) -> str:
    return f"{word.person} for {word.delegator}" if word.delegator else word.person


def _stood(about: Sequence[tuple[UUID, Entry]], key: str) -> tuple[str, datetime, datetime | None]:
    """Where an action stands after its entries, since when, and when it was done."""
    place: Place = ("", None)
    since, done_at = about[0][1].at, None
    chains: dict[UUID, list[Entry]] = {}
    for run_id, entry in about:
        chains.setdefault(run_id, []).append(entry)
        before, place = place, next_state(place, entry, key)
        since = entry.at if place[0] != before[0] else since
        if "action.succeeded" in entry.events:  # no step leads there from being done already
            done_at = entry.at
    state = place[0]
    if len(chains) > 1:
        state = " or ".join(sorted(possible_states(chains, key)))
    return state or _NOT_KNOWN, since, done_at


def _in_order(chains: Mapping[UUID, Sequence[Entry]]) -> list[tuple[UUID, Entry]]:
    """All entries by time, each chain's in its own order also where the clock was set back."""
    placed: list[tuple[datetime, UUID, int, Entry]] = []
    for run_id, entries in chains.items():
        newest: datetime | None = None
        for entry in entries:
            newest = entry.at if newest is None else max(newest, entry.at)
            placed.append((newest, run_id, entry.seq, entry))
    return [(run_id, entry) for _, run_id, _, entry in sorted(placed, key=lambda one: one[:3])]
