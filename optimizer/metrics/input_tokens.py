"""Tokens read for one example, over all its calls."""

from optimizer.answer import Answer
from optimizer.completion import Completion
from optimizer.metrics import measure


@measure(unit="tokens", greater_is_better=False)
def input_tokens(_answer: Answer, completions: tuple[Completion, ...]) -> float:
    """Return prompt tokens."""
    return float(sum(call.prompt_tokens for call in completions))
