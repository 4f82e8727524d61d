"""`compare`: several prompts on several models, from the command line to the files; what is resumed, refused, told."""

import csv
import json
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from optimizer.answer import AnswerFormat
from optimizer.commands import main
from optimizer.frozen import FrozenPrompt
from optimizer.plan import load_examples
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Until
    from tests.loopback_server import Loopback
    from tests.output_schemas import mistake
    from tests.warm import Starter
else:  # the tests are no package
    from output_schemas import mistake

LABELS = ("red", "green", "blue")
TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 6, validation: 9, test: TEST}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""

Body = dict[str, Any]


class Told(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def write(folder: Path, *, test: int) -> None:
    """Write a task of colours and two prompts for it, of which `plain.json` asks and `short.json` hardly does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").touch()
    rows = (f"c{n:03d},Item {n}. is {LABELS[n % 3]},{LABELS[n % 3]}\n" for n in range(test + 15))
    (folder / "data.csv").write_text("id,text,colour\n" + "".join(rows), encoding="utf-8")
    (folder / "task.yaml").write_text(TASK.replace("TEST", str(test)), encoding="utf-8")
    write_prompt(folder, "plain", "Which colour is it: red, green or blue? One word.\n")
    write_prompt(folder, "short", "Colour? ")


def write_prompt(folder: Path, name: str, words: str, **task: object) -> None:
    loaded, dataset = load_examples(folder / "task.yaml")
    ask = MessageTemplate(role="user", parts=(words, Hole(name="input:text")))
    call = CallTemplate(messages=(ask,), parameters=(("max_tokens", 3), ("temperature", 0)))
    made = {"name": "colours", "version": "1.0", "metric": "accuracy", "fingerprint": loaded.digest}
    frozen = FrozenPrompt(
        name=name,
        template=PromptTemplate(calls=(call,), answer=AnswerFormat(kind="label", labels=LABELS)),
        style="direct",
        format="plain",
        capabilities=(),
        demonstration_ids=(),
        model={"provider": "openai_compatible", "name": "m"},
        task={**made, "dataset": {"fingerprint": dataset.digest}, **task},
        evidence={},
        history=(),
        tool_versions={},
    )
    (folder / f"{name}.json").write_text(frozen.dumps(), encoding="utf-8")


def served_by(address: str, *labels: str) -> str:
    """Return a file of models behind one address."""
    entry = "  - {{provider: openai_compatible, name: {0}, base_url: '{1}'}}\n"
    return "models:\n" + "".join(entry.format(label, address) for label in labels)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Return the command line: arguments in, exit code and output out."""

    def run(*arguments: str | Path) -> Told:
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["optimizer", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
        return Told(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def server(loopback_server: ModuleType) -> "Iterator[Loopback]":
    """Serve `good`, which reads the colour, and `bad`, which sees red; a short prompt puts both off now and then."""
    with loopback_server.Loopback(reply=reply) as server:
        yield server


def reply(body: Body) -> str:
    said = body["messages"][-1]["content"]
    if "Colour? " in said and "3." in said:
        return "no idea"
    return next(name for name in LABELS if f"is {name}" in said) if body["model"] == "good" else "red"


@pytest.fixture
def project(tmp_path: Path, server: "Loopback", monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, test=30)
    (tmp_path / "models.yaml").write_text(served_by(server.base_url, "good", "bad"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# What stands after --prompts and --models, several values after one flag.
ALL = ("--task", "task.yaml", "--prompts", "plain.json", "short.json", "--models", "models.yaml")


def test_one_table_answers_which_model_with_which_prompt(
    project: Path, server: "Loopback", call: Callable[..., Told]
) -> None:
    told = call("compare", *ALL, "--output", "out/comparison.json")
    assert told.code == 0, told.err
    assert len(server.bodies) == 120
    lines = told.out.splitlines()
    assert lines[0] == "colours, test: accuracy on the same 30 examples"
    assert [line[0] for line in lines[2:6]] == ["*", "≈", " ", " "]
    assert all(len(line) <= 120 for line in lines)
    assert "The highest score is that of plain@good: 1.000" in told.out
    assert "colours, test: 2 prompts x 2 models x 30 examples, 120 calls at most" in told.err
    document = json.loads((project / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert document["best"] == document["baseline"] == "plain@good"
    assert [cell["cell"] for cell in document["cells"]] == [
        "plain@good",
        "short@good",
        "plain@bad",
        "short@bad",
    ]
    cells = {cell["cell"]: cell for cell in document["cells"]}
    assert cells["plain@bad"]["gain"]["decision"] == "worse"
    puzzled = [body for body in server.bodies[30:60] if "3." in body["messages"][-1]["content"]]
    assert cells["short@good"]["usage"]["outcomes"]["invalid"] == len(puzzled) > 0
    assert cells["short@good"]["usage"]["invalid"] == len(puzzled) / 30
    assert cells["short@good"]["usage"]["usd"] is None
    with (project / "out" / "comparison.scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    for name, cell in cells.items():
        assert sum(float(row[name]) for row in rows) / 30 == pytest.approx(cell["score"])
    # Answers of a comparison that is over are shared; none is asked for again.
    again = json.loads(call("compare", *ALL, "--json", "--quiet").out)
    assert len(server.bodies) == 120
    assert sum(cell["spent"]["cached"] for cell in again["asked"].values()) == 120
    assert again["cells"] == document["cells"]


def test_a_killed_comparison_is_taken_up_where_it_was(
    project: Path, server: "Loopback", call: Callable[..., Told], warm: "Starter", until: "Until"
) -> None:
    server.delay = 0.02
    arguments = ("compare", *ALL, "--no-cache", "--concurrency", "4", "--quiet", "--json")
    process = warm.start(*arguments, cwd=project, env=os.environ)
    until(lambda: len(server.bodies) >= 10, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert "stopping: calls under way are finished and saved" in said
    process = warm.start(*arguments, cwd=project, env=os.environ)
    until(lambda: len(server.bodies) >= 75, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    server.settle()
    server.delay, before = 0.0, len(server.bodies)
    with closing(sqlite3.connect(project / ".optimizer" / "store.db")) as connection:
        ((committed,),) = connection.execute("SELECT count(*) FROM ps_completion")
    assert 60 <= committed < before < 120
    # Of the cell that was under way and of those that were done nothing is asked for again but what was in flight.
    told = call(*arguments)
    assert told.code == 0, told.err
    assert len(server.bodies) == 120 + before - committed
    counts = Counter(json.dumps(body, sort_keys=True) for body in server.bodies)
    assert (len(counts), max(counts.values())) == (120, 2)
    assert before - committed <= 8
    assert all(counts[json.dumps(body, sort_keys=True)] == 1 for body in server.bodies[:60])
    # It is over now: the same command is another comparison.
    assert call(*arguments).code == 0
    assert len(server.bodies) == 240 + before - committed


def test_a_model_that_cannot_be_asked_takes_nothing_from_the_others(
    project: Path, server: "Loopback", call: Callable[..., Told]
) -> None:
    server.models = {"good"}
    told = call("compare", *ALL, "--json", "--quiet")
    assert told.code == 3
    document = json.loads(told.out)
    assert [cell["cell"] for cell in document["cells"]] == ["plain@good", "short@good"]
    assert "does not exist" in document["asked"]["plain@bad"]["error"]
    assert [each["cell"] for each in document["absent"]] == ["plain@bad", "short@bad"]
    assert "plain@bad: " in told.err
    told = call("compare", *ALL, "--baseline", "plain@bad", "--quiet")
    assert told.code == 3
    assert "they are compared with plain@good in its place" in " ".join(told.out.split())
    sent, server.models = len(server.bodies), None
    assert call("compare", *ALL, "--quiet").code == 0
    assert len(server.bodies) == sent + 60


@pytest.mark.parametrize("cache", [(), ("--no-cache",)])
def test_a_model_that_refuses_every_request_takes_nothing_from_the_others(
    project: Path, server: "Loopback", call: Callable[..., Told], cache: tuple[str, ...]
) -> None:
    def refusing(body: Body) -> str | tuple[int, Body]:
        if body["model"] == "good":
            return reply(body)
        error = {"message": "top_k is not supported", "type": "invalid_request_error"}
        return 400, {"error": error}

    # The first that is named is the one that the others are compared with.
    (project / "models.yaml").write_text(served_by(server.base_url, "bad", "good"), encoding="utf-8")
    server.reply = refusing
    told = call("compare", *ALL, *cache, "--output", "found.json", "--quiet")
    assert told.code == 3
    assert "plain@bad: 30 of 30 examples failed; " in told.err
    lines = told.out.splitlines()
    assert [line.split()[-1] for line in lines[4:6]] == ["below", "below"]
    assert "top_k is not supported" in " ".join(lines)
    document = json.loads((project / "found.json").read_text(encoding="utf-8"))
    assert mistake("compare", document) is None
    assert [cell["cell"] for cell in document["cells"]] == ["plain@good", "short@good"]
    assert document["baseline"] == "plain@good"
    assert {name: each["spent"]["usd"] for name, each in document["asked"].items()} == dict.fromkeys(
        ("plain@bad", "short@bad", "plain@good", "short@good")
    )
    assert "the price of 2 cells not known" in told.out  # what was refused cost nothing
    assert all(len(line) <= 120 for line in lines)
    sent, server.reply = len(server.bodies), reply
    assert call("compare", *ALL, *cache, "--quiet").code == 0
    assert [body["model"] for body in server.bodies[sent:]] == ["bad"] * 60


def test_every_reason_against_a_comparison_is_told_at_once(
    project: Path, server: "Loopback", call: Callable[..., Told]
) -> None:
    write_prompt(project, "other", "Say: ", metric="macro_f1", fingerprint="0" * 64)
    arguments = ("compare", "--task", "task.yaml", "--prompts", "plain.json", "other.json", "plain.json")
    told = call(*arguments, "--models", "models.yaml", "--baseline", "plain@godo")
    assert told.code == 2
    assert told.err.splitlines() == [
        "error: --baseline: expected one of the cells, PROMPT@MODEL, found 'plain@godo'; did you mean 'plain@good'?",
        "error: plain-2@good is plain@good again: the same prompt on the same model",
        "error: plain-2@bad is plain@bad again: the same prompt on the same model",
        "error: other: the prompt was made for the metric macro_f1, and the task's is accuracy",
        "error: other: the prompt was made for another task, or another version of it, than colours is now",
    ]
    told = call("compare", "--prompts", "nowhere.json", "scripted:")
    assert told.err.splitlines() == ["error: --task: missing", "error: --models: missing"]
    told = call("compare", "--task", "task.yaml", "--prompts", "nowhere.json", "--models", "scriptd:m")
    assert told.err.splitlines() == [
        "error: nowhere.json: there is no such file or folder",
        "error: --models: scriptd:m: no plug-in 'scriptd' in models; did you mean 'scripted'?",
    ]
    assert server.bodies == []
    forced = call(*arguments[:-1], "--models", "models.yaml", "--force", "--dry-run")
    assert forced.code == 0
    assert "Caution: other: the prompt was made for the metric macro_f1" in forced.out
    assert "     30 calls  other@bad" in forced.out
    assert server.bodies == []


def test_a_gate_asks_the_best_for_a_score(project: Path, call: Callable[..., Told]) -> None:
    only = ("--task", "task.yaml", "--prompts", "plain.json", "--models", "models.yaml", "--quiet")
    assert call("compare", *only, "--min-score", "1").code == 0
    (project / "models.yaml").write_text(
        (project / "models.yaml").read_text(encoding="utf-8").replace("name: good", "name: worse"),
        encoding="utf-8",
    )
    told = call("compare", *only, "--min-score", "0.5")
    assert told.code == 1
    assert "gate: expected a score of at least 0.5, found 0.333" in told.err


def test_recorded_scores_are_compared_without_a_model(
    project: Path, server: "Loopback", call: Callable[..., Told]
) -> None:
    rows = [
        f"p,{model},e{k},{int(k < right)}\n" for model, right in (("m", 20), ("n", 38)) for k in range(40)
    ]
    (project / "scores.csv").write_text(
        "prompt_id,model,example_id,score\n" + "".join(rows), encoding="utf-8"
    )
    told = call("compare", "--recorded", "scores.csv", "--json", "--output", "found.json")
    assert told.code == 0, told.err
    document = json.loads(told.out)
    gain = document["cells"][1]["gain"]
    assert (gain["value"], gain["wins"], gain["losses"], gain["decision"]) == (0.45, 18, 0, "better")
    assert gain["p_value"] == 2 / 2**18
    assert document["ties"] == ["p@n"]
    assert (project / "found.scores.csv").is_file()
    assert "It is better than every other" in call("compare", "--recorded", "scores.csv").out
    told = call("compare", "--recorded", "scores.csv", "--task", "task.yaml")
    assert told.code == 2
    assert "--recorded: not used together with --task" in told.err
    assert server.bodies == []


STUDY = """schema: 1
task: task.yaml
model: {provider: openai_compatible, name: any, base_url: 'http://127.0.0.1:1/v1', parameters: {max_tokens: 8}}
search:
  instructions: {given: ["Alpha, which colour?", "Beta, which colour?"]}
  styles: [direct]
  formats: [plain]
  screen: 6
  sampler: {name: tpe}
budget: {calls: 400, prices: {any: {input: 1, output: 1}}}
"""


def test_prompts_that_were_tuned_for_one_model_are_asked_of_the_others(
    project: Path, server: "Loopback", call: Callable[..., Told]
) -> None:
    (project / "study.yaml").write_text(STUDY, encoding="utf-8")
    wanted = {"good": "Alpha", "bad": "Beta"}

    def reply(body: Body) -> str:
        said = str(body["messages"])
        label = next(name for name in LABELS if f"is {name}" in body["messages"][-1]["content"])
        return label if wanted[body["model"]] in said else "red"

    server.reply = reply
    arguments = ("compare", "--tune", "study.yaml", "--models", "models.yaml", "--calls", "800", "--quiet")
    rehearsed = json.loads(call(*arguments, "--dry-run", "--json").out)
    assert server.bodies == []
    assert rehearsed["reserved"] == 60
    assert sum(rehearsed["studies"].values()) <= 740
    told = call(*arguments)
    assert told.code == 0, told.err
    assert len(server.bodies) <= 800
    folder = project / "compare"
    document = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    prompts = {name: FrozenPrompt.load(folder / name / "prompt.json") for name in ("good", "bad")}
    assert "Alpha" in str(prompts["good"].template)
    assert "Beta" in str(prompts["bad"].template)
    found = {(each["prompt"], each["model"]): each for each in document["transfer"]}
    assert [found[name, name]["score"] for name in prompts] == [1, 1]
    assert [found[name, name]["loss"] for name in prompts] == [None, None]
    for pair in (("good", "bad"), ("bad", "good")):
        loss = found[pair]["loss"]
        assert found[pair]["score"] == pytest.approx(1 / 3)
        assert loss["value"] == pytest.approx(-2 / 3)
        assert (loss["losses"], loss["decision"]) == (20, "worse")
        assert loss["adjusted"] == pytest.approx(2 * loss["p_value"])
    assert told.out.splitlines()[0].split() == ["tuned", "for", "good", "bad"]
    assert "0.333 -66.7 worse" in told.out
    # Each is a study like any other, and all of it is resumed: nothing is asked for again.
    sent = len(server.bodies)
    assert call(*arguments, "--json").code == 0
    assert call("verify", folder / "good" / "prompt.json").code == 0
    assert len(server.bodies) == sent
    told = call(*arguments[:5], "--calls", "60")
    assert told.code == 2
    assert "--calls: expected more than the 60" in told.err
    assert call("compare", "--calls", "60").code == 2


def test_a_model_that_refuses_every_request_takes_no_tuned_prompt_from_the_others(
    project: Path, server: "Loopback", call: Callable[..., Told]
) -> None:
    (project / "study.yaml").write_text(STUDY, encoding="utf-8")

    def refusing(body: Body) -> str | tuple[int, Body]:
        if body["model"] == "bad":
            return 400, {"error": {"message": "no such option", "type": "invalid_request_error"}}
        return next(name for name in LABELS if f"is {name}" in body["messages"][-1]["content"])

    server.reply = refusing
    told = call("compare", "--tune", "study.yaml", "--models", "models.yaml", "--quiet", "--json")
    assert told.code == 3
    document = json.loads(told.out)
    assert [cell["cell"] for cell in document["cells"]] == ["good@good"]
    assert [each["cell"] for each in document["absent"]] == ["good@bad"]
    assert "no such option" in document["absent"][0]["reason"]
    assert [(each["prompt"], each["model"], each["score"]) for each in document["transfer"]] == [
        ("good", "good", 1.0)
    ]
    assert mistake("compare", document) is None


@pytest.mark.embedded
def test_the_embedded_model_twice_and_an_endpoint_with_prices(
    tmp_path: Path, call: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, test=12)
    monkeypatch.chdir(tmp_path)
    rules = {"rules": [{"contains": f"is {name}", "reply": name} for name in LABELS], "default": "none"}
    (tmp_path / "rules.json").write_text(json.dumps(rules), encoding="utf-8")
    (tmp_path / "models.yaml").write_text(
        """models:
  - {label: small, provider: embedded, name: smollm2-135m}
  - {label: warm, provider: embedded, name: smollm2-135m, parameters: {temperature: 1, seed: 7}}
  - {label: paid, provider: scripted, name: rules, path: rules.json, price: {input: 1.5, output: 6}}
""",
        encoding="utf-8",
    )
    told = call(
        *("compare", "--task", "task.yaml", "--prompts", "plain.json", "baseline"),
        *("--models", "models.yaml", "--output", "found.json"),
    )
    assert told.code == 0, told.err
    assert "Caution: plain@warm is sampled otherwise than the prompt says: seed 7, temperature 1" in told.err
    document = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    cells = {cell["cell"]: cell for cell in document["cells"]}
    assert list(cells) == [f"{p}@{m}" for m in ("small", "warm", "paid") for p in ("plain", "baseline")]
    assert document["asked"]["plain@warm"]["parameters_changed"] == {"temperature": 1, "seed": 7}
    assert all(cell["spent"]["calls"] == 12 for cell in document["asked"].values())
    for name, cell in cells.items():
        usage = cell["usage"]
        if name.endswith("@paid"):
            price = 1.5e-6 * usage["tokens_in"] + 6e-6 * usage["tokens_out"]
            assert usage["usd"] == pytest.approx(price)
            assert usage["usd_per_1000"] == pytest.approx(1000 * price)
        else:
            assert usage["usd"] == 0
            assert usage["seconds"] > 0
    assert cells["plain@paid"]["score"] == 1
    assert document["best"] == "plain@paid"
    assert any(cell["front"] and cell["score"] == 1 for cell in cells.values())
    # The same weights at another temperature are no other model, but other requests.
    fingerprints = [document["asked"][f"plain@{model}"]["fingerprint"] for model in ("small", "warm", "paid")]
    assert len(set(fingerprints)) == 2
