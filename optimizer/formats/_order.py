"""The order of an object's keys: that of its JSON Schema, at every level."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

# What a value may be of the shape of, where a schema does not say its shape alone.
_ALTERNATIVES = ("allOf", "anyOf", "oneOf")


def in_order(value: object, schema: object, root: object) -> object:
    """Return a value whose objects have their keys in the order of a schema, those that it does not name last.

    Args:
        value: Plain JSON.
        schema: Of the value.
        root: From which the schema's references are.
    """
    shapes = list(_shapes(schema, root, ()))
    if isinstance(value, dict):
        shape = max(shapes, key=lambda each: len(_named(each).keys() & value.keys()), default={})
        named, other = _named(shape), shape.get("additionalProperties")
        keys = [*(key for key in named if key in value), *(key for key in value if key not in named)]
        return {key: in_order(value[key], named.get(key, other), root) for key in keys}
    if isinstance(value, list):
        shape = next((each for each in shapes if {"items", "prefixItems"} & each.keys()), {})
        first = shape.get("prefixItems")
        begun: Sequence[object] = first if isinstance(first, list) else ()
        return [
            in_order(each, begun[n] if n < len(begun) else shape.get("items"), root)
            for n, each in enumerate(value)
        ]
    return value


def _named(shape: Schema) -> Schema:
    properties = shape.get("properties")
    return properties if isinstance(properties, dict) else {}


def _shapes(schema: object, root: object, followed: tuple[str, ...]) -> Iterator[Schema]:
    """Yield what a schema says of the shape of a value: itself, what it refers to, and its alternatives."""
    if not isinstance(schema, dict):
        return
    yield schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in followed:
        yield from _shapes(_found(reference, root), root, (*followed, reference))
    for keyword in _ALTERNATIVES:
        parts = schema.get(keyword)
        for part in parts if isinstance(parts, list) else ():
            yield from _shapes(part, root, followed)


def _found(reference: str, root: object) -> object:
    """Return what a reference within a schema names, None for any other."""
    if not reference.startswith("#"):
        return None
    found = root
    for step in reference[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found
