"""`explain`: which examples flipped and why; its parts add up, and the page of the terminal tells the truth."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.answer import OUTCOMES, AnswerFormat
from optimizer.commands.diff import _difference_lines
from optimizer.commands.explain import _tally_lines
from optimizer.completion import Request
from optimizer.dataset import Example
from optimizer.explanation import signed_points
from optimizer.flips import (
    CHANGES,
    REASONS,
    Flips,
    by_confusion,
    by_outcome,
    by_slice,
    flips_between,
)
from optimizer.fliptext import figures, in_words
from optimizer.frozen import FrozenPrompt
from optimizer.plan import load_plan
from optimizer.prompt import CallTemplate, MessageTemplate, PromptTemplate
from optimizer.store import ScoreRow
from optimizer.viewed import Viewed
from optimizer.viewing import View

if TYPE_CHECKING:
    from tests.conftest import Outcome
    from tests.parcels import DATA, document, optimizer
else:
    from parcels import DATA, document, optimizer


PAGE = Path(__file__).resolve().parents[1] / "docs" / "terminal.md"


ANSWERS = st.sampled_from(["a", "b", "c"])


@st.composite
def results(draw: st.DrawFn, name: str) -> ScoreRow:
    """Return what became of an example whose target is a: a label, or an outcome without an answer."""
    outcome = draw(st.sampled_from(OUTCOMES[:4]))
    answer = draw(ANSWERS) if outcome == "ok" else None
    graded = draw(st.booleans())
    score = (
        0.0 if answer is None else draw(st.sampled_from([0.0, 0.5, 1.0])) if graded else float(answer == "a")
    )
    return ScoreRow(example=name, outcome=outcome, answer=answer, score=score, reader="label")


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Viewed, Viewed, View]:
    names = [f"e{k}" for k in range(draw(st.integers(1, 12)))]
    message = MessageTemplate(role="user", parts=("hello",))
    template = PromptTemplate(calls=(CallTemplate(messages=(message,)),), answer=AnswerFormat(kind="text"))
    before, after = (
        Viewed(
            name=name,
            source=Path("study.db"),
            template=template,
            style="direct",
            format="plain",
            demonstration_ids=(),
            metric="accuracy",
            results={each: draw(results(each)) for each in names},
        )
        for name in ("before", "after")
    )
    examples = {
        name: Example(
            id=name,
            inputs=(("text", "x"),),
            target="a",
            group=None,
            slices=(("kind", draw(st.sampled_from("pq"))),),
        )
        for name in names
        if draw(st.booleans())
    }
    view = View(
        name="s",
        path=Path("study.db"),
        archive=None,
        frozen=None,
        task=None,
        examples=examples,
        splits={},
        missing=(),
    )
    return before, after, view


@settings(max_examples=30, deadline=None)
@given(drawn=pairs())
def test_every_example_is_counted_once_and_the_parts_are_the_whole(
    drawn: tuple[Viewed, Viewed, View],
) -> None:
    before, after, view = drawn
    names = sorted(before.results)
    flips = flips_between(before, after, view, "test", names)
    difference = sum((after.results[n].score or 0) - (before.results[n].score or 0) for n in names) / len(
        names
    )
    assert flips.comparison.difference == pytest.approx(difference)
    assert sum(flips.parts.values()) == pytest.approx(difference)
    assert set(flips.parts) == set(REASONS)
    assert sum(flips.counts.values()) == len(names)
    assert set(flips.counts) == set(CHANGES)
    assert (flips.counts["improved"], flips.counts["regressed"]) == (
        flips.comparison.wins,
        flips.comparison.losses,
    )
    assert sum(tally.gain for tally in by_outcome(flips)) == pytest.approx(difference)
    assert sum(tally.n for tally in by_outcome(flips)) == len(names)
    known = [row for row in flips.rows if row.example is not None]
    assert sum(t.n for t in by_confusion(flips)) == sum(row in known for row in flips.flipped)
    assert all(sum(t.n for t in tallies) == len(known) for tallies in by_slice(flips).values())
    assert json.loads(json.dumps(figures(flips)))["counts"] == flips.counts
    assert all(sentence.endswith((".", ".)")) for sentence in in_words(flips))


def test_baseline_and_winner_are_explained_on_the_test(parcels: Path) -> None:
    found = document("explain", parcels)
    evidence: Any = FrozenPrompt.load(parcels / "prompt.json").evidence
    for name in ("value", "lower", "upper", "p_value", "wins", "losses", "ties", "n"):
        assert found["difference"][name] == evidence["difference"][name]
    assert found["split"] == "test"
    assert found["after"]["fingerprint"] == evidence["winner_fingerprint"]
    assert sum(found["parts"].values()) == pytest.approx(evidence["difference"]["value"])
    assert found["parts"]["became readable"] == pytest.approx(7 / 24)
    assert len(found["examples"]) == 24
    invalid = [row for row in found["by_outcome"] if row["before"] == "invalid"]
    assert [(row["after"], row["n"], row["improved"]) for row in invalid] == [("ok", 10, 7)]
    assert {row["value"]: row["n"] for row in found["by_slice"]["channel"]} == {"mail": 14, "chat": 10}
    targets = {
        row["id"]: row["team"] for row in map(json.loads, (DATA / "parcels.jsonl").read_text().splitlines())
    }
    for row in found["examples"]:
        assert row["target"] == targets[row["id"]]
        assert row["after"]["score"] == float(row["after"]["answer"] == row["target"])


def test_any_two_trials_and_any_split_can_be_explained(parcels: Path) -> None:
    found = document("explain", parcels, "7", "4")
    assert (found["split"], len(found["examples"])) == ("validation", 8)
    mirrored = document("explain", parcels, "4", "7")
    assert mirrored["counts"]["regressed"] == found["counts"]["improved"]
    assert document("explain", parcels, "--split", "validation")["difference"]["n"] == 8
    assert "the search chooses on these examples" in optimizer("explain", parcels, "7", "4").out
    nothing = document("explain", parcels, "1", "2")
    assert nothing["counts"]["improved"] == nothing["counts"]["regressed"] == 0
    assert "No example flipped" in optimizer("explain", parcels, "1", "2").out


def test_as_many_flips_are_shown_as_are_wanted(parcels: Path) -> None:
    shown = re.compile(r"^(p\d+): (improved|regressed|both \w+), ", re.MULTILINE)
    assert [kind for _, kind in shown.findall(optimizer("explain", parcels).out)] == ["regressed"] * 2 + [
        "improved"
    ] * 7
    some = optimizer("explain", parcels, "--limit", "3").out
    assert len(shown.findall(some)) == 3
    assert "and 6 more flipped examples" in some
    assert len(shown.findall(optimizer("explain", parcels, "--all").out)) == 24


def flipped(n: int, targets: int) -> Flips:
    """Return n examples of validation that were wrong and are right, with so many targets, and as many that stay wrong."""
    names = [f"e{k:02d}" for k in range(18)]
    message = MessageTemplate(role="user", parts=("hello",))
    template = PromptTemplate(calls=(CallTemplate(messages=(message,)),), answer=AnswerFormat(kind="text"))
    labels = {name: f"label {k % targets:02d}" for k, name in enumerate(names)}
    before, after = (
        Viewed(
            name=arm,
            source=Path("study.db"),
            template=template,
            style="direct",
            format="plain",
            demonstration_ids=(),
            results={
                name: ScoreRow(
                    example=name,
                    outcome="ok",
                    answer=labels[name] if right and k < n else "none",
                    score=float(right and k < n),
                    reader="label",
                )
                for k, name in enumerate(names)
            },
        )
        for arm, right in (("before", False), ("after", True))
    )
    examples = {
        name: Example(id=name, inputs=(("text", "x"),), target=labels[name], group=None, slices=())
        for name in names
    }
    view = View(
        name="s",
        path=Path("study.db"),
        archive=None,
        frozen=None,
        task=None,
        examples=examples,
        splits={},
        missing=(),
    )
    return flips_between(before, after, view, "validation", names)


TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 9, validation: 24, test: 60}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour as exactly as you can.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Which colour?]}
  demos: {sizes: [0]}
  styles: [direct]
  formats: [plain]
  screen: 12
budget: {calls: 300}
"""


def test_what_is_left_of_a_gain_from_reading_alone_is_told(
    write_study: Callable[..., Path], finished: Callable[..., "Outcome"]
) -> None:
    def vague_at_first(request: Request) -> str:
        asked = " ".join(message.content for message in request.messages)
        item = int(re.findall(r"Item (\d+)", asked)[-1])
        return "I could not say." if "exactly" in asked else ("red", "green", "blue")[item % 3]

    path = write_study(TASK, STUDY, items=93)
    outcome = finished(load_plan(path), vague_at_first)
    path.with_name("prompt.json").write_text(outcome.selection.frozen.dumps(), encoding="utf-8")
    over = outcome.evidence["difference_over_guess"]
    value, lower, upper = (signed_points(over[name]) for name in ("value", "lower", "upper"))
    told = " ".join(optimizer("explain", path).out.split())
    assert "Had the best constant answer stood in place of every answer of the baseline" in told
    assert f"{value} points ({lower} to {upper}) would be left of the gain." in told


def test_where_interval_and_p_value_disagree_that_is_said() -> None:
    found = flipped(5, 3)
    assert found.comparison.interval.lower > 0
    assert found.comparison.p_value == pytest.approx(0.0625)
    said = "The interval alone would speak for a difference, but the p value"
    assert said in " ".join(in_words(found))
    for agreed in (flipped(0, 3), flipped(18, 3)):
        assert said not in " ".join(in_words(agreed))


def test_confusions_that_are_not_shown_are_summed_up() -> None:
    confusions = by_confusion(flipped(18, 13))
    assert len(confusions) == 13
    *shown, last = [line for line in _tally_lines(("target", "before", "after"), confusions, most=10) if line]
    assert len(shown) == 1 + 10
    assert (
        last == "and 3 more, together 3 examples, 3 improved, 0 regressed, +16.7 points; --json has them all"
    )
    whole = [line for line in _tally_lines(("target", "before", "after"), confusions[:10], most=10) if line]
    assert len(whole) == 11


def test_without_the_data_what_is_known_is_told(own_parcels: Path) -> None:
    (own_parcels / "study.yaml").unlink()
    found = document("explain", own_parcels)
    assert found["difference"]["n"] == 24  # the frozen prompt says which examples judged it
    assert found["by_confusion"] == []
    assert "name the task with --task" in " ".join(found["missing"])
    assert (
        document("explain", own_parcels, "--task", own_parcels.parents[1] / "task.yaml")["by_confusion"] != []
    )


def test_without_the_data_nothing_is_said_to_be_sure_of_examples_that_may_be_of_one_group(
    own_parcels: Path,
) -> None:
    (own_parcels / "study.yaml").unlink()
    frozen = FrozenPrompt.load(own_parcels / "prompt.json")
    pair = (f"{own_parcels}#baseline", f"{own_parcels}#winner")
    undecided = {name: value for name, value in frozen.evidence.items() if name != "difference"}
    for groups in (None, 6):
        told_so = replace(frozen, evidence={**undecided, "groups": groups})
        (own_parcels / "prompt.json").write_text(told_so.dumps(), encoding="utf-8")
        for command in (("explain", own_parcels), ("diff", *pair)):
            told = " ".join(optimizer(*command).out.split())
            assert ("p = " in told) == (groups is None)
            assert ("together in groups is not known without the data" in told) == (groups is not None)
            assert "7 examples improved, 2 regressed" in told
        method = document("diff", *pair)["difference"]["method"]
        assert method.endswith("each example counted by itself") == (groups is not None)
        assert document("explain", own_parcels)["difference"]["method"] == method
        # What judged says nothing of other examples.
        other = optimizer("diff", f"{own_parcels}#0", f"{own_parcels}#4").out
        assert "of them belong together in groups is not known" in " ".join(other.split())


def test_how_many_went_which_way_is_told_of_a_difference_whatever_is_said_before_it() -> None:
    told = " ".join(_difference_lines(flipped(5, 3)))
    assert "The interval alone would speak for a difference" in told
    assert told.endswith("5 examples improved, 0 regressed, 13 wrong in both.")


def test_a_prompt_alone_is_explained_by_its_evidence(parcels: Path, tmp_path: Path) -> None:
    shutil.copy(parcels / "prompt.json", tmp_path)
    found = document("explain", tmp_path)
    evidence = FrozenPrompt.load(parcels / "prompt.json").evidence
    assert found["figures"] == evidence
    assert "Which examples flipped is not known" in " ".join(found["missing"])
    told = optimizer("explain", tmp_path)
    assert told.code == 0
    assert "better on 7 examples, worse on 2" in told.out
    assert "There is no study.db here" in told.out
    refused = optimizer("explain", tmp_path, "0", "3")
    assert refused.code == 2
    assert "only baseline and winner can be explained" in refused.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["3"], "A B: expected two prompts or none, found 1"),
        (["3", "4", "5"], "A B: expected two prompts or none, found 3"),
        (["3", "44"], "found '44'"),
        (["--split", "tset"], "--split: expected train, validation, test, found 'tset'"),
        (
            ["1", "2", "--split", "test"],
            "there is no test example that trial 1 and trial 2 both have a score for",
        ),
    ],
)
def test_what_cannot_be_explained_is_told(parcels: Path, arguments: list[str], told: str) -> None:
    found = optimizer("explain", parcels, *arguments)
    assert found.code == 2
    assert told in found.err


def test_the_page_of_the_terminal_shows_what_is_printed(
    parcels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(parcels.parents[1])
    blocks = re.findall(r"^```console\n\$ optimizer (.*)\n((?:.*\n)*?)^```$", PAGE.read_text(), re.MULTILINE)
    assert len(blocks) >= 5
    for line, shown in blocks:
        told = optimizer(*line.split())
        assert told.code == 0, told.err
        assert told.out == shown, line


def test_the_interval_of_the_decision_is_told_with_its_level(own_parcels: Path) -> None:
    frozen = FrozenPrompt.load(own_parcels / "prompt.json")
    evidence: Any = frozen.evidence
    decided = {**evidence["difference"], "lower": -0.0123, "upper": 0.4321, "level": 0.975, "p_value": 0.0302}
    told_so = replace(frozen, evidence={**evidence, "difference": decided})
    (own_parcels / "prompt.json").write_text(told_so.dumps(), encoding="utf-8")
    pair = (f"{own_parcels}#baseline", f"{own_parcels}#winner")
    for command in (("explain", own_parcels), ("diff", *pair)):
        told = " ".join(optimizer(*command).out.split())
        assert "points (97.5 %: -1.2 to +43.2, p = 0.0302)" in told
    mirrored = document("diff", *reversed(pair))["difference"]
    assert (mirrored["lower"], mirrored["upper"], mirrored["p_value"]) == (-0.4321, 0.0123, 0.0302)
    # Of other examples the study decided nothing.
    assert document("explain", own_parcels, "--split", "validation")["difference"]["level"] == 0.95


@pytest.mark.parametrize("change", [{"reason": "same prompt"}, {"metric": "macro_f1"}])
def test_nothing_is_left_of_a_gain_that_is_none_or_of_another_metric(
    own_parcels: Path, change: dict[str, str]
) -> None:
    frozen = FrozenPrompt.load(own_parcels / "prompt.json")
    evidence: Any = frozen.evidence
    for changed in ({}, change):
        over = {**evidence, "difference_over_guess": evidence["difference"], **changed}
        (own_parcels / "prompt.json").write_text(replace(frozen, evidence=over).dumps(), encoding="utf-8")
        told = " ".join(optimizer("explain", own_parcels).out.split())
        assert ("would be left of the gain" in told) == (not changed)


def test_slices_that_begin_alike_are_told_apart() -> None:
    flips = flipped(4, 4)
    names = [
        f"customer support, second level, billing: refund of {what}" for what in ("an invoice", "a parcel")
    ]
    rows = tuple(
        replace(
            row,
            example=Example(id=row.id, inputs=(), target="a", group=None, slices=(("kind", names[k % 2]),)),
        )
        for k, row in enumerate(flips.rows)
    )
    rows = tuple(replace(row, before=row.after, after=row.before) for row in rows)
    told = next(said for said in in_words(replace(flips, rows=rows)) if said.startswith("By"))
    assert "an invoice”" in told
    assert "a parcel”" in told
