"""Conformity: whether right answers are of the form that a task states for all answers."""

import json
from functools import cache
from typing import TYPE_CHECKING

from optimizer.document import clipped

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator


def misfit(text: str, schema: str) -> str | None:
    """Return where JSON is not of a schema (JSON Schema, draft 2020-12), or None where it is.

    Fetches nothing. What is wrong with the schema itself is for others to tell: then nothing is.
    """
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    validator = _validator(schema)
    try:
        error = None if validator is None else best_match(validator.iter_errors(json.loads(text)))
    except Unresolvable:
        return None
    if error is None:
        return None
    place = ".".join(map(str, error.absolute_path))
    at = f" at {clipped(place)}" if place else ""
    return f"expected JSON of the task's schema, found{at}: {clipped(error.message)}"


@cache
def _validator(schema: str) -> "Draft202012Validator | None":
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry

    value = json.loads(schema)
    try:
        Draft202012Validator.check_schema(value)
    except SchemaError:
        return None
    return Draft202012Validator(value, registry=Registry())  # an empty one knows no other documents
