"""Everything in one message, demonstrations as named fields; the answer is free text after the last name."""

from optimizer.formats import Draft, Format, bare_reply, chain, one_message, reader
from optimizer.prompt import PromptTemplate


def _render(draft: Draft) -> PromptTemplate:
    first = one_message(draft, instruction=draft.instruction, reply=bare_reply(draft))
    return PromptTemplate(calls=chain(draft, first), answer=reader(draft))


INLINE = Format(render=_render)
