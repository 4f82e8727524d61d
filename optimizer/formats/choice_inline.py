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
    first = one_message(draft, instruction=draft.instruction, reply=bare_reply(draft))
    return PromptTemplate(calls=chain(draft, first, label_constraint(draft)), answer=reader(draft))


CHOICE_INLINE = Format(render=_render, misfit=label_misfit)
