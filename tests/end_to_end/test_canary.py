"""A key goes to the endpoint and nowhere else: to no file, no output, no process list, whatever fails."""

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Until

STUDY = "studies/colours/study.yaml"
VARIABLE = "COLOUR_KEY"
KEY = "sk-canary-f3a91c07d25e48b6-7790bd1e5ac24f38"
# A message that is cut must not show half of it either.
TRACES = (KEY, "f3a91c07d25e", "90bd1e5ac24f38")
HEADER = f"Authorization: Bearer {KEY}"

# Runs the command line with an engine that breaks while it holds an answer.
BROKEN = """
import optimizer.transport
from optimizer.commands import main

def broken(*arguments, **options):
    raise RuntimeError("broken on purpose")

optimizer.transport.read_completion = broken
main()
"""


@dataclass
class Ran:
    """A run with a key: what came of it, and where its traces may be."""

    code: int
    stdout: str
    stderr: str
    folder: Path

    def clean(self) -> None:
        """Check that no trace of the key is in anything that was written."""
        found = [name for name, data in self._written().items() if any(t.encode() in data for t in TRACES)]
        assert found == []

    def _written(self) -> Mapping[str, bytes]:
        files = {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        assert any(name.endswith("study.db") for name in files)
        return {"stdout": self.stdout.encode(), "stderr": self.stderr.encode(), **files}


Run = Callable[..., Ran]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return a key, and a folder for temporary files that is searched like the rest."""
    temporary = tmp_path / "project" / "temporary"
    temporary.mkdir(parents=True, exist_ok=True)
    return {VARIABLE: KEY, "TMPDIR": str(temporary)}


@pytest.fixture
def run(project: Any, colours: Any, environment: dict[str, str]) -> Run:
    def run(*arguments: str, setting: str = "") -> Ran:
        project.write_small(colours.port, model=f"api_key_env: {VARIABLE}, ", run=setting)
        command = arguments or ("run", STUDY)
        done = project.run(*command, env=environment)
        return Ran(code=done.returncode, stdout=done.stdout, stderr=done.stderr, folder=project.folder)

    return run


def was_sent(colours: Any) -> bool:
    """Return whether the key reached the server, without which its absence elsewhere says nothing."""
    return bool(colours.headers) and {sent["authorization"] for sent in colours.headers} == {f"Bearer {KEY}"}


def test_success_shows_no_key_though_every_answer_echoes_it(run: Run, colours: Any) -> None:
    answerer = colours.reply
    colours.reply = lambda body: f"{answerer(body)}, and your key is {KEY}"
    ran = run()
    assert ran.code == 0, ran.stderr
    assert was_sent(colours)
    ran.clean()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 401, "payload": {"error": {"message": f"Incorrect key. You sent: {HEADER}"}}}, "401"),
        ({"status": 404, "text": f"<pre>{'x' * 150} {HEADER} {HEADER}</pre>".encode()}, "404"),
        ({"status": 429, "payload": {"error": {"message": HEADER, "code": KEY}}}, "429"),
    ],
    ids=["401", "page", "429"],
)
def test_a_refusal_that_echoes_the_key_does_not_spread_it(
    run: Run, colours: Any, loopback_server: ModuleType, fault: dict[str, Any], said: str
) -> None:
    colours.chance = lambda _number: loopback_server.Fault(**fault)
    ran = run(setting=", deadline_seconds: 1")
    assert ran.code == 3, ran.stderr
    assert f"answered {said}" in ran.stderr
    assert was_sent(colours)
    ran.clean()


def test_failures_that_are_tried_again_and_echo_the_key_do_not_spread_it(
    run: Run, colours: Any, loopback_server: ModuleType
) -> None:
    error = {"error": {"message": HEADER, "type": KEY, "code": KEY}}
    echoes: list[dict[str, Any]] = [
        {"status": 429, "payload": error},
        {"status": 500, "text": f"<html><pre>{HEADER}</pre></html>".encode()},
        {"status": 503, "payload": {"detail": {"headers": [HEADER]}}},
        {"payload": error},
        {"payload": {"id": KEY, "object": HEADER, "choices": []}},
        {"payload": {"id": HEADER, "padding": "x" * 300}, "cut": True},
        {"text": f'{{"id": "{HEADER}", "choices": [{{"mess'.encode()},
        {"model": KEY},
    ]
    colours.faults = [loopback_server.Fault(**echo) for echo in echoes]
    ran = run("run", STUDY, "--json")
    assert ran.code == 0, ran.stderr
    assert len(colours.bodies) == len(colours.answered) + len(echoes)
    assert was_sent(colours)
    ran.clean()


def test_a_refused_connection_shows_no_key(run: Run, colours: Any) -> None:
    colours.outage_after = 1  # sent once, so that there is something to show
    ran = run(setting=", deadline_seconds: 1")
    assert ran.code == 3, ran.stderr
    assert "127.0.0.1" in ran.stderr
    assert was_sent(colours)
    ran.clean()


def test_a_traceback_that_was_asked_for_shows_no_key(
    run: Run, colours: Any, loopback_server: ModuleType
) -> None:
    refusal = loopback_server.Fault(status=401, payload={"error": {"message": HEADER}})
    colours.chance = lambda _number: refusal
    ran = run("--debug", "run", STUDY)
    assert ran.code != 0
    assert "answered 401" in ran.stderr
    assert was_sent(colours)
    ran.clean()


def test_an_internal_error_leaves_no_key_in_its_traceback(
    project: Any, colours: Any, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    project.write_small(colours.port, model=f"api_key_env: {VARIABLE}, ")
    command = [sys.executable, "-c", BROKEN, "run", STUDY]
    done = subprocess.run(
        command, cwd=project.folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 70, done.stderr
    (log,) = Path(environment["TMPDIR"]).glob("optimizer-*.log")
    assert "broken on purpose" in log.read_text(encoding="utf-8")
    assert was_sent(colours)
    Ran(code=70, stdout=done.stdout, stderr=done.stderr, folder=project.folder).clean()


def test_a_killed_run_leaves_no_key_and_none_is_in_the_process_list(
    project: Any, colours: Any, environment: dict[str, str], until: "Until"
) -> None:
    colours.delay = 0.02
    project.write_small(colours.port, model=f"api_key_env: {VARIABLE}, ")
    process = project.start("run", STUDY, env=environment, cold=True)
    until(lambda: len(colours.answered) >= 20, process)
    shown = command_lines(process.pid)
    process.send_signal(signal.SIGKILL)
    stdout, stderr = process.communicate()
    assert shown == {} or STUDY.encode() in shown[process.pid]
    assert not any(trace.encode() in line for line in shown.values() for trace in TRACES)
    assert was_sent(colours)
    Ran(code=process.returncode, stdout=stdout, stderr=stderr, folder=project.folder).clean()


def command_lines(pid: int) -> dict[int, bytes]:
    """Return what the process list shows of a process and its children; nothing where there is no /proc."""
    place = Path("/proc") / str(pid)
    if not place.exists():
        return {}
    shown = {pid: (place / "cmdline").read_bytes()}
    for children in place.glob("task/*/children"):
        for child in children.read_text(encoding="ascii").split():
            shown |= command_lines(int(child))
    return shown
