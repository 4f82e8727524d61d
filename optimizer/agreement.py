"""How far a judge agrees with people: on the same examples, beyond what chance would bring.

Cohen's kappa where both say one of a few things (Cohen 1960, Educational and Psychological Measurement 20:37), else the
correlation of Pearson. Examples of one group are resampled together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from optimizer.resampling import clusters_of, percentile_bounds, resampled_statistic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Fewer pairs say nothing of agreement that an interval would not cover.
FEWEST = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How far two lists of scores agree.

    Attributes:
        measure: What `value` is.
        value: In [-1, 1], 1 for perfect agreement and 0 for none beyond chance.
        lower: Bound of its 95 % interval, by percentile bootstrap; None where too few resamples have a value.
        upper: The other bound.
        n: How many examples both judged.
        same: The share on which both said the same.
    """

    measure: Literal["kappa", "correlation"]
    value: float
    lower: float | None
    upper: float | None
    n: int
    same: float


def agreement(
    human: Sequence[float],
    judge: Sequence[float],
    *,
    seed: int,
    categories: Sequence[float] | None = None,
    clusters: Sequence[str] | None = None,
) -> Agreement:
    """Return how far a judge agrees with people.

    Args:
        human: Their scores.
        judge: Its scores of the same answers.
        seed: Of the bootstrap.
        categories: The scores that either can give; where every score is one of these, agreement is by kappa.
        clusters: What each example is counted with; None where nothing is grouped.

    Raises:
        ValueError: When there are fewer than three pairs, or either side says the same of all, so that agreement
            cannot be told from chance.
    """
    import numpy as np

    if len(human) != len(judge) or len(human) < FEWEST:
        raise ValueError(f"expected at least {FEWEST} pairs of scores, found {len(human)} and {len(judge)}")
    allowed = {round(category, 9) for category in categories or ()}
    first, second = (
        np.array([round(score, 9) for score in scores], dtype=np.float64) for scores in (human, judge)
    )
    nominal = bool(allowed) and set(first.tolist()) | set(second.tolist()) <= allowed
    statistic = kappa if nominal else correlation
    value = statistic(first, second)
    if np.isnan(value):
        raise ValueError("expected scores that differ, found the same score throughout")
    groups = clusters_of(len(first), clusters)
    drawn = resampled_statistic(lambda at: statistic(first[at], second[at]), groups, seed=seed)
    drawn = drawn[~np.isnan(drawn)]
    # Resamples without a value are those in which all scores are alike; where they are many, no bounds can be told.
    bounds = percentile_bounds(drawn, len(groups), level=0.95) if len(drawn) >= 1000 else None
    return Agreement(
        measure="kappa" if nominal else "correlation",
        value=value,
        lower=None if bounds is None else min(bounds.lower, value),
        upper=None if bounds is None else max(bounds.upper, value),
        n=len(first),
        same=float(np.mean(first == second)),
    )


def kappa(first: "NDArray[np.float64]", second: "NDArray[np.float64]") -> float:
    """Return Cohen's kappa, unweighted; NaN where both say one and the same thing throughout."""
    import numpy as np

    shown = np.unique(np.concatenate([first, second]))
    shares = [np.array([np.mean(side == value) for value in shown]) for side in (first, second)]
    by_chance = float(shares[0] @ shares[1])
    return float("nan") if by_chance >= 1 else (float(np.mean(first == second)) - by_chance) / (1 - by_chance)


def correlation(first: "NDArray[np.float64]", second: "NDArray[np.float64]") -> float:
    """Return Pearson's correlation; NaN where either side is constant."""
    import numpy as np

    deviations = [side - np.mean(side) for side in (first, second)]
    lengths = [float(np.sqrt(side @ side)) for side in deviations]
    if min(lengths) < 1e-9:
        return float("nan")
    return min(1.0, max(-1.0, float(deviations[0] @ deviations[1]) / (lengths[0] * lengths[1])))
