"""From tables of every kind to a frozen prompt: `init`, then `run` on a model that follows rules."""

import csv
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optimizer.commands import main
from optimizer.frozen import FrozenPrompt
from optimizer.task import load_task

if TYPE_CHECKING:
    from tests.output_schemas import checked
else:
    from output_schemas import checked

Row = dict[str, object]
Command = Callable[..., str]

SCRIPTED = (
    "model: {provider: scripted, name: rules, path: rules.json, parameters: {temperature: 0, max_tokens: 64}}"
)
PNG = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return the command line, run in this process in an empty project; it must end well."""
    monkeypatch.chdir(tmp_path)
    Path(".optimizer").mkdir()

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["optimizer", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        checked(sys.argv, printed.out)
        assert not end.value.code, printed.err
        return printed.out

    return run


def write(name: str, rows: Sequence[Row]) -> str:
    path = Path(name)
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(list(rows)), name)
    elif path.suffix == ".tsv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t")
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text(json.dumps({"about": "made up", "rows": list(rows)}), encoding="utf-8")
    return name


def studied(command: Command, data: str, *options: str, reply: str) -> FrozenPrompt:
    """Return what a search on a table finds with a model that always gives one reply."""
    model = ("--model", "openai_compatible:any", "--base-url", "http://127.0.0.1:9/v1")
    command("init", "made", "--data", data, "--calls", "150", "--output", ".", *options, *model)
    study = Path("studies/made/study.yaml")
    text = study.read_text(encoding="utf-8")
    study.write_text(re.sub(r"(?m)^model: .*$", SCRIPTED, text), encoding="utf-8")
    study.with_name("rules.json").write_text(json.dumps({"rules": [], "default": reply}), encoding="utf-8")
    command("run", str(study))
    return FrozenPrompt.load("studies/made/prompt.json")


def said(n: int) -> str:
    return f"Number {n}: somebody wrote to us about matter {n * 7919} and wants to hear what we think of it."


def test_labels_in_a_parquet_file(command: Command) -> None:
    topics = [["price"], ["price", "speed"], ["speed"], []]
    rows: list[Row] = [{"message": said(n), "topics": topics[n % 4]} for n in range(60)]
    prompt = studied(command, write("data.parquet", rows), "--target", "topics", reply="price")
    task = load_task(Path("tasks/made.yaml"))
    assert (task.output, set(task.labels), task.metric) == ("labels", {"price", "speed"}, "jaccard")
    assert json.loads(prompt.parse("speed, price").text or "") == ["price", "speed"]


def test_numbers_in_a_french_tsv_file(command: Command) -> None:
    text = "Combien de lettres sont dans la boîte numéro {}, et pour qui les a-t-on gardées ?"
    rows: list[Row] = [{"question": text.format(n * 37), "nombre": n % 17} for n in range(60)]
    prompt = studied(command, write("data.tsv", rows), "--target", "nombre", reply="5")
    task = load_task(Path("tasks/made.yaml"))
    assert (task.output, task.language, task.metric) == ("number", "fr", "numeric")
    assert "Lisez la question" in task.instruction
    assert prompt.parse("12,0").text is not None


def test_several_targets_of_a_json_file_with_lists_and_gaps(command: Command) -> None:
    rows: list[Row] = [
        {
            "message": said(n),
            "passages": [f"first of {n}", f"second of {n}"][: n % 3],
            "note": f"this is note {n}" if n % 2 else None,
            "team": ("sales", "repair")[n % 2],
            "days": n + 1,
        }
        for n in range(60)
    ]
    reply = '{"team": "sales", "days": 1}'
    prompt = studied(command, write("data.json", rows), "--target", "team,days", reply=reply)
    task = load_task(Path("tasks/made.yaml"))
    assert (task.output, task.targets, task.metric) == ("json", ("team", "days"), "json_fields")
    assert task.optional == {"passages", "note"}
    assert json.loads(prompt.parse(reply).text or "") == {"team": "sales", "days": 1}
    (*_, last) = prompt.messages(message="hello", passages="", note="")
    assert "hello" in last["content"]
    assert "assages" not in last["content"]


def test_images(command: Command) -> None:
    rows: list[Row] = [
        {"photo": PNG if n % 2 else f"https://example.org/{n}.png", "harm": ("none", "some")[n % 2]}
        for n in range(61)
    ]
    lines = [json.dumps(row | {"id": f"r{n}", "note": said(n)}) for n, row in enumerate(rows)]
    Path("data.jsonl").write_text("\n".join(lines), encoding="utf-8")
    Path("task.yaml").write_text(TASK, encoding="utf-8")
    Path("study.yaml").write_text(STUDY, encoding="utf-8")
    Path("rules.json").write_text('{"rules": [], "default": "some"}', encoding="utf-8")
    assert "json: needs" not in command("validate", "study.yaml")
    command("run", "study.yaml")
    prompt = FrozenPrompt.load("prompt.json")
    assert "images" in prompt.capabilities
    (*_, last) = prompt.messages(photo=PNG, note="hello")
    assert {"type": "image_url", "image_url": {"url": PNG}} in last["content"]


TASK = """\
schema: 1
name: damage
dataset:
  path: data.jsonl
  inputs: {photo: {type: image}, note: {}}
  target: harm
  splits: {train: 10, validation: 20, test: 30}
output: {type: label, labels: [none, some]}
metric: accuracy
instruction: Is anything broken?
"""

STUDY = f"""\
schema: 1
task: task.yaml
{SCRIPTED}
search:
  instructions: {{given: ["What do you see?"]}}
  demos: {{sizes: [0, 2], sets: 2, selectors: [random]}}
  styles: [direct]
  formats: [plain, json]
budget: {{calls: 300}}
"""
