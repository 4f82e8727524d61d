"""Whether the answer is the same JSON as the target."""

from optimizer.answer import Answer
from optimizer.metrics import metric
from optimizer.metrics._values import parsed, same


@metric(outputs=("json",))
def json_exact(answer: Answer, target: str) -> float:
    """Return 1 when both are the same value, else 0, as for an answer that could not be read.

    The order of an object's keys does not matter, that of a list does; `1` and `1.0` are one number.
    """
    return float(answer.text is not None and same(parsed(answer.text), parsed(target)))
