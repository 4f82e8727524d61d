"""What a race keeps of examples without a score is what is taken up again."""

import pytest

from optimizer.answer import Answer
from optimizer.completion import Completion
from optimizer.dataset import Example
from optimizer.evaluation import Result
from optimizer.legs import lost_of, restored

EXAMPLE = Example(id="e", inputs=(("text", "x"),), target="a", group=None)


def price(read: int, written: int) -> float:
    return (read + 4 * written) / 1e6


@pytest.mark.parametrize(
    ("calls", "costs"),
    [([(90, 10)], [130 / 1e6]), ([(0, 0)], [None]), ([(90, 10), (0, 0)], [130 / 1e6, None]), ([], [])],
)
def test_what_was_lost_costs_what_it_did_and_nothing_is_known_of_tokens_that_were_not_stated(
    calls: list[tuple[int, int]], costs: list[float | None]
) -> None:
    completions = tuple(
        Completion(text="red", prompt_tokens=read, completion_tokens=written) for read, written in calls
    )
    answer = Answer(text="red", outcome="unscored")
    found = Result(example=EXAMPLE, answer=answer, score=None, completions=completions, outage=True)
    (lost,) = lost_of({3: [found]})
    again = restored(lost, EXAMPLE, price)
    assert [each.cost_usd for each in again.completions] == pytest.approx(costs)
    assert [(each.prompt_tokens, each.completion_tokens) for each in again.completions] == calls
    assert (again.answer.outcome, again.outage, again.score) == ("unscored", True, None)
    assert {each.cost_usd for each in restored(lost, EXAMPLE, None).completions} <= {None}
