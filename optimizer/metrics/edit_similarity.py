"""How little an answer has to be edited to become the target (Levenshtein 1966)."""

from optimizer.answer import Answer
from optimizer.metrics import metric


@metric(outputs=("text",))
def edit_similarity(answer: Answer, target: str) -> float:
    """Return 1 minus the edit distance in parts of the longer text; 0 for an answer that could not be read.

    Each character that is put in, taken out or replaced is one edit; capitals and spaces count, but not around a text.
    """
    from rapidfuzz.distance import Levenshtein

    if answer.text is None:
        return 0.0
    return Levenshtein.normalized_similarity(answer.text.strip(), target.strip())
