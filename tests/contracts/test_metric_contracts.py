"""What every metric and measure keeps to."""

import math
import random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.answer import Answer, Outcome, find_number
from optimizer.completion import Completion
from optimizer.metrics import METRICS, Metric
from optimizer.task import OutputType

LABELS = ("billing", "order status", "order")

NAMES = {
    kind: [name for name in METRICS if METRICS[name].kind == kind]
    for kind in ("score", "aggregate", "measure")
}
each = pytest.mark.parametrize("name", list(METRICS))
each_score = pytest.mark.parametrize("name", NAMES["score"])
each_aggregate = pytest.mark.parametrize("name", NAMES["aggregate"])
each_measure = pytest.mark.parametrize("name", NAMES["measure"])
few = settings(max_examples=25, deadline=None)

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(str.strip)
numbers = st.floats(allow_nan=False, allow_infinity=False).map(
    lambda number: find_number(repr(number)) or "0"
)
POSSIBLE: dict[OutputType, st.SearchStrategy[str]] = {
    "label": st.sampled_from(LABELS),
    "text": texts.map(str.strip),
    "number": numbers,
}
UNREAD = [Answer(text=None, outcome=outcome) for outcome in get_args(Outcome) if outcome != "ok"]


def targets_of(metric: Metric) -> st.SearchStrategy[str]:
    """Return targets of all output types that a metric can judge."""
    return st.one_of(*(POSSIBLE[output] for output in metric.outputs))


def answers_of(metric: Metric) -> st.SearchStrategy[Answer]:
    """Return what may be read for these output types, and what cannot be read."""
    return targets_of(metric).map(lambda text: Answer(text=text, outcome="ok")) | st.sampled_from(UNREAD)


def aggregated(metric: Metric, answers: list[Answer], targets: list[str]) -> float:
    assert metric.aggregate is not None
    return metric.aggregate(answers, targets, LABELS)


def scored(metric: Metric, answer: Answer, target: str) -> float:
    assert metric.score is not None
    return metric.score(answer, target)


@each
def test_a_metric_is_exactly_one_of_three_kinds(name: str) -> None:
    metric = METRICS[name]
    assert [metric.score, metric.aggregate, metric.measure].count(None) == 2
    assert metric.outputs
    assert set(metric.outputs) <= set(get_args(OutputType))


@each_score
@few
@given(data=st.data())
def test_a_score_is_between_0_and_1(name: str, data: st.DataObject) -> None:
    metric = METRICS[name]
    score = scored(metric, data.draw(answers_of(metric)), data.draw(targets_of(metric)))
    assert isinstance(score, float)
    assert 0 <= score <= 1


@each_score
@few
@given(data=st.data())
def test_the_target_itself_scores_1(name: str, data: st.DataObject) -> None:
    target = data.draw(targets_of(METRICS[name]))
    assert scored(METRICS[name], Answer(text=target, outcome="ok"), target) == 1


@each_score
@few
@given(data=st.data())
def test_an_unread_answer_scores_0(name: str, data: st.DataObject) -> None:
    target = data.draw(targets_of(METRICS[name]))
    assert {scored(METRICS[name], answer, target) for answer in UNREAD} == {0.0}


@each_aggregate
@few
@given(data=st.data())
def test_an_aggregate_is_between_0_and_1(name: str, data: st.DataObject) -> None:
    metric = METRICS[name]
    targets = data.draw(st.lists(targets_of(metric), min_size=1, max_size=12))
    answers = [data.draw(answers_of(metric)) for _ in targets]
    figure = aggregated(metric, answers, targets)
    assert type(figure) is float
    assert 0 <= figure <= 1


@each_aggregate
@pytest.mark.parametrize("n", [1, 5, 40])
def test_the_targets_themselves_score_1_together(name: str, n: int) -> None:
    # Every label occurs: what an aggregate makes of a label that is nowhere wanted is its own to say.
    targets = list(LABELS) * n
    assert aggregated(METRICS[name], [Answer(text=one, outcome="ok") for one in targets], targets) == 1


@each_aggregate
@pytest.mark.parametrize("answer", UNREAD, ids=lambda answer: answer.outcome)
def test_unread_answers_score_0_together(name: str, answer: Answer) -> None:
    targets = list(LABELS) * 2
    assert aggregated(METRICS[name], [answer] * len(targets), targets) == 0


@each_aggregate
def test_one_more_unread_answer_never_helps(name: str) -> None:
    targets = list(LABELS) * 3
    answers = [Answer(text=one, outcome="ok") for one in targets]
    figures = [
        aggregated(METRICS[name], [*answers[n:], *[UNREAD[0]] * n], [*targets[n:], *targets[:n]])
        for n in range(len(targets) + 1)
    ]
    assert figures == sorted(figures, reverse=True)


@each_aggregate
@few
@given(data=st.data())
def test_an_aggregate_ignores_the_order_of_examples(name: str, data: st.DataObject) -> None:
    metric = METRICS[name]
    pairs = data.draw(st.lists(st.tuples(answers_of(metric), targets_of(metric)), min_size=1, max_size=12))
    shuffled = random.Random(data.draw(st.integers(0, 9))).sample(pairs, len(pairs))
    figures = [aggregated(metric, [a for a, _ in one], [t for _, t in one]) for one in (pairs, shuffled)]
    assert figures[0] == pytest.approx(figures[1], abs=1e-12)


@each_aggregate
def test_the_stand_in_of_an_aggregate_scores_single_examples_of_the_same_outputs(name: str) -> None:
    proxy = METRICS[METRICS[name].proxy]
    assert proxy.kind == "score"
    assert set(METRICS[name].outputs) <= set(proxy.outputs)


@each_measure
def test_a_measure_has_a_unit_and_a_finite_figure(name: str) -> None:
    metric = METRICS[name]
    assert metric.measure is not None
    assert metric.unit
    calls = tuple(Completion(text="x", prompt_tokens=n, completion_tokens=2, seconds=0.5) for n in range(3))
    for answer in (Answer(text="billing", outcome="ok"), *UNREAD):
        for completions in ((), calls[:1], calls):
            figure = metric.measure(answer, completions)
            assert type(figure) in (int, float)
            assert math.isfinite(figure)
            assert figure >= 0


@pytest.mark.parametrize("name", NAMES["score"] + NAMES["aggregate"])
def test_a_metric_is_better_when_greater_and_has_no_unit(name: str) -> None:
    assert METRICS[name].greater_is_better
    assert METRICS[name].unit == ""


def test_macro_f1_is_the_mean_of_the_f1_of_the_labels_by_hand() -> None:
    # billing: precision 1/2, recall 1/2, F1 1/2. order status: 1/1, 1/2, 2/3. order: 0. The unread one is a miss.
    targets = ["billing", "billing", "order status", "order status"]
    answers = [
        Answer(text="billing", outcome="ok"),
        Answer(text=None, outcome="invalid"),
        Answer(text="billing", outcome="ok"),
        Answer(text="order status", outcome="ok"),
    ]
    assert aggregated(METRICS["macro_f1"], answers, targets) == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize(("name", "figure"), [("tokens", 9.0), ("seconds", 0.75), ("valid", 1.0)])
def test_the_measures_add_up_over_all_calls_of_an_example(name: str, figure: float) -> None:
    calls = (
        Completion(text="", prompt_tokens=3, completion_tokens=1, seconds=0.25),
        Completion(text="", prompt_tokens=4, completion_tokens=1, seconds=0.5),
    )
    reading = METRICS[name].measure
    assert reading is not None
    assert reading(Answer(text="x", outcome="ok"), calls) == figure


@pytest.mark.parametrize("outcome", [outcome for outcome in get_args(Outcome) if outcome != "ok"])
def test_only_an_answer_that_was_read_is_valid(outcome: Outcome) -> None:
    reading = METRICS["valid"].measure
    assert reading is not None
    assert reading(Answer(text=None, outcome=outcome), ()) == 0


def test_exact_match_forgives_spaces_around_and_nothing_else() -> None:
    for text, score in ((" a b ", 1), ("A b", 0), ("a  b", 0), ("a b.", 0)):
        assert scored(METRICS["exact_match"], Answer(text=text, outcome="ok"), "a b") == score
