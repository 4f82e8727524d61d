"""Scores of one template on some examples by one model: fill, call, read, score."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from optimizer.answer import OUTCOMES, Answer
from optimizer.completion import Completion, Model
from optimizer.dataset import Example, clusters_of
from optimizer.errors import EndpointError, ModelError, OutageError, TransientError
from optimizer.metrics import METRICS, Metric
from optimizer.prompt import PromptTemplate
from optimizer.significance import Interval, score_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of one example.

    Attributes:
        score: In [0, 1], greater is better; None when the example has no score.
        completions: One for each call that was answered.
        error: Why there is no score, else "".
        outage: Whether another attempt, later, may well succeed.
    """

    example: Example
    answer: Answer
    score: float | None
    completions: tuple[Completion, ...]
    error: str = ""
    outage: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """The objective of a task, ready to be applied.

    Attributes:
        objective: The metric.
        per_example: The metric itself, or the proxy of an aggregate.
        labels: The task's labels.
    """

    objective: Metric
    per_example: Callable[[Answer, str], float]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, name: str, labels: tuple[str, ...]) -> "Judge":
        """Return the judge for the objective of that name."""
        objective = METRICS[name]
        score = objective.score or METRICS[objective.proxy].score
        assert score is not None  # a proxy scores single examples; the folder's contract tests prove it
        return cls(objective=objective, per_example=score, labels=labels)

    def value(self, results: Sequence[Result]) -> float:
        """Return the objective over results that all have a score; in [0, 1]."""
        if self.objective.aggregate is None:
            return sum(result.score or 0.0 for result in results) / len(results)
        answers = [result.answer for result in results]
        return self.objective.aggregate(answers, [result.example.target for result in results], self.labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One template's results, in the order of the examples."""

    fingerprint: str
    results: tuple[Result, ...]
    judge: Judge

    @property
    def scored(self) -> tuple[Result, ...]:
        """Return the results that have a score."""
        return tuple(result for result in self.results if result.score is not None)

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
        return self.judge.value(self.scored) if self.scored else None

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

        A time is measured on answers that this study got itself; None where it got none of them.
        """
        metric, results = METRICS[name], self.scored
        if metric.unit == "seconds":
            results = tuple(r for r in results if not any(c.cached for c in r.completions))
        if not results:
            return None
        if metric.measure is None:
            return Judge.of(name, self.judge.labels).value([_rescored(result, metric) for result in results])
        return sum(metric.measure(result.answer, result.completions) for result in results) / len(results)

    def interval(self, *, seed: int) -> Interval | None:
        """Return the interval of the mean per-example score; None where the objective is an aggregate."""
        if self.judge.objective.score is None or not self.scored:
            return None
        examples = [result.example for result in self.scored]
        return score_interval(list(self.scores.values()), seed=seed, clusters=clusters_of(examples))


async def evaluate(
    template: PromptTemplate, examples: Sequence[Example], model: Model, judge: Judge
) -> Evaluation:
    """Return the results of one template; how many calls are under way at once is the model's affair.

    An example that the model did not answer has the outcome `error` and no score.

    Raises:
        EndpointError: When the endpoint would refuse every request.
        OutageError: When the endpoint is down.
        BudgetError: When the budget ended.
        InterruptedRunError: When the run is stopping. Calls under way are finished first in all cases.
    """
    outcomes = await asyncio.gather(
        *(_result(template, example, model, judge) for example in examples), return_exceptions=True
    )
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    results = tuple(outcome for outcome in outcomes if isinstance(outcome, Result))
    return Evaluation(fingerprint=template.fingerprint, results=results, judge=judge)


async def _result(template: PromptTemplate, example: Example, model: Model, judge: Judge) -> Result:
    completions: list[Completion] = []
    inputs: Mapping[str, str] = example.values
    try:
        while len(completions) < len(template.calls):
            request = template.request(inputs, [completion.text for completion in completions])
            completions.append(await model.complete(request))
    except (EndpointError, OutageError):
        raise
    except ModelError as error:
        answer = Answer(text=None, outcome="error")
        return Result(
            example=example,
            answer=answer,
            score=None,
            completions=tuple(completions),
            error=str(error),
            outage=isinstance(error, TransientError),
        )
    answer = template.answer.read(completions[-1].text, completions[-1].finish_reason)
    return _judged(Result(example=example, answer=answer, score=None, completions=tuple(completions)), judge)


def _judged(result: Result, judge: Judge) -> Result:
    """Return the result with its score, or as `unscored` where the metric failed: that is not the model's fault."""
    try:
        score = judge.per_example(result.answer, result.example.target)
        if not 0 <= score <= 1:
            raise ValueError(f"expected a score in [0, 1], found {score}")  # noqa: TRY301  # told like any failure
    except Exception as error:  # noqa: BLE001  # a metric may be anybody's; whatever it raises is no score
        answer = Answer(text=result.answer.text, outcome="unscored")
        reason = f"the metric failed: {type(error).__name__}: {error}"
        return dataclasses.replace(result, answer=answer, error=reason)
    return dataclasses.replace(result, score=score)


def _rescored(result: Result, metric: Metric) -> Result:
    if metric.score is None:
        return result
    score = metric.score(result.answer, result.example.target)
    return Result(example=result.example, answer=result.answer, score=score, completions=result.completions)
