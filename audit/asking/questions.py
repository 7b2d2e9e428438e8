"""Questions that writes wait for, as requests to the ledger: asking, answering, listing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, ClassVar, Final
from uuid import UUID

import orjson

from langgraph_control.audit.asking.requests import FieldsAreParameters
from langgraph_control.errors import OperationRefused
from langgraph_control.guards.canonical import plain_bytes
from langgraph_control.guards.spoken_texts import storable

__all__ = ["ANSWER_CHARS_MAX", "Answer", "AskUser", "Asked", "OpenQuestions", "QuestionRow", "answering", "not_taken"]

ANSWER_CHARS_MAX: Final = 10_000
LISTED: Final = 1000

Rows = Sequence[Mapping[str, Any]]

_REFUSALS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "unknown_run": ("There is no such run for this login's tenant.", "Look it up: langgraph-control runs."),
        "unknown_question": ("The run has no such question.", "See what is asked: langgraph-control questions."),
        "answered": ("The question is answered already, and the model was told.", "Tell the agent in a new message."),
        "finished": ("The run is over.", "See it: langgraph-control show RUN."),
        "not_yourself": (
            "This login belongs to no person, or may not speak for that one.",
            "Use an approver's login, or --as with Control.local's.",
        ),
        "unknown_person": (
            "Who signed in has none of the policy's roles, and the run was not asked for by them.",
            "Have somebody answer who has a role, or for whom the run was started.",
        ),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What became of a question.

    Args:
        question: what the user is or was asked.
        answer: what was answered; None while it is open.
    """

    question: str
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskUser(FieldsAreParameters):
    """Put a question to the user, or find out what was answered. The answer is None for a worker that lost its run.

    Args:
        run_id: the run.
        token: its fencing token.
        question_id: what the question is of: the same call has the same one.
        key: the action key, 32 bytes.
        tool: the tool's name.
        question: what the user is asked.
    """

    statement: ClassVar[str] = "ask"

    run_id: UUID
    token: int
    question_id: UUID
    key: bytes
    tool: str
    question: str

    def read(self, rows: Rows) -> Asked | None:
        """Return the answer as a value."""
        return Asked(**rows[0]) if rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(FieldsAreParameters):
    """Answer a question. The answer is None if that was taken, else the stable word that says why not.

    Args:
        run_id: a run that asked it.
        question_id: the question.
        answer: what the user says.
        person: who says so, where an approver's login may name one; None for the login's own person, or an agent's.
        body: the entry's body, canonical bytes.
        payload: the answer as it is kept in the record, where it can be erased; canonical bytes.
        identity: how a service that authenticates people found out who it is, as JSON; None: the login says it.
    """

    statement: ClassVar[str] = "answer"

    run_id: UUID
    question_id: UUID
    answer: str
    person: str | None
    body: bytes
    payload: bytes
    identity: str | None = None

    def read(self, rows: Rows) -> str | None:
        """Return the answer as a value."""
        refused: str | None = rows[0]["refused"]
        return refused


def answering(
    run: UUID,
    question: UUID,
    answer: object,
    *,
    person: str | None,
    identity: str | None = None,
    worker: str | None = None,
) -> Answer:
    """Return the request that answers a question.

    Args:
        run: a run that asked it.
        question: the question.
        answer: what the user says.
        person: who says so, where the login may name one.
        identity: how a service found out who it is, as JSON; None: the login says it.
        worker: the process that passes it on; None for a person's own.

    Raises:
        OperationRefused: code ``answer_invalid``: it is no text, blank, or too long.
    """
    if not isinstance(answer, str) or not answer.strip() or len(answer) > ANSWER_CHARS_MAX or not storable(answer):
        raise OperationRefused(
            f"An answer is a text of 1 to {ANSWER_CHARS_MAX} characters.",
            todo='Pass what the user said: answers={"qst_…": "…"}.',
            code="answer_invalid",
        )
    return Answer(
        run_id=run,
        question_id=question,
        answer=answer,
        person=person,
        identity=identity,
        body=orjson.dumps({} if worker is None else {"where": {"worker": worker}}),
        payload=plain_bytes({"args": {"answer": answer}}),
    )


def not_taken(reason: str) -> OperationRefused:
    """Return the error for an answer that was not taken.

    Args:
        reason: the stable word.
    """
    what, todo = _REFUSALS[reason]
    return OperationRefused(what, todo=todo, code=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRow:
    """A question that a run waits for.

    Args:
        question_id: its id.
        run_id: the run.
        tool: the tool whose call is asked about.
        question: what is asked.
        asked_at: since when, by the database's clock.
    """

    question_id: UUID
    run_id: UUID
    tool: str
    question: str
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenQuestions(FieldsAreParameters):
    """Read what runs wait to be told, oldest first.

    Args:
        run_id: of one run; None: of all.
        limit: at most so many.
    """

    statement: ClassVar[str] = "questions"

    run_id: UUID | None
    limit: int = LISTED

    def read(self, rows: Rows) -> tuple[QuestionRow, ...]:
        """Return the answer as a value."""
        return tuple(QuestionRow(**row) for row in rows)
