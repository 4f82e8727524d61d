"""The layout of DSPy's `ChatAdapter`: every field below a header such as `[[ ## answer ## ]]`.

The answer is read as DSPy reads it, from its header to the next one. A reply without that header is read whole; DSPy
refuses it, and makes a second call in JSON unless told otherwise, which is not made here.
"""

from optimizer.formats import Draft, Format, _dspy, parsers, reader
from optimizer.prompt import PromptTemplate
from optimizer.styles import ReasoningStyle
from optimizer.task import Task

# The header that ends every reply, so that a target of that name could not be told from the end.
_END = "completed"


def _misfit(task: Task, style: ReasoningStyle) -> str | None:
    if task.target == _END:
        return f"ends every reply with the header '{_END}', and the task's own target has that name"
    return _dspy.misfit(task, style) or _dspy.shaped(task)


def _render(draft: Draft) -> PromptTemplate:
    import dspy

    section = rf"regex:(?ms)^[ \t]*\[\[ ## {draft.task.target} ## \]\](.*?)(?=^[ \t]*\[\[ ## \w+ ## \]\]|\Z)"
    read = reader(draft, readers=(section, *parsers(draft.task.output)))
    return _dspy.adapted(draft, dspy.ChatAdapter(), answer=read)


DSPY_CHAT = Format(render=_render, misfit=_misfit)
