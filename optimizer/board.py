"""The scores of a search so far, as arrays: one row an arm, one column an example."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.posterior import Array, Kinship, Posterior, arm_posterior, expected_means

# Most arms whose factors are compared with each other: the time for it grows with the cube, and what more arms say
# of a level is known by then.
MOST_KIN = 700

# Share of the scores of a race's first arm that another needs to be confirmed before it.
_ENOUGH = 0.25

Point = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """An arm that entered a search.

    Attributes:
        number: Its trial.
        cost: Calls that one example takes.
        point: Where it lies in the space; empty where it is not to be compared by factors.
    """

    number: int
    cost: int
    point: Point


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What one example brought: its score in [0, 1], and whether an answer could be read at all."""

    score: float
    valid: bool = True


Readings = Mapping[int, Mapping[str, Reading]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What is expected of arms and of points that were not tried.

    Attributes:
        arms: Expected score by number; minus infinity of an arm that was left out of the reckoning.
        points: Expected score and point, best first.
    """

    arms: Mapping[int, float]
    points: tuple[tuple[float, Point], ...]


def _levels(point: Point) -> dict[str, str]:
    return {name: str(value) for name, value in point.items()}


class Board:
    """What is known.

    Attributes:
        examples: Ids, in the order of the study.
        arms: In the order in which they entered; the first is the baseline.
        propose: Gives up to so many points that may still be tried, by a seeded draw; a sampler ranks them.
        kindred: Whether arms are to be told of each other by what they have in common.
        growing: Whether points are made while the search runs, beside those that there are.
        traits: Gives what is compared of a point: its levels by factor.
    """

    def __init__(
        self,
        examples: Sequence[str],
        propose: Callable[[Random, int], Sequence[Point]] = lambda _rng, _n: (),
        *,
        kindred: bool = False,
        growing: bool = False,
        traits: Callable[[Point], Mapping[str, str]] = _levels,
    ) -> None:
        self.examples = tuple(examples)
        self.arms: list[Arm] = []
        self.propose = propose
        self.kindred = kindred
        self.growing = growing
        self.traits = traits
        self._outlook: Outlook | None = None
        self._place = {example: k for k, example in enumerate(examples)}
        self._row: dict[int, int] = {}
        self._entered: set[tuple[tuple[str, Any], ...]] = set()
        self._scores = np.full((64, len(examples)), np.nan)
        self._valid = np.full((64, len(examples)), np.nan)

    @property
    def scores(self) -> Array:
        """Return the scores, NaN where there is none; (n_arms, n_examples)."""
        return self._scores[: len(self.arms)]

    @property
    def n_scored(self) -> int:
        """Return how many arms have a score."""
        return int((~np.isnan(self.scores)).any(axis=1).sum())

    @property
    def n_scores(self) -> int:
        """Return how many scores there are."""
        return int((~np.isnan(self.scores)).sum())

    def enter(self, arms: Sequence[Arm]) -> None:
        """Add arms without scores."""
        for arm in arms:
            if len(self.arms) == len(self._scores):
                more = np.full_like(self._scores, np.nan)
                self._scores, self._valid = np.vstack([self._scores, more]), np.vstack([self._valid, more])
            self._row[arm.number] = len(self.arms)
            self._entered.add(_key(arm.point))
            self.arms.append(arm)

    def claim(self, point: Point) -> None:
        """Count a point as entered: an arm at it was asked for, and enters with others."""
        self._entered.add(_key(point))

    def has_entered(self, point: Point) -> bool:
        """Return whether an arm at that point has entered, or was asked for."""
        return _key(point) in self._entered

    def take(self, readings: Readings) -> int:
        """Add what was read; return how many calls it took."""
        calls = 0
        for number, found in readings.items():
            row = self._row[number]
            for example, reading in found.items():
                column = self._place[example]
                self._scores[row, column], self._valid[row, column] = reading.score, reading.valid
            calls += self.arms[row].cost * len(found)
        self._outlook = None
        return calls

    def outlook(self) -> "Outlook":
        """Return what the scores say of every arm and of points not tried, by all they have in common."""
        if self._outlook is None:
            rng = Random(self.n_scores)  # repeatable, not secret
            drawn = {_key(point): point for point in self.propose(rng, MOST_KIN)}
            points = [point for key, point in drawn.items() if key not in self._entered]
            found, n = self.shared(points), len(self.arms)
            order = np.argsort(-found.means[n:], kind="stable")
            self._outlook = Outlook(
                arms={arm.number: float(mean) for arm, mean in zip(self.arms, found.means[:n], strict=True)},
                points=tuple((float(found.means[n + k]), points[k]) for k in order),
            )
        return self._outlook

    def rows(self, numbers: Sequence[int]) -> NDArray[np.intp]:
        """Return the rows of some arms."""
        return np.array([self._row[number] for number in numbers], dtype=np.intp)

    def missing(self, number: int, examples: Sequence[str]) -> tuple[str, ...]:
        """Return those of some examples on which an arm has no score."""
        row = self._scores[self._row[number]]
        return tuple(example for example in examples if np.isnan(row[self._place[example]]))

    def can_speak(self, some: Sequence[int], others: Sequence[int]) -> bool:
        """Return whether each of the others has a score, and each of some arms one above 0."""
        scores, theirs = self._scores[self.rows(some)], self._scores[self.rows(others)]
        return bool((scores > 0).any(axis=1).all() and (~np.isnan(theirs)).any(axis=1).all())

    def mean(self) -> float:
        """Return the mean over all arms of what each scored on average; those without a score are left out, 0.0 where all are."""
        known = [row[~np.isnan(row)] for row in self.scores]
        return fmean([float(row.mean()) for row in known if len(row)] or [0.0])

    def on(self, numbers: Sequence[int], example: str) -> Array:
        """Return the scores of some arms on one example, NaN where there is none."""
        return np.asarray(self._scores[self.rows(numbers), self._place[example]])

    def own(self, numbers: Sequence[int]) -> Posterior:
        """Return what the scores of some arms say of them, whatever their factors are."""
        return arm_posterior(self._scores[self.rows(numbers)])

    def estimates(self) -> dict[int, float]:
        """Return what each arm that has a score is expected to score on all examples, in [0, 1]."""
        numbers = [
            arm.number for arm, row in zip(self.arms, self.scores, strict=True) if not np.isnan(row).all()
        ]
        if not numbers:
            return {}
        return dict(zip(numbers, map(float, expected_means(self._scores[self.rows(numbers)])), strict=True))

    def best_first(self, numbers: Sequence[int]) -> tuple[int, ...]:
        """Return some arms by their estimates; equals keep their order, and whoever has no score comes last.

        After all others come those that have less than `_ENOUGH` of the scores of the first: a fit of one noise for all arms
        trusts a single right answer too much where the best of many arms hardly err.
        """
        estimates, counts = self.estimates(), (~np.isnan(self.scores[self.rows(numbers)])).sum(axis=1)
        few = {n for n, count in zip(numbers, counts, strict=True) if count < _ENOUGH * counts[:1].sum()}
        return tuple(sorted(numbers, key=lambda number: (number in few, -estimates.get(number, -1.0))))

    def shared(self, points: Sequence[Point] = ()) -> Posterior:
        """Return what all scores and factors say of every arm, and of some points beyond them.

        Whether an answer can be read, and how good a readable one is, are modelled apart where some could not be
        read: a format decides the one, a wording rather the other. Of many arms those of the most scores are used.
        """
        counts = (~np.isnan(self.scores)).sum(axis=1)
        used = np.sort(np.argsort(-counts, kind="stable")[:MOST_KIN])
        kinship = Kinship.of(
            [self.traits(point) for point in (*(self.arms[row].point for row in used), *points)]
        )
        blank = np.full((len(points), len(self.examples)), np.nan)
        scores, valid = (
            np.vstack([matrix[: len(self.arms)][used], blank]) for matrix in (self._scores, self._valid)
        )
        found = arm_posterior(scores, kinship)
        if (valid == 0).any() and (valid == 1).any():
            readable = arm_posterior(valid, kinship)
            good = arm_posterior(np.where(valid == 1, scores, np.nan), kinship)
            found = Posterior(
                means=np.clip(readable.means, 0, 1) * good.means,
                deviations=found.deviations,
                examples=found.examples,
            )
        n = len(self.arms)
        means, deviations = np.full(n + len(points), -np.inf), np.zeros(n + len(points))
        where = np.concatenate([used, np.arange(n, n + len(points))]).astype(np.intp)
        means[where], deviations[where] = found.means, found.deviations
        return Posterior(means=means, deviations=deviations, examples=found.examples)


def _key(point: Point) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(point.items()))
