"""How many examples each split gets: as the task says, or what serves data of that size.

| examples | train | validation | test |
|---|---|---|---|
| fewer than 60 | 30 % | 70 % | none: repeated cross-validation on validation |
| 60 or more | 25 %, 100 at most | 35 %, 300 at most | the rest, 500 at most |
"""

from collections.abc import Sequence
from fractions import Fraction

from optimizer.taskfile import SplitName, Splits

# Below this a test split that can show anything leaves nothing to search on: 24 test examples show 31 points.
FEWEST_FOR_TEST = 60

_SMALL = Fraction(3, 10)
_TRAIN, _VALIDATION = Fraction(1, 4), Fraction(7, 20)
# Beyond these, more cost more and hardly tell more: demonstrations are few, a search looks at tens of examples each,
# and 500 test examples show a gain of 5 points.
_MOST = {"train": 100, "validation": 300, "test": 500}


def usual_splits(n: int) -> Splits:
    """Return the counts that serve `n` examples, where the task states none."""
    if n < FEWEST_FOR_TEST:
        train = int(n * _SMALL)
        return Splits(train=train, validation=n - train, test=0)
    train = min(_MOST["train"], int(n * _TRAIN))
    validation = min(_MOST["validation"], int(n * _VALIDATION))
    return Splits(train=train, validation=validation, test=min(_MOST["test"], n - train - validation))


def totals(n: int, splits: Splits, order: Sequence[SplitName]) -> list[int]:
    """Return how many of `n` examples each split shall have, in the order given.

    Raises:
        ValueError: The counts add up to more than there is.
    """
    numbers = [Fraction(str(getattr(splits, name))) for name in order]
    if splits.kind != "counts":
        return apportion(n, numbers)
    if sum(numbers) > n:
        raise ValueError(f"expected at most {n} examples in all, found {sum(numbers)}")
    return list(map(int, numbers))


def apportion(total: int, weights: Sequence[int | Fraction]) -> list[int]:
    """Return whole parts in proportion to the weights that add up to `total` (largest remainder)."""
    exact = [Fraction(total * weight) / (sum(weights) or 1) for weight in weights]
    parts = list(map(int, exact))
    by_remainder = sorted(range(len(parts)), key=lambda index: parts[index] - exact[index])
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return parts
