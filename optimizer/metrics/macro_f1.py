"""F1 of each label, averaged over the labels of the task."""

from collections.abc import Sequence

from optimizer.answer import Answer
from optimizer.metrics import aggregate


@aggregate(proxy="accuracy", outputs=("label",))
def macro_f1(answers: Sequence[Answer], targets: Sequence[str], labels: tuple[str, ...]) -> float:
    """Return the mean F1 over the task's labels; 0 for a label that is neither wanted nor given.

    An answer that could not be read is a miss of its label and no hit of any other. It is not a label of its own:
    as one it would add a zero to the mean, which scikit-learn's default does.
    """
    from sklearn.metrics import f1_score

    given = [answer.text if answer.text is not None else "" for answer in answers]
    return float(f1_score(list(targets), given, labels=list(labels), average="macro", zero_division=0.0))
