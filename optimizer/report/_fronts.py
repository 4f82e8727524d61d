"""The front of prompts: what no other prompt of the study beats in its score without losing in what it costs.

Measured on validation, from what the study recorded. `_front_prompts` freezes those on the front.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from optimizer.answer import Answer
from optimizer.archive import Archive, Call
from optimizer.choice import Contender, within_one_error
from optimizer.completion import Completion
from optimizer.fronts import front_of
from optimizer.frozen import FrozenPrompt
from optimizer.metrics import METRICS
from optimizer.plan import StudyPlan
from optimizer.report._arms import Answers, Arm, baseline_of, compared, on_validation, scored
from optimizer.report._break_even import break_even
from optimizer.report._language import Language, mark
from optimizer.report._matching import matched
from optimizer.report._reading import ABSENT
from optimizer.report._table import Table, make_table
from optimizer.report._telling import Teller
from optimizer.standing import expected
from optimizer.store import ScoreRow

# What the expected score is. It decides which prompts are confirmed and which of them wins, too.
EXPECTED = mark(
    "The expected score is what the scores of all prompts together say of one prompt over all of validation: its own "
    "score, drawn towards those of other prompts as far as chance explains the difference, and with allowance for how hard "
    "its examples were. So of two prompts the one that scored less may be expected to do better."
)

# What the front is drawn against where the study file does not say: what a prompt costs whoever runs the model.
_USUAL = ("tokens",)
_DECIMALS = {
    mark("USD"): 6,
    mark("seconds"): 3,
    mark("tokens"): 1,
    mark("cost"): 6,
}  # by unit or measure; of all others one


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontPoint:
    """One prompt and where it stands.

    Attributes:
        estimate: Its expected score over all of validation, shrunken: the luck of few examples is taken back. For a
            metric of the whole corpus its score.
        measures: Figures for an example by measure, in the order asked for and as `matched` compares prompts; None where
            one is unknown.
        front: Whether no other prompt has a higher estimate without being worse in a measure.
        picked: Whether it is the one that the rule picks.
    """

    arm: Arm
    estimate: float
    measures: Mapping[str, float | None]
    front: bool = False
    picked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Front:
    """The front of a study.

    Attributes:
        measures: What the score is drawn against.
        points: Every prompt that keeps the constraints and has a score, the highest estimate first.
        rule: How one of them is picked, and which that is.
        break_even: After how many calls the study is repaid, or why it never is.
        notes: What the figures are.
        table: The prompts on the front.
    """

    measures: tuple[str, ...]
    points: tuple[FrontPoint, ...]
    rule: str
    break_even: str
    notes: tuple[str, ...]
    table: Table


def study_front(
    plan: StudyPlan,
    frozen: FrozenPrompt,
    archive: Archive,
    found: Sequence[Arm],
    answers: Answers,
    language: Language,
) -> Front:
    """Return the front of a study.

    Args:
        found: The prompts of the study.
        answers: The completions of all of them.
    """
    say = Teller(language)
    points = front_points(plan, archive, found, answers)
    picked = next((point.arm.name for point in points if point.picked), "")
    rule = say.t(
        "Which to take: the highest score; among those on the front that score within one standard error of it, example "
        "by example, the one that reads and writes the fewest tokens. Here that is {name}.",
        name=picked,
    )
    return Front(
        measures=_measures(plan),
        points=points,
        rule=rule if picked else "",
        break_even=break_even(plan, frozen, answers, _others(archive, answers), language),
        notes=tuple(
            each
            for each in (
                "" if _whole(plan) else say.t(EXPECTED),
                compared(plan, found, answers, say),
                _unmeasured(plan, points, say),
            )
            if each
        ),
        table=_table(points, frozen, say),
    )


def _others(archive: Archive, answers: Answers) -> list[Call]:
    """Return the calls of the model that was tuned for whose answers are not among some."""
    keys = {key for name, example in answers for key in archive.scores[name][example].completions}
    return [call for call in archive.calls if not call.role and call.key not in keys]


def _measures(plan: StudyPlan) -> tuple[str, ...]:
    return plan.file.pareto or _USUAL


def front_points(
    plan: StudyPlan, archive: Archive, found: Sequence[Arm], answers: Answers
) -> tuple[FrontPoint, ...]:
    """Return every prompt that keeps the constraints and has a score, the highest estimate first."""
    validation = {example.id for example in plan.dataset.validation}
    known = {
        arm.fingerprint: {
            name: row.score
            for name, row in archive.scores.get(arm.fingerprint, {}).items()
            if name in validation and row.score is not None
        }
        for arm in found
        if arm.score is not None
    }
    scores = {arm: row for arm, row in known.items() if row}
    scored = [arm for arm in found if arm.fingerprint in scores]
    able = [arm for arm in scored if arm.row is not None and arm.row.feasible]
    if not able:
        return ()
    estimates = _estimates(plan, scored, scores)
    measures = {name: _measured(plan, name, archive, found, answers) for name in _measures(plan)}
    points = [
        FrontPoint(
            arm=arm,
            estimate=estimates[arm.fingerprint],
            measures={name: figures.get(arm.fingerprint) for name, figures in measures.items()},
        )
        for arm in able
    ]
    flags = front_of([_figures(point) for point in points])
    flagged = [replace(point, front=on) for point, on in zip(points, flags, strict=True)]
    picked = _picked(flagged, scores)
    ranked = sorted(flagged, key=lambda point: (-point.estimate, point.arm.fingerprint))
    return tuple(replace(point, picked=point.arm.fingerprint == picked) for point in ranked)


def _unmeasured(plan: StudyPlan, points: Sequence[FrontPoint], say: Teller) -> str:
    """Return which measures that were asked for are known of no prompt, or ""."""
    names = [name for name in plan.file.pareto if all(point.measures.get(name) is None for point in points)]
    if not points or not names:
        return ""
    return say.t(
        "Not known of any prompt, because its answers do not state it or its price is not known, and so no part of the "
        "front: {names}.",
        names=", ".join(map(say.t, names)),
    )


def _whole(plan: StudyPlan) -> bool:
    """Return whether the objective is a metric of the whole corpus."""
    spec = plan.task.specs[plan.task.metric]
    return spec.name is not None and METRICS[spec.name].kind == "aggregate"


def _estimates(
    plan: StudyPlan, scored: Sequence[Arm], scores: Mapping[str, Mapping[str, float]]
) -> Mapping[str, float]:
    """Return the expected scores by fingerprint, from all prompts as when the study chose its winner.

    Those that break a constraint cannot win; they tell of their wording, style and format as any other does.
    """
    if _whole(plan):
        return {arm.fingerprint: arm.score or 0.0 for arm in scored}
    points = {arm.fingerprint: {} if arm.row is None else arm.row.point for arm in scored}
    return expected(plan, scores, points)


def _measured(
    plan: StudyPlan, name: str, archive: Archive, found: Sequence[Arm], answers: Answers
) -> dict[str, float]:
    """Return a measure of an example by fingerprint, of the prompts whose answers on validation are stored."""
    reading = METRICS[name].measure
    assert reading is not None  # the study file names measures alone
    figures = {
        arm: {
            example: figure
            for example, several in rows.items()
            if (figure := reading(answer_of(archive.scores[arm][example]), _priced(plan, several)))
            is not None
        }
        for arm, rows in on_validation(plan, answers).items()
    }
    return matched(figures, baseline_of(found))


def answer_of(row: ScoreRow) -> Answer:
    """Return an answer as it was stored."""
    return Answer(text=row.answer, outcome=row.outcome, strict=row.strict, reader=row.reader)  # type: ignore[arg-type]  # written by us


def _priced(plan: StudyPlan, several: Sequence[Completion]) -> tuple[Completion, ...]:
    price = plan.price
    return tuple(replace(each, cost_usd=each.cost_at(price)) for each in several)


def _figures(point: FrontPoint) -> tuple[float | None, ...]:
    """Return what the front is drawn of, less being better in each."""
    signs = {name: -1 if METRICS[name].greater_is_better else 1 for name in point.measures}
    told = point.measures.items()
    return (-point.estimate, *(None if value is None else signs[name] * value for name, value in told))


def _picked(points: Sequence[FrontPoint], scores: Mapping[str, Mapping[str, float]]) -> str:
    entrants = [
        (point, Contender(arm=name, scores=scores[name], estimate=point.estimate))
        for point in points
        if point.front and (name := point.arm.fingerprint)
    ]
    _, best = max(entrants, key=lambda each: (each[1].estimate, each[1].arm))
    tied = [point for point, each in entrants if each is best or within_one_error(best, each)]

    def rank(point: FrontPoint) -> tuple[bool, float, float, str]:
        tokens = point.arm.tokens
        return tokens is None, tokens or 0.0, -point.estimate, point.arm.fingerprint

    return min(tied, key=rank).arm.fingerprint


def _table(points: Sequence[FrontPoint], frozen: FrozenPrompt, say: Teller) -> Table:
    shown = [point for point in points if point.front]
    rows = [
        {
            say.t("prompt"): point.arm.name,
            say.t("score"): say.score(point.arm.score),
            say.t("expected score"): say.score(point.estimate),
            say.t("examples"): ABSENT if point.arm.row is None else say.count(scored(point.arm.row)),
            **{say.t(name): _figure(name, value, say) for name, value in point.measures.items()},
            say.t("pick"): say.t("the rule's pick") if point.picked else ABSENT,
        }
        for point in shown
    ]
    return make_table(
        "front",
        say.t("The prompts on the front"),
        rows,
        words=[say.t("prompt"), say.t("pick")],
        frozen=[k for k, point in enumerate(shown) if point.arm.fingerprint == frozen.fingerprint],
    )


def _figure(name: str, value: float | None, say: Teller) -> str:
    unit = METRICS[name].unit
    if value is None:
        return ABSENT
    if unit == "share":
        return say.share(value)
    told = (
        say.language.dollars(value) if unit == "USD" else say.language.decimals(value, _DECIMALS.get(unit, 1))
    )
    return told if unit in ("", name) else f"{told} {say.t(unit)}"
