"""Worlds whose truth is known: scores of many arms on fresh examples, as often as they are drawn.

| | |
|---|---|
| m | true mean score of an arm, its expectation over all examples there are |
| b | difficulty of an example, the same for all arms, of mean 0 |
| u | what an arm and a group of examples have in common, of mean 0 |
| P | m + b + u, the expected score of an arm on one example |
| s, d | share of examples that two arms score differently, and the difference of their means |

Arm 0 is the baseline. b and u take two values each, so that P stays inside (0, 1) and m is exact.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

# Scores on either side of an average example, and of an average group under one arm: with means between 0.35 and
# 0.65 the expected scores then lie between 0.05 and 0.95.
DIFFICULTY = 0.15
GROUP_EFFECT = 0.15
GROUP = 4
# The two parameters of a beta distribution add up to this: graded scores with a standard deviation of 0.16 around P.
CONCENTRATION = 8.0

WORDINGS, STYLES = 6, 4
ARMS = WORDINGS * STYLES
LABELS = 4

Scores = NDArray[np.float64]  # (arms, examples), in [0, 1]


class Drawn(NamedTuple):
    """Scores of every arm on some examples, and the group of each example where there are groups."""

    scores: Scores
    groups: tuple[str, ...] | None = None


class World(Protocol):
    """Draws examples; the true mean of each arm is known."""

    @property
    def means(self) -> tuple[float, ...]: ...

    def draw(self, rng: np.random.Generator, n: int) -> Drawn:
        """Return the scores of all arms on `n` fresh examples."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Difficulties:
    """Arms that are right, or as good as they are, independently of each other given the example.

    Attributes:
        graded: Beta scores in place of 0/1.
        group: Examples in a group, which have their difficulty in common and an effect with each arm; 1 for none.
        concentration: Of graded scores.
    """

    means: tuple[float, ...]
    graded: bool = False
    group: int = 1
    concentration: float = CONCENTRATION

    def draw(self, rng: np.random.Generator, n: int) -> Drawn:
        n_groups = n // self.group
        difficulty = DIFFICULTY * rng.choice((-1.0, 1.0), size=n_groups)
        effect = self._effect * rng.choice((-1.0, 1.0), size=(len(self.means), n_groups))
        expected = np.repeat(np.array(self.means)[:, None] + difficulty + effect, self.group, axis=1)
        if self.graded:
            scores = rng.beta(expected * self.concentration, (1 - expected) * self.concentration)
        else:
            scores = (rng.random(expected.shape) < expected).astype(np.float64)
        return Drawn(scores, group_names(n, self.group))

    def deviation(self, arm: int, n: int) -> float:
        """Return the standard deviation of the mean difference between an arm and the baseline on `n` examples."""
        # b is common to both arms and cancels; u is drawn for each of them; what is left is drawn for each score.
        noise = sum(self._noise(self.means[each]) for each in (0, arm))
        return math.sqrt((2 * self._effect**2 + noise / self.group) / (n / self.group))

    @property
    def _effect(self) -> float:
        return GROUP_EFFECT if self.group > 1 else 0.0

    def _noise(self, mean: float) -> float:
        """Return the mean variance of one score around P: that of P (1 - P), less what the scale of the scores takes."""
        around = mean * (1 - mean) - DIFFICULTY**2 - self._effect**2
        return around / (self.concentration + 1) if self.graded else around


@dataclass(frozen=True, kw_only=True, slots=True)
class Linked:
    """0/1 scores of arms that mostly agree with the baseline, as prompts do.

    Each other arm differs from the baseline on a share of `disagreement` of the examples, and is better by `gain`.

    Attributes:
        group: Examples in a group, on which every arm scores alike: as dependent as they can be; 1 for none.
    """

    gain: float
    disagreement: float
    arms: int = ARMS
    group: int = 1

    @property
    def means(self) -> tuple[float, ...]:
        # Symmetric about one half, so that there is room for both kinds of disagreement.
        return (0.5 - self.gain / 2, *[0.5 + self.gain / 2] * (self.arms - 1))

    def draw(self, rng: np.random.Generator, n: int) -> Drawn:
        n_groups, mean = n // self.group, self.means[0]
        baseline = rng.random(n_groups) < mean
        won = (self.disagreement + self.gain) / 2 / (1 - mean)
        lost = (self.disagreement - self.gain) / 2 / mean
        flipped = rng.random((self.arms - 1, n_groups)) < np.where(baseline, lost, won)
        scores = np.vstack([baseline, baseline ^ flipped]).astype(np.float64)
        return Drawn(np.repeat(scores, self.group, axis=1), group_names(n, self.group))


def equal() -> tuple[float, ...]:
    """Return the means of arms of which none matters."""
    return (0.5,) * ARMS


def small_gains() -> tuple[float, ...]:
    """Return means of which all others are 2 to 5 points above the baseline's, by style."""
    return (0.5, *(0.52 + 0.01 * (k % STYLES) for k in range(1, ARMS)))


def large_gains() -> tuple[float, ...]:
    """Return means of which two wordings in three are 15 points above the baseline's and one is 10 below."""
    return (0.5, *(0.65 if k // STYLES < 4 else 0.4 for k in range(1, ARMS)))


def group_names(n: int, group: int) -> tuple[str, ...] | None:
    """Return the group of each of `n` examples; None where every group has one."""
    return None if group == 1 else tuple(f"g{k // group:04d}" for k in range(n))


def shuffled_labels(rng: np.random.Generator, n_search: int, n_test: int) -> tuple[Drawn, Drawn]:
    """Return the scores of classifiers whose gold labels were permuted, each label as frequent as any other.

    An arm says what the example suggests in three cases of five, which all arms have in common, else what it is
    biased to. Labels are permuted within search and within test, so that who always says one label is right in one
    case of four in both, and luck in the one is no bad luck in the other.
    """
    biases = np.cumsum(rng.dirichlet(np.ones(LABELS), size=ARMS), axis=1)
    drawn = []
    for n in (n_search, n_test):
        suggested = rng.integers(0, LABELS, size=n)
        biased = (rng.random((ARMS, n))[:, :, None] > biases[:, None, :-1]).sum(axis=2)
        said = np.where(rng.random((ARMS, n)) < 0.6, suggested, biased)
        gold = rng.permutation(np.arange(n) % LABELS)
        drawn.append(Drawn((said == gold).astype(np.float64)))
    return drawn[0], drawn[1]


def permuted(rng: np.random.Generator, table: Scores) -> tuple[Drawn, Drawn]:
    """Return two halves of a table of scores, in which the arms changed places within each example.

    So no arm is better than another, and examples and scores are as they were.
    """
    mixed = rng.permuted(table, axis=0)[:, rng.permutation(table.shape[1])]
    half = mixed.shape[1] // 2
    return Drawn(mixed[:, :half]), Drawn(mixed[:, half:])
