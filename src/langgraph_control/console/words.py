"""What people say about a request: yes or no, with which arguments instead, a yes taken back, an emergency.

Forms of the request's page, for exactly what it showed; whether a word counts, the ledger decides.
"""

import hmac
from collections.abc import Mapping
from typing import Final, Literal

from anyio.from_thread import run as on_the_loop
from starlette.responses import Response

from langgraph_control.audit.asking.rows import ApprovalRow, Voting
from langgraph_control.audit.names import approval_name
from langgraph_control.console.changing import changes
from langgraph_control.console.pages import found_request
from langgraph_control.console.visiting import Visit, acting
from langgraph_control.errors import ApprovalRefused, ArgumentError
from langgraph_control.guards.spoken_texts import check_comment

__all__ = ["break_glass", "comment_of", "edit", "review", "shown_request", "vote", "withdraw"]

VERDICTS: Final[Mapping[str, Literal["accepted", "objected"]]] = {"accepted": "accepted", "objected": "objected"}


@acting
def vote(visit: Visit) -> Response:
    """Count one person's word on exactly what the page showed."""
    row = _shown(visit)
    said, comment = visit.field("decision"), comment_of(visit) or None
    approvals, credential = visit.console.approvals, visit.session.credential
    if said == "approve":
        voted = approvals.approve(row.approval_id, comment=comment, credential=credential)
    elif said == "reject":
        code = visit.field("code") or None
        voted = approvals.reject(row.approval_id, code=code, comment=comment, credential=credential)
    else:
        raise ApprovalRefused("The form says neither yes nor no.", todo="Open the request again.", code="no_decision")
    return _back(visit, row, {Voting.GRANTED: "granted", Voting.OPEN: "counted"}.get(voted.answer, "rejected"))


@acting
def edit(visit: Visit) -> Response:
    """Say with which arguments instead; only what the form changes is sent."""
    row = _shown(visit)
    changed = changes(row, visit.fields)
    if not changed:
        raise ArgumentError("Nothing is changed by this.", todo="Change a value, or approve it.", code="edit_empty")
    visit.console.approvals.edit(
        row.approval_id, changed, comment=comment_of(visit) or None, credential=visit.session.credential
    )
    return _back(visit, row, "edited")


@acting
def withdraw(visit: Visit) -> Response:
    """Take one's yes back."""
    row = _shown(visit)
    visit.console.approvals.withdraw(
        row.approval_id, comment=comment_of(visit) or None, credential=visit.session.credential
    )
    return _back(visit, row, "withdrawn")


@acting
def break_glass(visit: Visit) -> Response:
    """Say yes alone, in an emergency."""
    row = _shown(visit)
    visit.console.approvals.break_glass(
        row.approval_id, comment=comment_of(visit) or None, credential=visit.session.credential
    )
    return _back(visit, row, "broken")


@acting
def review(visit: Visit) -> Response:
    """Say afterwards whether it was right to decide alone."""
    row, verdict = _shown(visit), VERDICTS.get(visit.field("verdict"))
    if verdict is None:
        raise ApprovalRefused("The form says neither.", todo="Accept it or object.", code="no_verdict")
    visit.console.approvals.review(
        row.approval_id, verdict, comment=comment_of(visit) or None, credential=visit.session.credential
    )
    return _back(visit, row, "reviewed")


def comment_of(visit: Visit) -> str:
    """Return the form's comment; "" without one.

    Args:
        visit: whose form it is.

    Raises:
        ArgumentError: it is too long.
    """
    comment = visit.field("comment").strip()
    check_comment(comment)
    return comment


def shown_request(visit: Visit, name: str, digest: str) -> ApprovalRow:
    """Return the request that a form is about, if the form says the digest that its page showed; else it is counted.

    Args:
        visit: whose form it is.
        name: the request's.
        digest: as the form has it.

    Raises:
        ApprovalRefused: there is no such request, or its digest is another one.
    """
    try:
        row = found_request(visit.console, name)
    except ApprovalRefused as refused:
        visit.console.refusals.count(refused.code)
        raise
    if not hmac.compare_digest(digest.encode(), row.digest.hex().encode()):
        visit.console.refusals.count("other_digest")
        raise ApprovalRefused(
            "The form does not say which change it is about.", todo="Open the request again.", code="digest_missing"
        )
    return row


def _shown(visit: Visit) -> ApprovalRow:
    return shown_request(visit, visit.request.path_params["name"], visit.field("digest"))


def _back(visit: Visit, row: ApprovalRow, said: str) -> Response:
    on_the_loop(visit.console.heart.nudge)
    return visit.go(f"/requests/{approval_name(row.approval_id)}?said={said}")
