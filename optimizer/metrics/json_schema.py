"""Whether the answer is JSON of a schema (JSON Schema, draft 2020-12)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from optimizer.answer import Answer
from optimizer.conformity import TOO_DEEP, schema_validator
from optimizer.digest import canonical
from optimizer.metrics import Setting, metric
from optimizer.metrics._values import parsed


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
                schema_validator(canonical(self.schema))
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
    validator = schema_validator(schema)
    try:
        value = parsed(answer.text)
    except ValueError:
        return 0.0
    try:
        return float(validator.is_valid(value))
    except RecursionError:
        raise ValueError(f"expected a schema that comes to an end, found none: {TOO_DEEP}") from None
