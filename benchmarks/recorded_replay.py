"""Searches on tables that the embedded model was recorded for (`record_tables.py`), 3,000 calls each.

    python benchmarks/recorded_replay.py --seeds 20

A recording holds the scores of 200 prompts on 300 examples. Each seed divides the examples anew: the search sees one half,
and the other half is the test of the prompt that it chose. Every search that can be selected, and that of DSPy's MIPROv2
(`recorded_mipro.py`). GEPA and CAPO search by writing prompts, so they cannot be replayed on prompts that are given.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from record_tables import FOLDER
from recorded_mipro import DEMONSTRATIONS, INSTRUCTION, mipro_choice
from scipy.stats import t
from search_report import markdown
from search_runs import OURS, WHOLE, searches, whole_evaluations

from optimizer.recorded import RecordedScores
from optimizer.simulation import simulate

MIPRO = "DSPy MIPROv2"
# The best mean over the whole half: what is lost where nothing is left to find out.
KNOWN = "every score known"
RESULTS = FOLDER.parent / "recorded"


class Job(NamedTuple):
    """One run to make."""

    task: str
    search: str
    seed: int
    calls: int


class Made(NamedTuple):
    """One run that was made; `regret` is the best test score less that of the chosen prompt, in points."""

    job: Job
    chosen: str
    calls: int
    test: float
    regret: float


def main() -> None:
    """Replay and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="at least 2")
    parser.add_argument("--calls", type=int, nargs="+", default=[1000, 3000])
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    tasks = [path.stem for path in sorted(FOLDER.glob("*.json")) if complete(path)]
    jobs = [
        Job(task, search, seed, calls)
        for task in tasks
        for calls in options.calls
        for search in (*searches(), MIPRO, WHOLE, KNOWN)
        for seed in range(options.seeds)
    ]
    with get_context("spawn").Pool(options.jobs) as pool:
        runs = pool.map(made, jobs, chunksize=4)
    text = report(runs, tasks, options.calls)
    RESULTS.with_suffix(".md").write_text(text, encoding="utf-8")
    columns = [*Job._fields, *Made._fields[1:]]
    rows = [[*run.job, run.chosen, run.calls, round(run.test, 4), round(run.regret, 4)] for run in runs]
    lines = ",\n".join(json.dumps(row) for row in (columns, *rows))
    RESULTS.with_suffix(".json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(text)


def complete(path: Path) -> bool:
    """Return whether a recording has all of its prompts."""
    document = json.loads(path.read_text(encoding="utf-8"))
    n = len(document["instructions"]) * len(document["demonstrations"])
    if len(document["scores"]) < n:
        print(
            f"{path.stem}: {len(document['scores'])} of {n} prompts are recorded, left out", file=sys.stderr
        )
    return len(document["scores"]) == n


def divided(document: dict[str, Any], seed: int) -> RecordedScores:
    """Return the scores on one half of the examples, with each prompt's mean on the other as its test score."""
    n = len(document["examples"])
    places = Random(seed).sample(range(n), n)
    seen, held_out = places[: n // 2], places[n // 2 :]
    rows: dict[str, str] = document["scores"]
    return RecordedScores(
        baseline=min(rows),
        scores={
            name: {f"e{k:03}": float(row[k]) for k in sorted(seen)} for name, row in sorted(rows.items())
        },
        factors={name: dict(zip((INSTRUCTION, DEMONSTRATIONS), name.split(), strict=True)) for name in rows},
        test_scores={name: statistics.fmean(float(row[k]) for k in held_out) for name, row in rows.items()},
    )


def made(job: Job) -> Made:
    """Make one run."""
    document = json.loads((FOLDER / f"{job.task}.json").read_text(encoding="utf-8"))
    table = divided(document, job.seed)
    if job.search == MIPRO:
        chosen, calls = mipro_choice(table, calls=job.calls, seed=job.seed)
    elif job.search in (WHOLE, KNOWN):
        known = sum(map(len, table.scores.values()))
        found = whole_evaluations(table, calls=known if job.search == KNOWN else job.calls, seed=job.seed)
        chosen, calls = found.chosen, found.calls
    else:
        sampler, pruner, use_factors = searches()[job.search]
        simulated = simulate(
            table, calls=job.calls, seed=job.seed, sampler=sampler, pruner=pruner, use_factors=use_factors
        )
        chosen, calls = simulated.chosen, simulated.calls
    if calls > job.calls and job.search != KNOWN:
        raise RuntimeError(f"{job} used {calls} calls")
    test, best = table.test_scores[chosen], max(table.test_scores.values())
    return Made(job, chosen, calls, 100 * test, 100 * (best - test))


def report(runs: Sequence[Made], tasks: Sequence[str], budgets: Sequence[int]) -> str:
    """Return the page."""
    at = {run.job: run for run in runs}
    seeds = sorted({run.job.seed for run in runs})
    named = list(dict.fromkeys(run.job.search for run in runs))

    def regrets(search: str, calls: int) -> list[list[float]]:
        """Return regrets by task and seed."""
        return [[at[Job(task, search, seed, calls)].regret for seed in seeds] for task in tasks]

    parts = ["# Searches replayed on the embedded model", *_head(tasks, len(seeds))]
    for calls in budgets:
        ours = regrets(OURS, calls)
        rows = []
        for search in named:
            theirs = regrets(search, calls)
            gaps = [[b - a for a, b in zip(*each, strict=True)] for each in zip(ours, theirs, strict=True)]
            over_tasks = [statistics.fmean(each) for each in zip(*gaps, strict=True)]
            rows.append(
                {
                    "search": search,
                    **{task: _mean(each) for task, each in zip(tasks, theirs, strict=True)},
                    "less ours, mean of tasks": "" if search == OURS else _difference(over_tasks),
                }
            )
        parts += [f"## {calls:,} calls", markdown(rows)]
    return "\n\n".join(parts) + "\n"


def _head(tasks: Sequence[str], n_seeds: int) -> list[str]:
    rows = []
    for task in tasks:
        document = json.loads((FOLDER / f"{task}.json").read_text(encoding="utf-8"))
        scores = {key: 100 * row.count("1") / len(row) for key, row in document["scores"].items()}
        rows.append(
            {
                "task": task,
                "prompts": str(len(scores)),
                "examples": str(len(document["examples"])),
                "begun with": f"{scores[min(scores)]:.1f}",
                "median": f"{statistics.median(scores.values()):.1f}",
                "best": f"{max(scores.values()):.1f}",
            }
        )
    return [
        (
            "What searches lose on tables of the embedded model's own answers (`benchmarks/record_tables.py`): ten wordings times\n"
            "twenty sets of demonstrations, scored on every example. Each seed divides the examples anew: a search sees one half, and\n"
            "the other half is the test. Regret is the highest test score less that of the chosen prompt, in points, with\n"
            f"its standard error over {n_seeds} seeds; no search can have 0 but by luck, because two halves differ. `{MIPRO}` is its own\n"
            "search code on the same prompts. GEPA and CAPO search by writing prompts, and cannot be replayed on given ones."
        ),
        f"    python benchmarks/recorded_replay.py --seeds {n_seeds}",
        "Scores on all examples, in percent:",
        markdown(rows),
        (
            f"`less ours` is positive where ours is better, with a 95 % interval. `{KNOWN}` takes the best mean over the whole\n"
            "half that a search sees: what it loses is due to the halves alone. All divisions are of one table a task, so intervals tell of the\n"
            "luck of a search and of a division, not of other prompts, examples or tasks. What MIPROv2 asks again counts again, as\n"
            "at the counting server; the others ask nothing twice."
        ),
    ]


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.1f} ± {_error(values):.1f}"


def _difference(values: Sequence[float]) -> str:
    mean, half = statistics.fmean(values), float(t.ppf(0.975, len(values) - 1)) * _error(values)
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


if __name__ == "__main__":
    main()
