"""A run put together again from its entries alone: what was asked, decided, approved, tried and waited for. Pure.

:mod:`langgraph_control.audit.trail.reconstruct` tells the same entries in their order; this groups them by what they
are about.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from langgraph_control.audit.trail.entries import ENDED_EARLY, Entry
from langgraph_control.audit.trail.follows import next_state
from langgraph_control.audit.trail.rebuilt import (
    Asked,
    Attempt,
    Change,
    Decided,
    Drive,
    Edited,
    Late,
    Looked,
    Rebuilt,
    Resolved,
    Stopped,
    Voted,
)
from langgraph_control.guards.canonical import from_canonical
from langgraph_control.guards.told_signals import signal_texts

__all__ = ["rebuild"]


def rebuild(entries: Iterable[Entry]) -> Rebuilt:
    """Put a run together from its entries.

    Args:
        entries: the run's, in order.
    """
    building = _Building()
    for entry in entries:
        building.take(entry)
    return building.whole()


_REQUEST_ENDS: Final = ("granted", "denied", "expired", "superseded", "withdrawn")
_NOTHING_SHOWN: Final = hashlib.sha256(b"").hexdigest()
_READ_BACK: Final = frozenset({"found", "absent", "undetermined"})


@dataclass(slots=True)
class _Building:
    count: int = 0
    whose: dict[str, Any] = field(default_factory=dict)
    drives: list[Drive] = field(default_factory=list)
    changes: dict[str, Change] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    stops: list[Stopped] = field(default_factory=list)
    reads: list[Looked] = field(default_factory=list)
    state: str = ""
    reason: str = ""
    counted: int | None = None

    def take(self, entry: Entry) -> None:
        self.count += 1
        if {"run.started", "run.resumed"} & set(entry.events):
            self._drive(entry)
        elif {"wait.started", "run.finished"} & set(entry.events):
            self._stop(entry)
        elif entry.fact("kind") == "read":
            self._look(entry)
        self._request(entry)
        key = entry.fact("key")
        if key is not None and "run.fenced" not in entry.events:
            self._change(key, entry)
        if ENDED_EARLY & set(entry.events):
            for name, known in self.changes.items():
                self.changes[name] = replace(known, state=next_state((known.state, known.approval), entry, name)[0])

    def whole(self) -> Rebuilt:
        return Rebuilt(
            entries=self.count,
            counted=self.counted,
            state=self.state,
            reason=self.reason,
            drives=tuple(self.drives),
            changes=tuple(self.changes.values()),
            requests=tuple(self.asked.values()),
            stops=tuple(self.stops),
            reads=tuple(self.reads),
            **{
                name: self.whose.get(name) for name in ("trigger", "intent", "actor", "on_behalf_of", "graph", "thread")
            },
        )

    # --- the run itself ---

    def _drive(self, entry: Entry) -> None:
        if "run.started" in entry.events:
            said = {
                "trigger": entry.said("why", "trigger"),
                "intent": entry.said("why", "intent"),
                "actor": entry.said("who", "actor"),
                "on_behalf_of": entry.said("who", "on_behalf_of"),
                "graph": entry.said("where", "graph"),
                "thread": entry.said("where", "thread_id"),
            }
            self.whose = {name: entry.fact(name) or value for name, value in said.items()}
        token = entry.facts.get("token")
        self.drives.append(
            Drive(
                at=entry.at,
                token=token if isinstance(token, int) else -1,
                worker=entry.said("where", "worker") or entry.fact("holder") or "",
                policy=entry.said("policy"),
            )
        )
        self.state, self.reason = "running", ""
        self._go_on(entry.at)

    def _stop(self, entry: Entry) -> None:
        self.state, self.reason = entry.fact("state") or "", entry.fact("reason") or ""
        if "run.finished" in entry.events:
            counted = entry.facts.get("entries")
            self.counted = counted if isinstance(counted, int) else None
            return
        self.stops.append(Stopped(since=entry.at, state=self.state, reason=self.reason, until=None))

    def _go_on(self, at: datetime) -> None:
        if self.stops and self.stops[-1].until is None:
            self.stops[-1] = replace(self.stops[-1], until=at)

    def _look(self, entry: Entry) -> None:
        self.reads.append(
            Looked(
                at=entry.at,
                tool=entry.fact("tool") or "",
                target=entry.said("target"),
                answered="action.succeeded" in entry.events,
                fallback=entry.facts.get("fallback") is True,
            )
        )

    # --- requests and what people said ---

    def _request(self, entry: Entry) -> None:
        name = entry.fact("approval")
        if name is None:
            return
        claimed = entry.fact("verb") is not None
        if claimed and "approval.requested" in entry.events:
            self._replaced(entry)
            self.asked[name] = Asked(
                approval=name,
                key=entry.fact("key") or "",
                tool=entry.fact("tool") or "",
                digest=entry.fact("digest") or "",
                since=entry.at,
                cards=_cards(entry),
            )
            return
        known = self.asked.get(name) or Asked(
            approval=name, key=entry.fact("key") or "", tool=entry.fact("tool") or "", digest=entry.fact("digest") or ""
        )
        ended = next((word for word in _REQUEST_ENDS if f"approval.{word}" in entry.events), None)
        if claimed and ended is None and "action.attempt_started" in entry.events:
            ended = "used"
        if "approval.escalated" in entry.events:
            known = replace(known, escalated=True)
        if ended is not None:
            known = replace(known, outcome=ended, until=entry.at)
        self.asked[name] = known if claimed else _with_word(known, entry)

    def _replaced(self, entry: Entry) -> None:
        """The claim names the new request; the one before it is known by its action."""
        ended = next((word for word in _REQUEST_ENDS if f"approval.{word}" in entry.events), None)
        for name, known in self.asked.items():
            if ended is not None and known.key == entry.fact("key") and known.outcome in {"", "granted"}:
                self.asked[name] = replace(known, outcome=ended, until=entry.at)

    # --- changes ---

    def _change(self, key: str, entry: Entry) -> None:
        known = self.changes.get(key) or Change(key=key, tool=entry.fact("tool") or "")
        state, approval = next_state((known.state, known.approval), entry, key)
        known = replace(known, state=state, approval=approval)
        if entry.fact("verb") is not None:
            known = _claimed(known, entry)
        elif entry.fact("outcome") is not None:
            known = _settled(known, entry)
        elif {"action.resolved", "action.resolution_refused"} & set(entry.events):
            known = replace(known, resolutions=(*known.resolutions, _resolved(entry)))
        self.changes[key] = known


def _with_word(known: Asked, entry: Entry) -> Asked:
    person, decision = entry.fact("person"), entry.fact("decision")
    if "approval.edited" in entry.events or (decision == "edit" and "approval.refused" in entry.events):
        made = Edited(
            at=entry.at,
            person=person or "",
            roles=_roles(entry),
            delegator=entry.fact("delegator"),
            counted="approval.edited" in entry.events,
            reason=entry.fact("reason"),
            changes=_json(entry.payload),
            comment=entry.fact("comment"),
        )
        return replace(known, edits=(*known.edits, made))
    if "approval.edit_refused" in entry.events:
        return replace(known, edits=_with_problem(known.edits, person, entry.fact("reason") or "nobody says why"))
    if decision is None:
        return known
    vote = Voted(
        at=entry.at,
        person=person or "",
        roles=_roles(entry),
        decision=decision,
        counted="approval.refused" not in entry.events,
        reason=entry.fact("reason"),
        comment=entry.fact("comment"),
        delegator=entry.fact("delegator"),
    )
    known = replace(known, votes=(*known.votes, vote), cards=known.cards | _cards(entry))
    if decision == "withdraw" and vote.counted and entry.fact("answer") == "open":
        return replace(known, outcome="", until=None)  # what was granted by it is open again
    return known


def _roles(entry: Entry) -> tuple[str, ...]:
    roles = entry.facts.get("roles")
    return tuple(str(role) for role in roles) if isinstance(roles, list) else ()


def _with_problem(edits: tuple[Edited, ...], person: str | None, problem: str) -> tuple[Edited, ...]:
    """The newest edit of that person's that nothing is said about is the one that the run took up."""
    for place in reversed(range(len(edits))):
        one = edits[place]
        if one.counted and one.problem is None and one.person == (person or ""):
            return (*edits[:place], replace(one, problem=problem), *edits[place + 1 :])
    return edits


def _cards(entry: Entry) -> frozenset[str]:
    card = entry.fact("card")
    return frozenset() if card is None or card == _NOTHING_SHOWN else frozenset({card})


def _claimed(known: Change, entry: Entry) -> Change:
    facts, args, before, after = entry.facts, known.arguments, known.before, known.after
    payload = _json(entry.payload)
    if isinstance(payload.get("args"), Mapping):
        args, before, after = payload["args"], payload.get("before"), payload.get("after")
    decision = Decided(
        seq=entry.seq,
        at=entry.at,
        verb=entry.fact("verb") or "",
        answer=entry.fact("answer") or "",
        reason=entry.fact("reason"),
        reasons=entry.said_list("reasons"),
        rules=entry.said_list("rules"),
        signals=tuple(signal_texts(entry.body.get("signals"))),
        policy=entry.said("policy"),
        digest=entry.fact("digest"),
        observed=entry.said("observed"),
        question=entry.said("question"),
    )
    known = replace(
        known,
        tool=entry.fact("tool") or known.tool,
        system=entry.said("system") or known.system,
        impact=entry.said("impact") or known.impact,
        target=entry.said("target") or known.target,
        kind=entry.fact("kind") or known.kind,
        saga=entry.fact("saga") or known.saga,
        undoes=entry.fact("undoes") or known.undoes,
        erased=known.erased or entry.erased,
        arguments=args,
        before=before,
        after=after,
        decisions=(*known.decisions, decision),
    )
    if "action.attempt_started" not in entry.events:
        return known
    number = facts.get("attempts")
    began = Attempt(
        attempt=entry.fact("attempt") or "",
        number=number if isinstance(number, int) else 0,
        at=entry.at,
        digest=entry.fact("digest"),
        arguments=args,
    )
    return replace(known, attempts=(*known.attempts, began))


def _settled(known: Change, entry: Entry) -> Change:
    attempt, outcome = entry.fact("attempt"), entry.fact("outcome") or ""
    late = entry.fact("answer") in {"late", "contradiction"}
    if outcome in _READ_BACK or late:
        answer, left = entry.fact("answer") or "", entry.fact("state") or ""
        word = Late(at=entry.at, attempt=attempt or "", outcome=outcome, answer=answer, left=left)
        return replace(known, later=(*known.later, word))
    said = next((word for word in ("verified", "mismatch") if f"effect.{word}" in entry.events), "")
    ended = tuple(
        replace(
            one,
            outcome=outcome,
            until=entry.at,
            confirmed=said,
            why=entry.said("why"),
            error=entry.said("error"),
            left=entry.fact("state") or "",
        )
        if one.attempt == attempt
        else one
        for one in known.attempts
    )
    return replace(known, attempts=ended)


def _resolved(entry: Entry) -> Resolved:
    return Resolved(
        at=entry.at,
        person=entry.fact("person") or "",
        verdict=entry.fact("verdict") or "",
        counted="action.resolved" in entry.events,
        reason=entry.fact("reason"),
        comment=entry.fact("comment"),
    )


def _json(payload: bytes | None) -> Mapping[str, Any]:
    try:
        value = from_canonical(payload) if payload is not None else {}
    except Exception:  # noqa: BLE001 - a damaged payload may raise anything; the rest of the run is still there
        return {}
    return value if isinstance(value, Mapping) else {}
