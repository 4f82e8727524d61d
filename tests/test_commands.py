"""The commands as a person calls them, in this process: what they print, write and refuse."""

import asyncio
import errno
import json
import os
import re
import sqlite3
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from optimizer import commands
from optimizer.answer import OUTCOMES
from optimizer.commands import main, printable
from optimizer.commands._model import Stated
from optimizer.completion import Completion, Request
from optimizer.errors import OverloadedError
from optimizer.frozen import FrozenPrompt
from optimizer.models import ModelSpec
from optimizer.models.scripted import Scripted
from optimizer.origin import rows_of
from optimizer.plan import load_plan
from optimizer.prompt import CallTemplate, Hole, MessageTemplate

if TYPE_CHECKING:
    from tests.loopback_faults import Fault
    from tests.loopback_server import Loopback
    from tests.output_schemas import checked
else:
    from output_schemas import checked

LABELS = ("red", "green", "blue")
TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 6, validation: 9, test: 12}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
metrics: [macro_f1]
instruction: Name the colour.
"""
STUDY = """schema: 1
task: ../task.yaml
model: {provider: scripted, name: rules, path: %s}
search:
  instructions: {given: [Which colour is it?]}
  styles: [direct]
  formats: [plain, choice]
  screen: 6
  sampler: {name: tpe}
budget: {calls: 80}
"""
HOSTILE = "\x1b[2J\x9b31m\u202eevil\u200b\x07\x00\x7f\ue000"


class Told(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _no_debug() -> Iterator[None]:
    yield
    commands._Debug.on = False


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Told]:
    """Return the command line: arguments in, exit code and output out, which is of its schema unless `forged`."""

    def run(*arguments: str | Path, forged: bool = False) -> Told:
        monkeypatch.setattr(sys, "argv", ["optimizer", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        if not forged:
            checked(sys.argv, printed.out)
        return Told(int(end.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Write a project whose model answers right as soon as it is held to the labels."""
    (tmp_path / "pyproject.toml").touch()
    lines = (f"c{n:02d},Item {n}. is {LABELS[n % 3]},{LABELS[n % 3]}\n" for n in range(27))
    (tmp_path / "data.csv").write_text("id,text,colour\n" + "".join(lines))
    (tmp_path / "task.yaml").write_text(TASK)
    # Free text names two labels, which is no answer; a choice takes the first of them.
    rules = [
        {"contains": f"is {label}", "reply": f"{label}, or not {label}? {other}"}
        for label, other in zip(LABELS, ("blue", "blue", "green"), strict=True)
    ]
    (tmp_path / "rules.json").write_text(json.dumps({"rules": rules, "default": "none"}))
    path = tmp_path / "colours" / "study.yaml"
    path.parent.mkdir()
    path.write_text(STUDY % "../rules.json")
    return path


@pytest.fixture
def prompt(study: Path, call: Callable[..., Told]) -> Path:
    """Run the study and return its frozen prompt."""
    assert call("run", study, "--quiet").code == 0
    return study.with_name("prompt.json")


def hostile(path: Path) -> Path:
    """Write a frozen prompt whose every text would drive a terminal, and return where."""
    frozen = FrozenPrompt.load(path)
    message = MessageTemplate(role="system", parts=(f"Route {HOSTILE} this",))
    calls = (CallTemplate(messages=(message, *frozen.template.calls[0].messages)),)
    changed = replace(
        frozen,
        name=HOSTILE,
        style=HOSTILE,
        template=replace(frozen.template, calls=calls),
        evidence={**frozen.evidence, "decision": HOSTILE, "metric": HOSTILE},
        model={"provider": HOSTILE, "name": HOSTILE},
    )
    target = path.with_name("hostile.json")
    target.write_text(changed.dumps(), encoding="utf-8")
    return target


def harmless(text: str) -> bool:
    return all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") for c in text)


def test_a_dry_run_prints_the_bounds_and_touches_nothing(study: Path, call: Callable[..., Told]) -> None:
    before = sorted(study.parent.iterdir())
    told = call("run", study, "--dry-run")
    assert told.code == 0
    for words in ("80 calls at most", "baseline     6", "confirmation 9", "test         36", "4 candidates"):
        assert words in told.out
    assert "US dollars" not in told.out
    assert sorted(study.parent.iterdir()) == before


def test_a_dry_run_prints_every_budget_there_is(study: Path, call: Callable[..., Told]) -> None:
    write(
        study,
        "calls: 80",
        "calls: 80, tokens: 9000, usd: 0.5, seconds: 60, prices: {rules: {input: 1, output: 2}}",
    )
    write(study, "path: ../rules.json", "path: ../rules.json, parameters: {max_tokens: 8}")
    told = call("run", study, "--dry-run")
    assert told.code == 0, told.err
    assert "80 calls, 9,000 tokens, 0.5000 US dollars at most" in told.out
    assert "60 s, over all runs of the study" in told.out
    assert told.out.count("US dollars") == 5


def test_a_dry_run_as_json_is_json_alone(study: Path, call: Callable[..., Told]) -> None:
    told = call("run", study, "--dry-run", "--json")
    bounds = next(iter(json.loads(told.out).values()))
    assert bounds["budget"] == {"calls": 80, "attempts": 160, "tokens": None, "usd": None, "seconds": None}
    phases = ("baseline", "candidate", "confirmation", "test", "call", "least")
    assert [bounds[phase]["calls"] for phase in phases] == [6, 6, 9, 36, 1, 57]
    units = {"calls", "tokens", "usd", "least_tokens", "least_usd"}
    assert all(set(bounds[phase]) == units for phase in phases)
    assert bounds["candidates"] == 4
    assert bounds["splits"] == {"train": 6, "validation": 9, "test": 12}
    assert bounds["left_out"] == []


def test_a_run_writes_its_results_and_says_what_it_found(study: Path, call: Callable[..., Told]) -> None:
    told = call("run", study)
    assert told.code == 0, told.err
    assert "improved" in told.out
    assert "frozen: the winner" in told.out
    assert "colours: search" in told.err
    assert {"prompt.json", "history.csv", "instructions.jsonl"} <= {p.name for p in study.parent.iterdir()}
    assert FrozenPrompt.load(study.with_name("prompt.json")).format == "choice"


def test_a_run_as_json_prints_json_on_stdout_and_all_else_on_stderr(
    study: Path, call: Callable[..., Told]
) -> None:
    told = call("run", study, "--json")
    found = next(iter(json.loads(told.out)["studies"].values()))
    assert found["evidence"]["decision"] == "improved"
    assert found["calls"] <= found["budget"] == 80
    assert found["fingerprint"] == FrozenPrompt.load(study.with_name("prompt.json")).fingerprint
    assert told.err != ""
    quiet = call("run", study, "--json", "--quiet")
    assert quiet.err == ""
    assert next(iter(json.loads(quiet.out)["studies"].values()))["evidence"] == found["evidence"]


def test_results_with_output_never_touch_the_folder_of_the_study(
    study: Path, call: Callable[..., Told], tmp_path: Path
) -> None:
    before = sorted(study.parent.iterdir())
    assert call("run", study, "--quiet", "--output", tmp_path / "out", "--seed", "5").code == 0
    assert sorted(study.parent.iterdir()) == before
    assert (tmp_path / "out" / "study.db").exists()
    assert (tmp_path / "out" / "prompt.json").exists()


def test_two_studies_in_one_folder_are_refused(study: Path, call: Callable[..., Told]) -> None:
    told = call("run", study, study)
    assert (told.code, told.out) == (2, "")
    assert "two studies in one" in told.err


def test_the_mistakes_of_all_files_are_told_at_once_without_a_traceback(
    study: Path, call: Callable[..., Told]
) -> None:
    study.write_text(study.read_text().replace("screen: 6", "screen: 0").replace("plain", "plane"))
    told = call("validate", study, study.with_name("missing.json"))
    assert (told.code, told.out) == (2, "")
    assert [line.startswith("error: ") for line in told.err.splitlines()] == [True] * 3
    assert "did you mean 'plain'?" in told.err
    assert "missing.json" in told.err


def test_validate_says_what_is_sound_and_writes_nothing(
    study: Path, prompt: Path, call: Callable[..., Told], tmp_path: Path
) -> None:
    told = call("validate", study, tmp_path / "task.yaml", prompt)
    assert told.code == 0
    kinds = [line.rpartition("a sound ")[2] for line in told.out.splitlines() if not line.startswith(" ")]
    assert kinds == ["study", "task", "frozen prompt"]
    # What the data can show is said of the study and of its task, alike.
    shown = [line.strip() for line in told.out.splitlines() if line.startswith(" ")]
    assert shown[: len(shown) // 2] == shown[len(shown) // 2 :]
    assert re.match(r"The 12 test examples can prove a gain of [\d.]+ points or more", shown[0])
    assert shown[1].startswith("That is too little: most real gains are smaller")
    assert "Below 60 a test split leaves too little on either side" in shown[2]
    assert not (tmp_path / ".optimizer").exists()
    found = json.loads(call("validate", study, "--json").out)
    assert found == {"valid": {str(study): "study"}, "in_words": {str(study): shown[: len(shown) // 2]}}


def test_validate_writes_the_schemas_that_editors_read(
    study: Path, call: Callable[..., Told], tmp_path: Path
) -> None:
    assert call("validate", study, "--write-schemas").code == 0
    folder = tmp_path / ".optimizer" / "schemas"
    found = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert set(found) == {"task.json", "study.json", "prompt.json"}
    assert {"task", "model", "search", "budget"} <= set(found["study.json"]["properties"])
    assert found["task.json"]["additionalProperties"] is False
    output = {path.name: json.loads(path.read_text()) for path in (folder / "output").iterdir()}
    assert {"run.json", "score.json", "show.json"} <= set(output)
    # Whatever they refer to is in them.
    texts = [json.dumps(schema) for schema in (*output.values(), found["prompt.json"])]
    assert not any(re.search(r'"\$ref": "[^#]', text) for text in texts)


def test_plugins_lists_every_folder_or_one(call: Callable[..., Told]) -> None:
    everything = json.loads(call("plugins", "--json").out)
    assert {"tpe", "random_search"} <= set(everything["samplers"])
    assert everything["commands"] == sorted(everything["commands"])
    assert call("plugins", "styles").out == f"styles: {', '.join(everything['styles'])}\n"
    wrong = call("plugins", "style")
    assert wrong.code == 2
    assert "did you mean 'styles'?" in wrong.err


def test_show_prints_messages_evidence_and_the_best_of_the_history(
    prompt: Path, call: Callable[..., Told]
) -> None:
    told = call("show", prompt)
    assert told.code == 0
    for words in (
        "format choice",
        "system:",
        "Name the colour.",
        "‹input:text›",
        "one of red, green, blue",
        "gain over the baseline",
        "history: ",
    ):
        assert words in told.out
    assert json.loads(call("show", prompt, "--json").out) == json.loads(prompt.read_text(encoding="utf-8"))


def test_hostile_text_in_a_frozen_prompt_is_shown_without_control_characters(
    prompt: Path, call: Callable[..., Told]
) -> None:
    path = hostile(prompt)
    told = call("show", path)
    assert told.code == 0
    assert "evil" in told.out
    assert harmless(told.out + told.err)
    as_json = call("show", path, "--json", forged=True)
    assert harmless(as_json.out + as_json.err)
    assert json.loads(as_json.out)["name"] == HOSTILE


def test_hostile_names_in_a_mistake_are_shown_without_control_characters(
    call: Callable[..., Told], study: Path
) -> None:
    study.write_text(study.read_text().replace("formats: [plain", 'formats: ["\\e[2J\\u202Eplain"'))
    told = call("validate", study)
    assert told.code == 2
    assert harmless(told.err)


def test_a_changed_frozen_prompt_is_refused(prompt: Path, call: Callable[..., Told]) -> None:
    text = prompt.read_text(encoding="utf-8")
    prompt.write_text(text.replace("Name the colour.", "Name a colour."), encoding="utf-8")
    for arguments in (("show",), ("validate",), ("export", "--format", "native")):
        told = call(*arguments, prompt)
        assert (told.code, told.out) == (2, "")
        assert "the file was changed" in told.err


def test_export_prints_or_writes_the_same_text(
    prompt: Path, call: Callable[..., Told], tmp_path: Path
) -> None:
    printed = call("export", prompt, "--format", "native")
    assert (printed.code, printed.out) == (0, prompt.read_text(encoding="utf-8"))
    told = call("export", prompt, "--format", "native", "--output", tmp_path / "out.json")
    assert (told.out, (tmp_path / "out.json").read_text(encoding="utf-8")) == ("", printed.out)
    assert call("export", prompt, "--format", "native", "--output", tmp_path).code == 0
    assert (tmp_path / "prompt.prompt.json").exists()
    refused = call("export", prompt, "--format", "openai_messages")
    assert refused.code != 0
    assert refused.out == ""
    assert "--allow-lossy writes it all the same" in refused.err
    for place in (prompt.parent, prompt.with_name("study.yaml")):
        assert call("export", place, "--format", "native").out == printed.out
    nothing = call("export", tmp_path / "nothing", "--format", "native")
    assert (nothing.code, "there is no such file or folder" in nothing.err) == (2, True)
    nowhere = call("export", prompt, "--format", "native", "--output", tmp_path / "none" / "out.json")
    assert nowhere.code == 2
    assert "--output: there is no folder" in nowhere.err
    unknown = call("export", prompt, "--format", "nativ")
    assert "did you mean 'native'?" in unknown.err


def test_what_export_cannot_write_is_told(
    prompt: Path, call: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("optimizer.document.write_atomically", full)
    told = call("export", prompt, "--format", "native", "--output", tmp_path / "out.json")
    assert told.code == 3
    assert told.err.endswith(f"{tmp_path / 'out.json'} cannot be written (No space left on device)\n")


def test_a_database_stands_for_the_prompt_beside_it(prompt: Path, call: Callable[..., Told]) -> None:
    database = prompt.with_name("study.db")
    database.touch()
    assert call("show", database).out == call("show", prompt).out
    prompt.unlink()
    told = call("show", database)
    assert told.code == 2
    study = prompt.with_name("study.yaml")
    assert f"no result yet: there is no {prompt}; `optimizer run {study}` makes it" in told.err


def test_what_holds_no_result_and_makes_none_is_told_as_what_it_is(
    study: Path, call: Callable[..., Told], tmp_path: Path
) -> None:
    task = tmp_path / "task.yaml"
    assert task.is_file()
    for command in ("show", "verify"):
        assert "expected a study or a frozen prompt, found a task" in call(command, task).err
    (tmp_path / "empty").mkdir()
    told = call("show", tmp_path / "empty")
    assert told.code == 2
    assert "found neither study.yaml nor prompt.json" in told.err


def test_rows_of_a_batch_have_ids_of_their_own(
    prompt: Path, call: Callable[..., Told], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("id,text\na,one\nb,two\na,three\nb,four\na,five\n", encoding="utf-8")
    told = call("export", prompt, "--format", "openai_batch", "--rows", rows, "--allow-lossy")
    assert (told.code, told.out) == (2, "")
    assert [line.removeprefix("error: ") for line in told.err.splitlines()] == [
        f"{rows}:{line}: id: expected an id of its own, found '{name}' again, first on line {first}"
        for line, name, first in ((4, "a", 2), (5, "b", 3), (6, "a", 2))
    ]
    rows.write_text("text\none\ntwo\none\n", encoding="utf-8")
    assert [row.id for row in rows_of(FrozenPrompt.load(prompt), rows)] == ["1", "2", "3"]


def test_export_compares_the_test_examples_and_sends_rows_that_are_named(
    prompt: Path, call: Callable[..., Told], tmp_path: Path
) -> None:
    frozen = FrozenPrompt.load(prompt)
    told = call("export", prompt, "--format", "python_module", "--output", tmp_path / "prompt.py")
    assert told.code == 0, told.err
    # The API has no words for a list of texts, which this answer is held to.
    refused = call("export", prompt, "--format", "openai_batch", "--allow-lossy")
    assert (refused.code, refused.out) == (2, "")
    calls = tuple(replace(each, constraint=None) for each in frozen.template.calls)
    frozen = replace(frozen, template=replace(frozen.template, calls=calls))
    prompt.write_text(frozen.dumps(), encoding="utf-8")
    batch = call("export", prompt, "--format", "openai_batch")
    assert batch.code == 0, batch.err
    lines = [json.loads(line) for line in batch.out.split("\n")[:-1]]
    assert [line["custom_id"] for line in lines] == [
        e.id for e in load_plan(prompt.with_name("study.yaml")).dataset.test
    ]
    (name,) = frozen.inputs
    table = tmp_path / "rows.csv"
    table.write_text(f'id,{name},more\nr1,"a, ""b""",x\nr2,c,y\n', encoding="utf-8")
    sent = call("export", prompt, "--format", "openai_batch", "--rows", table)
    found = {
        line["custom_id"]: line["body"]["messages"] for line in map(json.loads, sent.out.split("\n")[:-1])
    }
    assert found == {"r1": frozen.messages(**{name: 'a, "b"'}), "r2": frozen.messages(**{name: "c"})}
    table.write_text("other\na\n", encoding="utf-8")
    wrong = call("export", prompt, "--format", "openai_batch", "--rows", table)
    assert (wrong.code, wrong.out) == (2, "")
    assert name in wrong.err
    useless = call("export", prompt, "--format", "native", "--rows", table)
    assert useless.code == 2
    assert "--rows: expected none: native holds the prompt, not requests" in useless.err


def test_a_lossy_export_says_what_is_lost_and_that_the_score_is_not_its_own(
    prompt: Path, call: Callable[..., Told]
) -> None:
    token = Hole(name="input:text", neutralise=("<|end|>",))
    frozen = FrozenPrompt.load(prompt)
    (asked,) = frozen.template.calls
    held = replace(asked, messages=(MessageTemplate(role="user", parts=(token,)),))
    prompt.write_text(replace(frozen, template=replace(frozen.template, calls=(held,))).dumps())
    told = call("export", prompt, "--format", "openai_messages", "--allow-lossy")
    assert told.code == 0, told.err
    assert "lossy: the answer is constrained to a list of texts" in told.err
    assert "lossless" not in told.err
    assert "all else is as it was scored where no input contains a control token" in told.err
    assert "the score on the test is of the whole prompt, so the file does not state it" in told.err
    assert "test" not in json.loads(told.out)
    free = replace(held, constraint=None)
    prompt.write_text(replace(frozen, template=replace(frozen.template, calls=(free,))).dumps())
    whole = call("export", prompt, "--format", "openai_messages")
    assert "lossless where no input contains a control token" in whole.err
    assert "lossy" not in whole.err
    assert json.loads(whole.out)["test"]["score"] == frozen.evidence["test"]["winner"]["score"]  # type: ignore[index]  # plain data


def test_what_a_prediction_may_take_is_told_with_its_limits(
    prompt: Path, call: Callable[..., Told], obedient: "Loopback", tmp_path: Path
) -> None:
    frozen = FrozenPrompt.load(prompt)
    (asked,) = frozen.template.calls
    call_of = replace(asked, constraint=None, parameters=(("max_tokens", 8),))
    free = replace(frozen.template, calls=(call_of,))
    prompt.write_text(replace(frozen, capabilities=(), template=free).dumps())
    rows = tmp_path / "rows.csv"
    rows.write_text("text\n" + "".join(f"Item {n} is red\n" for n in range(5)))
    to = ("--model", "openai_compatible:other", "--base-url", obedient.base_url, "--price", "1000,1000")
    for limits, bounds in (
        (("--max-calls", "2"), "rows.csv: 5 rows, 2 calls at most, "),
        (
            ("--max-calls", "9", "--max-usd", "0.0001"),
            "rows.csv: 5 rows, 5 calls at most, 0.000100 US dollars at most",
        ),
    ):
        told = call("predict", prompt.parent, rows, "--output", tmp_path / f"{limits[1]}.csv", *to, *limits)
        assert told.code == 4
        assert bounds in told.err
    told = call("predict", prompt.parent, rows, "--output", tmp_path / "out.csv", *to)
    assert (told.code, len((tmp_path / "out.csv").read_text().splitlines())) == (0, 6)


def test_a_run_of_a_finished_study_tells_its_own_seconds_from_those_of_all(
    study: Path, call: Callable[..., Told]
) -> None:
    first, again = (call("run", study, "--quiet").out for _ in range(2))
    assert re.search(r"of 80 calls, \d+\.\d s\n", first)
    assert re.search(r"of 80 calls, \d+\.\d s in this run, \d+\.\d s in all\n", again)


def test_a_program_of_dspy_is_made_of_the_wording_that_lies_beside_the_prompt(
    prompt: Path, call: Callable[..., Told]
) -> None:
    told = call("export", prompt, "--format", "dspy_state", "--allow-lossy")
    assert told.code == 0, told.err
    assert "its words are not those that were scored" in told.err
    state = json.loads(told.out)
    frozen = FrozenPrompt.load(prompt)
    texts = [
        json.loads(line)
        for line in prompt.with_name("instructions.jsonl").read_text("utf-8").split("\n")[:-1]
    ]
    row = next(row for row in frozen.history if row["digest"] == frozen.evidence["frozen_digest"])
    (wording,) = (each["text"] for each in texts if each["id"] == row["instruction_id"])
    assert state.get("predict", state)["signature"]["instructions"] == wording
    assert len(state.get("predict", state)["demos"]) == len(frozen.demonstration_ids)
    prompt.with_name("instructions.jsonl").unlink()
    lost = call("export", prompt, "--format", "dspy_state", "--allow-lossy")
    assert lost.code == 2
    assert "neither was found: name the task" in lost.err


@pytest.fixture
def obedient(loopback: "Loopback") -> "Loopback":
    """Return a server that says the colour that the last message names."""

    def reply(body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"]
        return next((label for label in LABELS if f"is {label}" in asked), "none")

    loopback.reply = reply
    return loopback


@pytest.fixture
def score(
    prompt: Path, call: Callable[..., Told], obedient: "Loopback", tmp_path: Path
) -> Callable[..., Told]:
    """Return `score` of the study's prompt, held to no labels, with the model behind the server."""
    frozen = FrozenPrompt.load(prompt)
    free = replace(frozen.template.calls[0], constraint=None)
    path = prompt.with_name("free.json")
    changed = replace(frozen, capabilities=(), template=replace(frozen.template, calls=(free,)))
    path.write_text(changed.dumps(), encoding="utf-8")
    task, model = ("--task", tmp_path / "task.yaml"), ("--model", "openai_compatible:other")
    return lambda *options: call("score", path, *task, *model, "--base-url", obedient.base_url, *options)


def test_a_prompt_is_scored_on_a_split_with_another_model(score: Callable[..., Told]) -> None:
    told = score("--json")
    assert told.code == 0, told.err
    found = json.loads(told.out)
    assert (found["score"], found["n"], found["errors"], found["invalid"]) == (1.0, 12, 0, 0)
    assert found["outcomes"] == {**dict.fromkeys(OUTCOMES, 0), "ok": 12}
    assert set(found["metrics"]) == {"macro_f1", "tokens", "valid"}
    for_people = score("--split", "validation")
    assert "colours, validation: accuracy 1.000" in for_people.out
    assert "n=9: 9 ok" in for_people.out


def interrupted(score: Callable[..., Told], server: "Loopback", fault: "Fault", *options: str) -> None:
    """Have a score of 12 examples end at the eighth, as where a key has run out."""
    before = len(server.bodies)
    server.faults = [None] * 7 + [fault]
    assert score("--json", "--concurrency", "1", *options).code == 3
    assert (len(server.bodies) - before, server.faults) == (8, [])


def test_an_interrupted_score_is_taken_up_even_if_it_shares_no_answer(
    score: Callable[..., Told], obedient: "Loopback", loopback_server: ModuleType
) -> None:
    interrupted(score, obedient, loopback_server.Fault(status=401), "--no-cache")
    assert score("--json", "--no-cache").code == 0
    assert len(obedient.bodies) == 8 + 5
    assert score("--json", "--no-cache").code == 0  # that one was finished: this is another
    assert len(obedient.bodies) == 8 + 5 + 12


def test_a_score_that_takes_no_old_answer_goes_on_with_none_that_may_have(
    score: Callable[..., Told], obedient: "Loopback", loopback_server: ModuleType
) -> None:
    def asked(*options: str) -> int:
        before = len(obedient.bodies)
        assert score("--json", *options).code == 0
        return len(obedient.bodies) - before

    lost = loopback_server.Fault(status=401)
    interrupted(score, obedient, lost)
    assert asked("--no-cache") == 12
    interrupted(score, obedient, lost, "--refresh")
    assert asked("--refresh") == 5
    assert asked() == 0  # the one that was interrupted first: all of its answers are there by now


def test_what_is_refused_for_good_does_not_keep_a_score_from_being_over(
    score: Callable[..., Told], obedient: "Loopback"
) -> None:
    answer, colour = obedient.reply, ""

    def reply(body: dict[str, Any]) -> str | tuple[int, object]:
        refused = "Item 3." in body["messages"][-1]["content"]
        return (400, {"error": {"message": "filtered"}}) if refused else colour or answer(body)

    obedient.reply = reply
    split = ("--json", "--split", "train"), ("--json", "--split", "validation"), ("--json",)
    (own,) = [options for options in split if json.loads(score(*options).out)["errors"] == 1]
    colour, before = "red", len(obedient.bodies)
    for n, options in enumerate((("--refresh",), ("--no-cache",), ("--refresh",)), 1):
        told = score(*own, *options)
        found = json.loads(told.out)
        assert (told.code, found["errors"]) == (3, 1)
        asked = found["n"] + 1
        assert len(obedient.bodies) - before == n * asked  # every example again, not the refused one alone
        assert found["score"] < 1


def test_a_score_again_takes_stored_answers_unless_told_otherwise(
    score: Callable[..., Told], obedient: "Loopback"
) -> None:
    def scored(*options: str) -> tuple[str, int, int]:
        """Return the score, the requests that the server saw, and the answers from the store."""
        before = len(obedient.bodies)
        told = score("--json", *options)
        assert told.code == 0, told.err
        found = json.loads(told.out)
        assert found["spent"]["attempts"] == len(obedient.bodies) - before
        return f"{found['score']:.2f}", len(obedient.bodies) - before, found["spent"]["cached"]

    assert scored() == ("1.00", 12, 0)
    assert scored() == ("1.00", 0, 12)
    obedient.reply = lambda _body: "red"  # right for a third of them
    assert scored("--no-cache") == ("0.33", 12, 0)
    assert scored() == ("1.00", 0, 12)  # nothing of that was shared
    assert scored("--refresh") == ("0.33", 12, 0)
    obedient.reply = lambda _body: "green"
    assert scored() == ("0.33", 0, 12)  # what was there before was replaced


def test_a_score_says_what_it_used(score: Callable[..., Told], obedient: "Loopback") -> None:
    answer, asked = obedient.reply, Counter[str]()

    def busy_at_first(body: dict[str, Any]) -> str | tuple[int, object]:
        asked[json.dumps(body)] += 1
        first = len(asked) <= 2 and asked[json.dumps(body)] == 1
        return (500, {"error": {"message": "busy"}}) if first else answer(body)

    obedient.reply = busy_at_first
    told = score()
    assert told.code == 0, told.err
    assert "retried         2 failed attempts: 500 2\n" in told.out
    assert "not asked again 12 answers that were there already\n" in score().out


def test_a_score_that_misses_an_example_says_which_and_ends_with_3(
    score: Callable[..., Told], obedient: "Loopback"
) -> None:
    answer = obedient.reply

    def refuses_one(body: dict[str, Any]) -> str | tuple[int, object]:
        lost = "is blue" in body["messages"][-1]["content"]
        return (400, {"error": {"message": "too blue"}}) if lost else answer(body)

    obedient.reply = refuses_one
    told = score()
    assert told.code == 3
    assert "n=8: 8 ok, 4 error" in told.out
    assert told.err.count("too blue") == 4
    assert "error: 4 of 12 examples have no score" in told.err


@pytest.mark.parametrize("number", ["1", "3"])
def test_no_more_requests_are_under_way_than_the_command_line_allows(
    score: Callable[..., Told], obedient: "Loopback", number: str
) -> None:
    obedient.delay = 0.02
    assert score("--concurrency", number).code == 0
    assert obedient.most_in_flight == int(number)


def test_a_score_that_cannot_be_had_is_refused_before_any_call(
    prompt: Path, call: Callable[..., Told], obedient: "Loopback", tmp_path: Path
) -> None:
    task = ("--task", tmp_path / "task.yaml")
    model = ("--model", "openai_compatible:other", "--base-url", obedient.base_url)
    lacking = call("score", prompt, *task, *model)
    for study in (prompt.parent, prompt.with_name("study.yaml")):
        assert call("score", study, *task, *model).err == lacking.err  # they lead to the prompt
    assert lacking.code == 2
    assert "the prompt needs choice" in lacking.err
    assert call("score", prompt, *task, *model, "--split", "tests").code == 2
    unknown = call("score", prompt, *task, "--model", "opnai_compatible:x")
    assert unknown.code == 2
    assert "did you mean 'openai_compatible'?" in unknown.err


def test_a_prompt_is_scored_with_the_model_of_the_study_beside_it(
    prompt: Path, call: Callable[..., Told], tmp_path: Path
) -> None:
    task = ("--task", tmp_path / "task.yaml")
    told = call("score", prompt, *task, "--json")  # its path stands nowhere but in the study
    assert told.code == 0, told.err
    assert json.loads(told.out)["n"] == 12
    prompt.with_name("study.yaml").rename(tmp_path / "other.yaml")
    assert "scripted needs path" in call("score", prompt, *task).err
    assert call("score", prompt, *task, "--model-path", tmp_path / "rules.json").code == 0


def test_what_a_model_can_do_is_said_on_the_command_line(
    prompt: Path, call: Callable[..., Told], obedient: "Loopback", tmp_path: Path
) -> None:
    model = ("--model", "openai_compatible:other", "--base-url", obedient.base_url)
    told = call("score", prompt, "--task", tmp_path / "task.yaml", *model, "--capability", "choice")
    assert told.code == 0, told.err
    assert "accuracy 1.000" in told.out


def test_a_prompt_without_a_model_is_scored_by_one_that_is_named(
    prompt: Path, call: Callable[..., Told], tmp_path: Path
) -> None:
    path = prompt.with_name("bare.json")
    path.write_text(replace(FrozenPrompt.load(prompt), model={}).dumps(), encoding="utf-8")
    task = ("--task", tmp_path / "task.yaml")
    told = call("score", path, *task)
    assert (told.code, told.err) == (2, "error: --model: missing; the prompt names no model\n")
    named = ("--model", "scripted:any", "--model-path", tmp_path / "rules.json")
    assert call("score", path, *task, *named).code == 0


def test_the_time_that_is_stated_is_the_whole_wait() -> None:
    own = ModelSpec(
        provider="openai_compatible",
        name="m",
        base_url="http://127.0.0.1:9/v1",
        capabilities=("choice",),
        options={"slots": 4, "timeout_seconds": 900, "read_seconds": 60},
    )
    nothing = Stated(
        name=None, base_url=None, api_key_env=None, path=None, capabilities=None, timeout_seconds=None
    )
    assert nothing.over(own) == own
    assert replace(nothing, timeout_seconds=300).over(own) == replace(
        own, options={"slots": 4, "timeout_seconds": 300}
    )
    assert replace(nothing, capabilities=["prefill"], api_key_env="K").over(own) == replace(
        own, capabilities=("prefill",), api_key_env="K"
    )
    assert replace(nothing, name="openai_compatible:x").over(None).options == {}


def test_a_mistake_of_ours_is_one_line_and_a_file_with_the_traceback(
    study: Path, call: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("optimizer.plan.load_plan", breaks)
    told = call("validate", study)
    assert told.code == 70
    assert len(told.err.splitlines()) == 1
    assert told.err.startswith("internal error: ZeroDivisionError: of ours; the traceback is in ")
    assert "breaks" in Path(told.err.split()[-1]).read_text(encoding="utf-8")


def test_a_mistake_of_ours_without_a_place_for_its_traceback_is_still_one_line(
    study: Path, call: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of ours")

    def nowhere(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("optimizer.plan.load_plan", breaks)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", nowhere)
    told = call("validate", study)
    assert told.code == 70
    assert told.err == (
        "internal error: ZeroDivisionError: of ours; no traceback could be written"
        " (No usable temporary directory found)\n"
    )


@pytest.mark.parametrize("arguments", [["--help"], ["plugins"]])
def test_a_pipe_that_nobody_reads_is_no_failed_gate(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-m", "optimizer", *arguments]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_an_output_that_the_disk_does_not_take_is_told() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "optimizer", "plugins"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr == "error: the output cannot be written (No space left on device)\n"


def test_the_version_is_told_without_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["optimizer", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert capsys.readouterr().out == f"optimizer {version('promptstudy')}\n"


def test_debug_shows_the_traceback(
    study: Path, call: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    study.write_text("schema: 2")
    monkeypatch.setattr(sys, "argv", ["optimizer", "--debug", "validate", str(study)])
    with pytest.raises(Exception, match="schema"):
        main()


def test_printable_keeps_what_is_text() -> None:
    assert printable("é ß 漢 ‹x›\n\tok") == "é ß 漢 ‹x›\n\tok"
    assert harmless(printable(HOSTILE + "\ud800"))


def test_another_model_than_the_study_began_with_is_refused_by_what_changed(
    study: Path, prompt: Path, call: Callable[..., Told]
) -> None:
    before = prompt.read_bytes()
    (study.parents[1] / "rules.json").write_text(json.dumps({"rules": [], "default": "red"}))
    told = call("run", study, "--quiet")
    assert told.code == 2
    assert "model: the model that answers is not the one the study began with: rules changed" in told.err
    assert prompt.read_bytes() == before


def test_a_refused_study_does_not_keep_the_others_from_running(
    study: Path, prompt: Path, call: Callable[..., Told]
) -> None:
    other = study.parents[1] / "other" / "study.yaml"
    other.parent.mkdir()
    other.write_text(study.read_text())
    study.write_text(study.read_text().replace("screen: 6", "screen: 5"))
    told = call("run", study, other, "--quiet")
    assert told.code == 2
    assert "search.screen changed" in told.err
    assert other.with_name("prompt.json").exists()


def test_fresh_starts_anew_once_and_counts_every_opening_of_the_test(
    study: Path, prompt: Path, call: Callable[..., Told]
) -> None:
    def studies() -> int:
        with sqlite3.connect(study.with_name("study.db")) as connection:
            return int(connection.execute("SELECT count(*) FROM ps_study").fetchone()[0])

    assert studies() == 1
    assert call("run", study, "--fresh", "--quiet").code == 0
    assert studies() == 2
    # The same prompts were looked at: one opening, however many studies asked for it.
    assert FrozenPrompt.load(prompt).evidence["test_opened"] == 1
    with sqlite3.connect(study.with_name("study.db")) as connection:
        connection.execute("DELETE FROM ps_record WHERE study = 2 AND kind = 'test'")
    assert call("run", study, "--fresh", "--quiet").code == 0
    assert studies() == 2  # an interrupted fresh study is continued


class Gauge:
    """A model that says what the last message names, and knows how many requests were under way at most."""

    def __init__(self) -> None:
        self.under_way = self.most = self.n = 0

    async def complete(self, request: Request) -> Completion:
        self.n += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.002)
        self.under_way -= 1
        return Completion(text=said(request), prompt_tokens=40, completion_tokens=2)


def said(request: Request) -> str:
    """Return the colour where the answer is held to the labels, and no answer where it is not."""
    asked = request.messages[-1].content
    constrained = request.constraint is not None
    return next(label for label in LABELS if f"is {label}" in asked) if constrained else "red or blue"


def write(study: Path, before: str, after: str) -> None:
    text = study.read_text(encoding="utf-8")
    assert before in text
    study.write_text(text.replace(before, after), encoding="utf-8")


def as_json(told: Told) -> dict[str, Any]:
    """Return what a run of one study told."""
    assert told.code == 0, told.err
    (found,) = json.loads(told.out)["studies"].values()
    return dict(found)


def change(study: Path, statement: str) -> None:
    """Change the study's database past the product."""
    with closing(sqlite3.connect(study.with_name("study.db"))) as connection, connection:
        assert connection.execute(statement).rowcount == 1


@pytest.mark.parametrize(
    ("options", "most"), [(("--concurrency", "3"), 3), (("--concurrency", "auto"), 8), ((), 2)]
)
def test_the_concurrency_of_the_command_line_goes_before_that_of_the_study(
    study: Path, call: Callable[..., Told], play: Callable[..., None], options: tuple[str, ...], most: int
) -> None:
    write(study, "budget:", "run: {concurrency: 2}\nbudget:")
    gauge = Gauge()
    play(gauge)
    assert call("run", study, "--quiet", *options).code == 0
    assert gauge.most == most


@pytest.mark.parametrize("text", ["x", "0", "-1", "2.5", "1e3", "", " ", "٣", "autos"])
def test_a_concurrency_that_is_no_number_is_refused(
    study: Path, call: Callable[..., Told], text: str
) -> None:
    message = f"error: --concurrency: expected auto or a whole number of at least 1, found {text!r}\n"
    assert call("run", study, f"--concurrency={text}") == (2, "", message)


def test_not_to_share_and_to_replace_cannot_both_be_asked_for(study: Path, call: Callable[..., Told]) -> None:
    message = (
        "error: expected one of --no-cache and --refresh: the first shares nothing, the second replaces\n"
    )
    assert call("run", study, "--no-cache", "--refresh") == (2, "", message)


def test_a_score_refuses_the_same_options_before_any_call(
    score: Callable[..., Told], obedient: "Loopback"
) -> None:
    for options, said in (
        (
            ("--concurrency", "x"),
            "error: --concurrency: expected auto or a whole number of at least 1, found 'x'",
        ),
        (("--no-cache", "--refresh"), "error: expected one of --no-cache and --refresh"),
    ):
        told = score(*options)
        assert (told.code, told.out) == (2, "")
        assert told.err.startswith(said)
    assert obedient.bodies == []


def test_a_fresh_run_takes_stored_answers_unless_told_otherwise(
    study: Path, call: Callable[..., Told], play: Callable[..., None]
) -> None:
    gauge = Gauge()
    play(gauge)

    def asked(*options: str) -> int:
        before = gauge.n
        assert as_json(call("run", study, "--quiet", "--json", *options))["calls"] == gauge.n - before
        return gauge.n - before

    every = asked()
    assert every > 40
    assert asked("--fresh") == 0
    assert asked("--fresh", "--no-cache") == every
    assert asked("--fresh", "--refresh") == every
    # What the study got itself is never asked for again.
    for options in ((), ("--no-cache",), ("--refresh",)):
        assert call("run", study, "--quiet", *options).code == 0
    assert gauge.n == 3 * every


FIGURES = {
    *("calls", "attempts", "budget", "cached", "trials", "failed_trials", "files", "seconds", "run_seconds"),
    *("tokens", "prompt_tokens", "completion_tokens", "usd", "retried", "damaged", "evidence", "fingerprint"),
    *("gates", "lost_in_flight", "lost_tokens", "lost_usd"),
}


def test_a_run_as_json_tells_what_was_used_retried_and_lost(
    study: Path, call: Callable[..., Told], play: Callable[..., None]
) -> None:
    write(study, "calls: 80", "calls: 80, prices: {rules: {input: 1000, output: 5000}}")
    failed: set[str] = set()

    def fails_twice(request: Request) -> Completion:
        if len(failed) < 2 and str(request) not in failed:
            failed.add(str(request))
            raise OverloadedError("busy", reason="500")
        return Completion(text=said(request), prompt_tokens=40, completion_tokens=2)

    model = Scripted(fails_twice)
    play(model)
    found = as_json(call("run", study, "--quiet", "--json"))
    assert set(found) == FIGURES
    n = len(model.requests) - 2
    assert (found["calls"], found["attempts"], found["tokens"]) == (n, n + 2, 42 * n)
    assert found["usd"] == pytest.approx((40 * 1000 + 2 * 5000) * n / 1e6)
    assert found["retried"] == {
        "total": 2,
        "reasons": {"500": 2},
        "by_trial": [{"trial": 0, "reason": "500", "attempts": 2}],
    }
    assert (found["lost_in_flight"], found["lost_tokens"], found["lost_usd"]) == (0, 0, 0.0)
    assert (found["damaged"], found["failed_trials"]) == (0, 0)
    assert 0 < found["run_seconds"] <= found["seconds"] + 0.1
    again = as_json(call("run", study, "--quiet", "--json"))
    for name in FIGURES - {"cached", "seconds", "run_seconds"}:
        assert again[name] == found[name], name
    assert again["run_seconds"] >= found["run_seconds"]  # over all runs


def test_what_a_killed_run_had_under_way_is_counted_as_lost(
    study: Path, prompt: Path, call: Callable[..., Told]
) -> None:
    change(
        study,
        "UPDATE ps_call SET state = 'sent', bound_tokens = 1234"
        " WHERE key = (SELECT min(key) FROM ps_call WHERE state = 'done')",
    )
    found = as_json(call("run", study, "--quiet", "--json"))
    assert (found["lost_in_flight"], found["lost_tokens"]) == (1, 1234)
    told = call("run", study, "--quiet")  # it is lost once
    assert "lost in flight  1 attempt of killed runs, 1,234 tokens at most\n" in told.out


def test_a_damaged_answer_is_asked_for_again_and_told(
    study: Path, call: Callable[..., Told], play: Callable[..., None]
) -> None:
    gauge = Gauge()
    play(gauge)
    assert call("run", study, "--quiet").code == 0
    before, results = gauge.n, study.with_name("prompt.json").read_bytes()
    change(
        study,
        "UPDATE ps_completion SET completion = substr(completion, 1, 20)"
        " WHERE key = (SELECT min(key) FROM ps_call WHERE payer = 2147483647)",
    )
    found = as_json(call("run", study, "--quiet", "--json"))
    assert (found["damaged"], gauge.n) == (1, before + 1)
    assert study.with_name("prompt.json").read_bytes() == results
    assert as_json(call("run", study, "--quiet", "--json"))["damaged"] == 0


def test_a_person_reads_what_was_used_where_there_was_any(
    study: Path, call: Callable[..., Told], play: Callable[..., None]
) -> None:
    write(study, "calls: 80", "calls: 80, prices: {rules: {input: 1000, output: 5000}}")
    write(study, "budget:", "run: {deadline_seconds: 0.2}\nbudget:")
    down = True

    def script(request: Request) -> Completion:
        if down and request.constraint is not None:
            raise OverloadedError("busy", reason="500")
        return Completion(text=said(request), prompt_tokens=40, completion_tokens=2)

    play(Scripted(script))
    told = call("run", study, "--quiet")
    assert told.code == 0, told.err
    assert "failed          2 trials; the same command asks for what is missing\n" in told.out
    assert " US dollars for " in told.out
    assert "lost" not in told.out
    assert "damaged" not in told.out
    down = False
    told = call("run", study, "--quiet")
    assert told.code == 0, told.err
    assert "failed  " not in told.out
    assert "frozen: the winner" in told.out


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("seconds: 0.000001", "the budget of 1e-06 seconds is spent"),
        (
            "tokens: 3000",
            "what is left of the budget cannot hold one more call: 0 of 3,000 tokens, and it may take 200",
        ),
    ],
)
def test_a_budget_that_ends_too_early_ends_the_run_with_4_and_a_larger_one_resumes(
    study: Path, call: Callable[..., Told], play: Callable[..., None], budget: str, message: str
) -> None:
    # An endpoint that charges for more than it is sent, so that six calls take most of the tokens.
    model = Scripted(lambda request: Completion(text=said(request), prompt_tokens=400, completion_tokens=2))
    play(model)
    write(study, "path: ../rules.json", "path: ../rules.json, parameters: {max_tokens: 8}")
    write(study, "calls: 80", f"calls: 80, {budget}")
    told = call("run", study, "--quiet")
    assert (told.code, told.out, told.err) == (4, "", f"error: {message}\n")
    assert not study.with_name("prompt.json").exists()
    asked = list(map(str, model.requests))
    write(study, f"calls: 80, {budget}", "calls: 80")
    assert call("run", study, "--quiet").code == 0
    assert set(Counter(map(str, model.requests)).values()) == {1}
    assert len(asked) < len(model.requests)


def test_results_that_cannot_be_written_end_the_run_with_3_and_the_same_command_writes_them(
    study: Path, call: Callable[..., Told]
) -> None:
    taken = study.with_name("prompt.json")
    taken.mkdir()
    told = call("run", study, "--quiet")
    assert (told.code, told.out) == (3, "")
    last = f"error: {taken} cannot be written (Is a directory); the same command writes it"
    assert told.err.splitlines()[0] == last
    taken.rmdir()
    assert call("run", study, "--quiet").code == 0
    assert taken.is_file()


# What the evidence of earlier prompts does not hold.
NEWER = (
    "protocol",
    "frozen",
    "reason",
    "in_words",
    "saving",
    "guess",
    "difference_over_guess",
    "test_openings",
    "leaks",
)


def test_a_prompt_of_an_earlier_version_is_shown_as_far_as_it_goes(
    prompt: Path, call: Callable[..., Told]
) -> None:
    frozen = FrozenPrompt.load(prompt)
    older = {key: value for key, value in frozen.evidence.items() if key not in NEWER}
    prompt.write_text(replace(frozen, evidence=older).dumps(), encoding="utf-8")
    told = call("show", prompt)
    assert told.code == 0
    assert re.search(r"^decision +(improved|not distinguishable)", told.out, re.MULTILINE)
    assert call("show", prompt.parent).out == told.out  # the folder, and the study, lead to it as well
    assert call("show", prompt.with_name("study.yaml")).out == told.out


@pytest.mark.parametrize("least", ["nan", "inf"])
def test_a_gate_that_nothing_passes_is_refused_before_the_run(
    study: Path, call: Callable[..., Told], least: str
) -> None:
    told = call("run", study, "--quiet", "--json", "--min-gain", least)
    assert (told.code, told.out) == (2, "")
    assert f"--min-gain: expected a number, found {least}" in told.err
    assert not study.with_name("study.db").exists()


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_an_output_of_another_encoding_ends_no_command(tmp_path: Path, encoding: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text("prompt_id,example_id,score\n漢,1,1\n漢,2,0\nb,1,1\nb,2,1\n", encoding="utf-8")
    command = [sys.executable, "-m", "optimizer", "compare", "--recorded", str(table)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    told = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert told.returncode == 0, told.stderr
    assert ("漢" if encoding == "utf-8" else "\\u6f22") in told.stdout.decode(encoding)
    document = subprocess.run([*command, "--json"], env=environment, capture_output=True, check=True)
    assert "漢" in json.dumps(json.loads(document.stdout.decode(encoding)), ensure_ascii=False)
