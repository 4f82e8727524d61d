"""Studies in which no prompt matters, of five kinds: whatever is called improved is called so wrongly."""

import json
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from known_worlds import LABELS, Difficulties, equal, permuted, shuffled_labels
from world_studies import VALIDATION, Share, Studied, arm_names, chances, kind_of, share, studies, study

from optimizer.completion import Request
from optimizer.digest import canonical, derived_seed
from optimizer.recorded import read_recorded

# So many that the mean difference of a thousand studies has a standard error of about 0.1 points.
NULL_TEST = 400

# Recorded scores of real models, beside the repository: prompts of a search, formats of a template, paraphrases.
REPLAYS = Path(__file__).resolve().parents[2] / "shared" / "data" / "replays"
TABLES = (
    "capo__gsm8k__qwen__seed42.csv.gz",
    "format__sst2__llama-2-70b-hf.csv.gz",
    "ups_sst2_opt2.7b__sst2__opt-2.7b.csv.gz",
)

# More arms than a search of this size can try make it slower and tell nothing more.
MOST_ARMS = 100

# The scripted model, and a study of its prompts: about five full evaluations of validation, and the test.
ACCURACY = 0.7
# A whole study takes more than ten times as long as a replay; 2 makes half as many.
WHOLE_ONE_IN = 1
SIZES = (20, 60, 200)
SCRIPTED_STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Is this review negative or positive?], compose: true}
  demos: {sizes: [0, 2, 4], sets: 4}
  styles: [direct, chain_of_thought]
  formats: [plain, json, choice, inline]
  screen: 20
budget: {calls: 900}
run: {concurrency: 64}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Null:
    """Studies of one world without gains; differences and optimism are in points.

    Attributes:
        kept: Studies that chose the baseline on validation.
        difference: Mean on the test over all runs; 0 where the baseline was kept. `error` is its standard error.
        shrunken: Mean estimate of the chosen arm less its true mean.
        plain: The same of its plain mean on the examples it was chosen by.
        best_plain: The same of the highest plain mean, which a search without estimates would report.
    """

    world: str
    runs: int
    improved: Share
    worse: Share
    kept: Share
    difference: float
    error: float
    shrunken: float
    plain: float
    best_plain: float

    @classmethod
    def of(cls, world: str, runs: Sequence[Studied], truth: float) -> "Null":
        differences = [0.0 if run.comparison is None else 100 * run.comparison.difference for run in runs]
        return cls(
            world=world,
            runs=len(runs),
            improved=share([run.decision == "improved" for run in runs]),
            worse=share([run.decision == "worse" for run in runs]),
            kept=share([run.chosen == 0 for run in runs]),
            difference=statistics.fmean(differences),
            error=statistics.stdev(differences) / math.sqrt(len(runs)),
            shrunken=100 * (statistics.fmean(run.estimate for run in runs) - truth),
            plain=100 * (statistics.fmean(run.plain for run in runs) - truth),
            best_plain=100 * (statistics.fmean(run.best_plain for run in runs) - truth),
        )

    def cells(self) -> dict[str, str]:
        return {
            "world": self.world,
            "runs": str(self.runs),
            "improved": str(self.improved),
            "worse": str(self.worse),
            "baseline kept": f"{self.kept.value:.1%}",
            "test difference, points": f"{self.difference:+.2f} ± {self.error:.2f}",
            "estimate - truth": f"{self.shrunken:+.2f}",
            "its plain mean - truth": f"{self.plain:+.2f}",
            "best plain mean - truth": f"{self.best_plain:+.2f}",
        }


def null(runs: int, seed: int) -> Iterator[Null]:
    """Yield a row for each world without gains."""
    for kind in (equal_arms, permuted_tables, permuted_labels, whole_product):
        yield from kind(runs, seed)


def equal_arms(runs: int, seed: int) -> Iterator[Null]:
    """Yield a row for 0/1 and one for graded scores."""
    for graded in (False, True):
        name, world = f"equal arms, {kind_of(graded)}", Difficulties(means=equal(), graded=graded)
        yield Null.of(name, list(studies(name, world, runs, seed=seed, n_test=NULL_TEST)), 0.5)


def permuted_tables(runs: int, seed: int) -> Iterator[Null]:
    """Yield a row for each table of recorded scores that is there: half its examples for the search, half for the test."""
    for name in TABLES:
        path = REPLAYS / name
        if not path.is_file():
            print(f"{name} is left out: it is not in {path.parent}", file=sys.stderr)
            continue
        recorded = read_recorded(path)
        most = max(map(len, recorded.scores.values()))
        complete = [arm for arm, row in recorded.scores.items() if len(row) == most]
        complete = complete[:: math.ceil(len(complete) / MOST_ARMS)]
        table = np.array([list(recorded.scores[arm].values()) for arm in complete])
        levels = [recorded.factors[arm] for arm in complete]
        factors = dict(zip(arm_names(len(complete)), levels, strict=True))
        found = [
            study(*permuted(rng, table), seed=run_seed, factors=factors)
            for rng, run_seed in chances(name, runs, seed)
        ]
        yield Null.of(f"permuted {name.removesuffix('.csv.gz')}", found, float(table.mean()))


def permuted_labels(runs: int, seed: int) -> Iterator[Null]:
    """Yield a row for classifiers that are right by chance."""
    found = [
        study(*shuffled_labels(rng, VALIDATION, NULL_TEST), seed=run_seed)
        for rng, run_seed in chances("labels", runs, seed)
    ]
    yield Null.of("permuted labels", found, 1 / LABELS)


def whole_product(runs: int, seed: int) -> Iterator[Null]:
    """Yield a row for the whole product with a model that is right by chance; of fewer runs than were asked for."""
    whole = [scripted_null(seed, run) for run in range(math.ceil(runs / WHOLE_ONE_IN))]
    yield Null.of("scripted model, whole product", whole, ACCURACY)


def scripted_null(seed: int, run: int) -> Studied:
    """Return what the whole product finds where a model is right by chance; the winner counts as arm 1."""
    from scripted_study import studied

    number = derived_seed(seed, "scripted", run)
    bits = np.random.default_rng(number).integers(0, 2, size=sum(SIZES)).tolist()
    labels = {f"Review {k} of collection {run}.": ("negative", "positive")[bit] for k, bit in enumerate(bits)}

    def right(request: Request) -> bool:
        return derived_seed(number, request.to_dict()) < ACCURACY * 2**32

    outcome = studied(labels, SIZES, SCRIPTED_STUDY, right, seed=run)
    selection = outcome.selection
    told = json.loads(canonical(selection.frozen.evidence))["validation"]["winner"]
    kept = selection.winner.template.fingerprint == selection.baseline.template.fingerprint
    return Studied(
        chosen=0 if kept else 1,
        estimate=told["estimate"],
        plain=told["score"],
        best_plain=max(row.score or 0.0 for row in outcome.trials),
        comparison=None if kept else selection.difference,
        decision=selection.decision,
    )
