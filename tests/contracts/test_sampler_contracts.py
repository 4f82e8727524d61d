"""What every sampler keeps to."""

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping

import optuna
import pytest
from optuna.distributions import CategoricalDistribution

from optimizer.board import Arm, Board, Reading
from optimizer.candidate import Parameter
from optimizer.digest import derived_seed
from optimizer.samplers import SAMPLERS, WithinSpace, free_point

each = pytest.mark.parametrize("name", list(SAMPLERS))

SPACE = {
    "instruction": CategoricalDistribution(("i0000", "i0001", "i0002", "i0003")),
    "style": CategoricalDistribution(("direct", "other")),
    "format": CategoricalDistribution(("plain", "json", "choice")),
    "temperature": CategoricalDistribution((0.0, 0.7)),
}
POINTS = [
    dict(zip(SPACE, values, strict=True))
    for values in itertools.product(*(d.choices for d in SPACE.values()))
]
Point = Mapping[str, Parameter]

optuna.logging.set_verbosity(optuna.logging.ERROR)


def visited(
    name: str,
    n: int,
    *,
    seed: int = 0,
    objective: Callable[[Point], float | None] = lambda _: 0.5,
    admissible: Callable[[Point], bool] = lambda _: True,
) -> list[dict[str, Parameter]]:
    """Return the points of a search in which no point is visited twice and the sampler is made anew each time."""
    study = optuna.create_study(direction="maximize")
    seen: list[dict[str, Parameter]] = []

    def free(point: Point) -> bool:
        return dict(point) not in seen and admissible(point)

    for number in range(n):
        drawn = derived_seed(seed, number)
        study.sampler = WithinSpace(SAMPLERS[name].make(drawn, Board(())), SPACE, free, drawn)
        trial = study.ask(fixed_distributions=dict(SPACE))
        value = objective(trial.params)
        study.tell(trial, value, state=None if value is not None else optuna.trial.TrialState.FAIL)
        seen.append(dict(trial.params))
    return seen


def noise(seed: int) -> Callable[[Point], float | None]:
    rng = random.Random(seed)
    return lambda _: rng.choice((None, rng.random(), rng.random()))


@each
def test_a_sampler_is_one_of_optunas(name: str) -> None:
    assert isinstance(SAMPLERS[name].make(0, Board(())), optuna.samplers.BaseSampler)


@each
def test_the_same_seed_visits_the_same_points(name: str) -> None:
    runs = [visited(name, 16, seed=seed, objective=noise(1)) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


@each
def test_another_process_visits_the_same_points(name: str) -> None:
    program = f"""
import importlib.util, json, random
spec = importlib.util.spec_from_file_location("contracts", {__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(json.dumps(module.visited({name!r}, 14, objective=module.noise(1))))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == visited(name, 14, objective=noise(1))


@each
@pytest.mark.parametrize("seed", range(3))
def test_points_lie_in_the_space_and_none_comes_twice_under_any_objective(name: str, seed: int) -> None:
    points = visited(name, 20, seed=seed, objective=noise(seed))
    assert all(point in POINTS for point in points)
    assert len({str(sorted(point.items())) for point in points}) == 20


@each
def test_every_point_is_found_before_the_space_is_said_to_be_exhausted(name: str) -> None:
    assert sorted(map(str, visited(name, len(POINTS), objective=noise(0)))) == sorted(map(str, POINTS))


@each
def test_only_admissible_points_are_visited(name: str) -> None:
    def rare(point: Point) -> bool:
        return point["style"] == "other" and point["format"] == "json" and point["temperature"] == 0.7

    assert all(map(rare, visited(name, 4, admissible=rare)))


@each
def test_nothing_is_kept_in_memory_from_one_ask_to_the_next(name: str) -> None:
    # A point depends on what was told and on the seed; a sampler that was used before gives the same one.
    study = optuna.create_study(direction="maximize")
    for point, value in zip(random.Random(0).sample(POINTS, 14), itertools.cycle((0.1, 0.9)), strict=False):
        study.add_trial(optuna.create_trial(value=value, params=point, distributions=dict(SPACE)))
    asked = []
    for _ in range(2):
        study.sampler = WithinSpace(SAMPLERS[name].make(7, Board(())), SPACE, lambda _: True, 7)
        trial = study.ask(fixed_distributions=dict(SPACE))
        asked.append(trial.params)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert asked[0] == asked[1]


def test_tpe_comes_back_to_what_was_good() -> None:
    likes_json = [
        visited("tpe", 22, seed=seed, objective=lambda point: float(point["format"] == "json"))
        for seed in range(3)
    ]
    learned = [point["format"] for points in likes_json for point in points[10:]]
    assert learned.count("json") >= 16  # of 36; even draws give 12


def test_joint_asks_for_kin_of_what_scored_well_once_the_board_has_scores() -> None:
    rng = random.Random(0)
    points = rng.sample(POINTS, len(POINTS))
    board = Board([f"e{k}" for k in range(20)], lambda draw, n: draw.sample(points, min(n, 40)), kindred=True)
    tried = points[:16]
    board.enter([Arm(number=k, cost=1, point=point) for k, point in enumerate(tried)])
    drawn = SAMPLERS["joint"].make(0, board).sample_relative(*nobody(), {})
    assert drawn in POINTS  # nothing is known yet
    for number, point in enumerate(tried):
        chance = 0.9 if point["format"] == "json" else 0.2
        board.take({number: {e: Reading(score=float(rng.random() < chance)) for e in board.examples}})

    found, entered = list[dict[str, Parameter]](), len(tried)
    study = optuna.create_study()
    for number in range(entered, entered + 6):
        inner = SAMPLERS["joint"].make(derived_seed(1, number), board)
        study.sampler = WithinSpace(inner, SPACE, lambda p: dict(p) not in [*tried, *found], number)
        found.append(study.ask(fixed_distributions=dict(SPACE)).params)
        board.enter([Arm(number=number, cost=1, point=found[-1])])
    assert [point["format"] for point in found].count("json") >= 5
    assert len({str(sorted(point.items())) for point in found}) == 6


def nobody() -> tuple[optuna.Study, optuna.trial.FrozenTrial]:
    """Return a study and a trial of it, for a sampler that looks at neither."""
    study = optuna.create_study()
    study.ask()
    return study, study.trials[0]


def test_a_free_point_is_found_if_there_is_one_and_depends_on_the_seed() -> None:
    assert free_point(SPACE, lambda point: point == POINTS[17], 0) == POINTS[17]
    assert free_point(SPACE, lambda _: False, 0) is None
    found = [free_point(SPACE, lambda _: True, seed) for seed in range(40)]
    assert found == [free_point(SPACE, lambda _: True, seed) for seed in range(40)]
    assert len({str(point) for point in found}) > 15
