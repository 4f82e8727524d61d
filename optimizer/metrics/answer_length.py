"""Characters of the answer, without anything that was said around it."""

from optimizer.answer import Answer
from optimizer.completion import Completion
from optimizer.metrics import measure


@measure(unit="characters", greater_is_better=False)
def answer_length(answer: Answer, _completions: tuple[Completion, ...]) -> float | None:
    """Return the number of characters, or None for an answer that could not be read."""
    return None if answer.text is None else float(len(answer.text))
