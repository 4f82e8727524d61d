"""The prompts on the front, frozen: each a file that production can load, and that says it was never tested."""

from collections.abc import Iterator
from typing import Any

from optimizer.archive import Archive
from optimizer.evaluation import Result
from optimizer.frozen import FrozenPrompt
from optimizer.history import TrialRecord
from optimizer.metrics import METRICS
from optimizer.plan import StudyPlan
from optimizer.recording import Records, row_of
from optimizer.report._arms import Answers, Arm, arms
from optimizer.report._fronts import FrontPoint, answer_of, front_points
from optimizer.report._language import ENGLISH
from optimizer.report._reading import mapping, number
from optimizer.report._telling import Teller
from optimizer.space import needed_capabilities


def front_prompts(plan: StudyPlan, frozen: FrozenPrompt, archive: Archive) -> dict[str, FrozenPrompt]:
    """Return the prompts on the front by file name, for a study that asks for a front; else none.

    Each is the template that was scored. Its evidence is of validation alone. One whose template an older version did
    not keep is left out.
    """
    if not plan.file.pareto:
        return {}
    answers = archive.completions(archive.scores)
    found = arms(plan, frozen, archive, answers, Teller(ENGLISH))
    points = [point for point in front_points(plan, archive, found, answers) if point.front]
    return {
        f"{_file_name(point.arm)}.json": _frozen(plan, frozen, archive, point, answers)
        for point in points
        if point.arm.template is not None and point.arm.row is not None
    }


def _file_name(arm: Arm) -> str:
    if arm.role in ("baseline", "winner"):
        return arm.role
    return f"trial-{arm.row.trial:04d}" if arm.row is not None else arm.fingerprint[:12]


def _frozen(
    plan: StudyPlan, frozen: FrozenPrompt, archive: Archive, point: FrontPoint, answers: Answers
) -> FrozenPrompt:
    row, template = point.arm.row, point.arm.template
    assert row is not None
    assert template is not None
    shown = archive.demonstrations.get(str(row.point["demonstrations"]))
    return FrozenPrompt(
        name=plan.name,
        template=template,
        style=str(row.point["style"]),
        format=str(row.point["format"]),
        capabilities=tuple(sorted(needed_capabilities(template))),
        demonstration_ids=() if shown is None else tuple(shot.example_id for shot in shown.demonstrations),
        model=frozen.model,
        task=frozen.task,
        evidence=_evidence(frozen, point),
        history=frozen.history,
        tool_versions=frozen.tool_versions,
        records=_records(plan, frozen, archive, point, answers),
    )


def _evidence(frozen: FrozenPrompt, point: FrontPoint) -> dict[str, object]:
    row = point.arm.row
    assert row is not None
    kept = ("metric", "leaks", "winner_fingerprint", "baseline_fingerprint", "candidates", "infeasible")
    measured = {n: v for n, v in point.measures.items() if METRICS[n].unit != "seconds"}
    figures = {"score": row.score, "n": row.n, "lower": row.lower, "upper": row.upper, "errors": row.errors}
    return {
        **{name: frozen.evidence[name] for name in kept if name in frozen.evidence},
        "protocol": "validation",
        "decision": "on the front",
        "frozen": "front",
        "tested": _tested(frozen, point),
        "front": {"measures": measured, "picked": point.picked},
        "validation": {"front": {**figures, "estimate": point.estimate}},
        "in_words": list(_in_words(frozen, point, row)),
    }


def _tested(frozen: FrozenPrompt, point: FrontPoint) -> bool:
    return point.arm.role in mapping(frozen.evidence.get("test"))


def _in_words(frozen: FrozenPrompt, point: FrontPoint, row: TrialRecord) -> Iterator[str]:
    yield ENGLISH.t(
        "This prompt is on the front of its study: no other that keeps the constraints is expected to score higher "
        "without being worse in {measures}.",
        measures=", ".join(point.measures),
    )
    yield ENGLISH.t(
        "Its score of {score} is of {n} validation examples, by which it was chosen among {candidates}; {estimate} is "
        "expected of it.",
        score=ENGLISH.score(row.score or 0.0),
        n=row.n - row.errors,
        candidates=ENGLISH.plural(1 + _count(frozen), "{n} prompt", "{n} prompts"),
        estimate=ENGLISH.score(point.estimate),
    )
    if _tested(frozen, point):
        yield ENGLISH.t("The test of the study judged this very prompt; what it found is in prompt.json.")
    else:
        yield ENGLISH.t("It was never tested.")


def _count(frozen: FrozenPrompt) -> int:
    return int(number(frozen.evidence.get("candidates")) or 0)


def _records(
    plan: StudyPlan, frozen: FrozenPrompt, archive: Archive, point: FrontPoint, answers: Answers
) -> dict[str, Any] | None:
    """Return what was asked and answered on validation; None where the winner's prompt tells nothing of the like."""
    template, name = point.arm.template, point.arm.fingerprint
    metric = (frozen.records or {}).get("metric")
    if template is None or not isinstance(metric, str):
        return None
    results = _results(plan, archive, name, answers)
    rows = sorted((row_of(template, result) for result in results), key=lambda row: row.id)
    return Records(split="validation", metric=metric, rows=tuple(rows)).to_dict()


def _results(plan: StudyPlan, archive: Archive, name: str, answers: Answers) -> Iterator[Result]:
    kept = archive.scores.get(name, {})
    for example in plan.dataset.validation:
        if (row := kept.get(example.id)) is not None:
            yield Result(
                example=example,
                answer=answer_of(row),
                score=row.score,
                completions=answers.get((name, example.id), ()),
            )
