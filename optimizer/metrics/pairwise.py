"""Whether a judge prefers an answer to the reference, asked in both orders (Zheng et al. 2023, arXiv:2306.05685)."""

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from optimizer.answer import Answer
from optimizer.ballot import Ballot, verdicts
from optimizer.dataset import Example
from optimizer.metrics import Setting, judged

_TASK = (
    "You compare two answers, A and B. Say which of them is better by this criterion, and by nothing else; neither their "
    "order nor their length counts:"
)
_VERDICTS = ("A", "tie", "B")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparing:
    """How answers are compared.

    Attributes:
        criterion: What makes an answer the better one.
        votes: How often each order is judged, an odd number.
        show_inputs: Whether the judge sees the inputs.
        max_tokens: Bound of what it says, unless its own parameters have one.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    criterion: str = "Which answer serves the one who asked better: correct, complete, clear?"
    votes: int = 1
    show_inputs: bool = True
    max_tokens: int = 256

    def problem(self) -> str | None:
        """Return what is wrong with it, or None."""
        if not self.criterion.strip():
            return "criterion: expected some text, found none"
        if self.votes < 1 or self.votes % 2 == 0:
            return f"votes: expected an odd number of at least 1, found {self.votes}"
        return None if self.max_tokens >= 1 else f"max_tokens: expected at least 1, found {self.max_tokens}"


def _comparing(setting: Setting) -> Comparing:
    assert isinstance(setting.options, Comparing)  # the task file was checked
    return setting.options


@judged(options=Comparing, outputs=("text", "json"), asks=lambda setting: 2 * _comparing(setting).votes)
async def pairwise(answer: Answer, example: Example, setting: Setting) -> float:
    """Return 1 where the answer is preferred to the target, 0.5 for a tie, 0 for a loss; the mean of both orders.

    A judge that goes by the order alone gives 0.5. An answer that could not be read loses, and one that is the target to
    the letter ties, without being asked about.

    Raises:
        ValueError: When no more than half of the verdicts on an order could be read; the example has no score then.
    """
    if answer.text is None:
        return 0.0
    if answer.text.strip() == example.target.strip():
        return 0.5
    orders = ((answer.text, example.target), (example.target, answer.text))
    outcomes = await asyncio.gather(
        *(_preferred(setting, example, order) for order in orders), return_exceptions=True
    )
    wins = []
    for outcome, ours in zip(outcomes, _VERDICTS[::2], strict=True):
        if isinstance(outcome, BaseException):
            raise outcome
        points = [0.5 if verdict == "tie" else float(verdict == ours) for verdict in outcome]
        wins.append(sum(points) / len(points))
    return sum(wins) / len(wins)


async def _preferred(setting: Setting, example: Example, order: tuple[str, str]) -> tuple[str, ...]:
    options = _comparing(setting)
    inputs = [(f"input {name}", text) for name, text in setting.texts(example)] if options.show_inputs else []
    ballot = Ballot(
        question=f"{_TASK}\n\n{options.criterion.strip()}",
        material=(*inputs, ("answer A", order[0]), ("answer B", order[1])),
        verdicts=_VERDICTS,
        images=setting.pictures(example) if options.show_inputs else (),
        max_tokens=options.max_tokens,
        votes=options.votes,
    )
    return await verdicts(setting.models["judge"], ballot)
