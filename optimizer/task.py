"""A task: labelled examples paired with a metric, as written in `tasks/NAME.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from optimizer.digest import digest, sha256
from optimizer.document import FieldPath, Located, inside_project, load_yaml
from optimizer.errors import InputError, Problem
from optimizer.filekind import refuse_other_kind
from optimizer.outputs import (
    located_metrics,
    metric_problems,
    metric_specs,
    output_problems,
    output_schema,
    target_columns,
)
from optimizer.schema import read
from optimizer.targets import canonical_target
from optimizer.taskfile import (
    SPLITS,
    BaselineSpec,
    DatasetSpec,
    InputSpec,
    MetricSpec,
    OutputType,
    TaskFile,
)

# The key of an answer that several target columns make together.
SEVERAL = "answer"


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptFile:
    """Where a prompt lies that is to be imported.

    Attributes:
        named: The file as the task names it.
        path: The file.
        format: Name of the exporter that reads it, "" where the file tells.
        field: The field of the task that names it.
    """

    named: str
    path: Path
    format: str
    field: FieldPath


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A task that was read and found sound.

    Attributes:
        name: Short name, unique in a project.
        inputs: Columns the model may see.
        kinds: What each of them holds.
        target: Name of the answer: the column that holds the right one, or `SEVERAL`.
        targets: The columns that hold it; more than one make an object together.
        labels: The labels, for the output types `label` and `labels`, in the order of the file.
        label_descriptions: What each label means, "" where nothing is said.
        schema: JSON Schema of an answer of type json as canonical text, "" where any JSON is one.
        readers: How an answer is found in a completion; none leaves that to the format.
        metric: Name of the objective in results.
        metrics: Names of what is reported beside it.
        specs: The metrics by these names, the objective first.
        code: Path and SHA-256 of each file whose functions are metrics.
        slices: Columns by whose values results are told apart.
        instruction: The wording to start from.
        baseline: The prompt that is measured against, or None where that is the instruction.
        dataset: Columns, splits and seed.
        paths: The data file, or one for train, validation and test each.
        source: The file, for messages that point into it.
    """

    name: str
    version: str
    description: str
    language: str
    inputs: tuple[str, ...]
    target: str
    output: OutputType
    labels: tuple[str, ...]
    label_descriptions: tuple[str, ...]
    metric: str
    metrics: tuple[str, ...]
    instruction: str
    dataset: DatasetSpec
    paths: tuple[Path, ...]
    kinds: Mapping[str, InputSpec] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    schema: str = ""
    readers: tuple[str, ...] = ()
    specs: Mapping[str, MetricSpec] = field(default_factory=dict)
    code: Mapping[str, tuple[Path, str]] = field(default_factory=dict)
    slices: tuple[str, ...] = ()
    baseline: PromptFile | None = None
    source: Located = field(repr=False, compare=False)

    @property
    def digest(self) -> str:
        """Return the digest of what the task says and of the code of its metrics; where they lie does not matter."""
        own = {reference: found for reference, (_, found) in self.code.items()}
        return digest([self.source.value, own] if own else self.source.value)

    @property
    def optional(self) -> frozenset[str]:
        """Return the inputs that may be empty."""
        return frozenset(name for name, kind in self.kinds.items() if kind.optional)

    @property
    def lists(self) -> frozenset[str]:
        """Return the inputs that are lists."""
        return frozenset(name for name, kind in self.kinds.items() if kind.type == "list")

    @property
    def images(self) -> frozenset[str]:
        """Return the inputs that are images."""
        return frozenset(name for name, kind in self.kinds.items() if kind.type == "image")

    def canonical_target(self, target: str) -> str:
        """Return a target as an answer that equals it would be read.

        Raises:
            ValueError: When it is no possible answer; says what was expected and what was found.
        """
        if not target.strip() and self.output != "labels":
            raise ValueError("expected a target, found an empty one")
        return canonical_target(target, self.output, self.labels)


def load_task(path: Path) -> Task:
    """Return the task in a file.

    Raises:
        InputError: With every mistake in the file.
    """
    source = load_yaml(path, display=shown(path))
    refuse_other_kind(source, "task")
    file = read(source, TaskFile)
    labels = (
        dict.fromkeys(file.output.labels, "") if isinstance(file.output.labels, tuple) else file.output.labels
    )
    problems = [*_dataset_problems(file.dataset, source), *output_problems(file, labels, source)]
    problems += [*metric_problems(file, source), *_text_problems(file, source)]
    paths, unresolved = _paths(file.dataset, path, source)
    code, missing = _code(file, path, source)
    baseline, lost = _baseline(file.baseline, path, source)
    if problems := [*problems, *unresolved, *missing, *lost]:
        raise InputError(problems)
    inputs, targets = file.dataset.inputs, target_columns(file.dataset)
    named = {spec.shown: spec for spec in metric_specs(file)}
    return Task(
        name=file.name,
        version=file.version,
        description=file.description,
        language=file.language,
        inputs=tuple(inputs),
        kinds=inputs if isinstance(inputs, dict) else dict.fromkeys(inputs, InputSpec()),
        target=targets[0] if len(targets) == 1 else SEVERAL,
        targets=targets,
        output=file.output.type,
        labels=tuple(labels),
        label_descriptions=tuple(labels.values()),
        schema=output_schema(file.output),
        readers=file.output.readers,
        metric=next(iter(named)),
        metrics=tuple(named)[1:],
        specs=named,
        code=code,
        slices=file.slices,
        baseline=baseline,
        instruction=file.instruction.strip(),
        dataset=file.dataset,
        paths=paths,
        source=source,
    )


def shown(path: Path) -> str:
    """Return a path as the user knows it: from the working folder when it lies in there."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _text_problems(file: TaskFile, source: Located) -> list[Problem]:
    texts = {"name": file.name, "instruction": file.instruction}
    return [
        source.problem((name,), "expected some text, found none")
        for name, text in texts.items()
        if not text.strip()
    ]


def _dataset_problems(dataset: DatasetSpec, source: Located) -> list[Problem]:
    problems = []
    if not dataset.inputs:
        problems.append(source.problem(("dataset", "inputs"), "expected at least one column, found none"))
    if len(set(dataset.inputs)) < len(dataset.inputs):
        problems.append(source.problem(("dataset", "inputs"), "expected each column once, found one twice"))
    targets = target_columns(dataset)
    if not targets or len(set(targets)) < len(targets):
        message = "expected at least one column, each once"
        problems.append(source.problem(("dataset", "target"), message))
    for name in targets:
        if name in dataset.inputs:
            message = f"the target {name!r} is also an input: the model would see the answer"
            problems.append(source.problem(("dataset", "target"), message))
    if len(targets) > 1 and SEVERAL in dataset.inputs and SEVERAL not in targets:
        message = f"the object that several targets make is called {SEVERAL!r}, so no input may be: rename the column"
        problems.append(source.problem(("dataset", "inputs"), message))
    return problems + _split_problems(dataset, source)


def _split_problems(dataset: DatasetSpec, source: Located) -> list[Problem]:
    where, splits = ("dataset", "splits"), dataset.splits
    if splits is None:
        return [] if dataset.path is not None else [source.problem(("dataset",), "missing field 'path'")]
    if splits.kind == "mixed":
        return [source.problem(where, "expected three shares, three counts or three paths, found a mixture")]
    if splits.kind == "paths":
        unwanted = dataset.path is not None
        return (
            [source.problem(("dataset", "path"), "not used when each split has a path")] if unwanted else []
        )
    problems = []
    if dataset.path is None:
        problems.append(source.problem(("dataset",), "missing field 'path'"))
    numbers = [value for value in splits.values if not isinstance(value, str)]
    if min(numbers) < 0:
        problems.append(source.problem(where, f"expected nothing below 0, found {min(numbers)}"))
    elif splits.kind == "shares" and abs(sum(numbers) - 1) > 1e-9:
        problems.append(source.problem(where, f"expected shares that add up to 1, found {sum(numbers):g}"))
    return problems


def _paths(dataset: DatasetSpec, file: Path, source: Located) -> tuple[tuple[Path, ...], list[Problem]]:
    named: list[tuple[tuple[str, ...], str]] = []
    if dataset.splits is not None and dataset.splits.kind == "paths":
        named += [(("dataset", "splits", name), str(getattr(dataset.splits, name))) for name in SPLITS]
    elif dataset.path is not None:
        named.append((("dataset", "path"), dataset.path))
    paths: list[Path] = []
    problems: list[Problem] = []
    for where, reference in named:
        try:
            path = inside_project(reference, file=file)
        except ValueError as error:
            problems.append(source.problem(where, str(error)))
            continue
        paths.append(path)
        if not path.is_file():
            problems.append(source.problem(where, f"expected a file, found none at {reference}"))
    return tuple(paths), problems


def _code(file: TaskFile, path: Path, source: Located) -> tuple[dict[str, tuple[Path, str]], list[Problem]]:
    """Return the files of the task's own metrics, and what is wrong with where they are said to be."""
    found: dict[str, tuple[Path, str]] = {}
    problems: list[Problem] = []
    for where, spec in located_metrics(file):
        if spec.python is None or ":" not in spec.python:
            continue
        name = spec.python.rpartition(":")[0]
        try:
            own = inside_project(name, file=path)
        except ValueError as error:
            problems.append(source.problem((*where, "python"), str(error)))
            continue
        if not own.is_file() or not own.is_relative_to(path.resolve().parent):
            message = f"expected a file in the task's folder, found none at {name}"
            problems.append(source.problem((*where, "python"), message))
            continue
        found[spec.python] = own, sha256(own.read_bytes())
    return found, problems


def _baseline(
    baseline: str | BaselineSpec | None, file: Path, source: Located
) -> tuple[PromptFile | None, list[Problem]]:
    """Return where the prompt lies that is measured against, if the task names one, and what is wrong with that."""
    if baseline is None:
        return None, []
    spec = BaselineSpec(path=baseline) if isinstance(baseline, str) else baseline
    where: FieldPath = ("baseline",) if isinstance(baseline, str) else ("baseline", "path")
    try:
        path = inside_project(spec.path, file=file)
    except ValueError as error:
        return None, [source.problem(where, str(error))]
    if not path.is_file():
        return None, [source.problem(where, f"expected a file, found none at {spec.path}")]
    return PromptFile(named=spec.path, path=path, format=spec.format or "", field=where), []
