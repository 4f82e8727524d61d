"""From a table to a frozen prompt, as a person goes: init, validate, run."""

import csv
import json
import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from optimizer.commands import main

if TYPE_CHECKING:
    from tests.output_schemas import checked
else:
    from output_schemas import checked

# Text in a cell, a label and a column's name that would drive a terminal, and spoof a line of ours.
HOSTILE = "\x1b[2J\u202eevil\x07\nnext        rm -rf"


class Told(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Told]:
    """Return the command line, run in this process in an empty folder: arguments in, exit code and output out."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments: str | Path) -> Told:
        monkeypatch.setattr(sys, "argv", ["optimizer", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        checked(sys.argv, printed.out)
        return Told(int(end.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def init(call: Callable[..., Told]) -> Callable[..., Told]:
    """Return `init` for a model that nobody asks."""
    model = ("--model", "openai_compatible:any", "--base-url", "http://127.0.0.1:9/v1")
    return lambda *arguments: call("init", *arguments, *model)


@pytest.fixture
def colours_csv(colour_rows: list[dict[str, str]], call: Callable[..., Told]) -> Path:
    """Write 90 examples of three colours into the folder."""
    return as_csv(Path("colours.csv"), colour_rows)


def as_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def files() -> dict[str, bytes]:
    """Return the files of the working folder."""
    return {path.as_posix(): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def test_a_table_becomes_files_that_are_sound_and_the_next_commands_are_told(
    init: Callable[..., Told], call: Callable[..., Told], colours_csv: Path
) -> None:
    told = init("hues", "--data", colours_csv)
    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    assert lines[0].startswith("target      colour  (the last column with few different values")
    assert lines[-4].startswith("wrote       tasks/hues.yaml, studies/hues/study.yaml, .optimizer/schemas/")
    assert lines[-3:] == [
        "next        optimizer validate tasks/hues.yaml studies/hues/study.yaml",
        "next        optimizer run studies/hues/study.yaml --dry-run",
        "next        optimizer run studies/hues/study.yaml",
    ]
    assert "The 37 test examples can prove a gain of" in told.out
    assert set(files()) == {
        *("colours.csv", "tasks/hues.yaml", "studies/hues/study.yaml"),
        *(".optimizer/schemas/study.json", ".optimizer/schemas/task.json"),
    }
    for line in lines[-3:-1]:
        again = call(*line.split()[2:])
        assert again.code == 0, again.err
        assert "The 37 test examples can prove a gain of" in again.out


def test_as_json_it_is_json_alone_and_says_the_same(init: Callable[..., Told], colours_csv: Path) -> None:
    told = init("hues", "--data", colours_csv, "--json")
    found = json.loads(told.out)
    assert set(found) == {"files", "choices", "in_words", "next"}
    assert found["files"][:2] == ["tasks/hues.yaml", "studies/hues/study.yaml"]
    assert all(set(choice) == {"field", "value", "why"} for choice in found["choices"])
    for_people = init("hues", "--data", colours_csv, "--force").out
    for choice in found["choices"]:
        assert f"{choice['field']:<12}{choice['value']}  ({choice['why']})\n" in for_people
    for sentence in (*found["in_words"], *found["next"]):
        assert sentence in for_people


def test_45_rows_get_cross_validation_and_it_says_so(
    init: Callable[..., Told], call: Callable[..., Told], colour_rows: list[dict[str, str]]
) -> None:
    told = init("hues", "--data", as_csv(Path("few.csv"), colour_rows[:45]))
    assert told.code == 0, told.err
    assert "45 examples are too few for a test split, so the choice is judged by repeated" in told.out
    assert "Cross-validation on 32 examples can prove a gain of" in told.out
    assert "That is too little" in told.out
    assert call("validate", "studies/hues/study.yaml").code == 0


def test_what_is_there_is_named_and_kept_unless_forced(init: Callable[..., Told], colours_csv: Path) -> None:
    assert init("hues", "--data", colours_csv).code == 0
    Path("tasks/hues.yaml").write_text("mine", encoding="utf-8")
    before = files()
    told = init("hues", "--data", colours_csv)
    assert (told.code, told.out) == (2, "")
    assert [line.split(": ")[1] for line in told.err.splitlines()] == [
        "tasks/hues.yaml",
        "studies/hues/study.yaml",
    ]
    assert files() == before
    assert init("hues", "--data", colours_csv, "--force").code == 0
    assert files()["tasks/hues.yaml"] != b"mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a b", "--data", "colours.csv"), "error: NAME: expected a name of up to 64 letters"),
        (("hues", "--data", "none.csv"), "error: none.csv: cannot be read: No such file or directory"),
        (
            ("hues", "--data", "."),
            "expected a .csv, .tsv, .jsonl, .json or .parquet file, found a name without suffix",
        ),
        (("hues", "--data", "colours.csv", "--target", "color"), "color: expected a column of this name"),
        (("hues", "--data", "colours.csv", "--inputs", "colour", "--target", "colour"), "see the answer"),
        (("hues", "--data", "colours.csv", "--calls", "50"), "error: --calls: expected at least 90"),
        (("hues", "--data", "colours.csv", "--output", "colours.csv"), "expected a folder, found a file"),
        (("hues", "--data", "colours.csv", "--api-key-env", "NOT_SET_HERE"), "model.api_key_env: "),
    ],
)
def test_what_is_refused_is_told_and_leaves_nothing(
    init: Callable[..., Told], colours_csv: Path, arguments: tuple[str, ...], message: str
) -> None:
    before = files()
    told = init(*arguments)
    assert (told.code, told.out) == (2, "")
    assert message in told.err
    assert all(line.startswith("error: ") for line in told.err.splitlines())
    assert files() == before


def test_each_mistake_of_a_task_is_told_once_beside_its_study(
    init: Callable[..., Told], call: Callable[..., Told], colours_csv: Path
) -> None:
    assert init("hues", "--data", "colours.csv").code == 0
    task, study = Path("tasks/hues.yaml"), Path("studies/hues/study.yaml")
    text = task.read_text(encoding="utf-8").replace("metric: accuracy", "metric: acuracy")
    task.write_text(text, encoding="utf-8")
    text = study.read_text(encoding="utf-8").replace(
        "\nbudget:", "\nconstraints: {valid: {min: 95}}\nbudget:"
    )
    study.write_text(text, encoding="utf-8")
    told = call("validate", task, study)
    assert (told.code, told.out) == (2, "")
    fields = [line.split(": ")[2] for line in told.err.splitlines()]
    assert sorted(fields) == ["constraints.valid.min", "metric"]


def test_validate_tells_a_parameter_that_is_most_likely_a_slip(
    init: Callable[..., Told], call: Callable[..., Told], colours_csv: Path
) -> None:
    assert init("hues", "--data", "colours.csv").code == 0
    study = Path("studies/hues/study.yaml")
    text = study.read_text(encoding="utf-8").replace("temperature: 0", "temprature: 0")
    study.write_text(text, encoding="utf-8")
    told = call("validate", study)
    assert told.code == 0
    assert "Caution: the parameter 'temprature' is not known here" in told.out


def test_the_project_is_the_nearest_upwards_or_the_one_that_is_named(
    init: Callable[..., Told], call: Callable[..., Told], colours_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path.cwd()
    (root / "pyproject.toml").touch()
    (root / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir("deep/down")
    assert init("hues", "--data", "../../colours.csv").code == 0
    assert (root / "tasks" / "hues.yaml").is_file()
    assert list(Path().iterdir()) == []
    assert init("hues", "--data", "../../colours.csv", "--output", "other").code == 0
    assert Path("other/datasets/hues.csv").read_bytes() == (root / "colours.csv").read_bytes()
    assert call("validate", "other/tasks/hues.yaml", "other/studies/hues/study.yaml").code == 0


def test_hostile_names_and_cells_are_printed_on_one_line_and_only_shown(
    init: Callable[..., Told], call: Callable[..., Told]
) -> None:
    rows = [
        {f"said {HOSTILE}": f"This is {HOSTILE} {k}", "label": ("a", f"b{HOSTILE}")[k % 2]} for k in range(30)
    ]
    data = Path("mail.jsonl")
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for options in ((), ("--json", "--force")):
        told = init("mail", "--data", data, *options)
        assert told.code == 0, told.err
        assert all(one == "\n" or unicodedata.category(one) not in ("Cc", "Cf", "Cs") for one in told.out)
        assert sum(line.startswith("next") for line in told.out.splitlines()) == (0 if options else 3)
    assert call("validate", "studies/mail/study.yaml").code == 0
    assert json.loads(call("run", "studies/mail/study.yaml", "--dry-run", "--json").out)


@pytest.mark.parametrize("n", [45, 90])
def test_the_study_runs_as_it_is_written(
    call: Callable[..., Told], colours: Any, colour_rows: list[dict[str, str]], n: int
) -> None:
    data = as_csv(Path("colours.csv"), colour_rows[:n])
    model = ("--model", "openai_compatible:scripted", "--base-url", colours.base_url)
    assert call("init", "hues", "--data", data, "--calls", "320", *model).code == 0
    told = call("run", "studies/hues/study.yaml", "--quiet", "--json")
    assert told.code == 0, told.err
    (found,) = json.loads(told.out)["studies"].values()
    assert found["calls"] <= 320
    assert found["evidence"]["protocol"] == ("test" if n == 90 else "cross-validation")
    shown = call("show", "studies/hues/prompt.json")
    assert shown.code == 0, shown.err
    prompt, task = "studies/hues/prompt.json", "tasks/hues.yaml"
    assert call("score", prompt, "--task", task, "--split", "validation", *model).code == 0


@pytest.mark.embedded
def test_without_a_model_the_embedded_one_is_proposed(call: Callable[..., Told], colours_csv: Path) -> None:
    told = call("init", "hues", "--data", os.fspath(colours_csv))
    assert told.code == 0, told.err
    assert "model       embedded:smollm2-135m  (--model names another)" in told.out
    dry = json.loads(call("run", "studies/hues/study.yaml", "--dry-run", "--json").out)
    (bounds,) = dry.values()
    assert bounds["candidates"] >= 32
    assert [line.partition(":")[0] for line in bounds["left_out"]] == ["first_person × json"]
