"""The answer as one field of a JSON object, held to a JSON Schema; reasoning, where asked for, is a field before it.

An answer that is an object itself is the whole reply, unless a reasoning comes before it.
"""

from dataclasses import replace

from optimizer.candidate import Demonstration
from optimizer.formats import (
    Draft,
    Format,
    answer_schema,
    chain,
    json_text,
    reader,
    schema_constraint,
    tokens_of,
    turns,
)
from optimizer.prompt import PromptTemplate
from optimizer.styles import ReasoningStyle
from optimizer.task import Task

# Ways to read JSON, which a task may ask for; all others are for text.
_READERS = ("thinking", "json", "json_repaired")


def _misfit(task: Task, style: ReasoningStyle) -> str | None:
    if style.opener and style.n_calls == 1:
        return (
            "is one JSON object, which cannot start with the words that the style puts into the model's mouth"
        )
    if style.reasons_while_answering and task.target == "reasoning":
        return "has a field 'reasoning' before the answer, and the task's own target has that name"
    return None


def _render(draft: Draft) -> PromptTemplate:
    task, reasoning = draft.task, draft.style.reasons_while_answering
    whole = not reasoning and _is_whole(task)

    def reply(shot: Demonstration) -> str:
        answer = draft.value(shot.target)
        if whole:
            return json_text(answer)
        said = {"reasoning": text} if (text := draft.reasoning(shot)) else {}
        return json_text({**said, task.target: answer})

    # The schema's own field takes the place of the style's words about a last line.
    asked = draft.field_instruction if reasoning else draft.instruction
    wanted = _wanted(draft, whole=whole)
    first = turns(draft, instruction=f"{asked}\n\n{wanted}", reply=reply)
    frame = (
        ""
        if whole
        else json_text(dict.fromkeys(("reasoning", task.target) if reasoning else (task.target,), ""))
    )
    constraint = schema_constraint(task, reasoning=reasoning, whole=whole)
    calls = chain(draft, first, constraint, extra_tokens=tokens_of(frame))
    # Where none is given, `reader` takes the task's own, of which those for text find nothing in JSON.
    of_json = replace(draft, task=replace(task, readers=()))
    read = reader(of_json, field="" if whole else task.target, readers=_readers(task))
    return PromptTemplate(calls=calls, answer=read, retrieval=draft.retrieval(reply))


def _readers(task: Task) -> tuple[str, ...]:
    """Return those of a task's readers that are for JSON; none reads it in the usual way.

    The one that takes thinking away finds no answer, and alone it would be followed by the reader of plain text.
    """
    kept = tuple(name for name in task.readers if name in _READERS)
    return (*kept, "json") if kept and set(kept) == {"thinking"} else kept


def _is_whole(task: Task) -> bool:
    """Return whether an answer can be the whole reply: an object is asked for, or nothing is known of it."""
    return task.output == "json" and (not task.schema or answer_schema(task).get("type") == "object")


def _wanted(draft: Draft, *, whole: bool) -> str:
    """Return the sentences that ask for JSON, in the language of the task where that is French."""
    task, french = draft.task, draft.french
    schema = json_text(answer_schema(task)) if task.schema else ""
    if whole:
        asked = "Répondez uniquement en JSON." if french else "Reply with JSON alone."
        holds = "Il respecte ce schéma JSON : " if french else "It follows this JSON Schema: "
        return f"{asked} {holds}{schema}" if schema else asked
    if draft.style.reasons_while_answering:
        keys = (
            f'les clés "reasoning" et "{task.target}"'
            if french
            else f'the keys "reasoning" and "{task.target}"'
        )
    else:
        keys = f'la clé "{task.target}"' if french else f'the key "{task.target}"'
    asked = f"Répondez par un objet JSON avec {keys}." if french else f"Reply with a JSON object with {keys}."
    holds = f'La valeur de "{task.target}" respecte' if french else f'The value of "{task.target}" follows'
    kind = " ce schéma JSON : " if french else " this JSON Schema: "
    return f"{asked} {holds}{kind}{schema}" if schema else asked


JSON = Format(render=_render, misfit=_misfit)
