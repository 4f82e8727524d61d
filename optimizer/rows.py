"""Rows: the records of a task's tables, cell by cell as examples have them, with every mistake in a cell."""

from collections.abc import Callable, Container, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from optimizer.cells import canonical_answer, id_of, input_of, part_of_target, target_of
from optimizer.digest import canonical
from optimizer.errors import Problem
from optimizer.record import Record
from optimizer.table import MAX_BYTES, read_table
from optimizer.task import Task, shown


class Row(NamedTuple):
    """The columns in use of one record; a cell with a mistake is left out.

    Attributes:
        split: The index of its file, which is its split when there are three.
        cells: The inputs, the target by its name, and the id where there is one.
        about: The columns of the group and of slices.
    """

    file: str
    line: int
    split: int
    cells: dict[str, str]
    about: dict[str, str]

    def problem(self, column: str, message: str) -> Problem:
        """Return a mistake in this row."""
        return Problem(file=self.file, line=self.line, field=column, message=message)

    def place(self, *, seen_from: "Row") -> str:
        """Return where this row is, in the words of another."""
        return f"line {self.line}" if self.file == seen_from.file else f"{self.file}:{self.line}"

    def inputs(self, task: Task) -> tuple[str, ...] | None:
        """Return the inputs, or None when one of them has a mistake."""
        texts = tuple(self.cells[name] for name in task.inputs if name in self.cells)
        return texts if len(texts) == len(task.inputs) else None


def rows_of(path: Path, index: int, task: Task) -> Iterator[Row | Problem]:
    """Yield the rows and the mistakes of one file."""
    table = read_table(path, shown(path))
    yield from table.problems
    if not table.records:
        if not table.problems:
            yield Problem(file=table.file, message="expected at least one example, found none")
        return
    known = table.columns
    needed = dict.fromkeys([*task.inputs, *_targets(task), *_about(task)])
    yield from (table.missing(name) for name in needed if name not in known)
    shown_bytes = 0
    for record in table.records:
        row = Row(table.file, record.line, index, {}, {})
        yield from _fill(row, record, _Reading(task, path, known))
        shown_bytes += sum(len(row.cells.get(name, "")) for name in task.images)
        if shown_bytes > MAX_BYTES:
            most = f"expected images of at most {MAX_BYTES // 2**20} MiB in all, found more"
            yield row.problem(
                ", ".join(sorted(task.images)), f"{most}; URLs take less, and smaller images do"
            )
            return
        yield row


class _Reading(NamedTuple):
    task: Task
    path: Path
    known: Container[str]


def _targets(task: Task) -> tuple[str, ...]:
    return task.targets or (task.target,)


def _about(task: Task) -> tuple[str, ...]:
    group = task.dataset.group
    return tuple(dict.fromkeys([*([] if group is None else [group]), *task.slices]))


def _fill(row: Row, record: Record, reading: _Reading) -> Iterator[Problem]:
    """Put the sound cells of a record into a row; yield what is wrong with the others."""
    task = reading.task
    found: dict[tuple[str, str], object] = {}
    for kind, name, read in _reads(record, reading):
        if name in reading.known:
            try:
                found[kind, name] = read()
            except ValueError as error:
                yield row.problem(name, str(error))
    row.cells.update({name: str(value) for (kind, name), value in found.items() if kind in ("input", "id")})
    row.about.update({name: str(value) for (kind, name), value in found.items() if kind == "about"})
    parts = [value for (kind, _), value in found.items() if kind == "target"]
    if len(parts) == len(_targets(task)):
        try:
            row.cells[task.target] = _together(parts, task)
        except ValueError as error:
            yield row.problem(", ".join(_targets(task)), str(error))
    inputs = row.inputs(task)
    if inputs is not None and not "".join(inputs).strip():
        yield row.problem(", ".join(task.inputs), "expected some text, found none")


def _reads(record: Record, reading: _Reading) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Yield what is read of a record: for what, from which column, and how."""
    task = reading.task
    for name in task.inputs:
        yield "input", name, partial(input_of, record, name, task, file=reading.path)
    for name in _targets(task):
        alone = len(_targets(task)) == 1
        how: Callable[[], object] = partial(target_of, record, task)
        if not alone:
            how = partial(part_of_target, record, name, task)
        yield "target", name, how
    for name in _about(task):
        yield "about", name, str if record.empty(name) else partial(record.text, name)
    yield "id", "id", partial(id_of, record)


def _together(parts: list[object], task: Task) -> str:
    """Return the target that its columns make.

    Raises:
        ValueError: It is no possible answer.
    """
    if len(_targets(task)) == 1:
        return str(parts[0])
    whole = {key: value for part in parts if isinstance(part, dict) for key, value in part.items()}
    return canonical_answer(canonical(whole), task)
