"""Demonstrations drawn evenly from the training examples."""

from collections.abc import Sequence
from random import Random

from optimizer.dataset import Example
from optimizer.demonstrations import selector


@selector
def random(train: Sequence[Example], size: int, seed: int) -> Sequence[Example]:
    """Return `size` examples, each order as likely as any other."""
    return Random(seed).sample(list(train), size)  # repeatable choice, not secrecy
