"""Parquet: the rows of such a file, by pyarrow, an optional library."""

import datetime as dt
import importlib.util
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from optimizer.errors import Problem
from optimizer.record import Number, Record

if TYPE_CHECKING:
    from pyarrow import DataType, RecordBatch

MISSING = "needs pyarrow: install the extra `parquet`, or name a .csv or .jsonl file"


# Rows that are held at once, and bytes of a file that are read at once.
_ROWS = 1000
_BUFFER = 2**16


def parquet_records(path: Path, file: str, *, most_bytes: int | None = None) -> Iterator[Record | Problem]:
    """Yield the rows with their numbers, from 1, and what is wrong with the file; some rows are held at a time.

    A float of 32 bits is the number of fewest digits that is read back as it: 0.1, and not 0.10000000149011612.

    Args:
        file: The path as the user knows it.
        most_bytes: How large the table may be in memory, about; None sets no bound.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        yield Problem(file=file, message=MISSING)
        return
    try:
        # Else a whole row group is read at once, and a file may have but one.
        with path.open("rb") as stream, ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False) as source:
            groups = (source.metadata.row_group(n) for n in range(source.metadata.num_row_groups))
            if most_bytes is not None and sum(group.total_byte_size for group in groups) > most_bytes:
                yield Problem(file=file, message=f"expected at most {most_bytes // 2**20} MiB, found more")
                return
            names = source.schema_arrow.names
            if len(set(names)) < len(names):
                message = "expected a name of its own for each column, found one twice"
                yield Problem(file=file, message=message)
                return
            batches = source.iter_batches(batch_size=_ROWS, use_threads=False)
            rows = (row for batch in batches for row in _rows(_widened(batch)))
            for number, row in enumerate(rows, start=1):
                if row is None:
                    message = "expected dates of the years 1 to 9999, found a date or a duration out of range"
                    yield Problem(file=file, line=number, message=message)
                else:
                    yield Record(line=number, values={name: _as_json(cell) for name, cell in row.items()})
    except OSError as error:  # an error of pyarrow's own may be one as well, of which nothing else is known
        yield Problem(file=file, message=f"cannot be read: {error.strerror or error}")
    except ArrowException as error:
        yield Problem(file=file, message=f"cannot be read: {error}")


def _rows(batch: "RecordBatch") -> Iterator[dict[str, object] | None]:
    """Yield the rows of a batch, None for one with a date that Python has none of."""
    try:
        yield from batch.to_pylist()
    except OverflowError:
        # Nothing was yielded yet: the batch is made into rows at once.
        for n in range(batch.num_rows):
            try:
                yield batch.slice(n, 1).to_pylist()[0]
            except OverflowError:
                yield None


def _widened(batch: "RecordBatch") -> "RecordBatch":
    """Return rows whose floats of 32 bits are those of 64 bits that have the same shortest form."""
    from pyarrow import float64, record_batch, string

    columns = []
    for column in batch.columns:
        text, wide = _with_singles_as(column.type, string()), _with_singles_as(column.type, float64())
        columns.append(column if wide == column.type else column.cast(text).cast(wide))
    return record_batch(columns, names=batch.schema.names)


def _with_singles_as(kind: "DataType", single: "DataType") -> "DataType":
    """Return a type with another one in place of floats of 32 bits, at any depth of lists and structures."""
    from pyarrow import large_list, list_, struct, types

    if types.is_float32(kind):
        return single
    if types.is_struct(kind):
        return struct([part.with_type(_with_singles_as(part.type, single)) for part in kind])
    if types.is_list(kind) or types.is_large_list(kind):
        made = list_ if types.is_list(kind) else large_list
        return made(kind.value_field.with_type(_with_singles_as(kind.value_type, single)))
    if types.is_fixed_size_list(kind):
        return list_(kind.value_field.with_type(_with_singles_as(kind.value_type, single)), kind.list_size)
    return kind


def can_write_parquet() -> bool:
    """Return whether the library is there."""
    return importlib.util.find_spec("pyarrow") is not None


def write_parquet(
    path: Path, groups: Iterable[Sequence[Mapping[str, object]]], columns: Mapping[str, type]
) -> None:
    """Write rows as a file of that form, one row group after the other; one of them is held at a time.

    Args:
        columns: What each column holds: `str`, `int`, `float` or `bool`, or None in any cell.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    with path.open("wb") as stream:
        with ParquetWriter(stream, schema) as writer:
            for rows in groups:
                writer.write_table(pa.Table.from_pylist(list(rows), schema=schema))
        stream.flush()
        os.fsync(stream.fileno())


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
