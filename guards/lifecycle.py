"""The life of an action, as data: (state, event, kind) → state. SQL enforces the same; a test holds both equal."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Kind(StrEnum):
    """What is known of an effect after its answer is lost. Inferred from the contract's hooks."""

    TRANSACTION = "transaction"  # the effect is SQL on the ledger's own connection: it commits with its record
    KEYED = "keyed"  # the provider honours an idempotency key, for a stated time
    VERIFIED = "verified"  # the effect can be read back
    BLIND = "blind"  # none of these: at most once, unknown goes to a person


class State(StrEnum):
    """Where an action stands."""

    READY = "ready"  # nothing has been started, or what was started is provably undone: may be claimed
    NEEDS_APPROVAL = "needs_approval"  # waits for a grant of its digest
    EXECUTING = "executing"  # one attempt holds the lease
    UNKNOWN = "unknown"  # an attempt may have had its effect: verify before anything else
    VERIFYING = "verifying"  # one reader holds the lease to find out
    SUCCEEDED = "succeeded"  # done; the result is stored
    FAILED = "failed"  # provably not done, and not worth an unasked repeat
    DENIED = "denied"  # policy or people said no
    NEEDS_HUMAN = "needs_human"  # only a person can say what happened
    ABANDONED = "abandoned"  # a person closed it without knowing: it is not tried again


class Event(StrEnum):
    """What can happen to an action."""

    ASK = "ask"  # a claim needs a grant that is not there
    GRANT = "grant"  # the votes suffice
    WITHDRAW = "withdraw"  # the request is closed: nobody is to decide it any more
    DENY = "deny"  # policy said no, a person rejected, or the request expired
    START = "start"  # a claim goes through: an attempt begins
    SUCCEED = "succeed"  # the attempt is known to have had its effect
    NOT_DONE = "not_done"  # the attempt is provably without effect; trying again is reasonable
    FAIL = "fail"  # the attempt is provably without effect; trying again unasked is not reasonable
    LOSE = "lose"  # timeout, dropped connection, dead lease: nobody knows
    VERIFY = "verify"  # a reader begins to find out
    FOUND = "found"  # it happened
    ABSENT = "absent"  # it certainly did not happen
    UNDETERMINED = "undetermined"  # the reader could not tell
    CONTRADICT = "contradict"  # two sources disagree about what happened
    GIVE_UP = "give_up"  # attempts or time are used up, or it must not stay undone: from here on it is for a person
    PERSON_DONE = "person_done"  # a person says that it happened
    PERSON_UNDONE = "person_undone"  # a person says that it did not
    ABANDON = "abandon"  # a person closes it without knowing


BY_PEOPLE: Final = frozenset({Event.PERSON_DONE, Event.PERSON_UNDONE, Event.ABANDON})
"""Events that no program may cause."""


def _steps() -> dict[tuple[State, Event, Kind], State]:
    steps: dict[tuple[State, Event, Kind], State] = {}
    after_loss = {
        Kind.TRANSACTION: State.READY,  # an open transaction of a dead worker can never commit: its settle is refused
        Kind.KEYED: State.UNKNOWN,  # the same key again is safe, but only while the provider remembers it
        Kind.VERIFIED: State.UNKNOWN,
        Kind.BLIND: State.NEEDS_HUMAN,
    }
    for kind in Kind:
        for open_state in (State.READY, State.NEEDS_APPROVAL, State.FAILED, State.DENIED):
            steps[open_state, Event.ASK, kind] = State.NEEDS_APPROVAL
            steps[open_state, Event.DENY, kind] = State.DENIED
            steps[open_state, Event.START, kind] = State.EXECUTING
        steps[State.NEEDS_APPROVAL, Event.GRANT, kind] = State.READY
        steps[State.NEEDS_APPROVAL, Event.WITHDRAW, kind] = State.READY
        steps[State.EXECUTING, Event.SUCCEED, kind] = State.SUCCEEDED
        steps[State.EXECUTING, Event.NOT_DONE, kind] = State.READY
        steps[State.EXECUTING, Event.FAIL, kind] = State.FAILED
        steps[State.EXECUTING, Event.LOSE, kind] = after_loss[kind]
        for state in State:
            if state not in {State.NEEDS_APPROVAL, State.DENIED}:
                steps[state, Event.CONTRADICT, kind] = State.NEEDS_HUMAN
        for state in (State.READY, State.UNKNOWN, State.FAILED, State.DENIED):
            steps[state, Event.GIVE_UP, kind] = State.NEEDS_HUMAN
        steps[State.NEEDS_HUMAN, Event.PERSON_DONE, kind] = State.SUCCEEDED
        steps[State.NEEDS_HUMAN, Event.PERSON_UNDONE, kind] = State.READY
        steps[State.NEEDS_HUMAN, Event.ABANDON, kind] = State.ABANDONED
    steps[State.UNKNOWN, Event.START, Kind.KEYED] = State.EXECUTING
    verified = Kind.VERIFIED
    steps[State.UNKNOWN, Event.VERIFY, verified] = State.VERIFYING
    steps[State.VERIFYING, Event.VERIFY, verified] = State.VERIFYING  # a dead reader's lease is taken over
    steps[State.VERIFYING, Event.FOUND, verified] = State.SUCCEEDED
    steps[State.VERIFYING, Event.ABSENT, verified] = State.READY
    steps[State.VERIFYING, Event.UNDETERMINED, verified] = State.UNKNOWN
    return steps


STEPS: Final[Mapping[tuple[State, Event, Kind], State]] = MappingProxyType(_steps())


def step(state: State, event: Event, kind: Kind) -> State | None:
    """Return the next state, or None where the table has no such step.

    Args:
        state: where the action stands.
        event: what happened to it.
        kind: what is known of its effect after a lost answer.
    """
    return STEPS.get((state, event, kind))
