"""The state of a DSPy program, for `dspy.Predict.load` or `dspy.ChainOfThought.load`: structural.

It holds instruction, fields and demonstrations. DSPy lays them out by its own adapter, so the words that a model reads are
not those that were scored; only prompts in one of the `dspy_*` formats are sent about as they were. It also takes the margin
off an instruction of several lines.
"""

import json
from collections.abc import Iterator

from optimizer.exporters import EVERYTHING, Exporter, Shipment, Wording
from optimizer.frozen import FrozenPrompt

_REASONING = "reasoning"

# Styles that DSPy has a module for; it knows no other's words.
_MODULES = {"direct": "Predict", "chain_of_thought": "ChainOfThought"}


def _problems(frozen: FrozenPrompt) -> Iterator[str]:
    if frozen.style not in _MODULES:
        yield f"the style {frozen.style} has words of its own"


def _write(shipment: Shipment) -> tuple[str]:
    frozen, wording = shipment.frozen, shipment.wording
    assert wording is not None  # the format asks for it
    reasons = frozen.style == "chain_of_thought"
    names = [*frozen.inputs, *([_REASONING] if reasons else []), *wording.targets]
    state: dict[str, object] = {
        "traces": [],
        "train": [],
        "demos": list(_demonstrations(wording)),
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
        "signature": f"{', '.join(frozen.inputs)} -> {', '.join(wording.targets)}",
        **origin,
    }
    text = json.dumps({**document, "metadata": about}, ensure_ascii=False, allow_nan=False, indent=2)
    return (text + "\n",)


def _demonstrations(wording: Wording) -> Iterator[dict[str, object]]:
    for example in wording.demonstrations:
        yield {**example.values, **_targets(example.target, wording.targets)}


def _targets(target: str, names: tuple[str, ...]) -> dict[str, object]:
    if len(names) == 1:
        return {names[0]: target}
    parts: dict[str, object] = json.loads(target)
    return {name: parts.get(name) for name in names}


def _title(name: str) -> str:
    """Return the prefix that DSPy infers from the name of a field."""
    return " ".join(word if word.isupper() else word.capitalize() for word in name.split("_"))


dspy_state = Exporter(
    suffix=".dspy.json",
    write=_write,
    carries=EVERYTHING - {"calls", "retrieval", "images"},
    problems=_problems,
    structural=True,
)
