"""The Pareto front: what is on it, what is off it, and what an unknown figure means."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from optimizer.fronts import Point, front

# Few different figures, so that many are equal and many dominate.
FIGURES = st.integers(0, 3).map(float)
UNKNOWN = st.one_of(st.none(), FIGURES)
POINTS = st.lists(st.builds(Point, FIGURES, UNKNOWN, UNKNOWN), max_size=8)


def dominates(points: Sequence[Point], a: int, b: int) -> bool:
    """Return whether point `a` is nowhere worse than point `b` and somewhere better; what none has is left out."""
    known = [name for name in ("cost", "seconds") if any(getattr(p, name) is not None for p in points)]
    first, second = (
        (-point.score, *(getattr(point, name) for name in known)) for point in (points[a], points[b])
    )
    if None in first or None in second:  # it might be the cheapest, or the dearest
        return False
    return first != second and all(x <= y for x, y in zip(first, second, strict=True))


@given(POINTS)
def test_what_is_on_the_front_is_dominated_by_none_and_what_is_off_it_by_one_on_it(
    points: list[Point],
) -> None:
    on = front(points)
    everybody = range(len(points))
    for a in everybody:
        if on[a]:
            assert not any(dominates(points, b, a) for b in everybody)
        else:
            assert any(on[b] and dominates(points, b, a) for b in everybody)
    assert any(on) or not points


@given(POINTS.flatmap(lambda points: st.tuples(st.just(points), st.permutations(range(len(points))))))
def test_the_order_decides_nothing(case: tuple[list[Point], list[int]]) -> None:
    points, order = case
    on = front(points)
    assert front([points[k] for k in order]) == tuple(on[k] for k in order)


@given(POINTS)
def test_dominance_is_a_strict_order(points: list[Point]) -> None:
    everybody = range(len(points))
    beats = {(a, b) for a in everybody for b in everybody if dominates(points, a, b)}
    assert all((b, a) not in beats for a, b in beats)
    assert all((a, d) in beats for a, b in beats for c, d in beats if b == c)


@given(POINTS, st.integers(0, 7))
def test_a_figure_that_gets_worse_puts_nothing_else_off_the_front(points: list[Point], k: int) -> None:
    if k >= len(points) or points[k].cost is None:
        return
    worse = [*points]
    worse[k] = points[k]._replace(cost=(points[k].cost or 0.0) + 1)
    before, after = front(points), front(worse)
    assert all(after[j] or not before[j] for j in range(len(points)) if j != k)


def test_a_figure_that_none_has_is_left_out() -> None:
    assert front([Point(0.9), Point(0.8), Point(0.9)]) == (True, False, True)
    assert front([Point(0.9, None, 2.0), Point(0.8, None, 1.0), Point(0.8, None, 3.0)]) == (True, True, False)


def test_what_has_an_unknown_price_might_be_the_cheapest() -> None:
    assert front([Point(0.9, 1.0), Point(0.5, None), Point(0.8, 2.0)]) == (True, True, False)
    # Nor does it put another off: it might be the dearest.
    assert front([Point(0.9, None), Point(0.5, 5.0)]) == (True, True)


def test_cheaper_and_slower_is_no_better() -> None:
    assert front([Point(0.9, 2.0, 1.0), Point(0.9, 1.0, 2.0), Point(0.9, 2.0, 2.0)]) == (True, True, False)
    assert front([]) == ()
