"""Share of examples whose label is the right one."""

from optimizer.answer import Answer
from optimizer.metrics import metric


@metric(outputs=("label",))
def accuracy(answer: Answer, target: str) -> float:
    """Return 1 for the right label, 0 for any other and for an answer that could not be read."""
    return float(answer.text == target)
