"""F1 of the labels given and wanted, example by example (samples F1)."""

from optimizer.answer import Answer
from optimizer.metrics import Setting, metric
from optimizer.metrics._classes import named
from optimizer.metrics._words import f_measure


@metric(outputs=("label", "labels"), options=None)
def labels_f1(answer: Answer, target: str, setting: Setting) -> float:
    """Return the harmonic mean of precision and recall of the labels; 0 for an answer that could not be read.

    No label where none is wanted is right: 1. With a single label it is 1 for the right one, else 0.
    """
    if answer.text is None:
        return 0.0
    given, wanted = named(answer.text, setting.labels), named(target, setting.labels)
    return f_measure(len(given & wanted), len(given), len(wanted)) if given or wanted else 1.0
