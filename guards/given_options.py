"""What a caller gives beside a word or a question: options that there are, and how much is to be listed. Pure."""

from collections.abc import Collection, Iterable
from typing import Final

from langgraph_control.errors import ArgumentError
from langgraph_control.guards.policy_words import did_you_mean
from langgraph_control.guards.spoken_texts import NOTHING_SENT

__all__ = ["LIMIT_MAX", "check_limit", "check_options"]

LIMIT_MAX: Final = 1_000_000
"""Of what is listed at once: more than anybody reads, and a number that Postgres takes."""


def check_limit(limit: object, *, at: str = "limit") -> None:
    """Refuse what is no number of things to list.

    Args:
        limit: as given.
        at: what the field is called in an error.

    Raises:
        ArgumentError: ``limit_invalid``.
    """
    if isinstance(limit, int) and not isinstance(limit, bool) and 0 < limit <= LIMIT_MAX:
        return
    kind = str(limit) if type(limit) is int else f"a value of type {type(limit).__name__}"
    raise ArgumentError(
        f"{at}: {kind}, where a whole number from 1 to {LIMIT_MAX:,} is needed.",
        safe=NOTHING_SENT,
        todo="Write how many are to be listed at most.",
        code="limit_invalid",
    )


def check_options(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse options that nothing reads: a misspelt ``comment=`` would be a word without its reason.

    Args:
        given: the options' names.
        known: those that mean something.

    Raises:
        ArgumentError: ``option_unknown``.
    """
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise ArgumentError(
            f"There is no option {unknown!r}; {did_you_mean(unknown, sorted(known))}",
            safe=NOTHING_SENT,
            todo="Write the option's name as its documentation does.",
            code="option_unknown",
        )
