"""The seam to language models: what is sent, what comes back, what a model can do."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from optimizer.digest import canonical

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "refused"]
Capability = Literal["prefill", "json_schema", "choice", "grammar", "logprobs", "seed", "images"]

CAPABILITIES: tuple[Capability, ...] = (
    "prefill",
    "json_schema",
    "choice",
    "grammar",
    "logprobs",
    "seed",
    "images",
)

# The parameters that bound an answer; endpoints know one of the names or both.
ANSWER_BOUNDS = ("max_tokens", "max_completion_tokens")

# Endpoints count from 85 to about 1,600 tokens for an image, by its size and theirs.
IMAGE_TOKENS = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        images: URLs of images that are shown before the text, of https or with the content in them.
    """

    role: Role
    content: str
    images: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the message as chat endpoints take it: its content is a text, or parts where there are images."""
        if not self.images:
            return {"role": self.role, "content": self.content}
        parts: list[dict[str, object]] = [
            {"type": "image_url", "image_url": {"url": url}} for url in self.images
        ]
        parts += [{"type": "text", "text": self.content}] if self.content else []
        return {"role": self.role, "content": parts}


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraint:
    """What the answer may be, stated so that each provider can say it in its own words.

    Exactly one of the two is set.

    Attributes:
        choice: The completion is one of these texts, whole.
        json_schema: The completion is JSON of this schema; kept as canonical JSON text, in which keys are sorted.
    """

    choice: tuple[str, ...] = ()
    json_schema: str | None = None

    @property
    def capability(self) -> Capability:
        """Return what a model must be able to do to obey."""
        return "choice" if self.choice else "json_schema"

    def schema(self) -> dict[str, object]:
        """Return the JSON Schema with each object's properties in the order in which it requires them.

        A model writes fields in the order of the schema, and a file of sorted keys keeps that order in `required`
        alone: reasoning that came after its answer would be none.
        """
        ordered = _in_required_order(json.loads(self.json_schema or "{}"))
        assert isinstance(ordered, dict)  # a schema is an object
        return ordered


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One call of a model.

    Attributes:
        messages: The conversation; a last message of the assistant is the start of the model's own turn.
        parameters: Decoding parameters in the words of the OpenAI chat API, sorted by name.
        constraint: What the completion may be, or None for free text.
        repeat: Which of several requests that are alike in all else this is, from 0; never sent. Requests that
            differ in it are answered one by one, where a cache would answer them alike.
    """

    messages: tuple[Message, ...]
    parameters: tuple[tuple[str, float | int | str], ...] = ()
    constraint: Constraint | None = None
    repeat: int = 0

    @property
    def prefill(self) -> str:
        """Return the start of the model's own turn, or "" when it has none."""
        last = self.messages[-1]
        return last.content if last.role == "assistant" else ""

    @property
    def most_tokens(self) -> tuple[int, int | None]:
        """Return upper bounds of the tokens read and written; the second is None where nothing bounds the answer.

        No tokenizer makes more tokens than a text has UTF-8 bytes; what a chat template adds is taken to be no more than
        16 tokens a message and, for words of its own to the system, 128 a request. An image is taken to be no more than `IMAGE_TOKENS`.
        """
        read = 128 + sum(
            16 + len(message.content.encode("utf-8", "surrogatepass")) + IMAGE_TOKENS * len(message.images)
            for message in self.messages
        )
        if self.constraint is not None:
            read += len(canonical(constraint_to_dict(self.constraint)).encode("utf-8", "surrogatepass"))
        bounds = [int(n) for name, n in self.parameters if name in ANSWER_BOUNDS and not isinstance(n, str)]
        return read, min(bounds, default=None)

    def to_dict(self) -> dict[str, object]:
        """Return the request as plain data."""
        return {
            "messages": [message.to_dict() for message in self.messages],
            "parameters": dict(self.parameters),
            "constraint": constraint_to_dict(self.constraint),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What a model returned.

    Attributes:
        text: The text after any prefill.
        finish_reason: Why the model stopped: by itself, at the token bound, or because it refused.
        prompt_tokens: Tokens read, at least 0.
        completion_tokens: Tokens written, at least 0.
        seconds: Duration of the attempt that succeeded.
        cost_usd: What the call cost, or None where no price is known.
        cached: Whether another study paid for it: then it has no latency of its own. Never stored.
        key: Under which it is stored, or "" where it is not. It tells nothing of what was answered.
    """

    text: str
    finish_reason: FinishReason = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    cost_usd: float | None = None
    cached: bool = False
    key: str = field(default="", compare=False)

    @property
    def counted(self) -> bool:
        """Return whether its tokens were stated: no prompt has 0 of them.

        A refusal without a text may be that of a filter, before any model read a thing.
        """
        return self.prompt_tokens > 0 or (self.finish_reason == "refused" and not self.text)

    def cost_at(self, price: Callable[[int, int], float] | None) -> float | None:
        """Return its US dollars at a price of tokens read and written; None where either is not known."""
        if price is None or not self.counted:
            return None
        return price(self.prompt_tokens, self.completion_tokens)


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What one model can do, and which control tokens it reads in plain text.

    Attributes:
        can: Names from `CAPABILITIES`.
        control_tokens: Texts that the model would take for its own markup wherever they occur.
        slots: How many requests it serves at once with good use of the machine.
        context: Tokens that a request and its answer may have together, or None where that is not known.
    """

    can: frozenset[Capability] = frozenset()
    control_tokens: tuple[str, ...] = ()
    slots: int = 8
    context: int | None = None


class Model(Protocol):
    """A language model. One method, so that a cache, a recorder or a script can stand in its place."""

    async def complete(self, request: Request) -> Completion:
        """Return the completion of one request.

        Raises:
            ModelError: When there is none.
        """
        ...


def _in_required_order(schema: object) -> object:
    if isinstance(schema, list):
        return [_in_required_order(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: _in_required_order(part) for name, part in schema.items()}
    properties, required = parts.get("properties"), parts.get("required")
    if isinstance(properties, dict) and isinstance(required, list):
        order = [name for name in required if name in properties]
        parts["properties"] = {name: properties[name] for name in dict.fromkeys([*order, *properties])}
    return parts


def tokens_together(completions: Sequence[Completion]) -> tuple[int, int] | None:
    """Return tokens read and written by all of some calls; None where one of them does not state its own."""
    if not all(call.counted for call in completions):
        return None
    return sum(c.prompt_tokens for c in completions), sum(c.completion_tokens for c in completions)


def constraint_to_dict(constraint: Constraint | None) -> dict[str, object] | None:
    """Return the constraint in the words of the files: `{"choice": [...]}` or `{"json_schema": {...}}`."""
    if constraint is None:
        return None
    if constraint.choice:
        return {"choice": list(constraint.choice)}
    return {"json_schema": json.loads(constraint.json_schema or "{}")}


def constraint_from_dict(value: Mapping[str, object] | None) -> Constraint | None:
    """Return the constraint that `constraint_to_dict` wrote.

    Raises:
        ValueError: When it is of neither kind.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f"constraint: expected a mapping or null, found {type(value).__name__}")
    if set(value) == {"choice"} and isinstance(value["choice"], list) and value["choice"]:
        return Constraint(choice=tuple(str(label) for label in value["choice"]))
    if set(value) == {"json_schema"}:
        return Constraint(json_schema=canonical(value["json_schema"]))
    raise ValueError(f"expected 'choice' or 'json_schema', found {', '.join(sorted(value)) or 'nothing'}")
