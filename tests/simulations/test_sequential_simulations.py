"""Races of an incumbent against a candidate whose true difference is known, looked at until the incumbent has won.

The error is that of all looks together, at a nominal 0.05; bounds leave room for about three standard errors.
"""

import numpy as np
import pytest

from optimizer.sequential import betting_p_value, sequential_sign_test

N = 200  # examples of a race
LOOKS = 10  # of the sign test; the betting test looks after every example


def outcomes(rng: np.random.Generator, win: float, loss: float) -> list[int]:
    """Return one race on 0/1 scores: 1, -1 or 0 for an example the incumbent wins, loses or ties, by probability."""
    draws = rng.random(N)
    return [1 if draw < win else -1 if draw >= 1 - loss else 0 for draw in draws]


def graded(rng: np.random.Generator, gain: float) -> list[float]:
    """Return one race on graded scores: differences with a long left tail, standard deviation 0.2, mean `gain`.

    Beta(4, 1) has mean 0.8 and standard deviation 0.163.
    """
    return [float(1.22 * (draw - 0.8) + gain) for draw in rng.beta(4, 1, N)]


def looks_of(signs: list[int]) -> list[tuple[int, int]]:
    size = N // LOOKS
    heads = [signs[: size * look] for look in range(1, LOOKS + 1)]
    return [(head.count(1), head.count(-1)) for head in heads]


def proven(signs: list[int]) -> bool:
    return sequential_sign_test(looks_of(signs), planned=LOOKS) is not None


@pytest.mark.parametrize("disagreement", [0.05, 0.15, 0.3, 0.8])
def test_equal_prompts_are_seldom_told_apart_at_any_of_ten_looks(disagreement: float) -> None:
    rng = np.random.default_rng(int(100 * disagreement))
    found = sum(proven(outcomes(rng, disagreement / 2, disagreement / 2)) for _ in range(800))
    assert found / 800 <= 0.05 + 0.023


@pytest.mark.parametrize("disagreement", [0.05, 0.15, 0.3, 0.8])
def test_betting_after_every_example_seldom_tells_equal_prompts_apart(disagreement: float) -> None:
    rng = np.random.default_rng(int(100 * disagreement))
    found = sum(
        betting_p_value(outcomes(rng, disagreement / 2, disagreement / 2)) <= 0.05 for _ in range(800)
    )
    assert found / 800 <= 0.05 + 0.023


@pytest.mark.parametrize("side", [1, -1])
def test_betting_seldom_tells_equal_prompts_apart_on_skewed_scores(side: int) -> None:
    """Many small gains and few great losses, and the mirror image."""
    rng = np.random.default_rng(2)
    found = sum(betting_p_value([side * d for d in graded(rng, 0.0)]) <= 0.05 for _ in range(800))
    assert found / 800 <= 0.05 + 0.023


def test_a_prompt_nine_points_worse_is_dropped_by_the_sign_test_in_most_races() -> None:
    """Of 200 examples, on 0.15 of which the two differ, 24 are lost and 6 won."""
    rng = np.random.default_rng(3)
    found = sum(proven(outcomes(rng, 0.12, 0.03)) for _ in range(400))
    assert found / 400 >= 0.9


def test_a_prompt_nine_points_worse_is_dropped_by_betting_in_most_races() -> None:
    rng = np.random.default_rng(4)
    found = sum(betting_p_value(outcomes(rng, 0.12, 0.03)) <= 0.05 for _ in range(400))
    assert found / 400 >= 0.7


def test_a_prompt_nine_points_worse_on_graded_scores_is_dropped_in_nearly_all_races() -> None:
    rng = np.random.default_rng(5)
    found = sum(betting_p_value(graded(rng, 0.09)) <= 0.05 for _ in range(400))
    assert found / 400 >= 0.97


def test_a_prompt_twenty_points_worse_is_dropped_within_half_of_the_examples() -> None:
    rng = np.random.default_rng(6)
    ends = [
        sequential_sign_test(looks_of(outcomes(rng, 0.25, 0.05)), planned=LOOKS) or LOOKS for _ in range(300)
    ]
    assert np.median(ends) <= LOOKS / 2


def test_a_better_prompt_is_hardly_ever_dropped() -> None:
    rng = np.random.default_rng(7)
    races = [outcomes(rng, 0.05, 0.1) for _ in range(400)]
    assert sum(proven(race) for race in races) <= 4
    assert sum(betting_p_value(race) <= 0.05 for race in races) <= 4
