"""What the page says in sentences: the decision, what it rests on, how the test was used, what to beware of."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from optimizer.cautions import USUAL_LEVEL, retold
from optimizer.explanation import in_words, provable_in_words
from optimizer.exporters import frozen_side
from optimizer.frozen import FrozenPrompt
from optimizer.power import smallest_provable_difference
from optimizer.report._behaviour import consistency_in_words, difference_of, stand_in_in_words
from optimizer.report._language import mark
from optimizer.report._reading import (
    ABSENT,
    ARMS,
    gains,
    held_out,
    items,
    known_prompts,
    mapping,
    number,
    short,
    text,
)
from optimizer.report._telling import Teller

# By reason, or by decision where an older prompt gives none.
_HEADINGS = {
    "better": mark("The new prompt is better than the baseline"),
    "improved": mark("The new prompt is better than the baseline"),
    "worse": mark("The new prompt is worse than the baseline"),
    "no evidence": mark("The data cannot tell the new prompt from the baseline"),
    "not distinguishable": mark("The data cannot tell the new prompt from the baseline"),
    "no better than guessing": mark("The gain is no more than guessing would bring"),
    "cheaper": mark("The new prompt is not shown to be better, but it is cheaper"),
    "same prompt": mark("No new prompt is expected to do better than the baseline"),
}

_DECISIONS = {name: name for name in (mark("improved"), mark("not distinguishable"), mark("worse"))}
_FROZEN = {"winner": mark("the new prompt is frozen"), "baseline": mark("the baseline is frozen")}

# How a sentence of the evidence begins that speaks against trusting the prompt.
_CAUTION = mark("Caution: {flag}")

# More examples than anybody has are a mistake in the file.
_MOST = 10_000_000

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
        difference: The heading of differences between scores by example.
        stand_in: Why these are of another metric than the scores, or "".
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
    difference: str
    stand_in: str
    evidence: bool


def words(frozen: FrozenPrompt, say: Teller) -> Words:
    """Return the sentences of the page."""
    evidence = frozen.evidence
    caution = say.t(_CAUTION, flag="")
    leaks = [retold(text(leak), say.language) for leak in items(evidence.get("leaks"))]
    said_of_it = _said(evidence, say)
    warned = [said.removeprefix(caution) for said in said_of_it if said.startswith(caution)]
    cautions = tuple(dict.fromkeys([*leaks, *warned]))
    told = {f"{caution}{each}" for each in cautions}
    decision = _text(evidence.get("decision"))
    decided = say.t(decision) if decision in _DECISIONS else decision
    side = frozen_side(frozen)
    kept = say.t(_FROZEN[side]) if side else ""
    return Words(
        model=f"{text(frozen.model.get('provider'))}:{text(frozen.model.get('name'))}",
        heading=_heading(evidence, say),
        decision=", ".join(part for part in (decided, kept) if part),
        confident=decision == "improved",
        sentences=tuple(_held(said) for said in said_of_it if said not in told),
        judged=say.t("How the choice was judged") if held_out(evidence) else say.t("How the test was used"),
        opened=_opened(evidence, say),
        openings=tuple(_openings(evidence, say)),
        provable=_held(_provable(frozen, say)),
        cautions=cautions,
        methods=tuple(_methods(evidence, say)),
        consistency=consistency_in_words(evidence, say),
        difference=difference_of(evidence, say),
        stand_in=stand_in_in_words(evidence, say),
        evidence=bool(evidence),
    )


def _said(evidence: Mapping[str, Any], say: Teller) -> list[str]:
    """Return the evidence in words: as it was frozen, or in another language from its figures."""
    kept = [text(said) for said in items(evidence.get("in_words"))]
    if say.language.code == "en" or not kept:
        return kept
    try:
        return in_words(evidence, say.language)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError):
        return kept  # what an older version froze may lack a figure


def _held(sentence: str) -> str:
    """Return a sentence whose figures are not parted from what they belong to at the end of a line."""
    return re.sub(r"(?<=\d) (?=%)|(?<=\bp) (?=[=<])|(?<=\bp [=<]) (?=\d)", "\u00a0", sentence)


def _text(value: object) -> str:
    return "" if text(value) == ABSENT else text(value)


def _heading(evidence: Mapping[str, Any], say: Teller) -> str:
    for key in ("reason", "decision"):
        known = _HEADINGS.get(_text(evidence.get(key)))
        if known:
            return say.t(known)
    return _text(evidence.get("decision")) or say.t("Nothing is known of how good this prompt is")


def _opened(evidence: Mapping[str, Any], say: Teller) -> str:
    if held_out(evidence):
        return say.t(
            "There was no test split to open: the choice was judged on examples that had no part in it."
        )
    opened = number(evidence.get("test_opened"))
    if not opened:
        return ""
    if opened == 1:
        return say.t("The test was opened once.")
    return say.t("The test was opened {n} times.", n=f"{opened:.0f}")


def _provable(frozen: FrozenPrompt, say: Teller) -> str:
    """Return what the examples that have a score could show, with the confidence that was asked of them.

    The evidence holds what was planned. Of groups no more is known than how many there are, so of these the planned
    figure is told, and none where the confidence is another one.
    """
    evidence, test = frozen.evidence, not held_out(frozen.evidence)
    scored, level = (number(mapping(evidence.get("difference")).get(key)) for key in ("n", "level"))
    smallest, groups = (number(evidence.get(key)) for key in ("smallest_provable_difference", "groups"))
    if not scored or not smallest:
        return ""
    splits = mapping(mapping(frozen.task.get("dataset")).get("splits"))
    planned = number(splits.get("test" if test else "validation")) or scored
    n = int(scored if groups is None else planned)
    if level not in (None, USUAL_LEVEL) or n != planned:
        if groups is not None or not 1 <= n <= _MOST or not 0 < (level or USUAL_LEVEL) < 1:
            return ""
        smallest = smallest_provable_difference(n, level=level or USUAL_LEVEL)
    grouped = None if groups is None else int(groups)
    return provable_in_words(smallest, n, groups=grouped, test=test, language=say.language)[0]


def _openings(evidence: Mapping[str, Any], say: Teller) -> Iterator[Opening]:
    known = known_prompts(evidence)
    for opening in map(mapping, items(evidence.get("test_openings"))):
        prompts = [text(prompt) for prompt in items(opening.get("prompts"))]
        # A test is opened for the baseline, the winner, and the wording of the one in the format of the other.
        places = ("baseline", "winner", dict(ARMS)["wording"])
        names = dict[str, str]()
        for k, prompt in enumerate(prompts):
            place = places[k] if len(prompts) == len(places) else known.get(prompt, "")
            names.setdefault(prompt, say.t(place) if place else "")
        yield tuple((short(prompt), name) for prompt, name in names.items())


def _methods(evidence: Mapping[str, Any], say: Teller) -> Iterator[str]:
    judged: dict[str, list[str]] = {}
    for _, name, figures in gains(evidence):
        method = _text(figures.get("method"))
        if method:
            judged.setdefault(say.language.method(method), []).append(say.t(name))
    if judged:
        told = "; ".join(
            method if len(judged) == 1 else f"{method} ({', '.join(names)})"
            for method, names in judged.items()
        )
        yield say.t("Judged by {methods}.", methods=told)
    guess = mapping(evidence.get("guess"))
    if guess and evidence.get("reason") != "same prompt":
        yield say.t(
            "Guessed is the one answer {answer} in place of every answer of the baseline that could not be read; it is "
            "right at a rate of {rate}.",
            answer=say.language.quoted(text(guess.get("answer"))),
            rate=say.score(guess.get("score")),
        )
