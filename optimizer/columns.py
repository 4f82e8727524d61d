"""Columns: which of a table's hold the right answers, and which a model may read.

Every guess comes with its reason, so that none is made in silence. Cells are counted and compared, nothing else.

| column | is taken for |
|---|---|
| named like an answer, else the last with few values, else the last | the target |
| three words and more in a cell; where there is none, the longest | an input |
| the id, the group, codes, what is the same in every row, what is named like metadata | neither |
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from optimizer.document import clipped
from optimizer.errors import InputError, Problem
from optimizer.table import Table

# Last words of the name of a column of right answers, the surest first; French and German ones without accents.
_TARGETS = (
    *(
        "label",
        "labels",
        "target",
        "answer",
        "expected",
        "gold",
        "truth",
        "category",
        "class",
        "team",
        "intent",
    ),
    *("topic", "sentiment", "tag", "output", "y", "etiquette", "reponse", "categorie", "classe", "equipe"),
    *("antwort", "kategorie", "klasse"),
)

# Last words of the name of a column that is about the row, not part of it, or that would give the answer away.
_ASIDE = {
    **dict.fromkeys(
        ("id", "ids", "idx", "index", "uuid", "key", "row", "url", "link", "file"), "names the row"
    ),
    **dict.fromkeys(("date", "time", "timestamp", "split", "fold", "annotator"), "is about the row"),
    **dict.fromkeys(("rationale", "explanation", "reasoning", "solution"), "may give the answer away"),
}

_MOST_LABELS = 20  # more than a prompt lists, and few data sets have examples enough of each
_ROWS_FOR_LABEL = 3  # on average; with fewer, values that come back are chance
_LONGEST_LABEL = 60  # characters; longer ones are sentences, which no model repeats letter by letter
_ONCE = (
    0.05  # share of rows whose value comes once and may be a label nevertheless; more of them are free text
)
_FREE_TEXT_WORDS = 3  # on average; fewer are names, codes and categories


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The columns that are asked for; None and nothing are proposed."""

    target: str | None = None
    inputs: tuple[str, ...] = ()
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column.

    Attributes:
        cells: Its texts, row by row; None where a row has none, or a value that is no text.
    """

    name: str
    cells: tuple[str | None, ...]

    @cached_property
    def counts(self) -> Counter[str]:
        """Return how often each value comes; empty cells are none."""
        return Counter(cell for cell in self.cells if cell is not None and cell.strip())

    @cached_property
    def words(self) -> float:
        """Return the words of a cell, on average."""
        return fmean(len((cell or "").split()) for cell in self.cells)

    @property
    def shown(self) -> str:
        """Return the name, safe and short enough to show."""
        return clipped(self.name)

    @property
    def holds_labels(self) -> bool:
        """Return whether the values are few, short, and come back; one row in twenty may hold one that does not."""
        rows = self.counts.total()
        again = [count for count in self.counts.values() if count > 1]
        return (
            2 <= len(self.counts) <= _MOST_LABELS
            and len(self.counts) * _ROWS_FOR_LABEL <= rows
            and len(again) >= 2
            and sum(again) >= (1 - _ONCE) * rows
            and all(len(value) <= _LONGEST_LABEL and len(value.splitlines()) == 1 for value in self.counts)
        )


def columns_of(table: Table) -> dict[str, Column]:
    """Return the columns of a table by name."""
    return {name: Column(name=name, cells=tuple(_cells(table, name))) for name in table.columns}


def _cells(table: Table, name: str) -> Iterator[str | None]:
    for record in table.records:
        try:
            yield record.text(name)
        except ValueError:  # where the column is used, loading the data tells what is wrong
            yield None


def target_of(columns: Mapping[str, Column], wanted: Wanted) -> tuple[Column, str]:
    """Return the column of right answers, and why it is taken for that.

    Raises:
        InputError: No column is left for it.
    """
    if wanted.target is not None:
        return columns[wanted.target], "as asked"
    taken = {"id", wanted.group, *wanted.inputs}
    usable = [column for column in columns.values() if column.name not in taken]
    if not usable:
        message = "expected a column of right answers, found none besides the id, the group and the inputs"
        raise InputError([Problem(file="", field="--target", message=message)])
    named = [(_rank(column.name), n) for n, column in enumerate(usable) if len(column.counts) > 1]
    ranked = sorted((rank, n) for rank, n in named if rank < len(_TARGETS))
    if ranked:
        others = ", ".join(usable[n].shown for _, n in ranked[1:])
        also = f"; {others} might be as well" if others else ""
        return usable[ranked[0][1]], f"its name says that it holds the answer{also}; --target names another"
    few = [column for column in usable if column.holds_labels]
    if few:
        return few[-1], "the last column with few different values; --target names another"
    return usable[-1], "the last column, as none has few values or a telling name; --target names another"


def _rank(name: str) -> float:
    """Return how surely a name says that its column holds answers: 0 most surely, `len(_TARGETS)` not at all."""
    words = _words(name)
    if words[-1] not in _TARGETS:
        return len(_TARGETS)
    return _TARGETS.index(words[-1]) + (0.5 if len(words) > 1 else 0)


def _words(name: str) -> list[str]:
    """Return the words of a column's name, without case and accents; one at least, which may be empty."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    plain = "".join(one for one in plain if not unicodedata.combining(one))
    return re.findall(r"[^\W_]+", plain) or [""]


def inputs_of(columns: Mapping[str, Column], target: Column, wanted: Wanted) -> tuple[list[Column], str]:
    """Return the columns for the model to read, and why these.

    Raises:
        InputError: No column is left for that.
    """
    if wanted.inputs:
        return [columns[name] for name in wanted.inputs], "as asked"
    others = [column for column in columns.values() if column.name not in ("id", wanted.group, target.name)]
    free = [column for column in others if not _aside(column, columns)]
    texts = [column for column in free if column.words >= _FREE_TEXT_WORDS]
    if texts:
        return texts, f"text of {_FREE_TEXT_WORDS} words or more; --inputs names others"
    # Better a column that looks like a code than none.
    free = free or [column for column in others if None not in column.cells]
    if not free:
        message = f"expected a column for the model to read besides the target '{target.shown}', found none"
        raise InputError([Problem(file="", field="--inputs", message=message)])
    longest = max(free, key=lambda column: sum(len(cell or "") for cell in column.cells))
    return [longest], "no column holds free text, and this is the longest; --inputs names others"


def _aside(column: Column, columns: Mapping[str, Column]) -> str:
    """Return why a column is no input, "" when it may be one."""
    if None in column.cells:
        return "has no text in some rows"
    if len(set(column.cells)) == 1:
        return "is the same in every row"
    if "id" in columns and column.cells == columns["id"].cells:
        return "is the same as the id"
    if hint := _ASIDE.get(_words(column.name)[-1]):
        return f"by its name {hint}"
    tokens = (token for cell in column.cells for token in (cell or "").split())
    coded = all(any(map(str.isdigit, token)) for token in tokens)
    return "holds numbers, dates or codes" if coded and column.words < _FREE_TEXT_WORDS else ""


def left_out(columns: Mapping[str, Column], used: set[str], wanted: Wanted) -> Iterator[tuple[str, str]]:
    """Yield the name of each column that is neither used nor id nor group, as it is shown, and why it is not."""
    for column in columns.values():
        if column.name in used or column.name in ("id", wanted.group):
            continue
        why = (
            "not asked for"
            if wanted.inputs
            else _aside(column, columns) or "is short and may be about the row"
        )
        if not wanted.inputs:
            why += "; --inputs names all that are read"
        repeats = 1 < len(column.counts) < column.counts.total()
        if wanted.group is None and _words(column.name)[-1] == "id" and repeats:
            why += f"; if rows with one value belong together, --group {column.shown} keeps them in one split"
        yield column.shown, why
