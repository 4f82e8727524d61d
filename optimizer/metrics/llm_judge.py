"""A model's verdict by a rubric (Zheng et al. 2023, arXiv:2306.05685, single answer grading)."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from optimizer.answer import Answer
from optimizer.ballot import Ballot, verdicts
from optimizer.dataset import Example
from optimizer.metrics import Setting, judged

_TASK = "You grade answers. Judge the answer by this rubric, and by nothing else:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rubric:
    """How answers are graded.

    Attributes:
        rubric: What makes an answer good, in words.
        categories: What the judge may say, and the score in [0, 1] of each; a scale of `steps` unless given.
        steps: How many figures from 0 to 1, evenly spaced, the judge may give.
        votes: How often each answer is judged, an odd number; the score is the mean.
        show_inputs: Whether the judge sees the inputs.
        show_target: Whether it sees the right answer, as a reference.
        max_tokens: Bound of what it says, unless its own parameters have one.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    rubric: str
    categories: dict[str, float] = field(default_factory=dict)
    steps: int = 5
    votes: int = 1
    show_inputs: bool = True
    show_target: bool = True
    max_tokens: int = 256

    @property
    def scale(self) -> dict[str, float]:
        """Return the score of each verdict, in the order in which they are named to the judge."""
        if self.categories:
            return dict(self.categories)
        return {f"{n / (self.steps - 1):.3g}": n / (self.steps - 1) for n in range(self.steps)}

    def problem(self) -> str | None:
        """Return what is wrong with it, or None."""
        if not self.rubric.strip():
            return "rubric: expected some text, found none"
        if self.votes < 1 or self.votes % 2 == 0:
            return f"votes: expected an odd number of at least 1, found {self.votes}"
        if self.max_tokens < 1:
            return f"max_tokens: expected at least 1, found {self.max_tokens}"
        if not self.categories:
            if 2 <= self.steps <= 101:
                return None
            return f"steps: expected a number from 2 to 101, found {self.steps}"
        return _category_problem(self.categories)


def _category_problem(categories: dict[str, float]) -> str | None:
    if len({name.strip().casefold() for name in categories}) < max(2, len(categories)):
        return "categories: expected at least two, each with a name of its own"
    for name, score in categories.items():
        if not name.strip() or "\n" in name:
            return f"categories: expected names of one line, found {name!r}"
        if not (math.isfinite(score) and 0 <= score <= 1):
            return f"categories: expected a score in [0, 1], found {score:g} for {name!r}"
    return None


def _rubric(setting: Setting) -> Rubric:
    assert isinstance(setting.options, Rubric)  # the task file was checked
    return setting.options


@judged(options=Rubric, asks=lambda setting: _rubric(setting).votes)
async def llm_judge(answer: Answer, example: Example, setting: Setting) -> float:
    """Return the mean score of the judge's verdicts; 0 for an answer that could not be read, which is not asked about.

    Raises:
        ValueError: When no more than half of the verdicts could be read; the example has no score then.
    """
    if answer.text is None:
        return 0.0
    rubric = _rubric(setting)
    inputs = [(f"input {name}", text) for name, text in setting.texts(example)] if rubric.show_inputs else []
    reference = [("reference answer", example.target)] if rubric.show_target else []
    ballot = Ballot(
        question=f"{_TASK}\n\n{rubric.rubric.strip()}",
        material=(*inputs, *reference, ("answer", answer.text)),
        verdicts=tuple(rubric.scale),
        images=setting.pictures(example) if rubric.show_inputs else (),
        max_tokens=rubric.max_tokens,
        votes=rubric.votes,
    )
    scores = [rubric.scale[verdict] for verdict in await verdicts(setting.models["judge"], ballot)]
    return sum(scores) / len(scores)
