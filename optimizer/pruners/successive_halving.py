"""Successive halving as Optuna runs it: asynchronously, a trial goes on where it is among the better half so far."""

from optuna.pruners import BasePruner, SuccessiveHalvingPruner

from optimizer.pruners import Rung, pruner


@pruner
def successive_halving(rung: Rung) -> BasePruner:
    """Return Optuna's pruner, its first rung at the floor (Li et al. 2020, arXiv:1810.05934)."""
    return SuccessiveHalvingPruner(min_resource=rung.floor, reduction_factor=2)
