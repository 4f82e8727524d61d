"""Shapes: the JSON Schema that values have in common, so that a model can be held to it.

| values | schema |
|---|---|
| objects | their keys, those in every object required; any object where the keys are too many to be fields |
| arrays | the schema of all their items |
| texts | text; of these alone, where few short ones come back |
| numbers, true and false | number, boolean |
| mixed, or null | anything |
"""

from collections import Counter
from collections.abc import Sequence

_MOST_KEYS = 40  # of an object that is a record; with more its keys are data themselves

# Texts that are a choice: at most 20, each short and, on average, met three times; none alone.
_MOST_CHOICES, _LONGEST_CHOICE, _TIMES, _LEAST = 20, 60, 3, 2


def schema_of(values: Sequence[object]) -> dict[str, object]:
    """Return the JSON Schema that all values obey; empty where they have nothing in common."""
    kinds = {type(value) for value in values}
    if kinds == {dict}:
        return _object([value for value in values if isinstance(value, dict)])
    if kinds == {list}:
        items = [item for value in values if isinstance(value, list) for item in value]
        return {"type": "array", "items": schema_of(items)} if items else {"type": "array"}
    if kinds == {str}:
        return _text(Counter(str(value) for value in values))
    if kinds == {bool}:
        return {"type": "boolean"}
    return {"type": "number"} if kinds and kinds <= {int, float} else {}


def _object(values: Sequence[dict[str, object]]) -> dict[str, object]:
    counts = Counter(key for value in values for key in value)
    if len(counts) > _MOST_KEYS:
        return {"type": "object"}
    parts = {key: schema_of([value[key] for value in values if key in value]) for key in counts}
    required = [key for key, count in counts.items() if count == len(values)]
    return {"type": "object", "properties": parts, "required": required, "additionalProperties": False}


def _text(counts: Counter[str]) -> dict[str, object]:
    few = (
        len(counts) <= _MOST_CHOICES
        and counts.total() >= _TIMES * len(counts)
        and min(counts.values()) >= _LEAST
        and max(map(len, counts)) <= _LONGEST_CHOICE
    )
    return {"type": "string", "enum": sorted(counts)} if few and len(counts) > 1 else {"type": "string"}
