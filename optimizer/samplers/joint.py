"""All dimensions together, racing, with strength shared between arms: the search of this product.

The race (`optimizer.racing`) opens with points drawn evenly. Arms that are wanted later are those of which the scores
so far, those of their kin by factors, let the most be expected.
"""

import itertools
from random import Random
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from optimizer.board import Board
from optimizer.samplers import racing_sampler


class JointSampler(BaseSampler):
    """Draws evenly at first, then takes what the board expects most of."""

    def __init__(self, seed: int, board: Board) -> None:
        self._rng = Random(seed)  # repeatable choice, not secrecy
        self._seed = seed
        self._board = board
        self._tries = 0

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing: the caller says what the space is."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the best point that has not entered; an even one where nothing is known yet or none is proposed."""
        if self._board.kindred and self._board.n_scored > 1:
            outside = (p for _, p in self._board.outlook().points if not self._board.has_entered(p))
            # What is the best of them may turn out to be the same prompt as another: the next draw is the next best.
            points = list(itertools.islice(outside, self._tries, self._tries + 1))
            self._tries += 1
        else:
            points = list(self._board.propose(self._rng, 1))
        if points:
            return dict(points[0])
        even = RandomSampler(seed=self._seed)
        return {
            name: even.sample_independent(study, trial, name, distribution)
            for name, distribution in search_space.items()
        }

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        """Return an even draw for a dimension that no point named."""
        even = RandomSampler(seed=self._seed)
        return even.sample_independent(study, trial, param_name, param_distribution)


@racing_sampler
def joint(seed: int, board: Board) -> BaseSampler:
    """Return the sampler of a race."""
    return JointSampler(seed, board)
