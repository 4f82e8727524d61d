"""Every number printed anywhere is the same number: terminal, JSON, report, frozen prompt, and gates."""

import html
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

NUMBER = re.compile(r"(?<![\w.])[+-]?\d+\.\d+")


def numbers(text: str) -> list[str]:
    return NUMBER.findall(text)


def rounded(value: float) -> set[str]:
    """Return a figure in every form in which it is shown."""
    return {f"{value:.3f}", f"{100 * value:+.1f}", f"{100 * value:.1f}", f"{value:.4f}", f"{value:.1f}"}


def figures(value: Any) -> list[float]:
    """Return every number in a document."""
    if isinstance(value, dict):
        return [number for part in value.values() for number in figures(part)]
    if isinstance(value, list):
        return [number for part in value for number in figures(part)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_terminal_json_report_and_frozen_prompt_show_the_same_numbers(project: Any, serve: Any) -> None:
    project.write(serve().port)
    study = str(project.study)
    terminal = project.run("run", study, "--quiet")
    assert terminal.returncode == 0, terminal.stderr
    as_json = json.loads(project.run("run", study, "--quiet", "--json").stdout)["studies"][study]
    frozen = json.loads((project.study.parent / "prompt.json").read_text(encoding="utf-8"))
    shown = project.run("show", str(project.study.parent / "prompt.json"))
    page = (project.study.parent / "report.html").read_text(encoding="utf-8")
    evidence = as_json["evidence"]
    assert evidence == frozen["evidence"]
    known = set().union(*(rounded(number) for number in figures(evidence)))
    table = terminal.stdout.partition("on test")[2].partition("frozen: ")[0]
    assert len(numbers(table)) > 15
    assert [n for n in numbers(table) if n not in known and n.lstrip("+") not in known] == []
    # The terminal's table stands in `show` as it is, and its sentences in the page.
    assert table.strip() in shown.stdout
    text = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())
    for sentence in evidence["in_words"]:
        assert " ".join(sentence.split()) in text
    assert set(numbers(table)) <= set(numbers(text)) | {"0.95"}


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory,
    loopback_server: ModuleType,
    answerer: Callable[[Any], str],
    project_in: Callable[[Path], Any],
) -> Iterator[tuple[Path, Any]]:
    """Run the small study; yield its project's folder and the run, while the server is still there."""
    project = project_in(tmp_path_factory.mktemp("first"))
    with loopback_server.Loopback(reply=answerer) as server:
        project.write_small(server.port)
        yield project.folder, project.run("run", str(project.study), "--quiet")


@pytest.mark.parametrize(("gap", "code"), [(0.0, 0), (0.1, 1)])
def test_gates_compare_what_is_printed(project: Any, first: tuple[Path, Any], gap: float, code: int) -> None:
    folder, first_run = first
    shutil.copytree(folder, project.folder, dirs_exist_ok=True)
    study = str(project.study)
    found = re.search(r"gain over the baseline +([+-]\d+\.\d) points", first_run.stdout)
    assert found is not None, first_run.stdout
    assert re.search(r"^decision +improved$", first_run.stdout, re.MULTILINE), first_run.stdout
    score = re.search(r"^winner +(\d\.\d{3})", first_run.stdout, re.MULTILINE)
    assert score is not None
    gain = project.run("run", study, "--quiet", "--min-gain", f"{float(found[1]) + gap:.1f}")
    assert gain.returncode == code
    least = project.run(
        "run", study, "--quiet", "--json", "--min-score", f"{float(score[1]) + gap / 100:.3f}"
    )
    assert least.returncode == code
    gates = json.loads(least.stdout)["studies"][study]["gates"]
    assert gates["min_score"]["passed"] is (code == 0)
    assert gates["min_score"]["found"] == float(score[1])
    if code:
        assert (
            f"gate: colours: expected an improvement of at least {float(found[1]) + gap:g} points"
            in gain.stderr
        )
        assert f"found {found[1]} points, improved" in gain.stderr


def test_a_gain_that_is_not_real_passes_no_gate(project: Any, serve: Any) -> None:
    port = serve().port
    project.write(port)  # the answers hardly depend on the prompt: a gain may be seen, and none is real
    done = project.run("run", str(project.study), "--quiet", "--min-gain", "-100")
    assert re.search(r"^decision +not distinguishable$", done.stdout, re.MULTILINE), done.stdout
    assert done.returncode == 1
    assert "points, not distinguishable" in done.stderr
    prompt = str(project.study.parent / "prompt.json")
    command = ("score", prompt, "--task", "tasks/colours.yaml", "--base-url", f"http://127.0.0.1:{port}/v1")
    scored = project.run(*command, "--min-score", "1")
    assert scored.returncode == 1
    assert re.search(r"gate: expected a score of at least 1, found \d\.\d{3}", scored.stderr)
    assert project.run(*command, "--min-score", "0").returncode == 0
