"""What many runs of many searches come to: means with two kinds of standard error, differences of pairs, ratios.

| | |
|---|---|
| ± seeds | standard error of a mean over tables with the tables held fixed: how well these tables were measured |
| ± tables | standard error over tables: how far another set of tables might be from these |
| difference | that of ours less that of an alternative, seed by seed; below 0 where ours is better |
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.stats import ttest_1samp
from search_runs import NO_FACTORS, OURS, Kind, Outcome

from optimizer.corrections import holm

LEVEL = 0.05
RESAMPLES = 4000
# Tables whose prompts are points of a joint space; their names begin like this.
FACTORIAL = "format__"

Value = Callable[[Outcome], float]


class Mean(NamedTuple):
    """A mean over tables."""

    value: float
    over_seeds: float
    over_tables: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Ours less an alternative at one budget, on one table or, where that is None, on the mean of all.

    Attributes:
        error: Standard error over seeds.
        p_value: Of a paired t test over seeds, two-sided.
        adjusted: By Holm, over all differences on tables, or over all on the mean of tables.
    """

    alternative: str
    evaluations: int
    table: str | None
    value: float
    error: float
    p_value: float
    adjusted: float = math.nan

    @property
    def verdict(self) -> str:
        if self.adjusted > LEVEL:
            return ""
        return "ours is better" if self.value < 0 else "the alternative is better"


class Ratio(NamedTuple):
    """Mean regret with factors in units of that without, and its 95 % interval over seeds."""

    table: str
    value: float
    lower: float
    upper: float


class Figures:
    """The runs of the same seeds of every search, table and budget."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        recorded = [each for each in outcomes if each.kind == "recorded"]
        self.tables = sorted({each.table for each in recorded})
        self.budgets = sorted({each.evaluations for each in recorded})
        self.searches = list(dict.fromkeys(each.search for each in recorded))
        self.seeds = sorted({each.seed for each in recorded})
        self._runs: dict[tuple[Kind, str, str, int], list[Outcome]] = {}
        for each in sorted(outcomes, key=lambda each: each.seed):
            key = (each.kind, each.search, each.table, each.evaluations)
            self._runs.setdefault(key, []).append(each)

    @property
    def alternatives(self) -> list[str]:
        return [name for name in self.searches if name != OURS]

    def runs(self, search: str, table: str, evaluations: int, kind: Kind = "recorded") -> Sequence[Outcome]:
        """Return the runs of one search, table and budget, by seed; none where none was made."""
        return self._runs.get((kind, search, table, evaluations), ())

    def values(
        self, value: Value, search: str, evaluations: int, kind: Kind = "recorded"
    ) -> list[list[float]]:
        """Return a value of every run, by table and seed."""
        return [[value(run) for run in self.runs(search, table, evaluations, kind)] for table in self.tables]

    def mean(self, value: Value, search: str, evaluations: int, kind: Kind = "recorded") -> Mean:
        """Return the mean over tables of a value; nan where there are no runs."""
        return mean_over_tables(self.values(value, search, evaluations, kind))

    def mean_of_table(self, value: Value, search: str, table: str, evaluations: int) -> Mean:
        """Return the mean of one table, which says nothing of other tables."""
        return mean_over_tables([[value(run) for run in self.runs(search, table, evaluations)]])

    def differences(self) -> list[Difference]:
        """Return the difference of regret of every alternative, table and budget."""
        return _adjusted(
            [
                _difference(pairs, alternative, evaluations, table)
                for alternative in self.alternatives
                for evaluations in self.budgets
                for table, pairs in zip(self.tables, self._pairs(alternative, evaluations), strict=True)
            ]
        )

    def mean_differences(self) -> list[Difference]:
        """Return the same on the mean over tables."""
        return _adjusted(
            [
                _difference(
                    np.mean(self._pairs(alternative, evaluations), axis=0).tolist(),
                    alternative,
                    evaluations,
                    None,
                )
                for alternative in self.alternatives
                for evaluations in self.budgets
            ]
        )

    def _pairs(self, alternative: str, evaluations: int) -> list[list[float]]:
        both = (self.values(regret, name, evaluations) for name in (OURS, alternative))
        return [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(*both, strict=True)]

    def ratios(self, evaluations: int) -> Iterator[Ratio]:
        """Yield the ratio of regret with factors to that without for every factorial table, and for their mean."""
        named = {
            table: np.array(
                [
                    [run.regret for run in self.runs(search, table, evaluations)]
                    for search in (OURS, NO_FACTORS)
                ]
            )
            for table in self.tables
            if table.startswith(FACTORIAL)
        }
        for table, rows in named.items():
            yield _ratio(table, rows)
        if len(named) > 1:
            yield _ratio("mean of these", np.mean(list(named.values()), axis=0))


def regret(run: Outcome) -> float:
    """Return the regret of a run, in points."""
    return run.regret


def normalised(run: Outcome) -> float:
    """Return its normalised regret."""
    return run.normalised


def optimism(run: Outcome) -> float:
    """Return its optimism beside the offset of its table, in points."""
    return run.optimism - run.offset


def mean_over_tables(values: Sequence[Sequence[float]]) -> Mean:
    """Return the mean of the means of some rows, one a table."""
    rows = [row for row in values if row]
    if not rows:
        return Mean(math.nan, math.nan, math.nan)
    means = [statistics.fmean(row) for row in rows]
    squares = [statistics.variance(row) / len(row) if len(row) > 1 else math.nan for row in rows]
    over_tables = statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan
    return Mean(statistics.fmean(means), math.sqrt(math.fsum(squares)) / len(rows), over_tables)


def _difference(pairs: Sequence[float], alternative: str, evaluations: int, table: str | None) -> Difference:
    spread = statistics.stdev(pairs) if len(pairs) > 1 else math.nan
    value = statistics.fmean(pairs)
    # The same in every run is no difference, or one that is certain on this table; the test knows neither.
    p_value = float(ttest_1samp(pairs, 0.0).pvalue) if spread > 0 else float(value == 0)
    return Difference(
        alternative=alternative,
        evaluations=evaluations,
        table=table,
        value=value,
        error=spread / math.sqrt(len(pairs)),
        p_value=p_value,
    )


def _adjusted(differences: Sequence[Difference]) -> list[Difference]:
    adjusted = holm([each.p_value for each in differences])
    return [replace(each, adjusted=value) for each, value in zip(differences, adjusted, strict=True)]


def _ratio(table: str, rows: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> Ratio:
    """Return the ratio of the means of two rows, (2, seeds), resampled by seed."""
    chosen = np.random.default_rng(0).integers(0, rows.shape[1], (RESAMPLES, rows.shape[1]))
    above, below = rows[:, chosen].mean(axis=2)
    drawn = np.divide(above, below, out=np.full(RESAMPLES, np.nan), where=below > 0)
    ends = np.nanpercentile(drawn, [2.5, 97.5]).tolist() if np.isfinite(drawn).any() else [math.nan] * 2
    means = rows.mean(axis=1)
    return Ratio(table, float(means[0] / means[1]) if means[1] > 0 else math.nan, *ends)
