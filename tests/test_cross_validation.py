"""Repeated cross-validation of a choice, in cases worked by hand and worlds whose truth is known."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from optimizer.cross_validation import REPEATS, CrossValidation, Parts, cross_validate
from optimizer.significance import decide

Table = dict[str, list[float]]


def validated(table: Table, *, clusters: list[str] | None = None, seed: int = 0) -> CrossValidation:
    """Return what choosing the arm of the highest mean is worth; the first arm is the baseline."""
    baseline, n = next(iter(table)), len(next(iter(table.values())))
    names = [f"e{j:02d}" for j in range(n)]
    place = {name: j for j, name in enumerate(names)}

    def value(parts: Parts) -> float:
        scores = [table[arm][place[example]] for arm, examples in parts for example in examples]
        return sum(scores) / len(scores)

    def choose(examples: Sequence[str]) -> str:
        return max(table, key=lambda arm: value([(arm, examples)]))

    return cross_validate(names, baseline=baseline, choose=choose, value=value, seed=seed, clusters=clusters)


def test_a_baseline_that_is_always_chosen_gains_nothing() -> None:
    found = validated({"baseline": [1.0] * 20, "other": [0.0] * 20})
    assert found.picked == {"baseline": 50}
    assert (found.difference.difference, found.difference.p_value) == (0.0, 1.0)
    assert (found.difference.wins, found.difference.ties, found.difference.losses) == (0, 20, 0)


def test_one_that_is_always_right_gains_all_there_is() -> None:
    found = validated({"baseline": [0.0, 1.0] * 10, "other": [1.0] * 20})
    assert found.picked == {"other": 50}
    assert found.difference.difference == pytest.approx(0.5)
    assert found.chosen == 1.0
    assert (found.difference.wins, found.difference.ties, found.difference.losses) == (10, 10, 0)


def test_the_error_is_that_of_nadeau_and_bengio_2003() -> None:
    # Always the same arm: the gains of the folds are the means of its wins. Their variance is taken by hand.
    table = {"baseline": [0.0] * 20, "other": [1.0] * 12 + [0.0] * 8}
    folds: list[Sequence[str]] = []

    def value(parts: Parts) -> float:
        scores = [table[arm][int(example)] for arm, examples in parts for example in examples]
        if len(parts) == 5 and parts[0][0] == "other":
            folds.extend(examples for _, examples in parts)
        return sum(scores) / len(scores)

    found = cross_validate(
        [str(k) for k in range(20)], baseline="baseline", choose=lambda _: "other", value=value, seed=3
    )
    gains = [sum(table["other"][int(example)] for example in fold) / len(fold) for fold in folds]
    assert len(gains) == 50
    error = math.sqrt(np.var(gains, ddof=1) * (1 / 50 + 1 / 4))
    assert found.difference.interval.upper == pytest.approx(
        0.6 + 2.262157 * error, abs=1e-5
    )  # t of 9 degrees
    assert found.difference.interval.lower == pytest.approx(0.6 - 2.262157 * error, abs=1e-5)


def test_no_example_judges_an_arm_that_it_helped_to_choose_and_each_judges_once_a_repeat() -> None:
    seen: list[set[str]] = []
    judged: list[list[str]] = []

    def choose(examples: Sequence[str]) -> str:
        seen.append(set(examples))
        return "other"

    def value(parts: Parts) -> float:
        if len(parts) == 5 and parts[0][0] == "other":
            judged.extend(list(examples) for _, examples in parts)
        return 0.5

    names = [str(k) for k in range(23)]
    cross_validate(names, baseline="baseline", choose=choose, value=value, seed=0)
    assert len(seen) == len(judged) == 5 * REPEATS
    assert all(
        chosen | set(held) == set(names) and not chosen & set(held)
        for chosen, held in zip(seen, judged, strict=True)
    )
    for start in range(0, 50, 5):
        assert sorted(name for held in judged[start : start + 5] for name in held) == sorted(names)


def test_clusters_are_never_divided() -> None:
    clusters = [f"c{k // 4}" for k in range(24)]
    home = {f"e{j:02d}": cluster for j, cluster in enumerate(clusters)}
    divided: list[bool] = []

    def choose(examples: Sequence[str]) -> str:
        known = {home[example] for example in examples}
        divided.append(bool(known & {home[name] for name in home if name not in examples}))
        return "a"

    cross_validate(list(home), baseline="a", choose=choose, value=lambda *_: 1.0, seed=0, clusters=clusters)
    assert divided == [False] * 50


@pytest.mark.parametrize("score", [1.0, 0.8])
def test_few_clusters_show_nothing_however_many_examples_they_hold(score: float) -> None:
    clusters = [str(k % 5) for k in range(20)]
    found = validated(
        {"baseline": [score - 0.4] * 20 if score < 1 else [0.0] * 20, "other": [score] * 20},
        clusters=clusters,
    )
    assert found.difference.units == 5
    assert found.difference.p_value == 2**-4
    assert decide(found.difference) == "not distinguishable"


def test_graded_gains_that_are_all_equal_have_an_interval_of_some_width() -> None:
    found = validated({"baseline": [0.4] * 10, "other": [0.8] * 10}).difference
    assert found.interval.upper - found.interval.lower > 0.05
    assert found.p_value >= 2**-9
    assert decide(found) == "improved"


def test_the_same_seed_deals_the_same_folds() -> None:
    rng = np.random.default_rng(0)
    table = {f"a{i}": rng.integers(0, 2, 30).astype(float).tolist() for i in range(5)}
    assert validated(table) == validated(table) != validated(table, seed=1)


def test_a_metric_of_the_whole_is_taken_of_all_held_out_answers_together() -> None:
    # Three rare examples: most folds hold none of them, and yet a perfect prompt is worth 1 and not less.
    rare = {f"e{k}" for k in range(3)}

    def both(parts: Parts) -> float:
        """Return the mean of the share right of the rare and of the common examples; "other" is always right."""
        shares = []
        for kind in (True, False):
            right = [
                arm == "other" or not kind for arm, examples in parts for e in examples if (e in rare) == kind
            ]
            shares.append(sum(right) / len(right) if right else 0.0)
        return sum(shares) / 2

    names = [f"e{k}" for k in range(30)]
    found = cross_validate(names, baseline="always common", choose=lambda _: "other", value=both, seed=0)
    assert (found.baseline, found.chosen, found.difference.difference) == (0.5, 1.0, 0.5)
    assert found.difference.interval.lower > 0


def test_a_fold_is_judged_on_no_example_that_the_arm_has_no_score_for() -> None:
    names, seen = [f"e{k}" for k in range(20)], set[str]()

    def value(parts: Parts) -> float:
        seen.update(e for arm, examples in parts if arm == "other" for e in examples)
        return 1.0

    found = cross_validate(
        names,
        baseline="baseline",
        choose=lambda _: "other",
        value=value,
        seed=0,
        scored=lambda arm: names[:14] if arm == "other" else names,
    )
    assert seen == set(names[:14])
    assert found.difference.difference == 0.0


def test_two_examples_in_one_cluster_cannot_be_parted() -> None:
    with pytest.raises(ValueError, match="needs at least two examples or clusters"):
        validated({"a": [1.0, 0.0]}, clusters=["x", "x"])


def repeated(truth: Callable[[np.random.Generator], Table], runs: int) -> list[CrossValidation]:
    return [validated(truth(np.random.default_rng(seed)), seed=seed) for seed in range(runs)]


def test_where_no_arm_matters_hardly_a_choice_is_found_to_gain() -> None:
    def null(rng: np.random.Generator) -> Table:
        share = rng.uniform(0.3, 0.7, 40)
        return {f"a{i:02d}": (rng.random(40) < share).astype(float).tolist() for i in range(12)}

    found = [each.difference for each in repeated(null, 200)]
    improved = sum(each.p_value < 0.05 and each.interval.lower > 0 for each in found)
    assert improved <= 14  # 5 % of 200 and a little more than a standard error
    assert abs(np.mean([each.difference for each in found])) < 0.02
    assert sum(each.interval.contains(0.0) for each in found) >= 0.93 * 200


def test_a_real_gain_is_found() -> None:
    def better(rng: np.random.Generator) -> Table:
        arms = {"baseline": 0.3, **{f"a{i}": 0.7 for i in range(5)}}
        return {arm: (rng.random(45) < share).astype(float).tolist() for arm, share in arms.items()}

    found = [each.difference for each in repeated(better, 60)]
    assert sum(each.interval.lower > 0 for each in found) >= 42
    assert np.mean([each.difference for each in found]) == pytest.approx(0.4, abs=0.04)
