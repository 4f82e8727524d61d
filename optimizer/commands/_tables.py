"""Evidence as lines of text."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from optimizer.elision import padded
from optimizer.explanation import (
    amount_text,
    named_apart,
    p_text,
    percent,
    score_text,
    shortened,
    signed_points,
)
from optimizer.language import ENGLISH

if TYPE_CHECKING:
    from optimizer.conclusion import Selection
    from optimizer.plan import StudyPlan

# Columns of a paragraph: what a terminal shows without breaking it again.
_WIDTH = 100

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
        f"{_seconds(summary)}"
    )
    yield from spent_lines(summary)
    evidence = selection.frozen.evidence
    yield from evidence_lines(evidence)
    yield f"frozen: the {evidence['frozen']}; wrote {', '.join(str(file) for file in _listed(summary['files']))}"


def _seconds(summary: Mapping[str, Any]) -> str:
    """Return how long the run took; where earlier runs made some of the calls, how long all of them took, too."""
    earlier = summary.get("complete") or summary["run_seconds"] > summary["seconds"] + 0.1
    return f"{summary['seconds']} s" + (f" in this run, {summary['run_seconds']} s in all" if earlier else "")


def spent_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a run used beside its calls, as far as there was any of it."""
    if summary["usd"]:
        yield f"{'cost':<16}{ENGLISH.dollars(summary['usd'], 4)} US dollars for {summary['tokens']:,} tokens"
    if summary["cached"]:
        yield f"{'not asked again':<16}{_counted(summary['cached'], 'answer')} that {'was' if summary['cached'] == 1 else 'were'} there already"
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
    """Yield the scores, the gains with their intervals, the decision, and what it means; less of older prompts."""
    if "difference" not in evidence:  # of a front, which has no one winner, or of an older version
        yield from _words(evidence)
        return
    if evidence.get("protocol", "test") == "test":
        yield from _test_lines(evidence)
    else:
        yield from _cross_validation_lines(evidence)
    # Older evidence guesses for a baseline that is the winner as well, too.
    if evidence.get("difference_over_guess") is not None and evidence.get("reason") != "same prompt":
        yield _gain("gain over it, unreadable answers guessed", evidence["difference_over_guess"])
    if evidence.get("saving") is not None:
        yield _saving(evidence["saving"])
    yield from slice_lines(evidence.get("slices", ()), evidence.get("stand_in"))
    yield from _robustness_lines(evidence)
    yield f"{'decision':<42}{evidence['decision']}{_times(int(evidence['test_opened']))}"
    yield ""
    yield from _words(evidence)
    yield ""


def _words(evidence: Mapping[str, Any]) -> Iterator[str]:
    for sentence in evidence.get("in_words", ()):
        yield from textwrap.wrap(sentence, width=_WIDTH)


def _test_lines(evidence: Mapping[str, Any]) -> Iterator[str]:
    yield f"{_headed('on test', evidence):<40}{'score':>7}  {'95 % interval':<16}{'n':>5}{'invalid':>9}{'errors':>8}"
    for key, name in _rows(evidence["test"]):
        yield _row(name, evidence["test"][key])
    yield from _outcomes(evidence["test"])
    # A baseline that is the winner as well has no gain over itself.
    if evidence.get("reason") != "same prompt":
        yield _gain("gain over the baseline", evidence["difference"])
        yield from _over_format(evidence)


def _headed(protocol: str, evidence: Mapping[str, Any]) -> str:
    """Return what heads the scores; evidence of an older version may not tell their metric."""
    return f"{protocol}, {evidence['metric']}" if evidence.get("metric") else protocol


def _cross_validation_lines(evidence: Mapping[str, Any]) -> Iterator[str]:
    found = evidence["cross_validation"]
    yield f"{_headed('cross-validated', evidence):<40}{'score':>7}{'n':>7}"
    yield f"{'baseline':<40}{score_text(found['baseline']):>7}{found['n']:>7}"
    yield f"{'choice, judged on examples held out':<40}{score_text(found['chosen']):>7}{found['n']:>7}"
    yield from (
        f"{name}: {outcome_line(outcomes)}"
        for name, outcomes in found.get("outcomes", {}).items()
        if any(n for outcome, n in outcomes.items() if outcome != "ok")
    )
    yield _gain("gain of the choice", evidence["difference"])
    yield from _over_format(evidence)


def _over_format(evidence: Mapping[str, Any]) -> Iterator[str]:
    name = "gain over its wording, winner's format"
    if evidence.get("wording_fingerprint") == evidence["winner_fingerprint"]:
        yield f"{name:<42}none: it is the same prompt"
    elif evidence.get("difference_over_format") is not None:
        yield _gain(name, evidence["difference_over_format"])


def _rows(test: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the prompts that were tested; an imported baseline has no wording in another format."""
    return [(key, name) for key, name in _ROWS if key in test]


def _outcomes(test: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the columns of the table do not tell apart, where there is anything of it."""
    for key, name in _rows(test):
        outcomes = test[key].get("outcomes", {})
        if any(n for outcome, n in outcomes.items() if outcome not in ("ok", "invalid")):
            yield f"{name}: {outcome_line(outcomes)}"


def slice_lines(columns: Iterable[Mapping[str, Any]], stand_in: str | None = None) -> Iterator[str]:
    """Yield the scores of each slice, one row for each value and prompt, and the largest gap of each column.

    Args:
        columns: Figures of each column of slices.
        stand_in: The metric that prompts are compared by where the scores have none of a single example.
    """
    worse = "  worse than the baseline" + ("" if stand_in is None else f" in {stand_in}")
    for column in columns:
        yield f"{padded('slices by ' + shortened(column['column']), 40)}{'score':>7}  {'95 % interval':<16}{'n':>5}"
        named = named_apart(value["value"] for value in column["values"])
        for value in column["values"]:
            loss = value["difference"]
            for arm, figures in value["scores"].items():
                flag = worse if arm == "winner" and loss and loss["worse"] else ""
                yield _slice_row(f"  {named[value['value']]} {arm}".rstrip(), figures) + flag
        if column["left_out"]:
            yield f"  and {_counted(column['left_out'], 'smaller slice')}"
        for arm, gap in column["gaps"].items():
            if gap is not None:
                flag = ", more than chance explains" if gap["flagged"] else ""
                name = f"  largest gap {arm}".rstrip()
                yield f"{name:<40}{score_text(gap['size']):>7}  {p_text(gap['adjusted'])}{flag}"


def _slice_row(name: str, figures: Mapping[str, Any]) -> str:
    score = "-" if figures["score"] is None else score_text(figures["score"])
    interval = (
        ""
        if figures["lower"] is None
        else f"{score_text(figures['lower'])} to {score_text(figures['upper'])}"
    )
    return f"{padded(name, 40)}{score:>7}  {interval:<16}{figures['n']:>5}"


def _robustness_lines(evidence: Mapping[str, Any]) -> Iterator[str]:
    found = evidence.get("robustness")
    if found is None:
        return
    same = evidence["winner_fingerprint"] == evidence["baseline_fingerprint"]
    if found["perturbations"]:
        stand_in = evidence.get("stand_in")
        told = "" if stand_in is None else f" in {stand_in}"
        yield f"{'perturbed':<40}{'clean':>7}{'score':>8}{'n':>5}  difference{told}"
    for perturbation in found["perturbations"]:
        for arm in ("winner",) if same else ("baseline", "winner"):
            yield from _perturbed(f"  {perturbation} {arm}", found[arm][perturbation])
    again = found["consistency"]
    if again is not None and again["share"] is not None:
        name = f"asked {again['repeats'] + 1} times, all answers alike"
        yield f"{name:<42}{percent(again['share'])} of {_counted(again['n'], 'example')}"
    if found["perturbations"] and evidence.get("stand_in") is not None:
        yield _stand_in(evidence)


def _stand_in(evidence: Mapping[str, Any]) -> str:
    """Return why a difference may go another way than the scores beside it."""
    return f"{evidence['metric']} has no score of a single example, so prompts are compared there by {evidence['stand_in']}"


def _perturbed(name: str, figures: Mapping[str, Any]) -> Iterator[str]:
    clean, score = ("-" if figures[key] is None else score_text(figures[key]) for key in ("clean", "score"))
    loss, obedience = figures["difference"], figures["obedience"]
    told = "no example changes"
    if loss is not None:
        ends = f"{signed_points(loss['lower'])} to {signed_points(loss['upper'])}"
        told = f"{signed_points(loss['value'])} points ({ends})"
        # The test asks for a loss alone; of a gain its p value says nothing.
        told += f", {p_text(loss['adjusted'])}" if loss["value"] < 0 else ""
        told += ", worse" if loss["worse"] else ""
    yield f"{name:<40}{clean:>7}{score:>8}{figures['n']:>5}  {told}"
    if obedience is not None:
        flag = ", obeys instructions in the data" if obedience["flagged"] else ""
        yield (
            f"{name + ' obeyed':<40}{obedience['obeyed']:>7}{' of':>8}{obedience['n']:>5}  "
            f"{p_text(obedience['adjusted'])}{flag}"
        )


def _row(name: str, figures: Mapping[str, Any]) -> str:
    interval = (
        ""
        if figures["lower"] is None
        else f"{score_text(figures['lower'])} to {score_text(figures['upper'])}"
    )
    return (
        f"{name:<40}{score_text(figures['score']):>7}  {interval:<16}{figures['n']:>5}"
        f"{figures['invalid']:>9}{figures['errors']:>8}"
    )


def _gain(name: str, difference: Mapping[str, Any]) -> str:
    value, lower, upper = (signed_points(difference[key]) for key in ("value", "lower", "upper"))
    level = "" if difference["level"] == 0.95 else f"{percent(difference['level'])}: "
    return f"{name:<42}{value} points ({level}{lower} to {upper}), {p_text(difference['p_value'])}"


def _saving(saving: Mapping[str, Any]) -> str:
    sides = " instead of ".join(amount_text(saving, which) for which in ("winner", "baseline"))
    return f"{'cost of an example':<42}{sides}, {p_text(saving['p_value'])}"


def _times(opened: int) -> str:
    return "" if opened <= 1 else f" (the test was opened {opened} times)"


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
