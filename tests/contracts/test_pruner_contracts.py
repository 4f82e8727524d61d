"""What every pruner keeps to."""

import json
import random
import subprocess
import sys
from collections.abc import Sequence

import optuna
import pytest

from optimizer.board import Arm, Board, Reading
from optimizer.posterior import Posterior
from optimizer.pruners import PRUNERS, Pruning, Rung
from optimizer.pruners.paired_test import LOOK

each = pytest.mark.parametrize("name", list(PRUNERS))

FLOOR, MOST = 20, 100
EXAMPLES = tuple(f"e{k:03d}" for k in range(MOST))

optuna.logging.set_verbosity(optuna.logging.ERROR)


def at_work(name: str, n_arms: int, *, floor: int = FLOOR) -> tuple[Pruning, Board]:
    board = Board(EXAMPLES)
    board.enter([Arm(number=number, cost=1, point={}) for number in range(n_arms)])
    return Pruning(PRUNERS[name].make(Rung(floor=floor, most=MOST, board=board)), board), board


def given_up(
    name: str, chances: Sequence[float], seed: int, *, graded: bool = False, floor: int = FLOOR
) -> dict[int, int]:
    """Return at how many examples each arm was given up that was; arms are right by these chances.

    The arms are asked about after every tenth example, as in a race.
    """
    rng = random.Random(seed)
    pruning, board = at_work(name, len(chances), floor=floor)
    live, found = list(range(len(chances))), dict[int, int]()
    for done, example in enumerate(EXAMPLES, start=1):
        scores = [rng.random() < chance for chance in chances]
        noise = [0.2 * rng.random() if graded else 0.0 for _ in chances]
        board.take({n: {example: Reading(score=abs(scores[n] - noise[n]))} for n in live})
        if done % 10:
            continue
        gone = pruning.doubted(live)
        pruning.drop(sorted(gone), ended=False)
        found |= dict.fromkeys(gone, done)
        live = [n for n in live if n not in gone]
    pruning.drop(live, ended=True)
    return found


@each
def test_a_pruner_is_one_of_optunas(name: str) -> None:
    rung = Rung(floor=FLOOR, most=MOST, board=Board(EXAMPLES))
    assert isinstance(PRUNERS[name].make(rung), optuna.pruners.BasePruner)


@each
@pytest.mark.parametrize("floor", [10, 20, 40])
def test_nobody_is_given_up_below_the_floor(name: str, floor: int) -> None:
    for seed in range(5):
        found = given_up(name, [0.95, *[0.05] * 7], seed, floor=floor)
        assert found
        assert min(found.values()) >= floor


@each
@pytest.mark.parametrize("graded", [True, False])
def test_the_best_is_kept_and_much_worse_ones_are_given_up(name: str, graded: bool) -> None:
    kept, n_given_up = 0, 0
    for seed in range(12):
        found = given_up(name, [0.9, 0.2, 0.3, 0.2, 0.3, 0.2], seed, graded=graded)
        kept += 0 not in found
        n_given_up += len(found.keys() - {0})
    assert kept >= 11
    assert n_given_up >= 30  # of 60


@each
def test_someone_is_always_left(name: str) -> None:
    for seed in range(5):
        for chance in (0.0, 0.5, 1.0):
            assert len(given_up(name, [chance] * 6, seed)) < 6


@each
def test_the_same_scores_are_decided_the_same_here_and_in_another_process(name: str) -> None:
    chances = [0.8, 0.5, 0.3, 0.5, 0.7, 0.1]
    first = given_up(name, chances, 3)
    assert given_up(name, chances, 3) == first
    program = f"""
import importlib.util, json
spec = importlib.util.spec_from_file_location("contracts", {__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(json.dumps(module.given_up({name!r}, {chances!r}, 3)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {int(n): done for n, done in json.loads(result.stdout).items()} == first


@each
def test_arms_without_a_score_are_not_given_up(name: str) -> None:
    pruning, board = at_work(name, 4)
    assert pruning.doubted([0, 1, 2, 3]) == frozenset()
    board.take({0: {example: Reading(score=1.0) for example in EXAMPLES[:50]}})
    assert pruning.doubted([0, 1, 2, 3]) == frozenset()
    pruning.drop([0], ended=True)
    pruning.drop([1, 2, 3], ended=False)


def test_the_paired_test_gives_a_much_worse_arm_up_and_hardly_ever_an_equal_one() -> None:
    for graded in (True, False):
        worse = [given_up("paired_test", [0.8, 0.3], seed, graded=graded) for seed in range(40)]
        assert sum(1 in found for found in worse) >= 36
        assert sum(0 in found for found in worse) <= 1
        equal = [given_up("paired_test", [0.6, 0.6], seed, graded=graded) for seed in range(120)]
        assert sum(map(bool, equal)) <= 11  # of 120 at 5 %: more than 11 in one case of 70


def test_the_paired_test_needs_examples_that_both_have() -> None:
    pruning, board = at_work("paired_test", 2)
    board.take({0: {e: Reading(score=1.0) for e in EXAMPLES[:40]}})
    board.take({1: {e: Reading(score=0.0) for e in EXAMPLES[40:80]}})
    assert pruning.doubted([0, 1]) == frozenset()
    board.take({1: {e: Reading(score=0.0) for e in EXAMPLES[: 2 * LOOK]}})
    assert pruning.doubted([0, 1]) == {1}


def test_the_paired_test_holds_a_candidate_that_comes_alone_against_the_best_that_went_to_the_end() -> None:
    pruning, board = at_work("paired_test", 3)
    board.take({0: {e: Reading(score=1.0) for e in EXAMPLES}})
    pruning.drop([0], ended=True)
    board.take({1: {e: Reading(score=0.0) for e in EXAMPLES[: 2 * LOOK]}})
    assert pruning.doubted([1]) == {1}
    pruning.drop([1], ended=False)
    board.take({2: {e: Reading(score=1.0) for e in EXAMPLES[: 2 * LOOK]}})
    assert pruning.doubted([2]) == frozenset()


def test_whoever_is_in_doubt_at_once_is_held_against_an_incumbent_that_is_looked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = list[int]()
    own = Board.own

    def counted(board: Board, numbers: Sequence[int]) -> Posterior:
        asked.append(len(numbers))
        return own(board, numbers)

    monkeypatch.setattr(Board, "own", counted)
    pruning, board = at_work("paired_test", 30)
    board.take({n: {e: Reading(score=float(n < 3)) for e in EXAMPLES[:40]} for n in range(30)})
    assert pruning.doubted(range(30)) == frozenset(range(3, 30))
    assert asked == [30]
    pruning.drop(range(3, 30), ended=False)
    board.take({0: {e: Reading(score=0.0) for e in EXAMPLES[40:]}, 1: {EXAMPLES[40]: Reading(score=1.0)}})
    pruning.doubted([0, 1, 2])
    assert asked == [30, 3]
