"""What every metric and measure keeps to."""

import dataclasses
import json
import math
import random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.answer import Answer, Outcome, find_number
from optimizer.completion import Completion
from optimizer.digest import canonical
from optimizer.metrics import METRICS, Metric, Setting
from optimizer.targets import canonical_target
from optimizer.taskfile import OutputType

LABELS = ("billing", "order status", "order")

# Those that ask a model or run programs are tested by themselves, with what they need.
AT_ONCE = [name for name in METRICS if METRICS[name].score is not None and not METRICS[name].slow]
NAMES = {
    kind: [name for name in METRICS if METRICS[name].kind == kind]
    for kind in ("score", "aggregate", "measure")
}
each = pytest.mark.parametrize("name", list(METRICS))
each_score = pytest.mark.parametrize("name", AT_ONCE)
each_aggregate = pytest.mark.parametrize("name", NAMES["aggregate"])
each_measure = pytest.mark.parametrize("name", NAMES["measure"])
few = settings(max_examples=15, deadline=None)

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(str.strip).map(str.strip)
words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
sentences = st.lists(words, min_size=4, max_size=8).map(" ".join)
numbers = st.floats(allow_nan=False, allow_infinity=False).map(
    lambda number: find_number(repr(number)) or "0"
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
).map(canonical)
label_sets = st.sets(st.sampled_from(LABELS)).map(
    lambda chosen: canonical_target(json.dumps(sorted(chosen)), "labels", LABELS)
)
POSSIBLE: dict[OutputType, st.SearchStrategy[str]] = {
    "label": st.sampled_from(LABELS),
    "labels": label_sets,
    "text": texts,
    "number": numbers,
    "json": values,
}
# Texts of which the target is more than an answer: one of several, a pattern, a number, JSON.
TEXTS = {
    "one_of": words,
    "regex": words,
    "numeric": numbers,
    "json_valid": values,
    "json_schema": values,
    "bleu": sentences,
}
# Every label occurs: what an aggregate makes of a label that is nowhere wanted is its own to say.
TOGETHER: dict[OutputType, list[str]] = {
    "label": list(LABELS),
    "labels": ['["billing","order"]', '["order status"]', '["order"]'],
    "text": ["the cat sat on the mat", "rien ne va plus ce soir", "one two three four"],
}
UNREAD = [Answer(text=None, outcome=outcome) for outcome in get_args(Outcome) if outcome != "ok"]
of_each_output = pytest.mark.parametrize(
    ("name", "output"), [(name, output) for name in NAMES["aggregate"] for output in METRICS[name].outputs]
)


def targets_of(name: str, output: OutputType) -> st.SearchStrategy[str]:
    """Return targets that a metric can judge."""
    return TEXTS.get(name, POSSIBLE[output]) if output == "text" else POSSIBLE[output]


def answers_of(name: str, output: OutputType) -> st.SearchStrategy[Answer]:
    """Return what may be read for this output type, and what cannot be read."""
    read = targets_of(name, output).map(right) | POSSIBLE[output].map(right)
    return read | st.sampled_from(UNREAD)


def right(target: str) -> Answer:
    return Answer(text=target, outcome="ok")


def setting_of(metric: Metric) -> Setting:
    """Return what a metric is told of a task that sets no options."""
    options = None if metric.options is None else metric.options()
    return Setting(labels=LABELS, schema="{}", options=options)


def aggregated(metric: Metric, answers: list[Answer], targets: list[str]) -> float:
    assert metric.aggregate is not None
    return metric.aggregate(answers, targets, setting_of(metric))


def scored(metric: Metric, answer: Answer, target: str) -> float:
    assert metric.score is not None
    return metric.score(answer, target, setting_of(metric))


def an_output(name: str) -> st.SearchStrategy[OutputType]:
    return st.sampled_from(METRICS[name].outputs)


@each
def test_a_metric_is_exactly_one_of_three_kinds(name: str) -> None:
    metric = METRICS[name]
    assert [metric.score, metric.judged, metric.aggregate, metric.measure].count(None) == 3
    assert metric.outputs
    assert set(metric.outputs) <= set(get_args(OutputType))


@each
def test_options_are_frozen_and_refuse_what_they_do_not_know(name: str) -> None:
    options = METRICS[name].options
    if options is not None:
        assert dataclasses.is_dataclass(options)
        assert options.__dataclass_params__.frozen  # type: ignore[attr-defined]  # dataclasses keeps it there
        assert getattr(options, "__pydantic_config__", None) == {"extra": "forbid"}


@each
def test_what_is_not_set_is_right(name: str) -> None:
    options = METRICS[name].options
    needed = [f for f in dataclasses.fields(options) if f.default is f.default_factory] if options else []
    if options is not None and not needed:
        problem = getattr(options(), "problem", lambda: None)
        assert not problem()


@each_score
@few
@given(data=st.data())
def test_a_score_is_between_0_and_1(name: str, data: st.DataObject) -> None:
    output = data.draw(an_output(name))
    answer, target = data.draw(answers_of(name, output)), data.draw(targets_of(name, output))
    score = scored(METRICS[name], answer, target)
    assert isinstance(score, float)
    assert 0 <= score <= 1


@each_score
@few
@given(data=st.data())
def test_the_target_itself_scores_1(name: str, data: st.DataObject) -> None:
    target = data.draw(targets_of(name, data.draw(an_output(name))))
    assert scored(METRICS[name], right(target), target) == pytest.approx(1, abs=1e-9)


@each_score
@few
@given(data=st.data())
def test_an_unread_answer_scores_0(name: str, data: st.DataObject) -> None:
    target = data.draw(targets_of(name, data.draw(an_output(name))))
    assert {scored(METRICS[name], answer, target) for answer in UNREAD} == {0.0}


@each_aggregate
@few
@given(data=st.data())
def test_an_aggregate_is_between_0_and_1(name: str, data: st.DataObject) -> None:
    output = data.draw(an_output(name))
    targets = data.draw(st.lists(targets_of(name, output), min_size=1, max_size=12))
    answers = [data.draw(answers_of(name, output)) for _ in targets]
    figure = aggregated(METRICS[name], answers, targets)
    assert type(figure) is float
    assert 0 <= figure <= 1


@of_each_output
@pytest.mark.parametrize("n", [1, 5, 40])
def test_the_targets_themselves_score_1_together(name: str, output: OutputType, n: int) -> None:
    targets = TOGETHER[output] * n
    figure = aggregated(METRICS[name], [right(one) for one in targets], targets)
    assert figure == pytest.approx(1, abs=1e-9)


@of_each_output
@pytest.mark.parametrize("answer", UNREAD, ids=lambda answer: answer.outcome)
def test_unread_answers_score_0_together(name: str, output: OutputType, answer: Answer) -> None:
    targets = TOGETHER[output] * 2
    assert aggregated(METRICS[name], [answer] * len(targets), targets) == 0


@of_each_output
def test_one_more_unread_answer_never_helps(name: str, output: OutputType) -> None:
    targets = TOGETHER[output] * 3
    figures = [
        aggregated(METRICS[name], [*map(right, targets[n:]), *[UNREAD[0]] * n], [*targets[n:], *targets[:n]])
        for n in range(len(targets) + 1)
    ]
    assert [round(figure, 12) for figure in figures] == sorted((round(f, 12) for f in figures), reverse=True)


@each_aggregate
@few
@given(data=st.data())
def test_an_aggregate_ignores_the_order_of_examples(name: str, data: st.DataObject) -> None:
    output = data.draw(an_output(name))
    both = st.tuples(answers_of(name, output), targets_of(name, output))
    pairs = data.draw(st.lists(both, min_size=1, max_size=12))
    shuffled = random.Random(data.draw(st.integers(0, 9))).sample(pairs, len(pairs))
    figures = [
        aggregated(METRICS[name], [a for a, _ in one], [t for _, t in one]) for one in (pairs, shuffled)
    ]
    assert figures[0] == pytest.approx(figures[1], abs=1e-12)


@each_aggregate
@pytest.mark.parametrize(("n_answers", "n_targets"), [(0, 0), (1, 0), (2, 1)])
def test_nothing_to_judge_is_an_error_and_not_0(name: str, n_answers: int, n_targets: int) -> None:
    answers, targets = [UNREAD[0]] * n_answers, ["billing"] * n_targets
    with pytest.raises(ValueError, match=f"as many targets, found {n_answers} and {n_targets}"):
        aggregated(METRICS[name], answers, targets)


@each_aggregate
def test_the_stand_in_of_an_aggregate_scores_single_examples_of_the_same_outputs(name: str) -> None:
    proxy = METRICS[METRICS[name].proxy]
    assert proxy.kind == "score"
    assert set(METRICS[name].outputs) <= set(proxy.outputs)


@each_measure
def test_a_measure_has_a_unit_and_a_finite_figure_or_none(name: str) -> None:
    metric = METRICS[name]
    assert metric.measure is not None
    assert metric.unit
    calls = tuple(Completion(text="x", prompt_tokens=n, completion_tokens=2, seconds=0.5) for n in range(3))
    figures = [
        metric.measure(answer, completions)
        for answer in (right("billing"), *UNREAD)
        for completions in ((), calls[:1], calls)
    ]
    told = [figure for figure in figures if figure is not None]
    assert told
    assert {type(figure) for figure in told} == {float}
    assert all(math.isfinite(figure) and figure >= 0 for figure in told)


@pytest.mark.parametrize("name", NAMES["score"] + NAMES["aggregate"])
def test_a_metric_is_better_when_greater_and_has_no_unit(name: str) -> None:
    assert METRICS[name].greater_is_better
    assert METRICS[name].unit == ""
