"""Share of each label's answers that are right, averaged over the labels of the task."""

from collections.abc import Sequence

from optimizer.answer import Answer
from optimizer.metrics import Setting, aggregate
from optimizer.metrics._classes import averaged, classes


@aggregate(proxy="labels_f1", outputs=("label", "labels"))
def macro_precision(answers: Sequence[Answer], targets: Sequence[str], setting: Setting) -> float:
    """Return the mean precision over the task's labels; 0 for a label that is not given.

    An answer that could not be read gives no label, so it shows only where a label is then given nowhere.
    """
    from sklearn.metrics import precision_score

    return averaged(precision_score, classes(answers, targets, setting.labels), "macro")
