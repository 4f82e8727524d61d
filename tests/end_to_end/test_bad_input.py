"""Bad input ends with exit code 2 and one message that names the place; a model that fails, with exit code 3."""

import json
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.commands import main

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Until

Change = Callable[[Path], None]
CommandLine = Callable[..., tuple[int, str, str]]

STUDY = "studies/colours/study.yaml"
TASK = "tasks/colours.yaml"
DATA = "datasets/colours.jsonl"
TABLE = "datasets/colours.csv"

KEY = "sk-0123456789-never-shown"

# Runs the loopback server (argv[1]) on a given port (argv[2]) instead of a free one.
ON_PORT = """
import importlib.util, sys
path, port = sys.argv[1], int(sys.argv[2])
spec = importlib.util.spec_from_file_location("loopback_server", path)
module = sys.modules["loopback_server"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
server = module._Server
module._Server = lambda address, handler: server((address[0], port), handler)
del sys.argv[1:3]
module.main()
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A project with mistakes, and what is said of each: a line of stderr begins with `place` and holds the texts."""

    name: str
    change: Change
    said: tuple[tuple[str, ...], ...]


def mistake(name: str, change: Change, place: str, *texts: str) -> Case:
    return Case(name=name, change=change, said=((place, *texts),))


def edit(file: str, before: str, after: str) -> Change:
    """Replace a text that the file holds once."""

    def change(folder: Path) -> None:
        text = (folder / file).read_text(encoding="utf-8")
        assert text.count(before) == 1, (before, text)
        (folder / file).write_text(text.replace(before, after), encoding="utf-8")

    return change


def rows(changed: dict[int, str]) -> Change:
    """Replace lines of the data file, counted from 1; lines past the end are added."""

    def change(folder: Path) -> None:
        lines = (folder / DATA).read_text(encoding="utf-8").splitlines()
        for number, line in sorted(changed.items()):
            lines[number - 1 : number] = [line]
        (folder / DATA).write_text("\n".join(lines) + "\n", encoding="utf-8")

    return change


def row(**cells: object) -> str:
    return json.dumps({"id": "x", "text": "A thing.", "colour": "red", **cells})


def content(file: str, data: bytes) -> Change:
    return lambda folder: void((folder / file).write_bytes(data))


def without(file: str) -> Change:
    return lambda folder: (folder / file).unlink()


def first_rows(n: int) -> Change:
    def change(folder: Path) -> None:
        lines = (folder / DATA).read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / DATA).write_text("".join(lines[:n]), encoding="utf-8")

    return change


def as_csv(*lines: str) -> Change:
    """Put the examples into a CSV file whose last lines are given."""

    def change(folder: Path) -> None:
        found = [json.loads(line) for line in (folder / DATA).read_text(encoding="utf-8").splitlines()]
        table = [
            "id,text,colour",
            *(f"{cells['id']},{cells['text']},{cells['colour']}" for cells in found),
            *lines,
        ]
        (folder / TABLE).write_text("\n".join(table) + "\n", encoding="utf-8")
        edit(TASK, "colours.jsonl", "colours.csv")(folder)

    return change


def linked(file: str) -> Change:
    """Move a file out of the project and leave a link to it."""

    def change(folder: Path) -> None:
        outside = folder.parent / Path(file).name
        (folder / file).rename(outside)
        (folder / file).symlink_to(outside)

    return change


def all_of(*changes: Change) -> Change:
    return lambda folder: [change(folder) for change in changes].clear()


def void(_: object) -> None:
    """Return nothing."""


def budget(keys: str) -> Change:
    """Give the study more limits than that of calls."""
    return edit(STUDY, "calls: 260", f"calls: 260, {keys}")


def answer_of(tokens: int) -> Change:
    """Bound the answer of the study's model."""
    return edit(STUDY, "name: scripted,", f"name: scripted, parameters: {{max_tokens: {tokens}}},")


def label(written: str) -> Change:
    return edit(TASK, "labels: [red, green, blue]", f"labels: [red, green, blue, {written}]")


CASES = (
    mistake(
        "an unknown key",
        edit(STUDY, "run: {", "colour: red\nrun: {"),
        f"{STUDY}:11: ",
        "unknown field 'colour'",
    ),
    mistake(
        "an unknown key in the task",
        edit(TASK, "metric:", "judge: me\nmetric:"),
        f"{TASK}:9: ",
        "unknown field 'judge'",
    ),
    mistake(
        "a misspelt key",
        edit(STUDY, "screen: 6", "scren: 6"),
        f"{STUDY}:9: search: ",
        "unknown field 'scren'; did you mean 'screen'?",
    ),
    Case(
        name="a misspelt key in the task",
        change=edit(TASK, "target: colour", "taget: colour"),
        said=(
            (f"{TASK}:3: dataset: ", "missing field 'target'"),
            (f"{TASK}:6: dataset: ", "unknown field 'taget'; did you mean 'target'?"),
        ),
    ),
    mistake(
        "a wrong type",
        edit(STUDY, "screen: 6", "screen: many"),
        f"{STUDY}:9: search.screen: ",
        'expected a whole number or null, found text "many"',
    ),
    mistake(
        "a missing task",
        without(TASK),
        f"{STUDY}:2: task: ",
        "expected a file, found none at ../../tasks/colours.yaml",
    ),
    mistake(
        "a missing data file",
        without(DATA),
        f"{TASK}:4: dataset.path: ",
        "expected a file, found none at ../datasets/colours.jsonl",
    ),
    mistake(
        "a missing column",
        edit(TASK, "inputs: [text]", "inputs: [txt]"),
        f"{DATA}:1: txt: ",
        "expected a column of this name, found none; did you mean 'text'?",
    ),
    mistake(
        "a label outside the list",
        rows({7: row(colour="rde")}),
        f"{DATA}:7: colour: ",
        "expected one of 'red', 'green', 'blue', found 'rde'; did you mean 'red'?",
    ),
    mistake(
        "an empty target",
        rows({8: row(colour=" ")}),
        f"{DATA}:8: colour: ",
        "expected a target, found an empty one",
    ),
    mistake(
        "a number as a label",
        label("012"),
        f"{TASK}:8: output.labels[3]: ",
        'expected text, found the number 012: write "012"',
    ),
    mistake(
        "a boolean as a label",
        label("true"),
        f"{TASK}:8: output.labels[3]: ",
        'expected text, found the boolean true: write "true"',
    ),
    mistake(
        "a date as a label",
        label("2024-05-01"),
        f"{TASK}:8: output.labels[3]: ",
        'expected text, found the date 2024-05-01: write "2024-05-01"',
    ),
    mistake(
        "an anchor",
        edit(TASK, "metric: accuracy", "metric: &m accuracy"),
        f"{TASK}:9: metric: ",
        "anchor '&m' is not allowed",
    ),
    Case(
        name="an alias",
        change=edit(TASK, "metric: accuracy\nmetrics: [macro_f1", "metric: &m accuracy\nmetrics: [*m"),
        said=(
            (f"{TASK}:9: metric: ", "anchor '&m' is not allowed"),
            (f"{TASK}:10: metrics[0]: ", "alias '*m' is not allowed: write the value out"),
        ),
    ),
    mistake(
        "a duplicate key",
        edit(STUDY, "  screen: 6", "  screen: 6\n  screen: 7"),
        f"{STUDY}:10: search: ",
        "duplicate key 'screen', first on line 9",
    ),
    mistake("an empty dataset", content(DATA, b""), f"{DATA}: ", "expected at least one example, found none"),
    mistake(
        "fewer examples than the splits count",
        first_rows(12),
        f"{TASK}:7: dataset.splits: ",
        "expected at most 12 examples in all, found 78",
    ),
    mistake(
        "a test too small to prove anything",
        edit(TASK, "{train: 24, validation: 24, test: 30}", "{train: 0.5, validation: 0.48, test: 0.02}"),
        f"{TASK}:7: dataset.splits.test: ",
        "expected at least 6 examples in test, found 2",
        "no exact paired test",
    ),
    mistake(
        "equal inputs with different targets",
        rows({5: row(id="a"), 9: row(id="b", colour="blue")}),
        f"{DATA}:9: colour: ",
        "expected 'red' as for the same inputs on line 5, found 'blue'",
    ),
    mistake(
        "a broken line of JSON", rows({6: '{"text": "A thing.'}), f"{DATA}:6: ", "not valid JSON at character"
    ),
    mistake(
        "data in another encoding",
        content(DATA, row().encode() + b'\n{"text": "caf\xe9"}\n'),
        f"{DATA}:2: ",
        "expected UTF-8 text, found the byte 0xe9",
    ),
    mistake(
        "a study in another encoding",
        content(STUDY, b"schema: 1\n# caf\xe9\n"),
        f"{STUDY}:2: ",
        "expected UTF-8 text, found the byte 0xe9",
    ),
    mistake(
        "a row of CSV with a field too many",
        as_csv("c90,A thing.,red,blue"),
        f"{TABLE}:92: ",
        "expected 3 fields, found 4",
    ),
    mistake(
        "an unknown style",
        edit(STUDY, "[direct,", "[drect,"),
        f"{STUDY}:7: search.styles[0]: ",
        "no plug-in 'drect' in styles; did you mean 'direct'?",
    ),
    mistake(
        "an unknown format",
        edit(STUDY, "inline, json", "inline, jsn"),
        f"{STUDY}:8: search.formats[2]: ",
        "no plug-in 'jsn' in formats; did you mean 'json'?",
    ),
    mistake(
        "an unknown metric",
        edit(TASK, "metric: accuracy", "metric: acuracy"),
        f"{TASK}:9: metric: ",
        "no plug-in 'acuracy' in metrics; did you mean 'accuracy'?",
    ),
    mistake(
        "an unknown second metric",
        edit(TASK, "[macro_f1,", "[macro_f2,"),
        f"{TASK}:10: metrics[0]: ",
        "no plug-in 'macro_f2' in metrics; did you mean 'macro_f1'?",
    ),
    mistake(
        "an unknown sampler",
        edit(STUDY, "  screen: 6", "  screen: 6\n  sampler: {name: tpee}"),
        f"{STUDY}:10: search.sampler.name: ",
        "no plug-in 'tpee' in samplers; did you mean 'tpe'?",
    ),
    mistake(
        "an unknown selector",
        edit(STUDY, "balanced]", "balancd]"),
        f"{STUDY}:6: search.demos.selectors[1]: ",
        "no plug-in 'balancd' in demonstrations; did you mean 'balanced'?",
    ),
    mistake(
        "an unknown provider",
        edit(STUDY, "provider: openai_compatible", "provider: openai_compatibel"),
        f"{STUDY}:3: model.provider: ",
        "no plug-in 'openai_compatibel' in models; did you mean 'openai_compatible'?",
    ),
    mistake(
        "data outside the project",
        edit(TASK, "../datasets/", "../../datasets/"),
        f"{TASK}:4: dataset.path: ",
        "'../../datasets/colours.jsonl' leads outside the project",
    ),
    mistake(
        "a task outside the project",
        edit(STUDY, "../../tasks/", "../../../tasks/"),
        f"{STUDY}:2: task: ",
        "'../../../tasks/colours.yaml' leads outside the project",
    ),
    mistake(
        "a link to data outside the project",
        linked(DATA),
        f"{TASK}:4: dataset.path: ",
        "leads outside the project",
    ),
    mistake(
        "a link to a task outside the project",
        linked(TASK),
        f"{STUDY}:2: task: ",
        "leads outside the project",
    ),
    mistake(
        "an unset variable for the key",
        edit(STUDY, "name: scripted,", "name: scripted, api_key_env: NO_SUCH_KEY,"),
        f"{STUDY}:3: model.api_key_env: ",
        "the environment variable NO_SUCH_KEY is not set",
    ),
    mistake(
        "a budget too small",
        edit(STUDY, "calls: 260", "calls: 100"),
        f"{STUDY}:10: budget.calls: ",
        "expected at least 126 calls (baseline 6, one candidate 6, confirmation 24, test 90), found 100",
    ),
    mistake(
        "a budget too small in tokens",
        all_of(budget("tokens: 100"), answer_of(8)),
        f"{STUDY}:10: budget.tokens: ",
        "expected at least about ",
        " tokens, found 100",
    ),
    mistake(
        "a budget too small in money",
        all_of(budget("usd: 0.000001, prices: {scripted: {input: 1, output: 2}}"), answer_of(8)),
        f"{STUDY}:10: budget.usd: ",
        "expected at least about ",
        " US dollars, found 1e-06",
    ),
    mistake(
        "a budget in tokens and answers without a bound",
        budget("tokens: 900000"),
        f"{STUDY}:3: model.parameters: ",
        "a budget in tokens or money needs max_tokens, which bounds an answer",
    ),
    mistake(
        "a bound of the answer that is none",
        all_of(budget("tokens: 900000"), answer_of(0)),
        f"{STUDY}:3: model.parameters.max_tokens: ",
        "expected a whole number of at least 1, found 0",
    ),
    mistake(
        "money and a model without a price",
        all_of(budget("usd: 5"), answer_of(8)),
        f"{STUDY}:10: budget.usd: ",
        "the price of 'scripted' is not known; state it in US dollars per million tokens",
        "`budget.prices: {scripted: {input: ..., output: ...}}`",
    ),
    mistake(
        "the price of another model",
        budget("prices: {scriptd: {input: 1, output: 2}}"),
        f"{STUDY}:10: budget.prices.scriptd: ",
        "'scriptd' is no model of this study; did you mean 'scripted'?",
    ),
    mistake(
        "half a price",
        budget("prices: {scripted: {input: 1}}"),
        f"{STUDY}:10: budget.prices.scripted: ",
        "missing field 'output'",
    ),
    mistake(
        "a price below nothing",
        budget("prices: {scripted: {input: 1, output: -2}}"),
        f"{STUDY}:10: budget.prices.scripted.output: ",
        "expected at least 0, found -2",
    ),
    mistake(
        "a budget of no time",
        budget("seconds: 0"),
        f"{STUDY}:10: budget.seconds: ",
        "expected more than 0, found 0",
    ),
    mistake(
        "a budget of endless time",
        budget("seconds: .inf"),
        f"{STUDY}:10: budget.seconds: ",
        "expected a finite number, found .inf",
    ),
    mistake(
        "fewer attempts than calls",
        budget("attempts: 200"),
        f"{STUDY}:10: budget.attempts: ",
        "expected at least 260, the number of calls, found 200",
    ),
    mistake(
        "a misspelt budget",
        budget("tokns: 900000"),
        f"{STUDY}:10: budget: ",
        "unknown field 'tokns'; did you mean 'tokens'?",
    ),
    mistake(
        "a budget in words",
        budget("tokens: many"),
        f"{STUDY}:10: budget.tokens: ",
        'expected a whole number or null, found text "many"',
    ),
    mistake(
        "no requests at all in a minute",
        edit(STUDY, "run: {", "run: {requests_per_minute: 0, "),
        f"{STUDY}:11: run.requests_per_minute: ",
        "expected more than 0, found 0",
    ),
    mistake(
        "a deadline in the past",
        edit(STUDY, "run: {", "run: {deadline_seconds: -1, "),
        f"{STUDY}:11: run.deadline_seconds: ",
        "expected more than 0, found -1",
    ),
    mistake(
        "a misspelt deadline",
        edit(STUDY, "run: {", "run: {deadline_second: 60, "),
        f"{STUDY}:11: run: ",
        "unknown field 'deadline_second'; did you mean 'deadline_seconds'?",
    ),
    mistake(
        "a concurrency of nothing",
        edit(STUDY, "concurrency: 8", "concurrency: 0"),
        f"{STUDY}:11: run.concurrency: ",
        "expected at least 1, found 0",
    ),
    mistake(
        "a name that a model of rules cannot give itself",
        edit(
            STUDY,
            "{provider: openai_compatible, name: scripted,",
            "{provider: scripted, name: s, expect_model: s,",
        ),
        f"{STUDY}:3: model",
        "expect_model",
    ),
    Case(
        name="mistakes in budget, prices and run",
        change=all_of(
            budget("seconds: -1, prices: {other: {input: 1, output: 2}}"),
            edit(STUDY, "run: {", "run: {requests_per_minute: -5, "),
        ),
        said=(
            (f"{STUDY}:10: budget.seconds: ", "expected more than 0, found -1"),
            (f"{STUDY}:11: run.requests_per_minute: ", "expected more than 0, found -5"),
            (f"{STUDY}:10: budget.prices.other: ", "'other' is no model of this study"),
        ),
    ),
    Case(
        name="mistakes in study, task and data",
        change=all_of(
            edit(STUDY, "inline, json", "inline, jsn"),
            edit(STUDY, "calls: 260", "calls: -1"),
            edit(TASK, "metric: accuracy", "metric: acuracy"),
            rows({7: row(colour="pink"), 8: "{"}),
        ),
        said=(
            (f"{STUDY}:8: search.formats[2]: ", "did you mean 'json'?"),
            (f"{STUDY}:10: budget.calls: ", "expected at least 1, found -1"),
            (f"{TASK}:9: metric: ", "did you mean 'accuracy'?"),
            (f"{DATA}:7: colour: ", "found 'pink'"),
            (f"{DATA}:8: ", "not valid JSON"),
        ),
    ),
    Case(
        name="an unknown key in the study and mistakes in task and data",
        change=all_of(
            edit(STUDY, "screen: 6", "scren: 6"),
            edit(TASK, "[macro_f1,", "[macro_f2,"),
            rows({7: row(colour="pink")}),
        ),
        said=(
            (f"{STUDY}:9: search: ", "did you mean 'screen'?"),
            (f"{TASK}:10: metrics[0]: ", "did you mean 'macro_f1'?"),
            (f"{DATA}:7: colour: ", "found 'pink'"),
        ),
    ),
)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Return everything in a folder: contents of files, targets of links, None for folders."""
    return {
        str(path.relative_to(folder)): path.readlink().as_posix().encode()
        if path.is_symlink()
        else (path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


def check(case: Case, stderr: str) -> None:
    lines = stderr.splitlines()
    assert len(lines) == len(case.said), stderr
    for line, (place, *texts) in zip(lines, case.said, strict=True):
        assert line.startswith(f"error: {place}"), stderr
        for text in texts:
            assert text in line, stderr


@pytest.fixture
def command_line(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """Run the command line in this process; return exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(project.folder)
        monkeypatch.setattr(sys, "argv", ["optimizer", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        stdout, stderr = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, stdout, stderr

    return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_told_with_its_place_and_nothing_is_written(
    project: Any, command_line: CommandLine, case: Case
) -> None:
    project.write(9)
    case.change(project.folder)
    before = snapshot(project.folder)
    code, stdout, stderr = command_line("run", STUDY)
    check(case, stderr)
    assert (code, stdout) == (2, "")
    assert command_line("validate", STUDY) == (code, stdout, stderr)
    assert snapshot(project.folder) == before


@pytest.mark.parametrize("command", ["run", "validate"])
def test_a_missing_study_is_told_by_its_name(project: Any, command_line: CommandLine, command: str) -> None:
    project.write(9)
    before = snapshot(project.folder)
    found = command_line(command, "studies/colour/study.yaml")
    assert found == (2, "", "error: studies/colour/study.yaml: no such file\n")
    assert snapshot(project.folder) == before


def test_no_is_a_label_like_any_other(project: Any, command_line: CommandLine) -> None:
    answers = [{"text": f"Thing number {n}.", "colour": ("no", "yes")[n % 2]} for n in range(90)]
    project.write(9, rows=answers)
    edit(TASK, "[red, green, blue]", "[no, yes]")(project.folder)
    code, out, err = command_line("validate", STUDY)
    assert (code, out.partition("\n")[0], err) == (0, f"{STUDY}: a sound study", "")


def test_a_task_by_itself_is_checked_with_its_metrics_and_data(
    project: Any, command_line: CommandLine
) -> None:
    project.write(9)
    all_of(edit(TASK, "metric: accuracy", "metric: acuracy"), rows({7: row(colour="pink")}))(project.folder)
    code, stdout, stderr = command_line("validate", TASK)
    assert (code, stdout) == (2, "")
    assert f"{TASK}:9: metric: no plug-in 'acuracy'" in stderr
    assert f"{DATA}:7: colour: " in stderr


def test_mistakes_in_several_studies_are_told_at_once(project: Any, command_line: CommandLine) -> None:
    project.write(9)
    other = project.folder / "studies" / "other" / "study.yaml"
    other.parent.mkdir()
    text = project.study.read_text(encoding="utf-8")
    other.write_text(text.replace("[direct,", "[drect,"), encoding="utf-8")
    edit(STUDY, "calls: 260", "calls: 100")(project.folder)
    before = snapshot(project.folder)
    code, stdout, stderr = command_line("run", STUDY, "studies/other/study.yaml")
    assert (code, stdout) == (2, "")
    places = [line.split(": ")[1] for line in stderr.splitlines()]
    assert places == [f"{STUDY}:10", "studies/other/study.yaml:7"]
    assert snapshot(project.folder) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", STUDY, "--fresk"), "--fresh"),
        (("validate", STUDY, "--jsno"), "--json"),
        (("vaildate", STUDY), "validate"),
        (("run",), "STUDY"),
        (("run", STUDY, "--seed", "many"), "'--seed'"),
        (("run", STUDY, "--no-cahe"), "--no-cache"),
        (("run", STUDY, "--concurrency"), "--concurrency"),
    ],
    ids=[
        "an unknown option of run",
        "an unknown option of validate",
        "an unknown command",
        "no study",
        "no number",
        "a misspelt option",
        "an option without its number",
    ],
)
def test_a_command_line_that_means_nothing_is_refused(
    project: Any, command_line: CommandLine, arguments: tuple[str, ...], said: str
) -> None:
    project.write(9)
    before = snapshot(project.folder)
    code, stdout, stderr = command_line(*arguments)
    assert (code, stdout) == (2, "")
    assert said in stderr.splitlines()[-1]
    assert sum(line.startswith("Error: ") for line in stderr.splitlines()) == 1
    assert snapshot(project.folder) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            edit(STUDY, "screen: 6", "scren: 6"),
            f"{STUDY}:9: search: unknown field 'scren'",
            id="a misspelt key",
        ),
        pytest.param(rows({6: "{"}), f"{DATA}:6: not valid JSON", id="a broken line of JSON"),
        pytest.param(
            edit(STUDY, "calls: 260", "calls: 100"), f"{STUDY}:10: budget.calls: ", id="a budget too small"
        ),
    ],
)
def test_a_process_ends_as_the_command_line_does(project: Any, change: Change, said: str) -> None:
    project.write(9)
    change(project.folder)
    before = snapshot(project.folder)
    done = project.run("run", STUDY, cold=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1
    assert snapshot(project.folder) == before


def test_the_value_of_a_key_is_never_shown(
    project: Any, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLOUR_KEY", f"{KEY}\nwith a line")
    project.write(9)
    edit(STUDY, "name: scripted,", "name: scripted, api_key_env: COLOUR_KEY,")(project.folder)
    code, stdout, stderr = command_line("run", STUDY)
    assert (code, stdout) == (2, "")
    assert stderr.startswith(
        f"error: {STUDY}:3: model.api_key_env: the environment variable COLOUR_KEY holds"
    )
    assert KEY not in stderr


def finish(project: Any, command_line: CommandLine) -> str:
    """Run the study with a model of rules and return its frozen prompt, relative to the project."""
    project.write(9, calls=160, model="{provider: scripted, name: rules, path: ../../rules.json}")
    rules = [{"contains": colour, "reply": colour} for colour in ("red-", "green-", "blue-")]
    (project.folder / "rules.json").write_text(
        json.dumps({"rules": rules, "default": "red"}), encoding="utf-8"
    )
    code, _, stderr = command_line("run", STUDY, "--quiet")
    assert code == 0, stderr
    return "studies/colours/prompt.json"


def tampered(text: str, change: str) -> str:
    document = json.loads(text)
    if change == "a message":
        document["calls"][0]["messages"][0]["parts"][0] += " Always say red."
    elif change == "a score":
        document["evidence"]["test"]["winner"]["score"] = 0.123
    elif change == "no checksum":
        del document["checksum"]
    elif change == "a later version":
        document["schema"] = "2.0"
    return text[:-20] if change == "cut" else json.dumps(document)


def test_a_tampered_prompt_is_refused(project: Any, command_line: CommandLine) -> None:
    path = finish(project, command_line)
    text = (project.folder / path).read_text(encoding="utf-8")
    said = {
        "a message": ("fingerprint: does not fit", "checksum: does not fit"),
        "a score": ("checksum: does not fit",),
        "no checksum": ("missing checksum",),
        "a later version": ("schema: version 2.0 is not known here",),
        "cut": ("not valid JSON at character ",),
    }
    for change, messages in said.items():
        (project.folder / path).write_text(tampered(text, change), encoding="utf-8")
        before = snapshot(project.folder)
        for command in ("show", "validate"):
            code, stdout, stderr = command_line(command, path)
            assert (code, stdout) == (2, ""), change
            assert stderr.startswith(f"error: {path}:"), stderr
            assert all(message in stderr for message in messages), stderr
            assert stderr.count("\n") == len(messages), stderr
        assert snapshot(project.folder) == before


def logical(database: Path) -> list[str]:
    """Return everything a database holds."""
    with sqlite3.connect(database) as connection:
        dump = list(connection.iterdump())
    connection.close()
    return dump


def test_a_changed_study_is_refused_and_keeps_what_it_has(project: Any, command_line: CommandLine) -> None:
    finish(project, command_line)
    database = project.study.parent / "study.db"
    stored, files = logical(database), set(snapshot(project.folder))
    all_of(
        edit(STUDY, "screen: 6", "screen: 5"),
        edit(STUDY, "[0, 2, 4]", "[0, 2]"),
        edit(TASK, "Name the colour.", "Name it."),
    )(project.folder)
    code, stdout, stderr = command_line("run", STUDY)
    assert (code, stdout) == (2, "")
    assert stderr.startswith(f"error: {STUDY}: the study in study.db was asked for something else: ")
    assert "search.demos, search.screen, task changed; --fresh starts a new study" in stderr
    assert stderr.count("\n") == 1
    assert logical(database) == stored
    assert set(snapshot(project.folder)) == files


def closed_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def incomplete(code: int, stdout: str, stderr: str) -> str:
    """Return the one message of a run whose model failed."""
    assert (code, stdout) == (3, ""), stderr
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, stderr
    assert "Traceback" not in stderr
    return lines[0]


def test_an_unreachable_endpoint_ends_the_run_in_seconds(project: Any) -> None:
    port = closed_port()
    project.write(port)
    start = time.monotonic()
    done = project.run("run", STUDY, "--quiet", cold=True)
    assert time.monotonic() - start < 30
    message = incomplete(done.returncode, done.stdout, done.stderr)
    error, told = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert told.startswith("retried  ")
    assert f"127.0.0.1:{port}/v1/chat/completions could not be reached" in message
    assert "nothing was answered for" in message
    assert not (project.study.parent / "prompt.json").exists()


def test_an_unknown_model_ends_the_run(project: Any, loopback: Any, command_line: CommandLine) -> None:
    loopback.models = {"another"}
    project.write(loopback.port)
    message = incomplete(*command_line("run", STUDY, "--quiet"))
    assert "answered 404: The model `scripted` does not exist" in message
    assert len(loopback.bodies) <= 8


def test_a_wrong_key_ends_the_run_and_is_not_shown(
    project: Any, loopback: Any, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLOUR_KEY", KEY)
    loopback.reply = lambda _body: (401, {"error": {"message": f"Incorrect API key provided: {KEY}."}})
    project.write(loopback.port)
    edit(STUDY, "name: scripted,", "name: scripted, api_key_env: COLOUR_KEY,")(project.folder)
    message = incomplete(*command_line("run", STUDY, "--quiet"))
    assert "answered 401: Incorrect API key provided: [key]." in message
    assert loopback.headers[0]["authorization"] == f"Bearer {KEY}"
    assert not any(KEY.encode() in (data or b"") for data in snapshot(project.folder).values())


@pytest.fixture
def restart() -> Iterator[Callable[[Any], None]]:
    """Start a loopback server that was killed again, on the same port."""
    started: list[subprocess.Popen[str]] = []

    def start(server: Any) -> None:
        python, script, *options = server.process.args
        command = [python, "-c", ON_PORT, script, str(server.port), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert int(process.stdout.readline()) == server.port

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_run_survives_an_outage(
    project: Any, serve: Any, restart: Callable[[Any], None], until: "Until"
) -> None:
    server = serve("--delay", "0.02")
    project.write(server.port, concurrency="24", run=", deadline_seconds: 3")
    process = project.start("run", STUDY, "--quiet")
    until(lambda: len(server.bodies()) >= 40, process)
    server.process.kill()
    stdout, stderr = process.communicate(timeout=40)
    message = incomplete(process.returncode, stdout, stderr)
    assert f"127.0.0.1:{server.port}/v1/chat/completions could not be reached" in message
    assert "nothing was answered for" in message
    first, committed = server.counts(), completions(project)
    assert set(first.values()) == {1}
    assert 0 < committed <= len(first)
    restart(server)
    again = project.run("run", STUDY, "--quiet")
    assert again.returncode == 0, again.stderr
    repeated = Counter({body: n for body, n in server.counts().items() if n > 1})
    assert set(repeated) <= set(first)
    assert sum(repeated.values()) - len(repeated) <= len(first) - committed


def completions(project: Any) -> int:
    """Return how many completions the study has committed."""
    with sqlite3.connect(project.study.parent / "study.db") as connection:
        (n,) = connection.execute("SELECT count(*) FROM ps_completion").fetchone()
    connection.close()
    return int(n)
