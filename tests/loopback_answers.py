"""What the loopback server says, as a function of the request body alone. Standard library only."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]


def completion(body: Body, text: str, *, written: str | None = None) -> Body:
    """Return a chat completion as OpenAI sends it; words count as tokens."""
    words = sum(len(str(message.get("content", "")).split()) for message in body["messages"])
    wrote = len((text if written is None else written).split())
    return {
        "id": "chatcmpl-" + hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12],
        "object": "chat.completion",
        "created": 0,
        "model": body.get("model"),
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": words, "completion_tokens": wrote, "total_tokens": words + wrote},
    }


def prefill(body: Body) -> str:
    """Return the start of the model's own turn, or ""."""
    last = body["messages"][-1]
    return str(last["content"]) if last["role"] == "assistant" else ""


def choices(body: Body) -> list[str]:
    """Return the texts that a body allows by vLLM's or llama.cpp's words, empty when it does not name any."""
    grammar = body.get("grammar")
    if isinstance(grammar, str):
        return [_unescaped(literal) for literal in re.findall(r'"((?:[^"\\]|\\.)*)"', grammar)]
    named = body.get("structured_outputs", {}).get("choice", [])
    return [str(choice) for choice in named]


# What ends a turn of the model.
END = "</s>"


def tokens(body: Body) -> list[int]:
    """Return the tokens of some texts as llama.cpp's `/tokenize` does: here one a character, and one for the end."""
    return [token for text in body["content"] for token in ([2] if text == END else map(ord, text))]


def obedient(said: str, body: Body) -> str:
    """Return what a server that obeys the body's constraint says where `said` came to mind."""
    allowed = choices(body)
    if allowed:
        return _nearest(said, allowed)
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is None:
        return said
    return json.dumps(
        {name: _value(said, wanted) for name, wanted in schema.get("properties", {}).items()},
        ensure_ascii=False,
    )


def _value(said: str, wanted: Body) -> object:
    if "enum" in wanted:
        return _nearest(said, wanted["enum"])
    return draw(said, 100) if wanted.get("type") in ("number", "integer") else said


def _nearest(said: str, allowed: Sequence[str]) -> str:
    """Return the allowed text that was said or is named in it, else one that depends on what was said."""
    named = [text for text in allowed if text == said] or [text for text in allowed if text in said]
    return named[0] if named else allowed[draw(said, len(allowed))]


def _unescaped(literal: str) -> str:
    plain = re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), literal)
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r", "t": "\t"}.get(found[1], found[1]), plain)


def draw(text: str, n: int) -> int:
    """Return a number in [0, n) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") % n


@dataclass(frozen=True, kw_only=True, slots=True)
class Answerer:
    """Labels as a weak model gives them: right more often the more demonstrations it was shown.

    Attributes:
        truth: Text of an input to its label. The input asked for is the one that occurs last in the last message
            of the user, so that demonstrations in the same message do not count.
    """

    labels: tuple[str, ...]
    truth: dict[str, str] = field(default_factory=dict)

    def __call__(self, body: Body) -> str:
        """Return the answer to a body."""
        turns = body["messages"]
        asked = next((str(turn["content"]) for turn in reversed(turns) if turn["role"] == "user"), "")
        shown = sum(turn["role"] == "assistant" for turn in turns[:-1])
        label = self._label(asked, shown)
        constrained = any(key in body for key in ("grammar", "structured_outputs", "response_format"))
        if not constrained and shown == 0 and draw(f"prose {asked}", 2):
            return f"Well, one could take this for {label} or for something else altogether: {', '.join(self.labels)}."
        return label

    def _label(self, asked: str, shown: int) -> str:
        known = [text for text in self.truth if text and text in asked]
        guess = self.labels[draw(f"guess {shown} {asked}", len(self.labels))]
        if not known:
            return guess
        right = self.truth[max(known, key=lambda text: (asked.rfind(text) + len(text), len(text)))]
        # 40 % right without demonstrations, 88 % with eight.
        return right if draw(f"right {shown} {asked}", 100) < 40 + 6 * min(shown, 8) else guess
