"""Splits by the size of the data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.splits import FEWEST_FOR_TEST, usual_splits


@pytest.mark.parametrize(
    ("n", "counts"),
    [(20, (6, 14, 0)), (59, (17, 42, 0)), (60, (15, 21, 24)), (200, (50, 70, 80)), (2000, (100, 300, 500))],
)
def test_small_data_have_no_test_and_large_data_no_more_than_tells(
    n: int, counts: tuple[int, int, int]
) -> None:
    assert usual_splits(n).values == counts


@given(st.integers(1, 5000))
def test_no_example_is_counted_twice_and_none_is_left_out_of_small_data(n: int) -> None:
    train, validation, test = (int(value) for value in usual_splits(n).values)
    assert train + validation + test <= n
    assert (test == 0) == (n < FEWEST_FOR_TEST)
    assert train + validation + test == n or n > 600
