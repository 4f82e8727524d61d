"""Records: the rows of tables, whose cells are as they were written."""

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from optimizer.errors import Problem
from optimizer.registry import did_you_mean

_NUMBER = re.compile(r"[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?|[0-9]+\.")
_FIGURES = re.compile(r"(?<![\d.])\d+(?![\d.eE])")  # of a whole number; one with a fraction is a float
_MOST_PROBLEMS = 50  # more than anybody mends in one go; the others are counted


class Number(str):
    """A JSON number, true or false, as the file writes it."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One row.

    Attributes:
        line: Where it begins in its file, from 1; of a Parquet file which row it is.
        values: Column and cell. Every cell of a CSV file is a text; a cell of another file is a text, a `Number`,
            None, a list or a dictionary.
    """

    line: int
    values: Mapping[str, object]

    def text(self, column: str) -> str:
        """Return one cell as text, without NUL characters and halves of surrogate pairs.

        Raises:
            ValueError: Saying what was expected and what was found.
        """
        value = self._cell(column)
        if not isinstance(value, str):
            raise ValueError(f"expected text, a number, true or false, found {kind_of(value)}")
        return _sound(value)

    def content(self, column: str) -> object:
        """Return one cell as JSON means it: a text, a number, true or false, None, a list or a dictionary.

        Raises:
            ValueError: As `text`, of texts at any depth, or a number is too large for a float.
        """
        return _meant(self._cell(column))

    def empty(self, column: str) -> bool:
        """Return whether a cell is missing, null, or blank text."""
        value = self.values.get(column)
        return value is None or (isinstance(value, str) and not value.strip())

    def _cell(self, column: str) -> object:
        if column not in self.values:
            raise ValueError(f"expected this key, found none{nearest(column, self.values)}")
        return self.values[column]


class Cells:
    """Takes single cells of records, and notes what is wrong with them.

    Attributes:
        problems: All mistakes so far, in the order in which they were met.
    """

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file

    def text(self, record: Record, column: str) -> str | None:
        """Return a cell as text, or None and a note."""
        try:
            return record.text(column)
        except ValueError as error:
            self.note(record, column, str(error))
            return None

    def named(self, record: Record, column: str) -> str | None:
        """Return a cell that must not be blank, or None and a note."""
        text = self.text(record, column)
        if text is not None and not text.strip():
            self.note(record, column, "expected some text, found none")
            return None
        return text

    def score(self, record: Record, column: str) -> float | None:
        """Return a number in [0, 1], or None and a note."""
        text = self.text(record, column)
        if text is None:
            return None
        number = float(text) if _NUMBER.fullmatch(text.strip()) else -1.0
        if not 0 <= number <= 1:
            self.note(record, column, f"expected a score in [0, 1], found {text[:60] or 'none'}")
            return None
        return number

    def note(self, record: Record, column: str, message: str) -> None:
        """Note a mistake in a cell."""
        self.problems.append(Problem(file=self._file, line=record.line, field=column, message=message))


def first_of(problems: list[Problem]) -> list[Problem]:
    """Return the mistakes that are told, and in place of further ones how many there are."""
    n_more = len(problems) - _MOST_PROBLEMS
    if n_more <= 0:
        return problems
    more = Problem(file="", message=f"and {n_more} more mistake{'s' * (n_more > 1)}")
    return [*problems[:_MOST_PROBLEMS], more]


def _sound(text: str) -> str:
    """Return a text as it is.

    Raises:
        ValueError: It holds what no text should.
    """
    if "\0" in text:
        raise ValueError("expected text, found a NUL character in it")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("expected text, found half of a surrogate pair in it")
    return str(text)


def too_many_figures(text: str) -> str:
    """Return what is wrong with a JSON text that has a whole number longer than Python reads, "" where none is."""
    most = sys.get_int_max_str_digits()
    if not most or len(text) <= most or max(map(len, _FIGURES.findall(text)), default=0) <= most:
        return ""
    return f"expected numbers of at most {most:,} digits, found a longer one"


def _meant(value: object) -> object:
    if isinstance(value, Number):
        if wrong := too_many_figures(value):
            raise ValueError(wrong)
        number = json.loads(value)
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"expected a number that a float can hold, found {value[:60]}")
        return number
    if isinstance(value, str):
        return _sound(value)
    if isinstance(value, dict):
        return {_sound(name): _meant(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_meant(part) for part in value]
    if value is None or isinstance(value, bool):
        return value
    raise ValueError(f"expected text, a number, true or false, found {kind_of(value)}")


def kind_of(value: object) -> str:
    """Return what a cell is, in words."""
    return {type(None): "null", list: "a list", dict: "an object", bytes: "bytes"}.get(
        type(value), "a single value"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the name that was meant, or at what there is."""
    return did_you_mean(name, map(printable, known))


def printable(name: str) -> str:
    """Return a column's name in a form that is safe and short enough to show."""
    return "".join(character if character.isprintable() else "?" for character in name[:60])
