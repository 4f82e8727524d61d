"""Strict YAML and JSON to values that know their file, line and field; all mistakes at once.

Both formats become one stream of events, so that duplicate keys, nesting and numbers are judged once.
Plain YAML scalars follow the core schema of YAML 1.2: `no` is text, `012` is a number. A plain date stays
text but is remembered to be a date: no field of ours takes one, so reading it as a schema refuses it.
"""

import dataclasses
import json
import math
import os
import re
import secrets
import stat
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from optimizer.errors import InputError, Problem

if TYPE_CHECKING:
    from ruamel.yaml.events import Event

Scalar: TypeAlias = bool | int | float | str | None
Plain: TypeAlias = "Scalar | list[Plain] | dict[str, Plain]"
FieldPath: TypeAlias = tuple[str | int, ...]

MAX_BYTES = 16 * 2**20  # a task or study is a few KiB; a larger file is most likely the wrong one
MAX_DEPTH = 100  # far above any file of ours, far below Python's recursion limit
MAX_DIGITS = 308  # of a whole number that still has a place among the floats; longer ones are read as one
MAX_QUOTED = 60  # characters of the user's text that a message shows

_CORE = re.compile(  # YAML 1.2.2, section 10.3.2; the dates are yaml.org/type/timestamp.html of YAML 1.1
    r"(?P<null>~|null|Null|NULL|)|(?P<true>true|True|TRUE)|(?P<false>false|False|FALSE)"
    r"|(?P<int>[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
    r"|(?P<date>[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}.*)?)"
)
_JSON_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]|[^\s{}\[\],:"]+')
_KINDS = {
    "MappingStartEvent": "{",
    "MappingEndEvent": "}",
    "SequenceStartEvent": "[",
    "SequenceEndEvent": "]",
}


class Mark(NamedTuple):
    """Where a field stands, how its scalar is written (None for lists and mappings), and if it is a date."""

    line: int
    raw: str | None = None
    is_date: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """The value of one file, with the place of each of its fields."""

    value: Plain
    file: str
    marks: Mapping[FieldPath, Mark] = dataclasses.field(repr=False)

    def line(self, path: Sequence[str | int]) -> int | None:
        """The line of a field, or of its nearest ancestor that has one."""
        found = (self.marks.get(tuple(path[:depth])) for depth in range(len(path), -1, -1))
        return next((mark.line for mark in found if mark), None)

    def raw(self, path: Sequence[str | int]) -> str | None:
        """The scalar of a field as the file writes it; None for lists, mappings and unknown fields."""
        mark = self.marks.get(tuple(path))
        return mark.raw if mark else None

    def problem(self, path: Sequence[str | int], message: str) -> Problem:
        """A mistake in a field of this file."""
        return Problem(
            file=self.file, line=self.line(path), field=dotted(tuple(path)) or None, message=message
        )


def load_yaml(path: Path, *, display: str | None = None) -> Located:
    """The one document of a YAML file, named `display` in messages; an empty file holds None.

    Raises:
        InputError: If the file cannot be read, or holds what strict YAML refuses.
    """
    file = display or str(path)
    return _loaded(_text(path, file), file, _yaml_events)


def read_yaml(text: str, *, display: str) -> Located:
    """The one document of a YAML text, named `display` in messages; an empty text holds None.

    Raises:
        InputError: If it holds what strict YAML refuses.
    """
    return _loaded(text, display, _yaml_events)


def load_json(path: Path, *, display: str | None = None) -> Located:
    """The value of a JSON file, named `display` in messages.

    Raises:
        InputError: If the file cannot be read, is not JSON, repeats a key, or holds NaN or an infinity.
    """
    file = display or str(path)
    return _loaded(_text(path, file), file, _json_events)


def write_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 so that a crash at any moment leaves the old file or the new one, whole.

    A link stays a link and its target is replaced; an existing file keeps its mode.
    """
    data, target = text.encode("utf-8"), Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as stream:
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def project_root(path: Path) -> Path:
    """The nearest folder upwards from a file that marks a project, else the folder of the file."""
    folder = path.parent.resolve()
    marks = ("pyproject.toml", ".git", ".optimizer")
    projects = (
        parent for parent in (folder, *folder.parents) if any((parent / mark).exists() for mark in marks)
    )
    return next(projects, folder)


def inside_project(reference: str, *, file: Path) -> Path:
    """The path, links resolved, that `reference` means where it is written in `file`.

    Raises:
        ValueError: If it is empty, absolute, cannot be followed, or leads outside the project of `file`.
    """
    shown = f"'{clipped(reference)}'"
    if not reference or Path(reference).is_absolute():
        raise ValueError(f"expected a path relative to the folder of this file, found {shown}")
    try:
        resolved = (file.parent.resolve() / reference).resolve()
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # a name too long, links in a circle, a null character
        raise ValueError(f"the path {shown} cannot be followed") from error
    if not resolved.is_relative_to(project_root(file)):
        raise ValueError(f"the path {shown} leads outside the project ({project_root(file)})")
    return resolved


class _Event(NamedTuple):
    """One step of a parser, from one character of the file to another."""

    kind: str  # "scalar", or the bracket that opens or closes a list or a mapping
    start: int
    end: int
    value: Scalar = None
    is_date: bool = False
    complaints: tuple[str, ...] = ()


class _ParseError(Exception):
    """The parser cannot go on; made of a message and the character it stopped at, or None."""


class _Builder:
    """Builds the value of a stream of events; notes places and mistakes on the way."""

    def __init__(self, file: str, text: str, events: Iterator[_Event]) -> None:
        self.file, self.text, self.events = file, text, events
        self.newlines = [match.start() for match in re.finditer("\n", text)]
        self.marks: dict[FieldPath, Mark] = {}
        self.problems: list[Problem] = []

    def line(self, offset: int) -> int:
        return bisect_left(self.newlines, offset) + 1

    def complain(self, offset: int | None, message: str, path: FieldPath = ()) -> None:
        line = None if offset is None else self.line(offset)
        self.problems.append(Problem(file=self.file, message=message, line=line, field=dotted(path)))

    def complain_of(self, event: _Event, path: FieldPath) -> None:
        for complaint in event.complaints:
            self.complain(event.start, complaint, path)

    def node(self, event: _Event, path: FieldPath, line: int) -> Plain:
        if len(path) > MAX_DEPTH:
            raise _ParseError(f"nested deeper than {MAX_DEPTH} levels", event.start)
        if event.kind == "scalar":
            self.marks[path] = Mark(line, self.text[event.start : event.end], event.is_date)
            return self.scalar(event, path)
        self.marks[path] = Mark(line)
        self.complain_of(event, path)
        if event.kind == "{":
            return self.mapping(path)
        items: list[Plain] = []
        while (item := next(self.events)).kind != "]":
            items.append(self.node(item, (*path, len(items)), self.line(item.start)))
        return items

    def scalar(self, event: _Event, path: FieldPath) -> Plain:
        self.complain_of(event, path)
        value = event.value
        if isinstance(value, float) and not math.isfinite(value):
            raw = self.text[event.start : event.end]
            self.complain(event.start, f"expected a finite number, found {clipped(raw)}", path)
        if not isinstance(value, str) or value.isascii():
            return value
        try:  # JSON writes a character beyond U+FFFF as two escapes, and YAML holds JSON
            return value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.complain(event.start, "text holds half of a surrogate pair", path)
            return ""

    def mapping(self, path: FieldPath) -> dict[str, Plain]:
        values: dict[str, Plain] = {}
        lines: dict[str, int] = {}
        while (event := next(self.events)).kind != "}":
            key, line = self.key(event, path), self.line(event.start)
            if key in lines:
                self.complain(
                    event.start, f"duplicate key '{clipped(key)}', first on line {lines[key]}", path
                )
            lines.setdefault(key, line)
            values[key] = self.node(next(self.events), (*path, key), line)
        return values

    def key(self, event: _Event, path: FieldPath) -> str:
        raw, n_before = self.text[event.start : event.end], len(self.problems)
        place, is_scalar = (*path, raw), event.kind == "scalar"
        value = self.scalar(event, place) if is_scalar else self.node(event, place, self.line(event.start))
        if raw == "<<":
            self.complain(event.start, "merge key '<<' is not allowed: write the fields out", path)
        elif len(self.problems) == n_before and (event.is_date or not isinstance(value, str)):
            found = described(value, Mark(0, raw, event.is_date))
            hint = f': write "{clipped(raw)}"' if raw and is_scalar else ""
            self.complain(event.start, f"keys must be text, found {found}{hint}", path)
        return value if isinstance(value, str) else raw


def _loaded(text: str, file: str, parse: Callable[[str], Iterator[_Event]]) -> Located:
    builder = _Builder(file, text, parse(text))
    builder.marks[()] = Mark(1, "")  # what an empty file has
    value: Plain = None
    try:
        first = next(builder.events, None)
        if first is not None:
            value = builder.node(first, (), builder.line(first.start))
        next(builder.events, None)  # lets the parser see the end, or what should not follow
    except _ParseError as error:
        message, offset = error.args
        builder.complain(offset, message)
    if builder.problems:
        raise InputError(builder.problems)
    return Located(value=value, file=file, marks=builder.marks)


def _text(path: Path, file: str) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        known = {FileNotFoundError: "no such file", IsADirectoryError: "expected a file, found a folder"}
        message = known.get(type(error), f"cannot be read: {error.strerror}")
        raise InputError([Problem(file=file, message=message)]) from error
    if len(data) > MAX_BYTES:
        raise InputError([Problem(file=file, message=f"larger than {MAX_BYTES // 2**20} MiB")])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"expected UTF-8 text, found the byte 0x{data[error.start]:02x}"
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError([Problem(file=file, message=message, line=line)]) from error


def _core(raw: str) -> tuple[Scalar, bool]:
    """The value of a plain scalar, and whether it is a date."""
    match = _CORE.fullmatch(raw)
    kind = match.lastgroup if match else None
    if kind == "int" and len(raw) <= MAX_DIGITS:
        return int(raw, 0 if raw[:2] in ("0o", "0x") else 10), False
    if kind in ("int", "float"):
        return float(raw.lower().replace(".i", "i").replace(".n", "n")), False
    if kind in ("null", "true", "false"):
        return {"null": None, "true": True, "false": False}[kind], False
    return raw, kind == "date"


def _json_events(text: str) -> Iterator[_Event]:
    try:
        json.loads(text, parse_int=float)
    except json.JSONDecodeError as error:
        raise _ParseError(f"not valid JSON: {error.msg[0].lower()}{error.msg[1:]}", error.pos) from error
    except RecursionError as error:
        raise _ParseError(f"nested deeper than {MAX_DEPTH} levels", None) from error
    for match in _JSON_TOKEN.finditer(text):
        token, start, end = match.group(), match.start(), match.end()
        if token in ("{", "}", "[", "]"):
            yield _Event(token, start, end)
        elif token[0] == '"':
            yield _Event("scalar", start, end, json.loads(token))
        else:
            number = token.endswith(("NaN", "Infinity"))
            yield _Event("scalar", start, end, float(token) if number else _core(token)[0])


def _yaml_events(text: str) -> Iterator[_Event]:
    from ruamel.yaml import YAML, events
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    n_documents = offset = 0
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            offset = event.end_mark.index
            if isinstance(event, events.DocumentStartEvent):
                n_documents += 1
                if n_documents > 1:
                    raise _ParseError("expected one document, found a second", event.start_mark.index)
                if event.version or event.tags:
                    raise _ParseError("directives (%YAML, %TAG) are not allowed", 0)
            elif isinstance(event, (events.NodeEvent, events.CollectionEndEvent)):
                yield _yaml_event(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _ParseError(f"not valid YAML: {error.problem}", mark.index if mark else None) from error
    except ReaderError as error:
        message = f"not valid YAML: the character U+{error.character:04X} is not allowed"
        raise _ParseError(message, error.position) from error
    except (AssertionError, OverflowError, ValueError) as error:  # how ruamel meets "\\UFFFFFFFF", %YAML 1.3
        raise _ParseError("not valid YAML: an escape or a directive has no meaning", offset) from error


def _yaml_event(event: "Event") -> _Event:
    from ruamel.yaml.events import AliasEvent, ScalarEvent

    start, end = event.start_mark.index, event.end_mark.index
    anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
    complaints = []
    if isinstance(event, AliasEvent):
        complaints.append(f"alias '*{anchor}' is not allowed: write the value out")
    elif anchor:
        complaints.append(f"anchor '&{anchor}' is not allowed: write the value out where it is used")
    if tag:
        name = clipped(tag.replace("tag:yaml.org,2002:", "!!"))
        complaints.append(f"tag '{name}' is not allowed: quotes make text, nothing else needs a tag")
    value, is_date = None, False
    if isinstance(event, ScalarEvent):
        value, is_date = (event.value, False) if event.style else _core(event.value)
    return _Event(_KINDS.get(type(event).__name__, "scalar"), start, end, value, is_date, tuple(complaints))


def described(value: Plain, mark: Mark) -> str:
    """What a message says was found."""
    raw = clipped(mark.raw or "")
    if isinstance(value, list):
        return f"a list of {counted(len(value), 'item')}" if value else "an empty list"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, str):
        return f"the date {raw}" if mark.is_date else f'text "{clipped(value)}"'
    if isinstance(value, bool):
        return f"the boolean {raw}"
    return (raw or "nothing") if value is None else f"the number {raw}"


def clipped(text: str) -> str:
    """Text of the user for a message: short, and without control characters."""
    short = text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}..."
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in short)


def dotted(path: FieldPath) -> str | None:
    """A path as `search.demos.sizes[1]`; None for the whole file."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{clipped(step)}" for step in path]
    return "".join(steps).removeprefix(".") or None


def counted(number: int, unit: str) -> str:
    """A number with its unit, in the plural where it needs one."""
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
