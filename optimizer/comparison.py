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
        tokens_in: Tokens read for an example, on average, over all its calls.
        tokens_out: Tokens written.
        seconds: Of an example, over all its calls: the median.
        seconds_mean: The mean.
        cost: US dollars for an example; None where a price is not known.
        errors: Examples without a score, of all that were asked.
        outcomes: How many answers had each outcome, of all that were asked.
    """

    invalid: float
    strict: float
    tokens_in: float
    tokens_out: float
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
        return f"{self.prompt}@{self.model}" if self.model else self.prompt


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
        baseline: Position of the cell that was named before.
        best: Position of the highest score; of equal ones the first.
    """

    metric: str
    examples: tuple[str, ...]
    left_out: tuple[str, ...]
    baseline: int
    best: int
    cells: tuple[Cell, ...]

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
    found: Sequence[tuple[str, str, Evaluation]],
    examples: Sequence[Example],
    scorer: Scorer,
    *,
    baseline: int = 0,
) -> Comparison | None:
    """Return the comparison of prompts on models; None where no example has a score in every cell.

    Args:
        found: Prompt, model and evaluation of each cell.
        examples: What all of them were asked.
        baseline: Position of the cell that the others are compared with.
    """
    known = [set(evaluation.scores) for _, _, evaluation in found]
    shared = tuple(example for example in examples if all(example.id in each for each in known))
    if not shared:
        return None
    ids = {example.id for example in shared}
    parts = [kept(evaluation, ids) for _, _, evaluation in found]
    contenders = [
        Contender(
            prompt=prompt,
            model=model,
            score=part.value or 0.0,
            interval=part.interval(seed=_SEED),
            scores=whole.scores,
            usage=_usage(whole, part),
        )
        for (prompt, model, whole), part in zip(found, parts, strict=True)
    ]
    pairing = Pairing(examples=shared, scorer=scorer, seed=_SEED)
    cells, best = compared(contenders, lambda a, b: pairing.compare(parts[a], parts[b]), baseline=baseline)
    return Comparison(
        metric=scorer.objective.name,
        examples=tuple(example.id for example in shared),
        left_out=tuple(example.id for example in examples if example.id not in ids),
        baseline=baseline,
        best=best,
        cells=cells,
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
        tokens_in=fmean(_tokens(result, "prompt_tokens") for result in results),
        tokens_out=fmean(_tokens(result, "completion_tokens") for result in results),
        seconds=median(seconds),
        seconds_mean=fmean(seconds),
        cost=None if cost is None else cost / n,
        errors=whole.n_errors,
        outcomes=whole.outcomes,
    )


def _tokens(result: Result, which: str) -> int:
    return sum(getattr(each, which) for each in result.completions)


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
