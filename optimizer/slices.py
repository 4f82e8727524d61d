"""Slices: whether a prompt does alike on all kinds of examples, such as languages, customers or lengths.

A column of the data divides the examples; those with one value are a slice. The largest gap between the scores of two
slices is large by chance alone where there are several of them, so it is judged by permutation: the values of the column
are dealt anew to the examples, and the gap counts for real where such a deal seldom brings as large a one.

Pure: the same arguments give the same numbers. Examples are known by their position.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.resampling import TOLERANCE, clusters_of

# The score of fewer examples says next to nothing: of four right answers in a row, even with a true rate of one half,
# one slice in sixteen has four. With five at each end, all right on one side and all wrong on the other has p = 0.008.
FEWEST = 5

# The measure of a whole evaluation that a study may constrain.
SLICE_GAP = "slice_gap"

PERMUTATIONS = 2_000  # standard error of a p value at 0.05: 0.005
_SLOW_PERMUTATIONS = 250  # of a statistic that takes a while: the smallest p value is 0.004
_ENOUGH = 20  # deals that reach the gap, after which a slow statistic is not asked any further

Values = tuple[tuple[str, str], ...]  # column and value, of one example
Statistic = Callable[[Sequence[int]], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """The largest difference between the scores of two slices of one column.

    Attributes:
        size: In score units, at least 0.
        highest: Value of the slice with the best score.
        lowest: Value of the slice with the worst one.
        p_value: How often a gap as large comes about where the column has nothing to do with the scores.
    """

    column: str
    size: float
    highest: str
    lowest: str
    p_value: float


def columns_of(rows: Sequence[Values]) -> tuple[str, ...]:
    """Return the columns of slices, in the order of the first example that has them."""
    return tuple(dict.fromkeys(column for row in rows for column, _ in row))


def slices_of(rows: Sequence[Values], column: str) -> dict[str, tuple[int, ...]]:
    """Return the positions of the examples with each value of a column, largest slice first, then by value."""
    found: dict[str, list[int]] = {}
    for position, row in enumerate(rows):
        value = dict(row).get(column)
        if value is not None:
            found.setdefault(value, []).append(position)
    return {
        value: tuple(found[value]) for value in sorted(found, key=lambda value: (-len(found[value]), value))
    }


def widest_gap(
    rows: Sequence[Values],
    column: str,
    scores: Sequence[float],
    *,
    seed: int,
    clusters: Sequence[str] | None = None,
    statistic: Statistic | None = None,
) -> Gap | None:
    """Return the largest gap between slices of at least `FEWEST` examples; None where there are not two of them.

    Examples of a cluster stand or fall together: clusters that lie in one slice swap their values as a whole, those
    that span several deal theirs among their own examples.

    Args:
        statistic: The score of the examples at some positions; their mean score unless given. It is asked for no
            more deals once enough of them reached the gap (Besag and Clifford 1991, Biometrika 78:301).
    """
    parts = _large(slices_of(rows, column))
    if len(parts) < 2:
        return None
    values = list(parts)
    found = {value: _score(scores, statistic, part) for value, part in parts.items()}
    lowest, highest = min(values, key=found.__getitem__), max(values, key=found.__getitem__)
    size = found[highest] - found[lowest]
    deals = _Deals(parts, clusters, np.random.Generator(np.random.PCG64(seed)))
    p_value = _chance(deals, scores, size) if statistic is None else _slow_chance(deals, statistic, size)
    return Gap(column=column, size=size, highest=highest, lowest=lowest, p_value=p_value)


def shrunken_gap(
    rows: Sequence[Values], scores: Sequence[float], *, statistic: Statistic | None = None
) -> float | None:
    """Return the largest gap of any column between slice scores that are drawn towards their mean.

    Of few examples the raw gap of equally good slices is large: four slices of ten at a rate of 0.7 lie 0.3 apart on
    average. Each score is drawn towards the mean as far as noise explains its distance (the moment estimator of
    DerSimonian and Laird 1986, Controlled Clinical Trials 7:177). None where no column has two slices of `FEWEST`.

    Args:
        statistic: The score of the examples at some positions; their mean score unless given. Its noise is taken to
            be that of the scores by example.
    """
    gaps = [
        _drawn_together(
            [_score(scores, statistic, part) for part in parts.values()],
            [[scores[k] for k in part] for part in parts.values()],
        )
        for column in columns_of(rows)
        if len(parts := _large(slices_of(rows, column))) >= 2
    ]
    return max(gaps, default=None)


def _large(parts: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {value: part for value, part in parts.items() if len(part) >= FEWEST}


def _score(scores: Sequence[float], statistic: Statistic | None, part: Sequence[int]) -> float:
    if statistic is not None:
        return statistic(part)
    return math.fsum(scores[k] for k in part) / len(part)


def _drawn_together(means: Sequence[float], groups: Sequence[Sequence[float]]) -> float:
    """Return the distance between the largest and the smallest of some means after shrinking."""
    sizes, n = [len(group) for group in groups], sum(map(len, groups))
    squares = (math.fsum((x - math.fsum(g) / len(g)) ** 2 for x in g) for g in groups)
    noise = math.fsum(squares) / (n - len(groups))  # variance of one score
    centre = math.fsum(size * mean for size, mean in zip(sizes, means, strict=True)) / n
    between = math.fsum(size * (mean - centre) ** 2 for size, mean in zip(sizes, means, strict=True))
    spread = max(0.0, (between - (len(groups) - 1) * noise) / (n - sum(size * size for size in sizes) / n))
    if spread == 0:
        return 0.0
    drawn = [
        centre + (mean - centre) * spread / (spread + noise / size)
        for size, mean in zip(sizes, means, strict=True)
    ]
    return max(drawn) - min(drawn)


class _Deals:
    """Deals of a column's values to the examples, each as likely as any other if the column does not matter."""

    def __init__(
        self,
        parts: Mapping[str, tuple[int, ...]],
        clusters: Sequence[str] | None,
        rng: np.random.Generator,
    ) -> None:
        codes = {position: code for code, part in enumerate(parts.values()) for position in part}
        positions = sorted(codes)
        named = None if clusters is None else [clusters[position] for position in positions]
        groups = [[positions[k] for k in group] for group in clusters_of(len(positions), named)]
        self._whole = [group for group in groups if len({codes[k] for k in group}) == 1]
        self._split = [group for group in groups if len({codes[k] for k in group}) > 1]
        self._codes = codes
        self._rng = rng
        self.n_slices = len(parts)
        self.order = [position for group in (*self._whole, *self._split) for position in group]

    def draw(self, n: int) -> NDArray[np.intp]:
        """Return the slices of the examples, in `order`, one row for each of n deals."""
        dealt = []
        if self._whole:
            first = np.array([self._codes[group[0]] for group in self._whole], dtype=np.intp)
            swapped = self._rng.permuted(np.tile(first, (n, 1)), axis=1)
            dealt.append(np.repeat(swapped, [len(group) for group in self._whole], axis=1))
        for group in self._split:
            own = np.array([self._codes[position] for position in group], dtype=np.intp)
            dealt.append(self._rng.permuted(np.tile(own, (n, 1)), axis=1))
        return np.concatenate(dealt, axis=1)


def _chance(deals: _Deals, scores: Sequence[float], size: float) -> float:
    """Return the p value of a gap of mean scores; the observed deal counts, so it is never 0."""
    codes, k = deals.draw(PERMUTATIONS), deals.n_slices
    cells = (codes + k * np.arange(PERMUTATIONS)[:, None]).ravel()
    values = np.tile(np.array([scores[position] for position in deals.order], dtype=np.float64), PERMUTATIONS)
    sums = np.bincount(cells, weights=values, minlength=k * PERMUTATIONS).reshape(PERMUTATIONS, k)
    counts = np.bincount(cells, minlength=k * PERMUTATIONS).reshape(PERMUTATIONS, k)
    # Every slice keeps at least one of the clusters that lie in it, so none is ever empty.
    means = sums / np.maximum(counts, 1)
    gaps = means.max(axis=1) - means.min(axis=1)
    return (1 + int(np.count_nonzero(gaps >= size - TOLERANCE))) / (1 + PERMUTATIONS)


def _slow_chance(deals: _Deals, statistic: Statistic, size: float) -> float:
    """Return the p value of a gap of any statistic, with as few deals as tell it."""
    reached, made = 0, 0
    for codes in _rows(deals):
        made += 1
        parts = [
            [p for p, c in zip(deals.order, codes, strict=True) if c == k] for k in range(deals.n_slices)
        ]
        found = [statistic(part) for part in parts if part]
        reached += max(found) - min(found) >= size - TOLERANCE
        if reached == _ENOUGH:
            return reached / made
    return (1 + reached) / (1 + made)


def _rows(deals: _Deals) -> Iterator[Sequence[int]]:
    for row in deals.draw(_SLOW_PERMUTATIONS):
        yield [int(code) for code in row]
