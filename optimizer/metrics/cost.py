"""US dollars for one example, over all its calls, whoever paid for them."""

from optimizer.answer import Answer
from optimizer.completion import Completion
from optimizer.metrics import measure


@measure(unit="USD", greater_is_better=False)
def cost(_answer: Answer, completions: tuple[Completion, ...]) -> float | None:
    """Return what the calls cost, or None where the price of one is not known, or its tokens were not stated."""
    costs = [call.cost_usd if call.counted else None for call in completions]
    known = [one for one in costs if one is not None]
    return sum(known, 0.0) if len(known) == len(costs) else None
