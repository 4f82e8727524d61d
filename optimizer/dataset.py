"""Examples: the rows of tables, checked against the task, divided into splits once and for all.

The split is a function of the examples and the seed, never of the order of rows: within each label, groups are
ordered by a hash and go to test first, then to validation, then to train. Where train and validation meet does
not change test. Rows are of one group if they have one value of the group's column, or inputs that are equal or near
duplicates (`optimizer.duplicates`).
"""

from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from optimizer.digest import digest
from optimizer.duplicates import Text, fold, pairs_within, templates
from optimizer.errors import InputError, Problem
from optimizer.rows import Row, rows_of
from optimizer.splits import apportion, totals, usual_splits
from optimizer.task import Task, shown
from optimizer.taskfile import SPLITS, SplitName

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
        target: The right answer in its canonical form; of several targets an object, as JSON.
        group: What it shares with its relatives, all of which are in one split; None when it has none.
        slices: Column and value of what results are told apart by; no part of the example itself.
    """

    id: str
    inputs: tuple[tuple[str, str], ...]
    target: str
    group: str | None
    slices: tuple[tuple[str, str], ...] = ()

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
    families = _related_rows(rows, task)
    near = _near(rows, families, task)
    for one, other in near:
        families.join(one, other)
    groups = _groups(rows, families, task)
    divided = _by_file(groups, rows) if _has_a_file_per_split(task) else _cut(groups, task)
    splits = _dealt(divided, task)
    if problems := list(_too_small(splits, task, len(rows))):
        raise InputError(problems)
    return Dataset(**splits, warnings=tuple(_warnings(rows, near, task)))


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


def _read(task: Task) -> tuple[list[Row], list[Problem]]:
    """Return the rows of all files, and what is wrong with each by itself."""
    found = [item for index, path in enumerate(task.paths) for item in rows_of(path, index, task)]
    rows = [item for item in found if isinstance(item, Row)]
    return rows, [item for item in found if isinstance(item, Problem)]


def _give_ids(rows: Sequence[Row], task: Task) -> None:
    """Give every row without an id the hash of its inputs, numbered where inputs repeat."""
    seen: Counter[str] = Counter()
    for row in rows:
        inputs = row.inputs(task)
        if inputs is not None and "id" not in row.cells:
            stem = digest(dict(zip(task.inputs, inputs, strict=True)))[:16]
            seen[stem] += 1
            row.cells["id"] = stem if seen[stem] == 1 else f"{stem}-{seen[stem]}"


def _clashes(rows: Sequence[Row], task: Task) -> Iterator[Problem]:
    """Yield the mistakes that take two rows: one id twice, one example in two splits or with two targets."""
    first: dict[object, Row] = {}
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


def _relations(row: Row, task: Task) -> Iterator[tuple[str, object]]:
    """Yield what a row shares with those that must be in its split: folded inputs, the value of its group."""
    inputs = row.inputs(task)
    if inputs is not None:
        named = zip(task.inputs, inputs, strict=True)
        yield "inputs", tuple(text if name in task.images else fold(text) for name, text in named)
    if group := _group_value(row, task):
        yield "group", group


def _group_value(row: Row, task: Task) -> str:
    """Return the value of the group column, "" for none."""
    return row.about.get(task.dataset.group, "").strip() if task.dataset.group is not None else ""


def _warnings(rows: Sequence[Row], near: Sequence[tuple[int, int]], task: Task) -> Iterator[str]:
    equal = Counter(key for row in rows for kind, key in _relations(row, task) if kind == "inputs")
    twins = [count for count in equal.values() if count > 1]
    alike = "equal inputs, apart from case, spaces and character width"
    yield from _grouped(twins, alike)
    families = _Families(len(rows))
    for one, other in near:
        families.join(one, other)
    yield from _grouped(families.sizes(), "nearly equal inputs, with nine in ten of their 5-grams in common")


def _grouped(sizes: Sequence[int], alike: str) -> Iterator[str]:
    if sizes:
        groups = f"{len(sizes)} group{'s' * (len(sizes) > 1)}"
        yield f"{sum(sizes)} examples form {groups} of {alike}; each group stays in one split"


class _Families:
    """Rows by their numbers that share something, directly or by way of others (union-find)."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def root(self, index: int) -> int:
        """Return the row that stands for the family of a row."""
        while self._parent[index] != index:
            self._parent[index] = index = self._parent[self._parent[index]]
        return index

    def join(self, one: int, other: int) -> None:
        """Make one family of two."""
        self._parent[self.root(one)] = self.root(other)

    def sizes(self) -> list[int]:
        """Return how many rows are in each family of more than one."""
        counts = Counter(map(self.root, range(len(self._parent))))
        return [count for count in counts.values() if count > 1]


def _related_rows(rows: Sequence[Row], task: Task) -> _Families:
    """Return the families of rows with equal inputs or one group value."""
    families = _Families(len(rows))
    first: dict[object, int] = {}
    for index, row in enumerate(rows):
        for relation in _relations(row, task):
            families.join(index, first.setdefault(relation, index))
    return families


def _near(rows: Sequence[Row], families: _Families, task: Task) -> list[tuple[int, int]]:
    """Return the pairs of rows of one file whose inputs are near duplicates, one of each set of equal ones.

    Those in two files are not for us to part or to join: they are told as leaks. Images are alike if they are equal.
    """
    first: dict[object, int] = {}
    for index, row in enumerate(rows):
        first.setdefault(
            (row.split, *(key for kind, key in _relations(row, task) if kind == "inputs")), index
        )
    places = sorted(first.values())
    texts = [_compared(rows[place], task) for place in places]
    phrases = templates(texts, [str(families.root(place)) for place in places])
    found = pairs_within([Text.of(text, phrases) for text in texts])
    near = [(rows[places[pair.one]], rows[places[pair.other]], pair) for pair in found]
    return [
        (places[pair.one], places[pair.other])
        for one, other, pair in near
        if one.split == other.split and all(one.cells[name] == other.cells[name] for name in task.images)
    ]


def _compared(row: Row, task: Task) -> str:
    return fold(" ".join(row.cells[name] for name in task.inputs if name not in task.images))


def _groups(rows: Sequence[Row], families: _Families, task: Task) -> list[list[Example]]:
    """Return the examples, family by family."""
    members: dict[int, list[Row]] = {}
    for index, row in enumerate(rows):
        members.setdefault(families.root(index), []).append(row)
    return [_related(group, task) for group in members.values()]


def _related(rows: list[Row], task: Task) -> list[Example]:
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
            slices=tuple((name, row.about[name]) for name in task.slices),
        )
        for row in rows
    ]


def _stratum(example: Example, task: Task) -> int:
    return task.labels.index(example.target) if task.output == "label" else 0


def _by_file(groups: list[list[Example]], rows: Sequence[Row]) -> Iterator[tuple[SplitName, Example]]:
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
