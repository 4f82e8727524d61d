"""Seconds for one example, over all its calls, as measured when each was really made."""

from optimizer.answer import Answer
from optimizer.completion import Completion
from optimizer.metrics import measure


@measure(unit="seconds", greater_is_better=False)
def seconds(_answer: Answer, completions: tuple[Completion, ...]) -> float:
    """Return the duration of the successful attempts."""
    return sum((call.seconds for call in completions), 0.0)
