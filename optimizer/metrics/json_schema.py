"""Whether the answer is JSON of a schema (JSON Schema, draft 2020-12)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from optimizer.answer import Answer
from optimizer.digest import canonical
from optimizer.metrics import Setting, metric
from optimizer.metrics._values import parsed

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

# Under these keys stand values, not schemas; what looks like a reference there is none.
_VALUES = {"const", "enum", "default", "examples"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Schema:
    """Which schema the answer has to fit.

    Attributes:
        schema: A JSON Schema whose references stay within it; that of the task's output unless given.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    schema: dict[str, Any] | None = None

    def problem(self) -> str | None:
        """Return what is wrong with the schema, or None."""
        try:
            if self.schema is not None:
                _validator(canonical(self.schema))
        except ValueError as error:
            return f"schema: {error}"
        return None


@metric(outputs=("json", "text"), options=Schema)
def json_schema(answer: Answer, _target: str, setting: Setting) -> float:
    """Return 1 when the answer is JSON of the schema, whatever the target; 0 for an answer that could not be read.

    Raises:
        ValueError: When neither the metric nor the task has a schema, or it is none, or refers to another.
    """
    options = setting.options
    assert isinstance(options, Schema)
    schema = setting.schema if options.schema is None else canonical(options.schema)
    if not schema:
        raise ValueError("expected a schema in the task's output or the metric's args, found none")
    validator = _validator(schema)
    try:
        value = parsed(answer.text)
    except ValueError:
        return 0.0
    return float(validator.is_valid(value))


@cache
def _validator(schema: str) -> "Draft202012Validator":
    """Return what checks values against a schema, and fetches nothing.

    Raises:
        ValueError: When it is no schema, or refers to what is not in it.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    value = json.loads(schema)
    try:
        Draft202012Validator.check_schema(value)
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path)) or "its top"
        raise ValueError(f"expected a JSON Schema, found at {place}: {error.message}") from None
    registry: Registry[Any] = Registry()
    resolver = registry.resolver_with_root(DRAFT202012.create_resource(value))
    for reference in _references(value):
        if not reference.startswith("#"):
            raise ValueError(f"expected references within the schema (#...), found {reference!r}")
        try:
            resolver.lookup(reference)
        except Unresolvable:
            raise ValueError(f"expected references within the schema, found none at {reference!r}") from None
    return Draft202012Validator(value, registry=registry)


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, list):
        for part in schema:
            yield from _references(part)
    elif isinstance(schema, dict):
        for key, part in schema.items():
            if key in {"$ref", "$dynamicRef"} and isinstance(part, str):
                yield part
            elif key not in _VALUES:
                yield from _references(part)
