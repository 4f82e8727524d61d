"""Tokens written for one example, over all its calls, reasoning included."""

from optimizer.answer import Answer
from optimizer.completion import Completion
from optimizer.metrics import measure


@measure(unit="tokens", greater_is_better=False)
def output_tokens(_answer: Answer, completions: tuple[Completion, ...]) -> float | None:
    """Return completion tokens, or None where a call did not state its own."""
    if not all(call.counted for call in completions):
        return None
    return float(sum(call.completion_tokens for call in completions))
