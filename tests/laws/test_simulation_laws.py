"""Laws of a search on recorded scores: what must not matter does not, and no budget is exceeded."""

import csv
import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optimizer.pruners import PRUNERS
from optimizer.recorded import RecordedScores, read_recorded
from optimizer.samplers import SAMPLERS
from optimizer.simulation import Simulation, simulate

ARMS, EXAMPLES = 8, 30  # at most; more examples than a screening takes
FACTORS = ("wording", "style", "format")
SEARCHES = [(sampler, pruner) for sampler in SAMPLERS for pruner in (None, *PRUNERS)]

each_search = pytest.mark.parametrize(("sampler", "pruner"), SEARCHES)
each_default = pytest.mark.parametrize("use_factors", [True, False])
few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 50)
calls_of_any = st.integers(1, ARMS * EXAMPLES + 20)


class Cell(NamedTuple):
    """A row of a file."""

    prompt_id: str
    example_id: str
    score: float


@st.composite
def tables(draw: st.DrawFn) -> RecordedScores:
    """Return a table with holes, of 0/1 or graded scores, whose prompts may have the same factors and scores."""
    rng = Random(draw(st.integers(0, 2**32)))
    n_arms, n_examples = draw(st.integers(1, ARMS)), draw(st.integers(1, EXAMPLES))
    share, graded = draw(st.sampled_from([1.0, 0.8, 0.2])), draw(st.booleans())
    n_levels = draw(st.integers(1, 4))
    arms = [f"p{k}" for k in rng.sample(range(100), n_arms)]
    scores = dict[str, dict[str, float]]()
    for arm in sorted(arms):
        mean = rng.random()
        examples = [f"e{j:02d}" for j in range(n_examples) if rng.random() < share] or ["e00"]
        scores[arm] = {e: round(rng.random(), 3) if graded else float(rng.random() < mean) for e in examples}
    names = FACTORS[: draw(st.integers(0, len(FACTORS)))]
    factors = {arm: {name: f"v{rng.randrange(n_levels)}" for name in names} for arm in scores}
    tests = {arm: round(rng.random(), 3) for arm in scores}
    return RecordedScores(baseline=arms[0], scores=scores, factors=factors, test_scores=tests)


def written(table: RecordedScores, path: Path, seed: int) -> RecordedScores:
    """Return the table read back from a file whose rows and columns are in some order, the baseline's first."""
    rng = Random(seed)
    cells = [Cell(arm, example, score) for arm, row in table.scores.items() for example, score in row.items()]
    cells = sorted(rng.sample(cells, len(cells)), key=lambda cell: cell.prompt_id != table.baseline)
    first, rest = cells[0], cells[1:]
    names = sorted({name for row in table.factors.values() for name in row})
    columns = [*Cell._fields, "test_score", *names]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rng.sample(columns, len(columns)))
        writer.writeheader()
        for cell in (first, *rng.sample(rest, len(rest))):
            test = table.test_scores[cell.prompt_id]
            writer.writerow({**cell._asdict(), **table.factors[cell.prompt_id], "test_score": test})
    return read_recorded(path)


@each_search
@few
@given(tables(), calls_of_any, seeds, st.booleans())
def test_no_budget_is_exceeded_and_the_same_seed_makes_the_same_decisions(
    sampler: str, pruner: str | None, table: RecordedScores, calls: int, seed: int, use_factors: bool
) -> None:
    found, again = (
        simulate(table, calls=calls, seed=seed, sampler=sampler, pruner=pruner, use_factors=use_factors)
        for _ in range(2)
    )
    spent = [n for n, _ in found.history]
    assert found == again
    assert found.calls <= min(calls, sum(map(len, table.scores.values())))
    assert found.chosen in table.scores
    assert 0 <= found.validation <= 1
    assert 1 <= found.tried <= len(table.scores)
    assert spent == sorted(spent)
    assert found.history[-1] == (found.calls, found.chosen)


@each_default
@few
@given(tables(), calls_of_any, seeds, st.integers(0, 2**32))
def test_the_test_scores_have_no_part_in_the_choice(
    use_factors: bool, table: RecordedScores, calls: int, seed: int, other: int
) -> None:
    mixed = Random(other).sample(list(table.test_scores.values()), len(table.test_scores))
    shuffled = dataclasses.replace(table, test_scores=dict(zip(table.test_scores, mixed, strict=True)))
    without = dataclasses.replace(table, test_scores={})
    found = [
        simulate(each, calls=calls, seed=seed, use_factors=use_factors) for each in (table, shuffled, without)
    ]
    assert found[0] == found[1] == found[2]


@each_default
@few
@given(tables(), calls_of_any, seeds, st.tuples(st.integers(0, 2**32), st.integers(0, 2**32)))
def test_neither_the_order_of_rows_nor_that_of_columns_matters(
    use_factors: bool,
    tmp_path_factory: pytest.TempPathFactory,
    table: RecordedScores,
    calls: int,
    seed: int,
    orders: tuple[int, int],
) -> None:
    path = tmp_path_factory.mktemp("orders") / "table.csv"
    first, second = (
        simulate(written(table, path, order), calls=calls, seed=seed, use_factors=use_factors)
        for order in orders
    )
    assert first == second


@each_default
@few
@given(tables(), calls_of_any, seeds, st.integers(0, 2**32))
def test_the_names_of_prompts_do_not_matter(
    use_factors: bool, table: RecordedScores, calls: int, seed: int, other: int
) -> None:
    """Prompts of the same factors and scores are one prompt but for their name, so what is compared is these."""
    names = list(table.scores)
    new = dict(zip(names, Random(other).sample(names, len(names)), strict=True))
    renamed = RecordedScores(
        baseline=new[table.baseline],
        scores=dict(sorted((new[arm], row) for arm, row in table.scores.items())),
        factors=dict(sorted((new[arm], row) for arm, row in table.factors.items())),
        test_scores={},
    )
    before, after = (
        simulate(each, calls=calls, seed=seed, use_factors=use_factors) for each in (table, renamed)
    )
    assert (before.calls, before.tried) == (after.calls, after.tried)
    assert before.validation == pytest.approx(after.validation, abs=1e-9)
    assert before.baseline == pytest.approx(after.baseline, abs=1e-9)
    assert (table.scores[before.chosen], table.factors[before.chosen]) == (
        renamed.scores[after.chosen],
        renamed.factors[after.chosen],
    )


@each_default
@few
@given(tables(), seeds)
def test_a_prompt_that_alone_is_always_right_is_chosen_where_the_calls_reach_everything(
    use_factors: bool, table: RecordedScores, seed: int
) -> None:
    assume(len(table.scores) > 1)
    best = Random(seed).choice(list(table.scores))
    scores = {arm: {f"e{j:02d}": float(arm == best) for j in range(EXAMPLES)} for arm in table.scores}
    clear = dataclasses.replace(table, scores=scores)
    calls = len(scores) * EXAMPLES
    assert simulate(clear, calls=calls, seed=seed, use_factors=use_factors).chosen == best


@pytest.mark.parametrize("options", [[], ["--no-factors"]])
def test_another_process_makes_the_same_decisions(tmp_path: Path, options: list[str]) -> None:
    """The order of a set of texts differs from process to process, unless it is told not to."""
    path = tmp_path / "table.csv"
    table = written(grid(), path, 0)
    command = [sys.executable, "-m", "optimizer", "simulate", str(path), "--calls", "300", "--seed", "3"]
    printed = [
        subprocess.run(
            [*command, "--json", *options],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "4242")
    ]
    here = found_here(table, use_factors=not options)
    assert printed[0] == printed[1]
    assert f'"chosen": "{here.chosen}"'.encode() in printed[0]


def grid() -> RecordedScores:
    """Return scores of a grid of two factors."""
    rng = Random(0)
    arms = {f"p{k:02d}": {"wording": f"w{k // 6}", "style": f"s{k % 6}"} for k in range(36)}
    return RecordedScores(
        baseline="p07",
        scores={
            arm: {f"e{j:02d}": float(rng.random() < 0.3 + int(at["style"][1]) / 12) for j in range(60)}
            for arm, at in arms.items()
        },
        factors=arms,
        test_scores=dict.fromkeys(arms, 0.5),
    )


def found_here(table: RecordedScores, *, use_factors: bool) -> Simulation:
    return simulate(table, calls=300, seed=3, use_factors=use_factors)
