"""Evidence read with care: it comes from a file, may be of an older version, and may hold anything.

What is missing or of another type is absent. How figures become text is told by `_telling`.
"""

import math
from collections.abc import Mapping
from typing import Any

from optimizer.report._language import mark

ABSENT = "–"

# The prompts that a test scores, the choice as cross-validation judges it, and the differences: key and name.
ARMS = (
    ("baseline", mark("baseline")),
    ("wording", mark("baseline's wording, winner's format")),
    ("winner", mark("winner")),
)
HELD_OUT = (("baseline", mark("baseline")), ("chosen", mark("choice, judged on examples held out")))
GUESSED = "difference_over_guess"
GAINS = (
    ("difference", mark("over the baseline")),
    ("difference_over_format", mark("over its wording, winner's format")),
    (GUESSED, mark("over it, unreadable answers guessed")),
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


def known_prompts(evidence: Mapping[str, Any]) -> Mapping[str, str]:
    """Return which prompts of the study have which fingerprint; the baseline, where it is the winner as well."""
    return {text(evidence.get(f"{arm}_fingerprint")): arm for arm in ("winner", "baseline")}


def stand_in_of(evidence: Mapping[str, Any]) -> str:
    """Return the metric that single examples are compared by where the scores are of another one, else ""."""
    found = text(evidence.get("stand_in"))
    return "" if found == ABSENT else found


def gains(evidence: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return the differences that there are: key, name and figures; none where the baseline is the winner as well.

    By cross-validation a choice is judged, which is another one each time.
    """
    if evidence.get("reason") == "same prompt" and not held_out(evidence):
        return []
    # Older evidence guesses for a prompt that is its own baseline.
    left_out = (GUESSED,) if evidence.get("reason") == "same prompt" else ()
    found = [(key, name, mapping(evidence.get(key))) for key, name in GAINS if key not in left_out]
    return [each for each in found if each[-1]]


def held_out(evidence: Mapping[str, Any]) -> bool:
    """Return whether the choice was judged by cross-validation instead of a test."""
    return "test" not in evidence and bool(mapping(evidence.get("cross_validation")))
