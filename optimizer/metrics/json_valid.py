"""Whether the answer is JSON (RFC 8259)."""

from optimizer.answer import Answer
from optimizer.metrics import metric
from optimizer.metrics._values import parsed


@metric(outputs=("json", "text"))
def json_valid(answer: Answer, _target: str) -> float:
    """Return 1 when the whole answer is one JSON value, whatever the target; 0 for an answer that could not be read."""
    try:
        parsed(answer.text)
    except ValueError:
        return 0.0
    return 1.0
