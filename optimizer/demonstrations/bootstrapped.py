"""The model's own right answers, with its reasoning where it reasoned (BootstrapFewShot of DSPy, arXiv:2310.03714)."""

import dataclasses
from collections.abc import Sequence
from random import Random

from optimizer.candidate import Demonstration
from optimizer.dataset import Example
from optimizer.demonstrations import Attempt, Evidence, as_demonstration, scouted, taking_turns

# A score from here on is a full one: a mean or a cosine may be off 1 by its last digits.
_FULL = 1 - 1e-9


@scouted("reasoned")
def bootstrapped(
    train: Sequence[Example], size: int, seed: int, evidence: Evidence
) -> Sequence[Demonstration]:
    """Return `size` examples that the model got wholly right, shown as it answered them, their targets taking turns.

    When there are fewer, other examples follow as they are labelled, without a reasoning, as DSPy fills up.
    """
    right = {each.example_id: each for each in evidence.reasoned if each.score >= _FULL}
    order = Random(seed).sample(list(train), len(train))
    tiers = [[e for e in order if e.id in right], [e for e in order if e.id not in right]]
    return [_as_answered(example, right.get(example.id)) for example in taking_turns(tiers, size)]


def _as_answered(example: Example, attempt: Attempt | None) -> Demonstration:
    plain = as_demonstration(example)
    if attempt is None or attempt.text is None:
        return plain
    return dataclasses.replace(plain, target=attempt.text, reasoning=attempt.reasoning)
