"""Verdicts of whole searches in worlds whose truth is known: the measurements of `benchmarks/honesty.py`, in small.

The bounds are those that are promised, with room for three standard errors of so many runs.
"""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def honesty() -> Iterator[ModuleType]:
    """Return the benchmark as a module; it finds what lies beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import honesty

        yield honesty


def room(share: float, runs: int) -> float:
    return 3 * math.sqrt(share * (1 - share) / runs)


def test_where_no_prompt_matters_improved_is_rare_and_the_test_is_fair(honesty: ModuleType) -> None:
    runs = 120
    for row in sys.modules["null_studies"].equal_arms(runs, 1):
        assert row.improved.value <= 0.05, row
        assert abs(row.difference) <= 3 * row.error + 0.3, row


def test_the_interval_of_the_gain_covers_the_truth_and_is_no_wider_than_it_must_be(
    honesty: ModuleType,
) -> None:
    runs = 40
    rows = list(honesty.coverage(runs, 1))
    assert len(rows) == 12
    assert sum(row.covered.value for row in rows) / 12 >= 0.93 - room(0.95, 12 * runs)
    assert all(row.covered.value >= 0.93 - room(0.93, runs) for row in rows)
    assert all(row.relative <= 1.15 for row in rows)


def test_a_gain_that_was_stated_as_provable_is_mostly_proven(honesty: ModuleType) -> None:
    runs = 25
    rows = list(honesty.power(runs, 1))
    assert sum(row.improved.value for row in rows) / len(rows) >= 0.75
    assert all(row.improved.value >= 0.75 - room(0.78, runs) for row in rows)
