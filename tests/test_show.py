"""`show` of a study: its history, one of its trials, one of its examples."""

import csv
import io
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optimizer.archive import open_archive
from optimizer.commands._looking import exchange_lines
from optimizer.completion import Completion, Request
from optimizer.frozen import FrozenPrompt
from optimizer.plan import load_plan
from optimizer.storage import open_storage
from optimizer.store import ScoreRow
from optimizer.viewing import Exchange, open_view

if TYPE_CHECKING:
    from tests.conftest import Outcome
    from tests.parcels import DATA, document, optimizer
else:
    from parcels import DATA, document, optimizer


def test_the_history_is_that_of_the_file_in_order(parcels: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((parcels / "history.csv").read_text())))
    found = document("show", parcels, "--history")
    assert [each["trial"] for each in found["trials"]] == list(range(len(rows)))
    assert [each["score"] for each in found["trials"]] == [float(row["score"]) for row in rows]
    told = optimizer("show", parcels, "--history").out.splitlines()
    assert len(told) == 1 + len(rows)
    assert told[0].split()[:3] == ["trial", "stage", "state"]
    for line, row in zip(told[1:], rows, strict=True):
        assert line.split()[0] == row["trial"]
        assert f"{float(row['score']):.3f}" in line
        assert f"{float(row['lower']):.3f} to {float(row['upper']):.3f}" in line


def test_the_best_come_first_where_only_some_are_wanted(parcels: Path) -> None:
    found = document("show", parcels, "--history", "--top", "3")
    every = document("show", parcels, "--history")["trials"]
    best = sorted(every, key=lambda each: (-each["score"], each["trial"]))[:3]
    assert found["trials"] == best
    assert found["of"] == len(every)
    assert "the best 3 of 9 trials" in optimizer("show", parcels, "--history", "--top", "3").out


def test_a_history_is_written_where_it_is_wanted(parcels: Path, tmp_path: Path) -> None:
    for name in ("h.csv", "h.parquet"):
        told = optimizer("show", parcels, "--history", "--output", tmp_path / name)
        assert told.code == 0, told.err
        assert f"wrote {tmp_path / name}" in told.out
        again = document("show", tmp_path / name, "--history")
        assert again["trials"] == document("show", parcels, "--history")["trials"]


def test_what_breaks_a_constraint_or_failed_is_marked(own_parcels: Path) -> None:
    with sqlite3.connect(own_parcels / "study.db") as connection:
        change = "UPDATE ps_record SET content = json_set(content, {}) WHERE kind = 'trial' AND number = ?"
        connection.execute(change.format("'$.feasible', json('false')"), (3,))
        connection.execute(change.format("'$.score', NULL, '$.state', 'failed', '$.errors', 2"), (4,))
    connection.close()
    told = optimizer("show", own_parcels, "--history").out
    assert "0.500x" in told
    assert "breaks a constraint" in told
    assert "trial 4 has no score: 2 of 8 examples have none" in told


def test_a_trial_is_shown_whole(parcels: Path) -> None:
    found = document("show", parcels, "--trial", "3")
    with open_archive(parcels / "study.db") as archive:
        row = archive.trials[3]
        assert found["prompt"] == archive.templates[row.fingerprint].to_dict()
        assert found["fingerprint"] == row.fingerprint
        assert found["instruction"]["text"] == archive.instructions[str(row.point["instruction"])].text
        shown = archive.demonstrations[str(row.point["demonstrations"])]
        assert found["demonstration_ids"] == [each.example_id for each in shown.demonstrations]
        scores = archive.scores[row.fingerprint]
        assert {each["id"]: each["score"] for each in found["examples"]} == {
            k: v.score for k, v in scores.items()
        }
    targets = {
        row["id"]: row["team"] for row in map(json.loads, (DATA / "parcels.jsonl").read_text().splitlines())
    }
    assert all(each["target"] == targets[each["id"]] for each in found["examples"])
    told = optimizer("show", parcels, "--trial", "3").out
    for text in (
        found["fingerprint"],
        found["instruction"]["text"],
        "validation: 4 ok, 4 invalid",
        "(invalid)",
    ):
        assert text in told


CAUTION = "Caution: these are test examples."


def parts_of(told: str) -> dict[str, list[str]]:
    """Return the lines of each split of a trial, by the split."""
    found: dict[str, list[str]] = {}
    for line in told.splitlines():
        name, sign, _ = line.partition(": ")
        if sign and name in ("train", "validation", "test"):
            found[name] = []
        if found:
            found[list(found)[-1]].append(line)
    return found


def test_each_split_of_a_trial_has_its_own_score_and_its_own_rows(parcels: Path) -> None:
    with open_archive(parcels / "study.db") as archive:
        scores = archive.scores[archive.trials[8].fingerprint]
    found = parts_of(optimizer("show", parcels, "--trial", "winner", "--all").out)
    assert list(found) == ["validation", "test"]
    assert found["validation"][0].endswith("; accuracy 0.812 on 16 examples")
    assert found["test"][0].endswith("; accuracy 0.625 on 24 examples")
    shown = {split: {line[:3] for line in lines} & scores.keys() for split, lines in found.items()}
    assert [len(names) for names in shown.values()] == [16, 24]
    assert shown["validation"] | shown["test"] == scores.keys()
    assert CAUTION in found["test"][1]
    assert not any("Caution" in line for line in found["validation"])


@pytest.mark.parametrize(("options", "n"), [((), 10), (("--limit", "3"), 3), (("--limit", "0"), 0)])
def test_as_many_examples_of_a_split_are_shown_as_are_wanted(
    parcels: Path, options: tuple[str, ...], n: int
) -> None:
    found = parts_of(optimizer("show", parcels, "--trial", "winner", *options).out)
    for split, of in (("validation", 16), ("test", 24)):
        assert sum(bool(re.match(r"p\d\d ", line)) for line in found[split]) == n
        told = f"and {of - n} more {split} examples; --all shows every one, --limit N so many of each split"
        assert told in found[split]


def test_where_a_trial_is_of_fewer_examples_than_its_prompt_that_is_said(parcels: Path) -> None:
    told = optimizer("show", parcels, "--trial", "1").out
    assert "The row of the trial above is of 8 of these examples" in told
    assert "; accuracy 0.812 on 16 examples" in told
    assert "The row of the trial above" not in optimizer("show", parcels, "--trial", "8").out


def test_who_looks_at_a_test_example_is_cautioned(parcels: Path) -> None:
    assert "Caution: this is a test example." in optimizer("show", parcels, "--example", "p21").out
    assert "Caution" not in optimizer("show", parcels, "--example", "p06").out


def test_the_names_of_prompts_are_told_once_where_none_is_near(parcels: Path) -> None:
    told = optimizer("show", parcels, "--trial", "99").err
    assert told.endswith("expected a trial from 0 to 8, baseline, winner or wording, found '99'\n")


@pytest.mark.parametrize("name", ["baseline", "winner", "wording"])
def test_the_prompts_of_the_test_are_shown_by_name(parcels: Path, name: str) -> None:
    evidence = FrozenPrompt.load(parcels / "prompt.json").evidence
    found = document("show", parcels, "--trial", name)
    assert found["fingerprint"] == evidence[f"{name}_fingerprint"]
    assert {each["split"] for each in found["examples"]} == {"validation", "test"}


TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 8, validation: 24, test: 30}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
# No prompt of the search is without demonstrations, as the wording of the test is.
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json, parameters: {temperature: 0, max_tokens: 9}}
search:
  instructions: {given: [Which colour is it?], compose: false}
  demos: {sizes: [2], sets: 1, selectors: [random]}
  styles: [STYLES]
  formats: [plain, choice]
  screen: 8
budget: {calls: 500}
"""


@pytest.mark.parametrize(
    ("first", "second", "style"),
    [
        ("direct", "expert_persona", "direct"),  # the baseline's, though the winner has another
        ("chain_of_thought", "direct", "direct"),  # the winner's, as no reasoning fits in a choice
    ],
)
def test_the_wording_of_the_test_has_the_style_that_the_test_gave_it(
    first: str,
    second: str,
    style: str,
    write_study: Callable[..., Path],
    finished: Callable[..., "Outcome"],
) -> None:
    def best_as_an_expert_with_a_choice(request: Request) -> str:
        text = "\n".join(message.content for message in request.messages)
        item = int(re.findall(r"Item (\d+)", text)[-1])
        able = request.constraint is not None and (second == "direct" or "expert" in text)
        return ("red", "green", "blue")[(item if able or item % 4 == 0 else item + 1) % 3]

    path = write_study(TASK, STUDY, ("STYLES", f"{first}, {second}"), items=62)
    outcome = finished(load_plan(path), best_as_an_expert_with_a_choice)
    path.with_name("prompt.json").write_text(outcome.selection.frozen.dumps(), encoding="utf-8")
    assert outcome.selection.winner.candidate.format == "choice"
    assert outcome.selection.winner.candidate.style == second
    wording = outcome.selection.wording
    assert wording is not None
    assert wording.candidate.style == style
    assert wording.template.fingerprint not in {row.fingerprint for row in outcome.trials}
    with open_view(path.parent) as view:
        assert view.prompt("wording").style == style
        assert view.prompt("wording").template == wording.template
    (path.with_name("study.yaml")).rename(path.with_name("gone.yaml"))
    with open_view(path.parent) as view:  # without the task the first is taken, as it nearly always is right
        assert view.prompt("wording").style == first


def test_of_an_answer_that_does_not_state_its_tokens_none_are_told() -> None:
    row = ScoreRow(example="e", outcome="ok", answer="red", score=1.0)
    asked = [
        Exchange(request=None, completion=Completion(text="red", prompt_tokens=read, completion_tokens=1))
        for read in (9, 0)
    ]
    told = [line.strip() for line in exchange_lines("winner", asked, row)]
    assert "(stop, 9 tokens read, 1 written)" in told
    assert "(stop, tokens not stated)" in told


def test_an_example_is_shown_with_what_every_prompt_made_of_it(parcels: Path) -> None:
    found = document("show", parcels, "--example", "p21")
    with open_archive(parcels / "study.db") as archive:
        completions = archive.completions(archive.templates)
        asked = {name for name, rows in archive.scores.items() if "p21" in rows}
        assert {each["fingerprint"] for each in found["prompts"]} == asked
        for each in found["prompts"]:
            template, row = archive.templates[each["fingerprint"]], archive.scores[each["fingerprint"]]["p21"]
            request = template.request({"message": found["inputs"]["message"]})
            texts = [Completion(text=call["completion"]).text for call in each["calls"]]
            assert [call["request"] for call in each["calls"]] == [request.to_dict()]
            assert texts == [c.text for c in completions[each["fingerprint"], "p21"]]
            assert (each["answer"], each["outcome"], each["reader"]) == (row.answer, row.outcome, row.reader)
    told = optimizer("show", parcels, "--example", "p21").out
    for text in (
        found["inputs"]["message"],
        "target: returns",
        "said:",
        "baseline (trial 0)",
        "winner (trial 8)",
    ):
        assert text in told
    only = document("show", parcels, "--example", "p21", "--trial", "baseline")["prompts"]
    assert [each["name"] for each in only] == ["baseline (trial 0)"]


def test_what_is_no_longer_stored_is_told(own_parcels: Path) -> None:
    with sqlite3.connect(own_parcels / "study.db") as connection:
        connection.execute("DELETE FROM ps_completion")
    connection.close()
    found = document("show", own_parcels, "--example", "p21")
    assert {call["completion"] for each in found["prompts"] for call in each["calls"]} == {None}
    assert "the answer is no longer stored" in optimizer("show", own_parcels, "--example", "p21").out


def test_without_the_data_all_else_is_shown(own_parcels: Path) -> None:
    (own_parcels / "study.yaml").unlink()
    told = optimizer("show", own_parcels, "--example", "p21")
    assert told.code == 0
    assert "name the task with --task" in told.err
    assert "cannot be rendered again" in told.out
    found = document("show", own_parcels, "--example", "p21", "--task", own_parcels.parents[1] / "task.yaml")
    assert found["target"] == "returns"
    assert found["missing"] == []


def test_data_that_changed_are_told(own_parcels: Path) -> None:
    path = own_parcels.parents[1] / "parcels.jsonl"
    path.write_text(path.read_text().replace("charged twice", "charged thrice"))
    assert "no longer those that the study saw" in optimizer("show", own_parcels, "--trial", "0").err
    path.write_text("nothing")
    assert "the data cannot be read" in optimizer("show", own_parcels, "--trial", "0").err


def test_to_look_waits_for_nobody_and_changes_nothing(own_parcels: Path) -> None:
    (own_parcels / "prompt.json").unlink()
    before = (own_parcels / "study.db").read_bytes()
    with open_storage(own_parcels / "study.db"):  # somebody runs it
        assert optimizer("show", own_parcels, "--history").code == 0
        assert (
            document("show", own_parcels, "--trial", "winner")["name"] == "winner (trial 8)"
        )  # the best so far
    assert (own_parcels / "study.db").read_bytes() == before


def test_a_prompt_alone_shows_its_own_history(parcels: Path, tmp_path: Path) -> None:
    shutil.copy(parcels / "prompt.json", tmp_path)
    told = optimizer("show", tmp_path, "--history")
    assert told.code == 0
    assert len(told.out.splitlines()) == 10
    assert optimizer("show", tmp_path / "prompt.json").out == optimizer("show", parcels).out
    refused = optimizer("show", tmp_path, "--trial", "3")
    assert refused.code == 2
    assert "there is no study.db beside it" in refused.err


def test_a_prompt_of_another_study_is_not_taken_for_its_own(own_parcels: Path) -> None:
    frozen = json.loads((own_parcels / "prompt.json").read_text())
    other = FrozenPrompt.load(own_parcels / "prompt.json")
    changed = [{**row, "digest": "0" * 64} for row in frozen["history"]]
    (own_parcels / "prompt.json").write_text(replace(other, history=tuple(changed)).dumps())
    assert "that of another study" in optimizer("show", own_parcels, "--trial", "0").err
    told = optimizer("show", own_parcels / "prompt.json", "--trial", "0")
    assert told.code == 2
    assert "there is no study.db beside it" in told.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--trial", "99"], "expected a trial from 0 to 8, baseline, winner or wording, found '99'"),
        (["--trial", "winer"], "did you mean 'winner'?"),
        (["--trial", "²"], "found '²'"),
        (["--example", "p1x"], "there is no example 'p1x'"),
        (
            ["--example", "p41"],
            "no prompt of this study was asked about the example 'p41', which is of train",
        ),
        (["--top", "3"], "--top: goes with --history alone"),
        (["--output", "x.csv"], "--output: goes with --history alone"),
        (["--history", "--trial", "3"], "--trial: does not go with --history"),
        (["--limit", "3"], "--limit: goes with --trial"),
        (["--example", "p21", "--all"], "--all: goes with --trial, and not with --example"),
        (["--trial", "3", "--all", "--limit", "3"], "--limit: does not go with --all"),
        (["--history", "--output", "x.txt"], "ends in .csv or .parquet"),
    ],
)
def test_what_there_is_not_is_told(parcels: Path, options: list[str], told: str) -> None:
    found = optimizer("show", parcels, *options)
    assert found.code == 2
    assert told in found.err
    assert found.out == ""


# What version 0.2 kept, and its prompt told: of a trial, of a demonstration set, and as evidence.
_TRIAL_OF_02 = (
    "trial", "stage", "state", "digest", "fingerprint", "point", "n", "score", "lower", "upper", "valid", "errors", "feasible",
    "calls", "cached", "prompt_tokens", "completion_tokens", "parents",
)  # fmt: skip
_SET_OF_02 = ("id", "demonstrations", "selector")
_EVIDENCE_OF_02 = (
    "baseline_fingerprint", "decision", "difference", "difference_over_format", "metric", "smallest_provable_difference",
    "test", "test_opened", "validation", "winner_fingerprint",
)  # fmt: skip


def _as_of_02(folder: Path) -> None:
    """Leave of a study what version 0.2 would have kept of it."""
    with sqlite3.connect(folder / "study.db") as connection:
        for table in ("ps_template", "ps_completion", "ps_call", "ps_failure", "ps_run"):
            connection.execute(f"DROP TABLE {table}")
        for column in ("strict", "reader", "completions"):
            connection.execute(f"ALTER TABLE ps_score DROP COLUMN {column}")
        connection.execute("DELETE FROM ps_migration WHERE name > '_m002'")
        for kind, kept in (("trial", _TRIAL_OF_02), ("demonstrations", _SET_OF_02)):
            query = "SELECT number, content FROM ps_record WHERE kind = ?"
            for number, content in connection.execute(query, (kind,)).fetchall():
                left = json.dumps({name: json.loads(content)[name] for name in kept})
                where = (left, kind, number)
                connection.execute("UPDATE ps_record SET content = ? WHERE kind = ? AND number = ?", where)
    connection.close()
    frozen = FrozenPrompt.load(folder / "prompt.json")
    evidence = {name: frozen.evidence[name] for name in _EVIDENCE_OF_02}
    (folder / "prompt.json").write_text(replace(frozen, evidence=evidence, records=None).dumps())


def test_a_study_of_version_0_2_is_shown_as_far_as_its_files_hold_it(own_parcels: Path) -> None:
    new = document("show", own_parcels, "--history")["trials"]
    _as_of_02(own_parcels)
    old = document("show", own_parcels, "--history")["trials"]
    assert [(row["trial"], row["score"]) for row in old] == [(row["trial"], row["score"]) for row in new]
    assert {row["cost_usd"] for row in old} == {None}
    for command, *options in (["show"], ["show", "--history"], ["report"], ["report", "--guide"]):
        told = optimizer(command, own_parcels, *options)
        assert told.code == 0, (command, options, told.err)
    # The baseline was kept, and the evidence tells it by the fingerprint alone.
    assert optimizer("diff", own_parcels, own_parcels).out.startswith("A baseline (trial 0)")
    for others in (["explain", own_parcels], ["diff", f"{own_parcels}#baseline", f"{own_parcels}#winner"]):
        told = optimizer(*others)
        assert (told.code, "an older version scored it" in told.err) == (2, True)


def test_a_study_of_version_0_2_whose_baseline_won_is_explained(own_parcels: Path) -> None:
    _as_of_02(own_parcels)
    frozen = FrozenPrompt.load(own_parcels / "prompt.json")
    same = {"winner_fingerprint": frozen.fingerprint, "decision": "not distinguishable"}
    (own_parcels / "prompt.json").write_text(replace(frozen, evidence={**frozen.evidence, **same}).dumps())
    told = optimizer("explain", own_parcels)
    assert told.code == 0, told.err
    assert "The study decided: not distinguishable; the baseline was frozen." in told.out


def test_evidence_that_names_no_metric_is_shown_without_it(own_parcels: Path) -> None:
    frozen = FrozenPrompt.load(own_parcels / "prompt.json")
    left = {name: value for name, value in frozen.evidence.items() if name != "metric"}
    (own_parcels / "prompt.json").write_text(replace(frozen, evidence=left).dumps())
    told = optimizer("show", own_parcels)
    assert told.code == 0, told.err
    assert re.search(r"^on test +score ", told.out, re.MULTILINE)
