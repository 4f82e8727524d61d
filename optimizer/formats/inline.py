"""Everything in one message, demonstrations as named fields; the answer is free text after the last name."""

from optimizer.formats import Draft, Format, chain, one_message, plain_reply, reader
from optimizer.prompt import PromptTemplate


def _render(draft: Draft) -> PromptTemplate:
    first = one_message(draft, instruction=draft.instruction, reply=plain_reply(draft))
    return PromptTemplate(calls=chain(draft, first), answer=reader(draft))


INLINE = Format(render=_render)
