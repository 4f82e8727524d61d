"""Where a prompt fails: what it takes for what, and which examples got worse with it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from optimizer.archive import Archive
from optimizer.dataset import Example
from optimizer.frozen import FrozenPrompt
from optimizer.plan import StudyPlan
from optimizer.store import ScoreRow

RIGHT = 0.5  # an example counts as right from this score on
_LEAST = 1e-9  # of a difference between two scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """An example with what the prompt answered, and what the baseline had answered; None where that was not read."""

    example: Example
    before: ScoreRow | None
    after: ScoreRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Failures:
    """Where the frozen prompt fails.

    Attributes:
        split: The examples that are told of: test where it was opened for this prompt, else validation.
        n: How many of them have a score.
        confusions: Target, answer, and how often the one was taken for the other, the most frequent first; an answer
            that could not be read is None. Of labels alone.
        worse: Examples that score less than with the baseline, the largest loss first; none for the baseline itself.
        wrong: Examples that are not right, the lowest score first.
    """

    split: str
    n: int
    confusions: tuple[tuple[str, str | None, int], ...]
    worse: tuple[Failed, ...]
    wrong: tuple[Failed, ...]


def failures(plan: StudyPlan, frozen: FrozenPrompt, archive: Archive) -> Failures:
    """Return where the frozen prompt fails, by the scores that the study recorded."""
    mine = archive.scores.get(frozen.fingerprint, {})
    theirs = archive.scores.get(str(frozen.evidence.get("baseline_fingerprint")), {})
    split, examples = judged_examples(plan, frozen, archive)
    rows = list(_rows(examples, mine, {} if theirs is mine else theirs))
    return Failures(
        split=split,
        n=len(rows),
        confusions=_confusions(rows) if plan.task.output == "label" else (),
        worse=tuple(
            sorted(
                (row for row in rows if _lost(row) > _LEAST),
                key=lambda row: (-_lost(row), row.example.id),
            )
        ),
        wrong=tuple(
            sorted(
                (row for row in rows if (row.after.score or 0.0) < RIGHT),
                key=lambda row: (row.after.score or 0.0, row.example.id),
            )
        ),
    )


def judged_examples(
    plan: StudyPlan, frozen: FrozenPrompt, archive: Archive
) -> tuple[str, tuple[Example, ...]]:
    """Return the split that judges the frozen prompt, test where it was opened for it, and its examples with a score."""
    mine = archive.scores.get(frozen.fingerprint, {})
    tested = any(example.id in mine for example in plan.dataset.test)
    examples = plan.dataset.test if tested else plan.dataset.validation
    scored = tuple(each for each in examples if each.id in mine and mine[each.id].score is not None)
    return "test" if tested else "validation", scored


def _rows(
    examples: Sequence[Example], mine: Mapping[str, ScoreRow], theirs: Mapping[str, ScoreRow]
) -> Iterator[Failed]:
    for example in examples:
        yield Failed(example=example, before=theirs.get(example.id), after=mine[example.id])


def _lost(row: Failed) -> float:
    if row.before is None or row.before.score is None:
        return 0.0
    return row.before.score - (row.after.score or 0.0)


def _confusions(rows: Sequence[Failed]) -> tuple[tuple[str, str | None, int], ...]:
    counts = Counter(
        (row.example.target, row.after.answer if row.after.outcome == "ok" else None)
        for row in rows
        if (row.after.score or 0.0) < RIGHT
    )
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0][0], each[0][1] or ""))
    return tuple((target, answer, n) for (target, answer), n in ranked)
