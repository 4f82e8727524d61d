"""F1 of all labels counted together."""

from collections.abc import Sequence

from optimizer.answer import Answer
from optimizer.metrics import Setting, aggregate
from optimizer.metrics._classes import averaged, classes


@aggregate(proxy="labels_f1", outputs=("label", "labels"))
def micro_f1(answers: Sequence[Answer], targets: Sequence[str], setting: Setting) -> float:
    """Return the F1 of hits, misses and false alarms of all labels together; of single labels, all read, it is accuracy.

    An answer that could not be read is a miss of its label and no hit of any other.
    """
    from sklearn.metrics import f1_score

    return averaged(f1_score, classes(answers, targets, setting.labels), "micro")
