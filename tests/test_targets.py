"""Right answers in canonical form: one reading, or a mistake that says why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.numerals import find_number
from optimizer.targets import canonical_target, target_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("72", "72"),
        (" -0.50 ", "-0.5"),
        ("$1,200.50", "1200.5"),
        ("1 200,50 €", "1200.5"),
        ("0,123", "0.123"),
        ("12,5", "12.5"),
        ("85 %", "85"),
        ("5 apples", "5"),
        ("about 12 km", "12"),
        ("-3 °C", "-3"),
        ("−3 °C", "-3"),
        ("1e6", "1000000"),
        ("3 million", "3000000"),
        ("about $1.2 billion a year", "1200000000"),
        ("2.5k", "2500"),
        ("minus 3 °C", "-3"),
        ("3 + 4 = 7, so\n#### 7", "7"),
        (r"2 and 3 make \boxed{5}", "5"),
    ],
)
def test_a_number_with_its_unit_is_a_target(text: str, number: str) -> None:
    assert target_number(text) == canonical_target(text, "number", ()) == number


@pytest.mark.parametrize(
    "text",
    [
        "3/4",
        "12:30",
        "2024-01-05",
        "1'234.5",
        "5-7",
        "10^3",
        "v1.2.3",
        "3 or 4",
        "1,2,3",
        "2 x 3",
        "10²",
        "1 200 apples",
        "1 200 million",
        "7 minus 5",
        "(1.2 million)",
        "($5m)",
        "#### 3 or 4",
    ],
)
def test_what_could_be_read_as_several_numbers_is_no_target(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected (one|a) number, found"):
        target_number(text)


@pytest.mark.parametrize("text", ["", "none", "twelve", "1e400"])
def test_what_holds_no_number_is_no_target(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number, found"):
        target_number(text)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**40), 10**40))
def test_every_number_is_its_own_target(number: float) -> None:
    found = target_number(repr(number))
    assert float(found) == float(number)
    assert target_number(found) == find_number(found) == found
