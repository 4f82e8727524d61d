"""Shrunken effects, against cases worked by hand and worlds whose truth is known."""

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.effects import ArmEffects, arm_effects

if TYPE_CHECKING:
    from collections.abc import Mapping

Table = dict[str, dict[str, float]]


def world(
    seed: int, *, arms: int = 30, examples: int = 60, spread: float = 0.1, difficulty: float = 0.2
) -> tuple[dict[str, float], Table]:
    """Return the true means of some arms and their 0/1 scores: twenty examples of each, all of three."""
    rng = np.random.default_rng(seed)
    means, hard = (
        rng.normal(0.55, spread, arms).clip(0.25, 0.75),
        rng.uniform(-difficulty, difficulty, examples),
    )
    scores: Table = {}
    for i, mean in enumerate(means):
        n = examples if i < 3 else 20
        hits = rng.random(examples) < mean + hard
        scores[f"a{i:02d}"] = {f"e{j:02d}": float(hits[j]) for j in range(n)}
    return {f"a{i:02d}": float(mean) for i, mean in enumerate(means)}, scores


def test_one_arm_alone_is_estimated_by_its_mean() -> None:
    found = arm_effects({"only": {"x": 1.0, "y": 0.0, "z": 1.0, "w": 1.0}})
    assert found.estimates == {"only": pytest.approx(0.75, abs=1e-6)}


def test_arms_that_all_score_alike_have_no_effects() -> None:
    found = arm_effects({arm: {"x": 1.0, "y": 0.0} for arm in "abc"})
    assert list(found.estimates.values()) == pytest.approx([0.5, 0.5, 0.5], abs=1e-3)
    assert found.examples["x"] > 0.4 > -0.4 > found.examples["y"]


def test_an_estimate_from_few_scores_is_drawn_further_towards_the_others() -> None:
    rng = random.Random(0)
    table: Table = {f"a{i}": {f"e{j}": float(rng.random() < 0.5) for j in range(60)} for i in range(12)}
    table["few"] = {f"e{j}": 1.0 for j in range(6)}
    table["many"] = {f"e{j}": 1.0 for j in range(60)}
    found = arm_effects(table)
    assert 0.5 < found.estimates["few"] < found.estimates["many"] < 1.0
    assert found.deviations["few"] > found.deviations["many"] > 0


def test_an_arm_seen_on_hard_examples_only_is_not_blamed_for_them() -> None:
    easy, hard = [f"easy{j}" for j in range(20)], [f"hard{j}" for j in range(20)]
    table: Table = {
        f"a{i}": {
            **{e: float((i + j) % 10 != 0) for j, e in enumerate(easy)},
            **{e: float((i + j) % 10 == 0) for j, e in enumerate(hard)},
        }
        for i in range(10)
    }
    table["hard only"] = {e: float(j % 5 == 0) for j, e in enumerate(hard)}  # 0.2, where the others have 0.1
    found = arm_effects(table)
    assert found.estimates["hard only"] > max(found.estimates[f"a{i}"] for i in range(10)) - 0.02


def test_the_winner_owes_less_to_luck_than_its_mean_does() -> None:
    naive, shrunken, error = [], [], []
    for seed in range(30):
        truth, scores = world(seed, spread=0.03)
        means = {arm: sum(row.values()) / len(row) for arm, row in scores.items()}
        estimates = arm_effects(scores).estimates
        lucky, best = max(means, key=means.__getitem__), max(estimates, key=estimates.__getitem__)
        naive.append(means[lucky] - truth[lucky])
        shrunken.append(estimates[best] - truth[best])
        error.append([abs(means[a] - truth[a]) - abs(estimates[a] - truth[a]) for a in truth])
    assert np.mean(naive) > 0.12
    assert abs(np.mean(shrunken)) < 0.04
    assert np.mean(error) > 0.02


def test_the_effect_of_a_factor_reaches_an_arm_that_was_hardly_seen() -> None:
    rng = random.Random(1)
    table: Table = {}
    factors: dict[str, Mapping[str, str]] = {}
    for i in range(24):
        style = "good" if i % 2 else "bad"
        factors[f"a{i}"] = {"style": style, "wording": f"w{i % 6}"}
        right = 0.8 if style == "good" else 0.3
        table[f"a{i}"] = {f"e{j}": float(rng.random() < right) for j in range(30)}
    for style in ("good", "bad"):
        factors[f"new {style}"], table[f"new {style}"] = {"style": style, "wording": "w9"}, {"e0": 1.0}
    found = arm_effects(table, factors=factors)
    assert found.estimates["new good"] - found.estimates["new bad"] > 0.35
    assert found.factors["style"]["good"] > 0.15 > -0.15 > found.factors["style"]["bad"]
    assert max(map(abs, found.factors["wording"].values())) < 0.1


scored = st.dictionaries(
    st.sampled_from("abcdef"),
    st.dictionaries(st.sampled_from("uvwxyz"), st.floats(0, 1), min_size=1),
    min_size=1,
)


@settings(max_examples=60)
@given(scored, st.randoms(use_true_random=False))
def test_neither_the_order_of_arms_nor_of_examples_matters(table: Table, rng: random.Random) -> None:
    mixed = {
        arm: dict(rng.sample(sorted(table[arm].items()), len(table[arm])))
        for arm in rng.sample(sorted(table), len(table))
    }
    assert arm_effects(mixed) == arm_effects(table)


@settings(max_examples=60)
@given(scored)
def test_estimates_are_possible_scores_and_deviations_positive(table: Table) -> None:
    found = arm_effects(table)
    assert set(found.estimates) == set(table) == set(found.deviations)
    assert all(0 <= value <= 1 for value in found.estimates.values())
    assert all(value > 0 for value in found.deviations.values())


def test_among_equal_estimates_the_first_in_order_is_the_best() -> None:
    found = ArmEffects(estimates={"a": 0.5, "b": 0.7, "c": 0.7}, deviations={})
    assert found.best(["a", "c", "b"]) == "c"
    assert found.best(["b", "c", "a"]) == "b"


@pytest.mark.parametrize("table", [{}, {"a": {}}])
def test_nothing_is_said_of_no_scores(table: Table) -> None:
    with pytest.raises(ValueError, match="needs at least one arm, and a score of each"):
        arm_effects(table)
