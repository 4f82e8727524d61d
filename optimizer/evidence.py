"""The evidence for a winner, as the frozen prompt carries it and as every table and report shows it.

Figures are computed here once; whatever prints them takes them from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from optimizer.candidate import Candidate
from optimizer.dataset import Example, clusters_of
from optimizer.evaluation import Evaluation, Result, Scorer
from optimizer.guessing import Guess, guessed
from optimizer.history import TrialRecord
from optimizer.power import POWER, smallest_provable_difference
from optimizer.prompt import PromptTemplate
from optimizer.resampling import two_sided_z
from optimizer.significance import (
    EXACT_TEST,
    PairedComparison,
    compare_aggregate,
    compare_amounts,
    compare_paired,
    least_p_value,
)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A prompt and what became of it on the examples that judge it."""

    candidate: Candidate
    template: PromptTemplate
    evaluation: Evaluation


@dataclass(frozen=True, kw_only=True, slots=True)
class Saving:
    """Winner minus baseline in what an example costs, paired; less is better.

    Attributes:
        unit: "usd" where all prices are known and at least one is above 0, else "tokens" read and written.
    """

    unit: str
    baseline: float
    winner: float
    comparison: PairedComparison


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairing:
    """The examples on which two prompts are compared, with the seed and the level of every interval."""

    examples: tuple[Example, ...]
    scorer: Scorer
    seed: int
    level: float = 0.95

    def compare(
        self, before: Evaluation, after: Evaluation, *, guess: Guess | None = None
    ) -> PairedComparison:
        """Return after minus before on the examples that both have a score for.

        Args:
            guess: Takes the place of every answer of `before` that could not be read.
        """
        sides = [{r.example.id: r for r in side.scored} for side in (before, after)]
        shared = [e for e in self.examples if e.id in sides[0] and e.id in sides[1]]
        first, second = ([side[example.id] for example in shared] for side in sides)
        clusters = clusters_of(shared)
        if guess is not None:
            first = [guessed(result, guess) for result in first]
        if self.scorer.by_example:
            return compare_paired(
                _scores(first), _scores(second), seed=self.seed, level=self.level, clusters=clusters
            )

        def statistic(indices: Any) -> tuple[float, float]:  # noqa: ANN401  # an array of positions
            picked = [int(k) for k in indices]
            return (
                self.scorer.value([first[k] for k in picked]),
                self.scorer.value([second[k] for k in picked]),
            )

        return compare_aggregate(statistic, len(shared), seed=self.seed, level=self.level, clusters=clusters)

    def by_example(self, before: Evaluation, after: Evaluation) -> PairedComparison | None:
        """Return after minus before in scores by example, whatever the objective; None where no example has both.

        Of few examples a paired bootstrap of a metric of the whole corpus is no test.
        """
        sides = [side.scores for side in (before, after)]
        shared = [e for e in self.examples if e.id in sides[0] and e.id in sides[1]]
        if not shared:
            return None
        first, second = ([side[example.id] for example in shared] for side in sides)
        return compare_paired(first, second, seed=self.seed, level=self.level, clusters=clusters_of(shared))

    def saving(self, before: Evaluation, after: Evaluation) -> Saving | None:
        """Return what an example costs less; None where none was answered by both with its tokens stated."""
        sides = [{r.example.id: r for r in side.results if _is_counted(r)} for side in (before, after)]
        shared = [e for e in self.examples if e.id in sides[0] and e.id in sides[1]]
        if not shared:
            return None
        rows = [[side[example.id] for example in shared] for side in sides]
        dollars = [[_usd(result) for result in row] for row in rows]
        priced = all(usd is not None for row in dollars for usd in row) and any(map(any, dollars))
        amounts = [
            [usd or 0.0 for usd in row] if priced else [_tokens(result) for result in results]
            for row, results in zip(dollars, rows, strict=True)
        ]
        return Saving(
            unit="usd" if priced else "tokens",
            baseline=sum(amounts[0]) / len(shared),
            winner=sum(amounts[1]) / len(shared),
            comparison=compare_amounts(
                *amounts, seed=self.seed, level=self.level, clusters=clusters_of(shared)
            ),
        )


def comparison_figures(comparison: PairedComparison) -> dict[str, object]:
    """Return a paired comparison as it is shown.

    `smallest_provable` is the gain that would have been shown in four cases of five with as much disagreement as was
    found: by the exact power of the exact test where that was used, else by the width of the interval. None where
    no gain would have been, and where the interval has no width.
    """
    smallest = _smallest(comparison)
    return {
        "value": comparison.difference,
        "lower": comparison.interval.lower,
        "upper": comparison.interval.upper,
        "level": comparison.interval.level,
        "p_value": comparison.p_value,
        "n": comparison.n,
        "wins": comparison.wins,
        "ties": comparison.ties,
        "losses": comparison.losses,
        "method": comparison.method,
        "smallest_provable": smallest if smallest and smallest < 1 else None,
    }


def _smallest(comparison: PairedComparison) -> float:
    level, interval = comparison.interval.level, comparison.interval
    if least_p_value(comparison.units) >= 1 - level:
        return 1.0  # so few show no gain, however wide the interval is
    if comparison.method.startswith(EXACT_TEST):
        share = ((comparison.wins or 0) + (comparison.losses or 0)) / comparison.n
        return smallest_provable_difference(comparison.n, disagreement=share, level=level)
    z = two_sided_z(level)
    # Half a width is z standard errors; a gain of z and the quantile of the power more is shown that often.
    return (interval.upper - interval.lower) / 2 * (1 + NormalDist().inv_cdf(POWER) / z)


def saving_figures(saving: Saving | None) -> dict[str, object] | None:
    """Return a difference in cost as it is shown."""
    if saving is None:
        return None
    interval = saving.comparison.interval
    return {
        "unit": saving.unit,
        "baseline": saving.baseline,
        "winner": saving.winner,
        "value": saving.comparison.difference,
        "lower": interval.lower,
        "upper": interval.upper,
        "level": interval.level,
        "p_value": saving.comparison.p_value,
    }


def arm_figures(evaluation: Evaluation, metrics: Sequence[str], *, seed: int) -> dict[str, object]:
    """Return what is told of one prompt. Durations are left out: they differ from run to run."""
    interval = evaluation.interval(seed=seed)
    told = [
        name
        for name in ("valid", "strict", "tokens", *metrics)
        if evaluation.scorer.named(name).metric.unit != "seconds"
    ]
    return {
        "score": evaluation.value,
        "n": len(evaluation.scored),
        "lower": None if interval is None else interval.lower,
        "upper": None if interval is None else interval.upper,
        "invalid": evaluation.count("invalid", "refused", "truncated"),
        "errors": evaluation.n_errors,
        "outcomes": evaluation.outcomes,
        "metrics": {name: evaluation.measure(name) for name in sorted(set(told))},
        **({"unmeasured": failed} if (failed := unmeasured(evaluation, metrics)) else {}),
    }


def unmeasured(evaluation: Evaluation, metrics: Sequence[str]) -> dict[str, int]:
    """Return on how many examples each of some metrics failed, of those that did."""
    counts = {name: evaluation.unmeasured(name) for name in sorted(set(metrics))}
    return {name: n for name, n in counts.items() if n}


def row_figures(row: TrialRecord, estimate: float | None) -> dict[str, object]:
    """Return what is told of one prompt on validation; `n` are the examples it was asked about, errors included.

    Args:
        estimate: Its shrunken score, in [0, 1]; None for a metric of the whole corpus.
    """
    return {
        "score": row.score,
        "n": row.n,
        "lower": row.lower,
        "upper": row.upper,
        "errors": row.errors,
        "estimate": estimate,
    }


def guess_figures(guess: Guess | None) -> dict[str, object] | None:
    """Return the best constant answer as it is shown."""
    return None if guess is None else {"answer": guess.text, "score": guess.score}


def unreadable(evaluation: Evaluation) -> bool:
    """Return whether some answer could not be read."""
    return evaluation.count("invalid", "refused", "truncated") > 0


def _scores(results: Sequence[Result]) -> list[float]:
    return [result.score or 0.0 for result in results]


def _is_counted(result: Result) -> bool:
    return len(result.completions) > 0 and all(call.counted for call in result.completions)


def _tokens(result: Result) -> float:
    return float(sum(each.prompt_tokens + each.completion_tokens for each in result.completions))


def _usd(result: Result) -> float | None:
    costs = [each.cost_usd for each in result.completions]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def openings_figures(records: Sequence[Mapping[str, Any]], data: str) -> list[dict[str, Any]]:
    """Return each opening of a test, in order: the fingerprints of baseline, winner and wording.

    The same prompts again, to finish or repeat a test, are no further opening.

    Args:
        records: What the studies of a database recorded of their tests.
        data: Digest of the test that is meant.
    """
    distinct = dict.fromkeys(tuple(record["prompts"]) for record in records if record["data"] == data)
    return [{"opening": n, "prompts": list(prompts)} for n, prompts in enumerate(distinct, start=1)]
