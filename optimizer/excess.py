"""Prompts that read more than a constraint of the study allows, told from their length: no score of theirs counts.

What a prompt reads on average follows from its text and from how many tokens some text took. Of a prompt that was not
asked yet that is known by the baseline's first examples, of one that was by its own. Both give a lower bound only,
since texts of equal length take different numbers of tokens: who might keep the constraint is asked, and measured.
Where examples are retrieved for each input, or a server does not count, nothing is told; nor, before it is asked, of a
prompt of fewer messages than the baseline or without its system message, whose markup may be less.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from optimizer.config import Bound
from optimizer.dataset import Example
from optimizer.errors import InputError, Problem
from optimizer.evaluation import Result
from optimizer.length import utf8_length
from optimizer.metrics import METRICS
from optimizer.pricing import Price
from optimizer.prompt import CallTemplate, Hole, PromptTemplate

# Bytes that a token holds at most on average over a text of some length, and at least.
_MOST_BYTES, _LEAST_BYTES = 6, 1

# The constraints that go by tokens; the price that money takes as well is known before a study begins.
_COUNTED = ("input_tokens", "output_tokens", "tokens", "cost")


def check_measurable(bounds: Mapping[str, Bound], results: Sequence[Result]) -> None:
    """Check that the first answers of a study tell what its constraints go by: else every prompt would seem to keep them.

    Raises:
        InputError: With every constraint that none of them tells of.
    """
    answered = [result for result in results if result.completions]
    problems = list[Problem]()
    for name in bounds if answered else ():
        if name in _COUNTED and not _measured(name, answered):
            message = (
                "cannot be measured: the answers of the model do not state their tokens (`usage`); without the "
                "constraint, --fresh asks nothing again that was answered"
            )
            problems.append(Problem(file="", field=f"constraints.{name}", message=message))
    if problems:
        raise InputError(problems)


def _measured(name: str, results: Sequence[Result]) -> bool:
    """Return whether a measure has a figure for some of the results."""
    reading = METRICS[name].measure
    return reading is None or any(
        reading(result.answer, result.completions) is not None for result in results
    )


class Excess:
    """Tells which prompts break the constraints on tokens read, tokens and cost, whatever they answer.

    Args:
        bounds: The study's constraints, by measure.
        examples: Those that the measures are averaged over.
        price: US dollars from tokens read and written, or None where no price is known.
    """

    def __init__(
        self, bounds: dict[str, Bound], examples: Sequence[Example], price: Price | None = None
    ) -> None:
        self._examples = {example.id: example.values for example in examples}
        prices: dict[str, Callable[[float], float]] = {"input_tokens": float, "tokens": float}
        if price is not None:
            prices["cost"] = lambda read: price(int(read), 0)
        self._limits = [
            (prices[name], bound.max)
            for name, bound in bounds.items()
            if name in prices and bound.max is not None
        ]
        self._filled: dict[Hole, dict[str, int]] = {}
        self._baseline: tuple[float, CallTemplate] | None = None

    @property
    def limited(self) -> bool:
        """Return whether any constraint is about what a prompt reads."""
        return bool(self._limits)

    def learn(self, baseline: PromptTemplate, results: Sequence[Result]) -> None:
        """Take what the baseline read for its first examples as the measure of prompts that were not asked yet."""
        least = self._least(baseline, results)
        self._baseline = None if least is None else (least, baseline.calls[0])

    def expected(self, template: PromptTemplate) -> bool:
        """Return whether a prompt that was not asked yet reads too much."""
        if not self._limits or self._baseline is None or template.retrieval is not None:
            return False
        (tokens, known), call = self._baseline, template.calls[0]
        if len(call.messages) < len(known.messages) or call.messages[0].role != known.messages[0].role:
            return False
        more = self._length(call) - self._length(known)
        return self._breaks(_longer(tokens, more) + self._later(template))

    def shown(self, template: PromptTemplate, results: Sequence[Result]) -> bool:
        """Return whether a prompt reads too much, by what it read for some of the examples."""
        least = self._least(template, results) if self._limits else None
        return least is not None and self._breaks(least + self._later(template))

    def _breaks(self, tokens: float) -> bool:
        return any(of(tokens) > most for of, most in self._limits)

    def _least(self, template: PromptTemplate, results: Sequence[Result]) -> float | None:
        """Return how many tokens the first call reads at least on average; None where that cannot be told."""
        answered = [result for result in results if result.completions]
        read = [result.completions[0].prompt_tokens for result in answered]
        if template.retrieval is not None or not read or not all(read):
            return None
        call, seen = template.calls[0], [result.example.id for result in answered]
        return _longer(fmean(read), self._length(call) - self._length(call, seen))

    def _later(self, template: PromptTemplate) -> float:
        """Return how many tokens all calls after the first read at least, whatever was answered before."""
        return sum(self._length(call) for call in template.calls[1:]) / _MOST_BYTES

    def _length(self, call: CallTemplate, examples: Sequence[str] | None = None) -> float:
        """Return how many bytes a call sends on average over some examples, or all; earlier answers count nothing."""
        parts = [part for message in call.messages for part in message.parts]
        length = float(sum(utf8_length(part) for part in parts if isinstance(part, str)))
        for hole in (part for part in parts if isinstance(part, Hole) and part.name.startswith("input:")):
            lengths = self._lengths(hole)
            length += fmean(lengths[name] for name in (lengths if examples is None else examples))
        return length

    def _lengths(self, hole: Hole) -> dict[str, int]:
        if hole not in self._filled:
            self._filled[hole] = {
                name: utf8_length(hole.fill(values, ())) for name, values in self._examples.items()
            }
        return self._filled[hole]


def _longer(tokens: float, more: float) -> float:
    """Return how many tokens a text has at least that is so many bytes longer, or shorter, than one of so many."""
    return tokens + more / (_MOST_BYTES if more > 0 else _LEAST_BYTES)
