"""Tests over several looks: numbers by hand, the error summed over every order, odd cases, error texts."""

import math
from collections.abc import Callable
from itertools import accumulate, product

import numpy as np
import pytest

from optimizer.sequential import BETS, betting_p_value, sequential_sign_test


def looks_of(signs: tuple[int, ...], every: int) -> list[tuple[int, int]]:
    """Return (wins, losses) after every so many of the signs, 1 for a win and 0 for a loss."""
    return [(sum(signs[:stop]), stop - sum(signs[:stop])) for stop in range(every, len(signs) + 1, every)]


def test_the_wealth_is_the_mean_of_what_each_bet_makes() -> None:
    """One example won outright makes 1 + bet of 1; the second one, lost by half, leaves the first one's p value."""
    mean = (1.125 + 1.25 + 1.5 + 1.9375) / 4
    assert BETS == (1 / 8, 1 / 4, 1 / 2, 15 / 16)
    assert betting_p_value([1.0]) == pytest.approx(1 / mean, rel=1e-11)
    assert betting_p_value([1.0, -0.5]) == betting_p_value([1.0])


def test_bets_multiply_over_examples() -> None:
    wealth = sum(math.prod(1 + bet * d for d in (0.5, -0.25, 1.0, 0.75)) for bet in BETS) / len(BETS)
    assert betting_p_value([0.5, -0.25, 1.0, 0.75]) == pytest.approx(1 / wealth, rel=1e-11)


@pytest.mark.parametrize("differences", [[], [0.0] * 50, [-0.3] * 50, [-1.0, 1.0], [-1.0] * 2000])
def test_without_evidence_the_betting_p_value_is_one(differences: list[float]) -> None:
    assert betting_p_value(differences) == 1.0


def test_a_hundred_thousand_examples_neither_overflow_nor_ruin() -> None:
    assert betting_p_value([1.0] * 100_000) == 0.0
    assert betting_p_value([-1.0] * 99_990 + [1.0] * 10) == 1.0


def test_betting_takes_numpy_scores_and_gives_a_plain_number() -> None:
    assert type(betting_p_value(np.array([0.25, 0.5]))) is float  # type: ignore[arg-type]


def test_six_wins_in_a_row_are_needed_at_the_first_of_two_looks() -> None:
    """1/2^6 is below 0.025, 1/2^5 is not; at the second look 0.05 is there to spend, and 1/2^5 is below that."""
    assert sequential_sign_test([(6, 0)], planned=2) == 1
    assert sequential_sign_test([(5, 0)], planned=2) is None
    assert sequential_sign_test([(5, 0), (5, 0)], planned=2) == 2


def test_what_a_look_spends_is_missing_at_the_next() -> None:
    """Of the 2^12 orders 64 begin with six wins: 0.05 · 2^12 = 204 leaves 140 for the second look.

    All 12 wins and 11 of them are among the 64 but for 6 orders, 10 wins but for 66 - 15 = 51: 57 in all. Of the 220
    orders with 9 wins 20 begin with six wins, and 57 + 200 is above 140.
    """
    assert sequential_sign_test([(5, 1), (10, 2)], planned=2) == 2
    assert sequential_sign_test([(5, 1), (9, 3)], planned=2) is None


def test_one_look_is_the_exact_test_at_its_level() -> None:
    """P(9 or more of 10) is 11/1024; P(8 or more) is 56/1024, above 0.05."""
    assert sequential_sign_test([(9, 1)], planned=1) == 1
    assert sequential_sign_test([(8, 2)], planned=1) is None
    assert sequential_sign_test([(8, 2)], planned=1, level=0.94) == 1


def test_the_first_proof_counts_whatever_comes_later() -> None:
    assert sequential_sign_test([(9, 0), (9, 30)], planned=3) == 1


@pytest.mark.parametrize("looks", [[], [(0, 0)] * 4, [(0, 5), (0, 20)], [(3, 3), (8, 8), (20, 20)]])
def test_without_evidence_no_look_proves_anything(looks: list[tuple[int, int]]) -> None:
    assert sequential_sign_test(looks, planned=4) is None


@pytest.mark.parametrize(("every", "level"), [(1, 0.95), (2, 0.95), (3, 0.95), (4, 0.8), (6, 0.8), (2, 0.9)])
def test_equal_prompts_are_told_apart_at_most_at_the_level_over_all_orders(every: int, level: float) -> None:
    """Every order of 12 wins and losses is equally likely; no simulation."""
    orders = list(product((0, 1), repeat=12))
    proven = sum(
        sequential_sign_test(looks_of(order, every), planned=12 // every, level=level) is not None
        for order in orders
    )
    assert 0.5 * (1 - level) <= proven / len(orders) <= 1 - level


def test_a_look_after_every_example_without_correction_would_break_the_level() -> None:
    """What the test is for: the exact test of one look, repeated."""
    orders = list(product((0, 1), repeat=12))
    alone = {
        (wins, losses): sequential_sign_test([(wins, losses)], planned=1) is not None
        for wins, losses in product(range(13), repeat=2)
    }
    proven = sum(any(alone[look] for look in looks_of(order, 1)) for order in orders)
    assert proven / len(orders) > 0.06


def test_ten_looks_ask_for_fewer_wins_than_bonferroni() -> None:
    """The fewest wins that are a proof at each look, where 12 more examples differ and the last look was one short."""
    fewest, bonferroni, before = [], [], [(0, 0)]
    for look in range(1, 11):
        total = 12 * look
        first = before[-1][0]
        proofs = [
            wins
            for wins in range(first, first + 13)
            if sequential_sign_test([*before[1:], (wins, total - wins)], planned=10) == look
        ]
        fewest.append(proofs[0])
        before.append((proofs[0] - 1, total - proofs[0] + 1))
        tails = accumulate(math.comb(total, wins) for wins in range(total, -1, -1))
        bonferroni.append(total + 1 - sum(tail * 200 <= 2**total for tail in tails))
    gaps = [theirs - ours for theirs, ours in zip(bonferroni, fewest, strict=True)]
    assert min(gaps) >= 0
    assert sum(gaps) >= 10


def test_counts_may_be_those_of_numpy() -> None:
    looks = [(np.int64(45), np.int64(40)), (np.int64(110), np.int64(70))]
    assert sequential_sign_test(looks, planned=2) == 2  # type: ignore[arg-type]


def test_the_level_is_the_decimal_as_written() -> None:
    """1 - 0.875 is 1/8, spent in full by three wins; 1 - 0.9 is a little less in floats and more as a decimal."""
    assert sequential_sign_test([(3, 0)], planned=1, level=0.875) == 1
    assert sequential_sign_test([(3, 0)], planned=1, level=0.8751) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: betting_p_value([0.5, 1.5]),
            "differences lie in [-1, 1], but the one at position 1 is 1.5",
        ),
        (
            lambda: betting_p_value([math.nan]),
            "differences lie in [-1, 1], but the one at position 0 is nan",
        ),
        (
            lambda: sequential_sign_test([(1, 0), (2, 0)], planned=1),
            "at least 1 look is planned and none are added, but got 2 looks with planned=1",
        ),
        (
            lambda: sequential_sign_test([], planned=0),
            "at least 1 look is planned and none are added, but got 0 looks with planned=0",
        ),
        (
            lambda: sequential_sign_test([(-1, 0)], planned=2),
            "wins and losses are counts that begin at 0 and never fall, but at look 1 they go from (0, 0) to (-1, 0)",
        ),
        (
            lambda: sequential_sign_test([(3, 2), (4, 1)], planned=2),
            "wins and losses are counts that begin at 0 and never fall, but at look 2 they go from (3, 2) to (4, 1)",
        ),
        (
            lambda: sequential_sign_test([(3, 2)], planned=2, level=1.0),
            "level must be between 0 and 1, but got level=1.0",
        ),
    ],
)
def test_errors_give_the_rule_and_the_value(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message
