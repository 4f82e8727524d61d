"""A candidate that is proven worse than the best one so far, on the examples both have, is given up.

For 0/1 scores the sequential sign test, exact, with a look after every `LOOK` shared examples; for graded ones the
betting test, which may be looked at as often as one likes (`optimizer.sequential`). Of two equal candidates one is given
up in 5 % of cases at most, over all looks: either may be the one that is ahead, so each side has half of that.
"""

import math

import numpy as np
from optuna import Study
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from optimizer.posterior import Array
from optimizer.pruners import NUMBER, Rung, pruner
from optimizer.sequential import betting_p_value, sequential_sign_test

LOOK = 10
_LEVEL = 0.975


class PairedTestPruner(BasePruner):
    """Decides from the scores of single examples."""

    def __init__(self, rung: Rung) -> None:
        self._rung = rung
        self._best: tuple[tuple[int, tuple[int, ...]], int | None] | None = None

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether a trial is proven worse than the best of those still running and those that went to the end."""
        board, number = self._rung.board, trial.user_attrs[NUMBER]
        scores = board.scores[board.rows([number])[0]]
        if (~np.isnan(scores)).sum() < self._rung.floor:
            return False  # before the others are looked at: most of a race's arms never have as many scores
        # Candidates that come one at a time have nobody beside them: the incumbent is one that went to the end.
        others = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.COMPLETE))
        numbers = tuple(each.user_attrs[NUMBER] for each in others if NUMBER in each.user_attrs)
        best = self._incumbent(numbers)
        return best is not None and self._is_worse(scores, board.scores[board.rows([best])[0]])

    def _incumbent(self, numbers: tuple[int, ...]) -> int | None:
        """Return which of some trials has the highest posterior mean; None where fewer than two have a score.

        All who are in doubt at once are compared with one and the same, which is looked for once.
        """
        board = self._rung.board
        known = (board.n_scores, numbers)
        if self._best is None or self._best[0] != known:
            scored = [n for n in numbers if not np.isnan(board.scores[board.rows([n])[0]]).all()]
            best = scored[int(np.argmax(board.own(scored).means))] if len(scored) > 1 else None
            self._best = known, best
        return self._best[1]

    def _is_worse(self, scores: Array, best: Array) -> bool:
        differences = best - scores
        differences = differences[~np.isnan(differences)]
        if len(differences) < self._rung.floor:
            return False
        if not np.isin(differences, (-1.0, 0.0, 1.0)).all():
            return betting_p_value([float(each) for each in differences]) <= 1 - _LEVEL
        ends = range(LOOK, len(differences) + 1, LOOK)
        looks = [(int((differences[:end] > 0).sum()), int((differences[:end] < 0).sum())) for end in ends]
        planned = max(1, math.ceil(self._rung.most / LOOK))
        return bool(looks) and sequential_sign_test(looks, planned=planned, level=_LEVEL) is not None


@pruner
def paired_test(rung: Rung) -> BasePruner:
    """Return the pruner."""
    return PairedTestPruner(rung)
