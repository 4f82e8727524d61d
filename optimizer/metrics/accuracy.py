"""Share of examples whose label, or whose set of labels, is the right one."""

from optimizer.answer import Answer
from optimizer.metrics import metric


@metric(outputs=("label", "labels"))
def accuracy(answer: Answer, target: str) -> float:
    """Return 1 for the right label or just the right labels, 0 for others and for an answer that could not be read.

    Labels are kept in the order of the task, so that equal sets are equal texts.
    """
    return float(answer.text == target)
