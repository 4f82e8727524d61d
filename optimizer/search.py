"""The search of a study: what is found out on train, the baseline, then the race or the screening that its sampler wants.

A race or a screening says what it wants to know (`optimizer.racing`) and is answered from the model. It depends on
nothing but the answers, so a search that was interrupted is simply run again: what was paid for is answered from the
store at once, what was asked of the sampler is asked no second time, and the rest goes on as if nothing had happened.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from random import Random

from optimizer.batches import screen_batches
from optimizer.board import Arm, Board, Point, Reading
from optimizer.bounds import mean_calls
from optimizer.calls import NO_TRIAL
from optimizer.candidate import Candidate
from optimizer.errors import IncompleteError
from optimizer.evaluation import Evaluation, Result
from optimizer.excess import Excess
from optimizer.history import State, TrialRecord
from optimizer.legs import Leg, Lost, lost_of, restored
from optimizer.prompt import PromptTemplate
from optimizer.pruners import PRUNERS, Pruning, Rung
from optimizer.racing import Bar, Doubt, Move, Open, Race, Search, Try
from optimizer.refusals import Refusals, sorted_out
from optimizer.samplers import MOST_PARTS, SAMPLERS
from optimizer.screening import Screening
from optimizer.study import Study
from optimizer.variation import vary

# Examples below which no pruner gives a candidate up.
FLOOR = 20

# Arms whose demonstrations have a child whenever new arms are wanted.
_PARENTS = 4

# How often as many points are drawn as are wanted, where some of them are known to break a constraint.
_DRAWS = 8

_TOLD_AT_ONCE = 64

# More confirmations than a study makes.
_HANDED_OVER = 64

# Under which name it is kept what of the baseline's first examples got no score.
_OPENING = "opening"


async def search(study: Study) -> tuple[TrialRecord, ...]:
    """Return all trials, after spending what the budget holds for the search.

    Raises:
        IncompleteError: When the baseline, or everything that was asked for at once, could not be scored.
        InterruptedRunError: After `study.stop`.
        ModelError: When the endpoint is down, or would refuse every request.
    """
    await study.scout()
    if study.plan.races or study.plan.file.search.pruner is not None:
        return await _Searching(study).run()
    return await screen_batches(study)


@dataclasses.dataclass(kw_only=True, slots=True)
class _Contestant:
    """An arm with what became of it so far."""

    candidate: Candidate
    template: PromptTemplate
    results: dict[str, Result] = dataclasses.field(default_factory=dict)


class _Searching:
    """Answers a race or a screening from the model, and keeps the books."""

    def __init__(self, study: Study) -> None:
        plan = study.plan
        self._study = study
        self._examples = {example.id: example for example in plan.dataset.validation}
        examples, varied = tuple(self._examples), study.space.varied
        self._most = max(plan.file.search.demos.sizes, default=0)
        self._board = Board(
            examples, self._propose, kindred=varied, growing=self._most > 0, traits=self._traits
        )
        self._goes_by_kin = self._board.kindred and SAMPLERS[plan.file.search.sampler.name].races
        self._arms: dict[int, _Contestant] = {}
        self._untold = 0
        self._told: dict[int, tuple[int, tuple[int, int]]] = {}  # results and account by arm, when last told
        self._pruning: Pruning | None = None
        self._excess = Excess(plan.file.constraints, plan.dataset.validation, plan.price)
        allowed = plan.file.run.max_error_rate * len(examples)
        self._refusals = study.asked.refusals = Refusals(self._traits, allowed=allowed, store=study.store)
        self._race: Race | None = None
        self._leg = Leg(first=0, calls=0, budget={})
        self._n_tries = self._left = 0

    async def run(self) -> tuple[TrialRecord, ...]:
        """Take up every leg that was begun, then begin another one where the budget holds it."""
        study = self._study
        await self._begin()
        study.enter("search")
        legs = [Leg(**kept) for kept in study.store.records("leg").values()]
        for number, leg in enumerate(legs):
            await self._go(number, leg)
        # How far tokens and time go is known better after confirmation and test; that is no reason to go on.
        budget = {name: n for name, n in dataclasses.asdict(study.plan.budget).items() if name != "attempts"}
        if not legs or legs[-1].budget != budget:
            batch = study.plan.file.run.batch
            leg = Leg(first=study.next_number, calls=study.race_calls(), budget=budget, batch=batch)
            # A confirmation that was interrupted before the budget grew has paid under the first of these numbers.
            study.ledger.hand_over(range(leg.first, leg.first + _HANDED_OVER), NO_TRIAL)
            study.store.record("leg", len(legs), dataclasses.asdict(leg))
            await self._go(len(legs), leg)
        return study.trials

    def _propose(self, rng: Random, n: int) -> Sequence[Point]:
        """Return points that may be tried: even draws, and where scores are to go by, the best ones with new parts."""
        study = self._study
        bred = self._bred(rng) if n > 1 and study.plan.races else []
        if not self._excess.limited and not self._refusals.found:
            return (*bred, *study.space.draw(rng, n))
        found = list[Point]()
        for _ in range(_DRAWS):
            found += filter(study.asked.admits, study.space.draw(rng, n))
            if len(found) >= n:
                break
        return (*filter(study.asked.admits, bred), *found[:n])

    def _traits(self, point: Point) -> Mapping[str, str]:
        return self._study.space.traits(point)  # which grows

    def _bred(self, rng: Random) -> list[Point]:
        """Let the demonstrations of the best arms have children, which the space holds from then on."""
        study, estimates = self._study, self._board.estimates()
        best = [self._arms[n].candidate for n in sorted(estimates, key=lambda n: -estimates[n])]
        parents = [candidate for candidate in best if candidate.demonstrations.size][:_PARENTS]
        points = list[Point]()
        for parent in parents:
            child = vary(
                parent.demonstrations,
                study.plan.dataset.train,
                rng.randrange(2**31),
                most=self._most,
                least=1,
            )
            before = len(study.space.demonstration_sets)
            if child is None or before >= MOST_PARTS:
                continue
            study.grow(study.space.grown(demonstration_sets=[child]))
            born = study.space.demonstration_sets[before:]
            points += [{**parent.point, "demonstrations": shown.id} for shown in born]
        return points

    async def _begin(self) -> None:
        """Score the baseline on the first examples."""
        study = self._study
        baseline = study.space.baseline
        template = study.space.render(baseline)
        assert template is not None  # the plan was refused otherwise
        self._board.enter([self._enter(0, baseline, template)])
        work = {0: self._board.examples[: study.plan.screen]}
        kept = study.store.records(_OPENING).get(0, {}) if study.trials else {}
        self._board.take(await self._try(self._known(work, kept.get("missing", ()))))
        self._excess.learn(template, list(self._arms[0].results.values()))
        study.asked.excess = self._excess
        if study.trials:
            return
        study.store.record(_OPENING, 0, {"missing": self._lost(work)})
        study.keep([self._row(0, "complete")])

    async def _go(self, number: int, leg: Leg) -> None:
        """Search for the calls of a leg, if a candidate can be tried with them."""
        plan = self._study.plan
        if leg.calls < plan.bounds.candidate.calls:
            return
        self._number, self._leg, self._n_tries = number, leg, 0
        self._next, self._left = leg.first, leg.calls
        self._pruning = self._new_pruning()
        if plan.races:
            cost = mean_calls(plan.space)
            race = self._race = Race(self._board, calls=leg.calls, first=plan.first, cost=cost)
            await self._drive(race.run())
            self._study.ranking = self._board.best_first(race.ranking)
        else:
            # Another batch in the file is for what is begun from now on: the asks of this one were made by its own.
            batch = leg.batch or plan.file.run.batch
            screening = Screening(self._board, batch=batch, first=plan.first, prune=self._pruning is not None)
            await self._drive(screening.run())
        leg.over = True
        self._study.store.record("leg", number, dataclasses.asdict(leg))
        told = {n: n_results for n, (n_results, _) in self._told.items()}
        changed = [n for n, arm in sorted(self._arms.items()) if len(arm.results) != told.get(n, 0)]
        self._close(changed, state="complete")
        self._balance()

    def _new_pruning(self) -> Pruning | None:
        pruner = self._study.plan.file.search.pruner
        if pruner is None:
            return None
        n = len(self._examples)
        rung = Rung(floor=min(FLOOR, n), most=n, board=self._board)
        return Pruning(PRUNERS[pruner.name].make(rung), self._board)

    async def _drive(self, wanted: Search) -> None:
        """Answer what a search wants until it ends."""
        answer: object = None
        try:
            while True:
                answer = await self._answer(wanted.send(answer))
        except StopIteration:
            return

    async def _answer(self, move: Move) -> object:
        if isinstance(move, Open):
            return self._open(move.most)
        if isinstance(move, Try):
            return await self._readings(move.work)
        if isinstance(move, Doubt):
            return frozenset() if self._pruning is None else self._pruning.doubted(move.arms)
        if isinstance(move, Bar):
            return frozenset(number for number in move.arms if self._barred(number))
        if self._pruning is not None:
            self._pruning.drop(move.arms, ended=move.ended)
        self._close(move.arms, state="complete" if move.ended else "pruned")
        return None

    def _barred(self, number: int) -> bool:
        arm = self._arms[number]
        return self._refusals.bars(number) or self._excess.shown(arm.template, list(arm.results.values()))

    def _open(self, most: int) -> Sequence[Arm]:
        """Return fresh arms, as the sampler wants them."""
        study = self._study
        if not study.plan.races:
            most = min(most, self._left // study.plan.bounds.candidate.calls)
        if self._goes_by_kin and self._board.n_scored > 1:
            self._board.outlook()  # new parts are made whether the sampler is asked or was asked by an earlier process
        asked = study.asked.ask(range(self._next, self._next + most), self._board)
        self._next += len(asked)
        return [self._enter(number, candidate, template) for number, candidate, template in asked]

    def _enter(self, number: int, candidate: Candidate, template: PromptTemplate) -> Arm:
        self._arms[number] = _Contestant(candidate=candidate, template=template)
        return Arm(number=number, cost=len(template.calls), point=candidate.point)

    async def _readings(self, work: Mapping[int, Sequence[str]]) -> dict[int, dict[str, Reading]] | None:
        """Return scores, or None where the budget does not hold them beside confirmation and test."""
        calls = sum(len(self._arms[n].template.calls) * len(examples) for n, examples in work.items())
        if calls > self._left or not self._holds(work):
            return None
        self._left -= calls
        readings = await self._answered(work)
        if self._race is not None:  # which counts those with a score itself
            told = sum(len(self._arms[n].template.calls) * len(found) for n, found in readings.items())
            self._race.spent += calls - told
        return readings

    async def _answered(self, work: Mapping[int, Sequence[str]]) -> dict[int, dict[str, Reading]]:
        """Return what some work brought, and keep what of it got no score."""
        leg, number = self._leg, str(self._n_tries)
        # It was done with when the next one began, or the search ended.
        if self._n_tries < leg.tries + leg.over:
            return await self._try(self._known(work, leg.missing.get(number, ())))
        readings = await self._try(work)
        lost = self._lost(work)
        leg.missing |= {number: lost} if lost else {}
        return readings

    def _note(self, number: int, results: Sequence[Result]) -> None:
        answered, refused = sorted_out(results)
        self._refusals.note(number, self._arms[number].candidate.point, answered=answered, refused=refused)

    def _lost(self, work: Mapping[int, Sequence[str]]) -> list[Lost]:
        """Return what of some work got no score."""
        return lost_of({n: [self._arms[n].results[name] for name in names] for n, names in work.items()})

    def _known(self, work: Mapping[int, Sequence[str]], missing: Sequence[Lost]) -> dict[int, Sequence[str]]:
        """Return some work without what got no score when it was done; that is noted as it was."""
        for lost in missing:
            number, name, *_ = lost
            found = restored(lost, self._examples[name], self._study.plan.price)
            self._arms[number].results[name] = found
            self._note(number, [found])
        gone = {(n, name) for n, name, *_ in missing}
        return {n: [name for name in names if (n, name) not in gone] for n, names in work.items()}

    def _holds(self, work: Mapping[int, Sequence[str]]) -> bool:
        """Return whether the budget holds some work; what was found of it once is not asked again.

        What an earlier process sent, and what was confirmed and tested since, is spent and would count twice.
        """
        study, leg = self._study, self._leg
        self._n_tries += 1
        if self._n_tries <= leg.tries or leg.over:
            return self._n_tries <= leg.tries
        templates = [(self._arms[number].template, names) for number, names in work.items()]
        unpaid = [
            (template, [self._examples[name] for name in names if name not in study.paid(template)])
            for template, names in templates
        ]
        leg.over = any(examples for _, examples in unpaid) and not study.affords(unpaid)
        leg.tries += not leg.over
        study.store.record("leg", self._number, dataclasses.asdict(leg))
        return not leg.over

    async def _try(self, work: Mapping[int, Sequence[str]]) -> dict[int, dict[str, Reading]]:
        study = self._study
        jobs = [
            (self._arms[number].template, [self._examples[name] for name in examples], number)
            for number, examples in work.items()
        ]
        evaluations = await study.score_all(jobs)
        for (_, _, number), evaluation in zip(jobs, evaluations, strict=True):
            self._arms[number].results |= {result.example.id: result for result in evaluation.results}
            self._note(number, evaluation.results)
        self._refusals.keep()
        results = [result for evaluation in evaluations for result in evaluation.results]
        # One example alone may be what fails; of several in a row the endpoint is the likelier cause.
        if len(results) > 1 and all(result.outage for result in results):
            raise IncompleteError(f"none of {len(results)} calls could be scored: {evaluations[0].failure}")
        return {
            number: {r.example.id: _reading(r) for r in evaluation.results if r.score is not None}
            for (_, _, number), evaluation in zip(jobs, evaluations, strict=True)
        }

    def _close(self, arms: Sequence[int], state: State) -> None:
        """Record what became of some arms."""
        self._told |= {n: (len(self._arms[n].results), self._study.ledger.tally(n)) for n in arms}
        self._untold += len(arms)
        # Optuna reads every running trial again whenever it is told of one, so it is told of many at once.
        tell = self._pruning is not None or state == "complete" or self._untold >= _TOLD_AT_ONCE
        self._untold = 0 if tell else self._untold
        rows = [self._row(number, state) for number in arms if self._arms[number].results]
        self._study.keep(rows, tell=tell)

    def _balance(self) -> None:
        """Record anew what is paid for by others since: of those that begin alike the first pays, whoever asked first."""
        study, rows = self._study, list[TrialRecord]()
        for row in study.trials:
            number, (calls, answered) = row.trial, study.ledger.tally(row.trial)
            if row.stage == "confirm" and calls != row.calls:
                rows.append(dataclasses.replace(row, calls=calls, cached=row.cached + row.calls - calls))
            elif number in self._told and self._told[number][1] != (calls, answered):
                self._told[number] = (self._told[number][0], (calls, answered))
                rows.append(self._row(number, row.state))
        study.keep(rows)

    def _row(self, number: int, state: State) -> TrialRecord:
        candidate, evaluation = self._arms[number].candidate, self._evaluation(number)
        whole = len(self._examples)
        if number:
            return self._study.row(number, "search", candidate, evaluation, state, of=whole)
        # It may leave the race, and is never given up.
        row = self._study.row(0, "baseline", candidate, evaluation, of=whole)
        if row.state == "failed":
            self._forget()
            raise IncompleteError(f"the baseline could not be scored: {evaluation.failure}")
        return row

    def _forget(self) -> None:
        """Have everything that got no score asked for again, as if for the first time: without a baseline nothing counts."""
        self._study.store.record(_OPENING, 0, {"missing": []})
        for number, leg in self._study.store.records("leg").items():
            self._study.store.record("leg", number, {**leg, "missing": {}, "tries": 0, "over": False})

    def _evaluation(self, number: int) -> Evaluation:
        arm = self._arms[number]
        results = tuple(arm.results[name] for name in self._board.examples if name in arm.results)
        return Evaluation(fingerprint=arm.template.fingerprint, results=results, scorer=self._study.scorer)


def _reading(result: Result) -> Reading:
    return Reading(score=result.score or 0.0, valid=result.answer.outcome == "ok")
