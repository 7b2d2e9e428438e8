"""A request's card as one person may see it: with what the contract shows to their roles, and hides from all others."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

import orjson

from langgraph_control.audit.asking.ledger import Request
from langgraph_control.audit.asking.rows import ApprovalRow
from langgraph_control.audit.asking.waiting import Own, Parts
from langgraph_control.guards.redaction import REDACTED, filled_in

__all__ = ["may_show_more", "shown_to_person"]

T = TypeVar("T")

_MARK: Final = b'"by_role"'


def may_show_more(row: ApprovalRow) -> bool:
    """Whether a card holds something for some roles alone.

    Args:
        row: the request.
    """
    return _MARK in row.card


def shown_to_person(ask: Callable[[Request[Any]], Any], row: ApprovalRow, who: Own) -> ApprovalRow:
    """Return a request with its card as this person may see it.

    Args:
        ask: asks the ledger; it decides what the person's roles are.
        row: the request, as everybody may see it.
        who: the person; with None the one whom the login belongs to.
    """
    if not may_show_more(row):
        return row
    parts = ask(Parts(approval_id=row.approval_id, person=who.person, groups=who.groups))
    try:
        card = orjson.loads(row.card)
        arguments = dict(card["what"]["arguments"])
        for part in parts:
            _fill_in(card, part)
        # What was hidden from others can be read here, and still not be changed by an edit: an edit is stored.
        card["opened"] = sorted(name for name, value in card["what"]["arguments"].items() if value != arguments[name])
        return replace(row, card=orjson.dumps(card))
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
        return row  # no card of ours: it stays as everybody sees it


def _fill_in(card: dict[str, Any], part: Any) -> None:
    what, where = card["what"], card["where"]
    what["arguments"] = filled_in(what["arguments"], part.get("arguments"))
    card["diff"] = filled_in(card["diff"], part.get("diff"))
    if where.get("target") == REDACTED and isinstance(part.get("target"), str):
        where["target"] = part["target"]
