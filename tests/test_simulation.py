"""A search replayed on recorded scores: its budget, its order, its choice, in worlds whose best prompt is known."""

import json
import random
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.errors import PluginError
from optimizer.recorded import RecordedScores, read_recorded
from optimizer.samplers import SAMPLERS
from optimizer.simulation import simulate


def world(seed: int, *, prompts: int = 40, examples: int = 60, factors: bool = True) -> RecordedScores:
    """Return scores in which the style decides; prompt p000, the baseline, has the worst one."""
    rng = np.random.default_rng(seed)
    styles, hard = ("bad", "fair", "good", "best"), rng.uniform(-0.1, 0.1, examples)
    mean = {"bad": 0.25, "fair": 0.4, "good": 0.55, "best": 0.8}
    levels = {f"p{i:03d}": {"style": styles[i % 4], "wording": f"w{i // 4}"} for i in range(prompts)}
    scores = {
        prompt: {
            f"e{j:02d}": float(hit) for j, hit in enumerate(rng.random(examples) < mean[at["style"]] + hard)
        }
        for prompt, at in levels.items()
    }
    return RecordedScores(
        baseline="p000",
        scores=scores,
        factors=levels if factors else {prompt: {} for prompt in scores},
        test_scores={prompt: mean[at["style"]] for prompt, at in levels.items()},
    )


def drawn_world(seed: int, *, prompts: int = 40, examples: int = 60) -> RecordedScores:
    """Return scores of prompts whose means are drawn from a normal distribution."""
    rng = np.random.default_rng(seed)
    means, hard = rng.normal(0.5, 0.12, prompts).clip(0.05, 0.95), rng.uniform(-0.1, 0.1, examples)
    hits = rng.random((prompts, examples)) < means[:, None] + hard
    scores = {
        f"p{i:03d}": {f"e{j:02d}": float(hit) for j, hit in enumerate(row)} for i, row in enumerate(hits)
    }
    tests = {prompt: float(mean) for prompt, mean in zip(scores, means, strict=True)}
    return RecordedScores(
        baseline="p000", scores=scores, factors={prompt: {} for prompt in scores}, test_scores=tests
    )


@pytest.mark.parametrize("calls", [1, 7, 20, 21, 40, 59, 60, 99, 100, 101, 300, 900, 2400, 10_000])
@pytest.mark.parametrize("factors", [True, False])
def test_no_more_cells_are_revealed_than_asked_for_and_the_history_ends_in_the_choice(
    calls: int, factors: bool
) -> None:
    found = simulate(world(0, factors=factors), calls=calls, seed=0)
    counts = [n for n, _ in found.history]
    assert 1 <= found.calls <= calls
    assert counts == sorted(counts)
    assert found.history[-1] == (found.calls, found.chosen)
    assert 0 <= found.validation <= 1


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("factors", [True, False])
def test_a_good_prompt_is_found(name: str, factors: bool) -> None:
    tables = [world(seed, factors=factors) for seed in range(6)]
    chosen = [
        table.test_scores[simulate(table, calls=600, seed=seed, sampler=name).chosen]
        for seed, table in enumerate(tables)
    ]
    assert sum(chosen) / len(chosen) >= 0.7


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_no_more_is_expected_of_the_choice_than_it_scores_elsewhere(name: str) -> None:
    gaps, lucky = [], []
    for seed in range(15):
        table = drawn_world(seed)
        found = simulate(table, calls=600, seed=seed, sampler=name)
        gaps.append(found.validation - table.test_scores[found.chosen])
        lucky.append(statistics.fmean(table.scores[found.chosen].values()) - table.test_scores[found.chosen])
    assert -0.1 < np.mean(gaps) < 0.02
    assert np.mean(gaps) < np.mean(lucky) - 0.02  # who wins was lucky, and that is taken back


def test_the_test_scores_have_no_part_in_the_choice() -> None:
    table = world(1)
    turned = RecordedScores(
        baseline=table.baseline,
        scores=table.scores,
        factors=table.factors,
        test_scores={prompt: 1 - score for prompt, score in table.test_scores.items()},
    )
    assert simulate(turned, calls=400, seed=0) == simulate(table, calls=400, seed=0)


def test_another_seed_searches_otherwise() -> None:
    table = world(2)
    runs = [simulate(table, calls=300, seed=seed).history for seed in (0, 0, 1, 2, 3)]
    assert runs[0] == runs[1]
    assert len(set(runs)) > 2


def test_neither_the_order_of_rows_nor_that_of_columns_matters(tmp_path: Path) -> None:
    table = world(3, prompts=16, examples=30)
    rows = [
        {"prompt_id": prompt, "example_id": example, "score": score, **table.factors[prompt]}
        for prompt, row in table.scores.items()
        for example, score in row.items()
    ]
    first, rest = rows[0], rows[1:]
    found = []
    for seed in range(3):
        shuffled = [first, *random.Random(seed).sample(rest, len(rest))]
        path = tmp_path / f"{seed}.jsonl"
        path.write_text(
            "".join(json.dumps(dict(sorted(row.items(), reverse=bool(seed)))) + "\n" for row in shuffled)
        )
        found.append(simulate(read_recorded(path), calls=250, seed=0))
    assert found[0] == found[1] == found[2]


def test_a_cell_that_is_missing_is_never_asked_for() -> None:
    table = world(4)
    kept = {
        prompt: dict(list(row.items())[: 5 + 5 * (k % 12)])
        for k, (prompt, row) in enumerate(table.scores.items())
    }
    holes = RecordedScores(baseline="p000", scores=kept, factors=table.factors, test_scores={})
    found = simulate(holes, calls=100_000, seed=0)
    assert found.calls <= sum(map(len, kept.values()))


def test_the_baseline_is_an_arm_like_any_other() -> None:
    rng = random.Random(0)
    scores = {
        f"p{i}": {f"e{j}": float(rng.random() < (0.9 if i == 0 else 0.2)) for j in range(60)}
        for i in range(12)
    }
    table = RecordedScores(baseline="p0", scores=scores, factors={arm: {} for arm in scores}, test_scores={})
    assert simulate(table, calls=500, seed=0).chosen == "p0"


def test_a_table_of_the_baseline_alone_has_one_choice() -> None:
    table = RecordedScores(baseline="p", scores={"p": {"e": 1.0}}, factors={"p": {}}, test_scores={})
    assert simulate(table, calls=5, seed=0).chosen == "p"


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([f"p{i}" for i in range(9)]),
        st.dictionaries(st.sampled_from([f"e{j}" for j in range(8)]), st.floats(0, 1), min_size=1),
        min_size=1,
    ),
    st.integers(1, 90),
    st.integers(0, 5),
)
def test_any_table_and_any_budget_end_in_a_choice(
    scores: dict[str, dict[str, float]], calls: int, seed: int
) -> None:
    table = RecordedScores(
        baseline=next(iter(scores)), scores=scores, factors={arm: {} for arm in scores}, test_scores={}
    )
    found = simulate(table, calls=calls, seed=seed)
    assert found.chosen in scores
    assert found.calls <= min(calls, sum(map(len, scores.values())))


def test_no_calls_and_unknown_samplers_are_refused() -> None:
    with pytest.raises(ValueError, match="needs at least one call, but got calls=0"):
        simulate(world(0), calls=0, seed=0)
    with pytest.raises(PluginError, match="did you mean 'tpe'"):
        simulate(world(0), calls=9, seed=0, sampler="tpee")
