"""Our search and every other one that can be selected, on recorded scores of real models.

    python benchmarks/search.py --seeds 100             run what is missing, and write the report
    python benchmarks/search.py --seeds 100 --no-run    report on the seeds that are complete
    python benchmarks/search.py --seeds 100 --searches ours "ours, no factors"        some of the searches
    python benchmarks/search.py --time                  what a decision takes with 500 prompts on record

Recorded scores are read from `../shared/data/replays` beside the repository; without them there is nothing to do.
Every run is a line of --runs, written as soon as it was made, so an interrupted benchmark continues where it was, and
has as many runs of each search. Runs are told apart by --tag: a digest of the code that searches, unless given. The
report goes to --output with .md, .json and .svg behind it. Words are explained in `search_runs.py`, `search_figures.py`.
"""

import argparse
import importlib.metadata
import json
import math
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search_figures import Figures, normalised, optimism, regret
from search_plot import plot
from search_report import markdown, panels, report
from search_runs import (
    BUDGETS,
    NO_FACTORS,
    NULL_SEARCHES,
    OURS,
    REPLAYS,
    WHOLE,
    Cell,
    Facts,
    code_digest,
    complete_seeds,
    facts,
    plan,
    read_outcomes,
    run_missing,
    searches,
    table_names,
)
from search_time import timed

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("promptstudy", "optuna", "numpy", "scipy")
MINUTE = 60.0


def main() -> None:
    """Run, time or report."""
    options = _options()
    if options.time:
        rows = [each.cells() for each in timed()]
        print(markdown(rows))
        _time_file(options.output).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        return
    tables = [name for name in table_names() if not options.tables or name in options.tables]
    if not tables:
        print(f"no recorded scores in {os.path.relpath(REPLAYS)}: nothing to replay")
        return
    tag = options.tag or code_digest()
    cells = [
        cell
        for cell in plan(tables, options.budgets, options.seeds)
        if not options.searches or cell.search in options.searches
    ]
    if not options.no_run:
        _run(cells, options.runs, tag, options.jobs)
    outcomes = read_outcomes(options.runs, tag)
    seeds = complete_seeds(outcomes, cells)
    if not seeds:
        sys.exit(f"no seed of {tag} is complete in {options.runs}")
    wanted = set(seeds)
    figures = Figures([outcomes[cell] for cell in cells if cell.seed in wanted])
    _write(figures, {table: facts(table) for table in tables}, tag, options.output)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=100, help="runs of each search, table and budget")
    parser.add_argument("--budgets", type=int, nargs="*", default=BUDGETS, help="in full evaluations")
    parser.add_argument("--tables", nargs="*", help="some of the tables; all unless given")
    parser.add_argument("--searches", nargs="*", help="some of the searches; all unless given")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--tag", help="the name of these runs")
    parser.add_argument(
        "--runs", type=Path, default=ROOT / "build" / "search.jsonl", help="the file of all runs"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "search")
    parser.add_argument("--no-run", action="store_true", help="report on what there is")
    parser.add_argument("--time", action="store_true", help="measure the time of decisions instead")
    return parser.parse_args()


def _run(cells: Sequence[Cell], runs: Path, tag: str, jobs: int) -> None:
    """Make what is missing, and say now and then how far it is."""
    started = said = time.monotonic()
    for n, _ in enumerate(run_missing(runs, tag, cells, jobs=jobs), start=1):
        if time.monotonic() - said > MINUTE:
            said = time.monotonic()
            print(f"{n} runs of {tag}, {1000 * (said - started) / n:.0f} s for 1,000", file=sys.stderr)


def _write(figures: Figures, known: Mapping[str, Facts], tag: str, output: Path) -> None:
    timing: list[dict[str, str]] = []
    if _time_file(output).exists():
        timing = json.loads(_time_file(output).read_text(encoding="utf-8"))
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    text = report(figures, known, _head(figures, tag, versions, output.name), timing)
    document = {
        "tag": tag,
        "seeds": figures.seeds,
        "searches": {name: search._asdict() for name, search in searches().items()},
        "versions": versions,
        **_numbers(figures, known),
    }
    for suffix, content in (
        (".md", text),
        (".json", json.dumps(_known(document), indent=1, allow_nan=False) + "\n"),
        (".svg", plot(panels(figures))),
    ):
        output.with_suffix(suffix).write_text(content, encoding="utf-8")
    print(text)


def _head(figures: Figures, tag: str, versions: Mapping[str, str], name: str) -> str:
    named = searches()
    ours = named[OURS]
    told = ", ".join(f"{package} {version}" for package, version in versions.items())
    return "\n".join(
        [
            "Searches replayed on recorded scores of real models (`benchmarks/search.py`). One full evaluation is as many",
            f"calls as a table has examples. {len(figures.tables)} tables, {len(figures.seeds)} seeds, each seed the same",
            "for every search. `none` screens every prompt on the same number of examples; `random, whole evaluations`",
            "scores prompts drawn at random on everything and takes the best, and is only a reference.",
            f"`{OURS}` is `{ours.sampler}` with `{ours.pruner or 'none'}`, the default; `{NO_FACTORS}` tells prompts apart",
            "by their ids alone. All tables are shown, and all searches that ran.",
            "",
            f"    python benchmarks/search.py --seeds {len(figures.seeds)}{_some(figures)}",
            "",
            f"Code {tag}; {told}, Python {platform.python_version()}.",
            "",
            f"![Regret against budget]({name}.svg)",
        ]
    )


def _some(figures: Figures) -> str:
    """Return what the command line says where not all searches were wanted."""
    named = [f'"{name}"' if " " in name else name for name in figures.searches]
    return "" if {*searches(), WHOLE} <= set(figures.searches) else f" --searches {' '.join(named)}"


def _numbers(figures: Figures, known: Mapping[str, Facts]) -> dict[str, Any]:
    def rows(search: str, n: int) -> dict[str, Any]:
        values = {"regret": regret, "normalised": normalised, "optimism": optimism}
        return {
            "search": search,
            "evaluations": n,
            **{name: figures.mean(value, search, n)._asdict() for name, value in values.items()},
            "optimism_of_null": figures.mean(optimism, search, n, "null")._asdict()
            if search in NULL_SEARCHES
            else None,
            "seconds": figures.mean(lambda run: run.seconds, search, n).value,
            "by_table": {
                table: figures.mean_of_table(regret, search, table, n)._asdict() for table in figures.tables
            },
        }

    return {
        "tables": {table: each._asdict() for table, each in known.items()},
        "means": [rows(search, n) for search in figures.searches for n in figures.budgets],
        "differences": [asdict(each) for each in figures.differences()],
        "differences_of_means": [asdict(each) for each in figures.mean_differences()],
        "ratios": [each._asdict() for each in figures.ratios(figures.budgets[0])],
    }


def _known(value: Any) -> Any:  # noqa: ANN401  # any value that JSON can hold
    """Return a value with None for every number that is not known: JSON has no nan."""
    if isinstance(value, dict):
        return {name: _known(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_known(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _time_file(output: Path) -> Path:
    return output.with_name(f"{output.name}-time.json")


if __name__ == "__main__":
    main()
