"""The Pareto front of score, cost and seconds: what no other beats in one of them without losing in another.

Figures may be unknown. What has an unknown figure might be the cheapest, or the fastest, of all: it dominates nothing
and nothing dominates it, so it is always on the front. A figure that is known of none tells nothing, and is left out.
Both together make dominance a strict order, so whatever is off the front is dominated by something on it.

Pure: the same arguments give the same front.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """Where something stands.

    Attributes:
        score: In [0, 1]; more is better.
        cost: In any unit; less is better. None where it is unknown.
        seconds: Less is better. None where they are unknown.
    """

    score: float
    cost: float | None = None
    seconds: float | None = None


def front(points: Sequence[Point]) -> tuple[bool, ...]:
    """Return for each point whether it is on the front; points that are equal are on it together, or off it."""
    return front_of([(-point.score, point.cost, point.seconds) for point in points])


def front_of(rows: Sequence[Sequence[float | None]]) -> tuple[bool, ...]:
    """Return for each row of figures whether it is on the front; less is better in each, and None is unknown."""
    kept = [k for k in range(len(rows[0]) if rows else 0) if any(row[k] is not None for row in rows)]
    left = [tuple(row[k] for k in kept) for row in rows]
    return tuple(not any(_dominates(other, row) for other in left) for row in left)


def _dominates(a: tuple[float | None, ...], b: tuple[float | None, ...]) -> bool:
    """Return whether `a` is nowhere worse than `b` and somewhere better; less is better."""
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if len(pairs) < len(a):  # something is unknown
        return False
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)
