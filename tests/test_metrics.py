"""Measures, the decorators, and the page that lists every metric."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from optimizer.answer import Answer, AnswerFormat, Outcome
from optimizer.completion import Completion
from optimizer.metrics import METRICS, Setting, aggregate, metric

PAGE = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
CALLS = (
    Completion(text="let me see", prompt_tokens=3, completion_tokens=1, seconds=0.25, cost_usd=0.5),
    Completion(text="red", prompt_tokens=4, completion_tokens=2, seconds=0.5, cost_usd=0.25),
)


def measured(name: str, answer: Answer, completions: tuple[Completion, ...] = ()) -> float | None:
    reading = METRICS[name].measure
    assert reading is not None
    return reading(answer, completions)


def right(text: str) -> Answer:
    return Answer(text=text, outcome="ok")


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("tokens", 10),
        ("input_tokens", 7),
        ("output_tokens", 3),
        ("seconds", 0.75),
        ("cost", 0.75),
        ("valid", 1),
        ("answer_length", 4),
    ],
)
def test_measures_add_up_over_all_calls_of_an_example(name: str, figure: float) -> None:
    assert measured(name, right("rosé"), CALLS) == figure


@pytest.mark.parametrize("costs", [(None,), (0.5, None)])
def test_a_price_that_is_not_known_is_no_price_of_0(costs: tuple[float | None, ...]) -> None:
    calls = tuple(Completion(text="", cost_usd=cost) for cost in costs)
    assert measured("cost", right("x"), calls) is None
    assert measured("cost", right("x"), ()) == 0


@pytest.mark.parametrize(
    ("name", "read", "written", "figure"),
    [
        ("tokens", 0, 0, None),
        ("tokens", 0, 2, None),
        ("input_tokens", 0, 2, None),
        ("output_tokens", 0, 2, None),
        ("cost", 0, 0, None),
        ("cost", 9, 0, 0.75),
    ],
)
def test_tokens_that_were_not_stated_are_unknown_and_not_0(
    name: str, read: int, written: int, figure: float | None
) -> None:
    silent = Completion(text="red", prompt_tokens=read, completion_tokens=written, cost_usd=0.0)
    assert measured(name, right("red"), (*CALLS, silent)) == figure


@pytest.mark.parametrize("name", ["tokens", "input_tokens", "output_tokens", "cost"])
def test_what_a_filter_refused_was_not_read_and_not_written(name: str) -> None:
    filtered = Completion(text="", finish_reason="refused", cost_usd=0.0)
    assert measured(name, Answer(text=None, outcome="refused"), (filtered,)) == 0


def test_what_could_not_be_read_has_no_length() -> None:
    assert measured("answer_length", Answer(text=None, outcome="invalid"), CALLS) is None


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_each_share_is_of_its_own_outcome(outcome: Outcome) -> None:
    answer = Answer(text="red" if outcome == "ok" else None, outcome=outcome)
    shares = {name: measured(name, answer, CALLS) for name in ("valid", "strict", "refusal", "truncated")}
    assert shares == {
        "valid": outcome == "ok",
        "strict": outcome == "ok",
        "refusal": outcome == "refused",
        "truncated": outcome == "truncated",
    }


@pytest.mark.parametrize(
    ("completion", "strict"), [("red", 1), ("It is red.", 0), ("red\n", 1), ("no idea", 0)]
)
def test_strict_is_the_form_that_was_asked_for(completion: str, strict: int) -> None:
    answer = AnswerFormat(kind="label", labels=("red", "green")).read(completion)
    assert measured("strict", answer) == strict


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I cannot assist with this request.",
        "Sorry, I can't answer this.",
        "I am unable to provide medical advice.",
        "I'm not able to provide that.",
        "Unfortunately, I cannot comply.",
        "As an AI language model, I cannot provide opinions.",
        "I must decline.",
        "I won't do that.",
        "**I cannot fulfil this request**",
        "Je suis désolé, mais je ne peux pas vous aider.",
        "Désolée, je ne peux pas répondre à cette question.",
        "En tant qu'intelligence artificielle, je ne peux pas fournir cela.",
        "Je ne suis pas en mesure de répondre.",
    ],
)
def test_a_refusal_in_words_is_seen(text: str) -> None:
    completions = (Completion(text=text),)
    assert measured("refusal", right(text), completions) == 1
    assert measured("refusal", Answer(text=None, outcome="invalid"), completions) == 1
    assert measured("refusal", right("billing"), completions) == 0  # it said a label after all


@pytest.mark.parametrize(
    "text",
    [
        "I can't log in to my account.",
        "I'm sorry for the delay; your parcel arrives today.",
        "billing",
        "The assistant said: I cannot help with that.",
        "Je ne peux pas me connecter.",
        "I will help you.",
        "I can help with that.",
        "",
    ],
)
def test_what_only_sounds_like_a_refusal_is_none(text: str) -> None:
    assert measured("refusal", right(text), (Completion(text=text),)) == 0


def test_a_refusal_without_a_completion_is_only_what_the_provider_says() -> None:
    assert measured("refusal", Answer(text=None, outcome="invalid"), ()) == 0
    assert measured("refusal", Answer(text=None, outcome="refused"), ()) == 1


def test_a_metric_without_options_may_be_told_its_setting() -> None:
    @metric(options=None)
    def in_language(_answer: Answer, _target: str, setting: Setting) -> float:
        return float(setting.language == "fr")

    @metric(outputs=("text",))
    def always(_answer: Answer, _target: str) -> float:
        return 1.0

    assert in_language.options is always.options is None
    assert in_language.score is not None
    assert always.score is not None
    assert in_language.score(right("x"), "x", Setting(language="fr")) == 1
    assert always.score(right("x"), "x", Setting()) == 1


def test_an_aggregate_of_nothing_is_an_error_whatever_the_function_makes_of_it() -> None:
    @aggregate(proxy="accuracy")
    def always(_answers: Sequence[Answer], _targets: Sequence[str], _setting: Setting) -> float:
        return 1.0

    assert always.aggregate is not None
    assert always.aggregate([right("x")], ["x"], Setting()) == 1
    with pytest.raises(ValueError, match="expected at least one answer and as many targets, found 0 and 0"):
        always.aggregate([], [], Setting())


def test_exact_match_forgives_spaces_around_and_nothing_else() -> None:
    score = METRICS["exact_match"].score
    assert score is not None
    for text, figure in ((" a b ", 1), ("A b", 0), ("a  b", 0), ("a b.", 0)):
        assert score(right(text), "a b", Setting()) == figure


def options_of(name: str) -> str:
    """Return the options of a metric with their defaults as the page has them, "–" for none."""
    kind = METRICS[name].options
    if kind is None:
        return "–"
    shown = []
    for option in dataclasses.fields(kind):
        if option.default is not dataclasses.MISSING:
            default = "null" if option.default is None else str(option.default).replace("|", "\\|")
            shown.append(f"`{option.name}` = {default.lower() if default in {'True', 'False'} else default}")
        elif option.default_factory is not dataclasses.MISSING:
            shown.append(f"`{option.name}` = {{}}")
        else:
            shown.append(f"`{option.name}`, needed")
    return ", ".join(shown)


def cells(name: str) -> list[str]:
    """Return what the page must say of a metric beside its description."""
    found = METRICS[name]
    if found.kind == "measure":
        return [f"`{name}`", found.unit, "greater" if found.greater_is_better else "less"]
    outputs = ", ".join(found.outputs) if len(found.outputs) < 5 else "all"
    if found.kind == "aggregate":
        return [f"`{name}`", outputs, f"`{found.proxy}`", options_of(name)]
    return [f"`{name}`", outputs, options_of(name)]


@pytest.mark.parametrize("name", list(METRICS))
def test_the_page_says_of_every_metric_what_is_so(name: str) -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, f"docs/metrics.md must have one row: | {' | '.join(cells(name))} | ... |"
    assert rows[0].startswith(f"| {' | '.join(cells(name))} | "), f"expected {cells(name)}"
    assert len(rows[0].removeprefix(f"| {' | '.join(cells(name))} | ")) > 10


def test_the_page_lists_nothing_else() -> None:
    listed = [line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert sorted(listed) == sorted(METRICS)
