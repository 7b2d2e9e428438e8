"""Where an action stands, by its entries: each entry's step, and what several chains together leave. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from itertools import groupby, islice
from typing import Final, TypeAlias
from uuid import UUID

from langgraph_control.audit.trail.entries import ENDED_EARLY, Entry
from langgraph_control.guards.lifecycle import State

__all__ = ["Place", "keys_of", "next_state", "possible_states"]

Place: TypeAlias = tuple[str, str | None]
"""An action's state ("" before any entry says) and the newest request for it."""

ORDERS_MAX: Final = 500
"""So many orders of entries of one instant are tried."""


def keys_of(entry: Entry) -> Iterator[str]:
    """Yield the keys of the actions that an entry is about.

    Args:
        entry: any entry.
    """
    key = entry.fact("key")
    if key is not None:
        yield key
    denied = entry.facts.get("denied")
    if ENDED_EARLY & set(entry.events) and isinstance(denied, list):
        yield from (str(one) for one in denied if one != key)


def next_state(place: Place, entry: Entry, key: str) -> Place:
    """Return where an action stands after one of its entries.

    Args:
        place: before it.
        entry: an entry that names the action.
        key: the action's.
    """
    state, approval = place
    if ENDED_EARLY & set(entry.events):
        denied = entry.facts.get("denied")
        return ("denied" if isinstance(denied, list) and key in denied else state), approval
    if entry.fact("verb") is not None:
        return _claimed(state, entry), entry.fact("approval") or approval
    stated = entry.fact("state")
    if stated is not None:
        return stated, approval
    decided = state == "needs_approval" and entry.fact("approval") == approval
    if decided and "approval.granted" in entry.events:
        return "ready", approval
    if decided and {"approval.denied", "approval.expired"} & set(entry.events):
        return "denied", approval
    return place


def _claimed(state: str, entry: Entry) -> str:
    stated = entry.fact("state")
    if stated is None:
        return "executing" if entry.fact("answer") == "go" else state
    # What was refused for its arguments says where the action stood when it looked, and may have been overtaken.
    overtaken = entry.fact("reason") == "key_conflict" and stated in {"executing", "verifying"}
    return state if overtaken and state else stated


def possible_states(
    chains: Mapping[UUID, Sequence[Entry]], key: str, *, since: datetime | None = None
) -> frozenset[str]:
    """Return where an action may stand after its entries in several chains.

    Entries are ordered by the database's clock, and within a chain by their place, also where the clock was set back.
    Entries of one instant in different chains have no order, nor have those of a stretch of time that the clock went
    through twice: then every order's end is possible.

    Args:
        chains: the entries that concern the action, by chain, each in order.
        key: the action's.
        since: of what came before this moment some is not kept, so that the action may have stood anywhere then; None
            where all entries are there.
    """
    twice = _gone_through_twice(chains.values())
    placed = sorted(
        (
            (_instant(entry.at, twice), number, entry.seq, entry)
            for number, entries in enumerate(chains.values())
            for entry in entries
            if since is None or entry.at >= since
        ),
        key=lambda one: one[:3],
    )
    places = _BEFORE_ALL if since is None else _anywhere([one[3] for one in placed])
    for _, together in groupby(placed, key=lambda one: one[0]):
        of_chains = [[one[3] for one in group] for _, group in groupby(list(together), key=lambda one: one[1])]
        orders = list(islice(_orders(of_chains), ORDERS_MAX))
        places = {_after(place, order, key) for place in places for order in orders}
    return frozenset(state for state, _ in places)


_BEFORE_ALL: Final[AbstractSet[Place]] = frozenset({("", None)})


def _anywhere(entries: Iterable[Entry]) -> AbstractSet[Place]:
    approvals = {None, *(entry.fact("approval") for entry in entries)}
    return {(state, approval) for state in (*State, "") for approval in approvals}


def _gone_through_twice(chains: Iterable[Sequence[Entry]]) -> list[tuple[datetime, datetime]]:
    """The stretches of time that a clock which was set back has shown more than once, none within another."""
    stretches: list[tuple[datetime, datetime]] = []
    for entries in chains:
        newest: datetime | None = None
        for entry in entries:
            if newest is not None and entry.at < newest:
                stretches.append((entry.at, newest))
            newest = entry.at if newest is None else max(newest, entry.at)
    joined: list[tuple[datetime, datetime]] = []
    for begin, end in sorted(stretches):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def _instant(at: datetime, twice: Sequence[tuple[datetime, datetime]]) -> datetime:
    return next((end for begin, end in twice if begin <= at <= end), at)


def _after(place: Place, entries: Sequence[Entry], key: str) -> Place:
    for entry in entries:
        place = next_state(place, entry, key)
    return place


def _orders(chains: list[list[Entry]]) -> Iterator[list[Entry]]:
    """Every merge of chains that keeps each one's own order."""
    left = [chain for chain in chains if chain]
    if not left:
        yield []
    for number, chain in enumerate(left):
        rest = [*left[:number], chain[1:], *left[number + 1 :]]
        for order in _orders(rest):
            yield [chain[0], *order]
