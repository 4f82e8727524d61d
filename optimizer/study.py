"""A study that is open: its candidates, its model, and its books, which are written before anything is used.

What is asked next is decided above, by the search and the selection. Results are recorded in trial order and told to
Optuna; a process that is killed anywhere leaves a study that continues as if nothing had happened.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from optimizer.bounds import USUAL_RATIO, amount_of
from optimizer.budget import Spent
from optimizer.calls import NO_TRIAL, Caller
from optimizer.candidate import Candidate
from optimizer.completion import tokens_together
from optimizer.dataset import Example
from optimizer.demonstrations import Evidence
from optimizer.digest import derived_seed
from optimizer.errors import Problem, StudyChangedError
from optimizer.evaluation import Evaluation, Scorer, evaluate
from optimizer.excess import check_measurable
from optimizer.history import Stage, State, TrialRecord
from optimizer.judging import ROLES, Bench, Terms, open_bench
from optimizer.lanes import Lanes, pace_of
from optimizer.ledger import CacheMode, Ledger
from optimizer.plan import StudyPlan
from optimizer.prompt import PromptTemplate
from optimizer.smoke import check_metrics
from optimizer.space import SearchSpace
from optimizer.storage import create_study, open_storage
from optimizer.store import ScoreRow, Store, StudyStore
from optimizer.trials import Trials

# The account of what is found out on train.
SCOUTING = NO_TRIAL - 1

# Under which number the identity of a model is kept, by what it is to the study.
_RECORDED = ("model", *ROLES)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a study asks.

    Attributes:
        caller: The model, behind the one way to it.
        ledger: Its account.
        bench: The models that the task's metrics ask, each on an account of its own.
    """

    caller: Caller
    ledger: Ledger
    bench: Bench


class Study:
    """A study that is open, with the model behind it.

    Attributes:
        space: Every candidate, with the demonstrations that were chosen on evidence once that was gathered.
        ranking: Trials of a race, best first; none where candidates were screened.
    """

    def __init__(
        self,
        plan: StudyPlan,
        trials: Trials,
        store: StudyStore,
        models: Asked,
        watch: Callable[[Progress], None],
    ) -> None:
        self.plan = plan
        self.store = store
        self.ledger = models.ledger
        self.caller = models.caller
        self.bench = models.bench
        self.scorer = Scorer.of(plan.task, self.bench.models)
        self.asked = trials
        self.space = plan.space
        self.ranking: tuple[int, ...] = ()
        self._paid: dict[str, set[str]] = {}
        self._kept: set[str] = set()
        self._watch = watch
        self._stage = "baseline"
        self.trials = tuple(TrialRecord.from_dict(row) for row in store.records("trial").values())
        self.caller.on_call = self._report

    def stop(self) -> None:
        """Finish the calls under way, commit them, and end with `InterruptedRunError`."""
        self.caller.stop()
        self.bench.stop()

    async def scout(self) -> None:
        """Find out on train what the demonstration selectors go by; the space has their sets from then on."""
        scouting = self.plan.scouting
        if scouting.most_calls:
            self.enter("scouting")
            kept = self.store.records("evidence").get(0) if self.trials else None
            if kept is None:  # it decides which sets there are, so once there are trials it stays
                found = await scouting.gather(lambda template, rows: self.ask(template, rows, SCOUTING))
                self.store.record("evidence", 0, kept := asdict(found))
            self.grow(self.plan.scouted(Evidence.from_dict(kept)))
        self._paid = self.store.scored()

    def grow(self, space: SearchSpace) -> None:
        """Go on with a space that has more parts."""
        self.space = self.asked.space = space
        _keep_parts(space, self.store)

    def enter(self, stage: str) -> None:
        """Name the stage that a run is in, for whoever watches."""
        self._stage = stage
        self._report()

    async def ask(
        self, template: PromptTemplate, examples: Sequence[Any], payer: int, *, reported: bool = False
    ) -> Evaluation:
        """Return the evaluation of a template on the account of one trial; its completions alone are stored.

        Args:
            reported: Whether metrics beside the objective that ask a model are asked, too.
        """
        return await evaluate(template, examples, self.caller.paid_by(payer), self.scorer, reported=reported)

    async def score(
        self, template: PromptTemplate, examples: Sequence[Any], payer: int, *, reported: bool = False
    ) -> Evaluation:
        """Return the evaluation of a template on the account of one trial, its scores stored."""
        return (await self.score_all([(template, examples, payer)], reported=reported))[0]

    async def score_all(
        self, jobs: Sequence[tuple[PromptTemplate, Sequence[Any], int]], *, reported: bool = False
    ) -> tuple[Evaluation, ...]:
        """Return the evaluations of several templates, each on its own account; all scores are stored at once."""
        asked = (self.ask(*job, reported=reported) for job in jobs)
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        evaluations = tuple(_raised(outcome) for outcome in outcomes)
        self.store.keep_scores(
            {
                (evaluation.fingerprint, r.example.id): ScoreRow(
                    example=r.example.id,
                    outcome=r.answer.outcome,
                    answer=r.answer.text,
                    score=r.score,
                    strict=r.answer.strict,
                    reader=r.answer.reader,
                    completions=tuple(each.key for each in r.completions if each.key),
                )
                for evaluation in evaluations
                for r in evaluation.results
            },
            self._unkept(template for template, _, _ in jobs),
        )
        for evaluation in evaluations:
            self._paid.setdefault(evaluation.fingerprint, set()).update(evaluation.scores)
        return evaluations

    def _unkept(self, templates: Iterable[PromptTemplate]) -> dict[str, dict[str, object]]:
        """Return those that this process has not handed to the store, by fingerprint."""
        new = {each.fingerprint: each.to_dict() for each in templates if each.fingerprint not in self._kept}
        self._kept.update(new)
        return new

    def paid(self, template: PromptTemplate) -> AbstractSet[str]:
        """Return the examples on which a template has a score."""
        return self._paid.get(template.fingerprint, frozenset())

    def affords(self, work: Iterable[tuple[PromptTemplate, Sequence[Example]]]) -> bool:
        """Return whether the budget holds some templates on some examples each, beside confirmation and test."""
        bounds, price = self.plan.bounds, self.plan.price
        amount = sum((amount_of(template, examples, price) for template, examples in work), bounds.reserved)
        return bounds.holds(self.caller.spent, amount, ratio=self.ratio())

    def race_calls(self) -> int:
        """Return how many calls the budget holds for a race."""
        return self.plan.bounds.race(self.caller.spent, ratio=self.ratio(), kindred=self.space.varied)

    def row(
        self,
        number: int,
        stage: Stage,
        candidate: Candidate,
        evaluation: Evaluation,
        state: State = "complete",
        *,
        of: int = 0,
    ) -> TrialRecord:
        """Return the row of one trial, once every call of its batch is done; `state` where it did not fail.

        Args:
            of: How many examples it is scored on if it goes on; one error among the first few is no failure.
        """
        bound = self.plan.file.run.max_error_rate * max(of, len(evaluation.results))
        failed = not evaluation.scored or evaluation.n_errors > bound
        if not self.trials:
            check_measurable(self.plan.file.constraints, evaluation.results)
        broken = self.broken(evaluation)
        interval = evaluation.interval(seed=derived_seed(self.plan.seed, "interval", number))
        completions = [completion for result in evaluation.results for completion in result.completions]
        read, written = tokens_together(completions) or (None, None)
        calls, answered = self.ledger.tally(number)
        return TrialRecord(
            trial=number,
            stage=stage,
            state="failed" if failed else state,
            digest=candidate.digest,
            fingerprint=evaluation.fingerprint,
            point=candidate.point,
            n=len(evaluation.results),
            score=None if failed else evaluation.value,
            lower=None if failed or interval is None else interval.lower,
            upper=None if failed or interval is None else interval.upper,
            valid=evaluation.measure("valid"),
            errors=evaluation.n_errors,
            feasible=not failed and not broken,
            outage=any(result.outage for result in evaluation.results),
            calls=calls,
            cached=max(0, len(completions) - answered),
            prompt_tokens=read,
            completion_tokens=written,
            cost_usd=evaluation.cost_usd,
            parents=candidate.instruction.parents,
            broken=broken,
        )

    def broken(self, evaluation: Evaluation) -> tuple[str, ...]:
        """Return the constraints of the study that an evaluation breaks, as far as they could be measured."""
        bounds = self.plan.file.constraints
        values = {name: evaluation.measure(name) for name in bounds}
        return tuple(n for n, value in values.items() if value is not None and not bounds[n].holds(value))

    @property
    def next_number(self) -> int:
        """Return the number of the next trial; those that were asked for and never scored keep theirs."""
        return 1 + max([self.asked.last, *(row.trial for row in self.trials)])

    def confirmable(self, number: int) -> bool:
        """Return whether the budget holds a confirmation by that trial and the test after it.

        What an interrupted confirmation has paid for already must not decide whether it is made.
        """
        return self.plan.bounds.holds(self.without(number), self.plan.bounds.one_more, ratio=self.ratio())

    def without(self, *payers: int) -> Spent:
        """Return what was spent but for the accounts of some trials."""
        spent = self.caller.spent
        for calls, charge in map(self.ledger.account, payers):
            spent = replace(
                spent,
                calls=spent.calls - calls,
                prompt_tokens=spent.prompt_tokens - charge.prompt_tokens,
                completion_tokens=spent.completion_tokens - charge.completion_tokens,
                usd=spent.usd - charge.usd,
            )
        return spent

    def ratio(self) -> float:
        """Return the tokens charged for a unit of their upper bound, as measured so far."""
        measured = self.ledger.token_ratio()
        return USUAL_RATIO if measured is None else measured

    def keep(self, rows: Sequence[TrialRecord], *, tell: bool = True) -> None:
        """Record rows in one transaction, then tell Optuna; without `tell` with the next ones."""
        self.store.record_all("trial", {row.trial: asdict(row) for row in rows})
        known = {row.trial: row for row in (*self.trials, *rows)}
        self.trials = tuple(known[number] for number in sorted(known))
        if tell:
            self.asked.tell(self.trials)

    def _report(self) -> None:
        # Of a race's arms that left, many were asked little: the luckiest of them would stand here.
        whole = [row for row in self.trials if row.feasible and row.state == "complete"]
        scores = [row.score for row in whole if row.score is not None]
        progress = Progress(
            stage=self._stage,
            trials=len(self.trials),
            spent=self.caller.spent,
            budget=self.plan.budget.calls,
            best=max(scores, default=None),
            baseline=self.trials[0].score if self.trials else None,
        )
        with suppress(OSError):  # whoever watches may have closed the terminal
            self._watch(progress)


@asynccontextmanager
async def open_study(
    plan: StudyPlan,
    *,
    fresh: bool = False,
    cache: CacheMode = "shared",
    watch: Callable[[Progress], None] = lambda _progress: None,
    lanes: Lanes | None = None,
    settled: Callable[[StudyPlan, StudyStore], StudyPlan] = lambda plan, _store: plan,
) -> AsyncIterator[Study]:
    """Open the study's database and its model; resume what is there unless `fresh`.

    Args:
        lanes: Connections and paces that are shared with other studies; None shares nothing.
        settled: The study with the budget that is in force, once it is known what its database holds.

    Raises:
        InputError: When a metric fails on right answers, before anything is opened.
        StudyBusyError: When another process runs it.
        StudyChangedError: When the stored study was asked for something else; names what changed.
        ModelError: When the model, or one that its metrics ask, cannot be started or reached.
        StorageError: When the database cannot be written.
    """
    await check_metrics(plan.task, plan.dataset.validation)
    with open_storage(plan.database) as storage:
        store = Store(storage)
        study = store.of(_study_number(plan, store, fresh=fresh))
        study.record_all("model", {_RECORDED.index(role): each for role, each in plan.identities.items()})
        plan = settled(plan, study)
        _keep_parts(plan.space, study)
        model = f"{plan.model.provider}:{plan.model.name}"
        ledger = Ledger(store, study.study, model=model, cache=cache)
        terms = Terms(
            pace=lambda slots, fixed: pace_of(plan.file.run, slots=slots, fixed=fixed),
            cache=cache,
            deadline_seconds=plan.file.run.deadline_seconds,
            lanes=lanes,
        )
        async with (
            terms.connect(plan.model) as connection,
            open_bench(store, study.study, plan.engagements, terms) as bench,
        ):
            caller = terms.caller(plan.model, connection, ledger, plan.budget, plan.price)
            trials = create_study(storage, f"{plan.name}#{study.study}")
            try:
                asked = Asked(caller=caller, ledger=ledger, bench=bench)
                yield Study(plan, Trials(plan, trials), study, asked, watch)
            finally:
                await caller.close()


def _study_number(plan: StudyPlan, store: Store, *, fresh: bool) -> int:
    if (latest := store.latest_study()) is None:
        return store.add_study(plan.name, plan.identity)
    number, identity = latest
    changed = sorted(k for k in {*identity, *plan.identity} if identity.get(k) != plan.identity.get(k))
    stored = store.of(number)
    others = _other_models(plan, stored)
    # A fresh study that was interrupted before its test is continued: the same command resumes. Where nothing was
    # scored, as with a misspelt model, there is nothing that another one could be mixed with.
    if (fresh or not stored.scored()) and (changed or others or stored.records("test")):
        return store.add_study(plan.name, plan.identity)
    if changed:
        told = f"the study in {plan.database.name} was asked for something else: {', '.join(changed)} changed"
        remedy = "--fresh starts a new study and keeps what was paid for"
        raise StudyChangedError([Problem(file=plan.source.file, message=f"{told}; {remedy}")])
    if others:
        raise StudyChangedError(others)
    return number


def _other_models(plan: StudyPlan, study: StudyStore) -> list[Problem]:
    """Return which models are not those that a study began with, such as other weights of the same name."""
    known, problems = study.records("model"), list[Problem]()
    for role, identity in plan.identities.items():
        before = known.get(_RECORDED.index(role), identity)
        if names := sorted(k for k in {*before, *identity} if before.get(k) != identity.get(k)):
            message = (
                f"the {role} that answers is not the one the study began with: {', '.join(names)} changed;"
                " --fresh starts a new study"
            )
            problems.append(Problem(file=plan.source.file, field=role, message=message))
    return problems


def _keep_parts(space: SearchSpace, study: StudyStore) -> None:
    study.record_all("instruction", dict(enumerate(map(asdict, space.wordings))))
    study.record_all("demonstrations", dict(enumerate(map(asdict, space.demonstration_sets))))


def _raised(outcome: Evaluation | BaseException) -> Evaluation:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
