"""Corrections for several tests at once: what each p value is worth where many were computed.

Pure: the same arguments give the same numbers.
"""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return the adjusted p values, in the order given; none for none.

    Rejecting where the adjusted value is below a level keeps the probability of any false rejection at that level,
    however the tests depend on each other (Holm 1979, Scandinavian Journal of Statistics 6:65). An adjusted value
    is never below its p value and never above 1; equal p values stay equal.

    Raises:
        ValueError: A p value outside [0, 1].
    """
    for position, p_value in enumerate(p_values):
        if not 0 <= p_value <= 1:  # true of NaN as well
            raise ValueError(f"p values lie in [0, 1], but the one at position {position} is {p_value}")
    adjusted = [0.0] * len(p_values)
    largest = 0.0  # among the smaller p values: who stands behind them cannot be rejected before them
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * float(p_values[position])))
        adjusted[position] = largest
    return tuple(adjusted)
