"""Examples: the rows of tables, checked against the task, divided into splits once and for all.

The split is a function of the examples and the seed, never of the order of rows: within each label, groups are
ordered by a hash and go to test first, then to validation, then to train. Where train and validation meet does
not change test.
"""

import unicodedata
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from optimizer.answer import find_number
from optimizer.digest import digest
from optimizer.errors import InputError, Problem
from optimizer.splits import apportion, totals, usual_splits
from optimizer.table import Number, Record, read_table
from optimizer.task import SPLITS, SplitName, Task, shown

MAX_PROBLEMS = 50  # more than anybody mends in one go; the others are counted
MIN_TEST = 6
MIN_VALIDATION = 5  # fewer cannot tell wordings apart
MIN_CROSS_VALIDATION = 10  # with fewer a fold of five has a single example

_WHY_MIN_TEST = "with fewer no exact paired test can reach p < 0.05 (2 × 0.5^6 = 0.031)"
_CUT_ORDER: tuple[SplitName, ...] = ("test", "validation", "train")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One row.

    Attributes:
        id: Stable, and unique in the data set.
        inputs: Column and text, in the order the task lists the columns.
        target: The right answer; a number is in its shortest decimal form.
        group: What it shares with its relatives, all of which are in one split; None when it has none.
    """

    id: str
    inputs: tuple[tuple[str, str], ...]
    target: str
    group: str | None

    @property
    def values(self) -> dict[str, str]:
        """Return the inputs by column."""
        return dict(self.inputs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """The splits, each in its one order: by hash, dealt label by label, so that every prefix is balanced."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    warnings: tuple[str, ...]

    @property
    def test_digest(self) -> str:
        """Return the digest of the test examples alone: the same test, whatever else is made of the rest."""
        return digest(sorted([e.id, e.values, e.target] for e in self.test))

    @property
    def digest(self) -> str:
        """Return the digest of ids, inputs and targets, and of who is in which split."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return digest(
            {name: sorted([e.id, e.values, e.target] for e in split) for name, split in splits.items()}
        )


def clusters_of(examples: Sequence[Example]) -> list[str] | None:
    """Return what each example is counted with: its group, or itself; None where nothing is grouped."""
    if all(example.group is None for example in examples):
        return None
    return [f"id {example.id}" if example.group is None else f"group {example.group}" for example in examples]


def group_sizes(examples: Sequence[Example]) -> list[int] | None:
    """Return how many examples are counted together, group by group; None where nothing is grouped."""
    clusters = clusters_of(examples)
    return None if clusters is None else list(Counter(clusters).values())


class _Row(NamedTuple):
    """The columns in use of one row; a cell with a mistake is left out."""

    file: str
    line: int
    split: int  # the index of its file, which is its split when there are three
    cells: dict[str, str]

    def problem(self, column: str, message: str) -> Problem:
        return Problem(file=self.file, line=self.line, field=column, message=message)

    def place(self, *, seen_from: "_Row") -> str:
        return f"line {self.line}" if self.file == seen_from.file else f"{self.file}:{self.line}"

    def inputs(self, task: Task) -> tuple[str, ...] | None:
        """Return the inputs, or None when one of them has a mistake."""
        texts = tuple(self.cells[name] for name in task.inputs if name in self.cells)
        return texts if len(texts) == len(task.inputs) else None


def load_dataset(task: Task) -> Dataset:
    """Return the examples of a task in their splits.

    Counts that add up to less than there is leave the rest in no split. Groups are never divided, so a share
    or count may be missed by part of a group.

    Raises:
        InputError: With every mistake in the files, or why they cannot be divided as asked.
    """
    rows, problems = _read(task)
    _give_ids(rows, task)
    problems += _clashes(rows, task)
    if problems:
        raise _input_error(problems, task)
    groups = _groups(rows, task)
    divided = _by_file(groups, rows) if _has_a_file_per_split(task) else _cut(groups, task)
    splits = _dealt(divided, task)
    if problems := list(_too_small(splits, task, len(rows))):
        raise InputError(problems)
    return Dataset(**splits, warnings=tuple(_warnings(rows, task)))


def _has_a_file_per_split(task: Task) -> bool:
    return len(task.paths) == len(SPLITS)


def _input_error(problems: list[Problem], task: Task) -> InputError:
    """Return the first mistakes in the order of files and lines, and the number of the others."""
    files = [shown(path) for path in task.paths]
    problems.sort(key=lambda problem: (files.index(problem.file), problem.line or 0))
    n_more = len(problems) - MAX_PROBLEMS
    if n_more > 0:
        problems[MAX_PROBLEMS:] = [Problem(file="", message=f"and {n_more} more mistake{'s' * (n_more > 1)}")]
    return InputError(problems)


def _read(task: Task) -> tuple[list[_Row], list[Problem]]:
    """Return the rows of all files, and what is wrong with each by itself."""
    found = [item for index, path in enumerate(task.paths) for item in _rows(path, index, task)]
    rows = [item for item in found if isinstance(item, _Row)]
    return rows, [item for item in found if isinstance(item, Problem)]


def _rows(path: Path, index: int, task: Task) -> Iterator[_Row | Problem]:
    """Yield the rows and the mistakes of one file."""
    table = read_table(path, shown(path))
    yield from table.problems
    if not table.records:
        if not table.problems:
            yield Problem(file=table.file, message="expected at least one example, found none")
        return
    known = table.columns
    optional = [task.dataset.group] if task.dataset.group else []
    used = dict.fromkeys([*task.inputs, task.target, *optional, *(["id"] if "id" in known else [])])
    yield from (table.missing(name) for name in used if name not in known)
    for record in table.records:
        row = _Row(table.file, record.line, index, {})
        yield from _fill(row, record, [name for name in used if name in known], task)
        yield row


def _fill(row: _Row, record: Record, columns: Iterable[str], task: Task) -> Iterator[Problem]:
    """Put the sound cells of a record into a row; yield what is wrong with the others."""
    for name in columns:
        try:
            row.cells[name] = _cell(record, name, task)
        except ValueError as error:
            yield row.problem(name, str(error))
    inputs = row.inputs(task)
    if inputs is not None and not "".join(inputs).strip():
        yield row.problem(", ".join(task.inputs), "expected some text, found none")


def _cell(record: Record, name: str, task: Task) -> str:
    """Return one cell as an example has it.

    Raises:
        ValueError: Saying what was expected and what was found.
    """
    text = record.text(name)
    if name == "id" and (isinstance(record.values[name], Number) or not text.strip()):
        raise ValueError(f"expected some text, found {text.strip()[:60] or 'none'}")
    if name != task.target:
        return text
    if mistake := task.target_problem(text):
        raise ValueError(mistake)
    return find_number(text) or text if task.output == "number" else text


def _give_ids(rows: Sequence[_Row], task: Task) -> None:
    """Give every row without an id the hash of its inputs, numbered where inputs repeat."""
    seen: Counter[str] = Counter()
    for row in rows:
        inputs = row.inputs(task)
        if inputs is not None and "id" not in row.cells:
            stem = digest(dict(zip(task.inputs, inputs, strict=True)))[:16]
            seen[stem] += 1
            row.cells["id"] = stem if seen[stem] == 1 else f"{stem}-{seen[stem]}"


def _clashes(rows: Sequence[_Row], task: Task) -> Iterator[Problem]:
    """Yield the mistakes that take two rows: one id twice, one example in two splits or with two targets."""
    first: dict[object, _Row] = {}
    columns = {"inputs": ", ".join(task.inputs), "group": task.dataset.group or ""}
    for row in rows:
        name, inputs, target = row.cells.get("id"), row.inputs(task), row.cells.get(task.target)
        other = first.setdefault(("id", name), row)
        if name is not None and other is not row:
            place = other.place(seen_from=row)
            yield row.problem("id", f"expected an id of its own, found {name[:60]!r} again, first on {place}")
        for kind, key in _relations(row, task):
            other, here = first.setdefault((kind, key), row), first.setdefault((kind, key, row.split), row)
            if other.split != row.split and here is row:
                place = f"{SPLITS[other.split]} ({other.place(seen_from=row)})"
                yield row.problem(
                    columns[kind], f"expected in one split only, found the same {kind} in {place}"
                )
        if inputs is None or target is None:
            continue
        other = first.setdefault(("exact", row.split, inputs), row)
        if other.cells[task.target] != target:
            same = f"{other.cells[task.target][:60]!r} as for the same inputs on {other.place(seen_from=row)}"
            yield row.problem(task.target, f"expected {same}, found {target[:60]!r}")


def _relations(row: _Row, task: Task) -> Iterator[tuple[str, object]]:
    """Yield what a row shares with those that must be in its split: folded inputs, the value of its group."""
    inputs = row.inputs(task)
    if inputs is not None:
        folded = (unicodedata.normalize("NFKC", text).casefold() for text in inputs)
        yield "inputs", tuple(" ".join(text.split()) for text in folded)
    if group := _group_value(row, task):
        yield "group", group


def _group_value(row: _Row, task: Task) -> str:
    """Return the value of the group column, "" for none."""
    return row.cells.get(task.dataset.group, "").strip() if task.dataset.group is not None else ""


def _warnings(rows: Sequence[_Row], task: Task) -> Iterator[str]:
    near = Counter(key for row in rows for kind, key in _relations(row, task) if kind == "inputs")
    twins = [count for count in near.values() if count > 1]
    if twins:
        groups = f"{len(twins)} group{'s' * (len(twins) > 1)}"
        alike = "equal inputs, apart from case, spaces and character width"
        yield f"{sum(twins)} examples form {groups} of {alike}; each group stays in one split"


def _groups(rows: Sequence[_Row], task: Task) -> list[list[Example]]:
    """Return the examples in groups that share something, directly or by way of others (union-find)."""
    parent = list(range(len(rows)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    first: dict[object, int] = {}
    for index, row in enumerate(rows):
        for relation in _relations(row, task):
            parent[root(index)] = root(first.setdefault(relation, index))
    members: dict[int, list[_Row]] = {}
    for index, row in enumerate(rows):
        members.setdefault(root(index), []).append(row)
    return [_related(group, task) for group in members.values()]


def _related(rows: list[_Row], task: Task) -> list[Example]:
    """Return the examples of one group by id; it is named after its smallest group value, else smallest id."""
    rows = sorted(rows, key=lambda row: row.cells["id"])
    values = {_group_value(row, task) for row in rows} - {""}
    group = min(values) if values else rows[0].cells["id"] if len(rows) > 1 else None
    return [
        Example(
            id=row.cells["id"],
            inputs=tuple((name, row.cells[name]) for name in task.inputs),
            target=row.cells[task.target],
            group=group,
        )
        for row in rows
    ]


def _stratum(example: Example, task: Task) -> int:
    return task.labels.index(example.target) if task.labels else 0


def _by_file(groups: list[list[Example]], rows: Sequence[_Row]) -> Iterator[tuple[SplitName, Example]]:
    """Yield the examples with the split whose file they stand in."""
    home = {row.cells["id"]: SPLITS[row.split] for row in rows}
    yield from ((home[example.id], example) for group in groups for example in group)


def _cut(groups: list[list[Example]], task: Task) -> Iterator[tuple[SplitName, Example]]:
    """Yield the examples with the split each falls in; those past the counts fall in none."""
    strata: list[list[list[Example]]] = [[] for _ in task.labels or ("",)]
    for group in groups:
        strata[_stratum(group[0], task)].append(group)
    left = [sum(map(len, stratum)) for stratum in strata]
    quotas = []
    for total in _totals(sum(left), task):
        quotas.append(apportion(total, left))
        left = [before - quota for before, quota in zip(left, quotas[-1], strict=True)]
    for stratum, quota in zip(strata, zip(*quotas, strict=True), strict=True):
        start, ends = 0, list(accumulate(quota))
        for group in _shuffled(stratum, task.dataset.seed):
            part = bisect(ends, start + len(group) / 2)  # a group goes where its middle lies
            start += len(group)
            if part < len(ends):
                yield from ((_CUT_ORDER[part], example) for example in group)


def _shuffled(groups: list[list[Example]], seed: int) -> list[list[Example]]:
    return sorted(groups, key=lambda group: (digest([seed, group[0].group or group[0].id]), group[0].id))


def _totals(n: int, task: Task) -> list[int]:
    """Return how many examples each split shall have, in the order of cutting."""
    try:
        return totals(n, task.dataset.splits or usual_splits(n), _CUT_ORDER)
    except ValueError as error:
        raise InputError([task.source.problem(("dataset", "splits"), str(error))]) from error


def _dealt(divided: Iterable[tuple[SplitName, Example]], task: Task) -> dict[SplitName, tuple[Example, ...]]:
    """Return the splits, the examples of each by hash, dealt label by label."""
    splits: dict[SplitName, list[Example]] = {name: [] for name in SPLITS}
    for name, example in divided:
        splits[name].append(example)
    return {name: _in_rounds(examples, task) for name, examples in splits.items()}


def _in_rounds(examples: list[Example], task: Task) -> tuple[Example, ...]:
    by_hash = sorted(examples, key=lambda example: (digest([task.dataset.seed, example.id]), example.id))
    rounds: list[tuple[int, int, Example]] = []
    n_dealt: Counter[int] = Counter()
    for example in by_hash:
        stratum = _stratum(example, task)
        rounds.append((n_dealt[stratum], stratum, example))
        n_dealt[stratum] += 1
    return tuple(example for _, _, example in sorted(rounds, key=lambda place: place[:2]))


def _too_small(splits: Mapping[SplitName, tuple[Example, ...]], task: Task, n: int) -> Iterator[Problem]:
    asked = task.dataset.splits or usual_splits(n)
    least = {"train": int(asked.train != 0), "validation": MIN_VALIDATION, "test": MIN_TEST}
    groups = len(set(clusters_of(splits["validation"]) or splits["validation"]))
    if asked.test == 0 and len(splits["validation"]) >= MIN_CROSS_VALIDATION > groups * 2:
        message = f"expected at least 5 groups in validation, which cross-validation parts, found {groups}"
        yield task.source.problem(("dataset", "splits", "validation"), message)
    if asked.test == 0:  # no test, and cross-validation in its place
        least |= {"validation": MIN_CROSS_VALIDATION, "test": 0}
    for name in SPLITS:
        if len(splits[name]) < least[name]:
            needed = f"{least[name]} example{'s' * (least[name] > 1)}"
            message = f"expected at least {needed} in {name}, found {len(splits[name])}"
            why = f": {_WHY_MIN_TEST}; `test: 0` asks for cross-validation instead" if name == "test" else ""
            where = ("dataset",) if task.dataset.splits is None else ("dataset", "splits", name)
            yield task.source.problem(where, message + why)
