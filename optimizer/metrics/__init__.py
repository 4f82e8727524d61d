"""Metrics and measures.

A metric is an objective in [0, 1], greater is better: either a score for each example or one figure for all of
them, which then names the metric that scores single examples in its place while a search is under way. A measure
is an operational figure with a unit; it is reported and can be constrained, never maximised.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Literal, overload

from optimizer.answer import Answer
from optimizer.completion import Completion, Model
from optimizer.dataset import Example
from optimizer.registry import Registry
from optimizer.taskfile import OutputType

Kind = Literal["score", "aggregate", "measure"]
Role = Literal["judge", "embeddings"]

_EVERY_OUTPUT: tuple[OutputType, ...] = ("label", "labels", "text", "number", "json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a metric may know besides answers and targets.

    Attributes:
        labels: The task's labels.
        schema: JSON Schema of the task's answers as canonical text, or "".
        language: The task's language.
        images: The inputs that are images, whose values are URLs.
        options: What the task sets, an object of the metric's own `options`.
        models: The models that the metric needs, by their role.
    """

    labels: tuple[str, ...] = ()
    schema: str = ""
    language: str = "en"
    images: frozenset[str] = frozenset()
    options: object = None
    models: Mapping[Role, Model] = field(default_factory=dict)

    def texts(self, example: Example) -> list[tuple[str, str]]:
        """Return the inputs of an example that are texts, by name."""
        return [(name, text) for name, text in example.inputs if name not in self.images]

    def pictures(self, example: Example) -> tuple[str, ...]:
        """Return the URLs of an example's images."""
        return tuple(url for name, url in example.inputs if name in self.images and url)


Plain = Callable[[Answer, str], float]
Score = Callable[[Answer, str, Setting], float]
Judged = Callable[[Answer, Example, Setting], Awaitable[float]]
Aggregate = Callable[[Sequence[Answer], Sequence[str], Setting], float]
Reading = Callable[[Answer, tuple[Completion, ...]], float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One metric or measure; exactly one of `score`, `judged`, `aggregate` and `measure` is set.

    Attributes:
        score: (answer, target, setting) to a score in [0, 1]. An answer that could not be read scores 0.
        judged: The same of an answer to an example, where a model has to be asked or the inputs count.
        aggregate: (answers, targets, setting) to one figure in [0, 1].
        proxy: Name of the per-example metric that stands in for an aggregate.
        measure: (answer, completions of all calls) to a figure, or None where the example has none; the others are
            averaged.
        unit: Unit of a measure.
        greater_is_better: Direction of a measure; metrics are always better when greater.
        outputs: Output types it can judge.
        options: A frozen dataclass of what a task may set, or None where there is nothing to set.
        needs: The models it asks.
        asks: How many calls of each of them one answer takes at most.
        slow: Whether scoring takes long enough to be done beside other work.
    """

    score: Score | None = None
    judged: Judged | None = None
    aggregate: Aggregate | None = None
    proxy: str = ""
    measure: Reading | None = None
    unit: str = ""
    greater_is_better: bool = True
    outputs: tuple[OutputType, ...] = _EVERY_OUTPUT
    options: type | None = None
    needs: tuple[Role, ...] = ()
    asks: Callable[[Setting], int] = lambda _setting: 1
    slow: bool = False

    @property
    def kind(self) -> Kind:
        """Return which of the three it is."""
        if self.score is not None or self.judged is not None:
            return "score"
        return "aggregate" if self.aggregate is not None else "measure"


METRICS: Registry[Metric] = Registry("optimizer.metrics", Metric)


@overload
def metric(*, outputs: tuple[OutputType, ...] = ...) -> Callable[[Plain], Metric]: ...
@overload
def metric(
    *, options: type | None, outputs: tuple[OutputType, ...] = ..., slow: bool = ...
) -> Callable[[Score], Metric]: ...
def metric(
    *,
    outputs: tuple[OutputType, ...] = _EVERY_OUTPUT,
    options: type | Literal[False] | None = False,
    slow: bool = False,
) -> Callable[[Plain], Metric] | Callable[[Score], Metric]:
    """Make a metric of a function that scores one example.

    With `options` it is handed its setting as well; with None for options it has nothing to set, but is handed the
    setting all the same, for the task's language, labels or schema.
    """
    if options is not False:
        return lambda score: Metric(score=score, outputs=outputs, options=options, slow=slow)

    def plain(score: Plain) -> Metric:
        return Metric(score=lambda answer, target, _setting: score(answer, target), outputs=outputs)

    return plain


def judged(
    *,
    outputs: tuple[OutputType, ...] = _EVERY_OUTPUT,
    options: type | None = None,
    needs: tuple[Role, ...] = ("judge",),
    asks: Callable[[Setting], int] = lambda _setting: 1,
) -> Callable[[Judged], Metric]:
    """Make a metric of a coroutine that scores one example by asking a model."""
    return lambda function: Metric(judged=function, outputs=outputs, options=options, needs=needs, asks=asks)


def aggregate(
    *, proxy: str, outputs: tuple[OutputType, ...] = _EVERY_OUTPUT, options: type | None = None
) -> Callable[[Aggregate], Metric]:
    """Make a metric of a function that judges all examples together; of none there is no figure, but an error."""

    def made(function: Aggregate) -> Metric:
        @wraps(function)
        def of_some(answers: Sequence[Answer], targets: Sequence[str], setting: Setting) -> float:
            if not answers or len(answers) != len(targets):
                message = "expected at least one answer and as many targets"
                raise ValueError(f"{message}, found {len(answers)} and {len(targets)}")
            return function(answers, targets, setting)

        return Metric(aggregate=of_some, proxy=proxy, outputs=outputs, options=options)

    return made


def measure(*, unit: str, greater_is_better: bool) -> Callable[[Reading], Metric]:
    """Make a measure of a function that reads one figure off one example."""
    return lambda reading: Metric(measure=reading, unit=unit, greater_is_better=greater_is_better)
