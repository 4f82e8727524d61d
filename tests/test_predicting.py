"""Predicting: rows in, answers out, in their order; checked first, committed block by block, the same after a crash."""

import asyncio
import csv
import gzip
import io
import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat
from optimizer.commands import main
from optimizer.completion import Completion, Message, Request
from optimizer.config import PriceSpec
from optimizer.errors import (
    BrokenAnswerError,
    BudgetError,
    EndpointError,
    InputError,
    InterruptedRunError,
    OutageError,
    OverloadedError,
    Problem,
    RejectedError,
    StorageError,
    StudyBusyError,
    StudyChangedError,
    TransientError,
    UnreachableError,
)
from optimizer.frozen import FrozenPrompt
from optimizer.intake import MOST_TOLD, intake_of
from optimizer.job import Job
from optimizer.length import Reach
from optimizer.models import ModelSpec
from optimizer.models.scripted import Scripted
from optimizer.parquet import parquet_records
from optimizer.predicting import Predicted, Progress, open_prediction
from optimizer.predictions import Part
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.record import Record
from optimizer.retrieval import Retrieval, Shot
from optimizer.storage import open_storage
from optimizer.store import StudyStore
from optimizer.table import read_table, stream_table

if TYPE_CHECKING:
    from tests.output_schemas import checked
else:
    from output_schemas import checked

LABELS = ("red", "green", "blue")
SPEC = ModelSpec(provider="scripted", name="rules", path="rules.json")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.json").write_text('{"rules": [], "default": "red"}')


def hole(name: str, **around: Any) -> Hole:
    return Hole(name=f"input:{name}", **around)


def user(*parts: str | Hole) -> MessageTemplate:
    return MessageTemplate(role="user", parts=parts)


def template(*messages: MessageTemplate, calls: int = 1, max_tokens: int | None = 8) -> PromptTemplate:
    parameters: tuple[tuple[str, int], ...] = () if max_tokens is None else (("max_tokens", max_tokens),)
    shown = messages or (user("Which colour? ", hole("text")),)
    made = [CallTemplate(messages=shown, parameters=parameters)]
    for k in range(1, calls):
        again = (*shown, user(Hole(name=f"completion:{k - 1}"), " Are you sure?"))
        made.append(CallTemplate(messages=again, parameters=parameters))
    return PromptTemplate(calls=tuple(made), answer=AnswerFormat(kind="label", labels=LABELS))


def frozen(made: PromptTemplate | None = None) -> FrozenPrompt:
    return FrozenPrompt(
        name="colours",
        template=made or template(),
        style="direct",
        format="plain",
        capabilities=(),
        demonstration_ids=(),
        model={"provider": "scripted", "name": "rules"},
        task={"name": "colours"},
        evidence={},
        history=(),
        tool_versions={},
    )


def colour(request: Request) -> Completion | str:
    """Say a colour that depends on the text alone; tokens and finish reasons vary."""
    asked = request.messages[-1].content
    number = sum(map(ord, asked))
    if number % 7 == 0:
        return "I cannot say."
    return Completion(
        text=f"{LABELS[number % 3]}", prompt_tokens=len(asked), completion_tokens=1 + number % 2
    )


def job(
    rows: str = "rows.csv", output: str = "out.csv", *, made: PromptTemplate | None = None, **options: Any
) -> Job:
    prompt = frozen(made)
    ways = {name: options.pop(name) for name in ("lists", "kept") if name in options}
    intake = intake_of(prompt.template, Path(rows), **ways)
    options = {"block": 4, "price": PriceSpec(input=1, output=10), **options}
    return Job(frozen=prompt, spec=SPEC, intake=intake, output=Path(output), **options)


def predict(asked: Job, watch: Callable[[Progress], None] = lambda _: None) -> Predicted:
    async def work() -> Predicted:
        async with open_prediction(asked, watch) as prediction:
            return await prediction.run()

    return asyncio.run(work())


def write_rows(n: int = 11, name: str = "rows.csv") -> list[dict[str, str]]:
    rows = [{"id": f"r{k}", "text": f'item {k}, with "quotes"\nand é', "kind": "a,b"} for k in range(n)]
    with open(name, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["id", "text", "kind"])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def answers(name: str) -> list[dict[str, Any]]:
    """Return what is in a file of answers, every cell as text, "" for none."""
    path = Path(name)
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    else:
        rows = [dict(found.values) for found in parquet_records(path, name) if isinstance(found, Record)]
    plain = {None: "", True: "true", False: "false"}
    return [
        {
            key: plain[value] if value is None or isinstance(value, bool) else str(value)
            for key, value in row.items()
        }
        for row in rows
    ]


def left() -> set[str]:
    return {path.name for path in Path().iterdir()} - {"rows.csv", "rules.json"}


def told(error: pytest.ExceptionInfo[InputError]) -> list[str]:
    return str(error.value).splitlines()


# ---- What comes out ----


def test_rows_are_answered_in_their_order_as_the_prompt_itself_would(play: Any) -> None:
    rows = write_rows()
    model = Scripted(colour)
    play(model)
    found = predict(job(raw=True))
    assert found.rows == 11
    prompt = frozen()
    for row, written in zip(rows, answers("out.csv"), strict=True):
        completion = colour(prompt.request(text=row["text"]))
        made = completion if isinstance(completion, Completion) else Completion(text=completion)
        answer = prompt.parse(made)
        assert (written["id"], written["outcome"]) == (row["id"], answer.outcome)
        assert written["answer"] == (answer.text or "")
        assert written["completion"] == made.text
        assert written["error"] == ""
    assert left() == {"out.csv"}
    assert len(model.requests) == 11


def test_answers_stand_where_their_rows_do_whichever_comes_first(
    play: Any, whole: Any, run_virtual: Any
) -> None:
    expected = whole(".csv")
    asked = iter(range(11))
    play(Scripted(colour), seconds=lambda _: 50.0 - 7 * (next(asked) % 4))

    async def work() -> Predicted:
        async with open_prediction(job()) as prediction:
            return await prediction.run()

    assert run_virtual(work()).rows == 11
    assert Path("out.csv").read_bytes() == expected


def test_the_three_forms_hold_the_same_from_every_kind_of_table(play: Any) -> None:
    rows = write_rows()
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    Path("rows.csv.gz").write_bytes(gzip.compress(Path("rows.csv").read_bytes()))
    from optimizer.parquet import write_parquet

    write_parquet(Path("rows.parquet"), [rows[:5], rows[5:]], dict.fromkeys(("id", "text", "kind"), str))
    seen = []
    for source, target in (
        ("rows.csv", "a.csv"),
        ("rows.csv.gz", "b.jsonl"),
        ("rows.jsonl", "c.parquet"),
        ("rows.parquet", "d.csv"),
    ):
        play(Scripted(colour))
        predict(job(source, target, kept=("kind",), raw=True))
        seen.append(answers(target))
    assert list(seen[0][0]) == [
        *("id", "answer", "outcome", "strict", "error", "prompt_tokens"),
        *("completion_tokens", "cost_usd", "completion", "kind"),
    ]
    assert {row["outcome"] for row in seen[0]} == {"ok", "invalid"}
    assert all(row["kind"] == "a,b" for row in seen[0])
    assert seen[1:] == seen[:1] * 3


def test_rows_without_ids_are_numbered_and_all_columns_can_be_kept_as_they_were_written(play: Any) -> None:
    lines = [
        '{"text": "a", "n": 1.50, "deep": {"x": [1.50, true, "é\\n"]}}',
        '{"text": "b", "flag": true, "n": null}',
    ]
    Path("rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    play(Scripted(colour))
    predict(job("rows.jsonl", "out.jsonl", kept=None))
    first, second = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    assert first.startswith('{"row": 1, "answer": ')
    assert first.endswith('"text": "a", "n": 1.50, "deep": {"x": [1.50, true, "é\\n"]}, "flag": null}')
    assert second.endswith('"text": "b", "n": null, "deep": null, "flag": true}')
    play(Scripted(colour))
    predict(job("rows.jsonl", "out.csv", kept=None))
    assert [(row["n"], row["deep"], row["flag"]) for row in answers("out.csv")] == [
        ("1.50", '{"x": [1.50, true, "é\\n"]}', ""),
        ("", "", "true"),
    ]


def test_figures_are_those_of_the_rows_and_of_what_was_charged(play: Any) -> None:
    write_rows()
    Path("twice.csv").write_text(
        Path("rows.csv").read_text() + Path("rows.csv").read_text().partition("\n")[2]
    )
    play(Scripted(colour))
    found = predict(job("twice.csv"))
    written = answers("out.csv")
    assert found.outcomes == Counter(row["outcome"] for row in written)
    assert found.prompt_tokens == sum(int(row["prompt_tokens"]) for row in written)
    assert found.cost_usd == pytest.approx(sum(float(row["cost_usd"]) for row in written))
    # Rows that are alike are asked about once, in whichever block they stand.
    assert (found.rows, found.spent["calls"], found.spent["cached"]) == (22, 11, 11)
    assert found.spent["usd"] == pytest.approx((found.cost_usd or 0) / 2)


def test_a_prompt_of_several_calls_with_examples_that_it_looks_up_is_carried_out_whole(play: Any) -> None:
    pool = tuple(Shot(values=(f"item {k}",), reply=LABELS[k % 3]) for k in range(4))
    shots = [
        user("E: ", Hole(name=f"shot:{k}:input:text"), " = ", Hole(name=f"shot:{k}:reply")) for k in range(2)
    ]
    several = template(*shots, user("Which? ", hole("text")), calls=2)
    made = PromptTemplate(
        calls=several.calls, answer=several.answer, retrieval=Retrieval(inputs=("text",), pool=pool, shown=2)
    )
    rows = write_rows(5)
    model = Scripted(colour)
    play(model)
    predict(job(made=made))
    prompt = frozen(made)
    expected = []
    for row in rows:
        first = prompt.request(text=row["text"])
        said = colour(first)
        expected += [first, prompt.request(said if isinstance(said, str) else said.text, text=row["text"])]
    assert sorted(map(str, model.requests)) == sorted(map(str, expected))
    assert len(answers("out.csv")) == 5


def test_inputs_are_texts_lists_and_images_and_those_with_a_caption_may_be_empty(play: Any) -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"0" * 8
    Path("a.png").write_bytes(png)
    Path("pyproject.toml").touch()
    made = template(
        user(hole("text"), hole("more", lead="\nMore: "), hole("photo", image=True, lead="\nSee "))
    )
    rows = [{"text": ["x", "y"], "photo": "a.png"}, {"text": 12, "more": "m", "photo": ""}]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = Scripted(colour)
    play(model)
    predict(job("rows.jsonl", made=made))
    first, second = sorted((request.messages[0] for request in model.requests), key=lambda m: len(m.images))
    assert first == Message(role="user", content="12\nMore: m")
    assert second.content == "[1] x\n\n[2] y\nSee "
    assert second.images[0].startswith("data:image/png;base64,")
    Path("lists.csv").write_text('text,more,photo\n"[""x"", ""y""]",,a.png\n')
    model = Scripted(colour)
    play(model)
    predict(job("lists.csv", "lists.jsonl", made=made, lists=("text",)))
    assert model.requests[0].messages[0] == second


# ---- What is refused ----


def test_every_mistake_is_told_with_its_line_before_anything_is_asked(play: Any) -> None:
    model = Scripted(colour)
    play(model)
    Path("rows.jsonl").write_text(
        '{"text": "a"}\n{"text": null}\n[1]\n{"txt": "b"}\n{"text": ""}\n\n{"text": "a\\u0000"}\n'
    )
    with pytest.raises(InputError) as error:
        predict(job("rows.jsonl"))
    assert [line.partition(" expected")[0] for line in told(error)] == [
        *("rows.jsonl:2: text:", "rows.jsonl:3:", "rows.jsonl:4: text:", "rows.jsonl:5: text:"),
        *("rows.jsonl:6:", "rows.jsonl:7: text:"),
    ]
    assert "did you mean 'txt'" in told(error)[2]
    assert told(error)[0].endswith("found null; the prompt's input `text` is not optional")
    assert told(error)[3].endswith("found none; the prompt's input `text` is not optional")
    assert "optional" not in told(error)[5]
    assert model.requests == []
    assert left() == {"rows.jsonl"}


def test_an_empty_cell_of_an_input_that_is_not_optional_is_told_as_such(play: Any) -> None:
    play(Scripted(colour))
    made = template(user(hole("text"), hole("list", lead="\nItems: "), hole("all"), hole("list")))
    rows = [
        {"text": None, "list": ["x"], "all": "a"},
        {"text": "a", "list": [], "all": "a"},
        {"text": "a", "list": ["x"]},
        {"text": "", "list": ["x"], "all": "a"},
    ]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError) as error:
        predict(job("rows.jsonl", made=made, lists=("list",)))
    assert len(told(error)) == 3  # a blank text is one
    for line, name in zip(told(error), ("text", "list", "all"), strict=True):
        assert line.endswith(f"; the prompt's input `{name}` is not optional")
    Path("rows.jsonl").write_text('{"text": "", "more": null}\n')
    made = template(user(hole("text"), hole("more", lead="\nMore: ")))
    with pytest.raises(InputError, match=r"found none; the prompt's input `text` is not optional$"):
        predict(job("rows.jsonl", made=made))
    made = template(user("Say.", hole("text", lead="\nText: "), hole("more", lead="\nMore: ")))
    with pytest.raises(InputError, match=r"expected some text, found none$"):
        predict(job("rows.jsonl", made=made))


def test_floats_of_32_bits_reach_the_model_in_their_shortest_form(play: Any) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(
        pyarrow.table({"text": pyarrow.array([0.1, 2.5, None], pyarrow.float32()), "id": list("abc")}).slice(
            0, 2
        ),
        "rows.parquet",
    )
    model = Scripted(colour)
    play(model)
    predict(job("rows.parquet", made=template(user(hole("text")))))
    assert sorted(request.messages[0].content for request in model.requests) == ["0.1", "2.5"]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            "id,texts\na,b\n",
            {},
            "rows.csv:1: text: expected a column of this name, found none; did you mean 'texts'?",
        ),
        ("id,text\na,b\n", {"kept": ("kin",)}, "rows.csv:1: kin: expected a column of this name"),
        ("id,text\na,b\n ,c\n", {}, "rows.csv:3: id: expected some text, found none"),
        ("text,outcome\na,b\n", {"kept": None}, "rows.csv: outcome: cannot be kept"),
        ("id,text\n", {}, "rows.csv: expected at least one row, found none"),
        ("", {}, "rows.csv: expected at least one row, found none"),
        ('id,text\na,"b\n', {}, "rows.csv:2: not valid CSV"),
        ("id,text\na\n", {}, "rows.csv:2: expected 2 fields, found 1"),
    ],
)
def test_a_file_that_cannot_be_asked_about_is_refused(
    content: str, options: Any, message: str, play: Any
) -> None:
    play(Scripted(colour))
    Path("rows.csv").write_text(content)
    with pytest.raises(InputError) as error:
        predict(job(**options))
    assert told(error)[0].startswith(message)
    assert left() == set()


def test_ids_are_in_every_row_or_in_none_and_a_missing_column_is_told_once() -> None:
    Path("rows.jsonl").write_text('{"text": "a"}\n' * 3 + '{"id": "x", "text": "b"}\n')
    with pytest.raises(
        InputError, match=r"rows.jsonl:1: id: expected an id, as other rows have one, found none"
    ):
        predict(job("rows.jsonl"))
    for wrong in ("true", "1.0"):
        Path("rows.jsonl").write_text(f'{{"id": {wrong}, "text": "a"}}\n')
        with pytest.raises(InputError, match=f"1: id: expected text or a whole number, found {wrong}"):
            predict(job("rows.jsonl"))
    Path("rows.jsonl").write_text('{"texts": "a"}\n' * 1000)
    with pytest.raises(InputError) as error:
        predict(job("rows.jsonl"))
    assert told(error) == [
        "rows.jsonl:1: text: expected a column of this name, found none; did you mean 'texts'?"
    ]


def test_of_many_mistakes_the_first_are_told_and_the_others_counted() -> None:
    Path("rows.csv").write_text("id,text\n" + "a\n" * (MOST_TOLD + 20))
    with pytest.raises(InputError) as error:
        predict(job())
    assert len(told(error)) == MOST_TOLD + 1
    assert told(error)[-1] == "rows.csv: and 20 more mistakes in the rows after these"


def test_other_files_are_refused() -> None:
    Path("rows.json").write_text("[]")
    for rows, message in (
        ("rows.json", "expected a .csv, .tsv, .jsonl or .parquet file, found '.json'"),
        ("none.csv", "cannot be read"),
        ("none.parquet", "cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            predict(job(rows))
    for lists in (("txt",), ("photo",)):
        made = template(user(hole("text"), hole("photo", image=True)))
        with pytest.raises(InputError, match="--list: the prompt"):
            job(made=made, lists=lists)


def test_a_file_that_is_there_is_replaced_only_when_it_is_said(play: Any) -> None:
    write_rows()
    play(Scripted(colour))
    predict(job())
    before = Path("out.csv").read_bytes()
    with pytest.raises(InputError, match=r"out.csv is there already; --fresh makes it anew"):
        predict(job())
    write_rows(3)
    predict(job(fresh=True))
    assert Path("out.csv").read_bytes() != before
    assert len(answers("out.csv")) == 3
    Path("folder.csv").mkdir()
    for output, message in (
        ("folder.csv", "expected a file, and folder.csv is a folder"),
        ("rows.csv", "another file than that of the rows"),
        ("no/out.csv", "there is no folder no"),
        ("out.xlsx", "expected a .csv, .jsonl or .parquet file, found '.xlsx'"),
        ("out", "found a name without suffix"),
    ):
        with pytest.raises(InputError, match=message):
            predict(job(output=output, fresh=True))


def test_a_second_run_that_begins_while_the_first_ends_asks_nothing(
    play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows()
    model = Scripted(colour)
    play(model)
    first, second, real = job(), job(), Job.identity

    def identity(self: Job, *go_on: Any) -> dict[str, str]:
        if self is second:  # which reads its rows while the first one does all it has to do
            predict(first)
        return real(self, *go_on)

    monkeypatch.setattr(Job, "identity", identity)
    with pytest.raises(InputError, match=r"--output: out.csv is there already; --fresh makes it anew"):
        predict(second)
    assert len(model.requests) == 11
    assert left() == {"out.csv"}


def test_rows_that_come_while_a_first_run_checks_the_file_are_not_left_out(
    play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows()
    model, real = Scripted(colour), Job.identity
    play(model)

    def identity(self: Job, *go_on: Any) -> dict[str, str]:
        with Path("rows.csv").open("a", encoding="utf-8") as stream:
            stream.write("late,one more,kind\n")
        return real(self, *go_on)

    monkeypatch.setattr(Job, "identity", identity)
    with pytest.raises(InputError, match=r"rows.csv: has changed while it was read"):
        predict(job())
    assert not model.requests
    assert left() == set()


def test_the_loop_is_alive_while_rows_are_checked_and_ends_the_check(
    play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows()
    model = Scripted(colour)
    play(model)
    alive, ended = threading.Event(), threading.Event()

    def bound_of(_: Job, go_on: Callable[[], None]) -> Any:
        assert alive.wait(30)
        try:
            while True:
                go_on()
        finally:
            ended.set()

    monkeypatch.setattr("optimizer.predicting.bound_of", bound_of)

    async def work() -> None:
        task = asyncio.create_task(open_prediction(job()).__aenter__())
        await asyncio.sleep(0.05)
        alive.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert ended.wait(30)
    assert not model.requests


def test_whoever_watched_may_be_gone(play: Any) -> None:
    def gone(_: Progress) -> None:
        raise BrokenPipeError

    write_rows()
    play(Scripted(colour))
    assert predict(job(), gone).rows == 11


def test_a_second_run_on_the_same_file_is_refused_with_the_process(play: Any) -> None:
    write_rows()
    play(Scripted(colour))
    with open_storage(job().database), pytest.raises(StudyBusyError, match="already running, process"):
        predict(job())


# ---- What is lost where it is stopped: nothing ----


@pytest.fixture(scope="module")
def kept_whole() -> dict[str, bytes]:
    """Return what runs that nothing disturbed wrote of the usual rows, filled by whoever needs one first."""
    return {}


@pytest.fixture
def whole(kept_whole: dict[str, bytes], play: Any) -> Callable[[str], bytes]:
    """Return a function that returns what a run that nothing disturbs writes in a form, and leaves the usual rows."""

    def undisturbed(form: str) -> bytes:
        write_rows()
        if form not in kept_whole:
            play(Scripted(colour))
            predict(job(output=f"whole{form}"))
            kept_whole[form] = Path(f"whole{form}").read_bytes()
            Path(f"whole{form}").unlink()
        return kept_whole[form]

    return undisturbed


class Crash(BaseException):
    """The end of a process, as far as it can be had in one."""


BLOCK_WRITES = ((Part, "append"), (StudyStore, "fold"))
LAST_WRITES = ((StudyStore, "record"), (Part, "finish"))


@pytest.mark.parametrize(
    ("form", "writes"),
    [
        (".csv", ((StudyStore, "record"), *BLOCK_WRITES * 3, *LAST_WRITES)),
        (".parquet", LAST_WRITES[1:]),
    ],
    ids=["csv", "parquet"],
)
def test_a_crash_before_or_after_any_write_loses_nothing_and_changes_nothing(
    form: str, writes: Any, play: Any, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = whole(form)
    model = Scripted(colour)
    play(model)
    for owner, name in writes:
        for after in (False, True):
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, crashing(getattr(owner, name), after=after))
                with pytest.raises(Crash):
                    predict(job(output=f"out{form}"))
    predict(job(output=f"out{form}"))
    assert Path(f"out{form}").read_bytes() == expected
    assert Counter(map(str, model.requests)) == Counter(set(map(str, model.requests)))
    assert left() == {f"out{form}"}


def crashing(write: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    def crash(*args: Any, **kwargs: Any) -> Any:
        if after:
            write(*args, **kwargs)
        raise Crash

    return crash


def test_a_budget_that_ends_is_told_and_a_larger_one_goes_on(play: Any, whole: Any) -> None:
    expected = whole(".csv")
    model = Scripted(colour)
    play(model)
    for calls in (1, 5, 10):
        with pytest.raises(BudgetError) as ended:
            predict(job(max_calls=calls))
        standing = f"{calls // 4 * 4} of 11 rows are in out.csv.part, what was answered beyond them"
        if calls < 4:
            standing = "no answers of the 11 rows are written yet, what was answered"
        assert f"; {standing} is saved in out.csv.predict.db, " in str(ended.value)
        assert left() == {"out.csv.predict.db", "out.csv.predict.db.lock"} | (
            {"out.csv.part"} if calls >= 4 else set()
        )
        assert len(model.requests) == calls
    assert not Path("out.csv").exists()
    found = predict(job(max_calls=11))
    assert (Path("out.csv").read_bytes(), len(model.requests)) == (expected, 11)
    assert found.spent["calls"] == 11


def test_money_is_a_hard_limit_over_all_runs_and_needs_a_price_and_a_bound(play: Any) -> None:
    write_rows()
    model = Scripted(colour)
    play(model, free=False)
    with pytest.raises(BudgetError):
        predict(job(max_usd=0.0005))
    spent = sum(
        a.prompt_tokens + 10 * a.completion_tokens
        for r in model.requests
        if isinstance(a := colour(r), Completion)
    )
    assert 0 < spent / 1e6 <= 0.0005
    with pytest.raises(InputError, match="--max-usd: no price is known"):
        predict(job(output="b.csv", max_usd=1.0, price=None))
    with pytest.raises(InputError, match="--max-usd: the prompt has no max_tokens"):
        predict(job(output="c.csv", max_usd=1.0, made=template(max_tokens=None)))


def test_a_dearer_tier_of_service_has_no_published_price() -> None:
    write_rows()
    spec = ModelSpec(provider="openai_compatible", name="gpt-4o-mini", base_url="https://api.openai.com/v1")
    for tiers, known in (((), True), (("default",), True), (("priority",), False), (("default", "x"), False)):
        base = template().calls[0]
        calls = [replace(base, parameters=(*base.parameters, ("service_tier", tier))) for tier in tiers]
        made = replace(template(), calls=tuple(calls) or (base,))
        assert (replace(job(made=made, price=None), spec=spec).cost() is not None) == known


def test_the_bound_of_cost_is_never_below_what_is_charged(play: Any) -> None:
    write_rows()
    made = template(calls=2)
    asked = job(made=made)

    async def work() -> tuple[float | None, Predicted]:
        async with open_prediction(asked) as prediction:
            return prediction.bound.usd, await prediction.run()

    play(Scripted(colour))
    bound, found = asyncio.run(work())
    assert bound is not None
    assert 0 < found.spent["usd"] <= bound
    request = made.request({"text": "é" * 9})
    assert Reach(made).of({"text": "é" * 9})[0] == request.most_tokens


def test_rows_without_an_answer_are_told_and_asked_again_alone(play: Any, whole: Any) -> None:
    for form in (".csv", ".parquet"):
        expected = whole(form)
        down = {"on": True}

        def flaky(request: Request, down: dict[str, bool] = down) -> Completion | str:
            if down["on"] and any(f"item {k}," in request.messages[-1].content for k in (6, 10)):
                raise RejectedError("too \ud800long")
            return colour(request)

        model = Scripted(flaky)
        play(model)
        found = predict(job(output=f"out{form}", max_calls=11))
        assert (found.errors, found.outcomes["error"]) == (2, 2)
        written = answers(f"out{form}")
        assert [row["id"] for row in written if row["outcome"] == "error"] == ["r6", "r10"]
        assert written[6]["error"] == "too ?long"
        assert written[6]["answer"] == ""
        assert (len(written), len(model.requests)) == (11, 11)
        assert predict(job(output=f"out{form}", max_calls=11)).errors == 2
        assert len(model.requests) == 13
        down["on"] = False
        # Calls that failed are the same calls: the budget holds them.
        assert predict(job(output=f"out{form}", max_calls=11)).errors == 0
        assert len(model.requests) == 15
        assert Path(f"out{form}").read_bytes() == expected
        assert not Path(f"out{form}.predict.db").exists()


def test_rows_that_fail_run_after_run_use_up_nothing_that_a_later_run_needs(play: Any, whole: Any) -> None:
    expected, down = whole(".csv"), {"on": True}

    def flaky(request: Request) -> Completion | str:
        if down["on"] and "item 1" in request.messages[-1].content:
            raise RejectedError("not now")
        return colour(request)

    model = Scripted(flaky)
    play(model)
    for _ in range(25):
        assert predict(job(max_calls=11)).errors == 2
    assert len(model.requests) > 4 * 11
    down["on"] = False
    assert predict(job(max_calls=11)).errors == 0
    assert Path("out.csv").read_bytes() == expected


def test_an_outage_uses_up_no_attempts_of_a_later_run(play: Any, whole: Any, run_virtual: Any) -> None:
    expected, down = whole(".csv"), {"on": True}

    def flaky(request: Request) -> Completion | str:
        if down["on"]:
            raise OverloadedError("down", reason="503")
        return colour(request)

    play(Scripted(flaky))

    async def work() -> Predicted:
        async with open_prediction(job(max_calls=11), lambda _: None) as prediction:
            return await prediction.run()

    for _ in range(3):
        with pytest.raises((BudgetError, OutageError)):
            run_virtual(work())
    down["on"] = False
    assert run_virtual(work()).errors == 0
    assert Path("out.csv").read_bytes() == expected


ENDLESS = {
    "hangs": (UnreachableError("no answer in time", reason="time-out", billable=True), 60.0, 2000.0),
    "a quota of a day": (OverloadedError("429", reason="429", retry_after_seconds=3600.0), 1.0, 60.0),
    "no answers": (BrokenAnswerError("no JSON", reason="no JSON", billable=True), 1.0, 1200.0),
}


@pytest.mark.parametrize(("error", "seconds", "most"), ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("served", [0, 200])
def test_an_endpoint_that_answers_nothing_more_ends_the_run_in_bounded_time(
    error: TransientError, seconds: float, most: float, served: int, play: Any, run_virtual: Any
) -> None:
    write_rows(600)
    down = {"on": True}

    def ending(request: Request) -> Completion | str:
        if down["on"] and len(model.requests) > served:
            raise error
        return colour(request)

    model = Scripted(ending)
    play(
        model, seconds=lambda _: seconds if down["on"] and len(model.requests) >= served else 1.0, free=False
    )

    async def work() -> tuple[Predicted | OutageError, float]:
        async with open_prediction(job(block=10_000)) as prediction:
            (found,) = await asyncio.gather(prediction.run(), return_exceptions=True)
            assert isinstance(found, Predicted | OutageError)
            return found, asyncio.get_running_loop().time()

    found, took = run_virtual(work())
    assert isinstance(found, OutageError)
    assert (found.exit_code, took < most) == (3, True)
    assert not Path("out.csv.part").exists()
    down["on"] = False
    again, _ = run_virtual(work())
    assert isinstance(again, Predicted)
    assert (again.rows, again.errors, again.spent["calls"]) == (600, 0, 600)


def test_few_calls_sit_out_a_busy_minute_and_attempts_that_end_are_told_as_such(
    play: Any, run_virtual: Any
) -> None:
    write_rows(3)
    busy = {"until": 60.0}

    def asked(request: Request) -> Completion | str:
        if asyncio.get_running_loop().time() < busy["until"]:
            raise OverloadedError("slow down", reason="429", retry_after_seconds=busy.get("wait"))
        return colour(request)

    play(Scripted(asked), seconds=lambda _: 0.3)

    async def work() -> Predicted:
        async with open_prediction(job(max_calls=3)) as prediction:
            return await prediction.run()

    busy.update(until=290.0, wait=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("optimizer.budget._LEAST_ATTEMPTS", 20)
        with pytest.raises(BudgetError) as ended:
            run_virtual(work())
    assert str(ended.value).startswith(
        "the attempts that 3 calls may take are spent (429 20); no answers of the 3 rows"
    )
    assert str(ended.value).endswith(", and the same command goes on")
    busy.update(until=60.0)
    assert run_virtual(work()).errors == 0


def test_a_part_that_others_cut_during_a_run_ends_it_and_is_made_again_from_the_store(
    play: Any, whole: Any
) -> None:
    for cut in (lambda part: part.unlink(), lambda part: part.write_bytes(part.read_bytes()[:-3])):
        for rows in (5, 11):  # before another block is added to it, and before the file is made of it
            expected = whole(".csv")
            model = Scripted(colour)
            play(model)

            def watch(progress: Progress, cut: Any = cut, rows: int = rows) -> None:
                part = Path("out.csv.part")
                if progress.rows >= rows and part.exists():
                    cut(part)

            with pytest.raises(
                StorageError,
                match=r"cannot be written .out.csv.part was cut or deleted meanwhile.*same command",
            ):
                predict(job(), watch)
            assert not Path("out.csv").exists()
            assert predict(job()).rows == 11
            assert (Path("out.csv").read_bytes(), len(model.requests)) == (expected, 11)
            Path("out.csv").unlink()


def test_a_file_that_was_cut_or_deleted_meanwhile_is_made_again_without_a_call(play: Any, whole: Any) -> None:
    expected = whole(".csv")
    model = Scripted(colour)
    play(model)
    with pytest.raises(BudgetError):
        predict(job(max_calls=9))
    part = Path("out.csv.part")
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(BudgetError):
        predict(job(max_calls=10))
    part.unlink()
    predict(job())
    assert (Path("out.csv").read_bytes(), len(model.requests)) == (expected, 11)


def test_what_changed_is_named_and_a_fresh_start_keeps_what_was_paid_for(play: Any) -> None:
    write_rows()
    model = Scripted(colour)
    play(model)
    with pytest.raises(BudgetError):
        predict(job(max_calls=9))
    write_rows(12)
    for options, changed in (
        ({}, "rows"),
        ({"raw": True}, "rows, options"),
        ({"kept": ("kind",)}, "rows, columns"),
    ):
        with pytest.raises(StudyChangedError, match=f"begun with something else: {changed} changed; --fresh"):
            predict(job(**options))
    with pytest.raises(BudgetError):
        predict(job(fresh=True, max_calls=1))
    # The same command goes on with what it began anew.
    predict(job(fresh=True))
    assert len(model.requests) == 12
    assert len(answers("out.csv")) == 12


def test_another_content_of_a_model_s_file_is_another_model(play: Any) -> None:
    write_rows()
    play(Scripted(colour))
    with pytest.raises(BudgetError):
        predict(job(max_calls=9))
    Path("rules.json").write_text('{"rules": [], "default": "blue"}')
    with pytest.raises(StudyChangedError, match="begun with something else: model changed; --fresh"):
        predict(job())
    assert predict(job(fresh=True)).rows == 11


def test_of_a_longer_file_that_was_begun_nothing_is_left(play: Any) -> None:
    write_rows()
    model = Scripted(colour)
    play(model)
    with pytest.raises(BudgetError):
        predict(job(max_calls=9))
    before = Path("out.csv.part").read_bytes()
    write_rows(5)
    assert predict(job(fresh=True)).spent["calls"] == 0
    assert before.startswith(Path("out.csv").read_bytes())
    assert (len(answers("out.csv")), len(model.requests)) == (5, 9)


def test_what_stops_all_requests_stops_the_run_and_keeps_what_was_answered(play: Any, whole: Any) -> None:
    expected = whole(".csv")
    broken = {"after": 6}

    def wrong_key(request: Request) -> Completion | str:
        broken["after"] -= 1
        if broken["after"] < 0:
            raise EndpointError("the key is refused")
        return colour(request)

    play(Scripted(wrong_key))
    with pytest.raises(EndpointError):
        predict(job())
    model = Scripted(colour)
    play(model)
    predict(job())
    assert Path("out.csv").read_bytes() == expected
    assert len(model.requests) <= 11 - 6


def test_a_stop_finishes_what_is_under_way(play: Any, whole: Any) -> None:
    expected = whole(".csv")
    model = Scripted(colour)
    play(model)

    async def work() -> None:
        def watch(progress: Progress) -> None:
            if progress.rows >= 5:
                prediction.stop()

        async with open_prediction(job(), watch) as prediction:
            await prediction.run()

    with pytest.raises(InterruptedRunError):
        asyncio.run(work())
    before = len(model.requests)
    assert 5 <= before < 11
    predict(job())
    assert (Path("out.csv").read_bytes(), len(model.requests)) == (expected, 11)


def test_rows_that_change_while_they_are_asked_about_end_the_run(play: Any) -> None:
    for change in (lambda: write_rows(9), lambda: Path("rows.csv").write_text("id,text,kind\n")):
        write_rows()

        def changing(request: Request, change: Callable[[], object] = change) -> Completion | str:
            change()
            return colour(request)

        play(Scripted(changing))
        with pytest.raises(InputError, match=r"rows.csv: has"):
            predict(job())
        Path("out.csv.predict.db").unlink()


def test_of_rows_that_changed_meanwhile_nothing_is_written(play: Any, whole: Any) -> None:
    expected = whole(".csv")
    original = Path("rows.csv").read_bytes()
    changes: tuple[Callable[[], object], ...] = (
        lambda: Path("rows.csv").write_bytes(original.replace(b"item 6", b"item X")),
        Path("rows.csv").unlink,
    )
    for change in changes:

        def changing(request: Request, change: Callable[[], object] = change) -> Completion | str:
            if "item 5" in request.messages[-1].content and Path("rows.csv").exists():
                change()
            return colour(request)

        play(Scripted(changing))
        with pytest.raises(InputError, match=r"^rows.csv: has changed while it was read$"):
            predict(job())
        assert Path("out.csv.part").read_bytes() == b"".join(expected.splitlines(keepends=True)[:5])
        # Put back as it was, it is gone on with.
        Path("rows.csv").write_bytes(original)
        play(Scripted(colour))
        predict(job())
        assert Path("out.csv").read_bytes() == expected
        Path("out.csv").unlink()


def test_a_full_disk_is_told_as_what_it_is(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows()
    play(Scripted(colour))

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Part, "append", full)
        with pytest.raises(
            StorageError, match=r"out.csv cannot be written .No space left on device.*same command"
        ):
            predict(job())
    assert predict(job()).rows == 11


def test_progress_ends_with_the_last_row(play: Any) -> None:
    write_rows()
    play(Scripted(colour))
    seen: list[Progress] = []
    predict(job(), seen.append)
    assert seen[-1] == Progress(rows=11, of=11, errors=0)
    assert [p.rows for p in seen] == sorted(p.rows for p in seen)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_tokens_that_the_endpoint_does_not_state_are_not_known(play: Any, form: str) -> None:
    def untold(request: Request) -> Completion | str:
        asked = request.messages[-1].content
        if "item 3," in asked:
            raise RejectedError("too long")
        if "item 4," in asked:  # of a filter before the model, which read nothing
            return Completion(text="", finish_reason="refused")
        told = (7, 1) if "item 2," in asked else (0, 0)
        return Completion(text="red", prompt_tokens=told[0], completion_tokens=told[1])

    write_rows(5)
    play(Scripted(untold))
    found = predict(job(output=f"out.{form}"))
    assert (found.prompt_tokens, found.completion_tokens, found.cost_usd) == (None, None, None)
    rows = answers(f"out.{form}")
    expected = [("", "", ""), ("", "", ""), ("7", "1", "1.7e-05"), ("", "", ""), ("0", "0", "0.0")]
    assert [(row["prompt_tokens"], row["completion_tokens"], row["cost_usd"]) for row in rows] == expected
    # What failed and is not known to have cost a thing takes nothing from what the answers say.
    Path("rows.csv").write_text('id,text\nr2,"item 2,"\nr3,"item 3,"\n')
    found = predict(job(output=f"known.{form}"))
    assert (found.prompt_tokens, found.completion_tokens, found.errors) == (7, 1, 1)


# ---- The command ----


class Told(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Told]:
    """Return the command on `rows.csv`: options in, exit code and output out."""

    def run(*options: str, rows: str = "rows.csv") -> Told:
        monkeypatch.setattr(sys, "argv", ["optimizer", "predict", "prompt.json", rows, *options])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        checked(sys.argv, printed.out)
        return Told(int(end.value.code or 0), printed.out, printed.err)

    return run


def test_the_command_says_what_it_will_do_does_it_and_says_what_it_did(call: Any) -> None:
    write_rows()
    Path("prompt.json").write_text(frozen().dumps())
    rules = [{"contains": "item 3,", "reply": "green"}, {"contains": "item 4,", "reply": "?"}]
    Path("rules.json").write_text(json.dumps({"rules": rules, "default": "It is red."}))
    done = call("--output", "out.jsonl", "--model-path", "rules.json", "--keep", "kind", "--concurrency", "2")
    assert done.code == 0, done.err
    assert done.err.startswith("rows.csv: 11 rows, 11 calls at most, free of charge\n")
    assert done.err.endswith("out.jsonl: 11 of 11 rows\n")
    assert done.out.startswith("wrote out.jsonl: 11 rows, 10 ok, 1 invalid\n")
    found = answers("out.jsonl")
    assert [row["answer"] for row in found] == ["red"] * 3 + ["green", ""] + ["red"] * 6
    assert (found[3]["strict"], found[5]["strict"], found[0]["kind"]) == ("true", "false", "a,b")
    again = call("--output", "out.csv", "--model-path", "rules.json", "--price", "1,10", "--json")
    figures = json.loads(again.out)
    assert (figures["rows"], figures["errors"], figures["output"]) == (11, 0, "out.csv")
    assert 0 < figures["cost_usd"] <= figures["spent"]["usd"]
    assert "US dollars at most" in again.err


def test_the_command_tells_every_mistake_at_once_and_writes_nothing(call: Any) -> None:
    write_rows()
    Path("prompt.json").write_text(replace(frozen(), capabilities=("json_schema",)).dumps())
    told = call("--output", "out.xls", "--model", "openai_compatible:m", "--capability", "choise")
    assert told.code == 2
    assert [line.partition(":")[0] for line in told.err.splitlines()] == ["error"] * 4
    for message in (
        "base_url: missing",
        "'choise'; did you mean 'choice'",
        "needs json_schema",
        "found '.xls'",
    ):
        assert message in told.err
    for options, message in (
        (("--price", "1"), "--price: expected two numbers"),
        (("--price", "nan,1"), "--price: expected two numbers"),
        (("--max-usd", "nan"), "--max-usd: expected a number above 0, found nan"),
        (("--max-usd", "-1"), "--max-usd: expected a number above 0, found -1.0"),
        (("--max-usd", "0"), "--max-usd: expected a number above 0, found 0.0"),
        (("--max-usd", "inf"), "--max-usd: expected a number above 0, found inf"),
        (("--requests-per-minute", "0"), "--requests-per-minute: expected more than 0"),
        (("--list", "texts"), "--list: the prompt has no input 'texts'; did you mean 'text'?"),
        (("--concurrency", "0"), "--concurrency: expected auto"),
    ):
        told = call("--output", "out.csv", "--model-path", "rules.json", *options)
        assert (told.code, message in told.err) == (2, True), told.err
    Path("rows.csv").write_text("id,texts\na,b\nc\n")
    told = call("--output", "out.csv", "--model-path", "rules.json")
    assert (told.code, told.err.count("error:"), "rows.csv:3: expected 2 fields" in told.err) == (2, 2, True)
    assert left() == {"prompt.json"}


def test_the_command_ends_with_the_code_of_what_happened(call: Any, play: Any) -> None:
    write_rows()
    Path("prompt.json").write_text(frozen().dumps())

    def refuse(request: Request) -> str:
        if "item 3," in request.messages[-1].content:
            raise RejectedError("too long")
        return "red"

    play(Scripted(refuse))
    options = ("--output", "out.csv", "--model-path", "rules.json", "--quiet")
    told = call(*options, "--max-calls", "5")
    assert (told.code, "a larger budget goes on" in told.err) == (4, True)
    told = call(*options)
    assert (told.code, "1 of 11 rows have no answer because of errors" in told.err) == (3, True)
    assert "wrote out.csv: 11 rows, 10 ok, 1 error" in told.out
    play(Scripted(lambda _: "red"))
    told = call(*options)
    assert (told.code, told.err) == (0, "")
    told = call(*options)
    assert (told.code, told.err) == (2, "error: --output: out.csv is there already; --fresh makes it anew\n")


def test_the_command_tells_what_failed_and_was_charged_whether_it_ends_well_or_not(
    call: Any, play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optimizer.calls.backoff_seconds", lambda *_, **__: 0.01)
    write_rows(6)
    Path("prompt.json").write_text(frozen().dumps())
    failed = set[tuple[Message, ...]]()

    def flaky(request: Request) -> Completion | str:
        if request.messages not in failed and len(failed) < 2:
            failed.add(request.messages)
            raise BrokenAnswerError(
                "cut", reason="half a body", billable=True, prompt_tokens=100, completion_tokens=7
            )
        return Completion(text="red", prompt_tokens=10, completion_tokens=1)

    play(Scripted(flaky), free=False)
    options = ("--output", "out.csv", "--model-path", "rules.json")
    told = call(*options, "--max-calls", "4", "--price", "1000,1000")
    assert told.code == 4
    assert "calls           4\ncost            0.2360 US dollars for 236 tokens\n" in told.err
    assert "retried         2 failed attempts: half a body 2\n" in told.err
    told = call(*options, "--price", "1000,1000")
    assert told.code == 0, told.err
    assert "answers         60 tokens read, 6 written, 0.0660 US dollars\n" in told.out
    assert "calls           6\ncost            0.2800 US dollars for 280 tokens\n" in told.out
    assert "retried         2 failed attempts: half a body 2\n" in told.out
    failed.clear()
    told = call("--output", "b.csv", *options[2:])
    assert "calls           6\ncost            price not known, 280 tokens\n" in told.out
    failed.clear()
    spent = json.loads(call("--output", "c.csv", *options[2:], "--json").out)["spent"]
    assert (spent["usd"], spent["lost_usd"], spent["lost_tokens"]) == (None, None, 0)


def test_what_was_lost_in_flight_is_summed_with_its_bound(play: Any, whole: Any) -> None:
    whole(".csv")

    held: list[Request] = []
    asked = asyncio.Event()

    class Holding:
        async def complete(self, request: Request) -> Completion:
            held.append(request)
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    async def work() -> None:
        async with open_prediction(job(max_usd=1.0)) as prediction:
            running = asyncio.ensure_future(prediction.run())
            await asked.wait()
            assert not running.done()
            raise Crash

    play(Holding(), free=False)
    with pytest.raises(Crash):
        asyncio.run(work())
    play(Scripted(colour), free=False)
    spent = predict(job(max_usd=1.0)).spent
    assert spent["lost_in_flight"] == len(held) > 0
    assert spent["lost_tokens"] == sum(sum(n or 0 for n in request.most_tokens) for request in held)
    assert spent["lost_usd"] > 0


STUDY = """schema: 1
task: task.yaml
model:
  provider: openai_compatible
  name: m
  base_url: http://127.0.0.1:1/v1
  capabilities: [choice]
  options: {timeout_seconds: 300, read_seconds: 200}
search: {styles: [direct], formats: [plain]}
budget: {calls: 700}
"""


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Return the jobs that `predict` is about to do, of rows and of a prompt for the model `m`; none of them is done."""
    seen: list[Job] = []

    async def noted(job: Job, **_: Any) -> None:
        seen.append(job)
        raise BudgetError("seen")

    monkeypatch.setattr("optimizer.commands.predict._predict", noted)
    write_rows()
    tuned = {"provider": "openai_compatible", "name": "m"}
    Path("prompt.json").write_text(replace(frozen(), model=tuned).dumps())
    return seen


def test_the_prompts_own_model_is_that_of_the_study_beside_it_but_for_what_is_said(
    call: Any, jobs: list[Job]
) -> None:
    Path("study.yaml").write_text(STUDY)
    for options in (
        (),
        ("--timeout-seconds", "900", "--base-url", "http://127.0.0.1:2/v1", "--capability", "prefill"),
        ("--model", "openai_compatible:m"),
    ):
        assert call("--output", "out.csv", *options).code == 4
    own, said, named = (job.spec for job in jobs)
    assert (own.base_url, own.capabilities) == ("http://127.0.0.1:1/v1", ("choice",))
    assert own.options == {"timeout_seconds": 300, "read_seconds": 200}
    assert (said.options, named.options) == ({"timeout_seconds": 900}, {})
    assert (said.base_url, said.capabilities) == ("http://127.0.0.1:2/v1", ("prefill",))
    assert (named.base_url, named.capabilities) == (None, None)


def test_the_price_is_that_of_the_study_beside_the_prompt_but_for_what_is_said(
    call: Any, jobs: list[Job]
) -> None:
    prices = "budget: {calls: 700, prices: {m: {input: 3, output: 4}, n: {input: 5, output: 6}}}"
    Path("study.yaml").write_text(STUDY.replace("budget: {calls: 700}", prices))
    for options in ((), ("--price", "0,0"), ("--model", "openai_compatible:m")):
        assert call("--output", "out.csv", *options).code == 4
    assert [job.price for job in jobs] == [PriceSpec(input=3, output=4), PriceSpec(input=0, output=0), None]


def test_an_input_that_the_study_has_as_a_list_is_shown_as_one(call: Any, play: Any) -> None:
    sent: list[str] = []

    def noted(request: Request) -> str:
        sent.append(request.messages[-1].content)
        return "red"

    play(Scripted(noted))
    Path("rows.csv").write_text('id,text\na,"[""x"", ""y""]"\n')
    Path("prompt.json").write_text(frozen().dumps())
    options = ("--model-path", "rules.json", "--quiet")
    # No data of the task is there, as where a prompt is used.
    task = """schema: 1
name: colours
dataset: {path: data.csv, inputs: {text: {type: list}}, target: colour}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
    Path("task.yaml").write_text(task)
    Path("study.yaml").write_text(STUDY)
    told = call("--output", "beside.csv", *options, "--model", "scripted:rules")
    assert (told.code, told.err) == (0, "")
    Path("study.yaml").unlink()
    assert call("--output", "named.csv", *options, "--list", "text").code == 0
    assert call("--output", "alone.csv", *options).code == 0
    Path("prompt.json").write_text(replace(frozen(), task={"lists": ["text", "gone"]}).dumps())
    assert call("--output", "said.csv", *options).code == 0
    assert sent[0] == sent[1] == sent[3] != sent[2]
    assert "[1] x\n\n[2] y" in sent[0]
    assert '["x", "y"]' in sent[2]


def test_a_study_without_its_task_says_that_lists_are_to_be_named(call: Any, play: Any) -> None:
    play(Scripted(colour))
    write_rows()
    Path("prompt.json").write_text(frozen().dumps())
    Path("study.yaml").write_text(STUDY)
    told = call("--output", "out.csv", "--model-path", "rules.json", "--quiet")
    assert told.code == 0
    assert told.err == (
        "Caution: whether the task has inputs that are lists is not known; name them with --list: "
        "study.yaml:2: task: expected a file, found none at task.yaml\n"
    )


def test_a_prompt_that_names_no_model_needs_one_that_is_named(call: Any) -> None:
    write_rows()
    Path("prompt.json").write_text(replace(frozen(), model={}).dumps())
    told = call("--output", "out.csv")
    assert (told.code, told.err) == (2, "error: --model: missing; the prompt names no model\n")


def test_a_longer_time_for_requests_goes_on_with_what_was_begun(play: Any) -> None:
    write_rows()
    play(Scripted(colour))
    asked = job()
    longer = replace(asked, spec=replace(SPEC, options={"timeout_seconds": 600}))
    assert longer.identity() == asked.identity()
    assert replace(asked, spec=replace(SPEC, options={"slots": 2})).identity() != asked.identity()


def test_what_the_model_must_be_able_to_do_is_named_whole(call: Any) -> None:
    write_rows()
    Path("prompt.json").write_text(replace(frozen(), capabilities=("choice", "json_schema")).dumps())
    model = ("--model", "openai_compatible:m", "--base-url", "http://127.0.0.1:9/v1")
    for named, missing in (((), "choice"), (("--capability", "choice"), "json_schema")):
        told = call("--output", "out.csv", *model, *named)
        assert told.err == (
            f"error: --model: the prompt needs {missing}; if the model has that, say so with "
            "--capability choice --capability json_schema\n"
        )


# ---- Reading row by row ----

CELLS = st.text(alphabet='ab,"\r\n\t é\u2028\ufeff', max_size=6)


def streamed(name: str) -> list[Record | Problem]:
    return list(stream_table(Path(name), name))


@given(text=st.lists(CELLS, max_size=12).map("".join), suffix=st.sampled_from([".csv", ".tsv"]))
def test_tables_are_read_row_by_row_as_they_are_read_whole(text: str, suffix: str) -> None:
    name = f"any{suffix}"
    Path(name).write_bytes(f"a,b\tc\n{text}".encode())
    whole = read_table(Path(name), name)
    found = streamed(name)
    assert tuple(each for each in found if isinstance(each, Record)) == whole.records
    assert tuple(each for each in found if isinstance(each, Problem)) == whole.problems


@given(
    lines=st.lists(
        st.sampled_from(['{"a": 1}', '{"a": "\u2028"}', "{", "", " ", "\r", '"', "{}\u00a0", "[]"]),
        max_size=8,
    )
)
def test_json_lines_are_read_row_by_row_as_they_are_read_whole(lines: list[str]) -> None:
    Path("any.jsonl").write_bytes("\n".join(lines).encode())
    whole = read_table(Path("any.jsonl"), "any.jsonl")
    found = streamed("any.jsonl")
    assert tuple(each for each in found if isinstance(each, Record)) == whole.records
    assert tuple(each for each in found if isinstance(each, Problem)) == whole.problems


def test_bytes_that_are_no_text_end_the_reading_at_their_line() -> None:
    for content, message in (
        (b'{"a": 1}\n{"a": "\xff"}\n{"a": 2}\n', "d.jsonl:2: expected UTF-8 text, found the byte 0xff"),
        (b'{"a": 1}\n{"a": "\x00"}\n', "d.jsonl:2: expected text, found a NUL byte"),
    ):
        Path("d.jsonl").write_bytes(content)
        assert [str(each) for each in streamed("d.jsonl")[1:]] == [message]
    Path("d.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 9999)[:-20])
    assert "cannot be unpacked" in str(streamed("d.csv.gz")[-1])


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optimizer.table.MAX_LINE_BYTES", 8)
    Path("d.jsonl").write_text('{"a":1}\n{"a":12345}\n')
    assert str(streamed("d.jsonl")[-1]).startswith("d.jsonl:2: expected lines of at most")


# ---- The page ----


def test_the_commands_of_the_page_do_what_it_shows(call: Any) -> None:
    page = (Path(__file__).parents[1] / "docs" / "predict.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (rows, shown), commands = (
        [text for kind, text in blocks if kind == "csv"],
        [text.split()[2:] for kind, text in blocks if kind == "console"],
    )
    made = replace(
        template(user("Which team? ", hole("message"))),
        answer=AnswerFormat(kind="label", labels=("billing", "technical")),
    )
    rules = [
        {"contains": "charged", "reply": "billing"},
        {"contains": "crash", "reply": "It is technical, no?"},
    ]
    Path("rules.json").write_text(json.dumps({"rules": rules, "default": "A good day!!"}))
    Path("prompt.json").write_text(frozen(made).dumps())
    Path("inbox.csv").write_text(rows)
    for command in commands:
        assert command[:3] == ["predict", "prompt.json", "inbox.csv"]
        done = call(*command[3:], "--model-path", "rules.json", rows="inbox.csv")
        assert done.code == 0, done.err
    assert Path("answers.csv").read_text() == shown
    assert len(answers("bounded.csv")) == 3
