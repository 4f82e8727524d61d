"""How a task's answers are scored: its metrics with their options, functions of its own, and weighted means.

Python that a task names lies beside it and is imported here, by commands that score, and nowhere else: whoever only
looks at a task, as `validate` does, gets its metrics `declared`, of which none is run. Nothing found in a data set or
an answer is ever run by it but what the metric itself runs.
"""

import ast
import asyncio
import dataclasses
import importlib.util
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from optimizer.answer import Answer
from optimizer.completion import Model
from optimizer.dataset import Example
from optimizer.document import FieldPath, Located
from optimizer.errors import InputError, PluginError, Problem
from optimizer.metrics import METRICS, Metric, Role, Setting
from optimizer.metrics._functions import metric_of, takes_texts, written_signature
from optimizer.schema import read
from optimizer.task import Task
from optimizer.taskfile import MetricSpec

# Makes a metric of a function of the task's own: by its reference, which stands at a place in the task.
_Own = Callable[[Task, str, FieldPath], Metric]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A metric with all it needs to score.

    Attributes:
        parts: The metrics of a weighted mean and their weights.
    """

    name: str
    metric: Metric
    setting: Setting
    parts: tuple[tuple[float, "Prepared"], ...] = ()

    @property
    def at_once(self) -> bool:
        """Return whether it scores by itself, without a model or a process of its own."""
        if self.parts:
            return all(part.at_once for _, part in self.parts)
        return self.metric.score is not None and not self.metric.slow

    @property
    def needs(self) -> tuple[Role, ...]:
        """Return the models it asks."""
        own = self.metric.needs
        return tuple(dict.fromkeys([*own, *(role for _, part in self.parts for role in part.needs)]))

    @property
    def asks(self) -> int:
        """Return how many calls of models one answer takes at most."""
        own = self.metric.asks(self.setting) if self.metric.needs else 0
        return own + sum(part.asks for _, part in self.parts)

    def score(self, answer: Answer, target: str) -> float:
        """Return the score of one answer, of a metric that scores at once.

        Raises:
            ValueError: When it is not in [0, 1].
        """
        if self.parts:
            return _mean([(weight, part.score(answer, target)) for weight, part in self.parts])
        assert self.metric.score is not None  # `at_once` was asked first
        return _sound(self.metric.score(answer, target, self.setting))

    async def scored(self, answer: Answer, example: Example) -> float:
        """Return the score of one answer to an example.

        Raises:
            ValueError: When it is not in [0, 1].
        """
        if self.parts:
            scores = await asyncio.gather(*(part.scored(answer, example) for _, part in self.parts))
            return _mean([(weight, score) for (weight, _), score in zip(self.parts, scores, strict=True)])
        if self.metric.judged is not None:
            return _sound(await self.metric.judged(answer, example, self.setting))
        if self.metric.slow:
            return await asyncio.to_thread(self.score, answer, example.target)
        return self.score(answer, example.target)

    def value(self, answers: Sequence[Answer], targets: Sequence[str]) -> float:
        """Return the figure of a metric that judges all answers together; in [0, 1].

        Raises:
            ValueError: When it is not in [0, 1], or there is nothing to judge.
        """
        assert self.metric.aggregate is not None
        if not answers:
            raise ValueError("expected at least one answer, found none")
        return _sound(self.metric.aggregate(answers, targets, self.setting))


def _mean(parts: Sequence[tuple[float, float]]) -> float:
    """Return a mean by weights, 1 where all scores are; rounding must not lift it above 1, where no score may lie."""
    total = math.fsum(weight for weight, _ in parts)
    return min(1.0, math.fsum(weight * score for weight, score in parts) / total)


def _sound(score: float) -> float:
    if not 0 <= score <= 1:
        raise ValueError(f"expected a score in [0, 1], found {score}")
    return float(score)


def declared(task: Task) -> dict[str, Prepared]:
    """Return the metrics of a task by name, the objective first, to look at: no code of the task is run.

    Its own functions are found in their files and cannot score.

    Raises:
        InputError: With every mistake in their names, options and files.
    """
    return _all(task, _setting(task), _found)


def prepared(task: Task, models: Mapping[Role, Model] | None = None) -> dict[str, Prepared]:
    """Return the metrics of a task by name, the objective first, ready to score.

    Args:
        models: What the metrics ask, where they need a model.

    Raises:
        InputError: With every mistake in their names, options and functions.
    """
    return _all(task, dataclasses.replace(_setting(task), models=models or {}), _own)


def _setting(task: Task) -> Setting:
    return Setting(labels=task.labels, schema=task.schema, language=task.language, images=task.images)


def _all(task: Task, setting: Setting, own: _Own) -> dict[str, Prepared]:
    specs = task.specs or {name: MetricSpec(name=name) for name in (task.metric, *task.metrics)}
    made: dict[str, Prepared] = {}
    problems: list[Problem] = []
    for n, (name, spec) in enumerate(specs.items()):
        where: FieldPath = ("metrics", n - 1) if n else ("metric",)
        try:
            made[name] = _prepared(task, spec, setting, where, own)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return made


def unfit(made: Prepared, task: Task) -> str | None:
    """Return why a metric cannot judge the answers of a task, or None."""
    if task.output not in made.metric.outputs:
        listed = ", ".join(made.metric.outputs)
        return f"{made.name} judges {listed}, and the task's output is {task.output}"
    if getattr(made.setting.options, "schema", "") is None and not task.schema:
        return f"{made.name} needs a schema: in its args, or in the task's output"
    return None


def plain(name: str, task_setting: Setting) -> Prepared:
    """Return a metric by its name alone, without options of a task."""
    metric = METRICS[name]
    options = None if metric.options is None else metric.options()
    return Prepared(name=name, metric=metric, setting=dataclasses.replace(task_setting, options=options))


def by_example(objective: Prepared) -> Prepared:
    """Return what scores single examples: a metric itself, or the stand-in of one of all examples together."""
    proxy = objective.metric.proxy
    if not proxy:
        return objective
    stand_in = plain(proxy, objective.setting)
    if stand_in.metric.options is objective.metric.options is not None:
        return dataclasses.replace(stand_in, setting=objective.setting)
    return stand_in


def _prepared(task: Task, spec: MetricSpec, setting: Setting, where: FieldPath, own: _Own) -> Prepared:
    if spec.weighted:
        return _weighted(task, spec, setting, where, own)
    if spec.python is not None:
        return Prepared(name=spec.shown, metric=own(task, spec.python, where), setting=setting)
    assert spec.name is not None  # the task file was checked
    try:
        metric = METRICS[spec.name]
    except PluginError as error:
        raise InputError([task.source.problem(where, str(error))]) from None
    if metric.options is None:
        if spec.args:
            message = f"{spec.name} has no options, found {', '.join(sorted(spec.args))}"
            raise InputError([task.source.problem((*where, "args"), message)])
        return Prepared(name=spec.shown, metric=metric, setting=setting)
    optioned = dataclasses.replace(setting, options=_options(task.source, metric.options, spec, where))
    return Prepared(name=spec.shown, metric=metric, setting=optioned)


def _options(source: Located, kind: type, spec: MetricSpec, where: FieldPath) -> object:
    """Return the options of a metric, read as strictly as the rest of the file.

    Raises:
        InputError: With every mistake.
    """
    if not spec.args:
        try:
            return kind()
        except TypeError:
            missing = [
                f.name
                for f in dataclasses.fields(kind)
                if f.default is f.default_factory is dataclasses.MISSING
            ]
            message = f"{spec.name} needs args: {', '.join(missing)}"
            raise InputError([source.problem(where, message)]) from None
    options: object = read(source, kind, at=(*where, "args"))
    problem = getattr(options, "problem", None)
    if problem is not None and (message := problem()):
        raise InputError([source.problem((*where, "args"), message)])
    return options


def _weighted(task: Task, spec: MetricSpec, setting: Setting, where: FieldPath, own: _Own) -> Prepared:
    total = sum(part.weight for part in spec.weighted)
    if math.isinf(total):
        message = "expected weights with a finite sum, found larger ones"
        raise InputError([task.source.problem((*where, "weighted"), message)])
    parts = []
    for n, part in enumerate(spec.weighted):
        inner = part.metric if isinstance(part.metric, MetricSpec) else MetricSpec(name=part.metric)
        place = (*where, "weighted", n, "metric")
        made = _prepared(task, inner, setting, place, own)
        if made.metric.kind != "score":
            message = f"expected a metric that scores single examples, found {made.name}"
            raise InputError([task.source.problem(place, message)])
        parts.append((part.weight / total, made))
    outputs = tuple(
        kind for kind in METRICS["exact_match"].outputs if all(kind in p.metric.outputs for _, p in parts)
    )
    return Prepared(
        name=spec.shown,
        metric=Metric(score=lambda _answer, _target, _setting: 0.0, outputs=outputs),
        setting=setting,
        parts=tuple(parts),
    )


def _found(task: Task, reference: str, where: FieldPath) -> Metric:
    """Return the metric of a function of the task's own as far as its file tells it unrun: what it is called with.

    Raises:
        InputError: When the file is no Python, or nothing in it has the function's name.
    """
    path, name = task.code[reference][0], reference.rpartition(":")[2]
    try:
        statements = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError) as error:
        message = f"{path.name} cannot be imported: {type(error).__name__}: {error}"
        raise InputError([task.source.problem((*where, "python"), message)]) from error
    written = [each for each in statements if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    function = next((each for each in written if each.name == name), None)
    if function is None and name not in _bound(statements):
        message = f"expected a function {name!r} in {path.name}, found none"
        raise InputError([task.source.problem((*where, "python"), message)])
    if function is None or function.decorator_list:  # what it is called with is not known before it is run
        return Metric(judged=_unrun)
    try:
        texts = takes_texts(written_signature(function.args))
    except ValueError as error:
        raise InputError([task.source.problem((*where, "python"), f"{name}: {error}")]) from None
    at_once = texts and isinstance(function, ast.FunctionDef)
    return Metric(score=_unrun) if at_once else Metric(judged=_unrun)


def _bound(statements: Sequence[ast.stmt]) -> set[str]:
    """Return the names that statements bind by assigning or importing; a function may come to be in such a way."""
    nodes = [node for statement in statements for node in ast.walk(statement)]
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}


def _unrun(*_: object) -> Any:  # noqa: ANN401  # in the place of any function
    raise RuntimeError("a metric that was only declared cannot score")


def _own(task: Task, reference: str, where: FieldPath) -> Metric:
    """Return the metric that a function of the task's own makes.

    Raises:
        InputError: When there is no such function, or its file cannot be imported, or its arguments are of neither kind.
    """
    path, found = task.code[reference]
    name = reference.rpartition(":")[2]
    try:
        function = getattr(_module(path, found), name, None)
    except (
        Exception,
        SystemExit,
    ) as error:  # whatever a file of the user's does wrong is told like any mistake
        message = f"{path.name} cannot be imported: {type(error).__name__}: {error}"
        raise InputError([task.source.problem((*where, "python"), message)]) from error
    if not callable(function):
        message = f"expected a function {name!r} in {path.name}, found none"
        raise InputError([task.source.problem((*where, "python"), message)])
    try:
        return metric_of(function, task.target)
    except ValueError as error:
        raise InputError([task.source.problem((*where, "python"), f"{name}: {error}")]) from None


@cache
def _module(path: Path, sha: str) -> object:
    spec = importlib.util.spec_from_file_location(f"_task_metric_{path.stem}_{sha[:16]}", path)
    assert spec is not None  # a file that ends with .py has one
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the names in their annotations
    spec.loader.exec_module(module)
    return module
