"""Resampling of units; its intervals and tests as a whole are tested with those of significance."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from optimizer.resampling import _bootstrap_z, bca_bounds, clusters_of, resampled_statistic, units_of


def test_the_bootstrap_of_few_units_is_widened_to_the_t_interval() -> None:
    assert _bootstrap_z(0.95, 12) == pytest.approx(math.sqrt(12 / 11) * 2.201, abs=1e-4)  # t table, 11 df


def test_a_unit_is_the_sum_and_size_of_one_cluster() -> None:
    assert units_of([0.5, 1.0, 0.25], ["b", "a", "b"]) == [(0.75, 2), (1.0, 1)]
    assert units_of([0.5, 1.0, 0.25], None) == [(0.25, 1), (0.5, 1), (1.0, 1)]


def test_clusters_are_drawn_whole() -> None:
    clusters = clusters_of(4, ["x", "y", "x", "y"])

    def halves_meet(positions: NDArray[np.intp]) -> float:
        times = np.bincount(positions, minlength=4)
        return float(times[0] == times[2] and times[1] == times[3])

    assert resampled_statistic(halves_meet, clusters, seed=0).min() == 1.0


def test_bounds_of_negated_units_are_the_negated_bounds() -> None:
    values = [0.1, 0.2, 0.2, 0.4, 0.9, 0.3, -0.1]
    here = bca_bounds(units_of(values, None), seed=3, level=0.9)
    there = bca_bounds(units_of([-value for value in values], None), seed=3, level=0.9)
    assert (there.lower, there.upper) == (-here.upper, -here.lower)
    assert here.method == there.method == "BCa bootstrap interval"
