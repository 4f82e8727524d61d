"""Pruners: which candidates are given up before they were scored on all examples. Each is an Optuna `BasePruner`.

A trial reports its mean score so far, with the number of its examples as the step. Optuna's pruners decide by that; one
that wants the scores of single examples is made with the board of the search.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from optuna import create_study
from optuna.pruners import BasePruner, NopPruner
from optuna.trial import Trial, TrialState

from optimizer.board import Board
from optimizer.registry import Registry

# Optuna's attribute that holds our own number of a trial.
NUMBER = "trial"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """What a pruner is made for.

    Attributes:
        floor: Examples below which no candidate is given up.
        most: Examples there are.
        board: The scores so far.
    """

    floor: int
    most: int
    board: Board


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruner:
    """One pruner.

    Attributes:
        make: Makes it. It is made anew in each process and may keep nothing in memory.
    """

    make: Callable[[Rung], BasePruner]


PRUNERS: Registry[Pruner] = Registry("optimizer.pruners", Pruner)


class Pruning:
    """A pruner at work on the arms of one search.

    It decides by a study in memory that holds these arms alone, so a search that is run again and told the same again
    is also decided the same; Optuna's pruners note in a study what they decided, and would take it into account.
    """

    def __init__(self, pruner: BasePruner, board: Board) -> None:
        self._pruner = pruner
        self._board = board
        self._study = create_study(study_name="pruning", direction="maximize", pruner=NopPruner())
        self._trials: dict[int, Trial] = {}

    def doubted(self, numbers: Sequence[int]) -> frozenset[int]:
        """Return which of some arms are given up, after reporting how they stand."""
        for number in numbers:
            self._report(number)
        held = self._study.get_trials(deepcopy=False)
        return frozenset(n for n in numbers if self._pruner.prune(self._study, held[self._trials[n].number]))

    def drop(self, numbers: Sequence[int], *, ended: bool) -> None:
        """Tell that some arms left the search, those that `ended` with their scores."""
        for number in numbers:
            mean = self._report(number)
            done = ended and mean is not None
            state = TrialState.COMPLETE if done else TrialState.PRUNED
            self._study.tell(self._trials[number], mean if done else None, state=state)

    def _report(self, number: int) -> float | None:
        """Report the mean score of an arm; return it, or None where it has no score."""
        if number not in self._trials:
            self._trials[number] = self._study.ask()
            self._trials[number].set_user_attr(NUMBER, number)
        row = self._board.scores[self._board.rows([number])[0]]
        known = row[~np.isnan(row)]
        if not len(known):
            return None
        mean = float(known.mean())
        held = self._study.get_trials(deepcopy=False)[self._trials[number].number]
        if len(known) not in held.intermediate_values:
            self._trials[number].report(mean, step=len(known))
        return mean


def pruner(make: Callable[[Rung], BasePruner]) -> Pruner:
    """Make a pruner plug-in of a function from a rung to an Optuna pruner."""
    return Pruner(make=make)
