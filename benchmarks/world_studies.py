"""Studies in worlds whose truth is known: search on validation, one test on fresh examples, the verdict."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from known_worlds import STYLES, Drawn, Scores, World

from optimizer.digest import derived_seed
from optimizer.recorded import RecordedScores
from optimizer.significance import Decision, PairedComparison, compare_paired, wilson
from optimizer.simulation import simulate
from optimizer.verdict import settle

VALIDATION = 100
# Full evaluations that a search may spend.
EVALUATIONS = 5
# The default of a study file.
MARGIN = 0.02
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Studied:
    """What one study found.

    Attributes:
        chosen: The arm that won on validation; 0 where the baseline was kept.
        estimate: Its shrunken estimate.
        plain: Its mean score on the examples that the search saw it on.
        best_plain: The highest such mean of any arm.
        comparison: Of the test; None where the baseline was kept, which is then not compared with itself.
    """

    chosen: int
    estimate: float
    plain: float
    best_plain: float
    comparison: PairedComparison | None
    decision: Decision


class _Noted(dict[str, float]):
    """Scores of one arm; knows which of them were looked at."""

    def __init__(self, scores: Mapping[str, float]) -> None:
        super().__init__(scores)
        self.seen: dict[str, float] = {}

    def __getitem__(self, example: str) -> float:
        self.seen[example] = super().__getitem__(example)
        return self.seen[example]


def study(
    validation: Drawn, test: Drawn, *, seed: int, factors: Mapping[str, Mapping[str, str]] | None = None
) -> Studied:
    """Return what a study with default settings finds; `again` tests its choice on other examples.

    Args:
        factors: Levels of each arm; wording and style unless given.
    """
    names = arm_names(len(validation.scores))
    rows = {name: _Noted(row) for name, row in named_scores(validation.scores).items()}
    levels = grid(len(names)) if factors is None else factors
    table = RecordedScores(baseline=names[0], scores=rows, factors=levels, test_scores={})
    found = simulate(table, calls=EVALUATIONS * validation.scores.shape[1], seed=seed)
    plain = {name: math.fsum(row.seen.values()) / len(row.seen) for name, row in rows.items() if row.seen}
    chosen = names.index(found.chosen)
    comparison = None if chosen == 0 else tested(test, chosen, seed=derived_seed(seed, "test"))
    return Studied(
        chosen=chosen,
        estimate=found.validation,
        plain=plain[found.chosen],
        best_plain=max(plain.values()),
        comparison=comparison,
        decision=verdict(comparison),
    )


def again(found: Studied, test: Drawn, *, seed: int) -> Studied:
    """Return the same study with another test."""
    comparison = None if found.chosen == 0 else tested(test, found.chosen, seed=seed)
    return dataclasses.replace(found, comparison=comparison, decision=verdict(comparison))


def tested(test: Drawn, arm: int, *, seed: int) -> PairedComparison:
    """Return how an arm differs from the baseline."""
    before, after = (test.scores[each].tolist() for each in (0, arm))
    return compare_paired(before, after, seed=seed, clusters=test.groups)


def verdict(comparison: PairedComparison | None) -> Decision:
    """Return the decision on a winner; the baseline is no better than itself."""
    if comparison is None:
        return "not distinguishable"
    return settle(comparison, over_guess=None, saving=None, margin=MARGIN).decision


def arm_names(n: int) -> list[str]:
    """Return names whose alphabetical order is that of the arms."""
    return [f"arm{k:03d}" for k in range(n)]


def named_scores(scores: Scores) -> dict[str, dict[str, float]]:
    """Return scores by arm and example."""
    examples = [f"e{j:03d}" for j in range(scores.shape[1])]
    arms = arm_names(len(scores))
    return {
        arm: dict(zip(examples, row, strict=True)) for arm, row in zip(arms, scores.tolist(), strict=True)
    }


def grid(n_arms: int) -> dict[str, dict[str, str]]:
    """Return a wording and a style for each arm."""
    return {
        arm: {"wording": f"w{k // STYLES:02d}", "style": f"s{k % STYLES}"}
        for k, arm in enumerate(arm_names(n_arms))
    }


# ---- Many studies --------------------------------------------------------------------------------------------------


class Share(NamedTuple):
    """A share of runs with its interval."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.lower:.1%}-{self.upper:.1%})"


def share(cases: Sequence[bool]) -> Share:
    """Return the share of cases that are true; of none, nothing is known."""
    if not cases:
        return Share(math.nan, 0.0, 1.0)
    interval = wilson(sum(cases), len(cases), level=LEVEL)
    return Share(sum(cases) / len(cases), interval.lower, interval.upper)


def studies(
    name: str, world: World, runs: int, *, seed: int, n_test: int, tests: int = 1
) -> Iterator[Studied]:
    """Yield `runs` studies in one world.

    Args:
        tests: How many studies in a row have the choice of one search in common, each tested on examples of its own.
            Given the arm, what one test finds says nothing of the next.
    """
    for rng, run_seed in chances(name, math.ceil(runs / tests), seed):
        found = study(world.draw(rng, VALIDATION), world.draw(rng, n_test), seed=run_seed)
        yield found
        for k in range(1, tests):
            yield again(found, world.draw(rng, n_test), seed=derived_seed(run_seed, "test", k))


def chances(name: str, runs: int, seed: int) -> Iterator[tuple[np.random.Generator, int]]:
    """Yield a generator and a seed for each run, which no other run and no other world has."""
    for run in range(runs):
        run_seed = derived_seed(seed, name, run)
        yield np.random.default_rng(run_seed), run_seed


def kind_of(graded: bool) -> str:
    """Return the kind of scores in words."""
    return "graded" if graded else "0/1"
