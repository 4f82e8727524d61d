"""Demonstrations as turns of the conversation; the answer is free text."""

from optimizer.formats import Draft, Format, chain, plain_reply, reader, turns
from optimizer.prompt import PromptTemplate


def _render(draft: Draft) -> PromptTemplate:
    first = turns(draft, instruction=draft.instruction, reply=plain_reply(draft))
    return PromptTemplate(calls=chain(draft, first), answer=reader(draft))


PLAIN = Format(render=_render)
