"""Demonstrations near the boundary: training examples that the baseline prompt gets wrong, or right only in part."""

from collections.abc import Sequence
from random import Random

from optimizer.dataset import Example
from optimizer.demonstrations import Evidence, scouted, taking_turns


@scouted("answers")
def hard(train: Sequence[Example], size: int, seed: int, evidence: Evidence) -> Sequence[Example]:
    """Return `size` examples: first those answered right sometimes or in part, then wrong ones, then the others.

    All attempts that were made count, those in a reasoning style too. Equally hard ones come in an order drawn anew,
    their targets taking turns; so where all were right, or all wrong, or none was answered, it is a balanced draw.
    """
    scores: dict[str, list[float]] = {}
    for attempt in (*evidence.answers, *evidence.reasoned):
        scores.setdefault(attempt.example_id, []).append(attempt.score)
    tiers: tuple[list[Example], ...] = ([], [], [])
    for example in Random(seed).sample(list(train), len(train)):
        found = scores.get(example.id, [1.0])  # nothing says that it is hard
        mean = sum(found) / len(found)
        tiers[0 if 0 < mean < 1 else 1 if mean == 0 else 2].append(example)
    return taking_turns(tiers, size)
