"""Twelve studies under one budget, killed and interrupted: they end as if nothing had happened."""

import json
import random
import signal
import sqlite3
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.digest import digest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Until

NAMES = tuple(f"s{number:02d}" for number in range(12))
LOST = "s05"  # asks for a model that the endpoint does not have
CALLS = 12 * 35

TASK = """schema: 1
name: colours
dataset: {path: ../datasets/colours.jsonl, inputs: [text], target: colour, splits: {train: 3, validation: 6, test: 6}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: ../../tasks/colours.yaml
model: {provider: openai_compatible, name: NAME, base_url: "URL"}
search:
  instructions: {given: ["Which colour is meant?"]}
  styles: [direct]
  formats: [plain, inline]
  screen: 4
  sampler: {name: tpe}
budget: {calls: 45}
run: {concurrency: 8}
"""
CONCURRENCY = 8


@pytest.fixture
def studies(project: Any, colours: Any, colour_rows: list[dict[str, str]]) -> list[str]:
    """Write twelve studies that differ in the name of their model, and return their paths."""
    for folder in ("tasks", "datasets"):
        (project.folder / folder).mkdir()
    (project.folder / "pyproject.toml").touch()
    (project.folder / "tasks" / "colours.yaml").write_text(TASK)
    lines = "".join(f"{json.dumps(row)}\n" for row in colour_rows[:15])
    (project.folder / "datasets" / "colours.jsonl").write_text(lines)
    colours.models = set(NAMES) - {LOST}
    paths = []
    for name in NAMES:
        path = project.folder / "studies" / name / "study.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(STUDY.replace("NAME", name).replace("URL", colours.base_url))
        paths.append(str(path.relative_to(project.folder)))
    return paths


def results(folder: Path) -> dict[str, bytes]:
    """Return what the studies wrote that says neither when nor how fast."""
    names = ("prompt.json", "history.csv", "instructions.jsonl")
    return {
        f"{study}/{name}": (folder / study / name).read_bytes()
        for study in NAMES
        for name in names
        if study != LOST
    }


def stored(folder: Path, state: str) -> set[str]:
    """Return the keys of calls that the databases of the studies hold as answered, or as sent."""
    found = set[str]()
    for database in folder.glob("*/study.db"):
        with closing(sqlite3.connect(database)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
            if "ps_call" in tables:
                rows = connection.execute("SELECT key FROM ps_call WHERE state = ?", (state,))
                found |= {key for (key,) in rows}
    return found


def key_of(body: Mapping[str, object], url: str) -> str:
    identity = {"provider": "openai_compatible", "name": body["model"], "base_url": url}
    return digest([digest(identity), body, 0])


def reached(server: Any, requests: int) -> bool:
    return len(server.bodies) >= requests


@dataclass(frozen=True, kw_only=True)
class Clean:
    """What the studies come to where nothing disturbs them.

    Attributes:
        sound: The requests, but for those of the study that is lost.
        requests: How many there were, with those.
    """

    results: dict[str, bytes]
    sound: set[str]
    requests: int


@pytest.fixture
def clean(project: Any, colours: Any, studies: list[str], tmp_path: Path) -> Clean:
    """Run the studies three at once, and check what is told of them."""
    folder = tmp_path / "clean"
    done = project.run(*command(studies, folder, 3), "--json", "--junit", "clean.xml")
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert set(found["studies"]) == set(studies)
    lost = found["studies"].pop(f"studies/{LOST}/study.yaml")
    assert "does not exist" in lost["error"]
    assert {each["budget"] for each in found["studies"].values()} == {CALLS // 12}
    assert found["total"]["finished"] == 11
    assert len(colours.bodies) == found["total"]["calls"] <= CALLS
    assert colours.most_in_flight <= CONCURRENCY
    (suite,) = ET.parse(project.folder / "clean.xml").getroot()
    assert (suite.attrib["tests"], suite.attrib["errors"]) == ("12", "1")
    sound = {json.dumps(body, sort_keys=True) for body in colours.bodies if body["model"] != LOST}
    return Clean(results=results(folder), sound=sound, requests=len(colours.bodies))


def command(studies: list[str], output: Path, parallel: int, calls: int = CALLS) -> list[str]:
    options = {"--output": output, "--parallel": parallel, "--calls": calls}
    return ["run", *studies, "--quiet", *(str(part) for pair in options.items() for part in pair)]


def test_twelve_studies_with_one_budget_end_alike_whatever_is_killed_and_however_many_run_at_once(
    project: Any, colours: Any, studies: list[str], until: "Until", tmp_path: Path, clean: Clean
) -> None:
    colours.delay, rough, dice = 0.005, tmp_path / "rough", random.Random(1)
    marks, in_flight = list[tuple[int, set[str]]](), 0
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGINT):
        process = project.start(*command(studies, rough, 12))
        new = dice.randrange(5, clean.requests // 5)
        until(partial(reached, colours, len(colours.bodies) + new), process)
        time.sleep(dice.uniform(0, 0.02))
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == (130 if number == signal.SIGINT else -number), stderr
        assert "Traceback" not in stderr
        colours.settle()
        lost = len(stored(rough, "sent"))
        assert lost <= (CONCURRENCY if number == signal.SIGKILL else 0)
        in_flight += lost
        marks.append((len(colours.bodies), stored(rough, "done")))
    done = project.run(*command(studies, rough, 12))
    assert done.returncode == 3, done.stderr
    assert results(rough) == clean.results

    keys = [key_of(body, colours.base_url) for body in colours.bodies]
    assert all(committed.isdisjoint(keys[at:]) for at, committed in marks)
    assert marks[0][1] < marks[1][1] < marks[2][1] < stored(rough, "done")
    sent = [body for body in colours.bodies[clean.requests :] if body["model"] != LOST]
    repeated = Counter(json.dumps(body, sort_keys=True) for body in sent)
    assert set(repeated) == clean.sound
    assert repeated.total() - len(repeated) <= in_flight

    # A larger budget asks for nothing more where all that can be finished is.
    before = len(colours.bodies)
    more = project.run(*command(studies[4:7], rough, 2, calls=130))
    assert more.returncode == 3, more.stderr
    assert {body["model"] for body in colours.bodies[before:]} == {LOST}
    assert more.stdout.count("complete before") == 2
    assert results(rough) == clean.results


def test_a_budget_below_what_the_studies_need_is_refused_before_any_call(
    project: Any, colours: Any, studies: list[str]
) -> None:
    told = project.run("run", *studies[:2], "--calls", "50", "--usd", "0", "--seconds", "-1")
    assert (told.returncode, told.stdout) == (2, "")
    assert [line.split()[1] for line in told.stderr.splitlines()] == ["--usd:", "--seconds:"]
    told = project.run("run", *studies[:2], "--calls", "50")
    assert (told.returncode, told.stdout) == (2, "")
    assert "expected at least 64 calls" in told.stderr
    assert "(s00 32, s01 32), found 50" in told.stderr
    assert colours.bodies == []
