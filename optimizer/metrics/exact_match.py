"""Share of examples whose answer equals the target, character by character."""

from optimizer.answer import Answer
from optimizer.metrics import metric


@metric()
def exact_match(answer: Answer, target: str) -> float:
    """Return 1 when the answer is the target, spaces around either aside; 0 for an answer that could not be read.

    Numbers are compared in their shortest decimal form, in which both are kept.
    """
    return float(answer.text is not None and answer.text.strip() == target.strip())
