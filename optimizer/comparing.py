"""Models times prompts, asked: every cell on an account of its own, model after model.

The prompts of one model follow each other, so that a model that runs on this machine is loaded once. What a cell was
answered is committed before it is used: the same command takes an interrupted comparison up where it was. The store is
held from the first cell until all is over, so that no other command takes it between two of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from optimizer.budget import Spent
from optimizer.calls import Caller
from optimizer.config import RunSpec
from optimizer.dataset import Example
from optimizer.errors import BudgetError, InterruptedRunError, ModelError, OptimizerError
from optimizer.evaluation import Evaluation
from optimizer.judging import Bench, Engagement
from optimizer.ledger import CacheMode
from optimizer.lineup import Seat
from optimizer.metrics import Role
from optimizer.models import MODELS
from optimizer.rescoring import Job, finish_in, open_job
from optimizer.rivals import Rival
from optimizer.storage import open_storage
from optimizer.store import Store
from optimizer.task import Task

PURPOSE = "compare"


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What all cells have in common.

    Attributes:
        asked: The models that the task's metrics ask.
        database: Where the answers are kept.
        apart: Labels of models that neither take nor give stored answers of others.
    """

    task: Task
    examples: tuple[Example, ...]
    run: RunSpec
    cache: CacheMode
    database: Path
    asked: Mapping[Role, Engagement] = field(default_factory=dict)
    apart: frozenset[str] = frozenset()

    def job(self, seat: Seat) -> Job:
        """Return the scoring of one cell."""
        rival = seat.rival
        return Job(
            frozen=seat.frozen,
            task=self.task,
            spec=rival.spec,
            examples=self.examples,
            asked=self.asked,
            run=self.run,
            cache="private" if rival.label in self.apart else self.cache,
            database=self.database,
            purpose=PURPOSE,
            prices={} if rival.price is None else {rival.spec.name: rival.price},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """What became of one cell.

    Attributes:
        evaluation: None where the model could not be asked.
        error: Why, else None.
        number: Of its account; None where there is none.
        spent: What it used, over all runs.
        priced: Whether a price of the model is known; without one the dollars of `spent` say nothing.
        bench: What the models that metrics ask used, by role.
    """

    seat: Seat
    evaluation: Evaluation | None
    error: OptimizerError | None = None
    number: int | None = None
    spent: Spent = field(default_factory=Spent)
    priced: bool = True
    bench: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @property
    def used(self) -> dict[str, object]:
        """Return what it used, as `--json` shows it; dollars are None where no price is known."""
        figures = self.spent.to_dict()
        return figures if self.priced else {**figures, "usd": None, "lost_usd": None}

    @property
    def is_interrupted(self) -> bool:
        """Return whether another attempt, later, may well bring what is missing.

        A model that refuses every request is one that was set up wrongly, which can be mended.
        """
        return self.evaluation is None or self.evaluation.is_interrupted or not self.evaluation.scored


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far it is: the cell that is asked, calls that were answered, and calls at most."""

    cell: str
    calls: int
    of: int


@contextmanager
def open_comparing(seats: Sequence[Seat], terms: Terms) -> Iterator["Comparing"]:
    """Hold the store for the scoring of all cells.

    Raises:
        StudyBusyError: When another process uses it.
        StorageError: When it cannot be written.
    """
    with open_storage(terms.database) as storage:
        yield Comparing(seats, terms, Store(storage))


class Comparing:
    """The scoring of all cells, which can be stopped.

    Attributes:
        watch: Told of every progress.
    """

    def __init__(self, seats: Sequence[Seat], terms: Terms, store: Store) -> None:
        self.watch: Callable[[Progress], None] = lambda _progress: None
        self._seats = seats
        self._terms = terms
        self._store = store
        self._done = 0
        self._stopped = False
        self._under_way: list[Caller | Bench] = []

    @property
    def n_calls(self) -> int:
        """Return how many calls there are at most."""
        return calls_of(self._seats, self._terms.examples)

    def stop(self) -> None:
        """Send nothing more; requests under way are finished and committed."""
        self._stopped = True
        for each in self._under_way:
            each.stop()

    async def run(self) -> tuple[Scored, ...]:
        """Return what became of every cell. A model that cannot be asked takes nothing from the others.

        Raises:
            InterruptedRunError: After `stop`.
        """
        found: list[Scored] = []
        for rival, places in by_model(self._seats):
            found += await self._of_model(rival, places)
        return tuple(found)

    async def _of_model(self, rival: Rival, places: Sequence[Seat]) -> list[Scored]:
        found: list[Scored] = []
        error: OptimizerError | None = None
        async with AsyncExitStack() as stack:
            if len(places) > 1:
                # Holds what serves the model between one cell and the next.
                try:
                    await stack.enter_async_context(MODELS[rival.spec.provider].connect(rival.spec))
                except ModelError as failed:
                    error = failed
            for seat in places:
                scored = Scored(seat=seat, evaluation=None, error=error) if error else await self._cell(seat)
                # What keeps one prompt from being asked at all keeps the next one as well, which has a budget of its own.
                error = error or (None if isinstance(scored.error, BudgetError) else scored.error)
                self._done += len(seat.frozen.template.calls) * len(self._terms.examples)
                found.append(scored)
        return found

    async def _cell(self, seat: Seat) -> Scored:
        if self._stopped:
            raise InterruptedRunError("stopped")
        job, number, spent, bench = self._terms.job(seat), None, Spent(), dict[str, Mapping[str, object]]()
        evaluation: Evaluation | None = None
        failed: OptimizerError | None = None
        try:
            async with open_job(job, held=self._store) as opened:
                number, self._under_way = opened.number, [opened.caller, opened.bench]
                opened.caller.on_call = lambda: self._tell(seat, opened.caller)
                self._tell(seat, opened.caller)
                try:
                    evaluation = await opened.evaluate()
                finally:
                    self._under_way = []
                    spent, bench = opened.caller.spent, dict(opened.bench.figures())
        except (ModelError, BudgetError) as error:
            evaluation, failed = None, error
        return Scored(
            seat=seat,
            evaluation=evaluation,
            error=failed,
            number=number,
            spent=spent,
            priced=job.price is not None,
            bench=bench,
        )

    def _tell(self, seat: Seat, caller: Caller) -> None:
        calls = self._done + caller.spent.calls
        with suppress(OSError):  # whoever watches may have closed the terminal
            self.watch(Progress(cell=seat.name, calls=calls, of=self.n_calls))

    def finish(self, found: Sequence[Scored]) -> None:
        """Record that the comparison is over, so that the same command again is another one."""
        finish_in(self._store, (scored.number for scored in found if scored.number is not None))


def by_model(seats: Sequence[Seat]) -> Iterator[tuple[Rival, list[Seat]]]:
    """Yield each model with its cells, in their order."""
    for _, places in groupby(seats, key=lambda seat: seat.rival.label):
        listed = list(places)
        yield listed[0].rival, listed


def calls_of(seats: Sequence[Seat], examples: Sequence[Example]) -> int:
    """Return how many calls some cells take at most."""
    return sum(len(seat.frozen.template.calls) for seat in seats) * len(examples)
