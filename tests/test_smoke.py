"""Metrics that cannot score right answers are told before a call is paid for."""

import asyncio
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from optimizer.answer import Answer
from optimizer.commands import main
from optimizer.dataset import Example
from optimizer.errors import InputError
from optimizer.metrics import Metric, Setting
from optimizer.models.scripted import Scripted
from optimizer.plan import StudyPlan, load_examples, load_plan
from optimizer.smoke import TRIED, check_metrics
from optimizer.study import open_study

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 9, validation: 9, test: 9}}
output: {type: text}
metric: match
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search: {styles: [direct], formats: [plain]}
budget: {calls: 700}
"""
OWN = """import json
from pathlib import Path

Path("imported").touch()


def misspelt(answer, target):
    return float(answr == target)


def of_red_alone(answer, target):
    return {"red": 1.0}[target]


def too_much(answer, target):
    return 1.5


def as_dspy(example, pred, trace=None):
    return example.color == pred.colour


async def awaited(example, pred, trace=None):
    return json.loads(pred.colour)["name"] == "red"


def sound(answer, target):
    return float(answer == target)
"""
Written = Callable[..., Path]


@pytest.fixture
def written(write_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Return a function that writes a study whose task has a metric, as it stands in the file."""
    monkeypatch.chdir(tmp_path)

    def write(metric: str) -> Path:
        path = write_study(TASK, STUDY, ("metric: match", f"metric: {metric}"), items=27)
        path.with_name("own.py").write_text(OWN, encoding="utf-8")
        return path

    return write


def own(name: str) -> str:
    return f"{{python: 'own.py:{name}'}}"


def mistakes(study: Path, **options: bool) -> list[str]:
    """Return what is told of the metrics of a study's task, without the file's name."""
    task, dataset = load_examples(study.with_name("task.yaml"))
    with pytest.raises(InputError) as raised:
        asyncio.run(check_metrics(task, dataset.validation, **options))
    return [f"{each.line}: {each.field}: {each.message}" for each in raised.value.problems]


def check(study: Path, examples: Sequence[Example] | None = None) -> None:
    task, dataset = load_examples(study.with_name("task.yaml"))
    asyncio.run(check_metrics(task, dataset.validation if examples is None else examples))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("misspelt", "NameError: name 'answr' is not defined (line 8 of its file)"),
        ("too_much", "ValueError: expected a score in [0, 1], found 1.5"),
        ("as_dspy", "AttributeError: color (line 20 of its file)"),
        ("awaited", "JSONDecodeError: Expecting value: line 1 column 1 (char 0) (line 24 of its file)"),
    ],
)
def test_a_function_that_fails_on_every_right_answer_is_told_with_its_line(
    written: Written, name: str, message: str
) -> None:
    assert mistakes(written(own(name))) == [
        f"5: metric: own.py:{name} fails on every right answer it was tried on: {message}"
    ]


def test_every_metric_that_fails_is_told_at_once_wherever_it_stands(written: Written) -> None:
    mean = f"{{weighted: [{{metric: match}}, {{metric: {own('misspelt')}}}]}}"
    found = mistakes(written(f"{mean}\nmetrics: [includes, {own('too_much')}, numeric]"))
    assert [each.partition(" fails")[0] for each in found] == [
        "5: metric: weighted",
        "6: metrics[1]: own.py:too_much",
        "6: metrics[2]: numeric",
    ]


@pytest.mark.parametrize("name", ["of_red_alone", "sound"])
def test_a_metric_that_scores_one_of_those_tried_is_taken(written: Written, name: str) -> None:
    study = written(own(name))
    examples = load_examples(study.with_name("task.yaml"))[1].validation
    red = next(example for example in examples if example.target == "red")
    others = [example for example in examples if example.target != "red"]
    check(study, [*(others * TRIED)[: TRIED - 1], red])


def test_what_a_metric_is_tried_on_is_bounded(written: Written) -> None:
    study = written(own("of_red_alone"))
    examples = load_examples(study.with_name("task.yaml"))[1].validation
    red = [example for example in examples if example.target == "red"]
    others = [example for example in examples if example.target != "red"]
    with pytest.raises(
        InputError,
        match=r"of_red_alone fails on every right answer it was tried on: KeyError: '(green|blue)'",
    ):
        check(study, [*(others * TRIED)[:TRIED], *red])


def test_a_split_without_examples_tells_nothing_of_a_metric(written: Written) -> None:
    check(written(own("misspelt")), [])


def test_metrics_that_ask_a_model_and_measures_are_not_tried(written: Written) -> None:
    judge = "{name: llm_judge, args: {rubric: Is it right?}}"
    check(written(f"match\nmetrics: [{judge}, embedding_similarity, cost, bleu]"))


def test_an_objective_of_all_examples_is_tried_with_what_stands_in_for_it(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(written("chrf"))
    asked: list[tuple[int, int]] = []

    def no_use(answers: Sequence[Answer], targets: Sequence[str], _setting: Setting) -> float:
        asked.append((len(answers), len(targets)))
        raise ValueError("of no use")

    failing = Metric(aggregate=no_use, proxy="numeric", outputs=("text",))
    monkeypatch.setattr(importlib.import_module("optimizer.metrics.chrf"), "chrf", failing)
    assert mistakes(written("chrf")) == [
        "5: metric: numeric fails on every right answer it was tried on: ValueError: expected a target with a number, found 'red'",
        "5: metric: chrf fails on every right answer it was tried on: ValueError: of no use",
    ]
    assert asked == [(9, 9), *[(1, 1)] * 9]


@pytest.mark.parametrize(
    ("metric", "place"),
    [
        ("{name: json_fields, args: {fields: {colour: {}, colr: {}}}}", "5: metric.args.fields.colr"),
        (
            "{weighted: [{metric: json_valid}, {metric: {name: json_fields, args: {fields: {colr: {}}}}}]}",
            "5: metric.weighted[1].metric.args.fields.colr",
        ),
        (
            "json_valid\nmetrics: [json_exact, {name: json_fields, args: {fields: {colr: {}}}}]",
            "6: metrics[1].args.fields.colr",
        ),
    ],
)
def test_a_field_that_no_target_has_is_a_mistake_of_the_task(
    written: Written, metric: str, place: str
) -> None:
    study = written(metric)
    task = study.with_name("task.yaml")
    task.write_text(task.read_text().replace("{type: text}", "{type: json}"), encoding="utf-8")
    data = study.with_name("data.csv")
    data.write_text(
        "text,colour\n" + "".join(f'item {n},"{{""colour"": {n}}}"\n' for n in range(27)), encoding="utf-8"
    )
    message = "expected a field of some target, found none of this name; did you mean 'colour'?"
    assert mistakes(study, own=False) == mistakes(study) == [f"{place}: {message}"]
    # One example that has it is enough, be it not among those that are looked at.
    examples = load_examples(task)[1].validation
    data.write_text(f'{data.read_text()}item 27,"{{""colr"": 1}}"\n', encoding="utf-8")
    check(study, examples)


def test_a_study_with_such_a_metric_asks_nothing_and_leaves_nothing(
    written: Written, play: Callable[..., None]
) -> None:
    model = Scripted(lambda _: "red")
    play(model)
    plan = load_plan(written(own("misspelt")))

    async def work(plan: StudyPlan) -> None:
        async with open_study(plan):
            raise AssertionError("the study was opened")

    with pytest.raises(
        InputError, match=r":5: metric: own\.py:misspelt fails on every right answer it was tried on"
    ):
        asyncio.run(work(plan))
    assert not plan.database.exists()
    assert not model.requests


@pytest.mark.parametrize("name", ["study.yaml", "task.yaml"])
def test_validate_tries_the_products_own_metrics_and_runs_no_code_of_the_task(
    written: Written,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    def told() -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["optimizer", "validate", str(study.with_name(name))])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, capsys.readouterr().err

    study = written(own("misspelt"))
    assert told() == (0, "")
    study = written(f"{{weighted: [{{metric: {own('misspelt')}}}]}}\nmetrics: [numeric, {own('misspelt')}]")
    code, said = told()
    assert code == 2
    assert said.count("fails on every right answer it was tried on") == 1
    assert (
        "task.yaml:6: metrics[0]: numeric fails on every right answer it was tried on: ValueError: expected a target"
        in said
    )
    assert not (tmp_path / "imported").exists()
