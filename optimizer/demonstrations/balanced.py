"""As many demonstrations of each target as possible, dealt target by target."""

from collections.abc import Sequence
from random import Random

from optimizer.dataset import Example
from optimizer.demonstrations import selector


@selector
def balanced(train: Sequence[Example], size: int, seed: int) -> Sequence[Example]:
    """Return `size` examples whose targets take turns, in an order of targets drawn anew for each set.

    Where every target is unique, as with free text, this is the same as an even draw.
    """
    rng = Random(seed)  # repeatable choice, not secrecy
    shuffled = rng.sample(list(train), len(train))
    by_target: dict[str, list[Example]] = {}
    for example in shuffled:
        by_target.setdefault(example.target, []).append(example)
    rounds = max(len(examples) for examples in by_target.values())
    dealt = [examples[k] for k in range(rounds) for examples in by_target.values() if k < len(examples)]
    return dealt[:size]
