"""The page of evidence as the command line writes it."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optimizer.frozen import FrozenPrompt
from optimizer.report import page

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.conftest import Project

LABELS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, project_in: "Callable[[Path], Project]") -> "Project":
    """Return a small project whose study is finished, without a server; tests take a copy."""
    project = project_in(tmp_path_factory.mktemp("finished"))
    rows = [{"id": f"c{n:02d}", "text": f"Item {n}.", "colour": LABELS[n % 3]} for n in range(48)]
    rules = [{"contains": row["text"], "reply": row["colour"]} for row in rows]
    (project.folder / "rules.json").write_text(json.dumps({"rules": rules, "default": "none"}))
    project.write(
        0,
        rows=rows,
        model="{provider: scripted, name: rules, path: ../../rules.json}",
        splits="{train: 12, validation: 12, test: 24}",
        styles="[direct]",
        formats="[plain, choice]",
        metrics="[valid]",
        calls=130,
    )
    ran = project.run("run", "studies/colours/study.yaml", "--quiet")
    assert ran.returncode == 0, ran.stderr
    (project.study.with_name("report.html")).unlink(missing_ok=True)
    return project


@pytest.fixture
def done(finished: "Project", project: "Project") -> "Project":
    shutil.copytree(finished.folder, project.folder, dirs_exist_ok=True)
    return project


def test_a_report_is_written_beside_its_prompt_whichever_of_the_two_is_named(done: "Project") -> None:
    target = done.study.with_name("report.html")
    expected = page(FrozenPrompt.load(done.study.with_name("prompt.json")))
    for named in ("studies/colours/prompt.json", "studies/colours/study.yaml", "studies/colours"):
        told = done.run("report", named)
        assert (told.returncode, told.stdout, told.stderr) == (0, "studies/colours/report.html\n", "")
        assert target.read_text(encoding="utf-8") == expected
        target.unlink()
    leftovers = [path.name for path in target.parent.iterdir() if path.suffix == ".tmp"]
    assert leftovers == []


def test_a_report_is_written_where_it_is_wanted(done: "Project") -> None:
    (done.folder / "out").mkdir()
    told = done.run("report", "studies/colours", "--output", "out", "--json")
    found = json.loads(told.stdout)
    assert found["report"] == "out/report.html"
    assert found["fingerprint"] == FrozenPrompt.load(done.study.with_name("prompt.json")).fingerprint
    assert done.run("report", "studies/colours", "--output", "out/evidence.html").returncode == 0
    assert {path.name for path in (done.folder / "out").iterdir()} == {"report.html", "evidence.html"}
    assert not done.study.with_name("report.html").exists()


def test_a_study_without_a_result_has_no_report_and_says_what_makes_it(project: "Project") -> None:
    project.write(0)
    told = project.run("report", "studies/colours/study.yaml")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == (
        "error: studies/colours/study.yaml: no result yet: there is no studies/colours/prompt.json; "
        "`optimizer run studies/colours/study.yaml` makes it\n"
    )
    assert not project.study.with_name("report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["nowhere.json"], "there is no such file", id="nothing there"),
        pytest.param(["pyproject.toml"], "pyproject.toml", id="not a prompt"),
    ],
)
def test_what_is_no_frozen_prompt_is_refused(project: "Project", arguments: list[str], said: str) -> None:
    (project.folder / "pyproject.toml").touch()
    told = project.run("report", *arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert said in told.stderr
    assert "Traceback" not in told.stderr


def test_a_report_never_takes_the_place_of_its_prompt_nor_of_a_folder_that_is_not_there(
    done: "Project",
) -> None:
    prompt = done.study.with_name("prompt.json")
    before = prompt.read_bytes()
    told = done.run("report", "studies/colours", "--output", str(prompt))
    assert told.returncode == 2
    assert "is the frozen prompt itself" in told.stderr
    assert prompt.read_bytes() == before
    told = done.run("report", "studies/colours", "--output", str(Path("missing") / "report.html"))
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == "error: --output: there is no folder missing\n"
