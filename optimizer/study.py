"""One search: screen the baseline, then batch after batch of candidates, in budget, resumable at any moment.

Decisions are made at fixed points only. A batch is recorded before its first ask; each ask depends on what was told
before, on the asks of its batch so far and on a seed of its own; a batch is told as a whole, in trial order. So a
process that is killed anywhere leaves a study that continues as if nothing had happened.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optimizer.calls import Caller, Spent
from optimizer.candidate import Candidate, Parameter
from optimizer.digest import derived_seed
from optimizer.errors import IncompleteError, Problem, StudyChangedError
from optimizer.evaluation import Evaluation, Judge, evaluate
from optimizer.history import Stage, TrialRecord
from optimizer.models import MODELS
from optimizer.plan import StudyPlan
from optimizer.prompt import PromptTemplate
from optimizer.samplers import SAMPLERS, WithinSpace, free_point
from optimizer.storage import create_study, open_storage
from optimizer.store import ScoreRow, Store, StudyStore

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

# Optuna's attribute that holds our own number of a trial; a trial without it was interrupted while being asked.
_NUMBER = "trial"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run stands.

    Attributes:
        stage: What is being done.
        best: Best score of a complete trial so far, or None.
        baseline: The baseline's score on the same examples, or None before it is known.
    """

    stage: str
    trials: int
    spent: Spent
    budget: int
    best: float | None
    baseline: float | None


class Study:
    """A study that is open, with the model behind it."""

    def __init__(
        self,
        plan: StudyPlan,
        trials: "optuna.Study",
        store: StudyStore,
        caller: Caller,
        watch: Callable[[Progress], None],
    ) -> None:
        self.plan = plan
        self.store = store
        self.caller = caller
        self.judge = Judge.of(plan.task.metric, plan.task.labels)
        self._optuna = trials
        self._watch = watch
        self._stage = "baseline"
        self.trials = tuple(TrialRecord.from_dict(row) for row in store.records("trial").values())
        caller.on_call = self._report

    def stop(self) -> None:
        """Finish the calls under way, commit them, and end with `InterruptedRunError`."""
        self.caller.stop()

    async def search(self) -> tuple[TrialRecord, ...]:
        """Return all trials, after spending what the budget holds for the search.

        Raises:
            IncompleteError: When the baseline or a whole batch could not be scored.
            InterruptedRunError: After `stop`.
            EndpointError: When the endpoint would refuse every request.
        """
        await self._screen_baseline()
        self.tell()
        self.enter("search")
        while True:
            numbers = self._unfinished_batch() or self._next_batch()
            if not numbers or not await self._screen_batch(numbers):
                return self.trials

    def enter(self, stage: str) -> None:
        """Name the stage that a run is in, for whoever watches."""
        self._stage = stage
        self._report()

    async def score(self, template: PromptTemplate, examples: Sequence[Any], payer: int) -> Evaluation:
        """Return the evaluation of a template on the account of one trial, its scores stored."""
        evaluation = await evaluate(template, examples, self.caller.paid_by(payer), self.judge)
        self.store.keep_scores(
            evaluation.fingerprint,
            [
                ScoreRow(example=r.example.id, outcome=r.answer.outcome, answer=r.answer.text, score=r.score)
                for r in evaluation.results
            ],
        )
        return evaluation

    def row(self, number: int, stage: Stage, candidate: Candidate, evaluation: Evaluation) -> TrialRecord:
        """Return the row of one trial, once every call of its batch is done."""
        failed = evaluation.error_rate > self.plan.file.run.max_error_rate
        interval = evaluation.interval(seed=derived_seed(self.plan.seed, "interval", number))
        completions = [completion for result in evaluation.results for completion in result.completions]
        calls = self.store.paid_by(number)
        return TrialRecord(
            trial=number,
            stage=stage,
            state="failed" if failed else "complete",
            digest=candidate.digest,
            fingerprint=evaluation.fingerprint,
            point=point_of(candidate),
            n=len(evaluation.results),
            score=None if failed else evaluation.value,
            lower=None if failed or interval is None else interval.lower,
            upper=None if failed or interval is None else interval.upper,
            valid=evaluation.measure("valid"),
            errors=evaluation.n_errors,
            feasible=not failed and self.feasible(evaluation),
            calls=calls,
            cached=max(0, len(completions) + evaluation.count("error") - calls),
            prompt_tokens=sum(completion.prompt_tokens for completion in completions),
            completion_tokens=sum(completion.completion_tokens for completion in completions),
            parents=candidate.instruction.parents,
        )

    def feasible(self, evaluation: Evaluation) -> bool:
        """Return whether an evaluation keeps the study's constraints."""
        values = {name: evaluation.measure(name) for name in self.plan.file.constraints}
        bounds = self.plan.file.constraints
        return all(value is not None and bounds[name].holds(value) for name, value in values.items())

    def keep(self, rows: Sequence[TrialRecord]) -> None:
        """Record rows in one transaction, then tell Optuna."""
        self.store.record_all("trial", {row.trial: dataclasses.asdict(row) for row in rows})
        known = {row.trial: row for row in (*self.trials, *rows)}
        self.trials = tuple(known[number] for number in sorted(known))
        self.tell()

    def tell(self) -> None:
        """Tell Optuna every recorded trial that it has not been told."""
        asked = self._asked()
        for row in self.trials:
            trial = asked.get(row.trial)
            if trial is None:
                self._add(row)
            elif not trial.state.is_finished():
                self._finish(trial, row)

    async def _screen_baseline(self) -> None:
        if self.trials:
            return
        candidate = self.plan.space.baseline
        template = self.plan.space.render(candidate)
        assert template is not None  # the plan was refused otherwise
        evaluation = await self.score(template, self.plan.dataset.validation[: self.plan.screen], 0)
        row = self.row(0, "baseline", candidate, evaluation)
        if row.state == "failed":
            raise IncompleteError(_failure("the baseline", evaluation))
        self.keep([row])

    def _unfinished_batch(self) -> range | None:
        batches = self.store.records("batch")
        if not batches:
            return None
        first = max(batches)
        numbers = range(first, first + int(batches[first]["size"]))
        done = {row.trial for row in self.trials}
        return None if batches[first].get("closed") or done.issuperset(numbers) else numbers

    def _next_batch(self) -> range | None:
        bounds = self.plan.bounds
        size = min(self.plan.file.run.batch, (self.caller.remaining - bounds.reserved) // bounds.candidate)
        if size < 1:
            return None
        first = len(self.trials)
        self.store.record("batch", first, {"size": size})
        return range(first, first + size)

    async def _screen_batch(self, numbers: range) -> bool:
        """Return whether there was anything left to try."""
        asked = [(number, candidate) for number in numbers if (candidate := self._ask(number)) is not None]
        if len(asked) < len(numbers):
            self.store.record("batch", numbers.start, {"size": len(asked), "closed": True})
        if not asked:
            return False
        examples = self.plan.dataset.validation[: self.plan.screen]
        templates = [self.plan.space.render(candidate) for _, candidate in asked]
        jobs = [
            self.score(template, examples, number)
            for (number, _), template in zip(asked, templates, strict=True)
            if template is not None
        ]
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        evaluations = [_raised(outcome) for outcome in outcomes]
        rows = [self.row(n, "search", c, e) for (n, c), e in zip(asked, evaluations, strict=True)]
        outages = [any(result.outage for result in evaluation.results) for evaluation in evaluations]
        if all(row.state == "failed" and outage for row, outage in zip(rows, outages, strict=True)):
            raise IncompleteError(_failure("a whole batch of candidates", evaluations[0]))
        self.keep(rows)
        return len(asked) == len(numbers)

    def _ask(self, number: int) -> Candidate | None:
        """Return the candidate of a trial, asked now unless an earlier process did; None when all were tried."""
        asked, space = self._asked(), self.plan.space
        if number in asked:
            return space.candidate(asked[number].params)
        before = [space.candidate(t.params) for n, t in sorted(asked.items()) if n < number and t.params]
        rendered = [space.render(candidate) for candidate in (space.baseline, *before)]
        tried = {template.fingerprint for template in rendered if template is not None}

        def admissible(point: Mapping[str, Parameter]) -> bool:
            template = space.render(space.candidate(point))
            return template is not None and template.fingerprint not in tried

        seed = derived_seed(self.plan.seed, "sampler", number)
        distributions = space.distributions()
        if free_point(distributions, admissible, seed) is None:
            return None
        inner = SAMPLERS[self.plan.file.search.sampler.name].make(seed)
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

        distributions = self.plan.space.distributions()
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

    def _report(self) -> None:
        scores = [row.score for row in self.trials if row.score is not None and row.feasible]
        progress = Progress(
            stage=self._stage,
            trials=len(self.trials),
            spent=self.caller.spent,
            budget=self.plan.budget.calls,
            best=max(scores, default=None),
            baseline=self.trials[0].score if self.trials else None,
        )
        self._watch(progress)


@asynccontextmanager
async def open_study(
    plan: StudyPlan, *, fresh: bool = False, watch: Callable[[Progress], None] = lambda _progress: None
) -> AsyncIterator[Study]:
    """Open the study's database and its model; resume what is there unless `fresh`.

    Raises:
        StudyBusyError: When another process runs it.
        StudyChangedError: When the stored study was asked for something else; names what changed.
        ModelError: When the model cannot be started or reached.
    """
    with open_storage(plan.database) as storage:
        store = Store(storage)
        study = store.of(_study_number(plan, store, fresh=fresh))
        _keep_parts(plan, study)
        async with MODELS[plan.model.provider].connect(plan.model) as connection:
            _check_model(plan, study, connection.identity)
            wanted = plan.file.run.concurrency
            caller = Caller(
                connection.model,
                connection.identity,
                study=study,
                budget=plan.budget,
                concurrency=connection.capabilities.slots if wanted == "auto" else wanted,
            )
            trials = create_study(storage, f"{plan.name}#{study.study}")
            _fail_half_asked(trials)
            yield Study(plan, trials, study, caller, watch)


def point_of(candidate: Candidate) -> dict[str, Parameter]:
    """Return where a candidate lies in the space."""
    return {
        "instruction": candidate.instruction.id,
        "demonstrations": candidate.demonstrations.id,
        "style": candidate.style,
        "format": candidate.format,
        **dict(candidate.parameters),
    }


def _study_number(plan: StudyPlan, store: Store, *, fresh: bool) -> int:
    latest = store.latest_study()
    if latest is None:
        return store.add_study(plan.name, plan.identity)
    number, identity = latest
    changed = sorted(k for k in {*identity, *plan.identity} if identity.get(k) != plan.identity.get(k))
    # A fresh study that was interrupted before its test is continued: the same command resumes.
    if fresh and (changed or store.of(number).records("test")):
        return store.add_study(plan.name, plan.identity)
    if changed:
        message = (
            f"the study in {plan.database.name} was asked for something else: {', '.join(changed)} changed;"
            " --fresh starts a new study and keeps what was paid for"
        )
        raise StudyChangedError([Problem(file=plan.source.file, message=message)])
    return number


def _check_model(plan: StudyPlan, study: StudyStore, identity: Mapping[str, object]) -> None:
    """Refuse to go on with another model than the study began with, such as other weights of the same name."""
    known = study.records("model").get(0)
    if known is None:
        study.record("model", 0, identity)
    elif known != dict(identity):
        names = ", ".join(sorted(k for k in {*known, *identity} if known.get(k) != identity.get(k)))
        message = f"the model that answers is not the one the study began with: {names} changed; --fresh starts a new study"
        raise StudyChangedError([Problem(file=plan.source.file, field="model", message=message)])


def _keep_parts(plan: StudyPlan, study: StudyStore) -> None:
    instructions = [dataclasses.asdict(instruction) for instruction in plan.space.instructions]
    study.record_all("instruction", dict(enumerate(instructions)))
    sets = [dataclasses.asdict(shown) for shown in plan.space.demonstration_sets]
    study.record_all("demonstrations", dict(enumerate(sets)))


def _fail_half_asked(trials: "optuna.Study") -> None:
    """Close trials that a killed process left before they had a number; their asks are repeated."""
    import optuna

    for trial in trials.get_trials(deepcopy=False):
        if not trial.state.is_finished() and _NUMBER not in trial.user_attrs:
            trials.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _failure(what: str, evaluation: Evaluation) -> str:
    first = next((result.error for result in evaluation.results if result.error), "no reason given")
    return f"{what} could not be scored: {evaluation.n_errors} of {len(evaluation.results)} examples failed; {first}"


def _raised(outcome: Evaluation | BaseException) -> Evaluation:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
