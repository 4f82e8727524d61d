"""Whether a frozen prompt is what it was: every changed byte is told, and every request that is rendered otherwise."""

import asyncio
import json
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat
from optimizer.commands import main
from optimizer.completion import Completion
from optimizer.dataset import load_dataset
from optimizer.digest import digest, pretty
from optimizer.errors import InputError, RejectedError
from optimizer.evaluation import Scorer, evaluate
from optimizer.frozen import FrozenPrompt
from optimizer.models.scripted import Scripted
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.recording import Records, read_records, records_of
from optimizer.task import load_task
from optimizer.verifying import Verified, prompts_below, verified

if TYPE_CHECKING:
    from collections.abc import Callable

LABELS = ("red", "green", "blue")
TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 6, validation: 9, test: 12}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
READER = AnswerFormat(kind="label", labels=LABELS)


def asking(words: str) -> PromptTemplate:
    system = MessageTemplate(role="system", parts=(words,))
    ask = MessageTemplate(role="user", parts=("Item: ", Hole(name="input:text")))
    call = CallTemplate(messages=(system, ask), parameters=(("temperature", 0.0),))
    return PromptTemplate(calls=(call,), answer=READER)


class Made(NamedTuple):
    """A prompt as a study freezes it, beside its task."""

    path: Path
    task: Path
    frozen: FrozenPrompt

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def verified(self) -> Verified:
        return verified(self.path, self.task)

    def told(self) -> list[tuple[str, str]]:
        return [(finding.weight, str(finding)) for finding in self.verified().findings]


def rows(n: int = 27) -> list[str]:
    return [f"c{k:02d},Item {k}. is {LABELS[k % 3]} – é,{LABELS[k % 3]}" for k in range(n)]


def write_rows(folder: Path, lines: list[str]) -> None:
    (folder / "data.csv").write_text("\n".join(["id,text,colour", *lines]) + "\n", encoding="utf-8")


def make(folder: Path, *, metric: str = "accuracy") -> Made:
    """Judge a prompt on the test of a small task, one of whose examples is refused, and freeze it."""
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").touch()
    write_rows(folder, rows())
    task_path = folder / "task.yaml"
    task_path.write_text(TASK.replace("accuracy", metric), encoding="utf-8")
    task = load_task(task_path)
    dataset, template = load_dataset(task), asking("Which colour?")
    lost = dataset.test[3].values["text"]

    def reply(request: Any) -> Completion:
        said = request.messages[-1].content
        if lost in said:
            raise RejectedError("too long")
        text = next(label for label in LABELS if label in said)
        return Completion(text=text, prompt_tokens=len(said), completion_tokens=1)

    work = evaluate(template, dataset.test, Scripted(reply), Scorer.of(task))
    evaluation = asyncio.run(work)
    frozen = FrozenPrompt(
        name="colours",
        template=template,
        style="direct",
        format="plain",
        capabilities=(),
        demonstration_ids=(),
        model={"provider": "scripted", "name": "rules"},
        task={"name": "colours", "dataset": {"fingerprint": dataset.digest}},
        evidence={"decision": "improved", "score": 0.1 + 0.2},
        history=({"trial": 0, "score": 0.5},),
        tool_versions={"python": "3.11"},
        records=records_of(template, evaluation, "test").to_dict(),
    )
    path = folder / "prompt.json"
    path.write_text(frozen.dumps(), encoding="utf-8")
    return Made(path, task_path, frozen)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path / "made")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a prompt that no test changes."""
    return make(tmp_path_factory.mktemp("sound"))


def resealed(document: dict[str, Any]) -> str:
    """Return a document whose digests fit, as one who changes it on purpose would write it."""
    parts = {name: document[name] for name in ("calls", "answer") if name in document}
    body = {**document, "fingerprint": digest(parts)}
    del body["checksum"]
    return pretty({**body, "checksum": digest(body)})


def recorded(made: Made) -> Records:
    found = read_records(made.frozen.records)
    assert found is not None
    return found


def test_a_prompt_that_is_as_it_was_has_no_findings_and_every_request_is_rendered_again(sound: Made) -> None:
    found = sound.verified()
    assert found.findings == ()
    assert found.rendered is not None
    assert (len(found.rendered.alike), found.rendered.reworded) == (12, ())


def test_records_say_what_was_asked_and_answered_in_the_order_of_ids(sound: Made) -> None:
    records = recorded(sound)
    assert (records.split, records.metric, len(records.rows)) == ("test", "accuracy", 12)
    assert [row.id for row in records.rows] == sorted(row.id for row in records.rows)
    refused = [row for row in records.rows if row.completion is None]
    assert [(row.score, row.outcome, row.completion_tokens) for row in refused] == [(None, "error", 0)]
    assert {row.score for row in records.rows if row.completion} == {1.0}
    assert all(len(row.request) == 16 for row in records.rows)
    assert "seconds" not in sound.text.partition('"records"')[2].partition('"schema"')[0]
    assert records.to_dict() == sound.frozen.records


def test_of_a_metric_of_the_whole_corpus_the_scores_of_its_stand_in_are_recorded(tmp_path: Path) -> None:
    records = recorded(make(tmp_path / "whole", metric="macro_f1"))
    assert records.metric == "labels_f1"
    assert {row.score for row in records.rows} == {1.0, None}


def test_a_prompt_with_records_says_that_reading_it_takes_more_and_one_without_does_not(sound: Made) -> None:
    assert json.loads(sound.text)["schema"] == "1.3"
    assert FrozenPrompt.loads(sound.text) == sound.frozen
    without = replace(sound.frozen, records=None)
    assert json.loads(without.dumps())["schema"] == "1.0"
    assert FrozenPrompt.loads(without.dumps()) == without


# A law over every byte of the file, cheap enough to be tried at hundreds of places.
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, 10**6),
    byte=st.integers(0, 255),
    kind=st.sampled_from(("change", "insert", "delete")),
)
def test_any_single_changed_byte_is_told(
    sound: Made, tmp_path: Path, place: int, byte: int, kind: str
) -> None:
    whole = sound.frozen.dumps().encode()
    at = place % len(whole)
    middle = {"change": bytes([byte]), "insert": bytes([byte]) + whole[at : at + 1], "delete": b""}[kind]
    changed = whole[:at] + middle + whole[at + 1 :]
    path = tmp_path / "changed.json"
    path.write_bytes(changed)
    if changed == whole:
        assert verified(path, sound.task).findings == ()
    else:
        found = verified(path, sound.task)
        assert found.of("broken") or [each.about for each in found.of("differs")] == ["layout"]


def test_what_only_looks_different_is_told_as_such(made: Made) -> None:
    layout = [("differs", "layout: the bytes are not those that were written, though they mean the same")]
    whole = made.frozen.dumps()
    for text in (json.dumps(json.loads(whole)), whole + "\n", whole.replace("é", "\\u00e9", 1), f" {whole}"):
        made.path.write_text(text, encoding="utf-8")
        assert text == whole or made.told() == layout
    made.path.write_bytes(whole.replace("\n", "\r\n").encode())
    assert made.told() == layout
    document = json.loads(whole)
    made.path.write_text(json.dumps(dict(reversed(document.items())), indent=2, ensure_ascii=False) + "\n")
    assert made.told() == layout


def test_another_layout_is_told_with_exit_code_1_and_a_key_that_is_there_twice_with_2(
    made: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["optimizer", "verify", str(made.path), "--task", str(made.task)])
    whole = made.frozen.dumps()
    layout = "layout: the bytes are not those that were written, though they mean the same"
    repeated = f"error: {made.path}: layout: duplicate key “name”\n"
    for text, code, status, out, err in (
        (f"{whole}\n", 1, "differs", f"  {layout}\n", ""),
        (whole.rstrip("\n"), 1, "differs", f"  {layout}\n", ""),
        (whole.replace("\n", "\r\n"), 1, "differs", f"  {layout}\n", ""),
        (json.dumps(json.loads(whole)), 1, "differs", f"  {layout}\n", ""),
        (f'{{"name": "other", {whole[1:]}', 2, "broken", "", repeated),
    ):
        made.path.write_bytes(text.encode())
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert ended.value.code == code
        assert (told.out, told.err) == (f"{made.path}: {status}, 1 finding\n{out}", err)


def test_what_cannot_be_read_is_told_with_its_line_and_in_our_words(
    made: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    junit = made.path.with_name("verify.xml")
    arguments = ["optimizer", "verify", str(made.path), "--junit", str(junit)]
    whole = made.text.encode()
    cut = whole[: whole.index(b'"colours"') + 3]
    line, place = cut.count(b"\n") + 1, len(cut.rpartition(b"\n")[2]) - 2
    for content, at, message in (
        (cut, line, f"not valid JSON at character {place}: unterminated string"),
        (b"{}\n\xff", 2, "expected UTF-8 text, found the byte 0xff"),
        (None, None, "there is no such file or folder"),
    ):
        made.path.unlink() if content is None else made.path.write_bytes(content)
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            main()
        where = made.path if at is None else f"{made.path}:{at}"
        assert ended.value.code == 2
        told, about = capsys.readouterr(), "" if content is None else "file: "
        assert told.err == f"error: {where}: {about}{message}\n"
        assert told.out == f"{made.path}: {'missing' if content is None else 'broken, 1 finding'}\n"
        assert (f"line {at}: file: {message}" in junit.read_text(encoding="utf-8")) == (at is not None)
        monkeypatch.setattr(sys, "argv", [*arguments, "--json"])
        with pytest.raises(SystemExit):
            main()
        (figures,) = json.loads(capsys.readouterr().out)["prompts"].values()
        assert [(each["line"], each["message"]) for each in figures["findings"]] == [(at, message)]


def test_everything_that_is_broken_is_told_at_once(made: Made) -> None:
    document = json.loads(made.text)
    document["calls"][0]["messages"][0]["parts"] = ["Leak."]
    made.path.write_text(pretty(document), encoding="utf-8")
    assert made.told() == [
        ("broken", "file: fingerprint: does not fit the calls and the answer format; the file was changed"),
        ("broken", "file: checksum: does not fit the document; the file was changed"),
    ]


def test_a_newer_minor_version_is_a_note_and_an_unknown_major_one_is_refused(made: Made) -> None:
    document = json.loads(made.text)
    made.path.write_text(resealed({**document, "schema": "1.9", "news": [1]}), encoding="utf-8")
    assert made.told() == [("note", "schema: frozen prompt of schema 1.9 is newer than 1.3")]
    made.path.write_text(resealed({**document, "schema": "2.0"}), encoding="utf-8")
    message = "file: schema: version 2.0 is not known here; this version reads 1.x"
    assert made.told() == [("broken", message)]


def test_a_prompt_of_before_there_were_records_says_so(made: Made) -> None:
    made.path.write_text(replace(made.frozen, records=None).dumps(), encoding="utf-8")
    ((weight, message),) = made.told()
    assert weight == "note"
    assert message.startswith("records: the file holds none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": 1}, "split: expected text"),
        ({"score": "none"}, "score: expected a list of numbers"),
        ({"score": [True] * 12}, "score: expected a list of numbers"),
        ({"score": [2.0] * 12}, "score: expected numbers in [0, 1]"),
        ({"request": [None] * 12}, "request: expected a list of texts"),
        ({"strict": [1] * 12}, "strict: expected a list of truth values"),
        ({"prompt_tokens": [-1] * 12}, "tokens: expected whole numbers from 0"),
        ({"outcome": ["fine"] * 12}, "outcome: expected one of ok, "),
        ({"outcome": ["ok"] * 11}, "expected lists of one length, found 11, 12"),
        ({"id": ["c01"] * 12}, "id: expected ids in order, each once"),
    ],
)
def test_records_that_are_none_are_refused(made: Made, change: dict[str, Any], message: str) -> None:
    document = json.loads(made.text)
    document["records"] |= change
    made.path.write_text(resealed(document), encoding="utf-8")
    ((weight, told),) = made.told()
    assert weight == "broken"
    assert told.startswith(f"records: {message}")


def test_records_of_another_kind_than_a_mapping_are_refused(made: Made) -> None:
    made.path.write_text(resealed({**json.loads(made.text), "records": []}), encoding="utf-8")
    assert made.told() == [("broken", "file: records: expected a mapping, found list")]


def test_changed_and_missing_examples_are_named(made: Made) -> None:
    first, second, third = (row.id for row in recorded(made).rows[:3])
    lines = {line[:3]: line for line in rows()}
    del lines[first]
    lines[second] = lines[second].replace("Item", "Thing")
    lines[third] = lines[third].rpartition(",")[0] + "," + LABELS[(int(third[1:]) + 1) % 3]
    made.task.write_text(TASK.replace("test: 12", "test: 11"), encoding="utf-8")
    write_rows(made.path.parent, list(lines.values()))
    found = made.verified()
    differing = [str(finding) for finding in found.of("differs")]
    assert differing == [
        f"data: 1 example (“{first}”) is no longer among the data of the task",
        f"data: 1 example (“{second}”) has other inputs than were recorded",
        f"data: 1 example (“{third}”) has another target than was recorded",
    ]
    assert found.rendered is not None
    assert len(found.rendered.alike) == 9
    assert found.rendered.reworded == ()


def test_examples_in_another_split_are_a_note_and_so_are_other_rows(made: Made) -> None:
    made.task.write_text(TASK.replace("}\noutput", ", seed: 5}\noutput"), encoding="utf-8")
    ((weight, moved),) = made.told()
    assert weight == "note"
    assert "of test went to another split (“c" in moved
    made.task.write_text(TASK, encoding="utf-8")
    ids = {row.id for row in recorded(made).rows}
    other = next(line for line in rows() if line[:3] not in ids)
    write_rows(made.path.parent, [line.replace("is", "was") if line == other else line for line in rows()])
    message = "data: other rows, or their splits, changed since; the recorded examples are as they were"
    assert made.told() == [("note", message)]


def test_another_metric_of_the_task_is_told_as_one(made: Made) -> None:
    document = json.loads(made.text)
    document["task"]["metric"] = "accuracy"
    made.path.write_text(resealed(document), encoding="utf-8")
    assert made.told() == []
    made.task.write_text(TASK.replace("metric: accuracy", "metric: macro_f1"), encoding="utf-8")
    message = "task: the prompt was made for the metric accuracy, and the task's is macro_f1"
    assert made.told() == [("differs", message)]


def test_another_wording_with_fitting_digests_is_told_from_other_data(made: Made) -> None:
    document = json.loads(made.text)
    document["calls"][0]["messages"][0]["parts"] = ["Leak the colour."]
    made.path.write_text(resealed(document), encoding="utf-8")
    ((weight, message),) = made.told()
    assert weight == "differs"
    assert message.startswith("wording: 12 of 12 recorded requests are rendered in other words (“c")
    assert message.endswith("though their examples are the same")


def test_without_a_task_it_says_that_nothing_was_rendered_and_how_to_name_one(made: Made) -> None:
    (finding,) = verified(made.path).findings
    assert (finding.weight, finding.about) == ("note", "task")
    assert "the recorded requests were not rendered again; name the task with --task" in finding.message


def test_a_task_that_cannot_be_read_or_has_other_inputs_is_bad_input(made: Made) -> None:
    made.task.write_text(TASK.replace("inputs: [text]", "inputs: [id]"), encoding="utf-8")
    assert [weight for weight, _ in made.told()] == ["broken"]
    gone = made.path.with_name("gone.yaml")
    assert [(f.weight, f.about) for f in verified(made.path, gone).findings] == [("broken", "task")]


def test_a_folder_gives_the_prompts_below_it_in_order_and_enters_nothing_hidden(tmp_path: Path) -> None:
    for name in ("b/prompt.json", "a/x.prompt.json", "a/other.json", ".hidden/prompt.json", "c.prompt.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    named = tmp_path / "b" / "prompt.json"
    found = prompts_below([tmp_path, named])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "a/x.prompt.json",
        "b/prompt.json",
        "c.prompt.json",
    ]
    with pytest.raises(InputError, match=r"expected a prompt\.json or \*\.prompt\.json below this folder"):
        prompts_below([tmp_path / ".hidden" / "none", tmp_path / "a" / "empty", _empty(tmp_path)])


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def malformed(document: dict[str, Any], rng: random.Random) -> bytes:
    """Return a frozen prompt that is none, in one of the ways that files go bad."""
    whole = pretty(document).encode()
    required = sorted(set(document) - {"checksum", "records", "retrieval", "fingerprint", "calls", "answer"})
    ways: list[Callable[[], bytes]] = [
        lambda: whole[: rng.randrange(len(whole) - 1)],
        lambda: bytes(rng.randrange(256) for _ in range(rng.randrange(1, 400))) + b"\xff",
        lambda: b"[" * rng.randrange(1, 100_000),
        lambda: json.dumps(rng.choice([None, True, 1, "x", [], [document], {}, {"schema": "1.0"}])).encode(),
        lambda: without(document, rng.choice(required)).encode(),
        lambda: resealed({**document, rng.choice(required): rng.choice([None, 1, 2.5, True])}).encode(),
        lambda: resealed({**document, "calls": nonsense(document["calls"], rng)}).encode(),
        lambda: resealed(
            {**document, "answer": rng.choice([None, 1, [], {}, {"kind": "none"}, "text"])}
        ).encode(),
        lambda: resealed({**document, "schema": f"{rng.randrange(2, 99)}.0"}).encode(),
        lambda: resealed({**document, "records": nonsense(document["records"], rng)}).encode(),
    ]
    return rng.choice(ways)()


def without(document: dict[str, Any], name: str) -> str:
    return resealed({key: value for key, value in document.items() if key != name})


def nonsense(value: Any, rng: random.Random) -> Any:
    """Return a value in which one part, somewhere, is of a type that it cannot be of."""
    bad = [{"bad": [None]}, -1.5, [[[]]]]
    if isinstance(value, dict) and value:
        key = rng.choice(sorted(set(value) - {"parameters"}))  # those are whatever a model takes
        inner = value[key]
        if key in (
            "metric",
            "split",
            "role",
            "id",
            "input",
            "target",
            "request",
            "outcome",
            "messages",
        ):
            return {**value, key: rng.choice(bad)}
        return (
            {**value, key: nonsense(inner, rng)}
            if isinstance(inner, (dict, list)) and inner
            else rng.choice(bad)
        )
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], nonsense(value[at], rng), *value[at + 1 :]]
    return rng.choice(bad)


def test_two_hundred_malformed_files_give_exit_code_2_and_a_message(
    sound: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document, rng, path = json.loads(sound.text), random.Random(4), tmp_path / "prompt.json"
    for n in range(200):
        content = malformed(document, rng)
        path.write_bytes(content)
        monkeypatch.setattr(sys, "argv", ["optimizer", "verify", str(path), "--task", str(sound.task)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        shown = f"file {n}: {content[:300]!r}\n{told.out}{told.err}"
        assert ended.value.code == 2, shown
        assert told.err.startswith("error: "), shown
        assert "Traceback" not in told.out + told.err, shown
        assert "internal error" not in told.err, shown
