"""What the tests of all clients ask: is the verdict the table's, and is it true of what the other side saw?"""

from datetime import UTC, datetime
from typing import Final

from langgraph_control.guards.classification import classify
from langgraph_control.guards.failures import Failure, Sent, Verdict
from langgraph_control.guards.lifecycle import Kind

NOW: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OUTSIDE: Final = (Kind.KEYED, Kind.VERIFIED, Kind.BLIND)  # kinds whose effect is not in our own transaction


def judged(error: BaseException, *, saw_something: bool, was_answered: bool) -> Failure:
    """Classify what a write met, and hold the verdict against what the other side knows.

    Args:
        error: what the client raised.
        saw_something: a byte of a request arrived.
        was_answered: the other side answered, and knows what it did.
    """
    found = classify(error, kind=Kind.BLIND, now=NOW)
    if saw_something:
        assert found.sent is not Sent.NO, "the client says that nothing was sent, and something came"
        assert was_answered or found.verdict is Verdict.UNKNOWN, (
            "something came, nobody answered, and it is called undone"
        )
    for kind in OUTSIDE:
        assert classify(error, kind=kind, now=NOW) == found, "a first attempt is judged alike for every kind"
    assert classify(error, kind=None, now=NOW).verdict == f"not_done_{found.fault}", "a read is never unknown"
    return found
