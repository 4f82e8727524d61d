"""Which choice mattered most in the search: the importance of each dimension, by PED-ANOVA.

Watanabe, Bansal and Hutter 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces",
IJCAI: how much the levels of a dimension are spread otherwise among the best tenth of the prompts than among all. It
needs no model of the scores, and says where the best ones differ from the rest, not by how many points.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimizer.archive import Archive
from optimizer.effects import arm_effects
from optimizer.history import TrialRecord
from optimizer.plan import StudyPlan
from optimizer.report._arms import most_seen
from optimizer.report._effects import validation_scores
from optimizer.report._language import Language, mark

# Of fewer prompts the best tenth is one prompt or two, which has to differ from all others in something.
FEWEST = 30

_NAMES = {
    "instruction": mark("wording"),
    "demonstrations": mark("demonstrations"),
    "style": mark("style"),
    "format": mark("format"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """What mattered most.

    Attributes:
        bars: Name and share of each dimension, the greatest first; the shares add up to 1.
        note: What the shares say; or why there are none.
    """

    bars: tuple[tuple[str, float], ...]
    note: str


def importance(plan: StudyPlan, archive: Archive, language: Language) -> Importance:
    """Return how much each dimension of the search mattered; without bars where there are too few prompts."""
    scores, trials = validation_scores(plan, archive), most_seen(archive.trials)
    rows = [trials[name] for name in scores]
    if len(rows) < FEWEST:
        told = "What mattered most can be told from {n} prompts on; {found} have scores."
        return Importance(bars=(), note=language.t(told, n=FEWEST, found=len(rows)))
    # Drawn towards the mean as far as a prompt was seen little: else the luckiest of few examples would be the best.
    shares = _shares(rows, arm_effects(scores).estimates)
    total = sum(shares.values())
    if not total:
        return Importance(bars=(), note=language.t("No choice set the best prompts apart from the others."))
    ranked = sorted(shares.items(), key=lambda each: (-each[1], each[0]))
    return Importance(
        bars=tuple((language.t(_NAMES.get(name, name)), share / total) for name, share in ranked),
        note=language.t(
            "By PED-ANOVA, from {n} prompts: how much the best tenth of them differs from the rest in each choice. It "
            "ranks the choices; how many points one brought is told above, with its interval.",
            n=len(rows),
        ),
    )


def _shares(rows: Sequence[TrialRecord], values: Mapping[str, float]) -> dict[str, float]:
    import optuna

    names = sorted({name for row in rows for name in row.point})
    levels = {name: sorted({str(row.point.get(name, "")) for row in rows}) for name in names}
    varied = {
        name: optuna.distributions.CategoricalDistribution(levels[name]) for name in names if levels[name][1:]
    }
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials(
        [
            # Those that a race gave up are in it as well: without them the rest would be the best alone.
            optuna.trial.create_trial(
                params={name: str(row.point.get(name, "")) for name in varied},
                distributions=dict(varied),
                value=values[row.fingerprint],
            )
            for row in rows
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), normalize=False
        )
    return {name: float(share) for name, share in found.items()}
