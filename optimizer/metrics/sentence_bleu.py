"""BLEU of one answer, as sacrebleu counts it (Post 2018, arXiv:1804.08771)."""

from optimizer.answer import Answer
from optimizer.metrics import Setting, metric
from optimizer.metrics._corpus import Bleu, sentence_score, share


@metric(outputs=("text",), options=Bleu)
def sentence_bleu(answer: Answer, target: str, setting: Setting) -> float:
    """Return the BLEU of one answer, of runs no longer than it is, smoothed (exp); 0 for an answer that could not be read."""
    return 0.0 if answer.text is None else share(sentence_score(answer.text, target, setting.options))
