"""The best one-shot demonstrations, one of each cluster (TRIPLE-CSAR, Shi et al. 2024, arXiv:2402.09723)."""

from collections.abc import Sequence
from random import Random

from optimizer.dataset import Example
from optimizer.demonstrations import Evidence, scouted, taking_turns


@scouted("one_shots")
def winners(train: Sequence[Example], size: int, seed: int, evidence: Evidence) -> Sequence[Example]:
    """Return `size` of the winners in an order drawn anew, their targets taking turns.

    When there are fewer, the best of the others that were tried follow, and then examples that were not.
    """
    order = Random(seed).sample(list(train), len(train))
    tried = {shot.example_id: shot for shot in evidence.one_shots}
    best = [example for example in order if example.id in tried and tried[example.id].winner]
    others = [example for example in order if example.id in tried and not tried[example.id].winner]
    others.sort(key=lambda example: -(tried[example.id].score or 0.0))
    rest = [example for example in order if example.id not in tried]
    return taking_turns([best, *([other] for other in others), rest], size)
