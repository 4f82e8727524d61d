"""Scores of one template on some examples by one model: fill, call, read, score."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass

from optimizer.answer import OUTCOMES, Answer
from optimizer.completion import Completion, Model
from optimizer.dataset import Example, clusters_of
from optimizer.errors import (
    BudgetError,
    EndpointError,
    InterruptedRunError,
    ModelError,
    OutageError,
    TransientError,
)
from optimizer.metrics import Role
from optimizer.prompt import PromptTemplate
from optimizer.scoring import Prepared, by_example, plain, prepared
from optimizer.significance import Interval, score_interval
from optimizer.slices import SLICE_GAP, Statistic, shrunken_gap
from optimizer.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of one example.

    Attributes:
        score: In [0, 1], greater is better; None when the example has no score.
        completions: One for each call that was answered.
        further: Scores by other metrics, where these take a model or a process of their own.
        error: Why there is no score, else "".
        outage: Whether another attempt, later, may well succeed.
    """

    example: Example
    answer: Answer
    score: float | None
    completions: tuple[Completion, ...]
    error: str = ""
    outage: bool = False
    further: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """The metrics of a task, ready to be applied.

    Attributes:
        objective: What is maximised.
        per_example: The objective itself, or what stands in for one of all examples together.
        others: What is reported beside it, by name.
    """

    objective: Prepared
    per_example: Prepared
    others: Mapping[str, Prepared]

    @classmethod
    def of(cls, task: Task, models: Mapping[Role, Model] | None = None) -> "Scorer":
        """Return the scorer of a task.

        Args:
            models: What its metrics ask, where they need a model.

        Raises:
            InputError: With every mistake in its metrics.
        """
        found = prepared(task, models)
        objective = found.pop(task.metric)
        return cls(objective=objective, per_example=by_example(objective), others=found)

    @property
    def by_example(self) -> bool:
        """Return whether the objective is a mean of scores by example."""
        return not self.objective.metric.proxy

    def named(self, name: str) -> Prepared:
        """Return one of the task's metrics, or one that it does not name, without options."""
        if name == self.objective.name:
            return self.objective
        return self.others.get(name) or plain(name, self.objective.setting)

    def value(self, results: Sequence[Result]) -> float:
        """Return the objective over results that all have a score; in [0, 1]."""
        return _value(self.objective, results, [result.score or 0.0 for result in results])

    def by_slice(self, results: Sequence[Result]) -> Statistic | None:
        """Return the objective over results at some positions; None where slices are compared by the scores by example.

        A figure of labels moves with which of them a slice has: of a prompt that is always right there would be a gap. Its
        slices are compared by what stands in for it.
        """
        if self.by_example or set(self.objective.metric.outputs) <= {"label", "labels"}:
            return None
        return lambda part: self.value([results[k] for k in part])


def _value(metric: Prepared, results: Sequence[Result], scores: Sequence[float]) -> float:
    if metric.metric.aggregate is None:
        return sum(scores) / len(scores)
    answers = [result.answer for result in results]
    return metric.value(answers, [result.example.target for result in results])


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One template's results, in the order of the examples."""

    fingerprint: str
    results: tuple[Result, ...]
    scorer: Scorer

    @property
    def scored(self) -> tuple[Result, ...]:
        """Return the results that have a score."""
        return tuple(result for result in self.results if result.score is not None)

    @property
    def is_interrupted(self) -> bool:
        """Return whether another attempt, later, may well bring what is missing."""
        return any(result.outage for result in self.results)

    @property
    def n_errors(self) -> int:
        """Return how many examples have no score."""
        return len(self.results) - len(self.scored)

    @property
    def error_rate(self) -> float:
        """Return the share of examples without a score."""
        return self.n_errors / len(self.results)

    @property
    def value(self) -> float | None:
        """Return the objective over the scored examples, or None when there are none."""
        return self.scorer.value(self.scored) if self.scored else None

    @property
    def scores(self) -> dict[str, float]:
        """Return the per-example scores by example id."""
        return {result.example.id: result.score for result in self.scored if result.score is not None}

    @property
    def failure(self) -> str:
        """Return how many examples have no score, and why the first of them has none."""
        first = next((result.error for result in self.results if result.error), "no reason given")
        return f"{self.n_errors} of {len(self.results)} examples failed; {first}"

    def count(self, *outcomes: str) -> int:
        """Return how many answers had one of the outcomes."""
        return sum(result.answer.outcome in outcomes for result in self.results)

    @property
    def outcomes(self) -> dict[str, int]:
        """Return how many answers had each outcome, those that none had included."""
        return {outcome: self.count(outcome) for outcome in OUTCOMES}

    @property
    def cost_usd(self) -> float | None:
        """Return what the answers cost, whoever paid for them; None where a price is not known."""
        costs = [completion.cost_usd for result in self.results for completion in result.completions]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) and known else None

    def measure(self, name: str) -> float | None:
        """Return the mean of a measure, or the value of another metric, over the scored examples.

        A time is measured on answers that this study got itself; None where it got none of them, and where a metric
        that asks a model was not asked. Examples on which a metric fails are left out; `unmeasured` counts them. The gap between slices is one of the whole evaluation; None where no column has
        two slices large enough.
        """
        if name == SLICE_GAP:
            return self._slice_gap()
        found, results = self.scorer.named(name), self.scored
        reading = found.metric.measure
        if reading is not None:
            if found.metric.unit == "seconds":
                results = tuple(r for r in results if not any(c.cached for c in r.completions))
            read = (reading(result.answer, result.completions) for result in results)
            figures = [figure for figure in read if figure is not None]
            return sum(figures) / len(figures) if figures else None
        if not results:
            return None
        if found.metric.aggregate is not None:
            with suppress(
                Exception
            ):  # a metric may be anybody's, and one beside the objective decides nothing
                return _value(found, results, ())
            return None
        scores = [score for result in results if (score := _reported(found, result)) is not None]
        return sum(scores) / len(scores) if scores else None

    def unmeasured(self, name: str) -> int:
        """Return for how many scored examples a metric beside the objective failed, or was not asked."""
        found = self.scorer.named(name)
        if found.metric.kind == "aggregate":
            return len(self.scored) if self.measure(name) is None else 0
        if found.metric.kind == "measure":
            return 0
        return sum(_reported(found, result) is None for result in self.scored)

    def _slice_gap(self) -> float | None:
        results = self.scored
        rows, scores = [result.example.slices for result in results], list(self.scores.values())
        return shrunken_gap(rows, scores, statistic=self.scorer.by_slice(results))

    def interval(self, *, seed: int) -> Interval | None:
        """Return the interval of the mean per-example score; None where the objective is an aggregate."""
        if not self.scorer.by_example or not self.scored:
            return None
        examples = [result.example for result in self.scored]
        return score_interval(list(self.scores.values()), seed=seed, clusters=clusters_of(examples))


async def evaluate(
    template: PromptTemplate,
    examples: Sequence[Example],
    model: Model,
    scorer: Scorer,
    *,
    reported: bool = False,
) -> Evaluation:
    """Return the results of one template; how many calls are under way at once is the model's affair.

    An example that the model did not answer has the outcome `error` and no score.

    Args:
        reported: Whether metrics beside the objective that ask a model are asked, too.

    Raises:
        EndpointError: When the endpoint would refuse every request.
        OutageError: When the endpoint is down.
        BudgetError: When the budget ended.
        InterruptedRunError: When the run is stopping. Calls under way are finished first in all cases.
    """
    takes = frozenset(template.inputs)
    outcomes = await asyncio.gather(
        *(_result(template, example, model, scorer, takes=takes, reported=reported) for example in examples),
        return_exceptions=True,
    )
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    results = tuple(outcome for outcome in outcomes if isinstance(outcome, Result))
    return Evaluation(fingerprint=template.fingerprint, results=results, scorer=scorer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What a prompt made of some inputs.

    Attributes:
        completions: One for each call that was answered.
        error: Why there is no answer, else "".
        outage: Whether another attempt, later, may well succeed.
    """

    answer: Answer
    completions: tuple[Completion, ...]
    error: str = ""
    outage: bool = False


async def answered(template: PromptTemplate, inputs: Mapping[str, str], model: Model) -> Answered:
    """Make the calls of a template, one after the other, and read the answer of the last.

    Without an answer of the model the outcome is `error`.

    Raises:
        EndpointError: When the endpoint would refuse every request.
        OutageError: When the endpoint is down.
        BudgetError: When the budget ended.
        InterruptedRunError: When the run is stopping.
    """
    completions: list[Completion] = []
    try:
        while len(completions) < len(template.calls):
            request = template.request(inputs, [completion.text for completion in completions])
            completions.append(await model.complete(request))
    except (EndpointError, OutageError):
        raise
    except ModelError as error:
        return Answered(
            answer=Answer(text=None, outcome="error"),
            completions=tuple(completions),
            error=str(error),
            outage=isinstance(error, TransientError),
        )
    answer = template.answer.read(completions[-1].text, completions[-1].finish_reason)
    return Answered(answer=answer, completions=tuple(completions))


async def _result(
    template: PromptTemplate,
    example: Example,
    model: Model,
    scorer: Scorer,
    *,
    takes: AbstractSet[str],
    reported: bool,
) -> Result:
    # A prompt that was imported need not show every input of the task.
    inputs = {name: text for name, text in example.inputs if name in takes}
    found = await answered(template, inputs, model)
    read = Result(
        example=example,
        answer=found.answer,
        score=None,
        completions=found.completions,
        error=found.error,
        outage=found.outage,
    )
    return read if found.answer.outcome == "error" else await _scored(read, scorer, reported=reported)


async def _scored(result: Result, scorer: Scorer, *, reported: bool) -> Result:
    """Return the result with its scores, or as `unscored` where a metric failed: that is not the model's fault."""
    further = {name: each for name, each in scorer.others.items() if reported and _apart(each)}
    try:
        score = await scorer.per_example.scored(result.answer, result.example)
        others = {name: await _further(each, result) for name, each in further.items()}
    except (EndpointError, OutageError, BudgetError, InterruptedRunError):
        raise
    except Exception as error:  # noqa: BLE001  # a metric may be anybody's; whatever it raises is no score
        answer = dataclasses.replace(result.answer, outcome="unscored")
        reason = f"the metric failed: {type(error).__name__}: {error}"
        return dataclasses.replace(
            result, answer=answer, error=reason, outage=isinstance(error, TransientError)
        )
    known = {name: other for name, other in others.items() if other is not None}
    return dataclasses.replace(result, score=score, further=known)


async def _further(metric: Prepared, result: Result) -> float | None:
    """Return a score beside the objective, None where the metric fails: that takes nothing from the objective.

    Raises:
        ModelError: When the metric's model was not reached, which the same command mends.
    """
    try:
        return await metric.scored(result.answer, result.example)
    except (EndpointError, OutageError, BudgetError, InterruptedRunError, TransientError):
        raise
    except Exception:  # noqa: BLE001  # a metric may be anybody's; whatever it raises is no score
        return None


def _reported(metric: Prepared, result: Result) -> float | None:
    """Return what a metric beside the objective gives an answer, None where it fails or was not asked."""
    if not metric.at_once:
        return result.further.get(metric.name)
    try:
        return metric.score(result.answer, result.example.target)
    except Exception:  # noqa: BLE001  # as above
        return None


def _apart(metric: Prepared) -> bool:
    return metric.metric.kind == "score" and not metric.at_once
