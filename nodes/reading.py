"""Reads: free to repeat, so not claimed; one entry records what was looked at before the model sees it.

A generator like the gate, over the same requests, for the same two drivers. A tool that runs a governed graph is
declared as a read, too: it has no effect of its own, and a bubble-up from inside it (parking, another worker) passes
straight through.
"""

import hashlib
import hmac
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from langgraph.errors import GraphBubbleUp

from langgraph_control.audit.ledger import Observe
from langgraph_control.guards.canonical import observed, observed_bytes
from langgraph_control.guards.classification import classify
from langgraph_control.guards.failures import Failure, Fault
from langgraph_control.guards.retries import backoff_seconds
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.call import body_bytes
from langgraph_control.nodes.contracts import Contract
from langgraph_control.nodes.results import encode
from langgraph_control.nodes.run_context import RunContext
from langgraph_control.nodes.steps import TakenOver

__all__ = ["Consult", "Found", "GovernedRead", "Looked", "NotFound", "consult"]

TRIES_MAX: Final = 3
BACKOFF_BASE_SECONDS: Final = 0.2
BACKOFF_CAP_SECONDS: Final = 2.0
"""A dependency that wants a longer pause is not waited for in process: its failure goes to the caller."""

_RESULT: Final = b"langgraph-control/read-result/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consult:
    """Call a read's body as it was called. Answered with :class:`Looked`; a cancellation simply ends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What came of one try of a read.

    Args:
        outcome: what it returned or raised.
        repeatable: it asked nobody and ran no graph, so it may be tried again in process.
    """

    outcome: ask.Returned | ask.Raised
    repeatable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The read gave something, and that is on record.

    Args:
        value: what it returned.
    """

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound:
    """The read raised.

    Args:
        error: to be raised unchanged.
    """

    error: BaseException


@dataclass(frozen=True, kw_only=True)
class GovernedRead:
    """A call of a read.

    Args:
        contract: what the tool does.
        tool: its name.
        args: its arguments, injected ones left out.
        run: the run it belongs to.
        call_id: the tool call's id; evidence.
        where: thread, checkpoint, task and trace ids, for the record.
    """

    contract: Contract
    tool: str
    args: Mapping[str, Any]
    run: RunContext
    call_id: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)

    def body(self, **facts: Any) -> bytes:
        """Return the entry's body.

        Args:
            **facts: what this entry is about; None values are left out.
        """
        run = self.run
        return body_bytes(
            {
                "who": {"actor": run.actor, "on_behalf_of": run.on_behalf_of},
                "intent": run.intent,
                "tool": self.tool,
                "system": self.contract.system,
                "target": self.contract.target_text(self.args),
                "call_id": self.call_id,
                "where": {**self.where, "worker": run.worker, "thread_id": run.thread_id, "graph": run.graph},
                **facts,
            }
        )


def consult(call: GovernedRead) -> Generator[Any, Any, Found | NotFound | TakenOver]:
    """Carry out a read, again where its failure was probably transient, and record it.

    Args:
        call: the read.
    """
    for tries in range(1, TRIES_MAX + 1):
        ticket = yield ask.NewTicket()
        looked = yield Consult()
        match looked:
            case Looked(outcome=ask.Raised(error=GraphBubbleUp() as bubble)):
                return NotFound(error=bubble)
            case Looked(outcome=ask.Returned(value=value)):
                return (yield from _recorded(call, Found(value=value), ticket, tries))
            case Looked(outcome=ask.Raised(error=error), repeatable=repeatable):
                failure = classify(error, kind=None, now=ticket.now, attempt=tries)
                pause = _pause_seconds(failure, tries, ticket)
                if not repeatable or tries == TRIES_MAX or pause is None:
                    return (yield from _recorded(call, NotFound(error=error), ticket, tries, failure))
                yield ask.Sleep(seconds=pause)
    raise AssertionError("the last try returns")


def _pause_seconds(failure: Failure, tries: int, ticket: ask.Ticket) -> float | None:
    """How long to wait before the next try; None: do not try again."""
    wanted = failure.retry_after_seconds or 0.0
    if failure.fault is Fault.PERMANENT or wanted > BACKOFF_CAP_SECONDS:
        return None
    backoff = backoff_seconds(tries, base=BACKOFF_BASE_SECONDS, cap=BACKOFF_CAP_SECONDS, unit_random=ticket.chance)
    return max(wanted, backoff)


def _recorded(
    call: GovernedRead, came: Found | NotFound, ticket: ask.Ticket, tries: int, failure: Failure | None = None
) -> Generator[Any, Any, Found | NotFound | TakenOver]:
    stored = encode(came.value) if isinstance(came, Found) else None
    ours = yield Observe(
        run_id=call.run.run_id,
        token=call.run.token,
        tool=call.tool,
        succeeded=stored is not None,
        body=call.body(
            tries=tries,
            result=None if stored is None else _commitment(call.run.secret, stored),
            result_bytes=None if stored is None else len(stored),
            error=failure.error if failure else None,
            fault=failure.fault.value if failure else None,
            why=failure.reason if failure else None,
            at=ticket.now.isoformat(),
        ),
        payload=observed_bytes({"args": observed(dict(call.args))}),
    )
    return came if ours else TakenOver()


def _commitment(secret: bytes, stored: bytes) -> str:
    """Bind the entry to what was seen without telling it: a plain hash of a small result could be guessed."""
    return hmac.digest(secret, _RESULT + stored, hashlib.sha256).hex()
