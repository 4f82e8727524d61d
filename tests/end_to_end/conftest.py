"""A small project in an empty folder, the command line as a process, and a loopback server as another."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.digest import digest

if TYPE_CHECKING:
    from tests.loopback_server import Loopback
    from tests.warm import Running, Starter

    Until = Callable[[Callable[[], bool], Running], None]

SERVER = Path(__file__).parents[1] / "loopback_server.py"

Answerer = Callable[[dict[str, object]], str]

LABELS = ("red", "green", "blue")

TASK = """schema: 1
name: colours
dataset:
  path: ../datasets/colours.jsonl
  inputs: [text]
  target: colour
  splits: {splits}
output: {{type: label, labels: [red, green, blue]}}
metric: accuracy
metrics: {metrics}
instruction: "{instruction}"
"""

STUDY = """schema: 1
task: ../../tasks/colours.yaml
model: {model}
search:
  instructions: {{given: ["Which colour is meant?"], compose: true}}
  demos: {{{demos}, selectors: [random, balanced]}}
  styles: {styles}
  formats: {formats}
  screen: {screen}
budget: {{calls: {calls}}}
run: {{batch: 4, concurrency: {concurrency}{run}}}
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


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Keys of the calls that were reserved, and of those whose completion is committed."""

    reserved: frozenset[str]
    committed: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Clean:
    """What the small study comes to where nothing disturbs it.

    Attributes:
        results: Content of the artifacts by name.
        bodies: The requests that were sent, in order of arrival; no two alike.
        sizes: Bytes of the files of the database, by the number of requests that were sent.
    """

    results: dict[str, bytes]
    bodies: list[dict[str, Any]]
    sizes: dict[int, list[int]]

    @property
    def requests(self) -> int:
        return len(self.bodies)


@dataclass
class Project:
    """A project folder and the command line run in it: warm, or cold where the process itself is the subject."""

    folder: Path
    warm: "Starter"

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
        splits: str = "{train: 24, validation: 24, test: 30}",
        demos: str = "sizes: [0, 2, 4], sets: 6",
        screen: int = 6,
        metrics: str = "[macro_f1, valid]",
        budget: str = "",
        run: str = "",
    ) -> None:
        spec = f"{{provider: openai_compatible, name: scripted, base_url: 'http://127.0.0.1:{port}/v1'}}"
        for name in ("tasks", "datasets", "studies/colours"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "pyproject.toml").touch()
        lines = (json.dumps(row) for row in (examples() if rows is None else rows))
        data = "".join(f"{line}\n" for line in lines)
        (self.folder / "datasets" / "colours.jsonl").write_text(data, encoding="utf-8")
        task = TASK.format(instruction=instruction, splits=splits, metrics=metrics)
        (self.folder / "tasks" / "colours.yaml").write_text(task, encoding="utf-8")
        text = STUDY.format(
            model=model or spec,
            calls=f"{calls}{budget}",
            concurrency=concurrency,
            styles=styles,
            formats=formats,
            demos=demos,
            screen=screen,
            run=run,
        )
        self.study.write_text(text, encoding="utf-8")

    def write_small(
        self, port: int, *, model: str = "", calls: int = 130, budget: str = "", run: str = ""
    ) -> None:
        """Write a study of about a hundred calls that finds a better prompt.

        A request is given up after a second, and no other model's answer is taken.
        """
        spec = (
            f"{{provider: openai_compatible, name: scripted, base_url: 'http://127.0.0.1:{port}/v1', {model}"
            "expect_model: scripted, options: {timeout_seconds: 1, read_seconds: 1}}"
        )
        self.write(
            port,
            model=spec,
            calls=calls,
            budget=budget,
            run=run,
            rows=examples()[:48],
            splits="{train: 12, validation: 12, test: 24}",
            demos="sizes: [0, 8], sets: 4",
            screen=4,
            metrics="[valid]",  # the other brings in a library that takes a second
            styles="[direct]",
            formats="[plain, inline]",
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "optimizer", *arguments]

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, cold: bool = False) -> "Running":
        environment = {**os.environ, "PYTHONWARNINGS": "error::ResourceWarning", **(env or {})}
        if not cold:
            return self.warm.start(*arguments, cwd=self.folder, env=environment)
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None, cold: bool = False
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **(env or {})}
        if not cold:
            return self.warm.run(*arguments, cwd=self.folder, env=environment, timeout=120)
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=environment,
        )

    def results(self, folder: str = "studies/colours") -> dict[str, bytes]:
        names = ("prompt.json", "history.csv", "instructions.jsonl")
        return {name: (self.folder / folder / name).read_bytes() for name in names}

    def kept(self) -> Kept:
        """Return what the study's database holds, whether or not a process was killed while it wrote."""
        database = self.study.parent / "study.db"
        with closing(sqlite3.connect(database)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
            if "ps_call" not in tables:
                return Kept(reserved=frozenset(), committed=frozenset())
            return Kept(
                reserved=frozenset(key for (key,) in connection.execute("SELECT key FROM ps_call")),
                committed=frozenset(key for (key,) in connection.execute("SELECT key FROM ps_completion")),
            )

    def keys(self, port: int, bodies: list[object]) -> list[str]:
        """Return the keys under which the answers to request bodies are stored."""
        url = f"http://127.0.0.1:{port}/v1"
        identity = {"provider": "openai_compatible", "name": "scripted", "base_url": url}
        if "expect_model: scripted" in self.study.read_text(encoding="utf-8"):
            identity["expect_model"] = "scripted"
        return [digest([digest(identity), body, 0]) for body in bodies]


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


def wait_for(condition: Callable[[], bool], process: "Running") -> None:
    """Wait until a condition holds while a process runs."""
    for _ in range(6000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("the condition was never met")


@pytest.fixture
def until() -> "Until":
    return wait_for


@pytest.fixture(scope="session")
def project_in(warm: "Starter") -> Callable[[Path], Project]:
    """Return a function that makes a project of a folder."""
    return lambda folder: Project(folder, warm)


@pytest.fixture
def project(tmp_path: Path, project_in: Callable[[Path], Project]) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return project_in(folder)


@pytest.fixture
def colours(loopback: "Loopback", answerer: Answerer) -> "Loopback":
    """Return a server in this process that answers as `serve`'s do."""
    loopback.reply = answerer
    return loopback


@pytest.fixture(scope="session")
def answerer(loopback_server: ModuleType) -> Answerer:
    """Return what a server of the colours answers to the body of a request."""
    truth = {row["text"]: row["colour"] for row in examples()}
    made: Answerer = loopback_server.Answerer(labels=LABELS, truth=truth)
    return made


@pytest.fixture(scope="session")
def clean(
    tmp_path_factory: pytest.TempPathFactory,
    loopback_server: ModuleType,
    answerer: Answerer,
    project_in: Callable[[Path], Project],
) -> Clean:
    """Run the small study once, undisturbed, and cold: whatever is compared with it came from another interpreter."""
    project, sizes = project_in(tmp_path_factory.mktemp("clean")), dict[int, list[int]]()
    with loopback_server.Loopback(reply=answerer, delay=0.005) as server:
        project.write_small(server.port)
        process = project.start("run", str(project.study), "--quiet", cold=True)
        while process.poll() is None:
            files = [project.study.with_name(f"study.db{suffix}") for suffix in ("", "-wal", "-shm")]
            sizes[len(server.bodies)] = [_size(file) for file in files]
            time.sleep(0.005)
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
        assert set(server.counts.values()) == {1}
        assert project.kept().committed == set(project.keys(server.port, server.bodies))
        return Clean(results=project.results(), bodies=server.bodies, sizes=sizes)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


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
