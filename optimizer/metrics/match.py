"""Whether the words of the answer are those of the target, as SQuAD compares them (Rajpurkar et al. 2016)."""

from optimizer.answer import Answer
from optimizer.metrics import Setting, metric
from optimizer.metrics._words import normalised


@metric(outputs=("text",), options=None)
def match(answer: Answer, target: str, setting: Setting) -> float:
    """Return 1 when both texts are the same but for case, punctuation, articles and spaces; 0 for an unread answer.

    The articles are those of the task's language, English or French; in other languages every word counts. Unlike in
    SQuAD's evaluation the marks of a figure count: `1.5` is not `15`, and `-5` is not `5`.
    """
    if answer.text is None:
        return 0.0
    return float(normalised(answer.text, setting.language) == normalised(target, setting.language))
