"""Prompty files, version 2: YAML in front of messages in a subset of Jinja.

Of Jinja only what all runtimes of the format share is written: names of inputs, and what would open a tag as a text
in quotes. Where a file came from is JSON text under `metadata.optimizer`, in which no reference such as `${env:X}` and
no end of the front matter can stand. `model.options` hold the decoding parameters, and under `additionalProperties`,
which the runtimes hand on to OpenAI's client, the `response_format` of a JSON Schema and as `extra_body` the parameters
that the client has no argument for. The connection is the user's to add.

Files of version 1 are read as well. A reference in a connection is never looked up; elsewhere it is refused.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from optimizer.answer import AnswerFormat
from optimizer.exporters import Exporter, LossyExportError, Precondition, Shipment
from optimizer.exporters._chat import (
    EXTRA,
    UNSAID,
    arguments_of,
    constraint_of,
    format_left,
    one_call,
    parsed,
    refuse_tools,
    response_format,
    role_of,
    scalars,
)
from optimizer.exporters._frontmatter import (
    comment,
    filled,
    flow,
    has_long_key,
    in_our_words,
    in_their_words,
    input_of,
    is_unicode,
    joined,
    mapping,
    messages_of,
    part,
    with_losses,
)
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate

# A line that starts a message, after it was stripped; wider than the runtimes have it, which limit the attributes.
_ROLE = re.compile(r"#?\s*+(assistant|developer|system|user)\s*+(\[.*\])?\s*+:", re.IGNORECASE | re.DOTALL)

# Where `str.splitlines` ends a line; the runtime joins lines by the last of them alone.
_LINE_ENDS = re.compile("[\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")

_OPENERS = re.compile(r"\{\{|\{%|\{#")
_TAG = re.compile(
    r"""\{\{\s*(?:(?P<name>[^\W\d]\w*)|"(?P<double>[^"\\]*)"|'(?P<single>[^'\\]*)')\s*\}\}|\{\#.*?\#\}""",
    re.DOTALL,
)

# Words of Jinja and of its subset, and names that its rendering has taken.
_RESERVED = frozenset(
    {"and", "else", "elif", "false", "False", "for", "if", "in", "is", "loop", "none", "None", "not", "null", "or"}
    | {"self", "super", "caller", "true", "True", "varargs", "kwargs"}
)  # fmt: skip

_OPTIONS = (
    "temperature",
    "maxOutputTokens",
    "topP",
    "topK",
    "seed",
    "stopSequences",
    "frequencyPenalty",
    "presencePenalty",
)
_TEXT_KINDS = frozenset(
    {"", "string", "integer", "float", "number", "boolean", "array", "object", "union", "any"}
)


def _read(text: str, inputs: Sequence[str]) -> PromptTemplate:
    """Return the template of a file of ours, or of any whose Jinja holds names, texts and comments alone.

    Raises:
        ValueError: When it is no such file.
    """
    del inputs  # the text declares its own
    front, body = _split(re.sub(r"\r\n?", "\n", text))
    document = mapping(front)
    is_strict = _check(document)
    _refuse_references(document, body)
    model = part(document, "model")
    options, parameters = part(model, "options"), part(model, "parameters")
    more = part(options, "additionalProperties")
    response = more.get("response_format", parameters.get("response_format"))
    known = {name: options[name] for name in _OPTIONS if name in options}
    said = _provenance(document).get("answer")
    return one_call(
        list(_messages(body, is_strict=is_strict)),
        {**in_our_words(known, more, parameters), **scalars(part(more, EXTRA)), **format_left(response)},
        constraint=constraint_of(response),
        answer=AnswerFormat.from_dict(said) if isinstance(said, dict) else UNSAID,
    )


def _split(text: str) -> tuple[str, str]:
    """Return the front matter and what follows; it ends at the first run of dashes or pluses, wherever that is."""
    start = text.lstrip()
    end = re.search(r"---|\+\+\+", start[3:])
    body = start[3 + end.end() :].lstrip() if end else ""
    if not start.startswith("---") or end is None or not body:
        raise ValueError("expected a Prompty file: front matter between lines of ---, then messages")
    return start[3 : 3 + end.start()], body


def _check(document: Mapping[str, object]) -> bool:
    """Refuse what makes something else of messages than this module knows; return whether roles are guarded.

    Raises:
        ValueError: With the first of it.
    """
    refuse_tools(document)
    template, model = document.get("template", "jinja2"), part(document, "model")
    parts = template if isinstance(template, dict) else {"format": template}
    form, parser = (parts.get(name) for name in ("format", "parser"))
    kinds = [each.get("kind") if isinstance(each, dict) else each for each in (form, parser)]
    for name, kind, known in zip(("format", "parser"), kinds, ("jinja2", "prompty"), strict=True):
        if kind not in (None, "", "*", known):
            raise ValueError(f"template.{name}: expected {known}, found {kind!r}")
    api = model.get("apiType", model.get("api", "chat"))
    if api not in ("chat", "responses"):
        raise ValueError(f"model: expected a prompt of chat messages, found one of {api!r}")
    declared = document.get("inputs")
    listed = list(declared.values()) if isinstance(declared, dict) else declared
    for each in listed if isinstance(listed, list) else []:
        kind = each.get("kind", each.get("type", "")) if isinstance(each, dict) else ""
        if str(kind) not in _TEXT_KINDS:
            raise ValueError(f"inputs: expected texts, found one of the kind {kind!r}")
    return not isinstance(form, dict) or form.get("strict") is not False


def _refuse_references(document: Mapping[str, object], body: str) -> None:
    """Refuse what a runtime would look up. A connection says nothing of messages, so what it holds is not looked at.

    Raises:
        ValueError: When a text is a reference.
    """
    told = document.get("model")
    if isinstance(told, dict):
        told = {name: told[name] for name in told if name not in ("connection", "configuration")}
    for text in _texts([{**document, "model": told}, body]):
        if text.startswith("${") and text.rstrip().endswith("}"):
            raise ValueError(f"expected text, found the reference {text[:40]!r}, which is not looked up here")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(each)


def _provenance(document: Mapping[str, object]) -> Mapping[str, object]:
    said = part(document, "metadata").get("optimizer")
    found = parsed(said) if isinstance(said, str) else None
    return found if isinstance(found, dict) else {}


def _messages(body: str, *, is_strict: bool) -> Iterator[MessageTemplate]:
    """Yield the messages; what stands before the first line of a role is the system's."""
    role, lines = "system", list[str]()
    for line in body.splitlines():
        match = _ROLE.fullmatch(line.strip())
        if match is None:
            lines.append(line)
            continue
        if match[2] and not is_strict:
            raise ValueError(f"expected a role without attributes, found {line.strip()!r}")
        if lines:
            yield _message(role, lines)
        role, lines = match[1].lower(), []
    if lines:
        yield _message(role, lines)


def _message(role: str, lines: Sequence[str]) -> MessageTemplate:
    parts = joined(MessageTemplate(role=role_of(role), parts=tuple(_parts("\n".join(lines)))))
    told = _role_lines("".join("\x00" if isinstance(each, Hole) else each for each in parts))
    if told:
        raise ValueError(f"the line {told[0]!r} is made by a tag, and would start a message")
    if parts and isinstance(parts[0], str):
        parts[0] = parts[0].lstrip("\n")
    if parts and isinstance(parts[-1], str):
        parts[-1] = parts[-1].rstrip("\n")
    return MessageTemplate(role=role_of(role), parts=tuple(each for each in parts if each))


def _parts(text: str) -> Iterator[str | Hole]:
    """Yield literal texts and holes.

    Raises:
        ValueError: When a tag is none that is read here.
    """
    place = 0
    while opener := _OPENERS.search(text, place):
        yield text[place : opener.start()]
        tag = _TAG.match(text, opener.start())
        if tag is None or not _can_name(tag["name"] or "text") or _trims(tag[0]):
            found = text[opener.start() :][:40]
            raise ValueError(f"expected the name of an input in braces, {{{{name}}}}, found {found!r}")
        yield Hole(name=f"input:{tag['name']}") if tag["name"] else tag["double"] or tag["single"] or ""
        place = tag.end()
    yield text[place:]


def _trims(tag: str) -> bool:
    """Return whether a comment takes away, or keeps, the spaces around it."""
    return tag[1] == "#" and (tag[2] in "-+" or tag[-3] in "-+")


def _write(shipment: Shipment) -> tuple[str]:
    """Return front matter and messages.

    Raises:
        LossyExportError: When an input cannot be named, or no message is left, which no loss makes up for.
    """
    unnamed = list(_unnamed(shipment.frozen))
    if unnamed:
        raise LossyExportError([f"{each}, which prompty cannot carry" for each in unnamed], instead=())
    messages = [f"{message.role}:\n{_jinja(joined(message))}\n" for message in shipment.call.messages]
    text = "\n".join(["---", *_front(shipment), "---", *messages])
    return (with_losses(text, _read) if list(_problems(shipment.frozen)) else text,)


def _front(shipment: Shipment) -> Iterator[str]:
    call, frozen = shipment.call, shipment.frozen
    for condition in shipment.preconditions:
        yield comment(f"Inputs must be such that {condition}.")
    for loss in shipment.losses:
        yield comment(f"Not carried: {loss}.")
    if call.messages[-1].role == "assistant":
        yield comment("The last message starts the model's own turn: use an endpoint that continues it.")
    if not _is_reference(frozen.name):
        yield f"name: {flow(frozen.name)}"
    # In quotes that know no escape: JSON has them for all that could mean something to a reader.
    told = re.sub(
        r"['$]|([-+])(?=\1\1)", lambda match: f"\\u{ord(match[0]):04x}", json.dumps(shipment.provenance)
    )
    yield f"metadata:\n  optimizer: '{told}'"
    name = str(frozen.model.get("name", ""))
    model: dict[str, object] = {"id": name} if name and not _is_reference(name) else {}
    yield f"model: {flow({**model, 'apiType': 'chat', 'options': _options(call)})}"
    yield f"inputs: {flow({name: {'kind': 'string', 'required': True} for name in frozen.inputs})}"


def _options(call: CallTemplate) -> dict[str, object]:
    arguments, extra = arguments_of(call.parameters)
    told = in_their_words(list(arguments.items()))
    options = {name: told.pop(name) for name in _OPTIONS if name in told}
    response = response_format(call.constraint)
    more = {
        **told,
        **({"response_format": response} if response else {}),
        **({EXTRA: extra} if extra else {}),
    }
    return {**options, **({"additionalProperties": more} if more else {})}


def _jinja(parts: Sequence[str | Hole]) -> str:
    out = ""
    for each in parts:
        piece = (
            f"{{{{ {input_of(each)} }}}}"
            if isinstance(each, Hole)
            else _OPENERS.sub(lambda match: f'{{{{ "{match[0]}" }}}}', each)
        )
        if out.endswith("{") and piece.startswith("{"):
            out = out[:-1] + '{{ "{" }}'
        out += piece
    return out


def _is_reference(text: str) -> bool:
    return "${" in text


def _can_name(name: str) -> bool:
    """Return whether a name is an identifier to every lexer of Jinja, and stays itself in Python's."""
    plain = name.isidentifier() and all(one == "_" or one.isalnum() for one in name)
    is_short = not has_long_key({name: ""})
    return plain and is_short and unicodedata.normalize("NFKC", name) == name and name not in _RESERVED


def _unnamed(frozen: FrozenPrompt) -> list[str]:
    return [f"the input {name!r} is no name in Jinja" for name in frozen.inputs if not _can_name(name)]


def _role_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if _ROLE.fullmatch(line.strip())]


def _problems(frozen: FrozenPrompt) -> Iterator[str]:
    """Yield why words cannot be carried: lines that start messages, line ends, and what no file can hold."""
    yield from _unnamed(frozen)
    for name, parts in messages_of(frozen):
        literals = [each for each in parts if isinstance(each, str)]
        told = _role_lines("".join("\x00" if isinstance(each, Hole) else each for each in parts))
        if told:
            yield f"{name} has the line {told[0]!r}"
        if any(_LINE_ENDS.search(each) for each in literals):
            yield f"{name} has a line end other than \\n"
        if literals and (literals[0] is parts[0] and literals[0][0] == "\n"):
            yield f"{name} begins with an empty line"
        if literals and (literals[-1] is parts[-1] and literals[-1][-1] == "\n"):
            yield f"{name} ends with a line end"
        if not all(map(is_unicode, literals)):
            yield f"{name} has half of a surrogate pair"
    for name, value in (pair for call in frozen.template.calls for pair in call.parameters):
        if isinstance(value, str) and _is_reference(value):
            yield f"the parameter {name} looks like a reference"
    if any(has_long_key(response_format(call.constraint)) for call in frozen.template.calls):
        yield "the JSON Schema of the answer has a key that is too long for YAML"


def _preconditions(frozen: FrozenPrompt) -> Iterator[Precondition]:
    """Yield what filled messages must not have; a line of a role is an error in the runtime, and not a message."""
    if not frozen.template.holes():
        return
    yield Precondition(
        text="no message gets a line that is a role and a colon, such as `user:`",
        holds=lambda inputs: not any(map(_role_lines, filled(frozen, inputs))),
    )
    yield Precondition(
        text="no input has a line end other than \\n, such as \\r or U+2028",
        holds=lambda inputs: not any(map(_LINE_ENDS.search, filled(frozen, inputs))),
    )
    yield Precondition(
        text="no message gets to begin or end with a line end",
        holds=lambda inputs: all(text == text.strip("\n") for text in filled(frozen, inputs)),
    )


prompty = Exporter(
    suffix=".prompty",
    write=_write,
    carries=frozenset({"prefill", "json_schema"}),
    problems=_problems,
    preconditions=_preconditions,
    read=_read,
)
