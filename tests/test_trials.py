"""Optuna's side of a study: asked by our numbers, told once, and the same whoever asks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from optimizer.board import Arm, Board, Reading
from optimizer.candidate import Candidate
from optimizer.history import TrialRecord
from optimizer.plan import StudyPlan, load_plan
from optimizer.storage import create_study, open_storage
from optimizer.trialrows import Ending, MirroredStudy
from optimizer.trials import Trials

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 12, validation: 12, test: 12}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Which colour is it?]}
  demos: {sizes: [0, 2], sets: 2}
  styles: [direct]
  formats: [plain, json, choice]
  screen: 6
  sampler: {name: tpe}
budget: {calls: 102}
"""


@pytest.fixture
def plan(write_study: Callable[..., Path]) -> StudyPlan:
    return load_plan(write_study(TASK, STUDY, items=36))


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Callable[[str], optuna.Study]]:
    """Return a function that gives a study of that name in a database of the test."""
    with open_storage(tmp_path / "trials.db") as storage:
        yield lambda name: create_study(storage, name)


@pytest.fixture
def study(stored: Callable[[str], optuna.Study]) -> optuna.Study:
    return stored("colours#1")


@pytest.fixture
def trials(plan: StudyPlan, study: optuna.Study) -> Trials:
    return Trials(plan, study)


def a_row(
    plan: StudyPlan, trial: int, candidate: Candidate, score: float | None, **values: Any
) -> TrialRecord:
    template = plan.space.render(candidate)
    assert template is not None
    known: dict[str, Any] = {
        "stage": "search" if trial else "baseline",
        "state": "failed" if score is None else "complete",
        "digest": candidate.digest,
        "fingerprint": template.fingerprint,
        "point": candidate.point,
        "n": 6,
        "lower": None,
        "upper": None,
        "valid": None,
        "errors": 0 if score is not None else 6,
        "feasible": score is not None,
        "outage": score is None,
        "calls": 6,
        "cached": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost_usd": None,
        "parents": (),
    }
    return TrialRecord(trial=trial, score=score, **{**known, **values})


def held(study: optuna.Study) -> list[tuple[int | None, str, float | None]]:
    """Return our number, the state and the value of each of Optuna's trials."""
    return [(number(trial), trial.state.name, trial.value) for trial in study.get_trials(deepcopy=False)]


def number(trial: FrozenTrial) -> int | None:
    found: int | None = trial.user_attrs.get("trial")
    return found


def ask(trials: Trials, n: int) -> Candidate | None:
    return next((candidate for _, candidate, _ in trials.ask([n], Board(()))), None)


def asked(trials: Trials, n: int) -> Candidate:
    candidate = ask(trials, n)
    assert candidate is not None
    return candidate


def test_what_is_told_is_held_once_however_often_it_is_told(
    plan: StudyPlan, study: optuna.Study, trials: Trials
) -> None:
    rows = [a_row(plan, 0, plan.space.baseline, 0.5)]
    trials.tell(rows)
    rows += [a_row(plan, n, asked(trials, n), score) for n, score in ((1, 0.75), (2, None))]
    for _ in range(3):
        trials.tell(rows)
    assert held(study) == [(0, "COMPLETE", 0.5), (1, "COMPLETE", 0.75), (2, "FAIL", None)]
    assert study.best_trial.user_attrs["digest"] == rows[1].digest


def test_a_candidate_that_was_asked_for_is_the_same_whoever_asks_again(
    plan: StudyPlan, study: optuna.Study, trials: Trials
) -> None:
    first = [asked(trials, n) for n in (1, 2, 3)]
    assert [asked(Trials(plan, study), n) for n in (1, 2, 3)] == first
    assert held(study) == [(n, "RUNNING", None) for n in (1, 2, 3)]
    for candidate, trial in zip(first, study.get_trials(), strict=True):
        assert trial.params == candidate.point
        assert trial.user_attrs["instruction"] == candidate.instruction.text
        assert trial.user_attrs["digest"] == candidate.digest


def test_the_same_number_after_the_same_trials_asks_for_the_same_in_another_study(
    plan: StudyPlan, stored: Callable[[str], optuna.Study]
) -> None:
    def sequence(name: str) -> list[str]:
        one = Trials(plan, stored(name))
        one.tell([a_row(plan, 0, plan.space.baseline, 0.5)])
        found = []
        for n in range(1, 9):
            candidate = asked(one, n)
            one.tell([a_row(plan, n, candidate, n % 3 / 3)])
            found.append(candidate.digest)
        return found

    assert sequence("a") == sequence("b")


def test_several_asked_for_at_once_are_those_of_whom_the_most_is_expected(
    write_study: Callable[..., Path], stored: Callable[[str], optuna.Study]
) -> None:
    wordings = ", ".join(f"Wording {k}?" for k in range(30))
    changes = (("Which colour is it?", wordings), ("sets: 2", "sets: 6"), ("{name: tpe}", "{name: joint}"))
    plan = load_plan(write_study(TASK, STUDY, *changes, items=36))
    space, examples = plan.space, [example.id for example in plan.dataset.validation]
    board = Board(examples, lambda rng, n: space.draw(rng, 4 * n), kindred=True, traits=space.traits)
    asked = Trials(plan, stored("wide#1"))
    first = [Arm(number=n, cost=1, point=c.point) for n, c, _ in asked.ask(range(1, 41), board)]
    board.enter(first)
    rng = Random(0)
    liked = {arm.number: float(arm.point["instruction"] < "i0010") for arm in first}
    for n, chance in liked.items():
        board.take({n: {e: Reading(score=float(rng.random() < 0.3 + 0.6 * chance)) for e in examples}})
    best = [point for _, point in board.outlook().points]
    found = [candidate.point for _, candidate, _ in asked.ask(range(41, 61), board)]
    assert found == best[:20]
    again = Trials(plan, stored("wide#1"))
    assert again.last == 60
    assert [c.point for _, c, _ in again.ask(range(41, 61), Board(()))] == found


def test_every_rendering_is_asked_for_once_and_then_none(plan: StudyPlan, trials: Trials) -> None:
    found, n = [plan.space.baseline], 1
    while (candidate := ask(trials, n)) is not None:
        found.append(candidate)
        n += 1
    rendered = [plan.space.render(candidate) for candidate in found]
    prints = {template.fingerprint for template in rendered if template is not None}
    assert len(prints) == len(found) == plan.space.size
    assert ask(trials, n) is None
    assert ask(trials, n + 5) is None


def test_the_search_opens_with_every_pair_of_style_and_format(plan: StudyPlan, trials: Trials) -> None:
    trials.tell([a_row(plan, 0, plan.space.baseline, 0.5)])
    assert [asked(trials, n).format for n in (1, 2)] == ["json", "choice"]  # plain is the baseline's


def test_a_trial_that_failed_and_was_completed_is_one_more_trial_with_its_value(
    plan: StudyPlan, study: optuna.Study, trials: Trials
) -> None:
    candidate = asked(trials, 1)
    trials.tell([a_row(plan, 1, candidate, None)])
    assert held(study) == [(1, "FAIL", None)]
    completed = a_row(plan, 1, candidate, 0.75)
    for one in (trials, trials, Trials(plan, study)):
        one.tell([completed])
        assert held(study) == [(1, "FAIL", None), (1, "COMPLETE", 0.75)]
    failed, complete = study.get_trials()
    assert (failed.value, failed.intermediate_values) == (None, {})
    assert complete.params == failed.params == candidate.point
    assert asked(trials, 1) == candidate


def test_a_trial_that_failed_again_stays_failed(plan: StudyPlan, study: optuna.Study, trials: Trials) -> None:
    candidate = asked(trials, 1)
    trials.tell([a_row(plan, 1, candidate, None)])
    trials.tell([a_row(plan, 1, candidate, None, errors=2)])
    assert held(study) == [(1, "FAIL", None)]


def test_a_score_of_nothing_is_a_score(plan: StudyPlan, study: optuna.Study, trials: Trials) -> None:
    candidate = asked(trials, 1)
    trials.tell([a_row(plan, 1, candidate, None)])
    trials.tell([a_row(plan, 1, candidate, 0.0)])
    assert held(study) == [(1, "FAIL", None), (1, "COMPLETE", 0.0)]
    trials.tell([a_row(plan, 1, candidate, 0.0)])
    assert len(held(study)) == 2


@pytest.mark.parametrize(("score", "state"), [(0.5, "COMPLETE"), (None, "FAIL")])
def test_a_confirmation_is_held_without_having_been_asked_for(
    plan: StudyPlan, study: optuna.Study, trials: Trials, score: float | None, state: str
) -> None:
    trials.tell([a_row(plan, 4, plan.space.baseline, score, stage="confirm", n=12)])
    (trial,) = study.get_trials()
    assert held(study) == [(4, state, score)]
    assert trial.user_attrs["stage"] == "confirm"
    assert trial.intermediate_values == ({} if score is None else {12: score})


def test_many_trials_at_once_read_as_if_optuna_had_added_and_told_each(
    plan: StudyPlan, stored: Callable[[str], optuna.Study]
) -> None:
    at_once, singly = stored("at once"), stored("singly")
    distributions: dict[str, optuna.distributions.BaseDistribution] = dict(plan.space.distributions())
    drawn = [plan.space.draw(Random(k), 1)[0] for k in range(6)]
    made = [
        optuna.create_trial(
            state=TrialState.RUNNING,
            params=dict(p),
            distributions=distributions,
            user_attrs={"trial": k, "é": [k]},
            system_attrs={"noted": k},
            intermediate_values={4: 0.25} if k == 3 else {},
        )
        for k, p in enumerate(drawn)
    ]
    mirrored = MirroredStudy(at_once)
    mirrored.add(made[:2])
    mirrored.add(made[2:])
    for trial in made:
        singly.add_trial(trial)
    first = mirrored.trials
    endings = [
        Ending(trial=first[0], state=TrialState.COMPLETE, value=0.5),
        Ending(trial=first[2], state=TrialState.PRUNED, value=0.25, step=7),
        Ending(trial=first[3], state=TrialState.PRUNED, value=0.25, step=4),
        Ending(trial=first[4], state=TrialState.FAIL),
    ]
    mirrored.end(endings)
    mirrored.end([])
    singly.tell(0, 0.5)
    singly._storage.set_trial_intermediate_value(singly.get_trials()[2]._trial_id, 7, 0.25)
    for number in (2, 3):
        singly.tell(number, state=TrialState.PRUNED)
    singly.tell(4, state=TrialState.FAIL)

    def shown(study: optuna.Study) -> list[tuple[object, ...]]:
        return [
            (
                *(t.number, t.state, t.values, t.params, t.distributions, t.user_attrs, t.system_attrs),
                t.intermediate_values,
            )
            for t in study.get_trials()
        ]

    assert shown(at_once) == shown(singly)
    assert shown(mirrored.study) == shown(MirroredStudy(at_once).study) == shown(singly)
    for trial in at_once.get_trials():
        assert trial.datetime_start is not None
        assert (trial.datetime_complete is not None) == trial.state.is_finished()


class Noting(optuna.samplers.RandomSampler):
    """Draws at random, and counts what it was asked for, with the study and with each trial."""

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        storage, n = study._storage, study.user_attrs.get("n", 0) + 1
        study.set_user_attr("n", n)
        storage.set_study_system_attr(study._study_id, "asked", {n: (n,)})
        storage.set_trial_system_attr(trial._trial_id, "nth", (n,))
        return {}


def test_what_a_sampler_notes_is_there_when_the_study_is_opened_again(
    plan: StudyPlan, stored: Callable[[str], optuna.Study]
) -> None:
    def seen(study: optuna.Study) -> tuple[object, ...]:
        notes = study._storage.get_study_system_attrs(study._study_id)
        return study.user_attrs, notes, [(t.params, t.user_attrs, t.system_attrs) for t in study.get_trials()]

    study, space = stored("noted#1"), plan.space.distributions()
    study.set_user_attr("pool", "closed")
    whole = MirroredStudy(study)
    for n in (1, 2, 3):
        mirrored = whole if n < 3 else MirroredStudy(study)
        trial = mirrored.ask(Noting(seed=n), space, lambda params: {"format": params["format"]})
        assert trial.system_attrs["nth"] == [n]
        assert trial.user_attrs == {"format": trial.params["format"]}
        assert study.user_attrs == {"pool": "closed", "n": n}
        assert seen(mirrored.study) == seen(study) == seen(MirroredStudy(study).study)


def test_what_a_sampler_notes_in_a_race_is_there_when_it_is_opened_again(
    plan: StudyPlan, stored: Callable[[str], optuna.Study]
) -> None:
    study = stored("raced#1")
    mirrored = MirroredStudy(study)
    mirrored.study.set_user_attr("n", 1)
    mirrored.add([optuna.create_trial(state=TrialState.RUNNING)])
    assert study.user_attrs == MirroredStudy(study).study.user_attrs == {"n": 1}


def test_a_baseline_outside_the_space_is_held_without_a_place_in_it(
    write_study: Callable[..., Path], study: optuna.Study
) -> None:
    plan = load_plan(write_study(TASK, STUDY, ("sizes: [0, 2]", "sizes: [2]"), items=36))
    Trials(plan, study).tell([a_row(plan, 0, plan.space.baseline, 0.5)])
    (trial,) = study.get_trials()
    assert (trial.value, trial.params, trial.distributions) == (0.5, {}, {})


def test_what_was_interrupted_while_being_asked_is_closed_and_asked_again(plan: StudyPlan) -> None:
    def opened() -> optuna.Study:
        return create_study(storage, "colours#1")

    with open_storage(plan.database) as storage:
        first = asked(Trials(plan, opened()), 1)
        opened().ask(fixed_distributions=dict(plan.space.distributions()))  # killed before it had a number
    with open_storage(plan.database) as storage:
        again = Trials(plan, opened())
        assert held(opened()) == [(1, "RUNNING", None), (None, "FAIL", None)]
        assert asked(again, 1) == first
        second = asked(again, 2)
        assert held(opened())[2:] == [(2, "RUNNING", None)]
        undisturbed = Trials(plan, create_study(storage, "colours#2"))
        assert [asked(undisturbed, n) for n in (1, 2)] == [first, second]


def test_the_sampler_knows_of_no_failed_score(plan: StudyPlan, study: optuna.Study, trials: Trials) -> None:
    rows = [a_row(plan, 0, plan.space.baseline, 0.5)]
    rows += [a_row(plan, n, asked(trials, n), None if n % 2 else 0.25) for n in range(1, 7)]
    trials.tell(rows)
    complete = study.get_trials(states=[TrialState.COMPLETE])
    assert {number(trial) for trial in complete} == {0, 2, 4, 6}
    assert {trial.value for trial in study.get_trials(states=[TrialState.FAIL])} == {None}
