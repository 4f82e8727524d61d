"""How honest the verdicts are: studies in worlds whose truth is known, and how often what is said of them is wrong.

    python benchmarks/honesty.py null --runs 1000       where no prompt matters: how often one is called improved
    python benchmarks/honesty.py coverage --runs 2000   how often the interval holds the truth, and how wide it is
    python benchmarks/honesty.py power --runs 1000      how often the gain that was promised to be provable is proven
    python benchmarks/honesty.py small --runs 100       all three without a test, by cross-validation

Each prints a table in Markdown; --output FILE.json keeps its figures, --seed another sample of worlds. Shares have
Wilson intervals at 95 %.
"""

import argparse
import importlib.metadata
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from known_worlds import Difficulties, Linked, World, equal, large_gains, small_gains
from null_studies import null
from small_studies import Found, cross_validated
from world_studies import LEVEL, Share, chances, kind_of, share, studies

from optimizer.power import USUAL_DISAGREEMENT, smallest_provable_difference
from optimizer.resampling import two_sided_z

COVERAGE_TEST = 200
# Tests of each choice; two spare every second search, which takes five times as long.
COVERAGE_TESTS, POWER_TESTS = 1, 2
PACKAGES = ("promptstudy", "optuna", "numpy", "scipy")
POWER_SIZES = (60, 100, 200, 500)
SMALL_SIZES, SMALL_ARMS, SMALL_GAINS = (30, 40, 55), (5, 15, 30), (0.0, 0.1, 0.2)


# ---- Coverage -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """Intervals of one world, of studies that chose another arm than the baseline.

    Attributes:
        kept: How many chose the baseline, and have no interval.
        width: Mean, in points.
        relative: Mean width in units of that of the exact interval: twice 1.96 true standard deviations.
    """

    world: str
    runs: int
    kept: int
    covered: Share
    width: float
    relative: float
    improved: Share

    def cells(self) -> dict[str, str]:
        return {
            "world": self.world,
            "tests": str(self.runs),
            "baseline kept": str(self.kept),
            "coverage": str(self.covered),
            "mean width, points": f"{self.width:.2f}",
            "of the exact width": f"{self.relative:.3f}",
            "improved": str(self.improved),
        }


def coverage(runs: int, seed: int, *, group: int = 4) -> Iterator[Coverage]:
    """Yield a row for each world, kind of score, and examples alone or in groups."""
    for gains, means in (("no", equal()), ("small", small_gains()), ("large", large_gains())):
        for graded in (False, True):
            for size in (1, group):
                world = Difficulties(means=means, graded=graded, group=size)
                grouped = f", groups of {size}" if size > 1 else ""
                yield _covered(f"{gains} gains, {kind_of(graded)}{grouped}", world, runs, seed)


def _covered(name: str, world: Difficulties, runs: int, seed: int) -> Coverage:
    found = list(studies(name, world, runs, seed=seed, n_test=COVERAGE_TEST, tests=COVERAGE_TESTS))
    held, widths, relative = list[bool](), list[float](), list[float]()
    for run in found:
        if run.comparison is None:
            continue
        interval = run.comparison.interval
        held.append(interval.contains(world.means[run.chosen] - world.means[0]))
        widths.append(interval.upper - interval.lower)
        exact = 2 * two_sided_z(LEVEL) * world.deviation(run.chosen, COVERAGE_TEST)
        relative.append(widths[-1] / exact)
    return Coverage(
        world=name,
        runs=len(found),
        kept=len(found) - len(held),
        covered=share(held),
        width=100 * statistics.fmean(widths),
        relative=statistics.fmean(relative),
        improved=share([run.decision == "improved" for run in found]),
    )


# ---- Power ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """Studies in which every other arm is better by what was stated as provable; `gain` is in points."""

    world: str
    n_test: int
    gain: float
    runs: int
    improved: Share
    kept: Share
    improved_of_others: Share

    def cells(self) -> dict[str, str]:
        return {
            "scores": self.world,
            "test examples": str(self.n_test),
            "true gain, points": f"{self.gain:.1f}",
            "runs": str(self.runs),
            "improved": str(self.improved),
            "lost by the choice": f"{self.kept.value:.1%}",
            "improved where another arm was chosen": str(self.improved_of_others),
        }


def power(runs: int, seed: int) -> Iterator[Power]:
    """Yield a row for each size of the test and kind of world."""
    for n_test in POWER_SIZES:
        for name, group, graded in (
            ("0/1", 1, False),
            ("graded", 1, True),
            ("0/1, groups of 2", 2, False),
            ("0/1, groups of 4", 4, False),
        ):
            sizes = None if group == 1 else [group] * (n_test // group)
            gain = smallest_provable_difference(n_test, clusters=sizes)
            world = _provable(gain, group=group, graded=graded)
            found = list(
                studies(f"power {name} {n_test}", world, runs, seed=seed, n_test=n_test, tests=POWER_TESTS)
            )
            yield Power(
                world=name,
                n_test=n_test,
                gain=100 * gain,
                runs=runs,
                improved=share([run.decision == "improved" for run in found]),
                kept=share([run.chosen == 0 for run in found]),
                improved_of_others=share([run.decision == "improved" for run in found if run.chosen]),
            )


def _provable(gain: float, *, group: int, graded: bool) -> World:
    """Return a world in which all other arms gain that much, and differences vary as the statement takes them to."""
    disagreement = max(USUAL_DISAGREEMENT, gain)
    linked = Linked(gain=gain, disagreement=disagreement, group=group)
    if not graded:
        return linked
    # The differences of independent 0/1 scores vary more than those of prompts that mostly agree; those of beta scores
    # by a factor of 1 / (concentration + 1) less.
    independent = Difficulties(means=linked.means).deviation(1, 1) ** 2
    concentration = independent / (disagreement - gain * gain) - 1
    return Difficulties(means=linked.means, graded=True, concentration=concentration)


# ---- Without a test -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Small:
    """Cross-validated choices of one world.

    Attributes:
        arms: Scored arms, the baseline among them; of those that do not mostly agree every second other has the gain.
        covered: Intervals that hold the true gain of the arms chosen in the folds, on average.
        covered_shipped: Those that hold the true gain of the arm that ships.
        width: Mean, in points.
    """

    how: str
    n: str
    arms: str
    gain: float
    runs: int
    improved: Share
    covered: Share
    covered_shipped: Share
    width: float
    shipped_gain: float

    @classmethod
    def of(
        cls, where: tuple[str, str, str], gain: float, found: Sequence[Found], means: Sequence[float]
    ) -> "Small":
        how, n, arms = where
        shipped = [means[each.shipped] - means[0] for each in found]
        intervals = [each.difference.interval for each in found]
        return cls(
            how=how,
            n=n,
            arms=arms,
            gain=gain,
            runs=len(found),
            improved=share([each.decision == "improved" for each in found]),
            covered=share([i.contains(each.expected) for i, each in zip(intervals, found, strict=True)]),
            covered_shipped=share([i.contains(true) for i, true in zip(intervals, shipped, strict=True)]),
            width=100 * statistics.fmean(i.upper - i.lower for i in intervals),
            shipped_gain=100 * statistics.fmean(shipped),
        )

    def cells(self) -> dict[str, str]:
        return {
            "arms": self.how,
            "examples": self.n,
            "of": self.arms,
            "gain, points": f"{100 * self.gain:.0f}",
            "runs": str(self.runs),
            "improved": str(self.improved),
            "coverage": str(self.covered),
            "of what ships": str(self.covered_shipped),
            "mean width, points": f"{self.width:.1f}",
            "true gain of what ships": f"{self.shipped_gain:+.1f}",
        }


def small(runs: int, seed: int) -> Iterator[Small]:
    """Yield a row for each kind of arms, size, number of arms and gain, and after each kind one for all of its nulls.

    All arms are scored, or those that the sampler picks among twice as many. In the third kind they mostly agree with
    the baseline, and all others have the gain.
    """
    for how in ("all", "picked", "all, agreeing"):
        for_all = list[Found]()
        for n, arms, gain in itertools.product(SMALL_SIZES, SMALL_ARMS, SMALL_GAINS):
            world = _small_world(how, arms, gain)
            tried = arms if how == "picked" else None
            found = [
                cross_validated(world.draw(rng, n).scores, world.means, seed=run_seed, tried=tried)
                for rng, run_seed in chances(f"small {how} {n} {arms} {gain}", runs, seed)
            ]
            yield Small.of((how, str(n), str(arms)), gain, found, world.means)
            for_all += found if gain == 0 else []
        yield Small.of((how, "all", "all"), 0.0, for_all, (0.5,) * 2 * max(SMALL_ARMS))


def _small_world(how: str, arms: int, gain: float) -> World:
    if how == "all, agreeing":
        return Linked(gain=gain, disagreement=max(USUAL_DISAGREEMENT, gain), arms=arms)
    pool = 2 * arms if how == "picked" else arms
    return Difficulties(means=(0.5, *(0.5 + gain * (k % 2) for k in range(1, pool))))


# ---- The command line -----------------------------------------------------------------------------------------------


class Row(Protocol):
    """One line of a table."""

    def cells(self) -> dict[str, str]:
        """Return its figures in words, by column."""
        ...


# What is measured, and how many runs of each world make its standard errors small enough.
MEASURES: dict[str, tuple[Callable[[int, int], Iterator[Row]], int]] = {
    "null": (null, 1000),
    "coverage": (coverage, 2000),
    "power": (power, 1000),
    "small": (small, 100),
}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="measure", required=True)
    for name, (_, runs) in MEASURES.items():
        command = commands.add_parser(name)
        command.add_argument("--runs", type=int, default=runs, help=f"of each world; {runs} unless given")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--output", type=Path, help="a file for all figures, as JSON")
    options = parser.parse_args()
    started, rows = time.monotonic(), list[Row]()
    for row in MEASURES[options.measure][0](options.runs, options.seed):
        if not rows:
            print_line(row.cells())
            print_line(dict.fromkeys(row.cells(), "---"), values=True)
        print_line(row.cells(), values=True)
        rows.append(row)
    if options.output:
        document = {
            "measure": options.measure,
            "seed": options.seed,
            "seconds": round(time.monotonic() - started),
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
            "rows": [asdict(row) for row in rows],  # type: ignore[call-overload]  # they are dataclasses
        }
        options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def print_line(cells: Mapping[str, str], *, values: bool = False) -> None:
    """Print the names of some columns, or what stands in them, as a line of a table in Markdown."""
    print(f"| {' | '.join(cells.values() if values else cells)} |", flush=True)


if __name__ == "__main__":
    main()
