"""A frozen prompt on some examples again: behind the one way to a model, and on an account of its own.

An answer is committed before it is used, so that the same command takes an interrupted scoring up where it was.
"""

import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optimizer.archive import open_archive
from optimizer.budget import Budget, attempts_for
from optimizer.calls import Caller
from optimizer.checks import located_model
from optimizer.comparable import (
    Judges,
    chosen_among,
    is_deterministic,
    judges_of,
    metric_names,
    most_written,
    redefined,
)
from optimizer.config import PriceSpec, RunSpec, StudyConfig
from optimizer.dataset import Example, clusters_of
from optimizer.digest import digest
from optimizer.document import Located, load_yaml, project_root
from optimizer.drift import Drift, Pairs, drift
from optimizer.errors import InputError, Problem
from optimizer.evaluation import Evaluation, Scorer, evaluate
from optimizer.frozen import FrozenPrompt
from optimizer.judging import Bench, Engagement, Terms, open_bench
from optimizer.lanes import pace_of
from optimizer.ledger import CacheMode, Ledger
from optimizer.lineup import misfits
from optimizer.metrics import Role
from optimizer.models import MODELS, ModelSpec, fingerprint
from optimizer.pricing import Price, common_tier, price_of
from optimizer.prompt import PromptTemplate
from optimizer.recording import Row, row_of
from optimizer.roles import located, role_models
from optimizer.schema import read
from optimizer.smoke import check_metrics
from optimizer.storage import open_storage
from optimizer.store import Store
from optimizer.task import Task

# The records of a scoring that is over, and of when it was begun.
_DONE, _BEGUN = "scored", "begun"

# How long an interrupted look at a model may be taken up. Answers of one day are of one model, or as near as it gets.
RESUMED_SECONDS = 24 * 3600.0

# How far a clock may be set back.
_CLOCK_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is scored, on what, and how.

    Attributes:
        asked: The models that the task's metrics ask.
        database: Where the answers are kept.
        purpose: What it is for; jobs that differ in it do not take each other up.
        prices: Prices by model name, in place of the published ones.
    """

    frozen: FrozenPrompt
    task: Task
    spec: ModelSpec
    examples: tuple[Example, ...]
    asked: Mapping[Role, Engagement]
    run: RunSpec
    cache: CacheMode
    database: Path
    purpose: str = "score"
    prices: Mapping[str, PriceSpec] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, str]:
        """Return what makes another scoring the same one."""
        rows = [[example.id, dict(example.values), example.target] for example in self.examples]
        parts = {
            "prompt": self.frozen.fingerprint,
            "task": self.task.digest,
            "model": fingerprint(self.spec),
            "examples": digest(rows),
        }
        parts |= {role: fingerprint(engaged.spec) for role, engaged in self.asked.items()}
        # Who wants answers of today goes on with no account that took others.
        parts |= {} if self.cache == "shared" else {"cache": self.cache}
        return parts if self.purpose == "score" else {**parts, "purpose": self.purpose}

    @property
    def price(self) -> Price | None:
        """Return US dollars from tokens read and written, or None where no price is known."""
        return price_of(
            self.spec.name,
            base_url=self.spec.base_url,
            free=MODELS[self.spec.provider].free,
            overrides=self.prices,
            service_tier=common_tier(dict(call.parameters) for call in self.frozen.template.calls),
        )


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A job whose model is open.

    Attributes:
        number: Of its account in the store.
    """

    job: Job
    number: int
    store: Store
    caller: Caller
    ledger: Ledger
    bench: Bench

    async def evaluate(self) -> Evaluation:
        """Return the evaluation, metrics beside the objective included."""
        job, scorer = self.job, Scorer.of(self.job.task, self.bench.models)
        return await evaluate(job.frozen.template, job.examples, self.caller, scorer, reported=True)

    def stop(self) -> None:
        """Send nothing more; requests under way are finished and committed."""
        self.caller.stop()
        self.bench.stop()

    def finish(self) -> None:
        """Record that it is over, so that the same command again is another scoring."""
        finish_in(self.store, [self.number])


# Where a prompt and a task differ so that no score would say anything.
_MISFITS = ("dataset.inputs", "output.type")


def store_of(path: Path) -> Path:
    """Return the database of the project that a file lies in."""
    return project_root(path) / ".optimizer" / "store.db"


def job_problems(job: Job) -> list[Problem]:
    """Return what keeps a job from being done, before any call."""
    frozen, task, provider = job.frozen, job.task, MODELS[job.spec.provider]
    problems = [Problem(file="", field="--model", message=message) for message in provider.problems(job.spec)]
    missing = sorted(set(frozen.capabilities) - provider.capabilities(job.spec).can)
    if missing:
        problems.append(Problem(file="", field="--model", message=f"the prompt needs {', '.join(missing)}"))
    problems += [
        Problem(file=task.source.file, field=field, message=message)
        for field, message in misfits(frozen, task)
        if field in _MISFITS  # a prompt of other labels is scored as what it is: it never gives the others
    ]
    if not job.examples:
        problems.append(Problem(file=task.source.file, field="dataset.splits", message="the split is empty"))
    return problems


@asynccontextmanager
async def open_job(
    job: Job,
    *,
    held: Store | None = None,
    within: float | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Opened]:
    """Open the model of a job, and take up what was begun of it.

    Args:
        job: One without problems.
        held: The store of its database, where that is open already and stays so.
        within: Seconds after which what was begun is left alone; None takes it up at any time.
        clock: Seconds since any fixed moment.

    Raises:
        InputError: When a metric fails on right answers, before anything is opened.
        ModelError: When a model cannot be started or reached.
        StudyBusyError: When another process uses the store.
    """
    n_calls, provider = len(job.examples) * len(job.frozen.template.calls), MODELS[job.spec.provider]
    await check_metrics(job.task, job.examples)
    with ExitStack() as stack:
        store = held or Store(stack.enter_context(open_storage(job.database)))
        number = _number(store, job, within=within, now=clock())
        ledger = Ledger(store, number, model=f"{job.spec.provider}:{job.spec.name}", cache=job.cache)
        terms = Terms(
            pace=lambda slots, fixed: pace_of(job.run, slots=slots, fixed=fixed),
            cache=job.cache,
            deadline_seconds=job.run.deadline_seconds,
            # What an outage used up would keep the same command from ever going on.
            anew=True,
        )
        async with (
            provider.connect(job.spec) as connection,
            open_bench(store, number, job.asked, terms) as bench,
        ):
            caller = Caller(
                connection,
                ledger,
                budget=Budget(calls=n_calls, attempts=attempts_for(n_calls)).after(ledger.attempts),
                pace=terms.pace(connection.capabilities.slots, provider.free),
                price=job.price,
                deadline_seconds=job.run.deadline_seconds,
            )
            try:
                yield Opened(job=job, number=number, store=store, caller=caller, ledger=ledger, bench=bench)
            finally:
                await caller.close()


def _number(store: Store, job: Job, *, within: float | None, now: float) -> int:
    """Return the account of the same job, if one was begun and is not over; its answers are its own."""
    begun = store.newest(job.identity)
    if begun is not None and not store.of(begun).records(_DONE):
        at = store.of(begun).records(_BEGUN).get(0, {}).get("at", now)
        # A clock that went back by more than it is set right by says nothing of how long ago that was.
        if within is None or -_CLOCK_SECONDS < now - at < within:
            return begun
    number = store.add_study(f"{job.purpose} {job.frozen.name}", job.identity)
    store.of(number).record(_BEGUN, 0, {"at": now})
    return number


def finish_all(begun: Iterable[tuple[Path, int]]) -> None:
    """Record of several scorings, each in its database, that they are over."""
    by_database: dict[Path, list[int]] = {}
    for database, number in begun:
        by_database.setdefault(database, []).append(number)
    for database, numbers in by_database.items():
        with open_storage(database) as storage:
            finish_in(Store(storage), numbers)


def finish_in(store: Store, numbers: Iterable[int]) -> None:
    """Record of several scorings in an open store that they are over."""
    for number in numbers:
        store.of(number).record(_DONE, 0, {})


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescored:
    """What came of asking again.

    Attributes:
        then: The recorded rows of the examples that were asked again.
        now: What came of them, in the same order.
        lost: Ids that have no answer, or no score, for no fault of the model: they are left out of the comparison.
        drift: What the others tell; None where there are no others.
        metrics: The metrics of the scores of then and now.
        same_metric: Whether they are one metric, as far as the scores of equal answers tell; else they say nothing.
        judges: What equal answers tell of the models that the metric asks; None where it asks none.
        chosen_among: Of how many prompts the recorded answers may have chosen this one; 1 where they chose none.
    """

    evaluation: Evaluation
    then: tuple[Row, ...]
    now: tuple[Row, ...]
    lost: tuple[str, ...]
    drift: Drift | None
    metrics: tuple[str, str]
    same_metric: bool
    judges: Judges | None
    chosen_among: int


def rescored(
    job: Job,
    then: tuple[Row, ...],
    evaluation: Evaluation,
    *,
    identities: Mapping[str, Mapping[str, object]] | None = None,
) -> Rescored:
    """Return what an evaluation tells of a change since the rows were recorded.

    Args:
        job: What was asked again.
        then: The recorded rows of its examples, in their order.
        evaluation: What came of it.
        identities: What tells the models that its metric asked from all others, by role, as far as that is known.
    """
    template, scorer = job.frozen.template, evaluation.scorer
    now = tuple(row_of(template, result) for result in evaluation.results)
    lost = tuple(
        result.example.id
        for result in evaluation.results
        if result.outage or result.answer.outcome == "unscored"
    )
    clusters = clusters_of(job.examples)
    pairs = Pairs(then=then, now=now, clusters=None if clusters is None else tuple(clusters))
    told = pairs.where(lambda _, row: row.id not in lost)
    metrics = metric_names(job.frozen, scorer)
    among = chosen_among(job.frozen, judged="judge" in scorer.per_example.needs)
    judges = judges_of(job.frozen, scorer, told, identities=identities or {}, chosen_among=among)
    replaced = judges is not None and judges.differ
    other = redefined(job.frozen, job.task, told, judges)
    same_metric = metrics[0] == metrics[1] and not replaced and not other
    found = None
    if told.then:
        found = drift(
            told,
            same_requests=all(a.request == b.request for a, b in zip(told.then, told.now, strict=True)),
            deterministic=is_deterministic(template),
            same_metric=same_metric,
            chosen_among=among,
            most_written=most_written(template),
        )
    return Rescored(
        evaluation=evaluation,
        then=then,
        now=now,
        lost=lost,
        drift=found,
        metrics=metrics,
        same_metric=same_metric,
        judges=judges,
        chosen_among=among,
    )


def seconds_then(path: Path, template: PromptTemplate) -> dict[str, float]:
    """Return how long each example took when a prompt was made, all of its calls together, by the example's id.

    A prompt holds no durations, but the database of the study beside it does. It is looked at without being held, so a
    run that is under way is not disturbed. Where there is none, or it knows nothing of the prompt, nothing is returned.
    """
    fingerprint = template.fingerprint
    try:
        with open_archive(path.with_name("study.db")) as archive:
            found = archive.completions([fingerprint])
    except InputError:
        # No database, or none of ours: durations are told where they are known, and nothing rests on them.
        return {}
    return {
        example: sum(each.seconds for each in several)
        for (_, example), several in found.items()
        if len(several) == len(template.calls)
    }


def study_beside(path: Path) -> tuple[StudyConfig, Located] | None:
    """Return the study whose file lies beside a prompt, or None where there is none.

    Raises:
        InputError: When that file is not sound.
    """
    study = path.with_name("study.yaml")
    if not study.is_file():
        return None
    source = load_yaml(study)
    return read(source, StudyConfig), source


def located_roles(beside: tuple[StudyConfig, Located] | None) -> dict[Role, ModelSpec | None]:
    """Return the models that the study beside a prompt names for its metrics to ask.

    Raises:
        InputError: When one is a file outside the project.
    """
    if beside is None:
        return {}
    try:
        return {role: located(spec, beside[1]) for role, spec in role_models(beside[0]).items()}
    except ValueError as error:
        raise InputError([Problem(file=beside[1].file, message=str(error))]) from error


def own_model(frozen: FrozenPrompt, beside: tuple[StudyConfig, Located] | None) -> ModelSpec:
    """Return the model that a prompt was tuned for; what a prompt does not say of it, from the study beside it.

    Raises:
        InputError: When the prompt names none, or its study names a file outside the project.
    """
    provider, name = frozen.model.get("provider"), frozen.model.get("name")
    if not isinstance(provider, str) or not isinstance(name, str):
        raise InputError([Problem(file="", field="--model", message="missing; the prompt names no model")])
    if beside is not None and (beside[0].model.provider, beside[0].model.name) == (provider, name):
        try:
            return located_model(*beside)
        except ValueError as error:
            raise InputError([beside[1].problem(("model", "path"), str(error))]) from error
    return ModelSpec(provider=provider, name=name)


def restated(spec: ModelSpec, **stated: Any) -> ModelSpec:  # noqa: ANN401  # whatever a field takes
    """Return a model with what is stated in place of its own; None states nothing."""
    return dataclasses.replace(spec, **{name: value for name, value in stated.items() if value is not None})
