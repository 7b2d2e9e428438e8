"""What people do here beside deciding: settle, stop writes and let them go on, have the record checked.

Each is a form of its own page, in a session of its own, authenticated once more; who may do what, the ledger decides.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from starlette.responses import Response

from langgraph_control.audit.asking.operator_requests import Resolution, Scope
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_name
from langgraph_control.audit.people.operators import refusal
from langgraph_control.audit.trail.verify import verify_all
from langgraph_control.console.pages import found_run
from langgraph_control.console.visiting import Console, Visit, acting
from langgraph_control.console.words import comment_of
from langgraph_control.errors import OperationRefused
from langgraph_control.nodes.results import encode

__all__ = ["check_record", "freeze", "resolve", "unfreeze"]

T = TypeVar("T", bound=StrEnum)

KEY_HEX = 64


@acting
def resolve(visit: Visit) -> Response:
    """Say what became of an action that the program cannot settle."""
    row = found_run(visit.console, visit.request.path_params["name"])
    verdict = _one_of(Resolution, visit.field("verdict"), "It has to be said what became of the action.")
    key = visit.field("key")
    if len(key) != KEY_HEX or not set(key) <= set("0123456789abcdef"):
        visit.console.refusals.count("malformed")
        raise refusal("unknown_action")
    result = visit.field("result").strip() if verdict is Resolution.HAPPENED else ""
    visit.console.operators.resolve(
        row.run_id,
        bytes.fromhex(key),
        verdict,
        comment=comment_of(visit),
        result=encode(result) if result else None,
        credential=visit.session.credential,
    )
    return visit.go(f"/runs/{run_name(row.run_id)}?said=resolved")


@acting
def freeze(visit: Visit) -> Response:
    """Stop writes from the next claim on."""
    scope = _one_of(Scope, visit.field("scope"), "It has to be said what is stopped.")
    name = visit.field("name").strip()
    visit.console.operators.freeze(scope, name, comment=comment_of(visit), credential=visit.session.credential)
    return visit.go("/writes?said=frozen")


@acting
def unfreeze(visit: Visit) -> Response:
    """Let writes go on."""
    scope = _one_of(Scope, visit.field("scope"), "It has to be said what goes on.")
    visit.console.operators.unfreeze(
        scope, visit.field("name"), comment=comment_of(visit), credential=visit.session.credential
    )
    return visit.go("/writes?said=unfrozen")


@acting
def check_record(visit: Visit) -> Response:
    """Check every chain of the record. A form, though it changes nothing: nobody else's page can set the work off."""
    # Whoever waited here would keep a thread from all other pages.
    if not visit.console.checking.acquire(blocking=False):
        raise OperationRefused(
            "The record is being checked already.",
            safe="That check goes on; nothing else was begun.",
            todo="Ask again when it is over.",
            code="check_under_way",
        )
    try:
        found = _checked(visit.console)
    finally:
        visit.console.checking.release()
    return visit.render("record.html", found=found)


def _checked(console: Console) -> Mapping[str, Any]:
    runs = entries = 0
    broken: list[tuple[str, str]] = []
    with LedgerConnection(console.store.dsn, application_name="langgraph-control console") as connection:
        for run, found in verify_all(connection):
            runs, entries = runs + (run is not None), entries + found.entries
            if not found.ok:
                broken.append(("" if run is None else run_name(run), str(found.broken)))
    return {"runs": runs, "entries": entries, "broken": broken}


def _one_of(kind: type[T], word: str, missing: str) -> T:
    try:
        return kind(word)
    except ValueError:
        raise OperationRefused(missing, todo="Choose one.", code="choice_missing") from None
