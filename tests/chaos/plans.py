"""What each run is to do: drawn from a seed before anything starts, so that one seed is one set of runs."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

import orjson

TOOLS: Final = ("refund", "post_note", "send_email", "book", "move")
"""One tool of each kind of effect: verified, keyed, blind, transaction; and one that runs a saga of three of them."""

BACK: Final = "-back"
"""Behind the target of what a saga did: the target of what takes it back."""

LIMIT_CENTS: Final = 10_000  # the policy's: more has to be approved
SOON_CENTS: Final = 50_000  # and more than this within seconds

_WEIGHTS: Final = (5, 4, 2, 4, 2)
STEPS_MAX: Final = 3
CALLS_MAX: Final = 3
_NEEDS_APPROVAL: Final = 0.25
_REJECTED: Final = 0.25
_UNANSWERED: Final = 0.3  # of those that expire soon
_EXPIRING: Final = "urgent-"
_LOCKED: Final = 0.06
_SAGA_FAILS: Final = 0.5
_TWIN: Final = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCall:
    """One write that the model asks for.

    Args:
        tool: one of :data:`TOOLS`.
        target: the business identity: order, feed, recipient or account. No other call of any intent has it.
        cents: refunds only.
        locked: refunds, and the last step of a saga, which is one: the order takes no changes.
    """

    tool: str
    target: str
    cents: int = 0
    locked: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """A saga's targets, step by step: a note, a booking, a refund. Of any other call its own."""
        return tuple(f"{self.target}-{step}" for step in "abc") if self.tool == "move" else (self.target,)

    @property
    def targets(self) -> tuple[str, ...]:
        """Every target that the call may come to, with what takes back."""
        return (*self.parts, *(f"{part}{BACK}" for part in self.parts[:-1]))

    @property
    def needs_approval(self) -> bool:
        """Whether the policy asks a person."""
        return self.tool == "refund" and self.cents > LIMIT_CENTS

    @property
    def must_not_happen(self) -> bool:
        """Whether a person says no, nobody says anything, or the system of record does."""
        return self.locked or (self.needs_approval and (rejected(self.target) or unanswered(self.target)))

    @property
    def arguments(self) -> Mapping[str, str]:
        """What the model writes, without its explanation."""
        if self.tool == "refund":
            return {"target": self.target, "amount": f"{self.cents // 100}.{self.cents % 100:02d}"}
        return {"target": self.target}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One delivery, and what is to come of it.

    Args:
        trigger: the delivery's id.
        intent: the business request; two deliveries may share one.
        steps: what the model asks for, one AI message each.
    """

    trigger: str
    intent: str
    steps: tuple[tuple[PlannedCall, ...], ...]

    @property
    def calls(self) -> tuple[PlannedCall, ...]:
        """All of them."""
        return tuple(call for step in self.steps for call in step)

    @property
    def message(self) -> str:
        """The user's message, from which the model of any process knows what to ask for."""
        return orjson.dumps(
            [[{"tool": call.tool, "arguments": dict(call.arguments)} for call in step] for step in self.steps]
        ).decode()


def jobs(dice: random.Random, *, steps_max: int = STEPS_MAX, calls_max: int = CALLS_MAX) -> Iterator[Job]:
    """Draw jobs without end; a few are second deliveries about the request before them.

    Args:
        dice: seeded.
        steps_max: messages in which the model asks for something.
        calls_max: what it asks for in one of them.
    """
    last: Job | None = None
    for number in count(1):
        if last is not None and dice.random() < _TWIN:
            yield Job(trigger=f"mail/{number}", intent=last.intent, steps=last.steps)
            last = None
            continue
        steps = tuple(
            tuple(_call(dice, f"{number}-{step}-{place}") for place in range(dice.randint(1, calls_max)))
            for step in range(dice.randint(1, steps_max))
        )
        last = Job(trigger=f"ticket/{number}", intent=f"request/{number}", steps=steps)
        yield last


def rejected(target: str) -> bool:
    """Whether the approvers say no to this one: the voter and the judge both know it from the target alone."""
    return random.Random(target).random() < _REJECTED


def unanswered(target: str) -> bool:
    """Whether the approvers leave a request about this one alone, until it expires: known as :func:`rejected` is."""
    return target.startswith(_EXPIRING) and random.Random(target).random() >= 1 - _UNANSWERED


def _call(dice: random.Random, name: str) -> PlannedCall:
    tool = dice.choices(TOOLS, _WEIGHTS)[0]
    if tool == "move":
        return PlannedCall(tool=tool, target=f"move-{name}", locked=dice.random() < _SAGA_FAILS)
    if tool != "refund":
        return PlannedCall(tool=tool, target=f"{tool}-{name}")
    large = dice.random() < _NEEDS_APPROVAL
    cents = dice.randint(LIMIT_CENTS + 1, 100_000) if large else dice.randint(1, LIMIT_CENTS)
    target = f"{_EXPIRING if cents > SOON_CENTS else 'order-'}{name}"
    return PlannedCall(tool=tool, target=target, cents=cents, locked=dice.random() < _LOCKED)
