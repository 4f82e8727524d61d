"""Answer formats: how instruction, demonstrations, style and inputs are laid out, and how the answer is read.

A format turns a draft into a prompt template, once. Literal text that comes from data (demonstrations) is made
harmless here, holes carry the control tokens that filling breaks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from json import dumps

from optimizer.answer import AnswerFormat
from optimizer.candidate import Candidate, Demonstration
from optimizer.completion import Constraint, Role
from optimizer.digest import canonical
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate, neutralised
from optimizer.registry import Registry
from optimizer.retrieval import Retrieval, Shot
from optimizer.styles import ReasoningStyle
from optimizer.task import Task

Part = str | Hole
Reply = Callable[[Demonstration], str]


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

    def inert(self, text: str) -> str:
        """Return a text from the data without control tokens."""
        return neutralised(text, self.control_tokens)

    def hole(self, name: str) -> Hole:
        """Return a hole that breaks the control tokens in what fills it."""
        return Hole(name=name, neutralise=self.control_tokens)

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
            inert = [{name: self.inert(text) for name, text in shot.inputs} for shot in shown.demonstrations]
            return [(inputs, reply(shot)) for inputs, shot in zip(inert, shown.demonstrations, strict=True)]
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
        misfit: Says why a task or style cannot be laid out so, or returns None.
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
    parts: list[Part] = []
    for name in task.inputs:
        lead = f"{caption(name)}: " if named or len(task.inputs) > 1 else ""
        parts += [f"\n{lead}" if parts else lead, values[name]]
    return parts


def chain(
    draft: Draft, first: Sequence[MessageTemplate], constraint: Constraint | None = None
) -> tuple[CallTemplate, ...]:
    """Return the calls of a style, the constraint on the last, which is the one that answers."""
    opening = (draft.style.opener,) if draft.style.opener else ()
    calls, so_far = [], list(first)
    for k in range(draft.style.n_calls):
        last = k == draft.style.n_calls - 1
        prefill = [message("assistant", *opening)] if k == 0 and opening else []
        calls.append(
            CallTemplate(
                messages=(*so_far, *prefill),
                parameters=_bounded(draft, reasoning=not last or draft.style.reasons_while_answering),
                constraint=constraint if last else None,
            )
        )
        if not last:
            earlier = message("assistant", *(opening if k == 0 else ()), draft.hole(f"completion:{k}"))
            so_far += [earlier, message("user", draft.style.follow_ups[k])]
    return tuple(calls)


def reader(draft: Draft, *, field: str = "") -> AnswerFormat:
    """Return how the answer is read: as JSON when `field` is given, else as text after the style's marker."""
    marker = "" if field else draft.style.marker
    return AnswerFormat(kind=draft.task.output, labels=draft.task.labels, field=field, marker=marker)


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
    answer = " ".join(text for text in (draft.style.marker, draft.inert(shot.target)) if text)
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


def schema_constraint(task: Task, *, reasoning: bool) -> Constraint:
    """Return the constraint to one JSON object that holds the answer, after its reasoning where there is any."""
    answer: dict[str, object] = {"type": "number" if task.output == "number" else "string"}
    if task.output == "label":
        answer = {"type": "string", "enum": list(task.labels)}
    properties: dict[str, object] = {"reasoning": {"type": "string"}} if reasoning else {}
    properties[task.target] = answer
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return Constraint(json_schema=canonical(schema))


def json_text(value: Mapping[str, object]) -> str:
    """Return one JSON object on one line, in the order of its keys."""
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


def _bounded(draft: Draft, *, reasoning: bool) -> tuple[tuple[str, float | int | str], ...]:
    """Return the parameters with room for the reasoning on top of the bound for the answer."""
    parameters = dict(draft.parameters)
    for name in ("max_tokens", "max_completion_tokens"):
        bound = parameters.get(name)
        if reasoning and isinstance(bound, int):
            parameters[name] = bound + draft.style.reasoning_tokens
    return tuple(sorted(parameters.items()))
