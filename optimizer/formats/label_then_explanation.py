"""Demonstrations as turns of the conversation; the answer is a label on the first line, and a short reason after it.

The reason cannot help the answer, which is written before it; it is for those who read the answers. A demonstration
shows its reasoning there.
"""

from optimizer.candidate import Demonstration
from optimizer.formats import Draft, Format, chain, plain_reply, reader, turns
from optimizer.prompt import PromptTemplate
from optimizer.styles import ReasoningStyle
from optimizer.task import Task

_ASKED = "Give the answer alone on the first line, then one short sentence that says why."
_ASKED_IN_FRENCH = "Donnez la réponse seule sur la première ligne, puis une courte phrase qui la justifie."

# One sentence of thirty words, in English or French.
_EXPLANATION_TOKENS = 48


def _misfit(task: Task, style: ReasoningStyle) -> str | None:
    if task.output != "label":
        return f"needs the output type label, and the task has {task.output}"
    if style.reasons_while_answering:
        return "explains an answer after it, and the style reasons before it"
    lines = [label for label in task.labels if len(label.strip().splitlines()) > 1]
    if lines:
        return f"has the answer on a line of its own, and {', '.join(map(repr, lines))} is of several"
    return None


def _render(draft: Draft) -> PromptTemplate:
    answered = plain_reply(draft)

    def reply(shot: Demonstration) -> str:
        said = draft.inert(shot.reasoning)
        return f"{answered(shot)}\n{said}" if said else answered(shot)

    asked = _ASKED_IN_FRENCH if draft.french else _ASKED
    first = turns(draft, instruction=f"{draft.instruction}\n\n{asked}", reply=reply)
    calls = chain(draft, first, extra_tokens=_EXPLANATION_TOKENS)
    read = reader(draft, readers=("first_line", "label"))
    return PromptTemplate(calls=calls, answer=read, retrieval=draft.retrieval(reply))


LABEL_THEN_EXPLANATION = Format(render=_render, misfit=_misfit)
