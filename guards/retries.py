"""When to try again. Retries are for availability, not for correctness: what failed is classified first."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

RETRY_AFTER_SECONDS_MAX: Final = 86_400.0
"""No server can ask for a longer pause than a day; a longer wait is a person's decision."""


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return the pause a Retry-After header asks for, in seconds from 0 to a day; None if absent or unreadable.

    Args:
        value: the header's value: delay-seconds or an HTTP-date (RFC 9110 section 10.2.3).
        now: the current time, with a zone.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        # Nine digits are thirty years, and more than enough to reach the bound.
        seconds = float(text) if len(text) < 10 else RETRY_AFTER_SECONDS_MAX  # noqa: PLR2004 - explained above
    else:
        try:
            moment = parsedate_to_datetime(text)
        except Exception:  # noqa: BLE001 - a server may write anything, and the parser raises more than ValueError at it
            return None
        # HTTP dates are in GMT; the obsolete asctime form does not say so.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - now).total_seconds()
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


def backoff_seconds(attempt: int, *, base: float, cap: float, unit_random: float) -> float:
    """Return the pause before the next try, from 0 to the cap: exponential, with full jitter. Never raises.

    It is reckoned where an effect has happened and is not on record yet. So what is out of range counts as the nearest
    that makes a pause.

    Full jitter spreads clients that failed together over the whole interval; see Marc Brooker, "Exponential Backoff And
    Jitter" (AWS Architecture Blog, 2015).

    Args:
        attempt: how many attempts have failed, from 1.
        base: the longest pause after the first failure, in seconds; one over ``cap`` counts as ``cap``.
        cap: the longest pause ever, in seconds.
        unit_random: a random number from 0 to 1, drawn by the caller.
    """
    # 2**64 times any sensible base is past any sensible cap; without a bound the power itself would overflow.
    doublings = min(max(attempt, 1) - 1, 64)
    longest = min(cap, min(base, cap) * 2.0**doublings)
    return max(0.0, min(max(0.0, unit_random), 1.0) * longest)
