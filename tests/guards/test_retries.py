"""When to try again: the pause a server asks for, and the one we take."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.retries import RETRY_AFTER_SECONDS_MAX, backoff_seconds, retry_after

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("999999999", RETRY_AFTER_SECONDS_MAX),
        ("9" * 5_000, RETRY_AFTER_SECONDS_MAX),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sunday, 01-Mar-26 12:00:30 GMT", 30.0),  # RFC 850, obsolete and still to be accepted
        ("Sun Mar  1 12:00:30 2026", 30.0),  # asctime, likewise
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Mon, 01 Mar 2027 12:00:00 GMT", RETRY_AFTER_SECONDS_MAX),
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2026 00:00:00 +99999999999999999999", None),
    ],
)
def test_retry_after_is_read_as_the_rfc_writes_it(value: str | None, seconds: float | None) -> None:
    """Delay-seconds and the three date forms of RFC 9110 are understood; a past date is now; nonsense is no pause."""
    assert retry_after(value, NOW) == seconds


digits = st.integers(0, 3).flatmap(lambda power: st.integers(-9, 10 ** (10**power // 10 + 1))).map(str)
dates = st.builds(
    "{}, {} {} {} {}:{}:{} {}{}".format,
    st.sampled_from(["Mon", "Sunday", ""]),
    digits,
    st.sampled_from(["Jan", "Feb", "Dec", "Foo", ""]),
    *(digits for _ in range(4)),
    st.sampled_from(["", "+", "-", "GMT"]),
    digits | st.just(""),
)
pieces = st.lists(digits | st.sampled_from(["Mon", ",", "Jan", ":", "::", "-", "+", "GMT", ".", "(", ")", " "])).map(
    "".join
)


@given(
    st.text()
    | dates
    | pieces
    | st.from_regex(r"\w{3}, \d{1,3} \w{3} -?\d{1,6} \d{1,3}:\d{1,3}(:\d{1,3})? [-+]?\w{1,9}")
)
def test_retry_after_never_raises_and_stays_in_bounds(value: str) -> None:
    """Whatever a server writes, the pause is absent or between nothing and a day."""
    seconds = retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_SECONDS_MAX


attempts = st.integers(min_value=1, max_value=10**6)
seconds_above_zero = st.floats(min_value=1e-3, max_value=1e6)
units = st.floats(min_value=0, max_value=1)


@given(attempts, seconds_above_zero, seconds_above_zero, units)
def test_backoff_stays_below_the_cap_and_its_exponential(attempt: int, one: float, two: float, unit: float) -> None:
    """A pause is never negative, never above the cap, never above base doubled with each failure."""
    base, cap = sorted((one, two))
    pause = backoff_seconds(attempt, base=base, cap=cap, unit_random=unit)
    assert 0 <= pause <= cap
    assert attempt > 40 or pause <= base * 2 ** (attempt - 1)


@given(attempts, seconds_above_zero, seconds_above_zero)
def test_backoff_grows_with_failures_and_uses_the_whole_interval(attempt: int, one: float, two: float) -> None:
    """The longest pause grows up to the cap, and the jitter is full: from nothing to all of it."""
    base, cap = sorted((one, two))
    longest = backoff_seconds(attempt, base=base, cap=cap, unit_random=1.0)
    assert longest <= backoff_seconds(attempt + 1, base=base, cap=cap, unit_random=1.0)
    assert backoff_seconds(attempt, base=base, cap=cap, unit_random=0.0) == 0
    assert backoff_seconds(attempt, base=base, cap=cap, unit_random=0.5) == pytest.approx(longest / 2)
    assert backoff_seconds(10**6, base=base, cap=cap, unit_random=1.0) == cap


@pytest.mark.parametrize(
    ("attempt", "base", "cap", "unit", "pause"),
    [(0, 1, 2, 0.5, 0.5), (1, 0, 2, 0.5, 0), (1, 3, 2, 0.5, 1), (1, 1, 2, 1.1, 1), (1, 1, 2, -0.1, 0)],
)
def test_backoff_takes_the_nearest_that_makes_a_pause(
    attempt: int, base: float, cap: float, unit: float, pause: float
) -> None:
    """Arguments out of range raise nothing, for an effect may wait for its settle: a base over the cap is the cap."""
    assert backoff_seconds(attempt, base=base, cap=cap, unit_random=unit) == pause


@given(
    st.integers(-10, 10**9),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(0, 1e308),
    st.floats(allow_nan=True, allow_infinity=True),
)
def test_a_pause_is_finite_whatever_it_is_made_of(attempt: int, base: float, cap: float, unit: float) -> None:
    """No number raises, and none makes a pause that is negative, endless or longer than the cap."""
    assert 0 <= backoff_seconds(attempt, base=base, cap=cap, unit_random=unit) <= cap
