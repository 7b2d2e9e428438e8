"""Equal values have one form, different values have different ones, and nothing that is refused shows its value."""

import dataclasses
import json
import math
import unicodedata
from collections import OrderedDict, deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel

from langgraph_control.errors import ArgumentError
from langgraph_control.guards.canonical import (
    ABSENT,
    ARGUMENTS_BYTES_MAX,
    Opaque,
    canonical_bytes,
    from_canonical,
    identity_bytes,
    normalise,
    observed,
    observed_bytes,
    observed_identity_bytes,
    plain_bytes,
    refuse_money_floats,
)

TAG_LIKE = ["$float", "$int", "$decimal", "$", "$$", "$$float", "$opaque", "$number", "$absent"]

keys = st.text(max_size=6) | st.sampled_from(TAG_LIKE)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**80), max_value=2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(TAG_LIKE)
    | st.datetimes(
        min_value=datetime(2, 1, 1),  # noqa: DTZ001 - hypothesis wants naive bounds
        max_value=datetime(9998, 1, 1),  # noqa: DTZ001
        timezones=st.timezones(),
    )
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.binary(max_size=12)
    | st.just(ABSENT)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def typed(value: Any) -> Any:
    """Make equality see types: Python's own takes 1, 1.0, True and Decimal(1) for one."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return (type(value).__name__, value)


@given(values)
def test_canonical_bytes_lose_nothing(value: Any) -> None:
    """Reading canonical bytes back gives the plain value itself, so two different plain values never share bytes."""
    plain = normalise(value)
    assert typed(from_canonical(canonical_bytes(value))) == typed(plain)


@given(values)
def test_normalise_is_idempotent(value: Any) -> None:
    """A plain value is its own plain value."""
    plain = normalise(value)
    assert typed(normalise(plain)) == typed(plain)
    assert canonical_bytes(plain) == canonical_bytes(value)


@given(values)
def test_observing_what_is_regular_is_normalising_it(value: Any) -> None:
    """A record that could be an argument is written as an argument is."""
    assert typed(observed(value)) == typed(normalise(value))
    assert observed_bytes(value) == canonical_bytes(value)
    assert observed_identity_bytes(value) == identity_bytes(value)


@given(st.dictionaries(st.text(max_size=6), scalars, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_fields_does_not_count(fields: dict[str, Any], chance: Any) -> None:
    """Two objects with the same fields are one, however they were built."""
    try:
        plain = canonical_bytes(fields)
    except ArgumentError:  # two keys that are one text
        return
    shuffled = list(fields.items())
    chance.shuffle(shuffled)
    assert canonical_bytes(OrderedDict(shuffled)) == plain


@given(st.integers(min_value=-(2**70), max_value=2**70))
def test_equal_numbers_have_one_identity_whatever_their_type(number: int) -> None:
    """100, Decimal("100.00"), and 100.0 where a float can hold it, give one key."""
    forms = {identity_bytes(number), identity_bytes(Decimal(number)), identity_bytes(Decimal(f"{number}.00"))}
    if float(number) == number:
        forms.add(identity_bytes(float(number)))
    assert len(forms) == 1


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_two_floats_share_an_identity_only_when_equal(one: float, other: float) -> None:
    """Writing floats as decimals merges no two of them."""
    assert (identity_bytes(one) == identity_bytes(other)) == (one == other)


@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_two_decimals_share_a_form_only_when_equal(one: Decimal, other: Decimal) -> None:
    """Decimal forms follow Decimal equality exactly, for any exponent and any number of digits."""
    assert (canonical_bytes(one) == canonical_bytes(other)) == (one == other)
    assert (identity_bytes(one) == identity_bytes(other)) == (one == other)


@given(st.text())
def test_text_counts_in_nfc(text: str) -> None:
    """Composed and decomposed spellings of a text are one text."""
    assert canonical_bytes(unicodedata.normalize("NFD", text)) == canonical_bytes(unicodedata.normalize("NFC", text))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (True, 1),
        (False, 0),
        (False, None),
        ("1", 1),
        ("1.0", "1.00"),
        ("", None),
        ([], {}),
        ([[1]], [1]),
        ({"a": None}, {}),
        (b"a", "a"),
        (UUID(int=1), str(UUID(int=1))),
        (date(2026, 1, 1), "2026-01-01"),
        (0.1, 0.1 + 2**-55),
        (ABSENT, "ABSENT"),
        ({"$float": "1.5"}, 1.5),
        ({"$number": "1"}, 1),
    ],
)
def test_values_that_differ_have_different_identities(one: Any, other: Any) -> None:
    """What only looks alike is not merged."""
    assert identity_bytes(one) != identity_bytes(other)


class _Colour(Enum):
    RED = "red"


class _Level(IntEnum):
    HIGH = 3


class _Word(StrEnum):
    A = "a"


class _Line(BaseModel):
    amount: Decimal
    note: str | None = None


@dataclasses.dataclass
class _Row:
    amount: Decimal
    note: str | None = None


_Pair = namedtuple("_Pair", "a b")  # noqa: PYI024 - what older libraries pass


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((1, 2), [1, 2]),
        (_Pair(1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        (_Colour.RED, "red"),
        (_Level.HIGH, 3),
        (_Word.A, "a"),
        (_Line(amount=Decimal("1.50")), {"amount": Decimal("1.5"), "note": None}),
        (_Row(amount=Decimal("1.50")), {"amount": Decimal("1.5"), "note": None}),
        (AnyUrl("https://acme.example/a"), "https://acme.example/a"),
        (bytearray(b"a"), b"a"),
        (-0.0, 0.0),
        (Decimal("-0.00"), Decimal(0)),
        (Decimal("1E+2"), Decimal(100)),
    ],
)
def test_what_stands_for_what(value: Any, plain: Any) -> None:
    """Each accepted kind has the plain form that the module's text promises."""
    assert typed(normalise(value)) == typed(plain)


def test_a_moment_is_its_utc_instant() -> None:
    """The same instant in two zones is one value."""
    there = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert canonical_bytes(there) == canonical_bytes(datetime(2026, 1, 1, 10, tzinfo=UTC))
    assert canonical_bytes(there) == b'{"$datetime":"2026-01-01T10:00:00.000000+00:00"}'


def test_canonical_bytes_are_what_the_design_says() -> None:
    """Sorted keys; floats, big integers and decimals lifted; a user's own dollar keys escaped."""
    value = {"b": 12.5, "a": 2**53 + 1, "c": Decimal("12.50"), "$float": 2**53}
    assert canonical_bytes(value) == (
        b'{"$$float":9007199254740992,"a":{"$int":"9007199254740993"},"b":{"$float":"12.5"},"c":{"$decimal":"12.5"}}'
    )


def _cycle() -> list[Any]:
    inner: list[Any] = []
    inner.append({"again": inner})
    return inner


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def _unfolding() -> list[Any]:
    value: list[Any] = ["x"]
    for _ in range(40):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("value", "kind", "why"),
    [
        (math.nan, "float", "finite"),
        (-math.inf, "float", "finite"),
        (Decimal("NaN"), "Decimal", "finite"),
        (Decimal("1E+7000"), "Decimal", "exponent"),
        (10**1000, "int", "bits"),
        ("\ud800", "str", "UTF-8"),
        (datetime(2026, 1, 1), "datetime", "time zone"),  # noqa: DTZ001 - the point
        (time(1, tzinfo=UTC), "time", "time zone"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=2))), "datetime", "years"),
        (_cycle(), "list", "contains itself"),
        (_deep(65), "list", "deeper"),
        (_unfolding(), "list", "too many"),
        ({1: "a"}, "dict", "not text"),
        ({"\ud800": "a"}, "dict", "not text"),
        ({"\u00e9": 1, "e\u0301": 2}, "dict", "one text"),
        (Fraction(1, 3), "Fraction", "no canonical form"),
        (deque([1]), "deque", "no canonical form"),
        (object(), "object", "no canonical form"),
        (int, "type", "no canonical form"),
    ],
)
def test_refusals_name_field_and_type(value: Any, kind: str, why: str) -> None:
    """An argument without a canonical form is refused by field and type; as evidence it is kept or marked, stably."""
    with pytest.raises(ArgumentError) as refused:
        canonical_bytes({"lines": [0, {"x y": value}]})
    assert refused.value.code == "arguments_not_canonical"
    assert refused.value.what.startswith("arguments.lines[1].x y")
    assert f"a {kind} " in refused.value.what
    assert why in refused.value.what
    seen = observed({"x": value})
    assert json.loads(plain_bytes(seen))["x"] is not None
    assert observed_identity_bytes(from_canonical(plain_bytes(seen))) == observed_identity_bytes({"x": value})


def test_a_refusal_never_shows_the_value() -> None:
    """Neither a refused value nor its neighbours get into the error."""
    with pytest.raises(ArgumentError) as refused:
        normalise({"iban": "DE00SECRET", "when": datetime(1977, 5, 4)})  # noqa: DTZ001 - the point
    assert "SECRET" not in str(refused.value)
    assert "1977" not in str(refused.value)


def test_arguments_have_a_size_limit() -> None:
    """A call above 256 KiB is refused and told to pass a reference."""
    with pytest.raises(ArgumentError) as refused:
        canonical_bytes("x" * ARGUMENTS_BYTES_MAX)
    assert refused.value.code == "arguments_too_large"
    assert "reference" in refused.value.todo


def test_evidence_over_its_limit_is_its_size_and_hash() -> None:
    """A record too large for an entry is replaced by a commitment to it."""
    marked = from_canonical(observed_bytes({"x": "y" * 100}, bytes_max=50))
    assert isinstance(marked, Opaque)
    assert "sha256" in marked.why
    assert "yyy" not in marked.why


def test_evidence_that_breaks_while_it_is_read_is_marked() -> None:
    """A record whose own code raises is evidence of that, not a failure of the gate."""

    class Broken(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError("secret")

    assert observed(Broken(a=1)) == Opaque(kind="Broken", why="reading it raised RuntimeError")


def test_irregular_evidence_is_not_lost() -> None:
    """NaN, naive datetimes, odd keys and broken text come back from an entry as they were seen."""
    seen = {"n": -math.inf, "t": datetime(2026, 1, 1), "s": "\ud800", "d": {1: 2}}  # noqa: DTZ001 - the point
    assert from_canonical(observed_bytes(seen)) == {**seen, "d": [[1, 2]]}


def test_an_entry_of_a_newer_release_is_refused_with_a_remedy() -> None:
    """A stored form this release does not know is never taken for a user's object."""
    with pytest.raises(ArgumentError) as refused:
        from_canonical(b'{"$newer":1}')
    assert refused.value.code == "stored_form_unknown"


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"amount": 12.5}, "amount"),
        ({"amount": 12.0}, "amount"),
        ({"lines": [{"net": 1}, {"net": 1.5}]}, "lines[1].net"),
        ({"line": _Row(amount=Decimal(1), note=None), "fee": 0.5}, "fee"),
    ],
)
def test_a_float_where_money_is_declared_is_refused(arguments: dict[str, Any], where: str) -> None:
    """The error names the tool, the field and the remedy, not the amount."""
    with pytest.raises(ArgumentError) as refused:
        refuse_money_floats(arguments, tool="refund")
    assert refused.value.code == "money_is_float"
    assert refused.value.what == f"Tool refund: {where} is a float where money is declared."
    assert "Decimal" in refused.value.todo


def test_money_as_decimal_integer_or_text_passes() -> None:
    """Exact amounts pass, and free text is not looked at."""
    refuse_money_floats({"a": Decimal("12.5"), "b": 1250, "c": "12.50", "why": 1.5}, tool="refund", free_text=["why"])
