"""Metrics and measures.

A metric is an objective in [0, 1], greater is better: either a score for each example or one figure for all of
them, which then names the metric that scores single examples in its place while a search is under way. A measure
is an operational figure with a unit; it is reported and can be constrained, never maximised.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from optimizer.answer import Answer
from optimizer.completion import Completion
from optimizer.registry import Registry
from optimizer.task import OutputType

Kind = Literal["score", "aggregate", "measure"]
Score = Callable[[Answer, str], float]
Aggregate = Callable[[Sequence[Answer], Sequence[str], tuple[str, ...]], float]
Reading = Callable[[Answer, tuple[Completion, ...]], float]

_EVERY_OUTPUT: tuple[OutputType, ...] = ("label", "text", "number")


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One metric or measure; exactly one of `score`, `aggregate` and `measure` is set.

    Attributes:
        score: (answer, target) to a score in [0, 1]. An answer that could not be read scores 0.
        aggregate: (answers, targets, labels) to one figure in [0, 1].
        proxy: Name of the per-example metric that stands in for an aggregate.
        measure: (answer, completions of all calls) to a figure; examples are averaged.
        unit: Unit of a measure.
        greater_is_better: Direction of a measure; metrics are always better when greater.
        outputs: Output types it can judge.
    """

    score: Score | None = None
    aggregate: Aggregate | None = None
    proxy: str = ""
    measure: Reading | None = None
    unit: str = ""
    greater_is_better: bool = True
    outputs: tuple[OutputType, ...] = _EVERY_OUTPUT

    @property
    def kind(self) -> Kind:
        """Return which of the three it is."""
        if self.score is not None:
            return "score"
        return "aggregate" if self.aggregate is not None else "measure"


METRICS: Registry[Metric] = Registry("optimizer.metrics", Metric)


def metric(*, outputs: tuple[OutputType, ...] = _EVERY_OUTPUT) -> Callable[[Score], Metric]:
    """Make a metric of a function that scores one example."""
    return lambda score: Metric(score=score, outputs=outputs)


def aggregate(
    *, proxy: str, outputs: tuple[OutputType, ...] = _EVERY_OUTPUT
) -> Callable[[Aggregate], Metric]:
    """Make a metric of a function that judges all examples together."""
    return lambda function: Metric(aggregate=function, proxy=proxy, outputs=outputs)


def measure(*, unit: str, greater_is_better: bool) -> Callable[[Reading], Metric]:
    """Make a measure of a function that reads one figure off one example."""
    return lambda reading: Metric(measure=reading, unit=unit, greater_is_better=greater_is_better)
