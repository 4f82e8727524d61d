"""ROUGE-2: F1 of the pairs of words of answer and target (Lin 2004, "ROUGE: a package for automatic evaluation")."""

from optimizer.answer import Answer
from optimizer.metrics import metric
from optimizer.metrics._words import rouge_n


@metric(outputs=("text",))
def rouge_2(answer: Answer, target: str) -> float:
    """Return the F-measure of neighbouring words, without stemming; 0 for an answer that could not be read.

    Where neither text has two words, they are compared as they are.
    """
    return 0.0 if answer.text is None else rouge_n(answer.text, target, 2)
