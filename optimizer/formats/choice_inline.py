"""Everything in one message, as in `inline`; the completion is constrained to one of the labels."""

from optimizer.formats import (
    Draft,
    Format,
    bare_reply,
    chain,
    label_constraint,
    label_misfit,
    one_message,
    reader,
)
from optimizer.prompt import PromptTemplate


def _render(draft: Draft) -> PromptTemplate:
    reply = bare_reply(draft)
    first = one_message(draft, instruction=draft.instruction, reply=reply)
    calls = chain(draft, first, label_constraint(draft))
    return PromptTemplate(calls=calls, answer=reader(draft), retrieval=draft.retrieval(reply))


CHOICE_INLINE = Format(render=_render, misfit=label_misfit)
