"""Evidence as lines of text."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimizer.plan import StudyPlan
    from optimizer.selection import Selection

_ROWS = (
    ("baseline", "baseline"),
    ("wording", "baseline's wording, winner's format"),
    ("winner", "winner"),
)


def selection_lines(
    plan: "StudyPlan", selection: "Selection", summary: Mapping[str, object]
) -> Iterator[str]:
    """Yield what a person wants to know at the end of a run."""
    yield ""
    yield (
        f"{plan.name}: {summary['trials']} trials, {summary['calls']} of {summary['budget']} calls, "
        f"{summary['seconds']} s"
    )
    yield from evidence_lines(selection.frozen.evidence)
    kept = "the winner" if selection.decision == "improved" else "the baseline"
    yield f"frozen: {kept}; wrote {', '.join(str(file) for file in _listed(summary['files']))}"


def evidence_lines(evidence: Mapping[str, Any]) -> Iterator[str]:
    """Yield the scores on test, the gains with their intervals, and the decision."""
    if "test" not in evidence:
        return
    yield f"{'on test, ' + evidence['metric']:<38}{'score':>7}  {'95 % interval':<16}{'n':>5}{'invalid':>9}{'errors':>8}"
    for key, name in _ROWS:
        yield _row(name, evidence["test"][key])
    yield _gain("gain over the baseline", evidence["difference"])
    yield _gain("gain over its wording, winner's format", evidence["difference_over_format"])
    yield f"{'decision':<40}{evidence['decision']}{_times(int(evidence['test_opened']))}"


def _row(name: str, figures: Mapping[str, Any]) -> str:
    interval = "" if figures["lower"] is None else f"{figures['lower']:.3f} to {figures['upper']:.3f}"
    return (
        f"{name:<38}{figures['score']:>7.3f}  {interval:<16}{figures['n']:>5}"
        f"{figures['invalid']:>9}{figures['errors']:>8}"
    )


def _gain(name: str, difference: Mapping[str, Any]) -> str:
    value, lower, upper = (100 * difference[key] for key in ("value", "lower", "upper"))
    p_value = difference["p_value"]
    chance = "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.4f}"
    return f"{name:<40}{value:+.1f} points ({lower:+.1f} to {upper:+.1f}), {chance}"


def _times(opened: int) -> str:
    return "" if opened == 1 else f" (the test was opened {opened} times)"


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
