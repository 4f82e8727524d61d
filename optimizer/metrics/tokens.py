"""Tokens read and written for one example, over all its calls."""

from optimizer.answer import Answer
from optimizer.completion import Completion
from optimizer.metrics import measure


@measure(unit="tokens", greater_is_better=False)
def tokens(_answer: Answer, completions: tuple[Completion, ...]) -> float | None:
    """Return prompt and completion tokens together, or None where a call did not state its own."""
    if not all(call.counted for call in completions):
        return None
    return float(sum(call.prompt_tokens + call.completion_tokens for call in completions))
