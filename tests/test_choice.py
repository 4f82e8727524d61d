"""The choice on validation, case by case."""

import pytest

from optimizer.choice import MOST_CONFIRMED, Contender, confirmations, final, shortlist, within_one_error


def arm(name: str, scores: str, cost: float | None = None, estimate: float | None = None) -> Contender:
    """Return a contender from a string of 0s and 1s."""
    row = {f"e{k}": float(c) for k, c in enumerate(scores)}
    return Contender(
        arm=name,
        scores=row,
        estimate=sum(row.values()) / len(row) if estimate is None else estimate,
        cost=cost,
    )


BASELINE = arm("baseline", "0000011111", cost=10)


def test_the_best_wins_where_costs_are_not_known() -> None:
    better, best = arm("better", "0011111111"), arm("best", "0111111111")
    assert final(arm("baseline", "0000011111"), [better, best]).arm == "best"


def test_the_cheapest_within_one_standard_error_of_the_best_wins() -> None:
    best = arm("best", "0011111111", cost=90)
    near = arm("near", "0101111110", cost=30)  # two of ten differ against it, one for it: 0.1 ± 0.18
    far = arm("far", "0000111111", cost=20)  # two of ten against it: 0.2 ± 0.13
    assert within_one_error(best, near)
    assert not within_one_error(best, far)
    assert final(BASELINE, [best, near, far]).arm == "near"


def test_a_dearer_one_never_replaces_the_best() -> None:
    best, near = arm("best", "0011111111", cost=30), arm("near", "0101111110", cost=90)
    assert final(BASELINE, [best, near]).arm == "best"


def test_the_baseline_wins_only_as_the_best() -> None:
    barely = arm("barely", "0000011111", cost=90, estimate=0.501)
    assert final(BASELINE, [barely]).arm == "barely"
    assert final(BASELINE, [arm("equal", "0000011111", cost=90)]).arm == "baseline"
    assert final(BASELINE, []).arm == "baseline"


def test_one_below_the_baseline_wins_only_if_it_costs_less() -> None:
    below = "0000101111"  # one against it, one for it
    assert final(BASELINE, [arm("dear", below, cost=90, estimate=0.45)]).arm == "baseline"
    assert final(BASELINE, [arm("cheap", below, cost=5, estimate=0.45)]).arm == "cheap"


def test_a_baseline_that_breaks_a_constraint_wins_only_where_nobody_else_is() -> None:
    below = arm("below", "0000001111", cost=90)
    assert final(BASELINE, [below], sound=False).arm == "below"
    assert final(BASELINE, [], sound=False).arm == "baseline"


def test_among_equals_the_earlier_one_wins() -> None:
    first, second = arm("first", "0111111111", cost=20), arm("second", "1011111111", cost=20)
    assert final(BASELINE, [first, second]).arm == "first"
    assert final(BASELINE, [second, first]).arm == "second"


def test_arms_that_share_no_two_examples_are_not_equal() -> None:
    one = Contender(arm="one", scores={"x": 1.0, "y": 1.0}, estimate=1.0)
    other = Contender(arm="other", scores={"y": 1.0, "z": 1.0}, estimate=1.0)
    assert not within_one_error(one, other)


def test_the_shortlist_is_by_estimate_and_then_by_order() -> None:
    arms = [
        arm(name, "01", estimate=estimate)
        for name, estimate in (("a", 0.2), ("c", 0.9), ("b", 0.9), ("d", 0.5))
    ]
    assert shortlist(arms, 3) == ("c", "b", "d")
    assert shortlist(arms[:1], 3) == ("a",)
    assert shortlist(arms, 0) == ()


def test_a_saving_of_a_hair_takes_no_better_prompt_s_place() -> None:
    best, near = arm("best", "0011111111", cost=100), arm("near", "0101111110", cost=99)
    assert within_one_error(best, near)
    assert final(BASELINE, [best, near]).arm == "best"


@pytest.mark.parametrize(
    ("calls", "each", "n"),
    [
        (100, 60, 1),
        (719, 60, 1),  # a quarter is 179.75, less than three times 60
        (720, 60, 3),
        (960, 60, 4),
        (10**6, 60, 1 + MOST_CONFIRMED),
        (1, 60, 1),
        (-5, 60, 1),
        (100, 0, 1 + MOST_CONFIRMED),
    ],
)
def test_confirmation_takes_a_quarter_of_the_budget_at_most_and_one_arm_at_least(
    calls: int, each: int, n: int
) -> None:
    assert confirmations(calls, each) == n
