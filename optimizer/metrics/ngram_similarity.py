"""Cosine of the character n-grams of answer and target."""

from optimizer.answer import Answer
from optimizer.metrics import metric
from optimizer.metrics._corpus import cosines


@metric(outputs=("text",))
def ngram_similarity(answer: Answer, target: str) -> float:
    """Return the cosine of how often runs of 3 to 5 characters occur in both; 0 for an answer that could not be read.

    Counts enter as 1 + their logarithm. It tells likeness of spelling, not of meaning.
    """
    return 0.0 if answer.text is None else cosines([answer.text], [target], weighted=False)[0]
