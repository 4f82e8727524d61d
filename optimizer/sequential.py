"""Tests of one prompt against another on the same examples that may be looked at before all examples are scored.

A test made for one look, repeated after every block of examples, rejects equal prompts far more often than its level
says. The error of these two holds over all looks together:

| scores | test | looks |
|---|---|---|
| 0/1 | `sequential_sign_test` | at most as many as are planned beforehand |
| graded | `betting_p_value` | after every example, and for as long as one likes |

Both are one-sided: they look for b better than a. With the sides swapped they look for b worse; who asks both
questions gives each half the error. Both take examples to be independent: a cluster of examples counts as one, by the
mean of its differences. The betting test is right for 0/1 scores as well, and finds less: it is the test where
the number of looks cannot be planned.

| | |
|---|---|
| d | difference of an example's two scores, b - a, in [-1, 1] |
| bet | share of the wealth that is staked on the next example, in (0, 1) |
| D | examples so far on which the prompts score differently: wins + losses |
| K | planned looks |

Pure, without seeds: the same arguments give the same numbers.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

# The bet under which wealth grows fastest is about mean(d) / mean(d²), for 0/1 scores (wins - losses) / D. Others grow
# about 1 - (1 - bet / fastest)² as fast, so of a grid by factors of two one is never slower than 8/9. The least bet
# still grows where the difference is above a sixteenth of the disagreement; below that thousands of examples would
# be needed anyway, and every further bet costs power (1/16 as a fifth one finds 0.77 instead of 0.80 of the
# differences of 0.09 in 200 examples, simulated). The greatest stands for 1, which one lost example would ruin.
BETS = (1 / 8, 1 / 4, 1 / 2, 15 / 16)

# Significant digits of a p value: more than any decision needs, fewer than two computers' logarithms agree on.
_P_DIGITS = 12


def betting_p_value(differences: Sequence[float]) -> float:
    """Return the p value of "the mean of d is 0 or less" against "above 0", as of the last example.

    Whoever stops when it falls to a level, at whatever example and for whatever reason, is wrong at most that often.
    The wealth is the mean of what each of `BETS` makes of 1 by staking on every example in turn, Π (1 + bet · d)
    (Waudby-Smith and Ramdas 2024, arXiv:2010.09686). If d is 0 or less on average the expected wealth never grows,
    and the probability that it ever reaches 1 / p is at most p (Ville 1939).

    The p value is that of the greatest wealth so far, so it depends on the order of the examples and never rises.
    It is 1 without examples, and 0 where it is smaller than any float.

    Raises:
        ValueError: A difference outside [-1, 1].
    """
    fortunes = [0.0] * len(BETS)  # logarithms: 10^5 examples won would overflow
    most = 0.0
    for position, difference in enumerate(differences):
        if not -1 <= difference <= 1:  # true of NaN as well
            raise ValueError(
                f"differences lie in [-1, 1], but the one at position {position} is {difference}"
            )
        fortunes = [
            fortune + math.log1p(bet * difference) for bet, fortune in zip(BETS, fortunes, strict=True)
        ]
        most = max(most, _log_mean_exp(fortunes))
    return float(f"{math.exp(-most):.{_P_DIGITS}g}")


def sequential_sign_test(
    looks: Sequence[tuple[int, int]], *, planned: int, level: float = 0.95
) -> int | None:
    """Return the first look, counted from 1, at which b is proven better than a; None where it is at none so far.

    Up to look k at most k / K of the error 1 - `level` is spent (Lan and DeMets 1983, Biometrika 70:659, their
    third spending function). What it comes to is exact: of the 2^D orders of wins and losses, which are equally
    likely for equal prompts, those are counted that lead to a proof at this look and to none before, in whole
    numbers. Given D at every look the proportion of orders proven is therefore at most 1 - `level`; as that holds
    for any D, it holds. A prompt that is worse than equal is proven better less often still.

    No look asks for more wins than the exact test at (1 - `level`) / K, Bonferroni's, and later ones mostly for fewer. One
    may stop before all looks are taken; after which examples a look comes must not depend on what was seen.

    Args:
        looks: (wins, losses) of b so far, from the first look to this one; ties count for neither side.
        planned: K, fixed before the first look.
        level: 1 minus the probability that equal prompts are told apart at any look, in (0, 1).

    Raises:
        ValueError: More looks than planned, counts that are negative or fall from one look to the next, or `level`
            not in (0, 1).
    """
    _check_looks(looks, planned)
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, but got level={level}")
    error = 1 - Fraction(str(float(level)))  # the decimal as it is written: 1 - 0.95 is above 0.05 in floats
    ways, spent, seen = [1], 0, 0  # ways: orders that were not proven, by their number of wins
    for look, (wins, losses) in enumerate(looks, start=1):
        more = int(wins + losses) - seen  # int: counts of numpy would overflow below
        ways, spent, seen = _extended(ways, more), spent << more, seen + more
        affordable = math.floor(error * look / planned * (1 << seen))
        while spent + ways[-1] <= affordable:
            spent += ways.pop()
        if wins >= len(ways):
            return look
    return None


def _log_mean_exp(logarithms: Sequence[float]) -> float:
    greatest = max(logarithms)
    return greatest + math.log(math.fsum(math.exp(each - greatest) for each in logarithms) / len(logarithms))


def _extended(ways: list[int], more: int) -> list[int]:
    """Return in how many orders each number of wins is reached after `more` examples that differ."""
    for _ in range(more):
        ways = [lost + won for lost, won in zip([*ways, 0], [0, *ways], strict=True)]
    return ways


def _check_looks(looks: Sequence[tuple[int, int]], planned: int) -> None:
    if planned < 1 or len(looks) > planned:
        raise ValueError(
            f"at least 1 look is planned and none are added, but got {len(looks)} looks with planned={planned}"
        )
    for look, (before, after) in enumerate(pairwise([(0, 0), *looks]), start=1):
        if after[0] < before[0] or after[1] < before[1]:
            raise ValueError(
                "wins and losses are counts that begin at 0 and never fall, "
                f"but at look {look} they go from {before} to {after}"
            )
