"""BLEU (Papineni et al. 2002), as sacrebleu counts it (Post 2018, arXiv:1804.08771)."""

from collections.abc import Sequence

from optimizer.answer import Answer
from optimizer.metrics import Setting, aggregate
from optimizer.metrics._corpus import Bleu, corpus_score, share


@aggregate(proxy="sentence_bleu", outputs=("text",), options=Bleu)
def bleu(answers: Sequence[Answer], targets: Sequence[str], setting: Setting) -> float:
    """Return the BLEU of all answers together, in [0, 1]. Targets without four tokens in a row cannot score alone.

    An answer that could not be read is an empty text.
    """
    return share(corpus_score(answers, targets, setting.options))
