"""The decision in worlds whose truth is known: what is frozen, with which evidence, and how often test was opened."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optimizer import resampling, significance
from optimizer.answer import OUTCOMES
from optimizer.budget import Spent
from optimizer.completion import Completion, Request
from optimizer.conclusion import artifacts
from optimizer.digest import derived_seed
from optimizer.errors import BudgetError, IncompleteError, OverloadedError, RejectedError
from optimizer.plan import StudyPlan, load_plan
from optimizer.significance import compare_paired, mcnemar, tango, wilson

if TYPE_CHECKING:
    from tests.conftest import Outcome

LABELS = ("red", "green", "blue")
COLUMNS = (
    "trial,state,stage,digest,instruction_id,demonstrations_id,style,format,{}n,score,lower,upper,valid,errors,"
    "calls,cached,prompt_tokens,completion_tokens,cost_usd,parents,fingerprint"
)
TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 9, validation: 12, test: 30}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Which colour is it?]}
  demos: {sizes: [0]}
  styles: [direct]
  formats: [plain, json, choice]
  screen: 12
  sampler: {name: random_search}
budget: {calls: 174}
run: {batch: 8, concurrency: 4}
"""
Script = Callable[[Request], Completion | str]
Change = tuple[str, str]


Finished = Callable[..., "Outcome"]
World = Callable[..., "Outcome"]


@pytest.fixture
def read(write_study: Callable[..., Path]) -> Callable[..., StudyPlan]:
    """Return a function that writes a study, with some of its text replaced, and reads it."""

    def make(*changes: Change, folder: str = "colours", seed: int | None = None) -> StudyPlan:
        return load_plan(write_study(TASK, STUDY, *changes, items=51, folder=folder), seed=seed)

    return make


@pytest.fixture
def world(read: Callable[..., StudyPlan], finished: Finished) -> World:
    """Return a function that carries out a study in a world where a script answers."""

    def run(script: Script, *changes: Change, folder: str = "colours", **how: Any) -> "Outcome":
        return finished(read(*changes, folder=folder), script, **how)

    return run


def item(request: Request) -> int:
    return int(re.findall(r"Item (\d+)", request.messages[-1].content)[-1])


def answer(request: Request, label: str) -> str:
    """Return a completion that says a label as the request wants it said."""
    if request.constraint is None or request.constraint.choice:
        return label
    return f'{{"colour": "{label}"}}'


def choice_is_right(request: Request) -> str:
    """Answer right where the answer is constrained to the labels, else one time in three."""
    constrained = request.constraint is not None and bool(request.constraint.choice)
    return answer(request, LABELS[item(request) % 3] if constrained else "red")


def nothing_matters(request: Request) -> str:
    """Answer by the example alone: right for two of three."""
    return answer(request, "red" if item(request) % 3 == 1 else LABELS[item(request) % 3])


def by_chance(seed: int) -> Script:
    """Return a world in which every prompt is right with the same chance, each request drawn for itself."""

    def script(request: Request) -> str:
        drawn = derived_seed(seed, request.to_dict())
        truth = item(request) % 3
        return answer(request, LABELS[truth if drawn % 100 < 60 else (truth + 1) % 3])

    return script


def test_where_one_format_makes_everything_right_it_wins_and_is_frozen(world: World) -> None:
    outcome = world(choice_is_right)
    selection = outcome.selection
    assert selection.decision == "improved"
    assert selection.winner.candidate.format == "choice"
    assert selection.frozen.format == "choice"
    assert selection.frozen.fingerprint == selection.winner.template.fingerprint
    assert selection.winner.evaluation.value == 1.0
    assert selection.difference.difference == pytest.approx(2 / 3)
    # The wording had no part in it, and the comparison over the format says so.
    assert selection.wording is not None
    assert selection.over_format is not None
    assert selection.wording.candidate.format == "choice"
    assert selection.over_format.difference == 0


def test_the_frozen_prompt_is_what_was_scored(world: World) -> None:
    outcome = world(choice_is_right)
    frozen, seen = outcome.selection.frozen, outcome.model.requests
    for example in outcome.plan.dataset.test:
        request = frozen.request(**example.values)
        assert request in seen
        assert frozen.parse(choice_is_right(request)).text == example.target


def test_where_no_prompt_matters_the_baseline_is_kept(world: World) -> None:
    selection = world(nothing_matters).selection
    assert selection.decision == "not distinguishable"
    assert selection.difference.difference == 0
    assert selection.frozen.fingerprint == selection.baseline.template.fingerprint


def test_a_winner_that_is_worse_on_test_is_not_frozen(world: World, read: Callable[..., StudyPlan]) -> None:
    test = {e.id for e in read().dataset.test}

    def misleads(request: Request) -> str:
        n = item(request)
        on_test, plain = f"c{n:02d}" in test, request.constraint is None
        return answer(request, LABELS[n % 3 if on_test == plain else (n + 1) % 3])

    selection = world(misleads, folder="misled").selection
    assert selection.winner.candidate.format != "plain"
    assert selection.decision == "worse"
    assert selection.frozen.fingerprint == selection.baseline.template.fingerprint
    assert selection.frozen.evidence["decision"] == "worse"


@pytest.mark.slow
def test_phantom_gains_are_rarer_than_the_level_allows(world: World, finished: Finished) -> None:
    # 40 worlds without any true difference, at a level of 5 % in two directions.
    fewer = (("[plain, json, choice]", "[plain, choice]"), ("screen: 12", "screen: 6"))
    path = world(nothing_matters, *fewer).plan.folder / "study.yaml"
    decisions = []
    for seed in range(40):
        outcome = finished(load_plan(path, seed=seed), by_chance(seed), fresh=True, cache="private")
        decisions.append(outcome.selection.decision)
    assert decisions.count("improved") <= 4
    assert decisions.count("worse") <= 4


def test_the_evidence_equals_what_is_counted_by_hand(world: World) -> None:
    outcome = world(by_chance(5))
    selection, evidence = outcome.selection, outcome.evidence
    judged = {}
    for name in ("baseline", "winner", "wording"):
        template = getattr(selection, name).template
        answers = [
            (template.answer.read(by_chance(5)(template.request(e.values)), "stop").text, e.target)
            for e in outcome.plan.dataset.test
        ]
        judged[name] = [float(said == target) for said, target in answers]
        figures, interval = evidence["test"][name], wilson(sum(judged[name]), 30)
        assert figures["score"] == pytest.approx(sum(judged[name]) / 30)
        assert (figures["lower"], figures["upper"]) == (interval.lower, interval.upper)
        assert (figures["n"], figures["invalid"], figures["errors"]) == (30, 0, 0)
        assert figures["metrics"]["valid"] == 1.0
    for name, before in (("difference", "baseline"), ("difference_over_format", "wording")):
        pairs = list(zip(judged[before], judged["winner"], strict=True))
        wins, losses = sum(b > a for a, b in pairs), sum(b < a for a, b in pairs)
        told = evidence[name]
        assert (told["wins"], told["losses"], told["ties"], told["n"]) == (
            wins,
            losses,
            30 - wins - losses,
            30,
        )
        assert told["value"] == pytest.approx((wins - losses) / 30)
        assert told["p_value"] == mcnemar(wins, losses)
        interval = tango(wins, losses, 30)
        assert (told["lower"], told["upper"], told["level"]) == (interval.lower, interval.upper, 0.95)
    assert selection.difference == compare_paired(judged["baseline"], judged["winner"], seed=0)
    assert evidence["smallest_provable_difference"] == outcome.plan.bounds.smallest_provable
    assert evidence["test_opened"] == 1


def test_the_winner_is_confirmed_on_all_of_validation(world: World) -> None:
    outcome = world(choice_is_right, ("screen: 12", "screen: 6"))
    *screened, confirmed = outcome.trials
    assert {(row.stage, row.n) for row in screened} == {("baseline", 6), ("search", 6)}
    assert (confirmed.stage, confirmed.n, confirmed.calls, confirmed.cached) == ("confirm", 12, 6, 6)
    assert confirmed.fingerprint == outcome.selection.winner.template.fingerprint
    assert outcome.evidence["validation"]["winner"]["n"] == 12
    assert outcome.evidence["validation"]["winner"]["score"] == 1.0


def test_nothing_is_asked_of_the_test_before_the_winner_is_confirmed(world: World) -> None:
    outcome = world(by_chance(1))
    test = {int(e.id[1:]) for e in outcome.plan.dataset.test}
    asked = [item(request) in test for request in outcome.model.requests]
    assert asked == sorted(asked)
    selection = outcome.selection
    distinct = {arm.template for arm in (selection.baseline, selection.winner, selection.wording) if arm}
    assert sum(asked) == 30 * len(distinct)


def test_the_same_study_again_asks_nothing_and_opens_the_test_no_second_time(
    world: World,
) -> None:
    first, second = world(choice_is_right), world(choice_is_right)
    assert second.model.requests == []
    assert second.selection.test_opened == 1
    assert artifacts(second.plan, second.selection) == artifacts(first.plan, first.selection)


def test_a_test_that_is_opened_for_another_winner_is_counted(world: World) -> None:
    def json_then_choice(request: Request) -> str:
        constrained = request.constraint is not None and bool(request.constraint.choice)
        right = constrained or (request.constraint is not None and item(request) % 5 > 0)
        return answer(request, LABELS[item(request) % 3] if right else "red")

    small = world(json_then_choice, ("calls: 174", "calls: 126"), ("batch: 8", "batch: 1"))
    assert small.evidence["test_opened"] == 1
    large = world(json_then_choice, ("calls: 174", "calls: 222"), ("batch: 8", "batch: 1"))
    assert large.selection.winner.candidate.format == "choice"
    changed = large.selection.winner.template != small.selection.winner.template
    assert large.evidence["test_opened"] == 1 + changed
    assert large.evidence["validation"]["winner"]["score"] == 1.0


def test_a_corpus_metric_can_be_the_objective(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (resampling, significance):
        monkeypatch.setattr(module, "RESAMPLES", 200)  # scikit-learn takes its time
    outcome = world(choice_is_right, ("metric: accuracy", "metric: macro_f1"))
    selection = outcome.selection
    assert selection.decision == "improved"
    assert selection.winner.evaluation.value == 1.0
    # Always red: F1 1/2 for red, 0 for the others.
    assert selection.baseline.evaluation.value == pytest.approx(1 / 6)
    assert selection.difference.difference == pytest.approx(5 / 6)
    assert outcome.evidence["difference"]["method"] == "paired bootstrap"
    assert outcome.evidence["difference"]["wins"] is None
    assert outcome.evidence["test"]["winner"]["lower"] is None
    assert outcome.trials[0].lower is None


def test_a_test_that_cannot_be_finished_freezes_nothing(world: World, read: Callable[..., StudyPlan]) -> None:
    test = on_test(read())

    def down_on_test(request: Request) -> str:
        if item(request) in test:
            raise RejectedError("too long")
        return nothing_matters(request)

    with pytest.raises(
        IncompleteError, match="the test could not be finished: 30 of 30 examples failed; too long"
    ):
        world(down_on_test, folder="down")
    assert world(nothing_matters, folder="down").evidence["test_opened"] == 1


def test_a_test_that_is_refused_for_good_goes_on_with_a_larger_share_of_errors(
    world: World, read: Callable[..., StudyPlan]
) -> None:
    refused = min(on_test(read()))

    def too_long(request: Request) -> str:
        if item(request) == refused:
            raise RejectedError("too long")
        return choice_is_right(request)

    with pytest.raises(IncompleteError, match=r"too long; asked again it is the same: .*max_error_rate"):
        world(too_long)
    outcome = world(too_long, ("concurrency: 4", "concurrency: 4, max_error_rate: 0.1"))
    assert outcome.selection.decision == "improved"
    assert outcome.evidence["test_opened"] == 1


def test_a_wording_that_is_refused_for_good_on_test_leaves_winner_and_baseline_to_be_compared(
    world: World, read: Callable[..., StudyPlan]
) -> None:
    test = on_test(read())

    def script(request: Request) -> str:
        choice = request.constraint is not None and bool(request.constraint.choice)
        given = request.messages[0].content.startswith("Which")
        if choice and not given and item(request) in test:
            raise RejectedError("too long")
        return answer(request, LABELS[item(request) % 3] if choice and given else "red")

    outcome = world(script)
    assert outcome.selection.decision == "improved"
    assert (outcome.selection.wording, outcome.selection.over_format) == (None, None)
    assert "wording" not in outcome.evidence["test"]


def on_test(plan: StudyPlan) -> set[int]:
    """Return the numbers of the examples of the test."""
    return {int(example.id[1:]) for example in plan.dataset.test}


@pytest.mark.parametrize(
    ("changes", "extra"),
    [
        ((), ""),
        (
            (("screen: 12", "screen: 12\n  parameters: {temperature: [0.2, 0.7], top_p: [0.5]}"),),
            "temperature,top_p,",
        ),
    ],
)
def test_the_history_has_its_columns_and_a_row_for_each_trial(
    world: World, changes: tuple[tuple[str, str], ...], extra: str
) -> None:
    outcome = world(by_chance(2), *changes)
    files = artifacts(outcome.plan, outcome.selection)
    text = files["history.csv"]
    assert text.splitlines()[0] == COLUMNS.format(extra)
    assert "\r" not in text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["trial"]) for row in rows] == list(range(len(outcome.trials)))
    for row, trial in zip(rows, outcome.trials, strict=True):
        assert float(row["score"]) == trial.score
        assert row["digest"] == trial.digest
        assert row["fingerprint"] == trial.fingerprint
        assert (row["instruction_id"], row["format"]) == (trial.point["instruction"], trial.point["format"])
        assert int(row["calls"]) + int(row["cached"]) == trial.n
    assert sum(int(row["calls"]) for row in rows) <= outcome.plan.budget.calls
    assert (rows[0]["stage"], rows[-1]["stage"]) in {("baseline", "confirm"), ("baseline", "search")}
    if extra:
        assert (rows[0]["temperature"], rows[0]["top_p"]) == ("", "")
        assert {row["temperature"] for row in rows[1:]} <= {"0.2", "0.7"}


def test_the_texts_of_the_wordings_lie_beside_the_history(world: World) -> None:
    outcome = world(nothing_matters)
    lines = artifacts(outcome.plan, outcome.selection)["instructions.jsonl"].splitlines()
    assert lines == [
        '{"id":"i0000","origin":"given","parents":[],"text":"Name the colour."}',
        '{"id":"i0001","origin":"given","parents":[],"text":"Which colour is it?"}',
    ]


def test_a_winner_that_breaks_a_constraint_on_all_of_validation_gives_way(
    world: World,
) -> None:
    screened: set[int] = set()  # the baseline is asked first, about the screened examples

    def json_is_right_where_it_is_screened(request: Request) -> str:
        if len(screened) < 6:
            screened.add(item(request))
        if request.constraint is None or request.constraint.choice:
            return "red"
        return answer(request, LABELS[item(request) % 3]) if item(request) in screened else "no JSON"

    limit = ("budget:", "constraints: {valid: {min: 0.95}}\nbudget:")
    outcome = world(json_is_right_where_it_is_screened, ("screen: 12", "screen: 6"), limit)
    first = next(row for row in outcome.trials if row.stage == "confirm")
    assert (first.point["format"], first.valid, first.feasible) == ("json", 0.5, False)
    assert outcome.selection.winner.candidate.format != "json"
    assert outcome.selection.frozen.template == outcome.selection.baseline.template


PRICED = ("calls: 174", "calls: 174, prices: {rules: {input: 3, output: 5}}")


def test_the_history_tells_what_each_trial_cost_whoever_paid(world: World) -> None:
    def priced(request: Request) -> Completion:
        return Completion(text=choice_is_right(request), prompt_tokens=10, completion_tokens=2)

    outcome = world(priced, PRICED)
    each = (10 * 3 + 2 * 5) / 1e6
    rows = list(csv.DictReader(io.StringIO(artifacts(outcome.plan, outcome.selection)["history.csv"])))
    assert [float(row["cost_usd"]) for row in rows] == pytest.approx([each * row.n for row in outcome.trials])
    assert [entry["cost_usd"] for entry in outcome.selection.frozen.history] == [
        row.cost_usd for row in outcome.trials
    ]
    assert outcome.spent.usd == pytest.approx(each * len(outcome.model.requests))
    again = world(priced, PRICED, fresh=True)  # all of it is in the store
    assert (again.model.requests, again.spent.usd) == ([], 0.0)
    assert [row.cost_usd for row in again.trials] == [row.cost_usd for row in outcome.trials]


def test_the_evidence_counts_every_outcome(world: World, read: Callable[..., StudyPlan]) -> None:
    refused, cut, unreadable, lost, *_ = sorted(on_test(read()))

    def script(request: Request) -> Completion | str:
        n, baseline = item(request), request.constraint is None
        if baseline and n == lost:
            raise RejectedError("too long")
        if baseline and n in (refused, cut):
            return Completion(text="I", finish_reason="refused" if n == refused else "length")
        return "who knows" if baseline and n == unreadable else choice_is_right(request)

    outcome = world(script, ("concurrency: 4", "concurrency: 4, max_error_rate: 0.1"))
    known: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
    test = outcome.evidence["test"]
    assert test["baseline"]["outcomes"] == {
        **known,
        "ok": 26,
        "refused": 1,
        "truncated": 1,
        "invalid": 1,
        "error": 1,
    }
    assert test["winner"]["outcomes"] == {**known, "ok": 30}
    assert (test["baseline"]["n"], test["baseline"]["invalid"], test["baseline"]["errors"]) == (29, 3, 1)
    assert outcome.evidence["difference"]["n"] == 29


def within(budget: str) -> tuple[Change, ...]:
    """Return what makes the space so large that another budget than that of calls ends the search."""
    bounded = ("path: rules.json", "path: rules.json, parameters: {max_tokens: 8}")
    return (("sizes: [0]", "sizes: [0, 1, 2], sets: 12"), ("calls: 174", f"calls: 900, {budget}"), bounded)


@pytest.mark.parametrize(
    ("budget", "figure"),
    [
        pytest.param("tokens: 9000", lambda spent: spent.tokens, id="tokens"),
        pytest.param("usd: 0.01, prices: {rules: {input: 1, output: 2}}", lambda spent: spent.usd, id="usd"),
        pytest.param("seconds: 60", lambda spent: spent.seconds, id="seconds"),
    ],
)
def test_a_study_ends_within_any_budget_with_its_test_done(
    world: World, budget: str, figure: Callable[[Spent], float]
) -> None:
    outcome = world(choice_is_right, *within(budget), seconds=lambda _: 1.0)
    assert outcome.selection.decision == "improved"
    limit = float(re.findall(r"[\d.]+", budget)[0])
    assert 0.5 * limit < figure(outcome.spent) <= limit
    assert outcome.spent.calls < 900 - outcome.plan.bounds.reserved.calls
    assert len(outcome.trials) > 4


def test_a_budget_that_ends_before_the_test_is_done_ends_the_study_with_all_saved(
    world: World, read: Callable[..., StudyPlan]
) -> None:
    test, asked = on_test(read()), list[Request]()

    def noting(request: Request) -> str:
        asked.append(request)
        return choice_is_right(request)

    def slow_on_test(request: Request) -> float:
        return 9.0 if item(request) in test else 1.0

    with pytest.raises(BudgetError, match="the budget of 60 seconds is spent") as ended:
        world(noting, ("calls: 174", "calls: 174, seconds: 60"), seconds=slow_on_test)
    assert ended.value.exit_code == 4
    assert any(item(request) in test for request in asked)
    # The same study with a larger budget asks for what is missing, and comes to what it would have come to.
    outcome = world(choice_is_right, ("calls: 174", "calls: 174, seconds: 600"))
    assert set(Counter(map(str, [*asked, *outcome.model.requests])).values()) == {1}
    assert outcome.spent.seconds >= 60
    undisturbed = world(choice_is_right, folder="undisturbed/colours")
    assert artifacts(outcome.plan, outcome.selection) == artifacts(undisturbed.plan, undisturbed.selection)


SOON = ("concurrency: 4", "concurrency: 4, deadline_seconds: 5")


def json_fails(request: Request) -> str:
    """Fail where JSON is asked for, and answer right where it is not and one wording is used."""
    if request.constraint is not None and not request.constraint.choice:
        raise OverloadedError("no idea what to say", reason="500")
    return answer(request, LABELS[item(request) % 3 if item(request) % 5 else 0])


def test_a_trial_that_is_completed_later_can_win(world: World) -> None:
    def json_is_best(request: Request) -> str:
        if request.constraint is not None and not request.constraint.choice:
            return answer(request, LABELS[item(request) % 3])
        return json_fails(request)

    first = world(json_fails, SOON)
    assert "failed" in {row.state for row in first.trials}
    assert first.selection.winner.candidate.format != "json"
    second = world(json_is_best, SOON)
    assert {row.state for row in second.trials} == {"complete"}
    assert second.selection.winner.candidate.format == "json"
    assert second.evidence["test_opened"] == 2


@pytest.mark.parametrize("seed", [2, 6])
def test_completing_what_failed_leaves_confirmation_and_test_what_they_need(world: World, seed: int) -> None:
    def one_wording_fails(request: Request) -> str:
        if request.messages[0].content.startswith("Which") and item(request) % 4:
            raise OverloadedError("no idea what to say", reason="500")
        return choice_is_right(request)

    tight = (
        *within("tokens: 11000"),
        ("sizes: [0, 1, 2]", "sizes: [2]"),  # all as dear as the dearest, so little is kept in excess
        ("random_search}", f"random_search, seed: {seed}}}"),
        SOON,
    )
    with suppress(IncompleteError):  # where the last candidates are among those that fail
        world(one_wording_fails, *tight)
    outcome = world(choice_is_right, *tight)
    assert outcome.selection.decision == "improved"
    assert outcome.spent.tokens <= 11000


def test_a_winner_that_the_endpoint_fails_is_confirmed_by_the_next_run(world: World) -> None:
    changes = (SOON, ("screen: 12", "screen: 6"))
    screened: set[int] = set()

    def fails_in_confirmation(request: Request) -> str:
        if len(screened) < 6:
            screened.add(item(request))
        if item(request) not in screened:
            raise OverloadedError("no idea what to say", reason="500")
        return choice_is_right(request)

    with pytest.raises(IncompleteError, match="a prompt could not be confirmed: 6 of 12 examples failed"):
        world(fails_in_confirmation, *changes)
    outcome = world(choice_is_right, *changes)
    undisturbed = world(choice_is_right, *changes, folder="undisturbed/colours")
    assert artifacts(outcome.plan, outcome.selection) == artifacts(undisturbed.plan, undisturbed.selection)


@pytest.mark.parametrize("whose", ["favourite", "baseline"])
def test_a_prompt_that_is_refused_for_good_in_confirmation_cannot_win_and_ends_no_study(
    world: World, whose: str
) -> None:
    changes = (("screen: 12", "screen: 6"), ("calls: 174", "calls: 400"))
    screened, refused = set[int](), {"yes": True}

    def script(request: Request) -> str:
        if len(screened) < 6:
            screened.add(item(request))
        constrained = request.constraint is not None
        choice = request.constraint is not None and bool(request.constraint.choice)
        mine = choice if whose == "favourite" else not constrained and request.messages[0].content[0] == "N"
        if refused["yes"] and mine and item(request) not in screened and item(request) not in test:
            raise RejectedError("too long")
        return answer(request, LABELS[item(request) % 3] if choice or item(request) % 4 == 0 else "red")

    first = world(nothing_matters, folder="elsewhere")
    test = on_test(first.plan)
    outcome = world(script, *changes)
    failed = [row for row in outcome.trials if row.state == "failed"]
    assert {row.stage for row in failed} == {"confirm"}
    assert outcome.selection.frozen.fingerprint not in {row.fingerprint for row in failed}
    assert (outcome.trials[0].fingerprint in {row.fingerprint for row in failed}) == (whose == "baseline")
    again = world(script, *changes)
    assert again.model.requests == []
    assert artifacts(again.plan, again.selection) == artifacts(outcome.plan, outcome.selection)
    refused["yes"] = False
    mended = world(script, *changes, ("concurrency: 4", "concurrency: 4, max_error_rate: 0.9"))
    assert {row.state for row in mended.trials} == {"complete"}
