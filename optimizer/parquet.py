"""Parquet: the rows of such a file, by pyarrow, an optional library."""

import datetime as dt
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from optimizer.errors import Problem
from optimizer.record import Number, Record


def parquet_records(path: Path, file: str, *, most_bytes: int) -> Iterator[Record | Problem]:
    """Yield the rows with their numbers, from 1, or what is wrong with the file.

    Args:
        file: The path as the user knows it.
        most_bytes: How large the table may be in memory, about.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        message = (
            "needs pyarrow to be read: install the extra `parquet`, or write the table as .csv or .jsonl"
        )
        yield Problem(file=file, message=message)
        return
    try:
        with path.open("rb") as stream, ParquetFile(stream) as source:
            groups = (source.metadata.row_group(n) for n in range(source.metadata.num_row_groups))
            if sum(group.total_byte_size for group in groups) > most_bytes:
                yield Problem(file=file, message=f"expected at most {most_bytes // 2**20} MiB, found more")
                return
            table = source.read()
    except OSError as error:  # an error of pyarrow's own may be one as well, of which nothing else is known
        yield Problem(file=file, message=f"cannot be read: {error.strerror or error}")
        return
    except ArrowException as error:
        yield Problem(file=file, message=f"cannot be read: {error}")
        return
    names = table.column_names
    if len(set(names)) < len(names):
        yield Problem(file=file, message="expected a name of its own for each column, found one twice")
        return
    for number, row in enumerate(table.to_pylist(), start=1):
        yield Record(line=number, values={name: _as_json(cell) for name, cell in row.items()})


def _as_json(value: object) -> object:
    """Return a cell of a Parquet file as that of a JSON file; what has no such form stays and is no text."""
    if isinstance(value, dict):
        return {name: _nested(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_nested(part) for part in value]
    if isinstance(value, bool):
        return Number(json.dumps(value))
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else value  # pandas writes a missing number as NaN
    if isinstance(value, int | float | Decimal):
        return Number(value if isinstance(value, Decimal) else json.dumps(value))
    return value.isoformat() if isinstance(value, dt.date | dt.time) else value


def _nested(value: object) -> object:
    return value if isinstance(value, bool) else _as_json(value)
