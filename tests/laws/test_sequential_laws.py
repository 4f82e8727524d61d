"""Laws of the tests over several looks and of Holm's correction."""

import random
from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.corrections import holm
from optimizer.sequential import betting_p_value, sequential_sign_test

p_values = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 1.0])), max_size=20)
differences = st.lists(st.one_of(st.floats(-1, 1), st.sampled_from([-1.0, 0.0, 1.0])), max_size=60)
blocks = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=6)
TINY = 1e-11  # p values are rounded to 12 significant digits


def cumulative(counts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the wins and losses so far after each block."""
    return list(accumulate(counts, lambda so_far, new: (so_far[0] + new[0], so_far[1] + new[1])))


def look_of(found: int | None) -> float:
    """Return the look of a proof, later than any where there is none."""
    return float("inf") if found is None else found


@given(p_values)
def test_holm_raises_p_values_by_at_most_their_number(values: list[float]) -> None:
    for value, adjusted in zip(values, holm(values), strict=True):
        assert value <= adjusted <= min(1.0, len(values) * value)


@given(p_values)
def test_holm_keeps_the_order_of_p_values(values: list[float]) -> None:
    adjusted = [after for _, after in sorted(zip(values, holm(values), strict=True))]
    assert adjusted == sorted(adjusted)


@given(p_values, st.integers(0, 2**32))
def test_holm_of_p_values_in_another_order_is_holm_in_that_order(values: list[float], seed: int) -> None:
    order = random.Random(seed).sample(range(len(values)), len(values))
    adjusted = holm(values)
    assert holm([values[k] for k in order]) == tuple(adjusted[k] for k in order)


@given(p_values, st.floats(0, 1))
def test_one_more_test_makes_no_p_value_smaller(values: list[float], more: float) -> None:
    together = holm([*values, more])[:-1]
    assert all(alone <= beside for alone, beside in zip(holm(values), together, strict=True))


@settings(deadline=None)
@given(differences)
def test_the_betting_p_value_is_a_probability(values: list[float]) -> None:
    assert 0 < betting_p_value(values) <= 1


@settings(deadline=None)
@given(differences, differences)
def test_more_examples_never_raise_the_betting_p_value(values: list[float], more: list[float]) -> None:
    assert betting_p_value(values + more) <= betting_p_value(values)


@settings(deadline=None)
@given(differences)
def test_ties_change_no_betting_p_value(values: list[float]) -> None:
    with_ties = [d for value in values for d in (0.0, value)]
    assert betting_p_value(with_ties) == betting_p_value(values)


@settings(deadline=None)
@given(differences, st.floats(0, 1))
def test_larger_differences_never_raise_the_betting_p_value(values: list[float], gain: float) -> None:
    larger = [min(1.0, value + gain) for value in values]
    assert betting_p_value(larger) <= betting_p_value(values) * (1 + TINY)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=30))
def test_losses_that_are_won_back_one_by_one_are_no_evidence(values: list[float]) -> None:
    """(1 - bet · d)(1 + bet · d) is at most 1."""
    assert betting_p_value([d for value in values for d in (-value, value)]) == 1.0


@settings(deadline=None)
@given(blocks, st.integers(0, 4), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_later_looks_change_no_earlier_proof(counts: list[tuple[int, int]], later: int, level: float) -> None:
    looks = cumulative(counts)
    whole = sequential_sign_test(looks, planned=len(looks) + later, level=level)
    for stop in range(len(looks) + 1):
        found = sequential_sign_test(looks[:stop], planned=len(looks) + later, level=level)
        assert found == (whole if whole is not None and whole <= stop else None)


@settings(deadline=None)
@given(blocks, st.data())
def test_a_win_in_the_place_of_a_loss_never_delays_a_proof(
    counts: list[tuple[int, int]], data: st.DataObject
) -> None:
    turned = [(wins + k, losses - k) for wins, losses in counts for k in [data.draw(st.integers(0, losses))]]
    planned = len(counts)
    better = sequential_sign_test(cumulative(turned), planned=planned)
    assert look_of(better) <= look_of(sequential_sign_test(cumulative(counts), planned=planned))


@settings(deadline=None)
@given(blocks)
def test_the_two_sides_are_never_both_proven(counts: list[tuple[int, int]]) -> None:
    """At the same look; one after the other can be, as wins and losses may turn."""
    looks, mirrored = cumulative(counts), cumulative([(losses, wins) for wins, losses in counts])
    here, there = (sequential_sign_test(each, planned=len(looks)) for each in (looks, mirrored))
    assert here is None or here != there


@settings(deadline=None)
@given(blocks)
def test_a_proof_of_bonferroni_is_a_proof(counts: list[tuple[int, int]]) -> None:
    """The exact test at an equal share of the error at every look."""
    looks, planned = cumulative(counts), len(counts)
    each = next(
        (
            k
            for k, look in enumerate(looks, 1)
            if sequential_sign_test([look], planned=1, level=1 - 0.05 / planned)
        ),
        None,
    )
    assert look_of(sequential_sign_test(looks, planned=planned)) <= look_of(each)
