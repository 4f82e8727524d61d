"""Dotprompt files: YAML in front of messages in Handlebars.

`config` holds the decoding parameters, `output` a JSON Schema, which changes no message, and `optimizer.provenance`
where the file came from. A tag stands on a line of its own where the text beside it begins or ends with something that
shows, and takes the line end away; elsewhere it stands in the line. A space that a tag takes away keeps apart what
would be another tag together: a brace or a backslash before it, a brace behind it.

The runtime splits messages at marks in the text they make, so an input that holds `<<<dotprompt:role:system>>>` would
speak as the system. Nothing in a template can prevent it: do not fill the file with inputs that hold such a mark.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint
from optimizer.digest import canonical
from optimizer.exporters import Exporter, LossyExportError, Precondition, Shipment
from optimizer.exporters._chat import UNSAID, one_call, refuse_tools, role_of
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
from optimizer.prompt import Hole, MessageTemplate, PromptTemplate

# What every mark of the runtime begins with.
_MARK = "<<<dotprompt:"

# What a tag is, in the order in which they are looked for: comments that may hold braces, three braces, two.
_COMMENT = re.compile(r"\{\{(~?)(!--.*?--)(~?)\}\}", re.DOTALL)
_TRIPLE = re.compile(r"\{\{\{()(.*?)()\}\}\}", re.DOTALL)
_DOUBLE = re.compile(r"\{\{(~?)(.*?)(~?)\}\}", re.DOTALL)

_DELIMITER = re.compile(r"---[ \t]*")
_ROLE = re.compile(r"""role\s+(?:"([a-z]+)"|'([a-z]+)')""")
_ROLES = ("system", "user", "model")

# Helpers, and words of Handlebars; a name of ours that is one is written as a part of the input itself.
_RESERVED = frozenset(
    {"each", "else", "history", "if", "ifEquals", "json", "log", "lookup", "media", "role", "section", "this", "unless"}
    | {"unlessEquals", "with", "true", "false", "null", "undefined", "as", "blockHelperMissing", "helperMissing"}
)  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Within brackets, a name may hold what no tokenizer of Handlebars stops at.
_BRACKETED = re.compile(r"""[^\[\](){}"'=|~\\`\s]+(?: [^\[\](){}"'=|~\\`\s]+)*""")
_PATH = re.compile(r"(?:(?P<plain>(?:this\.)?[^\W\d][\w-]*)|this\.\[(?P<bracketed>[^\[\]]+)\])")
_NAMELESS = frozenset({"this", ".", "..", "__proto__"})

# The types by which the runtime tells a JSON Schema from its own shorthand.
_TYPES = ("any", "array", "boolean", "integer", "null", "number", "object", "string")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tag:
    """What stands between braces, and whether it takes away the spaces before and after it."""

    body: str
    before: bool
    after: bool


def _read(text: str, inputs: Sequence[str]) -> PromptTemplate:
    """Return the template of a file of ours, or of any whose Handlebars holds names, roles and comments alone.

    Raises:
        ValueError: When it is no such file.
    """
    del inputs  # the text declares its own
    front, template = _split(text)
    document = mapping(front)
    refuse_tools(document)
    provenance, output = document.get("optimizer.provenance"), part(document, "output")
    said = provenance.get("answer") if isinstance(provenance, dict) else None
    schema = output.get("schema")
    known = Constraint(json_schema=canonical(schema)) if _is_json_schema(schema) else None
    # The runtime's own shorthand of a schema is none to us.
    left = {"response_format": "json"} if known is None and (schema or output.get("format") == "json") else {}
    return one_call(
        list(_messages(_tokens(template))),
        {**in_our_words(part(document, "config")), **left},
        constraint=known,
        answer=AnswerFormat.from_dict(said) if isinstance(said, dict) else UNSAID,
    )


def _split(text: str) -> tuple[str, str]:
    """Return the front matter and the template.

    The runtime takes a text without front matter as it is; here it is refused, since any text would be such a file.

    Raises:
        ValueError: When there is no front matter, or it does not end.
    """
    pieces = re.split(r"(\r\n|\r|\n)", text)  # lines, with their ends between them
    lines = pieces[::2]
    opening = next((k for k, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    delimiters = [k for k, line in enumerate(lines) if _DELIMITER.fullmatch(line)]
    if opening is None or len(delimiters) < 2 or delimiters[0] != opening:
        raise ValueError("expected a Dotprompt file: front matter between lines of ---, then messages")
    closing = delimiters[1]
    front = "".join(pieces[2 * opening + 2 : 2 * closing])
    return front, "".join(pieces[2 * closing + 2 :]).strip()


def _tokens(template: str) -> list[str | _Tag]:
    """Return texts and tags, no two texts beside each other, after tags took their spaces away.

    Raises:
        ValueError: When a tag does not end, or is a block.
    """
    tokens: list[str | _Tag] = []
    literals: list[str] = []
    place = 0
    while (start := template.find("{{", place)) >= 0:
        literal = template[place:start]
        n_slashes = len(literal) - len(literal.rstrip("\\"))
        literals.append(literal[:-1] if n_slashes else literal)
        if n_slashes == 1:
            literals.append("{{")
            place = start + 2
            continue
        tag, place = _tag(template, start)
        tokens += ["".join(literals), tag]
        literals.clear()
    tokens.append("".join([*literals, template[place:]]))
    for k, token in enumerate(tokens):
        if isinstance(token, _Tag):
            before, after = str(tokens[k - 1]), str(tokens[k + 1])
            tokens[k - 1] = before.rstrip() if token.before else before
            tokens[k + 1] = after.lstrip() if token.after else after
    return _without_comments(tokens)


def _tag(template: str, start: int) -> tuple[_Tag, int]:
    """Return the tag that starts at a place, and where it ends."""
    long, triple = (template.startswith(sign, start) for sign in (("{{!--", "{{~!--"), "{{{"))
    match = (_COMMENT if long else _TRIPLE if triple else _DOUBLE).match(template, start)
    if match is None or template.startswith("{{{{", start):
        raise ValueError(f"expected a tag that ends, found {template[start : start + 40]!r}")
    return _Tag(body=match[2].strip(), before=bool(match[1]), after=bool(match[3])), match.end()


def _without_comments(tokens: list[str | _Tag]) -> list[str | _Tag]:
    """Return tokens without comments; one that is alone on its line goes with the line."""
    alone = []
    for k, tag in enumerate(tokens):
        if not isinstance(tag, _Tag) or not tag.body.startswith("!"):
            continue
        before, after, is_last = str(tokens[k - 1]), str(tokens[k + 1]), k + 2 == len(tokens)
        begins = re.search(r"(?:^|\n)[ \t]*$" if k == 1 else r"\n[ \t]*$", before)
        ends = re.match(r"[ \t]*(?:\r?\n|$)" if is_last else r"[ \t]*\r?\n", after)
        if begins and not ends and after and not after.strip(" \t"):
            raise ValueError(f"expected a comment on a line of its own, found {tag.body[:40]!r} before a tag")
        alone += [(k, ends.end())] if begins and ends else []
    for k, end in alone:
        tokens[k - 1] = str(tokens[k - 1]).rstrip(" \t")
        tokens[k + 1] = str(tokens[k + 1])[end:]
    return [each for each in tokens if isinstance(each, str) or not each.body.startswith("!")]


def _messages(tokens: Sequence[str | _Tag]) -> Iterator[MessageTemplate]:
    """Yield the messages; what stands before the first role is the user's, and what is blank is none."""
    role, parts = "user", list[str | Hole]()
    for token in tokens:
        match = _ROLE.fullmatch(token.body) if isinstance(token, _Tag) else None
        if match is None:
            parts.append(_hole(token) if isinstance(token, _Tag) else token)
            continue
        yield from _message(role, parts)
        role, parts = match[1] or match[2], []
    yield from _message(role, parts)


def _message(role: str, parts: Sequence[str | Hole]) -> Iterator[MessageTemplate]:
    if role not in _ROLES:
        raise ValueError(f"expected one of the roles {', '.join(_ROLES)}, found {role!r}")
    message = MessageTemplate(role=role_of(role), parts=tuple(parts))
    found = joined(message)
    if any(isinstance(each, str) and _MARK in each for each in found):
        raise ValueError(f"expected text, found a mark that begins with {_MARK}")
    if any(isinstance(each, Hole) or each.strip() for each in found):
        yield MessageTemplate(role=message.role, parts=tuple(found))


def _hole(tag: _Tag) -> Hole:
    """Return the place of an input.

    Raises:
        ValueError: When the tag is a block, a helper, a partial, or a path into an input.
    """
    match = _PATH.fullmatch(tag.body)
    if match is None or match["plain"] in _RESERVED or match["bracketed"] in _NAMELESS:
        raise ValueError(f"expected the name of an input or a role in braces, found {tag.body[:40]!r}")
    return Hole(name=f"input:{match['bracketed'] or match['plain'].removeprefix('this.')}")


def _write(shipment: Shipment) -> tuple[str]:
    """Return front matter and messages.

    Raises:
        LossyExportError: When an input cannot be named, or no message is left, which no loss makes up for.
    """
    unnamed = list(_unnamed(shipment.frozen))
    if unnamed:
        raise LossyExportError([f"{each}, which dotprompt cannot carry" for each in unnamed], instead=())
    text = "\n".join(["---", *_front(shipment), "---", _body(shipment.call.messages)]) + "\n"
    return (with_losses(text, _read) if list(_problems(shipment.frozen)) else text,)


def _front(shipment: Shipment) -> Iterator[str]:
    call, frozen = shipment.call, shipment.frozen
    for condition in shipment.preconditions:
        yield comment(f"Inputs must be such that {condition}.")
    for loss in shipment.losses:
        yield comment(f"Not carried: {loss}.")
    if call.messages[-1].role == "assistant":
        yield comment("The last message starts the model's own turn: use an endpoint that continues it.")
    yield f"name: {flow(frozen.name)}"
    if frozen.model.get("name"):
        yield f"model: {flow(str(frozen.model['name']))}"
    if call.parameters:
        yield f"config: {flow(in_their_words(call.parameters))}"
    if frozen.inputs:
        names = list(frozen.inputs)
        properties = {name: {"type": "string"} for name in names}
        yield f"input: {flow({'schema': {'type': 'object', 'properties': properties, 'required': names}})}"
    if call.constraint is not None and not call.constraint.choice and not _unlike(call.constraint):
        yield f"output: {flow({'format': 'json', 'schema': call.constraint.schema()})}"
    yield f"optimizer.provenance: {flow(shipment.provenance)}"


def _body(messages: Sequence[MessageTemplate]) -> str:
    """Return messages as Handlebars; a last text that ends with spaces is followed by a role that says nothing."""
    out, is_open = "", False
    for message in messages:
        parts = joined(message)
        role = "model" if message.role == "assistant" else message.role
        starts, ends = _edges(parts)
        before, after = ("\n", "~") if is_open else ("", "")
        out += f'{before}{{{{{after}role "{role}"' + ("}}" if starts else "~}}\n") + _handlebars(parts)
        is_open = not ends
    return out if is_open else f'{out}{{{{role "user"}}}}'


def _edges(parts: Sequence[str | Hole]) -> tuple[bool, bool]:
    """Return whether a message starts with a space of its own, and whether it ends with one."""
    first, last = (parts[0], parts[-1]) if parts else ("", "")
    return (
        isinstance(first, str) and _is_blank(first[:1]),
        isinstance(last, str) and _is_blank(last[-1:]),
    )


def _handlebars(parts: Sequence[str | Hole]) -> str:
    out = ""
    for k, each in enumerate(parts):
        if isinstance(each, str):
            text = each.replace(_MARK, "")  # there is none, but where it is let go on purpose
            out += re.sub(r"\\\{\{|\{\{", lambda match: _ESCAPES[match[0]], text)
            continue
        after = parts[k + 1] if k + 1 < len(parts) else ""
        name = input_of(each)
        shown = name if _PLAIN.fullmatch(name) and name not in _RESERVED else f"this.[{name}]"
        left = " {{~" if out.endswith(("{", "\\")) else "{{"
        right = "~}} " if isinstance(after, str) and after.startswith("}") else "}}"
        out += f"{left}{shown}{right}"
    return out


_ESCAPES = {"{{": r"\{{", r"\{{": r"\ {{~!}}\{{"}


def _is_blank(text: str) -> bool:
    """Return whether a text is nothing but spaces to a runtime in Python or in JavaScript."""
    return not text.replace("\ufeff", "").strip()


def _is_json_schema(schema: object) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") in _TYPES


def _unlike(constraint: Constraint) -> str:
    """Return why a JSON Schema would be another one to the runtime, or "" where it stays what it is."""
    schema = json.loads(constraint.json_schema or "{}")
    if not _is_json_schema(schema):
        return "the JSON Schema of the answer names no type at its top"
    if has_long_key(schema):
        return "the JSON Schema of the answer has a key that is too long for YAML"
    return "the JSON Schema of the answer has a key without a value" if _has_null(schema) else ""


def _has_null(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(each is None or _has_null(each) for each in value.values())
    return isinstance(value, list) and any(map(_has_null, value))


def _unnamed(frozen: FrozenPrompt) -> list[str]:
    named = (name for name in frozen.inputs if name not in _NAMELESS and _BRACKETED.fullmatch(name))
    known = {
        name for name in named if " as |" not in name and name.isprintable() and not has_long_key({name: ""})
    }
    return [f"the input {name!r} is no name in Handlebars" for name in frozen.inputs if name not in known]


def _problems(frozen: FrozenPrompt) -> Iterator[str]:
    """Yield why words cannot be carried: marks of the runtime, blank messages, and what no file can hold."""
    yield from _unnamed(frozen)
    for name, parts in messages_of(frozen):
        literals = [each for each in parts if isinstance(each, str)]
        if any(_MARK in each for each in literals):
            yield f"{name} has a mark that begins with {_MARK}"
        if len(literals) == len(parts) and _is_blank("".join(literals)):
            yield f"{name} is blank"
        if any("\r" in each or "\0" in each for each in literals):
            yield f"{name} has a \\r or a \\0"
        if not all(map(is_unicode, literals)):
            yield f"{name} has half of a surrogate pair"
    for call in frozen.template.calls:
        unlike = _unlike(call.constraint) if call.constraint and not call.constraint.choice else ""
        if unlike:
            yield unlike


def _preconditions(frozen: FrozenPrompt) -> Iterator[Precondition]:
    """Yield what filled messages must not be."""
    if not frozen.template.holes():
        return
    yield Precondition(
        text=f"no message gets to hold {_MARK}, with which an input could speak as the system",
        holds=lambda inputs: not any(_MARK in text for text in filled(frozen, inputs)),
    )
    yield Precondition(
        text="no message gets to be blank",
        holds=lambda inputs: not any(map(_is_blank, filled(frozen, inputs))),
    )


dotprompt = Exporter(
    suffix=".prompt",
    write=_write,
    carries=frozenset({"prefill", "json_schema"}),
    problems=_problems,
    preconditions=_preconditions,
    read=_read,
)
