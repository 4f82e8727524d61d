"""Recorded scores: a long table of prompts and examples, as a search replays it.

Columns `prompt_id`, `example_id` and `score`; if there are any, `prompt_text` and `test_score`; every other column is
a categorical factor of the prompt. Of a factor that is null or absent the level is the empty text, as of an empty cell.
A score that is missing was never asked for and cannot be.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from optimizer.errors import InputError, Problem
from optimizer.record import Cells, Record, first_of
from optimizer.registry import did_you_mean
from optimizer.table import Table, read_table
from optimizer.task import shown

_NEEDED = ("prompt_id", "example_id", "score")
_NO_FACTORS = (*_NEEDED, "prompt_text", "test_score")


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedScores:
    """Scores of some prompts on some examples.

    Attributes:
        baseline: The first prompt of the file.
        scores: Scores in [0, 1] by prompt and example id, prompts and examples in alphabetical order.
        factors: Levels by prompt and factor.
        test_scores: Score of each prompt on examples outside the table, as far as there are any. Nothing that chooses
            a prompt may look at them.
    """

    baseline: str
    scores: Mapping[str, Mapping[str, float]]
    factors: Mapping[str, Mapping[str, str]]
    test_scores: Mapping[str, float]


def read_recorded(path: Path, *, ignore: Iterable[str] = ()) -> RecordedScores:
    """Return the scores in a .csv or .jsonl file, compressed or not.

    Args:
        ignore: Columns that are no factors; `test_score` among them is not read.

    Raises:
        InputError: With every mistake in the file.
    """
    table = read_table(path, shown(path))
    ignored = tuple(ignore)
    problems = [*table.problems, *_column_problems(table, ignored)]
    if problems:
        raise InputError(first_of(problems))
    names = [name for name in table.columns if name not in (*_NO_FACTORS, *ignored)]
    reader = _Reader(table.file, names, with_test="test_score" not in ignored)
    for record in table.records:
        reader.take(record)
    if reader.cells.problems:
        raise InputError(first_of(reader.cells.problems))
    return RecordedScores(
        baseline=next(iter(reader.scores)),
        scores={prompt: dict(sorted(row.items())) for prompt, row in sorted(reader.scores.items())},
        factors=dict(sorted(reader.factors.items())),
        test_scores=dict(sorted(reader.test_scores.items())),
    )


def _column_problems(table: Table, ignored: tuple[str, ...]) -> Iterable[Problem]:
    if not table.records:
        if not table.problems:
            yield Problem(file=table.file, message="expected at least one score, found none")
        return
    yield from (table.missing(name) for name in _NEEDED if name not in table.columns)
    for name in ignored:
        if name in _NEEDED:
            message = f"{name!r} is needed and cannot be ignored"
            yield Problem(file="", field="--ignore", message=message)
        elif name not in table.columns:
            message = f"{table.file} has no column {name!r}{did_you_mean(name, table.columns)}"
            yield Problem(file="", field="--ignore", message=message)


class _Reader:
    """Takes record by record, and notes what is wrong with each."""

    def __init__(self, file: str, factors: list[str], *, with_test: bool) -> None:
        self.scores: dict[str, dict[str, float]] = {}
        self.factors: dict[str, dict[str, str]] = {}
        self.test_scores: dict[str, float] = {}
        self.cells = Cells(file)
        self._names = factors
        self._with_test = with_test
        self._lines: dict[tuple[str, str], int] = {}

    def take(self, record: Record) -> None:
        prompt, example = (self.cells.named(record, name) for name in ("prompt_id", "example_id"))
        if prompt is None or example is None:
            return
        first = self._lines.setdefault((prompt, example), record.line)
        if first != record.line:
            message = f"expected one score of {prompt[:60]!r} on this example, found another on line {first}"
            self.cells.note(record, "example_id", message)
        score = self.cells.score(record, "score")
        if score is not None:
            self.scores.setdefault(prompt, {})[example] = score
        for name in self._names:
            # No CSV file can hold null or leave a cell out: where another file does, it says what an empty cell says.
            level = "" if record.values.get(name) is None else self.cells.text(record, name)
            known = self.factors.setdefault(prompt, {}).setdefault(name, level or "")
            if level is not None and level != known:
                message = (
                    f"expected {known[:60]!r} as in the other rows of {prompt[:60]!r}, found {level[:60]!r}"
                )
                self.cells.note(record, name, message)
        self.factors.setdefault(prompt, {})
        self._take_test_score(record, prompt)

    def _take_test_score(self, record: Record, prompt: str) -> None:
        value = record.values.get("test_score")
        if not self._with_test or value is None or value == "":
            return
        score = self.cells.score(record, "test_score")
        if score is not None and self.test_scores.setdefault(prompt, score) != score:
            message = f"expected {self.test_scores[prompt]:g} as in the other rows of {prompt[:60]!r}, found {score:g}"
            self.cells.note(record, "test_score", message)
