"""Accuracy on the examples of each label, averaged over the labels (Brodersen et al. 2010)."""

from collections.abc import Sequence

from optimizer.answer import Answer
from optimizer.metrics import Setting, aggregate


@aggregate(proxy="accuracy", outputs=("label",))
def balanced_accuracy(answers: Sequence[Answer], targets: Sequence[str], _setting: Setting) -> float:
    """Return the mean recall over the labels that are wanted; an answer that could not be read is a miss.

    A label that is nowhere wanted has no share in it: that is where it differs from `macro_recall`.
    """
    from sklearn.metrics import recall_score

    given = [answer.text if answer.text is not None else "" for answer in answers]
    wanted = sorted(set(targets))
    return float(recall_score(list(targets), given, labels=wanted, average="macro", zero_division=0.0))
