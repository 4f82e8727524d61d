"""Cosine of the embeddings of answer and target (Reimers and Gurevych 2019, arXiv:1908.10084)."""

import asyncio
import json
import math
from collections.abc import Sequence

from optimizer.answer import Answer
from optimizer.ballot import Referee
from optimizer.completion import Message, Model, Request
from optimizer.dataset import Example
from optimizer.metrics import Setting, judged


@judged(outputs=("text",), needs=("embeddings",), asks=lambda _setting: 2)
async def embedding_similarity(answer: Answer, example: Example, setting: Setting) -> float:
    """Return the cosine of both embeddings, 0 where it is negative; 0 for an answer that could not be read.

    Raises:
        ValueError: When the model gave no vectors that can be compared; the example has no score then.
    """
    if answer.text is None:
        return 0.0
    model = setting.models["embeddings"]
    outcomes = await asyncio.gather(
        _vector(model, answer.text), _vector(model, example.target), return_exceptions=True
    )
    vectors = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        vectors.append(outcome)
    return min(1.0, max(0.0, _cosine(*vectors)))


async def _vector(model: Model, text: str) -> Sequence[float]:
    parameters = Referee.of(model).parameters
    request = Request(messages=(Message(role="user", content=text),), parameters=parameters)
    completion = await model.complete(request)
    try:
        vector = json.loads(completion.text)
    except ValueError:
        vector = None
    numbers = isinstance(vector, list) and all(
        isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in vector
    )
    if not vector or not numbers:
        raise ValueError(f"expected a vector of the embeddings model, found {completion.text[:60]!r}")
    return [float(x) for x in vector]


def _cosine(first: Sequence[float], second: Sequence[float]) -> float:
    if len(first) != len(second):
        raise ValueError(f"expected vectors of one length, found {len(first)} and {len(second)} numbers")
    lengths = math.hypot(*first) * math.hypot(*second)
    if not lengths:
        raise ValueError("expected vectors with a direction, found one of zeros")
    return math.fsum(a * b for a, b in zip(first, second, strict=True)) / lengths
