"""What the page says in sentences: the decision, what it rests on, how the test was used, what to beware of."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from optimizer.explanation import provable_in_words
from optimizer.frozen import FrozenPrompt
from optimizer.report._behaviour import consistency_in_words
from optimizer.report._reading import (
    ABSENT,
    ARMS,
    GAINS,
    held_out,
    items,
    known_prompts,
    mapping,
    number,
    score,
    short,
    text,
    which,
)

# By reason, or by decision where an older prompt gives none.
_HEADINGS = {
    "better": "The new prompt is better than the baseline",
    "improved": "The new prompt is better than the baseline",
    "worse": "The new prompt is worse than the baseline",
    "no evidence": "The data cannot tell the new prompt from the baseline",
    "not distinguishable": "The data cannot tell the new prompt from the baseline",
    "no better than guessing": "The gain is no more than guessing would bring",
    "cheaper": "The new prompt is not shown to be better, but it is cheaper",
    "same prompt": "No new prompt did better than the baseline",
}

_FROZEN = {"winner": "the new prompt is frozen", "baseline": "the baseline is frozen"}

# How a sentence of the evidence begins that speaks against trusting the prompt.
_CAUTION = "Caution: "

# Prompts for which the test was opened: the beginning of a fingerprint, and which prompt of this study it is, or "".
Opening = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """The sentences of the page.

    Attributes:
        model: The model that the prompt was tuned for.
        heading: The decision in plain words.
        decision: The decision as the frozen prompt holds it, and which prompt is frozen; "" where it holds none.
        confident: Whether the new prompt is better, beyond chance.
        sentences: The evidence in words, without the cautions.
        judged: What the decision rests on.
        opened: How often the test was opened.
        openings: Each opening of the test, in order.
        provable: What the examples could show at all.
        cautions: What speaks against trusting the evidence.
        methods: How the differences were judged, and what stood in for unreadable answers.
        consistency: How often the winner's answers agree, or "".
        evidence: Whether the prompt carries evidence.
    """

    model: str
    heading: str
    decision: str
    confident: bool
    sentences: tuple[str, ...]
    judged: str
    opened: str
    openings: tuple[Opening, ...]
    provable: str
    cautions: tuple[str, ...]
    methods: tuple[str, ...]
    consistency: str
    evidence: bool


def words(frozen: FrozenPrompt) -> Words:
    """Return the sentences of the page."""
    evidence = frozen.evidence
    leaks = [text(leak) for leak in items(evidence.get("leaks"))]
    said_of_it = [text(said) for said in items(evidence.get("in_words"))]
    warned = [said.removeprefix(_CAUTION) for said in said_of_it if said.startswith(_CAUTION)]
    cautions = tuple(dict.fromkeys([*leaks, *warned]))
    told = {f"{_CAUTION}{caution}" for caution in cautions}
    return Words(
        model=f"{text(frozen.model.get('provider'))}:{text(frozen.model.get('name'))}",
        heading=_heading(evidence),
        decision=", ".join(
            part for part in (_text(evidence.get("decision")), _FROZEN.get(which(frozen), "")) if part
        ),
        confident=evidence.get("decision") == "improved",
        sentences=tuple(_held(said) for said in said_of_it if said not in told),
        judged="How the choice was judged" if held_out(evidence) else "How the test was used",
        opened=_opened(evidence),
        openings=tuple(_openings(evidence)),
        provable=_held(_provable(evidence)),
        cautions=cautions,
        methods=tuple(_methods(evidence)),
        consistency=consistency_in_words(evidence),
        evidence=bool(evidence),
    )


def _held(sentence: str) -> str:
    """Return a sentence whose figures are not parted from what they belong to at the end of a line."""
    return re.sub(r"(?<=\d) (?=%)|(?<=\bp) (?=[=<])|(?<=\bp [=<]) (?=\d)", "\u00a0", sentence)


def _text(value: object) -> str:
    return "" if text(value) == ABSENT else text(value)


def _heading(evidence: Mapping[str, Any]) -> str:
    for key in ("reason", "decision"):
        known = _HEADINGS.get(_text(evidence.get(key)))
        if known:
            return known
    return _text(evidence.get("decision")) or "Nothing is known of how good this prompt is"


def _opened(evidence: Mapping[str, Any]) -> str:
    if held_out(evidence):
        return "There was no test split to open: the choice was judged on examples that had no part in it."
    opened = number(evidence.get("test_opened"))
    if not opened:
        return ""
    return f"The test was opened {'once' if opened == 1 else f'{opened:.0f} times'}."


def _provable(evidence: Mapping[str, Any]) -> str:
    n = number(mapping(evidence.get("difference")).get("n"))
    smallest, groups = (number(evidence.get(key)) for key in ("smallest_provable_difference", "groups"))
    if not n or not smallest:
        return ""
    grouped = None if groups is None else int(groups)
    return provable_in_words(smallest, int(n), groups=grouped, test=not held_out(evidence))[0]


def _openings(evidence: Mapping[str, Any]) -> Iterator[Opening]:
    known = known_prompts(evidence)
    for opening in map(mapping, items(evidence.get("test_openings"))):
        prompts = [text(prompt) for prompt in items(opening.get("prompts"))]
        # A test is opened for the baseline, the winner, and the wording of the one in the format of the other.
        places = ("baseline", "winner", dict(ARMS)["wording"])
        names = dict[str, str]()
        for k, prompt in enumerate(prompts):
            place = places[k] if len(prompts) == len(places) else known.get(prompt, "")
            names.setdefault(prompt, place)
        yield tuple((short(prompt), name) for prompt, name in names.items())


def _methods(evidence: Mapping[str, Any]) -> Iterator[str]:
    judged: dict[str, list[str]] = {}
    for key, name in GAINS:
        method = _text(mapping(evidence.get(key)).get("method"))
        if method:
            judged.setdefault(method, []).append(name)
    if judged:
        yield (
            "Judged by "
            + "; ".join(
                method if len(judged) == 1 else f"{method} ({', '.join(names)})"
                for method, names in judged.items()
            )
            + "."
        )
    guess = mapping(evidence.get("guess"))
    if guess:
        yield (
            f"Guessed is the one answer “{text(guess.get('answer'))}” in place of every answer of the baseline that "
            f"could not be read; it is right at a rate of {score(guess.get('score'))}."
        )
