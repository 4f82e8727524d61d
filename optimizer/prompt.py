"""Messages with holes, and the one pass that fills them.

A prompt template is what is scored and what is shipped. Filling it joins literal parts with values; no value is
ever a template, a path or a role marker. Where a model reads control tokens in plain text, the hole names them
and breaks them in whatever fills it, so that the protection ships with the prompt.

Some prompts carry a pool of worked examples and show each input the most alike of them, in holes of their own.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint, Message, Request, Role, constraint_from_dict, constraint_to_dict
from optimizer.digest import digest
from optimizer.errors import InputError, Problem
from optimizer.retrieval import Retrieval

# Invisible and without meaning (WORD JOINER); one of them inside a control token makes it plain text.
WORD_JOINER = "\u2060"

_HOLE = re.compile(r"input:.+|completion:\d+|shot:\d+:(?:input:.+|reply)|image:.+", re.DOTALL)
_IMAGE = re.compile(r"(?:shot:\d+:)?input:.+|image:(?:https?://|data:image/).+", re.DOTALL)
_SHOT = "shot:"
_COMPLETION = "completion:"

_SILENCE = "…"

_SHOWN = 60  # characters of the URL of an image that people are shown

# The retrieved examples of one prompt, in the order they are shown: texts by the ends of their holes' names.
Shots = Sequence[Mapping[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hole:
    """A place that an input, an earlier completion or a retrieved example fills.

    Attributes:
        name: `input:NAME`, or `completion:K` for the K-th earlier completion, or `shot:K:input:NAME` and
            `shot:K:reply` for the K-th retrieved example, all counted from 0; or `image:URL`, which is its own value.
        neutralise: Control tokens that are broken in the value.
        lead: Text before the value, shown where the value is not empty, as the caption of an optional input is.
        tail: Text after the value, shown likewise.
        image: Whether the value is the URL of an image, which the message shows beside its text.
    """

    name: str
    neutralise: tuple[str, ...] = ()
    lead: str = ""
    tail: str = ""
    image: bool = False

    @property
    def shown(self) -> str:
        """Return the name for people to read, in which the content of an image is cut short."""
        return self.name if len(self.name) <= _SHOWN or not self.image else f"{self.name[:_SHOWN]}…"

    @property
    def completes(self) -> bool:
        """Return whether an earlier completion fills this hole."""
        return self.name.startswith(_COMPLETION)

    @property
    def shot(self) -> tuple[int, str] | None:
        """Return which retrieved example fills this hole and with what, or None where none does."""
        number, _, what = self.name.removeprefix(_SHOT).partition(":")
        return (int(number), what) if self.name.startswith(_SHOT) else None

    def fill(self, inputs: Mapping[str, str], completions: Sequence[str], shots: Shots = ()) -> str:
        """Return the value of this hole, made harmless, between lead and tail; nothing where it is empty."""
        value = self.value(inputs, completions, shots)
        if self.image:
            return f"{self.lead}{self.tail}" if value else ""
        return f"{self.lead}{neutralised(value, self.neutralise)}{self.tail}" if value else ""

    def value(self, inputs: Mapping[str, str], completions: Sequence[str], shots: Shots = ()) -> str:
        """Return what fills this hole, as it is."""
        if self.shot is not None:
            number, what = self.shot
            return shots[number][what]
        kind, _, key = self.name.partition(":")
        if kind == "image":
            return key
        return inputs[key] if kind == "input" else completions[int(key)]


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageTemplate:
    """One message, made of literal texts and holes.

    An earlier completion that is blank is shown as an ellipsis: several servers refuse a request with an empty message, so
    what a model left unsaid would count as an error.
    """

    role: Role
    parts: tuple[str | Hole, ...]

    def fill(self, inputs: Mapping[str, str], completions: Sequence[str], shots: Shots = ()) -> Message:
        """Return the message; where it can hold several images, its text says where each belongs."""
        several = sum(isinstance(part, Hole) and part.image for part in self.parts) > 1
        texts: list[str] = []
        images: list[str] = []
        for part in self.parts:
            if isinstance(part, str):
                texts.append(part)
            elif not part.image:
                texts.append(part.fill(inputs, completions, shots))
            elif url := part.value(inputs, completions, shots):
                images.append(url)
                mark = f"[image {len(images)}]" if several else ""
                texts.append(f"{part.lead}{mark}{part.tail}")
        content = "".join(texts)
        if not content.strip() and any(isinstance(part, Hole) and part.completes for part in self.parts):
            content = _SILENCE
        return Message(role=self.role, content=content, images=tuple(images))


@dataclass(frozen=True, kw_only=True, slots=True)
class CallTemplate:
    """One call: its messages, decoding parameters and what the completion may be."""

    messages: tuple[MessageTemplate, ...]
    parameters: tuple[tuple[str, float | int | str], ...] = ()
    constraint: Constraint | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptTemplate:
    """A candidate rendered once: the calls, and how the last completion is read.

    Attributes:
        retrieval: What fills the holes of retrieved examples, or None where there are none.
    """

    calls: tuple[CallTemplate, ...]
    answer: AnswerFormat
    retrieval: Retrieval | None = None

    @property
    def fingerprint(self) -> str:
        """Return the digest of everything that decides how the prompt behaves."""
        return digest(self.to_dict())

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the names of the inputs, in order of first appearance."""
        names = [hole.name.partition(":") for hole in self.holes()]
        compared = () if self.retrieval is None else self.retrieval.inputs
        return tuple(dict.fromkeys([*(name for kind, _, name in names if kind == "input"), *compared]))

    @property
    def shows_images(self) -> bool:
        """Return whether any message can show an image."""
        return any(hole.image for hole in self.holes())

    def holes(self) -> tuple[Hole, ...]:
        """Return every hole, in order."""
        messages = (message for call in self.calls for message in call.messages)
        return tuple(part for message in messages for part in message.parts if isinstance(part, Hole))

    def request(self, inputs: Mapping[str, str], completions: Sequence[str] = ()) -> Request:
        """Return the next request, given the completions so far (none for the first call).

        Raises:
            InputError: When an input is missing, unknown or not text, or all calls were made already.
        """
        self._check(inputs, completions)
        call = self.calls[len(completions)]
        shots = () if self.retrieval is None else self.retrieval.nearest(inputs)
        return Request(
            messages=tuple(message.fill(inputs, completions, shots) for message in call.messages),
            parameters=call.parameters,
            constraint=call.constraint,
        )

    def to_dict(self) -> dict[str, object]:
        """Return the template as plain data; without retrieval it has no such key."""
        plain: dict[str, object] = {
            "calls": [_call_to_dict(call) for call in self.calls],
            "answer": self.answer.to_dict(),
        }
        return plain if self.retrieval is None else {**plain, "retrieval": self.retrieval.to_dict()}

    @classmethod
    def from_dict(cls, value: Mapping[str, object]) -> "PromptTemplate":
        """Return the template that `to_dict` wrote.

        Raises:
            ValueError: When a value is missing or of another type; the message says where.
        """
        calls, answer = value.get("calls"), value.get("answer")
        if not isinstance(calls, list) or not calls:
            raise ValueError("calls: expected a list of at least one call")
        if not isinstance(answer, dict):
            raise ValueError("answer: expected a mapping")
        read = tuple(_call_from_dict(call, k) for k, call in enumerate(calls))
        retrieval = Retrieval.from_dict(value["retrieval"]) if "retrieval" in value else None
        template = cls(calls=read, answer=AnswerFormat.from_dict(answer), retrieval=retrieval)
        _check_shots(template)
        return template

    def _check(self, inputs: Mapping[str, str], completions: Sequence[str]) -> None:
        known, given = set(self.inputs), set(inputs)
        problems = [f"input {name!r} is missing" for name in sorted(known - given)]
        problems += [
            f"unknown input {name!r}; the prompt takes {_listed(known)}" for name in sorted(given - known)
        ]
        for name in sorted(known & given):
            if not isinstance(inputs[name], str):
                problems.append(f"input {name!r}: expected text, found {type(inputs[name]).__name__}")
        if len(completions) >= len(self.calls):
            problems.append(
                f"the prompt makes {len(self.calls)} call(s), and got {len(completions)} completion(s)"
            )
        if problems:
            raise InputError([Problem(file="", message=message) for message in problems])


def neutralised(text: str, tokens: Sequence[str]) -> str:
    """Return the text with every control token broken by a word joiner after its first character.

    Every place where a token starts is broken, overlapping ones too, so none is left whole.
    """
    if not tokens:
        return text
    starts = "|".join(re.escape(token) for token in tokens)
    return re.sub(rf"(?={starts})(.)", rf"\1{WORD_JOINER}", text, flags=re.DOTALL)


def _call_to_dict(call: CallTemplate) -> dict[str, object]:
    messages = [
        {"role": message.role, "parts": [_part_to_json(part) for part in message.parts]}
        for message in call.messages
    ]
    constraint = constraint_to_dict(call.constraint)
    return {"messages": messages, "parameters": dict(call.parameters), "constraint": constraint}


def _part_to_json(part: str | Hole) -> str | dict[str, object]:
    if isinstance(part, str):
        return part
    around: dict[str, object] = {
        name: text for name, text in (("lead", part.lead), ("tail", part.tail)) if text
    }
    image = {"image": True} if part.image else {}
    return {"hole": part.name, "neutralise": list(part.neutralise), **around, **image}


def _call_from_dict(value: object, k: int) -> CallTemplate:
    where = f"calls[{k}]"
    if not isinstance(value, dict) or set(value) != {"messages", "parameters", "constraint"}:
        raise ValueError(f"{where}: expected messages, parameters and constraint")
    messages, parameters = value["messages"], value["parameters"]
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"{where}.messages: expected a list of at least one message")
    if not isinstance(parameters, dict):
        raise ValueError(f"{where}.parameters: expected a mapping")
    read = tuple(_message_from_json(m, f"{where}.messages[{n}]") for n, m in enumerate(messages))
    for hole in (part for message in read for part in message.parts if isinstance(part, Hole)):
        kind, _, key = hole.name.partition(":")
        if kind == "completion" and int(key) >= k:
            raise ValueError(f"{where}: the hole {hole.name!r} is not an earlier completion; there are {k}")
    return CallTemplate(
        messages=read,
        parameters=tuple(sorted(parameters.items())),
        constraint=constraint_from_dict(value["constraint"]),
    )


def _check_shots(template: PromptTemplate) -> None:
    """Refuse holes that no retrieved example fills.

    Raises:
        ValueError: With the first of them.
    """
    retrieval = template.retrieval
    known = {"reply", *(f"input:{name}" for name in (() if retrieval is None else retrieval.inputs))}
    shown = 0 if retrieval is None else retrieval.shown
    for hole in template.holes():
        if hole.shot is not None and (hole.shot[0] >= shown or hole.shot[1] not in known):
            raise ValueError(f"calls: nothing is retrieved for the hole {hole.name!r}; {shown} are shown")


def _message_from_json(value: object, where: str) -> MessageTemplate:
    if not isinstance(value, dict) or set(value) != {"role", "parts"}:
        raise ValueError(f"{where}: expected role and parts")
    role, parts = value["role"], value["parts"]
    if role not in get_args(Role):
        raise ValueError(f"{where}.role: expected one of {', '.join(get_args(Role))}, found {role!r}")
    if not isinstance(parts, list):
        raise ValueError(f"{where}.parts: expected a list")
    return MessageTemplate(
        role=role, parts=tuple(_part_from_json(p, f"{where}.parts[{k}]") for k, p in enumerate(parts))
    )


def _part_from_json(value: object, where: str) -> str | Hole:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or set(value) - {"lead", "tail", "image"} != {"hole", "neutralise"}:
        raise ValueError(f"{where}: expected text or a hole")
    name, tokens = value["hole"], value["neutralise"]
    if not isinstance(name, str) or not _HOLE.fullmatch(name):
        raise ValueError(
            f"{where}.hole: expected 'input:NAME', 'completion:K', 'shot:K:input:NAME' or 'shot:K:reply', found {name!r}"
        )
    if not isinstance(tokens, list) or not all(isinstance(token, str) and token for token in tokens):
        raise ValueError(f"{where}.neutralise: expected a list of texts")
    around = {key: value[key] for key in ("lead", "tail") if key in value}
    for key, text in around.items():
        if not isinstance(text, str) or not text:
            raise ValueError(f"{where}.{key}: expected some text")
    image = value.get("image", False)
    if not isinstance(image, bool) or (name.startswith("image:") and not image):
        raise ValueError(f"{where}.image: expected true for an image, found {image!r}")
    if image and not _IMAGE.fullmatch(name):
        raise ValueError(f"{where}.image: expected an input or the URL of an image, found {name!r}")
    return Hole(name=name, neutralise=tuple(tokens), image=image, **around)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
