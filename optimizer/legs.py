"""What a study keeps of a race or a screening beside its scores, so that it can be taken up and be what it was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from optimizer.answer import Answer, Outcome
from optimizer.completion import Completion
from optimizer.dataset import Example
from optimizer.evaluation import Result
from optimizer.pricing import Price

# What was asked and got no score: arm, example, whether another attempt may well succeed, what became of it, and of each
# of its calls that was answered the tokens read and written and whether they are known. Earlier versions kept the first
# three, of errors alone.
Lost = tuple[int, str, bool, Outcome, Sequence[tuple[int, int, bool]]] | tuple[int, str, bool]


@dataclass(kw_only=True, slots=True)
class Leg:
    """A race or a screening, as the study keeps it.

    Attributes:
        first: Number of its first new arm.
        calls: What it may spend.
        budget: What it was begun under.
        tries: How often scores were wanted that the budget held; an earlier process may have been interrupted at it.
        over: Whether it has ended, or the budget did not hold those that were wanted next.
        missing: What was asked and got no score, by the number of the try. It stays missing: what came after was
            decided without it.
        batch: Candidates of a screening that are asked for at once; 0 where an earlier version began it.
    """

    first: int
    calls: int
    budget: dict[str, float | None]
    tries: int = 0
    over: bool = False
    missing: dict[str, Sequence[Lost]] = field(default_factory=dict)
    batch: int = 0


def lost_of(results: Mapping[int, Sequence[Result]]) -> list[Lost]:
    """Return what of some arms' results got no score, whether the model or a judge of its answers failed."""
    return [
        (
            number,
            found.example.id,
            found.outage,
            found.answer.outcome,
            [(each.prompt_tokens, each.completion_tokens, each.counted) for each in found.completions],
        )
        for number, of_arm in results.items()
        for found in of_arm
        if found.score is None
    ]


def restored(lost: Lost, example: Example, price: Price | None) -> Result:
    """Return an example without a score as it was when it was asked; what its calls cost counts all the same."""
    outage = lost[2]
    outcome, calls = ("error", ()) if len(lost) == 3 else lost[3:]
    asked = [
        # Tokens that are known and none are those of a refusal, which takes none.
        Completion(
            text="",
            prompt_tokens=read,
            completion_tokens=written,
            finish_reason="refused" if counted and not read else "stop",
        )
        for read, written, counted in calls
    ]
    completions = tuple(replace(each, cost_usd=each.cost_at(price)) for each in asked)
    answer = Answer(text=None, outcome=outcome)
    return Result(example=example, answer=answer, score=None, completions=completions, outage=outage)
