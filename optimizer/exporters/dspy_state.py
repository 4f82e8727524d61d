"""The state of a DSPy program, for `dspy.Predict.load` or `dspy.ChainOfThought.load`: structural.

It holds instruction, fields and demonstrations. DSPy lays them out by its own adapter, so the words that a model reads are
not those that were scored; only prompts in one of the `dspy_*` formats are sent about as they were. It also takes the margin
off an instruction of several lines.

A state has no types and no decoding parameters. Under `metadata`, `signature` is what the program is made of before it
loads the state, with the types of its answers, and `parameters` are for the `dspy.LM`:

    program = dspy.Predict(metadata["signature"])
    program.load(path)
    dspy.configure(lm=dspy.LM(name, **metadata["parameters"]))
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint
from optimizer.dataset import Example
from optimizer.exporters import Exporter, Shipment, Wording
from optimizer.frozen import FrozenPrompt

_REASONING = "reasoning"

# Styles that DSPy has a module for; it knows no other's words.
_MODULES = {"direct": "Predict", "chain_of_thought": "ChainOfThought"}

# What DSPy writes in place of a reasoning where a demonstration has none.
_NONE = "Not supplied for this particular example."

# Types of Python by those of a JSON Schema, where DSPy writes and reads values of them as JSON.
_TYPES = {"number": "float", "integer": "int", "boolean": "bool", "array": "list", "object": "dict[str, Any]"}


def _problems(frozen: FrozenPrompt) -> Iterator[str]:
    if frozen.style not in _MODULES:
        yield f"the style {frozen.style} has words of its own"
    elif _reasons(frozen) and len(_turns(frozen)) != len(frozen.demonstration_ids):
        yield "the demonstrations and what they reason, if they do, are not turns of the conversation"


def _write(shipment: Shipment) -> tuple[str]:
    frozen, wording = shipment.frozen, shipment.wording
    assert wording is not None  # the format asks for it
    reasons, targets = _reasons(frozen), _typed(wording.targets, frozen.template.answer)
    names = [*frozen.inputs, *([_REASONING] if reasons else []), *wording.targets]
    state: dict[str, object] = {
        "traces": [],
        "train": [],
        "demos": list(_demonstrations(frozen, wording)),
        "signature": {
            "instructions": wording.instruction,
            "fields": [{"prefix": f"{_title(name)}:", "description": f"${{{name}}}"} for name in names],
        },
        "lm": None,
    }
    document: dict[str, object] = {"predict": state} if reasons else state
    # Its words are not those that were scored, so the score is none of its own.
    origin = {name: value for name, value in shipment.provenance.items() if name != "test"}
    about = {
        "dependency_versions": {},
        "fidelity": "structural",
        "module": _MODULES.get(frozen.style, "Predict"),
        "signature": f"{', '.join(frozen.inputs)} -> {', '.join(targets)}",
        "parameters": dict(shipment.call.parameters),
        **origin,
    }
    text = json.dumps({**document, "metadata": about}, ensure_ascii=False, allow_nan=False, indent=2)
    return (text + "\n",)


def _reasons(frozen: FrozenPrompt) -> bool:
    return frozen.style == "chain_of_thought"


def _turns(frozen: FrozenPrompt) -> list[tuple[str, str]]:
    """Return what is said before each turn of the assistant, and that turn, of those that are literal text."""
    messages = frozen.template.calls[0].messages
    return [
        ("".join(part for part in before.parts if isinstance(part, str)), after.parts[0])
        for before, after in pairwise(messages)
        if after.role == "assistant" and len(after.parts) == 1 and isinstance(after.parts[0], str)
    ]


def _demonstrations(frozen: FrozenPrompt, wording: Wording) -> Iterator[dict[str, object]]:
    """Yield the demonstrations in DSPy's form, with the reasoning that the prompt shows."""
    answer, turns = frozen.template.answer, _turns(frozen) if _reasons(frozen) else []
    for n, example in enumerate(wording.demonstrations):
        said = answer.reasoning(_turn_of(example, turns, n)).strip()
        reasoning = {_REASONING: said} if said not in ("", _NONE) else {}
        yield {**example.values, **reasoning, **_targets(example.target, wording.targets, answer)}


def _turn_of(example: Example, turns: Sequence[tuple[str, str]], n: int) -> str:
    """Return the turn that answers an example: an adapter of DSPy shows them in another order than they are in."""
    shown = [reply for asked, reply in turns if all(text in asked for text in example.values.values())]
    return shown[0] if len(shown) == 1 else turns[n][1] if n < len(turns) else ""


def _targets(target: str, names: tuple[str, ...], answer: AnswerFormat) -> dict[str, object]:
    if len(names) == 1:
        return {names[0]: json.loads(target) if answer.kind in ("number", "labels", "json") else target}
    parts: dict[str, object] = json.loads(target)
    return {name: parts.get(name) for name in names}


def _typed(names: Sequence[str], answer: AnswerFormat) -> Iterator[str]:
    """Yield the fields of what is asked for as a signature names them, with their types where they are no text."""
    schema: Mapping[str, Any] = Constraint(json_schema=answer.schema or "{}").schema()
    if len(names) > 1:
        kinds = schema.get("properties", {})
    elif answer.kind == "json":
        kinds = {names[0]: schema}
    else:
        one = {"enum": list(answer.labels)} if answer.labels else {"type": answer.kind}
        kinds = {names[0]: {"type": "array", "items": one} if answer.kind == "labels" else one}
    for name in names:
        kind = _type(kinds.get(name))
        yield f"{name}: {kind}" if kind else name


def _type(schema: object) -> str:
    """Return the type of Python that a JSON Schema asks for, "" for a text or where it asks for none in particular."""
    told = schema if isinstance(schema, dict) else {}
    values, kind = told.get("enum"), str(told.get("type", ""))
    if isinstance(values, list) and values and all(isinstance(each, str) for each in values):
        # What parts inputs and outputs must occur once.
        quoted = (repr(each).replace("->", r"-\x3e") for each in values)
        return f"Literal[{', '.join(quoted)}]"
    if kind == "array" and (inner := _type(told.get("items"))):
        return f"list[{inner}]"
    return "list[str]" if kind == "array" and _is_text(told.get("items")) else _TYPES.get(kind, "")


def _is_text(schema: object) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "string"


def _title(name: str) -> str:
    """Return the prefix that DSPy infers from the name of a field."""
    return " ".join(word if word.isupper() else word.capitalize() for word in name.split("_"))


dspy_state = Exporter(
    suffix=".dspy.json",
    write=_write,
    problems=_problems,
    structural=True,
)
