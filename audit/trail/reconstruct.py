"""A run's story from its entries alone: who did what, when, why, and what came of it. Nothing else is asked."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from langgraph_control.audit.asking.observing import fallback_texts
from langgraph_control.audit.names import approval_name
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.intervals import Interval, intervals
from langgraph_control.audit.trail.quoted import quoted
from langgraph_control.audit.trail.sentences import sentence
from langgraph_control.audit.trail.tones import Tone
from langgraph_control.guards.canonical import from_canonical
from langgraph_control.guards.told_signals import signal_texts

__all__ = ["Step", "Story", "reconstruct"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EDITED: Final = "approval.edited"
"""Its payload is what was changed, and nothing around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One entry, told. Its texts come from models, records and people: print them with ``printable`` only.

    Args:
        seq: its place in the chain.
        at: the database's time.
        events: the facts' names.
        who: the person, or the identity the agent acts under, with the worker; "" where the entry names nobody.
        what: what happened.
        tone: how to read it.
        why: the decision's reasons, a failure's reason, a person's comment in quotes.
        arguments: name and text of the call's arguments, from the payload only: what the contract redacts never went
            into it, and it can be erased.
        changes: field of the record, its text before, and what it was to become: as the contract's ``read`` and
            ``expect`` said, where it has them; likewise from the payload.
        details: label and text of what else people want to know.
        ids: label and text of what ties it to other records.
        took: since the entry that began what this one ends; None where it ends nothing.
    """

    seq: int
    at: datetime
    events: tuple[str, ...]
    who: str
    what: str
    tone: Tone
    why: tuple[str, ...]
    arguments: tuple[tuple[str, str], ...]
    changes: tuple[tuple[str, str, str], ...]
    details: tuple[tuple[str, str], ...]
    ids: tuple[tuple[str, str], ...]
    took: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A run, told from its entries.

    Args:
        trigger: the delivery that began it; None where no entry says so.
        intent: the business request.
        actor: the identity the agent acts under.
        on_behalf_of: for whom.
        graph: the graph's name.
        thread_id: its thread.
        workers: the processes that drove it, in the order of their coming.
        versions: of the agent that drove it, in the order of their coming; none where its graph was bound without one.
        people: everyone whose vote counted.
        policies: hashes of the policies that decided.
        steps: one for each entry, in order.
        ended: whether it is done; what comes late may follow that.
    """

    trigger: str | None
    intent: str | None
    actor: str | None
    on_behalf_of: str | None
    graph: str | None
    thread_id: str | None
    workers: tuple[str, ...]
    versions: tuple[str, ...]
    people: tuple[str, ...]
    policies: tuple[str, ...]
    steps: tuple[Step, ...]
    ended: bool


def reconstruct(entries: Iterable[Entry]) -> Story:
    """Tell a run from its entries.

    Args:
        entries: the run's, in order.
    """
    known = tuple(entries)
    ends: dict[int, list[Interval]] = {}
    for interval in intervals(known):
        if interval.closed is not None:
            ends.setdefault(interval.closed.seq, []).append(interval)
    return Story(
        trigger=_first(entry.said("why", "trigger") or entry.said("trigger") for entry in known),
        intent=_first(entry.said("why", "intent") or entry.said("intent") for entry in known),
        actor=_first(entry.said("who", "actor") for entry in known),
        on_behalf_of=_first(entry.said("who", "on_behalf_of") for entry in known),
        graph=_first(entry.said("where", "graph") for entry in known),
        thread_id=_first(entry.said("where", "thread_id") for entry in known),
        workers=_distinct(entry.said("where", "worker") for entry in known),
        versions=_distinct(entry.said("who", "version") for entry in known),
        people=_distinct(entry.fact("person") for entry in known if "approval.voted" in entry.events),
        policies=_distinct(entry.said("policy") for entry in known),
        steps=tuple(_step(entry, ends.get(entry.seq, [])) for entry in known),
        ended=any("run.finished" in entry.events for entry in known),
    )


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value), None)


def _distinct(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))


def _step(entry: Entry, ended: list[Interval]) -> Step:
    what, tone = sentence(entry)
    return Step(
        seq=entry.seq,
        at=entry.at,
        events=entry.events,
        who=_who(entry),
        what=what,
        tone=tone,
        why=tuple(_why(entry)),
        arguments=tuple(_arguments(entry)),
        changes=tuple(_changes(entry)),
        details=tuple(_details(entry)),
        ids=tuple(_ids(entry)),
        took=entry.at - ended[0].opened.at if ended else None,
    )


def _who(entry: Entry) -> str:
    person = entry.fact("person")
    if person is not None:
        roles = entry.facts.get("roles")
        in_roles = ", ".join(str(role) for role in roles) if isinstance(roles, list) else ""
        return f"{person} ({in_roles})" if in_roles else person
    actor, behalf, worker = entry.said("who", "actor"), entry.said("who", "on_behalf_of"), entry.said("where", "worker")
    who = actor or ""
    if actor is not None and behalf is not None:
        who = f"{actor} for {behalf}"
    return " ".join(part for part in (who, f"on {worker}" if worker else "") if part)


def _why(entry: Entry) -> Iterator[str]:
    yield from entry.said_list("reasons")
    failure = entry.said("why")
    if failure is not None:
        yield failure
    comment = entry.said("comment")
    if comment:
        yield f'"{comment}"'


_DETAILS: Final = (
    ("question", "question"),
    ("target", "target"),
    ("system", "system"),
    ("error", "error"),
    ("sent", "sent"),
    ("confirmation", "read back"),
)
_IDS: Final = ("key", "digest", "attempt", "approval", "policy")


def _details(entry: Entry) -> Iterator[tuple[str, str]]:
    for name, label in _DETAILS:
        said = entry.said(name)
        if said and said != "unasked":
            yield label, said
    yield from (("signal", text) for text in signal_texts(entry.body.get("signals")))
    yield from (("known from a fallback only", text) for text in fallback_texts(entry.body.get("fallbacks")))
    approval = entry.fact("approval")
    if approval is not None and entry.fact("decision") is not None:
        yield "request", approval_name(approval)
    wake = entry.facts.get("wake_at")
    if isinstance(wake, int):
        yield "goes on by itself at", _moment(wake)


def _ids(entry: Entry) -> Iterator[tuple[str, str]]:
    for name in _IDS:
        value = entry.fact(name) or entry.said(name)
        if value is not None:
            yield name, value
    call_id = entry.said("call_id")
    if call_id is not None:
        yield "call", call_id


def _moment(microseconds: int) -> str:
    try:
        return (EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="seconds")
    except OverflowError:
        return "a time that cannot be read"


def _arguments(entry: Entry) -> Iterator[tuple[str, str]]:
    if entry.fact("tool") is None:
        return  # a run's own payload is its input
    if entry.erased:
        yield "(erased)", ""
        return
    if entry.payload is None:
        return
    try:
        payload = from_canonical(entry.payload)
        args = payload if EDITED in entry.events else payload["args"]
        yield from [(str(name), quoted(value)) for name, value in args.items()]
    except Exception:  # noqa: BLE001 - a damaged payload may raise anything; the rest of the story is still to be told
        yield "(in a form that this release cannot read)", ""


def _changes(entry: Entry) -> Iterator[tuple[str, str, str]]:
    if entry.fact("tool") is None or entry.payload is None or EDITED in entry.events:
        return
    with suppress(Exception):  # as with the arguments, which say so
        payload = from_canonical(entry.payload)
        before, after = payload.get("before"), payload.get("after")
        known = before if isinstance(before, Mapping) else {}
        for field, value in after.items() if isinstance(after, Mapping) else ():
            was = quoted(known[field]) if field in known else ""
            if was != (becomes := quoted(value)):
                yield str(field), was, becomes
