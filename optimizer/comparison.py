"""Models times prompts on the same examples, paired: what each comes to, what beats what, and what is a tie.

All that is compared is taken from the examples that every cell has a score for, so that no cell is better because
its hard examples went unanswered.
"""

import dataclasses
import functools
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from optimizer.dataset import Example
from optimizer.evaluation import Evaluation, Result, Scorer
from optimizer.evidence import Pairing, comparison_figures
from optimizer.fronts import Point, front
from optimizer.gradebook import Gradebook
from optimizer.significance import Interval, PairedComparison, compare_paired, score_interval
from optimizer.ties import Contest, against_baseline, against_best

_SEED = 0  # of all that is resampled

# (a, b) -> b minus a, both positions of cells.
Differ = Callable[[int, int], PairedComparison]


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What the answers to the shared examples took, whoever paid for them and whenever.

    Attributes:
        invalid: Share of answers that could not be read, were refused or were cut off.
        strict: Share of answers in exactly the form that was asked for.
        tokens_in: Tokens read for an example, on average, over all its calls; None where some answer does not say.
        tokens_out: Tokens written, likewise.
        seconds: Of an example, over all its calls: the median.
        seconds_mean: The mean.
        cost: US dollars for an example; None where a price is not known.
        errors: Examples without a score, of all that were asked.
        outcomes: How many answers had each outcome, of all that were asked.
    """

    invalid: float
    strict: float
    tokens_in: float | None
    tokens_out: float | None
    seconds: float
    seconds_mean: float
    cost: float | None
    errors: int
    outcomes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A prompt on a model, and what it came to.

    Attributes:
        model: Its label; "" where recorded scores name none.
        score: On the shared examples, in [0, 1].
        interval: Of the score; None for a metric of the whole corpus.
        scores: By example id, of all examples that have one.
        usage: None for recorded scores.
    """

    prompt: str
    model: str
    score: float
    interval: Interval | None
    scores: Mapping[str, float]
    usage: Usage | None = None

    @property
    def name(self) -> str:
        """Return what it is called: PROMPT@MODEL."""
        return _name(self.prompt, self.model)


@dataclass(frozen=True, kw_only=True, slots=True)
class Absentee:
    """A prompt on a model of which nothing is known, because not one example got a score.

    Attributes:
        reason: Why.
        baseline: Whether the others were to be compared with it.
    """

    prompt: str
    model: str
    reason: str
    baseline: bool = False

    @property
    def name(self) -> str:
        """Return PROMPT@MODEL."""
        return _name(self.prompt, self.model)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A contender among the others.

    Attributes:
        gain: Itself minus the baseline; None of the baseline.
        behind: Itself minus the best; None of the best.
        front: Whether nothing beats it in score, cost or seconds without losing in another of them.
    """

    contender: Contender
    gain: Contest | None
    behind: Contest | None
    front: bool

    @property
    def name(self) -> str:
        """Return PROMPT@MODEL."""
        return self.contender.name

    @property
    def tied(self) -> bool:
        """Return whether nothing shows that it is worse than the best; true of the best."""
        return self.behind is None or self.behind.decision != "worse"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """All cells, in the order they were named.

    Attributes:
        metric: What the scores are of.
        examples: The shared examples.
        left_out: Examples that some cell has no score for.
        baseline: Position of the cell that the others are compared with: the first where the one that was named is absent.
        best: Position of the highest score; of equal ones the first.
        absent: What is no cell, as it has no score to compare.
    """

    metric: str
    examples: tuple[str, ...]
    left_out: tuple[str, ...]
    baseline: int
    best: int
    cells: tuple[Cell, ...]
    absent: tuple[Absentee, ...] = ()

    @property
    def ranked(self) -> tuple[Cell, ...]:
        """Return the cells, highest score first; equal ones in the order they were named."""
        first = self.cells[self.best]
        return tuple(sorted(self.cells, key=lambda cell: (-cell.contender.score, cell is not first)))

    @property
    def ties(self) -> tuple[Cell, ...]:
        """Return the best and all that nothing tells from it, highest score first."""
        return tuple(cell for cell in self.ranked if cell.tied)

    @property
    def figures(self) -> dict[str, object]:
        """Return all of it as `--json` shows it."""
        return {
            "metric": self.metric,
            "n": len(self.examples),
            "examples": list(self.examples),
            "left_out": list(self.left_out),
            "baseline": self.cells[self.baseline].name,
            "best": self.cells[self.best].name,
            "ties": [cell.name for cell in self.ties],
            "front": [cell.name for cell in self.cells if cell.front],
            "cells": [_cell_figures(cell) for cell in self.cells],
            "absent": [_absent_figures(each) for each in self.absent],
        }


def compared(
    contenders: Sequence[Contender], differ: Differ, *, baseline: int
) -> tuple[tuple[Cell, ...], int]:
    """Return the cells, and the position of the best.

    Args:
        contenders: At least one.
        differ: Compares two of them on the shared examples.
        baseline: Position of the one that the others are compared with.
    """
    best = max(range(len(contenders)), key=lambda k: (contenders[k].score, -k))
    known = functools.cache(differ)
    gains = _others(len(contenders), baseline, known, against_baseline)
    behind = _others(len(contenders), best, known, against_best)
    on_front = front([_point(contender) for contender in contenders])
    cells = tuple(
        Cell(contender=contender, gain=gains.get(k), behind=behind.get(k), front=on_front[k])
        for k, contender in enumerate(contenders)
    )
    return cells, best


def compare_evaluations(
    found: Sequence[tuple[str, str, Evaluation | str]],
    examples: Sequence[Example],
    scorer: Scorer,
    *,
    baseline: int = 0,
) -> Comparison | None:
    """Return the comparison of prompts on models; None where no example has a score in every cell.

    What has no score at all, as where a model refused every request, is no cell and takes nothing from the others.

    Args:
        found: Prompt, model, and evaluation of each cell or why there is none.
        examples: What all of them were asked.
        baseline: Position of the cell that the others are compared with; without a score the first that has some is.
    """
    scored = {k: each for k, (_, _, each) in enumerate(found) if isinstance(each, Evaluation) and each.scored}
    known = [set(evaluation.scores) for evaluation in scored.values()]
    shared = tuple(example for example in examples if all(example.id in each for each in known))
    if not scored or not shared:
        return None
    ids = {example.id for example in shared}
    parts = [kept(evaluation, ids) for evaluation in scored.values()]
    contenders = [
        Contender(
            prompt=found[k][0],
            model=found[k][1],
            score=part.value or 0.0,
            interval=part.interval(seed=_SEED),
            scores=whole.scores,
            usage=_usage(whole, part),
        )
        for (k, whole), part in zip(scored.items(), parts, strict=True)
    ]
    absent = [
        Absentee(
            prompt=prompt,
            model=model,
            reason=each if isinstance(each, str) else each.failure,
            baseline=k == baseline,
        )
        for k, (prompt, model, each) in enumerate(found)
        if k not in scored
    ]
    at = list(scored).index(baseline) if baseline in scored else 0
    pairing = Pairing(examples=shared, scorer=scorer, seed=_SEED)
    cells, best = compared(contenders, lambda a, b: pairing.compare(parts[a], parts[b]), baseline=at)
    return Comparison(
        metric=scorer.objective.name,
        examples=tuple(example.id for example in shared),
        left_out=tuple(example.id for example in examples if example.id not in ids),
        baseline=at,
        best=best,
        cells=cells,
        absent=tuple(absent),
    )


def compare_recorded(book: Gradebook, *, baseline: int = 0) -> Comparison:
    """Return the comparison of recorded scores, which are of one example each."""
    shared, clusters = book.shared, book.clusters
    rows = [[row[example] for example in shared] for row in book.scores.values()]
    contenders = [
        Contender(
            prompt=prompt,
            model=model,
            score=fmean(scores),
            interval=score_interval(scores, seed=_SEED, clusters=clusters),
            scores=book.scores[prompt, model],
        )
        for (prompt, model), scores in zip(book.scores, rows, strict=True)
    ]
    cells, best = compared(
        contenders,
        lambda a, b: compare_paired(rows[a], rows[b], seed=_SEED, clusters=clusters),
        baseline=baseline,
    )
    return Comparison(
        metric="score",
        examples=shared,
        left_out=tuple(example for example in book.examples if example not in set(shared)),
        baseline=baseline,
        best=best,
        cells=cells,
    )


def _name(prompt: str, model: str) -> str:
    return f"{prompt}@{model}" if model else prompt


def _others(
    n: int, fixed: int, differ: Differ, judge: Callable[[Sequence[PairedComparison]], tuple[Contest, ...]]
) -> dict[int, Contest]:
    """Return what is said of each but one, compared with that one."""
    others = [k for k in range(n) if k != fixed]
    return dict(zip(others, judge([differ(fixed, k) for k in others]), strict=True))


def _point(contender: Contender) -> Point:
    usage = contender.usage
    if usage is None:
        return Point(contender.score)
    return Point(contender.score, usage.cost, usage.seconds)


def kept(evaluation: Evaluation, ids: Container[str]) -> Evaluation:
    """Return an evaluation of some of its examples alone."""
    results = tuple(result for result in evaluation.results if result.example.id in ids)
    return dataclasses.replace(evaluation, results=results)


def _usage(whole: Evaluation, part: Evaluation) -> Usage:
    n, results = len(part.results), part.results
    seconds = [sum(each.seconds for each in result.completions) for result in results]
    cost = part.cost_usd
    return Usage(
        invalid=part.count("invalid", "refused", "truncated") / n,
        strict=sum(result.answer.outcome == "ok" and result.answer.strict for result in results) / n,
        tokens_in=_mean_tokens(results, "prompt_tokens"),
        tokens_out=_mean_tokens(results, "completion_tokens"),
        seconds=median(seconds),
        seconds_mean=fmean(seconds),
        cost=None if cost is None else cost / n,
        errors=whole.n_errors,
        outcomes=whole.outcomes,
    )


def _mean_tokens(results: Sequence[Result], which: str) -> float | None:
    """Return the tokens of an example; None where some answer does not say, as no other says it in its place."""
    if not all(each.counted for result in results for each in result.completions):
        return None
    return fmean(sum(getattr(each, which) for each in result.completions) for result in results)


def _cell_figures(cell: Cell) -> dict[str, object]:
    contender, interval = cell.contender, cell.contender.interval
    return {
        "cell": cell.name,
        "prompt": contender.prompt,
        "model": contender.model or None,
        "score": contender.score,
        "lower": None if interval is None else interval.lower,
        "upper": None if interval is None else interval.upper,
        "tied": cell.tied,
        "front": cell.front,
        "usage": None if contender.usage is None else _usage_figures(contender.usage),
        "gain": _contest_figures(cell.gain),
        "behind": _contest_figures(cell.behind),
    }


def _absent_figures(absentee: Absentee) -> dict[str, object]:
    return {
        "cell": absentee.name,
        "prompt": absentee.prompt,
        "model": absentee.model or None,
        "reason": absentee.reason,
    }


def _usage_figures(usage: Usage) -> dict[str, object]:
    figures = dataclasses.asdict(usage)
    cost = figures.pop("cost")
    return {**figures, "usd": cost, "usd_per_1000": None if cost is None else 1000 * cost}


def _contest_figures(contest: Contest | None) -> dict[str, object] | None:
    if contest is None:
        return None
    return {
        **comparison_figures(contest.comparison),
        "adjusted": contest.adjusted,
        "decision": contest.decision,
    }
