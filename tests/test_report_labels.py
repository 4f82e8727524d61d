"""Right by label: the counts of the examples that were judged, and which labels are never answered or never right."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from optimizer.archive import open_archive
from optimizer.completion import Request
from optimizer.frozen import FrozenPrompt
from optimizer.language import ENGLISH, Language
from optimizer.plan import StudyPlan, load_plan
from optimizer.report import study_page
from optimizer.report._guide import guide
from optimizer.report._labels import FEWEST, by_label
from optimizer.report._telling import Teller

# Of grey there are too few examples to say anything of it.
LABELS = ("red", "green", "blue", "gold", "grey")
TASK = f"""schema: 1
name: colours
dataset:
  path: data.csv
  inputs: [text]
  target: colour
  splits: {{train: 8, validation: 16, test: 51}}
output: {{type: label, labels: [{", ".join(LABELS)}]}}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Which colour is it?, Say the colour.], compose: false}
  demos: {sizes: [0], sets: 0}
  styles: [direct]
  formats: [plain, json]
  screen: 8
  sampler: {name: random_search, seed: 0}
budget: {calls: 700}
"""


def colour(number: int) -> str:
    return "grey" if number % 20 == 19 else LABELS[number % 4]


def said(request: Request) -> str:
    """Say red where nothing else is asked for; in JSON never blue, and gold for some red and for nothing that is gold."""
    text = "\n".join(message.content for message in request.messages)
    number = int(re.findall(r"Item (\d+) is here", text)[-1])
    if "JSON" not in text:
        return "red"
    answers = {"red": "gold" if number % 24 == 0 else "red", "green": "green"}
    return f'{{"colour": "{answers.get(colour(number), "red")}"}}'


@pytest.fixture
def study(write_study: Callable[..., Path], finished: Callable[..., Any]) -> tuple[StudyPlan, FrozenPrompt]:
    path = write_study(TASK, STUDY, items=1)
    rows = [f"c{n:02d},Item {n} is here,{colour(n)}\n" for n in range(75)]
    path.with_name("data.csv").write_text("id,text,colour\n" + "".join(rows))
    plan = load_plan(path)
    return plan, finished(plan, said).selection.frozen


def test_labels_are_counted_on_the_judged_examples_and_those_never_right_are_named(
    study: tuple[StudyPlan, FrozenPrompt],
) -> None:
    plan, frozen = study
    assert frozen.evidence["frozen"] == "winner"
    n, expected = counted(plan)
    with open_archive(plan.database) as archive:
        found = by_label(plan, frozen, archive, Teller(ENGLISH))
    assert [column.name for column in found.table.columns] == [
        *("label", "examples", "baseline right", "new prompt right", "answers of the frozen prompt"),
    ]
    shown = {row.cells[0].strip("“”"): tuple(map(int, row.cells[1:])) for row in found.table.rows}
    assert shown == expected
    assert list(shown) == ["blue", "gold", "grey", "red", "green"]
    assert n["grey"] < FEWEST <= min(n[label] for label in LABELS[:4])
    assert found.cautions == (
        f"Caution: the new prompt never answers “blue”, which would be right for {n['blue']} of 51 examples.",
        (
            f"Caution: the new prompt is never right on the {n['gold']} of 51 examples of “gold”; all its answers of "
            f"that kind ({expected['gold'][3]}) are wrong."
        ),
    )


def counted(plan: StudyPlan) -> tuple[Mapping[str, int], dict[str, tuple[int, int, int, int]]]:
    """Return how many examples of the test each label has, and the figures of its row, from the script alone."""
    numbers = [int(example.id[1:]) for example in plan.dataset.test]
    n = Counter(map(colour, numbers))
    golden = sum(number % 24 == 0 for number in numbers)
    reds = n["red"] - golden
    answered = {"red": reds + n["blue"] + n["gold"] + n["grey"], "green": n["green"], "gold": golden}
    right = {"red": reds, "green": n["green"]}
    before = {"red": n["red"]}
    rows = {x: (n[x], before.get(x, 0), right.get(x, 0), answered.get(x, 0)) for x in n}
    return n, rows


def test_page_and_guide_say_so_at_the_verdict(study: tuple[StudyPlan, FrozenPrompt]) -> None:
    plan, frozen = study
    with open_archive(plan.database) as archive:
        html = study_page(plan, frozen, archive)
        english, french = (guide(plan, frozen, archive, Language.of(code)) for code in ("en", "fr"))
    verdict = html.partition('<section class="words"')[2].partition("</section>")[0]
    assert "Caution: the new prompt never answers “blue”" in verdict
    assert "Right by label, the worst first" in verdict
    beginning, _, rest = english.partition("\n## ")
    assert "- Caution: the new prompt never answers “blue”" in beginning
    assert "| label | examples | baseline right | new prompt right |" in rest
    assert "le nouveau prompt ne répond jamais « blue »" in french


def test_a_prompt_that_is_better_without_any_choice_that_stands_out_is_not_doubted(
    study: tuple[StudyPlan, FrozenPrompt],
) -> None:
    plan, frozen = study
    kept = dataclasses.replace(frozen, evidence={**frozen.evidence, "decision": "not distinguishable"})
    with open_archive(plan.database) as archive:
        told, undecided = (guide(plan, each, archive, Language.of("en")) for each in (frozen, kept))
    works = told.partition("## What works and what does not")[2].partition("\n## ")[0]
    assert (
        "No single choice stands out beyond chance. That the prompt as a whole is better was found by"
        in works
    )
    assert "format json" in works
    assert "or not at all" not in told
    assert "or not at all" in undecided
    assert "json" not in told.partition("## What was tried in vain")[2].partition("\n## ")[0]


def test_a_study_without_labels_has_no_such_table(
    write_study: Callable[..., Path], finished: Callable[..., Any]
) -> None:
    changes = (
        ("test: 51", "test: 16"),
        (f"{{type: label, labels: [{', '.join(LABELS)}]}}", "{type: text}"),
        ("accuracy", "exact_match"),
    )
    plan = load_plan(write_study(TASK, STUDY, *changes, items=40))
    frozen = finished(plan, said).selection.frozen
    with open_archive(plan.database) as archive:
        found = by_label(plan, frozen, archive, Teller(ENGLISH))
    assert (found.table.rows, found.more, found.cautions) == ((), "", ())
