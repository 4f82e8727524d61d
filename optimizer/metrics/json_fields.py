"""How many of the fields of a JSON object are right."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from optimizer.answer import Answer, find_number
from optimizer.metrics import Setting, metric
from optimizer.metrics._values import identity, near, parsed, same, tolerance_problem
from optimizer.metrics._words import folded, normalised


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """How one field is compared, and what it counts.

    Attributes:
        match: `exact`, the same value; `normalised`, texts without case, punctuation, articles and spaces; `numeric`,
            numbers within the tolerance; `fuzzy`, the share of a text that needs no edit, case aside; `set`, lists
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

    A field that neither has is right, one that only one of them has is not. A target that is compared whole has one
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


def _score(found: list[object], wanted: list[object], field: Field, language: str) -> float:
    if not found or not wanted:
        return float(found == wanted)
    one, other = found[0], wanted[0]
    if isinstance(one, str) and isinstance(other, str) and field.match in {"normalised", "fuzzy"}:
        if field.match == "fuzzy":
            return _likeness(one, other)
        return float(normalised(one, language) == normalised(other, language))
    if field.match == "numeric":
        numbers = _number(one), _number(other)
        if numbers[0] is not None and numbers[1] is not None:
            return float(near(numbers[0], numbers[1], absolute=field.tolerance))
    if field.match == "set" and isinstance(one, list) and isinstance(other, list):
        return float({identity(item) for item in one} == {identity(item) for item in other})
    return float(same(one, other))


def _likeness(one: str, other: str) -> float:
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.normalized_similarity(folded(one), folded(other))


def _number(value: object) -> str | None:
    """Return the number that a value is or, as a text, tells last; None where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return find_number(value) if isinstance(value, str) else repr(value)
