"""chrF of one answer, F-score of character n-grams (Popović 2015), as sacrebleu counts it."""

from optimizer.answer import Answer
from optimizer.metrics import Setting, metric
from optimizer.metrics._corpus import Chrf, sentence_score, share


@metric(outputs=("text",), options=Chrf)
def sentence_chrf(answer: Answer, target: str, setting: Setting) -> float:
    """Return the chrF of one answer, in [0, 1]; 0 for an answer that could not be read."""
    return 0.0 if answer.text is None else share(sentence_score(answer.text, target, setting.options))
