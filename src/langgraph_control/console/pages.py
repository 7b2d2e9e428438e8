"""The pages: what waits, what was decided, the runs, the record. They read, and change nothing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from starlette.responses import Response

from langgraph_control.audit.asking.authority_requests import Reviews
from langgraph_control.audit.asking.evidence import FindEvidence
from langgraph_control.audit.asking.operator_requests import Brakes, Scope
from langgraph_control.audit.asking.questions import OpenQuestions
from langgraph_control.audit.asking.requests import FindApproval, FindRun, NewestRuns, RunActions, RunEntries
from langgraph_control.audit.asking.rows import ApprovalRow, ApprovalState, EntryRow, RunRow, RunState
from langgraph_control.audit.asking.sagas import RunSagas
from langgraph_control.audit.asking.searching import FindPolicies
from langgraph_control.audit.asking.waiting import (
    Decided,
    Refused,
    UnderWay,
    VoteRow,
    Votes,
    Waiting,
    groups_of,
)
from langgraph_control.audit.keeping.recorded_run import differing
from langgraph_control.audit.keeping.requests import FindDropped
from langgraph_control.audit.names import approval_id, approval_name, run_name
from langgraph_control.audit.names import run_id as id_of
from langgraph_control.audit.people.approvals import REFUSALS
from langgraph_control.audit.people.operators import matched
from langgraph_control.audit.people.words import edits_of, yes_counted
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.rebuild import rebuild
from langgraph_control.audit.trail.reconstruct import reconstruct
from langgraph_control.audit.trail.timeline import timeline
from langgraph_control.audit.trail.verify import verify_chain
from langgraph_control.console.cards import card_of, link_in, why_not
from langgraph_control.console.changing import changed_since, editables, successor
from langgraph_control.console.links import outward_link
from langgraph_control.console.paths import path_of
from langgraph_control.console.visiting import Console, Visit, page
from langgraph_control.errors import ApprovalRefused, PolicyError, UnknownRun
from langgraph_control.guards.approvals import REJECTIONS
from langgraph_control.guards.run_reasons import explained
from langgraph_control.guards.run_states import next_step
from langgraph_control.guards.sagas import standing

__all__ = ["attention", "decided", "inbox", "policy", "record", "request", "run", "runs", "writes"]

PAGE_REQUESTS: Final = 50
PAGE_RUNS: Final = 100
PAGE_ENTRIES: Final = 500
ENTRIES_MAX: Final = 5000
STUCK: Final = frozenset({"needs_human", "unknown", "verifying", "executing"})
FREEZE: Final = "freeze"
HASH: Final = re.compile("[0-9a-f]{64}")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

SAID: Final[Mapping[str, str]] = {
    "granted": "Approved. It unlocks exactly this write.",
    "counted": "Your vote is counted. More people are needed.",
    "rejected": "Rejected. It will not be done, and the model is told.",
    "edited": "Changed. The run takes it up at its next try, and asks for approval of exactly that.",
    "withdrawn": "Your yes is taken back.",
    "broken": "Approved by you alone. It is on record as an emergency, and somebody else looks at it afterwards.",
    "reviewed": "Your word on the emergency is on record. It changes nothing that was done.",
    "resolved": "Settled. Whoever waits for it goes on.",
    "frozen": "Stopped: no further write begins. What is under way is listed here.",
    "unfrozen": "Writes go on, and the runs that stood still for it are woken.",
}
"""What a page says after a change, by the word in its address."""


@page
def inbox(visit: Visit) -> Response:
    """Show the open requests: those a person may vote on, or all."""
    everyone = visit.asked("view") == "all"
    tool, actor = visit.asked("tool"), visit.asked("actor")
    after_at, after = _place(visit.asked("after"))
    rows = visit.console.ask(
        Waiting(
            limit=PAGE_REQUESTS + 1,
            after_at=after_at,
            after=after,
            person=None if everyone else visit.person,
            groups=groups_of(visit.session.identity),
            tool=tool or None,
            actor=actor or None,
        )
    )
    listed = rows[:PAGE_REQUESTS]
    further = _token(listed[-1].requested_at, listed[-1].approval_id) if len(rows) > PAGE_REQUESTS else ""
    filters = {"view": "all" if everyone else "mine", "tool": tool, "actor": actor}
    counted = yes_counted(visit.console.ask, listed)
    cards = [card_of(row, counted=counted) for row in listed]
    return visit.render("inbox.html", cards=cards, filters=filters, further=further, later=bool(after))


@page
def decided(visit: Visit) -> Response:
    """Show the decided requests, the newest first."""
    asked = visit.asked("state")
    state = asked if asked in set(ApprovalState) - {ApprovalState.OPEN} else ""
    before_at, before = _place(visit.asked("before"))
    rows = visit.console.ask(Decided(limit=PAGE_REQUESTS + 1, before_at=before_at, before=before, state=state or None))
    listed = rows[:PAGE_REQUESTS]
    further = _token(listed[-1].requested_at, listed[-1].approval_id) if len(rows) > PAGE_REQUESTS else ""
    states = [one for one in ApprovalState if one is not ApprovalState.OPEN]
    cards = [card_of(row) for row in listed]
    return visit.render("decided.html", cards=cards, state=state, states=states, further=further)


@page
def request(visit: Visit) -> Response:
    """Show one request, and what a vote on it would unlock."""
    row = visit.sees(found_request(visit.console, visit.request.path_params["name"]))
    groups = groups_of(visit.session.identity)
    refused = visit.console.ask(Refused(approval_id=row.approval_id, person=visit.person, groups=groups))
    following = visit.console.ask(Waiting(limit=2, person=visit.person, groups=groups))
    others = [approval_name(one.approval_id) for one in following if one.approval_id != row.approval_id]
    votes = visit.console.ask(Votes(approval_id=row.approval_id))
    yes = any(vote.person == visit.person and vote.decision != "reject" for vote in votes)
    return visit.render(
        "request.html",
        card=card_of(row, counted=yes_counted(visit.console.ask, [row])),
        link=outward_link(link_in(row), visit.console.address),
        row=row,
        votes=votes,
        withdrawable=yes and row.state in {ApprovalState.OPEN, ApprovalState.GRANTED},
        alone=_may_stand_alone(visit, row, refused),
        reviewable=_may_review(visit, row, votes),
        evidence=visit.console.ask(FindEvidence(approval_id=row.approval_id)),
        editables=editables(row) if refused is None else (),
        edits=edits_of(visit.console.ask, row),
        in_place_of="" if row.supersedes is None else approval_name(row.supersedes),
        since=changed_since(visit, row),
        replaced_by=successor(visit.console, row),
        rejections=REJECTIONS,
        refused=None if refused is None else why_not(refused),
        following=others[0] if others else "",
        said=SAID.get(visit.asked("said"), ""),
    )


@page
def runs(visit: Visit) -> Response:
    """Show where runs stand, whose turn it is, and for how long."""
    asked, owner = visit.asked("state"), visit.asked("owner")
    state = RunState(asked) if asked in set(RunState) else None
    longest = state is not RunState.DONE and bool(state or owner)
    since, after = _place(visit.asked("after")) if longest else (None, None)
    asking = NewestRuns(
        limit=PAGE_RUNS + 1, state=state, owner=owner or None, longest=longest, since=since, after=after
    )
    listed, further = _page_of(visit.console.ask(asking))
    return visit.render(
        "runs.html",
        runs=listed,
        further=further,
        longest=longest,
        says=says_of,
        name_of=run_name,
        state=state,
        owner=owner,
        states=list(RunState),
    )


@page
def run(visit: Visit) -> Response:
    """Show one run: its story from the recorded entries alone, the path it took, and whether its record is whole."""
    row = found_run(visit.console, visit.request.path_params["name"])
    rows, whole = _entries(visit.console, row)
    # Read after the entries, so that the chain's own row counts them all; what was appended in between is read, too.
    row = found_run(visit.console, run_name(row.run_id))
    if whole:
        rows += _entries_since(visit.console, row, rows[-1].seq if rows else 0)
    entries = [Entry.of(entry) for entry in rows]
    story, told = reconstruct(entries), rebuild(entries)
    cut = visit.console.ask(FindDropped(run_id=row.run_id))
    actions = visit.console.ask(RunActions(run_id=row.run_id, only_open=False))
    parts = visit.console.ask(RunSagas(run_id=row.run_id))
    return visit.render(
        "run.html",
        run=row,
        told=told,
        differs=differing(visit.console.ask, row, rows, told) if whole else (),
        name=run_name(row.run_id),
        trace=None if visit.console.traces is None else visit.console.traces.of(row.run_id),
        says=says_of(row),
        story=story,
        lines=timeline(story),
        path=path_of(entries, story.steps),
        verified=verify_chain(row.run_id, rows, head=row.head, entries=row.entries, cut=cut) if whole else None,
        stuck=[action for action in actions if action.state in STUCK],
        requests=[approval_name(action.approval_id) for action in actions if action.approval_id is not None],
        questions=visit.console.ask(OpenQuestions(run_id=row.run_id)),
        sagas=[(part, standing(part.part)) for part in parts],
        said=SAID.get(visit.asked("said"), ""),
    )


@page
def policy(visit: Visit) -> Response:
    """Show the text of a policy that was published, as a decision names it by its hash."""
    asked = str(visit.request.path_params["hash"])
    found = visit.console.ask(FindPolicies(hashes=[asked])) if HASH.fullmatch(asked) else ()
    if len(found) != 1:
        raise PolicyError(
            "No policy of this tenant has that hash.",
            safe="",
            todo="Follow the link on the page of a run.",
            code="policy_not_found",
        )
    (one,) = found
    return visit.render("policy.html", policy=one)


@page
def attention(visit: Visit) -> Response:
    """Show the runs that only a person can get on with, and what one person decided alone."""
    since, after = _place(visit.asked("after"))
    asking = NewestRuns(limit=PAGE_RUNS + 1, state=RunState.NEEDS_HUMAN, longest=True, since=since, after=after)
    listed, further = _page_of(visit.console.ask(asking))
    alone = [card_of(one) for one in visit.console.ask(Reviews(limit=PAGE_REQUESTS))]
    return visit.render("attention.html", runs=listed, further=further, reviews=alone, says=says_of, name_of=run_name)


@page
def writes(visit: Visit) -> Response:
    """Show what holds writes back, and what is under way at this moment."""
    brakes = visit.console.ask(Brakes())
    frozen = {(brake.scope, brake.name) for brake in brakes if brake.cause == FREEZE}
    return visit.render(
        "writes.html",
        brakes=brakes,
        matched=matched,
        unseen={which: visit.console.operators.unseen(*which) for which in frozen},
        under_way=visit.console.ask(UnderWay()),
        scopes=list(Scope),
        name_of=run_name,
        far=visit.console.sessions.clock() + timedelta(days=3650),
        said=SAID.get(visit.asked("said"), ""),
    )


@page
def record(visit: Visit) -> Response:
    """Offer to check the whole record."""
    return visit.render("record.html", found=None)


def found_request(console: Console, name: str) -> ApprovalRow:
    """Return the request of a name.

    Args:
        console: what the pages share.
        name: as the address has it.

    Raises:
        ApprovalRefused: there is none.
    """
    row = console.ask(FindApproval(approval_id=approval_id(name)))
    if row is None:
        what, todo = REFUSALS["unknown_request"]
        raise ApprovalRefused(what, todo=todo, code="unknown_request")
    return row


def found_run(console: Console, name: str) -> RunRow:
    """Return the run of a name.

    Args:
        console: what the pages share.
        name: as the address has it.

    Raises:
        UnknownRun: there is none.
    """
    row = console.ask(FindRun(run_id=id_of(name)))
    if row is None:
        raise UnknownRun("There is no such run for this tenant.", todo="Look for it among the runs.")
    return row


def says_of(row: RunRow) -> tuple[str, str]:
    """Return in words why a run stands where it stands, and the next step.

    Args:
        row: the run.
    """
    says = explained(row.reason).says if row.reason else ""
    step = row.next_step or (next_step(row.reason, run_name(row.run_id)) if row.reason else "")
    return says, "" if row.state is RunState.DONE else step


def _may_stand_alone(visit: Visit, row: ApprovalRow, refused: str | None) -> bool:
    """Whether it looks as if this person might decide alone, in an emergency; the ledger says whether."""
    roles = row.requirement.get("break_glass") or ()
    return refused in {None, "not_in_role", "comment_missing"} and not set(roles).isdisjoint(visit.session.roles)


def _may_review(visit: Visit, row: ApprovalRow, votes: Sequence[VoteRow]) -> bool:
    """Whether it looks as if this person might say what they think of an emergency; the ledger says whether."""
    alone = any(vote.person == visit.person and vote.decision == "break_glass" for vote in votes)
    asked = set(row.requirement.get("quorum") or ())
    return row.in_review and not alone and not asked.isdisjoint(visit.session.roles)


def _entries(console: Console, row: RunRow) -> tuple[list[EntryRow], bool]:
    """The run's entries, and whether these are all."""
    entries: list[EntryRow] = []
    while len(entries) < ENTRIES_MAX:
        after = entries[-1].seq if entries else 0
        found = console.ask(RunEntries(run_id=row.run_id, after=after, limit=PAGE_ENTRIES))
        entries += found
        if len(found) < PAGE_ENTRIES:
            return entries, True
    return entries, False


def _entries_since(console: Console, row: RunRow, last: int) -> Iterator[EntryRow]:
    """The entries behind one, as far as the chain's own row counts them."""
    while last < row.entries:
        found = console.ask(RunEntries(run_id=row.run_id, after=last, limit=PAGE_ENTRIES))
        yield from (one for one in found if one.seq <= row.entries)
        if len(found) < PAGE_ENTRIES:
            return
        last = found[-1].seq


def _page_of(rows: Sequence[RunRow]) -> tuple[Sequence[RunRow], str]:
    """As many as a page has, and the place where the next page goes on; "" where this is the last."""
    listed = rows[:PAGE_RUNS]
    return listed, _token(listed[-1].state_since, listed[-1].run_id) if len(rows) > PAGE_RUNS else ""


def _token(at: datetime, which: UUID) -> str:
    return f"{(at - EPOCH) // timedelta(microseconds=1)}-{which.hex}"


def _place(token: str) -> tuple[datetime | None, UUID | None]:
    """The place in the list that a link of ours names; the beginning for anything else."""
    found = re.fullmatch(r"(\d{1,17})-([0-9a-f]{32})", token)
    return (EPOCH + timedelta(microseconds=int(found[1])), UUID(found[2])) if found else (None, None)
