"""What an example takes with each prompt, told of the same examples for all.

| | |
|---|---|
| y | figure of prompt a on example j, such as its tokens |
| w | the widest prompt: the one with the most figures; among equals the baseline |
| m | m_a = mean of y_w over all examples of w + mean of y_a - y_w over the examples that a and w share |

Prompts that a search gave up saw a few examples, which may be shorter or longer than the rest; the mean over its own
would credit a prompt with that. For prompts that saw the same examples m differs as their means do.
"""

from collections.abc import Mapping, Sequence
from math import fsum
from typing import NamedTuple

# Far below any difference between prompts, far above rounding errors: prompts that take the same are equal.
_DIGITS = 9

Figures = Mapping[str, Mapping[str, float]]


class Widest(NamedTuple):
    """The prompt that the others are compared by.

    Attributes:
        n: Examples that it has figures for.
        shared: Whether every other prompt has figures for the same examples.
    """

    name: str
    n: int
    shared: bool


def widest(figures: Figures, baseline: str) -> Widest | None:
    """Return the prompt with the most figures, None where there is no figure at all."""
    able = {name: row for name, row in figures.items() if row}
    if not able:
        return None
    name = max(able, key=lambda each: (len(able[each]), each == baseline, each))
    first = able[name].keys()
    return Widest(name=name, n=len(first), shared=all(row.keys() == first for row in able.values()))


def matched(figures: Figures, baseline: str) -> dict[str, float]:
    """Return the mean figure of each prompt, as if all had the examples of the widest.

    A prompt that shares no example with the widest is left out.

    Args:
        figures: By prompt and example; never below 0.
        baseline: The prompt that is the widest among equals.
    """
    found = widest(figures, baseline)
    if found is None:
        return {}
    first = figures[found.name]
    whole = _mean(list(first.values()))
    means = dict[str, float]()
    for name, row in figures.items():
        gaps = [row[example] - first[example] for example in sorted(row.keys() & first.keys())]
        if gaps:
            # Of few and unlike examples the sum may be less than nothing, which no figure is.
            means[name] = round(max(0.0, whole + _mean(gaps)), _DIGITS)
    return means


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)
