"""How long a prompt gets at most, in bytes and, as a rule, in tokens."""

import math
from collections.abc import Mapping

from optimizer.completion import ANSWER_BOUNDS, IMAGE_TOKENS, Message, Request
from optimizer.prompt import CallTemplate, Hole, PromptTemplate

# Bytes that a token takes at most over a whole text, as a rule: an answer of n tokens, shown to the model again, has at most
# so many times n bytes, and a text of so many times n bytes at least n tokens.
MOST_TOKEN_BYTES = 8

# Bytes of a token as a rule, in English; about three in other Latin languages. A set leaves the space where it would
# hardly ever fit, not where it might not: a request that is too long after all is an error, which never wins.
_USUAL_TOKEN_BYTES = 4

# Tokens around each message: its markup and role.
_MESSAGE_TOKENS = 5


def shot_bytes(call: CallTemplate, template: PromptTemplate) -> int:
    """Return how many bytes the longest examples that can be retrieved put into the holes of a call."""
    retrieval = template.retrieval
    if retrieval is None:
        return 0
    holes = [part for message in call.messages for part in message.parts if isinstance(part, Hole)]
    # Each of the examples shown fills holes of the same kinds.
    firsts = [hole for hole in holes if hole.shot is not None and hole.shot[0] == 0]
    lengths = (
        sum(utf8_length(hole.fill({}, (), [retrieval.texts(shot)])) for hole in firsts)
        for shot in retrieval.pool
    )
    return sum(sorted(lengths)[-retrieval.shown :])


def usual_tokens(template: PromptTemplate, input_bytes: int) -> int:
    """Return the tokens of the longest call and its answer, as a rule."""
    longest = written = 0
    for call in template.calls:
        parts = [part for message in call.messages for part in message.parts]
        literal = sum(utf8_length(f"{p.lead}{p.tail}" if isinstance(p, Hole) else p) for p in parts)
        images = IMAGE_TOKENS * sum(isinstance(part, Hole) and part.image for part in parts)
        filled = input_bytes + shot_bytes(call, template)
        # Earlier answers are shown again.
        read = (
            math.ceil((literal + filled) / _USUAL_TOKEN_BYTES)
            + _MESSAGE_TOKENS * len(call.messages)
            + written
        )
        read += images
        bounds = (value for name, value in call.parameters if name in ANSWER_BOUNDS)
        answer = min((int(value) for value in bounds if isinstance(value, int | float)), default=0)
        longest = max(longest, read + answer)
        written += answer
    return longest


def blank_tokens(call: CallTemplate) -> tuple[int, int]:
    """Return upper bounds of the tokens that a call reads, its holes apart, and writes."""
    messages = tuple(
        Message(
            role="user",
            content="".join(part for part in message.parts if isinstance(part, str)),
            images=("",) * sum(isinstance(part, Hole) and part.image for part in message.parts),
        )
        for message in call.messages
    )
    empty = Request(messages=messages, parameters=call.parameters, constraint=call.constraint)
    read, written = empty.most_tokens
    return read, written or 0


class Reach:
    """How many tokens the calls of a template read and write at most, with any inputs.

    Attributes:
        bounded: Whether something bounds the answer of every call.
    """

    def __init__(self, template: PromptTemplate) -> None:
        self._calls: list[tuple[int, int, list[Hole]]] = []
        for call in template.calls:
            read, written = blank_tokens(call)
            holes = [part for message in call.messages for part in message.parts if isinstance(part, Hole)]
            earlier = [hole.name.partition(":")[2] for hole in holes if hole.name.startswith("completion:")]
            read += shot_bytes(call, template) + sum(
                MOST_TOKEN_BYTES * self._calls[int(k)][1] for k in earlier
            )
            inputs = [hole for hole in holes if hole.name.startswith("input:")]
            self._calls.append((read, written, inputs))
        self.bounded = all(written for _, written, _ in self._calls)

    def of(self, inputs: Mapping[str, str]) -> list[tuple[int, int]]:
        """Return upper bounds of the tokens that each call reads and writes."""
        return [
            (read + sum(utf8_length(hole.fill(inputs, ())) for hole in holes), written)
            for read, written, holes in self._calls
        ]


def utf8_length(text: str) -> int:
    """Return the length of a text in UTF-8, lone surrogates included."""
    return len(text.encode("utf-8", "surrogatepass"))
