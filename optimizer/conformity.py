"""Conformity: whether a JSON Schema is one, and whether right answers are of the form that a task states for all answers."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from optimizer.document import clipped

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from referencing._core import Resolver

# Under these keys stand values, not schemas; what looks like a reference there is none.
_VALUES = frozenset(("const", "enum", "default", "examples"))
# Under these stand schemas by names, whatever the names are.
_NAMED = frozenset(("properties", "patternProperties", "dependentSchemas", "$defs", "definitions"))
_REFERENCES = frozenset(("$ref", "$dynamicRef"))

# One value of each type: a schema that refers to itself without end does so for one of them.
_ANY: tuple[object, ...] = (None, True, 0, "", [], {})
TOO_DEEP = "either is nested too deeply, or the schema's references go round in a circle"
_ENDLESS = "expected references that come to an end, found some that go round in a circle"


def misfit(text: str, schema: str) -> str | None:
    """Return where JSON is not of a schema (JSON Schema, draft 2020-12), or None where it is.

    Fetches nothing. What is wrong with the schema itself is for others to tell: then nothing is.
    """
    from jsonschema.exceptions import best_match

    try:
        validator = schema_validator(schema)
    except ValueError:
        return None
    try:
        error = best_match(validator.iter_errors(json.loads(text)))
    except RecursionError:
        return f"expected a schema that comes to an end, found none for {clipped(text)}: {TOO_DEEP}"
    if error is None:
        return None
    place = ".".join(map(str, error.absolute_path))
    at = f" at {clipped(place)}" if place else ""
    return f"expected JSON of the task's schema, found{at}: {clipped(error.message)}"


@cache
def schema_validator(schema: str) -> "Draft202012Validator":
    """Return what checks values against a schema, and fetches nothing.

    Raises:
        ValueError: When it is no schema, as with a pattern that is none, or refers to what is not in it or to itself
            without end.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    value = json.loads(schema)
    registry: Registry[Any] = Registry()
    try:
        Draft202012Validator.check_schema(value)
        _check_references(value, registry.resolver_with_root(DRAFT202012.create_resource(value)))
        validator = Draft202012Validator(value, registry=registry)
        for example in _ANY:
            validator.is_valid(example)
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path)) or "its top"
        found = clipped(_bad_pattern(error.instance) or error.message)
        raise ValueError(f"expected a JSON Schema, found at {clipped(place)}: {found}") from None
    except OverflowError as error:
        raise ValueError(
            f"expected a JSON Schema, found a pattern that Python's re does not take: {error}"
        ) from None
    except RecursionError:
        raise ValueError(_ENDLESS) from None
    return validator


def _bad_pattern(instance: object) -> str | None:
    """Return what is wrong with a text that is to be a pattern, None where it is one or no text."""
    try:
        re.compile(instance if isinstance(instance, str) else "")
    except re.error as error:
        return f"the pattern {instance!r}, which Python's re does not take: {error}"
    return None


def _check_references(schema: object, resolver: "Resolver[Any]", *, within: bool = False) -> None:
    """Check what the schema of all schemas does not: that references lead somewhere, and that within the schema.

    Raises:
        ValueError: Saying which one does not.
    """
    from referencing.jsonschema import DRAFT202012

    if not isinstance(schema, dict):
        return
    if "$id" in schema and within:
        resolver = resolver.in_subresource(DRAFT202012.create_resource(schema))
    for key, part in schema.items():
        if key in _REFERENCES:
            _check_reference(str(part), resolver)
        for inner in _schemas_of(key, part):
            _check_references(inner, resolver, within=True)


def _schemas_of(key: str, part: object) -> Iterator[object]:
    """Yield what may be schemas under a key."""
    if isinstance(part, list) and key not in _VALUES:
        yield from part
    elif isinstance(part, dict) and key in _NAMED:
        yield from part.values()
    elif key not in _VALUES:
        yield part


def _check_reference(reference: str, resolver: "Resolver[Any]") -> None:
    from referencing.exceptions import Unresolvable

    try:
        resolver.lookup(reference)
    except (Unresolvable, ValueError):
        if not reference.startswith("#"):
            raise ValueError(f"expected references within the schema (#...), found {reference!r}") from None
        raise ValueError(f"expected references within the schema, found none at {reference!r}") from None
