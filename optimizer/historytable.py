"""The score history as a table: read from whatever holds it, with one type for each column.

A study's database knows more of a trial than the frozen prompt: its fingerprint, which `history.csv` has, too, whether
it keeps the study's constraints, and whether another attempt may bring what is missing. These columns come last, and
from where they are known alone.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from optimizer.archive import Archive, open_archive
from optimizer.document import write_atomically
from optimizer.errors import InputError, Problem
from optimizer.frozen import FrozenPrompt, text_of
from optimizer.history import history_csv, history_entry
from optimizer.parquet import MISSING, can_write_parquet, parquet_records, write_parquet
from optimizer.record import Record

if TYPE_CHECKING:
    from pandas import DataFrame

Cell = str | int | float | bool | None
Entry = Mapping[str, Cell]

# What each column of a history holds. Any other is a decoding parameter, whose values tell what they are.
TYPES: Mapping[str, type] = {
    "trial": int,
    "state": str,
    "stage": str,
    "digest": str,
    "instruction_id": str,
    "demonstrations_id": str,
    "style": str,
    "format": str,
    "n": int,
    "score": float,
    "lower": float,
    "upper": float,
    "valid": float,
    "errors": int,
    "calls": int,
    "cached": int,
    "prompt_tokens": int,
    "completion_tokens": int,
    "cost_usd": float,
    "parents": str,
    "fingerprint": str,
    "feasible": bool,
    "outage": bool,
}

_NEEDED = ("trial", "state", "stage", "digest", "n", "score")
_POINT = ("instruction", "demonstrations", "style", "format")

# What pandas calls each type. Floats are plain: what is missing is NaN, as every plot takes it.
_DTYPES = {str: "string", int: "Int64", float: "float64", bool: "boolean"}


def load_history(path: str | PathLike[str]) -> "DataFrame":
    """Return the score history of a study, a row for each trial, in trial order.

    Whole numbers are `Int64`, other numbers `float64`, truth values `boolean`, all else `string`, ids among them. What
    is missing is NaN in floats and NA elsewhere. `parents` is a text: the ids of the parents with a space between.

    Args:
        path: A frozen prompt, `history.csv` or its like in Parquet, a study's database, its folder or its file.

    Raises:
        InputError: When there is no history there, or what is there is none.
    """
    import pandas as pd

    entries = history_entries(Path(path))
    types = column_types(entries)
    columns = {
        name: pd.array([entry.get(name) for entry in entries], dtype=_DTYPES[kind])  # type: ignore[call-overload]  # of a name that is only known at run time
        for name, kind in types.items()
        if kind is not float
    }
    columns |= {
        name: [float("nan") if (cell := entry.get(name)) is None else cell for entry in entries]
        for name, kind in types.items()
        if kind is float
    }
    table = pd.DataFrame({name: columns[name] for name in types})
    return table.astype({name: "float64" for name, kind in types.items() if kind is float})


def history_entries(path: Path) -> list[Entry]:
    """Return the rows of a history by column, each cell of the column's type or None.

    Raises:
        InputError: As `load_history`.
    """
    found = _source(path)
    if found.suffix == ".db":
        with open_archive(found) as archive:
            return entries_of(archive)
    if found.suffix == ".csv":
        return _read_csv(found)
    if found.suffix == ".parquet":
        return _read_parquet(found)
    return [dict(_typed(row)) for row in FrozenPrompt.load(found).history]


def entries_of(archive: Archive) -> list[Entry]:
    """Return the rows of the study in a database."""
    parameters = list(
        dict.fromkeys(name for row in archive.trials for name in row.point if name not in _POINT)
    )
    return [
        {
            **dict(_typed(history_entry(row, parameters))),
            "fingerprint": row.fingerprint,
            "feasible": row.feasible,
            "outage": row.outage,
        }
        for row in archive.trials
    ]


def column_types(entries: Sequence[Entry]) -> dict[str, type]:
    """Return what each column holds; a decoding parameter is a number where all its values are."""
    names = list(dict.fromkeys(name for entry in entries for name in entry)) or list(TYPES)
    return {name: TYPES.get(name) or _kind_of(entry.get(name) for entry in entries) for name in names}


def write_history(path: Path, entries: Sequence[Entry]) -> None:
    """Write rows as `.csv` or `.parquet`, which the suffix tells.

    Raises:
        InputError: When the suffix is another one, there are no rows, or the file cannot be written.
    """
    problem = None
    if path.suffix not in (".csv", ".parquet"):
        problem = f"expected a name that ends in .csv or .parquet, found {path.name!r}"
    elif path.suffix == ".parquet" and not can_write_parquet():
        problem = MISSING
    elif not entries:
        problem = "there is no trial to write yet"
    if problem is not None:
        raise InputError([Problem(file="", field="--output", message=problem)])
    try:
        if path.suffix == ".csv":
            write_atomically(path, history_csv(entries))
        else:
            types = column_types(entries)
            rows = [{name: _as(entry.get(name), kind) for name, kind in types.items()} for entry in entries]
            write_parquet(path, [rows], types)
    except OSError as error:
        raise InputError([Problem(file=str(path), message=f"cannot be written: {error.strerror}")]) from error


def _source(path: Path) -> Path:
    """Return the file that a path means: of a folder the database, which is newest, else the prompt, else the table."""
    if not path.exists():
        raise InputError([Problem(file=str(path), message="there is no such file or folder")])
    if path.is_file() and path.suffix not in (".yaml", ".yml"):
        return path
    folder = path if path.is_dir() else path.parent
    for name in ("study.db", "prompt.json", "history.parquet", "history.csv"):
        if (folder / name).is_file():
            return folder / name
    message = "no history yet: there is neither study.db nor prompt.json nor history.csv; `optimizer run` makes them"
    raise InputError([Problem(file=str(path), message=message)])


def _read_csv(path: Path) -> list[Entry]:
    reader = csv.DictReader(io.StringIO(text_of(path), newline=""), restkey="", strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(
            [Problem(file=str(path), line=reader.line_num, message=f"no CSV: {error}")]
        ) from error
    longer = [
        Problem(file=str(path), line=k, message="more cells than columns") for k, row in rows if "" in row
    ]
    if longer:
        raise InputError(longer)
    return _from_texts(path, rows, {})


def _read_parquet(path: Path) -> list[Entry]:
    found = list(parquet_records(path, str(path)))
    problems = [each for each in found if isinstance(each, Problem)]
    if problems:
        raise InputError(problems)
    records = [each for each in found if isinstance(each, Record)]
    cells = [(each.line, each.values) for each in records]  # noqa: PD011  # of a record, not of a table
    rows = [
        (line, {name: None if cell is None else str(cell) for name, cell in row.items()})
        for line, row in cells
    ]
    plain = {
        name: str for _, row in cells for name, cell in row.items() if type(cell) is str and name not in TYPES
    }
    return _from_texts(path, rows, plain)


def _from_texts(
    path: Path, rows: Sequence[tuple[int, Mapping[str, str | None]]], known: Mapping[str, type]
) -> list[Entry]:
    """Return rows whose cells are texts as rows of typed cells.

    Args:
        path: The file.
        rows: Lines and cells by column.
        known: What further columns hold, where the file says it.

    Raises:
        InputError: With every cell that is none of its column, or the columns that a history must have.
    """
    names = list(rows[0][1]) if rows else []
    lacking = [name for name in _NEEDED if name not in names]
    if lacking:
        message = f"is no history: it has no column {', '.join(lacking)}" if rows else "holds no trial"
        raise InputError([Problem(file=str(path), message=message)])
    kinds = {
        name: TYPES.get(name) or known.get(name) or _guessed([row.get(name) for _, row in rows])
        for name in names
    }
    problems, entries = list[Problem](), list[Entry]()
    for line, row in rows:
        entry = dict[str, Cell]()
        for name, kind in kinds.items():
            try:
                entry[name] = _read(row.get(name), kind)
            except ValueError:
                message = f"expected {_NOUNS[kind]}, found {row.get(name)!r}"
                problems.append(Problem(file=str(path), line=line, field=name, message=message))
        entries.append(entry)
    if problems:
        raise InputError(problems)
    return entries


_NOUNS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}


def _read(text: str | None, kind: type) -> Cell:
    """Return the value that a cell holds.

    Raises:
        ValueError: When it is none of that type.
    """
    if text is None or (text == "" and kind is not str):
        return None
    if kind is bool:
        return (
            {"true": True, "false": False}[text.lower()]
            if text.lower() in ("true", "false")
            else _refused(text)
        )
    if kind is int:
        return int(text)
    return _finite(float(text)) if kind is float else text


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(number)
    return number


def _refused(text: str) -> bool:
    raise ValueError(text)


def _guessed(texts: Sequence[str | None]) -> type:
    """Return what a column of texts holds: whole numbers, numbers, or else text."""
    for kind in (int, float):
        try:
            found = [_read(text, kind) for text in texts]
        except ValueError:
            continue
        if any(value is not None for value in found):
            return kind
    return str


def _kind_of(cells: Iterable[Cell]) -> type:
    there = [cell for cell in cells if cell is not None]
    if there and all(type(cell) is int for cell in there):
        return int
    return float if there and all(type(cell) in (int, float) for cell in there) else str


def _typed(row: Mapping[str, object]) -> Iterator[tuple[str, Cell]]:
    """Yield the cells of a row as values of their columns: JSON has no type of its own for whole numbers."""
    for name, value in row.items():
        kind = TYPES.get(name)
        if value is None or isinstance(value, bool):
            yield name, value
        elif isinstance(value, int | float):
            yield name, float(value) if kind is float else value
        else:
            yield name, str(value)


def _as(cell: Cell, kind: type) -> Cell:
    """Return a cell as Parquet takes it: a column of numbers may hold whole ones."""
    if cell is None:
        return None
    return float(cell) if kind is float else str(cell) if kind is str else cell
