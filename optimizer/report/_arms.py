"""The prompts of a study as the page compares them: what each is made of, how it did, what it costs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum

from optimizer.archive import Archive
from optimizer.completion import Completion
from optimizer.frozen import FrozenPrompt
from optimizer.history import TrialRecord
from optimizer.plan import StudyPlan
from optimizer.prompt import PromptTemplate
from optimizer.report._language import mark
from optimizer.report._matching import matched, widest
from optimizer.report._telling import Teller

# Completions by fingerprint and example, one for each call.
Answers = Mapping[tuple[str, str], tuple[Completion, ...]]

_ROLES = ("baseline", "winner", "wording")

_ALIKE = mark(
    "What an example takes is compared on the same examples, of which {name} answered the most, {n} of them. A prompt "
    "that answered fewer is taken to need as much as {name}, plus what it needs more or less on the examples that both "
    "answered."
)
_NAMED = {"baseline": mark("the baseline"), "winner": mark("the winner")}  # within a sentence
_APART = mark(
    "What an example takes is the mean over the examples that each prompt was asked about: of prompts that were asked "
    "about different ones it cannot be compared."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One prompt of a study.

    Attributes:
        name: How the page calls it.
        role: `baseline`, `winner` or `wording`, "" for another.
        row: Of its trials the one that saw the most examples; None where it was tested alone.
        tokens: Read and written for an example, on average and as `matched` compares prompts; None where it is not
            known.
        seconds: That its calls took for an example, likewise.
        cost: In US dollars for an example, likewise.
        front: Whether it is on the front of prompts.
        template: What was sent; None where an older version did not keep it.
    """

    fingerprint: str
    name: str
    role: str
    row: TrialRecord | None
    tokens: float | None
    seconds: float | None
    cost: float | None
    front: bool
    template: PromptTemplate | None

    @property
    def score(self) -> float | None:
        """Return its score on validation, None without one."""
        return None if self.row is None else self.row.score


def arms(
    plan: StudyPlan, frozen: FrozenPrompt, archive: Archive, answers: Answers, say: Teller
) -> tuple[Arm, ...]:
    """Return the prompts of a study, the best on validation first, those without a score last.

    Args:
        answers: The completions of all of them.
    """
    rows = most_seen(archive.trials)
    # The baseline last, so that it is the baseline where it is the winner as well.
    roles = {str(frozen.evidence.get(f"{role}_fingerprint")): role for role in reversed(_ROLES)}
    prompts = dict.fromkeys([*rows, *(name for name in archive.scores if name not in rows)])
    made = [
        Arm(
            fingerprint=name,
            name=_name(rows.get(name), roles.get(name, ""), name, say),
            role=roles.get(name, ""),
            row=rows.get(name),
            tokens=None,
            seconds=None,
            cost=None,
            front=False,
            template=archive.templates.get(name),
        )
        for name in prompts
    ]
    mine = on_validation(plan, answers)
    return _ranked(_measured(plan, made, mine) if mine else [_by_trial(arm) for arm in made])


def on_validation(plan: StudyPlan, answers: Answers) -> dict[str, dict[str, tuple[Completion, ...]]]:
    """Return the completions on validation by fingerprint and example, those of prompts that have any."""
    validation = {example.id for example in plan.dataset.validation}
    mine: dict[str, dict[str, tuple[Completion, ...]]] = {}
    for (whose, example), several in answers.items():
        if example in validation and several:
            mine.setdefault(whose, {})[example] = several
    return mine


def scored(row: TrialRecord) -> int:
    """Return how many examples the score of a trial is of: those without one are not."""
    return row.n - row.errors


def baseline_of(found: Sequence[Arm]) -> str:
    """Return the fingerprint of the baseline, "" where it is not among some prompts."""
    return next((arm.fingerprint for arm in found if arm.role == "baseline"), "")


def compared(plan: StudyPlan, found: Sequence[Arm], answers: Answers, say: Teller) -> str:
    """Return on which examples tokens, seconds and cost of some prompts are compared; "" where they saw the same."""
    first = widest(
        {name: dict.fromkeys(rows, 0.0) for name, rows in on_validation(plan, answers).items()},
        baseline_of(found),
    )
    if first is None:
        alike = len({arm.row.n for arm in found if arm.row is not None}) < 2
        return "" if alike else say.t(_APART)
    widest_arm = next((arm for arm in found if arm.fingerprint == first.name), None)
    name = first.name if widest_arm is None else widest_arm.name
    if widest_arm is not None and widest_arm.role in _NAMED:
        name = say.t(_NAMED[widest_arm.role])
    return "" if first.shared else say.t(_ALIKE, n=first.n, name=name)


def most_seen(trials: Sequence[TrialRecord]) -> dict[str, TrialRecord]:
    """Return of each prompt the trial that saw the most of it, by fingerprint, in the order of first trials."""
    rows: dict[str, TrialRecord] = {}
    for row in trials:
        known = rows.get(row.fingerprint)
        if known is None or (row.score is not None and (known.score is None or row.n >= known.n)):
            rows[row.fingerprint] = row
    return rows


def _name(row: TrialRecord | None, role: str, fingerprint: str, say: Teller) -> str:
    if role in ("baseline", "winner"):
        return say.t(role)
    return fingerprint[:8] if row is None else say.t("trial {n}", n=row.trial)


def _measured(
    plan: StudyPlan, made: Sequence[Arm], mine: Mapping[str, Mapping[str, tuple[Completion, ...]]]
) -> list[Arm]:
    """Return the prompts with what an example takes, from their completions."""
    first, price = baseline_of(made), plan.price

    def means(figure: Callable[[Completion], float | None]) -> dict[str, float]:
        found: dict[str, dict[str, float]] = {name: {} for name in mine}
        for name, rows in mine.items():
            for example, several in rows.items():
                figures = [each for each in map(figure, several) if each is not None]
                if len(figures) == len(several):  # what one call took is not known to be nothing
                    found[name][example] = fsum(figures)
        return matched(found, first)

    tokens = means(lambda call: call.prompt_tokens + call.completion_tokens if call.counted else None)
    seconds = means(lambda call: call.seconds)
    costs = means(lambda call: call.cost_at(price))
    return [
        replace(
            arm,
            tokens=tokens.get(arm.fingerprint),
            seconds=seconds.get(arm.fingerprint),
            cost=costs.get(arm.fingerprint),
        )
        for arm in made
    ]


def _by_trial(arm: Arm) -> Arm:
    """Return a prompt with what an example took in its trial, where no answer is stored or known to be of validation."""
    row = arm.row
    if row is None or not row.n:
        return arm
    return replace(
        arm,
        tokens=row.tokens / row.n if row.tokens else None,
        cost=None if row.cost_usd is None else row.cost_usd / row.n,
    )


def _ranked(found: Sequence[Arm]) -> tuple[Arm, ...]:
    def place(arm: Arm) -> tuple[bool, float, int]:
        return arm.score is None, -(arm.score or 0.0), -1 if arm.row is None else arm.row.trial

    return tuple(sorted(found, key=place))
