"""Answers that lay ready for a call's own question and are none of ours: used up, and on record as attempts.

An answer carries no authority. It is not kept; a mark under the tenant's secret tells it from others, so that it is
noted once: a task that runs again meets it again, and LangGraph gives what came without an id to each next question.
"""

import hashlib
import hmac
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import orjson

from langgraph_control.audit.asking.attempts import Ignored, NoteAttempt
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.call import body_bytes
from langgraph_control.nodes.run_context import RunContext

__all__ = ["ask_graph"]

_ANSWER: Final = b"langgraph-control/foreign-answer/1"
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def ask_graph(
    run: RunContext,
    where: Mapping[str, str],
    request: ask.ReplayWakes | ask.Park,
    *,
    approval_id: UUID | None = None,
) -> Generator[Any, Any, None]:
    """Replay our answers, or park; and put on record what was found where only our own wake-ups belong.

    Args:
        run: whose call it is.
        where: the call's place in the graph.
        request: what is asked of LangGraph.
        approval_id: the request for approval that the question is about, where that is known.
    """
    met: Sequence[object] | None = yield request
    for answer in met or ():
        yield NoteAttempt(
            run_id=run.run_id,
            approval_id=approval_id,
            reason=Ignored.FOREIGN_ANSWER,
            mark=_mark(run, where.get("task_id", ""), answer),
            body=body_bytes({"who": {"person": None}, "where": {"worker": run.worker, **where}}),
        )


def _mark(run: RunContext, task: str, answer: object) -> str:
    try:
        form = orjson.dumps(answer, default=_kind, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):  # whatever a checkpoint can hold
        form = _kind(answer).encode()
    return hmac.digest(run.secret, b"%b/%b/%b" % (_ANSWER, task.encode(), form), hashlib.sha256).hex()


def _kind(answer: object) -> str:
    return type(answer).__qualname__
