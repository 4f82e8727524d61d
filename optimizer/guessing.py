"""What guessing brings: the one answer that does best when it is always given.

A prompt whose answers cannot be read scores 0, and any prompt whose answers can be read then looks better, even where
its answers have nothing to do with the examples. So a gain over a baseline with unreadable answers is real only if it
is also one over the same baseline with its unreadable answers guessed.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.answer import Answer
from optimizer.dataset import Example
from optimizer.evaluation import Result, Scorer

# Targets that are tried as the constant answer, most frequent first; a label set is smaller, and a text that is
# rarer than fifty others is no guess.
_TRIED = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """The best constant answer.

    Attributes:
        text: The answer.
        score: Its mean score in [0, 1] on examples other than the one it is taken from.
    """

    text: str
    score: float


def best_guess(examples: Sequence[Example], scorer: Scorer) -> Guess | None:
    """Return the best constant answer on some examples; None where none can be told.

    That is with fewer than two examples, and where a metric would have to ask about each. Of equally good ones the more frequent target is taken, then the one that comes first in the alphabet.
    """
    if len(examples) < 2 or not scorer.per_example.at_once:
        return None
    counts = Counter(example.target for example in examples)
    tried = sorted(counts, key=lambda target: (-counts[target], target))[:_TRIED]
    scores = {target: _left_one_out(target, counts, scorer) for target in tried}
    guesses = [Guess(text=text, score=score) for text, score in scores.items() if score is not None]
    return max(guesses, key=lambda guess: guess.score, default=None)


def guessed(result: Result, guess: Guess) -> Result:
    """Return a result with the guess in place of an answer that could not be read, else as it is."""
    if result.answer.outcome == "ok":
        return result
    answer = Answer(text=guess.text, outcome="ok")
    return dataclasses.replace(result, answer=answer, score=guess.score)


def _left_one_out(text: str, counts: Counter[str], scorer: Scorer) -> float | None:
    """Return the mean score of a constant answer, one example with that very target left out.

    None where the metric fails on one of them: what cannot be scored is no guess.
    """
    answer, total = Answer(text=text, outcome="ok"), 0.0
    for target, n in counts.items():
        try:
            total += (n - (target == text)) * scorer.per_example.score(answer, target)
        except Exception:  # noqa: BLE001  # a metric may be anybody's; whatever it raises is no score
            return None
    return total / (counts.total() - 1)
