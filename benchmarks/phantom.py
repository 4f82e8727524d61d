"""What this product claims where there is nothing to find, beside what MIPROv2 and GEPA claim on the same task.

    python benchmarks/phantom.py --runs 100 --rivals mipro.json gepa.json

The task, its labelled examples, the fresh ones and the chance of a right answer are those of `phantom_rivals.py`,
whose files of runs are read, or whose runs are made if none are named; that takes DSPy. Here the first 25 examples
are train, the next 100 validation, and the fresh ones the test. The whole product runs: study file, search,
confirmation, test, verdict. Its budget is what the rivals use before the test, and the test.

What a run claims is what it reports: the rivals the difference of their two scores on validation; this product the
gain on the test where its verdict is improved, else none. What it would have claimed as the rivals do stands beside it.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phantom_rivals import (
    LEVEL,
    NOTABLE,
    RIVALS,
    TRAIN,
    VALIDATION,
    Claim,
    Estimate,
    Summary,
    draw,
    label_of,
    reviews,
    summary,
)
from scripted_study import Outcome, studied

from optimizer.completion import Request
from optimizer.digest import canonical

N_TEST = 300
ACCURACY = 0.7
# About what the rivals use before the test; of the test, the baseline, the winner and one prompt between them.
CALLS = 700
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Is this review negative or positive?, What does the reviewer think?], compose: true}
  demos: {sizes: [0, 2, 4]}
  styles: [direct, chain_of_thought, first_person]
  formats: [plain, json, choice, inline]
budget: {calls: BUDGET}
run: {concurrency: 64}
""".replace("BUDGET", str(CALLS + 3 * N_TEST))

PACKAGES = ("promptstudy", "optuna", "numpy", "scipy")


def main() -> None:
    """Run the product many times and print it beside its rivals."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100, help="at least 2")
    parser.add_argument("--rivals", type=Path, nargs="*", help="files of phantom_rivals.py; none runs them")
    parser.add_argument("--output", type=Path, help="a file for all runs, as JSON")
    options = parser.parse_args()
    started = time.monotonic()
    outcomes = [ours(run) for run in range(1, options.runs + 1)]
    claims = [claim(run, outcome) for run, outcome in enumerate(outcomes, start=1)]
    columns = {
        "promptstudy": summary(claims),
        "promptstudy, best screened": summary(
            [screened(*each) for each in zip(claims, outcomes, strict=True)]
        ),
        "promptstudy, winner": summary([confirmed(*each) for each in zip(claims, outcomes, strict=True)]),
        **rivals(options.rivals, options.runs),
    }
    print_table(columns)
    if options.output:
        document = {
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
            "seconds": round(time.monotonic() - started),
            "summaries": columns,
            "claims": [dataclasses.asdict(each) for each in claims],
        }
        options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def ours(run: int, *, accuracy: float = ACCURACY, n_test: int = N_TEST) -> Outcome:
    """Return what the product finds; arguments are those of `phantom_rivals.mipro`."""
    texts = reviews(run, TRAIN + VALIDATION + n_test)

    def right(request: Request) -> bool:
        return draw("answer", str(run), canonical(request.to_dict())) < accuracy

    sizes = (TRAIN, VALIDATION, n_test)
    return studied({text: label_of(text) for text in texts}, sizes, STUDY, right, seed=run)


def claim(run: int, outcome: Outcome) -> Claim:
    """Return what the product reports of one run."""
    selection = outcome.selection
    difference = selection.difference
    gain = 100 * difference.difference
    return Claim(
        run=run,
        reported_gain=round(gain, 6) if selection.decision == "improved" else 0.0,
        test_difference=round(gain, 6),
        lower=round(100 * difference.interval.lower, 6),
        upper=round(100 * difference.interval.upper, 6),
        decision=selection.decision,
        calls=outcome.calls,
        prompts=len({row.fingerprint for row in outcome.trials}),
    )


def screened(found: Claim, outcome: Outcome) -> Claim:
    """Return the claim with the best score of the screening less the baseline's on the same examples."""
    scores = [row.score or 0.0 for row in outcome.trials if row.stage != "confirm"]
    return claiming(found, max(scores) - scores[0])


def confirmed(found: Claim, outcome: Outcome) -> Claim:
    """Return the claim with the winner's score on validation less the baseline's, each on all it was scored on."""
    told: Any = outcome.selection.frozen.evidence["validation"]
    return claiming(found, told["winner"]["score"] - told["baseline"]["score"])


def claiming(found: Claim, gain: float) -> Claim:
    """Return the same run with another gain reported, in [-1, 1]."""
    return dataclasses.replace(found, reported_gain=round(100 * gain, 6))


def rivals(files: Sequence[Path] | None, runs: int) -> dict[str, Summary]:
    """Return the summaries in some files, or of as many runs made now."""
    if files is None:
        print("no --rivals: they are run now", file=sys.stderr)
        return {name: summary([rival(run) for run in range(1, runs + 1)]) for name, rival in RIVALS.items()}
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    return {document["optimizer"]: document["summary"] for document in documents}


def print_table(columns: dict[str, Summary]) -> None:
    """Print summaries side by side, as a table in Markdown."""
    rows = {
        "runs": [str(found["runs"]) for found in columns.values()],
        "claimed gain, points": [_points(found["reported_gain"]) for found in columns.values()],
        f"runs that claim {NOTABLE:g} points or more": [
            _share(found["reports_notable_gain"]) for found in columns.values()
        ],
        "difference on the test, points": [_points(found["test_difference"]) for found in columns.values()],
        "runs that the test calls improved": [_share(found["improved"]) for found in columns.values()],
        "calls before the test": [f"{found['calls']:.0f}" for found in columns.values()],
        "distinct prompts scored": [f"{found['prompts']:.1f}" for found in columns.values()],
    }
    print(f"| intervals at {LEVEL:.0%} | {' | '.join(columns)} |")
    print(f"| --- |{' --- |' * len(columns)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def _points(estimate: Estimate) -> str:
    return f"{estimate['value']:+.2f} ({estimate['lower']:+.2f} to {estimate['upper']:+.2f})"


def _share(estimate: Estimate) -> str:
    return f"{estimate['value']:.0%} ({estimate['lower']:.0%} to {estimate['upper']:.0%})"


if __name__ == "__main__":
    main()
