"""Optuna's side of a study: a candidate is asked for by our number of a trial, and told when it is recorded."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optimizer.board import Board
from optimizer.candidate import Candidate, Parameter
from optimizer.digest import canonical, derived_seed
from optimizer.history import TrialRecord
from optimizer.plan import StudyPlan
from optimizer.prompt import PromptTemplate
from optimizer.pruners import NUMBER
from optimizer.samplers import IDS, SAMPLERS, Numbered, WithinSpace, free_point
from optimizer.trialrows import Ending, MirroredStudy

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from optimizer.excess import Excess
    from optimizer.refusals import Refusals


# Optuna's attribute that holds the first of the numbers that were asked for at once.
_TOGETHER = "together"


class Trials:
    """The trials of one study in Optuna's storage.

    Attributes:
        excess: Tells which prompts are not asked for because they read too much; None as long as that is not known.
        refusals: Tells which are not because the endpoint refuses what they have in common with others; None as above.
    """

    def __init__(self, plan: StudyPlan, study: "optuna.Study") -> None:
        """Close trials that an earlier version left before they had a number; their asks are repeated."""
        import optuna

        self.space = plan.space
        # Ids of parts that may still be made are numbers in Optuna.
        self._letters = {"instruction": "i", "demonstrations": "d"} if plan.races else {}
        study.set_user_attr("pool", "growing" if plan.races else "closed")
        self.excess: Excess | None = None
        self.refusals: Refusals | None = None
        self._plan = plan
        self._optuna = MirroredStudy(study)
        self._prints: dict[str, str] = {}
        self._admitted: dict[str, bool] = {}
        self._told: dict[int, TrialRecord] = {}
        self._held: dict[int, FrozenTrial] | None = None
        left = [t for t in self._optuna.trials if not t.state.is_finished() and NUMBER not in t.user_attrs]
        self._optuna.end([Ending(trial=trial, state=optuna.trial.TrialState.FAIL) for trial in left])

    def tell(self, rows: Sequence[TrialRecord]) -> None:
        """Tell every recorded trial that was not told; what failed or was pruned and completed later becomes one anew."""
        import optuna

        news = [row for row in rows if self._told.get(row.trial) != row]
        if not news:
            return
        asked, endings, added = self._asked(), list[Ending](), list["FrozenTrial"]()
        for row in news:
            trial = asked.get(row.trial)
            if (
                trial is not None
                and trial.user_attrs["digest"] != row.digest
                and not trial.state.is_finished()
            ):
                # It was asked for and never scored; its number was given to another one.
                endings.append(Ending(trial=trial, state=optuna.trial.TrialState.FAIL))
                trial = None
            if trial is None or (trial.state.is_finished() and _is_outdated(trial, row)):
                added.append(self._added(row))
            elif not trial.state.is_finished():
                endings.append(_ending(trial, row))
        self._optuna.add(added)
        self._optuna.end(endings)
        if added or endings:
            self._held = None
        self._told |= {row.trial: row for row in news}

    @property
    def last(self) -> int:
        """Return the greatest number that was asked for; -1 where none was."""
        return max(self._asked(), default=-1)

    def ask(self, numbers: Sequence[int], board: Board) -> list[tuple[int, Candidate, PromptTemplate]]:
        """Return the candidates of some trials, asked now unless an earlier process did; fewer when all were tried.

        Each is asked for with a seed of its own, in the order of the numbers, and none renders like one before it.
        """
        asked, space = self._asked(), self.space
        before = [
            space.candidate(self._point(t.params))
            for n, t in asked.items()
            if n < min(numbers, default=0) and t.params
        ]
        tried = {self._print(candidate) for candidate in (space.baseline, *before)}
        found, fresh = [], list["FrozenTrial"]()
        for number in numbers:
            known = asked.get(number)
            # One that came later, or a confirmation: an earlier process had found the space exhausted here.
            if known is not None and _asked_at(known, numbers[0]) != numbers[0]:
                break
            trial = known or self._next(number, board, tried, together=numbers[0])
            if trial is None:
                break
            candidate = space.candidate(self._point(trial.params))
            if known is None and self._plan.races:
                fresh.append(trial)
            template = space.render(candidate)
            assert template is not None  # it is admissible
            tried.add(template.fingerprint)
            board.claim(candidate.point)
            found.append((number, candidate, template))
        self._optuna.add(fresh)
        if fresh:
            self._held = None
        return found

    def admits(self, point: Mapping[str, Any]) -> bool:
        """Return whether a candidate can be run and is known neither to read too much nor to be refused."""
        if self._refused(point):
            return False
        candidate = self.space.candidate(point)
        if self.excess is None or not self.excess.limited:
            return bool(self._print(candidate))
        key = canonical(candidate.point)
        if key not in self._admitted:
            template = self.space.render(candidate)
            self._admitted[key] = template is not None and not self.excess.expected(template)
        return self._admitted[key]

    def _refused(self, point: Mapping[str, Any]) -> bool:
        return self.refusals is not None and self.refusals.forbids(point)

    def _next(self, number: int, board: Board, tried: set[str], *, together: int) -> "FrozenTrial | None":
        """Return what the sampler wants next, that of a race not recorded yet; None when all were tried."""
        space = self.space

        def admissible(point: Mapping[str, Parameter]) -> bool:
            if self._refused(point):  # before it is rendered: where a wording is refused these are many
                return False
            found = self._print(space.candidate(point))
            return bool(found) and found not in tried and self.admits(point)

        seed = derived_seed(self._plan.seed, "sampler", number)
        distributions = space.distributions()
        if free_point(distributions, admissible, seed) is None:
            return None
        inner = SAMPLERS[self._plan.file.search.sampler.name].make(seed, board)
        # A race opens with enough candidates to meet every pair of style and format by chance.
        opening = space.entry if self._plan.races else space.opening
        planned = next((point for point in opening if admissible(point)), None)
        within = WithinSpace(inner, distributions, admissible, seed, planned=planned)
        sampler = Numbered(within, tuple(self._letters))
        numbered = {_TOGETHER: together, NUMBER: number}
        return self._drawn(sampler, numbered) if self._plan.races else self._asked_for(sampler, numbered)

    def _drawn(self, sampler: Numbered, numbered: Mapping[str, int]) -> "FrozenTrial":
        """Return a trial of a race; its sampler looks at the board alone, and keeps no notes with Optuna."""
        import optuna

        running, distributions = optuna.trial.TrialState.RUNNING, self._distributions()
        blank = optuna.create_trial(state=running)
        params = sampler.sample_relative(self._optuna.study, blank, dict(distributions))
        attributes = self._described(params, numbered)
        return optuna.create_trial(
            state=running, params=params, distributions=distributions, user_attrs=attributes
        )

    def _asked_for(self, sampler: Numbered, numbered: Mapping[str, int]) -> "FrozenTrial":
        """Ask for a trial as samplers of Optuna need it, which keep notes of their own with it."""
        self._held = None
        return self._optuna.ask(
            sampler, self._distributions(), lambda params: self._described(params, numbered)
        )

    def _described(self, params: Mapping[str, Any], numbered: Mapping[str, int]) -> dict[str, Any]:
        """Return what is kept with a trial, for whoever looks at it with Optuna."""
        candidate = self.space.candidate(self._point(params))
        return {"instruction": candidate.instruction.text, "digest": candidate.digest, **numbered}

    def _distributions(self) -> "dict[str, BaseDistribution]":
        """Return the space as Optuna stores it."""
        return {n: IDS if n in self._letters else d for n, d in self.space.distributions().items()}

    def _point(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return a point of ours from what Optuna stores."""
        return {n: f"{self._letters[n]}{v:04d}" if n in self._letters else v for n, v in params.items()}

    def _stored(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return a point of ours as Optuna stores it."""
        return {n: int(str(v)[1:]) if n in self._letters else v for n, v in point.items()}

    def _print(self, candidate: Candidate) -> str:
        """Return the fingerprint of a candidate's rendering, "" where it cannot be run; each is rendered once."""
        key = canonical(candidate.point)
        if key not in self._prints:
            template = self.space.render(candidate)
            self._prints[key] = "" if template is None else template.fingerprint
        return self._prints[key]

    def _asked(self) -> "dict[int, FrozenTrial]":
        """Return Optuna's trials by our numbers."""
        if self._held is None:
            trials = self._optuna.trials
            self._held = {trial.user_attrs[NUMBER]: trial for trial in trials if NUMBER in trial.user_attrs}
        return self._held

    def _added(self, row: TrialRecord) -> "FrozenTrial":
        """Return a trial that was not asked for: the baseline, or a confirmation."""
        import optuna

        distributions = self.space.distributions()
        point = {name: row.point.get(name) for name in distributions}
        inside = all(value in distributions[name].choices for name, value in point.items())
        failed = row.state == "failed"
        return optuna.create_trial(
            state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
            value=row.score,
            params=self._stored(point) if inside else {},
            distributions=self._distributions() if inside else {},
            user_attrs={NUMBER: row.trial, "digest": row.digest, "stage": row.stage},
            intermediate_values={} if row.score is None else {row.n: row.score},
        )


def _ending(trial: "FrozenTrial", row: TrialRecord) -> Ending:
    from optuna.trial import TrialState

    if row.score is None:
        return Ending(trial=trial, state=TrialState.FAIL)
    if row.state == "pruned":
        return Ending(trial=trial, state=TrialState.PRUNED, value=row.score, step=row.n)
    return Ending(trial=trial, state=TrialState.COMPLETE, value=row.score)


def _asked_at(trial: "FrozenTrial", first: int) -> int | None:
    """Return the first of the numbers that a trial was asked for with; `first` where it was added when completed."""
    usual = None if trial.user_attrs.get("stage") == "confirm" else first
    together: int | None = trial.user_attrs.get(_TOGETHER, usual)
    return together


def _is_outdated(trial: "FrozenTrial", row: TrialRecord) -> bool:
    """Return whether a trial that is finished was completed since."""
    import optuna

    pruned = trial.state == optuna.trial.TrialState.PRUNED
    return row.score is not None and (row.state == "complete" if pruned else trial.value is None)
