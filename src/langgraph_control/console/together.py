"""Several requests on one page: each is shown, each is voted on by itself, and what came of each is said."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from anyio.from_thread import run as on_the_loop
from starlette.responses import Response

from langgraph_control.audit.asking.evidence import Evidence, FindEvidence
from langgraph_control.audit.asking.rows import ApprovalRow, Voted, Voting
from langgraph_control.audit.asking.waiting import Refused, groups_of
from langgraph_control.audit.people.words import edits_of, yes_counted
from langgraph_control.console.cards import Card, card_of, link_in, why_not
from langgraph_control.console.links import outward_link
from langgraph_control.console.pages import found_request
from langgraph_control.console.visiting import Visit, acting, page
from langgraph_control.console.words import comment_of, shown_request
from langgraph_control.errors import ApprovalRefused, ControlError, TrailUnavailable
from langgraph_control.guards.approvals import REJECTIONS

__all__ = ["CHOSEN_MAX", "together", "vote_together"]

CHOSEN_MAX: Final = 20
"""So many are shown on one page: more are not looked at, one by one, before a button is pressed."""

NAME: Final = re.compile(r"apr_[0-9a-f]{32}")
SAID: Final = {
    Voting.GRANTED: "Approved. It unlocks exactly this write.",
    Voting.OPEN: "Your vote is counted. More people are needed.",
    Voting.DENIED: "Rejected. It will not be done, and the model is told.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """One of the requests that were chosen.

    Args:
        name: ``apr_…``.
        card: what it asks for; None where there is no such request.
        singly: why it is not voted on here; None where it is.
        link: to its record; "" where its contract gives none that is safe to follow.
        evidence: what was known when it was asked.
    """

    name: str
    card: Card | None
    singly: str | None
    link: str
    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one vote.

    Args:
        name: of the request.
        title: what it was about.
        counted: whether the vote counts.
        says: what came of it, or why nothing did.
    """

    name: str
    title: str
    counted: bool
    says: str


@page
def together(visit: Visit) -> Response:
    """Show each of the requests that were chosen in the inbox, and what a vote on them would unlock."""
    names = list(dict.fromkeys(filter(NAME.fullmatch, visit.request.query_params.getlist("request"))))
    chosen = [_chosen(visit, name) for name in names[:CHOSEN_MAX]]
    votable = [one.card for one in chosen if one.card is not None and one.singly is None]
    return visit.render(
        "together.html",
        chosen=chosen,
        votable=len(votable),
        comment_required=any(card.comment_required for card in votable),
        later=len(names[CHOSEN_MAX:]),
        rejections=REJECTIONS,
    )


@acting
def vote_together(visit: Visit) -> Response:
    """Vote on each request that the form names with the digest it showed; one's refusal says nothing about the next."""
    say = _word(visit)
    names = [name for name in visit.fields if NAME.fullmatch(name)][:CHOSEN_MAX]
    if not names:
        raise ApprovalRefused("No request is chosen.", todo="Choose some in the inbox.", code="none_chosen")
    outcomes = [_outcome(visit, name, say, first=place == 0) for place, name in enumerate(names)]
    on_the_loop(visit.console.heart.nudge)
    return visit.render("voted.html", outcomes=outcomes)


def _chosen(visit: Visit, name: str) -> Chosen:
    try:
        row = visit.sees(found_request(visit.console, name))
    except ApprovalRefused as error:
        return Chosen(name=name, card=None, singly=str(error.what), link="", evidence=Evidence())
    card = card_of(row, counted=yes_counted(visit.console.ask, [row]))
    return Chosen(
        name=name,
        card=card,
        singly=_singly(visit, row, card),
        link=outward_link(link_in(row), visit.console.address),
        evidence=visit.console.ask(FindEvidence(approval_id=row.approval_id)),
    )


def _singly(visit: Visit, row: ApprovalRow, card: Card) -> str | None:
    """Why a request is not voted on among others: it cannot be, or there is more to it than is shown here."""
    groups = groups_of(visit.session.identity)
    refused = visit.console.ask(Refused(approval_id=row.approval_id, person=visit.person, groups=groups))
    if refused is not None and refused != "comment_missing":  # a comment is what the form asks for
        return why_not(refused)
    if not card.readable:
        return "Its card cannot be read, so what would change cannot be shown."
    if card.doubtful:
        return "Something in it hides or disguises text. Look at it by itself."
    if row.supersedes is not None:
        return "It took the place of another request. Look at it by itself: there it says what changed since."
    if edits_of(visit.console.ask, row):
        return "Somebody asked for other arguments. Look at it by itself: there it says for which."
    return None


Say = Callable[[ApprovalRow], Voted]


def _word(visit: Visit) -> Say:
    """What the form says, for any of its requests."""
    approvals, credential = visit.console.approvals, visit.session.credential
    decision, comment, code = visit.field("decision"), comment_of(visit) or None, visit.field("code") or None
    match decision:
        case "approve":
            return lambda row: approvals.approve(row.approval_id, comment=comment, credential=credential)
        case "reject":
            return lambda row: approvals.reject(row.approval_id, code=code, comment=comment, credential=credential)
        case _:
            raise ApprovalRefused("The form says neither yes nor no.", todo="Choose again.", code="no_decision")


def _outcome(visit: Visit, name: str, say: Say, *, first: bool) -> Outcome:
    title = name
    try:
        row = shown_request(visit, name, visit.field(name))
        card = card_of(row)
        title = f"{card.tool}: {card.target}" if card.target else card.tool
        # The form itself was counted as one.
        if not first and not visit.console.acts.takes(visit.session.key, time.monotonic()):
            return Outcome(name=name, title=title, counted=False, says="Too many changes in a short time. Repeat it.")
        return Outcome(name=name, title=title, counted=True, says=SAID[say(row).answer])
    except TrailUnavailable:
        says = "The ledger cannot be reached. Whether it was recorded, its page shows."
    except ControlError as error:
        says = f"{error.what} {error.todo}".strip()
    return Outcome(name=name, title=title, counted=False, says=says)
