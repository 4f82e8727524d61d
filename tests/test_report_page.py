"""The page of a whole study: what it holds, and what it leaves out where that is not known any more."""

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.completion import Request
from optimizer.frozen import FrozenPrompt
from optimizer.history import TrialRecord
from optimizer.language import Language
from optimizer.plan import load_plan
from optimizer.report import report_page
from optimizer.report._arms import Arm
from optimizer.report._block import embedded
from optimizer.report._leaderboard import leaderboard
from optimizer.report._plots import _scale, _trial_dot
from optimizer.report._study import unknown_in_words
from optimizer.report._telling import Teller

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 8, validation: 9, test: 9}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Which colour is it?], compose: false}
  demos: {sizes: [0, 2], sets: 2, selectors: [random, nearest]}
  styles: [direct, self_check]
  formats: [plain]
  screen: 6
  sampler: {name: random_search, seed: 0}
budget: {calls: 300}
"""


def said(request: Request) -> str:
    return ("red", "green", "no idea")[len(request.messages[-1].content) % 3]


@pytest.fixture
def study(write_study: Callable[..., Path], finished: Callable[..., Any]) -> Path:
    """Return the file of a finished study, its prompt beside it."""
    path = write_study(TASK, STUDY, items=26)
    outcome = finished(load_plan(path), said)
    path.with_name("prompt.json").write_text(outcome.selection.frozen.dumps(), encoding="utf-8")
    return path


def made(study: Path, language: str = "en") -> tuple[str, str]:
    """Return the page of a study, and why it shows the prompt alone."""
    found = report_page(study.with_name("prompt.json"), study, language)
    return found.text, found.alone


def data(html: str, name: str = "study-data") -> Any:
    """Return what a page holds for its script."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_every_prompt_example_and_result_of_the_records_is_in_the_page(study: Path) -> None:
    html, alone = made(study)
    assert alone == ""
    found, plan = data(html), load_plan(study)
    names = [found["strings"][example[0]] for example in found["examples"]]
    assert sorted(names) == sorted(e.id for e in (*plan.dataset.validation, *plan.dataset.test))
    with sqlite3.connect(plan.database) as connection:
        scored = connection.execute("SELECT fingerprint, example, answer, score FROM ps_score").fetchall()
    connection.close()
    held = {
        (arm["fingerprint"], names[cell[0]], None if cell[3] < 0 else found["strings"][cell[3]], cell[2])
        for arm, cells in zip(found["arms"], found["cells"], strict=True)
        for cell in cells
    }
    assert held == set(scored)
    assert all(cell[6] for cells in found["cells"] for cell in cells)  # the completions of each
    board = html.partition('class="leaderboard sortable"')[2].partition("</tbody>")[0]
    assert board.count('<th scope="row">') == len(found["arms"])
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("file", "before", "after", "named"),
    [
        ("data.csv", "Item 3 is here", "Item 3 was here", "the data have"),
        ("task.yaml", "Name the colour.", "Say the colour.", "the task has"),
        ("task.yaml", "inputs: [text]", "inputs: [other]", "task and data have"),
    ],
)
def test_where_task_or_data_have_changed_nothing_is_told_of_single_examples_and_it_says_so(
    study: Path, file: str, before: str, after: str, named: str
) -> None:
    changed = study.with_name(file)
    changed.write_text(changed.read_text().replace(before, after))
    if after.endswith("[other]"):  # the retrieved examples compare an input that is no more
        rows = study.with_name("data.csv")
        rows.write_text(rows.read_text().replace("id,text,", "id,other,"))
    html, alone = made(study)
    assert alone == ""
    assert f"since the study ran, {named} changed" in html
    found = data(html)
    assert found["examples"] == []
    assert not any(found["cells"])
    assert not any("Item 3 " in text for text in found["strings"])
    assert 'id="explorer"' not in html
    # What was split off for validation is not known either.
    assert 'id="effects"' not in html
    assert 'id="front"' not in html
    # What the trials themselves say is.
    assert 'id="leaderboard"' in html
    assert len(found["arms"]) > 3


def test_what_is_looked_at_otherwise_since_leaves_the_examples_in(study: Path) -> None:
    study.write_text(study.read_text().replace("screen: 6", "screen: 7"))
    html, alone = made(study)
    assert alone == ""
    assert data(html)["examples"]


def test_a_prompt_that_keeps_no_constraint_is_marked_and_not_on_the_front(study: Path) -> None:
    with sqlite3.connect(load_plan(study).database) as connection:
        rows = connection.execute("SELECT number, content FROM ps_record WHERE kind = 'trial'").fetchall()
        trials = {number: json.loads(content) for number, content in rows}
        for number, row in trials.items():
            row["feasible"] = row["fingerprint"] != trials[1]["fingerprint"]
            connection.execute(
                "UPDATE ps_record SET content = ? WHERE kind = 'trial' AND number = ?",
                (json.dumps(row), number),
            )
    connection.close()
    board = made(study)[0].partition('class="leaderboard sortable"')[2].partition("</tbody>")[0]
    broken = [row for row in board.split("<tr ") if "broken" in row.partition(">")[0]]
    assert len(broken) == 1
    assert "breaks a constraint" in broken[0]
    assert '<span class="tag">front</span>' not in broken[0]


def test_what_an_earlier_release_did_not_keep_is_missing_and_the_rest_is_shown(study: Path) -> None:
    with sqlite3.connect(load_plan(study).database) as connection:
        connection.execute("DROP TABLE ps_template")
        connection.execute("ALTER TABLE ps_score DROP COLUMN completions")
        connection.execute("DELETE FROM ps_migration WHERE name > '_m004'")
    connection.close()
    html, alone = made(study)
    assert alone == ""
    found = data(html)
    assert {len(arm["calls"]) for arm in found["arms"]} == {0}
    assert {cell[6] for cells in found["cells"] for cell in cells} == {None}
    assert any(arm["instruction"] for arm in found["arms"])


def test_a_prompt_of_another_study_than_the_one_beside_it_is_shown_alone(study: Path) -> None:
    database = load_plan(study).database
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE ps_score SET fingerprint = 'f' || substr(fingerprint, 2)")
        connection.execute("UPDATE ps_score SET fingerprint = 'e' || substr(fingerprint, 2)")
    connection.close()
    html, alone = made(study)
    assert alone == "the newest study in study.db is another one"
    assert "It shows the prompt without its study: the newest study" in html
    assert "<script" not in html


@pytest.mark.parametrize(
    ("gone", "told"),
    [("study.db", "there is no study.db beside it"), ("study.yaml", "there is no study file beside it")],
)
def test_without_database_or_study_file_the_prompt_is_shown_alone(study: Path, gone: str, told: str) -> None:
    study.with_name(gone).unlink()
    html, alone = made(study)
    assert alone == told
    assert told in html
    assert "<script" not in html


def test_a_study_that_cannot_be_read_any_more_says_what_is_wrong_with_it(study: Path) -> None:
    study.with_name("task.yaml").write_text(TASK.replace("metric: accuracy", "metric: acuracy"))
    alone = made(study)[1]
    assert "task.yaml" in alone
    assert "acuracy" in alone


def test_the_methods_are_named_in_the_language_of_the_page(study: Path) -> None:
    told, english = "test exact de McNemar, intervalle de Tango", "exact McNemar test, Tango interval"
    french = made(study, "fr")[0]
    assert told in french
    assert english not in french
    assert english in made(study)[0]


def test_the_scripts_sentences_are_told_in_the_language_of_the_page(study: Path) -> None:
    english, french = (made(study, code)[0] for code in ("en", "fr"))
    assert '<html lang="fr">' in french
    texts = [data(html, "page-texts") for html in (english, french)]
    assert set(texts[0]) == set(texts[1])
    assert all(key == text for key, text in texts[0].items())
    assert texts[1]["improved"] != "improved"


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


@given(st.recursive(LEAVES, lambda part: st.lists(part) | st.dictionaries(st.text(), part), max_leaves=8))
def test_data_stand_in_a_script_element_as_they_are_and_are_read_back_the_same(value: Any) -> None:
    text = embedded(value)
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert not any(ord(c) < 0x20 or ord(c) == 0x7F for c in text)
    assert json.loads(text) == value


def test_what_has_no_score_is_no_example_of_a_score(study: Path) -> None:
    row = TrialRecord(
        trial=3, stage="search", state="complete", digest="d", fingerprint="f", point={}, n=8, score=0.8333,
        lower=0.4, upper=0.97, valid=1.0, errors=2, feasible=True, outage=False, calls=8, cached=0, prompt_tokens=1,
        completion_tokens=1, cost_usd=None, parents=(),
    )  # fmt: skip
    say = Teller(Language.of("en"))
    assert _trial_dot(row, "1%", 1.0, say).told == "trial 3: 0.833 on 6 examples"
    arm = Arm(
        fingerprint="f", name="trial 3", role="", row=row, tokens=None, seconds=None, cost=None, front=False,
        template=None,
    )  # fmt: skip
    shown = leaderboard([arm], FrozenPrompt.load(study.with_name("prompt.json")), say)
    assert (
        dict(zip(shown.headings, (cell.text for cell in shown.lines[0].cells), strict=True))["examples"]
        == "6"
    )


@pytest.mark.parametrize("scores", [[1.0, 1.0], [0.0, 0.0], [0.5], [0.99, 1.0], []])
def test_no_axis_of_scores_goes_beyond_all_right(scores: list[float]) -> None:
    low, high, step = _scale(scores)
    assert low <= min(scores, default=0.0) <= max(scores, default=1.0) <= high <= 1 + 1e-9
    assert high - low >= step - 1e-9


@pytest.mark.parametrize("language", ["en", "fr"])
def test_what_has_changed_is_told_in_one_language(language: str) -> None:
    told = [
        unknown_in_words(each, Teller(Language.of(language)))
        for each in (["data"], ["task"], ["data", "task"])
    ]
    assert len(set(told)) == 3
    assert ("changed" in "".join(told)) == (language == "en")
    if language == "en":
        assert "task and data have changed" in told[2]
