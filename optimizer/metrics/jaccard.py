"""Overlap of the labels given and wanted (Jaccard 1901)."""

from optimizer.answer import Answer
from optimizer.metrics import Setting, metric
from optimizer.metrics._classes import named


@metric(outputs=("label", "labels"), options=None)
def jaccard(answer: Answer, target: str, setting: Setting) -> float:
    """Return the labels in both in parts of the labels in either; 0 for an answer that could not be read.

    No label where none is wanted is right: 1.
    """
    if answer.text is None:
        return 0.0
    given, wanted = named(answer.text, setting.labels), named(target, setting.labels)
    return len(given & wanted) / len(given | wanted) if given or wanted else 1.0
