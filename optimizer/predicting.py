"""Predicting: every row of a file through a frozen prompt, in blocks, with nothing paid for lost.

A call's completion is committed before it is used, as everywhere. When all rows of a block have what they get, their
lines are added to the file, and one transaction says how long the file is now and sums up the calls of the block.
Whatever is killed at whatever moment, the same command goes on after the last block that was committed; calls of the
open block that have their completion are not made again. Nothing is held that grows with the number of rows.

Rows that have no answer because of errors are asked again by the same command, and only they.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.answer import OUTCOMES
from optimizer.calls import Caller
from optimizer.errors import (
    BudgetError,
    InputError,
    InterruptedRunError,
    Problem,
    StorageError,
    StudyChangedError,
)
from optimizer.evaluation import answered
from optimizer.intake import Row
from optimizer.job import (
    Bound,
    Job,
    aside,
    bound_of,
    check_job,
    check_limits,
    check_unchanged,
    output_there,
    recorded_bound,
    state_of,
    sum_of,
)
from optimizer.lanes import MOST_CONCURRENT, pace_of
from optimizer.ledger import Ledger
from optimizer.models import MODELS, Connection
from optimizer.pacing import Pace
from optimizer.predictions import Batch, Layout, Part
from optimizer.storage import open_storage
from optimizer.store import Store, StudyStore

if TYPE_CHECKING:
    from optimizer.budget import Budget


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a job stands.

    Attributes:
        rows: Rows that have what they get.
        errors: How many of these have no answer because of errors.
    """

    rows: int
    of: int
    errors: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicted:
    """What came of a job; figures of rows are those of the file, whoever paid for the answers.

    Attributes:
        outcomes: Rows by outcome.
        prompt_tokens: Tokens read, and written, for the answers; None where some answer does not say how many.
        cost_usd: What the answers cost; None where a price is not known, or tokens are not.
        spent: What this job was charged, over all runs of the command.
    """

    rows: int
    outcomes: Mapping[str, int]
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    spent: Mapping[str, Any]

    @property
    def errors(self) -> int:
        """Return how many rows have no answer because of errors."""
        return self.outcomes.get("error", 0)


@asynccontextmanager
async def open_prediction(
    job: Job, watch: Callable[[Progress], None] = lambda _progress: None
) -> AsyncIterator["Prediction"]:
    """Check a job whole and take it up where it was left.

    Raises:
        InputError: With every mistake in its rows; or when the file to write is there already.
        StudyBusyError: When another process writes the same file.
        StudyChangedError: When the file was begun with something else; names what changed.
        StorageError: When something cannot be written.
    """
    check_job(job)
    seen, unwanted = state_of(job.intake), False
    # Mistakes are told before anything is written.
    bound = None if job.database.exists() else await aside(partial(bound_of, job))
    identity = await aside(job.identity)
    check_unchanged(job.intake, seen)
    with open_storage(job.database, unwanted=lambda: unwanted) as storage:
        store = Store(storage)
        # Another run may have come to its end since that was asked first, and its database is gone.
        if refused := list(output_there(job)) if store.latest_study() is None else []:
            unwanted = True
        else:
            study = store.of(_number(store, job, identity))
            bound = await recorded_bound(job, study, bound)
            check_limits(job, bound)
            with _written(job.output):
                prediction = Prediction(job, study, bound, watch)
            yield prediction
            unwanted = prediction.complete
    if refused:
        raise InputError([Problem(file="", field="--output", message=message) for message in refused])


class Prediction:
    """A job that is under way.

    Attributes:
        bound: What it is.
        done: Rows that are in the file.
        complete: Whether the file is written and every row in it has its answer.
    """

    def __init__(self, job: Job, study: StudyStore, bound: Bound, watch: Callable[[Progress], None]) -> None:
        self.bound = bound
        self.complete = False
        self._job = job
        self._study = study
        self._watch = watch
        kept = job.intake.kept
        self._layout = Layout.of(
            job.output.suffix.lower(),
            ids="id" in bound.columns,
            raw=job.raw,
            kept=[name for name in bound.columns if name != "id"] if kept is None else kept,
        )
        self._part = Part(job.output, self._layout)
        self._spent: dict[str, Any] = study.records("spent").get(0, {})
        self._blocks = [record for _, record in sorted(study.records("block").items())]
        self._price = job.cost()
        self._stopping = False
        self._caller: Caller | None = None  # of the block that is not written yet, with what that may use
        self._budget: Budget | None = None
        self._made = self._take_up()

    @property
    def done(self) -> int:
        """Return how many rows are in the file."""
        return sum(block["rows"] for block in self._blocks)

    @property
    def part(self) -> Path:
        """Return the file that the rows are collected in."""
        return self._part.path

    @property
    def spent(self) -> Mapping[str, Any]:
        """Return what this job was charged, over all runs of the command; what is in dollars is None without a price."""
        spent = self._sum()
        return spent if self._price is not None or not spent else {**spent, "usd": None, "lost_usd": None}

    def _sum(self) -> dict[str, Any]:
        return self._spent if self._caller is None else sum_of(self._spent, self._caller.spent)

    @property
    def _attempts_are_spent(self) -> bool:
        caller, budget = self._caller, self._budget
        return caller is not None and budget is not None and caller.spent.attempts >= budget.attempts

    def stop(self) -> None:
        """Send nothing more; requests under way are finished and committed."""
        self._stopping = True
        if self._caller is not None:
            self._caller.stop()

    async def run(self) -> Predicted:
        """Ask about the rows that are left, and make the file.

        Raises:
            BudgetError: When the budget ended.
            EndpointError: When the endpoint would refuse every request.
            OutageError: When the endpoint is down.
            InterruptedRunError: After `stop`.
            InputError: When the rows have changed meanwhile.
            StorageError: When something cannot be written. What was answered is saved in all cases.
        """
        if not self._made and self.done < self.bound.rows:
            await self._ask()
        with _written(self._job.output):
            if not self._made:
                self._part.check(self._blocks[-1]["end"])
                self._study.record("closed", 0, {})
                self._part.finish(self._job.block)
        found = self._predicted()
        self.complete = not found.errors
        return found

    def _take_up(self) -> bool:
        """Bring file and records to where both agree; return whether the file is made already."""
        closed, part = bool(self._study.records("closed")), self._part
        if closed and not part.path.exists() and self._job.output.exists():
            wrong = [n for n, block in enumerate(self._blocks) if block["outcomes"].get("error")]
            if not wrong:
                return True
            # Blocks without errors are taken over as they are; of another form all are made again, from the store.
            whole = (
                self._layout.form != ".parquet" and self._job.output.stat().st_size == self._blocks[-1]["end"]
            )
            first = wrong[0] if whole else 0
            part.borrow(self._blocks[first - 1]["end"] if first else 0)
            self._rewind(first)
            return False
        size = part.size
        sound = next((n for n, block in enumerate(self._blocks) if block["end"] > size), len(self._blocks))
        if sound < len(self._blocks):
            self._rewind(sound)
        return False

    def _rewind(self, block: int) -> None:
        """Forget the blocks from one on; calls of theirs that failed will be made again, as the same calls."""
        failed = sum(each["failed"] for each in self._blocks[block:])
        self._spent = {**self._spent, "calls": self._spent.get("calls", 0) - failed}
        self._study.rewind({"block": block, "closed": 0}, {"spent": {0: self._spent}})
        del self._blocks[block:]

    async def _ask(self) -> None:
        job, provider = self._job, MODELS[self._job.spec.provider]
        rows, seen = job.intake.rows(after=self.done), state_of(job.intake)
        # The rows that are done are passed over aside, so that Ctrl-C is heard meanwhile.
        rows = chain(filter(None, [await asyncio.to_thread(next, rows, None)]), rows)
        async with provider.connect(job.spec) as connection:
            pace = pace_of(job.run, slots=connection.capabilities.slots, fixed=provider.free)
            try:
                while self.done < self.bound.rows:
                    batch, ledger = await self._ask_block(rows, connection, pace)
                    # Before anything of the block is written: what was asked may be of another file.
                    check_unchanged(job.intake, seen)
                    self._keep(batch, ledger)
            except BudgetError as error:
                raise BudgetError(self._spent_in_words()) from error
        if next(rows, None) is not None:
            raise InputError(
                [Problem(file=job.intake.file, message="has more rows than when it was checked")]
            )

    def _spent_in_words(self) -> str:
        """Return which budget is spent, where what was paid for is, and what goes on."""
        job = self._job
        limits = [] if job.max_calls is None else [f"{job.max_calls:,} calls"]
        limits += [] if job.max_usd is None else [f"{job.max_usd:g} US dollars"]
        what, larger = f"the budget of {' and '.join(limits)} is spent", " with a larger budget"
        if self._attempts_are_spent:
            failures = ", ".join(f"{reason} {n}" for reason, n in self.spent["failures"].items())
            what, larger = f"the attempts that {job.max_calls:,} calls may take are spent ({failures})", ""
        standing = f"{self.done:,} of {self.bound.rows:,} rows are in {self.part}"
        if not self.done:  # the first block is not written, so that file need not be there
            standing = f"no answers of the {self.bound.rows:,} rows are written yet"
        return (
            f"{what}; {standing}, what was answered{' beyond them' if self.done else ''}"
            f" is saved in {job.database}, and the same command{larger} goes on"
        )

    async def _ask_block(
        self, rows: Iterator[Row], connection: Connection, pace: Pace
    ) -> tuple[Batch, Ledger]:
        """Return the rows of the next block with what they get, and its account."""
        job = self._job
        ledger = Ledger(self._study.whole, self._study.study, model=f"{job.spec.provider}:{job.spec.name}")
        self._budget = budget = job.left(self._spent).after(ledger.attempts)
        self._caller = caller = Caller(
            connection,
            ledger,
            budget=budget,
            pace=pace,
            price=self._price,
            deadline_seconds=job.run.deadline_seconds,
        )
        caller.expect_more()
        batch = Batch(self._layout, min(job.block, self.bound.rows - self.done))
        caller.on_call = lambda: self._report(batch)
        if self._stopping:
            caller.stop()
        try:
            await self._ask_rows(enumerate(islice(rows, batch.size)), caller, batch)
        finally:
            await caller.close()
        return batch, ledger

    def _keep(self, batch: Batch, ledger: Ledger) -> None:
        """Write a block, and then that it is written and what it took."""
        start = self._blocks[-1]["end"] if self._blocks else 0
        lines = batch.lines if self._blocks else [self._layout.head(), *batch.lines]
        with _written(self._job.output):
            end = self._part.append(lines, at=start)
        block = {**batch.figures(), "end": end, "failed": ledger.unanswered}
        spent = self._sum()
        self._study.fold({"block": {len(self._blocks): block}, "spent": {0: spent}})
        self._blocks.append(block)
        self._spent, self._caller = spent, None
        self._report(None)

    async def _ask_rows(self, rows: Iterator[tuple[int, Row]], caller: Caller, batch: Batch) -> None:
        """Have every row of a block answered; a few more than can be sent at once are under way."""
        job, template = self._job, self._job.frozen.template

        async def work() -> None:
            try:
                for place, row in rows:
                    batch.add(place, row, await answered(template, row.inputs, caller), job.intake.kept)
            except BaseException:
                caller.stop()  # the others need not go on
                raise

        wanted = job.run.concurrency
        window = 2 * (MOST_CONCURRENT if wanted == "auto" else wanted)
        ended = await asyncio.gather(
            *(work() for _ in range(min(window, batch.size))), return_exceptions=True
        )
        reasons = [reason for reason in ended if reason is not None]
        # Of several, the one that the others follow from.
        for reason in sorted(reasons, key=lambda reason: isinstance(reason, InterruptedRunError)):
            raise reason
        if batch.n < batch.size:
            raise InputError(
                [Problem(file=job.intake.file, message="has fewer rows than when it was checked")]
            )

    def _report(self, batch: Batch | None) -> None:
        errors = sum(block["outcomes"].get("error", 0) for block in self._blocks)
        rows = self.done
        if batch is not None:
            rows, errors = rows + batch.n, errors + batch.outcomes["error"]
        with suppress(OSError):  # whoever watches may have closed the terminal
            self._watch(Progress(rows=rows, of=self.bound.rows, errors=errors))

    def _predicted(self) -> Predicted:
        outcomes = Counter[str]()
        for block in self._blocks:
            outcomes.update(block["outcomes"])
        names = ("prompt_tokens", "completion_tokens", "usd")
        read, written, costs = ([block[name] for block in self._blocks] for name in names)
        return Predicted(
            rows=self.done,
            outcomes={name: outcomes[name] for name in OUTCOMES if outcomes[name]},
            prompt_tokens=None if None in read else sum(read),
            completion_tokens=None if None in written else sum(written),
            cost_usd=None if None in costs else math.fsum(costs),
            spent=self.spent,
        )


def _number(store: Store, job: Job, identity: Mapping[str, str]) -> int:
    """Return the number of the job that is gone on with, or of a new one.

    Raises:
        StudyChangedError: When the file was begun with something else.
    """
    latest = store.latest_study()
    if latest is None:
        return store.add_study("predict", identity)
    number, before = latest
    changed = [name for name in identity if identity[name] != before.get(name)]
    # What was begun anew and interrupted is gone on with: the same command resumes.
    if job.fresh and (changed or store.of(number).records("closed")):
        return store.add_study("predict", identity)
    if changed:
        message = (
            f"was begun with something else: {', '.join(changed)} changed;"
            " --fresh starts anew and keeps what was paid for"
        )
        raise StudyChangedError([Problem(file=str(job.output), message=message)])
    return number


@contextmanager
def _written(output: Path) -> Iterator[None]:
    """Tell a failure to write as our own error."""
    try:
        yield
    except OSError as error:
        message = f"{output} cannot be written ({error.strerror}); what was answered is safe: the same command resumes"
        raise StorageError(message) from error
