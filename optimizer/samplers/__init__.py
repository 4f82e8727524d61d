"""Samplers: which point of the space is tried next. Each is an Optuna `BaseSampler`, so those of others fit."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from optimizer.candidate import Parameter
from optimizer.registry import Registry

# Draws of the sampler before a free point is looked for without it; enough to pass by all neighbours of a favourite.
_TRIES = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampler:
    """One sampler.

    Attributes:
        make: Makes it from a seed. It is made anew before each ask, so that a resumed study continues as if it had
            not been interrupted; it may keep nothing in memory from one ask to the next.
    """

    make: Callable[[int], BaseSampler]


SAMPLERS: Registry[Sampler] = Registry("optimizer.samplers", Sampler)


def sampler(make: Callable[[int], BaseSampler]) -> Sampler:
    """Make a sampler plug-in of a function from a seed to an Optuna sampler."""
    return Sampler(make=make)


class WithinSpace(BaseSampler):
    """Asks another sampler until it names a point that is admissible, then falls back to an even draw.

    Optuna's samplers know each dimension by itself, not which combinations can be run or were tried already.

    Args:
        inner: The sampler to ask.
        distributions: The whole space.
        admissible: Whether a point may be tried.
        seed: Decides the even draw.
        planned: A point that is due and admissible; the inner sampler is then not asked.
    """

    def __init__(
        self,
        inner: BaseSampler,
        distributions: Mapping[str, CategoricalDistribution],
        admissible: Callable[[Mapping[str, Parameter]], bool],
        seed: int,
        *,
        planned: Mapping[str, Parameter] | None = None,
    ) -> None:
        self._inner = inner
        self._distributions = dict(distributions)
        self._admissible = admissible
        self._seed = seed
        self._planned = planned

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
        for _ in range(_TRIES):
            point: dict[str, Any] = dict(self._inner.sample_relative(study, trial, modelled))
            for name, distribution in self._distributions.items():
                if name not in point:
                    point[name] = self._inner.sample_independent(study, trial, name, distribution)
            if self._admissible(point):
                return point
        found = free_point(self._distributions, self._admissible, self._seed)
        assert found is not None  # the study asks only while the space holds one
        return found

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        """Return a value for a dimension outside the space, of which there is none in a study of ours."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)


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
