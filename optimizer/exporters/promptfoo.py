"""Configurations of promptfoo: one YAML file with the messages, a provider, and the examples as tests.

Messages are JSON, whose texts promptfoo fills one by one with Nunjucks; what an input says is not filled again. Of
Nunjucks only names of inputs are written, and what would open or close a tag as a text in quotes. Each test asserts
what the metric asks of its target, where promptfoo can say that; where it cannot, the file says so.

promptfoo changes some inputs before it fills them in, such as those that name a file. Examples with such an input are
left out of the tests, each with the reason.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from optimizer.answer import AnswerFormat
from optimizer.dataset import Example
from optimizer.exporters import Exporter, LossyExportError, Precondition, Shipment, input_preconditions
from optimizer.exporters._chat import (
    UNSAID,
    constraint_of,
    format_left,
    one_call,
    parsed,
    response_format,
    role_of,
)
from optimizer.exporters._frontmatter import (
    comment,
    flow,
    has_long_key,
    input_of,
    is_unicode,
    joined,
    mapping,
    messages_of,
    part,
)
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate

# Parameters that the provider has a key for; it hands on others that are under `passthrough`.
_PARAMETERS = (
    "temperature",
    "max_tokens",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
)

# What opens a tag or a comment, or closes a comment that was never opened, which is an error in Nunjucks.
_SIGNS = re.compile(r"\{\{|\{%|\{#|#\}")
_TAG = re.compile(
    r"""\{\{[ \t]*(?:(?P<name>[^\W\d]\w*)|"(?P<double>[^"\\]*)"|'(?P<single>[^'\\]*)')[ \t]*\}\}"""
)

# Words of Nunjucks; names with an underscore in front are promptfoo's own.
_RESERVED = frozenset({"and", "else", "false", "if", "in", "is", "none", "not", "null", "or", "true"})

# A value, or a prompt, that begins so is looked up; so is a prompt of one line that looks like the path of a file.
_REFERENCES = ("file://", "package:")
_PROMPT_REFERENCES = (*_REFERENCES, "exec:", "portkey://", "langfuse://", "helicone://")
_PATH = re.compile(
    r"\.(cjs|cts|j2|js|json|jsonl|md|mjs|mts|py|ts|txt|yml|yaml)(:[^:]*)?\Z|\.[\s\S]{2,3}\Z|[*/\\]"
)

# What promptfoo takes for a tag that was left open on its line; a plain text that has one is not filled at all.
_LEFT_OPEN = re.compile(r"(\{%[^%]*|\{\{[^}]*|\{#[^#]*)(?=[\r\n\u2028\u2029]|\Z)")

_LARGEST = 2**53  # beyond it JavaScript rounds whole numbers


def _read(text: str, inputs: Sequence[str]) -> PromptTemplate:
    """Return the template of a configuration with one prompt in it, messages as JSON or a text, which is the user's.

    Raises:
        ValueError: When there are several prompts or none, or the prompt is elsewhere or more than names and text.
    """
    del inputs  # the text declares its own
    document = mapping(text)
    _refuse_changes(document)
    prompts = document.get("prompts")
    first = prompts[0] if isinstance(prompts, list) and len(prompts) == 1 else prompts
    raw = first.get("raw") if isinstance(first, dict) and first is not prompts else first
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError("prompts: expected one, a text or a mapping with a text as `raw`")
    providers = document.get("providers", document.get("targets"))
    only = providers[0] if isinstance(providers, list) and len(providers) == 1 else None
    config = {
        **(part(only, "config") if isinstance(only, dict) else {}),
        **(part(first, "config") if isinstance(first, dict) else {}),
    }
    said = part(document, "tags").get("optimizer")
    origin = parsed(said) if isinstance(said, str) else None
    answer = origin.get("answer") if isinstance(origin, dict) else None
    return one_call(
        list(_messages(raw)),
        {**_parameters(config), **format_left(config.get("response_format"))},
        constraint=constraint_of(config.get("response_format")),
        answer=AnswerFormat.from_dict(answer) if isinstance(answer, dict) else UNSAID,
    )


def _refuse_changes(document: Mapping[str, object]) -> None:
    """Refuse what makes another prompt of the one that is written.

    Raises:
        ValueError: With the first of it.
    """
    if document.get("extensions"):
        raise ValueError("extensions: expected none, since they may change the prompt")
    listed = document.get("tests")
    tests = [document.get("defaultTest"), *(listed if isinstance(listed, list) else [])]
    for options in (part(each, "options") for each in tests if isinstance(each, dict)):
        if options.get("prefix") or options.get("suffix"):
            raise ValueError("tests: expected no prefix and no suffix, since they change the prompt")


def _messages(raw: str) -> Iterator[MessageTemplate]:
    """Yield the messages of a prompt.

    Raises:
        ValueError: When it is looked up, or no list of messages with a role and a text each.
    """
    if raw.startswith(_PROMPT_REFERENCES) or ("\n" not in raw and _PATH.search(raw)):
        raise ValueError(f"prompts: expected the prompt itself, found what looks like a file: {raw[:40]!r}")
    try:
        listed = parsed(raw)
    except ValueError:
        is_chat = raw.strip().startswith(("[", "- role:")) or re.match(r"\{(?![{%#])", raw.strip())
        if is_chat or _LEFT_OPEN.search(raw):
            raise ValueError(
                "prompts: expected messages as JSON, or plain text with names in braces"
            ) from None
        yield MessageTemplate(role="user", parts=tuple(_parts(raw)))
        return
    for each in listed if isinstance(listed, list) else [None]:
        message = each if isinstance(each, dict) else {}
        role, content = message.get("role"), message.get("content")
        if set(message) != {"role", "content"} or not isinstance(content, str):
            raise ValueError("prompts: expected a list of messages of a role and a text")
        yield MessageTemplate(role=role_of(role), parts=tuple(_parts(content)))


def _parts(text: str) -> Iterator[str | Hole]:
    """Yield literal texts and holes.

    Raises:
        ValueError: When a tag is none that is read here.
    """
    place = 0
    while sign := _SIGNS.search(text, place):
        yield text[place : sign.start()]
        tag = _TAG.match(text, sign.start())
        if tag is None or not _can_name(tag["name"] or "text"):
            found = text[sign.start() :][:40]
            raise ValueError(f"expected the name of an input in braces, {{{{ name }}}}, found {found!r}")
        yield Hole(name=f"input:{tag['name']}") if tag["name"] else tag["double"] or tag["single"] or ""
        place = tag.end()
    yield text[place:]


def _parameters(config: Mapping[str, object]) -> dict[str, float | int | str]:
    known = {name: config[name] for name in _PARAMETERS if name in config}
    found: dict[str, float | int | str] = {}
    for name, value in {**known, **part(config, "passthrough")}.items():
        one = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(one, (int, float, str)) and not isinstance(one, bool):
            found[name] = one
    return found


def _write(shipment: Shipment) -> tuple[str]:
    """Return the configuration.

    Raises:
        LossyExportError: When an input cannot be named, which no loss makes up for.
    """
    unnamed = list(_unnamed(shipment.frozen))
    if unnamed:
        raise LossyExportError([f"{each}, which promptfoo cannot carry" for each in unnamed], instead=())
    return ("\n".join([*_head(shipment), *_provider(shipment), *_tests(shipment)]) + "\n",)


def _head(shipment: Shipment) -> Iterator[str]:
    for condition in shipment.preconditions:
        yield comment(f"Inputs must be such that {condition}.")
    for loss in shipment.losses:
        yield comment(f"Not carried: {loss}.")
    if shipment.call.messages[-1].role == "assistant":
        yield comment("The last message starts the model's own turn: use an endpoint that continues it.")
    # In quotes that know no escape; two braces could be a reference to the environment.
    origin = re.sub(r"'|\{(?=\{)", lambda match: f"\\u{ord(match[0]):04x}", json.dumps(shipment.provenance))
    yield f"tags:\n  optimizer: '{origin}'"
    messages = [
        {"role": message.role, "content": _nunjucks(joined(message))} for message in shipment.call.messages
    ]
    # A prompt with a line end in it is never taken for the path of a file.
    raw = _shown(json.dumps(messages, ensure_ascii=False, indent=2)).replace("\n", "\n      ")
    yield f"prompts:\n  - label: {flow(shipment.frozen.name.replace('{{', '{ {'))}\n    raw: |-\n      {raw}"


def _shown(text: str) -> str:
    """Return JSON with the escapes of JSON for what does not show but ends its lines."""
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)


def _provider(shipment: Shipment) -> Iterator[str]:
    call, model = shipment.call, shipment.frozen.model
    name = str(model.get("name") or "a-model").replace("{{", "{ {")
    parameters = dict(call.parameters)
    config: dict[str, object] = {
        "omitDefaults": True,
        **{name: parameters.pop(name) for name in _PARAMETERS if name in parameters},
    }
    config |= {"passthrough": parameters} if parameters else {}
    response = response_format(call.constraint)
    if response and not list(_schema_problems(call)):
        config["response_format"] = response
    if model.get("provider") != "openai":
        config["apiBaseUrl"] = "http://localhost:8000/v1"
    yield "# The model that the prompt was made for. Put your own endpoint; without apiBaseUrl it is OpenAI's."
    yield f"providers:\n  - id: {flow(f'openai:chat:{name}')}\n    config:"
    yield from (f"      {key}: {flow(value)}" for key, value in config.items())


def _tests(shipment: Shipment) -> Iterator[str]:
    frozen = shipment.frozen
    conditions = [*input_preconditions(frozen, promptfoo.carries), *_preconditions(frozen)]
    if shipment.examples:
        yield from _reading(frozen)
    rows: list[str] = []
    for example in shipment.examples:
        inputs = {name: example.values[name] for name in frozen.inputs}
        broken = next((each.text for each in conditions if not each.holds(inputs)), None)
        if broken is None:
            rows += _row(frozen, example, inputs)
        else:
            rows.append(f"  {comment(f'Left out: {example.id}; it does not keep to it that {broken}.')}")
    if any(not row.startswith("  #") for row in rows):
        yield "tests:"
    yield from rows


def _row(frozen: FrozenPrompt, example: Example, inputs: Mapping[str, str]) -> Iterator[str]:
    yield f"  - description: {flow(example.id)}"
    yield "    vars:" if inputs else "    vars: {}"
    yield from (f"      {flow(name)}: {flow(text)}" for name, text in inputs.items())
    if _unexpressed(frozen):
        return
    expected = _expected(frozen.template.answer, example.target)
    if expected is None:
        yield "    # No assertion: promptfoo would change the target."
    else:
        metric = flow(str(frozen.task["metric"]))
        yield f"    assert:\n      - type: equals\n        metric: {metric}\n        value: {expected}"


def _reading(frozen: FrozenPrompt) -> Iterator[str]:
    """Yield what the assertions mean, and how a completion is made what they compare."""
    unexpressed = _unexpressed(frozen)
    if unexpressed:
        yield comment(f"No assertions: {unexpressed}, which promptfoo has no words for.")
        return
    yield "# The assertions hold where the answer stands in just the form that is asked for. The reader of the prompt, which"
    yield "# scored it, takes answers in other forms as well: expect no higher a score here than in the evidence."
    answer = frozen.template.answer
    if answer.kind == "json":
        return
    if answer.field:
        value = f"(typeof output === 'string' ? JSON.parse(output) : output)[{json.dumps(answer.field)}]"
        code = f"(() => {{ try {{ return String({value} ?? '').trim(); }} catch {{ return ''; }} }})()"
    elif answer.marker.strip():
        marker = json.dumps(answer.marker.strip())
        code = f"String(output).includes({marker}) ? String(output).split({marker}).pop().trim() : ''"
    else:
        code = "String(output).trim()"
    yield f"defaultTest:\n  options:\n    transform: {flow(code)}"


def _unexpressed(frozen: FrozenPrompt) -> str:
    """Return what no assertion of promptfoo says of the metric or of how answers are read, "" where one does."""
    metric, answer = str(frozen.task.get("metric", "")), frozen.template.answer
    metrics = {
        "label": ("exact_match", "accuracy"),
        "text": ("exact_match",),
        "number": ("exact_match",),
        "json": ("json_exact",),
        "labels": (),
    }
    if metric not in metrics[answer.kind]:
        return f"the metric is {metric or 'unknown'} of answers of the kind {answer.kind}"
    if answer.readers or (answer.kind == "json" and (answer.field or answer.marker)):
        return "answers are read by several readers"
    return "" if _is_inert(answer.field + answer.marker) else "answers are read by what has braces in it"


def _expected(answer: AnswerFormat, target: str) -> str | None:
    """Return the value of an assertion as YAML, None where promptfoo would make another of it."""
    if answer.kind != "json":
        text = target.strip()
        inert = text and is_unicode(text) and not text.startswith(_REFERENCES)
        return flow(_nunjucks([text])) if inert else None
    value = parsed(target)
    return flow(value) if isinstance(value, (dict, list)) and _is_inert(value) else None


def _is_inert(value: object) -> bool:
    """Return whether promptfoo takes plain data for what it is: no template, no reference, no number that is rounded."""
    if isinstance(value, Mapping):
        keys = not {"$ref", "__proto__", "_conversation"} & set(value) and all(map(is_unicode, value))
        return keys and not has_long_key(value) and all(map(_is_inert, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_inert, value))
    if isinstance(value, str):
        return not _SIGNS.search(value) and not value.startswith(_REFERENCES) and is_unicode(value)
    return not isinstance(value, int) or abs(value) <= _LARGEST


def _nunjucks(parts: Sequence[str | Hole]) -> str:
    out = ""
    for each in parts:
        # In single quotes, since the text stands within double ones.
        piece = (
            f"{{{{ {input_of(each)} }}}}"
            if isinstance(each, Hole)
            else _SIGNS.sub(lambda match: f"{{{{ '{match[0]}' }}}}", each)
        )
        if out.endswith("{") and piece.startswith("{"):
            out = out[:-1] + "{{ '{' }}"
        out += piece
    return out


def _can_name(name: str) -> bool:
    return bool(re.fullmatch(r"(?!_)[^\W\d]\w*", name)) and len(name) < 1000 and name not in _RESERVED


def _unnamed(frozen: FrozenPrompt) -> list[str]:
    return [f"the input {name!r} is no name in Nunjucks" for name in frozen.inputs if not _can_name(name)]


def _schema_problems(call: CallTemplate) -> Iterator[str]:
    if not _is_inert(response_format(call.constraint)):
        yield "the JSON Schema of the answer refers to its parts, or has braces or other words of promptfoo's in it"


def _problems(frozen: FrozenPrompt) -> Iterator[str]:
    """Yield why words cannot be carried: of messages there is next to nothing that cannot."""
    yield from _unnamed(frozen)
    for name, parts in messages_of(frozen):
        if not all(is_unicode(each) for each in parts if isinstance(each, str)):
            yield f"{name} has half of a surrogate pair"
    for call in frozen.template.calls:
        yield from _schema_problems(call)
        for name, value in call.parameters:
            if not _is_inert(value):
                yield f"the parameter {name} is a number that JavaScript rounds, or a text that promptfoo changes"


def _preconditions(frozen: FrozenPrompt) -> Iterator[Precondition]:
    """Yield what promptfoo does to inputs: it looks them up, fills them, and takes away a line end."""
    if not frozen.template.holes():
        return
    yield Precondition(
        text="no input begins with file:// or package:",
        holds=lambda inputs: not any(text.startswith(_REFERENCES) for text in inputs.values()),
    )
    yield Precondition(
        text="no input has two opening braces, {{",
        holds=lambda inputs: not any("{{" in text for text in inputs.values()),
    )
    yield Precondition(
        text="no input ends with a line end",
        holds=lambda inputs: not any(text.endswith("\n") for text in inputs.values()),
    )


promptfoo = Exporter(
    suffix=".promptfoo.yaml",
    write=_write,
    carries=frozenset({"prefill", "json_schema"}),
    problems=_problems,
    preconditions=_preconditions,
    read=_read,
)
