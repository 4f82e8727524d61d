"""Searches replayed on recorded scores of real models: what each chose, and how far that is from the best.

| | |
|---|---|
| full evaluation | as many calls as a table has examples |
| regret | 100 × (highest test score in the table - that of the chosen prompt), in points |
| normalised regret | regret in units of the distance from the median test score to the highest: 1 is what a guess loses |
| optimism | 100 × (what the search expects of the chosen prompt - its test score), in points |
| offset | 100 × (mean over prompts of the score in the table - mean of the test scores): how much easier its examples are |
| null table | a table in which the prompts changed places within each example, so that none is better than another |

A run of a null table has no regret; its optimism is against the mean of the table, which is the truth of every prompt.
"""

import json
import math
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from optimizer.config import PRUNER, SAMPLER
from optimizer.digest import derived_seed, digest
from optimizer.pruners import PRUNERS
from optimizer.recorded import RecordedScores, read_recorded
from optimizer.samplers import SAMPLERS
from optimizer.simulation import simulate

# Beside the repository, never in it: their licences differ.
REPLAYS = Path(__file__).resolve().parents[2] / "shared" / "data" / "replays"

BUDGETS = (2, 5, 10, 25)
OURS, NO_FACTORS, WHOLE = "ours", "ours, no factors", "random, whole evaluations"
# Null tables cost as much as others, and say what our own estimates are worth.
NULL_SEARCHES = (OURS,)
RANDOM = "random_search"
# Random search is the one that is usually halved, so it has every pruner of others, and ours.
USUAL_PRUNERS: tuple[str | None, ...] = (None, "successive_halving")
RANDOM_PRUNERS: tuple[str | None, ...] = (*USUAL_PRUNERS, "hyperband", PRUNER)

Kind = Literal["recorded", "null"]


class Search(NamedTuple):
    """One way to search; `pruner` None screens each prompt on the same number of examples."""

    sampler: str
    pruner: str | None
    use_factors: bool = True


class Cell(NamedTuple):
    """One run to make, or one that was made."""

    kind: Kind
    table: str
    evaluations: int
    search: str
    seed: int


class Found(NamedTuple):
    """What a search said; a decision is a prompt taken up or a step, whichever there are more of."""

    chosen: str
    calls: int
    estimate: float
    decisions: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one run came to; `seconds` are of one core."""

    kind: Kind
    table: str
    evaluations: int
    search: str
    seed: int
    chosen: str
    calls: int
    allowed: int
    regret: float
    normalised: float
    optimism: float
    offset: float
    seconds: float
    decisions: int

    @property
    def cell(self) -> Cell:
        return Cell(self.kind, self.table, self.evaluations, self.search, self.seed)


class Facts(NamedTuple):
    """What is true of a table; the regret of `all_known` is that of the best mean over all cells, ties averaged."""

    prompts: int
    examples: int
    best: float
    median: float
    mean: float
    offset: float
    all_known: float


def searches() -> dict[str, Search]:
    """Return the searches to compare, by name; a pruner that is not there is left out."""
    found = {OURS: Search(SAMPLER, PRUNER), NO_FACTORS: Search(SAMPLER, PRUNER, use_factors=False)}
    for sampler in SAMPLERS:
        for pruner in dict.fromkeys(RANDOM_PRUNERS) if sampler == RANDOM else USUAL_PRUNERS:
            search = Search(sampler, pruner)
            if search not in found.values() and (pruner is None or pruner in list(PRUNERS)):
                found[f"{sampler} + {pruner or 'none'}".replace("_search", "")] = search
    return found


def plan(tables: Sequence[str], budgets: Sequence[int], seeds: int) -> list[Cell]:
    """Return all runs, seed by seed, so that an interrupted benchmark has as many of each."""
    runs: list[tuple[Kind, str]] = [("recorded", name) for name in (*searches(), WHOLE)]
    runs += [("null", name) for name in NULL_SEARCHES]
    return [
        Cell(kind, table, evaluations, search, seed)
        for seed in range(seeds)
        for table in tables
        for evaluations in budgets
        for kind, search in runs
    ]


def table_names(folder: Path = REPLAYS) -> list[str]:
    """Return the tables that there are."""
    return sorted(path.name.removesuffix(".csv.gz") for path in folder.glob("*.csv.gz"))


@cache
def recorded(name: str) -> RecordedScores:
    """Return one table."""
    return read_recorded(REPLAYS / f"{name}.csv.gz")


@cache
def facts(name: str) -> Facts:
    """Return what is true of one table."""
    table = recorded(name)
    tests = table.test_scores
    means = {arm: statistics.fmean(row.values()) for arm, row in table.scores.items()}
    best = max(tests.values())
    winners = [arm for arm in tests if math.isclose(means[arm], max(means[each] for each in tests))]
    return Facts(
        prompts=len(table.scores),
        examples=len(_examples(table)),
        best=best,
        median=statistics.median(tests.values()),
        mean=statistics.fmean(means.values()),
        offset=100 * statistics.fmean(means[arm] - test for arm, test in tests.items()),
        all_known=100 * (best - statistics.fmean(tests[arm] for arm in winners)),
    )


def outcome(cell: Cell) -> Outcome:
    """Return what one run comes to."""
    known, table = facts(cell.table), recorded(cell.table)
    if cell.kind == "null":
        table = null_table(cell.table, derived_seed(cell.seed, "null", cell.table))
    calls, started = cell.evaluations * known.examples, time.process_time()
    found = _found(table, cell, calls=calls)
    seconds = time.process_time() - started
    truth = known.mean if cell.kind == "null" else table.test_scores[found.chosen]
    regret = 0.0 if cell.kind == "null" else known.best - truth
    return Outcome(
        kind=cell.kind,
        table=cell.table,
        evaluations=cell.evaluations,
        search=cell.search,
        seed=cell.seed,
        chosen=found.chosen,
        calls=found.calls,
        allowed=calls,
        regret=100 * regret,
        normalised=regret / (known.best - known.median),
        optimism=100 * (found.estimate - truth),
        offset=0.0 if cell.kind == "null" else known.offset,
        seconds=seconds,
        decisions=found.decisions,
    )


def null_table(name: str, seed: int) -> RecordedScores:
    """Return a table in which the prompts changed places within each example."""
    table, examples, scores = recorded(name), *_matrix(name)
    mixed = np.random.default_rng(seed).permuted(scores, axis=0).tolist()
    rows = {arm: dict(zip(examples, row, strict=True)) for arm, row in zip(table.scores, mixed, strict=True)}
    return RecordedScores(baseline=table.baseline, scores=rows, factors=table.factors, test_scores={})


@cache
def _matrix(name: str) -> tuple[list[str], NDArray[np.float64]]:
    """Return the examples of a table that has no holes, and its scores; (prompts, examples)."""
    table = recorded(name)
    examples = sorted(_examples(table))
    return examples, np.array([[row[example] for example in examples] for row in table.scores.values()])


def _found(table: RecordedScores, cell: Cell, *, calls: int) -> Found:
    if cell.search == WHOLE:
        found = whole_evaluations(table, calls=calls, seed=cell.seed)
    else:
        sampler, pruner, use_factors = searches()[cell.search]
        made = simulate(
            table, calls=calls, seed=cell.seed, sampler=sampler, pruner=pruner, use_factors=use_factors
        )
        found = Found(made.chosen, made.calls, made.validation, max(made.tried, len(made.history)))
    if found.calls > calls:
        raise RuntimeError(f"{cell} used {found.calls} calls of {calls}")
    return found


def whole_evaluations(table: RecordedScores, *, calls: int, seed: int) -> Found:
    """Score prompts in random order on everything, and take the best mean: what one does without a search."""
    arms = Random(seed).sample(sorted(table.scores), len(table.scores))
    means, spent = dict[str, float](), 0
    for arm in arms:
        if spent + len(table.scores[arm]) > calls:
            break
        spent += len(table.scores[arm])
        means[arm] = statistics.fmean(table.scores[arm].values())
    chosen = max(means, key=lambda arm: means[arm])
    return Found(chosen, spent, means[chosen], len(means))


def _examples(table: RecordedScores) -> set[str]:
    return {example for row in table.scores.values() for example in row}


def code_digest() -> str:
    """Return a digest of the code that searches: of every module of the product that this benchmark has loaded."""
    for name in SAMPLERS:
        SAMPLERS[name]
    for name in PRUNERS:
        PRUNERS[name]
    loaded = {name: module for name, module in sys.modules.items() if name.startswith("optimizer.")}
    files = {name: module.__file__ for name, module in loaded.items() if module.__file__ is not None}
    return digest({name: Path(file).read_text(encoding="utf-8") for name, file in files.items()})[:12]


def read_outcomes(path: Path, tag: str) -> dict[Cell, Outcome]:
    """Return the runs of a tag in a file; a line that was cut off by a kill is no run."""
    found = dict[Cell, Outcome]()
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        if values.pop("tag") == tag:
            made = Outcome(**values)
            found[made.cell] = made
    return found


def run_missing(path: Path, tag: str, cells: Iterable[Cell], *, jobs: int) -> Iterator[Outcome]:
    """Make the runs that are not in the file, add a line for each as soon as it is made, and yield it."""
    made = read_outcomes(path, tag)
    missing = [cell for cell in cells if cell not in made]
    if not missing:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
    with path.open("a", encoding="utf-8") as file, get_context("spawn").Pool(jobs) as pool:
        for each in pool.imap_unordered(outcome, missing, chunksize=4):
            file.write(json.dumps({"tag": tag, **asdict(each)}) + "\n")
            file.flush()
            yield each


def complete_seeds(outcomes: Mapping[Cell, Outcome], cells: Iterable[Cell]) -> list[int]:
    """Return the seeds of which every run was made."""
    wanted = list(cells)
    unfinished = {cell.seed for cell in wanted if cell not in outcomes}
    return sorted({cell.seed for cell in wanted} - unfinished)
