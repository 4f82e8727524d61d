"""The arithmetic of what a study may use and what it has used."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.budget import Amount, Budget, Spent

# Whole numbers of tokens, and money in binary fractions, so that sums are exact in any order.
amounts = st.builds(
    Amount,
    calls=st.integers(0, 10**6),
    tokens=st.integers(0, 10**9).map(float),
    usd=st.integers(0, 10**6).map(lambda n: n / 1024),
)


@given(amounts, amounts, amounts)
def test_amounts_add_up_in_any_order(first: Amount, second: Amount, third: Amount) -> None:
    assert first + second == second + first
    assert (first + second) + third == first + (second + third)
    assert first + Amount() == first


@given(amounts, st.integers(0, 20))
def test_a_multiple_is_a_repeated_sum(amount: Amount, n: int) -> None:
    assert amount * n == sum([amount] * n, start=Amount())


def test_an_amount_in_numbers() -> None:
    work = Amount(calls=2, tokens=30.0, usd=0.5) * 3 + Amount(calls=1, tokens=5.0)
    assert work == Amount(calls=7, tokens=95.0, usd=1.5)


def test_a_budget_bounds_calls_and_attempts_and_nothing_else_unless_told() -> None:
    budget = Budget(calls=3, attempts=6)
    assert (budget.tokens, budget.usd, budget.seconds) == (None, None, None)


def test_tokens_are_those_read_and_those_written() -> None:
    assert Spent().tokens == 0
    assert Spent(prompt_tokens=30, completion_tokens=4, lost_tokens=100).tokens == 34


@pytest.mark.parametrize(
    ("spent", "told"),
    [
        (Spent(), {"calls": 0, "usd": 0.0, "seconds": 0.0, "failures": {}, "damaged": 0}),
        (
            Spent(calls=3, attempts=5, cached=2, usd=0.125, seconds=1.26, failures={"reset": 1, "429": 1}),
            {"calls": 3, "attempts": 5, "cached": 2, "usd": 0.125, "seconds": 1.3},
        ),
        (
            Spent(lost_in_flight=1, lost_tokens=40, lost_usd=0.5),
            {"lost_in_flight": 1, "lost_tokens": 40, "lost_usd": 0.5},
        ),
    ],
)
def test_what_was_spent_is_told_as_plain_data(spent: Spent, told: dict[str, Any]) -> None:
    figures = spent.to_dict()
    assert json.loads(json.dumps(figures)) == figures
    assert {name: figures[name] for name in told} == told


def test_reasons_of_failures_are_told_in_order() -> None:
    failures = Spent(failures={"time-out": 2, "429": 1, "reset": 3}).to_dict()["failures"]
    assert isinstance(failures, dict)
    assert list(failures.items()) == [("429", 1), ("reset", 3), ("time-out", 2)]
