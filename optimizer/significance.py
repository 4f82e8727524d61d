"""Intervals and tests for scores: how sure a score is, and a difference between two prompts.

Knows which interval and which test are honest for which scores:

| scores | test of no difference | interval of the difference |
|---|---|---|
| 0/1 | exact McNemar (1947) | Tango (1998) |
| graded | sign-flip permutation (Fisher 1935) | BCa bootstrap (Efron 1987) |
| 0/1 in clusters | sign flips of whole clusters | Tango at the effective sample size (Rao and Scott 1992) |
| graded in clusters | sign flips of whole clusters | BCa bootstrap of whole clusters |
| of a corpus | paired bootstrap | paired bootstrap, percentiles |

Pure: the same arguments give the same numbers. Bounds are rounded to `DIGITS`, so that they do not depend on
the order in which a processor adds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from optimizer.resampling import (
    DIGITS,
    RESAMPLES,
    TOLERANCE,
    bca_bounds,
    clusters_of,
    design_effect,
    mean_of,
    percentile_bounds,
    resampled_means,
    resampled_statistic,
    sign_flip_test,
    two_sided_z,
    units_of,
)

EXACT_TEST = "exact McNemar test"
HALVINGS = 60  # bisection of [-1, 1] down to the spacing of floats

Decision = Literal["improved", "not distinguishable", "worse"]
Statistic = Callable[[NDArray[np.intp]], tuple[float, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A confidence interval, in units of score; `level` is its nominal coverage, such as 0.95."""

    lower: float
    upper: float
    level: float

    def contains(self, value: float) -> bool:
        """Return whether `value` lies in the interval, bounds included."""
        return self.lower <= value <= self.upper


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedComparison:
    """The difference b - a on the same `n` examples.

    Attributes:
        difference: Mean of b minus mean of a, in [-1, 1].
        p_value: Two-sided, of "no difference".
        method: Test and interval in words.
        wins: Examples on which b scores higher; None, as ties and losses, for a metric of the whole corpus.
        clusters: How many clusters the examples are in; None where each stands for itself.
    """

    n: int
    difference: float
    interval: Interval
    p_value: float
    method: str
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    clusters: int | None = None

    @property
    def units(self) -> int:
        """Return how much there is that is independent of each other: clusters, else examples."""
        return self.n if self.clusters is None else self.clusters


def least_p_value(units: int) -> float:
    """Return the smallest p value that so many independent units allow: all signs alike, of 2^units ways.

    Whatever a bootstrap or a t test makes of them, fewer than six show nothing at 0.05.
    """
    return min(1.0, 2.0 ** (1 - units))


def binomial_tail(k: int, n: int, share: float) -> float:
    """Return the probability of at least k of n, each with a probability of its own in (0, 1)."""
    ways = (math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) for j in range(k, n + 1))
    terms = (
        math.exp(way + j * math.log(share) + (n - j) * math.log1p(-share))
        for j, way in zip(range(k, n + 1), ways, strict=True)
    )
    return min(1.0, math.fsum(terms))


def wilson(successes: float, n: float, *, level: float = 0.95) -> Interval:
    """Return the score interval of a proportion (Wilson 1927, JASA 22:209).

    Counts may be fractions: effective counts of clustered data.

    Raises:
        ValueError: `n` is not above 0, or `successes` is not in [0, n].
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"wilson needs 0 <= successes <= n and n > 0, but got {successes} of {n}")
    z, share = two_sided_z(level), successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    spread = math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) * z / (1 + z * z / n)
    return _interval(centre - spread, centre + spread, estimate=share, level=level, lowest=0.0)


def score_interval(
    scores: Sequence[float], *, seed: int, level: float = 0.95, clusters: Sequence[str] | None = None
) -> Interval:
    """Return an interval for the mean score: Wilson for 0/1 scores, else the percentile bootstrap.

    Graded scores that are all equal give the degenerate interval [score, score]: resampling cannot know more
    than it saw. 0/1 scores never do. With `clusters` whole clusters are resampled; for 0/1 scores n becomes
    the effective sample size.

    Raises:
        ValueError: No scores, a score outside [0, 1], or not one cluster per score.
    """
    values = _checked(scores)
    n, mean, units = len(values), math.fsum(values) / len(values), units_of(values, clusters)
    if _binary(values):
        effect = design_effect(values, units)
        return wilson(mean * n / effect, n / effect, level=level)
    bounds = percentile_bounds(resampled_means(units, seed=seed), len(units), level=level)
    return _interval(bounds.lower, bounds.upper, estimate=mean, level=level, lowest=0.0)


def mcnemar(wins: int, losses: int) -> float:
    """Return the exact two-sided p value of McNemar's test; 1.0 where no pair differs.

    A sign test on the pairs that differ (McNemar 1947, Psychometrika 12:153), in whole numbers throughout.

    Raises:
        ValueError: A count is negative.
    """
    if wins < 0 or losses < 0:
        raise ValueError(f"mcnemar needs counts of 0 or more, but got wins={wins}, losses={losses}")
    n = wins + losses
    ways, tail = 1, 0  # ways: n choose k
    for k in range(min(wins, losses) + 1):
        tail += ways
        ways = ways * (n - k) // (k + 1)
    return min(1.0, 2 * tail / (1 << n))


def tango(wins: float, losses: float, n: float, *, level: float = 0.95) -> Interval:
    """Return the score interval of a paired difference of proportions, (wins - losses) / n.

    All differences that the score test does not reject at `level` (Tango 1998, Statistics in Medicine
    17:891), found by bisection. It keeps its width where few pairs differ and the bootstrap collapses:
    without any win or loss it is [-z²/(n + z²), z²/(n + z²)]. Counts may be fractions: effective counts of
    clustered data.

    Raises:
        ValueError: A count is negative, or there are more wins and losses than pairs.
    """
    # Effective counts are quotients, whose sum may exceed n by a rounding error.
    if n <= 0 or wins < 0 or losses < 0 or wins + losses > n * (1 + TOLERANCE):
        raise ValueError(f"tango needs wins + losses <= n and n > 0, but got {wins} + {losses} of {n}")
    z = two_sided_z(level)
    estimate = (wins - losses) / n
    lower, upper = -_tango_upper(losses, wins, n, z), _tango_upper(wins, losses, n, z)
    return _interval(lower, upper, estimate=estimate, level=level)


def compare_paired(
    a: Sequence[float],
    b: Sequence[float],
    *,
    seed: int,
    level: float = 0.95,
    clusters: Sequence[str] | None = None,
) -> PairedComparison:
    """Return how b differs from a, paired on position; the order of the pairs does not matter.

    The module's table tells which test and interval are used. Swapping a and b mirrors the result exactly.
    Graded differences that are all equal give the degenerate interval [difference, difference]; `p_value` is
    then the only guard. Clusters of one example each are no clusters.

    Raises:
        ValueError: No pairs, unequal lengths, a score outside [0, 1], or not one cluster per pair.
    """
    if len(a) != len(b):
        raise ValueError(f"a and b must pair up, but have {len(a)} and {len(b)} scores")
    # Rounded, because 0.3 - 0.1 and 0.2 - 0.0 are one and the same difference.
    pairs = zip(_checked(a), _checked(b), strict=True)
    differences = [round(after - before, DIGITS) for before, after in pairs]
    n, units = len(differences), units_of(differences, clusters)
    wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    binary = _binary(a) and _binary(b)
    if binary:
        effect = design_effect(differences, units)
        interval, shape = tango(wins / effect, losses / effect, n / effect, level=level), "Tango interval"
    else:
        bounds = bca_bounds(units, seed=seed, level=level)
        interval = _interval(bounds.lower, bounds.upper, estimate=mean_of(units), level=level)
        shape = bounds.method
    if binary and len(units) == n:
        p_value, test = mcnemar(wins, losses), EXACT_TEST
    else:
        p_value, test = sign_flip_test([total for total, _ in units], seed=seed)
    return PairedComparison(
        n=n,
        difference=math.fsum(differences) / n + 0.0,  # never -0.0
        interval=interval,
        p_value=p_value,
        method=f"{test}, {shape}" + (f", {len(units)} clusters" if len(units) < n else ""),
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
        clusters=len(units) if len(units) < n else None,
    )


def compare_amounts(
    a: Sequence[float],
    b: Sequence[float],
    *,
    seed: int,
    level: float = 0.95,
    clusters: Sequence[str] | None = None,
) -> PairedComparison:
    """Return how amounts such as tokens or dollars differ, b - a, paired on position; less is a win.

    As `compare_paired` for graded scores, in the unit of the amounts: sign flips and BCa bootstrap.

    Raises:
        ValueError: No pairs, unequal lengths, an amount that is not finite, or not one cluster per pair.
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"amounts must pair up, but there are {len(a)} and {len(b)}")
    if not all(map(math.isfinite, (*a, *b))):
        raise ValueError("amounts must be finite")
    differences = [round(after - before, DIGITS) for before, after in zip(a, b, strict=True)]
    units = units_of(differences, clusters)
    bounds = bca_bounds(units, seed=seed, level=level)
    p_value, test = sign_flip_test([total for total, _ in units], seed=seed)
    difference = math.fsum(differences) / len(differences) + 0.0
    lower, upper = min(round(bounds.lower, DIGITS), difference), max(round(bounds.upper, DIGITS), difference)
    wins, losses = sum(d < 0 for d in differences), sum(d > 0 for d in differences)
    return PairedComparison(
        n=len(differences),
        difference=difference,
        interval=Interval(lower=lower + 0.0, upper=upper + 0.0, level=level),
        p_value=p_value,
        method=f"{test}, {bounds.method}",
        wins=wins,
        ties=len(differences) - wins - losses,
        losses=losses,
        clusters=len(units) if len(units) < len(differences) else None,
    )


def compare_aggregate(
    statistic: Statistic, n: int, *, seed: int, level: float = 0.95, clusters: Sequence[str] | None = None
) -> PairedComparison:
    """Return how b differs from a in a metric of the whole corpus, by paired bootstrap.

    The p value is twice the smaller of two shares of resamples: those whose difference is not positive, and
    those whose difference is not negative (Efron and Tibshirani 1993, section 15.4). The observed sample
    counts among them, so p is never 0; where no resample differs it is 1. It is never below what so many units allow:
    of one cluster every resample is the sample itself.

    Args:
        statistic: Gives (value of a, value of b), each in [0, 1], on the examples at the given positions, of
            which some occur several times.
        n: Number of examples.

    Raises:
        ValueError: `n` is below 1, not one cluster per example, or a value outside [0, 1].
    """
    if n < 1:
        raise ValueError(f"compare_aggregate needs n >= 1, but got n={n}")
    groups = clusters_of(n, clusters)
    resampled = resampled_statistic(partial(_aggregate_difference, statistic), groups, seed=seed)
    difference = _aggregate_difference(statistic, np.arange(n, dtype=np.intp))
    bounds = percentile_bounds(resampled, len(groups), level=level)
    fewer = min(np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0))
    return PairedComparison(
        n=n,
        difference=difference,
        interval=_interval(bounds.lower, bounds.upper, estimate=difference, level=level),
        p_value=max(least_p_value(len(groups)), min(1.0, 2 * (1 + int(fewer)) / (1 + RESAMPLES))),
        method="paired bootstrap" + (f", {len(groups)} clusters" if len(groups) < n else ""),
        clusters=len(groups) if len(groups) < n else None,
    )


def decide(comparison: PairedComparison, *, level: float = 0.95) -> Decision:
    """Return whether b is better or worse than a; "not distinguishable" where the evidence falls short.

    Raises:
        ValueError: The comparison's interval was computed at another level.
    """
    interval = comparison.interval
    if interval.level != level:
        raise ValueError(f"decide at level {level} needs an interval at that level, not at {interval.level}")
    # Test and interval must agree: the bootstrap is too narrow on few or nearly equal differences, where the
    # test still holds its level; and no gain is reported beside an interval that says it may be none.
    if comparison.p_value < 1 - level and comparison.difference > 0 and interval.lower > 0:
        return "improved"
    if comparison.p_value < 1 - level and comparison.difference < 0 and interval.upper < 0:
        return "worse"
    return "not distinguishable"


def _checked(scores: Sequence[float]) -> list[float]:
    if len(scores) == 0:
        raise ValueError("at least one score is needed, but got none")
    for position, score in enumerate(scores):
        if not 0 <= score <= 1:  # true of NaN as well
            raise ValueError(f"scores lie in [0, 1], but the one at position {position} is {score}")
    return [float(score) for score in scores]


def _binary(scores: Sequence[float]) -> bool:
    return all(score in (0, 1) for score in scores)


def _interval(lower: float, upper: float, *, estimate: float, level: float, lowest: float = -1.0) -> Interval:
    # A bootstrap interval of very skewed scores can miss its own estimate; ours never does.
    lower, upper = min(round(lower, DIGITS), estimate), max(round(upper, DIGITS), estimate)
    return Interval(lower=max(lowest, lower) + 0.0, upper=min(1.0, upper) + 0.0, level=level)


def _bisect(below: Callable[[float], bool], low: float, high: float) -> float:
    """Return the point of [low, high] up to which `below` is true."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return high


def _tango_upper(wins: float, losses: float, n: float, z: float) -> float:
    if wins >= n:
        return 1.0
    return _bisect(lambda d: _tango_score(d, wins, losses, n) > -z, (wins - losses) / n, 1.0)


def _tango_score(d: float, wins: float, losses: float, n: float) -> float:
    """Return Tango's statistic for the difference `d`: standard normal where `d` is the truth."""
    if d < 0:  # mirrored, so that the root below never subtracts nearly equal numbers
        return -_tango_score(-d, losses, wins, n)
    linear = (2 * n - wins + losses) * d - wins - losses
    constant = losses * d * (1 - d)
    root = math.sqrt(linear * linear + 8 * n * constant)
    # q: the most likely share of losses if the difference is d, the root of 2n·q² + linear·q - constant = 0.
    q = 2 * constant / (linear + root) if linear > 0 else (root - linear) / (4 * n)
    variance = n * (2 * q + d * (1 - d))
    gap = wins - losses - n * d
    if variance <= 0:
        return math.copysign(math.inf, gap) if gap else 0.0
    return gap / math.sqrt(variance)


def _aggregate_difference(statistic: Statistic, positions: NDArray[np.intp]) -> float:
    before, after = statistic(positions)
    if not (0 <= before <= 1 and 0 <= after <= 1):
        raise ValueError(f"the statistic must give values in [0, 1], but gave {before} and {after}")
    return round(float(after - before), DIGITS) + 0.0
