"""Shrunken effects: how good each arm is on all examples, from scores of some arms on some examples.

| | |
|---|---|
| y | score of arm a on example j, in [0, 1] |
| model | y = m + Σ_f u_f(a) + v_a + b_j + e: overall mean, effects of the arm's factors, of the arm itself, of the example, noise |
| variances | one for each factor, the arms, the examples and the noise; estimated from the same scores |
| λ | noise variance over a block's variance: how many scores an effect of that block weighs against |

Every effect is taken to be drawn from a normal distribution about 0, so an estimate from few scores is drawn towards
the mean (Robinson 1991, "That BLUP is a good thing", Statistical Science 6:15). That takes back what a winner owes
to luck, and lets arms that were scored on different examples be compared. Fitted by backfitting with EM steps for
the variances (Dempster, Laird and Rubin 1977; the posterior of each effect is taken by itself). Pure and seedless:
the order of arms and examples does not matter beyond `DIGITS`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = 12  # far below any difference between scores, far above rounding errors of a sum
_SWEEPS = 60  # more change the estimates of simulated tables by less than 0.001
_LEAST = 1e-6  # of a variance: where all scores agree there is nothing to share out

Scores = Mapping[str, Mapping[str, float]]
Factors = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmEffects:
    """What the scores say of each arm, over all examples.

    Attributes:
        estimates: Expected score of each arm, in [0, 1], shrunken.
        deviations: Posterior standard deviation of each estimate.
        factors: Effect of each level, by factor; in units of score, about 0.
        examples: Effect of each example: above 0 where it is easy.
        noise: Standard deviation of one score beside its arm's and its example's effect.
    """

    estimates: Mapping[str, float]
    deviations: Mapping[str, float]
    factors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    examples: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.0

    def best(self, order: Sequence[str]) -> str:
        """Return the arm of the highest estimate; among equals the one that comes first in `order`."""
        return max(order, key=lambda arm: self.estimates[arm])


def arm_effects(scores: Scores, *, factors: Factors | None = None) -> ArmEffects:
    """Return the effects behind some scores.

    Args:
        scores: Scores by arm and example id; every arm has at least one.
        factors: Levels by arm and factor, the same factors for every arm.

    Raises:
        ValueError: No arms, or an arm without a score.
    """
    if not scores or not all(scores.values()):
        raise ValueError("arm_effects needs at least one arm, and a score of each")
    arms = sorted(scores)
    examples = sorted({example for row in scores.values() for example in row})
    names = sorted({name for levels in (factors or {}).values() for name in levels})
    levels = {name: sorted({(factors or {}).get(arm, {}).get(name, "") for arm in arms}) for name in names}
    cells = _Cells(scores, arms, examples)
    blocks = [_Block(cells.example, len(examples))]
    for name in names:
        of_arm = [levels[name].index((factors or {}).get(arm, {}).get(name, "")) for arm in arms]
        blocks.append(_Block(np.array(of_arm, dtype=np.intp)[cells.arm], len(levels[name])))
    blocks.append(_Block(cells.arm, len(arms)))
    mean, noise = _fit(cells.score, blocks)
    total = mean + blocks[0].effects.mean() + blocks[-1].effects
    for name, block in zip(names, blocks[1:-1], strict=True):
        of_arm = [levels[name].index((factors or {}).get(arm, {}).get(name, "")) for arm in arms]
        total = total + block.effects[of_arm]
    deviations = np.sqrt(blocks[-1].spread)
    return ArmEffects(
        estimates=_by_name(arms, np.clip(total, 0.0, 1.0)),
        deviations=_by_name(arms, deviations),
        factors={
            name: _by_name(levels[name], block.effects)
            for name, block in zip(names, blocks[1:-1], strict=True)
        },
        examples=_by_name(examples, blocks[0].effects),
        noise=round(float(noise**0.5), DIGITS),
    )


class _Cells:
    """The scores as a list, in a fixed order."""

    def __init__(self, scores: Scores, arms: Sequence[str], examples: Sequence[str]) -> None:
        place = {example: k for k, example in enumerate(examples)}
        rows = [(i, place[j], s) for i, arm in enumerate(arms) for j, s in sorted(scores[arm].items())]
        arm, example, score = zip(*rows, strict=True)
        self.arm = np.array(arm, dtype=np.intp)  # (n_cells,)
        self.example = np.array(example, dtype=np.intp)  # (n_cells,)
        self.score = np.array(score, dtype=np.float64)  # (n_cells,)


class _Block:
    """The effects of one kind, each belonging to some of the cells."""

    def __init__(self, of_cell: NDArray[np.intp], size: int) -> None:
        self.of_cell = of_cell
        self.counts = np.bincount(of_cell, minlength=size)
        self.effects = np.zeros(size)
        self.spread = np.zeros(size)
        self.variance = 0.01  # (0.1 score)², where the iteration starts

    def update(self, residual: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
        """Take what is this block's out of the residual; return what is left."""
        whole = residual + self.effects[self.of_cell]
        weight = self.counts + noise / self.variance
        sums = np.bincount(self.of_cell, weights=whole, minlength=len(self.counts))
        self.effects = np.asarray(sums / weight)
        self.spread = np.asarray(noise / weight)
        self.variance = max(_LEAST, float(np.mean(self.effects**2 + self.spread)))
        return np.asarray(whole - self.effects[self.of_cell])


def _fit(score: NDArray[np.float64], blocks: Sequence[_Block]) -> tuple[float, float]:
    """Fit the blocks; return the overall mean and the noise variance."""
    mean = float(score.mean())
    residual: NDArray[np.float64] = np.asarray(score - mean)
    noise = max(_LEAST, float(score.var()))
    for _ in range(_SWEEPS):
        for block in blocks:
            residual = block.update(residual, noise)
        shift = float(residual.mean())
        mean, residual = mean + shift, np.asarray(residual - shift)
        unexplained = sum(float(block.counts @ block.spread) for block in blocks)
        noise = max(_LEAST, (float(residual @ residual) + unexplained) / len(score))
    return mean, noise


def _by_name(names: Sequence[str], values: NDArray[Any]) -> dict[str, float]:
    return {name: round(float(value), DIGITS) for name, value in zip(names, values, strict=True)}
