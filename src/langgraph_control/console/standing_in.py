"""Who votes for whom: the list, letting somebody stand in for oneself, and ending that."""

from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from starlette.responses import Response

from langgraph_control.audit.asking.authority_requests import Delegations
from langgraph_control.console.visiting import Visit, acting, page
from langgraph_control.console.words import comment_of
from langgraph_control.errors import ApprovalRefused
from langgraph_control.guards.spoken_texts import check_stand_in

__all__ = ["end", "give", "standing_in"]

SAID = {
    "given": "From now on they vote for you, until the end you gave or until you end it.",
    "ended": "Ended. Votes under it that nothing was done with yet do not count any more.",
}


@page
def standing_in(visit: Visit) -> Response:
    """Show who stands in for whom now, and the form that lets somebody do so."""
    return visit.render(
        "standing_in.html",
        delegations=visit.console.ask(Delegations()),
        mine=_same(visit.person),
        same=_same,
        tomorrow=(visit.console.sessions.clock() + timedelta(days=1)).date().isoformat(),
        said=SAID.get(visit.asked("said"), ""),
    )


@acting
def give(visit: Visit) -> Response:
    """Let somebody vote in one's roles, or in one of them, to the end of a day."""
    to = visit.field("to").strip()
    check_stand_in(to, at="Who votes for you")
    visit.console.approvals.delegate(
        to,
        until=_end_of(visit.field("until")),
        role=visit.field("role") or None,
        comment=comment_of(visit) or None,
        credential=visit.session.credential,
    )
    return visit.go("/standing-in?said=given")


@acting
def end(visit: Visit) -> Response:
    """End a delegation one gave."""
    try:
        delegation = UUID(visit.field("delegation"))
    except ValueError:
        raise ApprovalRefused(
            "The form does not say what is ended.", todo="Open the page again.", code="unknown_delegation"
        ) from None
    visit.console.approvals.revoke(delegation, comment=comment_of(visit) or None, credential=visit.session.credential)
    return visit.go("/standing-in?said=ended")


def _end_of(day: str) -> datetime:
    """The end of a day, UTC."""
    try:
        return datetime.combine(date.fromisoformat(day), time.max, UTC)
    except ValueError:
        raise ApprovalRefused(
            "The form does not say until when.", todo="Give the last day, as 2027-01-31.", code="until_missing"
        ) from None


def _same(person: str) -> str:
    """A person's name as the ledger compares it."""
    return person.strip().lower()
