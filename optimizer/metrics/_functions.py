"""Functions of a task's own as metrics: what they are called with, by the names of their arguments.

| arguments | it is called with |
|---|---|
| `answer` and `target`, in any order | two texts |
| `example` and `prediction`, or as metrics for DSPy name them, and perhaps a trace | two records, and None for the trace |

Others are refused: records taken for texts would never be equal, and every answer would score 0.
"""

import ast
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from inspect import Parameter, Signature
from typing import Any

from optimizer.answer import Answer
from optimizer.dataset import Example
from optimizer.metrics import Metric, Setting

_TEXTS = ("answer", "target")
# What the first and the second argument of metrics for DSPy are called, besides names with these in them.
_EXAMPLE, _PREDICTION = ("example", "gold"), ("pred",)
_EXAMPLES = frozenset(("x", "ex", "sample", "instance", "item", "row", "record", "datum", "data", "case"))
_PREDICTIONS = frozenset(("output", "outputs", "program_output", "response", "result", "completion"))
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_OF_DSPY = 2  # arguments besides the trace


def metric_of(function: Callable[..., Any], target: str) -> Metric:
    """Return the metric that a function makes; an answer that could not be read scores 0 without it.

    Args:
        target: What the right answer is called in the records that DSPy's way hands over.

    Raises:
        ValueError: When its arguments are not known, or of neither kind.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise ValueError(f"{_expected()}, found a function whose arguments have no names") from None
    if not takes_texts(signature):
        return Metric(judged=_as_dspy_does(function, signature, target))
    if inspect.iscoroutinefunction(function):
        return Metric(judged=_awaited(function, signature))
    return Metric(score=lambda answer, target, _setting: _plainly(function, signature, answer, target))


def takes_texts(signature: Signature) -> bool:
    """Return whether a function takes the answer and the target as texts, not records as DSPy has it.

    Raises:
        ValueError: When its arguments are of neither kind.
    """
    parameters = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    named = [each for each in parameters if each.kind is not each.VAR_POSITIONAL]
    needed = [each for each in named if each.default is each.empty]
    if sorted(each.name for each in named[:2]) == sorted(_TEXTS):
        if any(each.name not in _TEXTS for each in needed):
            raise ValueError(f"{_expected()}, found {_shown(parameters)}")
        return True
    by_position = [each for each in parameters if each.kind in _BY_POSITION]
    open_ended = len(named) < len(parameters)
    alone = all(each in by_position for each in needed) and len(needed) <= _OF_DSPY + 1
    if not alone or not (open_ended or _is_of_dspy([each.name for each in by_position], len(needed))):
        raise ValueError(f"{_expected()}, found {_shown(parameters)}")
    return False


def _is_of_dspy(names: Sequence[str], n_needed: int) -> bool:
    """Return whether arguments are those of a metric for DSPy: by a trace, or by what the first two are called."""
    if len(names) > _OF_DSPY and (n_needed > _OF_DSPY or "trace" in names[_OF_DSPY]):
        return True
    if len(names) < _OF_DSPY:
        return False
    first, second = (name.strip("_").lower() for name in names[:_OF_DSPY])
    return (first in _EXAMPLES or any(part in first for part in _EXAMPLE)) and (
        second in _PREDICTIONS or any(part in second for part in _PREDICTION)
    )


def _expected() -> str:
    return "expected (answer, target), or (example, prediction) as DSPy has it"


def _shown(parameters: Sequence[Parameter]) -> str:
    return f"({', '.join('*' * (each.kind is each.VAR_POSITIONAL) + each.name for each in parameters)})"


def written_signature(arguments: ast.arguments) -> Signature:
    """Return the signature of a function as its file has it, without running any of it; defaults are not evaluated."""
    found: list[Parameter] = []
    ordered = [*arguments.posonlyargs, *arguments.args]
    n_needed = len(ordered) - len(arguments.defaults)
    for n, each in enumerate(ordered):
        kind = (
            Parameter.POSITIONAL_ONLY if n < len(arguments.posonlyargs) else Parameter.POSITIONAL_OR_KEYWORD
        )
        found.append(Parameter(each.arg, kind, default=Parameter.empty if n < n_needed else None))
    if arguments.vararg:
        found.append(Parameter(arguments.vararg.arg, Parameter.VAR_POSITIONAL))
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        value = Parameter.empty if default is None else None
        found.append(Parameter(each.arg, Parameter.KEYWORD_ONLY, default=value))
    return Signature(found)


def _plainly(function: Callable[..., Any], signature: Signature, answer: Answer, target: str) -> float:
    if answer.text is None:
        return 0.0
    return float(_called(function, *_texts(signature, answer.text, target)))


def _awaited(
    function: Callable[..., Any], signature: Signature
) -> Callable[[Answer, Example, Setting], Awaitable[float]]:
    """Return a metric that calls a coroutine function of the answer and the target."""

    async def judged(answer: Answer, example: Example, _setting: Setting) -> float:
        if answer.text is None:
            return 0.0
        given, named = _texts(signature, answer.text, example.target)
        return float(await _finished(function(*given, **named)))

    return judged


def _texts(signature: Signature, answer: str, target: str) -> tuple[list[str], dict[str, str]]:
    """Return the two texts as a function takes them: by position in its order, and by name."""
    texts, parameters = {"answer": answer, "target": target}, signature.parameters
    given = [texts[name] for name in parameters if name in texts and parameters[name].kind in _BY_POSITION]
    return given, {name: texts[name] for name in texts if parameters[name].kind is Parameter.KEYWORD_ONLY}


def _called(function: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return what a function makes of its arguments.

    Raises:
        RuntimeError: When it would end the program, of which one example is no reason.
    """
    try:
        return function(*given, **named)
    except SystemExit as error:
        raise _ended(error) from None


async def _finished(awaitable: Awaitable[Any]) -> Any:  # noqa: ANN401  # whatever the function returns
    try:
        return await awaitable
    except SystemExit as error:
        raise _ended(error) from None


def _ended(error: SystemExit) -> RuntimeError:
    """Return the failure that an exit of the program is; it tells the same line."""
    return RuntimeError(f"it exits the program with {error.code!r}").with_traceback(error.__traceback__)


class Record(dict[str, Any]):
    """Named values as DSPy's examples and predictions hold them: by attribute and by key."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # a field holds anything
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def toDict(self) -> dict[str, Any]:  # noqa: N802  # DSPy's name
        """Return the values by name."""
        return dict(self)


def _as_dspy_does(
    function: Callable[..., Any], signature: Signature, target: str
) -> Callable[[Answer, Example, Setting], Awaitable[float]]:
    """Return a metric that calls a function with DSPy's signature: example, prediction, and perhaps a trace."""
    parameters = list(signature.parameters.values())
    third = [each for each in parameters if each.kind in _BY_POSITION][_OF_DSPY:][:1]
    traced = any(each.kind is each.VAR_POSITIONAL for each in parameters) or any(
        each.default is each.empty or "trace" in each.name for each in third
    )

    async def judged(answer: Answer, example: Example, _setting: Setting) -> float:
        if answer.text is None:
            return 0.0
        gold = Record({**example.values, target: _valued(example.target)})
        given = [gold, Record({target: _valued(answer.text)}), *([None] if traced else [])]
        found = _called(function, given, {})
        if inspect.isawaitable(found):
            found = await _finished(found)
        return float(found.score if hasattr(found, "score") else found)

    return judged


def _valued(text: str) -> Any:  # noqa: ANN401  # what a field of several holds
    """Return the object or list that a text is, for tasks with such answers, else the text."""
    if text[:1] not in "{[":
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return Record(value) if isinstance(value, dict) else value
