"""What a test set can show: the smallest gain it proves, and how many examples a gain needs.

| | |
|---|---|
| n | examples both prompts are scored on |
| s | share of them on which the two prompts score differently (disagreement) |
| d | true difference of the mean scores, b - a, in [0, 1] |
| D | number of examples that differ: binomial of n and s; of these b wins each with probability (s + d) / 2s |

Of all differences with values in [-1, 1] those of 0/1 scores vary most, so what holds for them holds for graded
scores as well. Pure: the same arguments give the same numbers.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POWER = 0.8  # "in four cases of five", the convention of study planning (Cohen 1988)

# Share of examples on which two prompts score differently, where nothing is known yet. Between good prompts it is
# 0.10 to 0.25; the middle is taken, and said wherever the figure is shown.
USUAL_DISAGREEMENT = 0.15

_DIGITS = 12  # of a result: far below any difference that matters, far above rounding errors of a sum
_HALVINGS = 40  # of [0, 1], down to 1e-12
_SPREADS = (
    9.0  # standard deviations of D that are summed over; what lies beyond has a probability below 1e-18
)
_MOST = 10_000_000  # examples: more are asked for by nobody


def smallest_provable_difference(
    n: int,
    *,
    disagreement: float = USUAL_DISAGREEMENT,
    power: float = POWER,
    level: float = 0.95,
    clusters: Sequence[int] | None = None,
) -> float:
    """Return the smallest true difference that `n` pairs of scores show with `power`, at most 1.

    The exact power of the exact McNemar test, summed over D, for examples that stand alone. As d cannot exceed s, a
    d above `disagreement` is solved with s = d: the answer is not 0, even where two prompts never disagreed.

    With `clusters`, the numbers of examples in each group, the examples of a group are taken to stand or fall
    together, the most cautious choice. Groups of one size are then so many examples. Of groups of several sizes the
    larger of two answers is taken: that of so many groups, and that of a t test of n² / Σ size² independent examples
    (Kish 1965). Simulated, it holds the power for sizes that differ up to twentyfold; where sizes double and double
    again, so that one group has a third of the examples, 0.64 is left of 0.8.

    Raises:
        ValueError: `n` is below 1, `disagreement` outside [0, 1], `power` or `level` not in (0, 1), or the sizes of
            `clusters` do not add up to `n`.
    """
    if n < 1 or not 0 <= disagreement <= 1 or not 0 < power < 1:
        raise ValueError(
            "smallest_provable_difference needs n >= 1, disagreement in [0, 1] and power between 0 and 1, "
            f"but got n={n}, disagreement={disagreement}, power={power}"
        )
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, but got level={level}")
    if clusters is not None and (sum(clusters) != n or min(clusters) < 1):
        raise ValueError(f"the sizes of clusters must add up to n={n}, but add up to {sum(clusters)}")
    found = _exact_power(n if clusters is None else len(clusters), disagreement, level)
    if clusters is not None and len(set(clusters)) > 1:
        effective = n * n / sum(size * size for size in clusters)
        found = _lesser(found, _t_power(effective, disagreement, level))
    if found(1.0) < power:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if found(middle) < power else (low, middle)
    return round(high, _DIGITS)


def examples_needed(
    difference: float,
    *,
    disagreement: float = USUAL_DISAGREEMENT,
    power: float = POWER,
    level: float = 0.95,
) -> int:
    """Return how many examples show a true difference with `power`.

    Raises:
        ValueError: `difference` is not in (0, 1], or so small that ten million examples would not show it.
    """
    if not 0 < difference <= 1:
        raise ValueError(f"examples_needed needs a difference above 0 and up to 1, but got {difference}")

    def shown(n: int) -> bool:
        return _exact_power(n, disagreement, level)(difference) >= power

    most = 1
    while not shown(most):
        if most > _MOST:
            raise ValueError(f"a difference of {difference} takes more than {_MOST:,} examples")
        most *= 2
    # Exact power has teeth: a few examples more can show a little less. The first n from which on it holds within
    # one tooth is near enough for advice.
    low, high = most // 2, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high


def _exact_power(n: int, disagreement: float, level: float) -> Callable[[float], float]:
    """Return the power of the two-sided exact McNemar test, to find b better, as a function of d."""
    import numpy as np
    from scipy.special import bdtrc

    def power(d: float) -> float:
        share = max(disagreement, d)
        if share == 0:
            return 0.0
        spread = _SPREADS * math.sqrt(n * share * (1 - share)) + 1
        first, last = max(0, math.floor(n * share - spread)), min(n, math.ceil(n * share + spread))
        differing = np.arange(first, last + 1)
        needed = _critical_wins(differing, (1 - level) / 2)
        rejected = np.where(
            needed > differing, 0.0, bdtrc(needed - 1.0, differing, (share + d) / (2 * share))
        )
        return float(np.sum(_binomial(differing, n, share) * rejected))

    return power


def _critical_wins(differing: "NDArray[np.int_]", tail: float) -> "NDArray[np.int_]":
    """Return for each D the fewest wins whose tail under even odds is below `tail`; D + 1 where none is."""
    import numpy as np
    from scipy.special import bdtrc

    low, high = (
        differing // 2,
        differing + 1,
    )  # at `low` the test never rejects, beyond `high` there is nothing
    while np.any(high - low > 1):
        middle = (low + high) // 2
        below = bdtrc(middle - 1.0, differing, 0.5) < tail
        low, high = np.where(below, low, middle), np.where(below, middle, high)
    return np.asarray(high)


def _binomial(k: "NDArray[np.int_]", n: int, share: float) -> "NDArray[np.float64]":
    import numpy as np
    from scipy.special import gammaln, xlog1py, xlogy

    ways = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return np.asarray(np.exp(ways + xlogy(k, share) + xlog1py(n - k, -share)))


def _lesser(one: Callable[[float], float], other: Callable[[float], float]) -> Callable[[float], float]:
    return lambda d: min(one(d), other(d))


def _t_power(effective: float, disagreement: float, level: float) -> Callable[[float], float]:
    """Return the power of a t test of so many independent differences, to find b better, as a function of d."""
    from scipy.special import stdtr, stdtrit

    freedom = max(1.0, effective - 1)
    critical = float(stdtrit(freedom, (1 + level) / 2))

    def power(d: float) -> float:
        deviation = math.sqrt(max(0.0, max(disagreement, d) - d * d) / effective)
        return float(stdtr(freedom, d / deviation - critical)) if deviation else 1.0

    return power
