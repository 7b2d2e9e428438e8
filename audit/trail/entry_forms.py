"""What entries say, form by form: which events one carries, and what its facts and its body hold.

A commit appends one entry, which may carry several events; what it says besides depends on the function that wrote
it. So a form describes one function's entries, and an event's schema is made of the forms that may carry it
(:mod:`langgraph_control.audit.trail.entry_schemas`). A name that ends in ``?`` may be missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

__all__ = ["COMMON", "FORMS", "Form", "Shape"]

Shape: TypeAlias = Mapping[str, Any]

TEXT: Final[Shape] = {"type": "string"}
TEXTS: Final[Shape] = {"type": "array", "items": TEXT}
WHOLE: Final[Shape] = {"type": "integer"}
COUNT: Final[Shape] = {"type": "integer", "minimum": 0}
YES_NO: Final[Shape] = {"type": "boolean"}
HEX32: Final[Shape] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
HEX64: Final[Shape] = {"type": "string", "pattern": "^[0-9a-f]{128}$"}
ID: Final[Shape] = {"type": "string", "format": "uuid", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
MOMENT: Final[Shape] = {"type": "integer", "description": "microseconds since 1970-01-01 UTC, by the database's clock"}
WRITTEN: Final[Shape] = {"type": "string", "description": "ISO 8601 with a zone, by the client's clock"}
OBJECTS: Final[Shape] = {"type": "array", "items": {"type": "object"}}


def one_of(*words: str) -> Shape:
    """A text out of a closed set."""
    return {"enum": list(words)}


def or_null(shape: Shape) -> Shape:
    """A value that may be null."""
    return {"anyOf": [shape, {"type": "null"}]}


def record(**fields: Shape) -> Shape:
    """An object with these fields; ``name_`` may be missing."""
    return {
        "type": "object",
        "properties": {name.removesuffix("_"): shape for name, shape in fields.items()},
        "required": [name for name in fields if not name.endswith("_")],
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The entries of one function of the ledger.

    Args:
        name: what it is called.
        about: what it records, in one sentence.
        events: which events it may carry; at least one of them.
        facts: what the database decided, beside :data:`COMMON`.
        body: what the client said.
        payload: what lies beside it and can be erased; "" for nothing.
    """

    name: str
    about: str
    events: tuple[str, ...]
    facts: Mapping[str, Shape]
    body: Mapping[str, Shape]
    payload: str = ""


COMMON: Final[Mapping[str, Shape]] = MappingProxyType(
    {
        "at": MOMENT,
        "login": {"type": "string", "description": "the database login that asked"},
    }
)
"""What the facts of every entry hold, beside ``events``."""

IDENTITY: Final[Shape] = or_null(
    {
        "type": "object",
        "description": "how a service found out who this is; null: the database login is the person",
        "properties": {
            "person": TEXT,
            "issuer": TEXT,
            "subject": TEXT,
            "groups": TEXTS,
            "acr": or_null(TEXT),
            "credential": {**HEX32, "description": "names the credential, and does not contain it"},
        },
        "required": ["person", "issuer", "subject", "groups", "credential"],
        "additionalProperties": False,
    }
)
ROLES: Final[Shape] = {
    **TEXTS,
    "description": "the person's by the policy of that time; where another's leave carried the word, what it gave",
}
PERSON: Final[Mapping[str, Shape]] = {"person": or_null(TEXT), "roles": ROLES, "identity": IDENTITY}
NAMED: Final[Mapping[str, Shape]] = {"person": TEXT, "roles": ROLES}
UNKNOWN_ACTION: Final[Shape] = {**HEX32, "description": "the key that was named, of no action of the run"}
DENIED: Final[Shape] = {
    "type": "array",
    "items": HEX32,
    "description": "keys of the actions that are not done any more",
}
COMMENT: Final[Mapping[str, Shape]] = {"comment": or_null(TEXT)}
REQUEST: Final[Mapping[str, Shape]] = {"approval": ID, "tool": TEXT, "key": HEX32, "digest": HEX32}
SAID: Final[Mapping[str, Shape]] = {"comment?": TEXT}
STATE: Final[Shape] = one_of(
    *("ready", "executing", "verifying", "succeeded", "failed", "denied"),
    *("unknown", "needs_approval", "needs_human", "abandoned"),
)
KIND: Final[Shape] = one_of("transaction", "keyed", "verified", "blind")
WHERE: Final[Shape] = record(
    worker_=TEXT,
    graph_=TEXT,
    thread_id_=TEXT,
    checkpoint_id_=TEXT,
    checkpoint_ns_=TEXT,
    task_id_=TEXT,
    server_run_=TEXT,
)
BEGINNING: Final[Mapping[str, Shape]] = {
    "who?": record(actor_=TEXT, on_behalf_of_=or_null(TEXT), version_=TEXT),
    "why?": record(trigger_=TEXT, intent_=TEXT, traceparent_=TEXT),
    "policy": HEX32,
    "where": WHERE,
}
CLAIM_BODY: Final[Mapping[str, Shape]] = {
    "reasons": TEXTS,
    "rules": TEXTS,
    "signals?": {
        "type": "object",
        "description": "what the decision looked at and says something: field → value, by the names that rules use",
        "additionalProperties": TEXT,
    },
    "also?": TEXTS,
    "observed?": TEXT,
    "fallbacks?": OBJECTS,
    "owner?": TEXT,
    "question?": TEXT,
    "question_id?": TEXT,
    "checks?": TEXTS,
    "policy": HEX32,
    "target?": TEXT,
    "saga?": {"type": "object", "description": "what of the saga is applied and what was undone"},
    "at": WRITTEN,
    "system?": TEXT,
    "impact": TEXT,
    "contract?": TEXT,
    "call_id?": TEXT,
    "where?": WHERE,
}
ENDING_BODY: Final[Mapping[str, Shape]] = {
    "state?": TEXT,
    "reason?": TEXT,
    **{f"{name.removesuffix('?')}?": shape for name, shape in BEGINNING.items()},
}

_CLAIMED: Final = (
    *("action.proposed", "action.decided", "action.attempt_started", "action.duplicate", "action.unknown"),
    *("approval.requested", "approval.expired", "approval.escalated", "approval.superseded", "approval.withdrawn"),
    *("compensation.started", "compensation.failed"),
)
_SETTLED: Final = (
    *("action.succeeded", "action.failed", "action.unknown", "effect.verified", "effect.mismatch", "effect.late"),
    *("compensation.succeeded", "compensation.failed"),
)
_VOTED: Final = (
    *("approval.voted", "approval.granted", "approval.denied", "approval.refused", "approval.expired"),
    *("approval.escalated", "approval.broke_glass", "review.opened"),
)

FORMS: Final[tuple[Form, ...]] = (
    Form(
        name="start",
        about="A run was registered for a trigger and taken for the first time.",
        events=("run.started",),
        facts={
            "token": COUNT,
            "holder": TEXT,
            "trigger": TEXT,
            "intent": TEXT,
            "graph": TEXT,
            "thread": TEXT,
            "actor": TEXT,
            "on_behalf_of": or_null(TEXT),
            "deadline": or_null(MOMENT),
        },
        body={
            **{name: shape for name, shape in BEGINNING.items() if not name.endswith("?")},
            "who": record(actor=TEXT, on_behalf_of_=or_null(TEXT), version_=TEXT),
            "why": record(trigger=TEXT, intent=TEXT, traceparent_=TEXT),
            "where": record(worker=TEXT, graph=TEXT, thread_id=TEXT, server_run_=TEXT),
        },
        payload="the run's input",
    ),
    Form(
        name="resume",
        about="Somebody took the lease of a run and drives it on, under another token.",
        events=("run.resumed",),
        facts={"token": COUNT, "holder": TEXT},
        body=BEGINNING,
    ),
    Form(
        name="release",
        about="A run's lease was given up: it is done, or parked. `entries` counts them, this one included.",
        events=("wait.started", "run.finished"),
        facts={
            "state": one_of("done", "waiting", "retrying", "needs_approval", "needs_human", "blocked"),
            "reason": TEXT,
            "entries": COUNT,
            "wake_at": or_null(MOMENT),
        },
        body=ENDING_BODY,
    ),
    Form(
        name="left_open",
        about="The graph ended, or its run stopped, while an outcome was unknown; it is a person's now.",
        events=("action.unknown",),
        facts={"tool": TEXT, "key": HEX32, "state": STATE, "reason": one_of("graph_ended", "broken_off")},
        body=ENDING_BODY,
    ),
    Form(
        name="fence",
        about="A worker that had lost the run asked for a write and was refused; once for each token.",
        events=("run.fenced",),
        facts={"token": WHOLE, "current": COUNT, "tool": TEXT},
        body=CLAIM_BODY,
    ),
    Form(
        name="claim",
        about="The right to have an effect was asked for: what was decided, why, and what follows.",
        events=_CLAIMED,
        facts={
            "tool": TEXT,
            "key": HEX32,
            "digest?": HEX32,
            "attempt": ID,
            "answer": one_of("go", "stored", "park", "verify", "stop"),
            "reason?": TEXT,
            "state?": STATE,
            "kind": KIND,
            "fence?": COUNT,
            "attempts": COUNT,
            "verb": one_of(
                *(
                    "allow",
                    "approve",
                    "ask",
                    "retry_later",
                    "verify_first",
                    "deduplicate",
                    "escalate",
                    "dry_run",
                    "deny",
                )
            ),
            "because?": TEXT,
            "approval?": ID,
            "card?": HEX32,
            "saga?": TEXT,
            "step?": COUNT,
            "undoes?": HEX32,
        },
        body=CLAIM_BODY,
        payload="arguments and before-image, without what the contract redacts",
    ),
    Form(
        name="settle",
        about="What came of an attempt, or of reading one back. A late word is kept as evidence.",
        events=_SETTLED,
        facts={
            "tool": TEXT,
            "key": HEX32,
            "attempt": ID,
            "outcome": one_of(
                *("succeed", "not_done", "fail", "lose", "found", "absent", "undetermined", "contradict")
            ),
            "answer": one_of("settled", "late", "contradiction"),
            "state": STATE,
            "fence?": COUNT,
            "pause_ms?": COUNT,
        },
        body={
            "confirmation?": TEXT,
            "error?": TEXT,
            "sent?": TEXT,
            "fault?": TEXT,
            "why?": TEXT,
            "sight?": TEXT,
            "call_id?": TEXT,
        },
    ),
    Form(
        name="read",
        about="A read, recorded before the model saw what it gave; or one that was too late to be called.",
        events=("action.succeeded", "action.failed", "action.decided", "loop.noticed", "loop.stopped", "loop.parked"),
        facts={
            "tool": TEXT,
            "kind": one_of("read"),
            "fallback?": YES_NO,
            "waits?": YES_NO,
            "loop?": one_of("same", "bouncing", "stopped", "parked"),
            "answer?": one_of("park"),
            "reason?": one_of("deadline_passed"),
        },
        body={
            "who": record(actor=TEXT, on_behalf_of_=or_null(TEXT)),
            "intent": TEXT,
            "tool": TEXT,
            "system?": TEXT,
            "target?": TEXT,
            "contract?": TEXT,
            "call_id?": TEXT,
            "where?": WHERE,
            "tries?": COUNT,
            "result?": HEX32,
            "result_bytes?": COUNT,
            "error?": TEXT,
            "fault?": TEXT,
            "why?": TEXT,
            "at": WRITTEN,
        },
        payload="the arguments",
    ),
    Form(
        name="asked_again",
        about="A write that is refused, or done already, was asked for once more, and the run goes in circles.",
        events=("loop.noticed", "loop.parked"),
        facts={
            "tool": TEXT,
            "kind": one_of("write"),
            "loop": one_of("same", "bouncing", "parked"),
            "done?": YES_NO,
        },
        body={
            "system?": TEXT,
            "impact": TEXT,
            "contract?": TEXT,
            "call_id?": TEXT,
            "where?": WHERE,
            "at": WRITTEN,
        },
    ),
    Form(
        name="vote",
        about="Somebody's word on a request; `answer` says what it came to, `reason` why it did not count.",
        events=_VOTED,
        facts={
            **REQUEST,
            **PERSON,
            **COMMENT,
            "decision": one_of("approve", "reject", "break_glass"),
            "code": or_null(TEXT),
            "delegation": or_null(ID),
            "delegator": or_null(TEXT),
            "card": HEX32,
            "answer": one_of("open", "granted", "denied", "refused"),
            "reason": or_null(TEXT),
        },
        body=SAID,
    ),
    Form(
        name="withdraw_vote",
        about="Somebody took their yes back, or may not.",
        events=("approval.vote_withdrawn", "approval.refused"),
        facts={
            **REQUEST,
            **PERSON,
            **COMMENT,
            "decision": one_of("withdraw"),
            "answer": one_of("open", "granted", "refused"),
            "reason": or_null(TEXT),
        },
        body=SAID,
    ),
    Form(
        name="edit",
        about="Somebody wants the change with other arguments, or may not have it.",
        events=("approval.edited", "approval.refused"),
        facts={
            **REQUEST,
            **PERSON,
            **COMMENT,
            "decision": one_of("edit"),
            "delegation": or_null(ID),
            "delegator": or_null(TEXT),
            "answer": one_of("edited", "refused"),
            "reason": or_null(TEXT),
        },
        body=SAID,
        payload="the arguments that were changed",
    ),
    Form(
        name="unknown_request",
        about="Somebody spoke on a request that there is not: mistyped, or guessed. In the tenant's own chain.",
        events=("approval.refused",),
        facts={
            "approval": ID,
            **PERSON,
            **COMMENT,
            "decision": one_of("approve", "reject", "break_glass", "withdraw", "edit", "review"),
            "answer": one_of("refused"),
            "reason": one_of("unknown_request"),
        },
        body=SAID,
    ),
    Form(
        name="edit_refused",
        about="The tool does not take what somebody wanted changed.",
        events=("approval.edit_refused",),
        facts={"approval": ID, "tool": TEXT, "key": HEX32, **NAMED, "reason": TEXT},
        body={"edit?": WHOLE, "problem?": TEXT},
    ),
    Form(
        name="counted_again",
        about="A policy was published under which the votes that a request has are enough.",
        events=("approval.granted",),
        facts={**REQUEST, "answer": one_of("granted"), "reason": one_of("policy_published")},
        body={"policy": HEX32, "source?": TEXT},
    ),
    Form(
        name="review",
        about="Somebody looked afterwards at what was done on one person's word, or may not.",
        events=("review.closed", "review.refused"),
        facts={
            "approval": ID,
            "tool": TEXT,
            "key": HEX32,
            **PERSON,
            **COMMENT,
            "verdict": one_of("accepted", "objected"),
            "reason": or_null(TEXT),
        },
        body=SAID,
    ),
    Form(
        name="resolution",
        about="A person said what became of an action that the program could not settle.",
        events=("action.resolved", "action.succeeded", "action.failed", "action.unknown", "compensation.succeeded"),
        facts={
            "tool": TEXT,
            "key": HEX32,
            **PERSON,
            "verdict": one_of("happened", "did_not", "give_up"),
            "before": STATE,
            "state": STATE,
            "comment": TEXT,
        },
        body=SAID,
    ),
    Form(
        name="resolution_refused",
        about="Somebody's word on what became of an action does not count.",
        events=("action.resolution_refused",),
        facts={
            "tool?": TEXT,
            "key?": HEX32,
            "action?": UNKNOWN_ACTION,
            **PERSON,
            "verdict": one_of("happened", "did_not", "give_up"),
            "reason": TEXT,
        },
        body=SAID,
    ),
    Form(
        name="unknown_run",
        about="Somebody spoke on a run that there is not: mistyped, or guessed. In the tenant's own chain.",
        events=("action.resolution_refused", "run.cancel_refused", "question.answer_refused"),
        facts={
            "run": ID,
            "action?": UNKNOWN_ACTION,
            "question?": ID,
            **PERSON,
            "verdict?": one_of("happened", "did_not", "give_up"),
            "reason": one_of("unknown_run"),
        },
        body={**SAID, "where?": WHERE},
    ),
    Form(
        name="cancellation",
        about="A person ended the run; what it had not begun is denied.",
        events=("run.cancelled", "run.finished"),
        facts={
            **PERSON,
            "state": one_of("done"),
            "reason": one_of("cancelled"),
            "entries": COUNT,
            "comment": TEXT,
            "denied": DENIED,
            "applied": {
                "type": "array",
                "items": HEX32,
                "description": "keys of the steps of its sagas that are in effect, and stay so",
            },
        },
        body=SAID,
    ),
    Form(
        name="cancelled_request",
        about="A request was withdrawn because its run was cancelled.",
        events=("approval.withdrawn",),
        facts={"tool": TEXT, "key": HEX32, "approval": ID, "state": one_of("denied", "ready"), **PERSON},
        body=SAID,
    ),
    Form(
        name="settled_request",
        about="A request was withdrawn because a person settled what it was about.",
        events=("approval.withdrawn",),
        facts={"tool": TEXT, "key": HEX32, "approval": ID, "state": one_of("succeeded", "abandoned"), **PERSON},
        body=SAID,
    ),
    Form(
        name="replacement",
        about="A new message came on the thread of a run that waited for people; what the run had not begun is denied.",
        events=("run.replaced", "run.finished"),
        facts={
            "message": {**TEXT, "description": "the new message's trigger"},
            "state": one_of("done"),
            "reason": one_of("replaced"),
            "entries": COUNT,
            "denied": DENIED,
        },
        body=BEGINNING,
    ),
    Form(
        name="replaced_request",
        about="A request was withdrawn because a new message ended its run.",
        events=("approval.withdrawn",),
        facts={"tool": TEXT, "key": HEX32, "approval": ID, "state": one_of("denied", "ready"), "message": TEXT},
        body=BEGINNING,
    ),
    Form(
        name="cancel_refused",
        about="Somebody wanted a run ended and may not.",
        events=("run.cancel_refused",),
        facts={**PERSON, "reason": TEXT},
        body=SAID,
    ),
    Form(
        name="question",
        about="What the user was asked about a write is answered, or somebody may not answer it.",
        events=("question.answered", "question.answer_refused"),
        facts={
            "tool?": TEXT,
            "key?": HEX32,
            "question": ID,
            "person?": TEXT,
            "roles?": ROLES,
            "identity?": IDENTITY,
            "reason?": TEXT,
        },
        body={"where?": WHERE},
        payload="the answer",
    ),
    Form(
        name="ignored_resume",
        about="A resume of the graph tried to decide, and was ignored.",
        events=("resume.ignored",),
        facts={"approval?": ID, "tool?": TEXT, "key?": HEX32, "digest?": HEX32, "reason": TEXT, "mark?": HEX32},
        body={"who": {"type": "object"}, "where": WHERE},
    ),
    Form(
        name="access",
        about="Somebody was not let in, or came with what no page of the console sends. In the tenant's own chain.",
        events=("access.refused",),
        facts={},
        body={
            "where": one_of("console", "service"),
            "refused": {"type": "object", "description": "reason → how often", "additionalProperties": COUNT},
        },
    ),
    Form(
        name="freeze",
        about="Writes of a scope were stopped, or go on, or somebody may not say so. In the tenant's own chain.",
        events=("freeze.set", "freeze.lifted", "freeze.refused"),
        facts={
            "scope": one_of("tenant", "agent", "system", "tool"),
            "name": TEXT,
            **PERSON,
            "comment?": TEXT,
            "reason?": TEXT,
        },
        body=SAID,
    ),
    Form(
        name="breaker",
        about="Calls to a system are held back, or go through again. In the tenant's own chain.",
        events=("breaker.opened", "breaker.closed"),
        facts={"system": TEXT, "calls?": COUNT, "failed?": COUNT},
        body={},
    ),
    Form(
        name="policy",
        about="A policy was published. In the tenant's own chain.",
        events=("policy.loaded",),
        facts={"policy": HEX32},
        body={"policy": HEX32, "source?": TEXT},
    ),
    Form(
        name="delegation",
        about="Somebody let somebody else vote in a role of theirs, or may not. In the tenant's own chain.",
        events=("delegation.given", "delegation.refused"),
        facts={
            "delegation": ID,
            **PERSON,
            **COMMENT,
            "to": TEXT,
            "role": or_null(TEXT),
            "until": MOMENT,
            "reason": or_null(TEXT),
        },
        body=SAID,
    ),
    Form(
        name="revocation",
        about="A delegation was ended, or somebody may not end it. In the tenant's own chain.",
        events=("delegation.revoked", "delegation.refused"),
        facts={"delegation": ID, **PERSON, **COMMENT, "reason": or_null(TEXT)},
        body=SAID,
    ),
    Form(
        name="signing_key",
        about="Checkpoints are signed with this key from now on; `endorsed` is the signature of the key before over it,"
        " null for the first and for one in place of a lost one. In the tenant's own chain.",
        events=("key.rotated",),
        facts={"name": TEXT, "public": HEX32, "before": or_null(TEXT), "endorsed": or_null(HEX64)},
        body={"key": TEXT},
    ),
    Form(
        name="erasure",
        about="What was said was erased; `erased` counts by place. In the runs' chains and the tenant's own.",
        events=("payload.erased",),
        facts={
            "erasure": ID,
            "scope": one_of("run", "action", "intent", "target", "age"),
            **NAMED,
            "comment": TEXT,
            "erased": {"type": "object", "additionalProperties": COUNT},
            "checkpoints?": YES_NO,
            "runs?": COUNT,
            "threads?": COUNT,
        },
        body=SAID,
    ),
    Form(
        name="hold",
        about="What is under a legal hold is neither erased nor dropped. In the tenant's own chain.",
        events=("hold.set", "hold.lifted"),
        facts={
            "hold": ID,
            "scope": one_of("run", "intent", "target"),
            "run": or_null(ID),
            **NAMED,
            "comment": TEXT,
        },
        body=SAID,
    ),
    Form(
        name="retention",
        about="A month was dropped; `heads` is a digest of the heads it left. In the tenant's own chain.",
        events=("entries.dropped",),
        facts={
            "month": TEXT,
            "entries": COUNT,
            "runs": COUNT,
            "heads": HEX32,
            "erased": {"type": "object", "additionalProperties": COUNT},
            **NAMED,
            "comment": TEXT,
        },
        body=SAID,
    ),
    Form(
        name="restore",
        about="The server lost commits, or may have: writes stand still. In the tenant's own chain.",
        events=("restore.detected", "restore.declared", "freeze.set"),
        facts={
            "scope": one_of("tenant"),
            "name": TEXT,
            **NAMED,
            "comment": TEXT,
            "system?": {"type": "array", "items": or_null(TEXT)},
            "timeline?": {"type": "array", "items": or_null(WHOLE)},
        },
        body={},
    ),
    Form(
        name="restore_accepted",
        about="A person lets writes go on after a restore. In the tenant's own chain.",
        events=("restore.accepted", "freeze.lifted"),
        facts={
            "scope": one_of("tenant"),
            "name": TEXT,
            **PERSON,
            "comment": TEXT,
            "restore": {**WHOLE, "description": "the entry of the restore that is accepted"},
            "reconciled": or_null({**WHOLE, "description": "the entry of the reconciliation that looked into it"}),
        },
        body=SAID,
    ),
    Form(
        name="reconciliation",
        about="Everything was held against everything else that is recorded. In the tenant's own chain.",
        events=("record.reconciled",),
        facts={
            "restore": or_null({**WHOLE, "description": "the entry of the restore that waited when it began"}),
            "outside": {**YES_NO, "description": "systems of record and threads were asked, too, all that can be"},
            "requests": COUNT,
            "runs": COUNT,
            "actions": COUNT,
            "entries": COUNT,
            "asked": {**COUNT, "description": "actions whose system said whether it has them"},
            "unclear": {**COUNT, "description": "actions whose system was asked, and cannot tell"},
            "unanswered": {**COUNT, "description": "actions whose system could not be asked"},
            "no_tool": {**COUNT, "description": "actions whose tool no graph has that was named"},
            "no_find": {**COUNT, "description": "actions that nothing can look up"},
            "no_arguments": {**COUNT, "description": "actions whose arguments are not on record any more"},
            "no_graph": {**COUNT, "description": "runs whose graph was not named"},
            "open": COUNT,
            "differences": COUNT,
            **NAMED,
        },
        body={"graphs?": TEXTS, "systems?": TEXTS, "tools?": TEXTS},
    ),
)
"""Every form that an entry of this version can have."""
