"""ROUGE-L: F1 of the longest common subsequence of words (Lin 2004, "ROUGE: a package for automatic evaluation")."""

from optimizer.answer import Answer
from optimizer.metrics import metric
from optimizer.metrics._words import f_measure, folded, words_of


@metric(outputs=("text",))
def rouge_l(answer: Answer, target: str) -> float:
    """Return the F-measure of the words that both have in the same order, without stemming; 0 for an unread answer.

    Where neither text has a word, they are compared as they are.
    """
    from rapidfuzz.distance import LCSseq

    if answer.text is None:
        return 0.0
    given, wanted = words_of(answer.text), words_of(target)
    if not given and not wanted:
        return float(folded(answer.text) == folded(target))
    return f_measure(LCSseq.similarity(given, wanted), len(given), len(wanted))
