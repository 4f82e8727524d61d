"""A search replayed on recorded scores: what a budget would have bought.

Sampler, batches, confirmation and choice are those of a study with default settings. What is missing is what takes a
model: costs, constraints, the test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from optimizer.choice import MOST_CONFIRMED, Contender, confirmations, final, shortlist
from optimizer.config import BATCH, SAMPLER, SCREEN
from optimizer.digest import derived_seed, digest
from optimizer.effects import ArmEffects, arm_effects
from optimizer.recorded import RecordedScores
from optimizer.samplers import SAMPLERS, WithinSpace

if TYPE_CHECKING:
    from optuna import Study

# The dimension of a table without factors: the prompt itself.
_PROMPT = "prompt_id"


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
    use_factors: bool = True,
) -> Simulation:
    """Return what a search on these scores chooses with that many calls; the order of rows does not matter.

    Raises:
        ValueError: `calls` is below 1.
        PluginError: No sampler of that name.
    """
    if calls < 1:
        raise ValueError(f"simulate needs at least one call, but got calls={calls}")
    return _Replay(table, calls=calls, seed=seed, sampler=sampler, use_factors=use_factors).run()


class _Replay:
    """One search, step by step."""

    def __init__(
        self, table: RecordedScores, *, calls: int, seed: int, sampler: str, use_factors: bool
    ) -> None:
        self._table = table
        self._calls = calls
        self._seed = seed
        self._pool = _Pool(table, seed=seed, use_factors=use_factors)
        self._factors = table.factors if use_factors else None
        self._make = SAMPLERS[sampler].make
        examples = {example for row in table.scores.values() for example in row}
        self._order = sorted(examples, key=lambda example: (digest([seed, example]), example))
        self._known: dict[str, dict[str, float]] = {}  # in the order in which arms were first asked for
        self._history: list[tuple[int, str]] = []
        self._study = _study()

    @property
    def _spent(self) -> int:
        return sum(map(len, self._known.values()))

    def run(self) -> Simulation:
        screen = min(SCREEN, len(self._order))
        n_confirmed = confirmations(self._calls, len(self._order))
        reserve = n_confirmed * len(self._order)
        if self._calls < reserve + 2 * screen:  # not one candidate beside it: everything goes into screening
            n_confirmed = reserve = 0
        self._screen([self._table.baseline], screen)
        number = 1
        while size := min(BATCH, (self._calls - reserve - self._spent) // screen, self._pool.n_left):
            asked = [(k, *self._ask(k)) for k in range(number, number + size)]
            self._screen([arm for _, _, arm in asked], screen)
            for _, trial, arm in asked:
                row = self._known[arm]
                self._study.tell(trial, sum(row.values()) / len(row))
            number += size
        chosen = self._confirm(n_confirmed)
        estimates = self._effects().estimates
        return Simulation(
            chosen=chosen,
            calls=self._spent,
            validation=estimates[chosen],
            baseline=estimates[self._table.baseline],
            tried=len(self._known),
            history=tuple(self._history),
        )

    def _ask(self, number: int) -> tuple[Any, str]:
        """Return the trial of the next arm, and the arm."""
        seed, distributions = derived_seed(self._seed, "sampler", number), self._pool.distributions
        self._study.sampler = WithinSpace(
            self._make(seed),
            distributions,
            self._pool.holds,
            seed,
            nearest=lambda point: self._pool.nearest(point, seed),
        )
        trial = self._study.ask(fixed_distributions=dict(distributions))
        return trial, self._pool.take(trial.params)

    def _screen(self, arms: Sequence[str], n: int) -> None:
        """Reveal the first examples of some arms, as far as the calls go."""
        for arm in arms:
            cells, known = self._table.scores[arm], self._known.setdefault(arm, {})
            left = self._calls - self._spent
            todo = [example for example in self._order if example in cells][:n]
            todo = [example for example in todo if example not in known][:left]
            known |= {example: cells[example] for example in todo}
            if not known:
                del self._known[arm]
        self._history.append((self._spent, self._effects().best(list(self._known))))

    def _confirm(self, n: int) -> str:
        """Confirm the best arms and choose among them; among all where none could be confirmed."""
        effects, candidates = self._effects(), [arm for arm in self._known if arm != self._table.baseline]
        if not n or not candidates:
            return effects.best(list(self._known))
        # Where all were tried, what the search left over confirms more of them.
        n = max(n, min(1 + MOST_CONFIRMED, (self._calls - self._spent) // len(self._order)))
        finalists = shortlist([self._contender(arm, effects) for arm in candidates], max(1, n - 1))
        self._screen([*finalists, *([self._table.baseline] if n > 1 else [])], len(self._order))
        effects = self._effects()
        baseline, *others = (self._contender(arm, effects) for arm in (self._table.baseline, *finalists))
        found = final(baseline, others).arm
        self._history[-1] = (self._spent, found)
        return found

    def _contender(self, arm: str, effects: ArmEffects) -> Contender:
        return Contender(arm=arm, scores=self._known[arm], estimate=effects.estimates[arm])

    def _effects(self) -> ArmEffects:
        return arm_effects(self._known, factors=self._factors)


class _Pool:
    """The prompts of a table that were not tried yet, and where they lie in a space of factors."""

    def __init__(self, table: RecordedScores, *, seed: int, use_factors: bool) -> None:
        from optuna.distributions import CategoricalDistribution

        levels: Mapping[str, Mapping[str, str]] = table.factors if use_factors else {}
        names = sorted({name for row in levels.values() for name in row})
        if len({tuple(sorted(levels[arm].items())) for arm in table.scores} if names else ()) < 2:
            levels, names = {arm: {_PROMPT: arm} for arm in table.scores}, [_PROMPT]
        self.distributions = {
            name: CategoricalDistribution(sorted({row[name] for row in levels.values()})) for name in names
        }
        arms = sorted(arm for arm in table.scores if arm != table.baseline)
        self._left: dict[str, Mapping[str, str]] = {
            arm: levels[arm] for arm in Random(derived_seed(seed, "pool")).sample(arms, len(arms))
        }

    @property
    def n_left(self) -> int:
        return len(self._left)

    def holds(self, point: Mapping[str, object]) -> bool:
        return any(row == point for row in self._left.values())

    def nearest(self, point: Mapping[str, object], seed: int) -> Mapping[str, str]:
        """Return the levels of a prompt that shares as many as any with a point."""
        shared = {arm: sum(row[n] == v for n, v in point.items()) for arm, row in self._left.items()}
        most = max(shared.values())
        arm = Random(seed).choice([arm for arm, n in shared.items() if n == most])
        return self._left[arm]

    def take(self, point: Mapping[str, object]) -> str:
        """Return a prompt that lies at a point, and count it as tried."""
        arm = next(arm for arm, row in self._left.items() if row == point)
        del self._left[arm]
        return arm


def _study() -> "Study":
    """Return a study of Optuna's in memory."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
