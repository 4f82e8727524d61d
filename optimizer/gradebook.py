"""Scores that were recorded elsewhere, prompt by prompt and model by model: what `compare --recorded` reads.

Columns `prompt_id`, `example_id` and `score`; if there are any, `model`, and `group` for examples that are relatives.
Other columns are not looked at.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from optimizer.errors import InputError, Problem
from optimizer.record import Cells, Record, first_of
from optimizer.table import Table, read_table
from optimizer.task import shown

_NEEDED = ("prompt_id", "example_id", "score")

Pair = tuple[str, str]  # prompt and model; the model is "" where the table names none


@dataclass(frozen=True, kw_only=True, slots=True)
class Gradebook:
    """Recorded scores.

    Attributes:
        scores: In [0, 1], by example id, of each prompt and model, in the order of the file.
        groups: What an example is counted with, by example id; none where nothing is grouped.
    """

    file: str
    scores: Mapping[Pair, Mapping[str, float]]
    groups: Mapping[str, str]

    @property
    def shared(self) -> tuple[str, ...]:
        """Return the examples of which each prompt has a score with each model, sorted."""
        rows = [set(row) for row in self.scores.values()]
        return tuple(sorted(set.intersection(*rows)))

    @property
    def examples(self) -> tuple[str, ...]:
        """Return every example, sorted."""
        return tuple(sorted({example for row in self.scores.values() for example in row}))

    @property
    def clusters(self) -> tuple[str, ...] | None:
        """Return what each shared example is counted with; None where nothing is grouped."""
        if not self.groups:
            return None
        return tuple(
            f"group {self.groups[example]}" if example in self.groups else f"id {example}"
            for example in self.shared
        )


def read_gradebook(path: Path) -> Gradebook:
    """Return the scores in a .csv or .jsonl file, compressed or not.

    Raises:
        InputError: With every mistake in the file.
    """
    table = read_table(path, shown(path))
    problems = [*table.problems, *_column_problems(table)]
    if problems:
        raise InputError(first_of(problems))
    reader = _Reader(
        cells=Cells(table.file), with_model="model" in table.columns, with_group="group" in table.columns
    )
    for record in table.records:
        reader.take(record)
    book = Gradebook(file=table.file, scores=reader.scores, groups=reader.groups)
    if not reader.cells.problems and not book.shared:
        message = "expected an example that every prompt has a score for, found none"
        reader.cells.problems.append(Problem(file=table.file, field="example_id", message=message))
    if reader.cells.problems:
        raise InputError(first_of(reader.cells.problems))
    return book


def _column_problems(table: Table) -> Iterator[Problem]:
    if table.records:
        yield from (table.missing(name) for name in _NEEDED if name not in table.columns)
    elif not table.problems:
        yield Problem(file=table.file, message="expected at least one score, found none")


@dataclass(kw_only=True, slots=True)
class _Reader:
    """Takes record by record, and notes what is wrong with each."""

    cells: Cells
    with_model: bool
    with_group: bool
    scores: dict[Pair, dict[str, float]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    lines: dict[tuple[Pair, str], int] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        prompt, example = (self.cells.named(record, name) for name in ("prompt_id", "example_id"))
        model = self.cells.named(record, "model") if self.with_model else ""
        score = self.cells.score(record, "score")
        if prompt is None or example is None or model is None:
            return
        first = self.lines.setdefault(((prompt, model), example), record.line)
        if first != record.line:
            message = f"expected one score of {prompt[:60]!r} on this example, found another on line {first}"
            self.cells.note(record, "example_id", message)
        elif score is not None:
            self.scores.setdefault((prompt, model), {})[example] = score
        if self.with_group:
            self._take_group(record, example)

    def _take_group(self, record: Record, example: str) -> None:
        if record.empty("group"):
            return
        group = self.cells.text(record, "group") or ""
        known = self.groups.setdefault(example, group)
        if group != known:
            message = f"expected {known[:60]!r} as in the other rows of this example, found {group[:60]!r}"
            self.cells.note(record, "group", message)
