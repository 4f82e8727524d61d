"""Tables: the rows of a file, each with its line.

| suffix | rows are |
|---|---|
| .csv, .tsv | records of RFC 4180, with commas or tabs between the fields |
| .jsonl | one JSON object a line |
| .json | the objects of an array, or of the one array of objects in an object |
| .parquet | its rows, which have numbers in place of lines; needs the extra `parquet` |

All but the last may be compressed: `.csv.gz`. A table says what its file holds, and every place where it holds no
table; what the columns mean is for others to say. Cells stay as they are written: `012` is not 12, `1.50` is not 1.5,
and `NA` is text.

CSV is read by the standard `csv` module and not by pandas: pandas fills a short row with missing values without
a word, guesses types (`012` becomes 12, `NA` becomes nothing) and cannot tell the line a mistake stands on. Nor does
Parquet go through it: a column of whole numbers with a gap would come out as 12.0.
"""

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from optimizer.errors import Problem
from optimizer.parquet import parquet_records
from optimizer.record import Number, Record, kind_of, nearest, printable

MAX_BYTES = 256 * 2**20  # a file is held in memory whole; this is far more than a search can pay for
MAX_LINE_BYTES = 64 * 2**20  # of a file that is read row by row, as of any size
_INDEX = "; a nameless first column is often the index of pandas: write with index=False"


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
        message = f"expected a column of this name, found none{nearest(column, self.columns)}"
        return Problem(file=self.file, line=1, field=column, message=message)


def read_table(path: Path, file: str) -> Table:
    """Return what a file holds; one that cannot be read has a problem and no records.

    Args:
        file: The path as the user knows it.
    """
    found = list(_read(path, file))
    return Table(
        file=file,
        records=tuple(record for record in found if isinstance(record, Record)),
        problems=tuple(problem for problem in found if isinstance(problem, Problem)),
    )


def stream_table(path: Path, file: str) -> Iterator[Record | Problem]:
    """Yield the rows of a file and its mistakes as they are met, whatever its size: one row is held at a time.

    Rows are those that `read_table` finds; a `.json` file is not read, because it is one value. Nothing follows a
    mistake after which the file cannot be read.

    Args:
        file: The path as the user knows it.
    """
    reader = _STREAMED.get(suffix_of(path))
    if path.suffix.lower() == ".parquet":
        yield from parquet_records(path, file)
    elif reader is None:
        found = repr(path.suffix) if path.suffix else "a name without suffix"
        listed = ", ".join(_STREAMED)
        yield Problem(file=file, message=f"expected a {listed} or .parquet file, found {found}")
    else:
        ended: list[Problem] = []
        tail = None if suffix_of(path) == ".jsonl" else "\r\n"
        yield from reader(_without_tail(_lines(path, file, ended), tail), file)
        yield from ended


def suffix_of(path: Path) -> str:
    """Return the suffix that says how a file is read, in lower case and without `.gz`."""
    packed = path.suffix.lower() == ".gz"
    return (path.with_suffix("") if packed else path).suffix.lower()


def _read(path: Path, file: str) -> Iterator[Record | Problem]:
    if path.suffix.lower() == ".parquet":
        yield from parquet_records(path, file, most_bytes=MAX_BYTES)
        return
    reader = _READERS.get(suffix_of(path))
    if reader is None:
        found = repr(path.suffix) if path.suffix else "a name without suffix"
        yield Problem(file=file, message=f"expected a {', '.join(_READERS)} or .parquet file, found {found}")
        return
    text = _content(path, file)
    yield from (text,) if isinstance(text, Problem) else reader(text, file)


def _lines(path: Path, file: str, ended: list[Problem]) -> Iterator[str]:
    """Yield the lines of a text file, cut after each line feed; puts why it stopped early, if it did, into `ended`."""
    number = 0
    try:
        with _opened(path) as stream:
            while raw := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if message := _line_mistake(raw):
                    ended.append(Problem(file=file, line=number, message=message))
                    return
                text = raw.decode("utf-8")
                yield text.removeprefix("\ufeff") if number == 1 else text
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        ended.append(Problem(file=file, message=f"cannot be unpacked: {error}"))
    except OSError as error:
        ended.append(Problem(file=file, message=f"cannot be read: {error.strerror}"))


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _line_mistake(raw: bytes) -> str | None:
    if len(raw) > MAX_LINE_BYTES:
        return f"expected lines of at most {MAX_LINE_BYTES // 2**20} MiB, found a longer one"
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"expected UTF-8 text, found the byte 0x{raw[error.start]:02x}"
    return "expected text, found a NUL byte" if b"\0" in raw else None


def _without_tail(lines: Iterator[str], characters: str | None) -> Iterator[str]:
    """Yield lines without what a text ends with; `None` stands for white space, as in `str.rstrip`."""
    held: list[str] = []  # the last line that is not blank, and blank ones after it
    for line in lines:
        if line.rstrip(characters):
            yield from held
            held = []
        held.append(line)
    if held and (last := held[0].rstrip(characters)):
        yield last


def _fed(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines cut after each carriage return as well, as the `csv` module needs them."""
    for line in lines:
        if "\r" in line.removesuffix("\r\n"):
            yield from io.StringIO(line, newline="")
        else:
            yield line


def _content(path: Path, file: str) -> str | Problem:
    try:
        with _opened(path) as stream:
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


def _csv_table(text: str, file: str, *, between: str = ",") -> Iterator[Record | Problem]:
    return _csv_records(io.StringIO(text.rstrip("\r\n"), newline=""), file, between=between)


def _csv_records(lines: Iterable[str], file: str, *, between: str = ",") -> Iterator[Record | Problem]:
    """Yield the records of RFC 4180, each with the line it begins on."""
    header: list[str] = []
    for line, fields in _csv_lines(lines, between):
        if isinstance(fields, str):
            yield Problem(file=file, line=line, message=f"not valid CSV: {fields}; nothing after it was read")
        elif not header:
            header = fields or [""]
            if mistake := _header_mistake(header, between):
                yield Problem(file=file, line=line, message=mistake)
                if len(header) == 1:
                    return
        elif len(fields) == len(header):
            yield Record(line=line, values=dict(zip(header, fields, strict=True)))
        else:
            found = len(fields) or "an empty line"
            yield Problem(file=file, line=line, message=f"expected {_fields(len(header))}, found {found}")


def _csv_lines(lines: Iterable[str], between: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield where each record begins and its fields, or why the reader gave up."""
    reader = csv.reader(_fed(lines), strict=True, delimiter=between)
    line = 1
    try:
        for fields in reader:
            yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        limit = f"a field is longer than {csv.field_size_limit()} characters: close its quote, or use a .jsonl file"
        known = {"unexpected end of data": "the quote that opens a field is never closed"}
        yield line, limit if "field limit" in str(error) else known.get(str(error), str(error))


def _fields(n: int) -> str:
    return "1 field" if n == 1 else f"{n} fields"


def _header_mistake(header: list[str], between: str) -> str | None:
    names = ", ".join(repr(name[:60]) for name in header)
    # One column is a table, too, as of rows for a prompt of one input; most often it is another separator.
    if len(header) == 1 and any(sign in header[0] for sign in ";\t|,"):
        what = "tabs" if between == "\t" else "commas"
        semicolons = "; semicolons do not part columns here: save it with commas" if ";" in header[0] else ""
        return f"expected a header with {what} between the columns, found {names}{semicolons}"
    if len(set(header)) < len(header) or not all(name.strip() for name in header):
        return f"expected a name of its own for each column, found {names}{_INDEX * (not header[0].strip())}"
    return None


def _json_lines(text: str, file: str) -> Iterator[Record | Problem]:
    # Not splitlines(): a JSON string may hold U+2028 and its kin as they are.
    lines = text.rstrip().split("\n")
    return _json_records(lines if lines != [""] else [], file)


def _json_records(lines: Iterable[str], file: str) -> Iterator[Record | Problem]:
    for number, line in enumerate(lines, start=1):
        try:
            yield Record(line=number, values=_json_object(line.removesuffix("\n")))
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
        raise ValueError(f"not valid JSON at character {error.pos + 1}: {_reason(error)}") from error
    except RecursionError as error:
        raise ValueError("not valid JSON: nested too deeply") from error
    return _row(value)


def _row(value: object) -> dict[str, object]:
    """Return the cells of an object.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, dict):
        raise ValueError(f"expected one JSON object, found {kind_of(value)}")
    return {
        name: Number(json.dumps(cell)) if isinstance(cell, bool) else cell for name, cell in value.items()
    }


def _json_table(text: str, file: str) -> Iterator[Record | Problem]:
    """Yield the objects of the one array in a document, each with the line it begins on."""
    if not text.strip():
        return
    try:
        start = _array(text)
    except json.JSONDecodeError as error:
        yield Problem(file=file, line=error.lineno, message=f"not valid JSON: {_reason(error)}")
        return
    except (ValueError, RecursionError) as error:
        said = "not valid JSON: nested too deeply" if isinstance(error, RecursionError) else str(error)
        yield Problem(file=file, message=said)
        return
    line, seen = 1, 0
    for place, end in _elements(text, start):
        line, seen = line + text.count("\n", seen, place), place
        try:
            yield Record(line=line, values=_row(_DECODER.decode(text[place:end])))
        except ValueError as error:
            yield Problem(file=file, line=line, message=str(error))


def _array(text: str) -> int:
    """Return where the array of rows begins: the document, or the only array of objects among its values.

    Raises:
        ValueError: The document is no JSON, or has no such array or several.
    """
    last: list[tuple[str, object]] = []  # the members of the document, which is the object that ends last

    def kept(members: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal last
        last = members
        return dict(members)

    value = json.JSONDecoder(object_pairs_hook=kept).decode(text)
    if isinstance(value, list):
        return text.index("[")
    if not isinstance(value, dict):
        raise ValueError(f"expected an array of objects, found {kind_of(value)}")
    _unique(last)
    arrays = [name for name, part in value.items() if _is_rows(part)]
    if len(arrays) != 1:
        found = ", ".join(printable(name) for name in arrays) or "none"
        raise ValueError(f"expected an array of objects, or an object with one of them, found {found}")
    place = text.index("{") + 1
    while True:
        name, end = _LENIENT.raw_decode(text, _past(text, place))
        place = _past(text, text.index(":", end) + 1)
        if name == arrays[0]:
            return place
        _, end = _LENIENT.raw_decode(text, place)
        place = text.index(",", end) + 1


def _is_rows(part: object) -> bool:
    return isinstance(part, list) and bool(part) and all(isinstance(row, dict) for row in part)


def _elements(text: str, start: int) -> Iterator[tuple[int, int]]:
    """Yield where each element of an array begins and ends in a document that is known to be JSON."""
    place = _past(text, start + 1)
    while text[place] != "]":
        _, end = _LENIENT.raw_decode(text, place)
        yield place, end
        place = _past(text, end)
        place = _past(text, place + 1) if text[place] == "," else place


def _past(text: str, place: int) -> int:
    """Return the next place that is no white space of JSON."""
    while text[place] in " \t\r\n":
        place += 1
    return place


def _reason(error: json.JSONDecodeError) -> str:
    return f"{error.msg[0].lower()}{error.msg[1:]}"


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
# Reads what `_DECODER` reads and more: it finds the end of an element that is refused.
_LENIENT = json.JSONDecoder()


_READERS: dict[str, Callable[[str, str], Iterator[Record | Problem]]] = {
    ".csv": _csv_table,
    ".tsv": partial(_csv_table, between="\t"),
    ".jsonl": _json_lines,
    ".json": _json_table,
}
_STREAMED: dict[str, Callable[[Iterable[str], str], Iterator[Record | Problem]]] = {
    ".csv": _csv_records,
    ".tsv": partial(_csv_records, between="\t"),
    ".jsonl": _json_records,
}
