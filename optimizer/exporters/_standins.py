"""What modules of the standard library do for a written module, which imports none of them.

Each has the name of what it stands for and does the same for what the bundled code asks of it.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Any

# Those a written module needs, put in their place when it is written.
LOGARITHMS: dict[float, float] = {}


class Record:
    """What a dataclass gives its values: how they are shown and compared."""

    __slots__: tuple[str, ...] = ()
    _uncompared: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({shown})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names = [name for name in self.__slots__ if name not in self._uncompared]
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.__slots__ if name not in self._uncompared))


def replace(record: Any, **changes: object) -> Any:  # noqa: ANN401  # of whatever type the record is
    """Return a record with other values for some of its names."""
    kept = {name: getattr(record, name) for name in record.__slots__}
    return type(record)(**{**kept, **changes})


def lru_cache(maxsize: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that remembers what a function returned, for no more arguments than so many."""

    def remembering(function: Callable[..., Any]) -> Callable[..., Any]:
        known: dict[tuple[Hashable, ...], object] = {}

        def remembered(*arguments: Hashable) -> object:
            if arguments not in known:
                if len(known) >= maxsize:
                    known.clear()
                known[arguments] = function(*arguments)
            return known[arguments]

        return remembered

    return remembering


class cached_property:  # noqa: N801  # the name of what it stands for
    """A value that is computed when it is first asked for, and kept in its place."""

    def __init__(self, function: Callable[[Any], object]) -> None:
        self._function = function

    def __get__(self, owner: Any, kind: object = None) -> object:  # noqa: ANN401  # any object has properties
        value = self._function(owner)
        owner.__dict__[self._function.__name__] = value
        return value


def Counter(items: Iterable[Hashable]) -> dict[Hashable, int]:  # noqa: N802  # the name of what it stands for
    """Return how often each item occurs, in the order in which they are met."""
    counts: dict[Hashable, int] = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    return counts


def isfinite(number: float) -> bool:
    """Return whether a number is neither infinite nor none."""
    return number - number == 0


def log(number: float) -> float:
    """Return the natural logarithm of a number whose logarithm was needed when the prompt was exported."""
    return LOGARITHMS[number]


def fsum(numbers: Iterable[float]) -> float:
    """Return the sum of finite numbers, rounded once: as a fraction, which has no error."""
    top, bottom = 0, 1
    for number in numbers:
        above, below = number.as_integer_ratio()
        common = max(bottom, below)  # both are powers of two
        top, bottom = top * (common // bottom) + above * (common // below), common
    return top / bottom


def sqrt(number: float) -> float:
    """Return the square root of a number that is not negative, rounded once: of whole numbers, by Newton's method."""
    above, below = number.as_integer_ratio()
    # An even power of two that leaves the root more figures than a float has, and then some.
    power = 2 * max(0, 64 - (above.bit_length() - below.bit_length()) // 2)
    square = (above << power) // below
    root = 1 << (square.bit_length() + 1) // 2
    while root * root > square:
        root = (root + square // root) // 2
    # What is left over decides which way the root is rounded, and no more.
    rest = root * root * below != above << power
    return (2 * root + rest) / (1 << power // 2 + 1)
