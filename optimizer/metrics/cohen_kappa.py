"""Agreement with the targets beyond chance, from 0 to 1 (Cohen 1960)."""

from collections.abc import Sequence

from optimizer.answer import Answer
from optimizer.metrics import Setting, aggregate
from optimizer.metrics._classes import agreement


@aggregate(proxy="accuracy", outputs=("label",))
def cohen_kappa(answers: Sequence[Answer], targets: Sequence[str], _setting: Setting) -> float:
    """Return (c + 1) / 2 of the coefficient c over the answers that could be read, times their share.

    So a guess is 0.5, as is any answer where a single label is all that is wanted and given, and what could not be
    read is worth 0: as a label of its own it would be worth a guess.
    """
    from sklearn.metrics import cohen_kappa_score

    return agreement(answers, targets, cohen_kappa_score)
