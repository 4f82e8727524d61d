"""Laws of intervals and tests, on scores of any kind: 0/1, graded, many ties, clustered."""

import random
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from optimizer.significance import (
    Interval,
    compare_aggregate,
    compare_paired,
    decide,
    mcnemar,
    score_interval,
    tango,
    wilson,
)

counts = st.integers(0, 60)
seeds = st.integers(0, 2**32)
scores = st.one_of(
    st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 1.0]), st.floats(0, 1)
)
binary_pairs = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=1)
graded_pairs = st.lists(st.tuples(scores, scores), min_size=1, max_size=40)
pairs = st.one_of(binary_pairs, graded_pairs)
OPPOSITE = {"improved": "worse", "worse": "improved", "not distinguishable": "not distinguishable"}


def within(interval: Interval, lowest: float, estimate: float) -> bool:
    tiny = 1e-9
    return lowest <= interval.lower <= estimate + tiny and estimate - tiny <= interval.upper <= 1


@given(counts, counts)
def test_wilson_contains_the_share_and_stays_in_range(successes: int, failures: int) -> None:
    n = successes + failures + 1
    assert within(wilson(successes, n), 0, successes / n)


@given(counts, counts, counts)
def test_tango_contains_the_difference_and_stays_in_range(wins: int, losses: int, ties: int) -> None:
    n = wins + losses + ties + 1
    assert within(tango(wins, losses, n), -1, (wins - losses) / n)


@given(counts, counts, counts)
def test_tango_mirrors_when_wins_and_losses_swap(wins: int, losses: int, ties: int) -> None:
    n = wins + losses + ties + 1
    here, there = tango(wins, losses, n), tango(losses, wins, n)
    assert (here.lower, here.upper) == (-there.upper, -there.lower)


@given(counts, counts, counts)
def test_a_higher_level_gives_a_wider_interval(wins: int, losses: int, ties: int) -> None:
    n = wins + losses + ties + 1
    narrow, wide = tango(wins, losses, n, level=0.8), tango(wins, losses, n, level=0.99)
    assert wide.lower <= narrow.lower <= narrow.upper <= wide.upper


@given(counts, counts)
def test_mcnemar_is_a_probability_and_takes_no_side(wins: int, losses: int) -> None:
    assert 0 < mcnemar(wins, losses) == mcnemar(losses, wins) <= 1


@given(counts, counts, counts)
def test_where_mcnemar_sees_a_difference_tango_excludes_zero(wins: int, losses: int, ties: int) -> None:
    """The exact test is the stricter of the two, so decisions on 0/1 scores rest on it."""
    n = wins + losses + ties + 1
    assert mcnemar(wins, losses) >= 0.05 or not tango(wins, losses, n).contains(0.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(scores, min_size=1, max_size=40), seeds)
def test_the_score_interval_contains_the_mean_and_ignores_order(values: list[float], seed: int) -> None:
    interval = score_interval(values, seed=seed)
    assert within(interval, 0, sum(values) / len(values))
    assert score_interval(values[::-1], seed=seed) == interval


@settings(max_examples=60, deadline=None)
@given(pairs, seeds)
def test_a_comparison_contains_its_difference_and_counts_every_pair(
    data: list[tuple[float, float]], seed: int
) -> None:
    a, b = zip(*data, strict=True)
    result = compare_paired(a, b, seed=seed)
    assert within(result.interval, -1, result.difference)
    assert abs(result.difference - (sum(b) - sum(a)) / len(data)) < 1e-9
    assert (result.wins or 0) + (result.ties or 0) + (result.losses or 0) == result.n == len(data)
    assert 0 < result.p_value <= 1


@settings(max_examples=60, deadline=None)
@given(pairs, seeds, st.integers(1, 6))
def test_swapping_the_prompts_mirrors_the_comparison(
    data: list[tuple[float, float]], seed: int, size: int
) -> None:
    a, b = zip(*data, strict=True)
    clusters = [str(k // size) for k in range(len(data))]
    here = compare_paired(a, b, seed=seed, clusters=clusters)
    there = compare_paired(b, a, seed=seed, clusters=clusters)
    mirrored = Interval(lower=-there.interval.upper, upper=-there.interval.lower, level=0.95)
    assert here == replace(
        there, difference=-there.difference, interval=mirrored, wins=there.losses, losses=there.wins
    )
    assert decide(here) == OPPOSITE[decide(there)]


@settings(max_examples=60, deadline=None)
@given(pairs, seeds, st.integers(1, 6))
def test_neither_the_order_of_pairs_nor_the_names_of_clusters_matter(
    data: list[tuple[float, float]], seed: int, size: int
) -> None:
    rows = [(a, b, k // size) for k, (a, b) in enumerate(data)]
    mixed = random.Random(seed).sample(rows, len(rows))
    here, there = (
        compare_paired(
            [row[0] for row in table],
            [row[1] for row in table],
            seed=seed,
            clusters=[f"{prefix}{row[2]}" for row in table],
        )
        for table, prefix in ((rows, "c"), (mixed, "z-"))
    )
    assert here == there


@settings(max_examples=40, deadline=None)
@given(pairs, seeds)
def test_clusters_of_one_are_no_clusters(data: list[tuple[float, float]], seed: int) -> None:
    a, b = zip(*data, strict=True)
    alone = [str(k) for k in range(len(data))]
    assert compare_paired(a, b, seed=seed, clusters=alone) == compare_paired(a, b, seed=seed)


@settings(max_examples=30, deadline=None)
@given(pairs, seeds)
def test_a_prompt_is_not_distinguishable_from_itself(data: list[tuple[float, float]], seed: int) -> None:
    scores_of_one = [a for a, _ in data]
    result = compare_paired(scores_of_one, scores_of_one, seed=seed)
    assert (result.difference, result.p_value, decide(result)) == (0.0, 1.0, "not distinguishable")


@settings(max_examples=5, deadline=None)
@given(st.lists(scores, min_size=1, max_size=20), seeds)
def test_swapping_the_prompts_mirrors_a_corpus_metric(values: list[float], seed: int) -> None:
    n = len(values)

    def share(positions: NDArray[np.intp]) -> float:
        return float(np.array(values)[positions].mean())

    here = compare_aggregate(lambda k: (0.4, share(k)), n, seed=seed)
    there = compare_aggregate(lambda k: (share(k), 0.4), n, seed=seed)
    assert (here.p_value, here.difference) == (there.p_value, -there.difference)
    assert abs(here.interval.lower + there.interval.upper) < 1e-11
    assert within(here.interval, -1, here.difference)
