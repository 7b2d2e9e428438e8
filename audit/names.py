"""Runs, requests and questions as people type them: ``run_…``, ``apr_…``, ``qst_…``, each with the id's 32 digits."""

from typing import Final
from uuid import UUID

from langgraph_control.errors import ApprovalRefused, UnknownRun

__all__ = ["approval_id", "approval_name", "question_id", "question_name", "run_id", "run_name"]

_APPROVAL: Final = "apr_"
_RUN: Final = "run_"
_QUESTION: Final = "qst_"


def approval_name(approval: UUID | str) -> str:
    """Return a request's name as people type it.

    Args:
        approval: its id.
    """
    return _APPROVAL + str(approval).replace("-", "")


def run_name(run: UUID | str) -> str:
    """Return a run's name as people type it.

    Args:
        run: its id.
    """
    return _RUN + str(run).replace("-", "")


def question_name(question: UUID | str) -> str:
    """Return a question's name as people type it.

    Args:
        question: its id.
    """
    return _QUESTION + str(question).replace("-", "")


def question_id(name: str) -> UUID | None:
    """Return the id behind a question's name; None for what is no such name, as a graph's own question has none.

    Args:
        name: ``qst_…``.
    """
    return _id(name, _QUESTION) if isinstance(name, str) and name.startswith(_QUESTION) else None


def approval_id(name: str | UUID) -> UUID:
    """Return the id behind a request's name.

    Args:
        name: ``apr_…``, or the id itself.

    Raises:
        ApprovalRefused: it is neither.
    """
    found = _id(name, _APPROVAL)
    if found is None:
        raise ApprovalRefused(
            "That is not the name of a request for approval.",
            todo="Write it as the inbox shows it: apr_ and 32 digits.",
            code="approval_name_invalid",
        )
    return found


def run_id(name: str | UUID) -> UUID:
    """Return the id behind a run's name.

    Args:
        name: ``run_…``, or the id itself.

    Raises:
        UnknownRun: it is neither.
    """
    found = _id(name, _RUN)
    if found is None:
        raise UnknownRun(
            "That is not the name of a run.", todo="Write it as it was printed: run_ and 32 digits.", code="run_unknown"
        )
    return found


def _id(name: object, prefix: str) -> UUID | None:
    if isinstance(name, UUID):
        return name
    if not isinstance(name, str):
        return None
    try:
        return UUID(name.strip().removeprefix(prefix))
    except ValueError:
        return None
