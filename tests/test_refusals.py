"""What an endpoint refuses for good, told from which requests it answered."""

import itertools
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from optimizer.refusals import Refusals

Point = Mapping[str, Any]
NAMES = tuple(f"e{k}" for k in range(6))


def traits(point: Point) -> dict[str, str]:
    return {name: str(value) for name, value in point.items()}


def asked(points: Mapping[int, Point], refuses: Any, examples: tuple[str, ...] = NAMES[:3]) -> Refusals:
    """Return what is known once each point was asked each example; `refuses` tells of a point and an example."""
    found = Refusals(traits, allowed=3)
    for number, point in points.items():
        refused = {name: f"no {name}" for name in examples if refuses(point, name)}
        found.note(number, point, answered=set(examples) - refused.keys(), refused=refused)
    return found


GRID = {
    k: {"format": form, "wording": wording, "demos": demos}
    for k, (form, wording, demos) in enumerate(itertools.product("pjc", "abcd", "01"))
}


def test_what_all_that_are_refused_have_in_common_is_found_and_nothing_that_merely_goes_with_it() -> None:
    refusals = asked(GRID, lambda point, _name: point["format"] == "j")
    ((level, refusal),) = refusals.found.items()
    assert level == ("format", "j")
    assert (refusal.requests, refusal.reason) == (24, "no e0")
    assert [refusals.bars(n) for n in GRID] == [point["format"] == "j" for point in GRID.values()]
    assert refusals.forbids({"format": "j", "wording": "new", "demos": "0"})
    assert not refusals.forbids({"format": "c", "wording": "new", "demos": "0"})


def test_two_that_are_refused_are_both_found() -> None:
    refusals = asked(GRID, lambda point, _name: point["format"] == "j" or point["wording"] == "b")
    assert set(refusals.found) == {("format", "j"), ("wording", "b")}


def test_an_example_that_nobody_is_answered_speaks_against_nobody() -> None:
    """As one that a filter of the endpoint refuses, whatever is asked about it."""
    refusals = asked(GRID, lambda _point, name: name in NAMES[:2], NAMES[:2])
    assert not refusals.found
    assert not any(map(refusals.bars, GRID))
    refusals = asked(GRID, lambda _point, name: name == NAMES[0])
    assert not refusals.found
    assert not any(map(refusals.bars, GRID))


def test_a_few_requests_or_those_of_one_example_are_not_enough() -> None:
    few = {k: {"format": "j" if k else "p", "wording": str(k)} for k in range(3)}
    refusals = asked(few, lambda point, _name: point["format"] == "j")
    assert not refusals.found
    assert [refusals.bars(n) for n in few] == [False, True, True]  # each by what became of its own
    refusals = asked(GRID, lambda point, _name: point["format"] == "j", NAMES[:1])
    assert not refusals.found
    assert not any(map(refusals.bars, GRID))


def test_one_prompt_tells_of_none_of_its_levels_nor_do_several_that_have_two_in_common() -> None:
    many = tuple(f"e{k}" for k in range(20))
    points: dict[int, Point] = {k: {"format": "p", "wording": str(k % 5), "demos": str(k)} for k in range(5)}
    points[5] = {"format": "p", "wording": "w", "demos": "d"}
    refusals = asked(points, lambda point, _name: point["wording"] == "w", many)
    assert not refusals.found
    assert [refusals.bars(n) for n in points] == [False] * 5 + [True]
    points[6] = {"format": "p", "wording": "w", "demos": "d"}
    assert not asked(points, lambda point, _name: point["wording"] == "w", many).found
    points[7] = {"format": "p", "wording": "w", "demos": "e"}
    assert set(asked(points, lambda point, _name: point["wording"] == "w", many).found) == {("wording", "w")}


def test_whoever_has_more_refusals_than_a_trial_may_have_is_barred() -> None:
    points = {0: {"wording": "a"}, 1: {"wording": "b"}}
    for n_refused, barred in ((3, False), (4, True)):
        refusals = asked(
            points, lambda point, name, n=n_refused: point["wording"] == "b" and name in NAMES[:n], NAMES
        )
        assert [refusals.bars(0), refusals.bars(1)] == [False, barred]


def test_what_is_answered_once_it_is_asked_again_is_refused_no_more() -> None:
    refusals = asked(GRID, lambda point, _name: point["format"] == "j")
    assert refusals.found
    for number, point in GRID.items():
        refusals.note(number, point, answered=set(NAMES[:3]), refused={})
    assert not refusals.found
    assert not any(map(refusals.bars, GRID))


worlds = st.lists(
    st.tuples(
        st.sampled_from("pjc"),
        st.sampled_from("abcd"),
        st.lists(st.sampled_from(["a", "r", "-"]), min_size=6, max_size=6),
    ),
    max_size=25,
)


@given(worlds, st.randoms(use_true_random=False))
def test_no_level_of_which_anything_was_answered_is_found_and_the_order_does_not_matter(
    world: list[tuple[str, str, list[str]]], rng: Any
) -> None:
    def told(rows: list[tuple[int, tuple[str, str, list[str]]]]) -> Refusals:
        refusals = Refusals(traits, allowed=2)
        for number, (form, wording, became) in rows:
            outcomes = dict(zip(NAMES, became, strict=True))
            refusals.note(
                number,
                {"format": form, "wording": wording},
                answered={name for name, what in outcomes.items() if what == "a"},
                refused={name: "no" for name, what in outcomes.items() if what == "r"},
            )
        return refusals

    rows = list(enumerate(world))
    refusals = told(rows)
    answered = {
        level
        for form, wording, became in world
        if "a" in became
        for level in (("format", form), ("wording", wording))
    }
    assert not answered & set(refusals.found)
    assert all(each.requests >= 8 for each in refusals.found.values())
    other = told(rng.sample(rows, len(rows)))
    assert dict(other.found) == dict(refusals.found)
    assert [other.bars(n) for n, _ in rows] == [refusals.bars(n) for n, _ in rows]
