"""The smoke test of a task's metrics: each scores right answers before a call is paid for.

A metric that fails leaves an example without a score, while an answer that nobody can read has one. So a study whose
metric always fails would spend its budget, and tell of a model what is the metric's fault. Nor may an option miss all
targets, such as a misspelt field: every answer would be right.
"""

import traceback
from collections.abc import Iterator, Mapping, Sequence

from optimizer.answer import Answer
from optimizer.dataset import Example
from optimizer.document import FieldPath
from optimizer.errors import InputError, Problem
from optimizer.rows import Row, rows_of
from optimizer.scoring import Prepared, by_example, declared, prepared
from optimizer.task import Task
from optimizer.taskfile import MetricSpec

# Examples that a metric is tried on at most; the first that it scores is enough. Some targets may be of no use to it, and a
# study does without their scores.
TRIED = 30


async def check_metrics(task: Task, examples: Sequence[Example], *, own: bool = True) -> None:
    """Let the metrics score right answers; those that ask a model are not tried.

    Args:
        own: Whether to run the task's own functions, and code in its data, too.

    Raises:
        InputError: With every metric that fails on all of them, or has an option that no target is met by.
    """
    found = (prepared if own else declared)(task)
    problems = list(_unmet(task, found, examples)) if examples else []
    for where, made in _tried(task, found, own=own):
        failure = await _failure(made, examples) if examples else None
        if failure is not None:
            problems.append(task.source.problem(where, _told(made, failure, task)))
    if problems:
        raise InputError(problems)


def _unmet(task: Task, metrics: Mapping[str, Prepared], examples: Sequence[Example]) -> Iterator[Problem]:
    """Yield the options that no target is met by: not those of the examples, nor any other of the data."""
    targets = [example.target for example in examples]
    if not any(_unmet_options(task, metrics, targets)):
        return
    rows = (row for n, path in enumerate(task.paths) for row in rows_of(path, n, task))
    targets += [row.cells[task.target] for row in rows if isinstance(row, Row) and task.target in row.cells]
    for where, message in _unmet_options(task, metrics, targets):
        yield task.source.problem(where, message)


def _unmet_options(
    task: Task, metrics: Mapping[str, Prepared], targets: Sequence[str]
) -> Iterator[tuple[FieldPath, str]]:
    """Yield the place of each option that none of some targets is met by, and what was expected of it."""
    for n, made in enumerate(metrics.values()):
        for where, each in _with_parts(made, ("metrics", n - 1) if n else ("metric",)):
            unmet = getattr(each.setting.options, "unmet", None)
            if unmet is not None:
                yield from (
                    ((*where, "args", *place), message) for place, message in unmet(targets, task.schema)
                )


def _with_parts(made: Prepared, where: FieldPath) -> Iterator[tuple[FieldPath, Prepared]]:
    """Yield a metric and, of a weighted mean, all of its parts, each with its place in the task."""
    yield where, made
    for n, (_, part) in enumerate(made.parts):
        yield from _with_parts(part, (*where, "weighted", n, "metric"))


def _tried(task: Task, metrics: Mapping[str, Prepared], *, own: bool) -> Iterator[tuple[FieldPath, Prepared]]:
    """Yield the metrics that can be tried without a call, each with its place in the task.

    An objective of all examples together is tried after what stands in for it.
    """
    for n, (name, made) in enumerate(metrics.items()):
        where: FieldPath = ("metrics", n - 1) if n else ("metric",)
        inert = made.metric.kind == "aggregate" or (made.at_once and not _has_code(task.specs.get(name)))
        if made.metric.kind == "measure" or made.needs or not (own or inert):
            continue
        if not n and made.metric.proxy:
            yield where, by_example(made)
        yield where, made


def _has_code(spec: MetricSpec | None) -> bool:
    """Return whether a function of the task's own takes part in a metric."""
    if spec is None:
        return False
    parts = [part.metric for part in spec.weighted if isinstance(part.metric, MetricSpec)]
    return spec.python is not None or any(_has_code(part) for part in parts)


async def _failure(made: Prepared, examples: Sequence[Example]) -> Exception | None:
    """Return why a metric fails on every right answer, the first reason; None where it scores one."""
    together = made.metric.kind == "aggregate"
    first: Exception | None = None
    for tried in (*([examples] if together else []), *([example] for example in examples[:TRIED])):
        targets = [example.target for example in tried]
        try:
            if together:
                made.value([_right(target) for target in targets], targets)
            else:
                await made.scored(_right(targets[0]), tried[0])
        except Exception as error:  # noqa: BLE001  # a metric may be anybody's
            first = first or error
        else:
            return None
    return first


def _right(target: str) -> Answer:
    return Answer(text=target, outcome="ok")


def _told(made: Prepared, error: Exception, task: Task) -> str:
    """Return what a metric did wrong, and the line of the task's own code where it did."""
    files = {str(path) for path, _ in task.code.values()}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    line = f" (line {frames[-1].lineno} of its file)" if frames else ""
    return f"{made.name} fails on every right answer it was tried on: {type(error).__name__}: {error}{line}"
