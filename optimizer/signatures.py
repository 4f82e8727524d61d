"""A task out of a `dspy.Signature` and its examples: a task file and its data, to be read like any other.

    files = task_files(Triage, trainset, name="triage")
    task = load_task(files.write(Path()))

Types say what an answer is:

    Literal, Enum, bool         label, with the values in their order (True before False)
    list or set of these        labels
    int, float                  number
    str                         text
    all other types             json, with the JSON Schema of the type
    several output fields       json, an object of them all

A first output field `reasoning`, as `ChainOfThought` adds, is left out: whether and how to reason is for styles to say.
Nothing of DSPy is imported: whoever has a signature has it already.
"""

import enum
import json
import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from optimizer.document import write_atomically
from optimizer.errors import InputError, Problem
from optimizer.shapes import inlined

if TYPE_CHECKING:
    import dspy

Plain = dict[str, Any]
# What a field holds, and its labels.
_Kind = tuple[str, tuple[str, ...]]

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair

# The column of an answer that several fields make, and the one that tells rows apart, whatever else it is.
_ANSWER, _ID = "answer", "id"

# What DSPy notes in the schema of a field for itself.
_NOTES = frozenset({"__dspy_field_type", "prefix", "desc", "title", "default"})

# Types of DSPy that are no data of an example, by their names.
_NO_INPUTS = frozenset({"History", "Tool", "ToolCalls", "Audio", "File", "Document"})


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFiles:
    """The two files of a task.

    Attributes:
        name: Of the task, and of both files.
        task: YAML.
        data: JSON Lines; lists and objects are JSON in a text.
    """

    name: str
    task: str
    data: str

    def write(self, root: Path) -> Path:
        """Write `tasks/NAME.yaml` and `datasets/NAME.jsonl` in a project, and return the path of the task.

        Raises:
            InputError: When one of them is there already; then nothing is written.
            OSError: When one of them cannot be written.
        """
        files = {
            root / "datasets" / f"{self.name}.jsonl": self.data,
            root / "tasks" / f"{self.name}.yaml": self.task,
        }
        taken = [Problem(file=str(path), message="is there already") for path in files if path.exists()]
        if taken:
            raise InputError(taken)
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text)
        return root / "tasks" / f"{self.name}.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    """One field of a signature.

    Attributes:
        kind: What it holds: of an input text, list or image, of an output what an answer can be.
        optional: Whether it may be missing.
        labels: The labels, where there are some.
        description: What the signature says of it, "" for nothing.
    """

    name: str
    kind: str
    optional: bool = False
    labels: tuple[str, ...] = ()
    description: str = ""

    def cell(self, value: object) -> str | int | float:
        """Return a value as a table holds it.

        Raises:
            ValueError: Saying what was expected and what was found.
        """
        if value is None:
            if self.optional:
                return ""
            raise ValueError("expected a value, found none")
        if self.kind == "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"expected a number, found {value!r:.60}")
            if not math.isfinite(value):
                raise ValueError(f"expected a finite number, found {value!r}")
            return value
        if self.kind == "label":
            return self._label(value)
        if self.kind == "labels":
            return _json([self._label(each) for each in _listed(value)])
        if self.kind == "image":
            return str(getattr(value, "url", value))
        written = _finite_json if self.kind == "json" else _json
        return value if isinstance(value, str) and self.kind == "text" else written(value)

    def _label(self, value: object) -> str:
        label = _label(value)
        if label not in self.labels:
            raise ValueError(f"expected one of {', '.join(map(repr, self.labels))}, found {label!r:.60}")
        return label


def task_files(
    signature: "type[dspy.Signature]",
    examples: "Iterable[dspy.Example | Mapping[str, object]]",
    *,
    name: str,
    metric: str | Mapping[str, object] = "",
    language: str = "en",
) -> TaskFiles:
    """Return the files of the task that a signature and its examples describe.

    Args:
        examples: With every field of the signature but those that may be None; what else they hold is left out.
        metric: A name or a mapping as a task file has it; the usual one of the answer's type unless given.

    Raises:
        InputError: With everything that has no place in a task: fields by their names, examples by their numbers.
    """
    problems: list[Problem] = []
    if not _NAME.fullmatch(name):
        message = f"expected up to 64 letters without accents, digits, - and _, found {name!r:.80}"
        problems.append(Problem(file="", field="name", message=message))
    inputs = _fields(signature.input_fields, _input, problems)
    outputs = _fields(_answering(signature), _output, problems)
    together = len(outputs) > 1 and any(each.kind == "json" for each in outputs)
    problems += _unfit(inputs, outputs, together=together)
    for each in (*inputs, *outputs):
        problems += _halves(f"signature.{each.name}", each.description, *each.labels)
    cells = tuple(replace(each, kind="json") for each in outputs) if together else outputs
    rows = [] if problems else list(_rows(examples, (*inputs, *cells), problems))
    if any(each.name == _ID for each in (inputs if together else (*inputs, *outputs))):
        problems += _clashes(rows)
    if not rows and not problems:
        problems.append(Problem(file="", field="examples", message="expected at least one, found none"))
    if problems:
        raise InputError(problems)
    output, names = _answer(signature, outputs), [_ANSWER] if together else [each.name for each in outputs]
    described = [f"{each.name}: {each.description}" for each in (*inputs, *outputs) if each.description]
    content = {
        "schema": 1,
        "name": name,
        "description": "; ".join(described),
        "language": language,
        "dataset": {
            "path": f"../datasets/{name}.jsonl",
            "inputs": _inputs(inputs),
            "target": names[0] if len(names) == 1 else names,
        },
        "output": output,
        "metric": metric or ("accuracy" if output["type"] == "label" else "exact_match"),
        "instruction": signature.instructions.strip(),
    }
    lines = (_json(_joined(row, cells) if together else row) for row in rows)
    return TaskFiles(
        name=name,
        task="".join(f"{line}\n" for line in _yaml(content)),
        data="".join(f"{line}\n" for line in lines),
    )


def _answering(signature: "type[dspy.Signature]") -> Plain:
    """Return the output fields but for a reasoning before the others."""
    fields = dict(signature.output_fields)
    if len(fields) > 1 and next(iter(fields)) == "reasoning":
        del fields["reasoning"]
    return fields


def _fields(found: Plain, read: Callable[[Any], _Kind], problems: list[Problem]) -> tuple[_Field, ...]:
    fields = []
    for name, info in found.items():
        said = (info.json_schema_extra or {}).get("desc", "")
        annotation, optional = _required(info.annotation)
        try:
            kind, labels = read(annotation)
        except ValueError as error:
            problems.append(Problem(file="", field=f"signature.{name}", message=str(error)))
            continue
        description = "" if said == f"${{{name}}}" else said
        fields.append(_Field(name=name, kind=kind, optional=optional, labels=labels, description=description))
    if not found:
        problems.append(
            Problem(file="", field="signature", message="expected inputs and outputs, found none of them")
        )
    return tuple(fields)


def _unfit(inputs: tuple[_Field, ...], outputs: tuple[_Field, ...], *, together: bool) -> Iterator[Problem]:
    """Yield what is wrong with fields whose types are right."""
    for each in outputs:
        if each.optional:
            message = "expected an answer that is always there, found one that may be None"
            yield Problem(file="", field=f"signature.{each.name}", message=message)
    if together and any(each.name == _ANSWER for each in inputs):
        message = f"expected another name: the outputs together are the column {_ANSWER!r}"
        yield Problem(file="", field=f"signature.{_ANSWER}", message=message)


def _required(annotation: Any) -> tuple[Any, bool]:  # noqa: ANN401
    """Return a type without its None, and whether it had one."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    others = [each for each in get_args(annotation) if each is not type(None)]
    optional = len(others) < len(get_args(annotation))
    return (others[0] if len(others) == 1 else Union[tuple(others)]), optional  # noqa: UP007  # made at run time


def _input(annotation: Any) -> _Kind:  # noqa: ANN401
    """Return what an input holds; whatever is no text is shown as JSON.

    Raises:
        ValueError: For what is no data of an example, as a history of turns is.
    """
    name = getattr(annotation, "__name__", str(annotation))
    of_dspy = str(getattr(annotation, "__module__", "")).startswith("dspy.")
    if of_dspy and name in _NO_INPUTS:
        raise ValueError(f"expected a type that a table can hold, found dspy.{name}")
    if of_dspy and name == "Image":
        return "image", ()
    return ("list" if annotation == list[str] else "text"), ()


def _output(annotation: Any) -> _Kind:  # noqa: ANN401
    """Return what an answer is, and its labels."""
    if labels := _labels(annotation):
        return "label", labels
    if get_origin(annotation) in (list, set, frozenset) and (labels := _labels(*get_args(annotation)[:1])):
        return "labels", labels
    if annotation in (int, float):
        return "number", ()
    return ("text" if annotation is str else "json"), ()


def _labels(annotation: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Return the values of a closed type as labels, none for any other type."""
    if annotation is bool:
        return "True", "False"
    if get_origin(annotation) is Literal:
        return tuple(map(_label, get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return tuple(map(_label, annotation))
    return ()


def _label(value: object) -> str:
    return str(value.value if isinstance(value, enum.Enum) else value)


def _listed(value: object) -> Iterable[object]:
    if not isinstance(value, list | tuple | set | frozenset):
        raise ValueError(f"expected a list, found {value!r:.60}")
    return sorted(value, key=_label) if isinstance(value, set | frozenset) else value


def _rows(examples: Iterable[Any], fields: tuple[_Field, ...], problems: list[Problem]) -> Iterator[Plain]:
    for n, example in enumerate(examples):
        values, row = Plain(example.items()), Plain()
        for field in fields:
            try:
                row[field.name] = field.cell(values.get(field.name))
                problems += _halves(f"examples[{n}].{field.name}", str(row[field.name]))
            except ValueError as error:
                problems.append(Problem(file="", field=f"examples[{n}].{field.name}", message=str(error)))
        yield row


def _halves(field: str, *texts: str) -> Iterator[Problem]:
    """Yield what is wrong with texts that no file can hold."""
    if any(map(_HALF.search, texts)):
        yield Problem(file="", field=field, message="expected text, found half of a surrogate pair in it")


def _clashes(rows: Iterable[Plain]) -> Iterator[Problem]:
    """Yield what is wrong with a field that is the id of its row as well: no text, or that of another row."""
    first: dict[object, int] = {}
    for n, row in enumerate(rows):
        cell = row.get(_ID)
        if cell is None:  # known to be wrong
            continue
        if not isinstance(cell, str) or not cell.strip():
            message = f"expected some text, since it is the id of a row, found {cell!r}"
        elif first.setdefault(cell, n) < n:
            message = f"expected an id of its own, found {cell!r:.60} again, first in examples[{first[cell]}]"
        else:
            continue
        yield Problem(file="", field=f"examples[{n}].{_ID}", message=message)


def _joined(row: Plain, outputs: tuple[_Field, ...]) -> Plain:
    """Return a row whose outputs are one object in one cell."""
    parsed = {each.name: json.loads(row[each.name]) for each in outputs}
    return {**{name: cell for name, cell in row.items() if name not in parsed}, _ANSWER: _json(parsed)}


def _inputs(inputs: tuple[_Field, ...]) -> list[str] | Plain:
    """Return the inputs as a task file has them: their names, with what they hold where one is more than a text."""
    if all(each.kind == "text" and not each.optional for each in inputs):
        return [each.name for each in inputs]
    return {each.name: {"type": each.kind} | ({"optional": True} if each.optional else {}) for each in inputs}


def _answer(signature: "type[dspy.Signature]", outputs: tuple[_Field, ...]) -> Plain:
    """Return what a task file says of its answers."""
    plain = {each.name: _without_empty({"type": each.kind, "labels": list(each.labels)}) for each in outputs}
    if all(each.kind != "json" for each in outputs):
        return {"type": "json", "fields": plain} if len(outputs) > 1 else plain[outputs[0].name]
    whole = signature.model_json_schema()
    parts = {
        each.name: {key: value for key, value in whole["properties"][each.name].items() if key not in _NOTES}
        for each in outputs
    }
    definitions = {"$defs": whole["$defs"]} if "$defs" in whole else {}
    if len(outputs) == 1:
        schema = inlined({**parts[outputs[0].name], **definitions})
        return {"type": "json", "schema": {key: part for key, part in schema.items() if key not in _NOTES}}
    schema = {"type": "object", "properties": parts, "required": list(parts), "additionalProperties": False}
    return {"type": "json", "schema": {**schema, **definitions}}


def _without_empty(value: Plain) -> Plain:
    return {key: each for key, each in value.items() if each}


def _json(value: object) -> str:
    """Return JSON; what is none writes itself where it can, as models of Pydantic do."""
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _finite_json(value: object) -> str:
    """Return JSON that every reader takes.

    Raises:
        ValueError: For numbers that JSON does not have.
    """
    text = _json(value)
    json.loads(text, parse_constant=_refuse)
    return text


def _refuse(constant: str) -> None:
    raise ValueError(f"expected finite numbers, found {constant}")


def _plain(value: Any) -> object:  # noqa: ANN401
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return list(_listed(value)) if isinstance(value, set | frozenset) else getattr(value, "value", str(value))


def _yaml(value: Plain, indent: str = "") -> Iterator[str]:
    """Yield the lines of a mapping: mappings as blocks, all else as JSON, which YAML takes but for what does not show."""
    for key, each in value.items():
        plain = _PLAIN_KEY.fullmatch(key) and key not in ("true", "false", "null")
        start = f"{indent}{key if plain else _shown(_json(key))}:"
        if isinstance(each, dict) and each:
            yield start
            yield from _yaml(each, f"{indent}  ")
        else:
            yield f"{start} {_shown(_json(each))}"


def _shown(text: str) -> str:
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)
