"""A search replayed on recorded scores: what a budget would have bought.

Sampler, pruner, race or screening, confirmation and choice are those of a study with default settings. What is missing
is what takes a model: costs, constraints, the test. A race has all the calls, where a study sets some aside for
confirmation: what it leaves confirms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from optimizer.board import Arm, Board, Reading
from optimizer.choice import MOST_CONFIRMED, Contender, confirmations, final
from optimizer.config import BATCH, PRUNER, SAMPLER, SCREEN
from optimizer.digest import derived_seed, digest
from optimizer.pruners import NUMBER, PRUNERS, Pruning, Rung
from optimizer.racing import Bar, Doubt, Drop, Move, Open, Race, Search, Try
from optimizer.recorded import RecordedScores
from optimizer.samplers import SAMPLERS, WithinSpace
from optimizer.screening import Screening

if TYPE_CHECKING:
    from optuna import Study, Trial

# The dimension of a table without factors: the prompt itself.
_PROMPT = "prompt"

# Least share of distinct combinations of factors: where most prompts share theirs, these say little of a prompt.
_DISTINCT = 0.2

# Examples below which no pruner gives a prompt up.
_FLOOR = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulation:
    """What a search chose.

    Attributes:
        chosen: Id of the prompt.
        calls: Cells that were revealed, never more than asked for.
        validation: Shrunken estimate of the chosen prompt over all examples, in [0, 1].
        baseline: The same of the baseline.
        tried: Prompts of which a cell was revealed.
        history: After each step, the cells revealed so far and the prompt that would have been chosen.
    """

    chosen: str
    calls: int
    validation: float
    baseline: float
    tried: int
    history: tuple[tuple[int, str], ...]


def simulate(
    table: RecordedScores,
    *,
    calls: int,
    seed: int,
    sampler: str = SAMPLER,
    pruner: str | None = PRUNER,
    use_factors: bool = True,
) -> Simulation:
    """Return what a search on these scores chooses with that many calls.

    Neither the order of rows nor the names of prompts matter.

    Raises:
        ValueError: `calls` is below 1.
        PluginError: No sampler or pruner of that name.
    """
    if calls < 1:
        raise ValueError(f"simulate needs at least one call, but got calls={calls}")
    pool = _Pool(table, seed=seed, use_factors=use_factors)
    return _Replay(table, pool, calls=calls, seed=seed).run(sampler, pruner)


class _Replay:
    """One search, step by step."""

    def __init__(self, table: RecordedScores, pool: "_Pool", *, calls: int, seed: int) -> None:
        self._table = table
        self._pool = pool
        self._calls = calls
        self._seed = seed
        self._spent = self._reserve = 0
        examples = {example for row in table.scores.values() for example in row}
        order = sorted(examples, key=lambda example: (digest([seed, example]), example))
        self._board = Board(order, pool.propose, kindred=pool.kindred)
        self._arms: list[str] = []  # prompts by number
        self._trials: dict[int, Trial] = {}
        self._contest: Race | None = None
        self._history: list[tuple[int, str]] = []

    def run(self, sampler: str, pruner: str | None) -> Simulation:
        board, plan = self._board, SAMPLERS[sampler]
        rung = Rung(floor=_FLOOR, most=len(board.examples), board=board)
        self._pruning = None if pruner is None else Pruning(PRUNERS[pruner].make(rung), board)
        self._study, self._make, self._screens = _study(), plan.make, not plan.races
        board.enter([self._enter(self._table.baseline, {})])
        # The baseline is known whatever happens, even where the table lacks it on the first examples.
        self._reveal(
            0, [name for name in board.examples if name in self._table.scores[self._table.baseline]][:1]
        )
        ranking = self._race() if plan.races else self._screen()
        chosen = self._confirm([n for n in ranking if not np.isnan(board.scores[n]).all()])
        estimates = board.estimates()
        return Simulation(
            chosen=self._arms[chosen],
            calls=self._spent,
            validation=estimates[chosen],
            baseline=estimates[0],
            tried=board.n_scored,
            history=tuple(self._history),
        )

    def _race(self) -> Sequence[int]:
        race = self._contest = Race(self._board, calls=self._calls)
        race.spent = self._spent
        self._drive(race.run())
        return race.ranking

    def _screen(self) -> Sequence[int]:
        """Screen what the calls hold beside confirmation; with a pruner, whoever survives is scored on everything."""
        board, first = self._board, min(SCREEN, len(self._board.examples))
        if self._pruning is None:
            self._reserve = confirmations(self._calls, len(board.examples)) * len(board.examples)
        if (
            self._calls < self._reserve + 2 * first
        ):  # not one candidate beside it: everything goes into screening
            self._reserve = 0
        self._reveal(0, board.examples[: min(first, self._calls)])
        self._drive(Screening(board, batch=BATCH, first=first, prune=self._pruning is not None).run())
        return tuple(arm.number for arm in board.arms)

    def _drive(self, search: Search) -> None:
        """Answer what a search wants until it ends."""
        answer: object = None
        try:
            while True:
                answer = self._answer(search.send(answer))
        except StopIteration:
            return

    def _answer(self, move: Move) -> object:
        if isinstance(move, Open):
            return [self._ask() for _ in range(min(move.most, self._affordable, self._pool.n_left))]
        if isinstance(move, Try):
            return self._readings(move)
        if isinstance(move, Doubt):
            return frozenset() if self._pruning is None else self._pruning.doubted(move.arms)
        if isinstance(move, Bar):
            return frozenset()  # a table knows no costs
        if self._pruning is not None:
            self._pruning.drop(move.arms, ended=move.ended)
        self._close(move)
        return None

    @property
    def _affordable(self) -> int:
        """Return how many prompts can be screened beside the reserve; a race sees to that by itself."""
        if not self._screens:
            return len(self._table.scores)
        return (self._calls - self._reserve - self._spent) // min(SCREEN, len(self._board.examples))

    def _ask(self) -> Arm:
        """Return the next prompt, as the sampler wants it."""
        number = len(self._arms)
        seed, distributions = derived_seed(self._seed, "sampler", number), self._pool.distributions
        self._study.sampler = WithinSpace(
            self._make(seed, self._board),
            distributions,
            self._pool.holds,
            seed,
            nearest=lambda point: self._pool.nearest(point, seed),
        )
        trial = self._study.ask(fixed_distributions=dict(distributions))
        trial.set_user_attr(NUMBER, number)
        self._trials[number] = trial
        self._board.claim(trial.params)
        return self._enter(self._pool.take(trial.params), trial.params)

    def _enter(self, prompt: str, point: Mapping[str, Any]) -> Arm:
        self._arms.append(prompt)
        return Arm(number=len(self._arms) - 1, cost=1, point=point if self._pool.factored else {})

    def _readings(self, wanted: Try) -> dict[int, dict[str, Reading]] | None:
        """Reveal cells; a cell that is missing from the table costs nothing. None where the calls do not hold them."""
        found = {}
        for number, examples in wanted.work.items():
            cells = self._table.scores[self._arms[number]]
            found[number] = {name: Reading(score=cells[name]) for name in examples if name in cells}
        calls = sum(map(len, found.values()))
        if self._spent + calls > self._calls - self._reserve:
            return None
        self._spent += calls
        return found

    def _reveal(self, number: int, examples: Sequence[str]) -> None:
        """Reveal what is missing of one prompt, or nothing where the calls do not hold all of it."""
        found = self._readings(Try(work={number: self._board.missing(number, examples)}))
        self._board.take(found or {})

    def _report(self, arms: Sequence[int]) -> None:
        rows = self._board.scores[self._board.rows(arms)]
        for number, row in zip(arms, rows, strict=True):
            known = row[~np.isnan(row)]
            if len(known):
                self._trials[number].report(float(known.mean()), step=len(known))

    def _close(self, move: Drop) -> None:
        """Tell Optuna, and note what would be chosen now."""
        from optuna.trial import TrialState

        ours = tuple(number for number in move.arms if number in self._trials)
        self._report(ours)
        rows = self._board.scores[self._board.rows(ours)]
        for number, row in zip(ours, rows, strict=True):
            known = row[~np.isnan(row)]
            if move.ended and len(known):
                self._study.tell(self._trials[number], float(known.mean()))
            else:
                self._study.tell(self._trials[number], state=TrialState.PRUNED)
        if move.ended:
            estimates = self._board.estimates()
            self._history.append((self._spent, self._arms[max(estimates, key=lambda n: estimates[n])]))
        elif self._contest is not None:
            self._history.append((self._spent, self._arms[self._contest.ranking[0]]))

    def _confirm(self, ranking: Sequence[int]) -> int:
        """Reveal what is missing of the best, as far as the calls go, and choose among them."""
        self._reserve = 0
        best = self._board.best_first([number for number in ranking if number])[:MOST_CONFIRMED]
        for number in [*best, 0]:
            self._reveal(number, self._board.examples)
        estimates = self._board.estimates()
        baseline, *others = (self._contender(n, estimates) for n in (0, *best))
        found = int(final(baseline, others).arm)
        self._history.append((self._spent, self._arms[found]))
        return found

    def _contender(self, number: int, estimates: Mapping[int, float]) -> Contender:
        row = self._board.scores[number]
        known = {str(k): float(row[k]) for k in np.flatnonzero(~np.isnan(row))}
        return Contender(arm=str(number), scores=known, estimate=estimates[number])


class _Pool:
    """The prompts of a table that were not tried yet, and where they lie in a space of factors.

    A prompt is known here by what it is, its factors and scores, not by its name: the digest of that only shuffles.
    """

    def __init__(self, table: RecordedScores, *, seed: int, use_factors: bool) -> None:
        from optuna.distributions import CategoricalDistribution

        contents = {
            arm: digest([seed, dict(table.factors[arm]), dict(row)]) for arm, row in table.scores.items()
        }
        levels: Mapping[str, Mapping[str, str]] = table.factors if use_factors else {}
        names = sorted({name for row in levels.values() for name in row})
        self.factored = len({tuple(sorted(levels[arm].items())) for arm in table.scores} if names else ()) > 1
        if not self.factored:
            levels, names = {arm: {_PROMPT: contents[arm]} for arm in table.scores}, [_PROMPT]
        combinations = {tuple(sorted(levels[arm].items())) for arm in table.scores}
        varied = [name for name in names if len({row[name] for row in levels.values()}) > 1]
        self.kindred = (
            self.factored and len(varied) > 1 and len(combinations) >= _DISTINCT * len(table.scores)
        )
        self.distributions = {
            name: CategoricalDistribution(sorted({row[name] for row in levels.values()})) for name in names
        }
        arms = sorted((arm for arm in table.scores if arm != table.baseline), key=lambda a: (contents[a], a))
        self._left: dict[str, Mapping[str, str]] = {arm: levels[arm] for arm in arms}
        self._at: dict[tuple[str, ...], list[str]] = {}
        for arm in reversed(arms):
            self._at.setdefault(self._place(levels[arm]), []).append(arm)

    @property
    def n_left(self) -> int:
        return len(self._left)

    def _place(self, point: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(point[name] for name in self.distributions)

    def propose(self, rng: Random, n: int) -> Sequence[Mapping[str, str]]:
        """Return up to `n` points, drawn evenly from the prompts that are left."""
        left = list(self._left.values())
        return rng.sample(left, min(n, len(left)))

    def holds(self, point: Mapping[str, object]) -> bool:
        return bool(self._at.get(self._place(point)))

    def nearest(self, point: Mapping[str, object], seed: int) -> Mapping[str, str]:
        """Return the levels of a prompt that shares as many as any with a point."""
        shared = {arm: sum(row[n] == v for n, v in point.items()) for arm, row in self._left.items()}
        most = max(shared.values())
        arm = Random(seed).choice([arm for arm, n in shared.items() if n == most])
        return self._left[arm]

    def take(self, point: Mapping[str, object]) -> str:
        """Return a prompt that lies at a point, and count it as tried."""
        arm = self._at[self._place(point)].pop()
        del self._left[arm]
        return arm


def _study() -> "Study":
    """Return a study of Optuna's in memory."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        study_name="simulation", direction="maximize", pruner=optuna.pruners.NopPruner()
    )
