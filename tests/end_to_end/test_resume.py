"""Nothing paid for is lost, and an interruption changes no result."""

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Until

CONCURRENCY = 8


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A study that a cold run finished without a disturbance, and its server, which is still there."""

    folder: Path
    server: Any
    results: dict[str, bytes]
    requests: int


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    loopback_server: ModuleType,
    answerer: Callable[[Any], str],
    project_in: Callable[[Path], Any],
) -> Iterator[Undisturbed]:
    project = project_in(tmp_path_factory.mktemp("undisturbed"))
    with loopback_server.Loopback(reply=answerer) as server:
        project.write(server.port)
        done = project.run("run", str(project.study), "--quiet", cold=True)
        assert done.returncode == 0, done.stderr
        assert set(counted(server).values()) == {1}
        yield Undisturbed(
            folder=project.folder, server=server, results=project.results(), requests=len(server.bodies)
        )


@pytest.fixture
def finished(undisturbed: Undisturbed, project: Any) -> Any:
    """Copy the finished study, and return its server, which was asked what that run asked and no more."""
    shutil.copytree(undisturbed.folder, project.folder, dirs_exist_ok=True)
    del undisturbed.server.bodies[undisturbed.requests :]
    return undisturbed.server


def counted(server: Any) -> Counter[str]:
    """Return how often each body was sent, however it was written."""
    return Counter(json.dumps(body, sort_keys=True) for body in server.bodies)


def test_a_killed_run_resumes_and_repeats_at_most_what_was_in_flight(
    project: Any, serve: Any, until: "Until", undisturbed: Undisturbed
) -> None:
    server = serve("--delay", "0.01")
    project.write(server.port)
    process = project.start("run", str(project.study), "--quiet", cold=True)
    until(lambda: len(server.bodies()) >= 0.45 * undisturbed.requests, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (project.study.parent / "prompt.json").exists()
    again = project.run("run", str(project.study), "--quiet", cold=True)
    assert again.returncode == 0, again.stderr
    counts = server.counts()
    assert project.results() == undisturbed.results
    assert len(counts) == undisturbed.requests
    assert max(counts.values()) <= 2
    assert sum(counts.values()) - len(counts) <= CONCURRENCY


def test_a_study_killed_at_random_moments_sends_no_committed_call_again(
    project: Any, colours: Any, clean: Any, until: "Until"
) -> None:
    dice, colours.delay, in_flight = random.Random(0), 0.01, 0
    marks: list[tuple[int, frozenset[str]]] = []
    project.write_small(colours.port)
    database = project.study.parent / "study.db"
    # The first kill hits a database in the making, the others a search, a confirmation or a test.
    for new in [0, *(dice.randrange(1, clean.requests // 4) for _ in range(4))]:
        process = project.start("run", str(project.study), "--quiet")
        until(partial(reached, colours, len(colours.bodies) + new) if new else database.exists, process)
        time.sleep(dice.uniform(0, 0.03))
        process.kill()
        process.communicate()
        colours.settle()
        kept = project.kept()
        assert len(kept.reserved - kept.committed) <= CONCURRENCY
        in_flight += len(kept.reserved - kept.committed)
        marks.append((len(colours.bodies), kept.committed))
    done = project.run("run", str(project.study), "--quiet")
    assert done.returncode == 0, done.stderr
    keys = project.keys(colours.port, colours.bodies)
    assert project.kept().committed == set(keys)
    assert all(committed.isdisjoint(keys[sent:]) for sent, committed in marks)
    assert len(keys) - len(set(keys)) <= in_flight
    assert len(set(keys)) == clean.requests
    assert project.results() == clean.results


def reached(server: Any, requests: int) -> bool:
    return len(server.bodies) >= requests


def test_one_call_at_a_time_and_eight_give_the_same_bytes(
    project: Any, serve: Any, undisturbed: Undisturbed
) -> None:
    server = serve()
    project.write(server.port, concurrency="1")
    # From another interpreter than what it is compared with, which ran cold: texts hash otherwise here.
    done = project.run("run", str(project.study), "--quiet")
    assert done.returncode == 0, done.stderr
    assert project.results() == undisturbed.results


def test_interrupts_at_random_moments_finish_the_calls_under_way_and_lose_none(
    project: Any, colours: Any, clean: Any, until: "Until"
) -> None:
    dice, colours.delay = random.Random(0), 0.05
    project.write_small(colours.port)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
        process = project.start("run", str(project.study), "--quiet")
        new = dice.randrange(1, clean.requests // 5)
        until(partial(reached, colours, len(colours.bodies) + new), process)
        time.sleep(dice.uniform(0, 0.06))
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 130, stderr
        assert "Traceback" not in stderr
    again = project.run("run", str(project.study), "--quiet")
    assert again.returncode == 0, again.stderr
    assert set(colours.counts.values()) == {1}
    assert project.results() == clean.results


def test_a_finished_study_is_not_asked_again_and_its_test_stays_opened_once(
    project: Any, finished: Any
) -> None:
    before, first = counted(finished), project.results()
    again = project.run("run", str(project.study))
    assert again.returncode == 0, again.stderr
    assert counted(finished) == before
    assert project.results() == first


def test_a_larger_budget_continues_the_search(project: Any, serve: Any) -> None:
    server = serve()
    project.write(server.port, calls=230)
    assert project.run("run", str(project.study), "--quiet").returncode == 0
    before = project.results()["history.csv"].decode().splitlines()
    text = project.study.read_text(encoding="utf-8").replace("calls: 230", "calls: 400")
    project.study.write_text(text, encoding="utf-8")
    assert project.run("run", str(project.study), "--quiet").returncode == 0
    after = project.results()["history.csv"].decode().splitlines()
    assert len(after) > len(before)
    # Who is raced on has more scores then, and is still the same.
    columns = before[0].split(",")
    same = [columns.index(name) for name in ("trial", "stage", "digest")]
    for old, new in zip(before, after, strict=False):
        assert [new.split(",")[k] for k in same] == [old.split(",")[k] for k in same]
    assert set(server.counts().values()) == {1}


def test_a_second_run_of_a_live_study_is_refused_with_the_process(
    project: Any, serve: Any, until: "Until"
) -> None:
    server = serve("--delay", "0.2")
    project.write(server.port)
    first = project.start("run", str(project.study), "--quiet")
    until(lambda: len(server.bodies()) > 3, first)
    second = project.run("run", str(project.study), "--quiet")
    first.kill()
    first.communicate()
    assert second.returncode == 2
    assert f"already running, process {first.pid}" in second.stderr


def test_a_changed_study_is_refused_and_fresh_reuses_what_was_paid_for(project: Any, finished: Any) -> None:
    first, before = project.results(), len(finished.bodies)
    text = project.study.read_text(encoding="utf-8").replace("screen: 6", "screen: 5")
    project.study.write_text(text, encoding="utf-8")
    refused = project.run("run", str(project.study), "--quiet")
    assert refused.returncode == 2
    assert "search.screen changed" in refused.stderr
    assert "--fresh" in refused.stderr
    assert project.results() == first
    fresh = project.run("run", str(project.study), "--fresh", "--quiet")
    assert fresh.returncode == 0, fresh.stderr
    assert max(counted(finished).values()) == 1
    assert len(finished.bodies) < 2 * before
