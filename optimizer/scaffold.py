"""Scaffolds: a task and a study made of a table, checked before they are written.

The files are made in a folder of their own first, laid out as the project will be, and loaded there as every command
loads them. Only what was found sound is written, byte for byte, so that nothing half-made is ever left.
"""

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from optimizer.columns import Wanted
from optimizer.config import SCREEN, StudyConfig
from optimizer.dataset import MIN_CROSS_VALIDATION, Dataset
from optimizer.digest import pretty
from optimizer.document import clipped, write_atomically
from optimizer.errors import InputError, Problem, StorageError
from optimizer.models import ModelSpec
from optimizer.plan import StudyPlan, load_examples, load_plan
from optimizer.plantext import plan_in_words
from optimizer.proposal import (
    FEWEST_CANDIDATES,
    Choice,
    Proposal,
    affordable_splits,
    calls_needed,
    propose,
    without_test,
)
from optimizer.schema import schema
from optimizer.studytext import screened, study_text
from optimizer.table import read_table
from optimizer.task import shown
from optimizer.taskfile import SPLITS, Splits, TaskFile
from optimizer.tasktext import task_text

# Why a wording is proposed where a prompt is in use.
_BESIDE = "made of the columns' names; one wording among others, beside the prompt in use"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What is asked for.

    Attributes:
        name: Of task, study and copied data.
        data: The table.
        root: The folder of the project, which need not exist.
        baseline: A file with the prompt in use today, to measure against; None for a wording that is proposed.
        calls: The budget, or None for what the data need.
        force: Whether files of the same name are replaced.
    """

    name: str
    data: Path
    root: Path
    model: ModelSpec
    columns: Wanted
    baseline: Path | None = None
    calls: int | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaffold:
    """What was written.

    Attributes:
        task, study: The files to go on with.
        files: All files, those two among them.
        in_words: What the data can show.
    """

    task: Path
    study: Path
    files: tuple[Path, ...]
    choices: tuple[Choice, ...]
    in_words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Given:
    """A file that was handed over, and where it lies in the project, seen from the root."""

    source: Path
    place: Path
    copied: bool

    def choice(self, field: str) -> Choice:
        why = "copied, because it lies outside the project" if self.copied else "used where it lies"
        return Choice(field=field, value=clipped(self.place.as_posix()), why=why)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Places:
    """Where things lie, seen from the root of the project."""

    task: Path
    study: Path
    data: _Given
    baseline: _Given | None

    @property
    def given(self) -> tuple[_Given, ...]:
        return (self.data,) if self.baseline is None else (self.data, self.baseline)

    @property
    def copied(self) -> tuple[Path, ...]:
        return tuple(each.place for each in self.given if each.copied)

    @property
    def written(self) -> tuple[Path, ...]:
        return (self.task, self.study, *self.copied)


def scaffold(wishes: Wishes) -> Scaffold:
    """Write a task and a study for a table, and return what was chosen and what the data can show.

    Raises:
        InputError: With every mistake in the wishes and the table, or in the study that comes of them; then nothing
            was written.
        StorageError: When a file cannot be written; then those that were new are gone again.
    """
    places = _places(wishes)
    problems = [*_wish_problems(wishes), *_taken(wishes, places)]
    table = read_table(wishes.data, shown(wishes.data))
    proposal = None
    try:
        proposal = propose(table, wishes.columns)
    except InputError as error:
        problems += error.problems
    if problems or proposal is None:
        raise InputError(problems)
    with tempfile.TemporaryDirectory(prefix="optimizer-init-") as folder:
        stage = Path(folder).resolve()
        try:
            plan, choices = _staged(stage, places, wishes, proposal)
            in_words = plan_in_words(plan)
        except InputError as error:
            raise InputError([_as_told(each, stage, places, wishes) for each in error.problems]) from error
        except OSError as error:
            raise StorageError(f"{stage} cannot be written: {error.strerror}") from error
        files = _write(stage, places, wishes.root)
    proposed = proposal.choices
    if wishes.baseline is not None:
        proposed = tuple(replace(one, why=_BESIDE) if one.field == "instruction" else one for one in proposed)
    return Scaffold(
        task=wishes.root / places.task,
        study=wishes.root / places.study,
        files=files,
        choices=(*proposed, *choices),
        in_words=in_words,
    )


def _places(wishes: Wishes) -> _Places:
    suffixes = wishes.data.resolve().suffixes
    suffix = "".join(suffixes[-2:] if suffixes and suffixes[-1].lower() == ".gz" else suffixes[-1:])
    data = _given(wishes, wishes.data, Path("datasets", f"{wishes.name}{suffix}"))
    baseline = None
    if wishes.baseline is not None:
        baseline = _given(wishes, wishes.baseline, Path("prompts", wishes.baseline.name))
    return _Places(
        task=Path("tasks", f"{wishes.name}.yaml"),
        study=Path("studies", wishes.name, "study.yaml"),
        data=data,
        baseline=baseline,
    )


def _given(wishes: Wishes, file: Path, copy: Path) -> _Given:
    """Return where a file lies, or goes where it lies outside the project."""
    path, root = file.resolve(), wishes.root.resolve()
    if path.is_relative_to(root):
        return _Given(source=file, place=path.relative_to(root), copied=False)
    return _Given(source=file, place=copy, copied=True)


def _wish_problems(wishes: Wishes) -> Iterator[Problem]:
    if not _NAME.fullmatch(wishes.name):
        message = f"expected a name of up to 64 letters without accents, digits, - and _, found '{clipped(wishes.name)}'"
        yield Problem(file="", field="NAME", message=message)
    fewest = MIN_CROSS_VALIDATION * (1 + FEWEST_CANDIDATES)
    if wishes.calls is not None and wishes.calls < fewest:
        message = (
            f"expected at least {fewest}: the baseline and {FEWEST_CANDIDATES} candidates on "
            f"{MIN_CROSS_VALIDATION} examples, found {wishes.calls}"
        )
        yield Problem(file="", field="--calls", message=message)
    if wishes.baseline is not None and not wishes.baseline.is_file():
        yield Problem(
            file="", field="--baseline", message=f"expected a file, found none at {shown(wishes.baseline)}"
        )


def _taken(wishes: Wishes, places: _Places) -> Iterator[Problem]:
    """Yield each file that would be overwritten, or that would be written elsewhere because of a link."""
    if wishes.root.exists() and not wishes.root.is_dir():
        yield Problem(file=shown(wishes.root), message="expected a folder, found a file")
        return
    root = wishes.root.resolve()
    for path in places.written if _NAME.fullmatch(wishes.name) else ():
        file = shown(wishes.root / path)
        if (root / path).resolve() != root / path:
            yield Problem(file=file, message="expected a file of this project, found a link on the way to it")
        elif (root / path).exists() and not wishes.force:
            yield Problem(file=file, message="is there already; --force overwrites it, another NAME keeps it")


def _as_told(problem: Problem, stage: Path, places: _Places, wishes: Wishes) -> Problem:
    """Return a mistake with the path of its file as the user knows it or would have come to know it."""
    path = Path.cwd() / problem.file
    if not problem.file or not path.is_relative_to(stage):
        return problem
    place = path.relative_to(stage)
    if place == places.data.place:
        return replace(problem, file=shown(wishes.data))
    return replace(problem, file=f"{shown(wishes.root / place)} (not written)", line=None)


def _staged(
    stage: Path, places: _Places, wishes: Wishes, proposal: Proposal
) -> tuple[StudyPlan, tuple[Choice, ...]]:
    """Write everything into a folder, load it from there, and return the plan and the choices of sizes.

    Raises:
        InputError: With every mistake found; files are named as they lie in the folder.
    """
    schemas = {"task": schema(TaskFile), "study": schema(StudyConfig)}
    texts = {
        stage / ".optimizer" / "schemas" / f"{name}.json": pretty(form) for name, form in schemas.items()
    }
    given = {stage / each.place: each.source for each in places.given}
    for path in (stage / places.task, stage / places.study, *given, *texts):
        path.parent.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        write_atomically(path, text)
    for path, source in given.items():
        shutil.copyfile(source, path)
    dataset, splits = _divided(stage, places, wishes, proposal)
    calls = wishes.calls or calls_needed(len(dataset.validation), len(dataset.test), screen=screened(dataset))
    write_atomically(
        stage / places.study, study_text(proposal, dataset, wishes.model, name=wishes.name, calls=calls)
    )
    plan = load_plan(stage / places.study)
    why = "as asked" if wishes.calls else "what a search on these data needs; --calls sets another"
    model = clipped(f"{wishes.model.provider}:{wishes.model.name}")
    candidates = f"{why}; room for {plan.bounds.candidates} candidates"
    return plan, (
        splits,
        places.data.choice("data"),
        *([] if places.baseline is None else [places.baseline.choice("baseline")]),
        Choice(field="model", value=model, why="--model names another"),
        Choice(field="budget", value=f"{calls} calls", why=candidates),
    )


def _divided(stage: Path, places: _Places, wishes: Wishes, proposal: Proposal) -> tuple[Dataset, Choice]:
    """Write the task and return its data, with a test split where there can be one.

    Raises:
        InputError: With every mistake found.
    """
    first = affordable_splits(proposal.n, wishes.calls)
    attempts = [first] if first.test == 0 else [first, without_test(proposal.n, wishes.calls)]
    for splits in attempts:
        write_atomically(stage / places.task, _task_text(wishes, places, proposal, splits))
        try:
            _, dataset = load_examples(stage / places.task)
        except InputError as error:
            too_small = all((problem.field or "").startswith("dataset.splits") for problem in error.problems)
            if not too_small:
                raise
            if splits is attempts[-1]:
                why = "rows that belong together are never divided, and here too many do for splits of this size"
                raise InputError([*error.problems, Problem(file=shown(wishes.data), message=why)]) from error
        else:
            return dataset, _splits_choice(proposal.n, splits, dataset, grouped=splits is not first)
    raise AssertionError("the last attempt returned or raised")


def _splits_choice(n: int, splits: Splits, dataset: Dataset, *, grouped: bool) -> Choice:
    sizes = [len(getattr(dataset, name)) for name in SPLITS]
    value = ", ".join(f"{name} {size}" for name, size in zip(SPLITS, sizes, strict=True))
    whole = affordable_splits(n, None)
    reduced, left = splits != whole and not grouped, n - sum(sizes)
    if splits.test:
        why = "less than the data hold, for want of budget" if reduced else "what serves data of this size"
    else:
        cause = f"{n} examples are too few for a test split"
        if grouped:
            cause = "the groups of rows that belong together are too large for a test split"
        elif whole.test:
            cause = "the budget cannot pay for a test split"
        why = f"{cause}, so the choice is judged by repeated cross-validation on validation"
    if reduced:
        validation = int(whole.validation)
        enough = calls_needed(validation, int(whole.test), screen=min(SCREEN, validation))
        why += f"; --calls {enough} pays for validation {validation}, test {whole.test}"
    if left:
        why += f"; {left} examples are in no split"
    return Choice(field="splits", value=value, why=why)


def _task_text(wishes: Wishes, places: _Places, proposal: Proposal, splits: Splits) -> str:
    def seen(given: _Given) -> str:
        return Path(os.path.relpath(given.place, places.task.parent)).as_posix()

    baseline = None if places.baseline is None else seen(places.baseline)
    return task_text(proposal, splits, name=wishes.name, data=seen(places.data), baseline=baseline)


def _write(stage: Path, places: _Places, root: Path) -> tuple[Path, ...]:
    """Put the files of a folder into the project, each whole or not at all, and return them.

    Raises:
        StorageError: When one cannot be written.
    """
    schemas = sorted(path.relative_to(stage) for path in (stage / ".optimizer" / "schemas").iterdir())
    new: list[Path] = []
    for path in (*schemas, *reversed(places.written)):
        target = root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            new += [] if target.exists() else [target]
            if path in places.copied:
                _copy(stage / path, target)
            else:
                write_atomically(target, (stage / path).read_bytes().decode("utf-8"))
        except OSError as error:
            for file in new:
                file.unlink(missing_ok=True)
            raise StorageError(f"{shown(target)} cannot be written: {error.strerror}") from error
    return tuple(root / path for path in (*places.written, *schemas))


def _copy(source: Path, target: Path) -> None:
    """Copy bytes, so that a crash at any moment leaves the old file or the new one, whole."""
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.tmp")
    try:
        shutil.copyfile(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
