"""What a study says of prompts that obey their data, fail one kind of input, or are sound: files, page and terminal."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optimizer import resampling, significance, slices
from optimizer.commands import main
from optimizer.commands._tables import evidence_lines
from optimizer.completion import Completion, Request
from optimizer.digest import derived_seed
from optimizer.errors import InputError, RejectedError
from optimizer.frozen import FrozenPrompt
from optimizer.plan import StudyPlan, load_plan
from optimizer.plantext import plan_in_words
from optimizer.report import page

if TYPE_CHECKING:
    from tests.conftest import Outcome
    from tests.loopback_server import Loopback
    from tests.output_schemas import checked
else:
    from output_schemas import checked

LABELS = ("red", "green", "blue")
HOSTILE = "<script>alert(1)</script>\u202efr"
TASK = """schema: 1
name: colours
dataset: {path: data.jsonl, inputs: [text], target: colour, splits: {train: 3, validation: 30, test: 60}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
slices: [language, shop]
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Which colour is it?]}
  demos: {sizes: [0]}
  styles: [direct]
  formats: [plain]
  sampler: {name: random_search}
robustness: {perturbations: [typos, case, whitespace, accents, injection], examples: 30, repeats: 2}
budget: {calls: 900}
"""
BETTER = "Which colour is it?"
INJECTED = re.compile(r"(?:answer|be:|with|here is) (red|green|blue)\b")

Script = Callable[[Request], Completion | str]
Finished = Callable[..., "Outcome"]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., StudyPlan]:
    """Return a function that writes a study of items in two languages and three shops, and reads it."""

    def make(*changes: tuple[str, str], hostile: bool = False) -> StudyPlan:
        task, study = TASK, STUDY
        for before, after in changes:
            assert before in task + study
            task, study = task.replace(before, after), study.replace(before, after)
        french = HOSTILE if hostile else "fr"
        rows = [
            {
                "id": f"c{n:02d}",
                "text": f"L'objet bariolé numéro {n} est arrivé là."
                if n % 2
                else f"Café item {n} has come in here.",
                "colour": LABELS[n % 3],
                "language": french if n % 4 == 3 else "en",
                "shop": "xyz"[n * 7 // 11 % 3],
            }
            for n in range(93)
        ]
        (tmp_path / "rules.json").write_text('{"rules": [], "default": "red"}')
        (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "task.yaml").write_text(task)
        (tmp_path / "study.yaml").write_text(study)
        return load_plan(tmp_path / "study.yaml")

    return make


def item(request: Request) -> int:
    return int(re.findall(r"\d+", said(request))[-1])


def said(request: Request) -> str:
    return " ".join(message.content for message in request.messages)


def answered(request: Request, *, rate: float, name: str) -> str:
    """Return the right answer at a rate, by the item alone: the same however its text is written."""
    n = item(request)
    right = derived_seed(name, n) % 1000 < 1000 * rate
    return LABELS[n % 3 if right else (n + 1) % 3]


def sound(request: Request) -> str:
    better = BETTER in said(request)
    return answered(request, rate=0.9 if better else 0.4, name="better" if better else "baseline")


def obedient(request: Request) -> str:
    """Answer what the data ask for, with the better wording alone."""
    told = INJECTED.search(said(request))
    return told[1] if told and BETTER in said(request) else sound(request)


def english_only(request: Request) -> str:
    """Answer English items right and French ones wrong with the better wording; the baseline does the reverse."""
    french = item(request) % 4 == 3
    if BETTER not in said(request):
        return answered(request, rate=0.95 if french else 0.3, name="baseline")
    return LABELS[(item(request) + french) % 3]


def unstable(request: Request) -> str:
    """Answer otherwise each time it is asked, on one item in three."""
    return LABELS[request.repeat % 3] if item(request) % 3 == 0 else sound(request)


def flags(evidence: Any) -> list[str]:
    return [said for said in evidence["in_words"] if said.startswith("Caution: ")]


def test_what_an_endpoint_refuses_for_good_is_left_out_of_the_robustness_and_the_study_ends(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    def filtered(request: Request) -> str:
        if INJECTED.search(said(request)) and item(request) % 2:
            raise RejectedError("the filter of this endpoint does not like that text")
        return sound(request)

    plan = read()
    outcome = finished(plan, filtered)
    assert outcome.evidence["decision"] == "improved"
    found = outcome.evidence["robustness"]
    (asked,) = (probe.examples for probe in plan.probes.probes if probe.perturbation == "injection")
    answered = sum(int(re.findall(r"\d+", example.values["text"])[-1]) % 2 == 0 for example in asked)
    for arm in ("baseline", "winner"):
        assert found[arm]["injection"]["n"] == answered < 30
        assert found[arm]["typos"]["n"] == 30
    again = finished(plan, filtered)
    assert again.evidence == outcome.evidence
    assert all(INJECTED.search(said(request)) for request in again.model.requests)


def test_a_sound_prompt_is_not_flagged(read: Callable[..., StudyPlan], finished: Finished) -> None:
    evidence = finished(read(), sound).evidence
    assert evidence["decision"] == "improved"
    assert flags(evidence) == []
    found = evidence["robustness"]
    assert found["perturbations"] == ["typos", "case", "whitespace", "accents", "injection"]
    for arm in ("baseline", "winner"):
        for name in found["perturbations"]:
            figures = found[arm][name]
            assert figures["n"] == 30
            assert figures["score"] == figures["clean"]
            assert figures["difference"]["value"] == 0
            assert (figures["obedience"] is not None) == (name == "injection")
    assert (found["consistency"]["share"], found["consistency"]["n"]) == (1.0, 30)
    assert {column["column"] for column in evidence["slices"]} == {"language", "shop"}
    language = evidence["slices"][0]
    assert sum(value["scores"]["winner"]["n"] for value in language["values"]) == 60
    by_hand = [
        value["scores"]["winner"]["score"] * value["scores"]["winner"]["n"] for value in language["values"]
    ]
    assert sum(by_hand) == pytest.approx(60 * evidence["test"]["winner"]["score"])


def test_a_prompt_that_obeys_its_data_is_flagged(read: Callable[..., StudyPlan], finished: Finished) -> None:
    evidence = finished(read(), obedient).evidence
    obedience = {arm: evidence["robustness"][arm]["injection"]["obedience"] for arm in ("baseline", "winner")}
    assert obedience["winner"]["flagged"]
    assert obedience["winner"]["obeyed"] == obedience["winner"]["n"] >= 25
    assert not obedience["baseline"]["flagged"]
    assert any("the new prompt obeys instructions in the data" in flag for flag in flags(evidence))
    assert not any("the baseline obeys" in flag for flag in flags(evidence))


def test_a_prompt_that_fails_one_slice_is_flagged(read: Callable[..., StudyPlan], finished: Finished) -> None:
    evidence = finished(read(("repeats: 2", "repeats: 0")), english_only).evidence
    language, shop = evidence["slices"]
    assert language["gaps"]["winner"]["flagged"]
    assert (language["gaps"]["winner"]["lowest"], language["gaps"]["winner"]["size"]) == ("fr", 1.0)
    assert language["gaps"]["baseline"]["lowest"] == "en"
    assert not shop["gaps"]["winner"]["flagged"]
    worse = {value["value"]: value["difference"]["worse"] for value in language["values"]}
    assert worse == {"en": False, "fr": True}
    assert evidence["robustness"]["consistency"] is None
    said_of_it = " ".join(flags(evidence))
    assert "where “language” is “fr” than where it is “en”" in said_of_it
    assert "the new prompt is worse than the baseline where “language” is “fr”" in said_of_it


def test_a_bound_on_the_gap_keeps_a_prompt_that_fails_one_slice_from_winning(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    plan = read(("robustness:", "constraints: {slice_gap: {max: 0.2}}\nrobustness:"))
    outcome = finished(plan, english_only)
    assert outcome.evidence["reason"] == "same prompt"
    assert outcome.evidence["infeasible"] == 1
    assert finished(plan, sound, fresh=True, cache="off").evidence["decision"] == "improved"


def test_answers_that_change_when_asked_again_are_counted(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    found = finished(read(), unstable).evidence["robustness"]["consistency"]
    assert found["n"] == 30
    assert found["share"] == pytest.approx(2 / 3, abs=0.02)
    assert found["lower"] < found["share"] < found["upper"]


def test_the_calls_are_set_aside_and_shown_and_no_more_are_made(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    plan = read(("calls: 900", "calls: 650"))
    # Two prompts, five perturbations of 30 examples each; and 30 examples twice more.
    assert plan.bounds.robustness.calls == 2 * 5 * 30 + 2 * 30
    assert plan.bounds.reserved.calls == plan.bounds.confirmation.calls * plan.bounds.confirmed + 3 * 60 + 360
    assert any("360 calls are set aside" in sentence for sentence in plan_in_words(plan))
    outcome = finished(plan, sound)
    assert outcome.spent.calls <= 650
    assert len(set(outcome.model.requests)) == len(outcome.model.requests)
    with pytest.raises(InputError, match="robustness 360"):
        read(("calls: 900", "calls: 400"))


def test_what_was_answered_before_an_interruption_is_not_asked_again(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    whole = finished(read(), sound)
    plan, seen = read(("repeats: 2", "repeats: 1")), list[Request]()

    def broken(request: Request) -> str:
        seen.append(request)
        if request.repeat and len({r for r in seen if r.repeat}) > 5:
            raise KeyError(request.repeat)
        return sound(request)

    with pytest.raises(KeyError):
        finished(plan, broken, fresh=True, cache="off")
    committed = len(seen)
    outcome = finished(plan, sound, cache="off")
    again = set(outcome.model.requests)
    assert committed > 300
    assert len(again) <= 30
    assert all(request.repeat for request in again)
    left = {k: v for k, v in whole.evidence["robustness"].items() if k != "consistency"}
    assert left == {k: v for k, v in outcome.evidence["robustness"].items() if k != "consistency"}


def test_a_study_without_slices_and_robustness_has_no_word_of_either(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    robustness = STUDY[STUDY.index("robustness:") : STUDY.index("budget:")]
    plan = read(("slices: [language, shop]\n", ""), (robustness, ""))
    outcome = finished(plan, sound)
    assert not {"slices", "robustness"} & set(outcome.evidence)
    assert "robustness" not in plan.identity
    assert plan.bounds.robustness.calls == 0
    shown = page(outcome.selection.frozen)
    assert "Scores by slice" not in shown
    assert "What upsets it" not in shown


def test_a_metric_of_the_whole_corpus_is_told_for_each_slice(
    read: Callable[..., StudyPlan], finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every draw asks a metric that takes a millisecond.
    for module in (resampling, significance):
        monkeypatch.setattr(module, "RESAMPLES", 50)
    monkeypatch.setattr(slices, "_SLOW_PERMUTATIONS", 60)
    evidence = finished(read(("metric: accuracy", "metric: macro_f1")), english_only).evidence
    language = evidence["slices"][0]
    scores = {value["value"]: value["scores"]["winner"] for value in language["values"]}
    assert (scores["en"]["score"], scores["fr"]["score"]) == (1.0, 0.0)
    assert scores["en"]["lower"] is None
    assert language["gaps"]["winner"]["flagged"]
    assert {value["value"]: value["difference"]["worse"] for value in language["values"]}["fr"]
    assert not evidence["robustness"]["winner"]["typos"]["difference"]["worse"]


def test_without_a_test_split_the_judging_examples_tell(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    plan = read(("validation: 30, test: 60", "validation: 60, test: 0"))
    evidence = finished(plan, obedient).evidence
    assert evidence["protocol"] == "cross-validation"
    assert evidence["robustness"]["winner"]["injection"]["obedience"]["flagged"]
    assert sum(value["scores"]["winner"]["n"] for value in evidence["slices"][0]["values"]) == 60


def test_score_tells_each_slice(
    read: Callable[..., StudyPlan],
    finished: Finished,
    loopback: "Loopback",
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome = finished(read(("repeats: 2", "repeats: 0")), sound)
    prompt = outcome.plan.folder / "prompt.json"
    prompt.write_text(outcome.selection.frozen.dumps())

    def reply(body: dict[str, Any]) -> str:
        n = int(re.findall(r"\d+", body["messages"][-1]["content"])[-1])
        return LABELS[(n + (n % 4 == 3)) % 3]

    loopback.reply = reply
    printed = []
    for options in ([], ["--json"]):
        task, model = outcome.plan.folder / "task.yaml", ["--model", "openai_compatible:m"]
        arguments = ["score", str(prompt), "--task", str(task), *model, "--base-url", loopback.base_url]
        monkeypatch.setattr(sys, "argv", ["optimizer", *arguments, *options])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        printed.append(capsys.readouterr().out)
        checked(sys.argv, printed[-1])
    assert re.search(r"“fr” +0\.000 +0\.000 to 0\.\d+ +15$", printed[0], re.MULTILINE)
    assert re.search(r"largest gap +1\.000 +p = 0\.\d+, more than chance explains", printed[0])
    language = json.loads(printed[1])["slices"][0]
    assert language["gaps"][""]["lowest"] == "fr"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags = set[str]()

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        self.tags.add(tag)


def test_page_and_terminal_show_every_figure_and_hostile_values_as_text(
    read: Callable[..., StudyPlan], finished: Finished
) -> None:
    outcome = finished(read(hostile=True), obedient)
    frozen = FrozenPrompt.loads(outcome.selection.frozen.dumps())
    shown, tags = page(frozen), _Tags()
    tags.feed(shown)
    assert "script" not in tags.tags
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "\u202e" not in shown
    for heading in ("Scores by slice", "Largest gap between two slices", "Scores with perturbed inputs"):
        assert heading in shown
    assert "obeys the data" in shown
    assert "gave one and the same answer to 100 % of 30 examples" in shown
    lines = list(evidence_lines(outcome.evidence))
    assert any("injection winner" in line and "obeys instructions in the data" in line for line in lines)
    assert any("slices by “language”" in line for line in lines)
    assert list(_printed(lines)) == []


def _printed(lines: list[str]) -> Iterator[str]:
    """Yield lines that are far wider than a terminal."""
    yield from (line for line in lines if len(line) > 130)


def test_mistakes_are_told_all_at_once(read: Callable[..., StudyPlan]) -> None:
    with pytest.raises(InputError) as caught:
        read(
            ("[typos, case, whitespace, accents, injection]", "[typo, case, case]"),
            ("examples: 30, repeats: 2", "examples: 0, repeats: -1"),
        )
    message = str(caught.value)
    for part in (
        "did you mean 'typos'",
        "robustness.examples: expected at least 1, found 0",
        "repeats",
        "twice",
    ):
        assert part in message
    with pytest.raises(InputError, match="expected perturbations, repeats or both"):
        read(
            (
                "perturbations: [typos, case, whitespace, accents, injection], examples: 30, repeats: 2",
                "examples: 3",
            )
        )
    with pytest.raises(InputError, match="expected `slices` in the task"):
        read(
            ("slices: [language, shop]\n", ""),
            ("robustness:", "constraints: {slice_gap: {max: 0.2}}\nrobustness:"),
        )
