"""Searches in worlds whose best prompt is known: what the default search chooses, beside random search and halving.

| | |
|---|---|
| regret | 100 × (highest true mean - that of the chosen prompt), in points |
| calls | of a full evaluation as many as there are examples |

Random search screens prompts drawn at random on the same number of examples. Bounds are halfway, or nearly so, between
what was measured of the default search and what random search reaches, over several times as many worlds as are drawn
here.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from optimizer.recorded import RecordedScores
from optimizer.simulation import Simulation, simulate

Array = NDArray[np.float64]
Levels = list[dict[str, str]]
Search = Callable[..., Simulation]
Make = Callable[[np.random.Generator], "World"]

ours: Search = simulate
without_factors: Search = partial(simulate, use_factors=False)
at_random: Search = partial(simulate, sampler="random_search", pruner=None)
by_halving: Search = partial(simulate, sampler="random_search", pruner="successive_halving")

EXAMPLES = 100
SIDE = 12  # of a grid of two factors


@dataclass(frozen=True, kw_only=True)
class World:
    """Prompts with known means; the examples and what is right on each are drawn.

    Attributes:
        difficulty: How far the expected score on an example lies from the prompt's mean, on one side or the other.
        decided: Share of examples on which all prompts are right, or all wrong.
        graded: Whether scores are beta, with a standard deviation of about 0.15, or 0 and 1.
    """

    means: Sequence[float]
    levels: Levels | None = None
    difficulty: float = 0.15
    decided: float = 0.0
    graded: bool = False

    def table(self, rng: np.random.Generator) -> RecordedScores:
        side = self.difficulty * rng.permutation(np.arange(EXAMPLES) % 2 * 2.0 - 1.0)
        expected = np.clip(np.array(self.means)[:, None] + side, 0.01, 0.99)
        same = rng.permutation(EXAMPLES)[: round(self.decided * EXAMPLES)]
        expected[:, same] = np.arange(len(same)) % 2
        if self.graded:
            drawn = rng.beta(9 * expected, 9 * (1 - expected))
        else:
            drawn = (rng.random(expected.shape) < expected).astype(np.float64)
        arms = [f"p{k:03d}" for k in range(len(self.means))]
        return RecordedScores(
            baseline=arms[0],
            scores={
                arm: {f"e{j:03d}": float(score) for j, score in enumerate(row)}
                for arm, row in zip(arms, drawn, strict=True)
            },
            factors=dict(zip(arms, self.levels or [{} for _ in arms], strict=True)),
            test_scores={arm: float(mean) for arm, mean in zip(arms, expected.mean(axis=1), strict=True)},
        )


def grid() -> Levels:
    return [{"wording": f"w{k // SIDE:02d}", "style": f"s{k % SIDE:02d}"} for k in range(SIDE * SIDE)]


def additive(rng: np.random.Generator, *, graded: bool = False) -> World:
    """Return a world in which two factors say all there is to know of a prompt."""
    first, second = rng.normal(0, 0.09, (2, SIDE))
    means = np.clip(0.5 + first[:, None] + second, 0.16, 0.84).ravel()
    return World(means=means.tolist(), levels=grid(), graded=graded)


def idiosyncratic(rng: np.random.Generator) -> World:
    """Return a world of the same spread in which the factors say nothing."""
    means = np.clip(rng.normal(0.5, 0.127, SIDE * SIDE), 0.16, 0.84)
    return World(means=means.tolist(), levels=grid())


def difficult(rng: np.random.Generator) -> World:
    """Return a world in which most examples do not tell prompts apart, and the others are easy or hard."""
    means = np.clip(rng.normal(0.5, 0.14, 100), 0.25, 0.75)
    return World(means=means.tolist(), difficulty=0.24, decided=0.6)


def outlier(rng: np.random.Generator) -> World:
    """Return a world of a hundred prompts of which one is 30 points above the others, and never the baseline."""
    means = [0.5] * 100
    means[int(rng.integers(1, 100))] = 0.8
    return World(means=means)


def flat(rng: np.random.Generator) -> World:
    """Return a world in which no prompt is better than another."""
    return World(means=[0.6] * 24)


def high(rng: np.random.Generator) -> World:
    """Return a world in which nearly every answer is right whatever the prompt."""
    return World(means=np.clip(rng.normal(0.95, 0.02, 60), 0.9, 0.99).tolist(), difficulty=0.01)


def worlds(make: Make, runs: int) -> Iterator[tuple[int, RecordedScores]]:
    for seed in range(runs):
        rng = np.random.default_rng([7, seed])
        yield seed, make(rng).table(rng)


def regret(table: RecordedScores, found: Simulation) -> float:
    return 100 * (max(table.test_scores.values()) - table.test_scores[found.chosen])


def regrets(make: Make, runs: int, evaluations: int, *searches: Search) -> list[float]:
    """Return the mean regret of each search over the same worlds."""
    rows = [
        [regret(table, search(table, calls=evaluations * EXAMPLES, seed=seed)) for search in searches]
        for seed, table in worlds(make, runs)
    ]
    return [statistics.fmean(column) for column in zip(*rows, strict=True)]


def holes(table: RecordedScores, rng: np.random.Generator) -> RecordedScores:
    """Return a table without a third of its cells, and with little more than a tenth of every fifth prompt."""
    shares = [0.12 if k % 5 == 0 else 0.7 for k in range(len(table.scores))]
    scores = {
        arm: {example: score for example, score in row.items() if rng.random() < share or example == "e000"}
        for share, (arm, row) in zip(shares, table.scores.items(), strict=True)
    }
    return RecordedScores(
        baseline=table.baseline, scores=scores, factors=table.factors, test_scores=table.test_scores
    )


def test_where_no_prompt_is_better_what_is_expected_of_the_winner_is_the_truth() -> None:
    """Its plain mean, which it was chosen by, would be about five points too high."""
    gaps = []
    for seed, table in worlds(flat, 60):
        truth = statistics.fmean(score for row in table.scores.values() for score in row.values())
        gaps.append(100 * (ours(table, calls=5 * EXAMPLES, seed=seed).validation - truth))
    assert abs(statistics.fmean(gaps)) <= 1.5


@pytest.mark.parametrize(("graded", "over_random"), [(False, 3.0), (True, 3.5)])
def test_where_factors_say_all_they_make_the_choice_better(graded: bool, over_random: float) -> None:
    known, unknown, random = regrets(
        partial(additive, graded=graded), 120, 4, ours, without_factors, at_random
    )
    assert known < unknown
    assert known < random - over_random


def test_where_factors_say_nothing_they_do_no_harm() -> None:
    known, unknown, random = regrets(idiosyncratic, 30, 4, ours, without_factors, at_random)
    assert known < unknown + 2.5
    assert known < random - 2.0


def test_where_most_examples_say_nothing_of_the_prompt_the_others_are_enough() -> None:
    found, random, halved = regrets(difficult, 30, 8, ours, at_random, by_halving)
    assert found < random - 1.5
    assert found < halved - 0.3


def test_one_prompt_among_a_hundred_is_mostly_found_in_eight_full_evaluations() -> None:
    tables = list(worlds(outlier, 30))
    shares = [
        sum(regret(table, search(table, calls=8 * EXAMPLES, seed=seed)) == 0 for seed, table in tables)
        / len(tables)
        for search in (ours, at_random)
    ]
    assert shares[0] > 0.5 > shares[1]


def test_near_a_ceiling_little_is_lost() -> None:
    """A prompt taken at random loses four points."""
    (lost,) = regrets(high, 20, 5, ours)
    assert lost <= 3.0


@pytest.mark.parametrize("calls", [1, 2, 19, 60, 250, 1000, 100_000])
def test_no_budget_is_exceeded_where_cells_are_missing(calls: int) -> None:
    for seed, whole in worlds(additive, 2):
        table = holes(whole, np.random.default_rng(seed))
        for search in (ours, without_factors, by_halving):
            found = search(table, calls=calls, seed=seed)
            assert 1 <= found.calls <= min(calls, sum(map(len, table.scores.values())))


def test_a_good_prompt_is_found_where_cells_are_missing() -> None:
    found, random = list[float](), list[float]()
    for seed, whole in worlds(partial(additive, graded=True), 20):
        table = holes(whole, np.random.default_rng(seed))
        for search, lost in ((ours, found), (at_random, random)):
            lost.append(regret(table, search(table, calls=4 * EXAMPLES, seed=seed)))
    assert statistics.fmean(found) < statistics.fmean(random) - 2.0
