"""The functions that a written module offers. What is data here is put in its place when a prompt is exported."""

import json
from typing import Any

from optimizer.answer import Answer, AnswerFormat
from optimizer.completion import FinishReason, Message
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.retrieval import Retrieval, Shot

# Each call: its messages, whose parts are texts and holes, its decoding parameters, and what its completion may be.
CALLS: list[dict[str, Any]] = []
ANSWER: dict[str, Any] = {"kind": "text"}
RETRIEVAL: dict[str, Any] | None = None


def messages(*completions: str | None, **inputs: str) -> list[dict[str, Any]]:
    """Return the messages of the next call, given the completions so far (none for the first).

    A completion that is None, the content of a message without a text, stands for an empty one.

    Raises:
        ValueError: When an input is missing or unknown, each named, or all calls were made already.
    """
    request = _PROMPT.request(inputs, ["" if text is None else text for text in completions])
    return [Message.to_dict(message) for message in request.messages]


def parameters(*completions: str | None) -> dict[str, float | int | str]:
    """Return the decoding parameters of that call, in the words of OpenAI's chat API."""
    return dict(_call(completions)["parameters"])


def response_format(*completions: str | None) -> dict[str, Any] | None:
    """Return the JSON Schema of that call's completion as OpenAI's chat API takes it, None where there is none."""
    copied: dict[str, Any] | None = json.loads(json.dumps(_call(completions)["response_format"]))
    return copied


def choice(*completions: str | None) -> list[str] | None:
    """Return the texts of which that call's completion is one, None where it is free."""
    texts = _call(completions)["choice"]
    return None if texts is None else list(texts)


def parse(*completions: str | None, finish_reason: FinishReason = "stop") -> Answer:
    """Return the answer in the last of the completions, of which there is one for each call.

    It has a `text`, or None where nothing could be read; an `outcome`, which is "ok" or why there is no text: "invalid",
    "refused" or "truncated"; whether it was `strict`, nothing but the answer; and which `reader` found it.

    Args:
        completions: Texts, without the start of the model's turn where the messages end with one. None, the content of a
            message without a text, is read as an empty text: it holds no answer.
        finish_reason: "stop"; or "length" where the token bound ended it, or "refused" where the model refused.

    Raises:
        ValueError: When there are more or fewer completions than calls.
    """
    if len(completions) != len(CALLS):
        raise ValueError(f"expected {len(CALLS)} completion(s), found {len(completions)}")
    return _PROMPT.answer.read("" if completions[-1] is None else completions[-1], finish_reason)


def _call(completions: tuple[str | None, ...]) -> dict[str, Any]:
    if len(completions) >= len(CALLS):
        raise ValueError(f"the prompt makes {len(CALLS)} call(s), and got {len(completions)} completion(s)")
    return CALLS[len(completions)]


def _made(call: dict[str, Any]) -> CallTemplate:
    made = (
        MessageTemplate(
            role=message["role"],
            parts=tuple(part if isinstance(part, str) else Hole(**part) for part in message["parts"]),
        )
        for message in call["messages"]
    )
    return CallTemplate(messages=tuple(made))


def _pool(described: dict[str, Any]) -> Retrieval:
    pool = tuple(Shot(values=tuple(values), reply=reply) for *values, reply in described["pool"])
    return Retrieval(inputs=tuple(described["inputs"]), pool=pool, shown=described["shown"])


_PROMPT = PromptTemplate(
    calls=tuple(_made(call) for call in CALLS),
    answer=AnswerFormat(**ANSWER),
    retrieval=_pool(RETRIEVAL) if RETRIEVAL is not None else None,
)
