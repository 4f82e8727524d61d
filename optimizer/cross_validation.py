"""Repeated cross-validation of the choice, for data that cannot spare a test split.

Every arm was scored on the same examples. Fold after fold, the choice is made on the other folds and judged on this
one, so no example judges an arm that it helped to choose. What is estimated is the gain of the whole choice, not of
one arm: the arm that ships was chosen on all examples, and does at least about as well.

| | |
|---|---|
| K, R | folds, and how often the examples are dealt into folds anew |
| θ | objective of the held-out answers of one repeat, all K folds together, less the baseline's |
| g | gain on one fold, as a pseudo-value: K·θ - (K - 1)·θ without the fold (Tukey 1958); there are K·R of them |

Of a mean of scores the pseudo-values are the means of the folds; of a metric of the whole corpus, such as macro-F1,
they spare it folds that lack a label.

The K·R gains are not independent: their variance s² is taken times 1/(KR) + 1/(K - 1) instead of 1/(KR) (Nadeau and
Bengio 2003, Machine Learning 52:239; Bouckaert and Frank 2004, PAKDD). That leaves out that the arms of different
folds were chosen on common examples, so the t quantile has 2K - 1 degrees of freedom and not KR - 1: on simulated
studies of 30 to 55 examples and 5 to 30 arms the interval then covers 0.95 to 0.98, where KR - 1 gave 0.90 to 0.98.
Where all examples agree s is 0, and would make few examples certain: of 0/1 scores the error is at least what one win
and one loss more would give it (Agresti and Min 2005, Statistics in Medicine 24:729).
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean, variance

from optimizer.resampling import DIGITS
from optimizer.significance import Interval, PairedComparison, least_p_value

FOLDS = 5  # fewer choose on too little, more judge on too few (Kohavi 1995, IJCAI)
REPEATS = 10  # ten times five is what the corrected test was studied with (Bouckaert and Frank 2004)
_LEVEL = 0.95  # there is no test whose further openings would ask for more

# Examples to choose on -> the arm chosen; arms with some examples each -> the objective of all those answers together.
Choose = Callable[[Sequence[str]], str]
Parts = Sequence[tuple[str, Sequence[str]]]
Value = Callable[[Parts], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossValidation:
    """What the choice gained where it was judged on examples it had not seen.

    Attributes:
        baseline: The baseline's mean over the folds.
        chosen: The same of the arms chosen on the other folds.
        difference: Gain of the choice, with its interval.
        picked: How often each arm was chosen, by arm; K·R in all.
    """

    folds: int
    repeats: int
    baseline: float
    chosen: float
    difference: PairedComparison
    picked: Mapping[str, int]


def cross_validate(  # noqa: PLR0913  # four that define it, three that are options
    examples: Sequence[str],
    *,
    baseline: str,
    choose: Choose,
    value: Value,
    seed: int,
    clusters: Sequence[str] | None = None,
    scored: Callable[[str], Collection[str]] | None = None,
) -> CrossValidation:
    """Return the gain of a choice by repeated cross-validation.

    Clusters are never divided. Wins, ties and losses count examples by the sign of their mean difference over the
    repeats; for an objective of the whole corpus they are those of single examples all the same.

    Args:
        examples: Those that the baseline has a score for.
        choose: Chooses an arm from what is known of some examples.
        value: The objective of some arms' answers, each to examples of its own, in [0, 1].
        scored: The examples that an arm has a score for, where these are not all: a fold is judged on no others.

    Raises:
        ValueError: Fewer than two clusters, or not one cluster per example.
    """
    groups = _groups(examples, clusters)
    folds = min(FOLDS, len(groups))
    if folds < 2:
        raise ValueError("cross-validation needs at least two examples or clusters that can be parted")
    rng, repeats = Random(seed), list[_Repeat]()
    for _ in range(REPEATS):
        dealt = rng.sample(groups, len(groups))
        parts = [[example for group in dealt[k::folds] for example in group] for k in range(folds)]
        arms = [choose([example for example in examples if example not in held]) for held in map(set, parts)]
        known = [
            [e for e in part if scored is None or e in scored(arm)]
            for part, arm in zip(parts, arms, strict=True)
        ]
        repeats.append(_Repeat(list(zip(arms, known, strict=True)), baseline, value))
    picked = Counter(arm for repeat in repeats for arm, _ in repeat.parts)
    return CrossValidation(
        folds=folds,
        repeats=REPEATS,
        baseline=round(fmean(repeat.before for repeat in repeats), DIGITS),
        chosen=round(fmean(repeat.after for repeat in repeats), DIGITS),
        difference=_corrected(repeats, examples, len(groups)),
        picked=dict(sorted(picked.items())),
    )


class _Repeat:
    """One dealing of the examples into folds, each with the arm that was chosen without it."""

    def __init__(self, parts: Parts, baseline: str, value: Value) -> None:
        self.parts = parts
        self._baseline = baseline
        self._value = value
        self.before, self.after = self._values(parts)

    def gains(self) -> list[float]:
        """Return the pseudo-value of each fold."""
        k, gain = len(self.parts), self.after - self.before
        without = [self._values([*self.parts[:n], *self.parts[n + 1 :]]) for n in range(k)]
        return [k * gain - (k - 1) * (after - before) for before, after in without]

    def pairs(self) -> list[tuple[str, float, float]]:
        """Return each example with the objective of the baseline's and of the chosen arm's answer to it."""
        return [
            (example, self._value([(self._baseline, [example])]), self._value([(arm, [example])]))
            for arm, examples in self.parts
            for example in examples
        ]

    def _values(self, parts: Parts) -> tuple[float, float]:
        if not any(examples for _, examples in parts):
            return 0.0, 0.0
        return self._value([(self._baseline, examples) for _, examples in parts]), self._value(parts)


def _groups(examples: Sequence[str], clusters: Sequence[str] | None) -> list[list[str]]:
    if clusters is None:
        return [[example] for example in examples]
    groups: dict[str, list[str]] = {}
    for example, cluster in zip(examples, clusters, strict=True):
        groups.setdefault(cluster, []).append(example)
    return list(groups.values())


def _corrected(repeats: Sequence[_Repeat], examples: Sequence[str], units: int) -> PairedComparison:
    """Return the corrected resampled t test and its interval.

    Args:
        units: How many clusters the examples are in, or how many they are.
    """
    from scipy.special import stdtr, stdtrit

    gains = [gain for repeat in repeats for gain in repeat.gains()]
    folds = len(repeats[0].parts)
    sums, squares, binary = dict.fromkeys(examples, 0.0), list[float](), True
    for example, before, after in (pair for repeat in repeats for pair in repeat.pairs()):
        sums[example] += after - before
        squares.append((after - before) ** 2)
        binary = binary and {before, after} <= {0.0, 1.0}
    mean = round(fmean(repeat.after - repeat.before for repeat in repeats), DIGITS) + 0.0
    # As much as if the next unit might go either way; a graded one by as much as they did.
    least = 2 / (units * (units + 2)) * (1.0 if binary else fmean(squares))
    error = math.sqrt(max(least, variance(gains) * (1 / len(gains) + 1 / (folds - 1))))
    freedom = 2 * folds - 1
    spread = float(stdtrit(freedom, (1 + _LEVEL) / 2)) * error
    # Equal gains on every fold: none is no evidence, any other is as much as there can be.
    certain = 1.0 if mean == 0 else 0.0
    p_value = 2 * float(stdtr(freedom, -abs(mean) / error)) if error else certain
    totals = [round(total, DIGITS) for total in sums.values()]
    return PairedComparison(
        n=len(sums),
        difference=mean,
        interval=Interval(
            lower=max(-1.0, round(mean - spread, DIGITS)),
            upper=min(1.0, round(mean + spread, DIGITS)),
            level=_LEVEL,
        ),
        p_value=max(least_p_value(units), p_value),
        method=f"corrected t test, {len(repeats)} × {folds}-fold cross-validation",
        wins=sum(total > 0 for total in totals),
        ties=sum(total == 0 for total in totals),
        losses=sum(total < 0 for total in totals),
        clusters=units if units < len(sums) else None,
    )
