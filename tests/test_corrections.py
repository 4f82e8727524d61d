"""Holm's correction against numbers computed by hand, odd cases and error texts."""

import math

import numpy as np
import pytest

from optimizer.corrections import holm


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ((), ()),
        ((0.03,), (0.03,)),
        ((0.01, 0.04, 0.03, 0.005), (0.03, 0.06, 0.06, 0.02)),  # 0.04 waits for 2 · 0.03
        ((0.5, 0.9, 0.01), (1.0, 1.0, 0.03)),
        ((0.02, 0.02, 0.02), (0.06, 0.06, 0.06)),
        ((0.0, 1.0), (0.0, 1.0)),
    ],
)
def test_holm_gives_numbers_computed_by_hand(
    p_values: tuple[float, ...], adjusted: tuple[float, ...]
) -> None:
    assert holm(p_values) == pytest.approx(adjusted, abs=1e-15)


def test_a_p_value_waits_for_the_smaller_one_that_is_not_rejected() -> None:
    """0.026 alone would pass at 0.05 / 1, but 0.0255 before it fails at 0.05 / 2."""
    assert [p_value < 0.05 for p_value in holm([0.026, 0.0255, 0.001])] == [False, False, True]


def test_adjusted_values_are_plain_numbers_even_from_numpy() -> None:
    assert {type(value) for value in holm(np.array([0.2, 0.01]))} == {float}  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [-0.1, 1.5, math.nan, math.inf])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError) as error:
        holm([0.5, wrong])
    assert str(error.value) == f"p values lie in [0, 1], but the one at position 1 is {wrong}"
