"""Cosine of character n-grams, each weighted by how few targets have it (TF-IDF, Salton and Buckley 1988)."""

from collections.abc import Sequence

from optimizer.answer import Answer
from optimizer.metrics import Setting, aggregate
from optimizer.metrics._corpus import cosines, said


@aggregate(proxy="ngram_similarity", outputs=("text",))
def tfidf_similarity(answers: Sequence[Answer], targets: Sequence[str], _setting: Setting) -> float:
    """Return the mean cosine of answers and targets; that of an answer that could not be read is 0.

    How rare an n-gram is has to be learnt from several texts, here from the targets of the examples: so this is a
    figure of all of them, and `ngram_similarity` scores single ones. It tells likeness of spelling, not of meaning.
    """
    likeness = cosines(said(answers), targets, weighted=True)
    return sum(likeness) / len(likeness)
