"""Share of completions that ran into their token bound before the answer was complete."""

from optimizer.answer import Answer
from optimizer.completion import Completion
from optimizer.metrics import measure


@measure(unit="share", greater_is_better=False)
def truncated(answer: Answer, _completions: tuple[Completion, ...]) -> float:
    """Return 1 when that is why there is no answer."""
    return float(answer.outcome == "truncated")
