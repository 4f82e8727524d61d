"""Answers and targets as classes, for figures that are counted over all examples.

Notation: `wanted` and `given` are 0 or 1 for each example and label, (n_examples, n_labels + 1). The last column is
always 0 and never counted: with it scikit-learn takes a table of a single label for what it is.

An answer that could not be read gives no label: a miss of each that was wanted, and a hit of none.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from optimizer.answer import Answer

if TYPE_CHECKING:
    import numpy as np

Average = Literal["micro", "macro", "weighted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Classes:
    """Which labels were wanted and given.

    Attributes:
        wanted: 0 or 1, (n_examples, n_labels + 1).
        given: The same.
        n_unread: How many answers could not be read.
    """

    wanted: "np.ndarray[Any, Any]"
    given: "np.ndarray[Any, Any]"
    n_unread: int

    @property
    def counted(self) -> list[int]:
        """Return the columns that count."""
        return list(range(self.wanted.shape[1] - 1))


def classes(answers: Sequence[Answer], targets: Sequence[str], labels: tuple[str, ...]) -> Classes:
    """Return which labels were wanted and given: one each, or any number where the targets are arrays of labels."""
    import numpy as np

    single = set(targets) <= set(labels)
    at = {label: column for column, label in enumerate(labels)}
    wanted = np.zeros((len(targets), len(labels) + 1), dtype=int)
    given = np.zeros_like(wanted)
    for table, texts in ((wanted, targets), (given, [answer.text for answer in answers])):
        for row, text in enumerate(texts):
            if text is not None:
                table[row, [at[label] for label in ([text] if single else json.loads(text))]] = 1
    return Classes(wanted=wanted, given=given, n_unread=sum(answer.text is None for answer in answers))


def named(text: str | None, labels: tuple[str, ...]) -> frozenset[str]:
    """Return the labels that an answer or a target of either type names; none for an answer that could not be read."""
    if text is None:
        return frozenset()
    return frozenset([text]) if text in labels else frozenset(json.loads(text))


def agreement(answers: Sequence[Answer], targets: Sequence[str], coefficient: Any) -> float:  # noqa: ANN401
    """Return (c + 1) / 2 of a coefficient c in [-1, 1] over the answers that could be read, times their share.

    A coefficient is undefined where only one label is wanted and given; it is 0 then, that of a guess.

    Args:
        coefficient: A function of scikit-learn, (targets, labels given) to c.
    """
    read = [
        (target, answer.text)
        for answer, target in zip(answers, targets, strict=True)
        if answer.text is not None
    ]
    if not read:
        return 0.0
    wanted, given = map(list, zip(*read, strict=True))
    c = float(coefficient(wanted, given)) if len({*wanted, *given}) > 1 else 0.0
    return min(1.0, max(0.0, (c + 1) / 2)) * len(read) / len(answers)


def averaged(figure: Any, found: Classes, average: Average) -> float:  # noqa: ANN401
    """Return a figure of each label, averaged; 0 for a label that is neither wanted nor given.

    Where no example wants a label and none is given, all is right: 1, unless an answer could not be read.

    Args:
        figure: A function of scikit-learn: F1, precision or recall.
    """
    if not (found.wanted.any() or found.given.any()):
        return float(found.n_unread == 0)
    columns = found.counted
    return float(figure(found.wanted, found.given, labels=columns, average=average, zero_division=0.0))
