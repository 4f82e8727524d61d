"""What a study took, by what it was for, and which words its page explains."""

import dataclasses
import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optimizer.archive import Archive, open_archive
from optimizer.completion import Completion, Request
from optimizer.frozen import FrozenPrompt
from optimizer.language import ENGLISH, Language
from optimizer.plan import StudyPlan, load_plan
from optimizer.report import study_page
from optimizer.report._account import Account, account
from optimizer.report._glossary import glossary
from optimizer.report._telling import Teller

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 8, validation: 16, test: 12}}
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
  styles: [direct, first_person]
  formats: [plain, json]
  screen: 8
  sampler: {name: random_search, seed: 0}
robustness: {perturbations: [case]}
budget: {calls: 600, prices: {rules: {input: 1000, output: 4000}}}
"""
SAY = Teller(ENGLISH)
Finished = tuple[Any, FrozenPrompt, StudyPlan]


def said(request: Request) -> Completion:
    """Answer right where JSON is asked for, and red elsewhere."""
    text = "\n".join(message.content for message in request.messages)
    number = int(re.findall(r"(?i)item (\d+) is here", text)[-1])
    answer = f'{{"colour": "{("red", "green", "blue")[number % 3]}"}}' if "JSON" in text else "red"
    return Completion(text=answer, prompt_tokens=100, completion_tokens=10)


@pytest.fixture
def study(write_study: Callable[..., Path], finished: Callable[..., Any]) -> Finished:
    plan = load_plan(write_study(TASK, STUDY, items=36))
    outcome = finished(plan, said)
    return outcome, outcome.selection.frozen, plan


def told(plan: StudyPlan, frozen: FrozenPrompt, archive: Archive, *, known: bool = True) -> Account:
    return account(plan, frozen, archive, SAY, known=known)


def test_the_parts_of_a_study_make_up_all_that_it_spent(study: Finished) -> None:
    outcome, frozen, plan = study
    with open_archive(plan.database) as archive:
        found = told(plan, frozen, archive)
        unknown = told(plan, frozen, archive, known=False)
        stages = {row.trial: row.stage for row in archive.trials}
        calls = {stage: sum(r.calls for r in archive.trials if r.stage == stage) for stage in stages.values()}
        whole = study_page(plan, frozen, archive)
    rows = {row.cells[0]: row.cells[1:] for row in found.table.rows}
    assert list(rows) == ["baseline", "search", "confirmation", "test", "robustness", "together"]
    assert rows["baseline"] == ("8", "800", "80", "1.1200")  # eight calls of 100 tokens read and 10 written
    assert int(rows["search"][0]) == calls["search"]
    assert int(rows["confirmation"][0]) == calls["confirm"]
    tested = {each for one in outcome.evidence["test_openings"] for each in one["prompts"]}
    assert int(rows["test"][0]) == 12 * len(tested)
    assert int(rows["robustness"][0]) == 12 * 2  # the test of baseline and winner, perturbed
    spent = outcome.spent
    figures = (spent.calls, spent.prompt_tokens, spent.completion_tokens)
    assert rows["together"] == (*(f"{n:,}" for n in figures), f"{spent.usd:.4f}")
    assert found.note.startswith(f"{spent.calls} of the 600 calls of the budget were used.")
    # Which examples were those of the test is not known where the data have changed; the sum is.
    assert [row.cells for row in unknown.table.rows] == [("together", *rows["together"])]
    assert "What the whole study took" in whole
    assert found.note in whole


def test_a_part_that_cost_little_did_not_cost_nothing(study: Finished) -> None:
    _, frozen, plan = study
    with open_archive(plan.database) as archive:
        cheap = tuple(dataclasses.replace(each, usd=2.3e-9) for each in archive.calls[:1])
        vars(archive)["calls"] = cheap
        (row,) = told(plan, frozen, archive, known=False).table.rows
    assert row.cells[-1] == "0.00000000230"


def test_a_study_that_ran_beside_others_is_told_against_its_share_of_the_budget(study: Finished) -> None:
    _, frozen, plan = study
    kept(plan, "share", {"budget": {"calls": 450, "tokens": None}, "finished": True})
    with open_archive(plan.database) as archive:
        assert "of the 450 calls of the budget were used" in told(plan, frozen, archive).note


def test_the_page_names_server_and_weights_where_the_study_recorded_them(study: Finished) -> None:
    _, frozen, plan = study
    with open_archive(plan.database) as archive:
        assert "weights of the model" not in study_page(plan, frozen, archive)
    kept(plan, "model", {"provider": "embedded", "server": "xllamacpp 1.0", "weights": "b179" * 16})
    with open_archive(plan.database) as archive:
        whole = study_page(plan, frozen, archive)
    assert "xllamacpp 1.0" in whole
    assert "b179" * 16 in whole


def kept(plan: StudyPlan, kind: str, content: dict[str, Any]) -> None:
    """Have the study hold another record than it does."""
    with sqlite3.connect(plan.database) as connection:
        row = (kind, json.dumps(content))
        connection.execute("INSERT OR REPLACE INTO ps_record VALUES (1, ?, 0, ?)", row)
    connection.close()


def test_the_styles_and_formats_that_were_tried_are_explained_in_both_languages(study: Finished) -> None:
    _, frozen, _ = study
    english, french = (glossary(frozen, Teller(Language.of(code))) for code in ("en", "fr"))
    words = [each.word for each in english]
    assert words[:4] == ["direct (style)", "first_person (style)", "json (format)", "plain (format)"]
    assert {"strict", "prefill", "expected score", "the rule's pick", "confirmation"} <= set(words)
    assert len(french) == len(english)
    for one, other in zip(english, french, strict=True):
        assert one.meaning
        assert one.meaning != other.meaning, one.word
    # A name that no plug-in here has is not explained.
    unknown = dataclasses.replace(frozen, style="<b>no such style</b>", history=())
    assert all("no such" not in each.word for each in glossary(unknown, SAY))
