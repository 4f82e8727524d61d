"""What each level of a factor brought over another, from scores of some arms on some examples.

| | |
|---|---|
| y | score of arm a on example j, in [0, 1] |
| model | y = m + Σ_f u_f(a) + v_a + b_j + e, the model of `effects`: mean, effects of the arm's factors, of the arm, of the example, noise |
| contrast | u_f(level) − u_f(reference), in units of score |
| λ | precision of what the scores say of the arms, along its eigenvectors |

`effects` fits the model to an estimate; a difference of two levels needs its uncertainty as well, and of a factor with
two levels hardly anything is known of the variance that draws them together. So noise and example effects are those of
`effects`, and the variances of factors and arms are drawn together with the effects (Gibbs sampling; Gelman 2006,
"Prior distributions for variance parameters in hierarchical models", Bayesian Analysis 1:515: half-Cauchy priors).
Estimates are therefore shrunken. Which arms were given more examples was decided by scores that are all in the data, so
a posterior does not have to know the rule (Rubin 1976, "Inference and missing data", Biometrika 63:581).

Allowing for how many levels were looked at: the intervals of one factor are widened until all of them hold at once with
the stated probability (the quantile of the greatest deviation over the levels takes the place of that of one). Pure:
the same arguments, the same contrasts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.effects import Factors, Scores, arm_effects

Array = NDArray[np.float64]

LEVEL = 0.95
FEWEST_ARMS = 4  # of fewer no variance between arms can be told

# Standard deviations that the effects of a factor, or of arms, may have; a format may decide everything.
_SCALES = np.array([0.003, 0.006, 0.012, 0.02, 0.035, 0.06, 0.1, 0.16, 0.25, 0.4])
_USUAL = 0.1  # scale of the half-Cauchy prior
_ANY = 1e3  # scale of the mean, of which nothing is known beforehand
_WARM, _DRAWS, _CHAINS = 150, 1000, 5
_LEAST_EXAMPLES = 1e-4  # variance
_DIGITS = 6  # of what is told; far below what draws can tell


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """A level of a factor against the reference of that factor.

    Attributes:
        value: What it brought, in units of score; shrunken.
        lower: Lower end of the interval, which holds for all levels of the factor at once.
        upper: Its upper end.
        arms: Arms of this level.
        fewest: Examples of the arm of this level, or of the reference, that has the fewest.
        most: Examples of the one that has the most.
    """

    factor: str
    level: str
    reference: str
    value: float
    lower: float
    upper: float
    arms: int
    fewest: int
    most: int

    @property
    def claimed(self) -> bool:
        """Return whether the difference is beyond chance."""
        return self.lower > 0 or self.upper < 0


def contrasts(
    scores: Scores,
    factors: Factors,
    references: Mapping[str, str],
    *,
    seed: int,
    along: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Contrast, ...]:
    """Return every level against the reference of its factor, in the order of `references`, then of the levels' names.

    Args:
        scores: Scores by arm and example id; every arm has at least one.
        factors: Levels by arm and factor, the same factors for every arm.
        references: The level of each factor that is asked about that the others are compared with; a factor whose
            reference no arm has is left out.
        along: Factors that change with another: showing two examples instead of none also shows some set of two. A
            contrast of the other counts the mean effect of their levels that go with each of its own.

    Returns:
        Nothing where there are fewer than `FEWEST_ARMS` arms.
    """
    if len(scores) < FEWEST_ARMS:
        return ()
    design = _Design.of(scores, factors)
    draws = _draws(design, np.random.default_rng(seed))
    made: list[Contrast] = []
    for name, reference in references.items():
        levels = sorted({factors[arm][name] for arm in design.arms})
        others = [level for level in levels if level != reference]
        if reference not in levels or not others:
            continue
        moved = (name, *(along or {}).get(name, ()))
        rows = {level: design.row(name, level, moved) for level in levels}
        values = draws @ np.array([rows[level] - rows[reference] for level in others]).T
        for level, ends in zip(others, _intervals(values), strict=True):
            made.append(_contrast((name, level, reference), ends, design, scores))
    return tuple(made)


def _contrast(
    what: tuple[str, str, str], ends: tuple[float, float, float], design: "_Design", scores: Scores
) -> Contrast:
    name, level, reference = what
    own, other = (design.arms_of(name, each) for each in (level, reference))
    seen = [len(scores[arm]) for arm in (*own, *other)]
    value, lower, upper = ends
    return Contrast(
        factor=name,
        level=level,
        reference=reference,
        value=value,
        lower=lower,
        upper=upper,
        arms=len(own),
        fewest=min(seen),
        most=max(seen),
    )


def _intervals(values: Array) -> list[tuple[float, float, float]]:
    """Return value, lower and upper end of each column, so that all columns hold at once; (n_draws, n_levels)."""
    centre, spread = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)
    reach = float(np.quantile(np.abs((values - centre) / spread).max(axis=1), LEVEL))
    ends = (centre, centre - reach * spread, centre + reach * spread)
    return [
        (round(float(a), _DIGITS), round(float(b), _DIGITS), round(float(c), _DIGITS))
        for a, b, c in zip(*ends, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class _Design:
    """The scores as what they say of the arms, and the arms as sums of the effects of their levels.

    Attributes:
        columns: Factor and level of each effect; the mean comes before them. (n_effects - 1,)
        effects: The arms along the eigenvectors, as sums of effects; (n_arms, n_effects).
        seen: What the scores say along the eigenvectors; (n_arms,).
        variance: How far that may be off by chance, 1 / λ; (n_arms,).
    """

    arms: tuple[str, ...]
    factors: Factors
    columns: tuple[tuple[str, str], ...]
    effects: Array
    seen: Array
    variance: Array

    @classmethod
    def of(cls, scores: Scores, factors: Factors) -> "_Design":
        """Return the design; example effects are integrated out."""
        arms = tuple(sorted(scores))
        names = sorted({name for arm in arms for name in factors[arm]})
        columns = tuple(
            (name, level) for name in names for level in sorted({factors[arm][name] for arm in arms})
        )
        rows = [[1.0, *(float(factors[arm][name] == level) for name, level in columns)] for arm in arms]
        precision, pull = _information(scores, arms, factors)
        values, vectors = np.linalg.eigh(precision)
        told = values > values.max() * 1e-9
        turned = vectors[:, told].T
        return cls(
            arms=arms,
            factors=factors,
            columns=columns,
            effects=turned @ np.array(rows),
            seen=(turned @ pull) / values[told],
            variance=1 / values[told],
        )

    def arms_of(self, name: str, level: str) -> tuple[str, ...]:
        """Return the arms of a level."""
        return tuple(arm for arm in self.arms if self.factors[arm][name] == level)

    def row(self, name: str, level: str, moved: Sequence[str]) -> Array:
        """Return how a level counts the effects: its own, and the mean of those that go with it; (n_effects,)."""
        arms = self.arms_of(name, level)
        counted = np.zeros(1 + len(self.columns))
        for each in moved:
            going = sorted({self.factors[arm][each] for arm in arms})
            for other in going:
                counted[1 + self.columns.index((each, other))] = 1 / len(going)
        return counted


def _information(scores: Scores, arms: Sequence[str], factors: Factors) -> tuple[Array, Array]:
    """Return precision and precision × value of what the scores say of the arms; (n_arms, n_arms) and (n_arms,)."""
    fitted = arm_effects(scores, factors=factors)
    examples = sorted({example for arm in arms for example in scores[arm]})
    asked = np.array([[float(j in scores[arm]) for j in examples] for arm in arms])
    given = np.array([[scores[arm].get(j, 0.0) for j in examples] for arm in arms])
    noise = max(fitted.noise**2, 1e-6)
    easy = np.array([fitted.examples[j] for j in examples])
    ratio = noise / max(float(np.mean(easy**2)), _LEAST_EXAMPLES)
    share = asked / (asked.sum(axis=0) + ratio)
    precision = (np.diag(asked.sum(axis=1)) - share @ asked.T) / noise
    return precision, (given.sum(axis=1) - share @ given.sum(axis=0)) / noise


def _draws(design: _Design, random: np.random.Generator) -> Array:
    """Return draws of all effects from their posterior, of some chains side by side; (n_draws, n_effects)."""
    names = [name for name, _ in design.columns]
    kinds = list(dict.fromkeys(names))
    block = np.array([kinds.index(name) for name in names], dtype=np.intp)
    member = np.eye(len(kinds))[block]  # (n_effects - 1, n_factors)
    # Half-Cauchy on scales evenly spaced in their logarithm.
    prior = np.log(_SCALES) - np.log1p((_SCALES / _USUAL) ** 2)
    usual = prior - np.outer(member.sum(axis=0), np.log(_SCALES))  # (n_factors, n_scales)
    spreads = design.variance[:, None] + _SCALES**2  # (n_arms, n_scales)
    known = [_weighed(design, spread) for spread in spreads.T]
    matrices, rights = (np.stack(each) for each in zip(*known, strict=True))
    far, weights = prior - np.log(spreads).sum(axis=0) / 2, 1 / spreads
    own, scales = np.full(_CHAINS, len(_SCALES) // 2), np.full((_CHAINS, len(names)), _USUAL)
    kept = np.zeros((_DRAWS // _CHAINS, _CHAINS, 1 + len(names)))
    for sweep in range(-_WARM, len(kept)):
        loose = np.hstack([np.full((_CHAINS, 1), _ANY), scales])[:, :, None] ** -2.0
        factor = np.linalg.cholesky(matrices[own] + loose * np.eye(1 + len(names)))
        noise = random.standard_normal((_CHAINS, 1 + len(names), 1))
        turned = np.linalg.solve(factor, rights[own][:, :, None]) + noise
        effects = np.linalg.solve(factor.transpose(0, 2, 1), turned)[:, :, 0]
        left = (design.seen - effects @ design.effects.T) ** 2
        own = _picked(far - left @ weights / 2, random)
        sizes = effects[:, 1:] ** 2 @ member  # (n_chains, n_factors)
        scales = _SCALES[_picked(usual - sizes[:, :, None] / (2 * _SCALES**2), random)][:, block]
        kept[sweep % len(kept)] = effects  # those of the warm-up are overwritten
    return kept.reshape(_DRAWS, -1)


def _weighed(design: _Design, spread: Array) -> tuple[Array, Array]:
    weighed = design.effects / spread[:, None]
    return weighed.T @ design.effects, weighed.T @ design.seen


def _picked(fit: Array, random: np.random.Generator) -> NDArray[np.intp]:
    """Return a position along the last axis for each row of log weights, drawn by them."""
    weights = np.exp(fit - fit.max(axis=-1, keepdims=True)).cumsum(axis=-1)
    drawn = random.random(fit.shape[:-1]) * weights[..., -1]
    positions: NDArray[np.intp] = np.argmax(weights >= drawn[..., None], axis=-1)
    return positions
