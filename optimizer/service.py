"""What an endpoint can be asked for, and what its answer holds besides a chat completion: an embedding, tokens."""

import base64
import binascii
import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

from optimizer.completion import Completion

# Embeddings are float32: nine significant digits tell any two of them apart (IEEE 754-2019, 5.12.2).
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Service:
    """One thing that an endpoint does.

    Attributes:
        path: Where, below its address.
        answer: What it answers with, as messages name it.
        read: The JSON of an answer and the seconds it took, to a completion; ValueError says what is missing.
    """

    path: str
    answer: str
    read: Callable[[object, float], Completion]


def read_embedding(answer: object, seconds: float) -> Completion:
    """Return the vector that the JSON of an embeddings endpoint holds, as the text of a completion: a JSON list.

    A vector comes as numbers or, as some servers have it whatever they are asked, as base64 of float32.

    Raises:
        ValueError: When the answer holds no single vector of finite numbers.
    """
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or len(data) != 1 or not isinstance(data[0], dict):
        raise ValueError("no embedding")
    vector = data[0].get("embedding")
    numbers = _decoded(vector) if isinstance(vector, str) else vector
    if not isinstance(numbers, list) or not numbers or not all(map(_finite, numbers)):
        raise ValueError("no vector of numbers")
    usage = answer.get("usage") if isinstance(answer, dict) else None
    read = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    # What is above the bound is no count, and no column of a database could hold it.
    counted = isinstance(read, int) and not isinstance(read, bool) and 0 <= read < 2**53
    return Completion(
        text=json.dumps([float(f"{number:.{_DIGITS}g}") for number in numbers], separators=(",", ":")),
        prompt_tokens=int(read or 0) if counted else 0,
        seconds=seconds,
    )


def _decoded(text: str) -> list[float]:
    try:
        raw = base64.b64decode(text, validate=True)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    except (binascii.Error, ValueError, struct.error):
        raise ValueError("no vector of numbers") from None


def _finite(number: object) -> bool:
    if not isinstance(number, int | float) or isinstance(number, bool):
        return False
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number that no float holds
        return False


def tokens_of(answer: object) -> tuple[int, int]:
    """Return the tokens read and written; some count those of hidden reasoning in the total alone, and bill them."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    kinds = ("prompt_tokens", "completion_tokens", "total_tokens")
    read, written, whole = (_count(usage, kind) for kind in kinds)
    return read, max(written, whole - read) if read else written


def _count(usage: object, key: str) -> int:
    value = usage.get(key) if isinstance(usage, dict) else None
    # What is above the bound is no count, and no column of a database could hold it.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0
