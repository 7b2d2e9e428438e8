"""Where an action stands, by its entries: each entry's step, and what several chains together leave. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Final, TypeAlias
from uuid import UUID

from langgraph_control.audit.trail.entries import Entry

__all__ = ["Place", "next_state", "possible_states"]

Place: TypeAlias = tuple[str, str | None]
"""An action's state ("" before any entry says) and the newest request for it."""

ORDERS_MAX: Final = 500
"""So many orders of entries of one instant are tried."""


def next_state(place: Place, entry: Entry, key: str) -> Place:
    """Return where an action stands after one of its entries.

    Args:
        place: before it.
        entry: an entry that names the action.
        key: the action's.
    """
    state, approval = place
    if "run.cancelled" in entry.events:
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


def possible_states(chains: Mapping[UUID, Iterable[Entry]], key: str) -> frozenset[str]:
    """Return where an action may stand after its entries in several chains.

    Entries are ordered by the database's clock, and within a chain by their place. Entries of one instant in different
    chains have no order: then every order's end is possible.

    Args:
        chains: the entries that concern the action, by chain, each in order.
        key: the action's.
    """
    placed = sorted(
        ((entry.at, number, entry.seq, entry) for number, entries in enumerate(chains.values()) for entry in entries),
        key=lambda one: one[:3],
    )
    places: set[Place] = {("", None)}
    for _, together in groupby(placed, key=lambda one: one[0]):
        of_chains = [[one[3] for one in group] for _, group in groupby(list(together), key=lambda one: one[1])]
        orders = list(islice(_orders(of_chains), ORDERS_MAX))
        places = {_after(place, order, key) for place in places for order in orders}
    return frozenset(state for state, _ in places)


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
