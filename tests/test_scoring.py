"""How a task's answers are scored: options, functions of its own, weighted means."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from optimizer.answer import Answer, AnswerFormat
from optimizer.checks import task_problems
from optimizer.dataset import Example
from optimizer.errors import InputError
from optimizer.evaluation import Evaluation, Scorer, evaluate
from optimizer.evidence import arm_figures
from optimizer.metrics import Metric, Setting
from optimizer.models.scripted import Scripted
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.scoring import Prepared, declared, plain, prepared
from optimizer.task import Task, load_task

TASK = """schema: 1
name: capitals
dataset:
  inputs: [country]
  target: capital
  path: data.csv
  splits: {{train: 0.4, validation: 0.3, test: 0.3}}
output: {{type: text}}
metric: {metric}
instruction: Name the capital.
"""
OWN = """
def length(answer, target):
    return min(len(answer), len(target)) / max(len(answer), len(target))


def as_dspy(example, pred, trace=None):
    return example.capital == pred.capital and example["country"] == "France"


async def awaited(example, pred, trace=None):
    return 0.25


def broken(answer, target):
    raise ZeroDivisionError("by nought")


def too_much(answer, target):
    return 1.5


def broken_as_dspy(example, pred, trace=None):
    raise KeyError("nothing of this name")


def away(example, pred, trace=None):
    from optimizer.errors import UnreachableError

    raise UnreachableError("nobody there", reason="unreachable")


class Found:
    score = 0.75


def with_feedback(gold, pred, trace=None, pred_name=None, pred_trace=None):
    return Found()


def without_a_trace(example, pred):
    return example.capital == pred.capital


def with_the_rest(*everything):
    return len(everything) == 3


def with_a_threshold(gold_example, prediction, threshold=0.5):
    return threshold == 0.5 and gold_example.capital == prediction.capital


def of_texts_and_a_trace(reference, candidate, trace=None):
    return reference.capital == candidate.capital


def turned_round(target, answer):
    return float(answer == "Paris" and target == "Rome")


def by_name(*, target, answer, strict=True):
    return float(answer == "Paris" and target == "Rome")


def by_position(target, answer, /):
    return float(answer == "Paris" and target == "Rome")


async def awaited_texts(answer, target):
    return float(answer == "Paris" and target == "Rome")


def leaves(answer, target):
    raise SystemExit(3)


async def leaves_later(example, pred, trace=None):
    raise SystemExit(3)


largest = max


not_callable = 3
"""

Made = Callable[..., Task]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Return a function that makes the task of a metric, as it stands in the file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_text("country,capital\nFrance,Paris\n", encoding="utf-8")
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")

    def task(metric: str) -> Task:
        Path("task.yaml").write_text(TASK.format(metric=metric), encoding="utf-8")
        return load_task(Path("task.yaml"))

    return task


def an_example(target: str = "Paris", country: str = "France") -> Example:
    return Example(id="e0", inputs=(("country", country),), target=target, group=None)


def right(text: str | None) -> Answer:
    return Answer(text=text, outcome="ok" if text is not None else "invalid")


def objective(task: Task) -> Prepared:
    return next(iter(prepared(task).values()))


def scored(metric: Prepared, text: str | None, example: Example | None = None) -> float:
    return asyncio.run(metric.scored(right(text), example or an_example()))


def told(task: Callable[[], Task]) -> list[str]:
    """Return the mistakes that are found in a task, or in its metrics."""
    with pytest.raises(InputError) as raised:
        prepared(task())
    return [str(problem) for problem in raised.value.problems]


def test_a_metric_by_its_name_has_the_options_that_it_has_unless_some_are_given(made: Made) -> None:
    assert scored(objective(made("includes")), "It is PARIS") == 1
    strict = made("{name: includes, args: {ignore_case: false}}")
    assert scored(objective(strict), "It is PARIS") == 0
    assert list(prepared(made("{name: includes, label: found}"))) == ["found"]


def test_a_metric_is_told_the_tasks_language_and_schema(made: Made) -> None:
    french = made("match\nlanguage: fr")
    assert scored(objective(french), "le Paris") == 1
    assert scored(objective(made("match")), "le Paris") == 0


@pytest.mark.parametrize(
    ("metric", "mistakes"),
    [
        (
            "{name: includes, args: {case: true}}",
            ["task.yaml:9: metric.args: unknown field 'case'; known fields: "],
        ),
        (
            "{name: includes, args: {ignore_case: 1, whole_words: x}}",
            [
                "task.yaml:9: metric.args.ignore_case: expected true or false, found the number 1",
                'task.yaml:9: metric.args.whole_words: expected true or false, found text "x"',
            ],
        ),
        (
            "{name: numeric, args: {absolute: -1.0}}",
            ["task.yaml:9: metric.args: absolute: expected a finite number of at least 0, found -1"],
        ),
        (
            "{name: regex, args: {pattern: '('}}",
            ["task.yaml:9: metric.args: pattern: expected a regular expression, found '(': "],
        ),
        (
            "{name: exact_match, args: {case: true}}",
            ["task.yaml:9: metric.args: exact_match has no options, found case"],
        ),
        ("inclodes", ["task.yaml:9: metric: no plug-in 'inclodes' in metrics; did you mean 'includes'?"]),
        ("llm_judge", ["task.yaml:9: metric: llm_judge needs args: rubric"]),
        (
            "{name: json_fields, args: {fields: {a: {weight: 0.0}}}}",
            ["task.yaml:9: metric.args: fields.a.weight: expected a finite number of more than 0, found 0"],
        ),
        (
            "{weighted: [{metric: bleu}, {metric: match, weight: 2.0}]}",
            [
                "task.yaml:9: metric.weighted[0].metric: expected a metric that scores single examples, found bleu"
            ],
        ),
        (
            "{name: includes, args: {case: 1}}\nmetrics: [nothing, {name: one_of, args: {separator: ''}}]",
            [
                "task.yaml:9: metric.args: unknown field 'case'; known fields: 'ignore_case', 'whole_words'",
                "task.yaml:10: metrics[0]: no plug-in 'nothing' in metrics",
                "task.yaml:10: metrics[1].args: separator: expected some text, found none",
            ],
        ),
    ],
)
def test_mistakes_in_metrics_are_all_told_with_their_places(
    made: Made, metric: str, mistakes: list[str]
) -> None:
    found = told(lambda: made(metric))
    assert len(found) == len(mistakes), found
    for line, start in zip(found, mistakes, strict=True):
        assert line.startswith(start)


def test_a_weighted_mean_counts_its_parts_by_their_weights(made: Made) -> None:
    task = made(
        "{weighted: [{metric: exact_match, weight: 3.0}, "
        "{metric: {name: includes, args: {ignore_case: false}}, weight: 1.0}], label: both}"
    )
    found = prepared(task)["both"]
    assert found.at_once
    assert found.metric.outputs == ("text",)
    assert scored(found, "It is Paris") == found.score(right("It is Paris"), "Paris") == pytest.approx(0.25)
    assert scored(found, "Paris") == pytest.approx(1)
    assert scored(found, None) == 0


@pytest.mark.parametrize("weights", [(0.6, 0.3, 0.1), (0.2, 0.7, 0.1), (0.3, 0.6, 0.1), (0.1, 0.5, 0.7)])
def test_a_weighted_mean_of_right_answers_is_1(made: Made, weights: tuple[float, float, float]) -> None:
    parts = ", ".join(
        f"{{metric: {name}, weight: {weight}}}"
        for name, weight in zip(("exact_match", "includes", "starts_with"), weights, strict=True)
    )
    found = objective(made(f"{{weighted: [{parts}]}}"))
    assert found.score(right("Paris"), "Paris") == scored(found, "Paris") == 1


def test_a_weighted_mean_of_weighted_means_multiplies_weights(made: Made) -> None:
    inner = "{weighted: [{metric: exact_match}, {metric: includes}]}"
    found = prepared(made(f"{{weighted: [{{metric: {inner}}}, {{metric: includes}}], label: all}}"))["all"]
    assert scored(found, "It is Paris") == pytest.approx(0.5 * 0.5 + 0.5)


def test_a_function_of_answer_and_target_is_a_metric(made: Made) -> None:
    found = objective(made("{python: 'own.py:length'}"))
    assert found.at_once
    assert scored(found, "Par") == pytest.approx(3 / 5)
    assert scored(found, None) == 0


@pytest.mark.parametrize("name", ["turned_round", "by_name", "by_position", "awaited_texts"])
def test_the_answer_and_the_target_are_told_apart_by_their_names(made: Made, name: str) -> None:
    task = made(f"{{python: 'own.py:{name}'}}")
    found, at_once = objective(task), name != "awaited_texts"
    assert scored(found, "Paris", an_example("Rome")) == 1
    assert scored(found, "Rome", an_example("Paris")) == 0
    assert scored(found, None) == 0
    assert found.at_once == at_once
    assert next(iter(declared(task).values())).at_once == at_once


@pytest.mark.parametrize(
    "arguments",
    [
        *("prediction, reference", "output, expected", "reference, prediction", "a, b", "answer", ""),
        *(
            "answer, target, more",
            "answer, target, *, more",
            "example, pred, trace, more",
            "*, example, pred",
        ),
    ],
)
def test_a_function_of_other_arguments_is_refused(made: Made, tmp_path: Path, arguments: str) -> None:
    (tmp_path / "own.py").write_text(f"def length({arguments}):\n    return 1.0\n", encoding="utf-8")
    found = arguments.replace("*, ", "")
    message = (
        "task.yaml:9: metric.python: length: expected (answer, target), or (example, prediction) as DSPy has it, "
        f"found ({found})"
    )
    task = made("{python: 'own.py:length'}")
    assert told(lambda: task) == [message]
    assert [str(problem) for problem in task_problems(task)] == [message]


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            "example, pred, trace=None",
            "gold, pred, trace",
            "x, y, trace=None",
            "gold, pred",
            "sample, output",
        ),
        *("example, prediction, trace=None, pred_name=None, pred_trace=None", "gold_example, program_output"),
        *("example, pred, *, trace=None", "example, pred, **more", "*everything", "_example, predicted, k=3"),
    ],
)
def test_what_metrics_for_dspy_are_called_with_is_taken(made: Made, tmp_path: Path, arguments: str) -> None:
    (tmp_path / "own.py").write_text(f"def length({arguments}):\n    return 0.5\n", encoding="utf-8")
    task = made("{python: 'own.py:length'}")
    assert task_problems(task) == []
    assert scored(objective(task), "Paris") == 0.5


def test_a_function_whose_arguments_have_no_names_is_refused(made: Made) -> None:
    (found,) = told(lambda: made("{python: 'own.py:largest'}"))
    assert found.startswith(
        "task.yaml:9: metric.python: largest: expected (answer, target), or (example, prediction)"
    )
    assert found.endswith("found a function whose arguments have no names")


@pytest.mark.parametrize("name", ["leaves", "leaves_later"])
def test_a_function_that_exits_the_program_leaves_the_example_unscored(made: Made, name: str) -> None:
    (result,) = evaluated(made(f"{{python: 'own.py:{name}'}}")).results
    assert (result.answer.outcome, result.score) == ("unscored", None)
    assert result.error == "the metric failed: RuntimeError: it exits the program with 3"


def test_a_file_that_exits_the_program_cannot_be_imported(made: Made, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"{OWN}\nimport sys\n\nsys.exit(3)\n", encoding="utf-8")
    assert told(lambda: made("{python: 'own.py:length'}")) == [
        "task.yaml:9: metric.python: own.py cannot be imported: SystemExit: 3"
    ]


def test_weights_without_a_finite_sum_are_refused(made: Made) -> None:
    parts = "{metric: exact_match, weight: 1.0e+308}, {metric: includes, weight: 1.0e+308}"
    assert told(lambda: made(f"{{weighted: [{parts}]}}")) == [
        "task.yaml:9: metric.weighted: expected weights with a finite sum, found larger ones"
    ]


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("as_dspy", 1.0),
        ("awaited", 0.25),
        ("with_feedback", 0.75),
        ("without_a_trace", 1.0),
        ("with_the_rest", 1.0),
        ("with_a_threshold", 1.0),
        ("of_texts_and_a_trace", 1.0),
    ],
)
def test_a_function_is_called_as_dspy_calls_a_metric(made: Made, name: str, figure: float) -> None:
    found = objective(made(f"{{python: 'own.py:{name}'}}"))
    assert scored(found, "Paris") == figure
    assert scored(found, None) == 0
    if name == "as_dspy":
        assert scored(found, "Lyon") == 0
        assert scored(found, "Paris", an_example(country="Texas")) == 0


def evaluated(task: Task, *, reported: bool = False) -> Evaluation:
    message = MessageTemplate(role="user", parts=("Capital of ", Hole(name="input:country")))
    template = PromptTemplate(calls=(CallTemplate(messages=(message,)),), answer=AnswerFormat(kind="text"))
    model, scorer = Scripted(lambda _: "Paris"), Scorer.of(task)
    return asyncio.run(evaluate(template, [an_example()], model, scorer, reported=reported))


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("broken", "the metric failed: ZeroDivisionError: by nought"),
        ("too_much", "the metric failed: ValueError: expected a score in [0, 1], found 1.5"),
    ],
)
def test_a_function_that_crashes_leaves_the_example_unscored(made: Made, name: str, error: str) -> None:
    (result,) = evaluated(made(f"{{python: 'own.py:{name}'}}")).results
    assert (result.answer.outcome, result.score, result.error) == ("unscored", None, error)
    assert not result.outage


@pytest.mark.parametrize("name", ["broken", "too_much", "broken_as_dspy"])
def test_a_reported_metric_that_fails_takes_nothing_from_the_objective(made: Made, name: str) -> None:
    task = made(f"exact_match\nmetrics: [{{python: 'own.py:{name}', label: mine}}, includes]")
    found = evaluated(task, reported=True)
    assert (found.value, found.n_errors, found.measure("includes")) == (1.0, 0, 1.0)
    assert found.measure("mine") is None
    assert (found.unmeasured("mine"), found.unmeasured("includes")) == (1, 0)
    figures = arm_figures(found, task.metrics, seed=0)
    assert figures["unmeasured"] == {"mine": 1}


def test_what_every_metric_measured_is_told_without_a_count_of_failures(made: Made) -> None:
    task = made("exact_match\nmetrics: [includes]")
    assert "unmeasured" not in arm_figures(evaluated(task, reported=True), task.metrics, seed=0)


def test_a_reported_metric_whose_model_is_away_is_asked_again(made: Made) -> None:
    task = made("exact_match\nmetrics: [{python: 'own.py:away', label: mine}]")
    (result,) = evaluated(task, reported=True).results
    assert (result.score, result.outage) == (None, True)


def test_an_aggregate_of_a_task_has_a_stand_in_for_single_examples(made: Made) -> None:
    scorer = Scorer.of(made("{name: chrf, args: {word_order: 2}}"))
    assert not scorer.by_example
    assert scorer.per_example.name == "sentence_chrf"
    assert scorer.objective.value([right("Paris")], ["Paris"]) == pytest.approx(1)


def test_nothing_to_judge_is_an_error(made: Made) -> None:
    with pytest.raises(ValueError, match="expected at least one answer, found none"):
        objective(made("bleu")).value([], [])


@pytest.mark.parametrize("figure", [1.0000001, -0.1, float("nan"), float("inf")])
def test_a_score_out_of_range_is_an_error(figure: float) -> None:
    own = Metric(score=lambda _answer, _target, _setting: figure)
    together = Metric(aggregate=lambda _answers, _targets, _setting: figure, proxy="exact_match")

    async def judged(_answer: Answer, _example: Example, _setting: Setting) -> float:
        return figure

    for metric in (own, Metric(judged=judged)):
        with pytest.raises(ValueError, match=r"expected a score in \[0, 1\], found"):
            scored(Prepared(name="own", metric=metric, setting=Setting()), "x")
    with pytest.raises(ValueError, match=r"expected a score in \[0, 1\], found"):
        Prepared(name="own", metric=together, setting=Setting()).value([right("x")], ["x"])


def test_a_slow_metric_scores_beside_other_work_and_not_at_once() -> None:
    import threading

    seen = []

    def score(_answer: Answer, _target: str, _setting: Setting) -> float:
        seen.append(threading.current_thread() is threading.main_thread())
        return 1.0

    found = Prepared(name="own", metric=Metric(score=score, slow=True), setting=Setting())
    assert not found.at_once
    assert scored(found, "x") == 1
    assert seen == [False]


@pytest.mark.parametrize(
    ("reference", "mistake"),
    [
        ("../own.py:length", "metric.python: "),
        ("elsewhere/none.py:length", "expected a file in the task's folder, found none at elsewhere/none.py"),
        ("own.py:nothing", "expected a function 'nothing' in own.py, found none"),
        ("own.py:not_callable", "expected a function 'not_callable' in own.py, found none"),
        ("own.py", "metric.python: expected file.py:function, found 'own.py'"),
    ],
)
def test_a_function_that_is_not_there_is_told(made: Made, reference: str, mistake: str) -> None:
    found = told(lambda: made(f"{{python: '{reference}'}}"))
    assert mistake in found[0]
    assert all(line.startswith("task.yaml:9: ") for line in found)


def test_a_file_outside_the_tasks_folder_is_refused(made: Made, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.py"
    outside.write_text(OWN, encoding="utf-8")
    (tmp_path / "link.py").symlink_to(outside)
    for name in (str(outside), f"../{outside.name}", "link.py"):
        (found,) = told(lambda name=name: made(f"{{python: '{name}:length'}}"))  # type: ignore[misc]
        assert found.startswith("task.yaml:9: metric.python: ")


def test_a_file_that_cannot_be_imported_is_told(made: Made, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import nothing_of_this_name\n", encoding="utf-8")
    (found,) = told(lambda: made("{python: 'own.py:length'}"))
    assert found.startswith(
        "task.yaml:9: metric.python: own.py cannot be imported: ModuleNotFoundError: No module named"
    )


def test_a_file_may_hold_dataclasses_and_have_a_namesake(made: Made, tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n@dataclass\nclass Half:\n"
        "    score: float = {}\n\n\ndef given(example, pred, trace=None):\n    return Half()\n"
    )
    for folder, score in (("one", 0.25), ("two", 0.5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(text.format(score), encoding="utf-8")
    found = [objective(made(f"{{python: '{folder}/own.py:given'}}")) for folder in ("one", "two")]
    assert [scored(metric, "Paris") for metric in found] == [0.25, 0.5]


def test_who_only_looks_at_a_task_runs_none_of_its_code(made: Made, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"open('ran', 'w').close()\n{OWN}", encoding="utf-8")
    for name, at_once in (("length", True), ("as_dspy", False)):
        task = made(f"{{python: 'own.py:{name}'}}")
        assert task_problems(task) == []
        (found,) = declared(task).values()
        assert (found.at_once, found.metric.kind) == (at_once, "score")
    assert not (tmp_path / "ran").exists()
    assert scored(objective(made("{python: 'own.py:length'}")), "Paris") == 1
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("def length(answer, target)\n", "own.py cannot be imported: SyntaxError"),
        ("\0", "own.py cannot be imported"),
        ("x = 1\n", "expected a function 'length' in own.py, found none"),
        ("from math import pi as length\n", None),
        ("length = print\n", None),
    ],
)
def test_a_function_that_cannot_be_there_is_told_unrun(
    made: Made, tmp_path: Path, text: str, mistake: str | None
) -> None:
    (tmp_path / "own.py").write_text(text, encoding="utf-8")
    found = [str(problem) for problem in task_problems(made("{python: 'own.py:length'}"))]
    assert len(found) == (mistake is not None)
    assert all(line.startswith(f"task.yaml:9: metric.python: {mistake}") for line in found)


def test_other_code_is_another_task_and_is_what_then_runs(made: Made, tmp_path: Path) -> None:
    before = made("{python: 'own.py:length'}")
    assert scored(objective(before), "Par") == pytest.approx(0.6)
    (tmp_path / "own.py").write_text("def length(answer, target):\n    return 0.5\n", encoding="utf-8")
    after = made("{python: 'own.py:length'}")
    assert before.digest != after.digest
    assert scored(objective(after), "Par") == 0.5
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    assert made("{python: 'own.py:length'}").digest == before.digest


def test_a_metric_that_the_task_does_not_name_has_its_own_options(made: Made) -> None:
    scorer = Scorer.of(made("{name: includes, args: {ignore_case: false}}"))
    assert scorer.named("includes").score(right("PARIS"), "Paris") == 0
    assert scorer.named("starts_with").score(right("PARIS"), "Paris") == 1
    assert plain("includes", Setting()).score(right("PARIS"), "Paris") == 1
