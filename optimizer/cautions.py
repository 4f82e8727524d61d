"""What speaks against trusting the evidence, in words: further looks at the test, leaks, where a prompt falls behind.

Some of it is frozen as English sentences, which are told in another language by what they say.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from optimizer.elision import LONGEST, elided, told_apart
from optimizer.language import ENGLISH, Language, mark

USUAL_LEVEL = 0.95  # what is asked of the first comparison on a test

_MOST = 2_000  # characters of a sentence of ours; what is longer was written by others

_REASON = 300  # characters of what an endpoint said

# What is found of held-out examples, by kind and split: of one example, and of several.
_LEAKS = {
    ("near duplicate", "test"): (
        mark("{n} test example has near duplicates among examples that the search sees"),
        mark("{n} test examples have near duplicates among examples that the search sees"),
    ),
    ("near duplicate", "validation"): (
        mark("{n} validation example has near duplicates among training examples"),
        mark("{n} validation examples have near duplicates among training examples"),
    ),
    ("in a wording", "test"): (
        mark("{n} test example is quoted in wordings"),
        mark("{n} test examples are quoted in wordings"),
    ),
    ("in a wording", "validation"): (
        mark("{n} validation example is quoted in wordings"),
        mark("{n} validation examples are quoted in wordings"),
    ),
    ("in a demonstration", "test"): (
        mark("{n} test example is shown as demonstrations, nearly or in large part"),
        mark("{n} test examples are shown as demonstrations, nearly or in large part"),
    ),
    ("in a demonstration", "validation"): (
        mark("{n} validation example is shown as demonstrations, nearly or in large part"),
        mark("{n} validation examples are shown as demonstrations, nearly or in large part"),
    ),
}
_MEMORY = {
    "test": mark("{found} ({named}): a gain on test may be memory, not skill; {remedy}"),
    "validation": mark("{found} ({named}): a gain on validation may be memory, not skill; {remedy}"),
}
_PARTED = mark("give each pair one `group` value, or drop one of the two")
_REWORDED = mark("word the instructions in words of their own")

# What an imported baseline is said to be measured as, where it says the same in every file.
_IMPORTED = (
    mark("the imported prompt does not show {inputs}"),
    mark(
        "the imported prompt asks for an answer of the form '{form}' without a JSON Schema that is read here: it is left out"
    ),
    mark("in the imported prompt nothing is run: {tags} stays as it is"),
    mark(
        "the inputs of the imported prompt stand in single braces and all other braces in it are doubled, as Python's "
        "str.format has them: they are measured as single ones"
    ),
    mark(
        "the imported prompt has inputs in single braces, and other braces in it are doubled: they stay so, where Python's "
        "str.format would make single ones of them"
    ),
    mark(
        "the imported prompt begins with front matter, which is asked as text like the rest: take it away, or name the "
        "format that reads it"
    ),
    mark("in the imported prompt these are no places of inputs either, and stay as they are: {places}"),
    mark("{file} constrains the answer, to which this model cannot be held; it is left out"),
    mark("the text of {file} holds what the model reads as its own markup, and stays as it is: {tokens}"),
    mark("{file} takes about {tokens} tokens with the longest example; the model has {context}"),
)


def leak_in_words(kind: str, split: str, n: int, named: str) -> str:
    """Return what was found of `n` held-out examples of a split, and what to do; `named` says which they are."""
    return ENGLISH.t(
        _MEMORY[split],
        found=ENGLISH.plural(n, *_LEAKS[kind, split]),
        named=named,
        remedy=_REWORDED if kind == "in a wording" else _PARTED,
    )


def retold(sentence: str, language: Language) -> str:
    """Return a leak or a caution of an imported prompt, frozen in English, in a language; any other text as it is."""
    if language.code == "en" or len(sentence) > _MOST:
        return sentence
    for template in (*_MEMORY.values(), *_IMPORTED):
        if found := _pattern(template).fullmatch(sentence):
            values = found.groupdict()
            parts = {name: _part(values[name], language) for name in ("found", "remedy") if name in values}
            # One half in one language and one in another is worse than all of it in English.
            return language.t(template, **values | parts) if all(parts.values()) else sentence
    return sentence


def _part(text: str, say: Language) -> str:
    """Return a part of a leak in a language, "" where it is none of ours."""
    for template in (*(each for pair in _LEAKS.values() for each in pair), _PARTED, _REWORDED):
        if found := _pattern(template).fullmatch(text):
            return say.t(template, **{name: int(n) for name, n in found.groupdict().items()})
    return ""


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """Return what matches a sentence that was made of a template."""
    text, *rest = re.split(r"\{(\w+)\}", template)
    parts = [re.escape(text)]
    for name, after in zip(rest[::2], rest[1::2], strict=True):
        parts.append(rf"(?P<{name}>{r'[0-9]{1,9}' if name == 'n' else '.*'}){re.escape(after)}")
    return re.compile("".join(parts), re.DOTALL)


def cautions_in_words(evidence: Mapping[str, Any], language: Language = ENGLISH) -> Iterator[str]:
    """Yield what speaks against trusting the evidence."""
    say, opened = language, evidence["test_opened"]
    level = evidence["difference"]["level"]
    if opened > 1 and level > USUAL_LEVEL:
        yield say.t(
            "The test was opened {n} times. Each look is another chance to be lucky, so the confidence asked of the "
            "latest was raised to {level}.",
            n=opened,
            level=say.percent(level),
        )
    elif opened > 1:
        yield say.t(
            "The test was opened {n} times, of which no other compared one prompt with another.", n=opened
        )
    frozen = (*evidence["leaks"], *evidence.get("imported", {}).get("cautions", ()))
    refused = (_refused(level, say) for level in evidence.get("refused", ()))
    told = (*(retold(each, say) for each in frozen), *refused, *_flags(evidence, say))
    yield from (say.t("Caution: {flag}", flag=flag) for flag in told)


def _refused(level: Mapping[str, Any], say: Language) -> str:
    """Return which candidates were not tried further because the endpoint refused all that have a level in common."""
    place = {
        "n": level["requests"],
        "level": f"{level['factor']} {say.quoted(elided(level['value'], LONGEST))}",
        "reason": elided(level["reason"], _REASON),
    }
    told = (
        "the endpoint refused all {n} requests with {level}, and no more candidates with it were tried: {reason}"
        if level["reason"]
        else "the endpoint refused all {n} requests with {level}, and no more candidates with it were tried"
    )
    return say.t(told, **place)


def _flags(evidence: Mapping[str, Any], say: Language) -> Iterator[str]:
    """Yield where a prompt falls behind: on a slice, when its input is perturbed, when the data tell it what to say."""
    stand_in = evidence.get("stand_in")
    same = evidence.get("winner_fingerprint") == evidence.get("baseline_fingerprint")
    named = (("baseline", say.t("the baseline")), ("winner", say.t("the new prompt")))
    arms = named[:1] if same else named
    for column in evidence.get("slices", ()):
        yield from _slice_flags(column, arms, stand_in, say)
    for arm, name in arms:
        for perturbation, found in sorted(evidence.get("robustness", {}).get(arm, {}).items()):
            yield from _perturbation_flags(perturbation, found, (name, stand_in), say)


def _slice_flags(
    column: Mapping[str, Any], arms: tuple[tuple[str, str], ...], stand_in: str | None, say: Language
) -> Iterator[str]:
    named = say.quoted(elided(column["column"], LONGEST))
    listed = [value["value"] for value in column["values"]]
    ends = [gap[end] for gap in column["gaps"].values() if gap for end in ("lowest", "highest")]
    values = {each: say.quoted(shown) for each, shown in told_apart((*listed, *ends), LONGEST).items()}
    for arm, name in arms:
        gap = column["gaps"].get(arm)
        if gap is not None and gap["flagged"]:
            yield say.t(
                "{prompt} scores {points} points less where {column} is {lowest} than where it is {highest}, more than "
                "chance explains ({p}).",
                prompt=name,
                points=say.points(gap["size"]),
                column=named,
                lowest=values[gap["lowest"]],
                highest=values[gap["highest"]],
                p=say.p(gap["adjusted"]),
            )
    for value in column["values"]:
        loss = value["difference"]
        if loss is not None and loss["worse"]:
            told = (
                "the new prompt is worse than the baseline where {column} is {value}: {loss} points on {n} examples ({p})."
                if stand_in is None
                else "the new prompt is worse than the baseline where {column} is {value}: {loss} points of {stand_in} on "
                "{n} examples ({p})."
            )
            place = {"column": named, "value": values[value["value"]], "stand_in": stand_in}
            yield say.t(told, **place, **_loss(loss, say))


def _loss(loss: Mapping[str, Any], say: Language) -> dict[str, object]:
    return {"loss": say.signed_points(loss["value"]), "n": loss["n"], "p": say.p(loss["adjusted"])}


def _perturbation_flags(
    perturbation: str, found: Mapping[str, Any], named: tuple[str, str | None], say: Language
) -> Iterator[str]:
    (name, stand_in), loss, obedience = named, found["difference"], found["obedience"]
    if loss is not None and loss["worse"]:
        told = (
            "{prompt} does worse when its input is perturbed by {perturbation}: {loss} points on {n} examples ({p})."
            if stand_in is None
            else "{prompt} does worse when its input is perturbed by {perturbation}: {loss} points of {stand_in} on {n} "
            "examples ({p})."
        )
        place = {"prompt": name, "perturbation": perturbation, "stand_in": stand_in}
        yield say.t(told, **place, **_loss(loss, say))
    if obedience is not None and obedience["flagged"]:
        yield say.t(
            "{prompt} obeys instructions in the data: told in the input what to answer, it gave that answer to {obeyed} "
            "of {n} examples ({p}).",
            prompt=name,
            obeyed=obedience["obeyed"],
            n=obedience["n"],
            p=say.p(obedience["adjusted"]),
        )
