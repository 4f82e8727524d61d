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
the order in which a processor adds. Where values are grouped, a unit is the (sum, size) of one cluster.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000  # Efron and Tibshirani (1993, section 14.3): BCa needs about this many
FLIPS = 10_000  # standard error of a p value at 0.05: 0.002
EXACT_FLIPS = 12  # up to here all 2^k sign patterns are fewer than FLIPS
DIGITS = 12  # far below any difference between scores, far above rounding errors of a sum
TOLERANCE = 1e-9  # two sums of up to 10^5 scores closer than this are a tie
CELLS = 1_000_000  # random numbers held at once, so that memory stays below about 20 MB
HALVINGS = 60  # bisection of [-1, 1] down to the spacing of floats

Decision = Literal["improved", "not distinguishable", "worse"]
Statistic = Callable[[NDArray[np.intp]], tuple[float, float]]
_Units = list[tuple[float, int]]


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
    """

    n: int
    difference: float
    interval: Interval
    p_value: float
    method: str
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None


def wilson(successes: float, n: float, *, level: float = 0.95) -> Interval:
    """Return the score interval of a proportion (Wilson 1927, JASA 22:209).

    Counts may be fractions: effective counts of clustered data.

    Raises:
        ValueError: `n` is not above 0, or `successes` is not in [0, n].
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"wilson needs 0 <= successes <= n and n > 0, but got {successes} of {n}")
    z, share = _two_sided_z(level), successes / n
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
    n, mean, units = len(values), math.fsum(values) / len(values), _units(values, clusters)
    if _binary(values):
        effect = _design_effect(values, units)
        return wilson(mean * n / effect, n / effect, level=level)
    lower, upper = np.quantile(_resampled_means(units, seed), _tails(level, len(units)))
    return _interval(float(lower), float(upper), estimate=mean, level=level, lowest=0.0)


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
    z = _two_sided_z(level)
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
    n, units = len(differences), _units(differences, clusters)
    wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    binary = _binary(a) and _binary(b)
    if binary:
        effect = _design_effect(differences, units)
        interval, shape = tango(wins / effect, losses / effect, n / effect, level=level), "Tango interval"
    else:
        interval, shape = _bca(units, seed, level)
    if binary and len(units) == n:
        p_value, test = mcnemar(wins, losses), "exact McNemar test"
    else:
        p_value, test = _sign_flip([total for total, _ in units], seed)
    return PairedComparison(
        n=n,
        difference=math.fsum(differences) / n + 0.0,  # never -0.0
        interval=interval,
        p_value=p_value,
        method=f"{test}, {shape}" + (f", {len(units)} clusters" if len(units) < n else ""),
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
    )


def compare_aggregate(
    statistic: Statistic, n: int, *, seed: int, level: float = 0.95, clusters: Sequence[str] | None = None
) -> PairedComparison:
    """Return how b differs from a in a metric of the whole corpus, by paired bootstrap.

    The p value is twice the smaller of two shares of resamples: those whose difference is not positive, and
    those whose difference is not negative (Efron and Tibshirani 1993, section 15.4). The observed sample
    counts among them, so p is never 0; where no resample differs it is 1.

    Args:
        statistic: Gives (value of a, value of b), each in [0, 1], on the examples at the given positions, of
            which some occur several times.
        n: Number of examples.

    Raises:
        ValueError: `n` is below 1, not one cluster per example, or a value outside [0, 1].
    """
    if n < 1:
        raise ValueError(f"compare_aggregate needs n >= 1, but got n={n}")
    groups = [np.array(group, dtype=np.intp) for group in _groups(n, clusters)]
    rng = np.random.Generator(np.random.PCG64(seed))
    resampled = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        picks = rng.integers(0, len(groups), size=len(groups), dtype=np.intp)
        positions = picks if len(groups) == n else np.concatenate([groups[pick] for pick in picks])
        resampled[k] = _aggregate_difference(statistic, positions)
    difference = _aggregate_difference(statistic, np.arange(n, dtype=np.intp))
    lower, upper = np.quantile(resampled, _tails(level, len(groups)))
    fewer = min(np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0))
    return PairedComparison(
        n=n,
        difference=difference,
        interval=_interval(float(lower), float(upper), estimate=difference, level=level),
        p_value=min(1.0, 2 * (1 + int(fewer)) / (1 + RESAMPLES)),
        method="paired bootstrap" + (f", {len(groups)} clusters" if len(groups) < n else ""),
    )


def smallest_provable_difference(
    n: int, *, disagreement: float, power: float = 0.8, level: float = 0.95
) -> float:
    """Return the smallest true difference of 0/1 scores that `n` pairs would show with `power`, at most 1.

    Solves d√n = z(level)·√s + z(power)·√(s - d²) for d, where s is the share of pairs that differ (Connett,
    Smith and McHugh 1987, Statistics in Medicine 6:59). As d cannot exceed s, a d above `disagreement` is
    solved with s = d: the answer is not 0, even where two prompts have never disagreed. A normal
    approximation: the exact McNemar test needs slightly more.

    Raises:
        ValueError: `n` is below 1, `disagreement` outside [0, 1], or `power` or `level` not in (0, 1).
    """
    if n < 1 or not 0 <= disagreement <= 1 or not 0 < power < 1:
        raise ValueError(
            "smallest_provable_difference needs n >= 1, disagreement in [0, 1] and power between 0 and 1, "
            f"but got n={n}, disagreement={disagreement}, power={power}"
        )
    z_level, z_power = _two_sided_z(level), NormalDist().inv_cdf(power)

    def too_small(d: float) -> bool:
        share = max(disagreement, d)
        return d * math.sqrt(n) < z_level * math.sqrt(share) + z_power * math.sqrt(share - d * d)

    return 1.0 if too_small(1.0) else round(_bisect(too_small, 0.0, 1.0), DIGITS)


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


def _two_sided_z(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, but got level={level}")
    return NormalDist().inv_cdf((1 + level) / 2)


def _bootstrap_z(level: float, m: int) -> float:
    """Return the normal quantile that makes a bootstrap of m units as wide as a t interval.

    The bootstrap's spread is too small by sqrt((m - 1) / m), and normal tails are too thin for few units:
    BCa of 15 pairs covers 0.91 without this and 0.93 with it (simulated; Hesterberg 2015, The American
    Statistician 69:371).
    """
    from scipy.special import stdtrit

    z = _two_sided_z(level)
    return z if m == 1 else math.sqrt(m / (m - 1)) * float(stdtrit(m - 1, (1 + level) / 2))


def _tails(level: float, m: int) -> tuple[float, float]:
    z = _bootstrap_z(level, m)
    return NormalDist().cdf(-z), NormalDist().cdf(z)


def _interval(lower: float, upper: float, *, estimate: float, level: float, lowest: float = -1.0) -> Interval:
    # A bootstrap interval of very skewed scores can miss its own estimate; ours never does.
    lower, upper = min(round(lower, DIGITS), estimate), max(round(upper, DIGITS), estimate)
    return Interval(lower=max(lowest, lower) + 0.0, upper=min(1.0, upper) + 0.0, level=level)


def _groups(n: int, clusters: Sequence[str] | None) -> list[list[int]]:
    """Return the positions of each cluster, clusters in order of first appearance."""
    if clusters is None:
        return [[position] for position in range(n)]
    if len(clusters) != n:
        raise ValueError(f"each example needs its cluster, but {n} examples have {len(clusters)} clusters")
    groups: dict[str, list[int]] = {}
    for position, cluster in enumerate(clusters):
        groups.setdefault(cluster, []).append(position)
    return list(groups.values())


def _units(values: Sequence[float], clusters: Sequence[str] | None) -> _Units:
    """Return each cluster's (sum, size), sorted: neither order nor names of clusters change a result."""
    groups = _groups(len(values), clusters)
    return sorted((round(math.fsum(values[i] for i in group), DIGITS), len(group)) for group in groups)


def _design_effect(values: Sequence[float], units: _Units) -> float:
    """Return how many clustered examples tell as much as one independent example, at least 1.

    Rao and Scott (1992, Biometrics 48:577): variance of the mean between clusters over that of independent
    examples. Tango's interval at this size covers 0.95 on 10 to 40 clusters where a bootstrap of the clusters
    covers 0.86 to 0.93 (simulated).
    Equal values show no variance; each cluster then counts as one example, the most cautious choice.
    """
    n, m = len(values), len(units)
    mean = math.fsum(values) / n
    independent = math.fsum((value - mean) ** 2 for value in values)
    if m == n:
        return 1.0
    if m == 1 or independent == 0:
        return n / m
    between = math.fsum((total - size * mean) ** 2 for total, size in units) * m / (m - 1)
    return max(1.0, between / (independent * n / (n - 1)))


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


def _resampled_means(units: _Units, seed: int) -> NDArray[np.float64]:
    sums = np.array([total for total, _ in units], dtype=np.float64)
    sizes = np.array([size for _, size in units], dtype=np.float64)
    rng, rows = np.random.Generator(np.random.PCG64(seed)), max(1, CELLS // len(units))
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, rows):
        shape = (min(rows, RESAMPLES - start), len(units))
        picks = rng.integers(0, len(units), size=shape, dtype=np.intp)
        means[start : start + rows] = sums[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    return np.round(means, DIGITS)


def _bca(units: _Units, seed: int, level: float) -> tuple[Interval, str]:
    """Return the bootstrap interval of the mean, and its name."""
    mirrored = sorted((-total, size) for total, size in units)
    # One of the two orientations is resampled and the other mirrored, so that b - a and a - b agree exactly.
    oriented = max(units, mirrored)
    means = _resampled_means(oriented, seed)
    estimate = math.fsum(total for total, _ in oriented) / sum(size for _, size in oriented)
    tails = _bca_tails(oriented, means, estimate, level)
    lower, upper = (float(bound) for bound in np.quantile(means, tails or _tails(level, len(units))))
    if units == mirrored:
        upper = (upper - lower) / 2
        lower = -upper
    elif oriented is mirrored:
        lower, upper, estimate = -upper, -lower, -estimate
    name = "BCa bootstrap interval" if tails else "percentile bootstrap interval"
    return _interval(lower, upper, estimate=estimate, level=level), name


def _bca_tails(
    units: _Units, means: NDArray[np.float64], estimate: float, level: float
) -> tuple[float, float] | None:
    """Return the shares of resamples below the bounds (Efron 1987, JASA 82:171), or None where undefined."""
    centre = round(estimate, DIGITS)
    share = float(np.mean(means < centre) + np.mean(means <= centre)) / 2
    total, size = sum(t for t, _ in units), sum(s for _, s in units)
    if len(units) == 1 or not 0 < share < 1:
        return None
    jackknife = np.array([(total - t) / (size - s) for t, s in units])
    pull = jackknife.mean() - jackknife
    if np.abs(pull).max() < TOLERANCE:
        return None
    normal, z = NormalDist(), _bootstrap_z(level, len(units))
    bias = normal.inv_cdf(share)
    acceleration = float((pull**3).sum() / (6 * (pull**2).sum() ** 1.5))
    lower, upper = bias - z, bias + z
    if acceleration * lower >= 1 or acceleration * upper >= 1:
        return None
    return (
        normal.cdf(bias + lower / (1 - acceleration * lower)),
        normal.cdf(bias + upper / (1 - acceleration * upper)),
    )


def _sign_flip(totals: Sequence[float], seed: int) -> tuple[float, str]:
    """Return the two-sided p value of the sum under random signs, and the test's name.

    Every sign pattern up to `EXACT_FLIPS` totals other than 0, else `FLIPS` random ones and the observed one
    (Phipson and Smyth 2010, arXiv:1603.05766).
    """
    sizes = np.array(sorted(abs(total) for total in totals if total != 0))
    observed = abs(math.fsum(totals)) - TOLERANCE
    k = len(sizes)
    if k <= EXACT_FLIPS:
        signs = (np.arange(2**k)[:, None] >> np.arange(k)) % 2 * 2 - 1
        return float(np.mean(np.abs((signs * sizes).sum(axis=1)) >= observed)), "exact sign-flip test"
    rng, rows, extreme = np.random.Generator(np.random.PCG64(seed)), max(1, CELLS // k), 0
    for start in range(0, FLIPS, rows):
        kept = rng.integers(0, 2, size=(min(rows, FLIPS - start), k), dtype=np.int8)
        extreme += int(np.count_nonzero(np.abs(2 * (kept @ sizes) - sizes.sum()) >= observed))
    return (1 + extreme) / (1 + FLIPS), "sign-flip test"


def _aggregate_difference(statistic: Statistic, positions: NDArray[np.intp]) -> float:
    before, after = statistic(positions)
    if not (0 <= before <= 1 and 0 <= after <= 1):
        raise ValueError(f"the statistic must give values in [0, 1], but gave {before} and {after}")
    return round(float(after - before), DIGITS) + 0.0
