"""The front of prompts, what it is drawn of, which to take, and the prompts on it as files of their own."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from optimizer.archive import Call, open_archive
from optimizer.completion import Completion, Request
from optimizer.errors import InputError
from optimizer.frozen import FrozenPrompt
from optimizer.historytable import load_history
from optimizer.language import ENGLISH, Language
from optimizer.plan import StudyPlan, load_plan
from optimizer.recording import read_records
from optimizer.report import page, study_page
from optimizer.report._arms import arms
from optimizer.report._block import block
from optimizer.report._break_even import break_even
from optimizer.report._front_prompts import front_prompts
from optimizer.report._fronts import Front, FrontPoint, _figure, study_front
from optimizer.report._matching import matched, widest
from optimizer.report._plots import plots
from optimizer.report._reading import ABSENT
from optimizer.report._telling import Teller
from optimizer.taskfile import MetricSpec

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 8, validation: 16, test: 16}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Which colour is it?], compose: false}
  demos: {sizes: [0, 2], sets: 1, selectors: [random]}
  styles: [direct, self_check]
  formats: [plain, json]
  screen: 8
  sampler: {name: random_search, seed: 0}
pareto: [cost, seconds, output_tokens]
constraints: {tokens: {max: 400}}
budget: {calls: 900, prices: {rules: {input: 1000, output: 4000}}}
"""


def said(request: Request) -> Completion:
    """Answer right where JSON is asked for, at length, and red elsewhere; what is read costs a token a character."""
    text = "\n".join(message.content for message in request.messages)
    number = int(re.findall(r"Item (\d+) is here", text)[-1])
    colour = ("red", "green", "blue")[number % 3]
    answer, written = (json.dumps({"colour": colour}), 30) if "JSON" in text else ("red", 1)
    return Completion(text=answer, prompt_tokens=len(text), completion_tokens=written)


@pytest.fixture
def study(write_study: Callable[..., Path], finished: Callable[..., Any]) -> tuple[StudyPlan, FrozenPrompt]:
    plan = load_plan(write_study(TASK, STUDY, items=40))
    return plan, finished(plan, said, seconds=lambda request: len(request.messages) / 8).selection.frozen


def front_of(plan: StudyPlan, frozen: FrozenPrompt, code: str = "en") -> Front:
    language = Language.of(code)
    with open_archive(plan.database) as archive:
        answers = archive.completions(archive.scores)
        found = arms(plan, frozen, archive, answers, Teller(language))
        return study_front(plan, frozen, archive, found, answers, language)


def beats(one: FrontPoint, other: FrontPoint) -> bool:
    """Return whether one prompt is nowhere worse than another and somewhere better; less is better in each measure."""
    pairs = [(-one.estimate, -other.estimate)]
    for name, value in one.measures.items():
        against = other.measures[name]
        assert value is not None
        assert against is not None
        pairs.append((value, against))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def test_what_answers_without_usage_cost_is_told_as_unknown(
    write_study: Callable[..., Path], finished: Callable[..., Any]
) -> None:
    path = write_study(TASK, STUDY.replace("constraints: {tokens: {max: 400}}\n", ""), items=40)

    def silent(request: Request) -> Completion:
        return dataclasses.replace(said(request), prompt_tokens=0, completion_tokens=0)

    plan = load_plan(path)
    frozen = finished(plan, silent).selection.frozen
    assert frozen.evidence["saving"] is None
    assert frozen.evidence["test"]["winner"]["metrics"]["tokens"] is None
    assert {(row["prompt_tokens"], row["completion_tokens"], row["cost_usd"]) for row in frozen.history} == {
        (None, None, None)
    }
    written = load_history(plan.database)
    assert written[["prompt_tokens", "completion_tokens", "cost_usd"]].isna().all().all()
    with open_archive(plan.database) as archive:
        answers = archive.completions(archive.scores)
        assert answers
        found = arms(plan, frozen, archive, answers, Teller(ENGLISH))
        by_trial = arms(plan, frozen, archive, {}, Teller(ENGLISH))  # where no answer is left
        assert {(arm.tokens, arm.cost) for arm in (*found, *by_trial)} == {(None, None)}
        cells = block(plan, archive, found, answers, Teller(ENGLISH))["cells"]
        calls = [call for arm in cells for cell in arm for call in cell[6] or ()]
        assert {(call[2], call[3]) for call in calls} == {(None, None)}
    front = front_of(plan, frozen)
    assert {point.measures["cost"] for point in front.points} == {None}
    assert front.notes[-1].endswith("and so no part of the front: cost, output_tokens.")
    assert front_of(plan, frozen, "fr").notes[-1].startswith("Inconnu pour tous les prompts")


@pytest.mark.parametrize("sampler", ["random_search", "joint"])
def test_a_constraint_that_no_answer_tells_ends_the_study_with_its_baseline_and_loses_nothing(
    write_study: Callable[..., Path], finished: Callable[..., Any], sampler: str
) -> None:
    path = write_study(TASK, STUDY, ("name: random_search", f"name: {sampler}"), items=40)
    asked = list[Request]()

    def silent(request: Request) -> Completion:
        asked.append(request)
        return dataclasses.replace(said(request), prompt_tokens=0, completion_tokens=0)

    with pytest.raises(InputError, match=r"constraints\.tokens: cannot be measured"):
        finished(load_plan(path), silent)
    first = len(asked)
    assert first == 8  # the screen
    with pytest.raises(InputError, match=r"constraints\.tokens: cannot be measured"):
        finished(load_plan(path), silent)
    assert len(asked) == first


def test_the_front_is_what_no_other_prompt_beats_and_each_of_it_is_a_prompt_that_can_be_loaded(
    study: tuple[StudyPlan, FrozenPrompt], tmp_path: Path
) -> None:
    plan, frozen = study
    front = front_of(plan, frozen)
    assert front.measures == ("cost", "seconds", "output_tokens")
    assert len(front.points) > 4
    for point in front.points:
        assert point.front == (not any(beats(other, point) for other in front.points))
        row = point.arm.row
        assert row is not None
        assert row.feasible
        assert point.measures["cost"] == point.arm.cost
        assert point.measures["seconds"] == point.arm.seconds
    assert [point.estimate for point in front.points] == sorted(
        (p.estimate for p in front.points), reverse=True
    )
    on_it = [point for point in front.points if point.front]
    assert len(on_it) > 1
    assert len(front.table.rows) == len(on_it)
    (picked,) = [point for point in front.points if point.picked]
    assert picked.front
    assert picked.arm.score == 1.0
    assert front.rule.endswith(f"Here that is {picked.arm.name}.")
    check_same_examples(plan, frozen, front)
    check_expected(plan, frozen, front)
    check_files(plan, frozen, on_it, tmp_path)
    check_usual_measure(plan, frozen)
    check_break_even(plan, frozen)


def test_a_front_against_a_measure_of_which_more_is_better_says_so_and_tells_shares_in_per_cent(
    study: tuple[StudyPlan, FrozenPrompt],
) -> None:
    plan, frozen = study
    for code, right, left in (("en", "to the right", "to the left"), ("fr", "à droite", "à gauche")):
        say = Teller(Language.of(code))
        against = dataclasses.replace(plan, file=dataclasses.replace(plan.file, pareto=("valid", "cost")))
        front = front_of(against, frozen, code)
        drawn = {plot.name: plot.caption for plot in plots((), front, say)}
        assert right in drawn["against-valid"]
        assert left not in drawn["against-valid"]
        assert left in drawn["against-cost"]
        columns = [column.name for column in front.table.columns]
        cells = {row.cells[columns.index(say.t("valid"))] for row in front.table.rows}
        assert cells == {say.share(point.measures["valid"]) for point in front.points if point.front}
        with open_archive(plan.database) as archive:
            html = study_page(against, frozen, archive, code)
        assert f"{say.t('expected score')}, {say.t('valid')}, {say.t('cost')}." in html
        assert not re.search(r"in score with fewer tokens|en score avec moins de tokens", html)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("valid", 0.955, "95.5 %"),
        ("refusal", 0.04, "4 %"),
        ("cost", 2.3e-7, "0.000000230 USD"),
        ("cost", 0.0, "0.000000 USD"),
        ("seconds", 0.00012, "0.000120"),
        ("tokens", 12.0, "12.0"),
        ("tokens", None, ABSENT),
    ],
)
def test_a_figure_of_the_front_stands_with_its_unit_and_is_not_0_unless_it_is_nothing(
    name: str, value: float | None, told: str
) -> None:
    assert _figure(name, value, Teller(ENGLISH)) == told


def check_same_examples(plan: StudyPlan, frozen: FrozenPrompt, front: Front) -> None:
    """Check that prompts that saw fewer examples are compared on those that the widest prompt saw as well."""
    validation = {example.id for example in plan.dataset.validation}
    with open_archive(plan.database) as archive:
        answers = archive.completions(archive.scores)
        trials = {row.fingerprint: row for row in archive.trials}
    taken: dict[str, dict[str, int]] = {}
    for (name, example), several in answers.items():
        if example in validation:
            taken.setdefault(name, {})[example] = sum(each.completion_tokens for each in several)
    sizes = {name: len(row) for name, row in taken.items()}
    assert sorted(set(sizes.values())) == [8, 16]
    evidence: Mapping[str, Any] = frozen.evidence
    baseline: str = evidence["baseline_fingerprint"]
    first = baseline if sizes[baseline] == 16 else max(name for name, n in sizes.items() if n == 16)
    for point in front.points:
        mine, theirs = taken[point.arm.fingerprint], taken[first]
        gap = sum(mine[one] - theirs[one] for one in mine) / len(mine)
        assert point.measures["output_tokens"] == pytest.approx(sum(theirs.values()) / 16 + gap)
    told = front.notes[-1]
    assert "on the same examples, of which the baseline answered the most, 16 of them." in told
    assert trials[first].score is not None


def check_expected(plan: StudyPlan, frozen: FrozenPrompt, front: Front) -> None:
    """Check that what a prompt is expected to score is the same wherever it is told."""
    expected = {point.arm.fingerprint: point.estimate for point in front.points}
    evidence: Mapping[str, Any] = frozen.evidence
    for role in ("baseline", "winner"):
        assert expected[evidence[f"{role}_fingerprint"]] == evidence["validation"][role]["estimate"]
    # What breaks a constraint is on no front, and tells of its wording and style all the same.
    assert len(expected) < len({row["digest"] for row in frozen.history})
    assert front.notes[0].startswith(
        "The expected score is what the scores of all prompts together say of one prompt"
    )


def test_tokens_of_prompts_that_saw_other_examples_are_compared_on_those_that_both_saw() -> None:
    figures = {
        "winner": {"short": 60.0, "middle": 70.0, "long": 110.0},
        "baseline": {"short": 65.0, "middle": 75.0},
        "long one": {"long": 100.0},
        "other": {"elsewhere": 5.0},
        "none": {},
    }
    # The winner saw the most: 80 an example. The baseline takes 5 more on the two that both saw, though its own mean is
    # 70; the prompt that saw the long example alone takes 10 less, though its own mean is 100.
    assert matched(figures, "baseline") == {"winner": 80.0, "baseline": 85.0, "long one": 70.0}
    assert widest(figures, "baseline") == ("winner", 3, False)
    alike = {"a": {"x": 1.0, "y": 4.0}, "b": {"x": 2.0, "y": 2.0}}
    assert matched(alike, "b") == {"a": 2.5, "b": 2.0}
    assert widest(alike, "a") == ("a", 2, True)
    assert widest(alike, "") == ("b", 2, True)
    assert matched({"a": {"x": 9.0, "y": 1.0}, "b": {"x": 0.0}}, "a") == {"a": 5.0, "b": 0.0}
    assert matched({"a": {}}, "a") == {}


def check_files(plan: StudyPlan, frozen: FrozenPrompt, on_it: list[FrontPoint], folder: Path) -> None:
    """Check the files of a front."""
    with open_archive(plan.database) as archive:
        made = front_prompts(plan, frozen, archive)
        assert made == front_prompts(plan, frozen, archive)
        templates, scores = dict(archive.templates), archive.scores
    assert len(made) == len(on_it)
    assert {prompt.fingerprint for prompt in made.values()} == {point.arm.fingerprint for point in on_it}
    for name, prompt in made.items():
        assert re.fullmatch(r"(baseline|winner|trial-\d{4})\.json", name)
        path = folder / name
        path.write_text(prompt.dumps(), encoding="utf-8")
        loaded = FrozenPrompt.load(path)
        assert loaded == prompt
        assert loaded.template == templates[loaded.fingerprint]
        evidence: Mapping[str, Any] = loaded.evidence
        assert evidence["frozen"] == "front"
        assert evidence["tested"] == (name in ("baseline.json", "winner.json"))
        assert ("It was never tested." in evidence["in_words"]) == (not evidence["tested"])
        assert "test" not in evidence
        assert "seconds" not in evidence["front"]["measures"]
        records = read_records(loaded.records)
        assert records is not None
        assert records.split == "validation"
        kept = scores[loaded.fingerprint]
        assert {row.id: row.score for row in records.rows} == {
            each.id: kept[each.id].score for each in plan.dataset.validation if each.id in kept
        }
        assert all(row.completion for row in records.rows)
        assert "was never tested" in page(loaded) or evidence["tested"]


def check_usual_measure(plan: StudyPlan, frozen: FrozenPrompt) -> None:
    """Check what is drawn and written where no front is asked for."""
    unasked = dataclasses.replace(plan, file=dataclasses.replace(plan.file, pareto=()))
    assert front_of(unasked, frozen).measures == ("tokens",)
    assert front_of(unasked, frozen, "fr").rule.startswith("Lequel prendre\u00a0: le score le plus élevé")
    with open_archive(plan.database) as archive:
        assert front_prompts(unasked, frozen, archive) == {}
    # Of a metric of the whole corpus there is no effect of a single example to shrink.
    task = dataclasses.replace(plan.task, metric="macro_f1", specs={"macro_f1": MetricSpec(name="macro_f1")})
    whole = front_of(dataclasses.replace(unasked, task=task), frozen)
    assert [point.estimate for point in whole.points] == [point.arm.score for point in whole.points]
    assert [p.estimate for p in front_of(unasked, frozen).points] != [
        point.estimate for point in whole.points
    ]


def check_break_even(plan: StudyPlan, frozen: FrozenPrompt) -> None:
    """Check when a search is repaid: in dollars, in tokens, and never."""
    answers = {
        ("p", str(k)): (Completion(text="", prompt_tokens=90, completion_tokens=10, key=f"k{k % 80}"),)
        for k in range(100)
    }

    others = [Call(key="r", payer=0, role="", prompt_tokens=1500, completion_tokens=500, usd=0.0)]

    def told(language: Language = ENGLISH, beside: Sequence[Call] = (), **saving: object) -> str:
        figures = {"unit": "tokens", "value": -40.0, "lower": -50.0, "upper": -30.0, **saving}
        evidence = {"winner_fingerprint": "w", "baseline_fingerprint": "b", "saving": figures}
        return break_even(plan, dataclasses.replace(frozen, evidence=evidence), answers, beside, language)

    # 80 answers of 100 tokens; those that two prompts share were paid for once.
    assert told() == (
        "An example takes 40.0 tokens less with the new prompt than with the baseline: after 200 of them that has repaid "
        "the 8,000 tokens of the whole study."
    )
    # So do calls that no prompt's score is made of, such as those of robustness.
    assert "after 250 of them that has repaid the 10,000 tokens" in told(beside=others)
    assert "les 8\u202f000 tokens de toute l’étude" in told(Language.of("fr"))
    # 90 tokens read at a thousandth of a dollar, 10 written at four thousandths: 0.13 an answer.
    assert told(unit="usd", value=-0.01, upper=-0.005) == (
        "An example costs 0.010000 US dollars less with the new prompt than with the baseline: after 1,040 of them that "
        "has repaid the 10.4000 US dollars that the answers of the whole study cost."
    )
    assert told(value=0.0, upper=0.0).endswith("savings never repay the study.")
    assert told(value=3.0, upper=5.0).endswith("savings never repay the study.")
    assert told(upper=1.0).endswith("whether savings repay the study is not known.")
    assert told(value=None) == ""
    # What some answer took is not known, and not nothing.
    silent = {**answers, ("p", "100"): (Completion(text="red", key="silent"),)}
    for unit in ("tokens", "usd"):
        saving = {"unit": unit, "value": -40.0, "lower": -50.0, "upper": -30.0}
        evidence = {"winner_fingerprint": "w", "baseline_fingerprint": "b", "saving": saving}
        asked = dataclasses.replace(frozen, evidence=evidence)
        assert break_even(plan, asked, silent, (), ENGLISH).endswith("do not state their tokens.")
        assert break_even(plan, asked, silent, (), Language.of("fr")).endswith(
            "n’indiquent pas leurs tokens."
        )
    # A hundredth of a cent is no zero.
    cheap = dict[tuple[str, str], tuple[Completion, ...]]()
    one = [Call(key="r", payer=0, role="", prompt_tokens=1, completion_tokens=0, usd=0.0)]
    thousandth = dataclasses.replace(
        plan.file.budget, prices={"rules": dataclasses.replace(plan.file.budget.prices["rules"], input=0.05)}
    )
    file = dataclasses.replace(plan.file, budget=thousandth)
    small = {"unit": "usd", "value": -1e-9, "lower": -2e-9, "upper": -1e-10}
    evidence = {"winner_fingerprint": "w", "baseline_fingerprint": "b", "saving": small}
    asked = dataclasses.replace(frozen, evidence=evidence)
    said_of_little = break_even(dataclasses.replace(plan, file=file), asked, cheap, one, ENGLISH)
    assert "has repaid the 0.0000000500 US dollars" in said_of_little
    # Nothing is saved where the baseline goes on.
    for value in (-40.0, 3.0):
        saving = {"unit": "tokens", "value": value, "lower": value - 1, "upper": value + 1}
        kept = {**evidence, "saving": saving, "frozen": "baseline"}
        assert break_even(plan, dataclasses.replace(frozen, evidence=kept), answers, (), ENGLISH) == (
            "The baseline is kept, so an example costs what it cost before: nothing repays the study."
        )
    same = dataclasses.replace(frozen, evidence={"saving": {"value": -1.0, "upper": -1.0}})
    assert break_even(plan, same, answers, (), ENGLISH) == ""
