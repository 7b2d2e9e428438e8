"""What waits for a person's word, and that word: the approver's side, on a login of its own."""

import asyncio
import io
import os
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, TypedDict, Unpack, get_args
from uuid import UUID

import orjson

from langgraph_control.audit.asking.authority_requests import (
    Delegate,
    Delegation,
    Delegations,
    Edit,
    Review,
    Reviews,
    RevokeDelegation,
    WithdrawVote,
)
from langgraph_control.audit.asking.evidence import Evidence, FindEvidence
from langgraph_control.audit.asking.requests import FindApproval, Inbox, Vote
from langgraph_control.audit.asking.rows import ApprovalRow, ApprovalState, Voted, Voting
from langgraph_control.audit.asking.waiting import Own, OwnPerson, Waiting
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.names import approval_id
from langgraph_control.audit.people.decided import decided_requests
from langgraph_control.audit.people.identity import Authenticator, checked
from langgraph_control.audit.people.refused_access import known_or_noted
from langgraph_control.audit.people.shown_by_role import may_show_more, shown_to_person
from langgraph_control.audit.people.vote_refusals import REFUSALS
from langgraph_control.errors import ApprovalRefused, ArgumentError, DatabaseRefused
from langgraph_control.guards.approvals import REJECTIONS
from langgraph_control.guards.canonical import canonical_bytes
from langgraph_control.guards.given_options import check_limit, check_options
from langgraph_control.guards.redaction import REDACTED
from langgraph_control.guards.spoken_texts import (
    NOTHING_SENT,
    RECORD_CHARS_MAX,
    check_comment,
    check_json,
    check_name,
    check_stand_in,
)

if TYPE_CHECKING:
    from langgraph_control.audit.people.words import Words

__all__ = ["APPROVER_DSN_VARIABLE", "INBOX_LIMIT", "REFUSALS", "Approvals", "OnlyDecided"]

APPROVER_DSN_VARIABLE: Final = "LANGGRAPH_CONTROL_APPROVER_DSN"
INBOX_LIMIT: Final = 100


class Said(TypedDict, total=False):
    """What every word on a request takes.

    Args:
        comment: why, for the record; with a no, for the model, too.
        as_: the person who speaks; only with the development server's approver login.
        credential: what the authenticator recognises the person by; where there is one, it is needed.
    """

    comment: str | None
    as_: str | None
    credential: str | None


class Only(TypedDict, total=False):
    """Which open requests are listed; all without any of these.

    Args:
        mine: those on which one's own vote would count now.
        tool: those of this tool.
        actor: those of runs that this actor asked for.
        as_: whose own, with `mine`; None: those of whom the login belongs to.
        credential: what the authenticator recognises the person by, with `mine`; where there is one, it is needed.
    """

    mine: bool
    tool: str | None
    actor: str | None
    as_: str | None
    credential: str | None


DecidedState: TypeAlias = Literal["granted", "denied", "expired", "superseded", "withdrawn", "used"]
Verdict: TypeAlias = Literal["accepted", "objected"]


class OnlyDecided(TypedDict, total=False):
    """Which decided requests are listed; all without any of these.

    Args:
        state: those that stand there.
        tool: those of this tool.
        actor: those of runs that this actor asked for.
    """

    state: DecidedState | ApprovalState | None
    tool: str | None
    actor: str | None


class Approvals:
    """Requests for approval, and people's words on them.

    Who speaks is whom the admin published for this database login; or, in a service that authenticates people itself,
    whom the authenticator recognises by their credential. Such a service has a login that may name persons, and each
    word's identity is on record, never the credential.

    Nothing is opened before the first call. Use it in a ``with`` or ``async with`` block, or close it. Whatever takes
    :class:`Said` may raise ``ArgumentError`` (a comment or a name is too long, or no text that the record can keep, or
    there is no such option; the text names it, and nothing was sent), ``NotAuthenticated`` (the credential is not
    accepted, or none was given; nothing was asked of the ledger), ``ApprovalRefused`` (the word does not count; its
    code and text say why, and that is on record), and ``TrailUnavailable``, ``DatabaseRefused`` or ``SchemaMismatch``
    (the ledger could not be asked).

    Args:
        dsn: an approver login's connection string; by default ``LANGGRAPH_CONTROL_APPROVER_DSN``.
        authenticator: recognises people by a credential; every word then needs one.

    Raises:
        DatabaseRefused: no DSN was given, or it cannot be read.
        ArgumentError: the authenticator recognises nobody: it has no ``authenticate`` (``authenticator_invalid``).
    """

    def __init__(self, dsn: str | None = None, *, authenticator: Authenticator | None = None) -> None:
        given = dsn or os.environ.get(APPROVER_DSN_VARIABLE)
        if not given:
            raise DatabaseRefused(
                "No approver's DSN was given.",
                todo=f"Set {APPROVER_DSN_VARIABLE}, or write Approvals(dsn).",
                code="dsn_missing",
            )
        self._authenticator = checked(authenticator)
        self._store = Store(given, application_name="langgraph-control approvals", connections_max=2)

    def inbox(self, limit: int = INBOX_LIMIT, **only: Unpack[Only]) -> tuple[ApprovalRow, ...]:
        """Return the open requests, oldest first.

        Args:
            limit: at most so many.
            **only: see :class:`Only`.

        Raises:
            ArgumentError: the limit is none (``limit_invalid``), or a name cannot be one; nothing was asked.
            NotAuthenticated: ``mine`` is asked, and the credential is not accepted, or none was given.
            ApprovalRefused: ``mine`` is asked on a login that belongs to nobody in particular, and nobody was named.
        """
        return self._store.call(self._waiting(limit, only))

    async def ainbox(self, limit: int = INBOX_LIMIT, **only: Unpack[Only]) -> tuple[ApprovalRow, ...]:
        """Do what :meth:`inbox` does, on any event loop."""
        return await self._store.acall(await asyncio.to_thread(self._waiting, limit, only))

    def decided(self, limit: int = INBOX_LIMIT, **only: Unpack[OnlyDecided]) -> tuple[ApprovalRow, ...]:
        """Return requests that are not open any more, the newest first, of the newest 5,000.

        Args:
            limit: at most so many.
            **only: see :class:`OnlyDecided`.

        Raises:
            ArgumentError: no decided request stands in that state (``unknown_state``), or the limit is none
                (``limit_invalid``); nothing was asked.
        """
        check_options(only, OnlyDecided.__annotations__)
        state, tool, actor = only.get("state"), only.get("tool"), only.get("actor")
        if state is not None and state not in get_args(DecidedState):
            raise ArgumentError(
                f"There is no such state of a decided request. States are: {', '.join(get_args(DecidedState))}.",
                code="unknown_state",
            )
        check_limit(limit)
        check_name(tool, at="tool", chars_max=RECORD_CHARS_MAX)
        check_name(actor, at="actor", chars_max=RECORD_CHARS_MAX)
        return decided_requests(self._store.call, limit, state=state, tool=tool, actor=actor)

    async def adecided(self, limit: int = INBOX_LIMIT, **only: Unpack[OnlyDecided]) -> tuple[ApprovalRow, ...]:
        """Do what :meth:`decided` does, on any event loop."""
        return await asyncio.to_thread(partial(self.decided, limit, **only))

    def get(self, name: str | UUID, *, as_: str | None = None, credential: str | None = None) -> ApprovalRow:
        """Return one request, open or closed, as whoever asks may see it.

        What a contract shows to some roles alone (``redact={path: roles}``) is in its card only for who has one of
        them: whom the login belongs to, or who is named or recognised here.

        Args:
            name: ``apr_…``.
            as_: the person who looks; only with the development server's approver login.
            credential: what the authenticator recognises the person by; without one nobody in particular looks.

        Raises:
            ApprovalRefused: there is none of that name.
            NotAuthenticated: the credential is not accepted.
        """
        check_name(as_, at="as_")
        row = _known(self._store.call(FindApproval(approval_id=approval_id(name))))
        return shown_to_person(self._store.call, row, self._reader(as_, credential)) if may_show_more(row) else row

    async def aget(self, name: str | UUID, *, as_: str | None = None, credential: str | None = None) -> ApprovalRow:
        """Do what :meth:`get` does, on any event loop."""
        check_name(as_, at="as_")
        row = _known(await self._store.acall(FindApproval(approval_id=approval_id(name))))
        return await asyncio.to_thread(self.get, name, as_=as_, credential=credential) if may_show_more(row) else row

    def evidence(self, name: str | UUID) -> Evidence:
        """Return what was known when a request was opened, as the ledger found it; nothing for one that is not there.

        Args:
            name: ``apr_…``.
        """
        return self._store.call(FindEvidence(approval_id=approval_id(name)))

    async def aevidence(self, name: str | UUID) -> Evidence:
        """Do what :meth:`evidence` does, on any event loop."""
        return await self._store.acall(FindEvidence(approval_id=approval_id(name)))

    def words(self, name: str | UUID) -> "Words":
        """Return what people said about a request: votes, how many of them count now, and the arguments they asked for.

        Args:
            name: ``apr_…``.

        Raises:
            ApprovalRefused: there is none of that name.
        """
        # Only who asks for them needs what reads them out of the record.
        from langgraph_control.audit.people.words import words_on

        return words_on(self._store.call, self.get(name))

    async def awords(self, name: str | UUID) -> "Words":
        """Do what :meth:`words` does, on any event loop."""
        return await asyncio.to_thread(self.words, name)

    def yes_counted(self, rows: Sequence[ApprovalRow]) -> Mapping[UUID, int]:
        """Return how many of the yes count now, of those requests that are undecided or unused and have any.

        Args:
            rows: the requests.
        """
        from langgraph_control.audit.people.words import yes_counted

        return yes_counted(self._store.call, rows)

    async def ayes_counted(self, rows: Sequence[ApprovalRow]) -> Mapping[UUID, int]:
        """Do what :meth:`yes_counted` does, on any event loop."""
        return await asyncio.to_thread(self.yes_counted, rows)

    def receipt(self, name: str | UUID, *, payloads: bool = False) -> bytes:
        """Return the proof of what was asked and answered about a request: a file for ``audit verify``.

        Args:
            name: ``apr_…``.
            payloads: whether arguments and before-images go along.

        Raises:
            ControlError: there is no such request (``entry_unknown``), or no checkpoint covers the newest entry about
                it yet (``receipt_unsealed``): ask again when it was sealed.
        """
        # Only who asks for one needs what makes them.
        from langgraph_control.audit.bundles.bundling import approval_receipt

        file = io.BytesIO()
        approval_receipt(self._store.call, file, approval_id(name), payloads=payloads)
        return file.getvalue()

    async def areceipt(self, name: str | UUID, *, payloads: bool = False) -> bytes:
        """Do what :meth:`receipt` does, on any event loop."""
        return await asyncio.to_thread(self.receipt, name, payloads=payloads)

    # --- one's word ---

    def approve(self, name: str | UUID, **said: Unpack[Said]) -> Voted:
        """Say yes to exactly what the request shows.

        Args:
            name: ``apr_…``.
            **said: see :class:`Said`.

        Returns:
            Whether that was enough (``granted``), or more people are needed (``open``).
        """
        return _counted(self._store.call(self._vote(name, "approve", said)))

    async def aapprove(self, name: str | UUID, **said: Unpack[Said]) -> Voted:
        """Do what :meth:`approve` does, on any event loop."""
        return _counted(await self._store.acall(await asyncio.to_thread(self._vote, name, "approve", said)))

    def reject(self, name: str | UUID, *, code: str | None = None, **said: Unpack[Said]) -> Voted:
        """Say no. The request is closed, and the model is told, with reason and comment.

        Args:
            name: ``apr_…``.
            code: why, as a word the model can act on: one of ``guards.approvals.REJECTIONS``.
            **said: see :class:`Said`.

        Raises:
            ArgumentError: no such code; nothing was sent.
        """
        return _counted(self._store.call(self._vote(name, "reject", said, code=code)))

    async def areject(self, name: str | UUID, *, code: str | None = None, **said: Unpack[Said]) -> Voted:
        """Do what :meth:`reject` does, on any event loop."""
        return _counted(await self._store.acall(await asyncio.to_thread(self._vote, name, "reject", said, code)))

    def break_glass(self, name: str | UUID, **said: Unpack[Said]) -> Voted:
        """Say yes alone, in an emergency, where the policy lets one do so. It is on record as that, and is reviewed.

        Args:
            name: ``apr_…``.
            **said: see :class:`Said`; the comment is needed.
        """
        return _counted(self._store.call(self._vote(name, "break_glass", said)))

    async def abreak_glass(self, name: str | UUID, **said: Unpack[Said]) -> Voted:
        """Do what :meth:`break_glass` does, on any event loop."""
        return _counted(await self._store.acall(await asyncio.to_thread(self._vote, name, "break_glass", said)))

    def withdraw(self, name: str | UUID, **said: Unpack[Said]) -> Voted:
        """Take one's yes back, as long as nothing was done with it.

        Args:
            name: ``apr_…``.
            **said: see :class:`Said`.

        Returns:
            Whether it is still granted without it, or open again.
        """
        return _counted(self._store.call(self._withdrawal(name, said)))

    async def awithdraw(self, name: str | UUID, **said: Unpack[Said]) -> Voted:
        """Do what :meth:`withdraw` does, on any event loop."""
        return _counted(await self._store.acall(await asyncio.to_thread(self._withdrawal, name, said)))

    def edit(self, name: str | UUID, changes: Mapping[str, Any], **said: Unpack[Said]) -> Voted:
        """Say with which arguments instead.

        The run's next try checks them against the tool's schema, decides about them by the policy and asks for approval
        of exactly them: a new request, which shows what changed. What does not fit is refused and on record; the
        request stays as it was.

        Args:
            name: ``apr_…``.
            changes: argument → new value; those that are not named stay. What identifies the change cannot be changed.
            **said: see :class:`Said`.

        Raises:
            ArgumentError: the changes are none, no JSON, or of what the record keeps out; nothing was sent.
        """
        return _counted(self._store.call(self._edit(name, changes, said)))

    async def aedit(self, name: str | UUID, changes: Mapping[str, Any], **said: Unpack[Said]) -> Voted:
        """Do what :meth:`edit` does, on any event loop."""
        return _counted(await self._store.acall(await asyncio.to_thread(self._edit, name, changes, said)))

    # --- standing in for each other ---

    def delegate(self, to: str, *, until: datetime, role: str | None = None, **said: Unpack[Said]) -> UUID:
        """Let somebody vote in one's roles, or in one of them, until a date.

        Args:
            to: the person, as the policy's roles name people.
            until: the end, with a time zone; within a year.
            role: in which role; None for all one has.
            **said: see :class:`Said`.

        Returns:
            The delegation's id, by which it can be revoked.

        Raises:
            ArgumentError: the end has no time zone; or nobody signs in as that (``no_stand_in``): the name is blank,
                cannot be printed, or is a group's.
        """
        request = self._delegation(to, until, role, said)
        _heeded(self._store.call(request))
        return request.delegation_id

    async def adelegate(self, to: str, *, until: datetime, role: str | None = None, **said: Unpack[Said]) -> UUID:
        """Do what :meth:`delegate` does, on any event loop."""
        request = await asyncio.to_thread(self._delegation, to, until, role, said)
        _heeded(await self._store.acall(request))
        return request.delegation_id

    def revoke(self, delegation: UUID, **said: Unpack[Said]) -> None:
        """End a delegation one gave. Votes given under it that nothing was done with yet do not count any more.

        Args:
            delegation: its id.
            **said: see :class:`Said`.
        """
        _heeded(self._store.call(self._revocation(delegation, said)))

    async def arevoke(self, delegation: UUID, **said: Unpack[Said]) -> None:
        """Do what :meth:`revoke` does, on any event loop."""
        _heeded(await self._store.acall(await asyncio.to_thread(self._revocation, delegation, said)))

    def delegations(self) -> tuple[Delegation, ...]:
        """Return who stands in for whom now."""
        return self._store.call(Delegations())

    async def adelegations(self) -> tuple[Delegation, ...]:
        """Do what :meth:`delegations` does, on any event loop."""
        return await self._store.acall(Delegations())

    # --- looking at emergencies afterwards ---

    def reviews(self, limit: int = INBOX_LIMIT) -> tuple[ApprovalRow, ...]:
        """Return what one person decided alone and nobody has looked at since, oldest first.

        Args:
            limit: at most so many.

        Raises:
            ArgumentError: the limit is none (``limit_invalid``); nothing was asked.
        """
        check_limit(limit)
        return self._store.call(Reviews(limit=limit))

    async def areviews(self, limit: int = INBOX_LIMIT) -> tuple[ApprovalRow, ...]:
        """Do what :meth:`reviews` does, on any event loop."""
        check_limit(limit)
        return await self._store.acall(Reviews(limit=limit))

    def review(self, name: str | UUID, verdict: Verdict, **said: Unpack[Said]) -> None:
        """Say afterwards whether it was right to decide alone. It changes nothing that was done.

        Args:
            name: ``apr_…``.
            verdict: whether it was.
            **said: see :class:`Said`; an objection needs a comment.
        """
        _heeded(self._store.call(self._review(name, verdict, said)))

    async def areview(self, name: str | UUID, verdict: Verdict, **said: Unpack[Said]) -> None:
        """Do what :meth:`review` does, on any event loop."""
        _heeded(await self._store.acall(await asyncio.to_thread(self._review, name, verdict, said)))

    def close(self) -> None:
        """Close the connections. Safe to repeat."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    # --- what is sent ---

    def _waiting(self, limit: int, only: Only) -> Inbox | Waiting:
        check_options(only, Only.__annotations__)
        tool, actor = only.get("tool"), only.get("actor")
        check_limit(limit)
        check_name(tool, at="tool", chars_max=RECORD_CHARS_MAX)
        check_name(actor, at="actor", chars_max=RECORD_CHARS_MAX)
        check_name(only.get("as_"), at="as_")
        if only.get("mine"):
            own = self._own(only.get("as_"), only.get("credential"))
            return Waiting(limit=limit, person=own.person, groups=own.groups, tool=tool, actor=actor)
        return Inbox(limit=limit) if tool is actor is None else Waiting(limit=limit, tool=tool, actor=actor)

    def _own(self, person: str | None, credential: str | None) -> Own:
        """Whose inbox it is: whoever is recognised or named, else the login's own person."""
        identity = known_or_noted(self._store, self._authenticator, credential, as_=person)
        if identity is not None:
            return _recognised(identity)
        own = self._store.call(OwnPerson())
        if person is not None and person != own.person:
            return Own(person=person, groups=[])
        if own.person is None:
            raise _refused("nobody_in_particular")
        return own

    def _reader(self, person: str | None, credential: str | None) -> Own:
        """Who looks at a request: whoever is recognised or named, else whom the login belongs to."""
        identity = (
            None if credential is None else known_or_noted(self._store, self._authenticator, credential, as_=person)
        )
        if identity is None:
            return Own(person=person if self._authenticator is None else None, groups=[])
        return _recognised(identity)

    def _spoken(self, said: Said) -> dict[str, Any]:
        """What every word carries: who says it, how that is known, and why."""
        check_options(said, Said.__annotations__)
        comment, person = said.get("comment"), said.get("as_")
        check_comment(comment)
        check_name(person, at="as_")
        identity = known_or_noted(self._store, self._authenticator, said.get("credential"), as_=person)
        body = orjson.dumps({} if comment is None else {"comment": comment})
        return {"comment": comment, "person": person, "identity": identity, "body": body}

    def _vote(
        self,
        name: str | UUID,
        decision: Literal["approve", "reject", "break_glass"],
        said: Said,
        code: str | None = None,
    ) -> Vote:
        if code is not None and code not in tuple(REJECTIONS):
            raise ArgumentError(f"There is no such reason. Reasons are: {', '.join(REJECTIONS)}.", code="unknown_code")
        return Vote(approval_id=approval_id(name), decision=decision, code=code, **self._spoken(said))

    def _withdrawal(self, name: str | UUID, said: Said) -> WithdrawVote:
        return WithdrawVote(approval_id=approval_id(name), **self._spoken(said))

    def _edit(self, name: str | UUID, changes: Mapping[str, Any], said: Said) -> Edit:
        named = isinstance(changes, Mapping) and changes and all(isinstance(argument, str) for argument in changes)
        if not named:
            raise ArgumentError(
                "changes: an edit maps the name of at least one argument to its new value.", code="edit_empty"
            )
        spoken, edited = self._spoken(said), canonical_bytes(dict(changes), at="changes")
        check_json(edited, at="changes")
        row = self._store.call(FindApproval(approval_id=approval_id(name)))
        # Of a request that there is not nothing is hidden: the ledger refuses the edit, and puts that on record.
        hidden = [] if row is None else [argument for argument in changes if argument in _hidden(row)]
        if hidden:
            # An edit is stored; what the contract keeps out of the record must not get there by one.
            raise ArgumentError(
                f"The record keeps {', '.join(hidden)} out, so an edit of it cannot be kept either.",
                todo="Reject the request, and have the agent ask again with what is right.",
                code="edit_redacted",
            )
        return Edit(approval_id=approval_id(name), changes=edited.decode(), **spoken)

    def _delegation(self, to: str, until: datetime, role: str | None, said: Said) -> Delegate:
        check_stand_in(to)
        check_name(role, at="role")
        if not isinstance(until, datetime) or until.tzinfo is None:
            raise ArgumentError("until: a delegation's end is a datetime with a time zone.", code="until_naive")
        return Delegate(delegation_id=uuid.uuid4(), to_person=to, role=role, until=until, **self._spoken(said))

    def _revocation(self, delegation: UUID, said: Said) -> RevokeDelegation:
        if not isinstance(delegation, UUID):
            raise ArgumentError(
                f"delegation: a value of type {type(delegation).__name__}, and not the id that delegate() returned.",
                safe=NOTHING_SENT,
                todo="Take it from delegations(), which lists those that hold.",
                code="delegation_invalid",
            )
        return RevokeDelegation(delegation_id=delegation, **self._spoken(said))

    def _review(self, name: str | UUID, verdict: Verdict, said: Said) -> Review:
        if verdict not in get_args(Verdict):
            raise ArgumentError(
                f"There is no such verdict. Verdicts are: {', '.join(get_args(Verdict))}.",
                safe=NOTHING_SENT,
                code="unknown_verdict",
            )
        return Review(approval_id=approval_id(name), verdict=verdict, **self._spoken(said))


def _hidden(row: ApprovalRow) -> set[str]:
    """The arguments of which a card does not show all."""
    if not row.card:
        return set()
    try:
        shown = orjson.loads(row.card)["what"]["arguments"].items()
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        raise ArgumentError(
            "The request's card cannot be read, so nobody can tell what the record keeps out of it.",
            todo="Reject the request, and have the agent ask again.",
            code="edit_unreadable",
        ) from None
    return {argument for argument, value in shown if REDACTED.encode() in orjson.dumps(value)}


def _recognised(identity: str) -> Own:
    known = orjson.loads(identity)
    return Own(person=known["person"], groups=[f"group:{group}" for group in known["groups"]])


def _known(row: ApprovalRow | None) -> ApprovalRow:
    if row is None:
        raise _refused("unknown_request")
    return row


def _counted(voted: Voted) -> Voted:
    if voted.answer is Voting.REFUSED:
        raise _refused(voted.reason or "closed")
    return voted


def _heeded(refused: str | None) -> None:
    if refused is not None:
        raise _refused(refused)


def _refused(reason: str) -> ApprovalRefused:
    what, todo = REFUSALS.get(reason, ("It was refused.", "Look at the request again."))
    return ApprovalRefused(what, safe="It does not count.", todo=todo, code=reason)
