"""What a study file asks for, read and checked, with its bounds, before any call is made."""

import dataclasses
import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from optimizer.calls import Budget
from optimizer.completion import CAPABILITIES
from optimizer.config import StudyConfig
from optimizer.dataset import Dataset, load_dataset
from optimizer.demonstrations import SELECTORS, draw_sets
from optimizer.digest import digest
from optimizer.document import FieldPath, Located, inside_project, load_yaml
from optimizer.errors import InputError, PluginError, Problem
from optimizer.formats import FORMATS
from optimizer.metrics import METRICS
from optimizer.models import MODELS, ModelSpec
from optimizer.registry import Registry, did_you_mean
from optimizer.samplers import SAMPLERS
from optimizer.schema import read
from optimizer.significance import smallest_provable_difference
from optimizer.space import SearchSpace, compose
from optimizer.styles import STYLES
from optimizer.task import Task, load_task

T = TypeVar("T")


# Share of examples on which two prompts give different scores; the middle of what is usual (0.10 to 0.25 between
# good prompts), used only to say beforehand what a test set can show.
_USUAL_DISAGREEMENT = 0.15


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A study that was read and found sound.

    Attributes:
        name: Name of the folder the study file lies in.
        folder: Where results go.
        file: The file's content, with the seed that is in force.
        source: The file, for messages that point into it.
    """

    name: str
    folder: Path
    file: StudyConfig
    task: Task
    dataset: Dataset
    source: Located

    @property
    def seed(self) -> int:
        """Return the seed from which all randomness of the search flows."""
        return self.file.search.sampler.seed

    @property
    def database(self) -> Path:
        """Return where trials, completions and scores are kept."""
        return self.folder / "study.db"

    @property
    def budget(self) -> Budget:
        """Return the hard limits; twice as many attempts as calls unless the file says otherwise."""
        spec = self.file.budget
        return Budget(calls=spec.calls, attempts=2 * spec.calls if spec.attempts is None else spec.attempts)

    @cached_property
    def space(self) -> SearchSpace:
        """Return the search space, its demonstrations drawn from train."""
        search, demos = self.file.search, self.file.search.demos
        spec = search.instructions
        drawn = draw_sets(
            self.dataset.train,
            sizes=demos.sizes,
            n_sets=demos.sets,
            selectors=demos.selectors,
            seed=self.seed,
        )
        return SearchSpace(
            task=self.task,
            instructions=compose(self.task, spec.given, slots=spec.compose),
            demonstration_sets=drawn,
            styles=search.styles,
            formats=search.formats,
            model_parameters=self.file.model.parameters,
            parameters=search.parameters,
            capabilities=MODELS[self.file.model.provider].capabilities(self.file.model),
        )

    @property
    def screen(self) -> int:
        """Return how many validation examples a candidate is screened on."""
        return min(self.file.search.screen, len(self.dataset.validation))

    @property
    def bounds(self) -> "Bounds":
        """Return what the budget holds, phase by phase."""
        baseline_calls = STYLES[self.space.styles[0]].n_calls
        most = self.space.most_calls
        return Bounds(
            budget=self.budget.calls,
            baseline=self.screen * baseline_calls,
            candidate=self.screen * most,
            confirmation=len(self.dataset.validation) * most,
            # Baseline, winner, and the baseline's wording in the winner's format.
            test=len(self.dataset.test) * (baseline_calls + 2 * most),
            space=self.space.size,
            smallest_provable=smallest_provable_difference(
                len(self.dataset.test), disagreement=_USUAL_DISAGREEMENT
            ),
        )

    @property
    def identity(self) -> dict[str, str]:
        """Return what makes this study this study: a digest for each part that must not change."""
        unasked = ("budget", "run", "storage")
        parts = {
            name: digest(_plain(getattr(self.file, name)))
            for name in (part.name for part in dataclasses.fields(StudyConfig))
            if name not in (*unasked, "task", "search")
        }
        parts |= {
            f"search.{name}": digest(value) for name, value in dataclasses.asdict(self.file.search).items()
        }
        parts |= {"task": self.task.digest, "data": self.dataset.digest}
        parts["optimizer"] = ".".join(importlib.metadata.version("promptstudy").split(".")[:2])
        return parts


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """Upper bounds in calls, known before the first one.

    Attributes:
        budget: All calls.
        baseline: Screening the baseline.
        candidate: Screening one candidate.
        confirmation: Scoring one candidate on all of validation.
        test: The final test.
        space: Points that can be run.
        smallest_provable: The smallest gain that the test can show in four cases of five, in score units.
    """

    budget: int
    baseline: int
    candidate: int
    confirmation: int
    test: int
    space: int
    smallest_provable: float

    @property
    def reserved(self) -> int:
        """Return the calls that the search may not touch."""
        return self.confirmation + self.test

    @property
    def candidates(self) -> int:
        """Return how many candidates the search can screen at the least."""
        return max(0, min((self.budget - self.reserved - self.baseline) // self.candidate, self.space))

    @property
    def least(self) -> int:
        """Return the smallest budget that holds baseline, one candidate, confirmation and test."""
        return self.baseline + self.candidate + self.reserved


def load_plan(path: Path, *, seed: int | None = None, output: Path | None = None) -> StudyPlan:
    """Return the study in a file, its task and data read and everything checked that can be without a call.

    Raises:
        InputError: With every mistake found.
    """
    source = load_yaml(path)
    file, problems = _attempted(lambda: read(source, StudyConfig))
    if file is not None:
        problems += _plugin_problems(file, source)
        problems += _number_problems(file, source)
        problems += _model_problems(file, source)
    examples, others = _attempted(lambda: load_examples(_task_path(source, path)))
    problems += others
    if file is not None and examples is not None:
        problems += _size_problems(file, examples[1], source)
    if problems or file is None or examples is None:
        raise InputError(problems)
    if seed is not None:
        search = dataclasses.replace(file.search, sampler=dataclasses.replace(file.search.sampler, seed=seed))
        file = dataclasses.replace(file, search=search)
    task, dataset = examples
    folder = path.parent if output is None else output
    plan = StudyPlan(
        name=path.resolve().parent.name, folder=folder, file=file, task=task, dataset=dataset, source=source
    )
    problems = _fit_problems(plan)
    if problems:
        raise InputError(problems)
    return plan


def load_examples(path: Path) -> tuple[Task, Dataset]:
    """Return the task in a file and its data, its metrics found to be there and to fit.

    Raises:
        InputError: With every mistake found.
    """
    task = load_task(path)
    problems = _task_problems(task)
    dataset, others = _attempted(lambda: load_dataset(task))
    if problems or dataset is None:
        raise InputError([*problems, *others])
    return task, dataset


def _attempted(make: Callable[[], T]) -> tuple[T | None, list[Problem]]:
    """Return what was made, or the mistakes that kept it from being made."""
    try:
        return make(), []
    except InputError as error:
        return None, list(error.problems)


def _task_path(source: Located, path: Path) -> Path:
    """Return where the task lies that a study names.

    Raises:
        InputError: When it cannot lie there; without a mistake when no text names it, which the schema tells.
    """
    reference = source.value.get("task") if isinstance(source.value, dict) else None
    if not isinstance(reference, str):
        raise InputError([])
    try:
        found = inside_project(reference, file=path)
    except ValueError as error:
        raise InputError([source.problem(("task",), str(error))]) from error
    if not found.is_file():
        raise InputError([source.problem(("task",), f"expected a file, found none at {reference}")])
    return found


def _plugin_problems(file: StudyConfig, source: Located) -> list[Problem]:
    search = file.search
    return [
        *_unknown(STYLES, search.styles, source, ("search", "styles")),
        *_unknown(FORMATS, search.formats, source, ("search", "formats")),
        *_unknown(SELECTORS, search.demos.selectors, source, ("search", "demos", "selectors")),
        *(problem for name in file.constraints for problem in _constraint_problems(file, name, source)),
        *_unknown(SAMPLERS, [search.sampler.name], source, ("search", "sampler", "name"), numbered=False),
        *_unknown(MODELS, [file.model.provider], source, ("model", "provider"), numbered=False),
    ]


def _constraint_problems(file: StudyConfig, name: str, source: Located) -> list[Problem]:
    where = ("constraints", name)
    problems = _unknown(METRICS, [name], source, where, numbered=False)
    bound = file.constraints[name]
    if bound.min is None and bound.max is None:
        problems.append(source.problem(where, "expected min, max or both, found neither"))
    return problems


def _unknown(
    registry: Registry[T], names: Iterable[str], source: Located, where: FieldPath, *, numbered: bool = True
) -> list[Problem]:
    problems = []
    for n, name in enumerate(names):
        path = (*where, n) if numbered else where
        try:
            registry[name]
        except PluginError as error:
            problems.append(source.problem(path, str(error)))
    return problems


def _task_problems(task: Task) -> list[Problem]:
    problems = []
    for where, name in (
        (("metric",), task.metric),
        *((("metrics", n), m) for n, m in enumerate(task.metrics)),
    ):
        try:
            metric = METRICS[name]
        except PluginError as error:
            problems.append(task.source.problem(where, str(error)))
            continue
        if task.output not in metric.outputs:
            listed = ", ".join(metric.outputs)
            problems.append(
                task.source.problem(where, f"{name} judges {listed}, and the task's output is {task.output}")
            )
        if where == ("metric",) and metric.kind == "measure":
            problems.append(
                task.source.problem(where, f"{name} is a measure: it can be reported, not maximised")
            )
    return problems


def _number_problems(file: StudyConfig, source: Located) -> list[Problem]:
    search, run = file.search, file.run
    problems = [
        source.problem(where, f"expected at least {least}, found {value}")
        for where, value, least in (
            (("search", "screen"), search.screen, 1),
            (("search", "demos", "sets"), search.demos.sets, 0),
            (("search", "demos", "sizes"), min(search.demos.sizes, default=0), 0),
            (("budget", "calls"), file.budget.calls, 1),
            (("budget", "attempts"), 1 if file.budget.attempts is None else file.budget.attempts, 1),
            (("run", "batch"), run.batch, 1),
            (("run", "concurrency"), 1 if run.concurrency == "auto" else run.concurrency, 1),
        )
        if value < least
    ]
    if not 0 <= run.max_error_rate < 1:
        message = f"expected a share of at least 0 and below 1, found {run.max_error_rate}"
        problems.append(source.problem(("run", "max_error_rate"), message))
    return problems + _list_problems(file, source)


def _list_problems(file: StudyConfig, source: Located) -> list[Problem]:
    search = file.search
    lists: dict[FieldPath, tuple[object, ...]] = {
        ("search", "styles"): search.styles,
        ("search", "formats"): search.formats,
        ("search", "demos", "sizes"): search.demos.sizes,
        **{("search", "parameters", name): values for name, values in search.parameters.items()},
    }
    if any(size > 0 for size in search.demos.sizes):
        lists[("search", "demos", "selectors")] = search.demos.selectors
    problems = []
    for where, values in lists.items():
        if not values:
            problems.append(source.problem(where, "expected at least one, found none"))
        if len(set(values)) < len(values):
            problems.append(source.problem(where, "expected each once, found one twice"))
    taken = {"instruction", "demonstrations", "style", "format"} & set(search.parameters)
    where = ("search", "parameters")
    return problems + [
        source.problem((*where, name), "names a dimension of its own") for name in sorted(taken)
    ]


def _model_problems(file: StudyConfig, source: Located) -> list[Problem]:
    unknown = [
        source.problem(
            ("model", "capabilities", n), f"unknown capability {name!r}{did_you_mean(name, CAPABILITIES)}"
        )
        for n, name in enumerate(file.model.capabilities or ())
        if name not in CAPABILITIES
    ]
    if file.model.provider not in MODELS or unknown:
        return unknown
    return [_model_problem(source, message) for message in MODELS[file.model.provider].problems(file.model)]


def _model_problem(source: Located, message: str) -> Problem:
    """Return what a provider says of a model, in the field that its message begins with, if it does with one."""
    name, _, rest = message.partition(": ")
    fields = {field.name for field in dataclasses.fields(ModelSpec)}
    if name.partition(".")[0] not in fields:
        return source.problem(("model",), message)
    return source.problem(("model", *name.split(".", 1)), rest)


def _size_problems(file: StudyConfig, dataset: Dataset, source: Located) -> list[Problem]:
    largest, n_train = max(file.search.demos.sizes, default=0), len(dataset.train)
    if largest <= n_train:
        return []
    message = f"expected at most {n_train}, the size of train, found {largest}"
    return [source.problem(("search", "demos", "sizes"), message)]


def _fit_problems(plan: StudyPlan) -> list[Problem]:
    space, bounds, source = plan.space, plan.bounds, plan.source
    first = next(
        (x for x in space.exclusions if (x.style, x.format) == (space.styles[0], space.formats[0])), None
    )
    if first is not None:
        return [source.problem(("search",), f"the baseline is the first style and the first format; {first}")]
    if bounds.budget < bounds.least:
        parts = (
            f"baseline {bounds.baseline}, one candidate {bounds.candidate}, "
            f"confirmation {bounds.confirmation}, test {bounds.test}"
        )
        message = f"expected at least {bounds.least} calls ({parts}), found {bounds.budget}"
        return [source.problem(("budget", "calls"), message)]
    return []


def _plain(value: object) -> object:
    """Return a dataclass as plain data, anything else as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return value
