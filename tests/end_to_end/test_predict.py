"""`predict` as a process: killed at random moments it repeats no committed call, and its file is the same to the byte."""

import json
import random
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from optimizer.answer import AnswerFormat
from optimizer.digest import digest
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate

ROWS = 160
CONCURRENCY = 8


@pytest.fixture
def prompt(project: Any) -> Path:
    """Write a frozen prompt for the loopback server's model, and rows in three forms."""
    shown = MessageTemplate(role="user", parts=("Which colour?\n", Hole(name="input:text")))
    made = PromptTemplate(
        calls=(CallTemplate(messages=(shown,), parameters=(("max_tokens", 8), ("temperature", 0))),),
        answer=AnswerFormat(kind="label", labels=("red", "green", "blue")),
    )
    frozen = FrozenPrompt(
        name="colours",
        template=made,
        style="direct",
        format="plain",
        capabilities=(),
        demonstration_ids=(),
        model={"provider": "openai_compatible", "name": "scripted"},
        task={"name": "colours"},
        evidence={},
        history=(),
        tool_versions={},
    )
    path: Path = project.folder / "prompt.json"
    path.write_text(frozen.dumps(), encoding="utf-8")
    rows = [{"id": f"r{n}", "text": f"Thing {n} is of a hue.\nLook, {n % 7}!", "n": n} for n in range(ROWS)]
    (project.folder / "rows.jsonl").write_text(
        "".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8"
    )
    return path


def command(port: int, *options: str, output: str = "out.csv") -> list[str]:
    address = ["--base-url", f"http://127.0.0.1:{port}/v1", "--concurrency", str(CONCURRENCY)]
    return ["predict", "prompt.json", "rows.jsonl", "--output", output, *address, *options]


def stored(database: Path) -> tuple[set[str], set[str]]:
    """Return the keys of calls that were reserved, and of those whose completion is committed."""
    if not database.exists():
        return set(), set()
    with closing(sqlite3.connect(database)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        if "ps_call" not in tables:
            return set(), set()
        reserved = {key for (key,) in connection.execute("SELECT key FROM ps_call")}
        return reserved, {key for (key,) in connection.execute("SELECT key FROM ps_completion")}


def keys(port: int, bodies: list[Any]) -> list[str]:
    url = f"http://127.0.0.1:{port}/v1"
    identity = {"provider": "openai_compatible", "name": "scripted", "base_url": url}
    return [digest([digest(identity), body, 0]) for body in bodies]


def test_kills_at_random_moments_repeat_no_committed_call_and_change_no_byte(
    project: Any, prompt: Path, colours: Any, until: Callable[..., None]
) -> None:
    dice, colours.delay = random.Random(0), 0.01
    database = project.folder / "out.csv.predict.db"
    marks: list[tuple[int, set[str]]] = []
    in_flight = 0
    for new in (0, 30, 50):
        process = project.start(*command(colours.port, "--quiet"))
        sent = len(colours.bodies) + new
        until((lambda sent=sent: len(colours.bodies) >= sent) if new else database.exists, process)
        time.sleep(dice.uniform(0, 0.03))
        process.kill()
        process.communicate()
        colours.settle()
        reserved, committed = stored(database)
        assert len(reserved - committed) <= CONCURRENCY
        in_flight += len(reserved - committed)
        marks.append((len(colours.bodies), committed))
    done = project.run(*command(colours.port, "--quiet"))
    assert done.returncode == 0, done.stderr
    sent_keys = keys(colours.port, colours.bodies)
    assert all(committed.isdisjoint(sent_keys[sent:]) for sent, committed in marks)
    assert len(marks[-1][1]) > 40
    assert len(set(sent_keys)) == ROWS
    assert len(sent_keys) - ROWS <= in_flight
    colours.delay = 0.0
    undisturbed = project.run(*command(colours.port, "--quiet", output="whole.csv"), cold=True)
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert (project.folder / "out.csv").read_bytes() == (project.folder / "whole.csv").read_bytes()
    assert not list(project.folder.glob("out.csv.*"))


def test_an_interrupt_finishes_what_is_under_way_and_the_same_command_goes_on(
    project: Any, prompt: Path, colours: Any, until: Callable[..., None]
) -> None:
    colours.delay = 0.4
    process = project.start(*command(colours.port))
    until(lambda: len(colours.bodies) >= 20, process)
    busy = project.run(*command(colours.port))
    assert (busy.returncode, f"already running, process {process.pid}" in busy.stderr) == (2, True)
    process.send_signal(signal.SIGTERM)
    colours.delay = 0.0
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    again = project.run(*command(colours.port, "--json"))
    assert again.returncode == 0, again.stderr
    figures = json.loads(again.stdout)
    assert (figures["rows"], figures["errors"], figures["spent"]["calls"]) == (ROWS, 0, ROWS)
    assert set(colours.counts.values()) == {1}
    assert re.search(rf"rows.jsonl: {ROWS} rows, {ROWS} calls at most, price not known", again.stderr)


def test_an_interrupt_stops_a_run_whose_words_nobody_reads_any_more(
    project: Any, prompt: Path, colours: Any, until: Callable[..., None]
) -> None:
    colours.delay = 0.1
    process = project.start(*command(colours.port))
    until(lambda: len(colours.bodies) >= 20, process)
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    # That the run cannot say how it ended makes it no failed gate, either.
    assert process.wait(timeout=30) in (130, 141)
    process.stdout.close()
    assert len(colours.bodies) < ROWS
    assert project.run(*command(colours.port)).returncode == 0
    assert set(colours.counts.values()) == {1}
