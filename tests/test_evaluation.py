"""Scores of one template: fill, call, read, score, and no score where there was no answer."""

import asyncio
from collections.abc import Callable

import pytest

from optimizer.answer import OUTCOMES, Answer, AnswerFormat
from optimizer.completion import Completion, Message, Model, Request
from optimizer.dataset import Example
from optimizer.errors import (
    BrokenAnswerError,
    BudgetError,
    EndpointError,
    InterruptedRunError,
    ModelError,
    OutageError,
    OverloadedError,
    RejectedError,
    UnreachableError,
)
from optimizer.evaluation import Evaluation, Scorer, evaluate
from optimizer.metrics import Metric, Setting
from optimizer.models.scripted import Scripted
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.scoring import Prepared, plain
from optimizer.significance import score_interval

LABELS = ("red", "green", "blue")
EXAMPLES = tuple(
    Example(id=f"e{n}", inputs=(("text", f"thing {n}"),), target=LABELS[n % 3], group=None) for n in range(6)
)


def a_template(n_calls: int = 1) -> PromptTemplate:
    messages = [MessageTemplate(role="user", parts=("Colour of ", Hole(name="input:text")))]
    calls = [CallTemplate(messages=tuple(messages))]
    for k in range(n_calls - 1):
        messages.append(MessageTemplate(role="assistant", parts=(Hole(name=f"completion:{k}"),)))
        messages.append(MessageTemplate(role="user", parts=("Check it.",)))
        calls.append(CallTemplate(messages=tuple(messages)))
    return PromptTemplate(calls=tuple(calls), answer=AnswerFormat(kind="label", labels=LABELS))


def number(request: Request) -> int:
    return int(request.messages[0].content.rpartition(" ")[2])


def right(request: Request) -> str:
    return LABELS[number(request) % 3]


def a_scorer(metric: str) -> Scorer:
    """Return the scorer of a task that names one metric."""
    objective = plain(metric, Setting(labels=LABELS))
    proxy = objective.metric.proxy
    per_example = plain(proxy, objective.setting) if proxy else objective
    return Scorer(objective=objective, per_example=per_example, others={})


def evaluated(
    model: Model, *, metric: str = "accuracy", examples: tuple[Example, ...] = EXAMPLES, n_calls: int = 1
) -> Evaluation:
    return asyncio.run(evaluate(a_template(n_calls), examples, model, a_scorer(metric)))


def failing_on(broken: set[int], error: Exception, otherwise: Callable[[Request], str] = right) -> Scripted:
    def script(request: Request) -> str:
        if number(request) in broken:
            raise error
        return otherwise(request)

    return Scripted(script)


def test_every_example_is_filled_in_called_read_and_scored() -> None:
    model = Scripted(lambda request: "It is blue." if number(request) == 2 else "red")
    found = evaluated(model, examples=EXAMPLES[:3])
    assert [request.messages for request in model.requests] == [
        (Message(role="user", content=f"Colour of thing {n}"),) for n in range(3)
    ]
    assert [result.answer.text for result in found.results] == ["red", "red", "blue"]
    assert found.scores == {"e0": 1.0, "e1": 0.0, "e2": 1.0}
    assert found.value == pytest.approx(2 / 3)
    assert found.fingerprint == a_template().fingerprint


class Backwards:
    """Answers the last request first."""

    def __init__(self, n: int) -> None:
        self._turns = [asyncio.Event() for _ in range(n)]
        self._turns[-1].set()

    async def complete(self, request: Request) -> Completion:
        n = number(request)
        await self._turns[n].wait()
        if n:
            self._turns[n - 1].set()
        return Completion(text=right(request))


def test_results_are_in_the_order_of_the_examples_whatever_is_answered_first() -> None:
    found = evaluated(Backwards(len(EXAMPLES)))
    assert [result.example for result in found.results] == list(EXAMPLES)
    assert found.value == 1.0


def test_an_unanswered_example_is_an_error_without_a_score() -> None:
    found = evaluated(failing_on({1, 4}, UnreachableError("nobody there", reason="refused")))
    missing = found.results[1]
    assert missing.answer.outcome == "error"
    assert missing.score is None
    assert missing.error == "nobody there"
    assert missing.completions == ()
    assert "e1" not in found.scores
    assert found.value == 1.0  # the mean of those that were answered; 0.67 with a zero for the others
    assert found.n_errors == 2
    assert found.error_rate == pytest.approx(1 / 3)
    assert len(found.scored) == 4


@pytest.mark.parametrize("bad", [2.0, -0.1, float("nan"), None])
def test_a_metric_that_fails_leaves_the_example_unscored(bad: float | None) -> None:
    def score(answer: Answer, target: str, setting: Setting) -> float:
        if target != LABELS[0]:
            return 1.0
        if bad is None:
            raise KeyError("no such target")
        return bad

    own = Prepared(name="own", metric=Metric(score=score), setting=Setting())
    scorer = Scorer(objective=own, per_example=own, others={})
    found = asyncio.run(evaluate(a_template(), EXAMPLES, Scripted(right), scorer))
    unscored = found.results[0]
    assert (unscored.answer.outcome, unscored.score) == ("unscored", None)
    assert unscored.error.startswith("the metric failed: ")
    assert (found.n_errors, found.value) == (2, 1.0)


def test_an_unreadable_answer_is_the_models_own_and_scores_0() -> None:
    found = evaluated(Scripted(lambda request: "who knows" if number(request) == 0 else right(request)))
    assert found.results[0].answer.outcome == "invalid"
    assert found.results[0].score == 0.0
    assert found.value == pytest.approx(5 / 6)
    assert (found.n_errors, found.count("invalid"), found.count("ok", "invalid")) == (0, 1, 6)


@pytest.mark.parametrize(("reason", "outcome"), [("refused", "refused"), ("length", "truncated")])
def test_a_refusal_and_a_cut_are_the_models_own_too(reason: str, outcome: str) -> None:
    completion = Completion(text="I", finish_reason=reason)  # type: ignore[arg-type]  # one of the two
    found = evaluated(Scripted(lambda _: completion))
    assert found.count(outcome) == 6
    assert (found.value, found.n_errors) == (0.0, 0)


def test_nothing_answered_is_no_value_and_not_0() -> None:
    found = evaluated(failing_on(set(range(6)), RejectedError("too long")))
    assert (found.value, found.error_rate) == (None, 1.0)
    assert found.measure("valid") is None
    assert found.measure("accuracy") is None
    assert found.interval(seed=0) is None


@pytest.mark.parametrize(
    ("error", "later"),
    [
        (UnreachableError("gone", reason="reset"), True),
        (OverloadedError("busy", reason="429"), True),
        (BrokenAnswerError("half of one", reason="half an answer"), True),
        (RejectedError("too long"), False),
        (ModelError("of some other kind"), False),
    ],
)
def test_an_unanswered_example_tells_whether_another_attempt_may_succeed(
    error: ModelError, later: bool
) -> None:
    found = evaluated(failing_on({1}, error))
    assert [result.outage for result in found.results] == [False, later, *[False] * 4]
    assert [result.answer.outcome for result in found.results] == ["ok", "error", *["ok"] * 4]


@pytest.mark.parametrize(
    "error",
    [EndpointError("wrong key"), OutageError("all gone"), BudgetError("spent"), InterruptedRunError("stop")],
)
def test_what_ends_a_run_is_raised_after_the_others_are_done(error: Exception) -> None:
    model = failing_on({1}, error)
    with pytest.raises(type(error), match=str(error)):
        evaluated(model)
    assert len(model.requests) == 6


def test_every_outcome_is_counted_those_that_no_answer_had_too() -> None:
    def script(request: Request) -> Completion:
        n = number(request)
        if n == 4:
            raise RejectedError("too long")
        if n in (1, 2):
            return Completion(text="I", finish_reason="refused" if n == 1 else "length")
        return Completion(text="who knows" if n == 3 else right(request))

    found = evaluated(Scripted(script))
    assert found.outcomes == {
        "ok": 2,
        "invalid": 1,
        "refused": 1,
        "truncated": 1,
        "error": 1,
        "unscored": 0,
    }
    assert tuple(found.outcomes) == OUTCOMES
    assert sum(found.outcomes.values()) == len(found.results)


def priced(*costs: float | None) -> Scripted:
    """Return a model whose answers cost so much, one example after the other."""
    return Scripted(
        lambda request: Completion(
            text="red", prompt_tokens=1, completion_tokens=1, cost_usd=costs[number(request)]
        )
    )


@pytest.mark.parametrize(
    ("costs", "sum_usd"),
    [
        ((0.25, 0.5, 0.0), 0.75),
        ((0.0, 0.0, 0.0), 0.0),
        ((0.25, None, 0.5), None),
        ((None, None, None), None),
    ],
)
def test_the_cost_is_that_of_all_answers_or_not_known(
    costs: tuple[float | None, ...], sum_usd: float | None
) -> None:
    assert evaluated(priced(*costs), examples=EXAMPLES[:3]).cost_usd == sum_usd


def test_the_cost_counts_every_call_whoever_paid_for_it_and_none_without_an_answer() -> None:
    def script(request: Request) -> Completion:
        if number(request) == 1 and len(request.messages) > 1:
            raise UnreachableError("gone", reason="reset")
        return Completion(text="red", cost_usd=0.5, cached=number(request) == 0)

    assert evaluated(Scripted(script), examples=EXAMPLES[:2], n_calls=2).cost_usd == 1.5
    assert evaluated(failing_on({0, 1}, RejectedError("too long")), examples=EXAMPLES[:2]).cost_usd is None


def test_later_calls_are_given_the_earlier_answers() -> None:
    def script(request: Request) -> str:
        return "first thoughts" if len(request.messages) == 1 else right(request)

    model = Scripted(script)
    found = evaluated(model, examples=EXAMPLES[:2], n_calls=2)
    assert found.value == 1.0
    assert [len(result.completions) for result in found.results] == [2, 2]
    second = next(r for r in model.requests if len(r.messages) == 3 and number(r) == 1)
    assert [message.content for message in second.messages] == [
        "Colour of thing 1",
        "first thoughts",
        "Check it.",
    ]


def test_a_failure_in_a_later_call_keeps_what_was_answered_before_and_gives_no_score() -> None:
    def script(request: Request) -> str:
        if len(request.messages) > 1:
            raise UnreachableError("gone", reason="reset")
        return right(request)

    found = evaluated(Scripted(script), examples=EXAMPLES[:1], n_calls=3)
    assert found.results[0].score is None
    assert [completion.text for completion in found.results[0].completions] == ["red"]


def test_an_aggregate_judges_all_examples_and_its_stand_in_single_ones() -> None:
    # Red: precision 2/4, recall 2/2, F1 2/3. Green: F1 0. Blue: 2/2 and 2/2, F1 1.
    model = Scripted(lambda request: right(request).replace("green", "red"))
    found = evaluated(model, metric="macro_f1")
    assert found.value == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert list(found.scores.values()) == [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    assert found.interval(seed=0) is None


def test_an_aggregate_leaves_out_what_was_not_answered() -> None:
    found = evaluated(failing_on({1, 4}, UnreachableError("gone", reason="reset")), metric="macro_f1")
    assert found.value == pytest.approx(2 / 3)  # no green one is left
    assert found.n_errors == 2


def test_measures_are_means_over_the_answered_examples() -> None:
    def script(request: Request) -> Completion:
        n = number(request)
        if n == 5:
            raise UnreachableError("gone", reason="reset")
        text = "?" if n == 0 else "red"
        return Completion(text=text, prompt_tokens=10 * n + 1, completion_tokens=1, seconds=n)

    found = evaluated(Scripted(script))
    assert found.measure("valid") == pytest.approx(4 / 5)
    assert found.measure("tokens") == pytest.approx(22.0)
    assert found.measure("seconds") == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("costs", "mean"), [((0.25, 0.75, 0.5), 0.5), ((0.25, None, 0.75), 0.5), ((None, None, None), None)]
)
def test_an_example_without_a_figure_is_left_out_of_the_mean(
    costs: tuple[float | None, ...], mean: float | None
) -> None:
    assert evaluated(priced(*costs), examples=EXAMPLES[:3]).measure("cost") == mean


def test_measures_add_up_the_calls_of_an_example() -> None:
    model = Scripted(lambda _: Completion(text="red", prompt_tokens=2, completion_tokens=3, seconds=0.5))
    found = evaluated(model, n_calls=3)
    assert (found.measure("tokens"), found.measure("seconds")) == (15.0, 1.5)


@pytest.mark.parametrize(
    ("cached", "seconds"),
    [
        (set(), 2.5),
        ({0}, 3.0),  # of 1, 2, 3, 4 and 5 seconds
        ({3, 4, 5}, 1.0),
        (set(range(6)), None),
    ],
)
def test_a_time_is_the_mean_over_what_the_study_itself_was_answered(
    cached: set[int], seconds: float | None
) -> None:
    def script(request: Request) -> Completion:
        n = number(request)
        return Completion(text="red", prompt_tokens=n + 1, completion_tokens=1, seconds=n, cached=n in cached)

    found = evaluated(Scripted(script))
    assert found.measure("seconds") == seconds
    assert found.measure("tokens") == 4.5  # what a prompt takes does not depend on who paid
    assert found.measure("valid") == 1.0


def test_a_time_leaves_an_example_out_if_any_of_its_calls_was_paid_for_elsewhere() -> None:
    def script(request: Request) -> Completion:
        first = len(request.messages) == 1
        return Completion(text="red", seconds=1.0, cached=first and number(request) == 0)

    found = evaluated(Scripted(script), examples=EXAMPLES[:2], n_calls=2)
    assert [[c.cached for c in result.completions] for result in found.results] == [
        [True, False],
        [False, False],
    ]
    assert found.measure("seconds") == 2.0


def test_other_metrics_can_be_reported_beside_the_objective() -> None:
    def wrong_on_green(request: Request) -> str:
        return right(request).replace("green", "red")

    found = evaluated(Scripted(wrong_on_green))
    assert found.measure("macro_f1") == pytest.approx((2 / 3 + 0 + 1) / 3)
    aggregate = evaluated(Scripted(wrong_on_green), metric="macro_f1")
    assert aggregate.measure("accuracy") == pytest.approx(4 / 6)
    assert aggregate.measure("exact_match") == pytest.approx(4 / 6)


@pytest.mark.parametrize("metric", ["macro_f1", "mcc", "cohen_kappa", "weighted_f1", "accuracy"])
def test_slices_with_other_labels_have_no_gap_where_all_answers_are_right(metric: str) -> None:
    examples = tuple(
        Example(
            id=f"e{n}",
            inputs=(("text", f"thing {n}"),),
            target=LABELS[n % 3],
            group=None,
            slices=(("kind", "all" if n < 30 else LABELS[n % 3]),),
        )
        for n in range(60)
    )
    found = evaluated(Scripted(right), metric=metric, examples=examples)
    assert (found.value, found.measure("slice_gap")) == (1.0, 0.0)
    wrong = evaluated(Scripted(lambda _: "red"), metric=metric, examples=examples)
    assert (wrong.measure("slice_gap") or 0) > 0.9


def test_the_interval_is_that_of_the_scores() -> None:
    found = evaluated(Scripted(lambda _: "red"))
    assert found.interval(seed=1) == score_interval([1, 0, 0, 1, 0, 0], seed=1)
