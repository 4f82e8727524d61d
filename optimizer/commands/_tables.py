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
    yield from spent_lines(summary)
    yield from evidence_lines(selection.frozen.evidence)
    kept = "the winner" if selection.decision == "improved" else "the baseline"
    yield f"frozen: {kept}; wrote {', '.join(str(file) for file in _listed(summary['files']))}"


def spent_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a run used beside its calls, as far as there was any of it."""
    if summary["usd"]:
        yield f"{'cost':<16}{summary['usd']:.4f} US dollars for {summary['tokens']:,} tokens"
    if summary["cached"]:
        yield f"{'from the store':<16}{_counted(summary['cached'], 'answer')}"
    if summary["retried"]["total"]:
        reasons = ", ".join(f"{reason} {n}" for reason, n in summary["retried"]["reasons"].items())
        yield f"{'retried':<16}{_counted(summary['retried']['total'], 'failed attempt')}: {reasons}"
    if summary["lost_in_flight"]:
        lost = f"{summary['lost_tokens']:,} tokens at most"
        yield f"{'lost in flight':<16}{_counted(summary['lost_in_flight'], 'attempt')} of killed runs, {lost}"
    if summary["damaged"]:
        yield f"{'damaged':<16}{_counted(summary['damaged'], 'stored answer')} could not be read and counted as missing"
    if summary["failed_trials"]:
        yield f"{'failed':<16}{_counted(summary['failed_trials'], 'trial')}; the same command asks for what is missing"


def outcome_line(outcomes: Mapping[str, int]) -> str:
    """Return the counts of outcomes, those that occurred."""
    return ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items() if n)


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def evidence_lines(evidence: Mapping[str, Any]) -> Iterator[str]:
    """Yield the scores on test, the gains with their intervals, and the decision."""
    if "test" not in evidence:
        return
    yield f"{'on test, ' + evidence['metric']:<38}{'score':>7}  {'95 % interval':<16}{'n':>5}{'invalid':>9}{'errors':>8}"
    for key, name in _ROWS:
        yield _row(name, evidence["test"][key])
    yield from _outcomes(evidence["test"])
    yield _gain("gain over the baseline", evidence["difference"])
    yield _gain("gain over its wording, winner's format", evidence["difference_over_format"])
    yield f"{'decision':<40}{evidence['decision']}{_times(int(evidence['test_opened']))}"


def _outcomes(test: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the columns of the table do not tell apart, where there is anything of it."""
    for key, name in _ROWS:
        outcomes = test[key].get("outcomes", {})
        if any(n for outcome, n in outcomes.items() if outcome not in ("ok", "invalid")):
            yield f"{name}: {outcome_line(outcomes)}"


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
