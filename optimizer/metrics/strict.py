"""Share of completions that are just the answer in the form that was asked for."""

from optimizer.answer import Answer
from optimizer.completion import Completion
from optimizer.metrics import measure


@measure(unit="share", greater_is_better=True)
def strict(answer: Answer, _completions: tuple[Completion, ...]) -> float:
    """Return 1 when the answer was read and nothing had to be forgiven on the way."""
    return float(answer.outcome == "ok" and answer.strict)
