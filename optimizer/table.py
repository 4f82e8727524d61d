"""Tables: the rows of a CSV or JSON Lines file, each with its line.

A table says what its file holds, and every place where it holds no table; what the columns mean is for others to
say. Cells stay as they are written: `012` is not 12, `1.50` is not 1.5, and `NA` is text.

CSV is read by the standard `csv` module and not by pandas: pandas fills a short row with missing values without
a word, guesses types (`012` becomes 12, `NA` becomes nothing) and cannot tell the line a mistake stands on.
"""

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from optimizer.errors import Problem
from optimizer.registry import did_you_mean

MAX_BYTES = 256 * 2**20  # a file is held in memory whole; this is far more than a search can pay for


class Number(str):
    """A JSON number, true or false, as the file writes it."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One row.

    Attributes:
        line: Where it begins in its file, from 1.
        values: Column and cell. Every cell of a CSV file is a text; a cell of a JSON Lines file is a text, a
            `Number`, None, a list or a dictionary.
    """

    line: int
    values: Mapping[str, object]

    def text(self, column: str) -> str:
        """Return one cell as text, without NUL characters and halves of surrogate pairs.

        Raises:
            ValueError: Saying what was expected and what was found.
        """
        if column not in self.values:
            raise ValueError(f"expected this key, found none{_nearest(column, self.values)}")
        value = self.values[column]
        if not isinstance(value, str):
            raise ValueError(f"expected text, a number, true or false, found {_kind(value)}")
        if "\0" in value:
            raise ValueError("expected text, found a NUL character in it")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("expected text, found half of a surrogate pair in it")
        return str(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """What a file holds.

    Attributes:
        file: The file as the user knows it.
        records: Its sound rows, in the order of the file.
        problems: What is wrong with the file and its other rows, in the same order.
    """

    file: str
    records: tuple[Record, ...]
    problems: tuple[Problem, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that some record has, in order of first appearance; none without records."""
        return tuple(dict.fromkeys(name for record in self.records for name in record.values))

    def missing(self, column: str) -> Problem:
        """Return the mistake of having no such column."""
        message = f"expected a column of this name, found none{_nearest(column, self.columns)}"
        return Problem(file=self.file, line=1, field=column, message=message)


def read_table(path: Path, file: str) -> Table:
    """Return what a .csv or .jsonl file holds; a file that cannot be read has a problem and no records.

    Either may be compressed: `.csv.gz`, `.jsonl.gz`.

    Args:
        file: The path as the user knows it.
    """
    found = list(_read(path, file))
    return Table(
        file=file,
        records=tuple(record for record in found if isinstance(record, Record)),
        problems=tuple(problem for problem in found if isinstance(problem, Problem)),
    )


def _read(path: Path, file: str) -> Iterator[Record | Problem]:
    suffix = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    reader = {".csv": _csv_records, ".jsonl": _json_records}.get(suffix.lower())
    if reader is None:
        found = repr(path.suffix) if path.suffix else "a name without suffix"
        yield Problem(file=file, message=f"expected a .csv or .jsonl file, found {found}")
        return
    text = _content(path, file)
    yield from (text,) if isinstance(text, Problem) else reader(text, file)


def _content(path: Path, file: str) -> str | Problem:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        return Problem(file=file, message=f"cannot be unpacked: {error}")
    except OSError as error:
        return Problem(file=file, message=f"cannot be read: {error.strerror}")
    if len(data) > MAX_BYTES:
        return Problem(file=file, message=f"expected at most {MAX_BYTES // 2**20} MiB, found more")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        message, start = f"expected UTF-8 text, found the byte 0x{data[error.start]:02x}", error.start
    else:
        message, start = "expected text, found a NUL byte", data.find(b"\0")
        if start < 0:
            return text.removeprefix("\ufeff")
    return Problem(file=file, message=message, line=data.count(b"\n", 0, start) + 1)


def _csv_records(text: str, file: str) -> Iterator[Record | Problem]:
    """Yield the records of RFC 4180, each with the line it begins on."""
    header: list[str] = []
    for line, fields in _csv_lines(text):
        if isinstance(fields, str):
            yield Problem(file=file, line=line, message=f"not valid CSV: {fields}; nothing after it was read")
        elif not header:
            header = fields or [""]
            if mistake := _header_mistake(header):
                yield Problem(file=file, line=line, message=mistake)
            if len(header) == 1:
                return
        elif len(fields) == len(header):
            yield Record(line=line, values=dict(zip(header, fields, strict=True)))
        else:
            found = len(fields) or "an empty line"
            yield Problem(file=file, line=line, message=f"expected {len(header)} fields, found {found}")


def _csv_lines(text: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield where each record begins and its fields, or why the reader gave up."""
    reader = csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), strict=True)
    line = 1
    try:
        for fields in reader:
            yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        limit = f"a field is longer than {csv.field_size_limit()} characters: close its quote, or use a .jsonl file"
        known = {"unexpected end of data": "the quote that opens a field is never closed"}
        yield line, limit if "field limit" in str(error) else known.get(str(error), str(error))


def _header_mistake(header: list[str]) -> str | None:
    names = ", ".join(repr(name[:60]) for name in header)
    if len(header) == 1:
        return f"expected a header with commas between the columns, found {names}"
    if len(set(header)) < len(header) or not all(name.strip() for name in header):
        return f"expected a name of its own for each column, found {names}"
    return None


def _json_records(text: str, file: str) -> Iterator[Record | Problem]:
    # Not splitlines(): a JSON string may hold U+2028 and its kin as they are.
    lines = text.rstrip().split("\n")
    for number, line in enumerate(lines if lines != [""] else [], start=1):
        try:
            yield Record(line=number, values=_json_object(line))
        except ValueError as error:
            yield Problem(file=file, line=number, message=str(error))


def _json_object(line: str) -> Mapping[str, object]:
    """Return the object on one line.

    Raises:
        ValueError: Saying what is wrong with it.
    """
    if not line.strip():
        raise ValueError("expected one JSON object, found an empty line")
    try:
        value = _DECODER.decode(line)
    except json.JSONDecodeError as error:
        reason = f"{error.msg[0].lower()}{error.msg[1:]}"
        raise ValueError(f"not valid JSON at character {error.pos + 1}: {reason}") from error
    except RecursionError as error:
        raise ValueError("not valid JSON: nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected one JSON object, found {_kind(value)}")
    return {
        name: Number(json.dumps(cell)) if isinstance(cell, bool) else cell for name, cell in value.items()
    }


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = Counter(name for name, _ in pairs)
    if len(names) < len(pairs):
        raise ValueError(f"duplicate key {names.most_common(1)[0][0][:60]!r}")
    return dict(pairs)


def _no_constant(name: str) -> object:
    raise ValueError(f"not valid JSON: {name} is not a number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=Number, parse_float=Number, parse_constant=_no_constant
)


def _kind(value: object) -> str:
    return {type(None): "null", list: "a list", dict: "an object"}.get(type(value), "a single value")


def _nearest(name: str, known: Iterable[str]) -> str:
    return did_you_mean(name, map(_printable, known))


def _printable(name: str) -> str:
    """Return a column's name in a form that is safe and short enough to show."""
    return "".join(character if character.isprintable() else "?" for character in name[:60])
