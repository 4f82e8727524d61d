"""`verify` with a model behind an endpoint: what holds, what drifted and by which sign, what is resumed, what is written."""

import errno
import itertools
import json
import os
import re
import shutil
import signal
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from optimizer.archive import open_archive
from optimizer.commands import main
from optimizer.commands._junit import JUnitCase, junit_xml
from optimizer.digest import digest, pretty
from optimizer.frozen import FrozenPrompt
from optimizer.storage import open_storage

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Until
    from tests.loopback_server import Loopback
    from tests.output_schemas import checked
    from tests.warm import Starter
else:
    from output_schemas import checked

LABELS = ("red", "green", "blue")
TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 6, validation: 9, test: TEST}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: openai_compatible, name: m, base_url: 'URL', parameters: {temperature: 0, max_tokens: 16}}
search:
  instructions: {given: [Which colour is it?]}
  styles: [direct]
  formats: [plain]
  screen: 6
budget: {calls: 700}
run: {deadline_seconds: 0.2}
"""

Body = dict[str, Any]


class Told(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def label(body: Body) -> str:
    said = body["messages"][-1]["content"]
    return next(name for name in LABELS if f"is {name}" in said)


def number(body: Body) -> int:
    found = re.search(r"Item (\d+)", body["messages"][-1]["content"])
    assert found is not None
    return int(found[1])


def write(folder: Path, address: str, *, test: int, study: str = STUDY) -> Path:
    """Write a study whose model is behind an address, and return where its prompt will be."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    rows = (f"c{n:03d},Item {n}. is {LABELS[n % 3]},{LABELS[n % 3]}\n" for n in range(test + 15))
    (folder / "data.csv").write_text("id,text,colour\n" + "".join(rows), encoding="utf-8")
    (folder / "task.yaml").write_text(TASK.replace("TEST", str(test)), encoding="utf-8")
    (folder / "study.yaml").write_text(study.replace("URL", address), encoding="utf-8")
    return folder / "prompt.json"


def command(*arguments: str | Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["optimizer", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Return the command line: arguments in, exit code and output out."""

    def run(*arguments: str | Path) -> Told:
        capsys.readouterr()
        code = command(*arguments)
        printed = capsys.readouterr()
        checked(arguments, printed.out)
        return Told(code, printed.out, printed.err)

    return run


@pytest.fixture(scope="module")
def served(loopback_server: ModuleType) -> "Iterator[Loopback]":
    with loopback_server.Loopback() as server:
        yield server


@pytest.fixture(scope="module")
def studied(served: "Loopback", tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Return a prompt that was judged on 40 examples and one on 150, by the number."""
    folder, prompts = tmp_path_factory.mktemp("studied"), dict[int, Path]()
    for test in (40, 150):
        served.reply = label
        prompts[test] = write(folder / str(test), served.base_url, test=test)
        assert command("run", prompts[test].with_name("study.yaml"), "--quiet") == 0
    return prompts


@pytest.fixture
def prompt(studied: dict[int, Path]) -> Path:
    return studied[40]


@pytest.fixture
def server(served: "Loopback") -> "Iterator[Loopback]":
    """Return the server, which answers as it did when the prompt was judged until a test says otherwise."""
    served.settle()
    served.reply = label
    served.bodies.clear()
    yield served
    served.faults.clear()
    served.delay = 0.0


def figures(told: Told) -> dict[str, Any]:
    (found,) = json.loads(told.out)["prompts"].values()
    assert isinstance(found, dict)
    return found


def test_an_unchanged_model_holds_and_is_asked_anew_each_time(
    prompt: Path, server: "Loopback", call: Callable[..., Told]
) -> None:
    told = call("verify", prompt)
    assert told.code == 0
    assert told.out == f"{prompt}: sound; 40 recorded requests rendered again, all alike\n"
    assert server.bodies == []
    assert call("verify", prompt.with_name("study.yaml")).out == told.out
    missing = call("verify", prompt, prompt.with_name("nope.json"))
    assert missing.code == 2
    assert missing.out == f"{told.out}{prompt.with_name('nope.json')}: missing\n"
    assert missing.err == f"error: {prompt.with_name('nope.json')}: there is no such file or folder\n"
    again = call("verify", prompt, "--rescore")
    assert again.code == 0, again.err
    assert again.out.startswith(f"{prompt}: sound; 40 recorded requests rendered again, all alike; holds\n")
    assert "accuracy 1.000 then, 1.000 now: +0.0 points" in again.out
    assert len(server.bodies) == 40  # though the study has all of these answers
    assert call("verify", prompt, "--rescore").code == 0
    assert len(server.bodies) == 80


def test_a_tenth_that_turns_wrong_is_told_on_150_examples(
    studied: dict[int, Path], server: "Loopback", call: Callable[..., Told]
) -> None:
    tested = {row[1:] for row in records(studied[150])["id"]}
    wrong = set(sorted(tested)[::10])
    server.reply = lambda body: "none" if f"{number(body):03d}" in wrong else label(body)
    told = call("verify", studied[150], "--rescore", "--json")
    assert told.code == 1
    found = figures(told)["rescored"]
    assert (found["verdict"], found["cause"], found["n"]) == ("drifted", "model", 150)
    assert "score" in found["telling"]
    assert found["difference"]["losses"] == 15
    assert found["difference"]["value"] == -0.1
    assert found["difference"]["upper"] < 0
    assert (found["then"]["outcomes"]["ok"], found["now"]["outcomes"]["invalid"]) == (150, 15)


def records(prompt: Path) -> dict[str, Any]:
    found = json.loads(prompt.read_text(encoding="utf-8"))["records"]
    assert isinstance(found, dict)
    return found


def test_other_sampling_is_told_though_the_score_is_the_same(
    prompt: Path, server: "Loopback", call: Callable[..., Told]
) -> None:
    server.reply = lambda body: label(body) + ("." if number(body) % 3 == 0 else "")
    told = call("verify", prompt, "--rescore")
    assert told.code == 1
    assert "; drifted: answers" in told.out
    assert "accuracy 1.000 then, 1.000 now" in told.out
    assert "the requests are those that were recorded, so the model, its sampling or its context" in told.out


def test_a_few_other_texts_are_no_drift(prompt: Path, server: "Loopback", call: Callable[..., Told]) -> None:
    few = set(records(prompt)["id"][:2])
    server.reply = lambda body: label(body) + ("." if f"c{number(body):03d}" in few else "")
    told = call("verify", prompt, "--rescore")
    assert told.code == 0
    assert told.out.splitlines()[0].endswith("; holds")
    assert "\n  answers: 2 of 40 completions have other texts, which tells of no change\n" in told.out
    server.reply = label
    assert "other texts" not in call("verify", prompt, "--rescore").out


def test_another_context_setting_is_told_by_the_tokens_read(
    prompt: Path, server: "Loopback", call: Callable[..., Told], loopback_server: ModuleType
) -> None:
    def cut(body: Body) -> tuple[int, object]:
        answer = loopback_server.completion(body, label(body))
        read = min(answer["usage"]["prompt_tokens"], 5)
        answer["usage"] |= {
            "prompt_tokens": read,
            "total_tokens": read + answer["usage"]["completion_tokens"],
        }
        return 200, answer

    server.reply = cut
    told = call("verify", prompt, "--rescore")
    assert told.code == 1
    assert "; drifted: reading" in told.out
    assert "reading: 40 of 40 requests were read as another number of tokens" in told.out


def test_requests_that_the_endpoint_refuses_now_are_a_change_and_no_score(
    prompt: Path, server: "Loopback", call: Callable[..., Told]
) -> None:
    refusal = (400, {"error": {"message": "longer than the context"}})
    server.reply = lambda body: label(body) if number(body) % 3 else refusal
    found = figures(told := call("verify", prompt, "--rescore", "--json"))["rescored"]
    assert told.code == 1
    assert found["telling"] == ["outcomes"]
    n = found["now"]["outcomes"]["error"]
    assert (found["difference"]["n"], found["now"]["score"]) == (40 - n, 1)
    assert found["lost"] == []


def test_what_an_outage_keeps_from_being_told_is_told_by_the_same_command_without_a_call_twice(
    prompt: Path, server: "Loopback", call: Callable[..., Told]
) -> None:
    busy = (500, {"error": {"message": "busy"}})
    server.reply = lambda body: label(body) if number(body) % 4 else busy
    told = call("verify", prompt, "--rescore")
    assert told.code == 3
    assert "examples have no answer or no score now and are left out: “c" in told.out
    answered = [json.dumps(body) for body in server.bodies if number(body) % 4]
    server.reply = label
    server.bodies.clear()
    assert call("verify", prompt, "--rescore").code == 0
    assert len(server.bodies) == 40 - len(set(answered))
    assert not set(answered) & {json.dumps(body) for body in server.bodies}


def test_a_killed_look_is_taken_up_where_it_was(
    prompt: Path, server: "Loopback", call: Callable[..., Told], warm: "Starter", until: "Until"
) -> None:
    server.delay = 0.05
    arguments = ("verify", str(prompt), "--rescore", "--concurrency", "4")
    process = warm.start(*arguments, cwd=prompt.parent, env=os.environ)
    until(lambda: len(server.bodies) >= 20, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    server.settle()
    server.delay, before = 0.0, len(server.bodies)
    assert before < 40
    assert call("verify", prompt, "--rescore").code == 0
    assert len(server.bodies) <= 40 + 2 * 4  # at most what was in flight, or answered and not yet committed
    assert len({json.dumps(body) for body in server.bodies}) == 40


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["verify", "score"])
def test_what_is_stopped_finishes_the_calls_under_way_and_asks_for_the_rest_the_next_time(
    prompt: Path,
    server: "Loopback",
    call: Callable[..., Told],
    warm: "Starter",
    until: "Until",
    name: str,
    number: signal.Signals,
) -> None:
    server.delay = 0.1
    own = ("--rescore",) if name == "verify" else ("--task", str(prompt.with_name("task.yaml")), "--no-cache")
    arguments = (name, str(prompt), *own, "--concurrency", "4")
    process = warm.start(*arguments, cwd=prompt.parent, env=os.environ)
    until(lambda: len(server.bodies) >= 10, process)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert (
        "stopping: calls under way are finished and saved; once more stops at once\nerror: stopped\n" in said
    )
    server.settle()
    server.delay, before = 0.0, len(server.bodies)
    assert 10 <= before < 40
    assert call(*arguments).code == 0
    assert len(server.bodies) == len({json.dumps(body) for body in server.bodies}) == 40
    assert call(*arguments).code == 0  # it is over now
    assert len(server.bodies) == 80


def test_prompts_that_a_stop_leaves_are_told_and_none_is_asked_twice(
    prompt: Path,
    server: "Loopback",
    call: Callable[..., Told],
    warm: "Starter",
    until: "Until",
    tmp_path: Path,
) -> None:
    copies = [shutil.copytree(prompt.parent, tmp_path / name) / "prompt.json" for name in "abc"]
    arguments = ("verify", *map(str, copies), "--rescore", "--concurrency", "4", "--json")
    server.delay = 0.05
    process = warm.start(*arguments, cwd=tmp_path, env=os.environ)
    until(lambda: len(server.bodies) >= 60, process)
    process.send_signal(signal.SIGTERM)
    out, said = process.communicate()
    assert process.returncode == 130, said
    assert said.endswith("error: stopped\nerror: stopped: 1 of 3 prompts not looked at\n")
    found = json.loads(out)["prompts"]
    assert [found[str(path)]["exit_code"] for path in copies[:2]] == [0, 130]
    assert set(found) == set(map(str, copies[:2]))
    server.settle()
    server.delay = 0.0
    assert call(*arguments).code == 0
    assert len(server.bodies) == 3 * 40


def test_a_place_for_junit_that_is_none_is_told_before_anything_is_asked(
    prompt: Path, server: "Loopback", call: Callable[..., Told], tmp_path: Path
) -> None:
    for place, found in (
        (tmp_path, "a folder"),
        (tmp_path / "none" / "out.xml", f"none at {tmp_path / 'none'}"),
    ):
        told = call("verify", prompt, "--rescore", "--json", "--junit", place)
        assert (told.code, told.out) == (2, "")
        assert told.err == (
            f"error: {place}: --junit: expected a file in a folder that can be written to, found {found}\n"
        )
    assert server.bodies == []


def test_a_look_that_could_not_be_written_is_told_again_without_a_call(
    prompt: Path,
    server: "Loopback",
    call: Callable[..., Told],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_path: Path, _text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    arguments = ("verify", prompt, "--rescore", "--json", "--junit", tmp_path / "out.xml")
    with monkeypatch.context() as patch:
        patch.setattr("optimizer.document.write_atomically", full)
        told = call(*arguments)
    assert told.code == 2
    assert "out.xml: cannot be written: No space left on device" in told.err
    assert figures(told)["rescored"]["verdict"] == "holds"  # what was paid for is told all the same
    assert len(server.bodies) == 40
    assert call(*arguments).code == 0
    assert len(server.bodies) == 40
    assert (tmp_path / "out.xml").is_file()
    assert call(*arguments).code == 0
    assert len(server.bodies) == 80


def test_a_changed_wording_is_not_blamed_on_the_model(
    prompt: Path, server: "Loopback", call: Callable[..., Told]
) -> None:
    document = json.loads(prompt.read_text(encoding="utf-8"))
    document["calls"][0]["messages"][0]["parts"][0] = "Say nothing of use."
    del document["checksum"]
    document["fingerprint"] = digest({"calls": document["calls"], "answer": document["answer"]})
    changed = prompt.with_name("changed.prompt.json")
    changed.write_text(pretty({**document, "checksum": digest(document)}), encoding="utf-8")
    server.reply = lambda body: "none" if "nothing of use" in str(body["messages"]) else label(body)
    told = call("verify", changed, "--rescore", "--json")
    assert told.code == 1
    found = figures(told)
    assert [finding["about"] for finding in found["findings"]] == ["wording"]
    assert (found["rescored"]["verdict"], found["rescored"]["cause"]) == ("drifted", "wording")
    said = call("verify", changed, "--rescore").out
    assert "the wording of the requests changed, so this says nothing of the model" in said
    changed.unlink()


HALF = "def half(answer: str, target: str) -> float:\n    return (answer == target) / 2\n"


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("half", "scored by accuracy then, by half now, so the scores are not compared"),
        ("accuracy", "accuracy scores equal answers otherwise now than then, so the scores are not compared"),
    ],
)
def test_another_metric_is_not_blamed_on_the_model(
    prompt: Path, server: "Loopback", call: Callable[..., Told], tmp_path: Path, label: str, said: str
) -> None:
    for name in ("pyproject.toml", "study.yaml", "data.csv", "prompt.json"):
        (tmp_path / name).write_bytes(prompt.with_name(name).read_bytes())
    (tmp_path / "half.py").write_text(HALF, encoding="utf-8")
    task = TASK.replace("TEST", "40").replace(
        "metric: accuracy", f"metric: {{python: 'half.py:half', label: {label}}}"
    )
    (tmp_path / "task.yaml").write_text(task, encoding="utf-8")
    other = "the prompt was made for the metric accuracy, and the task's is half"
    told = call("verify", tmp_path / "prompt.json", "--rescore")
    assert told.code == 1, told.err
    assert (f"  task: {other}" in told.out) == (label == "half")
    assert told.out.splitlines()[0].endswith("; holds")
    assert said in told.out
    assert "so the model, its sampling or its context changed" not in told.out
    assert "points" not in told.out
    found = figures(call("verify", tmp_path / "prompt.json", "--rescore", "--json"))
    again = found["rescored"]
    assert (again["verdict"], again["cause"], again["telling"]) == ("holds", "metric", [])
    assert (again["metric"], again["metric_now"], again["difference"]) == ("accuracy", label, None)
    assert (again["then"]["score"], again["now"]["score"], found["exit_code"]) == (1, 0.5, 1)
    # What other signs tell is told of the model all the same; without an equal answer the name alone tells of metrics.
    server.reply = lambda body: "none at all"
    again = figures(told := call("verify", tmp_path / "prompt.json", "--rescore", "--json"))["rescored"]
    assert (again["verdict"], again["cause"], told.code) == ("drifted", "model", 1)
    assert ("score" in again["telling"]) == (label == "accuracy")


def test_where_rows_are_gone_it_says_on_how_many_examples_the_verdict_rests(
    prompt: Path, server: "Loopback", call: Callable[..., Told], tmp_path: Path
) -> None:
    for name in ("pyproject.toml", "study.yaml", "prompt.json"):
        (tmp_path / name).write_bytes(prompt.with_name(name).read_bytes())
    copy = tmp_path / "prompt.json"
    kept = FrozenPrompt.load(copy).records
    assert kept is not None
    gone = set(list(kept["id"])[:11])  # type: ignore[call-overload]  # a list of texts
    lines = prompt.with_name("data.csv").read_text(encoding="utf-8").splitlines()
    left = [line for line in lines if line.partition(",")[0] not in gone]
    (tmp_path / "data.csv").write_text("\n".join(left) + "\n", encoding="utf-8")
    (tmp_path / "task.yaml").write_text(TASK.replace("TEST", "29"), encoding="utf-8")
    told = call("verify", copy, "--rescore")
    assert told.code == 1
    headline, *others = told.out.splitlines()
    assert headline == f"{copy}: differs, 1 finding; holds on 29 of 40 recorded examples"
    assert "11 examples" in others[0]
    assert others[1] == (
        "  then and now are of 29 of the 40 recorded examples alone; the others are not compared"
    )
    assert "n=29, " in others[2]
    found = figures(call("verify", copy, "--rescore", "--json"))["rescored"]
    assert (found["n"], found["recorded"]) == (29, 40)
    # A layout that differs keeps nobody from asking; of all examples there is nothing to say.
    changed = prompt.with_name("crlf.prompt.json")
    changed.write_bytes(prompt.read_bytes().replace(b"\n", b"\r\n"))
    told = call("verify", changed, "--rescore")
    changed.unlink()
    assert told.code == 1
    assert told.out.startswith(f"{changed}: differs, 1 finding; holds\n")
    assert "recorded examples" not in told.out


def test_how_long_examples_took_then_is_told_by_the_study_beside_and_no_verdict_rests_on_it(
    prompt: Path, server: "Loopback", call: Callable[..., Told], tmp_path: Path
) -> None:
    database, template = prompt.with_name("study.db"), FrozenPrompt.load(prompt).template
    with open_archive(database) as archive:
        answered = archive.completions([template.fingerprint])
    asked = set(records(prompt)["id"])
    taken = [sum(c.seconds for c in several) for (_, name), several in answered.items() if name in asked]
    assert len(taken) == 40
    before = database.read_bytes()
    server.delay = 0.02
    with open_storage(database):  # the study is under way
        found = figures(told := call("verify", prompt, "--rescore", "--json"))["rescored"]
    assert (told.code, found["verdict"]) == (0, "holds")
    assert found["then"]["seconds"] == round(median(taken), 3)
    assert found["now"]["seconds"] >= server.delay
    assert database.read_bytes() == before
    server.delay = 0.0
    said = call("verify", prompt, "--rescore").out
    assert re.search(r"\n  seconds for an example 0\.\d{3} to 0\.\d{3} \(median\)", said)
    names = ("pyproject.toml", "study.yaml", "task.yaml", "data.csv", "prompt.json")
    for name in names:
        (tmp_path / name).write_bytes(prompt.with_name(name).read_bytes())
    alone = tmp_path / "prompt.json"
    for content in (None, b"no database of ours"):
        if content is not None:
            (tmp_path / "study.db").write_bytes(content)
        told = call("verify", alone, "--rescore")
        assert told.code == 0, told.err
        assert re.search(r"\n  seconds for an example \d+\.\d{3} now \(median\), not known then\n", told.out)


def test_what_an_example_costs_is_told_beside_what_it_cost(
    prompt: Path, server: "Loopback", call: Callable[..., Told], loopback_server: ModuleType, tmp_path: Path
) -> None:
    for name in ("pyproject.toml", "study.yaml", "task.yaml", "data.csv", "prompt.json"):
        (tmp_path / name).write_bytes(prompt.with_name(name).read_bytes())
    study = tmp_path / "study.yaml"
    prices = "budget: {calls: 700, prices: {m: {input: 0, output: 1000}}}"
    study.write_text(
        study.read_text(encoding="utf-8").replace("budget: {calls: 700}", prices), encoding="utf-8"
    )

    def thrice(body: Body) -> tuple[int, object]:
        answer = loopback_server.completion(body, label(body))
        answer["usage"]["completion_tokens"] *= 3
        return 200, answer

    server.reply = thrice
    told = call("verify", tmp_path / "prompt.json", "--rescore")
    assert told.code == 1  # longer answers
    expected = "cost of an example 0.001000 to 0.003000 US dollars, 3.00 times, at the price of today\n"
    assert expected in told.out
    scored = ("score", "--task", tmp_path / "task.yaml", "--no-cache", "--json")
    known = figures(call("verify", tmp_path / "prompt.json", "--rescore", "--json"))["rescored"]["spent"]
    assert known["usd"] == pytest.approx(0.12)
    assert json.loads(call(*scored, tmp_path / "prompt.json").out)["spent"]["usd"] == known["usd"]
    # Where no price is known, what it cost is not known, rather than nothing.
    unknown = figures(call("verify", prompt, "--rescore", "--json"))["rescored"]["spent"]
    assert (unknown["usd"], unknown["completion_tokens"]) == (None, known["completion_tokens"])
    assert json.loads(call(*scored, prompt).out)["spent"]["usd"] is None


def test_another_model_is_named_and_so_is_what_cannot_be_asked(
    prompt: Path, server: "Loopback", call: Callable[..., Told], tmp_path: Path
) -> None:
    named = ("--model", "openai_compatible:other", "--base-url", server.base_url)
    told = call("verify", prompt, "--rescore", *named)
    assert told.code == 0
    assert "openai_compatible:other was asked, not openai_compatible:m" in told.out
    assert {body["model"] for body in server.bodies} == {"other"}
    alone = tmp_path / "prompt.json"
    alone.write_bytes(prompt.read_bytes())
    lost = call("verify", alone, "--rescore")
    assert lost.code == 2
    assert "cannot be asked again: no task is named and no study.yaml lies beside" in lost.err
    unknown = call("verify", alone, "--rescore", "--task", prompt.with_name("task.yaml"))
    assert unknown.code == 2
    assert "--model: base_url: missing" in unknown.err
    old = replace(FrozenPrompt.load(prompt), records=None)
    alone.write_text(old.dumps(), encoding="utf-8")
    assert call("verify", alone, "--rescore").code == 2
    assert call("verify", alone).code == 0


def test_sampled_answers_that_differ_are_no_drift(
    server: "Loopback", call: Callable[..., Told], tmp_path: Path
) -> None:
    study = STUDY.replace("temperature: 0", "temperature: 0.7")
    turns = itertools.count()  # every other answer, whichever requests come at once
    server.reply = lambda body: label(body) + (" it is" if next(turns) % 2 else "")
    sampled = write(tmp_path / "sampled", server.base_url, test=40, study=study)
    assert call("run", sampled.with_name("study.yaml"), "--quiet").code == 0
    server.bodies.clear()
    server.reply = lambda body: label(body) + ("" if next(turns) % 2 else " it is")
    found = figures(told := call("verify", sampled, "--rescore", "--json"))["rescored"]
    assert told.code == 0
    assert "answers" not in [sign["sign"] for sign in found["signs"]]


def test_without_a_test_split_it_is_validation_that_is_recorded_and_asked_again(
    server: "Loopback", call: Callable[..., Told], tmp_path: Path
) -> None:
    path = write(tmp_path / "small", server.base_url, test=6)
    task = path.with_name("task.yaml")
    text = task.read_text(encoding="utf-8").replace("validation: 9, test: 6", "validation: 15, test: 0")
    task.write_text(text, encoding="utf-8")
    assert call("run", path.with_name("study.yaml"), "--quiet").code == 0
    found = records(path)
    assert (found["split"], found["metric"], len(found["id"])) == ("validation", "accuracy", 15)
    server.bodies.clear()
    told = call("verify", path, "--rescore")
    assert told.code == 0, told.err
    assert "accuracy 1.000 then, 1.000 now" in told.out
    assert "chose this prompt" not in told.out  # the temperature is 0: there was no luck
    assert len(server.bodies) == 15
    warm = path.with_name("study.yaml")
    text = warm.read_text(encoding="utf-8").replace("temperature: 0", "temperature: 0.7")
    warm.write_text(text, encoding="utf-8")
    assert call("run", warm, "--quiet", "--fresh").code == 0
    told = call("verify", path, "--rescore")
    among = 1 + json.loads(path.read_text(encoding="utf-8"))["evidence"]["candidates"]
    assert f"\n  the recorded answers chose this prompt among {among}, so they are lucky, too: " in told.out


def test_a_prompt_whose_model_is_gone_leaves_no_answers_of_the_others_for_another_time(
    prompt: Path, server: "Loopback", call: Callable[..., Told], tmp_path: Path, loopback_server: ModuleType
) -> None:
    here, gone = (shutil.copytree(prompt.parent, tmp_path / name) / "prompt.json" for name in ("a", "b"))
    with loopback_server.Loopback() as other:
        dead = other.base_url
    study = gone.with_name("study.yaml")
    study.write_text(study.read_text(encoding="utf-8").replace(server.base_url, dead), encoding="utf-8")
    arguments = ("verify", tmp_path, "--rescore", "--json")
    first = call(*arguments)
    assert first.code == 3, first.err
    found = json.loads(first.out)["prompts"]
    assert (found[str(here)]["rescored"]["verdict"], len(server.bodies)) == ("holds", 40)
    server.reply = lambda body: "none"
    again = call(*arguments)
    found = json.loads(again.out)["prompts"]
    assert found[str(here)]["rescored"]["verdict"] == "drifted"
    assert len(server.bodies) == 80


def test_an_endpoint_that_states_no_tokens_any_more_is_no_other_model(
    prompt: Path, server: "Loopback", call: Callable[..., Told], loopback_server: ModuleType
) -> None:
    def silent(body: Body) -> tuple[int, object]:
        answer = loopback_server.completion(body, label(body))
        del answer["usage"]
        return 200, answer

    server.reply = silent
    told = call("verify", prompt, "--rescore")
    assert told.code == 0, told.out
    assert re.search(
        r"\n  tokens read \d+\.\d to not known\n  tokens written \d\.\d to not known\n", told.out
    )
    again = figures(call("verify", prompt, "--rescore", "--json"))["rescored"]
    assert (again["now"]["prompt_tokens"], again["now"]["completion_tokens"]) == (None, None)
    assert {"length", "reading"}.isdisjoint(sign["sign"] for sign in again["signs"])


def test_a_folder_is_looked_at_at_once_and_the_worst_code_and_a_case_each_are_given(
    prompt: Path, call: Callable[..., Told], tmp_path: Path
) -> None:
    hostile = "a\x01 <b>&\"'\u202e"
    sound = replace(FrozenPrompt.load(prompt), name=hostile)
    (tmp_path / "good.prompt.json").write_text(sound.dumps(), encoding="utf-8")
    (tmp_path / "bad.prompt.json").write_text(sound.dumps().replace("direct", "Direct", 1), encoding="utf-8")
    out = tmp_path / "out.xml"
    task = prompt.with_name("task.yaml")
    told = call("verify", tmp_path, "--task", task, "--junit", out)
    assert told.code == 2
    assert [line.split(": ")[1].split(",")[0].split(";")[0] for line in told.out.splitlines()] == [
        "broken",
        "sound",
    ]
    assert "bad.prompt.json: file: checksum: does not fit the document" in told.err
    suite = ET.parse(out).getroot()[0]
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "2",
        "failures": "0",
        "errors": "1",
    }
    bad, good = suite
    assert bad[0].tag == "error"
    assert (bad[0].get("message") or "").startswith("file: checksum: does not fit")
    assert good.get("name") == str(tmp_path / "good.prompt.json")
    first = out.read_bytes()
    assert call("verify", tmp_path, "--task", task, "--junit", out, "--json").code == 2
    assert out.read_bytes() == first


def test_a_case_of_junit_is_read_as_it_was_meant_whatever_is_in_it() -> None:
    text = "".join(map(chr, [*range(1, 0x180), 0x2028, 0xFFFE, 0xFFFF, 0x1F600, 0xD800])) + "]]><&\r\n\t"
    cases = [JUnitCase(name=text, state=state, lines=(text, text)) for state in ("passed", "failed", "error")]
    suite = ET.fromstring(junit_xml(text, cases).encode())[0]
    kept = "".join(
        c
        if c in "\t\n\r" or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) < 0xFFFE or ord(c) > 0xFFFF
        else "\ufffd"
        for c in text
    )
    assert suite.get("name") == kept
    for case in suite:
        assert case.get("name") == kept
        assert case[0].text == f"{kept}\n{kept}"
    assert (suite.get("failures"), suite.get("errors")) == ("1", "1")
