"""Demonstrations as turns of the conversation; the completion is constrained to one of the labels."""

from optimizer.formats import Draft, Format, chain, label_constraint, label_misfit, plain_reply, reader, turns
from optimizer.prompt import PromptTemplate


def _render(draft: Draft) -> PromptTemplate:
    first = turns(draft, instruction=draft.instruction, reply=plain_reply(draft))
    return PromptTemplate(calls=chain(draft, first, label_constraint(draft)), answer=reader(draft))


CHOICE = Format(render=_render, misfit=label_misfit)
