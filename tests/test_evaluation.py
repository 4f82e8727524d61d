"""Scores of one template: fill, call, read, score, and no score where there was no answer."""

import asyncio
from collections.abc import Callable

import pytest

from optimizer.answer import Answer, AnswerFormat
from optimizer.completion import Completion, Message, Model, Request
from optimizer.dataset import Example
from optimizer.errors import BudgetError, EndpointError, InterruptedRunError, RejectedError, UnreachableError
from optimizer.evaluation import Evaluation, Judge, evaluate
from optimizer.metrics import Metric
from optimizer.models.scripted import Scripted
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
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


def evaluated(
    model: Model, *, metric: str = "accuracy", examples: tuple[Example, ...] = EXAMPLES, n_calls: int = 1
) -> Evaluation:
    return asyncio.run(evaluate(a_template(n_calls), examples, model, Judge.of(metric, LABELS)))


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
    found = evaluated(failing_on({1, 4}, UnreachableError("nobody there")))
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
    def score(answer: Answer, target: str) -> float:
        if target != LABELS[0]:
            return 1.0
        if bad is None:
            raise KeyError("no such target")
        return bad

    judge = Judge(objective=Metric(score=score), per_example=score, labels=LABELS)
    found = asyncio.run(evaluate(a_template(), EXAMPLES, Scripted(right), judge))
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
    "error", [EndpointError("wrong key"), BudgetError("spent"), InterruptedRunError("stop")]
)
def test_what_ends_a_run_is_raised_after_the_others_are_done(error: Exception) -> None:
    model = failing_on({1}, error)
    with pytest.raises(type(error), match=str(error)):
        evaluated(model)
    assert len(model.requests) == 6


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
            raise UnreachableError("gone")
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
    found = evaluated(failing_on({1, 4}, UnreachableError("gone")), metric="macro_f1")
    assert found.value == pytest.approx(2 / 3)  # no green one is left
    assert found.n_errors == 2


def test_measures_are_means_over_the_answered_examples() -> None:
    def script(request: Request) -> Completion:
        n = number(request)
        if n == 5:
            raise UnreachableError("gone")
        return Completion(text="?" if n == 0 else "red", prompt_tokens=10 * n, completion_tokens=1, seconds=n)

    found = evaluated(Scripted(script))
    assert found.measure("valid") == pytest.approx(4 / 5)
    assert found.measure("tokens") == pytest.approx(21.0)
    assert found.measure("seconds") == pytest.approx(2.0)


def test_measures_add_up_the_calls_of_an_example() -> None:
    model = Scripted(lambda _: Completion(text="red", prompt_tokens=2, completion_tokens=3, seconds=0.5))
    found = evaluated(model, n_calls=3)
    assert (found.measure("tokens"), found.measure("seconds")) == (15.0, 1.5)


def test_other_metrics_can_be_reported_beside_the_objective() -> None:
    def wrong_on_green(request: Request) -> str:
        return right(request).replace("green", "red")

    found = evaluated(Scripted(wrong_on_green))
    assert found.measure("macro_f1") == pytest.approx((2 / 3 + 0 + 1) / 3)
    aggregate = evaluated(Scripted(wrong_on_green), metric="macro_f1")
    assert aggregate.measure("accuracy") == pytest.approx(4 / 6)
    assert aggregate.measure("exact_match") == pytest.approx(4 / 6)


def test_the_interval_is_that_of_the_scores() -> None:
    found = evaluated(Scripted(lambda _: "red"))
    assert found.interval(seed=1) == score_interval([1, 0, 0, 1, 0, 0], seed=1)
