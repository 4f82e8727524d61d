"""Perturbations: what happens to texts in use, done to the inputs of examples on purpose.

A perturbation is a function of a text and a source of randomness. It returns the text as somebody in a hurry might have
typed it, or the text as it is where there is nothing to change; what it means, and so the right answer, stays the same.
Numbers stay as they are. One that plants an instruction is decorated with `@planter` and is told what to ask for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from optimizer.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Planting:
    """What an instruction within the data asks for.

    Attributes:
        answer: A wrong one.
        language: That of the task.
    """

    answer: str
    language: str = "en"


@dataclass(frozen=True, kw_only=True, slots=True)
class Perturbation:
    """One way to change a text.

    Attributes:
        change: (text, randomness, planting) to the changed text.
        plants: Whether it adds an instruction, which a sound prompt does not obey.
    """

    change: Callable[[str, Random, Planting], str]
    plants: bool = False


PERTURBATIONS: Registry[Perturbation] = Registry("optimizer.perturbations", Perturbation)


def perturbation(change: Callable[[str, Random], str]) -> Perturbation:
    """Make a perturbation of a function from a text and a source of randomness to a text."""
    return Perturbation(change=lambda text, random, _planting: change(text, random))


def planter(change: Callable[[str, Random, Planting], str]) -> Perturbation:
    """Make a perturbation of a function that adds an instruction to a text."""
    return Perturbation(change=change, plants=True)
