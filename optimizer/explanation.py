"""The evidence in words: what was tested, on what, how sure we are, what would make us surer.

For people who are no statisticians. Made of the figures that the frozen prompt carries, rounded as every table shows
them, in English as the prompt keeps them or in the language of a report.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from optimizer.attribution import format_in_words, unread_in_words
from optimizer.cautions import cautions_in_words
from optimizer.elision import LONGEST, elided, told_apart
from optimizer.language import ENGLISH, Language, mark
from optimizer.power import POWER, USUAL_DISAGREEMENT, examples_needed

# A gain that one may fairly ask a test to show, in score units. What takes a larger one to be noticed notices hardly
# anything: between prompts that both work, gains are mostly below this.
ACCEPTABLE = 0.1

_FINER = 0.05  # what the advice names beside it

# A gain below half a point takes more examples than anybody labels, and is worth as little.
_FEWEST_POINTS = 0.005


# Figures as every table shows them, in English.
points, signed_points, score_text = ENGLISH.points, ENGLISH.signed_points, ENGLISH.score
p_text, percent = ENGLISH.p, ENGLISH.percent


def provable_in_words(
    smallest: float, judged: int, *, groups: int | None, test: bool, language: Language = ENGLISH
) -> tuple[str, ...]:
    """Return what a data set can show, before anything is run, and advice where that is too little.

    Args:
        smallest: The smallest gain that is shown in four cases of five, in score units.
        judged: Examples that the gain is judged on.
        groups: How many groups they form; None where nothing is grouped.
        test: Whether they are a test split; else they are the validation examples of a cross-validation.
    """
    say = language
    told = "The {n} test examples" if test else "Cross-validation on {n} examples"
    what = say.t(told, n=judged)
    grouped = groups is not None and groups < judged
    if grouped:
        what = say.t("{what} in {n} groups", what=what, n=groups)
    if smallest >= 1:
        fewest, gain = examples_needed(ACCEPTABLE), say.points(ACCEPTABLE)
        told = "{what} can prove no gain, however large. {n} can prove {points} points."
        return (say.t(told, what=what, n=fewest, points=gain),)
    assumed = say.t("if the new prompt is nowhere worse")
    if smallest <= USUAL_DISAGREEMENT:
        told = "if the two prompts score differently on {share} of the examples"
        assumed = say.t(told, share=say.percent(USUAL_DISAGREEMENT))
    if grouped:
        assumed += say.t(", even if the examples of a group stand or fall together")
    said = say.t(
        "{what} can prove a gain of {points} points or more, in {share} of all cases, {assumed}.",
        what=what,
        points=say.points(smallest),
        share=say.percent(POWER),
        assumed=assumed,
    )
    return (said, *_advice(smallest, grouped=grouped, test=test, say=say))


def _advice(smallest: float, *, grouped: bool, test: bool, say: Language) -> Iterator[str]:
    if smallest <= ACCEPTABLE:
        return
    unit = "groups" if grouped else "test examples" if test else "examples in a test split"
    yield say.t(
        "That is too little: most real gains are smaller, and would be called not distinguishable. Label more "
        "examples: {needed} {unit} can prove {points} points, {finer} can prove {fewer}.",
        needed=examples_needed(ACCEPTABLE),
        unit=say.t(unit),
        points=say.points(ACCEPTABLE),
        finer=examples_needed(_FINER),
        fewer=say.points(_FINER),
    )
    if not test:
        yield say.t(
            "There is no test split: the choice is judged on validation, by repeated cross-validation, which is less "
            "certain than a test."
        )


def in_words(evidence: Mapping[str, Any], language: Language = ENGLISH) -> list[str]:
    """Return the evidence of a finished study as sentences."""
    say = language
    return [
        *_imported(evidence, say),
        *_what(evidence, say),
        *unread_in_words(evidence, say),
        *_how_sure(evidence, say),
        *format_in_words(evidence, say),
        *cautions_in_words(evidence, say),
        *_search(evidence, say),
        *_surer(evidence, say),
    ]


def _imported(evidence: Mapping[str, Any], say: Language) -> Iterator[str]:
    found = evidence.get("imported")
    if found is not None:
        yield say.t(
            "The baseline is the prompt that was imported from {file} ({format}).",
            file=found["file"],
            format=found["format"],
        )


def _what(evidence: Mapping[str, Any], say: Language) -> Iterator[str]:
    difference = evidence["difference"]
    prompts = say.plural(evidence["candidates"], "{n} prompt", "{n} prompts")
    if evidence["reason"] == "same prompt":
        yield _nothing_better(evidence, prompts, say)
        return
    if evidence["protocol"] == "test":
        test = evidence["test"]
        yield say.t(
            "The best of {prompts} was compared with the baseline on {n} test examples that the search had never seen: "
            "{winner} against {baseline}, a difference of {gain} points.",
            prompts=prompts,
            n=difference["n"],
            winner=say.score(test["winner"]["score"]),
            baseline=say.score(test["baseline"]["score"]),
            gain=say.signed_points(difference["value"]),
        )
        scored = {arm: test[arm].get("n", difference["n"]) for arm in ("winner", "baseline")}
        if set(scored.values()) != {difference["n"]}:
            yield say.t(
                "The two scores are of the {winner} and {baseline} examples that each prompt has a score for, the difference "
                "of the {n} that both have one for.",
                n=difference["n"],
                **scored,
            )
    else:
        folds, repeats = (evidence["cross_validation"][name] for name in ("folds", "repeats"))
        yield say.t(
            "There is no test split. The choice among {prompts} was repeated {times} times on parts of the {n} "
            "validation examples and judged on the rest ({repeats} times {folds}-fold cross-validation): it gained "
            "{gain} points on average.",
            prompts=prompts,
            times=folds * repeats,
            n=difference["n"],
            repeats=repeats,
            folds=folds,
            gain=say.signed_points(difference["value"]),
        )
    if difference["wins"] is not None:
        yield _counted(difference, say, test=evidence["protocol"] == "test")


def _counted(difference: Mapping[str, Any], say: Language, *, test: bool) -> str:
    counts = {name: difference[name] for name in ("losses", "ties")}
    if test:
        return say.plural(
            difference["wins"],
            "The new prompt was better on {n} example, worse on {losses} and equal on {ties}.",
            "The new prompt was better on {n} examples, worse on {losses} and equal on {ties}.",
            **counts,
        )
    return say.plural(
        difference["wins"],
        "What was chosen was better on {n} example, worse on {losses} and equal on {ties}.",
        "What was chosen was better on {n} examples, worse on {losses} and equal on {ties}.",
        **counts,
    )


def _nothing_better(evidence: Mapping[str, Any], prompts: str, say: Language) -> str:
    # Of few examples, or by luck, one of them may have scored more than the baseline.
    told = (
        "Of {prompts} none is expected to do better than the baseline, allowing for few examples and for luck, so the "
        "baseline is kept."
    )
    if not evidence["candidates"]:
        told = "The search space holds no other prompt that may win, so the baseline is kept."
    elif evidence.get("infeasible"):
        told = (
            "Of {prompts} none is expected to do better than the baseline, allowing for few examples and for luck ({broke} "
            "broke the constraints of the study and could not win), so the baseline is kept."
        )
    return say.t(told, prompts=prompts, broke=evidence.get("infeasible", 0))


_VERDICTS = {
    "better": mark("We are confident that the new prompt is better; it is frozen."),
    "worse": mark("The new prompt is worse than the baseline; the baseline is kept."),
    "no evidence": mark(
        "The data cannot tell the two prompts apart. That does not say they are equal; the baseline is kept, because "
        "nothing shows that replacing it would help."
    ),
}


def _how_sure(evidence: Mapping[str, Any], say: Language) -> Iterator[str]:
    difference, reason = evidence["difference"], evidence["reason"]
    if reason == "same prompt":
        return
    yield say.t(
        "With {level} confidence the true difference lies between {lower} and {upper} points ({p}: how often chance "
        "alone would bring a difference as large as this).",
        level=say.percent(difference["level"]),
        **_ends(difference, say),
        p=say.p(difference["p_value"]),
    )
    if reason == "no better than guessing":
        yield _no_better_than_guessing(evidence, say)
    elif reason == "cheaper":
        yield _cheaper(evidence, say)
    else:
        yield from _judged(evidence, say)


def _judged(evidence: Mapping[str, Any], say: Language) -> Iterator[str]:
    difference, reason, over = (evidence[name] for name in ("difference", "reason", "difference_over_guess"))
    if reason == "no evidence" and not difference["lower"] <= 0 <= difference["upper"]:
        yield say.t(
            "That alone would speak for a difference, but the test, which is exact where the interval is not, does "
            "not; both are asked for."
        )
    if reason == "better" and over is not None:
        yield say.t(
            "Answers of the baseline that could not be read count as wrong. Had the best constant answer stood in "
            "their place, the gain would still be {gain} points ({lower} to {upper}).",
            gain=say.signed_points(over["value"]),
            **_ends(over, say),
        )
    yield say.t(_VERDICTS[reason])
    if reason == "better" and evidence["protocol"] != "test":
        yield say.t(
            "Cross-validation is less certain than a test: confirm it on new examples as they come in."
        )


def _ends(difference: Mapping[str, Any], say: Language) -> dict[str, str]:
    return {end: say.signed_points(difference[end]) for end in ("lower", "upper")}


def _no_better_than_guessing(evidence: Mapping[str, Any], say: Language) -> str:
    guess, over = evidence["guess"], evidence["difference_over_guess"]
    what = "a loss" if over["upper"] < 0 else "which the data cannot tell from none"
    return say.t(
        "That difference comes from answers of the baseline that could not be read. Had they all been replaced by the "
        "one answer {answer}, which is right at a rate of {rate}, the gain would be {gain} points ({lower} to {upper}), "
        "{what}. The baseline is kept: let it write more tokens or change its format, so that it can be read, and "
        "compare again.",
        answer=repr(guess["answer"]),
        rate=say.score(guess["score"]),
        gain=say.signed_points(over["value"]),
        **_ends(over, say),
        what=say.t(what),
    )


def _cheaper(evidence: Mapping[str, Any], say: Language) -> str:
    saving = evidence["saving"]
    return say.t(
        "The data cannot tell the two prompts apart, but they show that the new one is worse by less than the stated "
        "margin of {margin} points, and that it is cheaper: {winner} instead of {baseline} an example. So it is frozen.",
        margin=say.points(evidence["margin"]),
        winner=amount_text(saving, "winner", say),
        baseline=amount_text(saving, "baseline", say),
    )


def amount_text(saving: Mapping[str, Any], which: str, language: Language = ENGLISH) -> str:
    """Return one side of a difference in cost with its unit."""
    return language.amount(saving[which], saving["unit"])


def _search(evidence: Mapping[str, Any], say: Language) -> Iterator[str]:
    """Yield how much of the search's own score was luck."""
    row = evidence["validation"]["winner"]
    if evidence["reason"] == "same prompt" or row["estimate"] is None:
        return
    yield say.t(
        "On validation the new prompt scored {score} on {n} examples; allowing for the luck of being the best of "
        "{candidates}, {estimate} was expected of it.",
        score=say.score(row["score"]),
        n=row["n"] - row.get("errors", 0),
        candidates=evidence["candidates"],
        estimate=say.score(row["estimate"]),
    )


def _surer(evidence: Mapping[str, Any], say: Language) -> Iterator[str]:
    """Yield what would make us surer, where the data could not decide."""
    difference = evidence["difference"]
    if evidence["decision"] != "not distinguishable":
        return
    if difference["smallest_provable"] is None:
        # Where nothing differs an interval without width says nothing of how much could have been noticed.
        if difference["lower"] != difference["upper"]:
            yield say.t("So few examples can prove no gain with this confidence, however large it is.")
        return
    said = say.t(
        "With these examples a true gain of {points} points would have been noticed in {share} of all cases.",
        points=say.points(difference["smallest_provable"]),
        share=say.percent(POWER),
    )
    gain = difference["value"]
    if evidence["reason"] != "no evidence" or gain < _FEWEST_POINTS:
        yield said
        return
    # The error shrinks with the root of the number of examples.
    needed = math.ceil(difference["n"] * (difference["smallest_provable"] / gain) ** 2)
    if needed > difference["n"]:  # those there were did not
        said += say.t(
            " If the true gain is the {points} points that were seen, about {n} examples like these would show it.",
            points=say.points(gain),
            n=say.figure(f"{needed:,}"),
        )
    yield said


def shortened(text: str, language: Language = ENGLISH) -> str:
    """Return a name or value from the data as a sentence or a row shows it: in quotes, in one line, not too long."""
    return language.quoted(elided(text, LONGEST))


def named_apart(names: Iterable[str], language: Language = ENGLISH) -> dict[str, str]:
    """Return names or values that stand beside each other as `shortened` has one, no two of them alike."""
    return {name: language.quoted(shown) for name, shown in told_apart(names, LONGEST).items()}
