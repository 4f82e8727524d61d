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
    from tests.output_schemas import mistake
else:
    from output_schemas import mistake

LABELS = ("red", "green", "blue")
TASK = """schema: 1
name: colours
dataset:
  path: data.csv
  inputs: [text]
  target: colour
  splits: {train: 6, validation: 9, test: 12}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
metrics: [macro_f1]
slices: [side]
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


def test_the_page_lists_the_commands_that_print_json() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| ([a-z]+) \| [A-Z][^|]+\. \|$", page, re.MULTILINE) == with_json()


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


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Return what commands print about a small study, by command."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "pyproject.toml").touch()
    rows = (f"c{n:02d},Item {n} is here,{LABELS[n % 3]},{'ab'[n % 2]}\n" for n in range(27))
    (folder / "data.csv").write_text("id,text,colour,side\n" + "".join(rows))
    rules = [{"contains": f"Item {n} ", "reply": LABELS[n % 3]} for n in range(0, 27, 2)]
    (folder / "rules.json").write_text(json.dumps({"rules": rules, "default": "no idea"}))
    (folder / "task.yaml").write_text(TASK)
    (folder / "study.yaml").write_text(STUDY)
    table = (f"p{k},e{n},{(n + k) % 3 % 2}\n" for k in range(3) for n in range(12))
    (folder / "table.csv").write_text("prompt_id,example_id,score\n" + "".join(table))
    found: dict[str, list[Any]] = {}
    for line in (
        ("run", "study.yaml", "--dry-run"),
        ("run", "study.yaml", "--quiet"),
        ("validate", "study.yaml", "task.yaml"),
        ("show", "prompt.json"),
        ("show", "study.yaml", "--history"),
        ("show", "study.yaml", "--trial", "0"),
        ("show", "study.yaml", "--example", "c00"),
        ("diff", "study.yaml#0", "study.yaml#1"),
        ("explain", "study.yaml", "0", "1"),
        ("report", "study.yaml"),
        ("report", "study.yaml", "--guide"),
        ("verify", "prompt.json"),
        ("compare", "--recorded", "table.csv"),
        ("simulate", "table.csv", "--calls", "30"),
        ("cache", "ls", "study.yaml"),
        ("cache", "verify", "study.yaml"),
        ("plugins", "styles"),
        ("plugins",),
        ("init", "proposed", "--data", "data.csv"),
    ):
        found.setdefault(line[0], []).append(printed(folder, *line))
    return found


def printed(folder: Path, *arguments: str) -> Any:
    """Return what a command prints as JSON, in a folder."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["optimizer", *arguments, "--json"])
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code, err.getvalue()
    return json.loads(out.getvalue())


def leaves(value: Any, at: Node = ()) -> Iterator[Node]:
    """Yield where the numbers and truth values are."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        yield from leaves(part, (*at, key))
    if isinstance(value, int | float):
        yield at


def changed(document: Any, at: Node, change: Callable[[Any, Any], None]) -> Any:
    """Return a copy in which the holder of a value was changed."""
    copy = deepcopy(document)
    holder = copy
    for key in at[:-1]:
        holder = holder[key]
    change(holder, at[-1])
    return copy


def test_what_commands_print_is_of_their_schemas_and_little_else_is(outputs: dict[str, list[Any]]) -> None:
    def to_text(holder: Any, key: Any) -> None:
        holder[key] = "a text"

    for name, documents in outputs.items():
        for document in documents:
            assert mistake(name, document) is None
            assert mistake(name, {**document, "no_such_key": 1}) is not None, name
            kept = [key for key in document if mistake(name, {k: v for k, v in document.items() if k != key})]
            assert kept, name
            # One of each kind of place: the same keys, whatever the number of the element.
            places = {tuple("" if isinstance(key, int) else key for key in at): at for at in leaves(document)}
            loose = [at for at in places.values() if mistake(name, changed(document, at, to_text)) is None]
            assert loose == [], name


def test_scores_and_probabilities_lie_between_0_and_1(outputs: dict[str, list[Any]]) -> None:
    def beyond(holder: Any, key: Any) -> None:
        holder[key] = 1.5

    seen = set()
    for name, documents in outputs.items():
        for document in documents:
            for at in leaves(document):
                if at[-1] in ("score", "p_value", "p"):
                    seen.add(name)
                    assert mistake(name, changed(document, at, beyond)) is not None, (name, at)
    assert seen >= {"run", "show", "diff", "explain", "compare"}
