"""What may be changed about a request, as fields of a form, and what a change led to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import quote_plus

from langgraph_control.audit.asking.requests import FindApproval, RunActions
from langgraph_control.audit.asking.rows import ApprovalRow, ApprovalState
from langgraph_control.audit.names import approval_name
from langgraph_control.console.cards import Change, parsed_card
from langgraph_control.console.presenting import value_text
from langgraph_control.console.visiting import Console, Visit
from langgraph_control.errors import ArgumentError
from langgraph_control.guards.card_arguments import called_with
from langgraph_control.guards.card_changes import card_changes
from langgraph_control.guards.redaction import REDACTED
from langgraph_control.guards.visible import visible

__all__ = ["Editable", "changed_since", "changes", "editables", "successor"]

ARGUMENTS_MAX: Final = 30
CHARS_MAX: Final = 4000
"""Of one argument; what is longer is not changed in a field."""
ALL_BYTES_MAX: Final = 30_000
"""Of all of them as a form sends them, so that the form is not too large to be taken."""
STEPS_MAX: Final = 20

Kind: TypeAlias = Literal["text", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Editable:
    """An argument that may be changed, as its field shows it.

    Args:
        field: the field's name.
        name: the argument's.
        text: what the field holds at first.
        kind: text, or JSON: whatever is no text, and a text that hides or disguises something, by its codes.
        value: as the card has it.
    """

    field: str
    name: str
    text: str
    kind: Kind
    value: Any

    @property
    def large(self) -> bool:
        """Whether it wants more than a line."""
        return "\n" in self.text or len(self.text) > 60  # noqa: PLR2004 - characters that a line shows


def editables(row: ApprovalRow) -> tuple[Editable, ...]:
    """Return the arguments that may be changed, as far as the card tells: neither the model's words nor redacted.

    What identifies the change a card does not tell; the run refuses that.

    Args:
        row: the request.
    """
    found: list[Editable] = []
    room = ALL_BYTES_MAX
    card = parsed_card(row.card)
    opened = card.get("opened")
    kept = opened if isinstance(opened, list) else ()
    for place, (name, value) in enumerate(called_with(card).items()):
        one = _editable(f"argument-{place}", name, value)
        takes = len(quote_plus(one.text))
        fits = len(found) < ARGUMENTS_MAX and len(one.text) <= CHARS_MAX and takes <= room
        if fits and name not in kept and not _redacted(value):
            found.append(one)
            room -= takes
    return tuple(found)


def changes(row: ApprovalRow, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return what a form changes: argument → new value.

    Args:
        row: the request whose page the form is of.
        fields: the form's.

    Raises:
        ArgumentError: a value is not the JSON it has to be.
    """
    changed: dict[str, Any] = {}
    for one in editables(row):
        given = fields.get(one.field, one.text)
        if given == one.text:
            continue
        value = given if one.kind == "text" else _parsed(one.name, given)
        if _dumped(value) != _dumped(one.value):
            changed[one.name] = value
    return changed


def successor(console: Console, row: ApprovalRow) -> str:
    """Return the name of the request that took this one's place; "" where there is none.

    Args:
        console: what the pages share.
        row: the request.
    """
    if row.state is not ApprovalState.SUPERSEDED:
        return ""
    actions = console.ask(RunActions(run_id=row.run_id, only_open=False))
    newest = {action.approval_id for action in actions if action.tool == row.tool and action.approval_id}
    steps = STEPS_MAX
    for begin in newest - {row.approval_id}:
        later = console.ask(FindApproval(approval_id=begin))
        while later is not None and later.supersedes is not None and steps > 0:
            if later.supersedes == row.approval_id:
                return approval_name(later.approval_id)
            later = console.ask(FindApproval(approval_id=later.supersedes))
            steps -= 1
    return ""


def changed_since(visit: Visit, row: ApprovalRow) -> list[Change]:
    """Return what changed since the request whose place this one took; nothing where there was none.

    Args:
        visit: who looks.
        row: the request, as they may see it.
    """
    earlier = None if row.supersedes is None else visit.console.ask(FindApproval(approval_id=row.supersedes))
    if earlier is None:
        return []
    return [
        Change(name=one.what, before=value_text(one.before), after=value_text(one.after))
        for one in card_changes(parsed_card(visit.sees(earlier).card), parsed_card(row.card))
    ]


def _editable(field: str, name: str, value: Any) -> Editable:
    if isinstance(value, str) and not visible(value).suspicious and "\r" not in value:
        return Editable(field=field, name=name, text=value, kind="text", value=value)
    plain = json.dumps(value, ensure_ascii=False)
    # By its codes, where a field would hide or disguise a part of it.
    text = json.dumps(value) if visible(plain).suspicious else plain
    return Editable(field=field, name=name, text=text, kind="json", value=value)


def _redacted(value: Any) -> bool:
    match value:
        case str():
            return value == REDACTED
        case dict():
            return any(map(_redacted, value.values()))
        case list():
            return any(map(_redacted, value))
        case _:
            return False


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ArgumentError(
            f"The new value of {name[:80]} is not written as JSON.",
            safe="Nothing was changed.",
            todo='Write a number as 5, a text as "five", yes or no as true or false.',
            code="edit_not_json",
        ) from None


def _no_number(word: str) -> Any:
    raise ValueError(word)


def _dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
