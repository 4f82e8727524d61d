"""chrF, F-score of character n-grams (Popović 2015), as sacrebleu counts it."""

from collections.abc import Sequence

from optimizer.answer import Answer
from optimizer.metrics import Setting, aggregate
from optimizer.metrics._corpus import Chrf, corpus_score, share


@aggregate(proxy="sentence_chrf", outputs=("text",), options=Chrf)
def chrf(answers: Sequence[Answer], targets: Sequence[str], setting: Setting) -> float:
    """Return the chrF of all answers together, in [0, 1].

    An answer that could not be read is an empty text.
    """
    return share(corpus_score(answers, targets, setting.options))
