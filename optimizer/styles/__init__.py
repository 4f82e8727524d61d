"""Reasoning styles: how the model is asked to come to its answer. A style is data; no code runs in it."""

from dataclasses import dataclass

from optimizer.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class ReasoningStyle:
    """One way of reasoning, in words.

    Attributes:
        request: Text that follows the instruction, "" for none.
        opener: The model's own first words, implanted at the start of its first turn, "" for none.
        marker: What introduces the answer after the reasoning, "" when the completion is the answer alone.
        follow_ups: Further turns of the user, each answered in a call of its own; the last call's completion
            holds the answer.
        reasoning_tokens: What the calls that reason may write on top of the bound for the answer.
    """

    request: str = ""
    opener: str = ""
    marker: str = ""
    follow_ups: tuple[str, ...] = ()
    reasoning_tokens: int = 0

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


STYLES: Registry[ReasoningStyle] = Registry("optimizer.styles", ReasoningStyle)
