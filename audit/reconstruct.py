"""A run's story from its entries alone: who did what, when, why, and what came of it. Nothing else is asked."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from langgraph_control.audit.entries import Entry
from langgraph_control.audit.intervals import Interval, intervals
from langgraph_control.audit.sentences import Tone, sentence
from langgraph_control.guards.canonical import from_canonical, observed_bytes

__all__ = ["Step", "Story", "reconstruct"]

HEX_SHOWN: Final = 12
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
        why: the decision's reasons, a failure's reason, a person's comment.
        details: label and text of everything else worth showing.
        took: since the entry that began what this one ends; None where it ends nothing.
    """

    seq: int
    at: datetime
    events: tuple[str, ...]
    who: str
    what: str
    tone: Tone
    why: tuple[str, ...]
    details: tuple[tuple[str, str], ...]
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
        people: everyone whose vote counted.
        policies: hashes of the policies that decided.
        steps: one for each entry, in order.
        ended: whether its last word is that it is done.
    """

    trigger: str | None
    intent: str | None
    actor: str | None
    on_behalf_of: str | None
    graph: str | None
    thread_id: str | None
    workers: tuple[str, ...]
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
        people=_distinct(entry.fact("person") for entry in known if "approval.voted" in entry.events),
        policies=_distinct(entry.said("policy") for entry in known),
        steps=tuple(_step(entry, ends.get(entry.seq, [])) for entry in known),
        ended=bool(known) and "run.finished" in known[-1].events,
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
        details=tuple(_details(entry)),
        took=entry.at - ended[0].opened.at if ended else None,
    )


def _who(entry: Entry) -> str:
    person = entry.fact("person")
    if person is not None:
        roles = entry.facts.get("roles")
        in_roles = ", ".join(str(role) for role in roles) if isinstance(roles, list) else ""
        return f"{person} ({in_roles})" if in_roles else person
    actor, behalf = entry.said("who", "actor"), entry.said("who", "on_behalf_of")
    if actor is not None:
        return actor if behalf is None else f"{actor} for {behalf}"
    return entry.said("where", "worker") or ""


def _why(entry: Entry) -> Iterator[str]:
    yield from entry.said_list("reasons")
    failure = entry.said("why")
    if failure is not None:
        yield failure
    comment = entry.said("comment")
    if comment:
        yield f"comment: {comment}"


_BODY_DETAILS: Final = (
    ("target", "target"),
    ("system", "system"),
    ("error", "error"),
    ("sent", "sent"),
    ("confirmation", "read back"),
)


def _details(entry: Entry) -> Iterator[tuple[str, str]]:
    for name, label in _BODY_DETAILS:
        said = entry.said(name)
        if said and said != "unasked":
            yield label, said
    yield from _arguments(entry)
    for name in ("approval", "digest", "attempt"):
        fact = entry.fact(name)
        if fact is not None and entry.fact("kind") != "read":
            yield name, fact[:HEX_SHOWN]
    policy = entry.said("policy") or entry.fact("policy")
    if policy is not None:
        yield "policy", policy[:HEX_SHOWN]
    wake = entry.facts.get("wake_at")
    if isinstance(wake, int):
        yield "goes on by itself at", _moment(wake)
    worker = entry.said("where", "worker")
    if worker is not None and entry.said("who", "actor") is not None:
        yield "worker", worker


def _moment(microseconds: int) -> str:
    try:
        return (EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="seconds")
    except OverflowError:
        return "a time that cannot be read"


def _arguments(entry: Entry) -> Iterator[tuple[str, str]]:
    """The arguments, from the payload only: what the contract redacts never went into it, and it can be erased."""
    if entry.erased:
        yield "arguments", "(erased)"
        return
    if entry.payload is None or entry.fact("tool") is None:
        return
    try:
        payload = from_canonical(entry.payload)
    except Exception:  # noqa: BLE001 - a damaged payload may raise anything; the rest of the story is still to be told
        yield "arguments", "(in a form that this release cannot read)"
        return
    args = payload.get("args") if isinstance(payload, dict) else None
    for name, value in args.items() if isinstance(args, dict) else ():
        yield f"arg {name}", _shown(value)


def _shown(value: Any) -> str:
    match value:
        case None:
            return "none"
        case str():
            return value
        case bool() | int() | float() | Decimal():
            return str(value).lower() if isinstance(value, bool) else str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return observed_bytes(value).decode()
