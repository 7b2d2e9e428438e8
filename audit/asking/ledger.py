"""The ledger's two functions as values: what is sent to claim and settle, and what they answer.

A request knows its statement and its parameters and reads its own answer, so that every driver (sync, async, simulated)
sends the same bytes. Both functions are idempotent in the attempt id that the client makes: a request whose answer was
lost is sent again unchanged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar
from uuid import UUID

import orjson

__all__ = [
    "OTHER_SYSTEM",
    "Answer",
    "Claim",
    "Claimed",
    "Outcome",
    "Reason",
    "Request",
    "Settle",
    "Settled",
    "Verdict",
]

SAME_FAILURES_MAX: Final = 3
GIVE_UP_MS: Final = 86_400_000
CALLS_MAX: Final = 10_000
RETRY_MS_MAX: Final = 7 * 86_400_000

OTHER_SYSTEM: Final = "other_system"
"""The code of a conflict between changes of one key in two systems."""

T_co = TypeVar("T_co", covariant=True)


class Request(Protocol, Generic[T_co]):
    """One statement to the ledger, with its parameters and the way to read its answer."""

    statement: ClassVar[str]

    def parameters(self) -> Mapping[str, Any]:
        """Return the statement's parameters by name."""
        ...

    def read(self, rows: Sequence[Mapping[str, Any]]) -> T_co:
        """Return the answer as a value."""
        ...


class Answer(StrEnum):
    """What a claim is answered with. It is the only routing."""

    GO = "go"  # the lease is yours: have the effect now, and settle
    STORED = "stored"  # it is settled: here is what came of it
    WAIT = "wait"  # somebody else is at it
    PARK = "park"  # it cannot go on now; the reason says what it waits for
    VERIFY = "verify"  # it may have happened: find out, and settle what you find
    STOP = "stop"  # it will not be done; the reason says why
    EDIT = "edit"  # people changed the arguments: the call goes on with theirs
    STALE = "stale"  # this worker no longer owns the run


class Reason(StrEnum):
    """Why a claim was answered so, where the answer alone does not say it."""

    NEEDS_APPROVAL = "needs_approval"  # people must say yes to this digest
    NEEDS_HUMAN = "needs_human"  # only a person can say what happened
    RETRY_LATER = "retry_later"  # the dependency is not ready
    RECORD_UNREADABLE = "record_unreadable"  # the read hook failed: no digest, so no decision
    DEADLINE_PASSED = "deadline_passed"  # the run's deadline is over
    KEY_CONFLICT = "key_conflict"  # the same key stands for another change that may have happened
    REJECTED = "rejected"  # a person said no to this digest
    TOO_MANY_REQUESTS = "too_many_requests"  # as many as may wait for people at once do
    APPROVAL_EXPIRED = "approval_expired"  # nobody said yes in time
    ATTEMPTS_USED_UP = "attempts_used_up"  # tried as often as the policy allows
    ATTEMPT_SETTLED = "attempt_settled"  # this very attempt is over already
    DEDUPLICATE = "deduplicate"  # the record is already as wanted
    DENY = "deny"  # the policy, or a missing piece
    DRY_RUN = "dry_run"  # described, not done
    ABANDONED = "abandoned"  # a person closed it without knowing what happened
    UNDONE = "undone"  # it was done, and taken back since; or its saga is being taken back
    READY_AGAIN = "ready_again"  # a person has said that taking it back did not happen: so it can be tried
    FROZEN = "frozen"  # somebody stopped writes of this tenant, agent, system or tool
    PROBE = "probe"  # go: this call finds out whether a system works again
    RATE_LIMITED = "rate_limited"  # the system asked everybody to slow down
    SYSTEM_DOWN = "system_down"  # too many calls to the system failed: its breaker is open
    CALLS_USED_UP = "calls_used_up"  # the run has made as many tool calls as it may
    RETRY_TIME_USED_UP = "retry_time_used_up"  # the run has waited for retries as long as it may
    LIMIT_REACHED = "limit_reached"  # a budget has no room for it
    HELD = "held"  # another worker has the lease
    OUTCOME_UNKNOWN = "outcome_unknown"  # an attempt's answer was lost
    RUN_TAKEN_OVER = "run_taken_over"  # another worker drives this run
    SUCCEEDED = "succeeded"  # the stored outcome: done
    FAILED = "failed"  # the stored outcome: provably not done


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A claim's answer.

    Args:
        answer: what to do.
        reason: why; one of :class:`Reason`, or the decision's verb.
        state: where the action stands now.
        attempts: attempts so far, this one included.
        digest: the digest that counts: the first attempt's, once one has started.
        payload: the entry payload with the arguments of a frozen digest; None where this call's own are to run.
        result: the stored result, encoded.
        error: the stored failure, for the model.
        wait_ms: until the lease ends, or until "not there" may be believed.
        absence_counts: whether "not there", read now, may be believed.
        approval_id: the request that decides.
        expires_at: when that request expires.
        comment: what the person who decided, or who changed the arguments, wrote.
        code: why a person rejected it, one of :data:`~langgraph_control.guards.approvals.REJECTIONS`; of an edit,
            ``again`` where it changes an earlier one; of a conflict, :data:`OTHER_SYSTEM` where that is the difference.
        edit_no: the edit that stands in the place of this call; ``payload`` has its changes.
    """

    answer: Answer
    reason: str
    state: str
    attempts: int
    digest: bytes | None
    payload: bytes | None
    result: bytes | None
    error: str | None
    wait_ms: int
    absence_counts: bool
    approval_id: UUID | None
    expires_at: datetime | None
    comment: str | None
    code: str | None = None
    edit_no: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Ask for the right to have one effect.

    Args:
        run_id: the run that asks.
        token: its fencing token.
        attempt: made by the client, one per try; a re-sent claim carries the same.
        key: the action key, 32 bytes.
        args_hash: tells two changes under one key apart, 32 bytes.
        scope: the digest without free text, 32 bytes: the same change in other words is the same request.
        digest: what exactly would be done, 32 bytes; None if the record could not be read.
        verb: the decision.
        requirement: who must say yes, as :meth:`Requirement.canonical` writes it; None unless the verb is approve.
        tool: the tool's name.
        system: the system of record written to; None where the contract names none.
        impact: the contract's impact.
        kind: the effect's kind.
        fallback_kind: what a keyed effect counts as once the provider has forgotten the key.
        lease_ms: how long an attempt may hold the action.
        keyed_ms: how long the provider honours the key; 0 where it does not.
        visible_ms: how long an effect may take to show when read back.
        attempts_max: how many attempts the action may have.
        same_max: that many times the same failure in a row means stop.
        give_up_ms: since the first attempt; then a person has it.
        calls_max: how many tool calls the run may make.
        retry_ms_max: how long the run may wait for retries, all its actions together.
        charges: what the call takes of which budgets: ``name``, ``amount``, ``max``, ``seconds``; None for nothing.
        saga: the saga's ``id``, ``name`` and ``step``, and the key of what it ``undoes``; None outside sagas.
        call_id: the tool call's id; evidence, never identity.
        body: the entry's body, canonical bytes.
        payload: arguments and before-image, canonical bytes; kept apart from the hashed body so that it can be erased.
        card: what an approver is shown, canonical bytes; None unless the verb is approve.
        edit_no: the newest change by people that the arguments have in them; None: as the model made the call.
    """

    statement: ClassVar[str] = "claim"

    run_id: UUID
    token: int
    attempt: UUID
    key: bytes
    args_hash: bytes
    scope: bytes | None
    digest: bytes | None
    verb: str
    requirement: Mapping[str, Any] | None
    tool: str
    system: str | None
    impact: str
    kind: str
    fallback_kind: str
    lease_ms: int
    keyed_ms: int
    visible_ms: int
    attempts_max: int
    call_id: str | None
    body: bytes
    payload: bytes
    card: bytes | None
    same_max: int = SAME_FAILURES_MAX
    give_up_ms: int = GIVE_UP_MS
    calls_max: int = CALLS_MAX
    retry_ms_max: int = RETRY_MS_MAX
    charges: Sequence[Mapping[str, Any]] | None = None
    saga: Mapping[str, Any] | None = None
    edit_no: int | None = None

    def parameters(self) -> Mapping[str, Any]:
        """Return the statement's parameters by name."""
        return {
            "run_id": self.run_id,
            "token": self.token,
            "attempt": self.attempt,
            "key": self.key,
            "args_hash": self.args_hash,
            "scope": self.scope,
            "digest": self.digest,
            "verb": self.verb,
            "requirement": None if self.requirement is None else orjson.dumps(self.requirement).decode(),
            "tool": self.tool,
            "system": self.system,
            "impact": self.impact,
            "kind": self.kind,
            "fallback_kind": self.fallback_kind,
            "lease_ms": self.lease_ms,
            "keyed_ms": self.keyed_ms,
            "visible_ms": self.visible_ms,
            "attempts_max": self.attempts_max,
            "same_max": self.same_max,
            "give_up_ms": self.give_up_ms,
            "calls_max": self.calls_max,
            "retry_ms_max": self.retry_ms_max,
            "charges": orjson.dumps(self.charges).decode() if self.charges else None,
            "saga": None if self.saga is None else orjson.dumps(self.saga).decode(),
            "call_id": self.call_id,
            "body": self.body,
            "payload": self.payload,
            "card": self.card,
            "edit_no": self.edit_no,
        }

    def read(self, rows: Sequence[Mapping[str, Any]]) -> Claimed:
        """Return the answer as a value."""
        row = rows[0]
        return Claimed(
            answer=Answer(row["answer"]),
            reason=row["reason"],
            state=row["state"] or "",
            attempts=row["attempts"] or 0,
            digest=row["digest"],
            payload=row["payload"],
            result=row["result"],
            error=row["error"],
            wait_ms=max(0, row["wait_ms"] or 0),
            absence_counts=bool(row["absence_counts"]),
            approval_id=row["approval_id"],
            expires_at=row["expires_at"],
            comment=row["comment"],
            code=row["code"],
            edit_no=row["edit_no"],
        )


class Outcome(StrEnum):
    """What came of an attempt, or of reading back."""

    SUCCEED = "succeed"  # it happened
    NOT_DONE = "not_done"  # it certainly did not; trying again is reasonable
    FAIL = "fail"  # it certainly did not; trying again unasked is not
    LOSE = "lose"  # nobody knows
    FOUND = "found"  # read back: it happened
    ABSENT = "absent"  # read back twice, late enough: it did not
    UNDETERMINED = "undetermined"  # read back: cannot tell
    CONTRADICT = "contradict"  # the tool says one thing, the record another


class Verdict(StrEnum):
    """How a settle was taken."""

    SETTLED = "settled"  # it counts
    LATE = "late"  # kept as evidence: the attempt was no longer the current one
    CONTRADICTION = "contradiction"  # kept, and in conflict with what was concluded without it: a person decides


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A settle's answer.

    Args:
        answer: how it was taken.
        state: where the action stands now.
        woke: other runs wait for it: workers are to be notified.
    """

    answer: Verdict
    state: str
    woke: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Say what came of an attempt. Sent until it lands.

    Args:
        run_id: the run whose chain gets the entry.
        attempt: the attempt, as claimed.
        key: the action key.
        outcome: what came of it.
        events: further facts of the same commit: ``effect.verified`` or ``effect.mismatch``.
        result: the encoded result; None where there is none.
        error: what a repeat of the same tool call is told, kept also of an attempt whose outcome is unknown, for
            whoever reads it back; None for nothing.
        failure: what kind of failure it was, so that the same one again is noticed; None where there was none.
        call_id: the tool call's id; evidence, never identity.
        xid: the transaction that held the effect, for a ``transaction`` effect; None otherwise.
        body: the entry's body, canonical bytes.
        payload: what may have to be erased later, canonical bytes; None where there is none.
        ended: the call is over. False: it was broken off, and a thread of its own may go on and send later.
        pause_ms: where there will be another attempt, for how long none begins, whoever asks.
    """

    statement: ClassVar[str] = "settle"

    run_id: UUID
    attempt: UUID
    key: bytes
    outcome: Outcome
    events: tuple[str, ...] = ()
    result: bytes | None = None
    error: str | None = None
    failure: str | None = None
    call_id: str | None = None
    xid: str | None = None
    body: bytes = b"{}"
    payload: bytes | None = None
    ended: bool = True
    pause_ms: int = 0

    def parameters(self) -> Mapping[str, Any]:
        """Return the statement's parameters by name."""
        return {
            "run_id": self.run_id,
            "attempt": self.attempt,
            "key": self.key,
            "outcome": self.outcome.value,
            "events": list(self.events),
            "result": self.result,
            "error": self.error,
            "failure": self.failure,
            "call_id": self.call_id,
            "xid": self.xid,
            "ended": self.ended,
            "pause_ms": self.pause_ms,
            "body": self.body,
            "payload": self.payload,
        }

    def read(self, rows: Sequence[Mapping[str, Any]]) -> Settled:
        """Return the answer as a value."""
        row = rows[0]
        return Settled(answer=Verdict(row["answer"]), state=row["state"], woke=bool(row["woke"]))
