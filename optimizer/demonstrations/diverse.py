"""Demonstrations that cover the training examples: each lies where those before it leave the most uncovered.

This is the seeding of k-means++ (Arthur and Vassilvitskii 2007) with examples as centres, which makes it a random
k-medoids: of a few examples drawn in proportion to their distance from the nearest centre, the one that leaves the
least distance in all is taken. A lone oddity is drawn often and taken seldom. Distance is 1 - likeness, the one that
retrieval goes by.
"""

from collections import Counter
from collections.abc import Sequence
from random import Random

from optimizer.dataset import Example
from optimizer.demonstrations import selector
from optimizer.retrieval import Likeness, compared

# Examples that are weighed for each place; k-means++ in scikit-learn weighs 2 + ln(centres).
_WEIGHED = 3

# Distance at which nothing is left to cover: likenesses are rounded to 12 digits.
_NOTHING = 1e-9


@selector
def diverse(train: Sequence[Example], size: int, seed: int) -> Sequence[Example]:
    """Return `size` examples far from each other and near to the rest, targets taking turns where they repeat."""
    rng = Random(seed)
    texts = [compared([text for _, text in example.inputs]) for example in train]
    likeness = Likeness(texts)
    chosen = [rng.randrange(len(train))]
    uncovered = _distances(likeness, texts[chosen[0]])
    while len(chosen) < size:
        places = _least_shown(train, chosen)
        weights = [max(uncovered[place], _NOTHING) for place in places]
        drawn = dict.fromkeys(rng.choices(places, weights, k=_WEIGHED))
        left = {place: _nearer(uncovered, _distances(likeness, texts[place])) for place in drawn}
        best = min(drawn, key=lambda place: sum(left[place]))
        chosen.append(best)
        uncovered = left[best]
    return [train[place] for place in chosen]


def _least_shown(train: Sequence[Example], chosen: Sequence[int]) -> list[int]:
    """Return the places whose target was chosen least; all that are left where every target is unique."""
    shown = Counter(train[place].target for place in chosen)
    left = sorted(set(range(len(train))).difference(chosen))
    least = min(shown[train[place].target] for place in left)
    return [place for place in left if shown[train[place].target] == least]


def _distances(likeness: Likeness, text: str) -> list[float]:
    return [1 - each for each in likeness.to(text)]


def _nearer(some: Sequence[float], others: Sequence[float]) -> list[float]:
    return [min(pair) for pair in zip(some, others, strict=True)]
