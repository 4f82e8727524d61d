"""Translation edit rate turned round (Snover et al. 2006), as sacrebleu counts it."""

from collections.abc import Sequence

from optimizer.answer import Answer
from optimizer.metrics import Setting, aggregate
from optimizer.metrics._corpus import Ter, corpus_score, error_share


@aggregate(proxy="sentence_ter", outputs=("text",), options=Ter)
def ter(answers: Sequence[Answer], targets: Sequence[str], setting: Setting) -> float:
    """Return 1 minus the edits of all answers in parts of the words of all targets; 0 where they are more.

    An answer that could not be read is an empty text.
    """
    return error_share(corpus_score(answers, targets, setting.options))
