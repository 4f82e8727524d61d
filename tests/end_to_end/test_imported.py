"""A whole study against a prompt of another file: what is measured, what ships, what is told, and that it resumes."""

import asyncio
import csv
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optimizer.answer import AnswerFormat
from optimizer.commands import main
from optimizer.commands._prompts import prompt_lines
from optimizer.commands._tables import evidence_lines
from optimizer.completion import Message, Request
from optimizer.conclusion import artifacts
from optimizer.config import RunSpec
from optimizer.errors import InputError, InterruptedRunError, StudyChangedError
from optimizer.frozen import FrozenPrompt
from optimizer.lineup import entrants, findings, seats
from optimizer.models.scripted import Scripted
from optimizer.origin import wording_of
from optimizer.plan import StudyPlan, load_plan
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.report import page
from optimizer.rescoring import Job, job_problems, open_job
from optimizer.rivals import Rival
from optimizer.selection import optimize
from optimizer.study import open_study
from optimizer.verifying import verified

LABELS = ("red", "green", "blue")
TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 12, validation: 12, test: 30}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
baseline: today.openai.json
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json, parameters: {temperature: 0}}
search:
  instructions: {given: [Which colour is it?]}
  demos: {sizes: [0]}
  styles: [direct]
  formats: [plain, json]
  screen: 12
  sampler: {name: tpe}
budget: {calls: 150}
"""
TODAY = [
    {"role": "system", "content": "You sort items. Say red, green or blue."},
    {"role": "user", "content": "Item 99 is here"},
    {"role": "assistant", "content": "red"},
    {"role": "user", "content": "{{text}}"},
]
FILE = json.dumps({"messages": TODAY, "parameters": {"temperature": 0.9}})

# With these sizes a mistake of the baseline is worth a thirtieth of the test.
Script = Callable[[Request], str]
Finished = Callable[..., Any]


def item(request: Request) -> int:
    return int(re.findall(r"(?i)Item (\d+) is here", request.messages[-1].content)[-1])


def is_todays(request: Request) -> bool:
    return request.messages[0].content == TODAY[0]["content"]


def said(request: Request, label: str) -> str:
    return label if request.constraint is None else f'{{"colour": "{label}"}}'


def new_is_better(request: Request) -> str:
    """Answer today's prompt right one time in three, every other prompt always."""
    return said(request, "red" if is_todays(request) else LABELS[item(request) % 3])


def today_is_best(request: Request) -> str:
    return said(request, LABELS[item(request) % 3] if is_todays(request) else "red")


@pytest.fixture
def read(write_study: Callable[..., Path]) -> Callable[..., StudyPlan]:
    """Return a function that writes a study with its prompt of today, and reads it."""

    def make(
        *changes: tuple[str, str], file: str = FILE, name: str = "today.openai.json", folder: str = "colours"
    ) -> StudyPlan:
        path = write_study(TASK.replace("today.openai.json", name), STUDY, *changes, items=54, folder=folder)
        path.with_name(name).write_text(file, encoding="utf-8")
        return load_plan(path)

    return make


def rows_of(texts: dict[str, str]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(texts["history.csv"])))


def messages_of(text: str) -> tuple[Message, ...]:
    filled = [each["content"].replace("{{text}}", text) for each in TODAY]
    return tuple(
        Message(role=each["role"], content=content)  # type: ignore[arg-type]  # roles as the file writes them
        for each, content in zip(TODAY, filled, strict=True)
    )


def test_gains_are_measured_against_the_very_messages_of_the_file(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    outcome = finished(read(), new_is_better)
    asked = [request for request in outcome.model.requests if is_todays(request)]
    texts = {
        example.values["text"] for example in (*outcome.plan.dataset.validation, *outcome.plan.dataset.test)
    }
    assert {request.messages for request in asked} == {messages_of(text) for text in texts}
    assert {request.parameters for request in asked} == {(("temperature", 0),)}
    evidence = outcome.evidence
    assert evidence["decision"] == "improved"
    assert evidence["test"]["baseline"]["score"] == pytest.approx(1 / 3, abs=0.02)
    assert evidence["difference"]["value"] == pytest.approx(2 / 3, abs=0.02)
    assert set(evidence["test"]) == {"baseline", "winner"}
    assert outcome.selection.wording is None
    assert evidence["difference_over_format"] is None
    assert evidence["wording_fingerprint"] is None
    assert len(evidence["test_openings"][0]["prompts"]) == 2
    assert (evidence["imported"]["file"], evidence["imported"]["format"]) == (
        "today.openai.json",
        "openai_messages",
    )


def test_what_is_told_names_the_file_and_the_history_names_it_imported(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    outcome = finished(read(), new_is_better)
    texts, frozen = artifacts(outcome.plan, outcome.selection), outcome.selection.frozen
    first, second, *_ = rows_of(texts)
    shown = [
        first[name] for name in ("stage", "instruction_id", "demonstrations_id", "style", "format", "parents")
    ]
    assert shown == ["baseline", "imported", "d0000", "imported", "imported", ""]
    # The task's instruction is tried before anything else.
    assert (second["instruction_id"], second["style"], second["format"]) == ("i0000", "direct", "plain")
    lines = [json.loads(line) for line in texts["instructions.jsonl"].splitlines()]
    assert [(line["id"], line["origin"], line["parents"]) for line in lines[:2]] == [
        ("imported", "imported", []),
        ("i0000", "given", []),
    ]
    assert TODAY[0]["content"] in lines[0]["text"]
    sentence = "The baseline is the prompt that was imported from today.openai.json (openai_messages)."
    caution = "temperature 0.9 (here 0)"
    assert sentence in outcome.evidence["in_words"]
    assert any(caution in line and line.startswith("Caution: ") for line in outcome.evidence["in_words"])
    assert sentence in "\n".join(evidence_lines(outcome.evidence))
    html = page(frozen)
    assert sentence in html
    assert caution in html
    assert not [line for line in evidence_lines(outcome.evidence) if "wording, winner" in line]


def test_where_nothing_is_better_the_imported_prompt_itself_is_frozen(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    outcome = finished(read(), today_is_best)
    evidence = outcome.evidence
    assert (evidence["decision"], evidence["frozen"]) == ("not distinguishable", "baseline")
    kept = FrozenPrompt.loads(outcome.selection.frozen.dumps())
    for text in ("Item 3 is here", "{{text}}", ""):
        assert kept.messages(text=text) == [message.to_dict() for message in messages_of(text)]
    assert (kept.style, kept.format, kept.demonstration_ids) == ("imported", "imported", ())
    assert kept.parse("Blue.").text == "blue"
    assert any("imported d0000 imported imported" in line for line in prompt_lines(kept))
    # It was made of no wording that a format of parts could hold.
    folder = Path(outcome.plan.source.file).parent
    for name, content in artifacts(outcome.plan, outcome.selection).items():
        (folder / name).write_text(content, encoding="utf-8")
    assert wording_of(kept, folder / "prompt.json") is None
    with pytest.raises(
        InputError, match="the prompt was imported, and has no wording apart from its messages"
    ):
        wording_of(kept, folder / "prompt.json", needed=True)
    # What was frozen is a prompt that can be imported in its turn, and it is the same one.
    again = read(file=kept.dumps(), name="kept.prompt.json")
    template = again.space.render(again.space.baseline)
    assert template is not None
    assert template.fingerprint == kept.fingerprint


def test_a_candidate_that_is_the_imported_prompt_is_no_other_arm(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    plan = read()
    own = plan.space.render(plan.space.start)
    assert own is not None
    outcome = finished(plan, today_is_best)
    frozen = FrozenPrompt.loads(outcome.selection.frozen.dumps())
    file = FrozenPrompt(
        **{name: getattr(frozen, name) for name in FrozenPrompt.__slots__} | {"template": own}
    ).dumps()
    same = read(file=file, name="own.prompt.json")
    assert same.space.baseline.digest != same.space.start.digest
    outcome = finished(same, new_is_better, fresh=True)
    assert [row.fingerprint for row in outcome.trials].count(own.fingerprint) == len(
        [row for row in outcome.trials if row.point["instruction"] == "imported"]
    )


def test_a_race_begins_with_the_tasks_instruction(read: Callable[..., StudyPlan], finished: Finished) -> None:
    plan = read(
        ("  sampler: {name: tpe}\n", ""),
        ("screen: 12", "screen: 2"),
        ("sizes: [0]", "sizes: [0, 2], sets: 4"),
    )
    assert plan.races
    outcome = finished(plan, new_is_better)
    assert [row.point["instruction"] for row in outcome.trials[:2]] == ["imported", "i0000"]
    assert outcome.trials[1].point == {**plan.space.start.point}
    assert outcome.evidence["decision"] == "improved"


def test_a_study_that_is_done_asks_nothing_again_and_says_the_same(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    first = finished(read(), new_is_better)
    again = finished(read(), new_is_better)
    assert again.model.requests == []
    assert again.selection.frozen.dumps() == first.selection.frozen.dumps()


def test_another_content_of_the_file_is_another_study(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    finished(read(), new_is_better)
    changed = read(file=FILE.replace("You sort items.", "You sort."))
    with pytest.raises(StudyChangedError, match="baseline changed; --fresh starts a new study") as refused:
        finished(changed, new_is_better)
    assert refused.value.exit_code == 2
    fresh = finished(changed, new_is_better, fresh=True)
    assert fresh.model.requests[0].messages[0].content == "You sort. Say red, green or blue."


def test_without_a_test_split_the_choice_is_cross_validated_against_it(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    plan = read(
        ("{train: 12, validation: 12, test: 30}", "{train: 12, validation: 42, test: 0}"),
        ("calls: 150", "calls: 400"),
    )
    outcome = finished(plan, new_is_better)
    assert outcome.evidence["protocol"] == "cross-validation"
    assert outcome.evidence["decision"] == "improved"
    assert outcome.selection.wording is None
    assert "imported from today.openai.json" in page(outcome.selection.frozen)


def test_robustness_and_scouting_know_a_baseline_of_another_file(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    plan = read(
        ("sizes: [0]", "sizes: [0, 2], sets: 6, selectors: [hard, bootstrapped, winners], scout: 30"),
        (
            "budget: {calls: 150}",
            "budget: {calls: 500}\nrobustness: {perturbations: [case, injection], examples: 10, repeats: 1}",
        ),
        ("styles: [direct]", "styles: [direct, chain_of_thought]"),
    )
    outcome = finished(plan, new_is_better)
    assert outcome.evidence["robustness"]["baseline"]["case"]["n"] == 10
    scouted = [request for request in outcome.model.requests if not is_todays(request)]
    train = {example.values["text"] for example in plan.dataset.train}
    assert any(request.messages[-1].content in train for request in scouted)
    assert not any(is_todays(r) and r.messages[-1].content in train for r in outcome.model.requests)


def test_a_baseline_that_does_not_show_every_input_is_measured_like_any_other(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    folder = read().folder
    rows = "".join(f"c{n:02d},Item {n} is here,mail,{LABELS[n % 3]}\n" for n in range(54))
    (folder / "data.csv").write_text("id,text,channel,colour\n" + rows, encoding="utf-8")
    task = (folder / "task.yaml").read_text(encoding="utf-8")
    (folder / "task.yaml").write_text(task.replace("[text]", "[text, channel]"), encoding="utf-8")
    study = (folder / "study.yaml").read_text(encoding="utf-8")
    study = study.replace("calls: 150", "calls: 500") + "robustness: {perturbations: [case], examples: 10}\n"
    (folder / "study.yaml").write_text(study, encoding="utf-8")
    plan = load_plan(folder / "study.yaml")
    outcome = finished(plan, today_is_best)
    assert outcome.evidence["imported"]["cautions"][0] == "the imported prompt does not show 'channel'"
    assert outcome.evidence["test"]["baseline"]["score"] == 1
    assert not any(is_todays(r) and "mail" in str(r.messages) for r in outcome.model.requests)
    assert any("mail" in str(request.messages) for request in outcome.model.requests)
    frozen = outcome.selection.frozen
    assert (frozen.style, frozen.inputs) == ("imported", ("text",))
    assert "imported from today.openai.json" in page(frozen)
    # The prompt is checked, scored and compared like any other.
    (folder / "prompt.json").write_text(frozen.dumps(), encoding="utf-8")
    found = verified(folder / "prompt.json")
    assert found.findings == ()
    assert found.rendered is not None
    assert len(found.rendered.alike) == 30
    job = Job(
        frozen=frozen,
        task=plan.task,
        spec=plan.model,
        examples=plan.dataset.test,
        asked={},
        run=RunSpec(),
        cache="private",
        database=folder / "store.db",
    )
    assert job_problems(job) == []
    assert asyncio.run(scored(job)) == 1
    named = entrants([frozen])
    places = seats(named, [Rival(label="m", spec=plan.model)], plan.task)
    assert findings(named, places, plan.task, plan.dataset, "test").problems == ()


async def scored(job: Job) -> float | None:
    async with open_job(job) as opened:
        return (await opened.evaluate()).value


def test_the_least_budget_holds_a_baseline_of_several_calls(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    text = Hole(name="input:text")
    messages = (
        MessageTemplate(role="system", parts=(TODAY[0]["content"],)),
        MessageTemplate(role="user", parts=(text,)),
    )
    said_before = MessageTemplate(role="assistant", parts=(Hole(name="completion:0"),))
    second = (messages[0], said_before, MessageTemplate(role="user", parts=("Sure? ", text)))
    template = PromptTemplate(
        calls=(CallTemplate(messages=messages), CallTemplate(messages=second)),
        answer=AnswerFormat(kind="label", labels=LABELS),
    )
    own = finished(read(), today_is_best).selection.frozen
    file = FrozenPrompt(
        **{name: getattr(own, name) for name in FrozenPrompt.__slots__} | {"template": template}
    ).dumps()
    least = read(file=file, name="two.prompt.json").bounds.least.calls
    # Every candidate is screened on all of validation: two calls of the baseline, one of the others.
    assert least == 2 * 12 + 12 + 2 * 12 + (2 * 30 + 30)
    plan = read(("calls: 150", f"calls: {least}"), file=file, name="two.prompt.json")
    outcome = finished(plan, new_is_better, fresh=True)
    assert outcome.spent.calls <= least
    assert outcome.evidence["decision"] == "improved"


def test_a_study_that_was_stopped_anywhere_goes_on_and_comes_to_the_same(
    read: Callable[..., StudyPlan],
    finished: Finished,
    play: Callable[..., None],
    run_virtual: Callable[..., Any],
) -> None:
    whole = finished(read(folder="whole/colours"), new_is_better)
    made = len(whole.model.requests)
    seen = list[Request]()

    async def stopped(after: int) -> None:
        def script(request: Request) -> str:
            seen.append(request)
            if len(seen) == after:
                study.stop()
            return new_is_better(request)

        play(Scripted(script))
        async with open_study(read()) as study:
            await optimize(study)

    for after in (3, made // 2, made - 20):
        with pytest.raises(InterruptedRunError):
            run_virtual(stopped(after))
    outcome = finished(read(), new_is_better)
    asked = [*seen, *outcome.model.requests]
    assert len(asked) == len(set(asked)) == made
    assert artifacts(outcome.plan, outcome.selection) == artifacts(whole.plan, whole.selection)


def test_what_is_wrong_with_the_file_ends_a_run_with_exit_code_2(
    read: Callable[..., StudyPlan], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = read()
    folder = Path(plan.source.file).parent
    (folder / "today.openai.json").write_text(json.dumps([{"role": "user", "content": "{{txt}}"}]))
    monkeypatch.chdir(folder)
    for arguments in (("run", "study.yaml"), ("validate", "task.yaml"), ("run", "--dry-run", "study.yaml")):
        monkeypatch.setattr(sys, "argv", ["optimizer", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        errors = capsys.readouterr().err
        assert (
            "task.yaml:7: baseline: today.openai.json: '{{txt}}' is the place of no input; did you mean 'text'?"
            in errors
        )
        assert "Traceback" not in errors
