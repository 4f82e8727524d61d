"""A table of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimizer.report._reading import ABSENT


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column: its heading, and whether it holds figures."""

    name: str
    figures: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row: its cells, of which the first names it, and whether it is the prompt that is frozen."""

    cells: tuple[str, ...]
    frozen: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table; without rows it is not shown."""

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def make_table(
    name: str,
    caption: str,
    rows: Sequence[Mapping[str, str]],
    *,
    words: Sequence[str],
    frozen: Sequence[int] = (),
) -> Table:
    """Return a table of rows that all have the same keys; a column in which every cell is absent is left out.

    Args:
        words: The columns of words; all others hold figures.
        frozen: Which rows are the frozen prompt.
    """
    keys = [key for key in rows[0] if any(row[key] != ABSENT for row in rows)] if rows else []
    return Table(
        id=name,
        caption=caption,
        columns=tuple(Column(name=key, figures=key not in words) for key in keys),
        rows=tuple(
            Row(cells=tuple(row[key] for key in keys), frozen=k in frozen) for k, row in enumerate(rows)
        ),
    )
