"""The schema of a task's answers: what is none, what no answer can be held against, and where that is told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from optimizer.conformity import misfit, schema_validator
from optimizer.errors import InputError
from optimizer.task import Task, load_task


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(
    output: dict[str, object], *, inputs: tuple[str, ...] = ("text",), target: object = "kind"
) -> Task:
    Path("d.jsonl").write_text('{"text": "a", "kind": {}}\n', encoding="utf-8")
    task = {
        "schema": 1,
        "name": "t",
        "dataset": {"path": "d.jsonl", "inputs": list(inputs), "target": target},
        "output": output,
        "metric": "json_exact",
        "instruction": "Answer.",
    }
    Path("task.yaml").write_text(json.dumps(task), encoding="utf-8")
    return load_task(Path("task.yaml"))


def mistakes(output: dict[str, object], **columns: object) -> list[tuple[str | None, str]]:
    with pytest.raises(InputError) as caught:
        loaded(output, **columns)  # type: ignore[arg-type]
    return [(problem.field, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        ({"type": "objekt"}, "expected a JSON Schema, found at type: 'objekt' is not valid"),
        (
            {"properties": {"n": {"minimum": "0"}}},
            "expected a JSON Schema, found at properties.n.minimum: '0' is not of type 'number'",
        ),
        ({"$ref": "#"}, "expected references that come to an end, found some that go round in a circle"),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#"}]}}},
            "expected references that come to an end",
        ),
        (
            {"pattern": "a{99999999999}"},
            "expected a JSON Schema, found a pattern that Python's re does not take",
        ),
        (
            {"$ref": "https://example.org/s.json"},
            "expected references within the schema (#...), found 'https:",
        ),
        (
            {"$ref": "#/allOf/x", "allOf": [True]},
            "expected references within the schema, found none at '#/allOf/x'",
        ),
        (
            {"properties": {"default": {"$ref": "#/$defs/none"}}},
            "expected references within the schema, found none at '#/$defs/none'",
        ),
        (
            {"properties": {"n": {"type": "string", "pattern": "^\\p{L}+$"}}},
            "expected a JSON Schema, found at properties.n.pattern: the pattern '^\\\\p{L}+$', which Python's re does",
        ),
        (
            {"patternProperties": {"(": {}}},
            "expected a JSON Schema, found at patternProperties: the pattern '('",
        ),
    ],
)
def test_a_schema_that_is_none_is_told_where_it_stands(schema: dict[str, object], wrong: str) -> None:
    ((field, message),) = mistakes({"type": "json", "schema": schema})
    assert field == "output.schema"
    assert message.startswith(wrong)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"child": {"$ref": "#"}}},
        {"$ref": "#node", "$defs": {"n": {"$anchor": "node", "type": "object"}}},
        {"properties": {"pattern": {"const": "("}, "$ref": {"type": "string"}}},
        {"$defs": {"a": {"$id": "https://example.org/a", "$ref": "#/$defs/b", "$defs": {"b": {}}}}},
        {"$id": "https://example.org/s", "$ref": "https://example.org/s#/$defs/a", "$defs": {"a": {}}},
        {"examples": [{"pattern": "("}], "default": {"$ref": "https://example.org"}},
    ],
)
def test_a_sound_schema_is_the_task_s(schema: dict[str, object]) -> None:
    assert json.loads(loaded({"type": "json", "schema": schema}).schema) == schema


def test_a_task_without_a_schema_does_not_wait_for_the_library_that_knows_them() -> None:
    loaded({"type": "json"})
    program = (
        "import pathlib, sys; from optimizer.task import load_task; load_task(pathlib.Path('task.yaml'))"
    )
    told = "sys.exit('jsonschema' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", f"{program}; {told}"], check=False).returncode == 0


def test_what_is_nested_too_deeply_for_a_schema_is_told() -> None:
    tree = json.dumps({"items": {"$ref": "#"}})
    deep = "[" * 900 + "]" * 900
    assert "nested too deeply" in (misfit(deep, tree) or "")
    assert misfit("[[]]", tree) is None
    circle = json.dumps({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"$ref": "#/$defs/x"}}})
    assert "go round in a circle" in (misfit('{"a": 1}', circle) or "")
    assert misfit("3", '{"type": "nothing"}') is None
    assert schema_validator(tree) is schema_validator(tree)


def test_no_input_may_have_the_name_of_the_object_that_several_targets_make() -> None:
    told = mistakes({"type": "json"}, inputs=("text", "answer"), target=["kind", "more"])
    assert told == [
        (
            "dataset.inputs",
            "the object that several targets make is called 'answer', so no input may be: rename the column",
        )
    ]
    assert mistakes({"type": "json"}, inputs=("text", "answer"), target=["kind", "answer"]) == [
        ("dataset.target", "the target 'answer' is also an input: the model would see the answer")
    ]
    assert loaded({"type": "json"}, inputs=("answer",)).inputs == ("answer",)
