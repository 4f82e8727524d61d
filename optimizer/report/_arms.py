"""The prompts of a study as the page compares them: what each is made of, how it did, what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from optimizer.archive import Archive
from optimizer.completion import Completion
from optimizer.frozen import FrozenPrompt
from optimizer.history import TrialRecord
from optimizer.plan import StudyPlan
from optimizer.prompt import PromptTemplate
from optimizer.report._telling import Teller

# Completions by fingerprint and example, one for each call.
Answers = Mapping[tuple[str, str], tuple[Completion, ...]]

_ROLES = ("baseline", "winner", "wording")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One prompt of a study.

    Attributes:
        name: How the page calls it.
        role: `baseline`, `winner` or `wording`, "" for another.
        row: Of its trials the one that saw the most examples; None where it was tested alone.
        tokens: Read and written for an example, on average; None where it is not known.
        seconds: That its calls took for an example, on average.
        cost: In US dollars for an example, on average.
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
    validation = {example.id for example in plan.dataset.validation}
    mine: dict[str, list[tuple[Completion, ...]]] = {name: [] for name in prompts}
    for (whose, example), several in answers.items():
        if example in validation:
            mine[whose].append(several)
    made = [
        _measured(
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
            ),
            mine[name],
        )
        for name in prompts
    ]
    return _ranked(made)


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


def _measured(arm: Arm, answers: Sequence[tuple[Completion, ...]]) -> Arm:
    """Return the prompt with what an example takes, from its completions or else from its trial."""
    row = arm.row
    cost = None if row is None or row.cost_usd is None or not row.n else row.cost_usd / row.n
    if answers:
        calls = [each for several in answers for each in several]
        tokens = sum(each.prompt_tokens + each.completion_tokens for each in calls) / len(answers)
        return replace(
            arm, tokens=tokens, seconds=sum(each.seconds for each in calls) / len(answers), cost=cost
        )
    known = row is not None and row.n and row.prompt_tokens + row.completion_tokens
    tokens_of_row = known / row.n if row is not None and known else None
    return replace(arm, tokens=tokens_of_row, cost=cost)


def _ranked(found: Sequence[Arm]) -> tuple[Arm, ...]:
    def place(arm: Arm) -> tuple[bool, float, int]:
        return arm.score is None, -(arm.score or 0.0), -1 if arm.row is None else arm.row.trial

    return tuple(sorted(found, key=place))
