"""The layout of DSPy's `XMLAdapter`: every field in a tag of its name.

For labels and numbers. DSPy escapes `&` and `<` in texts that a model is to write, and writes lists and objects as
nested tags; both would have to be undone when an answer is read.
"""

from optimizer.answer import reader_problem
from optimizer.formats import Draft, Format, _dspy, parsers, reader
from optimizer.prompt import PromptTemplate
from optimizer.styles import ReasoningStyle
from optimizer.task import Task


def _misfit(task: Task, style: ReasoningStyle) -> str | None:
    if task.output not in ("label", "number"):
        return f"needs the output type label or number, and the task has {task.output}"
    marked = [label for label in task.labels if "<" in label or "&" in label]
    if marked:
        return f"reads answers as XML, in which {', '.join(map(repr, marked))} would be markup"
    if problem := reader_problem(f"xml:{task.target}"):
        return problem
    return _dspy.misfit(task, style)


def _render(draft: Draft) -> PromptTemplate:
    import dspy

    tag = draft.task.target
    read = reader(draft, readers=(f"xml:{tag}", *parsers(draft.task.output)))
    return _dspy.adapted(draft, dspy.XMLAdapter(), answer=read)


DSPY_XML = Format(render=_render, misfit=_misfit)
