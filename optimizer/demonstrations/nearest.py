"""The training examples that are most like each input, chosen anew for each (Liu et al. 2022, arXiv:2101.06804).

The frozen prompt carries the pool and the rule, `optimizer.retrieval`, and needs neither a model nor a library.
"""

from collections.abc import Sequence
from random import Random

from optimizer.dataset import Example
from optimizer.demonstrations import retriever, taking_turns

# What a frozen prompt carries at most; a query over so many takes well under a millisecond.
_MOST = 200


@retriever
def nearest(train: Sequence[Example], size: int, seed: int) -> Sequence[Example]:
    """Return all training examples in their order, or the most that a prompt carries, balanced over targets."""
    if len(train) <= _MOST:
        return train
    kept = taking_turns([Random(seed).sample(list(train), len(train))], max(size, _MOST))
    ids = {example.id for example in kept}
    return [example for example in train if example.id in ids]
