"""A task: labelled examples paired with a metric, as written in `tasks/NAME.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from optimizer.answer import find_number
from optimizer.digest import digest
from optimizer.document import Located, inside_project, load_yaml
from optimizer.errors import InputError, Problem
from optimizer.schema import meant, read

OutputType = Literal["label", "text", "number"]
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

_STRICT: dict[str, object] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """How the examples are divided: shares that add up to 1, counts, or a file for each split.

    With a test of 0, gains are judged by repeated cross-validation on validation.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    train: int | float | str
    validation: int | float | str
    test: int | float | str

    @property
    def values(self) -> tuple[int | float | str, ...]:
        """Return the three values, in the order train, validation, test."""
        return self.train, self.validation, self.test

    @property
    def kind(self) -> Literal["shares", "counts", "paths", "mixed"]:
        """Return which of the three forms is meant."""
        kinds = {type(value) for value in self.values}
        if kinds == {int}:
            return "counts"
        if kinds == {str}:
            return "paths"
        return "mixed" if str in kinds else "shares"


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetSpec:
    """Where the examples are and which columns matter; without `splits` their number decides (`optimizer.splits`)."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    inputs: tuple[str, ...]
    target: str
    splits: Splits | None = None
    path: str | None = None
    group: str | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputSpec:
    """What an answer is."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    type: OutputType
    labels: tuple[str, ...] | dict[str, str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFile:
    """The content of a task file, key by key."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    schema: Literal[1]
    name: str
    dataset: DatasetSpec
    output: OutputSpec
    metric: str
    instruction: str
    version: str = "1.0"
    description: str = ""
    language: str = "en"
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A task that was read and found sound.

    Attributes:
        name: Short name, unique in a project.
        inputs: Columns the model may see.
        target: Column that holds the right answer.
        labels: The labels, for the output type `label`, in the order of the file.
        label_descriptions: What each label means, "" where nothing is said.
        metric: Name of the objective.
        metrics: Names of what is reported beside it.
        instruction: The wording to start from.
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
    source: Located = field(repr=False, compare=False)

    @property
    def digest(self) -> str:
        """Return the digest of what the task says; where the file lies does not matter."""
        return digest(self.source.value)

    def target_problem(self, target: str) -> str | None:
        """Return what is wrong with a target, or None when it is a possible answer."""
        if not target.strip():
            return "expected a target, found an empty one"
        if self.output == "label" and target not in self.labels:
            listed = ", ".join(map(repr, self.labels))
            return f"expected one of {listed}, found {target[:60]!r}{meant(target, self.labels)}"
        if self.output == "number" and find_number(target) is None:
            return f"expected a number, found {target!r}"
        return None


def load_task(path: Path) -> Task:
    """Return the task in a file.

    Raises:
        InputError: With every mistake in the file.
    """
    source = load_yaml(path, display=shown(path))
    file = read(source, TaskFile)
    labels = (
        dict.fromkeys(file.output.labels, "") if isinstance(file.output.labels, tuple) else file.output.labels
    )
    problems = [*_dataset_problems(file.dataset, source), *_output_problems(file.output, labels, source)]
    problems += _text_problems(file, source)
    paths, unresolved = _paths(file.dataset, path, source)
    if problems + unresolved:
        raise InputError(problems + unresolved)
    return Task(
        name=file.name,
        version=file.version,
        description=file.description,
        language=file.language,
        inputs=file.dataset.inputs,
        target=file.dataset.target,
        output=file.output.type,
        labels=tuple(labels),
        label_descriptions=tuple(labels.values()),
        metric=file.metric,
        metrics=file.metrics,
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
    if dataset.target in dataset.inputs:
        message = f"the target {dataset.target!r} is also an input: the model would see the answer"
        problems.append(source.problem(("dataset", "target"), message))
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


def _output_problems(output: OutputSpec, labels: Mapping[str, str], source: Located) -> list[Problem]:
    where = ("output", "labels")
    if output.type != "label":
        return (
            [source.problem(where, f"only the type 'label' has labels, found {output.type!r}")]
            if labels
            else []
        )
    if len(labels) < 2:
        return [
            source.problem(
                where if labels else ("output",), f"expected at least two labels, found {len(labels)}"
            )
        ]
    if len(labels) < len(output.labels):
        return [source.problem(where, "expected each label once, found one twice")]
    folded: dict[str, str] = {}
    problems = []
    for label in labels:
        twin = folded.setdefault(label.strip().casefold(), label)
        if not label.strip():
            problems.append(source.problem(where, "expected some text for each label, found an empty one"))
        elif twin != label:
            problems.append(
                source.problem(where, f"labels {twin!r} and {label!r} differ only in case or spaces")
            )
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
