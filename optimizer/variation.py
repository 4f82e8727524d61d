"""Demonstration sets made of others: one added, dropped, swapped or moved. Pure, seeded, from train only."""

import dataclasses
from collections.abc import Sequence
from random import Random
from typing import Literal

from optimizer.candidate import Demonstration, DemonstrationSet
from optimizer.dataset import Example
from optimizer.demonstrations import as_demonstration

Operator = Literal["add", "drop", "swap", "reorder"]

OPERATORS: tuple[Operator, ...] = ("add", "drop", "swap", "reorder")


def vary(
    parent: DemonstrationSet,
    train: Sequence[Example],
    seed: int,
    *,
    most: int,
    least: int = 0,
    operators: Sequence[Operator] = OPERATORS,
) -> DemonstrationSet | None:
    """Return a set that one of the operators, drawn at random, makes of a parent; None when none of them can.

    The child differs from its parent in what it shows. It bears the operator as its selector, its parent's id as
    parent and no id of its own, which the space gives it. Where demonstrations are retrieved, adding and dropping
    change how many are, the pool stays, and the other operators have nothing to work on.

    Args:
        most: Most demonstrations of a child.
        least: Fewest demonstrations of a child.
    """
    rng = Random(seed)
    for operator in rng.sample(list(operators), len(operators)):
        child = (
            _retrieving(operator, parent)
            if parent.retrieved
            else dataclasses.replace(parent, demonstrations=_shown(operator, parent, train, rng))
        )
        # A smaller or larger parent may be left as it is, never be moved further off.
        sound = least <= child.size <= most or operator in ("swap", "reorder")
        if sound and child.content != parent.content:
            return dataclasses.replace(child, id="", selector=operator, parents=(parent.id,))
    return None


def _retrieving(operator: Operator, parent: DemonstrationSet) -> DemonstrationSet:
    step = {"add": 1, "drop": -1}.get(operator, 0)
    # The last one stays: without any there would be nothing to retrieve.
    n = max(1, min(parent.retrieved + step, len(parent.demonstrations)))
    return dataclasses.replace(parent, retrieved=n)


def _shown(
    operator: Operator, parent: DemonstrationSet, train: Sequence[Example], rng: Random
) -> tuple[Demonstration, ...]:
    """Return the demonstrations of a child; those of the parent where there is nothing to do."""
    shown = list(parent.demonstrations)
    ids = {shot.example_id for shot in shown}
    fresh = [as_demonstration(example) for example in train if example.id not in ids]
    if operator == "reorder":
        return tuple(_moved(shown, rng))
    if (operator != "drop" and not fresh) or (operator != "add" and not shown):
        return parent.demonstrations
    if operator == "add":
        shown.insert(rng.randrange(len(shown) + 1), rng.choice(fresh))
    elif operator == "drop":
        del shown[rng.randrange(len(shown))]
    else:
        shown[rng.randrange(len(shown))] = rng.choice(fresh)
    return tuple(shown)


def _moved(shown: list[Demonstration], rng: Random) -> list[Demonstration]:
    """Return the demonstrations with one moved to another place; as they are where all say the same."""
    pairs = [(a, b) for a in range(len(shown)) for b in range(len(shown)) if a != b]
    for start, end in rng.sample(pairs, len(pairs)):
        moved = [*shown[:start], *shown[start + 1 :]]
        moved.insert(end, shown[start])
        if [shot.content for shot in moved] != [shot.content for shot in shown]:
            return moved
    return shown
