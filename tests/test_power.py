"""What a test set can show, against sums by hand, published sample sizes and other libraries."""

import itertools
import math
import re
from collections.abc import Callable
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from optimizer.power import examples_needed, smallest_provable_difference
from optimizer.significance import mcnemar


def power_by_hand(n: int, share: float, gain: float) -> float:
    """Return how often b is found better: the sum over every outcome of n pairs."""
    win, loss = (share + gain) / 2, (share - gain) / 2
    return sum(
        comb(n, wins)
        * comb(n - wins, losses)
        * win**wins
        * loss**losses
        * (1 - win - loss) ** (n - wins - losses)
        for wins, losses in itertools.product(range(n + 1), repeat=2)
        if wins + losses <= n and wins > losses and mcnemar(wins, losses) < 0.05
    )


@pytest.mark.parametrize(("n", "share"), [(12, 0.5), (30, 0.15), (40, 0.4), (60, 0.0), (60, 0.15)])
def test_the_power_at_the_smallest_provable_difference_is_the_one_asked_for(n: int, share: float) -> None:
    gain = smallest_provable_difference(n, disagreement=share)
    assert power_by_hand(n, max(share, gain), gain) == pytest.approx(0.8, abs=1e-6)


def test_a_large_sample_agrees_with_the_formula_of_connett_1987() -> None:
    """d√n = 1.960·√s + 0.842·√(s - d²); the exact test needs a little more."""
    n, share = 20_000, 0.2
    d = smallest_provable_difference(n, disagreement=share)
    formula = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * math.sqrt(share / n)
    assert formula < d < 1.03 * formula


def test_three_examples_prove_nothing_and_six_only_the_greatest() -> None:
    assert smallest_provable_difference(3, disagreement=0.5) == 1.0
    assert smallest_provable_difference(5) == 1.0  # 2 × 0.5^5 is 0.06
    assert smallest_provable_difference(6) == pytest.approx(0.8 ** (1 / 6), abs=1e-9)


def test_no_disagreement_so_far_does_not_make_any_difference_provable() -> None:
    assert smallest_provable_difference(100, disagreement=0.0) > 0.06


def test_examples_in_groups_count_as_their_groups() -> None:
    alone = smallest_provable_difference(100)
    pairs = smallest_provable_difference(100, clusters=[2] * 50)
    assert alone < smallest_provable_difference(100, clusters=[1] * 80 + [2] * 10) < pairs
    assert pairs == smallest_provable_difference(50)
    assert smallest_provable_difference(100, clusters=[1] * 100) == alone
    assert smallest_provable_difference(100, clusters=[100]) == 1.0
    uneven = smallest_provable_difference(100, clusters=[1] * 30 + [7] * 10)
    assert smallest_provable_difference(40) < uneven < smallest_provable_difference(19)


def test_the_examples_needed_show_the_difference_and_few_less_do_not() -> None:
    for gain in (0.05, 0.1, 0.3):
        n = examples_needed(gain)
        assert smallest_provable_difference(n) <= gain
        assert smallest_provable_difference(max(1, n - 12)) > gain


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.floats(0, 1), st.floats(0.5, 0.95))
def test_twice_the_examples_prove_no_larger_difference(n: int, disagreement: float, power: float) -> None:
    here = smallest_provable_difference(n, disagreement=disagreement, power=power)
    more = smallest_provable_difference(2 * n, disagreement=disagreement, power=power)
    assert 0 < more <= here + 1e-9 <= 1 + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.floats(0, 1), st.floats(0, 1))
def test_more_disagreement_hides_larger_differences(n: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    smaller = smallest_provable_difference(n, disagreement=low)
    # The exact test has teeth: one success more or less changes its level, and so the difference, a little.
    assert smaller <= 1.05 * smallest_provable_difference(n, disagreement=high) + 1e-9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: smallest_provable_difference(0, disagreement=0.1),
            (
                "smallest_provable_difference needs n >= 1, disagreement in [0, 1] and power between 0 and 1, "
                "but got n=0, disagreement=0.1, power=0.8"
            ),
        ),
        (
            lambda: smallest_provable_difference(9, level=1.0),
            "level must be between 0 and 1, but got level=1.0",
        ),
        (
            lambda: smallest_provable_difference(9, clusters=[4, 4]),
            "the sizes of clusters must add up to n=9, but add up to 8",
        ),
        (
            lambda: examples_needed(0.0),
            "examples_needed needs a difference above 0 and up to 1, but got 0.0",
        ),
        (lambda: examples_needed(1e-6), "a difference of 1e-06 takes more than 10,000,000 examples"),
    ],
)
def test_mistakes_are_named_with_rule_and_value(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
