"""The page of evidence as the command line writes it."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optimizer.archive import open_archive
from optimizer.frozen import FrozenPrompt
from optimizer.plan import load_plan
from optimizer.report import page, study_page

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
    plan, frozen = load_plan(done.study), FrozenPrompt.load(done.study.with_name("prompt.json"))
    with open_archive(plan.database) as archive:
        expected = study_page(plan, frozen, archive)
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


def test_a_prompt_that_was_handed_over_alone_is_shown_alone_and_says_why(done: "Project") -> None:
    (done.folder / "alone").mkdir()
    prompt = shutil.copy(done.study.with_name("prompt.json"), done.folder / "alone" / "prompt.json")
    told = done.run("report", "alone/prompt.json", "--json")
    assert told.returncode == 0
    assert "there is no study.db beside it" in told.stderr
    assert json.loads(told.stdout)["alone"] == "there is no study.db beside it"
    note = "It shows the prompt without its study: there is no study.db beside it."
    expected = page(FrozenPrompt.load(prompt), "en", note)
    assert (done.folder / "alone" / "report.html").read_text(encoding="utf-8") == expected
    guide = done.run("report", "alone/prompt.json", "--guide")
    assert (guide.returncode, guide.stdout) == (2, "")
    assert "the guide tells of the whole study, and there is no study.db beside it" in guide.stderr


def test_page_and_guide_are_written_in_the_language_that_is_wanted_or_the_tasks_own(done: "Project") -> None:
    folder = done.study.parent
    assert done.run("report", "studies/colours", "--language", "fr").returncode == 0
    assert '<html lang="fr">' in (folder / "report.html").read_text(encoding="utf-8")
    told = done.run("report", "studies/colours", "--guide", "--language", "fr", "--json")
    assert json.loads(told.stdout)["guide"] == "studies/colours/guide.md"
    assert "## Ce qui marche et ce qui ne marche pas" in (folder / "guide.md").read_text(encoding="utf-8")
    assert done.run("report", "studies/colours", "--guide").returncode == 0
    first = (folder / "guide.md").read_bytes()
    assert b"## What works and what does not" in first
    assert done.run("report", "studies/colours", "--guide").returncode == 0
    assert (folder / "guide.md").read_bytes() == first
    refused = done.run("report", "studies/colours", "--language", "de")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--language: expected one of en, fr, found 'de'" in refused.stderr


def test_a_study_that_asks_for_a_front_has_its_prompts_as_files_that_load_and_say_they_are_untested(
    done: "Project",
) -> None:
    study = done.study.read_text(encoding="utf-8")
    done.study.write_text(study + "pareto: [tokens]\n", encoding="utf-8")
    front = done.study.with_name("front")
    front.mkdir()
    (front / "trial-0999.json").write_text("{}")  # of an earlier front
    (front / "notes.json").write_text("{}")  # somebody's own
    told = done.run("run", "studies/colours/study.yaml", "--quiet", "--json")
    assert told.returncode == 0, told.stderr
    files = json.loads(told.stdout)["studies"][str(Path("studies/colours/study.yaml"))]["files"]
    found = {path.name: path for path in front.iterdir()}
    assert "trial-0999.json" not in found
    assert found.pop("notes.json").read_text() == "{}"
    assert {f"studies/colours/front/{name}" for name in found} <= set(files)
    assert found
    for name, path in found.items():
        prompt = FrozenPrompt.load(path)
        assert prompt.evidence["tested"] is (name in ("winner.json", "baseline.json"))
        shown = " ".join(done.run("show", str(path)).stdout.split())
        words = prompt.evidence["in_words"]
        assert isinstance(words, list)
        assert all(" ".join(sentence.split()) in shown for sentence in words)
