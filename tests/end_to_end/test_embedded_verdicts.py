"""No phantom gains on the embedded model and the real task: equal prompts, and labels that mean nothing."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.embedded, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
WORDING = "Route the customer's message to the right team."
STUDY = """schema: 1
task: ../../tasks/support_triage.yaml
model: {{provider: embedded, name: smollm2-135m, parameters: {{temperature: 0, max_tokens: 12}}}}
search:
  instructions: {{given: [{given}]}}
  styles: [direct, first_person]
  formats: {formats}
  parameters: {parameters}
  screen: 12
  sampler: {{name: tpe}}
budget: {{calls: {calls}}}
"""


def write(folder: Path, *, shuffled: bool, splits: str, **study: Any) -> Path:
    """Write the project's own task into a folder, its labels as they are or dealt out anew, with a study of it."""
    for name in ("tasks", "datasets", "studies/support_triage"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").touch()
    lines = (ROOT / "datasets" / "support_triage.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    teams = [row["team"] for row in rows]
    if shuffled:
        random.Random(0).shuffle(teams)
    text = "".join(f"{json.dumps({**row, 'team': team})}\n" for row, team in zip(rows, teams, strict=True))
    (folder / "datasets" / "support_triage.jsonl").write_text(text, encoding="utf-8")
    task = (ROOT / "tasks" / "support_triage.yaml").read_text(encoding="utf-8")
    assert "{train: 300, validation: 60, test: 84}" in task
    task = task.replace("{train: 300, validation: 60, test: 84}", splits)
    (folder / "tasks" / "support_triage.yaml").write_text(task, encoding="utf-8")
    path = folder / "studies" / "support_triage" / "study.yaml"
    path.write_text(STUDY.format(**study), encoding="utf-8")
    return path


def evidence_of(project: Any, path: Path) -> dict[str, Any]:
    done = project.run("run", str(path), "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["studies"][str(path)]["evidence"]
    assert found["decision"] == json.loads((path.parent / "prompt.json").read_text())["evidence"]["decision"]
    return found


def test_one_prompt_under_several_names_is_not_distinguishable_from_itself(project: Any) -> None:
    # Given twice it is one arm; with another seed, which greedy decoding does not read, it is asked for anew.
    path = write(
        project.folder,
        shuffled=False,
        splits="{train: 300, validation: 12, test: 60}",
        given=f'"{WORDING}", "  {WORDING} "',
        formats="[choice]",
        parameters="{seed: [1, 2]}",
        calls=260,
    )
    path.write_text(path.read_text().replace("[direct, first_person]", "[direct]"))
    evidence = evidence_of(project, path)
    assert evidence["candidates"] == 2
    assert evidence["decision"] == "not distinguishable"
    assert evidence["frozen"] == "baseline"
    assert evidence["difference"]["value"] == 0
    assert evidence["difference"]["ties"] == 60


def test_labels_that_mean_nothing_give_no_gain_even_over_answers_that_cannot_be_read(project: Any) -> None:
    path = write(
        project.folder,
        shuffled=True,
        splits="{train: 300, validation: 18, test: 48}",
        given='"Which team should answer this customer?"',
        formats="[plain, choice]",
        parameters="{}",
        calls=240,
    )
    evidence = evidence_of(project, path)
    assert evidence["test"]["baseline"]["invalid"] > 30
    assert evidence["decision"] == "not distinguishable"
    assert evidence["frozen"] == "baseline"
    # The baseline in a layout whose answers can be read: nothing to guess, and nothing gained either.
    text = path.read_text().replace("[plain, choice]", "[choice, plain]")  # the same requests: hardly a call
    path.write_text(text)
    done = project.run("run", str(path), "--json", "--quiet", "--fresh")
    assert done.returncode == 0, done.stderr
    readable = json.loads(done.stdout)["studies"][str(path)]["evidence"]
    assert readable["test"]["baseline"]["invalid"] == 0
    assert readable["decision"] == "not distinguishable"
