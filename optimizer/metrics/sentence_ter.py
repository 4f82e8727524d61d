"""Translation edit rate of one answer turned round (Snover et al. 2006), as sacrebleu counts it."""

from optimizer.answer import Answer
from optimizer.metrics import Setting, metric
from optimizer.metrics._corpus import Ter, error_share, sentence_score


@metric(outputs=("text",), options=Ter)
def sentence_ter(answer: Answer, target: str, setting: Setting) -> float:
    """Return 1 minus the edits in parts of the target's words, 0 where they are more; 0 for an unread answer."""
    return 0.0 if answer.text is None else error_share(sentence_score(answer.text, target, setting.options))
