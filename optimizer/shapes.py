"""Shapes: the JSON Schema that values have in common, so that a model can be held to it, and what a schema comes to.

| values | schema |
|---|---|
| objects | their keys, those in every object required; any object where the keys are too many to be fields |
| arrays | the schema of all their items |
| texts | text; of these alone, where few short ones come back |
| numbers, true and false | number, boolean |
| mixed, or null | anything |
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from json import dumps
from urllib.parse import quote

_MOST_KEYS = 40  # of an object that is a record; with more its keys are data themselves

# Texts that are a choice: at most 20, each short and, on average, met three times; none alone.
_MOST_CHOICES, _LONGEST_CHOICE, _TIMES, _LEAST = 20, 60, 3, 2

# What OpenAI's strict mode documents: keywords, types, and formats of texts.
_STRICT_KEYWORDS = frozenset(
    str.split(
        "type properties required additionalProperties items enum const anyOf $ref $defs definitions description title pattern"
        " format multipleOf maximum exclusiveMaximum minimum exclusiveMinimum minItems maxItems"
    )
)
_STRICT_TYPES = frozenset(("string", "number", "integer", "boolean", "object", "array", "null"))
_STRICT_FORMATS = frozenset(str.split("date-time time date duration email hostname ipv4 ipv6 uuid"))

# Where a schema keeps what its references name, and what may stand beside a reference without a meaning of its own.
_DEFINITIONS = ("$defs", "definitions")
_BESIDE = frozenset(("$ref", "$schema", "$comment", "title", "description", *_DEFINITIONS))
_NAMED = tuple(f"#/{key}/" for key in _DEFINITIONS)
# Where a schema has schemas by names of their own, and what holds values, in which nothing is a reference.
_BY_NAME = frozenset(("properties", "patternProperties", "dependentSchemas", *_DEFINITIONS))
_VALUES = frozenset(("enum", "const", "default", "examples"))


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


def within_strict(schema: object) -> bool:
    """Return whether OpenAI's strict mode takes a schema, by what it documents; in doubt it does not.

    It refuses a schema that it does not take, where the same schema without it is obeyed as far as a model can.
    """
    return isinstance(schema, dict) and schema.get("type") == "object" and _within_strict(schema)


def _within_strict(schema: object) -> bool:
    if not isinstance(schema, dict) or not schema.keys() <= _STRICT_KEYWORDS:
        return False
    if "$ref" in schema:
        reference = str(schema["$ref"])
        return len(schema) == 1 and (reference == "#" or reference.startswith(_NAMED))
    said = schema.get("type")
    types = said if isinstance(said, list) else [said] if "type" in schema else []
    properties = schema.get("properties")
    closed = (
        isinstance(properties, dict)
        and schema.get("additionalProperties") is False
        and isinstance(required := schema.get("required"), list)
        and sorted(required) == sorted(properties)
    )
    return (
        bool(types or "anyOf" in schema)
        and all(kind in _STRICT_TYPES for kind in types)
        and (closed or "object" not in types)
        and ("items" in schema or "array" not in types)
        and schema.get("format", "date") in _STRICT_FORMATS
        and all(map(_within_strict, _parts(schema)))
    )


def _parts(schema: Mapping[str, object]) -> Iterator[object]:
    """Yield the schemas within a schema of the strict mode."""
    for key in ("properties", *_DEFINITIONS):
        parts = schema.get(key)
        yield from parts.values() if isinstance(parts, dict) else ()
    alternatives = schema.get("anyOf")
    yield from alternatives if isinstance(alternatives, list) else ()
    if "items" in schema:
        yield schema["items"]


def inlined(schema: dict[str, object]) -> dict[str, object]:
    """Return a schema whose root says itself what it is, where it did nothing but refer to a definition that does."""
    followed: set[str] = set()
    while schema.keys() <= _BESIDE and (reference := str(schema.get("$ref", ""))) not in followed:
        followed.add(reference)
        key, _, name = reference.removeprefix("#/").partition("/")
        definitions = schema.get(key) if key in _DEFINITIONS else None
        found = definitions.get(name) if isinstance(definitions, dict) else None
        if not isinstance(definitions, dict) or not isinstance(found, dict):
            break
        schema = {**found, **{part: value for part, value in schema.items() if part != "$ref"}}
        text, named = dumps(schema), dumps(reference)
        # A type that holds itself is referred to all the same.
        if named not in text and f"{named[:-1]}/" not in text:
            schema[key] = {part: value for part, value in definitions.items() if part != name}
    return {key: value for key, value in schema.items() if key not in _DEFINITIONS or value != {}}


def rerooted(schema: dict[str, object], place: str) -> dict[str, object]:
    """Return a schema whose references to its root are to its place in another, where only definitions are at the root.

    Args:
        place: The property of the other schema that it becomes.
    """
    pointer = quote(place.replace("~", "~0").replace("/", "~1"), safe="~!$&'()*+,;=:@")
    return _moved(schema, f"#/properties/{pointer}")


def _moved(schema: dict[str, object], root: str) -> dict[str, object]:
    moved: dict[str, object] = {}
    for key, value in schema.items():
        if key == "$ref" and isinstance(value, str):
            own = value == "#" or (value.startswith("#/") and not value.startswith(_NAMED))
            moved[key] = f"{root}{value[1:]}" if own else value
        elif key in _BY_NAME and isinstance(value, dict):
            moved[key] = {name: _moved_in(each, root) for name, each in value.items()}
        else:
            moved[key] = value if key in _VALUES else _moved_in(value, root)
    return moved


def _moved_in(value: object, root: str) -> object:
    if isinstance(value, list):
        return [_moved_in(each, root) for each in value]
    return _moved(value, root) if isinstance(value, dict) else value
