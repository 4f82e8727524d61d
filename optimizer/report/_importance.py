"""Which choice mattered most in the search: the importance of each dimension, by PED-ANOVA.

Watanabe, Bansal and Hutter 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces",
IJCAI: how much the levels of a dimension are spread otherwise among the best tenth of the prompts than among all. It
needs no model of the scores, and says where the best ones differ from the rest, not by how many points.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from optimizer.archive import Archive
from optimizer.plan import StudyPlan
from optimizer.posterior import expected_scores
from optimizer.report._arms import most_seen
from optimizer.report._effects import validation_scores
from optimizer.report._language import Language
from optimizer.report._levels import COMPOSITION, KINDS, levels

# Of fewer prompts the best tenth is one prompt or two, which has to differ from all others in something.
FEWEST = 30


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
    if len(scores) < FEWEST:
        told = "What mattered most can be told from {n} prompts on; {found} have scores."
        return Importance(bars=(), note=language.t(told, n=FEWEST, found=len(scores)))
    # Drawn towards the mean as far as a prompt was seen little: else the luckiest of few examples would be the best.
    shares = _shares(
        levels({name: trials[name] for name in scores}, archive.instructions), expected_scores(scores)
    )
    total = sum(shares.values())
    if not total:
        return Importance(bars=(), note=language.t("No choice set the best prompts apart from the others."))
    ranked = sorted(shares.items(), key=lambda each: (-each[1], each[0]))
    return Importance(
        bars=tuple((language.t(KINDS.get(name, name)), share / total) for name, share in ranked),
        note=language.t(
            "By PED-ANOVA, from {n} prompts: how much the best tenth of them differs from the rest in each choice. It "
            "ranks the choices; how many points one brought is told above, with its interval.",
            n=len(scores),
        ),
    )


def _shares(made: Mapping[str, Mapping[str, str]], values: Mapping[str, float]) -> dict[str, float]:
    import optuna

    names = sorted({name for at in made.values() for name in at} - {COMPOSITION})
    tried = {name: sorted({at[name] for at in made.values()}) for name in names}
    varied = {
        name: optuna.distributions.CategoricalDistribution(tried[name]) for name in names if tried[name][1:]
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
                params={name: at[name] for name in varied}, distributions=dict(varied), value=values[arm]
            )
            for arm, at in made.items()
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), normalize=False
        )
    return {name: float(share) for name, share in found.items()}
