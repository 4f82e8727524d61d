"""What formats of a template behind YAML share: values that all YAML readers take alike, and their words for decoding."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from optimizer.document import read_yaml
from optimizer.errors import InputError
from optimizer.exporters import LossyExportError
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import Hole, MessageTemplate, PromptTemplate

# Theirs by ours, which are those of OpenAI's chat API. What is not here keeps its name.
_WORDS = {
    "temperature": "temperature",
    "max_tokens": "maxOutputTokens",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "stop": "stopSequences",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
_OURS = {theirs: ours for ours, theirs in _WORDS.items()}

_LONGEST = 1000

# A run of them ends the front matter of a Prompty file, even inside quotes.
_RUN = re.compile(r"([-+])(?=\1\1)")


def flow(value: object) -> str:
    """Return plain data as YAML on one line: JSON, but for what readers of YAML take for text or refuse."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(key))}: {flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, str):
        return _one_line(json.dumps(value, ensure_ascii=False))
    number = json.dumps(value)
    # YAML 1.1 has no number without a point that has an exponent.
    return number.replace("e", ".0e") if isinstance(value, float) and "." not in number else number


def comment(text: str) -> str:
    """Return a text as a comment of one line."""
    return f"# {_one_line(text)}"


def mapping(text: str) -> dict[str, object]:
    """Return the mapping that YAML is, read strictly; an empty one holds nothing.

    Raises:
        ValueError: When it is none, or holds anchors, tags, or a key twice.
    """
    try:
        value = read_yaml(text, display="front matter").value
    except InputError as error:
        raise ValueError(str(error)) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("front matter: expected a mapping")
    return dict(value)


def part(value: Mapping[str, object], name: str) -> dict[str, object]:
    """Return the mapping under a key, an empty one where there is none or it is something else."""
    found = value.get(name)
    return dict(found) if isinstance(found, dict) else {}


def in_their_words(parameters: Sequence[tuple[str, float | int | str]]) -> dict[str, object]:
    """Return decoding parameters as such a format calls them; one text to stop at is a list there."""
    return {_WORDS.get(name, name): [value] if name == "stop" else value for name, value in parameters}


def in_our_words(*parameters: Mapping[str, object]) -> dict[str, float | int | str]:
    """Return the decoding parameters of such a file by our names; those that are no number and no text are left out."""
    found: dict[str, float | int | str] = {}
    for name, value in ((name, value) for group in parameters for name, value in group.items()):
        one = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(one, (int, float, str)) and not isinstance(one, bool):
            found[_OURS.get(name, name)] = one
    return found


def joined(message: MessageTemplate) -> list[str | Hole]:
    """Return the parts of a message with captions as literal text, no text empty, and never two beside each other."""
    pieces = (piece for each in message.parts for piece in _spelled(each) if piece)
    parts: list[str | Hole] = []
    for _, run in groupby(pieces, key=lambda piece: isinstance(piece, str)):
        beside = list(run)
        texts = [piece for piece in beside if isinstance(piece, str)]
        parts += ["".join(texts)] if texts else beside
    return parts


def with_losses(text: str, read: Callable[[str, Sequence[str]], PromptTemplate]) -> str:
    """Return a file that leaves out words on purpose, once it was seen that it still holds messages.

    Raises:
        LossyExportError: When it cannot be read.
    """
    try:
        read(text, ())
    except ValueError as error:
        raise LossyExportError([f"what is left is no prompt: {error}"], instead=()) from error
    return text


def input_of(hole: Hole) -> str:
    """Return the name of the input that fills a hole."""
    return hole.name.partition(":")[2]


def messages_of(frozen: FrozenPrompt) -> Iterator[tuple[str, list[str | Hole]]]:
    """Yield what each message of a prompt is called in a sentence, and its joined parts."""
    messages = [message for call in frozen.template.calls for message in call.messages]
    for k, message in enumerate(messages, start=1):
        yield f"message {k}", joined(message)


def filled(frozen: FrozenPrompt, inputs: Mapping[str, str]) -> list[str]:
    """Return the texts of the messages of the first call; an input that is not given is empty."""
    given = defaultdict(str, inputs)
    return [message.fill(given, ()).content for message in frozen.template.calls[0].messages]


def is_unicode(text: str) -> bool:
    """Return whether a text can be written, that is, holds no half of a surrogate pair."""
    return not any("\ud800" <= one <= "\udfff" for one in text)


def has_long_key(value: object) -> bool:
    """Return whether some mapping has a key that is too long for YAML, which allows 1024 characters of it in a line."""
    if isinstance(value, Mapping):
        return any(len(flow(str(key))) > _LONGEST or has_long_key(each) for key, each in value.items())
    return isinstance(value, list) and any(map(has_long_key, value))


def _spelled(piece: str | Hole) -> tuple[str | Hole, ...]:
    return (piece,) if isinstance(piece, str) else (piece.lead, Hole(name=piece.name), piece.tail)


def _one_line(text: str) -> str:
    """Return a text with the escapes of YAML for what does not show, and without runs of dashes or pluses."""
    shown = "".join(one if one.isprintable() else _escaped(one) for one in text)
    return _RUN.sub(lambda match: _escaped(match[0]), shown)


def _escaped(one: str) -> str:
    return f"\\u{ord(one):04x}" if ord(one) <= 0xFFFF else f"\\U{ord(one):08x}"
