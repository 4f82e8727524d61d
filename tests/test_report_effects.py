"""What was tried and what it brought: intervals that hold, nothing claimed where nothing is, and plain sentences."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optimizer.archive import open_archive
from optimizer.candidate import Instruction
from optimizer.completion import Request
from optimizer.contrasts import FEWEST_ARMS, contrasts
from optimizer.frozen import FrozenPrompt
from optimizer.language import ENGLISH, Language
from optimizer.plan import StudyPlan, load_plan
from optimizer.report._effects import effects
from optimizer.report._genealogy import genealogy
from optimizer.report._importance import FEWEST, importance

FRENCH = Language.of("fr")
SIZES = {"style": 3, "format": 4, "size": 3, "instruction": 8}
NULL = ("style", "instruction")
N_EXAMPLES = 60

Scores = dict[str, dict[str, float]]
Levels = dict[str, dict[str, str]]


def simulated(seed: int, *, n_arms: int, racing: bool) -> tuple[Scores, Levels, dict[str, list[float]]]:
    """Return scores, levels and true effects: two factors have none; arms and examples differ beside the factors.

    Where arms race, those that look best are given more examples, as many as the others together are denied.
    """
    random = np.random.default_rng(seed)
    true = {
        name: [0.0] * size if name in NULL else [float(each) for each in random.normal(0, 0.12, size)]
        for name, size in SIZES.items()
    }
    arms: list[dict[str, int]] = [dict.fromkeys(SIZES, 0)]
    while len(arms) < n_arms:
        arm = {name: int(random.integers(size)) for name, size in SIZES.items()}
        if arm not in arms:
            arms.append(arm)
    means = [sum(true[name][level] for name, level in arm.items()) + random.normal(0, 0.04) for arm in arms]
    easy = random.normal(0, 0.25, N_EXAMPLES)
    rates = np.clip(0.5 + np.array(means)[:, None] + easy, 0, 1)
    won = (random.random(rates.shape) < rates).astype(float)
    seen = np.full(n_arms, 8 if racing else 18)
    while racing and seen.sum() < 18 * n_arms:
        hope = [won[k, :n].mean() + 0.5 / n**0.5 if n < N_EXAMPLES else -1.0 for k, n in enumerate(seen)]
        seen[int(np.argmax(hope))] += 4
    if not racing:  # the best of a screening are confirmed
        seen[np.argsort(-won[:, :18].mean(axis=1), kind="stable")[:2]] = N_EXAMPLES
    names = [f"a{k:03}" for k in range(n_arms)]
    scores = {
        name: {f"e{j:02}": float(won[k, j]) for j in range(min(seen[k], N_EXAMPLES))}
        for k, name in enumerate(names)
    }
    levels = {name: {factor: str(at) for factor, at in arms[k].items()} for k, name in enumerate(names)}
    return scores, levels, true


def test_intervals_hold_and_factors_without_effect_are_seldom_claimed() -> None:
    held, claimed, told = [], [], []
    for seed in range(16):
        racing = bool(seed % 2)
        scores, levels, true = simulated(seed, n_arms=(12, 36)[seed // 2 % 2], racing=racing)
        found = contrasts(scores, levels, dict.fromkeys(SIZES, "0"), seed=seed)
        truth = [true[each.factor][int(each.level)] - true[each.factor][0] for each in found]
        held += [each.lower <= value <= each.upper for each, value in zip(found, truth, strict=True)]
        claimed += [any(each.claimed for each in found if each.factor == name) for name in NULL]
        told += [each.value * value > 0 for each, value in zip(found, truth, strict=True) if each.claimed]
    assert len(held) > 200
    assert np.mean(held) >= 0.93
    assert np.mean(claimed) <= 0.05
    # What is claimed is there, and it is not the case that nothing ever is.
    assert len(told) >= 10
    assert np.mean(told) > 0.95


def known(n_arms: int, effect: float, *, n_examples: int = 40, seed: int = 3) -> tuple[Scores, Levels]:
    """Return arms of which every second has a format with an effect, and every fifth another wording without one."""
    random = np.random.default_rng(seed)
    easy = random.normal(0, 0.2, n_examples)
    levels = {f"a{k:02}": {"format": "fg"[k % 2], "wording": f"i{k % 5}"} for k in range(n_arms)}
    scores = {
        name: {
            f"e{j}": float(random.random() < 0.4 + easy[j] + effect * (at["format"] == "g"))
            for j in range(n_examples)
        }
        for name, at in levels.items()
    }
    return scores, levels


def test_a_large_effect_is_found_and_what_goes_with_it_is_not() -> None:
    found = contrasts(*known(20, 0.3), {"format": "f", "wording": "i0"}, seed=0)
    by_level = {each.level: each for each in found}
    assert by_level["g"].claimed
    assert by_level["g"].value == pytest.approx(0.3, abs=0.1)
    assert by_level["g"].arms == 10
    assert (by_level["g"].fewest, by_level["g"].most) == (40, 40)
    assert not any(by_level[f"i{k}"].claimed for k in range(1, 5))


def test_the_order_of_arms_and_examples_does_not_matter() -> None:
    scores, levels = known(12, 0.2)
    turned = {arm: dict(reversed(row.items())) for arm, row in reversed(scores.items())}
    given = {"format": "f", "wording": "i0"}
    assert contrasts(scores, levels, given, seed=1) == contrasts(turned, levels, given, seed=1)


def test_too_few_arms_or_one_level_tell_nothing() -> None:
    scores, levels = known(FEWEST_ARMS - 1, 0.2)
    assert contrasts(scores, levels, {"format": "f"}, seed=0) == ()
    scores, levels = known(8, 0.2)
    assert contrasts(scores, levels, {"format": "unknown"}, seed=0) == ()
    same = {arm: {**at, "format": "f"} for arm, at in levels.items()}
    assert contrasts(scores, same, {"format": "f"}, seed=0) == ()
    equal = {arm: dict.fromkeys(row, 1.0) for arm, row in scores.items()}
    assert not any(
        each.claimed for each in contrasts(equal, levels, {"format": "f", "wording": "i0"}, seed=0)
    )


def test_what_changes_with_a_level_is_counted_with_it() -> None:
    random = np.random.default_rng(5)
    # Sets 1 and 2 are of two examples and help; none is set 0. The gain belongs to the size and its sets together.
    levels = {f"a{k:02}": {"size": "2" if k % 3 else "0", "set": f"d{k % 3}"} for k in range(18)}
    scores = {
        arm: {f"e{j}": float(random.random() < (0.7 if at["size"] == "2" else 0.3)) for j in range(60)}
        for arm, at in levels.items()
    }
    alone = contrasts(scores, levels, {"size": "0"}, seed=0)[0]
    together = contrasts(scores, levels, {"size": "0"}, seed=0, along={"size": ("set",)})[0]
    assert together.value > alone.value
    assert together.value == pytest.approx(0.4, abs=0.1)
    assert together.claimed


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
  instructions: {given: [Which colour is it?, "Say | the `colour`."], compose: false}
  demos: {sizes: [0, 2], sets: 2, selectors: [random]}
  styles: [direct, self_check]
  formats: [plain, json, xml]
  screen: 8
  sampler: {name: random_search, seed: 0}
budget: {calls: 1200}
"""


def said(request: Request) -> str:
    """Answer right where JSON is asked for, and red elsewhere."""
    text = "\n".join(message.content for message in request.messages)
    number = int(re.findall(r"Item (\d+) is here", text)[-1])
    colour = ("red", "green", "blue")[number % 3]
    if "JSON" in text:
        return json.dumps({"colour": colour})
    return "<colour>red</colour>" if "<colour>" in text else "red"


Finished = tuple[StudyPlan, FrozenPrompt]


@pytest.fixture
def study(write_study: Callable[..., Path], finished: Callable[..., Any]) -> Finished:
    plan = load_plan(write_study(TASK, STUDY, items=40))
    return plan, finished(plan, said).selection.frozen


def test_a_study_tells_what_brought_something_and_what_was_tried_in_vain(study: Finished) -> None:
    plan, frozen = study
    with open_archive(plan.database) as archive:
        found = effects(plan, frozen, archive, ENGLISH)
        assert found == effects(plan, frozen, archive, ENGLISH)
        french = effects(plan, frozen, archive, FRENCH)
        ranked = importance(plan, archive, ENGLISH)
        tree = genealogy(archive, frozen.fingerprint, ENGLISH)
        n_prompts = len({row.fingerprint for row in archive.trials if row.score is not None})
    assert n_prompts >= FEWEST
    (helped,) = found.helped
    told = re.fullmatch(
        r"The format json brought \+(\d+\.\d) points \(95 %: \+(\d+\.\d) to \+(\d+\.\d)\) over plain, on 8 to 16 "
        r"examples and \d+ prompts\.",
        helped,
    )
    assert told
    value, lower, upper = map(float, told.groups())
    assert 0 < lower < value < upper
    assert "The format xml was not distinguishable from plain." in found.vain
    assert "The style self_check was not distinguishable from direct." in found.vain
    assert "2 other wordings were not distinguishable from the first." in found.vain
    assert "Showing 2 demonstrations was not distinguishable from showing none." in found.vain
    assert len(found.table.rows) == len(found.found) == 1 + 2 + 2 + 1 + 2
    assert french.helped[0].startswith("Le format json a apporté +")
    assert french.table.columns[0].name == "choix"

    assert ranked.bars[0][0] == "format"
    assert sum(share for _, share in ranked.bars) == pytest.approx(1)
    assert f"from {n_prompts} prompts" in ranked.note

    assert [each.id for each in tree.instructions] == ["i0000", "i0001", "i0002"]
    assert sum(each.prompts for each in tree.instructions) == n_prompts
    assert sum(each.prompts for each in tree.demonstrations) == n_prompts
    assert [each.frozen for each in tree.instructions].count(True) == 1
    assert "1.000 on 16 examples" in {each.best for each in tree.instructions}
    check_ancestors(plan, frozen)
    check_scored(plan, frozen)


def test_what_the_frozen_prompt_has_is_not_told_as_tried_in_vain(study: Finished) -> None:
    plan, frozen = study
    with open_archive(plan.database) as archive:
        # Another prompt of the study, frozen in place of the winner, with three levels that were of no avail alone.
        shown = next(
            row.fingerprint
            for row in archive.trials
            if row.score is not None
            and (row.point["format"], row.point["style"]) == ("xml", "self_check")
            and row.point["instruction"] == "i0001"
        )
        other = dataclasses.replace(frozen, template=archive.templates[shown])
        before, found = (effects(plan, each, archive, ENGLISH) for each in (frozen, other))
    assert "The format xml was not distinguishable from plain." in before.vain
    vain = "\n".join(found.vain)
    assert "xml" not in vain
    assert "self_check" not in vain
    assert "1 other wording was not distinguishable from the first." in vain
    assert "style self_check, format xml, wording i0001 “Which colour is it?”" in found.own
    assert "on its own" not in before.own
    assert found.table == before.table
    assert found.scope == (
        "These figures are of validation, with 8 to 16 examples for a prompt, and drawn towards none as far as chance "
        "explains them."
    )


def said_where_listed(request: Request) -> str:
    """Answer right where the labels are listed, and red elsewhere."""
    text = "\n".join(message.content for message in request.messages)
    number = int(re.findall(r"Item (\d+) is here", text)[-1])
    return ("red", "green", "blue")[number % 3] if "The possible values" in text else "red"


def test_what_fills_the_slots_of_a_wording_is_told_slot_by_slot(
    write_study: Callable[..., Path], finished: Callable[..., Any]
) -> None:
    composed = (
        (
            '"Say | the `colour`."], compose: false',
            '"Say | the `colour`.", "Colour?", "Tell it."], compose: true',
        ),
        ("formats: [plain, json, xml]", "formats: [plain]"),
        ("sizes: [0, 2], sets: 2", "sizes: [0], sets: 0"),
        ("styles: [direct, self_check]", "styles: [direct]"),
    )
    plan = load_plan(write_study(TASK, STUDY, *composed, items=40))
    frozen = finished(plan, said_where_listed).selection.frozen
    with open_archive(plan.database) as archive:
        found, french = (effects(plan, frozen, archive, language) for language in (ENGLISH, FRENCH))
        assert any("labels" in wording.slots for wording in archive.instructions.values())
        ranked = importance(plan, archive, ENGLISH)
    assert ranked.bars[0][0] == "labels"
    assert ranked.bars[0][1] > 0.8
    (helped,) = found.helped
    assert re.match(
        r"Listing the labels brought \+\d+\.\d points \(95 %: .*\) over leaving it out, on 8 to 16", helped
    )
    assert french.helped[0].startswith("Énumérer les étiquettes a apporté +")
    assert "Opening with a role was not distinguishable from leaving it out." in found.vain
    assert "Ending with a rule for the answer was not distinguishable from leaving it out." in found.vain
    # The statement of the prompt that is frozen is told with what it has and not as tried in vain.
    assert "wording i0003" in found.own
    assert "3 other wordings were not distinguishable from the first." in found.vain
    assert [(each.factor, each.level, each.reference) for each in found.found] == [
        *(("instruction", f"i000{k}", "i0000") for k in range(1, 5)),
        ("role", "role", ""),
        ("labels", "labels", ""),
        ("rule", "rule", ""),
    ]
    assert list(found.table.rows[5].cells[:3]) == ["labels", "listed", "nothing"]


def test_of_a_few_prompts_nothing_is_told_and_it_is_said_from_how_many_on(
    write_study: Callable[..., Path], finished: Callable[..., Any]
) -> None:
    few = (
        ("formats: [plain, json, xml]", "formats: [plain]"),
        ("sizes: [0, 2], sets: 2", "sizes: [0], sets: 0"),
    )
    plan = load_plan(
        write_study(TASK, STUDY, *few, ("styles: [direct, self_check]", "styles: [direct]"), items=40)
    )
    frozen = finished(plan, said).selection.frozen
    with open_archive(plan.database) as archive:
        found, ranked = effects(plan, frozen, archive, ENGLISH), importance(plan, archive, FRENCH)
    assert (found.helped, found.own, found.vain, found.scope, found.table.rows) == ((), "", (), "", ())
    assert found.note == "What each choice brought can be told from 4 prompts on; 3 have scores."
    assert ranked.bars == ()
    assert ranked.note == "Ce qui a compté le plus se mesure à partir de 30 prompts\u202f; 3 ont un score."


def check_ancestors(plan: StudyPlan, frozen: FrozenPrompt) -> None:
    """Check that a tree holds every ancestor once, below the first of its parents that was there before it."""
    with open_archive(plan.database) as archive:
        family = grown(
            i0000=(), x=("i0000",), i0001=("x", "i0000"), lost=("i0000",), i0002=("later",), later=("i0002",)
        )
        other = dataclasses.replace(archive)
        vars(other)["instructions"] = family
        tree = genealogy(other, frozen.fingerprint, ENGLISH)
    assert [(each.id, each.depth, each.prompts > 0) for each in tree.instructions] == [
        ("i0000", 0, True),
        ("x", 1, False),
        ("i0001", 2, True),
        ("i0002", 0, True),
        ("later", 1, False),
    ]
    assert tree.instructions[2].parents == ("x", "i0000")
    assert "1 wordings" in tree.untried


def grown(**parents: tuple[str, ...]) -> Mapping[str, Instruction]:
    return {
        name: Instruction(id=name, text=f"wording {name}", origin="given", parents=of)
        for name, of in parents.items()
    }


def check_scored(plan: StudyPlan, frozen: FrozenPrompt) -> None:
    """Check that a tree counts the examples that have a score, not those that a prompt was asked about."""
    with open_archive(plan.database) as archive:
        rows = tuple(dataclasses.replace(row, errors=3) for row in archive.trials)
        other = dataclasses.replace(archive)
        vars(other)["trials"] = rows
        told = {each.best for each in genealogy(other, frozen.fingerprint, ENGLISH).instructions if each.best}
    assert told
    assert {best.split(" on ")[1] for best in told} <= {f"{row.n - 3} examples" for row in rows}
