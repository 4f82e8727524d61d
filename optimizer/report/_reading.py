"""Evidence read with care: it comes from a file, may be of an older version, and may hold anything.

What is missing or of another type is absent. Figures become text here, by the functions that every table uses.
"""

import math
from collections.abc import Mapping
from typing import Any

from optimizer.explanation import amount_text, p_text, percent, points, score_text, signed_points
from optimizer.frozen import FrozenPrompt

ABSENT = "–"

# The prompts that a test scores, the choice as cross-validation judges it, and the differences: key and name.
ARMS = (("baseline", "baseline"), ("wording", "baseline's wording, winner's format"), ("winner", "winner"))
HELD_OUT = (("baseline", "baseline"), ("chosen", "choice, judged on examples held out"))
GAINS = (
    ("difference", "over the baseline"),
    ("difference_over_format", "over its wording, winner's format"),
    ("difference_over_guess", "over it, unreadable answers guessed"),
)

# Hex digits of a fingerprint that are shown in a sentence or a table: enough to tell the prompts of a study apart.
_SHORT = 12


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping as it is, anything else as an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[Any]:
    """Return a list as it is, anything else as an empty one."""
    return list(value) if isinstance(value, list | tuple) else []


def number(value: object) -> float | None:
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond every float
        return None


def text(value: object) -> str:
    """Return a text, a number or a truth value as it stands; anything else is absent."""
    return str(value) if isinstance(value, str | int | float) and value != "" else ABSENT


def short(fingerprint: object) -> str:
    """Return the beginning of a fingerprint."""
    return text(fingerprint)[:_SHORT]


def score(value: object) -> str:
    """Return a score as every table shows it."""
    found = number(value)
    return ABSENT if found is None else score_text(found)


def share(value: object) -> str:
    """Return a share in per cent."""
    found = number(value)
    return ABSENT if found is None else percent(found)


def gain(value: object) -> str:
    """Return a difference of scores in points with its sign and its unit."""
    found = number(value)
    return ABSENT if found is None else f"{signed_points(found)} points"


def size(value: object) -> str:
    """Return a difference of scores in points without a sign."""
    found = number(value)
    return ABSENT if found is None else f"{points(found)} points"


def chance(value: object) -> str:
    """Return a p value as every table shows it."""
    found = number(value)
    return ABSENT if found is None else p_text(found)


def amount(value: object, unit: object) -> str:
    """Return an amount of tokens or money with its unit."""
    found = number(value)
    return ABSENT if found is None else amount_text({"unit": unit, "amount": found}, "amount")


def score_interval(figures: Mapping[str, Any]) -> str:
    """Return the interval of a score."""
    ends = [score(figures.get(end)) for end in ("lower", "upper")]
    return ABSENT if ABSENT in ends else " to ".join(ends)


def gain_interval(figures: Mapping[str, Any]) -> str:
    """Return the interval of a difference of scores, in points."""
    ends = [number(figures.get(end)) for end in ("lower", "upper")]
    return ABSENT if None in ends else " to ".join(signed_points(end) for end in ends if end is not None)


def which(frozen: FrozenPrompt) -> str:
    """Return which prompt is frozen: "winner" or "baseline", or "" where the evidence does not say."""
    said = frozen.evidence.get("frozen")
    if said in ("winner", "baseline"):
        return str(said)
    # The baseline first: where nothing beat it, it is the winner as well.
    arms = ("baseline", "winner")
    return next((a for a in arms if frozen.evidence.get(f"{a}_fingerprint") == frozen.fingerprint), "")


def known_prompts(evidence: Mapping[str, Any]) -> Mapping[str, str]:
    """Return which prompts of the study have which fingerprint; the baseline, where it is the winner as well."""
    return {text(evidence.get(f"{arm}_fingerprint")): arm for arm in ("winner", "baseline")}


def held_out(evidence: Mapping[str, Any]) -> bool:
    """Return whether the choice was judged by cross-validation instead of a test."""
    return "test" not in evidence and bool(mapping(evidence.get("cross_validation")))
