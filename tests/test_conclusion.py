"""What a study concludes, in worlds whose truth is known: confirmation, costs, guessing, small data, further openings."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.completion import Completion, Request
from optimizer.digest import derived_seed
from optimizer.plan import StudyPlan, load_plan
from optimizer.power import smallest_provable_difference
from optimizer.selection import _choice
from optimizer.standing import Standing
from optimizer.study import open_study

if TYPE_CHECKING:
    from tests.conftest import Outcome

LABELS = ("red", "green", "blue")
TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 9, validation: 24, test: 60}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour of the item that this text tells of, as exactly as you can.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Which colour?, What is its colour?]}
  demos: {sizes: [0]}
  styles: [direct]
  formats: [plain, inline]
  screen: 12
  sampler: {name: random_search}
budget: {calls: 400}
run: {batch: 8, concurrency: 4}
"""
World = Callable[..., "Outcome"]
Change = tuple[str, str]


@pytest.fixture
def read(write_study: Callable[..., Path]) -> Callable[..., StudyPlan]:
    """Return a function that writes a study, with some of its text replaced, and reads it."""

    def make(*changes: Change, folder: str = "colours", seed: int | None = None) -> StudyPlan:
        return load_plan(write_study(TASK, STUDY, *changes, items=93, folder=folder), seed=seed)

    return make


@pytest.fixture
def world(read: Callable[..., StudyPlan], finished: World) -> World:
    """Return a function that carries out a study in a world where a script answers."""

    def run(
        script: Callable[[Request], str], *changes: Change, folder: str = "colours", **how: Any
    ) -> "Outcome":
        return finished(read(*changes, folder=folder), script, **how)

    return run


def item(request: Request) -> int:
    return int(re.findall(r"Item (\d+)", request.messages[-1].content)[-1])


def right_in(share: Callable[[str], float]) -> Callable[[Request], str]:
    """Return a script that is right with a chance that depends on the text of the prompt, drawn by example."""

    def script(request: Request) -> str:
        text, n = " ".join(message.content for message in request.messages), item(request)
        drawn = derived_seed("draw", n) % 1000 / 1000
        return LABELS[n % 3 if drawn < share(text) else (n + 1) % 3]

    return script


def always_right(request: Request) -> str:
    return LABELS[item(request) % 3]


def confirmed(outcome: "Outcome") -> list[str]:
    return [row.fingerprint for row in outcome.trials if row.stage == "confirm"]


ROOMY = ("calls: 400", "calls: 2000")


def test_a_roomy_budget_confirms_the_baseline_and_three_more(world: World) -> None:
    outcome = world(right_in(lambda text: 0.9 if "Which" in text else 0.4), ROOMY)
    assert outcome.plan.bounds.confirmed == 4
    baseline, *others = confirmed(outcome)
    assert baseline == outcome.trials[0].fingerprint
    assert len(set(others)) == len(others) == 3
    assert outcome.selection.winner.template.fingerprint in others
    assert outcome.evidence["validation"]["baseline"]["n"] == 24
    assert outcome.spent.calls <= 2000


def test_a_narrow_budget_confirms_one(world: World) -> None:
    outcome = world(right_in(lambda text: 0.9 if "Which" in text else 0.4))
    assert outcome.plan.bounds.confirmed == len(confirmed(outcome)) == 1
    assert outcome.evidence["validation"]["baseline"]["n"] == 12


def test_of_prompts_that_do_equally_well_the_cheapest_wins(world: World) -> None:
    def rewards_wording(text: str) -> float:
        return 0.3 if "as exactly as you can" in text else 0.95

    outcome = world(right_in(rewards_wording), ROOMY)
    costs = {
        row.fingerprint: (row.tokens or 0) / row.n
        for row in outcome.trials
        if row.stage == "confirm" and row.trial != outcome.trials[0].trial
    }
    winner = outcome.selection.winner.template.fingerprint
    del costs[outcome.trials[0].fingerprint]
    assert costs[winner] == min(costs.values())
    assert outcome.selection.decision == "improved"
    assert outcome.evidence["reason"] == "better"


def test_a_prompt_as_good_and_cheaper_is_frozen_within_the_stated_margin(world: World) -> None:
    margin = ("budget: {calls: 400}", "selection: {margin: 0.08}\nbudget: {calls: 2000}")
    outcome = world(always_right, margin)
    evidence = outcome.evidence
    assert outcome.selection.decision == "not distinguishable"
    assert (evidence["reason"], evidence["frozen"], evidence["margin"]) == ("cheaper", "winner", 0.08)
    assert evidence["saving"]["winner"] < evidence["saving"]["baseline"]
    assert evidence["saving"]["upper"] < 0
    assert outcome.selection.frozen.fingerprint == outcome.selection.winner.template.fingerprint
    # 0 wins and losses of 60: Tango's interval is ±z²/(n + z²), 6.0 points, and no narrower margin holds.
    assert evidence["difference"]["lower"] == pytest.approx(-3.8415 / 63.8415, abs=1e-4)


def test_by_the_usual_margin_sixty_examples_do_not_show_that_it_is_as_good(world: World) -> None:
    evidence = world(always_right, ROOMY).evidence
    assert (evidence["reason"], evidence["frozen"], evidence["margin"]) == ("no evidence", "baseline", 0.02)


def unreadable_at_first(request: Request) -> str:
    """Say nothing of use to the baseline's layout; guess by chance in the other."""
    if "as exactly as you can" in request.messages[0].content and len(request.messages) > 1:
        return "I could not say."
    return LABELS[derived_seed("guess", item(request)) % 3]


def test_answers_that_can_be_read_and_mean_nothing_are_no_gain(world: World) -> None:
    outcome = world(unreadable_at_first, ROOMY)
    evidence = outcome.evidence
    assert evidence["test"]["baseline"]["invalid"] == 60
    assert evidence["difference"]["value"] > 0.2
    assert evidence["difference"]["p_value"] < 0.001
    assert evidence["guess"]["score"] == pytest.approx(2 / 8)  # of nine, three each; one is left out
    assert outcome.selection.decision == "not distinguishable"
    assert (evidence["reason"], evidence["frozen"]) == ("no better than guessing", "baseline")
    over = evidence["difference_over_guess"]
    assert over["lower"] <= 0 <= over["upper"] or over["p_value"] >= 0.05


def test_answers_that_can_be_read_and_are_right_are_a_gain(world: World) -> None:
    def improves(request: Request) -> str:
        said = unreadable_at_first(request)
        return always_right(request) if said in LABELS else said

    evidence = world(improves, ROOMY).evidence
    assert (evidence["decision"], evidence["reason"]) == ("improved", "better")
    assert evidence["difference_over_guess"]["value"] == pytest.approx(0.75)


def test_of_a_baseline_that_is_the_winner_nothing_is_guessed(world: World) -> None:
    def worse_than_at_first(request: Request) -> str:
        asked = " ".join(message.content for message in request.messages)
        if "exactly" not in asked:
            return LABELS[(item(request) + 1) % 3]
        return "I could not say." if item(request) % 5 == 0 else always_right(request)

    evidence = world(worse_than_at_first, ROOMY, ("formats: [plain, inline]", "formats: [plain]")).evidence
    assert evidence["reason"] == "same prompt"
    assert evidence["test"]["baseline"]["invalid"] > 0
    assert (evidence["difference_over_guess"], evidence["guess"]) == (None, None)
    assert "stand_in" not in evidence


SMALL = ("{train: 9, validation: 24, test: 60}", "{train: 9, validation: 40, test: 0}")


def test_without_a_test_split_the_choice_is_cross_validated(world: World) -> None:
    outcome = world(right_in(lambda text: 0.95 if "Which" in text else 0.3), SMALL)
    evidence, selection = outcome.evidence, outcome.selection
    assert evidence["protocol"] == "cross-validation"
    assert evidence["test_opened"] == 0
    assert "test" not in evidence
    assert {row.n for row in outcome.trials} == {40}
    assert {row.stage for row in outcome.trials} == {"baseline", "search"}
    assert sum(evidence["cross_validation"]["picked"].values()) == 50
    assert selection.decision == "improved"
    assert "Which" in selection.winner.candidate.instruction.text
    assert selection.frozen.fingerprint == selection.winner.template.fingerprint
    assert "There is no test split." in " ".join(evidence["in_words"])


def test_where_no_prompt_matters_cross_validation_keeps_the_baseline(world: World) -> None:
    outcome = world(right_in(lambda _: 0.6), SMALL)
    assert outcome.selection.decision == "not distinguishable"
    assert outcome.selection.frozen.fingerprint == outcome.selection.baseline.template.fingerprint
    assert outcome.evidence["difference"]["value"] == 0.0


def test_a_corpus_metric_is_cross_validated_as_well(world: World) -> None:
    outcome = world(
        right_in(lambda text: 0.95 if "Which" in text else 0.3),
        SMALL,
        ("metric: accuracy", "metric: macro_f1"),
    )
    assert outcome.selection.decision == "improved"
    assert outcome.evidence["validation"]["winner"]["estimate"] is None
    assert outcome.evidence["stand_in"] == "labels_f1"


def test_each_further_opening_of_the_test_asks_for_more_confidence(world: World) -> None:
    script = right_in(lambda text: 0.3 + 0.6 * ("Which" in text) + 0.4 * ("What" in text))
    first = world(script, ("given: [Which colour?, What is its colour?]", "given: [What is its colour?]"))
    second = world(script, fresh=True)
    assert first.evidence["difference"]["level"] == 0.95
    assert second.evidence["test_opened"] == 2
    assert second.evidence["difference"]["level"] == pytest.approx(0.975)
    assert [one["opening"] for one in second.evidence["test_openings"]] == [1, 2]
    assert second.evidence["test_openings"][0] == first.evidence["test_openings"][0]
    assert "was raised to 97.5 %" in " ".join(second.evidence["in_words"])
    again = world(script)
    assert again.evidence["test_opened"] == 2
    assert again.selection.frozen.dumps() == second.selection.frozen.dumps()
    # The first winner once more is no news, but no fresh look either.
    changes = ("given: [Which colour?, What is its colour?]", "given: [What is its colour?]")
    assert world(script, changes, fresh=True).evidence["difference"]["level"] == pytest.approx(0.975)


def test_a_wording_that_holds_a_test_example_is_told(world: World, read: Callable[..., StudyPlan]) -> None:
    shown = read().dataset.test[0].values["text"]
    given = (
        "given: [Which colour?,",
        f"given: ['Which colour? As in: {shown} in the hall of the old house.',",
    )
    outcome = world(always_right, given, folder="leaky")
    assert any("wording" in leak for leak in outcome.evidence["leaks"]), outcome.evidence["leaks"]
    assert any(sentence.startswith("Caution: ") for sentence in outcome.evidence["in_words"])


def test_what_was_stated_before_the_run_stands_in_the_evidence(world: World) -> None:
    evidence = world(always_right).evidence
    assert evidence["smallest_provable_difference"] == smallest_provable_difference(60)
    told = evidence["difference"]
    share = (told["wins"] + told["losses"]) / told["n"]
    assert told["smallest_provable"] == smallest_provable_difference(60, disagreement=share)


def test_a_constraint_is_judged_by_the_examples_that_a_choice_is_made_on(world: World) -> None:
    def unreadable(request: Request) -> str:
        text = request.messages[0].content
        if "Which" in text and item(request) % 3 == 0:
            return "It is hard to say."
        return right_in(lambda text: 0.95 if "Which" in text else 0.3)(request)

    free = world(unreadable, SMALL)
    assert "Which" in free.selection.winner.candidate.instruction.text
    bound = ("budget: {calls: 400}", "constraints: {valid: {min: 0.95}}\nbudget: {calls: 400}")
    held = world(unreadable, SMALL, bound, folder="held")
    assert "Which" not in held.selection.winner.candidate.instruction.text
    assert held.evidence["infeasible"] > 0


@pytest.mark.parametrize("bound", ["valid: {min: 0.95}", "truncated: {max: 0.05}", "strict: {min: 0.95}"])
def test_a_bound_on_costs_beside_it_lets_no_held_out_answer_decide(
    world: World, run_virtual: Callable[..., Any], bound: str
) -> None:
    def unreadable(request: Request) -> str | Completion:
        text = request.messages[0].content
        if "Which" in text and item(request) % 3 == 0:
            return Completion(text="It is hard to say, since", finish_reason="length")
        return right_in(lambda text: 0.95 if "Which" in text else 0.3)(request)

    bounds = f"constraints: {{{bound}, tokens: {{max: 100000}}}}"
    outcome = world(unreadable, SMALL, ("budget: {calls: 400}", f"{bounds}\nbudget: {{calls: 400}}"))

    async def chosen() -> tuple[str, str]:
        async with open_study(outcome.plan) as study:
            standing = Standing(study, study.trials)
            names = [(int(e.id[1:]), e.id) for e in outcome.plan.dataset.validation]
            readable = tuple(name for n, name in names if n % 3)
            picked = [_choice(study, standing, seen) for seen in (readable, tuple(name for _, name in names))]
            one, other = (study.space.candidate(standing.rows[arm].point).instruction.text for arm in picked)
            return one, other

    by_readable, by_all = run_virtual(chosen())
    assert "Which" in by_readable
    assert "Which" not in by_all
