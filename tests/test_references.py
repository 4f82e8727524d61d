"""Our intervals, tests and corrections against other libraries and against a likelihood maximised by search.

What scipy alone can check on plain scores is in `test_significance.py`; here are statsmodels, clusters, and what has
no library.
"""

import math
import random
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats import contingency_tables, multitest, proportion

from optimizer.corrections import holm
from optimizer.resampling import bca_bounds, design_effect, mean_of, sign_flip_test, units_of
from optimizer.sequential import sequential_sign_test
from optimizer.significance import compare_paired, mcnemar, score_interval, tango, wilson

COUNTS = [(9, 3, 32), (0, 1, 44), (16, 8, 86), (1, 7, 21), (5, 0, 40), (30, 25, 60), (2, 2, 500)]


def clustered(m: int, seed: int) -> tuple[list[float], list[str]]:
    """Return graded differences in m clusters of 1 to 6, which share most of their value."""
    rng = random.Random(seed)
    values, clusters = [], []
    for cluster in range(m):
        shared = rng.random() ** 3 - 0.2
        for _ in range(rng.randint(1, 6)):
            values.append(0.7 * shared + 0.2 * rng.random())
            clusters.append(f"c{cluster}")
    return values, clusters


def profile_score(d: float, wins: int, losses: int, n: int) -> float:
    """Return Tango's statistic with its share of losses found by maximising the likelihood, not by formula."""

    def unlikelihood(share: float) -> float:
        logs = ((wins, share + d), (losses, share), (n - wins - losses, 1 - 2 * share - d))
        return -sum(count * math.log(max(p, 1e-300)) for count, p in logs if count)

    lowest, highest = max(0.0, -d), (1 - d) / 2
    share = optimize.minimize_scalar(
        unlikelihood, bounds=(lowest, highest), method="bounded", options={"xatol": 1e-13}
    ).x
    return float((wins - losses - n * d) / math.sqrt(n * (2 * share + d - d * d)))


def paired_sum(b: NDArray[np.float64], a: NDArray[np.float64]) -> float:
    return float(np.sum(b - a))


def scipy_bounds(
    units: list[tuple[float, int]], level: float, method: Literal["BCa", "percentile"]
) -> tuple[float, float]:
    """Return scipy's bootstrap interval of a ratio of sums, at the level whose normal quantile is our t quantile."""
    m = len(units)
    wider = 2 * stats.norm.cdf(math.sqrt(m / (m - 1)) * stats.t.ppf((1 + level) / 2, m - 1)) - 1
    found = stats.bootstrap(
        [[total for total, _ in units], [size for _, size in units]],
        lambda s, n, axis: np.sum(s, axis=axis) / np.sum(n, axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        confidence_level=wider,
        method=method,
        rng=0,
    ).confidence_interval
    assert found.low < mean_of(units) < found.high
    return float(found.low), float(found.high)


@pytest.mark.parametrize("successes", [0, 1, 7, 30, 59, 60])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_agrees_with_statsmodels(successes: int, level: float) -> None:
    expected = proportion.proportion_confint(successes, 60, alpha=1 - level, method="wilson")
    interval = wilson(successes, 60, level=level)
    assert (interval.lower, interval.upper) == pytest.approx(expected, abs=1e-11)


def test_wilson_of_fractional_counts_agrees_with_statsmodels() -> None:
    expected = proportion.proportion_confint(7.5, 21.25, method="wilson")
    interval = wilson(7.5, 21.25)
    assert (interval.lower, interval.upper) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize(("wins", "losses", "n"), COUNTS)
def test_mcnemar_agrees_with_statsmodels(wins: int, losses: int, n: int) -> None:
    table = [[n - wins - losses, losses], [wins, 0]]
    assert mcnemar(wins, losses) == pytest.approx(
        contingency_tables.mcnemar(table, exact=True).pvalue, rel=1e-12
    )


@pytest.mark.parametrize(("wins", "losses"), [(k, 30 - k) for k in range(12, 31)])
def test_the_sign_test_of_one_look_agrees_with_scipy(wins: int, losses: int) -> None:
    proven = stats.binomtest(wins, wins + losses, alternative="greater").pvalue <= 0.05
    assert (sequential_sign_test([(wins, losses)], planned=1) == 1) == proven


@pytest.mark.parametrize("seed", range(5))
def test_holm_agrees_with_statsmodels(seed: int) -> None:
    rng = random.Random(seed)
    p_values = [rng.random() ** 4 for _ in range(2 + 4 * seed)] + [0.01, 0.01, 1.0, 0.0]
    assert holm(p_values) == pytest.approx(multitest.multipletests(p_values, method="holm")[1], rel=1e-12)


@pytest.mark.parametrize(("wins", "losses", "n"), COUNTS)
def test_the_bounds_of_tango_are_where_the_profile_likelihood_rejects(wins: int, losses: int, n: int) -> None:
    interval = tango(wins, losses, n)
    z = stats.norm.ppf(0.975)
    assert profile_score(interval.lower, wins, losses, n) == pytest.approx(z, abs=1e-5)
    assert profile_score(interval.upper, wins, losses, n) == pytest.approx(-z, abs=1e-5)


@pytest.mark.parametrize("m", [4, 9, 12])
def test_sign_flips_of_clusters_agree_with_the_permutation_test_of_scipy(m: int) -> None:
    values, clusters = clustered(m, seed=m)
    totals = np.array([total for total, _ in units_of(values, clusters)])
    expected = stats.permutation_test((totals, np.zeros(m)), paired_sum, permutation_type="samples")
    b = [0.5 + value / 2 for value in values]
    assert compare_paired([0.5] * len(b), b, seed=0, clusters=clusters).p_value == pytest.approx(
        expected.pvalue, abs=1e-12
    )


def test_random_sign_flips_agree_with_the_permutation_test_of_scipy() -> None:
    """20 totals have 2^20 patterns: both draw 10 000, each with a standard error of 0.0024 about p = 0.06."""
    totals = [0.3 * math.sin(3 * k) + 0.1 for k in range(20)]
    expected = stats.permutation_test(
        (np.array(totals), np.zeros(20)), paired_sum, permutation_type="samples", n_resamples=9_999, rng=0
    )
    assert sign_flip_test(totals, seed=0).p_value == pytest.approx(expected.pvalue, abs=0.011)


@pytest.mark.parametrize(("m", "level"), [(15, 0.95), (40, 0.8)])
def test_the_bca_interval_of_clusters_agrees_with_scipy_at_the_widened_level(m: int, level: float) -> None:
    values, clusters = clustered(m, seed=m)
    units = units_of(values, clusters)
    low, high = scipy_bounds(units, level, "BCa")
    bounds = bca_bounds(units, seed=0, level=level)
    assert (bounds.lower, bounds.upper) == pytest.approx((low, high), abs=0.05 * (high - low))


def test_the_interval_of_clustered_graded_scores_agrees_with_the_percentiles_of_scipy() -> None:
    values, clusters = clustered(25, seed=3)
    scores = [value + 0.2 for value in values]
    low, high = scipy_bounds(units_of(scores, clusters), 0.95, "percentile")
    interval = score_interval(scores, seed=0, clusters=clusters)
    assert (interval.lower, interval.upper) == pytest.approx((low, high), abs=0.05 * (high - low))


@pytest.mark.parametrize("m", [5, 20, 60])
def test_the_design_effect_is_the_ratio_of_two_variances_of_statsmodels(m: int) -> None:
    """Of the constant in a regression on nothing else: robust to clusters, over that of independent errors."""
    values, clusters = clustered(m, seed=m)
    groups = np.unique(clusters, return_inverse=True)[1]
    model = OLS(np.array(values), np.ones(len(values)))
    robust = model.fit(cov_type="cluster", cov_kwds={"groups": groups}).bse[0]
    effect = design_effect(values, units_of(values, clusters))
    assert effect > 1
    assert effect == pytest.approx((robust / model.fit().bse[0]) ** 2, rel=1e-9)
