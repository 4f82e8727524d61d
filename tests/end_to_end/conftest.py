"""A small project in an empty folder, the command line as a process, and a loopback server as another."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SERVER = Path(__file__).parents[1] / "loopback_server.py"

LABELS = ("red", "green", "blue")

TASK = """schema: 1
name: colours
dataset:
  path: ../datasets/colours.jsonl
  inputs: [text]
  target: colour
  splits: {{train: 24, validation: 24, test: 30}}
output: {{type: label, labels: [red, green, blue]}}
metric: accuracy
metrics: [macro_f1, valid]
instruction: "{instruction}"
"""

STUDY = """schema: 1
task: ../../tasks/colours.yaml
model: {model}
search:
  instructions: {{given: ["Which colour is meant?"], compose: true}}
  demos: {{sizes: [0, 2, 4], sets: 6, selectors: [random, balanced]}}
  styles: {styles}
  formats: {formats}
  screen: 6
budget: {{calls: {calls}}}
run: {{batch: 4, concurrency: {concurrency}}}
"""


@dataclass
class Server:
    """The loopback server in a process of its own."""

    port: int
    log: Path
    process: subprocess.Popen[str]

    def bodies(self) -> list[str]:
        """Return every request body in order of arrival, in canonical form."""
        text = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
        # Not splitlines: a body may hold U+2028. The last part is empty, or a line that is being written.
        return [json.dumps(json.loads(line), sort_keys=True) for line in text.split("\n")[:-1]]

    def counts(self) -> Counter[str]:
        return Counter(self.bodies())


@dataclass
class Project:
    """A project folder and the command line run in it."""

    folder: Path

    @property
    def study(self) -> Path:
        return self.folder / "studies" / "colours" / "study.yaml"

    def write(
        self,
        port: int,
        *,
        calls: int = 260,
        concurrency: str = "8",
        model: str | None = None,
        styles: str = "[direct, chain_of_thought]",
        formats: str = "[plain, inline, json]",
        instruction: str = "Name the colour.",
        rows: list[dict[str, str]] | None = None,
    ) -> None:
        spec = f"{{provider: openai_compatible, name: scripted, base_url: 'http://127.0.0.1:{port}/v1'}}"
        for name in ("tasks", "datasets", "studies/colours"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "pyproject.toml").touch()
        lines = (json.dumps(row) for row in (examples() if rows is None else rows))
        data = "".join(f"{line}\n" for line in lines)
        (self.folder / "datasets" / "colours.jsonl").write_text(data, encoding="utf-8")
        task = TASK.format(instruction=instruction)
        (self.folder / "tasks" / "colours.yaml").write_text(task, encoding="utf-8")
        text = STUDY.format(
            model=model or spec, calls=calls, concurrency=concurrency, styles=styles, formats=formats
        )
        self.study.write_text(text, encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "optimizer", *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "error::ResourceWarning"},
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def results(self, folder: str = "studies/colours") -> dict[str, bytes]:
        names = ("prompt.json", "history.csv", "instructions.jsonl")
        return {name: (self.folder / folder / name).read_bytes() for name in names}


def examples() -> list[dict[str, str]]:
    """Return 90 examples, as many of each colour, no two alike."""
    return [
        {
            "id": f"c{n:03d}",
            "text": f"Thing number {n} has the hue {'of ' * (n % 5)}{LABELS[n % 3]}-{n}.",
            "colour": LABELS[n % 3],
        }
        for n in range(90)
    ]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until a condition holds while a process runs."""
    for _ in range(6000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("the condition was never met")


@pytest.fixture
def until() -> Callable[[Callable[[], bool], subprocess.Popen[str]], None]:
    return wait_for


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder)


@pytest.fixture
def colour_rows() -> list[dict[str, str]]:
    return examples()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start loopback servers; each ends with the test, or by itself."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, rows: list[dict[str, str]] | None = None) -> Server:
        number = len(started)
        truth = tmp_path / f"truth{number}.json"
        known = {row["text"]: row["colour"] for row in (examples() if rows is None else rows)}
        truth.write_text(json.dumps(known), encoding="utf-8")
        log = tmp_path / f"requests{number}.jsonl"
        process = subprocess.Popen(
            [
                sys.executable,
                str(SERVER),
                "--log",
                str(log),
                "--labels",
                ",".join(LABELS),
                "--truth",
                str(truth),
                *options,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return Server(port=int(process.stdout.readline()), log=log, process=process)

    yield start
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.communicate()
