"""What the words of the page mean that only its makers use."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from optimizer.errors import PluginError
from optimizer.formats import FORMATS
from optimizer.frozen import FrozenPrompt
from optimizer.registry import Registry
from optimizer.report._reading import text
from optimizer.report._telling import Teller
from optimizer.styles import STYLES


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A word, and what it means."""

    word: str
    meaning: str


def glossary(frozen: FrozenPrompt, say: Teller) -> tuple[Entry, ...]:
    """Return the words of the page with what they mean: of styles and formats those that the study tried."""
    return (
        *_plug_ins("style", STYLES, frozen, say),
        *_plug_ins("format", FORMATS, frozen, say),
        *_terms(say),
    )


def _plug_ins(key: str, registry: Registry[Any], frozen: FrozenPrompt, say: Teller) -> Iterator[Entry]:
    names = {getattr(frozen, key), *(text(row.get(key)) for row in frozen.history)}
    kind = say.t("style") if key == "style" else say.t("format")
    for name in sorted(names & set(registry)):
        try:
            told = registry.about(name)
        except PluginError:  # it needs what is not installed here
            continue
        if told:
            # What a plug-in of another distribution says of itself stands as it is.
            meaning = say.language.sentences.get(told, told).replace("`", "")
            yield Entry(word=f"{name} ({kind})", meaning=meaning)


def _terms(say: Teller) -> Iterator[Entry]:
    told = (
        (
            say.t("baseline"),
            say.t("The prompt as the task has it, before any search; every other is compared with it."),
        ),
        (
            say.t("search"),
            say.t("The stage in which prompts are tried, most of them on a part of the validation examples."),
        ),
        (
            say.t("confirmation"),
            say.t(
                "The stage in which the few best prompts are asked about all of validation; of these one wins."
            ),
        ),
        (
            say.t("test"),
            say.t(
                "Examples that no part of the search saw; they judge the winner, and nothing is chosen by them."
            ),
        ),
        (say.t("valid"), say.t("The share of answers that could be read.")),
        (
            "strict",
            say.t("The share of answers that came in exactly the form that was asked for."),
        ),
        (
            "prefill",
            say.t(
                "The model goes on with words that the prompt puts into its mouth, at the beginning of its turn."
            ),
        ),
        (
            say.t("expected score"),
            say.t(
                "A shrunken estimate: the score that is left when the luck of few examples is taken back, as the scores "
                "of similar prompts let expect."
            ),
        ),
        (
            say.t("front"),
            say.t("The prompts that no other beats in score without being worse in what they cost."),
        ),
        (
            say.t("the rule's pick"),
            say.t("The prompt that the stated rule takes from the front; it decides nothing."),
        ),
    )
    yield from (Entry(word=word, meaning=meaning) for word, meaning in told)
