"""Samplers: which point of the space is tried next. Each is an Optuna `BaseSampler`, so those of others fit.

Optuna's samplers are told the score of each trial that has ended. One that wants more, such as the scores of single
examples, is made with the board of the search.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from optimizer.board import Board
from optimizer.candidate import Parameter
from optimizer.registry import Registry

# Draws of the sampler before a point near its last one is taken: a few, because each draw of a fitted sampler costs
# as much as the fit, and a favourite that was tried is drawn again and again.
_TRIES = 4

# n stands for the id that ends in it, never for an order; more than any study makes.
MOST_PARTS = 4096
IDS = IntDistribution(0, MOST_PARTS - 1)

Nearest = Callable[[Mapping[str, Parameter]], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampler:
    """One sampler.

    Attributes:
        make: Makes it from a seed and the board. It is made anew before each ask, so that a resumed study continues
            as if it had not been interrupted; it may keep nothing in memory from one ask to the next.
        races: Whether its candidates race each other, many at once. The others are screened batch by batch.
    """

    make: Callable[[int, Board], BaseSampler]
    races: bool = False


SAMPLERS: Registry[Sampler] = Registry("optimizer.samplers", Sampler)


def sampler(make: Callable[[int], BaseSampler]) -> Sampler:
    """Make a sampler plug-in of a function from a seed to an Optuna sampler."""
    return Sampler(make=lambda seed, _board: make(seed))


def racing_sampler(make: Callable[[int, Board], BaseSampler]) -> Sampler:
    """Make a sampler plug-in of a function from a seed and the board; its candidates race each other."""
    return Sampler(make=make, races=True)


class WithinSpace(BaseSampler):
    """Asks another sampler for a point, and takes one near it where what it names is not admissible.

    Optuna's samplers know each dimension by itself, not which combinations can be run or were tried already.

    Args:
        inner: The sampler to ask.
        distributions: The whole space.
        admissible: Whether a point may be tried.
        seed: Decides between points that are equally near.
        planned: A point that is due and admissible; the inner sampler is then not asked.
        nearest: Gives an admissible point near another one; without it `near_point` does.
    """

    def __init__(
        self,
        inner: BaseSampler,
        distributions: Mapping[str, CategoricalDistribution],
        admissible: Callable[[Mapping[str, Parameter]], bool],
        seed: int,
        *,
        planned: Mapping[str, Parameter] | None = None,
        nearest: Nearest | None = None,
    ) -> None:
        self._inner = inner
        self._distributions = dict(distributions)
        self._admissible = admissible
        self._seed = seed
        self._planned = planned
        self._nearest = nearest

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the whole space: a point is judged as one."""
        return dict(self._distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return an admissible point; the caller has made sure that there is one."""
        if self._planned is not None:
            return dict(self._planned)
        # Not what the sampler infers: one trial outside the space, such as a baseline, would end all joint modelling.
        modelled: dict[str, BaseDistribution] = {
            n: d for n, d in self._distributions.items() if not d.single()
        }
        point: dict[str, Any] = {}
        for _ in range(_TRIES):
            point = dict(self._inner.sample_relative(study, trial, modelled))
            for name, distribution in self._distributions.items():
                if name not in point:
                    point[name] = self._inner.sample_independent(study, trial, name, distribution)
            if self._admissible(point):
                return point
        if self._nearest is not None:
            return dict(self._nearest(point))
        found = near_point(self._distributions, self._admissible, self._seed, point)
        assert found is not None  # the study asks only while the space holds one
        return found

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        """Return a value for a dimension outside the space, of which there is none in a study of ours."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)


class Numbered(BaseSampler):
    """Asks another sampler, and gives ids as the numbers in them: a list of names cannot grow in Optuna, a range can.

    Args:
        inner: The sampler to ask.
        names: The dimensions whose values are ids such as `d0042`.
    """

    def __init__(self, inner: BaseSampler, names: Sequence[str]) -> None:
        self._inner = inner
        self._names = tuple(names)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the space of the inner sampler, its ids as numbers."""
        space = self._inner.infer_relative_search_space(study, trial)
        return {name: IDS if name in self._names else d for name, d in space.items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the point of the inner sampler, its ids as numbers."""
        point = self._inner.sample_relative(study, trial, search_space)
        return {name: int(str(v)[1:]) if name in self._names else v for name, v in point.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        """Return a value for a dimension outside the space, of which there is none in a study of ours."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)


def near_point(
    distributions: Mapping[str, CategoricalDistribution],
    admissible: Callable[[Mapping[str, Parameter]], bool],
    seed: int,
    point: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Return an admissible point that differs from another one in one dimension, else any, or None when there is none."""
    neighbours = [
        {**point, name: value}
        for name, distribution in distributions.items()
        for value in distribution.choices
        if value != point[name]
    ]
    shuffled = Random(seed).sample(neighbours, len(neighbours))  # repeatable choice, not secrecy
    found = next((neighbour for neighbour in shuffled if admissible(neighbour)), None)
    return free_point(distributions, admissible, seed) if found is None else found


def free_point(
    distributions: Mapping[str, CategoricalDistribution],
    admissible: Callable[[Mapping[str, Parameter]], bool],
    seed: int,
) -> dict[str, Any] | None:
    """Return an admissible point, drawn evenly from a seeded order of each dimension, or None when there is none."""
    rng = Random(seed)  # repeatable choice, not secrecy
    shuffled = [rng.sample(list(d.choices), len(d.choices)) for d in distributions.values()]
    for values in itertools.product(*shuffled):
        point: dict[str, Any] = dict(zip(distributions, values, strict=True))
        if admissible(point):
            return point
    return None
