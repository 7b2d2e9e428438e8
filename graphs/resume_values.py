"""What the value of a ``Command(resume=…)`` says about what a thread waits for. Pure; nothing it says has authority.

Understood are a decision of ours (``{"decision": "approve", "digest": "…"}``, or ``edit`` with ``"changes": {…}``),
LangChain's review answers (``{"decisions": [{"type": "approve"}]}``, or ``edit`` with ``edited_action``) and Agent
Inbox's (``[{"type": "accept"}]``, or ``edit`` with ``args``), plain or by interrupt id.
A decision is about the request whose digest it names, and whose name, if it gives one (``"approval": "apr_…"``): two
runs may ask for the same change. Its place in a list says nothing: places shift.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from langgraph_control.audit.asking.attempts import Ignored
from langgraph_control.graphs.advance import Thread
from langgraph_control.guards.spoken_texts import COMMENT_CHARS_MAX, storable

__all__ = ["Decision", "Said", "Word", "read_resume"]

Decision: TypeAlias = Literal["approve", "edit", "reject"]

WORDS_MAX: Final = 50
"""At most so many decisions of one resume are looked at; the rest is left out."""

_DECISIONS: Final = MappingProxyType(
    {"approve": "approve", "accept": "approve", "edit": "edit", "reject": "reject", "ignore": "reject"}
)
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_INTERRUPT: Final = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One thing that a resume says about our requests.

    Args:
        approval: the request it is said about, ``apr_…``; "" where that is not known.
        decision: yes, no, or other arguments; None where it says none of them.
        digest: the digest it names; "" for none.
        tool: of an edit: whose call it changes; None where it does not say.
        arguments: of an edit: the call's arguments as they should be, all of them or some.
        comment: why, as the sender says.
        ignored: why it decides nothing, as far as the value itself shows that; None where it may be a vote.
    """

    approval: str = ""
    decision: Decision | None = None
    digest: str = ""
    tool: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    comment: str | None = field(default=None, repr=False)
    ignored: Ignored | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a resume says.

    Args:
        words: about our requests.
        answers: to the user's own questions, by interrupt id.
    """

    words: tuple[Word, ...] = ()
    answers: Mapping[str, Any] = field(default_factory=dict, repr=False)


def read_resume(value: object, thread: Thread) -> Said:
    """Return what a resume's value says.

    Args:
        value: as it came.
        thread: what waits.
    """
    by_id = _by_id(value)
    if by_id is None:
        if len(thread.questions) == 1 and not thread.parked:
            return Said(answers=dict.fromkeys(thread.questions, value))
        words = tuple(_plain(value, thread))
        return Said(words=words[:WORDS_MAX] or (Word(approval=_only(thread), ignored=Ignored.NO_DECISION),))
    words = tuple(
        word for name, said in by_id.items() if name not in thread.questions for word in _of(name, said, thread)
    )
    answers = {name: said for name, said in by_id.items() if name in thread.questions}
    return Said(words=words[:WORDS_MAX], answers=answers)


def _by_id(value: object) -> Mapping[str, Any] | None:
    """The value as LangGraph takes it for a map of interrupt ids; None where it does not."""
    if not isinstance(value, Mapping) or not value:
        return None
    known = all(isinstance(name, str) and _INTERRUPT.fullmatch(name) for name in value)
    return value if known else None


def _of(interrupt: str, said: object, thread: Thread) -> Iterator[Word]:
    """What is said to one interrupt: one decision, about what is asked there."""
    card = thread.parked.get(interrupt)
    if card is None:
        yield Word(ignored=Ignored.NOT_PENDING)
        return
    items = list(_items(said))
    word = _word(items[0]) if len(items) == 1 else Word(ignored=Ignored.NO_DECISION)
    named = items[0].get("approval") if items else None
    yield _about(word, card["approval"], named=named, otherwise=Ignored.NOT_PENDING)


def _plain(value: object, thread: Thread) -> Iterator[Word]:
    """What is said without an interrupt's id: each decision is about the request of its digest."""
    by_digest = {card["digest"]: card["approval"] for card in thread.parked.values() if card["approval"]}
    otherwise = Ignored.OTHER_DIGEST if by_digest else Ignored.NOT_PENDING
    for item in _items(value):
        word = _word(item)
        approval = by_digest.get(word.digest, _only(thread))
        yield _about(word, approval, named=item.get("approval"), otherwise=otherwise)


def _about(word: Word, approval: str, *, named: object, otherwise: Ignored) -> Word:
    """A word with the request it is about; where that is none, ``otherwise`` is why it decides nothing."""
    ignored = word.ignored or (None if approval else otherwise)
    if ignored is None and named not in (None, approval):
        ignored = Ignored.OTHER_REQUEST
    return replace(word, approval=approval, ignored=ignored)


def _only(thread: Thread) -> str:
    """The request that is asked about, if there is just one."""
    asked = {card["approval"] for card in thread.parked.values() if card["approval"]}
    return next(iter(asked)) if len(asked) == 1 else ""


def _items(value: object) -> Iterator[Mapping[str, Any]]:
    listed = value.get("decisions", [value]) if isinstance(value, Mapping) else value
    if isinstance(listed, list | tuple):
        yield from (item for item in listed[:WORDS_MAX] if isinstance(item, Mapping))


def _word(item: Mapping[str, Any]) -> Word:
    named = item.get("decision", item.get("type"))
    decision = _DECISIONS.get(named) if isinstance(named, str) else None
    digest, comment = item.get("digest"), item.get("comment", item.get("message"))
    if isinstance(comment, str) and not storable(comment):
        decision = comment = None  # what cannot be kept cannot be said: a decision without its reason is another one
    tool, arguments = _edited(item) if decision == "edit" else (None, {})
    return Word(
        tool=tool,
        arguments=arguments,
        decision=decision,  # type: ignore[arg-type]  # the mapping has no other words
        digest=digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else "",
        comment=comment[:COMMENT_CHARS_MAX] if isinstance(comment, str) and comment.strip() else None,
        ignored=_ignored(decision, digest),
    )


def _edited(item: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]]:
    """Whose call an edit changes, where it says that, and the arguments it should have."""
    action = item.get("edited_action", item.get("args"))
    if isinstance(action, Mapping):
        tool, arguments = action.get("name", action.get("action")), action.get("args")
    else:
        tool, arguments = None, item.get("changes")
    named = isinstance(arguments, Mapping) and all(isinstance(name, str) for name in arguments)
    return (tool if isinstance(tool, str) else None), (arguments if named else {})  # type: ignore[return-value]


def _ignored(decision: object, digest: object) -> Ignored | None:
    if decision is None:
        return Ignored.NO_DECISION
    return Ignored.DIGEST_MISSING if digest is None else None
