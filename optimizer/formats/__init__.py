"""Answer formats: how instruction, demonstrations, style and inputs are laid out, and how the answer is read.

A format turns a draft into a prompt template, once. Literal text that comes from data (demonstrations) is made
harmless here, holes carry the control tokens that filling breaks.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from json import dumps, loads

from optimizer.answer import AnswerFormat
from optimizer.candidate import Candidate, Demonstration
from optimizer.completion import ANSWER_BOUNDS, Constraint, Role
from optimizer.composition import is_french
from optimizer.digest import canonical
from optimizer.formats._order import in_order
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate, neutralised
from optimizer.registry import Registry
from optimizer.retrieval import Retrieval, Shot
from optimizer.shapes import inlined, rerooted
from optimizer.styles import ReasoningStyle
from optimizer.task import Task
from optimizer.taskfile import OutputType

Part = str | Hole
Reply = Callable[[Demonstration], str]

# Where a list of labels is taken apart when it is read.
_SEPARATORS = ",;|\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """Everything a format lays out.

    Attributes:
        candidate: Instruction, demonstrations and names.
        style: The reasoning style that the candidate names.
        parameters: Decoding parameters of the model and the candidate together, sorted by name.
        control_tokens: What the model would read as its own markup.
    """

    task: Task
    candidate: Candidate
    style: ReasoningStyle
    parameters: tuple[tuple[str, float | int | str], ...]
    control_tokens: tuple[str, ...]

    @property
    def instruction(self) -> str:
        """Return the instruction, followed by what the style asks."""
        return "\n\n".join(text for text in (self.candidate.instruction.text, self.style.request) if text)

    @property
    def field_instruction(self) -> str:
        """Return the instruction, followed by what the style asks where the reasoning has a field of its own."""
        return "\n\n".join(
            text for text in (self.candidate.instruction.text, self.style.field_request) if text
        )

    def inert(self, text: str) -> str:
        """Return a text from the data without control tokens."""
        return neutralised(text, self.control_tokens)

    @property
    def french(self) -> bool:
        """Return whether what a format itself says is said in French; in all other languages it is English."""
        return is_french(self.task.language)

    def value(self, target: str) -> object:
        """Return a target as JSON holds it, harmless: a text, a number, a list of labels, or what it says as JSON.

        An object has its keys in the order of the task's schema, in which a model that is held to it writes them.
        """
        if self.task.output == "number":
            return loads(target)  # a number is in its shortest decimal form, which is JSON
        if self.task.output == "labels":
            return [self.inert(label) for label in loads(target)]
        return (
            ordered(self.task, loads(self.inert(target)))
            if self.task.output == "json"
            else self.inert(target)
        )

    def shown(self, target: str) -> str:
        """Return a target as a text that answers with it, harmless.

        Labels are separated by a comma, or a JSON array where one of them holds a mark that separates; no label at
        all is "none", or an empty array where that is a label.
        """
        if self.task.output == "json":
            return json_text(self.value(target))
        if self.task.output != "labels":
            return self.inert(target)
        if any(mark in label for label in self.task.labels for mark in _SEPARATORS):
            return json_text(self.value(target))
        none = "aucune" if self.french else "none"
        nothing = "[]" if none in {label.casefold() for label in self.task.labels} else none
        return ", ".join(self.inert(label) for label in loads(target)) or nothing

    def hole(self, name: str) -> Hole:
        """Return a hole that breaks the control tokens in what fills it, or shows the image that does."""
        if name.partition("input:")[2] in self.task.images:
            return Hole(name=name, image=True)
        return Hole(name=name, neutralise=self.control_tokens)

    def literal(self, name: str, text: str) -> Part:
        """Return an input of a demonstration as it is shown: its text, harmless, or its image."""
        if name not in self.task.images:
            return self.inert(text)
        return Hole(name=f"image:{text}", image=True) if text else ""

    def reasoning(self, shot: Demonstration) -> str:
        """Return the reasoning that a demonstration shows, harmless; "" where the style does not reason in one turn.

        One that has none shows none: an invented one would teach the model to invent.
        """
        return self.inert(shot.reasoning) if self.style.reasons_in_one_turn else ""

    def shots(self, reply: Reply) -> list[tuple[Mapping[str, Part], Part]]:
        """Return the inputs and the reply of each demonstration as they are shown: as texts, or as holes to be filled.

        Where demonstrations are retrieved, `retrieval` of the same reply makes what fills the holes.
        """
        shown = self.candidate.demonstrations
        if not shown.retrieved:
            return [
                ({name: self.literal(name, text) for name, text in shot.inputs}, reply(shot))
                for shot in shown.demonstrations
            ]
        return [
            (
                {name: self.hole(f"shot:{k}:input:{name}") for name in self.task.inputs},
                self.hole(f"shot:{k}:reply"),
            )
            for k in range(shown.retrieved)
        ]

    def retrieval(self, reply: Reply) -> Retrieval | None:
        """Return what fills the holes of retrieved demonstrations, or None where all are shown with every input.

        Inputs go in as they are: it is these that an input is compared with, and holes make them harmless.
        """
        shown, inputs = self.candidate.demonstrations, self.task.inputs
        if not shown.retrieved:
            return None
        pool = (
            Shot(values=tuple(dict(shot.inputs)[name] for name in inputs), reply=reply(shot))
            for shot in shown.demonstrations
        )
        return Retrieval(inputs=inputs, pool=tuple(pool), shown=shown.retrieved)


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """One layout.

    Attributes:
        render: Makes the template. Called only when `misfit` finds nothing.
        misfit: Says why a task or style cannot be laid out so, in words that go on after "the format", or returns None.
    """

    render: Callable[[Draft], PromptTemplate]
    misfit: Callable[[Task, ReasoningStyle], str | None] = lambda _task, _style: None


FORMATS: Registry[Format] = Registry("optimizer.formats", Format)


def turns(draft: Draft, *, instruction: str, reply: Reply) -> tuple[MessageTemplate, ...]:
    """Return a system message, every demonstration as a turn of user and assistant, and the inputs as last turn."""
    messages = [message("system", instruction)]
    for shown, answer in draft.shots(reply):
        messages.append(message("user", *fields(draft.task, shown)))
        messages.append(message("assistant", answer))
    holes = {name: draft.hole(f"input:{name}") for name in draft.task.inputs}
    return (*messages, message("user", *fields(draft.task, holes)))


def one_message(draft: Draft, *, instruction: str, reply: Reply) -> tuple[MessageTemplate, ...]:
    """Return one user message: the instruction, the demonstrations as named fields, and the inputs likewise."""
    parts: list[Part] = [instruction, "\n\n"]
    label = caption(draft.task.target)
    for shown, answer in draft.shots(reply):
        parts += [*fields(draft.task, shown, named=True), f"\n{label}: ", answer, "\n\n"]
    holes = {name: draft.hole(f"input:{name}") for name in draft.task.inputs}
    return (message("user", *parts, *fields(draft.task, holes, named=True), f"\n{label}:"),)


def fields(task: Task, values: Mapping[str, Part], *, named: bool = False) -> list[Part]:
    """Return the inputs one below the other; a single one goes without its name unless `named`."""
    with_names = named or len(task.inputs) > 1
    return below(task, values, lambda name: (f"{caption(name)}: " if with_names else "", ""))


def below(task: Task, values: Mapping[str, Part], around: Callable[[str], tuple[str, str]]) -> list[Part]:
    """Return the inputs one below the other; an optional one that is empty leaves nothing, and no line either.

    Args:
        around: Returns what stands before and after the input of a name.
    """
    parts: list[Part] = []
    follows = False  # whether something stands above in any case
    for name in task.inputs:
        lead, tail = around(name)
        if name in task.optional:
            # The line break belongs to the optional input: before it or, where nothing may stand above it, after it.
            broken = "" if follows or name == task.inputs[-1] else "\n"
            parts += between(f"\n{lead}" if follows else lead, values[name], f"{tail}{broken}")
        else:
            parts += [f"\n{lead}" if follows else lead, values[name], tail]
            follows = True
    return parts


def between(lead: str, value: Part, tail: str) -> list[Part]:
    """Return an optional value between two texts that are shown only where it is not empty."""
    if isinstance(value, Hole):
        return [replace(value, lead=lead, tail=tail)]
    return [lead, value, tail] if value else []


def chain(
    draft: Draft,
    first: Sequence[MessageTemplate],
    constraint: Constraint | None = None,
    *,
    extra_tokens: int = 0,
) -> tuple[CallTemplate, ...]:
    """Return the calls of a style, the constraint on the last, which is the one that answers.

    Args:
        extra_tokens: What the layout has the model write beside its answer, for which each call gets room.
    """
    opening = (draft.style.opener,) if draft.style.opener else ()
    calls, so_far = [], list(first)
    for k in range(draft.style.n_calls):
        last = k == draft.style.n_calls - 1
        prefill = [message("assistant", *opening)] if k == 0 and opening else []
        calls.append(
            CallTemplate(
                messages=(*so_far, *prefill),
                parameters=_bounded(
                    draft,
                    extra_tokens
                    + (
                        draft.style.reasoning_tokens if not last or draft.style.reasons_while_answering else 0
                    ),
                ),
                constraint=constraint if last else None,
            )
        )
        if not last:
            earlier = message("assistant", *(opening if k == 0 else ()), draft.hole(f"completion:{k}"))
            so_far += [earlier, message("user", draft.style.follow_ups[k])]
    return tuple(calls)


def reader(draft: Draft, *, field: str = "", readers: tuple[str, ...] = ()) -> AnswerFormat:
    """Return how the answer is read: as JSON when `field` is given, else as text after the style's marker.

    Args:
        readers: How a format with a frame of its own finds the answer; without them the task may say it.
    """
    task, marker = draft.task, ""
    if not field and not readers:
        marker = draft.style.marker
        readers = tuple(name for name in task.readers if name != "marker")
        if marker and (task.readers or task.output == "json"):
            readers = ("marker", *(readers or parsers(task.output)))
    return AnswerFormat(
        kind=task.output, labels=task.labels, field=field, marker=marker, readers=readers, schema=task.schema
    )


def parsers(output: OutputType) -> tuple[str, ...]:
    """Return the readers that take an answer out of a text that is the answer alone."""
    return ("json", "json_repaired") if output == "json" else (output,)


def plain_reply(draft: Draft) -> Reply:
    """Return how a demonstration is answered in a turn of the assistant: as the style wants the model to answer."""
    opener = draft.style.opener if draft.style.n_calls == 1 else ""
    return lambda shot: _answered(draft, shot, opener)


def bare_reply(draft: Draft) -> Reply:
    """Return how a demonstration is answered in a named field: by its reasoning and target, without an opener."""
    return lambda shot: _answered(draft, shot, "")


def _answered(draft: Draft, shot: Demonstration, opener: str) -> str:
    """Return opener, reasoning, marker and target; the marker begins a line of its own after a reasoning."""
    reasoning = draft.reasoning(shot)
    said = " ".join(text for text in (opener, reasoning) if text)
    answer = " ".join(text for text in (draft.style.marker, draft.shown(shot.target)) if text)
    between = "\n" if reasoning else " "
    return f"{said}{between}{answer}" if said else answer


def label_misfit(task: Task, style: ReasoningStyle) -> str | None:
    """Return why an answer constrained to the labels is impossible, or None."""
    if task.output != "label":
        return f"needs the output type label, and the task has {task.output}"
    if style.reasons_while_answering:
        return "leaves no room for the reasoning that the style asks for in the same call"
    return None


def label_constraint(draft: Draft) -> Constraint:
    """Return the constraint that the completion is one of the task's labels.

    After an opener a label starts with a space, as words do in a sentence: without it a model has to write the label
    in pieces that it hardly ever saw.
    """
    goes_on = draft.style.opener and draft.style.n_calls == 1
    return Constraint(choice=tuple(f" {label}" if goes_on else label for label in draft.task.labels))


def schema_constraint(task: Task, *, reasoning: bool, whole: bool = False) -> Constraint | None:
    """Return the constraint to one JSON object that holds the answer, after its reasoning where there is any.

    Args:
        whole: Whether the object is the answer itself. None where a task says nothing of its JSON.
    """
    if task.output == "json" and not task.schema:
        return None
    answer = answer_schema(task)
    if whole:
        return Constraint(json_schema=canonical(answer))
    # A reference of a schema is from its root, so definitions stay there.
    answer = rerooted(answer, task.target)
    roots: dict[str, object] = {key: answer.pop(key) for key in ("$defs", "definitions") if key in answer}
    properties: dict[str, object] = {"reasoning": {"type": "string"}} if reasoning else {}
    properties[task.target] = answer
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        **roots,
    }
    return Constraint(json_schema=canonical(schema))


def answer_schema(task: Task) -> dict[str, object]:
    """Return the JSON Schema of the answer alone; of an answer of type json with its properties in their order."""
    if task.output == "json":
        return inlined(Constraint(json_schema=task.schema or "{}").schema())
    if task.output == "number":
        return {"type": "number"}
    one: dict[str, object] = {"type": "string"}
    if task.labels:
        one["enum"] = list(task.labels)
    return {"type": "array", "items": one} if task.output == "labels" else one


def ordered(task: Task, value: object) -> object:
    """Return a value whose objects have their keys in the order of the task's schema, those it does not name last."""
    schema = answer_schema(task)
    return in_order(value, schema, schema)


def json_text(value: object) -> str:
    """Return JSON on one line, objects in the order of their keys."""
    return dumps(value, ensure_ascii=False)


def caption(name: str) -> str:
    """Return a column's name as people write it: `user_message` becomes `User message`."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def message(role: Role, *parts: Part) -> MessageTemplate:
    """Return a message whose neighbouring literal parts are joined and empty ones dropped."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    return MessageTemplate(role=role, parts=tuple(joined))


def tokens_of(markup: str) -> int:
    """Return a bound for the tokens of markup such as `[[ ## answer ## ]]`, which takes one for 2 or 3 characters."""
    return math.ceil(len(markup) / 2)


def _bounded(draft: Draft, extra_tokens: int) -> tuple[tuple[str, float | int | str], ...]:
    """Return the parameters with some room on top of the bound for the answer."""
    parameters = dict(draft.parameters)
    for name in ANSWER_BOUNDS:
        bound = parameters.get(name)
        if extra_tokens and isinstance(bound, int):
            parameters[name] = bound + extra_tokens
    return tuple(sorted(parameters.items()))
