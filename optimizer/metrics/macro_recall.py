"""Share of each label's examples that are found, averaged over the labels of the task."""

from collections.abc import Sequence

from optimizer.answer import Answer
from optimizer.metrics import Setting, aggregate
from optimizer.metrics._classes import averaged, classes


@aggregate(proxy="labels_f1", outputs=("label", "labels"))
def macro_recall(answers: Sequence[Answer], targets: Sequence[str], setting: Setting) -> float:
    """Return the mean recall over the task's labels; 0 for a label that is not wanted.

    An answer that could not be read is a miss of its label.
    """
    from sklearn.metrics import recall_score

    return averaged(recall_score, classes(answers, targets, setting.labels), "macro")
