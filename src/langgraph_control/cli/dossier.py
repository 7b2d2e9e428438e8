"""A run as a document for an auditor: who asked, what was done, who said yes, what came of it, and by which rules.

Plain parts without any look: :mod:`langgraph_control.cli.as_markdown` and :mod:`langgraph_control.cli.as_html` write
them. Every text is as it was recorded, and is made safe where it is written.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from langgraph_control.audit.asking.searching import PolicyText
from langgraph_control.audit.names import approval_name
from langgraph_control.audit.trail.quoted import quoted
from langgraph_control.audit.trail.rebuilt import Asked, Change, Edited, Rebuilt, Voted
from langgraph_control.audit.trail.reconstruct import Story
from langgraph_control.audit.trail.timeline import duration_text
from langgraph_control.audit.trail.verify import Verification
from langgraph_control.guards.canonical import observed_bytes

__all__ = ["Document", "Pairs", "Part", "Section", "Table", "Verbatim", "dossier", "record_said"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Labels and texts.

    Args:
        rows: label and text.
    """

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under headings.

    Args:
        head: the headings.
        rows: each as long as the head.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verbatim:
    """A text that keeps its lines.

    Args:
        text: it.
    """

    text: str


Part = Pairs | Table | Verbatim


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Parts under a title.

    Args:
        title: the title; "" for more of the section before.
        parts: in order; those without rows are left out.
        level: 2 for a chapter, 3 below one.
    """

    title: str
    parts: tuple[Part, ...]
    level: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole document.

    Args:
        title: what it is about.
        sections: in order.
    """

    title: str
    sections: tuple[Section, ...]


NOTHING: Final = "(not there)"


def dossier(
    name: str,
    told: Rebuilt,
    story: Story,
    *,
    policies: Sequence[PolicyText],
    verified: Verification | None,
) -> Document:
    """Return a run as a document.

    Args:
        name: the run's.
        told: it, put together from its entries.
        story: the same entries in their order.
        policies: texts of the policies that decided, as far as they are known.
        verified: whether its chain is whole; None where it was not looked at.
    """
    return Document(
        title=f"Run {name}",
        sections=(
            Section(title="What it was", parts=(_whose(told, story, verified),)),
            *_changes(told),
            *_requests(told),
            Section(title="What it looked at", parts=(_reads(told),)),
            Section(title="When it stood still", parts=(_stops(told),)),
            Section(title="Who drove it", parts=(_drives(told),)),
            Section(title="Entry by entry", parts=(_timeline(story),)),
            *_policies(story, policies),
        ),
    )


def _whose(told: Rebuilt, story: Story, verified: Verification | None) -> Pairs:
    rows = (
        ("Trigger", told.trigger),
        ("Intent", told.intent),
        ("Asked by", told.actor),
        ("On behalf of", told.on_behalf_of),
        ("Graph", told.graph),
        ("Thread", told.thread),
        ("Stands at", f"{told.state}: {told.reason}" if told.reason else told.state),
        ("Decided by", ", ".join(story.people)),
        ("Record", record_said(told, verified)),
    )
    return Pairs(rows=tuple((label, text) for label, text in rows if text))


def record_said(told: Rebuilt, verified: Verification | None) -> str:
    """Return in words whether a run's record is whole.

    Args:
        told: the run, put together from its entries.
        verified: what was found; None where nobody looked.
    """
    if verified is None:
        return "not checked"
    if not verified.ok:
        return f"TAMPERED WITH: {verified.broken}"
    whole = f"whole: {verified.entries} entries, their chain of hashes recomputed"
    if verified.erased:
        whole += f"; {verified.erased} payloads erased"
    return whole if told.counted is None else f"{whole}; its end counts {told.counted}"


def _changes(told: Rebuilt) -> Iterator[Section]:
    if not told.changes:
        yield Section(title="What it changed", parts=(Pairs(rows=(("Writes", "none was asked for"),)),))
        return
    yield Section(title="What it changed", parts=())
    for number, change in enumerate(told.changes, start=1):
        what = f"{number}. {change.tool}" + (f", {change.target}" if change.target else "")
        rows = [
            ("Came to", _came_to(change)),
            ("System", change.system),
            ("Impact", change.impact),
            ("Kind of effect", change.kind),
            ("Saga", change.saga),
            ("Takes back", change.undoes),
            ("Key", change.key),
            ("Request", None if change.approval is None else approval_name(change.approval)),
            ("Payload", "erased" if change.erased else None),
        ]
        yield Section(
            title=what,
            level=3,
            parts=(
                Pairs(rows=tuple((label, text) for label, text in rows if text)),
                Table(head=("Argument", "Value"), rows=_values(change.arguments)),
                _diff(change),
                _decisions(change),
                _attempts(change),
                _later(change),
            ),
        )


def _came_to(change: Change) -> str:
    said = change.state or "no word of it"
    if any(attempt.confirmed == "verified" for attempt in change.attempts):
        said += ", read back and there"
    return said


def _values(values: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), _text(value)) for name, value in values.items()) if isinstance(values, Mapping) else ()


def _diff(change: Change) -> Table:
    """The record before it, and what it was to become."""
    before = change.before if isinstance(change.before, Mapping) else {}
    after = change.after if isinstance(change.after, Mapping) else {}
    rows = tuple(
        (
            str(field),
            _text(before[field]) if field in before else NOTHING,
            _text(after[field]) if field in after else "",
        )
        for field in dict.fromkeys((*before, *after))
    )
    return Table(head=("Field of the record", "Before", "Was to become"), rows=rows)


def _decisions(change: Change) -> Table:
    return Table(
        head=("Entry", "When", "Decision", "What followed", "Because", "Signals", "Policy"),
        rows=tuple(
            (
                str(one.seq),
                _moment(one.at),
                one.verb + (f" (observed only: {one.observed})" if one.observed else ""),
                one.answer + (f": {one.reason}" if one.reason else ""),
                "; ".join((*one.reasons, *([f"asked: {one.question}"] if one.question else []))),
                "; ".join(one.signals),
                (one.policy or "")[:12],
            )
            for one in change.decisions
        ),
    )


def _attempts(change: Change) -> Table:
    return Table(
        head=("Attempt", "Began", "Took", "Came to", "Read back", "Why"),
        rows=tuple(
            (
                str(one.number),
                _moment(one.at),
                "" if one.until is None else duration_text(one.until - one.at),
                one.outcome or "nothing was heard",
                one.confirmed,
                ": ".join(text for text in (one.error, one.why) if text),
            )
            for one in change.attempts
        ),
    )


def _later(change: Change) -> Table:
    rows = [
        (one.at, f"{'reading back' if one.answer == 'settled' else one.answer}: {one.outcome}", one.left)
        for one in change.later
    ]
    for word in change.resolutions:
        said = f"{word.person} says: {word.verdict}" + (f' ("{word.comment}")' if word.comment else "")
        rows.append((word.at, said if word.counted else f"{said}; it does not count: {word.reason}", ""))
    return Table(
        head=("When", "What was found out", "It stood at"),
        rows=tuple((_moment(at), said, left) for at, said, left in sorted(rows, key=lambda row: row[0])),
    )


def _requests(told: Rebuilt) -> Iterator[Section]:
    if told.requests:
        yield Section(title="What people were asked", parts=())
    for asked in told.requests:
        rows = [
            ("Tool", asked.tool),
            ("Asked", "by another run" if asked.since is None else _moment(asked.since)),
            ("Came to", asked.outcome or "open"),
            ("Decided", "" if asked.until is None else _moment(asked.until)),
            ("Put to others", "yes" if asked.escalated else ""),
            ("Digest", asked.digest),
        ]
        yield Section(
            title=approval_name(asked.approval),
            level=3,
            parts=(Pairs(rows=tuple((label, text) for label, text in rows if text)), _votes(asked)),
        )


def _votes(asked: Asked) -> Table:
    votes = [
        (vote.at, vote.person, ", ".join(vote.roles), vote.decision, _counts(vote), vote.comment or "")
        for vote in asked.votes
    ]
    for edit in asked.edits:
        said = ", ".join(f"{name}={quoted(value)}" for name, value in edit.changes.items())
        problem = edit.problem if edit.counted else edit.reason
        counts = f"no: {problem}" if problem else _yes(edit)
        roles = ", ".join(edit.roles)
        votes.append((edit.at, edit.person, roles, f"edit: {said}" if said else "edit", counts, edit.comment or ""))
    return Table(
        head=("When", "Who", "In the roles", "Said", "Counts", "Comment"),
        rows=tuple((_moment(at), *rest) for at, *rest in sorted(votes, key=lambda vote: vote[0])),
    )


def _counts(vote: Voted) -> str:
    return _yes(vote) if vote.counted else f"no: {vote.reason}"


def _yes(word: Voted | Edited) -> str:
    return f"yes, for {word.delegator}" if word.delegator else "yes"


def _reads(told: Rebuilt) -> Table:
    return Table(
        head=("When", "Tool", "Record", "Answer"),
        rows=tuple(
            (
                _moment(one.at),
                one.tool,
                one.target or "",
                "a fallback" if one.fallback else "answered" if one.answered else "none",
            )
            for one in told.reads
        ),
    )


def _stops(told: Rebuilt) -> Table:
    return Table(
        head=("Since", "State", "Why", "For"),
        rows=tuple(
            (
                _moment(one.since),
                one.state,
                one.reason,
                "" if one.until is None else duration_text(one.until - one.since),
            )
            for one in told.stops
        ),
    )


def _drives(told: Rebuilt) -> Table:
    return Table(
        head=("Since", "Worker", "Token", "Policy"),
        rows=tuple((_moment(one.at), one.worker, str(one.token), (one.policy or "")[:12]) for one in told.drives),
    )


def _timeline(story: Story) -> Table:
    return Table(
        head=("Entry", "When", "Who", "What", "Why"),
        rows=tuple((str(step.seq), _moment(step.at), step.who, step.what, "; ".join(step.why)) for step in story.steps),
    )


def _policies(story: Story, policies: Sequence[PolicyText]) -> Iterator[Section]:
    known = {policy.hash: policy for policy in policies}
    for digest in story.policies:
        policy = known.get(digest)
        said = Pairs(rows=(("Text", "not on record"),)) if policy is None else Verbatim(text=policy.body)
        yield Section(title=f"The policy {digest[:12]}", parts=(Pairs(rows=(("Hash", digest),)), said))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return observed_bytes(value).decode(errors="replace")


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
