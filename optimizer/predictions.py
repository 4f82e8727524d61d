"""Predictions: the file of answers, written block by block so that a crash leaves nothing half.

Rows are collected in `PATH.part`, as lines of CSV or JSON whatever the form of the file, and `PATH` is made of it at
the end. What is beyond the length that was committed is cut off before anything is added.
"""

import errno
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from optimizer.evaluation import Answered
from optimizer.intake import Row
from optimizer.parquet import write_parquet
from optimizer.record import Number

FORMS = (".csv", ".jsonl", ".parquet")

# Beside these, `id` or `row` comes first, `completion` where it is wanted, and columns of the rows that are kept.
COLUMNS: Mapping[str, type] = {
    "answer": str,
    "outcome": str,
    "strict": bool,
    "error": str,
    "prompt_tokens": int,
    "completion_tokens": int,
    "cost_usd": float,
}
RESERVED = frozenset({"id", "row", "completion", *COLUMNS})

_QUOTED = re.compile(r'[,"\r\n]')


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """What is written of each row.

    Attributes:
        columns: What each column holds, in order.
        form: The suffix of the file.
    """

    columns: Mapping[str, type]
    form: str

    @classmethod
    def of(cls, form: str, *, ids: bool, raw: bool, kept: Sequence[str]) -> "Layout":
        """Return the layout of a file.

        Args:
            ids: Whether rows have an id; else they are numbered.
            raw: Whether the completion that the answer was read from is written as well.
            kept: Columns of the rows that are copied, as text.
        """
        first: dict[str, type] = {"id": str} if ids else {"row": int}
        last: dict[str, type] = {"completion": str} if raw else {}
        return cls(columns={**first, **COLUMNS, **last, **dict.fromkeys(kept, str)}, form=form)

    def head(self) -> bytes:
        """Return what the file begins with."""
        return _csv_line(list(self.columns)) if self.form == ".csv" else b""

    def line(self, values: Mapping[str, object]) -> bytes:
        """Return one row; a column without a value is empty, or null."""
        if self.form == ".csv":
            return _csv_line([_plain(values.get(name)) for name in self.columns])
        return _json_line({name: values.get(name) for name in self.columns}, texts=self.form == ".parquet")


class Batch:
    """The rows of one block that have what they get, in their order.

    Attributes:
        size: Rows of the block.
        n: Rows that have what they get.
        lines: What is written of each.
    """

    def __init__(self, layout: Layout, size: int) -> None:
        self.size = size
        self.n = 0
        self.lines = [b""] * size
        self.outcomes = Counter[str]()
        self._layout = layout
        self._costs: list[float | None] = [None] * size
        self._read: int | None = 0
        self._written: int | None = 0

    def add(self, place: int, row: Row, found: Answered, kept: Sequence[str] | None) -> None:
        """Take in what a row got.

        Args:
            place: Which row of the block it is, from 0.
            kept: Its columns that are copied; None stands for all.
        """
        completions, values = found.completions, row.record.values
        costs = [completion.cost_usd for completion in completions]
        known = [cost for cost in costs if cost is not None]
        # Where one call of several does not say what it took, what all took is not known.
        counted = len(completions) > 0 and all(completion.counted for completion in completions)
        read = sum(completion.prompt_tokens for completion in completions) if counted else None
        written = sum(completion.completion_tokens for completion in completions) if counted else None
        whole = len(completions) > 0 and found.answer.outcome != "error"
        cost = math.fsum(known) if len(known) == len(costs) and known else None
        copied = values if kept is None else {name: values.get(name) for name in kept}
        self.lines[place] = self._layout.line(
            {
                **copied,
                "id": row.record.text("id") if "id" in values else None,
                "row": row.number,
                "answer": found.answer.text,
                "outcome": found.answer.outcome,
                "strict": found.answer.strict,
                "error": found.error or None,
                "prompt_tokens": read,
                "completion_tokens": written,
                "cost_usd": cost,
                "completion": completions[-1].text if whole else None,
            }
        )
        # A row whose calls all failed took nothing that is known of.
        self._costs[place] = cost if completions else 0.0
        if completions:
            self._read = None if self._read is None or read is None else self._read + read
            self._written = None if self._written is None or written is None else self._written + written
        self.outcomes[found.answer.outcome] += 1
        self.n += 1

    def figures(self) -> dict[str, Any]:
        """Return what the rows came to, None for what some answer did not say.

        The sum of costs is that of the rows in order, whenever each was answered.
        """
        known = [cost for cost in self._costs if cost is not None]
        return {
            "rows": self.n,
            "outcomes": dict(self.outcomes),
            "prompt_tokens": self._read,
            "completion_tokens": self._written,
            "usd": math.fsum(known) if len(known) == len(self._costs) else None,
        }


class Part:
    """The file that grows.

    Attributes:
        path: Where it lies, beside the file that is made of it.
    """

    def __init__(self, target: Path, layout: Layout) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._target = target
        self._layout = layout

    @property
    def size(self) -> int:
        """Return its length in bytes, 0 where it is not there."""
        with suppress(FileNotFoundError):
            return self.path.stat().st_size
        return 0

    def append(self, lines: Sequence[bytes], *, at: int) -> int:
        """Write lines at a place, bring them to the disk, and return the new length.

        Raises:
            OSError: When it cannot be written, or does not reach to that place any more.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        with os.fdopen(descriptor, "r+b") as stream:
            self.check(at)
            stream.truncate(at)
            stream.seek(at)
            stream.writelines(lines)
            stream.flush()
            os.fsync(stream.fileno())
            return stream.tell()

    def check(self, length: int) -> None:
        """Refuse to go on with a file that others made shorter: what is missing would be filled with NUL bytes.

        Raises:
            OSError: When it is shorter.
        """
        if self.size < length:
            raise OSError(errno.EIO, f"{self.path} was cut or deleted meanwhile")

    def borrow(self, length: int) -> None:
        """Begin with so many bytes of the file that was made before."""
        with self._target.open("rb") as old, self.path.open("wb") as new:
            while length and (chunk := old.read(min(length, 2**20))):
                new.write(chunk)
                length -= len(chunk)

    def finish(self, block: int) -> None:
        """Make the file of it.

        Args:
            block: Rows of a row group, where the form has these.
        """
        made = self.path
        if self._layout.form == ".parquet":
            made = self._target.with_name(f"{self._target.name}.part.parquet")
            write_parquet(made, _groups(self.path, block), self._layout.columns)
        made.replace(self._target)
        if made != self.path:
            self.path.unlink()
        folder = os.open(self._target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _groups(path: Path, block: int) -> Iterator[list[dict[str, object]]]:
    with path.open("rb") as stream:
        while lines := list(islice(stream, block)):
            yield [json.loads(line) for line in lines]


def _csv_line(cells: Sequence[str]) -> bytes:
    quoted = ('"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell for cell in cells)
    return f"{','.join(quoted)}\n".encode("utf-8", "replace")  # a provider may quote half a character


def _plain(value: object) -> str:
    """Return a value as the text of a cell."""
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    return json.dumps(value) if isinstance(value, bool | int | float) else _json(value)


def _json_line(values: Mapping[str, object], *, texts: bool) -> bytes:
    """Return an object on one line.

    Args:
        texts: Whether what has no type of its own is written as text, as a column of one type needs it.
    """
    if texts:
        values = {
            name: _plain(value) if isinstance(value, list | dict) else value for name, value in values.items()
        }
    parts = (
        f"{_json(name)}: {_json(str(value) if texts and isinstance(value, Number) else value)}"
        for name, value in values.items()
    )
    return f"{{{', '.join(parts)}}}\n".encode("utf-8", "replace")


def _json(value: object) -> str:
    """Return JSON in which numbers are written as they were."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json(name)}: {_json(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
