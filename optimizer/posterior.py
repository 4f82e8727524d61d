"""What scores say of each arm, for a search that has to decide often: posterior means from a matrix of scores.

| | |
|---|---|
| y | score of arm a on example j, in [0, 1]; not a number where it was not asked for |
| model | y = m + f_a + b_j + e: overall mean, effects of arm and example, noise |
| f | normal, of variance s²: a share of it, one of `SHARED`, is a Gaussian process over the arms' factors, the rest the arm's own |
| kinship | correlation of the shared parts of two arms: `LIKENESS` to the power of the number of factors they differ in |
| b | normal; what is left of an example's scores when the arms are taken out, shrunken |

Sharing strength by the number of differing factors holds main effects and all interactions: two arms alike but for
one factor tell of each other more than an additive model lets them (on recorded grids of 366 to 374 prompts it
explains 0.61 to 0.75 of the variance between left-out prompts, an additive one 0.45 to 0.53). The scale s is chosen
from `SCALES`, and the share, by marginal likelihood, the noise by EM (Rasmussen and Williams 2006, sections 2.2 and 5.4). `effects`
fits the same sort of model to the end, with a variance for every block; this one is made for hundreds of arms in
some milliseconds. Pure and seedless.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LIKENESS = 0.5
SHARED = (0.1, 0.5)
SCALES = (0.003, 0.007, 0.012, 0.02, 0.04, 0.07, 0.11, 0.16, 0.24)

# Log-normal prior of the scale. Who ranks arms by their kin takes the usual one, measured between real prompts; who
# says what the best one is expected to score takes a sceptical one: where prompts do not differ, a search picks the
# luckiest of hundreds, and only a prior that has to be overcome takes all of that back. What luck can bring shrinks with
# the root of the number of examples: so the prior is about a third of the standard error of a mean over all of them,
# within bounds, of which the lower one is reached from 289 examples on.
USUAL, SCEPTICAL, LEAST_SCEPTICAL = 0.1, 0.01, 0.02
_OF_ROOT = 0.17
_SPREAD = 0.8
_FIRST_SCALE = 5  # of SCALES, where the climb begins
# Two sweeps rank arms that race side by side as well as more do (docs/design/search.md), and a search does it after
# every example. They leave open whether arms that were asked little did badly or were asked what is hard; what a winner is expected to score
# depends on that, so it is swept until no arm moves by as much as `_SETTLED`.
_SWEEPS, _MOST_SWEEPS, _SETTLED = 2, 60, 0.0005
_LEAST_NOISE = 0.004
_PRIOR_SCORES = 4  # scores that the prior of the noise is worth
_EXAMPLES = (0.001, 0.15)  # least and greatest variance of example effects
_FIRST_EXAMPLES = 0.05
_DIGITS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Kinship:
    """Which arms resemble each other, by their factors.

    Attributes:
        group: Of each arm, the number of its combination of levels; (n_arms,).
        likeness: Correlation of the shared parts of two combinations; (n_groups, n_groups).
    """

    group: NDArray[np.intp]
    likeness: Array

    @classmethod
    def of(cls, levels: Sequence[Mapping[str, str]]) -> "Kinship":
        """Return the kinship of arms with these levels by factor."""
        names = sorted({name for row in levels for name in row})
        rows = [tuple(row.get(name, "") for name in names) for row in levels]
        combinations = sorted(set(rows))
        place = {row: k for k, row in enumerate(combinations)}
        codes = [
            {level: k for k, level in enumerate({row[f]: 0 for row in combinations})}
            for f in range(len(names))
        ]
        coded = np.array(
            [[code[level] for code, level in zip(codes, row, strict=True)] for row in combinations]
        )
        coded = coded.reshape(len(combinations), len(names))
        differing = (coded[:, None, :] != coded[None, :, :]).sum(axis=2)
        group = np.array([place[row] for row in rows], dtype=np.intp)
        return cls(group=group, likeness=np.asarray(LIKENESS**differing, dtype=np.float64))


@dataclass(frozen=True, kw_only=True, slots=True)
class Posterior:
    """What is believed of each arm.

    Attributes:
        means: Expected score over all examples, not clipped to [0, 1]; (n_arms,).
        deviations: Standard deviation of that belief; (n_arms,).
        examples: Shrunken effect of each example; (n_examples,).
    """

    means: Array
    deviations: Array
    examples: Array


def arm_posterior(
    scores: Array, kinship: Kinship | None = None, *, usual: float = USUAL, settled: bool = False
) -> Posterior:
    """Return the posterior of arms, those without a score included.

    Args:
        scores: (n_arms, n_examples), NaN where a score is missing; at least one is there.
        kinship: Of the same arms; without it every arm is a stranger to the others.
        usual: How far arms lie apart as a rule, in units of score.
        settled: Whether to fit until nothing moves, where arms were asked about different examples.
    """
    mask = ~np.isnan(scores)
    seen, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    held = mask[np.ix_(seen, cols)].astype(np.float64)
    cells = _Cells(held=held, scores=np.where(held > 0, scores[np.ix_(seen, cols)], 0.0))
    with _libraries().limit(limits=1, user_api="blas"):
        fit = _Fit(cells, None if kinship is None else kinship.group[seen], kinship, usual)
        if settled:
            fit.settle()
        else:
            for sweep in range(_SWEEPS):
                fit.update(climb=sweep in (0, _SWEEPS - 1))
        means, deviations = fit.predict(len(scores), seen, kinship)
    examples = np.zeros(scores.shape[1])
    examples[cols] = fit.examples
    return Posterior(
        means=np.round(means, _DIGITS),
        deviations=np.round(deviations, _DIGITS),
        examples=np.round(examples, _DIGITS),
    )


def expected_scores(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return what each arm is expected to score on all examples, in [0, 1], drawn towards the mean of all arms.

    Args:
        scores: Scores in [0, 1] by arm and example id; every arm has at least one, and there is one arm or more.
    """
    arms, examples = sorted(scores), sorted({example for row in scores.values() for example in row})
    matrix = np.array([[scores[arm].get(example, np.nan) for example in examples] for arm in arms])
    return dict(zip(arms, map(float, expected_means(matrix)), strict=True))


def expected_means(scores: Array) -> Array:
    """Return what each arm is expected to score on all examples, in [0, 1]; (n_arms,).

    The prior is sceptical, since the best of many arms is also the luckiest, and effects of examples are in the model.

    Args:
        scores: (n_arms, n_examples), NaN where a score is missing; every arm has at least one.
    """
    usual = min(LEAST_SCEPTICAL, max(SCEPTICAL, _OF_ROOT / math.sqrt(scores.shape[1])))
    found = arm_posterior(scores, usual=usual, settled=True)
    # An effect is about 0 for the examples that were asked, harder and easier ones, not for those an arm was spared.
    return np.asarray(np.clip(found.means + float(found.examples.mean()), 0.0, 1.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cells:
    """The scores of those arms and examples that have any.

    Attributes:
        held: 1 where there is a score, else 0.
        scores: The scores, 0 where there is none.
    """

    held: Array
    scores: Array

    @property
    def by_arm(self) -> Array:
        return np.asarray(self.held.sum(axis=1))

    @property
    def by_example(self) -> Array:
        return np.asarray(self.held.sum(axis=0))


class _Fit:
    """The model fitted to some cells."""

    def __init__(
        self, cells: _Cells, group: NDArray[np.intp] | None, kinship: Kinship | None, usual: float
    ) -> None:
        self.usual = usual
        self.cells, self.counts = cells, cells.by_arm
        mean = float(cells.scores.sum() / self.counts.sum())
        self.prior = 0.8 * max(0.02, mean * (1 - mean))
        self.noise, self.scale, self.of_examples = self.prior, _FIRST_SCALE, 0.0
        self.examples = np.zeros(cells.held.shape[1])
        self.shares = (0.0,) if kinship is None else SHARED
        self.shared = self.shares[-1]
        self.groups, self.place = (
            (np.zeros(1, dtype=np.intp), np.zeros(len(self.counts), dtype=np.intp))
            if group is None
            else np.unique(group, return_inverse=True)
        )
        self.likeness = (
            np.ones((1, 1)) if kinship is None else kinship.likeness[np.ix_(self.groups, self.groups)]
        )

    def update(self, *, climb: bool) -> None:
        """Fit arms, then examples, then the noise."""
        cells = self.cells
        self.raw = (cells.scores.sum(axis=1) - cells.held @ self.examples) / self.counts
        if climb:
            self._climb()
        self._solve()
        if len(self.examples) > 1:
            self._fit_examples()
        spread = self.noise / (cells.by_example + self.noise / self.of_examples) if self.of_examples else 0.0
        left = (cells.scores - (self.arms[:, None] + self.examples) * cells.held) * cells.held
        unsure = float((self.spread * self.counts).sum() + (spread * cells.by_example).sum())
        total = float((left**2).sum()) + unsure + _PRIOR_SCORES * self.prior
        self.noise = max(_LEAST_NOISE, total / (float(self.counts.sum()) + _PRIOR_SCORES))

    def settle(self) -> None:
        """Fit until no arm moves."""
        self.update(climb=True)
        for _ in range(_MOST_SWEEPS):
            before = self.arms
            self.update(climb=True)
            if float(np.abs(self.arms - before).max()) < _SETTLED:
                break

    def _fit_examples(self) -> None:
        counts = self.cells.by_example
        sums = self.cells.scores.sum(axis=0) - self.arms @ self.cells.held
        if self.of_examples:
            found = float(np.mean((sums / counts) ** 2) - np.mean(self.noise / counts))
            self.of_examples = min(max(_EXAMPLES[0], found), _EXAMPLES[1])
        else:
            self.of_examples = _FIRST_EXAMPLES
        self.examples = sums / (counts + self.noise / self.of_examples)

    def _climb(self) -> None:
        """Move the scale to a neighbour as long as that is likelier; then take the likelier share."""
        known = {self.scale: self._likelihood(self.scale)}
        while True:
            near = [k for k in (self.scale - 1, self.scale + 1) if 0 <= k < len(SCALES)]
            known |= {k: self._likelihood(k) for k in near if k not in known}
            best = max(known, key=lambda k: known[k])
            if best == self.scale:
                break
            self.scale = best
        found = dict[float, float]()
        for share in self.shares:
            self.shared = share
            found[share] = self._likelihood(self.scale)
        self.shared = max(found, key=lambda share: found[share])

    def _parts(self, scale: int) -> tuple[Array, Array, Array, Array]:
        """Return each arm's own variance with its noise, and of each group the factor of its covariance, weight and mean."""
        variance = SCALES[scale] ** 2
        own = (1 - self.shared) * variance + self.noise / self.counts
        weight = np.bincount(self.place, weights=1 / own)
        mean = np.bincount(self.place, weights=self.raw / own) / weight
        covariance = self.shared * variance * self.likeness + np.diag(1 / weight)
        return own, np.asarray(np.linalg.cholesky(covariance)), np.asarray(weight, dtype=np.float64), mean

    def _likelihood(self, scale: int) -> float:
        own, factor, weight, mean = self._parts(scale)
        ones, rest = _solved(factor, np.ones(len(mean))), _solved(factor, mean)
        overall = float(ones @ rest / (ones @ ones))
        inner = float(
            (((self.raw - mean[self.place]) ** 2) / own).sum() + np.log(own).sum() + np.log(weight).sum()
        )
        outer = float(((rest - overall * ones) ** 2).sum()) + 2 * float(np.log(np.diag(factor)).sum())
        prior = (np.log(SCALES[scale] / self.usual) / _SPREAD) ** 2
        return -0.5 * (inner + outer + float(np.log(ones @ ones)) + float(prior))

    def _solve(self) -> None:
        own, factor, _, mean = self._parts(self.scale)
        variance = SCALES[self.scale] ** 2
        ones, rest = _solved(factor, np.ones(len(mean))), _solved(factor, mean)
        self.overall = float(ones @ rest / (ones @ ones))
        self.weights = _solved(factor, rest - self.overall * ones, transposed=True)
        self.factor, self.own = factor, (1 - self.shared) * variance
        of_group, uncertain = self._groups(self.likeness)
        pull = self.own / own
        self.arms = of_group[self.place] + pull * (self.raw - of_group[self.place])
        self.spread = self.own * (1 - pull) + (1 - pull) ** 2 * uncertain[self.place]

    def _groups(self, likeness: Array) -> tuple[Array, Array]:
        """Return mean and variance of the shared part of some groups, given their likeness to the groups seen."""
        share = self.shared * SCALES[self.scale] ** 2
        across = _solved(self.factor, share * likeness.T)
        return self.overall + share * (likeness @ self.weights), np.maximum(
            0.0, share - (across**2).sum(axis=0)
        )

    def predict(self, n: int, seen: NDArray[np.intp], kinship: Kinship | None) -> tuple[Array, Array]:
        """Return means and deviations of all arms."""
        if kinship is None:
            means, variances = np.full(n, self.overall), np.full(n, SCALES[self.scale] ** 2)
        else:
            of_group, uncertain = self._groups(kinship.likeness[:, self.groups])
            means, variances = of_group[kinship.group], uncertain[kinship.group] + self.own
        means[seen], variances[seen] = self.arms, self.spread
        return means, np.sqrt(np.maximum(0.0, variances))


@functools.cache
def _libraries() -> Any:  # noqa: ANN401  # it has no types
    """Return what keeps linear algebra to one thread.

    Several threads wait for each other on a machine that is busy, with a model of its own for example: matrices of
    this size then take a hundred times as long (0.2 s in place of 2 ms). How the last digits are rounded depends on
    their number, too.
    """
    import scipy.linalg  # noqa: F401  # its library has to be there to be limited
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _solved(factor: Array, right: Array, *, transposed: bool = False) -> Array:
    """Return the solution of a triangular system."""
    # `solve_triangular` is this, behind checks that take ten times as long as systems of this size.
    from scipy.linalg.lapack import dtrtrs

    # LAPACK reads matrices by columns: it is handed the transposed one.
    found, info = dtrtrs(factor.T, right, lower=0, trans=0 if transposed else 1)
    assert info == 0  # a factor of Cholesky has no zero on its diagonal
    return np.asarray(found, dtype=np.float64)
