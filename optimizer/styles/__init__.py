"""Reasoning styles: how the model is asked to come to its answer. A style is data; no code runs in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from optimizer.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class ReasoningStyle:
    """One way of reasoning, in words: English ones, and beside them the same style in further languages.

    Attributes:
        request: Text that follows the instruction, "" for none.
        field_request: What follows it instead in a format that has a field of its own for the reasoning, "" for none.
        opener: The model's own first words, implanted at the start of its first turn, "" for none.
        marker: What introduces the answer after the reasoning, "" when the completion is the answer alone.
        follow_ups: Further turns of the user, each answered in a call of its own; the last call's completion
            holds the answer.
        reasoning_tokens: What the calls that reason may write on top of the bound for the answer.
        translations: The style in other languages, by their two letters ("fr"), each of as many calls.
    """

    request: str = ""
    field_request: str = ""
    opener: str = ""
    marker: str = ""
    follow_ups: tuple[str, ...] = ()
    reasoning_tokens: int = 0
    translations: Mapping[str, "ReasoningStyle"] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check that a translation takes no other course than the style, which calls and budgets are counted by.

        Raises:
            ValueError: When it does.
        """
        for language, other in self.translations.items():
            if _course(other) != _course(self):
                raise ValueError(
                    f"translations[{language!r}]: expected what the style has, {_course(self)}, found {_course(other)}"
                )

    @property
    def n_calls(self) -> int:
        """Return how many calls one example takes."""
        return 1 + len(self.follow_ups)

    @property
    def reasons_while_answering(self) -> bool:
        """Return whether the call that answers also reasons, so that its text cannot be constrained to labels."""
        return bool(self.marker)

    @property
    def reasons_in_one_turn(self) -> bool:
        """Return whether reasoning and answer make up one turn, so that a demonstration can show both."""
        return self.reasons_while_answering and self.n_calls == 1

    def in_language(self, code: str) -> "ReasoningStyle":
        """Return the style in a task's language: "fr" and "fr-CA" take French; an unknown one takes English."""
        return self.translations.get(_primary(code), self)

    def speaks(self, code: str) -> bool:
        """Return whether a task's language is one of the style's; one without words speaks them all."""
        return _primary(code) in ("en", *self.translations) or _course(self) == "no words"


STYLES: Registry[ReasoningStyle] = Registry("optimizer.styles", ReasoningStyle)


def _primary(code: str) -> str:
    """Return the primary subtag of a language tag (RFC 5646, section 2.2.1), of "fr_FR" as of "fr-CA"."""
    return re.split("[-_]", code.strip().casefold())[0]


def _course(style: ReasoningStyle) -> str:
    """Return which words a style has, the follow-ups counted."""
    texts = {
        "request": style.request,
        "field_request": style.field_request,
        "opener": style.opener,
        "marker": style.marker,
        f"{len(style.follow_ups)} follow-ups": style.follow_ups,
    }
    return ", ".join(name for name, words in texts.items() if words) or "no words"
