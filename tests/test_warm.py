"""A warm process is like a cold one in all that a command may find, and ends as it does."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.warm import Process, Running, Starter

# Tells what a program finds of itself, then does what its argument names.
PROBE = """
import atexit, gc, json, os, signal, sys, threading, time, warnings
found = {
    "name": __name__, "file": __file__, "argv": sys.argv, "path": sys.path, "cwd": os.getcwd(),
    "environment": dict(os.environ), "warnoptions": sys.warnoptions, "first filters": [
        str(filter) for filter in warnings.filters[: len(sys.warnoptions)]
    ],
    "handlers": {number: str(signal.getsignal(number)) for number in signal.valid_signals() - {9, 19}},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "threads": threading.active_count(),
    "input": sys.stdin.read(), "open": sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc") else [],
    "streams": [[s.encoding, s.errors, s.line_buffering] for s in (sys.stdout, sys.stderr)],
    "leader": os.getpgid(0), "once": warnings.defaultaction,
}
print(json.dumps(found))
atexit.register(print, "at the end")
print("started", file=sys.stderr, flush=True)
match sys.argv[1]:
    case "exit": sys.exit(7)
    case "raise": raise KeyError("on purpose")
    case "leave a file open": kept = open(__file__)
    case "wait": time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "probe.py").write_text(PROBE, encoding="utf-8")
    return tmp_path


def cold(folder: Path, argument: str, env: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "probe", argument],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


@pytest.mark.parametrize("argument", ["return", "exit", "raise", "leave a file open"])
def test_a_warm_process_finds_what_a_cold_one_finds_and_ends_as_it_does(
    warm: "Starter", folder: Path, argument: str
) -> None:
    env = {**os.environ, "PYTHONWARNINGS": "error::ResourceWarning,ignore::UserWarning", "OWN": "é\n"}
    processes: list[Running] = [
        warm.start(argument, cwd=folder, env=env, module="probe"),
        cold(folder, argument, env),
    ]
    told: list[tuple[dict[str, Any], list[str], list[str], int]] = []
    for process in processes:
        stdout, stderr = process.communicate(timeout=60)
        first, *rest = stdout.splitlines()
        # A traceback has more frames of the start in the one case than in the other.
        shown = [line for line in stderr.splitlines() if not line.startswith("  ")]
        told.append((json.loads(first), rest, shown, process.wait()))
    assert told[0] == told[1]
    assert told[0][0]["argv"] == [str(folder / "probe.py"), argument]
    assert told[0][1] == ["at the end"]
    assert told[0][3] == {"exit": 7, "raise": 1}.get(argument, 0)
    assert any("unclosed file" in line for line in told[0][2]) == (argument == "leave a file open")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_a_warm_process_as_a_cold_one(
    warm: "Starter", folder: Path, number: signal.Signals
) -> None:
    process = started(warm, folder)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.01)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.wait() == process.poll() == process.returncode == -number
    # Of these only an interrupt lets the interpreter finish, and it ends by the signal all the same.
    interrupted = number == signal.SIGINT
    assert ("at the end" in stdout, "KeyboardInterrupt" in stderr) == (interrupted, interrupted)
    process.send_signal(number)  # nobody is there, and nobody is hit


def started(warm: "Starter", folder: Path) -> "Process":
    process = warm.start("wait", cwd=folder, env=os.environ, module="probe")
    assert process.stderr is not None
    assert process.stderr.readline() == "started\n"
    assert process.poll() is None
    return process


def test_processes_run_side_by_side_and_each_is_told_its_own_end(warm: "Starter", folder: Path) -> None:
    waiting = [started(warm, folder) for _ in range(3)]
    assert len({process.pid for process in waiting}) == 3
    done = warm.run("exit", cwd=folder, env=os.environ, timeout=60, module="probe")
    assert (done.returncode, done.stderr) == (7, "started\n")
    assert [process.poll() for process in waiting] == [None] * 3
    for process, number in zip(waiting, (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL), strict=True):
        os.kill(process.pid, number)
        process.communicate(timeout=60)
        assert process.returncode == -number


def test_what_a_warm_process_cannot_obey_is_refused(warm: "Starter", folder: Path) -> None:
    for name in ("PYTHONHASHSEED", "PYTHONUTF8", "LC_ALL"):
        other = {**os.environ, name: "0" if os.environ.get(name) != "0" else "1"}
        with pytest.raises(ValueError, match=f"{name} would be without effect on a warm process"):
            warm.start("exit", cwd=folder, env=other, module="probe")


def test_the_seeds_of_chance_differ_from_process_to_process(warm: "Starter", tmp_path: Path) -> None:
    program = (
        "import random, numpy, tempfile; print(random.random(), numpy.random.random(), tempfile.tempdir)"
    )
    (tmp_path / "dice.py").write_text(program, encoding="utf-8")
    rolled = [
        warm.run(cwd=tmp_path, env=os.environ, timeout=60, module="dice").stdout.split() for _ in range(2)
    ]
    assert all(first != second for first, second in list(zip(*rolled, strict=True))[:2])
    assert rolled[0][2] == rolled[1][2] == "None"
