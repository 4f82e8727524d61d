"""A located value as a frozen dataclass: every mistake at once, in our words. The only module that meets pydantic."""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from optimizer.document import FieldPath, Located, Plain, clipped, counted, described, dotted
from optimizer.errors import InputError, Problem

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

T = TypeVar("T")

_NAMES: dict[object, tuple[str, str]] = {
    types.NoneType: ("null", "nulls"),
    bool: ("true or false", "booleans"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    list: ("a list", "lists"),
    dict: ("a mapping", "mappings"),
}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_BOUNDS |= {"min_length": "at least", "max_length": "at most"}
_UNITS: dict[object, str] = {str: "character", list: "item", dict: "field"}


def read(located: Located, kind: type[T], *, at: Sequence[str | int] = ()) -> T:
    """The value found at `at`, as a frozen dataclass.

    Raises:
        InputError: With every mistake, in the order of the lines.
    """
    path = tuple(at)
    problems = _problems(located, kind, path)
    told = {problem.field for problem in problems}
    for place, mark in located.marks.items():
        if mark.is_date and place[: len(path)] == path and dotted(place) not in told:
            problems.append(_mismatch(located, str, place))
    if problems:
        raise InputError(sorted(problems, key=lambda problem: problem.line or 0))
    return typing.cast(T, _validated(located, kind, path))


def schema(kind: type) -> dict[str, object]:
    """The JSON Schema (draft 2020-12) of a dataclass, keys sorted."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_adapter(kind).json_schema()}
    return typing.cast(dict[str, object], json.loads(json.dumps(document, sort_keys=True)))


@cache
def _adapter(kind: object) -> "TypeAdapter[object]":
    from pydantic import TypeAdapter

    return TypeAdapter(typing.cast(Any, kind))


def _validated(located: Located, kind: object, path: FieldPath) -> object:
    """The value at `path` as a `kind`; through JSON, as strict pydantic takes no dict for a dataclass."""
    return _adapter(kind).validate_json(json.dumps(_value_at(located, path)), strict=True)


def _value_at(located: Located, path: FieldPath) -> Plain:
    value: Any = located.value
    for depth, step in enumerate(path):
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError) as error:
            message = f"missing field '{clipped(str(step))}'"
            raise InputError([_problem(located, path[:depth], message)]) from error
    return typing.cast(Plain, value)


def _problems(located: Located, kind: object, path: FieldPath) -> list[Problem]:
    """The mistakes of the value at `path`; the members of a union share one sentence."""
    from pydantic import ValidationError

    try:
        _validated(located, kind, path)
    except ValidationError as caught:
        errors = caught.errors(include_url=False, include_input=False)
    else:
        return []
    problems: list[Problem] = []
    unions: set[FieldPath] = set()
    for error in errors:
        steps, expected = _walk(kind, error["loc"])
        place = (*path, *steps)
        missing = error["type"] == "missing" and steps == error["loc"]
        if missing or len(_members(expected)) == 1:
            problems.append(_translated(located, expected, place, error))
        elif place not in unions:
            unions.add(place)
            problems += _union_problems(located, expected, place)
    return problems


def _union_problems(located: Located, kind: object, place: FieldPath) -> list[Problem]:
    """The mistakes under the list or mapping that comes nearest, or one sentence if none fits."""
    shape = type(_value_at(located, place))
    fitting = [member for member in _members(kind) if shape in (list, dict) and _shape(member) is shape]
    attempts = [_problems(located, member, place) for member in fitting]
    return min(attempts, key=len, default=[]) or [_mismatch(located, kind, place)]


def _walk(kind: object, location: FieldPath) -> tuple[FieldPath, object]:
    """The path and the type that a location of pydantic leads to, stopping where it enters a union."""
    for depth in range(len(location)):
        members = _members(kind)
        inner = _inner(members[0], location[depth:]) if len(members) == 1 else None
        if inner is None:
            return location[:depth], kind
        kind = inner
    return location, kind


def _inner(kind: object, location: FieldPath) -> object:
    """The type of the field, item or key that a location begins with; None if there is none."""
    shape, arguments, step = _shape(kind), typing.get_args(_bare(kind)), location[0]
    if shape is dict:
        fields = _fields(kind)
        return arguments[location[1:] != ("[key]",)] if arguments else fields.get(str(step))
    if shape is list and isinstance(step, int) and arguments:
        return arguments[min(step, len(arguments) - 1)] if arguments[-1] is not ... else arguments[0]
    return None


def _translated(located: Located, kind: object, place: FieldPath, error: "ErrorDetails") -> Problem:
    """One mistake that pydantic found, in our words."""
    name, step = error["type"], error["loc"][-1] if error["loc"] else ""
    if name == "unexpected_keyword_argument":
        known = list(_fields(kind))
        hint = meant(str(step), known) or f"; known fields: {', '.join(map(repr, known))}"
        return _problem(located, place, f"unknown field '{clipped(str(step))}'{hint}", at=(*place, step))
    if name == "missing":
        message = (
            f"missing field '{step}'" if isinstance(step, str) else f"missing item {step}, counted from 0"
        )
        return _problem(located, place[:-1], message)
    if step == "[key]":
        key = str(place[-1])
        message = f"expected {_expected(kind)} as a key, found '{clipped(key)}'{meant(key, _options(kind))}"
        return _problem(located, place[:-1], message, at=place)
    if "error" in error.get("ctx", {}):  # what __post_init__ raised
        return _problem(located, place, str(error["ctx"]["error"]))
    return _mismatch(located, kind, place)


def _problem(located: Located, place: FieldPath, message: str, *, at: FieldPath | None = None) -> Problem:
    return Problem(file=located.file, message=message, line=located.line(at or place), field=dotted(place))


def _mismatch(located: Located, kind: object, place: FieldPath) -> Problem:
    """What was expected and what was found; what to write, where text was meant."""
    value, mark = _value_at(located, place), located.marks[place]
    options, expected, found, hint = _options(kind), _expected(kind), described(value, mark), ""
    if isinstance(value, str) and not mark.is_date:
        # A number in quotes is a text.
        hint = f": write {value} without quotes" if value in map(str, options) else meant(value, options)
        found = f"'{clipped(value)}'" if options else found
    elif mark.raw and (mark.raw in options or str in map(_shape, _members(kind))):
        hint = f': write "{clipped(mark.raw)}"'
    elif expected.startswith(("a number", "a whole number")):
        found = found.removeprefix("the number ")
    return _problem(located, place, f"expected {expected}, found {found}{hint}")


def meant(name: str, known: Sequence[object]) -> str:
    """What to add to a message about an unknown name: the one that comes near it, if any does."""
    near = difflib.get_close_matches(name, [str(one) for one in known], n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _expected(kind: object) -> str:
    """A type and its bounds in words."""
    bare, shape, bounds = _bare(kind), _shape(kind), _bounds(kind)
    arguments = typing.get_args(bare)
    if typing.get_origin(bare) in (typing.Union, types.UnionType):
        *others, last = dict.fromkeys(_expected(member) for member in arguments)
        return f"{', '.join(others)} or {last}" if others else last
    if options := _options(kind):
        listed = ", ".join(f"'{one}'" if isinstance(one, str) else json.dumps(one) for one in options)
        return f"one of {listed}" if len(options) > 1 else listed
    if shape is list and arguments and not bounds:
        if len(arguments) > 1 and arguments[-1] is not ...:
            return f"a list of {counted(len(arguments), 'item')}"
        return f"a list of {_NAMES.get(_shape(arguments[0]), ('', 'values'))[1]}"
    return _NAMES.get(shape, ("another value", ""))[0] + bounds


def _bounds(kind: object) -> str:
    """The bounds that Annotated puts on a type, known by the names that annotated_types gives them."""
    told = []
    for constraint in getattr(kind, "__metadata__", ()):
        for single in getattr(constraint, "metadata", None) or [constraint]:
            for name, words in _BOUNDS.items():
                if (bound := getattr(single, name, None)) is not None and (bound or name != "min_length"):
                    told.append(
                        f"{words} {counted(bound, _UNITS[_shape(kind)]) if 'length' in name else bound}"
                    )
    return f" of {' and '.join(told)}" if told else ""


def _bare(kind: object) -> object:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind


def _members(kind: object) -> tuple[object, ...]:
    """The members of a union without None; of another type, itself."""
    bare = _bare(kind)
    if typing.get_origin(bare) not in (typing.Union, types.UnionType):
        return (kind,)
    return tuple(
        one for member in typing.get_args(bare) if member is not types.NoneType for one in _members(member)
    )


def _options(kind: object) -> tuple[object, ...]:
    """All values of the Literals of a type."""
    literals = [member for member in map(_bare, _members(kind)) if typing.get_origin(member) is Literal]
    return tuple(option for literal in literals for option in typing.get_args(literal))


def _shape(kind: object) -> object:
    """What a value of a type is in a file: list, dict, str, int, float, bool or None's type."""
    bare = _bare(kind)
    origin = typing.get_origin(bare) or bare
    if dataclasses.is_dataclass(bare) or origin is Mapping:
        return dict
    return list if origin in (tuple, Sequence) else origin


def _fields(kind: object) -> dict[str, object]:
    """The fields of a dataclass (or None) with their types; none for other types."""
    bare: Any = _bare(_members(kind)[0])
    if not dataclasses.is_dataclass(bare):
        return {}
    hints = typing.get_type_hints(bare, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(bare) if field.init}
