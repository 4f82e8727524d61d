"""Columns: which of a table's hold the right answers, and which a model may read.

Every guess comes with its reason, so that none is made in silence. Cells are counted and compared, nothing else.

| column | is taken for |
|---|---|
| named like an answer, else the last with few values, else the last | the target |
| three words and more in a cell; where there is none, the longest; and lists of texts | an input |
| the id, the group, codes, what is the same in every row, what is named like metadata or says the answer | neither |

An input that is empty in some rows is an optional one.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from optimizer.digest import canonical
from optimizer.document import clipped
from optimizer.errors import InputError, Problem
from optimizer.record import Record
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

_IMAGE = re.compile(r"\s*(?:data:image/\S+|\S+\.(?:png|jpe?g|gif|webp)(?:[?#]\S*)?)\s*", re.IGNORECASE)

FEW_LABELS = 20  # more are a long list in a prompt, and few data sets have examples enough of each
_MOST_WITH_MANY_ROWS, _MANY_ROWS = 100, 10  # rows for each label, on average, that make up for that
_ROWS_FOR_LABEL = 3  # on average; with fewer, values that come back are chance
_LONGEST_LABEL = 60  # characters; longer ones are sentences, which no model repeats letter by letter
_ONCE = (
    0.05  # share of rows whose value comes once and may be a label nevertheless; more of them are free text
)
# Letters of scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han. Three make a word, about.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]"
)
_LETTERS_OF_A_WORD = 3
_TELLING = "it has few values, each with one answer in every row"
_FREE_TEXT_WORDS = 3  # on average; fewer are names, codes and categories
_FILLED_ONE_IN = 20  # rows that have something in an optional input; with fewer it hardly ever says anything


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The columns that are asked for; None and nothing are proposed."""

    targets: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column.

    Attributes:
        cells: Its texts, row by row, lists and objects as JSON; None where a row has none, or a value that is no text.
        contents: What they are as JSON means it.
    """

    name: str
    cells: tuple[str | None, ...]
    contents: tuple[object, ...]

    @cached_property
    def counts(self) -> Counter[str]:
        """Return how often each value comes; empty cells are none."""
        return Counter(cell for cell in self.cells if cell is not None and cell.strip())

    @cached_property
    def structures(self) -> tuple[object, ...] | None:
        """Return the lists and objects of all cells that hold anything, as JSON or as its text; None unless all are."""
        found = tuple(
            _structure(content)
            for cell, content in zip(self.cells, self.contents, strict=True)
            if cell is not None and cell.strip()
        )
        return found if found and None not in found else None

    @cached_property
    def lists(self) -> tuple[tuple[str, ...], ...] | None:
        """Return the texts of all cells that hold anything; None unless these are lists of texts, and one has some."""
        if self.structures is None or not any(self.structures):
            return None
        found = [part for part in self.structures if isinstance(part, list) and all(map(_is_text, part))]
        return tuple(map(tuple, found)) if len(found) == len(self.structures) else None

    @cached_property
    def filled(self) -> int:
        """Return how many rows have something in this column; an empty list is nothing."""
        if self.lists is not None:
            return sum(map(bool, self.lists))
        return self.counts.total()

    @property
    def optional(self) -> bool:
        """Return whether some rows have nothing in this column."""
        return self.filled < len(self.cells)

    @cached_property
    def words(self) -> float:
        """Return the words of a cell that holds anything, on average; about, where no spaces part them."""
        texts = map(" ".join, self.lists) if self.lists is not None else self.counts.elements()
        return fmean([_words_in(text) for text in texts] or [0])

    @cached_property
    def unspaced(self) -> bool:
        """Return whether most of what is written is in scripts that put no spaces between words."""
        text = "".join(self.counts.elements())
        return len(_UNSPACED.findall(text)) * 2 > len(text)

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
            len(self.counts) >= 2
            and few_for(len(self.counts), rows)
            and len(again) >= 2
            and sum(again) >= (1 - _ONCE) * rows
            and all(len(value) <= _LONGEST_LABEL and len(value.splitlines()) == 1 for value in self.counts)
        )


def _words_in(text: str) -> float:
    unspaced = len(_UNSPACED.findall(text))
    if not unspaced:
        return len(text.split())
    others = sum(any(map(str.isalnum, token)) for token in _UNSPACED.sub(" ", text).split())
    return others + unspaced / _LETTERS_OF_A_WORD


def few_for(values: int, rows: int) -> bool:
    """Return whether so many different values in so many rows are few enough to be labels."""
    if values <= FEW_LABELS:
        return values * _ROWS_FOR_LABEL <= rows
    return values <= _MOST_WITH_MANY_ROWS and values * _MANY_ROWS <= rows


def _structure(content: object) -> object:
    """Return the list or object that a cell is, or whose JSON it is; None where it is neither."""
    if isinstance(content, str) and content.lstrip()[:1] in ("[", "{"):
        try:
            content = json.loads(content)
        except (ValueError, RecursionError):
            return None
    return content if isinstance(content, list | dict) else None


def _is_text(item: object) -> bool:
    return isinstance(item, str)


def columns_of(table: Table) -> dict[str, Column]:
    """Return the columns of a table by name."""
    return {name: _column(table, name) for name in table.columns}


def _column(table: Table, name: str) -> Column:
    pairs = [_cell(record, name) for record in table.records]
    return Column(name=name, cells=tuple(cell for cell, _ in pairs), contents=tuple(one for _, one in pairs))


def _cell(record: Record, name: str) -> tuple[str | None, object]:
    if record.values.get(name) is None:
        return None, None
    try:
        content = record.content(name)
        return (canonical(content) if isinstance(content, list | dict) else record.text(name)), content
    except ValueError:  # where the column is used, loading the data tells what is wrong
        return None, ()


def targets_of(columns: Mapping[str, Column], wanted: Wanted) -> tuple[list[Column], str]:
    """Return the columns of right answers, and why they are taken for that.

    Raises:
        InputError: No column is left for it.
    """
    if wanted.targets:
        return [columns[name] for name in wanted.targets], "as asked"
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
        return [usable[ranked[0][1]]], f"its name says that it holds the answer{also}; --target names another"
    few = [column for column in usable if column.holds_labels]
    if few:
        return [few[-1]], "the last column with few different values; --target names another"
    return [usable[-1]], "the last column, as none has few values or a telling name; --target names another"


def _rank(name: str, *, plural: bool = False) -> float:
    """Return how surely a name says that its column holds answers: 0 most surely, `len(_TARGETS)` not at all."""
    words = _words(name)
    last = words[-1] if words[-1] in _TARGETS or not plural else words[-1].removesuffix("s")
    if last not in _TARGETS:
        return len(_TARGETS)
    return _TARGETS.index(last) + (0.5 if len(words) > 1 else 0)


def _words(name: str) -> list[str]:
    """Return the words of a column's name, without case and accents; one at least, which may be empty."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    plain = "".join(one for one in plain if not unicodedata.combining(one))
    return re.findall(r"[^\W_]+", plain) or [""]


def inputs_of(
    columns: Mapping[str, Column], targets: Collection[str], wanted: Wanted
) -> tuple[list[Column], str]:
    """Return the columns for the model to read, and why these.

    Raises:
        InputError: No column is left for that.
    """
    if wanted.inputs:
        return [columns[name] for name in wanted.inputs], "as asked"
    others = [one for one in columns.values() if one.name not in ("id", wanted.group, *targets)]
    free = [column for column in others if not _aside(column, columns)]
    lists = [column for column in free if column.lists is not None]
    texts = [column for column in free if column.lists is None and column.words >= _FREE_TEXT_WORDS]
    why = f"text of {_FREE_TEXT_WORDS} words or more"
    if not texts:
        # Better a column that looks like a code than none.
        coded = [column for column in others if None not in column.cells and column.structures is None]
        usable = [column for column in free if column.lists is None] or ([] if lists else coded)
        texts = [max(usable, key=lambda column: len("".join(column.counts.elements())))] if usable else []
        why = "no column holds free text, and this is the longest"
    if not texts and not lists:
        answers = ", ".join(f"'{clipped(name)}'" for name in targets)
        message = f"expected a column for the model to read besides the target {answers}, found none"
        raise InputError([Problem(file="", field="--inputs", message=message)])
    if lists:
        why = f"{why}; and lists of texts" if texts else "lists of texts"
    named = {column.name for column in (*texts, *lists)}
    told = {name for name in named if _tells(columns[name], [columns[target] for target in targets])}
    if named == told:  # better a column that may say the answer than none
        why += f", and may give the answer away: {_TELLING}"
    else:
        named -= told
    return [column for column in others if column.name in named], f"{why}; --inputs names others"


def _aside(column: Column, columns: Mapping[str, Column]) -> str:
    """Return why a column is no input, "" when it may be one."""
    hint = _ASIDE.get(_words(column.name)[-1], "")
    if column.lists and _rank(column.name, plural=True) < len(_TARGETS):
        hint = "may give the answer away"
    tokens = (token for cell in column.counts for token in cell.split())
    coded = column.lists is None and all(any(map(str.isdigit, token)) for token in tokens)
    reasons = {
        "holds objects, or lists of something else than texts": column.structures and column.lists is None,
        "has no text in some rows": () in column.contents,
        "is empty in nearly every row": column.filled * _FILLED_ONE_IN < len(column.cells),
        "is the same in every row": len(set(column.cells)) == 1,
        "is the same as the id": "id" in columns and column.cells == columns["id"].cells,
        "names images, which a model is shown where the task says `type: image`": column.counts
        and all(map(_IMAGE.fullmatch, column.counts)),
        f"by its name {hint}": hint,
        "holds numbers, dates or codes": coded and column.words < _FREE_TEXT_WORDS,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _tells(column: Column, targets: Sequence[Column]) -> bool:
    """Return whether a column has few different values, and each of them comes with one answer only."""
    if len(column.counts) < 2 or not few_for(len(column.counts), column.filled):
        return False
    answers = zip(*(target.cells for target in targets), strict=True)
    pairs = {
        pair for pair in zip(column.cells, answers, strict=True) if pair[0] is not None and pair[0].strip()
    }
    return len(pairs) == len(column.counts) and len({answer for _, answer in pairs}) > 1


def _doubt(column: Column) -> str:
    """Return why a column that might be an input is none."""
    if column.lists is None and column.words < _FREE_TEXT_WORDS:
        return "is short and may be about the row"
    return f"may give the answer away: {_TELLING}"


def left_out(columns: Mapping[str, Column], used: set[str], wanted: Wanted) -> Iterator[tuple[str, str]]:
    """Yield the name of each column that is neither used nor id nor group, as it is shown, and why it is not."""
    for column in columns.values():
        if column.name in used or column.name in ("id", wanted.group):
            continue
        why = "not asked for" if wanted.inputs else _aside(column, columns) or _doubt(column)
        if not wanted.inputs:
            why += "; --inputs names all that are read"
        repeats = 1 < len(column.counts) < column.counts.total()
        if wanted.group is None and _words(column.name)[-1] == "id" and repeats:
            why += f"; if rows with one value belong together, --group {column.shown} keeps them in one split"
        yield column.shown, why
