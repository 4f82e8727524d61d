"""Studies whose data leave no examples for a test: every arm is scored on all of them, the choice is cross-validated."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from known_worlds import Scores
from world_studies import arm_names, grid, named_scores, verdict

from optimizer.board import Board
from optimizer.choice import MOST_CONFIRMED, Contender, final, shortlist
from optimizer.config import BATCH, SAMPLER
from optimizer.cross_validation import Parts, cross_validate
from optimizer.digest import derived_seed
from optimizer.effects import arm_effects
from optimizer.samplers import SAMPLERS, WithinSpace
from optimizer.significance import Decision, PairedComparison

Rows = dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What cross-validation says of one choice.

    Attributes:
        shipped: The arm chosen on all examples.
        expected: True gain of the arm chosen in each fold, on average: what the difference estimates.
    """

    shipped: int
    expected: float
    difference: PairedComparison
    decision: Decision


def cross_validated(scores: Scores, means: Sequence[float], *, seed: int, tried: int | None = None) -> Found:
    """Return what is found where all arms are scored, or where the sampler picked which ones are.

    Args:
        scores: Of arms and examples; arm 0 is the baseline.
        means: True mean of each arm.
        tried: How many arms the sampler may try, the baseline among them; None takes all.
    """
    names, rows = arm_names(len(scores)), named_scores(scores)
    if tried is not None:
        rows = _picked(rows, tried, seed)
    baseline = names[0]
    levels = {arm: levels for arm, levels in grid(len(names)).items() if arm in rows}
    others = [arm for arm in rows if arm != baseline]

    def choose(examples: Sequence[str]) -> str:
        known = {arm: {example: row[example] for example in examples} for arm, row in rows.items()}
        effects = arm_effects(known, factors=levels)
        contenders = {
            arm: Contender(arm=arm, scores=known[arm], estimate=effects.estimates[arm]) for arm in rows
        }
        finalists = shortlist([contenders[arm] for arm in others], MOST_CONFIRMED)
        return final(contenders[baseline], [contenders[arm] for arm in finalists]).arm

    def value(parts: Parts) -> float:
        return statistics.fmean(rows[arm][example] for arm, examples in parts for example in examples)

    examples = list(rows[baseline])
    shipped = choose(examples)
    found = cross_validate(
        examples,
        baseline=baseline,
        choose=choose,
        value=value,
        seed=derived_seed(seed, "cross-validation"),
    )
    gains = {arm: mean - means[0] for arm, mean in zip(names, means, strict=True)}
    folds = found.folds * found.repeats
    return Found(
        shipped=names.index(shipped),
        expected=math.fsum(n * gains[arm] for arm, n in found.picked.items()) / folds,
        difference=found.difference,
        # Where the baseline ships there is nothing to say of it.
        decision=verdict(None if shipped == baseline else found.difference),
    )


def _picked(rows: Rows, n_arms: int, seed: int) -> Rows:
    """Return the arms that the default sampler asks for in batches, each scored on all examples before the next."""
    import optuna
    from optuna.distributions import CategoricalDistribution

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
    baseline, *others = rows
    points = {arm: levels for arm, levels in grid(len(rows)).items() if arm in others}
    distributions = {
        name: CategoricalDistribution(sorted({levels[name] for levels in points.values()}))
        for name in ("wording", "style")
    }
    tried = [baseline]
    while size := min(BATCH, n_arms - len(tried)):
        asked = []
        for number in range(len(tried), len(tried) + size):
            ask = derived_seed(seed, "sampler", number)
            study.sampler = WithinSpace(
                SAMPLERS[SAMPLER].make(ask, Board(())), distributions, lambda at: at in points.values(), ask
            )
            trial = study.ask(fixed_distributions=dict(distributions))
            arm = next(arm for arm, levels in points.items() if levels == trial.params)
            del points[arm]
            asked.append((trial, arm))
        for trial, arm in asked:
            study.tell(trial, math.fsum(rows[arm].values()) / len(rows[arm]))
        tried += [arm for _, arm in asked]
    return {arm: rows[arm] for arm in tried}
