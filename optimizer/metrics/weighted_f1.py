"""F1 of each label, averaged by how often it is wanted."""

from collections.abc import Sequence

from optimizer.answer import Answer
from optimizer.metrics import Setting, aggregate
from optimizer.metrics._classes import averaged, classes


@aggregate(proxy="labels_f1", outputs=("label", "labels"))
def weighted_f1(answers: Sequence[Answer], targets: Sequence[str], setting: Setting) -> float:
    """Return the mean F1 over the labels, each counting as often as it is wanted.

    An answer that could not be read is a miss of its label and no hit of any other.
    """
    from sklearn.metrics import f1_score

    return averaged(f1_score, classes(answers, targets, setting.labels), "weighted")
