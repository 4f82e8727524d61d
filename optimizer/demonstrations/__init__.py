"""Demonstration selectors: ordered sets of worked examples, from the training split only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optimizer.candidate import Demonstration, DemonstrationSet
from optimizer.dataset import Example
from optimizer.digest import derived_seed
from optimizer.registry import Registry

Select = Callable[[Sequence[Example], int, int], Sequence[Example]]

# Draws for one set before it is taken that no further different set exists.
_TRIES = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class DemonstrationSelector:
    """One way to choose demonstrations.

    Attributes:
        select: (training examples, size, seed) to `size` different examples in the order they are shown.
    """

    select: Select


SELECTORS: Registry[DemonstrationSelector] = Registry("optimizer.demonstrations", DemonstrationSelector)


def selector(select: Select) -> DemonstrationSelector:
    """Make a selector of a function."""
    return DemonstrationSelector(select=select)


def draw_sets(
    train: Sequence[Example], *, sizes: Sequence[int], n_sets: int, selectors: Sequence[str], seed: int
) -> tuple[DemonstrationSet, ...]:
    """Return `n_sets` different sets, dealt evenly over sizes and selectors, and the empty set if 0 is a size.

    Fewer are returned when the training examples do not hold as many different sets.
    """
    kinds = [(size, name) for size in sizes if size > 0 for name in selectors]
    sets = [DemonstrationSet(id="d0000", demonstrations=(), selector="none")] if 0 in sizes else []
    known: set[tuple[str, ...]] = set()
    for n in range(n_sets if kinds else 0):
        size, name = kinds[n % len(kinds)]
        chosen = _draw(train, size, SELECTORS[name], known, derived_seed(seed, "demonstrations", n))
        if chosen:
            known.add(tuple(example.id for example in chosen))
            shown = tuple(as_demonstration(example) for example in chosen)
            sets.append(DemonstrationSet(id=f"d{len(known):04d}", demonstrations=shown, selector=name))
    return tuple(sets)


def as_demonstration(example: Example) -> Demonstration:
    """Return an example as it is shown."""
    return Demonstration(example_id=example.id, inputs=example.inputs, target=example.target)


def _draw(
    train: Sequence[Example], size: int, how: DemonstrationSelector, known: set[tuple[str, ...]], seed: int
) -> Sequence[Example]:
    for n in range(_TRIES):
        chosen = how.select(train, size, derived_seed(seed, n))
        if tuple(example.id for example in chosen) not in known:
            return chosen
    return ()
