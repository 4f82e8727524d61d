"""The layout of DSPy's `ChatAdapter`: every field below a header such as `[[ ## answer ## ]]`.

The answer is read as DSPy reads it, from its header to the next one. A second call in JSON when that fails, which DSPy
makes unless told otherwise, is not made.
"""

from optimizer.formats import Draft, Format, _dspy, parsers, reader
from optimizer.prompt import PromptTemplate
from optimizer.styles import ReasoningStyle
from optimizer.task import Task


def _misfit(task: Task, style: ReasoningStyle) -> str | None:
    return _dspy.misfit(task, style) or _dspy.shaped(task)


def _render(draft: Draft) -> PromptTemplate:
    import dspy

    section = rf"regex:(?ms)^[ \t]*\[\[ ## {draft.task.target} ## \]\](.*?)(?=^[ \t]*\[\[ ## \w+ ## \]\]|\Z)"
    read = reader(draft, readers=(section, *parsers(draft.task.output)))
    return _dspy.adapted(draft, dspy.ChatAdapter(), answer=read)


DSPY_CHAT = Format(render=_render, misfit=_misfit)
