"""Everything in one message, demonstrations as named fields; the answer is free text after the last name."""

from optimizer.formats import Draft, Format, bare_reply, chain, one_message, reader
from optimizer.prompt import PromptTemplate


def _render(draft: Draft) -> PromptTemplate:
    reply = bare_reply(draft)
    first = one_message(draft, instruction=draft.instruction, reply=reply)
    calls = chain(draft, first)
    return PromptTemplate(calls=calls, answer=reader(draft), retrieval=draft.retrieval(reply))


INLINE = Format(render=_render)
