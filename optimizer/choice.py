"""The choice on validation: which arms are confirmed, and which of them wins.

Pure: decides from scores by arm and example, so a study and a table of recorded scores are chosen from alike.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Two scores closer than this are one score: far below a single example's weight, far above rounding errors.
_TIE = 1e-9

# Share of the cost that a cheaper prompt must save before it may take the place of a better one: within a standard
# error a prompt may well be worse, and for less than this nobody would take the chance.
_SAVING = 0.05

# Candidates that are confirmed at most: each further one costs as much as the first, and has a lower estimate.
MOST_CONFIRMED = 3
# Share of a budget that confirmation may take: the quarter that is left when the search has three.
_SHARE = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """An arm that may win.

    Attributes:
        arm: Its id.
        scores: Per-example scores on validation, by example id; the proxy's where the objective is an aggregate.
        estimate: What it is expected to score on all of validation, in [0, 1].
        cost: What one example costs with it, in any unit that is the same for all; None where it is not known.
    """

    arm: str
    scores: Mapping[str, float]
    estimate: float
    cost: float | None = None


def shortlist(contenders: Sequence[Contender], most: int) -> tuple[str, ...]:
    """Return up to `most` arms by their estimate, best first; among equals the order given."""
    ranked = sorted(contenders, key=lambda each: -each.estimate)
    return tuple(each.arm for each in ranked[: max(0, most)])


def final(baseline: Contender, finalists: Sequence[Contender], *, sound: bool = True) -> Contender:
    """Return the winner: the cheapest within one standard error of the best, if it saves enough to matter.

    The best has the highest estimate; among equals the baseline, then the order given. The baseline itself wins only
    as the best: where another one is better by estimate, it is the test that says whether the difference is real.
    A finalist below the baseline's estimate wins only if it costs less. Where a cost is not known the best wins.

    The standard error is that of the paired difference on the examples both have (Breiman et al. 1984, section 3.4.3,
    took that of the best's own score, which is larger and lets more pass as equal).

    Args:
        sound: Whether the baseline keeps the study's constraints; one that does not wins only where nobody else is.
    """
    entrants = [*([baseline] if sound or not finalists else []), *finalists]
    best = max(entrants, key=lambda each: each.estimate)
    tied = [
        each
        for each in finalists
        if each is not best
        and (not sound or each.estimate > baseline.estimate or _cheaper(each, baseline))
        and _cheaper(each, best)
        and within_one_error(best, each)
    ]
    return min([best, *tied], key=lambda each: (each.cost or 0.0, -each.estimate))


def _cheaper(one: Contender, other: Contender) -> bool:
    return one.cost is not None and other.cost is not None and one.cost <= (1 - _SAVING) * other.cost


def within_one_error(best: Contender, other: Contender) -> bool:
    """Return whether `other` scores within one standard error of the best; False where they share fewer than two examples.

    By the scores on the examples both have, not by the estimates: prompts that score alike on every example are equal,
    whatever else is known of their wording or format.
    """
    shared = sorted(best.scores.keys() & other.scores.keys())
    if len(shared) < 2:
        return False
    differences = [best.scores[example] - other.scores[example] for example in shared]
    error = statistics.stdev(differences) / math.sqrt(len(shared))
    return statistics.fmean(differences) <= error + _TIE


def confirmations(budget: float, each: float) -> int:
    """Return how many arms are confirmed on all of validation: one at least, else the baseline and two or three more.

    Args:
        budget: What there is for search and confirmation, in calls or any other unit.
        each: What confirming one arm takes at most, in the same unit.
    """
    held = math.floor(_SHARE * budget / each) if each else 1 + MOST_CONFIRMED
    return 1 if held < 3 else min(1 + MOST_CONFIRMED, held)
