"""Studies whose metric asks a judge: kills and outages cost no verdict twice, keys stay out, and both bills are shown."""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess

    from tests.loopback_server import Loopback
    from tests.warm import Running, Starter

TASK = """schema: 1
name: replies
dataset:
  path: replies.jsonl
  inputs: [text]
  target: reply
  splits: {train: 4, validation: 8, test: 12}
output: {type: text}
metric: {name: llm_judge, args: {rubric: Does it name the right colour?, categories: {bad: 0, fair: 0.5, good: 1}}}
slices: [human]
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: openai_compatible, name: scripted, base_url: 'http://127.0.0.1:PORT/v1'}
judge: {provider: openai_compatible, name: critic, base_url: 'http://127.0.0.1:JUDGE/v1', api_key_env: JUDGE_KEY}
search:
  instructions: {given: [Which colour is it?, Say which colour.]}
  styles: [direct]
  formats: [plain]
  screen: 4
budget: {calls: 90, prices: {critic: {input: 1, output: 1}}}
run: {batch: 4, concurrency: 4, deadline_seconds: 2}
"""
KEY = "sk-of-the-judge-0123456789"
COLOURS = ("red", "green", "blue")
ANSWER = re.compile(r"\[\[answer [0-9a-f]+ begins\]\]\n(.*?)\n\[\[answer", re.DOTALL)
ASKED = re.compile(r"Item \d+ is (\w+)")


def answers(body: dict[str, Any]) -> str:
    """Answer the right colour to one wording, and a wrong one to the others."""
    said = str(body["messages"])
    right = ASKED.findall(said)[-1]
    return (
        f"It is {right}."
        if "Which colour is it?" in said
        else f"Perhaps {COLOURS[COLOURS.index(right) - 1]}."
    )


def judges(body: dict[str, Any]) -> str:
    """Say whether the answer names the colour of the item; the server makes a verdict of it."""
    said = body["messages"][1]["content"]
    right, answer = ASKED.findall(said)[0], ANSWER.findall(said)[0]
    return "good" if right in answer else "bad"


@dataclass
class Judged:
    """A study in an empty folder, its model and its judge."""

    folder: Path
    model: "Loopback"
    judge: "Loopback"
    warm: "Starter"

    @property
    def study(self) -> Path:
        return self.folder / "study.yaml"

    @property
    def prompt(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "prompt.json").read_text())
        return found

    def write(self) -> None:
        """Write task, study and data."""
        (self.folder / "pyproject.toml").touch()
        rows = (
            {
                "id": f"r{n:02d}",
                "text": f"Item {n} is {COLOURS[n % 3]}",
                "reply": f"It is {COLOURS[n % 3]}.",
                "human": ("good", "good", "bad", "")[n % 4],
            }
            for n in range(24)
        )
        (self.folder / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (self.folder / "task.yaml").write_text(TASK)
        ports = {"PORT": str(self.model.port), "JUDGE/": f"{self.judge.port}/"}
        text = STUDY
        for name, port in ports.items():
            text = text.replace(name, port)
        self.study.write_text(text)

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.warm.run(*arguments, cwd=self.folder, env={**os.environ, "JUDGE_KEY": KEY}, timeout=120)

    def run(self, *options: str) -> "subprocess.CompletedProcess[str]":
        return self.command("run", "study.yaml", "--quiet", *options)

    def start(self) -> "Running":
        env = {**os.environ, "JUDGE_KEY": KEY}
        return self.warm.start("run", "study.yaml", "--quiet", cwd=self.folder, env=env)


@pytest.fixture
def judged(tmp_path: Path, loopback_server: ModuleType, warm: "Starter") -> Iterator[Judged]:
    """Write the study, and serve its model and its judge."""
    with loopback_server.Loopback(reply=answers) as model, loopback_server.Loopback(reply=judges) as judge:
        made = Judged(folder=tmp_path, model=model, judge=judge, warm=warm)
        made.write()
        yield made


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory, loopback_server: ModuleType, warm: "Starter"
) -> Iterator[tuple[Judged, dict[str, Any]]]:
    """Run the study once, undisturbed; yield it with what it told."""
    with loopback_server.Loopback(reply=answers) as model, loopback_server.Loopback(reply=judges) as judge:
        made = Judged(folder=tmp_path_factory.mktemp("judged"), model=model, judge=judge, warm=warm)
        made.write()
        ran = made.run("--json")
        assert ran.returncode == 0, ran.stderr
        (made.folder / "output.txt").write_text(ran.stdout + ran.stderr)
        (figures,) = json.loads(ran.stdout)["studies"].values()
        yield made, figures


def test_both_bills_are_shown_and_the_key_is_in_neither(done: tuple[Judged, dict[str, Any]]) -> None:
    made, found = done
    assert found["evidence"]["decision"] == "improved"
    assert found["calls"] == len(made.model.bodies) <= 90
    graded = [body for body in made.judge.bodies if "messages" in body]
    assert found["judge"]["calls"] == len(graded)
    assert found["judge"]["budget"] == 90
    assert found["judge"]["usd"] == pytest.approx(found["judge"]["tokens"] / 1e6)
    assert found["usd"] == 0
    assert set(made.judge.counts.values()) == {1}
    assert made.judge.headers[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(made.model.headers)
    files = [path.read_bytes() for path in made.folder.rglob("*") if path.is_file()]
    assert len(files) > 6
    assert not any(KEY.encode() in content for content in files)


def test_a_killed_run_asks_for_no_committed_verdict_again(
    judged: Judged, done: tuple[Judged, dict[str, Any]], until: Callable[..., None]
) -> None:
    undisturbed, figures = done
    judged.model.delay = judged.judge.delay = 0.03
    process = judged.start()
    until(lambda: len(judged.judge.bodies) >= 9, process)
    process.kill()
    process.communicate()
    judged.judge.settle()
    ran = judged.run()
    assert ran.returncode == 0, ran.stderr
    assert f"judge           {figures['judge']['calls']} calls for " in ran.stdout
    history = [(made.folder / "history.csv").read_bytes() for made in (judged, undisturbed)]
    assert history[0] == history[1]
    assert judged.prompt["fingerprint"] == undisturbed.prompt["fingerprint"]
    again = len(judged.judge.bodies) - len(judged.judge.counts)
    assert len(judged.judge.counts) == figures["judge"]["calls"]
    assert again <= 4  # what was under way when it was killed


def test_a_judge_that_is_down_stops_the_run_and_what_it_said_is_kept(judged: Judged) -> None:
    judged.judge.outage_after = 10
    down = judged.run()
    assert down.returncode == 3, down.stderr
    assert "Traceback" not in down.stderr
    assert f"127.0.0.1:{judged.judge.port}" in down.stderr
    judged.judge.settle()
    assert sum(judged.judge.answered.values()) >= 6
    judged.judge.outage_after = float("inf")
    judged.judge.reappear()
    ran = judged.run()
    assert ran.returncode == 0, ran.stderr
    assert set(judged.judge.answered.values()) == {1}
    assert set(judged.model.counts.values()) == {1}


def test_validate_tells_the_missing_judge_and_its_line(judged: Judged) -> None:
    judged.study.write_text(re.sub(r"judge: .*\n", "", judged.study.read_text()))
    told = judged.command("validate", "study.yaml")
    assert told.returncode == 2
    assert "study.yaml:1: judge: missing; the metric llm_judge asks a judge: name one here" in told.stderr


def test_a_score_asks_a_judge_and_a_model_of_embeddings_and_compares_with_people(
    done: tuple[Judged, dict[str, Any]], tmp_path: Path
) -> None:
    made, _ = done
    task = tmp_path / "task.yaml"
    task.write_text(TASK.replace("slices:", "metrics: [embedding_similarity]\nslices:"))
    (tmp_path / "replies.jsonl").write_bytes((made.folder / "replies.jsonl").read_bytes())

    def vectors(body: dict[str, Any]) -> str | tuple[int, object]:
        if "input" not in body:
            return judges(body)
        vector = [float(colour in body["input"]) for colour in COLOURS]
        return 200, {"data": [{"embedding": vector}], "usage": {"prompt_tokens": 2}}

    made.judge.reply = vectors
    at = made.judge.base_url
    own = f"score prompt.json --task {task} --agreement human --base-url {made.model.base_url}"
    grading = f"--judge openai_compatible:critic --judge-base-url {at} --judge-api-key-env JUDGE_KEY"
    told = [*own.split(), *grading.split()]
    missing = made.command(*told)
    assert missing.returncode == 2
    assert "--embeddings: missing; the metric embedding_similarity asks one" in missing.stderr
    told += ["--embeddings", "embeddings:e", "--embeddings-base-url", at]
    scored = made.command(*told, "--json")
    assert scored.returncode == 0, scored.stderr
    found = json.loads(scored.stdout)
    assert (found["score"], found["n"]) == (1, 12)
    assert found["metrics"]["embedding_similarity"] == pytest.approx(1)
    assert found["judge"]["calls"] == 12
    assert 0 < found["embeddings"]["calls"] <= 24
    assert found["spent"]["calls"] == 12
    assert {row["answer"] for row in found["judged"]} == {f"It is {colour}." for colour in COLOURS}
    assert all(row["score"] == 1 and row["embedding_similarity"] for row in found["judged"])
    # It says good of all, as people do not: agreement is no better than by chance.
    assert (found["agreement"]["measure"], found["agreement"]["value"]) == ("kappa", 0)
    assert 3 <= found["agreement"]["n"] < 12
    again = made.command(*told)
    assert "llm_judge and human: Cohen's kappa 0.00" in again.stdout
    assert "judge           0 calls" in again.stdout


def look_again(made: Judged, *options: str) -> dict[str, Any]:
    """Return what asking again told, with the lines that tell it; the judge's account is another each time."""
    told = made.command("verify", "prompt.json", "--rescore", "--json", *options)
    assert told.returncode in (0, 1), told.stderr
    (found,) = json.loads(told.stdout)["prompts"].values()
    said = made.command("verify", "prompt.json", "--rescore", *options).stdout
    return {**found["rescored"], "code": told.returncode, "said": said}


def test_a_judge_that_changed_is_told_from_a_model_that_did(judged: Judged) -> None:
    blamed = "so the model, its sampling or its context changed"
    assert judged.run().returncode == 0
    found = look_again(judged)
    assert (found["code"], found["verdict"], found["cause"]) == (0, "holds", None)
    assert (found["judges"]["n"], found["judges"]["changed"]) == (12, 0)
    # Equal answers are scored otherwise: it is the judge.
    judged.judge.reply = lambda body: "fair"
    found = look_again(judged)
    assert (found["code"], found["verdict"], found["cause"]) == (1, "drifted", "judge")
    assert (found["judges"]["changed"], found["judges"]["tells"]) == (12, True)
    assert blamed not in found["said"]
    assert "the judge that scores them changed, not the model" in found["said"]
    assert "the judge scores 12 of 12 equal answers otherwise now than then" in found["said"]
    # Another one is asked: two judges are not compared, as two metrics are not.
    other = ("--judge", "openai_compatible:other", "--judge-base-url", judged.judge.base_url)
    found = look_again(judged, *other)
    assert (found["code"], found["verdict"], found["cause"]) == (1, "holds", "judge")
    assert (found["judges"]["replaced"], found["difference"]) == (["judge"], None)
    assert "the judge is another than then and scores 12 of 12 equal answers otherwise" in found["said"]
    # Another one that says the same is no change.
    judged.judge.reply = judges
    found = look_again(judged, *other)
    assert (found["code"], found["cause"], found["judges"]["replaced"]) == (0, None, ["judge"])
    # Other answers of the same length, worse by the score alone: of the model or of its judge.
    judged.model.reply = lambda body: f"It is {COLOURS[COLOURS.index(ASKED.findall(str(body))[-1]) - 1]}."
    found = look_again(judged)
    assert (found["telling"], found["cause"], found["judges"]["n"]) == (["score"], "model or judge", 0)
    assert "its sampling, its context or the judge that scores it changed" in found["said"]
    # Where the answers themselves are others by another sign, it is the model, whatever a judge says of them.
    judged.model.reply = lambda body: answers(body) + " And so it is, as far as one can say."
    found = look_again(judged)
    assert (found["telling"], found["cause"]) == (["length"], "model")
    assert blamed in found["said"]
