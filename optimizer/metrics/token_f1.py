"""F1 of the words of answer and target, as SQuAD v1.1 counts it (Rajpurkar et al. 2016, arXiv:1606.05250)."""

from collections import Counter

from optimizer.answer import Answer
from optimizer.metrics import Setting, metric
from optimizer.metrics._words import f_measure, normalised


@metric(outputs=("text",), options=None)
def token_f1(answer: Answer, target: str, setting: Setting) -> float:
    """Return the harmonic mean of the precision and recall of words; 0 for an answer that could not be read.

    Case, punctuation and the articles of English or French aside; a word counts as often as it occurs. Unlike in SQuAD's
    evaluation the marks of a figure count: `1.5` is not `15`, and `-5` is not `5`.
    """
    if answer.text is None:
        return 0.0
    given, wanted = (Counter(normalised(text, setting.language).split()) for text in (answer.text, target))
    return f_measure((given & wanted).total(), given.total(), wanted.total())
