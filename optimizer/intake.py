"""Intake: the rows of a file as a frozen prompt takes them, checked as a whole before anything is asked.

A prompt names its inputs and does not say of what type their columns are. What it does say, and what a cell is, decide:

| input | a cell is |
|---|---|
| shown as an image | a URL, or a file of the project |
| named as a list | an array of texts, or such an array as JSON text; shown as `[1] ...` |
| any other | text, a number, true or false; or an array of texts (JSON Lines, Parquet), shown as a list |

An input is optional, and its cell may be empty, where each of its places in the prompt has a caption that goes when
the value does. Rows are read one at a time, however many there are.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from optimizer.cells import cell_of, id_of
from optimizer.digest import digest
from optimizer.errors import InputError, Problem
from optimizer.prompt import PromptTemplate
from optimizer.record import Record, nearest
from optimizer.table import stream_table

# Mistakes that are told one by one; how many more there are is told as well.
MOST_TOLD = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row, ready to be asked about.

    Attributes:
        number: Which row it is, from 1.
        inputs: The texts of the prompt's inputs.
        record: The row as it was read.
    """

    number: int
    inputs: Mapping[str, str]
    record: Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What a file without mistakes holds.

    Attributes:
        n: Rows.
        columns: All of its columns, in order of first appearance.
    """

    n: int
    columns: tuple[str, ...]

    @property
    def has_ids(self) -> bool:
        """Return whether rows have an id of their own."""
        return "id" in self.columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Intake:
    """How the rows of a file become a prompt's inputs.

    Attributes:
        path: The file.
        file: The path as the user knows it.
        kinds: Text, list or image, by input.
        optional: The inputs that may be empty.
        kept: Other columns whose cells are copied; None stands for all of them.
    """

    path: Path
    file: str
    kinds: Mapping[str, str]
    optional: frozenset[str]
    kept: tuple[str, ...] | None = ()

    @property
    def digest(self) -> str:
        """Return what tells this way of reading from another, whatever the file."""
        kept = None if self.kept is None else list(self.kept)
        return digest([dict(self.kinds), sorted(self.optional), kept])

    def rows(self, *, after: int = 0) -> Iterator[Row]:
        """Yield the rows after the first ones, of a file that was checked.

        Raises:
            InputError: There is a mistake, because the file has changed since.
        """
        for number, record in enumerate(stream_table(self.path, self.file), start=1):
            if isinstance(record, Problem):
                raise InputError([record])
            if number > after:
                found: list[Problem] = []
                inputs = self._inputs(record, found)
                if found:
                    raise InputError(found)
                yield Row(number=number, inputs=inputs, record=record)

    def check(self, watch: Callable[[Mapping[str, str]], None]) -> Checked:
        """Read the whole file and return what it holds.

        Args:
            watch: Told the inputs of each row.

        Raises:
            InputError: With every mistake: columns that are missing, and the lines of rows that cannot be asked about.
        """
        mistakes = _Mistakes()
        columns, having, n = Counter[str](), 0, 0
        without_id: int | None = None
        for record in stream_table(self.path, self.file):
            if isinstance(record, Problem):
                mistakes.add(record)
                continue
            n += 1
            columns.update(dict.fromkeys(record.values, 1))
            having += "id" in record.values
            without_id = record.line if "id" not in record.values and without_id is None else without_id
            found: list[Problem] = []
            inputs = self._inputs(record, found)
            self._check_copied(record, found)
            mistakes.add(*found)
            if not found:
                watch(inputs)
        if having and having < n:
            message = "expected an id, as other rows have one, found none"
            mistakes.add(Problem(file=self.file, line=without_id, field="id", message=message))
        if not n and not mistakes.n:
            mistakes.add(Problem(file=self.file, message="expected at least one row, found none"))
        known = tuple(columns)
        named = dict.fromkeys([*self.kinds, *(self.kept or ())])
        mistakes.close(self.file, [name for name in named if n and name not in columns], known)
        return Checked(n=n, columns=known)

    def _inputs(self, record: Record, found: list[Problem]) -> dict[str, str]:
        """Return the inputs of a row; puts what is wrong with it into `found`."""
        inputs: dict[str, str] = {}
        for name, kind in self.kinds.items():
            is_list = kind == "list" or (kind == "text" and isinstance(record.values.get(name), list))
            try:
                inputs[name] = cell_of(
                    record,
                    name,
                    kind="list" if is_list else kind,
                    optional=name in self.optional,
                    file=self.path,
                )
            except ValueError as error:
                needed = self._needed(name) if record.empty(name) or record.values[name] == [] else ""
                found.append(self._problem(record, name, f"{error}{needed}"))
        if not found and not any(text.strip() for text in inputs.values()):
            message = f"expected some text, found none{self._needed(*self.kinds)}"
            found.append(self._problem(record, ", ".join(self.kinds), message))
        return inputs

    def _needed(self, *names: str) -> str:
        """Return which of some inputs are not optional, to go behind a message."""
        needed = [f"`{name}`" for name in names if name not in self.optional]
        verb = "input {} is" if len(needed) == 1 else "inputs {} are"
        return f"; the prompt's {verb.format(', '.join(needed))} not optional" if needed else ""

    def _check_copied(self, record: Record, found: list[Problem]) -> None:
        if "id" in record.values:
            found += self._mistake(record, "id", partial(id_of, record))
        for name in record.values if self.kept is None else self.kept:
            if name in record.values:
                found += self._mistake(record, name, partial(record.content, name))

    def _mistake(self, record: Record, name: str, read: Callable[[], object]) -> list[Problem]:
        try:
            read()
        except ValueError as error:
            return [self._problem(record, name, str(error))]
        return []

    def _problem(self, record: Record, field: str, message: str) -> Problem:
        return Problem(file=self.file, line=record.line, field=field, message=message)


class _Mistakes:
    """The first mistakes of a file, and how many there are."""

    def __init__(self) -> None:
        self.n = 0
        self._told: list[Problem] = []

    def add(self, *problems: Problem) -> None:
        self.n += len(problems)
        self._told += problems[: max(0, MOST_TOLD - len(self._told))]

    def close(self, file: str, missing: Sequence[str], known: Sequence[str]) -> None:
        """Raise what was found; a column that no row has is one mistake, and not one in every row.

        Raises:
            InputError: When anything was.
        """
        problems = [
            Problem(
                file=file,
                line=1,
                field=name,
                message=f"expected a column of this name, found none{nearest(name, known)}",
            )
            for name in missing
        ]
        told = [problem for problem in self._told if problem.field not in missing]
        more = self.n - len(self._told)
        if more and told:
            told.append(Problem(file=file, message=f"and {more:,} more mistakes in the rows after these"))
        if problems or told:
            raise InputError([*problems, *told])


def intake_of(
    template: PromptTemplate,
    path: Path,
    *,
    lists: Sequence[str] = (),
    kept: Sequence[str] | None = (),
) -> Intake:
    """Return how the rows of a file become the inputs of a prompt.

    Args:
        lists: Inputs whose cells are lists.
        kept: Other columns to copy; None stands for all of them.

    Raises:
        InputError: When a list is no input, or shown as an image.
    """
    places = [
        (hole.name.partition(":")[2], hole) for hole in template.holes() if hole.name.startswith("input:")
    ]
    images = {name for name, hole in places if hole.image}
    bare = {name for name, hole in places if not (hole.lead or hole.tail)}
    inputs = template.inputs
    problems = [
        Problem(file="", field="--list", message=f"the prompt has no input {name!r}{nearest(name, inputs)}")
        if name not in inputs
        else Problem(file="", field="--list", message=f"the prompt shows {name!r} as an image")
        for name in lists
        if name not in inputs or name in images
    ]
    if problems:
        raise InputError(problems)
    kinds = {name: "image" if name in images else "list" if name in lists else "text" for name in inputs}
    return Intake(
        path=path,
        file=str(path),
        kinds=kinds,
        optional=frozenset({name for name, _ in places} - bare),
        kept=None if kept is None else tuple(name for name in dict.fromkeys(kept) if name != "id"),
    )
