"""What formats of chat messages share: literal texts with placeholders, and how an API is told what an answer may be."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint, Role
from optimizer.digest import canonical
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.shapes import within_strict

# What other tools call the same role.
_ROLES: dict[str, Role] = {"developer": "system", "human": "user", "ai": "assistant", "model": "assistant"}

# The decoding parameters that OpenAI's client has arguments for, under the names of its chat API.
_ARGUMENTS = frozenset(
    {"temperature", "top_p", "frequency_penalty", "presence_penalty", "max_completion_tokens", "seed", "stop", "n"}
    | {"logit_bias", "logprobs", "top_logprobs", "reasoning_effort", "user", "service_tier"}
)  # fmt: skip

# Where its libraries take what else belongs into a body.
EXTRA = "extra_body"

# The reader of a file that does not say how its answers are read.
UNSAID = AnswerFormat(kind="text")


def one_call(
    messages: Sequence[MessageTemplate],
    parameters: Mapping[str, float | int | str] | None = None,
    *,
    constraint: Constraint | None = None,
    answer: AnswerFormat = UNSAID,
) -> PromptTemplate:
    """Return the template of one conversation.

    Raises:
        ValueError: When there is no message.
    """
    if not messages:
        raise ValueError("expected at least one message, found none")
    known = tuple(sorted((parameters or {}).items()))
    call = CallTemplate(messages=tuple(messages), parameters=known, constraint=constraint)
    return PromptTemplate(calls=(call,), answer=answer)


def parsed(text: str) -> object:
    """Return the JSON value that a text is.

    Raises:
        ValueError: When it is none, or is nested without end.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"{error.msg[0].lower()}{error.msg[1:]}"
        raise ValueError(
            f"not valid JSON at line {error.lineno}, character {error.colno}: {reason}"
        ) from error
    except RecursionError as error:
        raise ValueError("expected JSON, found brackets nested without end") from error


def role_of(name: object) -> Role:
    """Return our name of a role.

    Raises:
        ValueError: When it is none of a system, a user or a model.
    """
    role = _ROLES.get(str(name), str(name))
    found = next((known for known in get_args(Role) if known == role), None)
    if found is None:
        raise ValueError(f"expected a role such as system, user or assistant, found {name!r}")
    return found  # type: ignore[no-any-return]  # one of the role's literals


def parts_of(text: str, placeholders: Mapping[str, str]) -> tuple[str | Hole, ...]:
    """Return a text as literal parts and holes, found in one pass: placeholders are inputs by the text they stand as."""
    return tuple(_parts(text, placeholders))


def _parts(text: str, placeholders: Mapping[str, str]) -> Iterator[str | Hole]:
    # Longer ones first, so that none is taken for the beginning of another.
    shown = sorted(placeholders, key=lambda each: (-len(each), each))
    place = 0
    for match in re.finditer("|".join(map(re.escape, shown)), text) if shown else ():
        if match.start() > place:
            yield text[place : match.start()]
        yield Hole(name=f"input:{placeholders[match[0]]}")
        place = match.end()
    if place < len(text):
        yield text[place:]


def usual_placeholders(inputs: Sequence[str], text: str) -> dict[str, str]:
    """Return how a text shows the place of an input, by what is written.

    People write `{{name}}`, with white space within the braces or without, `{name}` or `${name}`.
    """
    names = "|".join(map(re.escape, sorted(inputs, key=len, reverse=True)))
    usual = re.compile(rf"\{{\{{\s*(?P<double>{names})\s*\}}\}}|\$?\{{(?P<single>{names})\}}")
    return {match[0]: match["double"] or match["single"] for match in usual.finditer(text) if names}


def refuse_tools(document: Mapping[str, object]) -> None:
    """Refuse a prompt whose model may call tools.

    Raises:
        ValueError: When it may; the key that says so is named.
    """
    for name in ("tools", "toolDefs", "functions", "tool_calls", "function_call"):
        if document.get(name):
            raise ValueError(f"{name}: expected none, since a prompt here is messages alone")


def arguments_of(
    parameters: Sequence[tuple[str, float | int | str]],
) -> tuple[dict[str, float | int | str], dict[str, float | int | str]]:
    """Return the decoding parameters that OpenAI's client has an argument for, and those that a body has beside them.

    `max_tokens` is among the latter: libraries around the client send an argument of that name under another.
    """
    own = {name: value for name, value in parameters if name in _ARGUMENTS}
    return own, {name: value for name, value in parameters if name not in own}


def scalars(values: Mapping[str, object]) -> dict[str, float | int | str]:
    """Return the values that a decoding parameter can have."""
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, (int, float, str)) and not isinstance(value, bool)
    }


def response_format(constraint: Constraint | None) -> dict[str, object] | None:
    """Return a JSON Schema as OpenAI's chat API takes it, None for free text and for a list of texts."""
    if constraint is None or constraint.choice:
        return None
    schema = constraint.schema()
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": within_strict(schema), "schema": schema},
    }


def constraint_of(response: object) -> Constraint | None:
    """Return what `response_format` was made of, or None where it was none."""
    described = response.get("json_schema") if isinstance(response, Mapping) else None
    schema = described.get("schema") if isinstance(described, Mapping) else None
    return Constraint(json_schema=canonical(schema)) if isinstance(schema, Mapping) else None


def format_left(response: object) -> dict[str, str]:
    """Return what `response_format` asks for without a schema, as the parameter that it is; nothing where it asks for none."""
    kind = response.get("type") if isinstance(response, Mapping) else response
    if kind in (None, "text") or constraint_of(response) is not None:
        return {}
    return {"response_format": str(kind)}


def text_of(content: object) -> str:
    """Return the text of a message's content, a text or parts that all are texts.

    Raises:
        ValueError: When it holds anything else.
    """
    if isinstance(content, str):
        return content
    parts: list[Any] = content if isinstance(content, list) else [content]
    found = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    texts = [text for text in found if isinstance(text, str)]
    if not texts or len(texts) < len(found):
        raise ValueError("expected the content of a message to be text")
    return "".join(texts)


def placeholders_for(names: Sequence[str], call: CallTemplate) -> dict[str, str]:
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


def content_of(message: MessageTemplate, placeholders: Mapping[str, str]) -> str:
    """Return the text of a message with a placeholder for each input; what stands around an optional one is literal."""
    return "".join(
        f"{part.lead}{placeholders[part.name.partition(':')[2]]}{part.tail}"
        if isinstance(part, Hole)
        else part
        for part in message.parts
    )
