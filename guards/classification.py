"""What went wrong with a call, and whether its effect can have happened.

A failure is *not done* only where that is proven: nothing was sent, or the other side refused before acting. Everything
else about a write is *unknown*, whatever the client calls it.

The evidence is that of one exception. A tool whose body sends two writes can have done the first when the second is
refused, and nothing here can see it: one tool, one effect.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeAlias

from langgraph_control.guards.classifiers import (
    aiohttp,
    botocore,
    grpc,
    httpx,
    langchain,
    mcp,
    psycopg,
    requests,
    sockets,
    urllib3,
)
from langgraph_control.guards.classifiers.recognising import caught_within, class_name, package_of
from langgraph_control.guards.failures import (
    Evidence,
    Failure,
    Fault,
    Refusal,
    Sent,
    Verdict,
)
from langgraph_control.guards.lifecycle import Kind

_Classifier: TypeAlias = Callable[[BaseException, datetime], Evidence | None]

_LIBRARIES: Final = (httpx, requests, urllib3, aiohttp, botocore, grpc, psycopg, mcp)
_CLIENTS: Final[tuple[_Classifier, ...]] = tuple(one.evidence for one in _LIBRARIES)
# Sockets come last: several clients derive their exceptions from Python's own.
_ALL: Final[tuple[_Classifier, ...]] = (*_CLIENTS, langchain.evidence, sockets.evidence)

_PACKAGES: Final = frozenset[str]().union(*(one.PACKAGES for one in _LIBRARIES))

_TELLS_NOTHING: Final = Evidence(fault=Fault.PERMANENT, reason="this error does not tell whether anything was sent")

_NOT_DONE: Final[Mapping[Fault, Verdict]] = MappingProxyType(
    {
        Fault.TRANSIENT: Verdict.NOT_DONE_TRANSIENT,
        Fault.RATE_LIMITED: Verdict.NOT_DONE_RATE_LIMITED,
        Fault.PERMANENT: Verdict.NOT_DONE_PERMANENT,
    }
)

_CONFLICT: Final = 409

# Refusals which, on a later attempt, may be speaking of the effect of our own earlier one. A keyed provider answers 409
# while the first request under the key is still being worked on; a verified effect may land after it was read as
# absent, and then "already refunded", "version changed" or "no such record" is our own doing.
_MAY_BE_OURS: Final[Mapping[Kind, frozenset[int]]] = MappingProxyType(
    {Kind.KEYED: frozenset({_CONFLICT}), Kind.VERIFIED: frozenset({400, 404, _CONFLICT, 410, 412, 422, 423})}
)


def classify(
    error: BaseException,
    *,
    kind: Kind | None,
    now: datetime,
    attempt: int = 1,
    refusals: Sequence[Refusal] = (),
) -> Failure:
    """Say what an exception proves about the effect of the call that raised it. Never raises.

    Args:
        error: what the tool's body raised. Only its type, status, headers, chain and way here are looked at.
        kind: the effect's kind; None for a read, which is free to repeat and never unknown.
        now: the current time, with a zone; a Retry-After given as a date is counted from it.
        attempt: 1 for the first attempt of the action. Later ones may be refused because of an earlier one's effect.
        refusals: what the contract says of answers. It speaks of one answer, so it lifts none of the other doubts.

    Returns:
        The verdict with its reason. An unknown type of exception on a write is unknown: more may have happened after
        whatever caused it; and so is one that fails over being looked at.
    """
    try:
        evidence = _weighed(error, kind, now, attempt, refusals)
    except Exception:  # noqa: BLE001 - an exception is code of others, and may lie deeper than the stack: it proves nothing
        evidence = _TELLS_NOTHING
    rolled_back = kind is Kind.TRANSACTION
    undone = evidence.undone or rolled_back or kind is None
    return Failure(
        verdict=_NOT_DONE[evidence.fault] if undone else Verdict.UNKNOWN,
        fault=evidence.fault,
        sent=evidence.sent,
        error=class_name(error),
        retry_after_seconds=evidence.retry_after_seconds,
        reason="the transaction was rolled back" if rolled_back else evidence.reason,
    )


def is_judged_already(cls: type[BaseException]) -> bool:
    """Whether exceptions of a class come from a client or from the system, so that no contract need speak of them.

    Args:
        cls: a class of exceptions.
    """
    return issubclass(cls, OSError) or any(package_of(one) in _PACKAGES for one in cls.__mro__)


def _weighed(
    error: BaseException, kind: Kind | None, now: datetime, attempt: int, refusals: Sequence[Refusal]
) -> Evidence:
    """What the error proves of the whole effect, of which there may have been other requests."""
    evidence = _judged(error, now, refusals)
    if not evidence.undone or kind is None or kind is Kind.TRANSACTION:
        return evidence
    if attempt > 1 and evidence.status in _MAY_BE_OURS.get(kind, frozenset()):
        reason = f"{evidence.reason}; it may be speaking of an earlier attempt's effect"
        return replace(evidence, undone=False, reason=reason)
    if not all(_judged(one, now, refusals).undone for one in _earlier(error, now)):
        reason = "an earlier request of this call was lost before this one failed"
        return replace(evidence, undone=False, sent=_at_least_maybe(evidence.sent), reason=reason)
    return evidence


def _judged(error: BaseException, now: datetime, refusals: Sequence[Refusal]) -> Evidence:
    evidence = _evidence(error, now)
    if not refusals:
        return evidence
    said = {one.answer: one for one in refusals}
    named = (said.get(answer) for answer in (*evidence.codes, *type(error).__mro__))
    return next((_promised(evidence, refusal) for refusal in named if refusal is not None), evidence)


def _evidence(error: BaseException, now: datetime) -> Evidence:
    if isinstance(error, BaseExceptionGroup):
        return _together([_evidence(one, now) for one in error.exceptions])
    return _first(_ALL, error, now) or _TELLS_NOTHING


def _first(classifiers: tuple[_Classifier, ...], error: BaseException, now: datetime) -> Evidence | None:
    for classifier in classifiers:
        try:
            found = classifier(error, now)
        except Exception:  # noqa: BLE001 - an exception's attributes are code of others; if they fail, it proves nothing
            return _TELLS_NOTHING
        if found is not None:
            return found
    return None


def _promised(evidence: Evidence, refusal: Refusal) -> Evidence:
    """Let the contract's word about an answer stand in for what such an answer usually means."""
    name = refusal.answer.__name__ if isinstance(refusal.answer, type) else refusal.answer
    if refusal.fault is None:
        return replace(evidence, undone=False, reason=f"{name}: by the contract it does not tell what was done")
    if not evidence.whole:
        return replace(evidence, fault=refusal.fault)
    # A refusal for good that no status explains may be about what is there already, as a conflict is.
    unexplained = evidence.status is None and refusal.fault is Fault.PERMANENT
    return replace(
        evidence,
        fault=refusal.fault,
        undone=True,
        status=_CONFLICT if unexplained else evidence.status,
        reason=f"{name}: by the contract nothing was done",
    )


def _together(members: list[Evidence]) -> Evidence:
    """Join a group: the worst fault and no proof, since a task group cancels its other tasks without a word of them."""
    return Evidence(
        fault=max((one.fault for one in members), key=list(Fault).index),
        sent=_at_least_maybe(*(one.sent for one in members)),
        whole=False,
        retry_after_seconds=max(one.retry_after_seconds or 0.0 for one in members) or None,
        reason=f"{len(members)} failures together do not tell what became of the tasks beside them",
    )


def _at_least_maybe(*sent: Sent) -> Sent:
    """What is known of several requests where not all of them can be seen."""
    return Sent.YES if Sent.YES in sent else Sent.MAYBE


def _earlier(error: BaseException, now: datetime) -> Iterator[BaseException]:
    """Yield the errors that this one was raised in the handling of, if they tell of requests of the same call.

    A client's own layers are among them; they tell of one exchange, and so the same as what it raised in the end.
    """
    from_client = _first(_CLIENTS, error, now) is not None
    seen = {id(error)}
    waiting = [error.__cause__, error.__context__]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        waiting += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions
            continue
        # What Python raised is a layer where the client caught it, and a request of its own where the tool did.
        layer = from_client and caught_within(current, error, _PACKAGES)
        if _first(_CLIENTS if layer else _ALL, current, now) is not None:
            yield current
