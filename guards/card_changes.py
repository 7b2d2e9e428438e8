"""What two cards differ in: what changed between a request and the one that took its place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from langgraph_control.guards.card_arguments import called_with

__all__ = ["CardChange", "card_changes"]

MISSING: Final = "(not there)"


@dataclass(frozen=True, slots=True, kw_only=True)
class CardChange:
    """One thing that changed.

    Args:
        what: an argument, the model's own words, a field of the record, the contract's version, or where the change
            would be made.
        before: as the earlier card has it.
        after: as the later one has it.
    """

    what: str
    before: Any
    after: Any


def card_changes(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> tuple[CardChange, ...]:
    """Return what changed: arguments, the record as it was read, the tool's contract, the place. Sorted within each.

    Args:
        earlier: the card of the request that was superseded; what is not there changed nothing.
        later: the card of the one in its place.
    """
    one, other = _facts(earlier), _facts(later)
    return tuple(
        CardChange(what=name, before=one.get(name, MISSING), after=other.get(name, MISSING))
        for name in sorted(one.keys() | other.keys())
        if one.get(name, MISSING) != other.get(name, MISSING)
    )


def _facts(card: Mapping[str, Any]) -> dict[str, Any]:
    what, where, diff = (_part(card, name) for name in ("what", "where", "diff"))
    facts = {f"argument {name}": value for name, value in called_with(card).items()}
    facts |= {f"model says {name}": words for name, words in _part(_part(card, "why"), "model_says").items()}
    facts |= {f"record's {name}": _before(change) for name, change in diff.items()}
    facts |= {name: where[name] for name in ("system", "target") if where.get(name) is not None}
    if what.get("version") is not None:
        facts["contract version"] = what["version"]
    return facts


def _before(change: Any) -> Any:
    return change[0] if isinstance(change, list) and change else change


def _part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = whole.get(name)
    return part if isinstance(part, Mapping) else {}
