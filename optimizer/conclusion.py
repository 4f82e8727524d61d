"""The conclusion of a study: the verdict with all of its evidence, and the prompt that it freezes."""

import importlib.metadata
import sys
from dataclasses import dataclass

from optimizer.dataset import group_sizes
from optimizer.digest import canonical, derived_seed
from optimizer.evidence import (
    Arm,
    Pairing,
    Saving,
    comparison_figures,
    guess_figures,
    row_figures,
    saving_figures,
)
from optimizer.explanation import in_words
from optimizer.flags import slice_figures
from optimizer.frozen import FrozenPrompt
from optimizer.guessing import Guess
from optimizer.history import history_csv, history_entry
from optimizer.plan import StudyPlan
from optimizer.recording import records_of
from optimizer.refusals import refused_levels
from optimizer.significance import Decision, PairedComparison
from optimizer.space import needed_capabilities
from optimizer.standing import Standing
from optimizer.study import Study
from optimizer.verdict import Verdict, settle

_TOOLS = ("promptstudy", "optuna", "openai", "scikit-learn", "numpy", "scipy")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a study found.

    Attributes:
        winner: The best prompt of the search; the baseline itself when nothing beat it on validation.
        wording: The baseline's wording in the winner's format; the baseline where the formats are the same. None
            where the baseline was imported, and where it was not scored: without a test split, or because it was
            refused for good on too many examples.
        difference: Winner minus baseline, paired: on test, or of the choice under cross-validation.
        over_format: Winner minus `wording`, judged alike; None where that was not scored.
        decision: Whether the winner is better than the baseline, beyond chance.
        test_opened: How many times the test was opened in this study's database.
        frozen: The winner where it improved, or is as good and cheaper; else the baseline.
        fingerprints: Of the prompt of each trial, in the order of the trials.
    """

    baseline: Arm
    winner: Arm
    wording: Arm | None
    difference: PairedComparison
    over_format: PairedComparison | None
    decision: Decision
    test_opened: int
    frozen: FrozenPrompt
    fingerprints: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What the examples that judge say of the winner."""

    difference: PairedComparison
    over_guess: PairedComparison | None
    guess: Guess | None
    pairing: Pairing


def conclude(
    study: Study,
    arms: tuple[Arm, Arm, Arm | None],
    judged: Judged,
    evidence: dict[str, object],
    *,
    over_format: PairedComparison | None = None,
    opened: int = 0,
) -> Selection:
    """Return the verdict with all of its evidence, and the prompt that it freezes."""
    baseline, winner, wording = arms
    saving = judged.pairing.saving(baseline.evaluation, winner.evaluation)
    verdict, margin = _verdict(study, arms, judged, saving)
    sizes = group_sizes(judged.pairing.examples)
    # Where the baseline is the winner as well, no answer of another prompt is there to be compared with a guess.
    guessed = None if verdict.reason == "same prompt" else judged.over_guess
    shipped = winner if verdict.frozen == "winner" else baseline
    evidence |= {
        "decision": verdict.decision,
        "frozen": verdict.frozen,
        "reason": verdict.reason,
        "margin": margin,
        "metric": study.plan.task.metric,
        **_stand_in(study),
        **_tried(study),
        **({} if (found := study.space.imported) is None else {"imported": found.figures}),
        "validation": _validation(study, winner),
        "difference": comparison_figures(judged.difference),
        "difference_over_guess": None if guessed is None else comparison_figures(guessed),
        "guess": None if guessed is None else guess_figures(judged.guess),
        "saving": saving_figures(saving),
        "smallest_provable_difference": study.plan.bounds.smallest_provable,
        "groups": None if sizes is None else len(sizes),
        "test_opened": opened,
        "leaks": list(study.plan.leaks),
        **({"refused": refused} if (refused := refused_levels(study.store)) else {}),
        **({"judges": _judges(study)} if study.bench.identities else {}),
        "wording_fingerprint": None if wording is None else wording.template.fingerprint,
        "frozen_digest": shipped.candidate.digest,
        "winner_fingerprint": winner.template.fingerprint,
        "baseline_fingerprint": baseline.template.fingerprint,
    }
    if study.plan.task.slices:
        evidence["slices"] = _slices(study, baseline, winner)
    evidence["in_words"] = in_words(evidence)
    return Selection(
        baseline=baseline,
        winner=winner,
        wording=wording,
        difference=judged.difference,
        over_format=over_format,
        decision=verdict.decision,
        test_opened=opened,
        frozen=_freeze(study, shipped, evidence),
        fingerprints=tuple(row.fingerprint for row in study.trials),
    )


def _verdict(
    study: Study, arms: tuple[Arm, Arm, Arm | None], judged: Judged, saving: Saving | None
) -> tuple[Verdict, float]:
    """Return the verdict, and the margin that a loss had to stay within."""
    baseline, winner, _ = arms
    # That nothing is lost takes more examples than a study without a test has.
    margin = study.plan.file.selection.margin if study.plan.dataset.test else 0.0
    if winner.template.fingerprint == baseline.template.fingerprint:
        return Verdict(decision="not distinguishable", frozen="baseline", reason="same prompt"), margin
    verdict = settle(
        judged.difference,
        over_guess=judged.over_guess,
        saving=None if saving is None else saving.comparison,
        margin=margin,
        level=judged.pairing.level,
    )
    return verdict, margin


def _slices(study: Study, baseline: Arm, winner: Arm) -> list[dict[str, object]]:
    """Return the figures of each slice; of one prompt where the baseline is the winner as well."""
    arms = {"baseline": baseline}
    if winner.template.fingerprint != baseline.template.fingerprint:
        arms["winner"] = winner
    sides = {name: arm.evaluation for name, arm in arms.items()}
    return slice_figures(sides, seed=derived_seed(study.plan.seed, "slices"))


def _stand_in(study: Study) -> dict[str, str]:
    """Return the metric by which single examples are compared, where the objective has no score of one."""
    scorer = study.scorer
    return {} if scorer.by_example else {"stand_in": scorer.per_example.name}


def _tried(study: Study) -> dict[str, int]:
    """Return how many prompts other than the baseline were scored, and how many of them broke the constraints."""
    tried = dict[str, bool]()
    for row in study.trials:
        if row.score is not None and row.fingerprint != study.trials[0].fingerprint:
            tried[row.fingerprint] = tried.get(row.fingerprint, False) or row.feasible
    return {"candidates": len(tried), "infeasible": sum(not sound for sound in tried.values())}


def _judges(study: Study) -> dict[str, object]:
    """Return what tells the models that scored answers from all others, by their role."""
    return {role: dict(identity) for role, identity in study.bench.identities.items()}


def _validation(study: Study, winner: Arm) -> dict[str, object]:
    standing = Standing(study, study.trials)
    estimates = None if study.scorer.objective.metric.aggregate is not None else standing.estimates()
    arms = {"baseline": standing.baseline, "winner": winner.template.fingerprint}
    return {
        name: row_figures(standing.rows[arm], None if estimates is None else estimates[arm])
        for name, arm in arms.items()
    }


def _freeze(study: Study, arm: Arm, evidence: dict[str, object]) -> FrozenPrompt:
    plan = study.plan
    dataset = plan.dataset
    splits = {name: len(getattr(dataset, name)) for name in ("train", "validation", "test")}
    return FrozenPrompt(
        name=plan.name,
        template=arm.template,
        style=arm.candidate.style,
        format=arm.candidate.format,
        capabilities=tuple(sorted(needed_capabilities(arm.template))),
        demonstration_ids=tuple(shot.example_id for shot in arm.candidate.demonstrations.demonstrations),
        model={"provider": plan.file.model.provider, "name": plan.file.model.name},
        task={
            "name": plan.task.name,
            "version": plan.task.version,
            "metric": plan.task.metric,
            "lists": [name for name in arm.template.inputs if name in plan.task.lists],
            "fingerprint": plan.task.digest,
            "dataset": {"fingerprint": dataset.digest, "splits": splits, "seed": plan.task.dataset.seed},
        },
        evidence=evidence,
        history=tuple(history_entry(row, sorted(study.space.parameters)) for row in study.trials),
        tool_versions={
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            **{name: importlib.metadata.version(name) for name in _TOOLS},
        },
        records=records_of(arm.template, arm.evaluation, "test" if dataset.test else "validation").to_dict(),
    )


def artifacts(plan: StudyPlan, selection: Selection) -> dict[str, str]:
    """Return the results as texts by file name."""
    lines = [
        canonical({"id": i.id, "text": i.text, "origin": i.origin, "parents": list(i.parents)})
        for i in plan.space.wordings
    ]
    # The fingerprint joins a trial with what else is said of its prompt: in the report, in the evidence, in other studies.
    rows = [
        {**row, "fingerprint": name}
        for row, name in zip(selection.frozen.history, selection.fingerprints, strict=True)
    ]
    return {
        "prompt.json": selection.frozen.dumps(),
        "history.csv": history_csv(rows),
        "instructions.jsonl": "".join(f"{line}\n" for line in lines),
    }
