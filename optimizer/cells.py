"""Cells: what an example has of each column, by what the task says that the column holds.

| column | a cell is |
|---|---|
| text | text, a number, true or false |
| list | an array of texts, or such an array as JSON text; shown as `[1] ...`, with a blank line between the items |
| image | a URL, or a file of the project |
| labels | an array of labels, or as text; none where it is empty |
| json | any JSON, or as text |
| several targets | each by the schema of its key; together one JSON object |

Optional inputs may be empty, and a cell that is missing or null is. Of several targets, those that the schema does not
require may be empty as well: then the object has no such key. One that must be an array is empty where its cell is.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from optimizer.conformity import misfit
from optimizer.digest import canonical
from optimizer.document import clipped
from optimizer.images import image_url
from optimizer.record import Number, Record
from optimizer.targets import canonical_target, target_number
from optimizer.task import Task

_NUMBERS = frozenset(("number", "integer"))
_WHOLE = re.compile(r"-?\d+")


def input_of(record: Record, column: str, task: Task, *, file: Path) -> str:
    """Return what an example has of an input.

    Args:
        file: Where the record is from; files that it names are relative to its folder.

    Raises:
        ValueError: Saying what was expected and what was found.
    """
    kind = task.kinds[column].type if column in task.kinds else "text"
    return cell_of(record, column, kind=kind, optional=column in task.optional, file=file)


def cell_of(record: Record, column: str, *, kind: str, optional: bool, file: Path) -> str:
    """Return what a cell is as an input of a kind: text, list or image.

    Args:
        optional: Whether it may be empty.
        file: Where the record is from; files that it names are relative to its folder.

    Raises:
        ValueError: Saying what was expected and what was found.
    """
    if optional and record.empty(column):
        return ""
    if kind == "text":
        return record.text(column)
    if kind == "image":
        return image_url(record.text(column), file=file)
    items = items_of(record, column)
    if not items and not optional:
        raise ValueError("expected some texts, found none; an optional input may be empty")
    return listed(items)


def items_of(record: Record, column: str) -> tuple[str, ...]:
    """Return the texts of a list.

    Raises:
        ValueError: The cell is none.
    """
    content = record.content(column)
    if isinstance(content, str) and not isinstance(record.values[column], Number):
        try:
            content = json.loads(content)
        except (ValueError, RecursionError):
            content = None
    if not isinstance(content, list) or not all(isinstance(item, str) for item in content):
        raise ValueError(f"expected a list of texts, as a JSON array, found {_shown(record.content(column))}")
    return tuple(content)


def id_of(record: Record) -> str:
    """Return the id of a record; a whole number is its text.

    Raises:
        ValueError: It is none.
    """
    text = record.text("id")
    if not text.strip():
        raise ValueError("expected some text, found none")
    if isinstance(record.values["id"], Number) and not _WHOLE.fullmatch(text):
        raise ValueError(f"expected text or a whole number, found {text[:60]}")
    return text


def listed(items: Sequence[str]) -> str:
    """Return the texts of a list as a model is shown them: numbered, so that an answer can name one."""
    return "\n\n".join(f"[{n}] {item}" for n, item in enumerate(items, start=1))


def target_of(record: Record, task: Task) -> str:
    """Return the right answer of a task with one target.

    Raises:
        ValueError: Saying what was expected and what was found.
    """
    column = task.targets[0] if task.targets else task.target
    read = {"labels": _labels, "json": _as_json}.get(task.output, Record.text)
    return canonical_answer(read(record, column), task)


def canonical_answer(text: str, task: Task) -> str:
    """Return a target as an answer that equals it would be read.

    Raises:
        ValueError: It is no possible answer, or not of the task's schema.
    """
    target = task.canonical_target(text)
    if task.schema and (wrong := misfit(target, task.schema)):
        raise ValueError(wrong)
    return target


def part_of_target(record: Record, column: str, task: Task) -> dict[str, object]:
    """Return what a column adds to the answer that several targets make: its key and value, or nothing where empty.

    Raises:
        ValueError: Saying what was expected and what was found.
    """
    schema = json.loads(task.schema) if task.schema else {}
    part = schema.get("properties", {}).get(column, {})
    if not isinstance(part, Mapping):
        part = {}
    kinds = _types(part)
    if record.empty(column):
        if "null" in kinds:
            return {column: None}
        if column not in schema.get("required", ()):
            return {}
        if kinds != {"array"}:
            raise ValueError("expected a target, found an empty one")
        if column in record.values:
            return {column: []}
    return {column: _value(record, column, part)}


def _types(part: Mapping[str, object]) -> set[str]:
    """Return the JSON types that a schema allows by its `type`, none where it does not say."""
    stated = part.get("type", [])
    return set(map(str, stated)) if isinstance(stated, list) else {str(stated)}


def _value(record: Record, column: str, part: Mapping[str, object]) -> object:
    content, kinds = record.content(column), _types(part) - {"null"}
    if kinds and kinds <= _NUMBERS:
        return json.loads(target_number(record.text(column)))
    if kinds == {"string"} and not isinstance(content, dict | list):
        text, labels = record.text(column), _texts(part.get("enum"))
        return canonical_target(text, "label", labels) if labels else text
    items = part.get("items")
    if kinds == {"array"} and isinstance(items, Mapping) and (labels := _texts(items.get("enum"))):
        return json.loads(canonical_target(_labels(record, column), "labels", labels))
    if kinds and kinds <= {"array", "object"} and isinstance(content, str):
        return json.loads(canonical_target(content, "json", ()))
    return content


def _texts(enum: object) -> tuple[str, ...]:
    """Return the values of an `enum` where all are texts, null aside; only these are labels."""
    values = [value for value in enum if value is not None] if isinstance(enum, list) else []
    texts = [value for value in values if isinstance(value, str)]
    return tuple(filter(None, texts)) if len(texts) == len(values) else ()


def _labels(record: Record, column: str) -> str:
    """Return the labels of a cell as a JSON array, or as the text that lists them; none where the cell is empty."""
    if record.empty(column):
        return ""
    cell = record.values[column]
    if not isinstance(cell, list):
        return record.text(column)
    record.content(column)  # tells what no text should hold
    return json.dumps([json.dumps(item) if isinstance(item, bool) else item for item in cell])


def _as_json(record: Record, column: str) -> str:
    """Return a cell as JSON text; a text is taken for that already, and a null is one."""
    is_text = isinstance(record.values.get(column, ""), str)
    return record.text(column) if is_text else canonical(record.content(column))


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f"'{clipped(value)}'" if value.strip() else "none"
    return f"'{clipped(json.dumps(value, ensure_ascii=False, default=str))}'"
