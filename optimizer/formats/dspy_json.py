"""The layout of DSPy's `JSONAdapter`: inputs below headers, the answer as a field of a JSON object.

The object is held to a schema, as DSPy does where a model can; what is not quite JSON is repaired, as DSPy repairs it.
"""

from optimizer.formats import Draft, Format, _dspy, reader, schema_constraint
from optimizer.prompt import PromptTemplate
from optimizer.styles import ReasoningStyle
from optimizer.task import Task


def _misfit(task: Task, style: ReasoningStyle) -> str | None:
    return _dspy.misfit(task, style) or _dspy.shaped(task)


def _render(draft: Draft) -> PromptTemplate:
    import dspy

    read = reader(draft, field=draft.task.target, readers=("json", "json_repaired"))
    constraint = schema_constraint(draft.task, reasoning=draft.style.reasons_while_answering)
    return _dspy.adapted(draft, dspy.JSONAdapter(), answer=read, constraint=constraint)


DSPY_JSON = Format(render=_render, misfit=_misfit)
