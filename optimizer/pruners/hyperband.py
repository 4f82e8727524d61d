"""Hyperband as Optuna runs it: several successive halvings side by side, that begin with more or fewer examples."""

from optuna.pruners import BasePruner, HyperbandPruner

from optimizer.pruners import Rung, pruner


@pruner
def hyperband(rung: Rung) -> BasePruner:
    """Return Optuna's pruner between the floor and all examples (Li et al. 2018, arXiv:1603.06560)."""
    return HyperbandPruner(
        min_resource=rung.floor, max_resource=max(rung.floor + 1, rung.most), reduction_factor=2
    )
