"""A prompt that is in use today, imported from its file as the baseline of a task.

It is measured as it is: its messages to the letter, filled with the task's inputs. What a study decides for every
prompt holds for this one as well: the model's decoding parameters, of which a bound of the answer is never below the file's
own, as a style that reasons has room of its own too, and control tokens that are broken in what fills a hole. Files are read by the exporters, which run, look up and fetch nothing of what a file names.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from optimizer.answer import AnswerFormat
from optimizer.candidate import Candidate, DemonstrationSet, Instruction, Parameter
from optimizer.completion import ANSWER_BOUNDS, Capabilities, Constraint
from optimizer.digest import canonical, digest
from optimizer.document import clipped
from optimizer.errors import InputError, PluginError, Problem
from optimizer.formats import FORMATS, Draft
from optimizer.length import usual_tokens
from optimizer.prompt import Hole, MessageTemplate, PromptTemplate
from optimizer.promptfile import (
    CHANGED,
    FETCHED,
    NATIVE,
    RUN,
    PromptText,
    is_doubled_elsewhere,
    literals,
    places_left,
    read_prompt,
    tags_of,
)
from optimizer.schema import meant
from optimizer.styles import STYLES
from optimizer.task import PromptFile, Task

# What stands in place of an instruction's id, a style and a format.
IMPORTED = "imported"

_NO_DEMONSTRATIONS = DemonstrationSet(id="d0000", demonstrations=(), selector="none")

# The reader of a file that does not say how its answers are read.
UNSAID = AnswerFormat(kind="text")

# The parameter that says of which form an answer is to be, where a file has no JSON Schema for it.
_RESPONSE = "response_format"

_SHOWN = 5  # of a list in a sentence


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """A prompt of a file.

    Attributes:
        file: The file, as the task names it.
        format: Name of the exporter that read it.
        sha256: Digest of the file.
        template: The prompt, with the reader of its answers; until it is `fitted`, without decoding parameters.
        parameters: The decoding parameters of the file, which are not used but for its bounds.
        bounds: Most tokens of the completion of each call, as the file says; 0 where it says none.
        cautions: What to know before it is compared with anything.
    """

    file: str
    format: str
    sha256: str
    template: PromptTemplate
    parameters: tuple[tuple[str, object], ...] = ()
    bounds: tuple[int, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def instruction(self) -> Instruction:
        """Return the prompt in place of an instruction: its text is all that the prompt says, so that it is its identity."""
        return Instruction(id=IMPORTED, text=canonical(self.template.to_dict()), origin="imported")

    @property
    def candidate(self) -> Candidate:
        """Return the prompt as a candidate, outside every search space."""
        return Candidate(
            instruction=self.instruction,
            demonstrations=_NO_DEMONSTRATIONS,
            style=IMPORTED,
            format=IMPORTED,
        )

    @property
    def text(self) -> str:
        """Return all text that the file itself holds, the examples it retrieves included."""
        retrieval = self.template.retrieval
        shots = [] if retrieval is None else retrieval.pool
        return "\n".join(
            [*literals(self.template), *(" ".join((*shot.values, shot.reply)) for shot in shots)]
        )

    @property
    def identity(self) -> str:
        """Return the digest of the file and of what was read from it."""
        return digest([self.sha256, self.format, self.template.fingerprint])

    @property
    def figures(self) -> dict[str, object]:
        """Return what the evidence says of it, as plain data."""
        return {
            "file": self.file,
            "format": self.format,
            "sha256": self.sha256,
            "cautions": list(self.cautions),
        }


def imported_in_words(imported: Imported | None) -> tuple[str, ...]:
    """Return what the baseline is and what to know of it; nothing where none was imported."""
    if imported is None:
        return ()
    said = (
        f"The baseline is the prompt in {imported.file}, read as {imported.format}; the task's instruction is one of "
        "the wordings that are compared with it."
    )
    return (said, *(f"Caution: {caution}" for caution in imported.cautions))


def load_imported(task: Task) -> Imported | None:
    """Return the prompt that a task names as its baseline; None where it names none.

    Raises:
        InputError: With every mistake, each with the field of the task and the name of the file.
    """
    file = task.baseline
    if file is None:
        return None
    try:
        read = read_prompt(file, task.inputs)
    except ValueError as error:
        raise _refusal(task, file, [str(error)]) from error
    except PluginError as error:
        raise InputError([task.source.problem(("baseline", "format"), str(error))]) from error
    template = read.template
    if problems := list(_problems(read, task)):
        raise _refusal(task, file, problems)
    answer, misread = _answer(template, read.format, task)
    calls = tuple(replace(call, parameters=()) for call in template.calls)
    parameters = [item for call in template.calls for item in call.parameters]
    return Imported(
        file=file.named,
        format=read.format,
        sha256=read.sha256,
        template=replace(template, calls=calls, answer=answer),
        parameters=tuple(item for item in parameters if item[0] != _RESPONSE),
        bounds=tuple(_bound(dict(call.parameters)) for call in template.calls),
        cautions=(*misread, *_cautions(read, task)),
    )


def fitted(
    imported: Imported, parameters: Mapping[str, Parameter], capabilities: Capabilities, *, input_bytes: int
) -> Imported:
    """Return a prompt as a model is asked with it, with further cautions.

    A constraint that the model cannot be held to is left out. What else the model lacks stays in the prompt. No call is
    cut shorter than its file allows: a prompt that reasons could not come to its answer.

    Args:
        parameters: Decoding parameters of the study's model.
        input_bytes: Length of the longest example's inputs, in UTF-8.
    """
    tokens, bounds = capabilities.control_tokens, imported.bounds or (0,) * len(imported.template.calls)
    calls = tuple(
        replace(
            call,
            messages=tuple(_guarded(message, tokens) for message in call.messages),
            parameters=_roomy(parameters, bound),
            constraint=_possible(call.constraint, capabilities.can),
        )
        for call, bound in zip(imported.template.calls, bounds, strict=True)
    )
    found = replace(imported, template=replace(imported.template, calls=calls))
    cautions = (*found.cautions, *_model_cautions(imported, found, capabilities, input_bytes))
    return replace(found, cautions=tuple(dict.fromkeys(cautions)))


def _model_cautions(
    before: Imported, after: Imported, capabilities: Capabilities, input_bytes: int
) -> Iterator[str]:
    """Yield what a model makes of a prompt."""
    unused = list(_unused(before, after))
    if unused:
        asked = dict(after.template.calls[0].parameters)
        listed = (
            f"{clipped(name)} {clipped(str(value))} (here {asked.get(name, 'not set')})"
            for name, value in unused
        )
        yield f"the decoding parameters of {before.file} are not used, but those of the study's model: {', '.join(listed)}"
    for mine, other in zip(before.template.calls, after.template.calls, strict=True):
        if mine.constraint != other.constraint:
            yield f"{before.file} constrains the answer, to which this model cannot be held; it is left out"
    if found := [token for token in capabilities.control_tokens if token in after.text]:
        yield (
            f"the text of {before.file} holds what the model reads as its own markup, and stays as it is: "
            f"{_listed(found)}"
        )
    context = capabilities.context
    if context is not None and (tokens := usual_tokens(after.template, input_bytes)) > context:
        yield f"{before.file} takes about {tokens:,} tokens with the longest example; the model has {context:,}"


def _unused(before: Imported, after: Imported) -> Iterator[tuple[str, object]]:
    """Yield the parameters of a file that no call is asked with; a bound may be one of the other name."""
    asked = {pair for call in after.template.calls for pair in call.parameters}
    bounds = {value for name, value in asked if name in ANSWER_BOUNDS}
    for name, value in dict.fromkeys(before.parameters):
        if (name, value) not in asked and not (name in ANSWER_BOUNDS and value in bounds):
            yield name, value


def _bound(parameters: Mapping[str, object]) -> int:
    return max((value for name in ANSWER_BOUNDS if isinstance(value := parameters.get(name), int)), default=0)


def _roomy(parameters: Mapping[str, Parameter], least: int) -> tuple[tuple[str, Parameter], ...]:
    """Return parameters in the order of their names, of which none bounds a completion below a number of tokens."""
    return tuple(
        (name, max(value, least) if name in ANSWER_BOUNDS and isinstance(value, int) else value)
        for name, value in sorted(parameters.items())
    )


def _problems(read: PromptText, task: Task) -> Iterator[str]:
    """Yield why a prompt cannot be measured on the task."""
    template, name = read.template, read.format
    places = _places(template)
    for variable in template.inputs:
        if variable not in task.inputs:
            hint = meant(variable, task.inputs) or f"; the task has {', '.join(task.inputs)}"
            yield f"{places.get(variable, 'the examples it retrieves')}: unknown input '{clipped(variable)}'{hint}"
    for hole in dict.fromkeys(template.holes()):
        kind, _, variable = hole.name.partition(":")
        if kind == "input" and variable in task.inputs and hole.image != (variable in task.images):
            shown, held = ("an image", "text") if hole.image else ("text", "an image")
            yield f"{places[variable]}: shows '{clipped(variable)}' as {shown}, which in the task is {held}"
    if name != NATIVE and (len(template.calls) > 1 or template.shows_images):
        yield f"prompts of several calls or with images are read from {NATIVE} files alone"
    unused = [variable for variable in task.inputs if variable not in template.inputs]
    tags = tags_of(read, task.inputs)
    yield from _refused(tags)
    told = {tag for _, tag in tags}
    left = [] if name == NATIVE else dict.fromkeys(places_left(template))
    for written, variable in left:
        if written not in told and (hint := meant(variable, unused)):
            yield f"'{clipped(written)}' is the place of no input{hint}"
    if not set(template.inputs) & set(task.inputs):
        yield f"expected the place of an input such as {{{{{task.inputs[0]}}}}}, found none"


def _cautions(read: PromptText, task: Task) -> Iterator[str]:
    """Yield what a prompt leaves out, what is left out of it, and what may be a mistake in it."""
    template, name = read.template, read.format
    for form in dict.fromkeys(_forms(template)):
        yield (
            f"the imported prompt asks for an answer of the form '{clipped(form)}' without a JSON Schema that is read "
            "here: it is left out"
        )
    if tags := dict.fromkeys(tag for _, tag in tags_of(read, task.inputs)):
        yield f"in the imported prompt nothing is run: {_listed(tags)} stays as it is"
    if read.is_formatted:
        yield (
            "the inputs of the imported prompt stand in single braces and all other braces in it are doubled, as Python's "
            "str.format has them: they are measured as single ones"
        )
    elif read.is_single and not read.is_declared and is_doubled_elsewhere(template):
        yield (
            "the imported prompt has inputs in single braces, and other braces in it are doubled: they stay so, where "
            "Python's str.format would make single ones of them"
        )
    if read.is_fronted:
        yield (
            "the imported prompt begins with front matter, which is asked as text like the rest: take it away, or name the "
            "format that reads it"
        )
    unused = [variable for variable in task.inputs if variable not in template.inputs]
    if unused:
        yield f"the imported prompt does not show {_listed(unused)}"
    found = () if name == NATIVE else dict.fromkeys(places_left(template))
    hinted = [(written, variable, meant(variable, task.inputs)) for written, variable in found]
    # A name in single braces is as likely an example, unless it is near an input or inputs are written so.
    left = [
        (written, hint)
        for written, variable, hint in hinted
        if hint or written.startswith(("{{", "$")) or (read.is_single and variable.isidentifier())
    ]
    for written, hint in left[:_SHOWN]:
        yield f"in the imported prompt '{clipped(written)}' is no place of an input{hint or '.'} It stays as it is"
    if len(left) > _SHOWN:
        more = _listed(written for written, _ in left[_SHOWN:])
        yield f"in the imported prompt these are no places of inputs either, and stay as they are: {more}"


def _forms(template: PromptTemplate) -> Iterator[str]:
    """Yield what a file asks of the form of an answer other than by a JSON Schema."""
    for call in template.calls:
        yield from (str(value) for name, value in call.parameters if name == _RESPONSE)


def _refused(tags: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield why tags are refused, those of one reason together."""
    for reason in (RUN, FETCHED, CHANGED):
        if found := dict.fromkeys(tag for why, tag in tags if why == reason):
            yield f"{_listed(found)} {reason}"


def _places(template: PromptTemplate) -> dict[str, str]:
    """Return where each input stands first, in words."""
    found: dict[str, str] = {}
    for k, call in enumerate(template.calls, start=1):
        of_call = f" of call {k}" if len(template.calls) > 1 else ""
        for n, message in enumerate(call.messages, start=1):
            for part in message.parts:
                if isinstance(part, Hole) and part.name.startswith("input:"):
                    found.setdefault(part.name.partition(":")[2], f"message {n}{of_call}")
    return found


def _answer(template: PromptTemplate, name: str, task: Task) -> tuple[AnswerFormat, tuple[str, ...]]:
    """Return how answers are read, and a caution where that may not be what the prompt asks for.

    What the file says holds where it reads what the task wants; else they are read as the format `plain` reads them.
    """
    said, plain = template.answer, _plain_reader(task)
    if name == NATIVE or said != UNSAID:
        if said.kind == task.output and set(said.labels) == set(task.labels):
            # Several labels are compared in the order of the task.
            return (replace(said, labels=task.labels) if said.kind == "labels" else said), ()
        what = said.kind + (f" of {_listed(said.labels)}" if said.labels else "")
        caution = (
            f"the imported prompt is read for an answer of the type {what}, which the task does not want"
        )
        return plain, (f"{caution}: its answers are read as plain text is",)
    within = any(call.constraint is not None and not call.constraint.choice for call in template.calls[-1:])
    if (within or any("json" in form for form in _forms(template))) and task.output != "json":
        return plain, (
            "the imported prompt asks for JSON and does not say where in it the answer stands: it is read as plain text is",
        )
    return plain, ()


def _plain_reader(task: Task) -> AnswerFormat:
    instruction = Instruction(id=IMPORTED, text=task.instruction, origin="imported")
    candidate = Candidate(
        instruction=instruction, demonstrations=_NO_DEMONSTRATIONS, style="direct", format="plain"
    )
    style = STYLES[candidate.style].in_language(task.language)
    draft = Draft(task=task, candidate=candidate, style=style, parameters=(), control_tokens=())
    return FORMATS[candidate.format].render(draft).answer


def _guarded(message: MessageTemplate, tokens: tuple[str, ...]) -> MessageTemplate:
    """Return a message whose holes break control tokens in what fills them."""
    parts = (
        part if isinstance(part, str) or part.image else replace(part, neutralise=tokens)
        for part in message.parts
    )
    return replace(message, parts=tuple(parts))


def _possible(constraint: Constraint | None, can: AbstractSet[str]) -> Constraint | None:
    return constraint if constraint is not None and constraint.capability in can else None


def _listed(names: Iterable[str]) -> str:
    shown = [f"'{clipped(name)}'" for name in names]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return f"{', '.join(shown[:_SHOWN])}{more}"


def _refusal(task: Task, file: PromptFile, messages: Sequence[str]) -> InputError:
    problems: list[Problem] = [
        task.source.problem(file.field, f"{file.named}: {message}") for message in messages
    ]
    return InputError(problems)
