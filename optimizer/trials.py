"""Optuna's side of a study: a candidate is asked for by our number of a trial, and told when it is recorded."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from optimizer.candidate import Candidate, Parameter
from optimizer.digest import derived_seed
from optimizer.history import TrialRecord
from optimizer.plan import StudyPlan
from optimizer.samplers import SAMPLERS, WithinSpace, free_point

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

# Optuna's attribute that holds our own number of a trial; a trial without it was interrupted while being asked.
_NUMBER = "trial"


class Trials:
    """The trials of one study in Optuna's storage."""

    def __init__(self, plan: StudyPlan, study: "optuna.Study") -> None:
        """Close trials that a killed process left before they had a number; their asks are repeated."""
        import optuna

        self._plan = plan
        self._optuna = study
        for trial in study.get_trials(deepcopy=False):
            if not trial.state.is_finished() and _NUMBER not in trial.user_attrs:
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def tell(self, rows: Sequence[TrialRecord]) -> None:
        """Tell every recorded trial that was not told; what failed and was completed later becomes a trial anew."""
        asked = self._asked()
        for row in rows:
            trial = asked.get(row.trial)
            if trial is None or (trial.state.is_finished() and trial.value is None and row.score is not None):
                self._add(row)
            elif not trial.state.is_finished():
                self._finish(trial, row)

    def ask(self, number: int) -> Candidate | None:
        """Return the candidate of a trial, asked now unless an earlier process did; None when all were tried."""
        asked, space = self._asked(), self._plan.space
        if number in asked:
            return space.candidate(asked[number].params)
        before = [space.candidate(t.params) for n, t in sorted(asked.items()) if n < number and t.params]
        rendered = [space.render(candidate) for candidate in (space.baseline, *before)]
        tried = {template.fingerprint for template in rendered if template is not None}

        def admissible(point: Mapping[str, Parameter]) -> bool:
            template = space.render(space.candidate(point))
            return template is not None and template.fingerprint not in tried

        seed = derived_seed(self._plan.seed, "sampler", number)
        distributions = space.distributions()
        if free_point(distributions, admissible, seed) is None:
            return None
        inner = SAMPLERS[self._plan.file.search.sampler.name].make(seed)
        planned = next((point for point in space.opening if admissible(point)), None)
        self._optuna.sampler = WithinSpace(inner, distributions, admissible, seed, planned=planned)
        trial = self._optuna.ask(fixed_distributions=dict(distributions))
        candidate = space.candidate(trial.params)
        trial.set_user_attr("instruction", candidate.instruction.text)
        trial.set_user_attr("digest", candidate.digest)
        trial.set_user_attr(_NUMBER, number)
        return candidate

    def _asked(self) -> "dict[int, FrozenTrial]":
        trials = self._optuna.get_trials(deepcopy=False)
        return {trial.user_attrs[_NUMBER]: trial for trial in trials if _NUMBER in trial.user_attrs}

    def _add(self, row: TrialRecord) -> None:
        """Add a trial that was not asked for: the baseline, or a confirmation."""
        import optuna

        distributions = self._plan.space.distributions()
        point = {name: row.point.get(name) for name in distributions}
        inside = all(value in distributions[name].choices for name, value in point.items())
        failed = row.state == "failed"
        self._optuna.add_trial(
            optuna.create_trial(
                state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
                value=row.score,
                params=point if inside else {},
                distributions=dict(distributions) if inside else {},
                user_attrs={_NUMBER: row.trial, "digest": row.digest, "stage": row.stage},
                intermediate_values={} if row.score is None else {row.n: row.score},
            )
        )

    def _finish(self, trial: "FrozenTrial", row: TrialRecord) -> None:
        import optuna

        if row.score is None:
            self._optuna.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        else:
            self._optuna.tell(trial.number, row.score)
