"""Bootstrap and sign flips over examples, or over clusters of them.

| | |
|---|---|
| unit | the (sum, size) of the values of one cluster; without clusters every value is a unit of size 1 |
| m | number of units |
| z | normal quantile of a two-sided interval |

Pure: the same arguments give the same numbers. What depends on the order in which a processor adds is rounded to
`DIGITS`. Bounds are plain numbers; what they are bounds of, and within which limits, the caller knows.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000  # Efron and Tibshirani (1993, section 14.3): BCa needs about this many
FLIPS = 10_000  # standard error of a p value at 0.05: 0.002
EXACT_FLIPS = 12  # up to here all 2^k sign patterns are fewer than FLIPS
DIGITS = 12  # far below any difference between scores, far above rounding errors of a sum
TOLERANCE = 1e-9  # two sums of up to 10^5 scores closer than this are a tie
CELLS = 1_000_000  # random numbers held at once, so that memory stays below about 20 MB

Units = list[tuple[float, int]]


class Bounds(NamedTuple):
    """The bounds of a bootstrap interval, and its name."""

    lower: float
    upper: float
    method: str


class FlipTest(NamedTuple):
    """A two-sided p value, and the name of its test."""

    p_value: float
    method: str


def clusters_of(n: int, clusters: Sequence[str] | None) -> list[list[int]]:
    """Return the positions of each cluster, clusters in order of first appearance.

    Raises:
        ValueError: Not one cluster per example.
    """
    if clusters is None:
        return [[position] for position in range(n)]
    if len(clusters) != n:
        raise ValueError(f"each example needs its cluster, but {n} examples have {len(clusters)} clusters")
    groups: dict[str, list[int]] = {}
    for position, cluster in enumerate(clusters):
        groups.setdefault(cluster, []).append(position)
    return list(groups.values())


def units_of(values: Sequence[float], clusters: Sequence[str] | None) -> Units:
    """Return each cluster's (sum, size), sorted: neither order nor names of clusters change a result.

    Raises:
        ValueError: Not one cluster per value.
    """
    groups = clusters_of(len(values), clusters)
    return sorted((round(math.fsum(values[i] for i in group), DIGITS), len(group)) for group in groups)


def design_effect(values: Sequence[float], units: Units) -> float:
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


def mean_of(units: Units) -> float:
    """Return the mean of all values in the units."""
    return math.fsum(total for total, _ in units) / sum(size for _, size in units)


def resampled_means(units: Units, *, seed: int) -> NDArray[np.float64]:
    """Return the mean of each of `RESAMPLES` draws of m units."""
    sums = np.array([total for total, _ in units], dtype=np.float64)
    sizes = np.array([size for _, size in units], dtype=np.float64)
    rng, rows = np.random.Generator(np.random.PCG64(seed)), max(1, CELLS // len(units))
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, rows):
        shape = (min(rows, RESAMPLES - start), len(units))
        picks = rng.integers(0, len(units), size=shape, dtype=np.intp)
        means[start : start + rows] = sums[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    return np.round(means, DIGITS)


def resampled_statistic(
    statistic: Callable[[NDArray[np.intp]], float], clusters: Sequence[Sequence[int]], *, seed: int
) -> NDArray[np.float64]:
    """Return a statistic of the positions in each of `RESAMPLES` draws of whole clusters."""
    groups = [np.array(group, dtype=np.intp) for group in clusters]
    alone = all(len(group) == 1 for group in groups)
    rng = np.random.Generator(np.random.PCG64(seed))
    values = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        picks = rng.integers(0, len(groups), size=len(groups), dtype=np.intp)
        values[k] = statistic(picks if alone else np.concatenate([groups[pick] for pick in picks]))
    return values


def percentile_bounds(resampled: NDArray[np.float64], m: int, *, level: float) -> Bounds:
    """Return the percentiles of a statistic resampled from m units.

    Raises:
        ValueError: `level` is not in (0, 1).
    """
    z = _bootstrap_z(level, m)
    return _quantiles(resampled, NormalDist().cdf(-z), NormalDist().cdf(z), "percentile bootstrap interval")


def bca_bounds(units: Units, *, seed: int, level: float) -> Bounds:
    """Return the bounds of the mean by BCa bootstrap, or by percentiles where BCa is undefined.

    The bounds of the negated units are the negated bounds, exactly.

    Raises:
        ValueError: `level` is not in (0, 1).
    """
    mirrored = sorted((-total, size) for total, size in units)
    # One of the two orientations is resampled and the other mirrored, so that b - a and a - b agree exactly.
    oriented = max(units, mirrored)
    means = resampled_means(oriented, seed=seed)
    tails = _bca_tails(oriented, means, level)
    if tails:
        lower, upper, method = _quantiles(means, *tails, "BCa bootstrap interval")
    else:
        lower, upper, method = percentile_bounds(means, len(units), level=level)
    if units == mirrored:
        return Bounds(-(upper - lower) / 2, (upper - lower) / 2, method)
    if oriented is mirrored:
        return Bounds(-upper, -lower, method)
    return Bounds(lower, upper, method)


def sign_flip_test(totals: Sequence[float], *, seed: int) -> FlipTest:
    """Return the two-sided p value of the sum under random signs, and the test's name.

    Every sign pattern up to `EXACT_FLIPS` totals other than 0, else `FLIPS` random ones and the observed one
    (Phipson and Smyth 2010, arXiv:1603.05766).
    """
    sizes = np.array(sorted(abs(total) for total in totals if total != 0))
    observed = abs(math.fsum(totals)) - TOLERANCE
    k = len(sizes)
    if k <= EXACT_FLIPS:
        signs = (np.arange(2**k)[:, None] >> np.arange(k)) % 2 * 2 - 1
        p_value = float(np.mean(np.abs((signs * sizes).sum(axis=1)) >= observed))
        return FlipTest(p_value, "exact sign-flip test")
    rng, rows, extreme = np.random.Generator(np.random.PCG64(seed)), max(1, CELLS // k), 0
    for start in range(0, FLIPS, rows):
        kept = rng.integers(0, 2, size=(min(rows, FLIPS - start), k), dtype=np.int8)
        sums = kept.astype(np.float64) @ sizes  # bytes by floats takes five times as long
        extreme += int(np.count_nonzero(np.abs(2 * sums - sizes.sum()) >= observed))
    return FlipTest((1 + extreme) / (1 + FLIPS), "sign-flip test")


def two_sided_z(level: float) -> float:
    """Return the normal quantile of a two-sided interval, 1.96 for 0.95.

    Raises:
        ValueError: `level` is not in (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, but got level={level}")
    return NormalDist().inv_cdf((1 + level) / 2)


def _bca_tails(units: Units, means: NDArray[np.float64], level: float) -> tuple[float, float] | None:
    """Return the shares of resamples below the bounds (Efron 1987, JASA 82:171), or None where undefined."""
    centre = round(mean_of(units), DIGITS)
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


def _quantiles(resampled: NDArray[np.float64], lower: float, upper: float, method: str) -> Bounds:
    below, above = np.quantile(resampled, (lower, upper))
    return Bounds(float(below), float(above), method)


def _bootstrap_z(level: float, m: int) -> float:
    """Return the normal quantile that makes a bootstrap of m units as wide as a t interval.

    The bootstrap's spread is too small by sqrt((m - 1) / m), and normal tails are too thin for few units:
    BCa of 15 pairs covers 0.91 without this and 0.93 with it (simulated; Hesterberg 2015, The American
    Statistician 69:371).
    """
    from scipy.special import stdtrit

    z = two_sided_z(level)
    return z if m == 1 else math.sqrt(m / (m - 1)) * float(stdtrit(m - 1, (1 + level) / 2))
