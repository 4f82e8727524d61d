"""How every arm stands on validation: its scores example by example, its estimate, its cost.

Read from what a study has stored, so that it is the same whoever asks and whenever.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from optimizer.answer import Answer
from optimizer.choice import Contender
from optimizer.config import Bound
from optimizer.dataset import Example
from optimizer.effects import arm_effects
from optimizer.evaluation import Evaluation, Result
from optimizer.guessing import Guess, guessed
from optimizer.history import TrialRecord
from optimizer.metrics import METRICS
from optimizer.plan import StudyPlan
from optimizer.posterior import expected_scores
from optimizer.slices import SLICE_GAP
from optimizer.study import Study

# Measures that are read off an answer alone. What passes for a refusal is told by the completion as well.
_READ_OFF = frozenset(("answer_length", "strict", "truncated", "valid"))


class Standing:
    """The arms of a study that have a score, by fingerprint, in the order in which they were tried.

    Attributes:
        rows: Of each arm, the trial that saw the most examples.
        baseline: Fingerprint of the baseline.
    """

    def __init__(self, study: Study, trials: Sequence[TrialRecord]) -> None:
        self._examples = {example.id: example for example in study.plan.dataset.validation}
        self._plan, self._scorer = study.plan, study.scorer
        self.rows: dict[str, TrialRecord] = {}
        for row in trials:
            if row.score is not None and (row.fingerprint not in self.rows or row.stage == "confirm"):
                self.rows[row.fingerprint] = row
        self.baseline = trials[0].fingerprint
        self._results = {arm: self._stored(study, arm) for arm in self.rows}

    def _stored(self, study: Study, arm: str) -> dict[str, Result]:
        return {
            kept.example: Result(
                example=self._examples[kept.example],
                answer=Answer(
                    text=kept.answer,
                    outcome=kept.outcome,  # type: ignore[arg-type]  # written by us
                    strict=kept.strict,
                    reader=kept.reader,
                ),
                score=kept.score,
                completions=(),
            )
            for kept in study.store.scores(arm)
            if kept.example in self._examples and kept.score is not None
        }

    def results(self, arm: str, examples: Sequence[str]) -> list[Result]:
        """Return an arm's results on those of some examples that it has a score for."""
        known = self._results[arm]
        return [known[example] for example in examples if example in known]

    def scored(self, arm: str) -> tuple[Example, ...]:
        """Return the validation examples that an arm has a score for, in validation order."""
        known = self._results[arm]
        return tuple(example for example in self._examples.values() if example.id in known)

    def known(self, arm: str) -> Mapping[str, Result]:
        """Return an arm's results by the ids of the examples that it has a score for."""
        return self._results[arm]

    def keeps(self, arm: str, examples: Sequence[str], bounds: Mapping[str, Bound]) -> bool:
        """Return whether an arm keeps the constraints: those on answers by some examples, those on costs by all of its own."""
        results = self.results(arm, examples)
        if not results or not all(map(about_answers, self.rows[arm].broken)):
            return False
        evaluation = Evaluation(fingerprint=arm, results=tuple(results), scorer=self._scorer)
        return all(
            (found := evaluation.measure(name)) is None or bounds[name].holds(found)
            for name in bounds
            if about_answers(name)
        )

    def estimates(self, examples: Sequence[str] | None = None) -> Mapping[str, float]:
        """Return what each arm is expected to score, in [0, 1], from all scores or from those on some examples."""
        wanted = self._examples if examples is None else dict.fromkeys(examples)
        scores = {
            arm: {name: result.score or 0.0 for name, result in known.items() if name in wanted}
            for arm, known in self._results.items()
        }
        points = {arm: row.point for arm, row in self.rows.items()}
        return expected(self._plan, {arm: row for arm, row in scores.items() if row}, points)

    def contender(
        self, arm: str, estimates: Mapping[str, float], examples: Sequence[str] | None = None
    ) -> Contender:
        """Return an arm as it is chosen from, by all its scores or by those on some examples.

        The estimate of a metric of the whole corpus is its value: there is no effect of a single example to shrink.
        """
        wanted = list(self._examples) if examples is None else examples
        results, row = self.results(arm, wanted), self.rows[arm]
        whole = not self._scorer.by_example
        return Contender(
            arm=arm,
            scores={result.example.id: result.score or 0.0 for result in results},
            estimate=self._scorer.value(results) if whole else estimates[arm],
            # Within one standard error is said of scores by example, which a metric of the whole corpus has not.
            cost=None if whole else _cost(row, self.rows),
        )

    def value(self, parts: Sequence[tuple[str, Sequence[str]]], guess: Guess | None = None) -> float:
        """Return the objective of the answers that each arm gave to its examples, all of them together.

        Args:
            guess: Takes the place of every answer of the baseline that could not be read.
        """
        results = [
            result if guess is None or arm != self.baseline else guessed(result, guess)
            for arm, examples in parts
            for result in self.results(arm, examples)
        ]
        return self._scorer.value(results)


def expected(
    plan: StudyPlan, scores: Mapping[str, Mapping[str, float]], points: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, float]:
    """Return what each arm is expected to score on all of validation, in [0, 1], as the study chooses by it.

    Where a test judges, the best of what may be hundreds is also the luckiest, and most were asked little: so the prior is
    sceptical, as in a replay of recorded scores. Without a test all few are scored on the same few examples: then it is
    what they have in common that tells them apart, and nothing has to be taken back that is not seen in the scores.

    Args:
        scores: Scores by arm and example id; every arm has at least one.
        points: Of each arm, what it is made of.
    """
    if plan.dataset.test:
        return expected_scores(scores)
    names = {name for point in points.values() for name in point}
    levels = {arm: {name: str(point.get(name, "")) for name in names} for arm, point in points.items()}
    return arm_effects(scores, factors=levels).estimates


def about_answers(name: str) -> bool:
    """Return whether a constraint is about what was answered, and not about what it cost."""
    return name == SLICE_GAP or METRICS[name].measure is None or name in _READ_OFF


def _cost(row: TrialRecord, rows: Mapping[str, TrialRecord]) -> float:
    """Return what an example costs: dollars where every arm has a price above nothing, else tokens.

    Where an arm does not state its tokens none is the cheaper one.
    """
    costs, answered = [other.cost_usd for other in rows.values()], max(1, row.n - row.errors)
    if all(cost is not None for cost in costs) and any(costs):
        return (row.cost_usd or 0.0) / answered
    if any(other.tokens is None for other in rows.values()):
        return 0.0
    return (row.tokens or 0) / answered
