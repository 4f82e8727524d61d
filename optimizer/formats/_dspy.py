"""A prompt as an adapter of DSPy writes it, cut open once at the places that inputs fill.

The adapter formats sentinels, texts that occur nowhere else, in place of the inputs. What stands between them is the
same for any input, and the filled template is what the adapter would have written; with that, DSPy's part is over.

    signature   the inputs and the target, typed by what the task says of its answers
    demos       the demonstrations as DSPy wants them, values by name
    sentinel    stands for a hole while the adapter writes
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint
from optimizer.formats import Draft, Part, answer_schema, chain, json_text, message, tokens_of
from optimizer.prompt import Hole, MessageTemplate, PromptTemplate
from optimizer.retrieval import Retrieval
from optimizer.styles import ReasoningStyle
from optimizer.task import Task

if TYPE_CHECKING:
    import dspy

# What DSPy reads as a part of a message that is no text, an image for example, wherever it stands in an input.
_MARKUP = ("<<CUSTOM-TYPE-START-IDENTIFIER>>", "<<CUSTOM-TYPE-END-IDENTIFIER>>")

# Names that a signature has for itself, so that it takes no field of that name.
_TAKEN = """
append append_instructions construct copy delete dict dump_state equals fields from_orm input_fields insert
instructions json load_state mro output_fields parse_file parse_obj parse_raw prepend register schema
schema_json signature update_forward_refs validate with_instructions with_updated_fields
"""


def misfit(task: Task, style: ReasoningStyle) -> str | None:
    """Return why no adapter of DSPy can lay a task or style out, or None. Imports nothing of DSPy."""
    if style.opener:
        return "ends with a turn of the user, and the style puts words into the model's mouth"
    if style.n_calls > 1 and (style.request or style.marker):
        return "asks for the answer in the first turn, and the style has it in a later one"
    if task.images:
        return f"lays out texts, and the input {', '.join(sorted(task.images))} is an image"
    names = (*task.inputs, task.target)
    unfit = [
        name
        for name in names
        if not name.isidentifier() or name.startswith(("_", "model_")) or name in _TAKEN.split()
    ]
    if unfit:
        return f"makes fields of the columns, and {', '.join(map(repr, unfit))} cannot be the name of one"
    if style.reasons_while_answering and "reasoning" in names:
        return "has a field 'reasoning' before the answer, and a column of the task has that name"
    return None


def shaped(task: Task) -> str | None:
    """Return why an answer of type json has no type in a signature, or None: only objects and lists have."""
    if task.output == "json" and answer_schema(task).get("type") not in ("object", "array"):
        return "needs a JSON Schema of an object or a list for answers of type json"
    return None


def adapted(
    draft: Draft, adapter: "dspy.Adapter", *, answer: AnswerFormat, constraint: Constraint | None = None
) -> PromptTemplate:
    """Return the template of what an adapter writes.

    Where only some demonstrations of a pool have a reasoning, the others are retrieved with an empty one: DSPy lays
    out a demonstration without one in another way, and which are shown is not known before.
    """
    draft = replace(draft, control_tokens=(*draft.control_tokens, *_MARKUP))
    signature, sentinels = _signature(draft), _Sentinels.of(draft)
    demos, retrieved = _demos(draft), draft.candidate.demonstrations.retrieved
    shown = [{**demos[0], **sentinels.inputs(draft, f"shot:{k}:")} for k in range(retrieved)] or demos
    written = adapter.format(signature, shown, sentinels.inputs(draft, ""))
    messages = [message(each["role"], *sentinels.cut(draft, each["content"])) for each in written]
    retrieval = None
    if retrieved:
        messages[1:-1:2] = [_open_ended(each) for each in messages[1:-1:2]]
        messages[2:-1:2] = [message("assistant", draft.hole(f"shot:{k}:reply")) for k in range(retrieved)]
        said = [adapter.format_demos(signature, [demo])[1]["content"] for demo in demos]
        retrieval = _retrieval(draft, said, stripped=isinstance(messages[1].parts[-1], Hole))
    empty = adapter.format_assistant_message_content(signature, dict.fromkeys(signature.output_fields, ""))
    calls = chain(draft, messages, constraint, extra_tokens=tokens_of(empty))
    return PromptTemplate(calls=calls, answer=answer, retrieval=retrieval)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sentinels:
    """A text for each hole, and the way back.

    Attributes:
        mark: A text that nothing literal of the prompt holds.
    """

    mark: str

    @classmethod
    def of(cls, draft: Draft) -> "_Sentinels":
        """Return sentinels that occur nowhere in what a draft shows."""
        shots = draft.candidate.demonstrations.demonstrations
        texts = [
            draft.instruction,
            draft.task.schema,
            *draft.task.labels,
            *draft.task.inputs,
            draft.task.target,
        ]
        texts += [
            text for shot in shots for text in (*dict(shot.inputs).values(), shot.target, shot.reasoning)
        ]
        mark = "HOLE"
        while any(mark in text for text in texts):
            mark += "E"
        return cls(mark=mark)

    def inputs(self, draft: Draft, prefix: str) -> dict[str, str]:
        """Return the sentinels of the inputs, by name."""
        return {name: f"{self.mark}<{prefix}input:{name}>" for name in draft.task.inputs}

    def cut(self, draft: Draft, written: str) -> list[Part]:
        """Return a text with holes where its sentinels are."""
        pieces = re.split(f"{self.mark}<([^>]+)>", written)
        return [draft.hole(piece) if k % 2 else piece for k, piece in enumerate(pieces)]


def _signature(draft: Draft) -> "type[dspy.Signature]":
    """Return the signature of a task; a style that reasons has a field before the target, as `ChainOfThought` has."""
    import dspy

    task, reasons = draft.task, draft.style.reasons_while_answering
    described = {"desc": f"follows this JSON Schema: {json_text(answer_schema(task))}"} if task.schema else {}
    fields = {name: (str, dspy.InputField()) for name in task.inputs}
    fields[task.target] = (_type(task), dspy.OutputField(**described))
    signature: type[dspy.Signature] = dspy.Signature(
        fields, draft.field_instruction if reasons else draft.instruction
    )
    if reasons:
        signature = signature.prepend("reasoning", dspy.OutputField(desc="${reasoning}"), type_=str)
    return signature


def _type(task: Task) -> Any:  # noqa: ANN401  # annotations have no type of their own
    literal: Any = Literal
    if task.output == "label":
        return literal[task.labels]
    if task.output == "labels":
        return list[literal[task.labels]]
    if task.output == "json":
        return dict[str, Any] if answer_schema(task).get("type") == "object" else list[Any]
    return float if task.output == "number" else str


def _demos(draft: Draft) -> list[dict[str, Any]]:
    """Return the demonstrations in DSPy's form; without a reasoning one lacks the field, as a labelled example does."""
    demos = []
    for shot in draft.candidate.demonstrations.demonstrations:
        inputs = {name: draft.inert(text) for name, text in shot.inputs}
        reasoning = {"reasoning": said} if (said := draft.reasoning(shot)) else {}
        demos.append({**inputs, **reasoning, draft.task.target: draft.value(shot.target)})
    mixed = draft.candidate.demonstrations.retrieved and any("reasoning" in demo for demo in demos)
    return [{"reasoning": "", **demo} for demo in demos] if mixed else demos


def _open_ended(shown: MessageTemplate) -> MessageTemplate:
    """Return a message whose line break before a hole at its end is shown only with a value, as strip() leaves it."""
    *before, last = shown.parts
    if isinstance(last, str):
        return shown
    above = before.pop()
    assert isinstance(above, str)  # a header
    return message(shown.role, *before, above.removesuffix("\n"), replace(last, lead="\n"))


def _retrieval(draft: Draft, said: Sequence[str], *, stripped: bool) -> Retrieval | None:
    """Return what fills the holes of retrieved demonstrations.

    Args:
        said: Their replies, in their order.
        stripped: Whether the adapter strips what ends a message, which is the last input.
    """
    replies = dict(zip(draft.candidate.demonstrations.demonstrations, said, strict=True))
    found = draft.retrieval(lambda shot: replies[shot])
    if found is None or not stripped:
        return found
    pool = [replace(shot, values=(*shot.values[:-1], shot.values[-1].rstrip())) for shot in found.pool]
    return replace(found, pool=tuple(pool))
