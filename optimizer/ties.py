"""Many against one, paired: against a fixed baseline, and against the best of them.

| family | k - 1 tests of | p values are | what holds with probability 0.95, whatever the truth |
|---|---|---|---|
| baseline | each other, and one that was named before | Holm (1979) | no one is called better or worse that is not |
| best | each other, and the one that scored highest | times k/2, then Holm | none that is as good as the best is called worse |

The best was chosen by the very scores that are tested, so its lead is partly luck: of six that are equal the highest
and the lowest differ by chance, and Holm alone calls some of them worse in about 10 % of cases. Had the best been named
before, "worse" would be a test on one side, with half of the p value, and Holm over k - 1 of them would hold its level.
Any of the k may turn out to be the best, so each gets a k-th of the level: k times p/2. Of two it is the usual test.

Pure: the same arguments give the same numbers.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from optimizer.corrections import holm
from optimizer.significance import PairedComparison, decide

Decision = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contest:
    """One of many paired comparisons.

    Attributes:
        comparison: Its difference, interval and p value, each by itself.
        adjusted: The p value, corrected for all comparisons and for the choice of the best.
        decision: What the corrected p value and the interval together allow to say.
    """

    comparison: PairedComparison
    adjusted: float
    decision: Decision


def against_baseline(comparisons: Sequence[PairedComparison]) -> tuple[Contest, ...]:
    """Return what may be said of each, compared with one that was named before the scores were seen.

    Args:
        comparisons: Each minus the baseline, with an interval at the level 0.95.
    """
    return _contests(comparisons, factor=1.0)


def against_best(comparisons: Sequence[PairedComparison]) -> tuple[Contest, ...]:
    """Return what may be said of each, compared with the one that scored highest.

    Args:
        comparisons: Each minus the best, with an interval at the level 0.95.
    """
    return _contests(comparisons, factor=(len(comparisons) + 1) / 2)


def _contests(comparisons: Sequence[PairedComparison], *, factor: float) -> tuple[Contest, ...]:
    adjusted = holm([min(1.0, factor * comparison.p_value) for comparison in comparisons])
    return tuple(
        Contest(comparison=comparison, adjusted=value, decision=_decision(comparison, value))
        for comparison, value in zip(comparisons, adjusted, strict=True)
    )


def _decision(comparison: PairedComparison, adjusted: float) -> Decision:
    found = decide(dataclasses.replace(comparison, p_value=adjusted))
    return "better" if found == "improved" else found
