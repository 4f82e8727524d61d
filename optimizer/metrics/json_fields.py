"""How many of the fields of a JSON object are right."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from optimizer.answer import Answer
from optimizer.metrics import Setting, metric
from optimizer.metrics._values import identity, near, parsed, same, tolerance_problem
from optimizer.metrics._words import folded, normalised
from optimizer.numerals import stated_number
from optimizer.registry import did_you_mean
from optimizer.targets import target_number

_MOST_NAMES = 20  # of fields that are told where a name is near to none of them


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """How one field is compared, and what it counts.

    Attributes:
        match: `exact`, the same value; `normalised`, texts without case, punctuation, articles and spaces; `numeric`,
            numbers within the tolerance, also as texts; `fuzzy`, the share of a text that needs no edit, case aside; `set`, lists
            whatever the order and repetition of their items. What is of another type is compared exactly.
        weight: What the field counts beside the others.
        tolerance: How far off a number may be.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    match: Literal["exact", "normalised", "numeric", "fuzzy", "set"] = "exact"
    weight: float = 1.0
    tolerance: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """Which fields are compared.

    Attributes:
        fields: Fields by name, those within another as `outer.inner`; unless given all that the target has at its
            top, each compared exactly.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    fields: dict[str, Field] = field(default_factory=dict)

    def problem(self) -> str | None:
        """Return what is wrong with the fields, or None."""
        for name, one in self.fields.items():
            if not 0 < one.weight < math.inf:
                return f"fields.{name}.weight: expected a finite number of more than 0, found {one.weight:g}"
            if wrong := tolerance_problem(tolerance=one.tolerance):
                return f"fields.{name}.{wrong}"
            if one.tolerance and one.match != "numeric":
                return f"fields.{name}.tolerance: only numeric fields have one, found {one.match}"
        return None

    def unmet(self, targets: Sequence[str], schema: str) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield the place of each field that no target has, and what was expected there.

        A field that neither an answer nor its target has is right, so a misspelt one would be right in every answer. One
        that the schema has may be missing from all the examples there are.

        Args:
            schema: JSON Schema of the answers, or "".
        """
        wanted = [value for target in targets if isinstance(value := parsed(target), dict)]
        declared = json.loads(schema) if schema else {}
        for name in self.fields:
            if any(_at(value, name) for value in wanted) or _is_declared(declared, name):
                continue
            known = dict.fromkeys(known for value in wanted for known in _names(value))
            near = did_you_mean(name, known)
            hint = near if len(known) <= _MOST_NAMES or near.endswith("?") else ""
            within = next((one for value in wanted if (one := _list_before(value, name))), "")
            why = f"; {within} is a list, and a list is compared as one field" if within else hint
            yield ("fields", name), f"expected a field of some target, found none of this name{why}"


@metric(outputs=("json",), options=Fields)
def json_fields(answer: Answer, target: str, setting: Setting) -> float:
    """Return the mean score of the fields by weight; 0 for an answer that could not be read.

    Fields beside the compared ones do not matter. A target that is no object, or an empty one, is compared whole.
    """
    scores = field_scores(answer, target, setting)
    given = _fields(setting)
    weights = {name: given[name].weight if name in given else 1.0 for name in scores}
    mean = math.fsum(weights[name] * score for name, score in scores.items()) / math.fsum(weights.values())
    return min(1.0, mean)


def field_scores(answer: Answer, target: str, setting: Setting) -> dict[str, float]:
    """Return the score in [0, 1] of each field; all are 0 for an answer that could not be read.

    A field that neither has is right, one that only one of them has is not; `unmet` tells those that no target has. A target that is compared whole has one
    field, without a name.
    """
    wanted = parsed(target)
    found = None if answer.text is None else parsed(answer.text)
    if not isinstance(wanted, dict) or not wanted:
        return {"": float(answer.text is not None and same(found, wanted))}
    fields = _fields(setting) or {name: Field() for name in wanted}
    if not isinstance(found, dict):
        return dict.fromkeys(fields, 0.0)
    return {
        name: _score(_at(found, name), _at(wanted, name), one, setting.language)
        for name, one in fields.items()
    }


def _fields(setting: Setting) -> dict[str, Field]:
    assert isinstance(setting.options, Fields)  # the task file was checked
    return setting.options.fields


def _at(value: object, name: str) -> list[object]:
    """Return the value of a field as the one item of a list, which is empty where there is no such field.

    A key that has a dot in it is found by its whole name.
    """
    if not isinstance(value, dict):
        return []
    if name in value:
        return [value[name]]
    outer, dot, inner = name.partition(".")
    return _at(value[outer], inner) if dot and outer in value else []


def _names(value: Mapping[str, object], before: str = "") -> Iterator[str]:
    """Yield the names of all fields of an object, those within another as `outer.inner`."""
    for name, inner in value.items():
        yield before + name
        if isinstance(inner, dict):
            yield from _names(inner, f"{before}{name}.")


def _list_before(value: object, name: str) -> str:
    """Return the name of the list that lies on the way to a field, "" where none does."""
    whole = name
    while isinstance(value, dict) and name:
        outer, _, name = name.partition(".")
        value = value.get(outer)
    return whole.removesuffix(f".{name}") if isinstance(value, list) and name else ""


def _is_declared(schema: object, name: str) -> bool:
    """Return whether a schema names a field, by the properties that it has itself."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return False
    outer, dot, inner = name.partition(".")
    return name in properties or (bool(dot) and _is_declared(properties.get(outer), inner))


def _score(found: list[object], wanted: list[object], field: Field, language: str) -> float:
    if not found or not wanted:
        return float(found == wanted)
    one, other = found[0], wanted[0]
    if isinstance(one, str) and isinstance(other, str) and field.match in {"normalised", "fuzzy"}:
        if field.match == "fuzzy":
            return _likeness(one, other)
        return float(normalised(one, language) == normalised(other, language))
    if field.match == "numeric":
        numbers = _number(one), _wanted_number(other)
        if numbers[0] is not None and numbers[1] is not None:
            return float(near(numbers[0], numbers[1], absolute=field.tolerance))
    if field.match == "set" and isinstance(one, list) and isinstance(other, list):
        return float({identity(item) for item in one} == {identity(item) for item in other})
    return float(same(one, other))


def _likeness(one: str, other: str) -> float:
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.normalized_similarity(folded(one), folded(other))


def _number(value: object) -> str | None:
    """Return the number that a value is or, as a text, comes to; None where there is none, or several."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return stated_number(value) if isinstance(value, str) else repr(value)


def _wanted_number(value: object) -> str | None:
    """Return the number that a target's value is; None of a text such as `3/4` or a date, where any one would be a guess."""
    if not isinstance(value, str):
        return _number(value)
    try:
        return target_number(value)
    except ValueError:
        return None
