"""LangChain manifests, which Python and JavaScript load alike: a chat prompt of f-strings.

prompt = loads(text, allowed_objects="core")
model.bind(**prompt.metadata["parameters"], response_format=prompt.metadata["response_format"]).invoke(prompt.invoke(inputs))

A chat prompt has no place for decoding parameters and none for what an answer may be. They are in its `metadata`, ready
to be handed to the model as above, those that OpenAI's client has no argument for in `extra_body`; `response_format` is
there where the answer is constrained to a JSON Schema. Where the prompt comes from is `metadata["optimizer"]`. Manifests
that LangChain itself writes are read as well; nothing in them is made or looked up.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from string import Formatter

from optimizer.answer import AnswerFormat
from optimizer.exporters import Exporter, LossyExportError, Shipment
from optimizer.exporters._chat import (
    EXTRA,
    UNSAID,
    arguments_of,
    constraint_of,
    format_left,
    one_call,
    parsed,
    response_format,
    role_of,
    scalars,
)
from optimizer.exporters._frontmatter import input_of, is_unicode, joined, messages_of, part
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import Hole, MessageTemplate, PromptTemplate

# Theirs by ours.
_TEMPLATES = {
    "system": "SystemMessagePromptTemplate",
    "user": "HumanMessagePromptTemplate",
    "assistant": "AIMessagePromptTemplate",
}
_ROLES: dict[str, str | None] = {
    **{name: role for role, name in _TEMPLATES.items()},
    "SystemMessage": "system",
    "HumanMessage": "user",
    "AIMessage": "assistant",
    "ChatMessage": None,  # these two name their role
    "ChatMessagePromptTemplate": None,
}

# What makes more of a message than its role and its text.
_MORE = ("additional_kwargs", "name", "tool_calls", "invalid_tool_calls")

# A mapping that looks like an object of the library is one, unless it is under this key alone.
_ESCAPED = "__lc_escaped__"

# Further down the library for JavaScript, whose bound is 50, reads no value that is not under that key.
_DEEPEST = 30

# Names that f-strings take for something else, that one of the libraries keeps for itself, or that no object can have.
_SIGNS = frozenset("{}[].!:")
_RESERVED = frozenset({"", "self", "stop", "__proto__"})


def _read(text: str, inputs: Sequence[str]) -> PromptTemplate:
    """Return the template of a manifest of a chat prompt, or of a prompt of one text, which is the user's.

    Raises:
        ValueError: When it is none, or holds more than names and text.
    """
    del inputs  # the text declares its own
    try:
        return _template(parsed(text))
    except RecursionError as error:
        raise ValueError("expected a LangChain manifest, found one nested without end") from error


def _template(manifest: object) -> PromptTemplate:
    kind, prompt = _constructed(manifest)
    partials = _partials(prompt)
    if kind == "PromptTemplate":
        messages = [MessageTemplate(role="user", parts=tuple(_parts(manifest, {})))]
    elif kind == "ChatPromptTemplate":
        listed = prompt.get("messages")
        if not isinstance(listed, list) or prompt.get("template_format", "f-string") != "f-string":
            raise ValueError("expected a chat prompt with a list of messages and f-strings")
        messages = [_message(each, partials) for each in listed]
    else:
        raise ValueError(f"expected a ChatPromptTemplate or a PromptTemplate, found {kind}")
    metadata = part(prompt, "metadata")
    parameters, said, response = (
        _unescaped(metadata.get(name)) for name in ("parameters", "optimizer", "response_format")
    )
    answer = said.get("answer") if isinstance(said, dict) else None
    told = dict(parameters) if isinstance(parameters, dict) else {}
    more = part(told, EXTRA)
    if more:
        del told[EXTRA]
    return one_call(
        messages,
        {**told, **scalars(more), **format_left(response)},
        constraint=constraint_of(response),
        answer=AnswerFormat.from_dict(answer) if isinstance(answer, dict) else UNSAID,
    )


def _constructed(manifest: object) -> tuple[str, dict[str, object]]:
    """Return the class that a manifest names, and what it is made of.

    Raises:
        ValueError: When it names none of LangChain's.
    """
    found = manifest if isinstance(manifest, dict) else {}
    path, made_of = found.get("id"), found.get("kwargs")
    if found.get("lc") != 1 or found.get("type") != "constructor" or not isinstance(made_of, dict):
        raise ValueError("expected a LangChain manifest: lc is 1, type is constructor, with id and kwargs")
    if not isinstance(path, list) or not path or path[0] not in ("langchain", "langchain_core"):
        raise ValueError(f"expected the id of a class of langchain_core, found {str(path)[:80]!r}")
    return str(path[-1]), made_of


def _partials(prompt: Mapping[str, object]) -> dict[str, str]:
    """Return the texts that stand for some inputs already.

    Raises:
        ValueError: When one is no text, but what is to be called or made.
    """
    partials = part(prompt, "partial_variables")
    texts = {name: text for name, text in partials.items() if isinstance(text, str)}
    if len(texts) < len(partials):
        raise ValueError("partial_variables: expected texts alone")
    return texts


def _message(manifest: object, partials: Mapping[str, str]) -> MessageTemplate:
    kind, message = _constructed(manifest)
    if kind not in _ROLES:
        raise ValueError(f"expected a message or a template of one, found {kind}")
    more = [name for name in _MORE if message.get(name)]
    if more:
        raise ValueError(f"expected a message of a role and a text, found {more[0]}")
    role = role_of(_ROLES[kind] or message.get("role"))
    if kind.endswith("PromptTemplate"):
        return MessageTemplate(role=role, parts=tuple(_parts(message.get("prompt"), partials)))
    content = message.get("content")
    if not isinstance(content, str):
        raise ValueError("content: expected text")
    return MessageTemplate(role=role, parts=(content,))


def _parts(manifest: object, partials: Mapping[str, str]) -> Iterator[str | Hole]:
    """Yield the literal texts and holes of a prompt of one text, read as Python's formatter reads it.

    Raises:
        ValueError: When it is no f-string, or formats what it shows.
    """
    kind, prompt = _constructed(manifest)
    template, form = prompt.get("template"), prompt.get("template_format", "f-string")
    if kind != "PromptTemplate" or not isinstance(template, str):
        raise ValueError(f"prompt: expected a PromptTemplate with a text, found {kind}")
    if form != "f-string":
        raise ValueError(
            f"template_format: expected f-string, found {str(form)[:40]!r}, which is not names and text alone"
        )
    known = {**_partials(prompt), **partials}
    for literal, name, layout, conversion in Formatter().parse(template):
        yield literal
        if name is None:
            continue
        if layout or conversion or not _can_name(name):
            raise ValueError(f"expected the name of an input in braces, {{name}}, found {name[:40]!r}")
        yield known[name] if name in known else Hole(name=f"input:{name}")


def _write(shipment: Shipment) -> tuple[str]:
    """Return the manifest.

    Raises:
        LossyExportError: When an input cannot be named, which no loss makes up for.
    """
    unnamed = list(_unnamed(shipment.frozen))
    if unnamed:
        raise LossyExportError([f"{each}, which langchain cannot carry" for each in unnamed], instead=())
    messages = [_written(message) for message in shipment.call.messages]
    made_of = {
        "input_variables": sorted(shipment.frozen.inputs),
        "messages": messages,
        "metadata": _metadata(shipment),
    }
    manifest = _manifest("chat", "ChatPromptTemplate", made_of)
    text = json.dumps(manifest, ensure_ascii=False, allow_nan=False, indent=2)
    # Only a file that may lose something holds half of a pair, and UTF-8 cannot.
    return ((text if is_unicode(text) else json.dumps(manifest, indent=2)) + "\n",)


def _manifest(module: str, name: str, made_of: Mapping[str, object]) -> dict[str, object]:
    # What is of `langchain_core` loads in JavaScript without `langchain`, which Python itself would write here.
    path = ["langchain_core", "prompts", module, name]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": made_of, "name": name}


def _written(message: MessageTemplate) -> dict[str, object]:
    parts = joined(message)
    names = {input_of(each) for each in parts if isinstance(each, Hole)}
    texts = (
        f"{{{input_of(each)}}}" if isinstance(each, Hole) else each.replace("{", "{{").replace("}", "}}")
        for each in parts
    )
    made_of = {
        "input_variables": sorted(names),
        "template": "".join(texts),
        "template_format": "f-string",
    }
    prompt = _manifest("prompt", "PromptTemplate", made_of)
    return _manifest("chat", _TEMPLATES[message.role], {"prompt": prompt})


def _metadata(shipment: Shipment) -> dict[str, object]:
    call = shipment.call
    parameters, extra = arguments_of(call.parameters)
    found: dict[str, object] = {
        "optimizer": shipment.provenance,
        "parameters": {**parameters, **({EXTRA: extra} if extra else {})},
    }
    response = response_format(call.constraint)
    if response:
        found["response_format"] = response
    if call.messages[-1].role == "assistant":
        found["note"] = "The last message starts the model's own turn: use an endpoint that continues it."
    return {
        name: {_ESCAPED: value} if isinstance(value, dict) and _depth(value) > _DEEPEST else _escaped(value)
        for name, value in found.items()
    }


def _escaped(value: object) -> object:
    """Return plain data as the library writes it, so that no mapping in it is taken for one of its objects."""
    if isinstance(value, dict):
        if "lc" in value or set(value) == {_ESCAPED}:
            return {_ESCAPED: value}
        return {name: _escaped(each) for name, each in value.items()}
    return [_escaped(each) for each in value] if isinstance(value, (list, tuple)) else value


def _unescaped(value: object) -> object:
    """Return what was written so."""
    if isinstance(value, dict):
        if set(value) == {_ESCAPED}:
            return value[_ESCAPED]
        return {name: _unescaped(each) for name, each in value.items()}
    return [_unescaped(each) for each in value] if isinstance(value, list) else value


def _depth(value: object) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return 1 + max(map(_depth, parts), default=0)


def _can_name(name: str) -> bool:
    """Return whether an f-string can name an input, in both languages; digits alone are a place in Python."""
    return name not in _RESERVED and not _SIGNS & set(name) and not name.isdigit() and is_unicode(name)


def _unnamed(frozen: FrozenPrompt) -> list[str]:
    return [f"the input {name!r} is no name in an f-string" for name in frozen.inputs if not _can_name(name)]


def _problems(frozen: FrozenPrompt) -> Iterator[str]:
    """Yield why words cannot be carried; other than inputs without a name there is next to nothing."""
    yield from _unnamed(frozen)
    for name, parts in messages_of(frozen):
        if not all(is_unicode(each) for each in parts if isinstance(each, str)):
            yield f"{name} has half of a surrogate pair"


langchain = Exporter(
    suffix=".langchain.json",
    write=_write,
    carries=frozenset({"prefill", "json_schema"}),
    problems=_problems,
    read=_read,
)
