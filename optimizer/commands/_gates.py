"""Gates for continuous integration: least figures, compared with the numbers as they are printed."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

MinScore = Annotated[
    float | None,
    typer.Option(
        metavar="SCORE",
        min=0.0,
        max=1.0,
        help="Exit with 1 if the printed score lies below; of a study, that of the frozen prompt.",
    ),
]
MinGain = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS",
        help="Exit with 1 unless the decision is `improved` and the printed gain is at least this.",
    ),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """One least figure, and what was found.

    Attributes:
        found: The figure as it is printed; None where there is none.
    """

    name: str
    wanted: float
    found: float | None
    passed: bool
    message: str


def check_gates(**least: float | None) -> None:
    """Refuse a least figure that nothing can be compared with.

    Raises:
        InputError: When one is not finite.
    """
    from optimizer.errors import InputError, Problem

    problems = [
        Problem(file="", field=f"--{name.replace('_', '-')}", message=f"expected a number, found {value}")
        for name, value in least.items()
        if value is not None and not math.isfinite(value)
    ]
    if problems:
        raise InputError(problems)


def score_gate(least: float | None, score: float | None) -> Iterator[Gate]:
    """Yield the gate of a score, if one is set."""
    from optimizer.explanation import score_text

    if least is None:
        return
    found = None if score is None else float(score_text(score))
    passed = found is not None and found >= least
    shown = "none" if found is None else score_text(found)
    yield Gate(
        name="min_score",
        wanted=least,
        found=found,
        passed=passed,
        message=f"expected a score of at least {least:g}, found {shown}",
    )


def study_gates(
    min_score: float | None, min_gain: float | None, evidence: Mapping[str, Any]
) -> Iterator[Gate]:
    """Yield the gates of a finished study that are set."""
    from optimizer.explanation import signed_points

    side = evidence["frozen"]
    if evidence["protocol"] == "test":
        score = evidence["test"][side]["score"]
    else:
        score = evidence["cross_validation"]["chosen" if side == "winner" else "baseline"]
    yield from score_gate(min_score, score)
    if min_gain is None:
        return
    decision, gain = evidence["decision"], signed_points(evidence["difference"]["value"])
    yield Gate(
        name="min_gain",
        wanted=min_gain,
        found=float(gain),
        passed=decision == "improved" and float(gain) >= min_gain,
        message=f"expected an improvement of at least {min_gain:g} points, found {gain} points, {decision}",
    )


def gate_figures(gates: list[Gate]) -> dict[str, object]:
    """Return the gates as `--json` shows them."""
    return {gate.name: {"wanted": gate.wanted, "found": gate.found, "passed": gate.passed} for gate in gates}
