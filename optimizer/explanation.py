"""The evidence in words: what was tested, on what, how sure we are, what would make us surer.

For people who are no statisticians. Made of the figures that the frozen prompt carries, rounded as every table shows them.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from optimizer.power import POWER, USUAL_DISAGREEMENT, examples_needed

# A gain that one may fairly ask a test to show, in score units. What takes a larger one to be noticed notices hardly
# anything: between prompts that both work, gains are mostly below this.
ACCEPTABLE = 0.1

USUAL_LEVEL = 0.95  # what is asked of the first comparison on a test
_FINER = 0.05  # what the advice names beside it

_LONGEST = 40  # characters of a text from the data within a sentence

# A gain below half a point takes more examples than anybody labels, and is worth as little.
_FEWEST_POINTS = 0.005


def points(difference: float) -> str:
    """Return a difference of scores in points, as every table shows it: 0.0312 is 3.1."""
    return f"{100 * difference:.1f}"


def signed_points(difference: float) -> str:
    """Return a difference of scores in points with its sign; what rounds to nothing is +0.0."""
    text = f"{100 * difference:+.1f}"
    return "+0.0" if text == "-0.0" else text


def score_text(score: float) -> str:
    """Return a score as every table shows it."""
    return f"{score:.3f}"


def p_text(p_value: float) -> str:
    """Return a p value as every table shows it."""
    return "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.4f}"


def percent(share: float) -> str:
    """Return a share in per cent, without needless digits: 0.95 is 95 %."""
    return f"{round(100 * share, 1):g} %"


def provable_in_words(smallest: float, judged: int, *, groups: int | None, test: bool) -> tuple[str, ...]:
    """Return what a data set can show, before anything is run, and advice where that is too little.

    Args:
        smallest: The smallest gain that is shown in four cases of five, in score units.
        judged: Examples that the gain is judged on.
        groups: How many groups they form; None where nothing is grouped.
        test: Whether they are a test split; else they are the validation examples of a cross-validation.
    """
    what = f"The {judged} test examples" if test else f"Cross-validation on {judged} examples"
    grouped = groups is not None and groups < judged
    if grouped:
        what += f" in {groups} groups"
    if smallest >= 1:
        fewest = examples_needed(ACCEPTABLE)
        return (f"{what} can prove no gain, however large. {fewest} can prove {points(ACCEPTABLE)} points.",)
    assumed = (
        f"if the two prompts score differently on {percent(USUAL_DISAGREEMENT)} of the examples"
        if smallest <= USUAL_DISAGREEMENT
        else "if the new prompt is nowhere worse"
    )
    if grouped:
        assumed += ", even if the examples of a group stand or fall together"
    said = f"{what} can prove a gain of {points(smallest)} points or more, in {percent(POWER)} of all cases, {assumed}."
    return (said, *_advice(smallest, judged, groups=groups, test=test))


def _advice(smallest: float, judged: int, *, groups: int | None, test: bool) -> Iterator[str]:
    if smallest <= ACCEPTABLE:
        return
    needed, finer = examples_needed(ACCEPTABLE), examples_needed(_FINER)
    grouped = groups is not None and groups < judged
    unit = "groups" if grouped else "test examples" if test else "examples in a test split"
    yield (
        f"That is too little: most real gains are smaller, and would be called not distinguishable. "
        f"Label more examples: {needed} {unit} can prove {points(ACCEPTABLE)} points, {finer} can prove "
        f"{points(_FINER)}."
    )
    if not test:
        yield (
            "There is no test split: the choice is judged on validation, by repeated cross-validation, which is less "
            "certain than a test."
        )


def in_words(evidence: Mapping[str, Any]) -> list[str]:
    """Return the evidence of a finished study as sentences."""
    return [
        *_imported(evidence),
        *_what(evidence),
        *_how_sure(evidence),
        *_caveats(evidence),
        *(f"Caution: {flag}" for flag in flags_in_words(evidence)),
        *_search(evidence),
        *_surer(evidence),
    ]


def _imported(evidence: Mapping[str, Any]) -> Iterator[str]:
    found = evidence.get("imported")
    if found is not None:
        yield f"The baseline is the prompt that was imported from {found['file']} ({found['format']})."


def _what(evidence: Mapping[str, Any]) -> Iterator[str]:
    difference, tried = evidence["difference"], evidence["candidates"]
    prompts = f"{tried} prompt{'s' * (tried != 1)}"
    if evidence["reason"] == "same prompt":
        broke = evidence.get("infeasible", 0)
        sound = f" ({broke} broke the constraints of the study and could not win)" if broke else ""
        yield f"Of {prompts} none did better on validation than the baseline{sound}, so the baseline is kept."
        return
    if evidence["protocol"] == "test":
        test = evidence["test"]
        yield (
            f"The best of {prompts} was compared with the baseline on {difference['n']} test examples that the "
            f"search had never seen: {score_text(test['winner']['score'])} against "
            f"{score_text(test['baseline']['score'])}, a difference of {signed_points(difference['value'])} points."
        )
    else:
        folds, repeats = (evidence["cross_validation"][name] for name in ("folds", "repeats"))
        yield (
            f"There is no test split. The choice among {prompts} was repeated {folds * repeats} times on parts of the "
            f"{difference['n']} validation examples and judged on the rest ({repeats} times {folds}-fold "
            f"cross-validation): it gained {signed_points(difference['value'])} points on average."
        )
    if difference["wins"] is not None:
        better = "The new prompt was" if evidence["protocol"] == "test" else "What was chosen was"
        yield (
            f"{better} better on {difference['wins']} examples, worse on {difference['losses']} and equal "
            f"on {difference['ties']}."
        )


_VERDICTS = {
    "better": "We are confident that the new prompt is better; it is frozen.",
    "worse": "The new prompt is worse than the baseline; the baseline is kept.",
    "no evidence": (
        "The data cannot tell the two prompts apart. That does not say they are equal; the baseline is kept, because "
        "nothing shows that replacing it would help."
    ),
}


def _how_sure(evidence: Mapping[str, Any]) -> Iterator[str]:
    difference, reason = evidence["difference"], evidence["reason"]
    if reason == "same prompt":
        return
    yield (
        f"With {percent(difference['level'])} confidence the true difference lies between "
        f"{signed_points(difference['lower'])} and {signed_points(difference['upper'])} points "
        f"({p_text(difference['p_value'])}: how often chance alone would bring a difference as large as this)."
    )
    if reason == "no better than guessing":
        yield _no_better_than_guessing(evidence)
    elif reason == "cheaper":
        yield _cheaper(evidence)
    else:
        if reason == "no evidence" and not difference["lower"] <= 0 <= difference["upper"]:
            yield (
                "That alone would speak for a difference, but the test, which is exact where the interval is not, "
                "does not; both are asked for."
            )
        over = evidence["difference_over_guess"]
        if reason == "better" and over is not None:
            yield (
                f"Answers of the baseline that could not be read count as wrong. Had the best constant answer stood in "
                f"their place, the gain would still be {signed_points(over['value'])} points "
                f"({signed_points(over['lower'])} to {signed_points(over['upper'])})."
            )
        yield _VERDICTS[reason]
        if reason == "better" and evidence["protocol"] != "test":
            yield "Cross-validation is less certain than a test: confirm it on new examples as they come in."


def _no_better_than_guessing(evidence: Mapping[str, Any]) -> str:
    guess, over = evidence["guess"], evidence["difference_over_guess"]
    return (
        f"That difference comes from answers of the baseline that could not be read. Had they all been replaced by the "
        f"one answer {guess['answer']!r}, which is right at a rate of {score_text(guess['score'])}, the gain would be "
        f"{signed_points(over['value'])} points ({signed_points(over['lower'])} to {signed_points(over['upper'])}), "
        f"{'a loss' if over['upper'] < 0 else 'which the data cannot tell from none'}. The baseline is kept: let it write more tokens or change its format, so "
        f"that it can be read, and compare again."
    )


def _cheaper(evidence: Mapping[str, Any]) -> str:
    saving = evidence["saving"]
    return (
        f"The data cannot tell the two prompts apart, but they show that the new one is worse by less than the stated "
        f"margin of {points(evidence['margin'])} points, and that it is cheaper: {amount_text(saving, 'winner')} instead "
        f"of {amount_text(saving, 'baseline')} an example. So it is frozen."
    )


def amount_text(saving: Mapping[str, Any], which: str) -> str:
    """Return one side of a difference in cost with its unit."""
    amount = saving[which]
    return f"{amount:.6f} US dollars" if saving["unit"] == "usd" else f"{amount:.1f} tokens"


def _caveats(evidence: Mapping[str, Any]) -> Iterator[str]:
    opened = evidence["test_opened"]
    level = evidence["difference"]["level"]
    if opened > 1 and level > USUAL_LEVEL:
        yield (
            f"The test was opened {opened} times. Each look is another chance to be lucky, so the confidence asked of "
            f"the latest was raised to {percent(level)}."
        )
    elif opened > 1:
        yield f"The test was opened {opened} times, of which no other compared one prompt with another."
    yield from (f"Caution: {leak}" for leak in evidence["leaks"])
    yield from (f"Caution: {caution}" for caution in evidence.get("imported", {}).get("cautions", ()))


def _search(evidence: Mapping[str, Any]) -> Iterator[str]:
    """Yield how much of the search's own score was luck."""
    row = evidence["validation"]["winner"]
    if evidence["reason"] == "same prompt" or row["estimate"] is None:
        return
    yield (
        f"On validation the new prompt scored {score_text(row['score'])} on {row['n']} examples; allowing for the luck "
        f"of being the best of {evidence['candidates']}, {score_text(row['estimate'])} was expected of it."
    )


def _surer(evidence: Mapping[str, Any]) -> Iterator[str]:
    """Yield what would make us surer, where the data could not decide."""
    difference = evidence["difference"]
    if evidence["decision"] != "not distinguishable":
        return
    if difference["smallest_provable"] is None:
        # Where nothing differs an interval without width says nothing of how much could have been noticed.
        if difference["lower"] == difference["upper"]:
            return
        yield "So few examples can prove no gain with this confidence, however large it is."
        return
    said = (
        f"With these examples a true gain of {points(difference['smallest_provable'])} points would have been noticed in "
        f"{percent(POWER)} of all cases."
    )
    gain = difference["value"]
    if evidence["reason"] != "no evidence" or gain < _FEWEST_POINTS:
        yield said
        return
    # The error shrinks with the root of the number of examples.
    needed = math.ceil(difference["n"] * (difference["smallest_provable"] / gain) ** 2)
    yield (
        f"{said} If the true gain is the {points(gain)} points that were seen, about {needed:,} examples like these would "
        f"show it."
    )


def flags_in_words(evidence: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a prompt falls behind: on a slice, when its input is perturbed, when the data tell it what to say."""
    same = evidence.get("winner_fingerprint") == evidence.get("baseline_fingerprint")
    arms = (
        (("baseline", "the baseline"),)
        if same
        else (("baseline", "the baseline"), ("winner", "the new prompt"))
    )
    for column in evidence.get("slices", ()):
        yield from _slice_flags(column, arms)
    for arm, name in arms:
        for perturbation, found in sorted(evidence.get("robustness", {}).get(arm, {}).items()):
            yield from _perturbation_flags(perturbation, found, name)


def _slice_flags(column: Mapping[str, Any], arms: tuple[tuple[str, str], ...]) -> Iterator[str]:
    named = shortened(column["column"])
    for arm, name in arms:
        gap = column["gaps"].get(arm)
        if gap is not None and gap["flagged"]:
            yield (
                f"{name} scores {points(gap['size'])} points less where {named} is {shortened(gap['lowest'])} than where "
                f"it is {shortened(gap['highest'])}, more than chance explains ({p_text(gap['adjusted'])})."
            )
    for value in column["values"]:
        loss = value["difference"]
        if loss is not None and loss["worse"]:
            yield (
                f"the new prompt is worse than the baseline where {named} is {shortened(value['value'])}: "
                f"{signed_points(loss['value'])} points on {loss['n']} examples ({p_text(loss['adjusted'])})."
            )


def _perturbation_flags(perturbation: str, found: Mapping[str, Any], name: str) -> Iterator[str]:
    loss, obedience = found["difference"], found["obedience"]
    if loss is not None and loss["worse"]:
        yield (
            f"{name} does worse when its input is perturbed by {perturbation}: {signed_points(loss['value'])} points on "
            f"{loss['n']} examples ({p_text(loss['adjusted'])})."
        )
    if obedience is not None and obedience["flagged"]:
        yield (
            f"{name} obeys instructions in the data: told in the input what to answer, it gave that answer to "
            f"{obedience['obeyed']} of {obedience['n']} examples ({p_text(obedience['adjusted'])})."
        )


def shortened(text: str) -> str:
    """Return a name or value from the data as a sentence or a row shows it: in quotes, in one line, not too long."""
    line = " ".join(text.split())
    return f"“{line if len(line) <= _LONGEST else line[: _LONGEST - 1] + '…'}”"
