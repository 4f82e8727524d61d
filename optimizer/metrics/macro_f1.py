"""F1 of each label, averaged over the labels of the task."""

from collections.abc import Sequence

from optimizer.answer import Answer
from optimizer.metrics import Setting, aggregate
from optimizer.metrics._classes import averaged, classes


@aggregate(proxy="labels_f1", outputs=("label", "labels"))
def macro_f1(answers: Sequence[Answer], targets: Sequence[str], setting: Setting) -> float:
    """Return the mean F1 over the task's labels; 0 for a label that is neither wanted nor given.

    An answer that could not be read is a miss of its label and no hit of any other. It is not a label of its own:
    as one it would add a zero to the mean, which scikit-learn's default does.
    """
    from sklearn.metrics import f1_score

    return averaged(f1_score, classes(answers, targets, setting.labels), "macro")
