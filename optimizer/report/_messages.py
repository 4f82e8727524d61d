"""The messages of a prompt as the page shows them, their holes marked."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from optimizer.answer import AnswerFormat
from optimizer.prompt import CallTemplate, Hole, PromptTemplate


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A piece of a message: text as it is sent, or the name of a hole."""

    text: str
    is_hole: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call.

    Attributes:
        settings: Decoding parameters.
        messages: Roles and parts.
        choice: What the completion is held to, where that is one of some texts.
        json_schema: The schema it is held to, else "".
        notes: What else happens to it.
    """

    settings: str
    messages: tuple[tuple[str, tuple[Part, ...]], ...]
    choice: tuple[str, ...]
    json_schema: str
    notes: tuple[str, ...]


def calls(template: PromptTemplate) -> tuple[Call, ...]:
    """Return the calls of a prompt; how the answer is read is a note of the last."""
    last, picked = len(template.calls) - 1, template.retrieval
    notes = [] if picked is None else [f"{picked.in_words} They fill ‹shot:…›."]
    found = [_call(call, template.answer if k == last else None) for k, call in enumerate(template.calls)]
    return (dataclasses.replace(found[0], notes=(*notes, *found[0].notes)), *found[1:])


def _call(call: CallTemplate, answer: AnswerFormat | None) -> Call:
    messages = tuple((message.role, tuple(map(_part, message.parts))) for message in call.messages)
    constraint = call.constraint
    return Call(
        settings=", ".join(f"{name} {value}" for name, value in sorted(call.parameters)),
        messages=messages,
        choice=() if constraint is None else constraint.choice,
        json_schema="" if constraint is None else constraint.json_schema or "",
        notes=tuple(_notes(call, answer)),
    )


def _part(part: str | Hole) -> Part:
    return (
        Part(text=f"{part.lead}‹{part.shown}›{part.tail}", is_hole=True)
        if isinstance(part, Hole)
        else Part(text=part, is_hole=False)
    )


def _notes(call: CallTemplate, answer: AnswerFormat | None) -> Iterator[str]:
    parts = [part for message in call.messages for part in message.parts]
    guarded = dict.fromkeys(part.name for part in parts if isinstance(part, Hole) and part.neutralise)
    if guarded:
        names = ", ".join(f"‹{name}›" for name in guarded)
        yield f"In what fills {names}, the control tokens of the model are broken, so that they are plain text."
    if answer is not None:
        yield _reading(answer)


def _reading(answer: AnswerFormat) -> str:
    where = [
        f"in the field “{answer.field}” of a JSON object" if answer.field else "",
        f"after “{answer.marker}”" if answer.marker else "",
        f"by {', '.join(answer.readers)}" if answer.readers else "",
    ]
    labels = f", one of {', '.join(answer.labels)}" if answer.labels else ""
    kind = {"labels": "set of labels", "json": "JSON value"}.get(answer.kind, answer.kind)
    return f"The answer is read as a {' '.join([kind, *filter(None, where)])}{labels}."
