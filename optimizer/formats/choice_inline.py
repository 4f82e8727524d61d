"""Everything in one message, as in `inline`; the completion is constrained to one of the labels."""

from optimizer.formats import (
    Draft,
    Format,
    chain,
    label_constraint,
    label_misfit,
    one_message,
    plain_reply,
    reader,
)
from optimizer.prompt import PromptTemplate


def _render(draft: Draft) -> PromptTemplate:
    first = one_message(draft, instruction=draft.instruction, reply=plain_reply(draft))
    return PromptTemplate(calls=chain(draft, first, label_constraint(draft.task)), answer=reader(draft))


CHOICE_INLINE = Format(render=_render, misfit=label_misfit)
