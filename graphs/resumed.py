"""What becomes of a resume that reaches a governed graph from outside: at most a vote, else an attempt on record."""

import logging
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import orjson

from langgraph_control.audit.asking.attempts import Ignored, NoteAttempt
from langgraph_control.audit.asking.requests import FindApproval
from langgraph_control.audit.asking.rows import ApprovalRow
from langgraph_control.audit.names import approval_id
from langgraph_control.audit.people.approvals import Approvals
from langgraph_control.errors import ApprovalRefused, ArgumentError, NotAuthenticated
from langgraph_control.graphs.order import worker_name
from langgraph_control.graphs.resume_values import Decision, Word
from langgraph_control.nodes.call import body_bytes

__all__ = ["CastVote", "Sender", "heard", "ignored"]

logger: Final = logging.getLogger("langgraph_control.front_ends")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who resumes a graph, and by which way.

    Args:
        person: whom the server authenticated; None for nobody.
        credential: what the approver's side recognises the person by; None for nobody.
        approvals: the approver's side; None where this process takes no votes.
        where: ids of the server's run and request, for the record.
    """

    person: str | None = None
    credential: str | None = field(default=None, repr=False)
    approvals: Approvals | None = None
    where: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CastVote:
    """Ask the ledger, on the approver's login, to count a vote, or to keep an edit.

    Answered with the stable word that refused it; with an ``Ignored`` where nothing was asked; or with None.

    Args:
        approvals: the approver's side.
        name: the request.
        decision: yes, no, or other arguments.
        changes: of an edit: argument → new value.
        comment: why.
        credential: what the voter is recognised by.
    """

    approvals: Approvals
    name: UUID
    decision: Decision
    changes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    comment: str | None = field(repr=False)
    credential: str = field(repr=False)

    @property
    def _unusable(self) -> Ignored:
        """Why it decides nothing where it can be no word of a person's."""
        return Ignored.EDIT_UNUSABLE if self.decision == "edit" else Ignored.NO_DECISION

    def cast(self) -> str | None:
        """Vote, or edit."""
        said: Any = {"comment": self.comment, "credential": self.credential}
        try:
            match self.decision:
                case "approve":
                    self.approvals.approve(self.name, **said)
                case "reject":
                    self.approvals.reject(self.name, **said)
                case "edit":
                    self.approvals.edit(self.name, self.changes, **said)
        except ApprovalRefused as refused:  # and on record
            return refused.code
        except ArgumentError:
            return self._unusable
        except NotAuthenticated:  # the server's word, and no name that a person may have here
            return Ignored.NOT_AUTHENTICATED
        return None

    async def acast(self) -> str | None:
        """Vote or edit, on any event loop."""
        said: Any = {"comment": self.comment, "credential": self.credential}
        try:
            match self.decision:
                case "approve":
                    await self.approvals.aapprove(self.name, **said)
                case "reject":
                    await self.approvals.areject(self.name, **said)
                case "edit":
                    await self.approvals.aedit(self.name, self.changes, **said)
        except ApprovalRefused as refused:
            return refused.code
        except ArgumentError:
            return self._unusable
        except NotAuthenticated:  # the server's word, and no name that a person may have here
            return Ignored.NOT_AUTHENTICATED
        return None


def heard(run_id: UUID, word: Word, sender: Sender) -> Generator[Any, Any, None]:
    """Make a vote or an edit of a word if it is one; else put it on record as an attempt. The run then goes on.

    Args:
        run_id: the run whose graph was resumed.
        word: what was said about one request.
        sender: who said it.
    """
    named = approval_id(word.approval) if word.approval else None
    asked = word.ignored or (yield from _asked(word, named, sender))
    refused: str | None = asked if isinstance(asked, Ignored) else (yield asked)
    if isinstance(refused, Ignored):
        yield from ignored(run_id, refused, sender, approval=named)
    elif refused is not None:
        logger.warning("A vote on %s that came with a resume does not count (%s).", word.approval, refused)


def ignored(run_id: UUID, why: Ignored, sender: Sender, *, approval: UUID | None = None) -> Generator[Any, Any, None]:
    """Put on record that a resume tried to decide.

    Args:
        run_id: the run whose graph was resumed.
        why: why it decides nothing.
        sender: who sent it.
        approval: the request it was about, where that is known.
    """
    body = body_bytes({"who": {"person": sender.person}, "where": {"worker": worker_name(), **sender.where}})
    logger.warning("A resume of a governed run decides nothing (%s).", why.value)
    yield NoteAttempt(run_id=run_id, approval_id=approval, reason=why, body=body)


def _asked(word: Word, named: UUID | None, sender: Sender) -> Generator[Any, Any, CastVote | Ignored]:
    """What is asked of the ledger, or why that is nothing."""
    if sender.credential is None:
        return Ignored.NOT_AUTHENTICATED
    # What the interrupt shows may be old, or swapped by whoever can write checkpoints: the ledger's digest counts.
    row: ApprovalRow | None = None if named is None else (yield FindApproval(approval_id=named))
    if row is None or row.digest.hex() != word.digest:
        return Ignored.OTHER_DIGEST
    if sender.approvals is None:
        return Ignored.NO_VOTES_HERE
    if word.decision is None:
        return Ignored.NO_DECISION
    changes = _changes(word, row) if word.decision == "edit" else {}
    if changes is None:
        return Ignored.EDIT_UNUSABLE
    return CastVote(
        approvals=sender.approvals,
        name=row.approval_id,
        decision=word.decision,
        changes=changes,
        comment=word.comment,
        credential=sender.credential,
    )


def _changes(word: Word, row: ApprovalRow) -> Mapping[str, Any] | None:
    """What an edit changes of what was shown; front ends send all arguments back. None: nothing of this call."""
    try:
        shown = orjson.loads(row.card)["what"]["arguments"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    if word.tool not in {None, row.tool} or not isinstance(shown, dict):
        return None
    return {
        # As it was written: a binary float cannot hold 0.10.
        name: repr(value) if isinstance(value, float) else value
        for name, value in word.arguments.items()
        if name not in shown or shown[name] != value
    } or None
