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
from typing import Any

from optimizer.bounds import USUAL_RATIO
from optimizer.budget import Spent
from optimizer.calls import NO_TRIAL, Caller
from optimizer.candidate import Candidate, Parameter
from optimizer.config import RunSpec
from optimizer.digest import derived_seed
from optimizer.errors import IncompleteError, Problem, StudyChangedError
from optimizer.evaluation import Evaluation, Judge, evaluate
from optimizer.history import Stage, TrialRecord
from optimizer.ledger import CacheMode, Ledger
from optimizer.models import MODELS
from optimizer.pacing import Pace
from optimizer.plan import StudyPlan
from optimizer.prompt import PromptTemplate
from optimizer.storage import create_study, open_storage
from optimizer.store import ScoreRow, Store, StudyStore
from optimizer.trials import Trials

# As many requests as one event loop keeps under way with a core to itself.
MOST_CONCURRENT = 64


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
        trials: Trials,
        store: StudyStore,
        ledger: Ledger,
        caller: Caller,
        watch: Callable[[Progress], None],
    ) -> None:
        self.plan = plan
        self.store = store
        self.ledger = ledger
        self.caller = caller
        self.judge = Judge.of(plan.task.metric, plan.task.labels)
        self._asked = trials
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
            ModelError: When the endpoint is down, or would refuse every request.
        """
        await self._screen_baseline()
        self._asked.tell(self.trials)
        await self._complete_failed()
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
        calls = self.ledger.account(number)[0]
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
            outage=any(result.outage for result in evaluation.results),
            calls=calls,
            cached=max(0, len(completions) - self.ledger.answered_by(number)),
            prompt_tokens=sum(completion.prompt_tokens for completion in completions),
            completion_tokens=sum(completion.completion_tokens for completion in completions),
            cost_usd=evaluation.cost_usd,
            parents=candidate.instruction.parents,
        )

    def feasible(self, evaluation: Evaluation) -> bool:
        """Return whether an evaluation keeps the study's constraints, as far as they could be measured."""
        bounds = self.plan.file.constraints
        values = {name: evaluation.measure(name) for name in bounds}
        return all(value is None or bounds[name].holds(value) for name, value in values.items())

    def confirmable(self, number: int) -> bool:
        """Return whether the budget holds a confirmation by that trial and the test after it.

        What an interrupted confirmation has paid for already must not decide whether it is made.
        """
        return self.plan.bounds.holds(self._without(number), self.plan.bounds.one_more, ratio=self._ratio())

    def _completable(self) -> bool:
        """Return whether the budget holds one more candidate, whose calls are counted already, beside the reserve."""
        confirmed = (row.trial for row in self.trials if row.stage == "confirm")
        missing = dataclasses.replace(self.plan.bounds.candidate, calls=0)
        spent = self._without(NO_TRIAL, *confirmed)
        return self.plan.bounds.holds(spent, self.plan.bounds.reserved + missing, ratio=self._ratio())

    def _without(self, *payers: int) -> Spent:
        """Return what was spent but for the accounts of some trials."""
        spent = self.caller.spent
        for calls, charge in map(self.ledger.account, payers):
            spent = dataclasses.replace(
                spent,
                calls=spent.calls - calls,
                prompt_tokens=spent.prompt_tokens - charge.prompt_tokens,
                completion_tokens=spent.completion_tokens - charge.completion_tokens,
                usd=spent.usd - charge.usd,
            )
        return spent

    def _ratio(self) -> float:
        measured = self.ledger.token_ratio()
        return USUAL_RATIO if measured is None else measured

    def keep(self, rows: Sequence[TrialRecord]) -> None:
        """Record rows in one transaction, then tell Optuna."""
        self.store.record_all("trial", {row.trial: dataclasses.asdict(row) for row in rows})
        known = {row.trial: row for row in (*self.trials, *rows)}
        self.trials = tuple(known[number] for number in sorted(known))
        self._asked.tell(self.trials)

    async def _screen_baseline(self) -> None:
        if self.trials:
            return
        candidate = self.plan.space.baseline
        template = self.plan.space.render(candidate)
        assert template is not None  # the plan was refused otherwise
        evaluation = await self.score(template, self.plan.dataset.validation[: self.plan.screen], 0)
        row = self.row(0, "baseline", candidate, evaluation)
        if row.state == "failed":
            raise IncompleteError(f"the baseline could not be scored: {evaluation.failure}")
        self.keep([row])

    async def _complete_failed(self) -> None:
        """Ask again for what failed in an earlier run; of each trial, exactly the missing examples are sent."""
        for row in self.trials:
            if row.state != "failed" or not row.outage or row.stage != "search":
                continue
            if not self._completable():
                return
            candidate = self.plan.space.candidate(row.point)
            template = self.plan.space.render(candidate)
            assert template is not None  # it was tried before
            examples = self.plan.dataset.validation[: self.plan.screen]
            evaluation = await self.score(template, examples, row.trial)
            self.keep([self.row(row.trial, row.stage, candidate, evaluation)])

    def _unfinished_batch(self) -> range | None:
        batches = self.store.records("batch")
        if not batches:
            return None
        first = max(batches)
        numbers = range(first, first + int(batches[first]["size"]))
        done = {row.trial for row in self.trials}
        return None if batches[first].get("closed") or done.issuperset(numbers) else numbers

    def _next_batch(self) -> range | None:
        # How far tokens and time go is known better after confirmation and test; that is no reason to go on.
        budget = dataclasses.asdict(self.plan.budget)
        if self.store.records("end").get(0) == budget:
            return None
        size = self.plan.bounds.affordable(
            self.caller.spent, ratio=self._ratio(), most=self.plan.file.run.batch
        )
        if size < 1:
            self.store.record("end", 0, budget)
            return None
        numbers = range(len(self.trials), len(self.trials) + size)
        # A confirmation that was interrupted before the budget grew has paid under the first of these numbers.
        self.ledger.hand_over(numbers, NO_TRIAL)
        self.store.record("batch", numbers.start, {"size": size})
        return numbers

    async def _screen_batch(self, numbers: range) -> bool:
        """Return whether there was anything left to try."""
        asked = [
            (number, candidate) for number in numbers if (candidate := self._asked.ask(number)) is not None
        ]
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
        # One candidate alone may be what fails; of two in a row the endpoint is the likelier cause.
        latest = (*self.trials, *rows)[-max(2, len(rows)) :]
        if all(row.state == "failed" and row.outage for row in latest):
            raise IncompleteError(
                f"a whole batch of candidates could not be scored: {evaluations[0].failure}"
            )
        self.keep(rows)
        return len(asked) == len(numbers)

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
    plan: StudyPlan,
    *,
    fresh: bool = False,
    cache: CacheMode = "shared",
    watch: Callable[[Progress], None] = lambda _progress: None,
) -> AsyncIterator[Study]:
    """Open the study's database and its model; resume what is there unless `fresh`.

    Raises:
        StudyBusyError: When another process runs it.
        StudyChangedError: When the stored study was asked for something else; names what changed.
        ModelError: When the model cannot be started or reached.
        StorageError: When the database cannot be written.
    """
    with open_storage(plan.database) as storage:
        store = Store(storage)
        study = store.of(_study_number(plan, store, fresh=fresh))
        _keep_parts(plan, study)
        model = f"{plan.model.provider}:{plan.model.name}"
        ledger = Ledger(store, study.study, model=model, cache=cache)
        async with MODELS[plan.model.provider].connect(plan.model) as connection:
            _check_model(plan, study, connection.identity)
            caller = Caller(
                connection,
                ledger,
                budget=plan.budget,
                pace=pace_of(
                    plan.file.run,
                    slots=connection.capabilities.slots,
                    fixed=MODELS[plan.model.provider].free,
                ),
                price=plan.price,
                deadline_seconds=plan.file.run.deadline_seconds,
            )
            trials = create_study(storage, f"{plan.name}#{study.study}")
            try:
                yield Study(plan, Trials(plan, trials), study, ledger, caller, watch)
            finally:
                await caller.close()


def pace_of(run: RunSpec, *, slots: int, fixed: bool) -> Pace:
    """Return how many requests may be under way and how often one may be sent.

    Args:
        slots: How many requests the model serves at once with good use of the machine.
        fixed: Whether more than the slots never pay, because the model runs on this machine.
    """
    start, most = slots, (slots if fixed else max(slots, MOST_CONCURRENT))
    if run.concurrency != "auto":
        start = most = run.concurrency
    return Pace(start=start, most=most, requests_per_minute=run.requests_per_minute)


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


def _raised(outcome: Evaluation | BaseException) -> Evaluation:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
