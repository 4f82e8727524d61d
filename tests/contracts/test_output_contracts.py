"""What every command prints with `--json` has a schema that people can read and that refuses what is not meant."""

import inspect
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from optimizer.commands import COMMANDS, main
from optimizer.commands._schemas import described, output_schema, prompt_schema

if TYPE_CHECKING:
    from tests.output_schemas import mistake, validator
else:
    from output_schemas import mistake, validator

LABELS = ("red", "green", "blue")
TASK = """schema: 1
name: colours
dataset:
  path: data.csv
  inputs: [text]
  target: colour
  splits: {train: 6, validation: 9, test: 12}
  slices: [side]
output: {type: label, labels: [red, green, blue]}
metric: accuracy
metrics: [macro_f1]
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  styles: [direct]
  formats: [plain, choice]
  screen: 6
robustness: {perturbations: [whitespace], repeats: 1}
budget: {calls: 150}
"""

Node = tuple[object, ...]  # the keys that lead to a value


def with_json() -> list[str]:
    """Return the commands that can print JSON."""
    return [name for name in COMMANDS if "as_json" in inspect.signature(COMMANDS[name].function).parameters]


def schemas() -> dict[str, dict[str, Any]]:
    return {**{name: output_schema(name) for name in described()}, "prompt.json": prompt_schema()}


def parts(schema: object, at: Node = ()) -> Iterator[tuple[Node, dict[str, Any]]]:
    """Yield every schema within a schema, itself included, with where it is."""
    if isinstance(schema, dict):
        yield at, schema
        for name in ("properties", "$defs"):
            for key, part in schema.get(name, {}).items():
                yield from parts(part, (*at, name, key))
        for name in ("items", "additionalProperties", "if", "then", "else"):
            yield from parts(schema.get(name), (*at, name))
        for name in ("anyOf", "allOf", "oneOf"):
            for k, part in enumerate(schema.get(name, ())):
                yield from parts(part, (*at, name, k))


def test_every_command_that_prints_json_has_a_schema_and_no_other_thing_has() -> None:
    assert with_json() == list(described())
    assert len(with_json()) >= 13
    for name in described():
        assert output_schema(name)["title"] == f"optimizer {name} --json"


def test_a_schema_is_one_of_draft_2020_12() -> None:
    for name, schema in schemas().items():
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema", name
        Draft202012Validator.check_schema(schema)


def test_a_schema_refers_to_what_is_in_it_and_holds_nothing_else() -> None:
    for name, schema in schemas().items():
        found = {part["$ref"] for _, part in parts(schema) if "$ref" in part}
        assert found == {f"#/$defs/{key}" for key in schema.get("$defs", {})}, name


def test_every_property_is_described_in_a_sentence() -> None:
    for name, schema in schemas().items():
        for at, part in parts(schema):
            for key, value in part.get("properties", {}).items():
                if at[-1:] in {("if",), ("then",), ("else",)} and "properties" in part and "type" not in part:
                    continue  # a condition on what is described elsewhere
                told = value["description"]
                assert re.fullmatch(r"[A-Z][^\n]{5,130}\.", told), (name, at, key, told)


def test_what_has_fixed_keys_admits_no_others() -> None:
    for name, schema in schemas().items():
        for at, part in parts(schema):
            if part.get("type") == "object":
                assert "additionalProperties" in part, (name, at)
