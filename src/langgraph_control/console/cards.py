"""A request as its page shows it: what would change, where, why, who asks, who decides, and what happens otherwise."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import orjson

from langgraph_control.audit.asking.observing import fallback_texts
from langgraph_control.audit.asking.rows import ApprovalRow, ApprovalState
from langgraph_control.audit.names import approval_name, run_name
from langgraph_control.audit.people.approvals import REFUSALS
from langgraph_control.audit.people.words import said_yes
from langgraph_control.audit.trail.timeline import duration_text
from langgraph_control.console.presenting import value_text
from langgraph_control.guards.card_arguments import called_with
from langgraph_control.guards.told_signals import signal_texts
from langgraph_control.guards.visible import visible

__all__ = [
    "Card",
    "Change",
    "Field",
    "card_of",
    "link_in",
    "parsed_card",
    "people",
    "why_not",
]

NOTHING: Final[Mapping[UUID, int]] = MappingProxyType({})
KNOWN: Final = frozenset({"what", "where", "why", "who", "diff", "record", "by_role", "opened"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A name and a value.

    Args:
        name: its name.
        text: the value, for people.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A part of the record before and after.

    Args:
        name: of the part.
        before: as it is.
        after: as it would be.
    """

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A request for people. All texts come from models, records and people: nothing in them is trusted.

    Args:
        name: ``apr_…``.
        run: ``run_…``.
        state: where it stands.
        tool: what would be called.
        impact: what kind of change it is.
        operation: what it does to a record: creates, updates, deletes, sends.
        contract: the version of the tool's contract.
        arguments: what it would be called with, beside the model's own words.
        payload: the same, exactly, as JSON.
        changes: the record before and after, as far as the contract says.
        system: where the change would be made.
        target: on which record.
        intent: the business request it serves.
        reasons: why people are asked.
        signals: what the decision looked at: how far a mistake reaches, and what was noticed.
        fallbacks: what the model knows from no system.
        model_says: the model's own words.
        more: what else the card holds.
        shown_to: the roles that see what is hidden from others, in words; "" where nothing is.
        asked_by: on whose behalf the agent acts, and as whom.
        version: which version of the agent asks, as its own code says; "" where it does not.
        needs: who must say yes.
        comment_required: each vote needs a comment.
        yes: how many said yes, as far as it counts now.
        lapsed: how many said yes, and it does not count any more: the role is lost, or the leave was taken back.
        if_nobody: what happens if nobody answers; or, of a closed request, what became of it.
        requested_at: since when.
        expires_at: until when votes count.
        digest: what a yes unlocks, as hexadecimal digits.
        doubtful: some text in it hides or disguises something.
        readable: the stored card could be read.
    """

    name: str
    run: str
    state: ApprovalState
    tool: str
    impact: str
    operation: str
    contract: str
    arguments: tuple[Field, ...]
    payload: str
    changes: tuple[Change, ...]
    system: str
    target: str
    intent: str
    reasons: tuple[str, ...]
    signals: tuple[str, ...]
    fallbacks: tuple[str, ...]
    model_says: tuple[Field, ...]
    more: tuple[Field, ...]
    shown_to: str
    asked_by: str
    version: str
    needs: str
    comment_required: bool
    yes: int
    lapsed: int
    if_nobody: str
    requested_at: datetime
    expires_at: datetime
    digest: str
    doubtful: bool
    readable: bool

    @property
    def open(self) -> bool:
        """Whether it still takes votes."""
        return self.state is ApprovalState.OPEN


def card_of(row: ApprovalRow, *, counted: Mapping[UUID, int] = NOTHING) -> Card:
    """Return a request as its page shows it.

    Args:
        row: the request. Of a stored card that cannot be read, what the ledger itself knows is shown.
        counted: by request, how many of the yes count now; of one that is not in it, all that were given do.
    """
    given = said_yes(row)
    yes = counted.get(row.approval_id, given)
    card = parsed_card(row.card)
    what, where, why = (_part(card, name) for name in ("what", "where", "why"))
    arguments = _part(what, "arguments")
    words = _part(why, "model_says")
    says = tuple(Field(name=name, text=value_text(said)) for name, said in words.items())
    # What the model says is told in its own place, and nowhere else as if it were a fact.
    fields = tuple(Field(name=name, text=value_text(value)) for name, value in called_with(card).items())
    changes = tuple(_changes(_part(card, "diff")))
    more = tuple(Field(name=name, text=value_text(part)) for name, part in card.items() if name not in KNOWN)
    record = _part(card, "record")
    if record:
        more += (Field(name="record_read", text=f"{record.get('at')}, {str(record.get('digest'))[:12]}"),)
    asked_by = row.actor if row.on_behalf_of is None else f"{row.actor} for {row.on_behalf_of}"
    version = value_text(_part(card, "who").get("version") or "")
    reasons = tuple(map(value_text, _list(why.get("reasons"))))
    signals = tuple(signal_texts(why.get("signals")))
    fallbacks = tuple(fallback_texts(why.get("fallbacks")))
    shown_to = ", ".join(map(value_text, _list(card.get("by_role"))))
    system, target = (value_text(where.get(name) or "") for name in ("system", "target"))
    texts = [row.tool, row.intent, asked_by, version, system, target, shown_to, *reasons, *signals, *fallbacks]
    texts += [text for field in (*fields, *says, *more) for text in (field.name, field.text)]
    texts += [text for change in changes for text in (change.name, change.before, change.after)]
    return Card(
        name=approval_name(row.approval_id),
        run=run_name(row.run_id),
        state=row.state,
        tool=row.tool,
        impact=value_text(what.get("impact") or "change"),
        operation=value_text(what.get("operation") or ""),
        contract=value_text(what.get("version") or ""),
        arguments=fields,
        payload=orjson.dumps(arguments, option=orjson.OPT_INDENT_2).decode(),
        changes=changes,
        system=system,
        target=target,
        intent=row.intent,
        reasons=reasons,
        signals=signals,
        fallbacks=fallbacks,
        model_says=says,
        more=more,
        shown_to=shown_to,
        asked_by=asked_by,
        version=version,
        needs=people(_part(row.requirement, "quorum")),
        comment_required=row.requirement.get("comment_required") is True,
        yes=yes,
        lapsed=given - yes,
        if_nobody=_otherwise(row),
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        digest=row.digest.hex(),
        doubtful=any(visible(text).suspicious for text in texts),
        readable=bool(what),
    )


def link_in(row: ApprovalRow) -> object:
    """Return what a request's card gives as the link to its record: anything, from where the agent runs.

    Args:
        row: the request.
    """
    return _part(parsed_card(row.card), "where").get("link")


def people(quorum: Mapping[str, Any]) -> str:
    """Return who must say yes, in words.

    Args:
        quorum: role → how many.
    """
    return " and ".join(f"{count} of {role}" for role, count in sorted(quorum.items()))


def why_not(reason: str) -> str:
    """Return why a vote would not count, in words.

    Args:
        reason: the stable word.
    """
    what, todo = REFUSALS.get(reason, ("The vote would not count.", ""))
    return f"{what} {todo}".strip()


def _otherwise(row: ApprovalRow) -> str:
    match row.state:
        case ApprovalState.OPEN:
            return _if_nobody(row.requirement)
        case ApprovalState.GRANTED:
            return "It was approved, and unlocks exactly this write until its time is over."
        case ApprovalState.DENIED:
            return "It was rejected, and is not done."
        case ApprovalState.EXPIRED:
            return "Nobody answered in time. It is not done."
        case ApprovalState.SUPERSEDED:
            return "Another request took its place: something had changed. This one unlocks nothing."
        case ApprovalState.WITHDRAWN:
            return "Its run no longer wants it. It unlocks nothing."
        case ApprovalState.USED:
            return "It was approved, and the write it unlocked has been begun."


def _if_nobody(requirement: Mapping[str, Any]) -> str:
    later = requirement.get("on_expiry")
    if not isinstance(later, Mapping):
        return "It is denied. Nothing is done, and the model is told."
    seconds = later.get("within_seconds")
    length = f" for {duration_text(timedelta(seconds=seconds))}" if isinstance(seconds, int) else ""
    again = ", and again after that" if later.get("again") is True else ""
    return f"It is put to {people(_part(later, 'escalate'))}{length}{again}. It is never approved by silence."


def _changes(diff: Mapping[str, Any]) -> Iterable[Change]:
    for name, change in diff.items():
        before, after = change if isinstance(change, list) and len(change) == 2 else (None, change)  # noqa: PLR2004 - before and after
        yield Change(name=str(name), before=value_text(before), after=value_text(after))


def parsed_card(card: bytes) -> Mapping[str, Any]:
    """Return a card as it was stored; empty where it cannot be read.

    Args:
        card: its bytes.
    """
    try:
        parsed = orjson.loads(card)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = whole.get(name)
    return part if isinstance(part, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
