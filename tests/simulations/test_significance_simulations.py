"""Intervals and decisions against a known truth.

Coverage of Wilson and Tango is summed over every outcome, so it has no noise; the rest is simulated, and its
bounds leave room for about three standard errors. Nominal level 0.95 throughout.
"""

from collections.abc import Callable
from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray

from optimizer.power import smallest_provable_difference
from optimizer.significance import (
    Decision,
    compare_aggregate,
    compare_paired,
    decide,
    mcnemar,
    score_interval,
    tango,
    wilson,
)

ENOUGH = 0.93  # the coverage that is asked of a nominal 0.95


def decisions(rng: np.random.Generator, repeats: int, n: int, win: float, loss: float) -> list[Decision]:
    """Return the decisions on 0/1 scores of n examples, won and lost with these probabilities."""
    found = []
    for _ in range(repeats):
        draw = rng.random(n)
        a = np.where(draw < win, 0.0, np.where(draw < win + loss, 1.0, np.round(draw * 1000) % 2))
        b = np.where(draw < win, 1.0, np.where(draw < win + loss, 0.0, a))
        found.append(decide(compare_paired(a.tolist(), b.tolist(), seed=0)))
    return found


def graded_pair(rng: np.random.Generator, n: int, gain: float) -> tuple[list[float], list[float]]:
    """Return graded scores of n examples, skewed, with a shared difficulty; means differ by `gain`."""
    difficulty = rng.beta(2, 2, n) * 0.6
    a, b = difficulty + 0.2 * rng.beta(1, 4, n), difficulty + gain + 0.2 * rng.beta(1, 4, n)
    return a.tolist(), b.tolist()


def clustered(rng: np.random.Generator, m: int, size: int) -> tuple[list[float], list[float], list[str]]:
    """Return 0/1 scores in m clusters that mostly share one outcome; the true difference is 0.1."""
    outcomes = [(0.0, 1.0), (1.0, 0.0), (1.0, 1.0)]
    shares = [0.2, 0.1, 0.7]
    shared = np.repeat(rng.choice(3, m, p=shares), size)
    kinds = np.where(rng.random(m * size) < 0.7, shared, rng.choice(3, m * size, p=shares))
    a, b = zip(*(outcomes[kind] for kind in kinds), strict=True)
    return list(a), list(b), [str(k // size) for k in range(m * size)]


def f1_of(rows: NDArray[np.int64]) -> Callable[[NDArray[np.intp]], tuple[float, float]]:
    """Return the F1 of two prompts' answers as a statistic; rows: gold, answers of a, answers of b."""

    def f1(positions: NDArray[np.intp]) -> tuple[float, float]:
        gold, a, b = rows[:, positions]
        return 2 * float(gold @ a) / int(gold.sum() + a.sum()), 2 * float(gold @ b) / int(
            gold.sum() + b.sum()
        )

    return f1


@pytest.mark.parametrize(
    ("n", "share"), [(20, 0.5), (30, 0.8), (50, 0.7), (50, 0.95), (100, 0.9), (200, 0.3), (500, 0.97)]
)
def test_wilson_covers_the_true_share(n: int, share: float) -> None:
    covered = sum(
        comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1) if wilson(k, n).contains(share)
    )
    assert covered >= ENOUGH


@pytest.mark.parametrize(
    ("n", "win", "loss"),
    [(20, 0.15, 0.15), (30, 0.3, 0.1), (40, 0.05, 0.05), (40, 0.1, 0.02), (60, 0.2, 0.1), (60, 0.02, 0.02)],
)
def test_tango_covers_the_true_difference(n: int, win: float, loss: float) -> None:
    covered = sum(
        comb(n, w) * comb(n - w, k) * win**w * loss**k * (1 - win - loss) ** (n - w - k)
        for w in range(n + 1)
        for k in range(n + 1 - w)
        if tango(w, k, n).contains(win - loss)
    )
    assert covered >= ENOUGH


@pytest.mark.parametrize(("n", "gain"), [(30, 0.0), (60, 0.05), (100, 0.02)])
def test_the_bca_interval_covers_the_true_difference(n: int, gain: float) -> None:
    rng = np.random.default_rng(n)
    repeats = 400
    covered = sum(
        compare_paired(*graded_pair(rng, n, gain), seed=seed).interval.contains(gain)
        for seed in range(repeats)
    )
    assert covered / repeats >= ENOUGH


def test_the_bootstrap_covers_the_true_mean_score() -> None:
    rng = np.random.default_rng(1)
    repeats = 400
    covered = sum(
        score_interval(rng.beta(4, 2, 80).tolist(), seed=seed).contains(4 / 6) for seed in range(repeats)
    )
    assert covered / repeats >= ENOUGH


@pytest.mark.parametrize(("m", "size"), [(12, 5), (40, 3)])
def test_the_interval_of_clustered_scores_covers_the_true_difference(m: int, size: int) -> None:
    rng = np.random.default_rng(m)
    repeats = 300
    covered = 0
    for seed in range(repeats):
        a, b, clusters = clustered(rng, m, size)
        covered += compare_paired(a, b, seed=seed, clusters=clusters).interval.contains(0.1)
    assert covered / repeats >= ENOUGH


@pytest.mark.parametrize(("n", "disagreement"), [(20, 0.3), (100, 0.1), (200, 0.3)])
def test_equal_prompts_are_seldom_told_apart_on_0_1_scores(n: int, disagreement: float) -> None:
    found = decisions(np.random.default_rng(n), 1000, n, disagreement / 2, disagreement / 2)
    assert 1 - found.count("not distinguishable") / len(found) <= 0.05 + 0.02


@pytest.mark.parametrize("n", [8, 12, 40])
def test_equal_prompts_are_seldom_told_apart_on_graded_scores(n: int) -> None:
    rng = np.random.default_rng(n)
    repeats = 400
    told_apart = sum(
        decide(compare_paired(*graded_pair(rng, n, 0.0), seed=seed)) != "not distinguishable"
        for seed in range(repeats)
    )
    assert told_apart / repeats <= 0.05 + 0.03


def test_clustered_copies_do_not_tell_equal_prompts_apart() -> None:
    rng = np.random.default_rng(6)
    clusters = [str(k // 5) for k in range(100)]
    told_apart = 0
    for seed in range(300):
        a, b = (np.repeat(rng.integers(0, 2, 20), 5).astype(float).tolist() for _ in range(2))
        told_apart += decide(compare_paired(a, b, seed=seed, clusters=clusters)) != "not distinguishable"
    assert told_apart / 300 <= 0.05 + 0.03


def test_a_real_gain_of_graded_scores_is_found() -> None:
    """Differences deviate by 0.046, so a gain of 0.02 on 80 pairs is 3.9 standard errors."""
    rng = np.random.default_rng(3)
    found = [decide(compare_paired(*graded_pair(rng, 80, 0.02), seed=seed)) for seed in range(150)]
    assert found.count("improved") / 150 >= 0.9
    assert found.count("worse") == 0


@pytest.mark.parametrize(("n", "disagreement"), [(100, 0.2), (300, 0.15), (100, 0.0)])
def test_the_smallest_provable_difference_is_found_about_as_often_as_promised(
    n: int, disagreement: float
) -> None:
    gain = smallest_provable_difference(n, disagreement=disagreement, power=0.8)
    share = max(disagreement, gain)
    found = decisions(np.random.default_rng(n), 600, n, (share + gain) / 2, (share - gain) / 2)
    # 0.8 to the letter, and three standard errors of 600 runs.
    assert 0.75 <= found.count("improved") / len(found) <= 0.86


def test_half_the_smallest_provable_difference_is_mostly_missed() -> None:
    gain = smallest_provable_difference(200, disagreement=0.2) / 2
    found = decisions(np.random.default_rng(8), 400, 200, 0.1 + gain / 2, 0.1 - gain / 2)
    assert found.count("improved") / len(found) < 0.4


def test_mcnemar_rejects_equal_prompts_at_most_at_its_level() -> None:
    """Exact for every number of pairs that differ."""
    for n in range(1, 80):
        rejected = sum(comb(n, wins) for wins in range(n + 1) if mcnemar(wins, n - wins) < 0.05)
        assert rejected / 2**n <= 0.05


def test_equal_prompts_are_seldom_told_apart_on_a_corpus_metric() -> None:
    rng = np.random.default_rng(9)
    repeats = 70
    told_apart = 0
    for seed in range(repeats):
        statistic = f1_of(rng.integers(0, 2, (3, 80)))
        told_apart += decide(compare_aggregate(statistic, 80, seed=seed)) != "not distinguishable"
    assert told_apart / repeats <= 0.05 + 0.07
