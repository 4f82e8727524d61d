"""The verdict: what the evidence allows to say of the winner, and which prompt is frozen."""

from dataclasses import dataclass
from typing import Literal

from optimizer.resampling import two_sided_z
from optimizer.significance import Decision, PairedComparison, decide

Frozen = Literal["winner", "baseline"]
Reason = Literal["same prompt", "better", "worse", "no evidence", "no better than guessing", "cheaper"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What may be said of the winner.

    Attributes:
        decision: Whether it is better than the baseline, beyond chance.
        frozen: Which of the two is frozen: the winner where it is better, or as good and cheaper.
        reason: Why.
    """

    decision: Decision
    frozen: Frozen
    reason: Reason


def settle(
    difference: PairedComparison,
    *,
    over_guess: PairedComparison | None,
    saving: PairedComparison | None,
    margin: float,
    level: float = 0.95,
) -> Verdict:
    """Return the verdict on a winner that is another prompt than the baseline.

    Not worse by more than `margin` is shown where the whole interval of the difference lies above -margin, and
    cheaper where the whole interval of the difference in cost lies below 0 and its test agrees (non-inferiority; Piaggio
    et al. 2012, JAMA 308:2594). Both are asked for, so neither needs a correction. Where unreadable answers were guessed, the same
    is asked of that comparison. Prompts that answer alike on few examples are not shown to be equal: the interval is
    taken to reach down to -z²/(n + z²) at least, where Tango's does if no pair of n differs; clusters count as one each.

    Args:
        difference: Winner minus baseline in score.
        over_guess: The same with the baseline's unreadable answers guessed; None where all could be read.
        saving: Winner minus baseline in cost; None where costs are not known.
        margin: Largest loss in score that still counts as none; 0 never freezes a prompt for being cheaper.
        level: That of the intervals.
    """
    decision = decide(difference, level=level)
    if decision == "worse":
        return Verdict(decision=decision, frozen="baseline", reason="worse")
    if decision == "improved":
        if over_guess is None or decide(over_guess, level=level) == "improved":
            return Verdict(decision=decision, frozen="winner", reason="better")
        return Verdict(decision="not distinguishable", frozen="baseline", reason="no better than guessing")
    as_good = all(_lowest(each) > -margin for each in (difference, over_guess) if each is not None)
    cheaper = saving is not None and saving.interval.upper < 0 and saving.p_value < 1 - level
    if margin > 0 and as_good and cheaper:
        return Verdict(decision=decision, frozen="winner", reason="cheaper")
    return Verdict(decision=decision, frozen="baseline", reason="no evidence")


def _lowest(comparison: PairedComparison) -> float:
    """Return what the difference may be at worst."""
    z_squared = two_sided_z(comparison.interval.level) ** 2
    return min(comparison.interval.lower, -z_squared / (comparison.units + z_squared))
