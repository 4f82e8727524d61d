"""Kinds: what the values of a target say an answer is, and which metric fits it.

| values of the target | the output is | the metric |
|---|---|---|
| lists, or texts of parts with `;`, `|` or `,` between them, of few different texts; with commas not numbers, nor as many parts in every cell | labels | jaccard |
| other lists and objects, or their JSON | json | json_fields |
| 2 to 20 short texts that come back, a third as many as the rows at most; with ten rows each up to 100, unless they stand in the inputs | a label | accuracy |
| numbers, unless they are whole and of 10 values at most that come back, or of more than 15 figures | a number | numeric |
| all others | text | match; where answers are long token_f1, or ngram_similarity where no spaces part their words |

Several targets are one answer of type json, each with its own kind.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from optimizer.answer import find_number
from optimizer.columns import FEW_LABELS, Column, few_for
from optimizer.document import clipped
from optimizer.errors import Problem
from optimizer.explanation import percent
from optimizer.schema import meant
from optimizer.shapes import schema_of
from optimizer.table import Table
from optimizer.taskfile import OutputType

_MOST_NUMBERS = 10  # a scale or a code; whole numbers of more values are amounts
_MOST_FREQUENT = 0.7  # share of one label above which always saying it looks like a good prompt
_LONG_ANSWER_WORDS = 5  # on average; an answer of more can hardly be met as a whole

# A cell that is one number and means to everybody what `find_number` reads: `012` is a code.
_BEFORE, _AFTER = r"(?:[$€£]?\s?[-+]?|[-+−–][$€£]?)", r"\s?[%€]?"
_NUMBER = re.compile(
    rf"{_BEFORE}(?:(?:0|[1-9]\d*|[1-9]\d{{0,2}}(?:,\d{{3}})+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?{_AFTER}"
)
_WHOLE = re.compile(r"[-+]?(\d+)(?:\.0+)?")  # pandas writes 1.0 for 1 where a column has gaps
_MOST_FIGURES = 15  # of a whole number that is an amount; every such one is a float of its own
# Figures as French, German and others write them: a decimal comma, a space or a full stop between thousands.
_SPACED = r"[1-9]\d{0,2}(?:[ \u00a0\u202f\u2009]\d{3})+"
_COMMA = re.compile(
    rf"{_BEFORE}(?:{_SPACED}(?:,\d+)?|[1-9]\d{{0,2}}(?:(?:\.\d{{3}})+,\d+|(?:\.\d{{3}}){{2,}})|\d+,\d+){_AFTER}"
)
# What among such may be a decimal comma or point, or stand between thousands, and what may be a code.
_POINTED = re.compile(rf"{_BEFORE}[1-9]\d{{0,2}}\.\d{{3}}{_AFTER}")
_UNCLEAR, _GROUPS = re.compile(rf"{_BEFORE}[1-9]\d{{0,2}}[,.]\d{{3}}{_AFTER}"), re.compile(_SPACED)

_SEPARATORS = (";", "|", ",")
_LONGEST_LABEL = 60
# A list of texts as Python shows it, which is no JSON, and its items.
_PYTHON_ITEM = r"'[^'\\]*'|\"[^\"\\]*\""
_PYTHON_LIST = re.compile(rf"\[\s*(?:(?:{_PYTHON_ITEM})(?:\s*,\s*(?:{_PYTHON_ITEM}))*)?\s*\]")
_SEVERAL_ONE_IN = 20  # cells with several parts; with fewer the separator is chance


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What an answer is.

    Attributes:
        labels: The most frequent first, then by alphabet; empty unless the type has labels.
        schema: JSON Schema of an answer of type json; empty where nothing is said of it.
        fields: The kinds of several targets by their columns, where every row has all of them.
        why: Why it is taken for that.
    """

    type: OutputType
    why: str
    labels: tuple[str, ...] = ()
    schema: Mapping[str, object] = field(default_factory=dict)
    fields: tuple[tuple[str, "Kind"], ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the keys of an answer that is an object."""
        if self.fields:
            return tuple(name for name, _ in self.fields)
        return _keys(self.schema)

    @property
    def is_list(self) -> bool:
        """Return whether an answer is a list of something else than labels."""
        return self.schema.get("type") == "array"

    @property
    def item_keys(self) -> tuple[str, ...]:
        """Return the keys of each item of an answer that is a list of objects."""
        items = self.schema.get("items")
        return _keys(items) if isinstance(items, Mapping) else ()


def _keys(schema: Mapping[str, object]) -> tuple[str, ...]:
    properties = schema.get("properties")
    return tuple(properties) if isinstance(properties, Mapping) else ()


def kind_of_answer(targets: Sequence[Column], inputs: Sequence[Column] = ()) -> Kind:
    """Return what the values of one target, or of several together, say an answer is.

    Args:
        inputs: The columns that a model reads: what stands there is picked, and no label.
    """
    if len(targets) == 1:
        found = _kind(targets[0])
        if found.type == "label" and len(found.labels) > FEW_LABELS and _picked(targets[0], inputs):
            why = f"{len(targets[0].counts)} different values, and most of them stand in the inputs of their row"
            return Kind(type="text", why=f"{why}; `label` is the alternative")
        return found
    parts = tuple((column.name, _part(column)) for column in targets)
    why = "several columns are one answer, an object: " + "; ".join(
        f"{clipped(name)} is {part.type}, {part.why}" for name, part in parts
    )
    if not any(
        column.optional or part.type == "json" for column, (_, part) in zip(targets, parts, strict=True)
    ):
        return Kind(type="json", fields=parts, why=why)
    schema = {
        "type": "object",
        "properties": {name: _schema(part) for name, part in parts},
        "required": [column.name for column in targets if not column.optional],
        "additionalProperties": False,
    }
    return Kind(type="json", schema=schema, why=f"{why}; where a cell is empty the object has no such key")


def _picked(target: Column, inputs: Sequence[Column]) -> bool:
    """Return whether half of the right answers or more stand in the inputs of their rows."""
    texts = ["\n".join(cell or "" for cell in row) for row in zip(*(c.cells for c in inputs), strict=True)]
    pairs = zip(target.cells, texts, strict=False)
    found = sum(answer.casefold() in text.casefold() for answer, text in pairs if answer)
    return found * 2 >= target.counts.total()


def _part(column: Column) -> Kind:
    """Return the kind of one of several targets."""
    return _kind(column) if column.counts else Kind(type="text", why="it is empty in every row")


def _schema(part: Kind) -> Mapping[str, object]:
    if part.type == "json":
        return part.schema
    if part.type == "number":
        return {"type": "number"}
    one: dict[str, object] = {"type": "string", **({"enum": list(part.labels)} if part.labels else {})}
    return {"type": "array", "items": one} if part.type == "labels" else one


def _kind(column: Column) -> Kind:
    counts = column.counts
    said = f"{len(counts)} different values in {counts.total()} rows"
    if several := _several(column):
        return several
    if column.structures is not None:
        return Kind(type="json", schema=schema_of(column.structures), why=f"{said}, all of them JSON")
    return _plain(column, said)


def _plain(column: Column, said: str) -> Kind:
    """Return the kind of a column of single values."""
    counts = column.counts
    labels = _frequent(counts)
    values = [value.strip() for value in counts]
    numbers = all(_NUMBER.fullmatch(value) and find_number(value) for value in values)
    written = None if numbers or not all(map(_is_written_number, values)) else _with_commas(values, said)
    if column.holds_labels and not numbers and (written is None or written.type != "number"):
        why = f"{said}, so they are labels; `text` and `number` are the alternatives"
        return Kind(type="label", labels=labels, why=why)
    if column.holds_labels and len(counts) <= _MOST_NUMBERS and all(map(_WHOLE.fullmatch, values)):
        why = f"{said}, whole numbers taken for labels, not for amounts; else `number`"
        return Kind(type="label", labels=labels, why=why)
    if numbers:
        others = (
            "`label` and `text` are the alternatives" if column.holds_labels else "`text` is the alternative"
        )
        return _numbers(values, f"{said}, all of them numbers; {others}")
    return written or Kind(
        type="text", why=f"{said}, too many or too long for labels, and not all of them numbers"
    )


def _is_written_number(value: str) -> bool:
    """Return whether a cell is a number in English, French or German."""
    return bool(_NUMBER.fullmatch(value) or _COMMA.fullmatch(value))


def _with_commas(values: Sequence[str], said: str) -> Kind:
    """Return the kind of a column of numbers that are not all written as in English."""
    if all(map(_GROUPS.fullmatch, values)):
        return Kind(
            type="text", why=f"{said}, figures in groups, which may be codes; `number` is the alternative"
        )
    unclear = next((value for value in values if _UNCLEAR.fullmatch(value)), None)
    if unclear is None and all(map(find_number, values)):
        commas = any("," in value for value in values)
        how = "a decimal comma" if commas else "a space or a full stop between thousands"
        return Kind(type="number", why=f"{said}, all of them numbers, some with {how}")
    why = f"numbers with a decimal comma, of which {unclear or 'some'} would be read otherwise; write 12.5 for 12,5"
    return Kind(type="text", why=why)


def _numbers(values: Sequence[str], why: str) -> Kind:
    """Return the kind of a column of many different numbers."""
    long = next((value for value in values if _is_long(value)), None)
    if long is None:
        return Kind(type="number", why=f"{why}{_read_as(values)}")
    why = f"whole numbers of more than {_MOST_FIGURES} figures, as {clipped(long)}: identifiers, not amounts"
    return Kind(type="text", why=f"{why}; `number` is the alternative")


def _read_as(values: Sequence[str]) -> str:
    """Return how numbers are read whose every point may stand between thousands, "" where none may."""
    pointed = [value for value in values if "." in value]
    if not pointed or not all(map(_POINTED.fullmatch, pointed)):
        return ""
    number = find_number(pointed[0]) or ""
    whole = "-" * number.startswith("-") + "".join(re.findall(r"\d", pointed[0]))
    return f". Caution: {clipped(pointed[0])} is read as {number}; write {whole} where the point stands between thousands"


def _is_long(value: str) -> bool:
    figures = value.replace(",", "").lstrip("-+")
    return len(figures) > _MOST_FIGURES and figures.isdecimal()


def _several(column: Column) -> Kind | None:
    """Return the kind of a column whose cells hold several labels each, None for any other."""
    if column.structures is not None:
        if column.lists is None:
            return None
        found = [list(part) for part in column.lists]
        between = "lists"
    else:
        between, found = next(
            ((mark, parts) for mark in _SEPARATORS if (parts := _parted(column, mark))), ("", [])
        )
    counts = Counter(label for labels in found for label in labels)
    if not counts or not few_for(len(counts), counts.total()) or len(counts) < 2:
        return None
    if max(map(len, counts)) > _LONGEST_LABEL or any(len(set(labels)) < len(labels) for labels in found):
        return None
    why = (
        f"{len(counts)} different texts in {between}"
        if between == "lists"
        else (f"{len(counts)} different texts, several in a cell with `{between}` between them")
    )
    return Kind(type="labels", labels=_frequent(counts), why=f"{why}; `text` is the alternative")


def _parted(column: Column, mark: str) -> list[list[str]]:
    """Return the parts of all cells where the mark stands between labels; nothing where it is a part of texts.

    Half of the parts at least must be met in other company too, or alone: in `Lyon, France` and `Nice, France` the
    cells are the values. So they are where a comma stands in numbers, or parts every cell in as many, as dates and names:
    sets vary in size.
    """
    cells = [cell for cell in column.cells if cell is not None and cell.strip()]
    found = [[part.strip() for part in cell.split(mark)] for cell in cells]
    several = sum(len(parts) > 1 for parts in found)
    if several * _SEVERAL_ONE_IN < len(found) or not several or not all(all(parts) for parts in found):
        return []
    if mark == "," and (
        len(set(map(len, found))) == 1 or _are_numbers([cell for cell in cells if mark in cell])
    ):
        return []
    company: dict[str, set[tuple[str, ...]]] = {}
    for parts in found:
        for part in parts:
            company.setdefault(part, set()).add(tuple(parts))
    met = sum(len(some) > 1 for some in company.values())
    return found if met * 2 >= len(company) else []


def _are_numbers(cells: Sequence[str]) -> bool:
    """Return whether nine in ten cells or more are numbers."""
    return sum(_is_written_number(cell.strip()) for cell in cells) * 10 >= len(cells) * 9


def _frequent(counts: Counter[str]) -> tuple[str, ...]:
    return tuple(sorted(counts, key=lambda value: (-counts[value], value)))


def twins(table: Table, target: Column, labels: Sequence[str]) -> Iterator[Problem]:
    """Yield the labels that differ from a more frequent one in case or spaces, or as 1 and 1.0 do."""
    folded: dict[str, str] = {}
    whole = all(map(_WHOLE.fullmatch, labels))
    for label in labels:
        twin = folded.setdefault(_as_whole(label) if whole else label.strip().casefold(), label)
        if twin != label:
            line = table.records[target.cells.index(label)].line if label in target.counts else None
            one, other = f"'{clipped(twin)}'", f"'{clipped(label)}'"
            message = f"expected {one}, found {other}, which differs only in case or spaces"
            if whole:
                message = (
                    f"expected one way to write a number, found {one} and {other}; write {_as_whole(label)}"
                )
            yield Problem(file=table.file, line=line, field=target.shown, message=message)


def unlabelled(table: Table, target: Column) -> Iterator[Problem]:
    """Yield the rows without a label."""
    for record, cell in zip(table.records, target.cells, strict=True):
        if cell is None or not cell.strip():
            message = "expected a label, found none"
            yield Problem(file=table.file, line=record.line, field=target.shown, message=message)


def _as_whole(number: str) -> str:
    """Return a whole number without a plus sign and without a nought behind a decimal point."""
    return number.partition(".")[0].removeprefix("+")


def written_as_floats(labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield a label that is a whole number with a nought behind a decimal point, and what to write in its place."""
    found = next((label for label in labels if "." in label), None)
    if found is not None and all(map(_WHOLE.fullmatch, labels)):
        short = _as_whole(found)
        yield found, f"write {short} for {found} in the data, and so on: that is what a model answers"


def python_lists(table: Table, target: Column) -> Iterator[Problem]:
    """Yield that the cells are lists as Python shows them, where they are: each would be taken for one text."""
    cells = [cell for cell in target.cells if cell is not None and cell.strip()]
    if target.structures is not None or not all(_PYTHON_LIST.fullmatch(cell.strip()) for cell in cells):
        return
    found = next((cell for cell in cells if "'" in cell), None)
    if found is not None:
        items = [item[1:-1] for item in re.findall(_PYTHON_ITEM, found)]
        said = f"write {json.dumps(items, ensure_ascii=False)} or {'; '.join(items)}"
        message = f"expected lists as JSON or as texts with `;` between them, found {clipped(found)}; {clipped(said)}"
        line = table.records[target.cells.index(found)].line
        yield Problem(file=table.file, line=line, field=target.shown, message=message)


def nothing_to_tell(table: Table, target: Column) -> Iterator[Problem]:
    """Yield that all answers are the same, where they are."""
    if len(target.counts) < 2:
        found = f"'{clipped(next(iter(target.counts)))}' in every row" if target.counts else "none"
        yield Problem(
            file=table.file, field=target.shown, message=f"expected different answers, found {found}"
        )


def rare(table: Table, target: Column, labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the labels that come once, and what that means."""
    for label in labels:
        if target.counts[label] == 1:
            line = table.records[target.cells.index(label)].line
            hint = meant(clipped(label), [clipped(other) for other in labels if other != label]) or "."
            yield clipped(label), f"comes once, on line {line}{hint} It cannot be both learned and tested"


def metric_of(targets: Sequence[Column], kind: Kind) -> tuple[str, tuple[str, ...], str]:
    """Return the objective, what is reported beside it, and why."""
    if kind.type == "label":
        return _label_metric(targets[0], kind)
    if kind.type == "labels":
        why = "what an answer and the right one have in common, of all that either names"
        return "jaccard", ("accuracy", "valid"), why
    if kind.type == "json":
        why = "the share of right fields"
        if kind.is_list:
            why += "; a list is one field, right with all of its items in their order, else wrong"
        return "json_fields", ("json_valid", "valid"), why
    if kind.type == "number":
        return "numeric", ("valid",), "an answer is the right number or not"
    return _text_metric(targets[0])


def _text_metric(target: Column) -> tuple[str, tuple[str, ...], str]:
    if target.words > _LONG_ANSWER_WORDS and target.unspaced:
        why = "the runs of characters that an answer and the right one share: long answers are hardly ever met as a "
        return (
            "ngram_similarity",
            ("exact_match", "valid"),
            f"{why}whole, and no spaces part the words of these",
        )
    if target.words > _LONG_ANSWER_WORDS:
        why = f"the words that an answer and the right one share: answers of {target.words:.0f} words are hardly "
        return "token_f1", ("exact_match", "valid"), f"{why}ever met as a whole, shorter ones can be"
    why = "an answer is right or wrong, case, punctuation and articles aside"
    return "match", ("exact_match", "valid"), why


def _label_metric(target: Column, kind: Kind) -> tuple[str, tuple[str, ...], str]:
    top = kind.labels[0]
    share = target.counts[top] / target.counts.total()
    why = "the share of right answers; macro_f1 is reported beside it"
    if share > _MOST_FREQUENT:
        why += (
            f". Always answering '{clipped(top)}' scores {percent(share)}, so a prompt must beat that; where the "
            f"other labels matter as much, `metric: macro_f1` weighs all alike"
        )
    return "accuracy", ("macro_f1", "valid"), why
