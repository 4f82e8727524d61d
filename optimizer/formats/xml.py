"""Inputs in XML tags of their names; the answer is what stands in a tag of its own, after a reasoning in another.

Nothing is escaped, because models read the tags as marks and not as a document: a text that holds a closing tag is
shown as it is. It stays inside its message, and what it says of an answer is not read, since only the completion is.
"""

from collections.abc import Mapping

from optimizer.answer import reader_problem
from optimizer.candidate import Demonstration
from optimizer.formats import Draft, Format, Part, below, chain, message, parsers, reader, tokens_of
from optimizer.prompt import MessageTemplate, PromptTemplate
from optimizer.styles import ReasoningStyle
from optimizer.task import Task


def _misfit(task: Task, style: ReasoningStyle) -> str | None:
    if style.opener and style.n_calls == 1:
        return "starts with a tag, and not with the words that the style puts into the model's mouth"
    unfit = [name for name in (*task.inputs, task.target) if reader_problem(f"xml:{name}")]
    if unfit:
        return f"makes tags of the columns' names, and {', '.join(map(repr, unfit))} can be none"
    if style.reasons_while_answering and "reasoning" in (*task.inputs, task.target):
        return "has a tag 'reasoning' before the answer, and a column of the task has that name"
    return None


def _render(draft: Draft) -> PromptTemplate:
    target, reasoning = draft.task.target, draft.style.reasons_while_answering

    def reply(shot: Demonstration) -> str:
        said = draft.reasoning(shot)
        answer = f"<{target}>{draft.shown(shot.target)}</{target}>"
        return f"<reasoning>{said}</reasoning>\n{answer}" if said else answer

    asked = draft.field_instruction if reasoning else draft.instruction
    messages = [message("system", f"{asked}\n\n{_wanted(draft)}")]
    for shown, answer in draft.shots(reply):
        messages += [_inputs(draft, shown), message("assistant", answer)]
    messages.append(_inputs(draft, {name: draft.hole(f"input:{name}") for name in draft.task.inputs}))
    frame = f"<{target}></{target}>" + ("<reasoning></reasoning>" if reasoning else "")
    read = reader(draft, readers=(f"xml:{target}", *parsers(draft.task.output)))
    return PromptTemplate(
        calls=chain(draft, messages, extra_tokens=tokens_of(frame)),
        answer=read,
        retrieval=draft.retrieval(reply),
    )


def _inputs(draft: Draft, values: Mapping[str, Part]) -> MessageTemplate:
    """Return a turn of the user: each input in its tag."""
    return message("user", *below(draft.task, values, lambda name: (f"<{name}>\n", f"\n</{name}>")))


def _wanted(draft: Draft) -> str:
    """Return the sentence that asks for the tags, in the language of the task where that is French."""
    tag = f"<{draft.task.target}></{draft.task.target}>"
    before = "<reasoning></reasoning>"
    if draft.style.reasons_while_answering:
        if draft.french:
            return f"Écrivez votre raisonnement entre {before}, puis la réponse seule entre {tag}."
        return f"Write your reasoning inside {before}, then the answer alone inside {tag}."
    return (
        f"Écrivez la réponse seule entre {tag}." if draft.french else f"Write the answer alone inside {tag}."
    )


XML = Format(render=_render, misfit=_misfit)
