"""Known answers from papers, scipy and hand computations; odd cases; error texts."""

import math
import random
import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from optimizer.evidence import comparison_figures
from optimizer.significance import (
    Interval,
    PairedComparison,
    binomial_tail,
    compare_aggregate,
    compare_paired,
    decide,
    mcnemar,
    score_interval,
    tango,
    wilson,
)

Z = 1.959963984540054  # the 97.5 % point of the standard normal distribution


def paired(wins: int, losses: int, ties: int) -> tuple[list[float], list[float]]:
    """Return 0/1 scores of a and b with these counts; ties alternate between both right and both wrong."""
    tied = [float(k % 2) for k in range(ties)]
    return [0.0] * wins + [1.0] * losses + tied, [1.0] * wins + [0.0] * losses + tied


def graded(n: int, gain: float, seed: int = 0) -> tuple[list[float], list[float]]:
    rng = random.Random(seed)
    a = [rng.uniform(0.2, 0.6) for _ in range(n)]
    return a, [score + rng.uniform(-0.2, 0.2) + gain for score in a]


class Statistic:
    """Squared mean score: a metric that is not a mean over examples."""

    def __init__(self, a: list[float], b: list[float]) -> None:
        self.a, self.b = np.array(a), np.array(b)

    def __call__(self, positions: NDArray[np.intp]) -> tuple[float, float]:
        return float(self.a[positions].mean() ** 2), float(self.b[positions].mean() ** 2)


@pytest.mark.parametrize(
    ("successes", "n", "lower", "upper"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_table_of_newcombe_1998(successes: int, n: int, lower: float, upper: float) -> None:
    """Statistics in Medicine 17:857, table I, method 3."""
    interval = wilson(successes, n)
    assert (round(interval.lower, 4), round(interval.upper, 4)) == (lower, upper)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95, 0.99])
def test_wilson_agrees_with_scipy(level: float) -> None:
    expected = stats.binomtest(37, 90).proportion_ci(confidence_level=level, method="wilson")
    interval = wilson(37, 90, level=level)
    assert (interval.lower, interval.upper) == pytest.approx((expected.low, expected.high), abs=1e-10)


@pytest.mark.parametrize(
    ("counts", "level", "bounds"),
    [
        ((9, 3, 32), 0.95, (-0.027, 0.390)),  # Tango 1998
        ((0, 1, 44), 0.90, (-0.096, 0.037)),  # Tango 1998
        ((16, 8, 86), 0.95, (-0.020, 0.207)),  # Agresti and Min 2005, Statistics in Medicine 24:729
        ((1, 7, 21), 0.95, (-0.517, -0.026)),  # Fagerland et al. 2014, Statistics in Medicine 33:2850
        ((3, 1, 14), 0.95, (-0.167, 0.433)),  # Tang et al. 2010
        ((25, 2, 102), 0.95, (0.139, 0.321)),  # Chang et al. 2024
    ],
)
def test_tango_gives_published_intervals(
    counts: tuple[int, int, int], level: float, bounds: tuple[float, float]
) -> None:
    interval = tango(*counts, level=level)
    assert (round(interval.lower, 3), round(interval.upper, 3)) == bounds


def test_tango_without_any_difference_has_the_width_computed_by_hand() -> None:
    bound = Z**2 / (50 + Z**2)
    interval = tango(0, 0, 50)
    assert (interval.lower, interval.upper) == pytest.approx((-bound, bound), abs=1e-11)


def test_tango_of_wins_alone_has_the_lower_bound_computed_by_hand() -> None:
    interval = tango(10, 0, 10)
    assert interval.lower == pytest.approx((10 - Z**2) / (10 + Z**2), abs=1e-11)
    assert interval.upper == 1.0


@pytest.mark.parametrize(("wins", "losses"), [(1, 7), (7, 1), (6, 16), (0, 6), (10, 10), (0, 1), (40, 60)])
def test_mcnemar_agrees_with_the_binomial_test_of_scipy(wins: int, losses: int) -> None:
    assert mcnemar(wins, losses) == pytest.approx(stats.binomtest(wins, wins + losses).pvalue, rel=1e-9)


def test_mcnemar_gives_numbers_computed_by_hand() -> None:
    assert mcnemar(1, 7) == 18 / 256
    assert mcnemar(6, 0) == 2 / 64
    assert mcnemar(0, 5) == 2 / 32


def test_mcnemar_is_one_where_no_pair_differs_or_wins_equal_losses() -> None:
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1.0


def test_mcnemar_stays_exact_for_thousands_of_pairs() -> None:
    assert mcnemar(5000, 5200) == pytest.approx(stats.binomtest(5000, 10200).pvalue, rel=1e-9)
    assert mcnemar(3000, 0) == 0.0


def test_scores_of_0_and_1_get_the_wilson_interval() -> None:
    assert score_interval([1.0] * 7 + [0.0] * 3, seed=5) == wilson(7, 10)


def test_all_answers_right_still_leaves_room_below_one() -> None:
    interval = score_interval([1.0] * 20, seed=0)
    assert interval.upper == 1.0
    assert interval.lower == pytest.approx(20 / (20 + Z**2), abs=1e-11)


def test_graded_scores_get_a_bootstrap_close_to_the_normal_interval() -> None:
    scores, _ = graded(400, 0.0)
    error = stats.sem(scores)
    interval = score_interval(scores, seed=1)
    assert interval.lower == pytest.approx(np.mean(scores) - Z * error, abs=0.1 * error * Z)
    assert interval.upper == pytest.approx(np.mean(scores) + Z * error, abs=0.1 * error * Z)


def test_the_bootstrap_of_few_scores_is_as_wide_as_the_t_interval() -> None:
    scores, _ = graded(12, 0.0)
    low, high = stats.t.interval(0.95, 11, loc=np.mean(scores), scale=stats.sem(scores))
    interval = score_interval(scores, seed=1)
    assert interval.upper - interval.lower == pytest.approx(high - low, rel=0.1)


def test_equal_graded_scores_give_a_degenerate_interval() -> None:
    assert score_interval([0.5, 0.5, 0.5], seed=0) == Interval(lower=0.5, upper=0.5, level=0.95)


def test_clusters_of_copies_count_as_one_score_each() -> None:
    clusters = [str(k // 5) for k in range(100)]
    copies = [float(k // 5 % 2) for k in range(100)]
    wide, narrow = score_interval(copies, seed=0, clusters=clusters), score_interval(copies, seed=0)
    assert wide.upper - wide.lower > 2 * (narrow.upper - narrow.lower)
    assert score_interval([1.0] * 100, seed=0, clusters=clusters) == wilson(20, 20)


def test_the_effective_sample_size_is_the_one_computed_by_hand() -> None:
    """Variance of the mean: (1² + 1²)·2/1 / 4² between clusters, 1/(4·3) if independent; their ratio is 3."""
    interval, expected = score_interval([1, 1, 0, 0], seed=0, clusters=list("xxyy")), wilson(2 / 3, 4 / 3)
    assert (interval.lower, interval.upper) == pytest.approx((expected.lower, expected.upper), abs=1e-11)


def test_0_1_scores_are_compared_by_mcnemar_and_tango() -> None:
    result = compare_paired(*paired(wins=9, losses=3, ties=20), seed=0)
    assert (result.n, result.wins, result.ties, result.losses) == (32, 9, 20, 3)
    assert result.difference == 6 / 32
    assert result.p_value == mcnemar(9, 3)
    assert result.interval == tango(9, 3, 32)
    assert result.method == "exact McNemar test, Tango interval"


def test_equal_prompts_are_not_distinguishable_and_their_interval_keeps_its_width() -> None:
    result = compare_paired([1.0, 0.0] * 10, [1.0, 0.0] * 10, seed=0)
    assert (result.difference, result.p_value) == (0.0, 1.0)
    assert result.interval.lower < -0.1 < 0.1 < result.interval.upper
    assert decide(result) == "not distinguishable"


def test_a_tie_counts_for_neither_side() -> None:
    few = compare_paired(*paired(wins=8, losses=1, ties=0), seed=0)
    many = compare_paired(*paired(wins=8, losses=1, ties=50), seed=0)
    assert few.p_value == many.p_value


@pytest.mark.parametrize(("wins", "decision"), [(5, "not distinguishable"), (6, "improved")])
def test_six_wins_without_a_loss_are_the_fewest_that_prove_a_gain(wins: int, decision: str) -> None:
    assert decide(compare_paired(*paired(wins, 0, 20), seed=0)) == decision


def test_all_losses_are_worse() -> None:
    result = compare_paired(*paired(wins=0, losses=12, ties=0), seed=0)
    assert (result.difference, result.interval.lower) == (-1.0, -1.0)
    assert decide(result) == "worse"


def test_few_graded_differences_are_tested_by_every_sign_pattern() -> None:
    """Of the 8 sign patterns of (0.1, 0.2, 0.4) two are as extreme as all plus: p = 2/8."""
    result = compare_paired([0.1, 0.1, 0.1, 0.5], [0.2, 0.3, 0.5, 0.5], seed=0)
    assert result.p_value == 0.25
    assert (result.wins, result.ties, result.losses) == (3, 1, 0)
    assert result.method == "exact sign-flip test, BCa bootstrap interval"


def test_the_exact_sign_flip_agrees_with_the_permutation_test_of_scipy() -> None:
    a, b = graded(11, 0.05)
    expected = stats.permutation_test(
        (np.array(b), np.array(a)), lambda x, y: float(np.mean(x - y)), permutation_type="samples"
    )
    assert compare_paired(a, b, seed=0).p_value == pytest.approx(expected.pvalue, abs=1e-12)


def test_many_graded_differences_are_tested_by_random_signs_close_to_the_t_test() -> None:
    a, b = graded(80, 0.03)
    result = compare_paired(a, b, seed=0)
    assert result.method == "sign-flip test, BCa bootstrap interval"
    assert result.p_value == pytest.approx(stats.ttest_rel(b, a).pvalue, abs=0.01)


def test_random_signs_never_give_a_p_value_of_zero() -> None:
    assert compare_paired(*graded(50, 0.2), seed=0).p_value == 1 / 10_001


def test_the_bca_interval_is_close_to_that_of_scipy_at_the_widened_level() -> None:
    rng = random.Random(3)
    gains = [rng.random() ** 8 for _ in range(30)]  # skewed, where bias and acceleration matter
    wider = 2 * stats.norm.cdf(math.sqrt(30 / 29) * stats.t.ppf(0.975, 29)) - 1
    bootstrap = stats.bootstrap((gains,), np.mean, n_resamples=20_000, confidence_level=wider, rng=0)
    theirs, ours = bootstrap.confidence_interval, compare_paired([0.0] * 30, gains, seed=0).interval
    tolerance = 0.12 * stats.sem(gains)
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high), abs=tolerance)


def test_symmetric_graded_differences_give_a_symmetric_interval() -> None:
    rng = random.Random(5)
    a, b = [rng.random() for _ in range(9)], [rng.random() for _ in range(9)]
    interval = compare_paired(a + b, b + a, seed=0).interval
    assert interval.lower == -interval.upper < 0


@pytest.mark.parametrize("count", [1, 2, 30])
def test_equal_graded_differences_give_a_degenerate_interval(count: int) -> None:
    result = compare_paired([0.25] * count, [0.5] * count, seed=0)
    assert result.interval == Interval(lower=0.25, upper=0.25, level=0.95)
    assert "percentile" in result.method


def test_two_graded_wins_prove_nothing_although_the_bootstrap_excludes_zero() -> None:
    result = compare_paired([0.1, 0.1], [0.6, 0.7], seed=0)
    assert result.interval.lower > 0
    assert decide(result) == "not distinguishable"


def test_equal_differences_are_ties_whatever_their_rounding() -> None:
    result = compare_paired([0.1 + 0.2, 0.5], [0.3, 0.75], seed=0)
    assert (result.wins, result.ties, result.losses) == (1, 1, 0)


def test_copies_in_a_cluster_prove_nothing_more() -> None:
    clusters = [str(k // 4) for k in range(40)]
    a = [0.0] * 20 + [1.0] * 20
    b = [1.0] * 20 + [1.0] * 20  # five clusters won, all four copies each
    together, apart = compare_paired(a, b, seed=0, clusters=clusters), compare_paired(a, b, seed=0)
    assert (decide(together), decide(apart)) == ("not distinguishable", "improved")
    assert together.p_value == 2 / 2**5
    assert together.method == "exact sign-flip test, Tango interval, 10 clusters"


def test_one_cluster_alone_proves_nothing() -> None:
    result = compare_paired([0.0] * 30, [1.0] * 30, seed=0, clusters=["only"] * 30)
    assert result.p_value == 1.0
    assert decide(result) == "not distinguishable"


def test_graded_clusters_widen_the_interval() -> None:
    rng = random.Random(1)
    shared = [rng.uniform(-0.3, 0.4) for _ in range(12)]
    a, b = [0.5] * 60, [0.5 + shared[k // 5] for k in range(60)]
    clusters = [str(k // 5) for k in range(60)]
    wide, narrow = compare_paired(a, b, seed=0, clusters=clusters), compare_paired(a, b, seed=0)
    assert wide.interval.upper - wide.interval.lower > 1.5 * (narrow.interval.upper - narrow.interval.lower)
    assert wide.p_value > narrow.p_value


def test_a_corpus_metric_is_compared_on_the_same_resamples() -> None:
    a, b = graded(60, 0.1)
    result = compare_aggregate(Statistic(a, b), 60, seed=0)
    assert result.difference == pytest.approx(np.mean(b) ** 2 - np.mean(a) ** 2, abs=1e-11)
    assert result.interval.contains(result.difference)
    assert (result.wins, result.ties, result.losses) == (None, None, None)
    assert decide(result) == "improved"


def test_a_corpus_metric_that_never_differs_has_p_one() -> None:
    result = compare_aggregate(Statistic([0.5, 1.0], [1.0, 0.5]), 1, seed=0, clusters=["x"])
    equal = compare_aggregate(Statistic([0.5, 1.0], [0.5, 1.0]), 2, seed=0)
    assert (equal.p_value, equal.interval) == (1.0, Interval(lower=0.0, upper=0.0, level=0.95))
    assert result.n == 1


def test_a_corpus_metric_won_on_every_resample_has_the_smallest_p_value() -> None:
    result = compare_aggregate(Statistic([0.1] * 12, [0.9] * 12), 12, seed=0)
    assert result.p_value == 2 / 2001


@pytest.mark.parametrize(("n", "groups"), [(1, 1), (3, 3), (5, 5), (200, 1), (20, 4), (20, 5)])
def test_a_corpus_metric_shows_nothing_on_fewer_than_six_independent_units(n: int, groups: int) -> None:
    clusters = [str(k % groups) for k in range(n)]
    result = compare_aggregate(Statistic([0.4] * n, [0.5] * n), n, seed=0, clusters=clusters)
    assert result.units == groups
    assert result.p_value == 2.0 ** (1 - groups) > 0.05
    assert decide(result) == "not distinguishable"
    assert comparison_figures(result)["smallest_provable"] is None


def test_equal_prompts_in_groups_that_stand_or_fall_together_are_seldom_told_apart_by_a_corpus_metric() -> (
    None
):
    rng, told = np.random.default_rng(0), 0
    clusters = [str(k % 4) for k in range(20)]
    for seed in range(100):
        a, b = ([float(rng.random() < 0.5) for _ in range(4)] * 5 for _ in range(2))
        told += (
            decide(compare_aggregate(Statistic(a, b), 20, seed=seed, clusters=clusters))
            != "not distinguishable"
        )
    assert told == 0


@pytest.mark.parametrize(("k", "n"), [(0, 5), (1, 10), (3, 12), (3, 1040), (60, 5000)])
def test_the_tail_of_a_binomial_is_that_of_scipy_for_any_number(k: int, n: int) -> None:
    assert binomial_tail(k, n, 0.02) == pytest.approx(float(stats.binom.sf(k - 1, n, 0.02)), rel=1e-6)


def test_a_corpus_metric_resamples_whole_clusters() -> None:
    seen: list[int] = []

    def statistic(positions: NDArray[np.intp]) -> tuple[float, float]:
        counts = np.bincount(positions, minlength=4)
        assert counts[0] == counts[2]
        assert counts[1] == counts[3]
        seen.append(len(positions))
        return 0.5, 0.5

    result = compare_aggregate(statistic, 4, seed=0, clusters=["x", "y", "x", "y"])
    assert set(seen) == {4}
    assert result.method == "paired bootstrap, 2 clusters"


def test_the_decision_needs_test_and_interval_to_agree() -> None:
    def comparison(lower: float, upper: float, p_value: float) -> PairedComparison:
        interval = Interval(lower=lower, upper=upper, level=0.95)
        return PairedComparison(
            n=9, difference=(lower + upper) / 2, interval=interval, p_value=p_value, method="by hand"
        )

    assert decide(comparison(0.1, 0.3, 0.01)) == "improved"
    assert decide(comparison(-0.3, -0.1, 0.01)) == "worse"
    assert decide(comparison(0.1, 0.3, 0.06)) == "not distinguishable"
    assert decide(comparison(-0.1, 0.3, 0.01)) == "not distinguishable"
    assert decide(comparison(0.0, 0.3, 0.01)) == "not distinguishable"


def test_results_are_plain_numbers_even_from_numpy_scores() -> None:
    result = compare_paired(np.array([0.1, 0.5, 0.2]), np.array([0.3, 0.4, 0.2]), seed=0)  # type: ignore[arg-type]
    assert {type(result.difference), type(result.p_value), type(result.interval.lower)} == {float}
    assert {type(result.n), type(result.wins), type(result.ties)} == {int}


def test_the_same_seed_gives_the_same_numbers_in_another_process() -> None:
    code = (
        "from optimizer.significance import compare_paired\n"
        "a = [k * 7 % 30 / 30 for k in range(30)]\n"
        "print(compare_paired(a, [k * 11 % 30 / 30 for k in range(30)], seed=4))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout != b""


def test_another_seed_gives_other_resamples() -> None:
    a, b = graded(30, 0.1)
    assert compare_paired(a, b, seed=0).interval != compare_paired(a, b, seed=1).interval


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wilson(0, 0), "wilson needs 0 <= successes <= n and n > 0, but got 0 of 0"),
        (lambda: wilson(3, 2), "wilson needs 0 <= successes <= n and n > 0, but got 3 of 2"),
        (lambda: wilson(1, 2, level=1), "level must be between 0 and 1, but got level=1"),
        (lambda: mcnemar(-1, 2), "mcnemar needs counts of 0 or more, but got wins=-1, losses=2"),
        (lambda: tango(3, 2, 4), "tango needs wins + losses <= n and n > 0, but got 3 + 2 of 4"),
        (lambda: tango(0, 0, 0), "tango needs wins + losses <= n and n > 0, but got 0 + 0 of 0"),
        (lambda: score_interval([], seed=0), "at least one score is needed, but got none"),
        (
            lambda: score_interval([0.5, 1.5], seed=0),
            "scores lie in [0, 1], but the one at position 1 is 1.5",
        ),
        (
            lambda: score_interval([math.nan], seed=0),
            "scores lie in [0, 1], but the one at position 0 is nan",
        ),
        (lambda: compare_paired([1], [1, 0], seed=0), "a and b must pair up, but have 1 and 2 scores"),
        (
            lambda: compare_paired([1, 0], [1, 0], seed=0, clusters=["x"]),
            "each example needs its cluster, but 2 examples have 1 clusters",
        ),
        (
            lambda: compare_aggregate(Statistic([], []), 0, seed=0),
            "compare_aggregate needs n >= 1, but got n=0",
        ),
        (
            lambda: compare_aggregate(lambda _: (0.5, 1.5), 2, seed=0),
            "the statistic must give values in [0, 1], but gave 0.5 and 1.5",
        ),
        (
            lambda: decide(compare_paired([1], [0], seed=0, level=0.9)),
            "decide at level 0.95 needs an interval at that level, not at 0.9",
        ),
    ],
)
def test_mistakes_are_named_with_rule_and_value(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()


def test_no_pairs_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="at least one score is needed, but got none"):
        compare_paired([], [], seed=0)
