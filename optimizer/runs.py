"""Several studies under one budget: each is carried out as it would be alone with its share, and none stops another.

They run at once on one event loop. What they have in common is a pace and a connection for each endpoint, and the end
of all: who asks a batch to stop has every study finish the calls under way and save.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from optimizer.budget import Spent
from optimizer.calls import NO_TRIAL
from optimizer.conclusion import Selection
from optimizer.config import RunSpec
from optimizer.errors import InterruptedRunError, OptimizerError
from optimizer.lanes import Lanes, pace_of
from optimizer.ledger import CacheMode, Ledger
from optimizer.models import MODELS, ModelSpec
from optimizer.pacing import Pace
from optimizer.plan import StudyPlan
from optimizer.selection import optimize
from optimizer.sharing import Shared, shared_out, with_budget
from optimizer.store import StudyStore
from optimizer.study import Progress, Study, open_study

# More studies at once keep an endpoint no busier, and each has a database, a log and a thread of its own.
USUAL_PARALLEL = 8

# Under which name a study keeps the budget that it was carried out with.
_SHARE = "share"

_LIMITS = ("calls", "attempts", "tokens", "usd", "seconds")


class UnexpectedError(OptimizerError):
    """A mistake of ours ended a study; what it was is its cause."""

    exit_code = 70


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one study came to.

    Attributes:
        plan: The study, with the budget that was in force.
        selection: What it found; None where it did not get that far.
        error: Why it did not, else None.
        figures: What it used and where it stands, as `--json` shows it; without an entry where it was never open.
    """

    plan: StudyPlan
    selection: Selection | None = None
    error: OptimizerError | None = None
    figures: Mapping[str, object] = field(default_factory=dict)


class Batch:
    """Several studies, and the one budget they are under.

    Args:
        plans: One study a folder.
        parallel: How many are carried out at once, at most; no result depends on it.
        fresh: Whether each starts anew.

    Attributes:
        plans: The studies with their shares as their budgets.
        watch: Told how a study gets on, by its folder.
        keep: Handed what a study found, before its database is closed; an error of it is the study's.
        ended: Handed what became of a study, as soon as it is over.

    Raises:
        InputError: When the budget does not hold what the studies need at least.
    """

    def __init__(
        self,
        plans: Sequence[StudyPlan],
        shared: Shared,
        *,
        parallel: int,
        fresh: bool = False,
        cache: CacheMode = "shared",
    ) -> None:
        self.plans = shared_out(plans, shared, parallel=parallel)
        self.watch: Callable[[str, Progress], None] = lambda _folder, _progress: None
        self.keep: Callable[[StudyPlan, Selection], object] = lambda _plan, _selection: None
        self.ended: Callable[[Outcome], None] = lambda _outcome: None
        self._own = tuple(plan.file.budget for plan in plans)
        self._common = shared.is_set
        self._parallel = parallel
        self._fresh = fresh
        self._cache: CacheMode = cache
        self._open: set[Study] = set()
        self._tasks: list[asyncio.Task[Outcome]] = []
        self._stopping = self._cancelled = False

    def stop(self) -> None:
        """Begin no further study, and have those under way finish their calls, save and end."""
        self._stopping = True
        for study in self._open:
            study.stop()

    def stop_at_once(self) -> None:
        """Abandon the calls under way, too."""
        self.stop()
        self._cancelled = True
        for task in self._tasks:
            task.cancel()

    async def run(self) -> tuple[Outcome, ...]:
        """Return what became of each study, in the order in which they were given."""
        gate = asyncio.Semaphore(self._parallel)
        async with Lanes(_uses(self.plans), _pace) as lanes:
            numbers = range(len(self.plans))
            self._tasks = [asyncio.create_task(self._one(number, gate, lanes)) for number in numbers]
            return tuple(await asyncio.gather(*self._tasks))

    async def _one(self, number: int, gate: asyncio.Semaphore, lanes: Lanes) -> Outcome:
        """Return what became of one study, whatever that is."""
        figures: dict[str, object] = {}
        selection: Selection | None = None
        error: OptimizerError | None = None
        in_force = [self.plans[number]]
        try:
            async with gate:
                self._check_going()
                selection = await self._carried_out(number, lanes, in_force, figures)
        except asyncio.CancelledError:
            if not self._cancelled:
                raise
            error = InterruptedRunError("stopped at once; what was answered before is saved")
        except OptimizerError as told:
            error = told
        except Exception as mistake:  # noqa: BLE001  # the other studies go on; it is raised again above
            error = UnexpectedError(f"internal error: {type(mistake).__name__}: {mistake}")
            error.__cause__ = mistake
        found = selection if error is None else None
        outcome = Outcome(plan=in_force[-1], selection=found, error=error, figures=figures)
        with suppress(OSError):  # whoever watches may have closed the terminal
            self.ended(outcome)
        return outcome

    def _check_going(self) -> None:
        if self._stopping:
            raise InterruptedRunError("stopped before it was begun")

    async def _carried_out(
        self, number: int, lanes: Lanes, in_force: list[StudyPlan], figures: dict[str, object]
    ) -> Selection:
        """Return what a study found; what it used is in `figures` however it ends, the study as it was at last."""
        plan, started, was_complete = self.plans[number], time.monotonic(), False

        def settled(plan: StudyPlan, store: StudyStore) -> StudyPlan:
            nonlocal was_complete
            settled_plan, was_complete = self._settled(number, plan, store)
            in_force.append(settled_plan)
            return settled_plan

        async with open_study(
            plan,
            fresh=self._fresh,
            cache=self._cache,
            watch=lambda progress: self.watch(str(plan.folder), progress),
            lanes=lanes,
            settled=settled,
        ) as study:
            self._open.add(study)
            try:
                if self._stopping:  # while it was being opened
                    study.stop()
                selection = await optimize(study)
                _record(study.store, self._own[number], study.plan, finished=True)
                self.keep(study.plan, selection)
                return selection
            finally:
                self._open.discard(study)
                with suppress(Exception):  # what ended the run is told, not that it could not be counted
                    figures |= study_figures(study)
                    figures |= {"seconds": round(time.monotonic() - started, 1)}
                    figures |= {"complete": True} if was_complete else {}

    def _settled(self, number: int, plan: StudyPlan, store: StudyStore) -> tuple[StudyPlan, bool]:
        """Return a study with the budget in force, and whether it had come to its end with that before.

        A share is no wish for more: a study that is finished keeps the budget it was finished with, as long as its
        own is the same, so that no larger limit on all of them opens its test again.
        """
        kept, own = store.records(_SHARE).get(0), self._own[number]
        if kept is not None and kept["finished"]:
            before = dataclasses.replace(plan.file.budget, **kept["budget"])
            unchanged = kept["own"] == _limits(own)
            if before == plan.file.budget or (self._common and unchanged and not self._fresh):
                return with_budget(plan, before), True
        _record(store, own, plan, finished=False)
        return plan, False


def usual_parallel(plans: Sequence[StudyPlan]) -> int:
    """Return how many studies are carried out at once: one after the other where a model on this machine answers."""
    return 1 if all(MODELS[plan.model.provider].free for plan in plans) else USUAL_PARALLEL


def study_figures(study: Study) -> dict[str, object]:
    """Return what a study has used, and where it stands."""
    return {
        "trials": len(study.trials),
        "budget": study.plan.budget.calls,
        "failed_trials": sum(row.state == "failed" and row.outage for row in study.trials),
        **spent_figures(study.caller.spent, study.ledger),
        **study.bench.figures(),
    }


def spent_figures(spent: Spent, ledger: Ledger) -> dict[str, object]:
    """Return what was used, as `--json` shows it; failed attempts of the final test are on no trial."""
    figures = spent.to_dict()
    reasons = figures.pop("failures")
    by_trial = [
        {"trial": None if payer == NO_TRIAL else payer, "reason": reason, "attempts": n}
        for payer, reason, n in ledger.failures()
    ]
    return {
        **figures,
        "run_seconds": figures.pop("seconds"),
        "tokens": spent.tokens,
        "retried": {"total": sum(spent.failures.values()), "reasons": reasons, "by_trial": by_trial},
    }


def _uses(plans: Sequence[StudyPlan]) -> Iterator[tuple[ModelSpec, RunSpec]]:
    """Yield every model that the studies will connect to, with how it is to be asked."""
    for plan in plans:
        for spec in (plan.model, *(engaged.spec for engaged in plan.engagements.values())):
            yield spec, plan.file.run


def _pace(run: RunSpec, slots: int, free: bool) -> Pace:
    return pace_of(run, slots=slots, fixed=free)


def _record(store: StudyStore, own: object, plan: StudyPlan, *, finished: bool) -> None:
    kept = {"own": _limits(own), "budget": _limits(plan.file.budget), "finished": finished}
    store.record(_SHARE, 0, kept)


def _limits(budget: object) -> dict[str, object]:
    return {name: getattr(budget, name) for name in _LIMITS}
