"""The body of an OpenAI chat completion, with a placeholder for each input.

Replace all placeholders in one pass over the literal text, never one after the other: a value may contain the
placeholder of another input. The file names them, and each occurs in the text only where an input belongs.
"""

import json
from collections.abc import Mapping, Sequence

from optimizer.answer import AnswerFormat
from optimizer.exporters import Exporter, Shipment
from optimizer.exporters._chat import (
    UNSAID,
    constraint_of,
    content_of,
    format_left,
    one_call,
    parsed,
    parts_of,
    placeholders_for,
    refuse_tools,
    response_format,
    role_of,
    text_of,
    usual_placeholders,
)
from optimizer.prompt import MessageTemplate, PromptTemplate

# The decoding parameters of a request's body, where they stand beside the messages.
_PARAMETERS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "max_tokens",
    "max_completion_tokens",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "stop",
    "n",
    "reasoning_effort",
    "verbosity",
)


def _read(text: str, inputs: Sequence[str]) -> PromptTemplate:
    """Return the template of a file of ours, or of any list of messages or body of a request.

    What the system says may stand beside the messages, as in a request to Anthropic's API.

    Raises:
        ValueError: When it is none.
    """
    document = parsed(text)
    body = document if isinstance(document, dict) else {"messages": document}
    messages = body.get("messages")
    if isinstance(messages, list) and body.get("system"):
        messages = [{"role": "system", "content": body["system"]}, *messages]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError("expected a list of messages, or an object that holds one as `messages`")
    for holder in (body, *messages):
        refuse_tools(holder)
    if any(message.get("name") for message in messages):
        raise ValueError("messages: expected messages of a role and a text, found one with a name")
    named, answer = body.get("placeholders"), body.get("answer")
    shown = {str(shown): str(name) for name, shown in named.items()} if isinstance(named, dict) else None
    said = [(role_of(each.get("role")), text_of(each.get("content"))) for each in messages]
    holes = usual_placeholders(inputs, "\n".join(content for _, content in said)) if shown is None else shown
    read = [MessageTemplate(role=role, parts=parts_of(content, holes)) for role, content in said]
    return one_call(
        read,
        _parameters(body),
        constraint=constraint_of(body.get("response_format")),
        answer=AnswerFormat.from_dict(answer) if isinstance(answer, dict) else UNSAID,
    )


def _parameters(body: Mapping[str, object]) -> dict[str, float | int | str]:
    """Return the decoding parameters of a body, those of `parameters`, as we write them, before those beside the messages.

    Several texts to stop at are their JSON. What asks for another form of the answer than a schema is a parameter too.
    """
    told, found = body.get("parameters"), dict[str, float | int | str]()
    for name in _PARAMETERS:
        value = body.get(name)
        if name == "stop" and isinstance(value, list) and value:
            value = value[0] if len(value) == 1 else json.dumps(value, ensure_ascii=False)
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            found[name] = value
    return {
        **found,
        **(told if isinstance(told, Mapping) else {}),
        **format_left(body.get("response_format")),
    }


def _write(shipment: Shipment) -> tuple[str]:
    """Return `messages`, `parameters`, `response_format` and `placeholders` as JSON."""
    call = shipment.call
    placeholders = placeholders_for(shipment.frozen.inputs, call)
    document: dict[str, object] = {
        "messages": [
            {"role": message.role, "content": content_of(message, placeholders)} for message in call.messages
        ],
        "parameters": dict(call.parameters),
        "placeholders": placeholders,
        "response_format": response_format(call.constraint),
        **shipment.provenance,
    }
    # Not sorted: the order of a schema's fields is the order in which a model writes them.
    return (json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n",)


openai_messages = Exporter(
    suffix=".openai.json", write=_write, carries=frozenset({"json_schema"}), read=_read
)
