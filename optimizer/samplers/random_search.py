"""Every point as likely as any other."""

from optuna.samplers import BaseSampler, RandomSampler

from optimizer.samplers import sampler


@sampler
def random_search(seed: int) -> BaseSampler:
    """Return Optuna's random sampler."""
    return RandomSampler(seed=seed)
