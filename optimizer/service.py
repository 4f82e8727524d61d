"""What an endpoint can be asked for, and what the parts of its answer say: text, why it ended, an embedding, tokens."""

import base64
import binascii
import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from optimizer.completion import Completion, FinishReason

# Embeddings are float32: nine significant digits tell any two of them apart (IEEE 754-2019, 5.12.2).
_DIGITS = 9

# Mistral's model_length, Gemini's MAX_TOKENS and SAFETY, Zhipu's sensitive, Anthropic's refusal, Bedrock's
# guardrail_intervened; what stands in neither table is a whole answer.
_FINISH_REASONS: dict[str, FinishReason] = {
    **dict.fromkeys(("length", "model_length", "max_tokens", "max_output_tokens"), "length"),
    "model_context_window_exceeded": "length",
    **dict.fromkeys(("content_filter", "content_filtered", "safety", "sensitive", "refusal"), "refused"),
    **dict.fromkeys(("recitation", "prohibited_content", "blocklist", "spii"), "refused"),
    "guardrail_intervened": "refused",
}
# The server gave up in the middle (DeepSeek, Zhipu, vLLM, SGLang): what there is of the answer is no fault of the model.
_BROKEN_OFF = frozenset({"error", "abort", "aborted", "insufficient_system_resource", "network_error"})
# Where a message, or a part of one, holds what the model thought before it answered.
_REASONING = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True, slots=True)
class Service:
    """One thing that an endpoint does.

    Attributes:
        path: Where, below its address.
        answer: What it answers with, as messages name it.
        read: The JSON of an answer and the seconds it took, to a completion; ValueError says what is missing.
        method: Of HTTP; with GET nothing is sent.
    """

    path: str
    answer: str
    read: Callable[[object, float], Completion]
    method: Literal["GET", "POST"] = "POST"


def finish_reason_of(choice: Mapping[str, object]) -> FinishReason:
    """Return why a choice ended; what follows a colon says more of the same (Gemini's `content_filter: RECITATION`).

    Raises:
        ValueError: When the server broke it off; the message says in which word.
    """
    stopped = str(choice.get("finish_reason")).partition(":")[0].strip().casefold()
    if stopped in _BROKEN_OFF:
        raise ValueError(f"finish reason {stopped}")
    return _FINISH_REASONS.get(stopped, "stop")


def text_of(message: Mapping[str, object], *, wrote: bool) -> str | None:
    """Return the text of a message without what was thought before, or None where there is none.

    Args:
        wrote: Whether the model wrote anything; then a message without text is an empty one.
    """
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if part.get("type") == "text"]
    if texts:
        return "".join(text for text in texts if isinstance(text, str))
    wrote = wrote or any(each.get(name) for each in (message, *parts) for name in _REASONING)
    return "" if wrote and (content in (None, []) or parts) else None


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
