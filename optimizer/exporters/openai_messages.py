"""The body of an OpenAI chat completion, with a placeholder for each input.

Replace all placeholders in one pass over the literal text, never one after the other: a value may contain the
placeholder of another input. The file names them, and each occurs in the text only where an input belongs.
"""

import json

from optimizer.completion import Constraint
from optimizer.exporters import LossyExportError, exporter
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, MessageTemplate


@exporter(".openai.json")
def openai_messages(frozen: FrozenPrompt) -> str:
    """Return `messages`, `parameters`, `response_format` and `placeholders` as JSON.

    Raises:
        LossyExportError: For a prompt of several calls, one that shows images or starts the model's own turn, one whose answer is
            constrained to a list of texts, and one that picks its demonstrations for each input: a list of messages
            of OpenAI's chat API has no words for these.
    """
    call = _carried(frozen)
    placeholders = _placeholders(frozen.inputs, call)
    document: dict[str, object] = {
        "messages": [_message(message, placeholders) for message in call.messages],
        "parameters": dict(call.parameters),
        "placeholders": placeholders,
        "response_format": _response_format(call.constraint),
        "answer": frozen.template.answer.to_dict(),
        "fingerprint": frozen.fingerprint,
        "preconditions": _preconditions(frozen),
    }
    # Not sorted: the order of a schema's fields is the order in which a model writes them.
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def _carried(frozen: FrozenPrompt) -> CallTemplate:
    calls = frozen.template.calls
    reason = None
    if frozen.template.retrieval is not None:
        reason = (
            "the prompt picks its demonstrations for each input, and a list of messages is the same for all"
        )
    elif len(calls) > 1:
        reason = f"the prompt makes {len(calls)} calls, and a list of messages is one"
    elif frozen.template.shows_images:
        reason = "the prompt shows images, and a placeholder stands for a text"
    elif calls[0].messages[-1].role == "assistant":
        reason = "the prompt starts the model's own turn, which this API does not continue"
    elif calls[0].constraint is not None and calls[0].constraint.choice:
        reason = "the answer is constrained to a list of texts, which this API cannot express"
    if reason:
        raise LossyExportError(reason, instead="native")
    return calls[0]


def _placeholders(names: tuple[str, ...], call: CallTemplate) -> dict[str, str]:
    """Return a placeholder for each input; none occurs in the literal text or is another's.

    Without braces inside, none can begin in a literal and end in another placeholder.
    """
    parts = [part for message in call.messages for part in message.parts]
    taken = "".join(f"{p.lead}{p.tail}" if isinstance(p, Hole) else p for p in parts)
    placeholders = {}
    for name in names:
        stem, n = name.replace("{", "").replace("}", ""), 1
        placeholder = f"{{{{{stem}}}}}"
        while placeholder in taken:
            n += 1
            placeholder = f"{{{{{stem}#{n}}}}}"
        placeholders[name] = placeholder
        taken += placeholder
    return placeholders


def _message(message: MessageTemplate, placeholders: dict[str, str]) -> dict[str, str]:
    texts = (
        f"{p.lead}{placeholders[p.name.partition(':')[2]]}{p.tail}" if isinstance(p, Hole) else p
        for p in message.parts
    )
    return {"role": message.role, "content": "".join(texts)}


def _response_format(constraint: Constraint | None) -> dict[str, object] | None:
    if constraint is None:
        return None
    described = {"name": "answer", "strict": True, "schema": constraint.schema()}
    return {"type": "json_schema", "json_schema": described}


def _preconditions(frozen: FrozenPrompt) -> list[str]:
    holes = frozen.template.holes()
    tokens = sorted({token for hole in holes for token in hole.neutralise})
    found = [f"no input contains a control token of the model: {' '.join(tokens)}"] if tokens else []
    optional = dict.fromkeys(hole.name.partition(":")[2] for hole in holes if hole.lead or hole.tail)
    return [*found, *([f"no optional input is empty: {', '.join(optional)}"] if optional else [])]
