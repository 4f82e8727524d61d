"""The answer as one field of a JSON object, held to a JSON Schema; reasoning, where asked for, is a field before it."""

from json import loads

from optimizer.candidate import Demonstration
from optimizer.formats import Draft, Format, chain, json_text, reader, schema_constraint, turns
from optimizer.prompt import PromptTemplate
from optimizer.styles import ReasoningStyle
from optimizer.task import Task


def _misfit(_task: Task, style: ReasoningStyle) -> str | None:
    if style.opener and style.n_calls == 1:
        return (
            "is one JSON object, which cannot start with the words that the style puts into the model's mouth"
        )
    return None


def _render(draft: Draft) -> PromptTemplate:
    reasoning = draft.style.reasons_while_answering
    target = draft.task.target

    def reply(shot: Demonstration) -> str:
        said = {"reasoning": text} if (text := draft.reasoning(shot)) else {}
        # A number is in its shortest decimal form, which is JSON; the schema wants a number, not a text.
        answer = loads(shot.target) if draft.task.output == "number" else draft.inert(shot.target)
        return json_text({**said, target: answer})

    keys = f'the keys "reasoning" and "{target}"' if reasoning else f'the key "{target}"'
    # The schema's own field takes the place of the style's words about a last line.
    asked = draft.candidate.instruction.text if reasoning else draft.instruction
    first = turns(draft, instruction=f"{asked}\n\nReply with a JSON object with {keys}.", reply=reply)
    calls = chain(draft, first, schema_constraint(draft.task, reasoning=reasoning))
    read = reader(draft, field=target)
    return PromptTemplate(calls=calls, answer=read, retrieval=draft.retrieval(reply))


JSON = Format(render=_render, misfit=_misfit)
