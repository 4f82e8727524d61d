"""Share of completions that an answer could be read from."""

from optimizer.answer import Answer
from optimizer.completion import Completion
from optimizer.metrics import measure


@measure(unit="share", greater_is_better=True)
def valid(answer: Answer, _completions: tuple[Completion, ...]) -> float:
    """Return 1 when the answer could be read."""
    return float(answer.outcome == "ok")
