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
from optimizer.styles import ReasoningStyle
from optimizer.task import Task

Part = str | Hole


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


def turns(
    draft: Draft, *, instruction: str, reply: Callable[[Demonstration], str]
) -> tuple[MessageTemplate, ...]:
    """Return a system message, every demonstration as a turn of user and assistant, and the inputs as last turn."""
    messages = [message("system", instruction)]
    for shot in draft.candidate.demonstrations.demonstrations:
        shown = {name: draft.inert(text) for name, text in shot.inputs}
        messages.append(message("user", *fields(draft.task, shown)))
        messages.append(message("assistant", reply(shot)))
    holes = {name: draft.hole(f"input:{name}") for name in draft.task.inputs}
    return (*messages, message("user", *fields(draft.task, holes)))


def one_message(
    draft: Draft, *, instruction: str, reply: Callable[[Demonstration], str]
) -> tuple[MessageTemplate, ...]:
    """Return one user message: the instruction, the demonstrations as named fields, and the inputs likewise."""
    parts: list[Part] = [instruction, "\n\n"]
    label = caption(draft.task.target)
    for shot in draft.candidate.demonstrations.demonstrations:
        shown = {name: draft.inert(text) for name, text in shot.inputs}
        parts += [*fields(draft.task, shown, named=True), f"\n{label}: {reply(shot)}\n\n"]
    holes = {name: draft.hole(f"input:{name}") for name in draft.task.inputs}
    return (message("user", *parts, *fields(draft.task, holes, named=True), f"\n{label}:"),)


def fields(task: Task, values: dict[str, str] | dict[str, Hole], *, named: bool = False) -> list[Part]:
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


def plain_reply(draft: Draft) -> Callable[[Demonstration], str]:
    """Return how a demonstration is answered in a turn of the assistant: as the style wants the model to answer."""
    lead = f"{draft.style.opener} " if draft.style.opener and draft.style.n_calls == 1 else ""
    lead += f"{draft.style.marker} " if draft.style.marker else ""
    return lambda shot: lead + draft.inert(shot.target)


def bare_reply(draft: Draft) -> Callable[[Demonstration], str]:
    """Return how a demonstration is answered in a named field: by the target, after the style's marker if any."""
    lead = f"{draft.style.marker} " if draft.style.marker else ""
    return lambda shot: lead + draft.inert(shot.target)


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
