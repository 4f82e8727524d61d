"""The decision: choose on validation, confirm, open the test once, freeze.

The test is opened for three prompts at most: the baseline, the winner, and the baseline's wording in the winner's
format, so that a repaired format is not sold as a better wording.
"""

import importlib.metadata
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optimizer.calls import NO_TRIAL
from optimizer.candidate import Candidate
from optimizer.digest import canonical, derived_seed
from optimizer.errors import IncompleteError
from optimizer.evaluation import Evaluation, clusters_of
from optimizer.frozen import FrozenPrompt
from optimizer.history import TrialRecord, history_csv, history_entry
from optimizer.metrics import METRICS
from optimizer.plan import StudyPlan
from optimizer.prompt import PromptTemplate
from optimizer.significance import PairedComparison, compare_aggregate, compare_paired, decide
from optimizer.space import NO_DEMONSTRATIONS, needed_capabilities
from optimizer.study import Study

Decision = Literal["improved", "not distinguishable", "worse"]

_TOOLS = ("promptstudy", "optuna", "openai", "scikit-learn", "numpy", "scipy")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A prompt on the test."""

    candidate: Candidate
    template: PromptTemplate
    evaluation: Evaluation


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a study found.

    Attributes:
        winner: The best prompt of the search; the baseline itself when nothing beat it on validation.
        wording: The baseline's wording in the winner's format; the baseline where the formats are the same.
        difference: Winner minus baseline on test, paired.
        over_format: Winner minus `wording` on test, paired.
        decision: Whether the winner is better than the baseline, beyond chance.
        test_opened: How many times the test was opened in this study.
        frozen: The winner if it improved, else the baseline.
    """

    baseline: Arm
    winner: Arm
    wording: Arm
    difference: PairedComparison
    over_format: PairedComparison
    decision: Decision
    test_opened: int
    frozen: FrozenPrompt


async def optimize(study: Study) -> Selection:
    """Search, choose, confirm, test and freeze.

    Raises:
        IncompleteError: When too many examples had errors.
        InterruptedRunError: After `study.stop`.
        BudgetError: When the budget ended before the test was done.
    """
    trials = await study.search()
    study.enter("confirm")
    confirmed = await _confirm(study, trials)
    study.enter("test")
    return await _test(study, confirmed)


def choose(trials: Sequence[TrialRecord]) -> TrialRecord:
    """Return the best screened trial that keeps the constraints, or the baseline when none does.

    Among equal scores the one that reads fewer tokens wins, then the earlier one.
    """
    screened = [row for row in trials if row.stage != "confirm" and row.score is not None]
    feasible = [row for row in screened if row.feasible]
    if not feasible:
        return next(row for row in screened if row.stage == "baseline")
    return min(feasible, key=lambda row: (-(row.score or 0.0), row.prompt_tokens / row.n, row.trial))


async def _confirm(study: Study, trials: Sequence[TrialRecord]) -> Candidate:
    """Return the best candidate that keeps the constraints on all of validation, or the baseline.

    One confirmation is always paid for; further ones, when a constraint turns out to be broken, while the calls
    beyond the reserve of the test last. The baseline needs no confirmation.
    """
    space, left = study.plan.space, tuple(trials)
    while (best := choose(left)).stage != "baseline":
        row = await _confirmed(study, best)
        if row.feasible:
            return space.candidate(best.point)
        left = tuple(other for other in left if other.fingerprint != best.fingerprint)
        if not study.confirmable(len(study.trials)):
            break
    return space.baseline


async def _confirmed(study: Study, best: TrialRecord) -> TrialRecord:
    """Return the row of a candidate on all of validation, scored now unless it was before."""
    for row in study.trials:
        if row.stage == "confirm" and row.fingerprint == best.fingerprint:
            return row
    number, candidate = len(study.trials), study.plan.space.candidate(best.point)
    evaluation = await study.score(_template(study, candidate), study.plan.dataset.validation, number)
    row = study.row(number, "confirm", candidate, evaluation)
    if row.state == "failed":
        raise IncompleteError(f"the winner could not be confirmed: {evaluation.failure}")
    study.keep([row])
    return row


async def _test(study: Study, winner: Candidate) -> Selection:
    arms = await _arms(study, winner)
    baseline, best, wording = arms
    difference = _compare(study, baseline, best)
    decision = decide(difference)
    chosen = best if decision == "improved" else baseline
    opened = _times_opened(study)
    over_format = _compare(study, wording, best)
    evidence = {
        "decision": decision,
        "metric": study.plan.task.metric,
        "validation": _validation(study),
        "test": {
            name: _figures(study, arm)
            for name, arm in zip(("baseline", "winner", "wording"), arms, strict=True)
        },
        "difference": _comparison(difference),
        "difference_over_format": _comparison(over_format),
        "smallest_provable_difference": study.plan.bounds.smallest_provable,
        "test_opened": opened,
        "winner_fingerprint": best.template.fingerprint,
        "baseline_fingerprint": baseline.template.fingerprint,
    }
    return Selection(
        baseline=baseline,
        winner=best,
        wording=wording,
        difference=difference,
        over_format=over_format,
        decision=decision,
        test_opened=opened,
        frozen=_freeze(study, chosen, evidence),
    )


async def _arms(study: Study, winner: Candidate) -> tuple[Arm, Arm, Arm]:
    """Score baseline, winner and wording on test; prompts that render alike are scored once."""
    space = study.plan.space
    wording = Candidate(
        instruction=space.baseline.instruction,
        demonstrations=NO_DEMONSTRATIONS,
        style=space.baseline.style,
        format=winner.format,
        parameters=space.baseline.parameters,
    )
    if space.render(wording) is None:
        # The baseline's style cannot be laid out in the winner's format: its own style then goes with it.
        wording = Candidate(
            instruction=wording.instruction,
            demonstrations=NO_DEMONSTRATIONS,
            style=winner.style,
            format=winner.format,
            parameters=wording.parameters,
        )
    candidates = (space.baseline, winner, wording)
    templates = [_template(study, candidate) for candidate in candidates]
    _open_test(study, templates)
    evaluations: dict[str, Evaluation] = {}
    for template in templates:
        if template.fingerprint not in evaluations:
            evaluation = await study.score(template, study.plan.dataset.test, NO_TRIAL)
            if evaluation.error_rate > study.plan.file.run.max_error_rate:
                raise IncompleteError(f"the test could not be finished: {evaluation.failure}")
            evaluations[template.fingerprint] = evaluation
    first, second, third = (
        Arm(candidate=candidate, template=template, evaluation=evaluations[template.fingerprint])
        for candidate, template in zip(candidates, templates, strict=True)
    )
    return first, second, third


def _open_test(study: Study, templates: Sequence[PromptTemplate]) -> None:
    """Record that the test is opened for these prompts; to finish an interrupted test is not to open it again."""
    opened = study.store.records("test")
    record = {"prompts": [template.fingerprint for template in templates], "data": study.plan.dataset.digest}
    if record not in opened.values():
        study.store.record("test", len(opened), record)


def _times_opened(study: Study) -> int:
    """Return how many times the studies of this database looked at this test, for different prompts."""
    records = study.store.whole.records("test")
    return len({tuple(r["prompts"]) for r in records if r["data"] == study.plan.dataset.digest})


def _compare(study: Study, before: Arm, after: Arm) -> PairedComparison:
    """Return after minus before, on the examples that both have a score for."""
    a, b = before.evaluation.scores, after.evaluation.scores
    shared = [example for example in study.plan.dataset.test if example.id in a and example.id in b]
    seed = derived_seed(study.plan.seed, "test")
    clusters = clusters_of(shared)
    if study.judge.objective.score is not None:
        left, right = [a[e.id] for e in shared], [b[e.id] for e in shared]
        return compare_paired(left, right, seed=seed, clusters=clusters)
    sides = [{r.example.id: r for r in arm.evaluation.scored} for arm in (before, after)]
    results = [[side[example.id] for example in shared] for side in sides]

    def statistic(indices: Any) -> tuple[float, float]:  # noqa: ANN401  # an array of positions
        first, second = ([rows[int(k)] for k in indices] for rows in results)
        return study.judge.value(first), study.judge.value(second)

    return compare_aggregate(statistic, len(shared), seed=seed, clusters=clusters)


def _template(study: Study, candidate: Candidate) -> PromptTemplate:
    template = study.plan.space.render(candidate)
    assert template is not None  # candidates come from the space
    return template


def _validation(study: Study) -> dict[str, object]:
    baseline = study.trials[0]
    confirmed = [row for row in study.trials if row.stage == "confirm"]
    rows = {"baseline": baseline, "winner": confirmed[-1] if confirmed else baseline}
    return {
        name: {"score": row.score, "n": row.n, "lower": row.lower, "upper": row.upper, "errors": row.errors}
        for name, row in rows.items()
    }


def _figures(study: Study, arm: Arm) -> dict[str, object]:
    """Return what is told of one prompt on test. Durations are left out: they differ from run to run."""
    evaluation = arm.evaluation
    interval = evaluation.interval(seed=derived_seed(study.plan.seed, "test", arm.template.fingerprint))
    measures = [
        name for name in ("valid", "tokens", *study.plan.task.metrics) if METRICS[name].unit != "seconds"
    ]
    return {
        "score": evaluation.value,
        "n": len(evaluation.scored),
        "lower": None if interval is None else interval.lower,
        "upper": None if interval is None else interval.upper,
        "invalid": evaluation.count("invalid", "refused", "truncated"),
        "errors": evaluation.n_errors,
        "outcomes": evaluation.outcomes,
        "metrics": {name: evaluation.measure(name) for name in sorted(set(measures))},
    }


def _comparison(comparison: PairedComparison) -> dict[str, object]:
    return {
        "value": comparison.difference,
        "lower": comparison.interval.lower,
        "upper": comparison.interval.upper,
        "level": comparison.interval.level,
        "p_value": comparison.p_value,
        "n": comparison.n,
        "wins": comparison.wins,
        "ties": comparison.ties,
        "losses": comparison.losses,
        "method": comparison.method,
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
            "fingerprint": plan.task.digest,
            "dataset": {"fingerprint": dataset.digest, "splits": splits, "seed": plan.task.dataset.seed},
        },
        evidence=evidence,
        history=tuple(history_entry(row, sorted(plan.space.parameters)) for row in study.trials),
        tool_versions={
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            **{name: importlib.metadata.version(name) for name in _TOOLS},
        },
    )


def artifacts(plan: StudyPlan, selection: Selection) -> dict[str, str]:
    """Return the results as texts by file name."""
    lines = [
        canonical({"id": i.id, "text": i.text, "origin": i.origin, "parents": list(i.parents)})
        for i in plan.space.instructions
    ]
    return {
        "prompt.json": selection.frozen.dumps(),
        "history.csv": history_csv(selection.frozen.history),
        "instructions.jsonl": "".join(f"{line}\n" for line in lines),
    }
