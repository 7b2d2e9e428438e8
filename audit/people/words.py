"""What people said about a request: their votes, how many of them count now, and the arguments they asked for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from langgraph_control.audit.asking.requests import FindRun, RunEntries
from langgraph_control.audit.asking.rows import ApprovalRow, ApprovalState
from langgraph_control.audit.asking.waiting import VoteRow, Votes, YesCounted
from langgraph_control.audit.connecting.connection import Ask
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.rebuild import rebuild
from langgraph_control.audit.trail.rebuilt import Edited

__all__ = ["Words", "edits_of", "said_yes", "words_on", "yes_counted"]

ENTRIES_LOOKED_AT: Final = 500
_UNDECIDED: Final = frozenset({ApprovalState.OPEN, ApprovalState.GRANTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What people said about a request.

    Args:
        votes: in their order, those that do not count any more among them.
        yes: how many of the yes count now.
        lapsed: how many do not count any more: the role is lost, or the leave was taken back.
        edits: the other arguments that people asked for, in their order, and why one was not taken.
    """

    votes: tuple[VoteRow, ...]
    yes: int
    lapsed: int
    edits: tuple[Edited, ...]


def words_on(ask: Ask, row: ApprovalRow) -> Words:
    """Return what people said about a request.

    Args:
        ask: asks the ledger.
        row: the request.
    """
    given = said_yes(row)
    yes = yes_counted(ask, [row]).get(row.approval_id, given)
    return Words(votes=ask(Votes(approval_id=row.approval_id)), yes=yes, lapsed=given - yes, edits=edits_of(ask, row))


def said_yes(row: ApprovalRow) -> int:
    """Return how many people have said yes to a request, whether or not that counts now.

    Args:
        row: the request.
    """
    return sum(voter.endswith((":approve", ":break_glass")) for voter in row.voters)


def yes_counted(ask: Ask, rows: Sequence[ApprovalRow]) -> Mapping[UUID, int]:
    """Return how many of the yes count now, of those requests where that still matters and somebody said yes.

    Args:
        ask: asks the ledger.
        rows: the requests.
    """
    asked = [row.approval_id for row in rows if row.state in _UNDECIDED and said_yes(row)]
    return ask(YesCounted(approvals=asked)) if asked else {}


def edits_of(ask: Ask, row: ApprovalRow) -> tuple[Edited, ...]:
    """Return what people changed about a request, by the newest entries of its run, and why that does not fit.

    Args:
        ask: asks the ledger.
        row: the request.
    """
    run = ask(FindRun(run_id=row.run_id))
    if run is None:
        return ()
    after = max(0, run.entries - ENTRIES_LOOKED_AT)
    entries = map(Entry.of, ask(RunEntries(run_id=row.run_id, after=after, limit=ENTRIES_LOOKED_AT)))
    return _edits(entry for entry in entries if entry.fact("approval") == str(row.approval_id))


def _edits(entries: Iterable[Entry]) -> tuple[Edited, ...]:
    return tuple(edit for asked in rebuild(entries).requests for edit in asked.edits if edit.counted)
