"""The messages of a prompt as the page shows them, their holes marked."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass

from optimizer.answer import AnswerFormat
from optimizer.prompt import CallTemplate, Hole, PromptTemplate
from optimizer.report._language import ENGLISH, mark
from optimizer.report._telling import Teller
from optimizer.retrieval import Retrieval

_ENGLISH = Teller(ENGLISH)


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
        choice: What the completion is held to, where that is one of some texts; as JSON where white space of it is
            easily overlooked.
        json_schema: The schema it is held to, else "".
        notes: What else happens to it.
    """

    settings: str
    messages: tuple[tuple[str, tuple[Part, ...]], ...]
    choice: tuple[str, ...]
    json_schema: str
    notes: tuple[str, ...]


def calls(template: PromptTemplate, say: Teller = _ENGLISH) -> tuple[Call, ...]:
    """Return the calls of a prompt; how the answer is read is a note of the last."""
    last, picked = len(template.calls) - 1, template.retrieval
    notes = [] if picked is None else [_retrieved(picked, say)]
    found = [
        _call(call, template.answer if k == last else None, say) for k, call in enumerate(template.calls)
    ]
    return (dataclasses.replace(found[0], notes=(*notes, *found[0].notes)), *found[1:])


def _retrieved(picked: Retrieval, say: Teller) -> str:
    return say.t(
        "Each input is shown the {n} most alike of {of} training examples, the most alike last. They fill ‹shot:…›.",
        n=picked.shown,
        of=len(picked.pool),
    )


def _call(call: CallTemplate, answer: AnswerFormat | None, say: Teller) -> Call:
    messages = tuple((message.role, tuple(map(_part, message.parts))) for message in call.messages)
    constraint = call.constraint
    return Call(
        settings=", ".join(f"{name} {value}" for name, value in sorted(call.parameters)),
        messages=messages,
        choice=() if constraint is None else tuple(map(_exact, constraint.choice)),
        json_schema="" if constraint is None else constraint.json_schema or "",
        notes=tuple(_notes(call, answer, say)),
    )


def _exact(text: str) -> str:
    """Return a text as it is, or in quotes where white space at its ends, or more than a single space, is part of it."""
    return text if text == " ".join(text.split()) else json.dumps(text, ensure_ascii=False)


def _part(part: str | Hole) -> Part:
    return (
        Part(text=f"{part.lead}‹{part.shown}›{part.tail}", is_hole=True)
        if isinstance(part, Hole)
        else Part(text=part, is_hole=False)
    )


def begins_turn(call: CallTemplate) -> bool:
    """Return whether the last message of a call is the beginning of the model's own turn."""
    return call.messages[-1].role == "assistant"


def _notes(call: CallTemplate, answer: AnswerFormat | None, say: Teller) -> Iterator[str]:
    parts = [part for message in call.messages for part in message.parts]
    guarded = dict.fromkeys(part.name for part in parts if isinstance(part, Hole) and part.neutralise)
    if guarded:
        yield say.t(
            "In what fills {names}, the control tokens of the model are broken, so that they are plain text.",
            names=", ".join(f"‹{name}›" for name in guarded),
        )
    if begins_turn(call):
        yield say.t(
            "The last message is the beginning of the model's own turn: the server must continue it, and not answer it."
        )
    if answer is not None:
        yield reading_in_words(answer, say)


_KINDS = {
    "label": mark("The answer is read as a label{where}{labels}."),
    "labels": mark("The answer is read as a set of labels{where}{labels}."),
    "text": mark("The answer is read as a text{where}{labels}."),
    "number": mark("The answer is read as a number{where}{labels}."),
    "json": mark("The answer is read as a JSON value{where}{labels}."),
}


def reading_in_words(answer: AnswerFormat, say: Teller) -> str:
    """Return how an answer is read, as a sentence."""
    quoted = say.language.quoted
    where = [
        say.t("in the field {field} of a JSON object", field=quoted(answer.field)) if answer.field else "",
        say.t("after {marker}", marker=quoted(answer.marker)) if answer.marker else "",
        say.t("by {readers}", readers=", ".join(answer.readers)) if answer.readers else "",
    ]
    labels = say.t(", one of {labels}", labels=", ".join(answer.labels)) if answer.labels else ""
    return say.t(_KINDS[answer.kind], where="".join(f" {each}" for each in where if each), labels=labels)
