"""What a command prints with `--json` is what its schema says: asked of every command line that a test runs."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from optimizer.commands import COMMANDS
from optimizer.commands._schemas import output_schema


@cache
def validator(command: str) -> Draft202012Validator:
    return Draft202012Validator(output_schema(command))


def mistake(command: str, document: Any) -> str | None:
    """Return where a document is not of the schema of a command, or None where it is."""
    error: ValidationError | None = best_match(validator(command).iter_errors(document))
    return None if error is None else f"{error.json_path}: {error.message[:300]}"


def checked(arguments: Sequence[object], printed: str) -> None:
    """Assert that what a command line has printed is of its schema, where it was asked for JSON and printed some."""
    words = [str(word) for word in arguments]
    command = next((word for word in words if word in COMMANDS), None)
    if command is None or "--json" not in words or not printed:
        return
    found = mistake(command, json.loads(printed))
    assert found is None, f"optimizer {command} --json: {found}"
