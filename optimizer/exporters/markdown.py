"""The messages as a page that people read, and that is read back exactly.

Each message stands in a fence under its role. The comment at the top holds what else belongs to the prompt.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from optimizer.answer import AnswerFormat
from optimizer.exporters import Exporter, Shipment
from optimizer.exporters._chat import (
    UNSAID,
    constraint_of,
    content_of,
    one_call,
    parsed,
    parts_of,
    placeholders_for,
    response_format,
    role_of,
    usual_placeholders,
)
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import Hole, MessageTemplate, PromptTemplate

_COMMENT = re.compile(r"\A<!-- prompt\n(.*?)\n-->\n", re.DOTALL)
_FENCED = re.compile(r"^## (System|User|Assistant)\n\n(~{3,})text\n(.*?)\n\2$", re.DOTALL | re.MULTILINE)
# How people head the messages of a prompt that they keep as text.
_HEADING = re.compile(
    r"^#{1,6}[ \t]+(system|user|assistant|developer)[ \t]*(?:prompt|message)?[ \t]*:?[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)


def _write(shipment: Shipment) -> tuple[str]:
    frozen, call = shipment.frozen, shipment.call
    placeholders = placeholders_for(frozen.inputs, call)
    contents = [content_of(message, placeholders) for message in call.messages]
    fence = "~" * max(3, *(len(run) + 1 for text in contents for run in re.findall(r"~+", text)), 0)
    about = {
        **shipment.provenance,
        "placeholders": placeholders,
        "parameters": dict(call.parameters),
        "response_format": response_format(call.constraint),
    }
    # A comment ends at the first `-->`; JSON may write a hyphen as its number.
    comment = json.dumps(about, ensure_ascii=False, allow_nan=False, indent=2).replace("--", "\\u002d\\u002d")
    lines = [f"<!-- prompt\n{comment}\n-->", f"# {_in_one_line(frozen.name)}", *_said(shipment, placeholders)]
    for message, content in zip(call.messages, contents, strict=True):
        lines.append(f"## {message.role.capitalize()}\n\n{fence}text\n{content}\n{fence}")
    return ("\n\n".join(lines) + "\n",)


def _said(shipment: Shipment, placeholders: Mapping[str, str]) -> Iterator[str]:
    """Yield what people want to know before the messages."""
    about = shipment.provenance
    model, test = shipment.frozen.model, about.get("test")
    yield f"For the model {_in_one_line(str(model.get('name')))}, fingerprint `{shipment.frozen.fingerprint}`."
    if isinstance(test, Mapping) and test.get("score") is not None:
        within = (
            "" if test.get("lower") is None else f", 95 % interval {test['lower']:.3f} to {test['upper']:.3f}"
        )
        yield f"Scored {test['score']:.3f} on {test['n']} test examples{within}."
    if placeholders:
        names = ", ".join(f"`{shown}`" for shown in placeholders.values())
        yield f"Put the inputs in place of {names}, all in one pass."
    for kind in ("preconditions", "lossy"):
        found = about.get(kind)
        if isinstance(found, list):
            yield "\n".join(f"- {kind}: {_in_one_line(each)}" for each in found)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _read(text: str, inputs: Sequence[str]) -> PromptTemplate:
    """Return the template of a page of ours, or of any text.

    A text under headings such as `# System` and `# User` is those messages. One that shows where its inputs go is one
    message of the user; one that does not is what the system says, with the inputs after it.

    Raises:
        ValueError: When it holds no word.
    """
    comment = _COMMENT.match(text)
    if comment is not None:
        return _ours(comment[1], text)
    if not text.strip() or "\x00" in text:
        raise ValueError("expected the words of a prompt, found none")
    holes = usual_placeholders(inputs, text)
    headed = _headed(text, holes)
    if headed:
        return one_call(headed)
    parts = parts_of(text.strip(), holes)
    if any(isinstance(part, Hole) for part in parts):
        return one_call([MessageTemplate(role="user", parts=parts)])
    return one_call(
        [
            MessageTemplate(role="system", parts=parts),
            MessageTemplate(role="user", parts=tuple(_listed(inputs))),
        ]
    )


def _ours(comment: str, text: str) -> PromptTemplate:
    about = parsed(comment)
    if not isinstance(about, dict) or not isinstance(about.get("placeholders"), dict):
        raise ValueError("expected the comment at the top to name the placeholders")
    holes = {str(shown): str(name) for name, shown in about["placeholders"].items()}
    messages = [
        MessageTemplate(role=role_of(role.lower()), parts=parts_of(content, holes))
        for role, _, content in _FENCED.findall(text)
    ]
    answer, parameters = about.get("answer"), about.get("parameters")
    return one_call(
        messages,
        parameters if isinstance(parameters, Mapping) else None,
        constraint=constraint_of(about.get("response_format")),
        answer=AnswerFormat.from_dict(answer) if isinstance(answer, dict) else UNSAID,
    )


def _headed(text: str, holes: Mapping[str, str]) -> list[MessageTemplate]:
    """Return the messages of a text that begins with a heading that names a role, none of any other."""
    found = list(_HEADING.finditer(text))
    if not found or text[: found[0].start()].strip():
        return []
    ends = [*(match.start() for match in found[1:]), len(text)]
    return [
        MessageTemplate(
            role=role_of(match[1].lower()), parts=parts_of(text[match.end() : end].strip(), holes)
        )
        for match, end in zip(found, ends, strict=True)
    ]


def _listed(inputs: Sequence[str]) -> Iterator[str | Hole]:
    """Yield the inputs as one message shows them: a single one as it is, several under their names."""
    for k, name in enumerate(inputs):
        if len(inputs) > 1:
            yield f"{chr(10) if k else ''}{name}: "
        yield Hole(name=f"input:{name}")


def _problems(frozen: FrozenPrompt) -> Iterator[str]:
    """Yield which messages have a line end that a reader of text takes for another."""
    messages = [message for call in frozen.template.calls for message in call.messages]
    for k, message in enumerate(messages, start=1):
        texts = (f"{part.lead}{part.tail}" if isinstance(part, Hole) else part for part in message.parts)
        if any("\r" in text for text in texts):
            yield f"message {k} has a line end other than \\n"


markdown = Exporter(
    suffix=".prompt.md",
    write=_write,
    carries=frozenset({"json_schema", "prefill"}),
    problems=_problems,
    read=_read,
)
