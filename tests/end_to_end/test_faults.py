"""Failures of the endpoint change no result, cost no more than they must, and stop a run only when they last."""

import json
import re
import subprocess
import time
from functools import partial
from types import ModuleType
from typing import Any

STUDY = "studies/colours/study.yaml"
CALLS = 130
CONCURRENCY = 8


def finished(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, done.stderr
    return done


def stopped(done: subprocess.CompletedProcess[str], code: int = 3) -> str:
    """Return the one message of a run that could not go on."""
    assert done.returncode == code, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return errors[0]


def test_a_third_of_the_requests_failing_in_every_way_changes_no_result_and_keeps_every_bound(
    project: Any, colours: Any, clean: Any, loopback_server: ModuleType
) -> None:
    colours.chance = loopback_server.Chance(rate=0.3, seed=9)
    project.write_small(colours.port, budget=f", attempts: {CALLS}")
    message = stopped(project.run("run", STUDY, "--quiet"), code=4)
    assert f"{CALLS} attempts" in message
    assert len(colours.bodies) == CALLS
    project.write_small(colours.port, budget=f", attempts: {2 * CALLS}")
    done = finished(project.run("run", STUDY, "--quiet", "--json"))
    assert project.results() == clean.results
    (study,) = json.loads(done.stdout)["studies"].values()
    retried, faults = study["retried"], colours.injected
    assert len(faults) > 10
    assert retried["total"] == sum(retried["reasons"].values()) == sum(faults.values())
    same = {"429": [kind for kind in faults if kind.startswith("429")], "500": ["500"], "503": ["503"]}
    for reason, kinds in same.items():
        assert retried["reasons"].get(reason, 0) == sum(faults[kind] for kind in kinds)
    assert study["calls"] == len(colours.answered) == clean.requests <= CALLS
    assert study["attempts"] == len(colours.bodies) == clean.requests + sum(faults.values()) <= 2 * CALLS
    assert set(colours.answered.values()) == {1}


def test_a_short_outage_is_waited_out_and_a_person_reads_what_was_retried(
    project: Any, colours: Any, clean: Any
) -> None:
    colours.outage_after, colours.outage_seconds = clean.requests // 2, 1.0
    project.write_small(colours.port)
    done = finished(project.run("run", STUDY, "--quiet"))
    assert project.results() == clean.results
    assert set(colours.answered.values()) == {1}
    (line,) = re.findall(r"^retried .*$", done.stdout, re.MULTILINE)
    total, *reasons = map(int, re.findall(r"(?<= )[0-9]+(?= failed attempts|,|$)", line))
    assert total == sum(reasons) >= len(colours.bodies) - clean.requests > 0


def test_an_outage_without_end_stops_the_run_and_the_same_command_goes_on(
    project: Any, colours: Any, clean: Any
) -> None:
    colours.outage_after = clean.requests // 2
    project.write_small(colours.port, run=", deadline_seconds: 2")
    start = time.monotonic()
    message = stopped(project.run("run", STUDY, "--quiet"))
    assert time.monotonic() - start < 30
    assert f"127.0.0.1:{colours.port}/v1/chat/completions" in message
    kept = project.kept()
    assert len(kept.committed) == len(colours.answered)
    assert kept.committed == set(project.keys(colours.port, list(map(json.loads, colours.answered))))
    assert not (project.study.parent / "prompt.json").exists()
    again = stopped(project.run("run", STUDY, "--quiet"))
    assert f"127.0.0.1:{colours.port}" in again
    colours.outage_after = float("inf")
    colours.reappear()
    finished(project.run("run", STUDY, "--quiet"))
    assert project.results() == clean.results
    assert set(colours.answered.values()) == {1}
    assert len(colours.answered) == clean.requests


def test_what_no_waiting_mends_stops_the_run_at_once_and_is_not_tried_again(
    project: Any, colours: Any, clean: Any, loopback_server: ModuleType
) -> None:
    project.write_small(colours.port)
    revoked = {"message": "the key was revoked", "code": "invalid_api_key"}
    empty = {"message": "the account is empty", "type": "insufficient_quota", "code": "insufficient_quota"}
    for first, status, error in ((clean.requests // 3, 401, revoked), (clean.requests * 2 // 3, 429, empty)):
        refusal = loopback_server.Fault(kind=str(status), status=status, payload={"error": error})
        colours.chance = partial(from_number, first, refusal)
        start = time.monotonic()
        message = stopped(project.run("run", STUDY, "--quiet"))
        assert time.monotonic() - start < 20
        assert f"127.0.0.1:{colours.port}" in message
        assert f"answered {status}: {error['message']}" in message
        assert 1 <= colours.injected[str(status)] <= CONCURRENCY
    colours.chance = lambda _number: None
    finished(project.run("run", STUDY, "--quiet"))
    assert project.results() == clean.results
    assert set(colours.answered.values()) == {1}


def from_number(first: int, fault: Any, number: int) -> Any:
    return fault if number >= first else None


def test_a_call_that_never_succeeds_is_an_error_and_asked_again_by_the_next_run(
    project: Any, colours: Any, clean: Any, colour_rows: list[dict[str, str]]
) -> None:
    # An example of the test: every prompt that is compared there asks for it.
    tested = [asked(body) for body in clean.bodies[-24:]]
    unlucky = next(row["text"] for row in colour_rows if any(row["text"] in text for text in tested))
    answerer, down = colours.reply, (503, {"error": {"message": "no backend for this text"}})
    colours.reply = lambda body: down if unlucky in asked(body) else answerer(body)
    project.write_small(colours.port, run=", deadline_seconds: 1")
    message = stopped(project.run("run", STUDY, "--quiet"))
    assert "no backend for this text" in message
    assert not (project.study.parent / "prompt.json").exists()
    colours.reply = answerer
    sent = len(colours.bodies)
    finished(project.run("run", STUDY, "--quiet"))
    assert project.results() == clean.results
    assert any(unlucky in asked(body) for body in colours.bodies[sent:])
    assert set(colours.answered.values()) == {1}


def asked(body: dict[str, Any]) -> str:
    """Return the text of the input that a request asks about, with what its format puts round it."""
    return str(body["messages"][-1]["content"])
