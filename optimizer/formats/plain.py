"""Demonstrations as turns of the conversation; the answer is free text."""

from optimizer.formats import Draft, Format, chain, plain_reply, reader, turns
from optimizer.prompt import PromptTemplate


def _render(draft: Draft) -> PromptTemplate:
    reply = plain_reply(draft)
    first = turns(draft, instruction=draft.instruction, reply=reply)
    calls = chain(draft, first)
    return PromptTemplate(calls=calls, answer=reader(draft), retrieval=draft.retrieval(reply))


PLAIN = Format(render=_render)
