"""The operator's side: settling what the program cannot, cancelling runs, stopping writes; not on an agent's login."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType, TracebackType
from typing import Final, Self
from uuid import UUID

import orjson

from langgraph_control.audit.asking.operator_requests import (
    Brake,
    Brakes,
    Cancel,
    Freeze,
    InFlight,
    NamesSeen,
    Resolution,
    Resolve,
    Resolved,
    Scope,
    Unfreeze,
)
from langgraph_control.audit.asking.questions import OpenQuestions, QuestionRow, answering, not_taken
from langgraph_control.audit.asking.requests import FindRun, RunActions
from langgraph_control.audit.asking.rows import ActionRow, RunRow
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.keeping.restored import AcceptRestore
from langgraph_control.audit.names import run_id
from langgraph_control.audit.people.identity import Authenticator, checked
from langgraph_control.audit.people.refused_access import known_or_noted
from langgraph_control.errors import OperationRefused, UnknownRun
from langgraph_control.guards.spoken_texts import FROZEN_CHARS_MAX, RECORD_CHARS_MAX, check_comment, check_name

__all__ = ["REFUSALS", "STUCK", "Operators", "matched", "refusal"]

STUCK: Final = frozenset({"needs_human", "unknown", "verifying", "executing"})
"""States of an action that a person may have to settle."""

REFUSALS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "unknown_run": ("There is no such run for this login's tenant.", "Look it up: langgraph-control runs."),
        "unknown_action": ("The run has no such action.", "See the run: langgraph-control show RUN --ids."),
        "not_yourself": (
            "This login belongs to no person, or may not speak for that one.",
            "Use an approver's login, or --as with Control.local's.",
        ),
        "unknown_person": (
            "Who signed in has none of the policy's roles.",
            "Add the person, or a group of theirs, to the policy and publish it.",
        ),
        "not_the_owner": (
            "This person does not have the role that owns such outcomes.",
            "Ask somebody with the policy's owner role.",
        ),
        "in_flight": ("An attempt is under way and may still be answered.", "Wait until its lease is over."),
        "settled": ("The action is settled already.", "See the run: langgraph-control show RUN."),
        "not_stuck": (
            "The action waits for something else than a person's word on what happened.",
            "See its next step: langgraph-control show RUN. To drop it, give up with --give-up.",
        ),
        "finished": ("The run is over.", "See it: langgraph-control show RUN."),
        "unsettled": (
            "Something of the run may have happened, and nobody knows.",
            "Settle that first: langgraph-control resolve RUN.",
        ),
        "saga": (
            "Steps of a saga of this run are in effect, and nothing would take them back.",
            "Reject what it asks: they are then taken back. Or mend what blocks it and resume. Or: --leave-applied.",
        ),
        "not_frozen": ("Nothing is frozen under that name.", "See what is: langgraph-control freeze --list."),
        "restored": (
            "Writes stand still since the database was restored: what was lost has to be found out first.",
            "Find it by langgraph-control reconcile --graphs; then: langgraph-control accept-restore --comment ….",
        ),
        "not_reconciled": (
            "No reconciliation of everything, all that is outside too, has named since the restore what was lost.",
            "Run: langgraph-control reconcile --graphs …. Where that cannot be: --unreconciled ENTRY. It is on record.",
        ),
        "restored_again": (
            "The database was restored again after the one that was named.",
            "Look into the newest one: langgraph-control reconcile --graphs langgraph.json.",
        ),
        "not_restored": (
            "No restore waits to be looked into.",
            "See what is stopped: langgraph-control freeze --list.",
        ),
    }
)
"""Why something was refused, by the stable word the record has: what it means, and what to do."""


class Operators:
    """What people do about runs. Who acts is whom the admin published for this database login.

    In a service that authenticates people itself it is whom the authenticator recognises by their credential, on a
    login that may name persons, as with :class:`~langgraph_control.audit.people.approvals.Approvals`. Only people with
    one of the policy's roles may act there; questions are also answered by whom the run was started by or for.

    Nothing is opened before the first call. Use it in a ``with`` block, or close it. Whatever takes a comment or a name
    may raise ``ArgumentError``: it is too long, or no text that the record can keep. Its text names the field, and
    nothing was sent.

    Args:
        dsn: an approver's or the admin's connection string.
        authenticator: recognises people by a credential; every word then needs one.

    Raises:
        DatabaseRefused: it cannot be read.
        ArgumentError: the authenticator recognises nobody (``authenticator_invalid``).
    """

    def __init__(self, dsn: str, *, authenticator: Authenticator | None = None) -> None:
        self._authenticator = checked(authenticator)
        self._store = Store(dsn, application_name="langgraph-control operators", connections_max=2)

    def run(self, name: str) -> RunRow:
        """Return one run.

        Args:
            name: ``run_…``, or its trigger.

        Raises:
            UnknownRun: there is none.
        """
        check_name(name, at="run", chars_max=RECORD_CHARS_MAX)
        try:
            found = self._store.call(FindRun(run_id=run_id(name), trigger=None))
        except UnknownRun:
            found = self._store.call(FindRun(run_id=None, trigger=name))
        if found is None:
            raise UnknownRun("There is no such run for this login's tenant.", todo=REFUSALS["unknown_run"][1])
        return found

    def stuck(self, run: UUID) -> tuple[ActionRow, ...]:
        """Return the run's actions that a person may have to settle.

        Args:
            run: its id.
        """
        return tuple(
            action
            for action in self._store.call(RunActions(run_id=run, only_open=False))
            if action.state not in {"succeeded", "failed", "denied", "abandoned"}
        )

    def resolve(
        self,
        run: UUID,
        key: bytes,
        verdict: Resolution,
        *,
        comment: str,
        result: bytes | None = None,
        as_: str | None = None,
        credential: str | None = None,
    ) -> Resolved:
        """Say what became of an action that the program cannot settle. The runs that wait for it are woken.

        Args:
            run: a run that asked for it or waits for it.
            key: the action key.
            verdict: what became of it.
            comment: how it is known, for the record; the model is told it where it was given up.
            result: what repeats get, encoded; only where it happened. None: that it is done.
            as_: who says so; only with the development server's approver login.
            credential: what the authenticator recognises the person by; where there is one, it is needed.

        Raises:
            NotAuthenticated: the credential is not accepted, or none was given; nothing was asked of the ledger.
            OperationRefused: it does not count; code and text say why, and the refusal is on record.
        """
        _check_said(comment, as_)
        resolved = self._store.call(
            Resolve(
                run_id=run,
                key=key,
                verdict=verdict,
                result=result,
                person=as_,
                identity=known_or_noted(self._store, self._authenticator, credential, as_=as_),
                comment=comment,
                body=_body(comment),
            )
        )
        if resolved.refused is not None:
            raise refusal(resolved.refused)
        return resolved

    def cancel(
        self,
        run: UUID,
        *,
        comment: str,
        leave_applied: bool = False,
        as_: str | None = None,
        credential: str | None = None,
    ) -> None:
        """End a run that is not wanted any more. What it asked for is withdrawn; whoever drives it is stopped.

        Args:
            run: the run.
            comment: why, for the record.
            leave_applied: end it although steps of its sagas are in effect; nothing takes them back then.
            as_: who says so; only with the development server's approver login.
            credential: what the authenticator recognises the person by; where there is one, it is needed.

        Raises:
            NotAuthenticated: the credential is not accepted, or none was given; nothing was asked of the ledger.
            OperationRefused: it goes on; code and text say why.
        """
        _check_said(comment, as_)
        identity = known_or_noted(self._store, self._authenticator, credential, as_=as_)
        cancelled = self._store.call(
            Cancel(
                run_id=run,
                person=as_,
                identity=identity,
                comment=comment,
                leave_applied=leave_applied,
                body=_body(comment),
            )
        )
        if cancelled.refused is not None:
            raise refusal(cancelled.refused, about=", ".join(cancelled.unsettled))

    def questions(self, run: UUID | None = None) -> tuple[QuestionRow, ...]:
        """Return what runs wait to be told, oldest first.

        Args:
            run: of one run; None: of all.
        """
        return self._store.call(OpenQuestions(run_id=run))

    def answer(
        self, run: UUID, question: UUID, answer: str, *, as_: str | None = None, credential: str | None = None
    ) -> None:
        """Answer a question. The model is told; no write runs by it. The runs that wait for it are woken.

        Args:
            run: a run that asked it.
            question: the question.
            answer: what the user says.
            as_: who says so; only with the development server's approver login.
            credential: what the authenticator recognises the person by; where there is one, it is needed.

        Raises:
            NotAuthenticated: the credential is not accepted, or none was given; nothing was asked of the ledger.
            OperationRefused: it was not taken; code and text say why.
        """
        check_name(as_, at="as_")
        identity = known_or_noted(self._store, self._authenticator, credential, as_=as_)
        refused = self._store.call(answering(run, question, answer, person=as_, identity=identity))
        if refused is not None:
            raise not_taken(refused)

    def freeze(
        self, scope: Scope, name: str = "", *, comment: str, as_: str | None = None, credential: str | None = None
    ) -> tuple[InFlight, ...]:
        """Stop writes from the next claim on, and return what is under way: that is not stopped.

        Args:
            scope: what to stop.
            name: of the agent, system or tool; "" for the tenant.
            comment: why, for the record.
            as_: who says so; only with the development server's approver login.
            credential: what the authenticator recognises the person by; where there is one, it is needed.

        Raises:
            NotAuthenticated: the credential is not accepted, or none was given; nothing was asked of the ledger.
            OperationRefused: scope and name do not fit together, or the login speaks for nobody.
        """
        _check_name(scope, name)
        _check_said(comment, as_)
        frozen = self._store.call(
            Freeze(
                scope=scope,
                name=name,
                person=as_,
                identity=known_or_noted(self._store, self._authenticator, credential, as_=as_),
                comment=comment,
                body=_body(comment),
            )
        )
        if frozen.refused is not None:
            raise refusal(frozen.refused)
        return frozen.under_way

    def unfreeze(
        self, scope: Scope, name: str = "", *, comment: str, as_: str | None = None, credential: str | None = None
    ) -> int:
        """Let writes go on, and return how many runs that stood still for it are woken.

        Args:
            scope: what was stopped.
            name: of the agent, system or tool; "" for the tenant.
            comment: why, for the record.
            as_: who says so; only with the development server's approver login.
            credential: what the authenticator recognises the person by; where there is one, it is needed.

        Raises:
            NotAuthenticated: the credential is not accepted, or none was given; nothing was asked of the ledger.
            OperationRefused: nothing is frozen under that name.
        """
        _check_name(scope, name)
        _check_said(comment, as_)
        unfrozen = self._store.call(
            Unfreeze(
                scope=scope,
                name=name,
                person=as_,
                identity=known_or_noted(self._store, self._authenticator, credential, as_=as_),
                comment=comment,
                body=_body(comment),
            )
        )
        if unfrozen.refused is not None:
            raise refusal(unfrozen.refused)
        return unfrozen.woken

    def accept_restore(
        self, *, comment: str, unreconciled: int | None = None, as_: str | None = None, credential: str | None = None
    ) -> int:
        """Let writes go on after a restore, and return how many runs that stood still for it are woken.

        Args:
            comment: what was lost and what was done about it, for the record.
            unreconciled: the restore, by its entry in the tenant's own chain, that is to be accepted although no
                reconciliation of everything has named what was lost; on record as that.
            as_: who says so; only with the development server's approver login.
            credential: what the authenticator recognises the person by; where there is one, it is needed.

        Raises:
            NotAuthenticated: the credential is not accepted, or none was given; nothing was asked of the ledger.
            OperationRefused: nothing waits for it, no reconciliation has looked into it (``not_reconciled``), it is not
                the newest one (``restored_again``), or the login speaks for nobody.
        """
        _check_said(comment, as_)
        accepted = self._store.call(
            AcceptRestore(
                person=as_,
                identity=known_or_noted(self._store, self._authenticator, credential, as_=as_),
                unreconciled=unreconciled,
                comment=comment,
                body=_body(comment),
            )
        )
        if accepted.refused is not None:
            raise refusal(
                accepted.refused, about="" if accepted.restore is None else f"restore at entry {accepted.restore}"
            )
        return accepted.woken

    def unseen(self, scope: Scope, name: str) -> str:
        """Return a warning where the newest 10,000 runs wrote by nothing of a name: it may be misspelt; else "".

        Args:
            scope: what is stopped.
            name: of the agent, system or tool; "" for the tenant.
        """
        names = frozenset[str]() if scope is Scope.TENANT else self._store.call(NamesSeen(scope=scope))
        if scope is Scope.TENANT or name in names:
            return ""
        close = get_close_matches(name, sorted(names), n=1)
        meant = f" Is {close[0]} meant?" if close else ""
        return f"No {scope} {name} was ever seen among the newest 10,000 runs, so this may stop nothing.{meant}"

    def brakes(self) -> tuple[Brake, ...]:
        """Return what holds writes back now, oldest first."""
        return self._store.call(Brakes())

    def close(self) -> None:
        """Close the connections. Safe to repeat."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def matched(scope: Scope, name: str) -> str:
    """Return in words which writes a freeze stops.

    Args:
        scope: what is stopped.
        name: of the agent, system or tool; "" for the tenant.
    """
    match scope:
        case Scope.TENANT:
            return "all writes of this tenant"
        case Scope.AGENT:
            return f"writes of runs whose actor is {name}"
        case Scope.SYSTEM:
            return f"writes of tools whose contract says system={name}"
        case Scope.TOOL:
            return f"writes of tool {name}"


def refusal(reason: str, *, about: str = "") -> OperationRefused:
    """Return the error for a refusal.

    Args:
        reason: the stable word.
        about: what it is about, such as the tools whose outcome is open.
    """
    what, todo = REFUSALS.get(reason, ("It was refused.", "Look at the run again: langgraph-control show RUN."))
    return OperationRefused(f"{what} ({about})" if about else what, todo=todo, code=reason)


def _check_said(comment: str, person: str | None) -> None:
    check_comment(comment)
    check_name(person, at="as_")
    if not comment.strip():
        raise OperationRefused(
            "A comment is required: what is known, and how.", todo="Give --comment.", code="comment_missing"
        )


def _check_name(scope: Scope, name: str) -> None:
    check_name(name, at="name", chars_max=FROZEN_CHARS_MAX)
    if (scope is Scope.TENANT) == bool(name):
        raise OperationRefused(
            f"A freeze of a {scope} {'has no name' if name else 'needs its name'}.",
            todo="Write: tenant, or agent NAME, system NAME, tool NAME.",
            code="freeze_name",
        )


def _body(comment: str) -> bytes:
    return orjson.dumps({"comment": comment})
