"""Tree-structured Parzen estimator, all dimensions together (Bergstra et al. 2011; Optuna's own)."""

from optuna.samplers import BaseSampler, TPESampler

from optimizer.samplers import sampler

# Optuna's default: the first points are drawn evenly, because two densities fitted to fewer say nothing.
_STARTUP_TRIALS = 10


@sampler
def tpe(seed: int) -> BaseSampler:
    """Return Optuna's TPE, multivariate and wary of points under way, both of which are its defaults."""
    return TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)
