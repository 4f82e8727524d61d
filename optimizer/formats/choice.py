"""Demonstrations as turns of the conversation; the completion is constrained to one of the labels."""

from optimizer.formats import Draft, Format, chain, label_constraint, label_misfit, plain_reply, reader, turns
from optimizer.prompt import PromptTemplate


def _render(draft: Draft) -> PromptTemplate:
    reply = plain_reply(draft)
    first = turns(draft, instruction=draft.instruction, reply=reply)
    calls = chain(draft, first, label_constraint(draft))
    return PromptTemplate(calls=calls, answer=reader(draft), retrieval=draft.retrieval(reply))


CHOICE = Format(render=_render, misfit=label_misfit)
