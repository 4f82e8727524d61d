"""Model providers: from the `model:` of a study to something that completes requests.

What most of them share lives here: the body of a chat request, in OpenAI's words and, where those do not reach, in
those of the server at hand.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast
from urllib.parse import parse_qsl, urlsplit

from optimizer.address import without_secrets
from optimizer.completion import (
    CAPABILITIES,
    Capabilities,
    Capability,
    Completion,
    Constraint,
    Model,
    Request,
)
from optimizer.digest import digest
from optimizer.errors import RejectedError
from optimizer.models._choice import choice_grammar
from optimizer.registry import Registry, did_you_mean
from optimizer.shapes import within_strict
from optimizer.transport import Endpoint

# What the request itself decides; a parameter of that name would change what is asked or how it is read.
RESERVED_PARAMETERS = frozenset(
    {"model", "messages", "response_format", "structured_outputs", "grammar", "json_schema"}
    | {"stream", "n", "tools", "tool_choice", "add_generation_prompt", "continue_final_message"}
)

# The values of the parameters that every endpoint knows: numbers from the first to the second, whole numbers from the
# first on, and texts. A bound that is no value itself is said below.
_NUMBERS: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
_WHOLE_NUMBERS: Mapping[str, int | None] = {
    "max_tokens": 1,
    "max_completion_tokens": 1,
    "seed": None,
    "top_k": None,
}
_TEXTS = ("stop",)
KNOWN_PARAMETERS = (*_NUMBERS, *_WHOLE_NUMBERS, *_TEXTS)

# The host of OpenAI itself, whose copies in other regions have a word before it.
_OPENAI = "api.openai.com"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """The `model:` of a study file.

    Attributes:
        provider: Name of a file in this folder.
        name: The model, as its provider knows it.
        base_url: Address of the endpoint, for providers that take one.
        api_key_env: Name of the environment variable that holds the key.
        parameters: Decoding parameters in the words of the OpenAI chat API.
        capabilities: What the model can do, in place of the provider's defaults.
        control_tokens: What it reads as its own markup, in place of the provider's defaults.
        path: A file that the provider reads, such as a GGUF.
        options: The provider's own settings.
        expect_model: The name that every answer must carry in its field `model`; null takes any.
        context: Tokens that a request and its answer may have together; null takes what the provider knows, else enough.
            `embedded` refuses it and has `options.context`.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    provider: str
    name: str
    base_url: str | None = None
    api_key_env: str | None = None
    parameters: dict[str, bool | float | int | str] = field(default_factory=dict)
    capabilities: tuple[str, ...] | None = None
    control_tokens: tuple[str, ...] | None = None
    path: str | None = None
    options: dict[str, int] = field(default_factory=dict)
    expect_model: str | None = None
    context: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """A model that answers.

    Attributes:
        identity: Plain JSON that tells this model from every other; no secret and no absolute path in it.
        body: What is sent for a request; with identity it decides whether a stored answer fits.
    """

    model: Model
    identity: Mapping[str, object]
    capabilities: Capabilities
    body: Callable[[Request], Mapping[str, object]] = Request.to_dict


@dataclass(frozen=True, kw_only=True, slots=True)
class Provider:
    """One way to a model.

    Attributes:
        defaults: What the model of a spec without problems can do, unless the spec says otherwise; starts nothing.
        problems: Every mistake in a spec, an unset key variable among them; contacts and starts nothing.
        identity: What tells the model of a spec without problems from every other; starts nothing.
        connect: Opens the connection for the length of an `async with`.
        free: Whether its calls cost no money, because the model runs on this machine or is none.
        gives: Whether a completion is an answer in words, a vector, or either.
    """

    defaults: Callable[[ModelSpec], Capabilities]
    problems: Callable[[ModelSpec], list[str]]
    identity: Callable[[ModelSpec], Mapping[str, object]]
    connect: Callable[[ModelSpec], AbstractAsyncContextManager[Connection]]
    free: bool = False
    gives: tuple[Literal["text", "vectors"], ...] = ("text",)

    def capabilities(self, spec: ModelSpec) -> Capabilities:
        """Return what the model can do: the defaults, with what the spec states in their place."""
        return stated(spec, self.defaults(spec))


MODELS: Registry[Provider] = Registry("optimizer.models", Provider)


def fingerprint(spec: ModelSpec) -> str:
    """Return the digest of what is stated of a model, and of what answers, such as the content of a file."""
    return digest([dataclasses.asdict(spec), dict(MODELS[spec.provider].identity(spec))])


class EndpointModel:
    """A model behind an OpenAI-compatible endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        name: str,
        can: frozenset[Capability],
        schema_to_grammar: Callable[[str], str] | None = None,
        choice_bias: Callable[[tuple[str, ...]], Awaitable[list[list[float]]]] | None = None,
    ) -> None:
        """Keep what a request needs.

        Args:
            schema_to_grammar: JSON Schema to a grammar, for servers that cannot join a schema with a prefill.
            choice_bias: A choice to the bias of its tokens, for servers that read grammars.
        """
        self._endpoint = endpoint
        self._choice_bias = choice_bias
        self._name = name
        self._can = can
        # A study has a few schemas and thousands of calls; each body is made for its key and made again to be sent.
        self._schema_to_grammar = schema_to_grammar and functools.lru_cache(maxsize=64)(schema_to_grammar)

    def body(self, request: Request) -> dict[str, object]:
        """Return what is sent for a request, but for the bias of a choice, which follows from it and the model.

        Raises:
            RejectedError: When the model cannot do what the request needs.
        """
        return chat_body(request, name=self._name, can=self._can, schema_to_grammar=self._schema_to_grammar)

    async def complete(self, request: Request) -> Completion:
        """Return the completion of one request, without its prefill.

        Raises:
            ModelError: When there is none.
        """
        body, constraint = self.body(request), request.constraint
        if constraint is not None and constraint.choice and self._choice_bias is not None:
            body["logit_bias"] = await self._choice_bias(constraint.choice)
        completion = await self._endpoint.chat(body)
        text = completion.text.removeprefix(request.prefill)
        return completion if text == completion.text else dataclasses.replace(completion, text=text)


def chat_body(
    request: Request,
    *,
    name: str,
    can: frozenset[Capability],
    schema_to_grammar: Callable[[str], str] | None = None,
) -> dict[str, object]:
    """Return the body of a chat request.

    A server whose capabilities include `grammar` is spoken to in llama.cpp's words, others in vLLM's, wherever
    OpenAI has none.

    Raises:
        RejectedError: When the model cannot do what the request needs.
    """
    body: dict[str, object] = dict(request.parameters)
    body |= {"model": name, "messages": [message.to_dict() for message in request.messages]}
    if any(message.images for message in request.messages) and "images" not in can:
        raise RejectedError(f"{name} cannot see images (capability images)")
    if request.prefill:
        if "prefill" not in can:
            raise RejectedError(f"{name} cannot continue a turn that was begun for it (capability prefill)")
        if "grammar" not in can:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
    if request.constraint is not None:
        joined = schema_to_grammar if request.prefill else None
        body |= _constraint_body(request.constraint, name, can, joined)
    return body


def stated(spec: ModelSpec, defaults: Capabilities) -> Capabilities:
    """Return the capabilities with what the spec states in their place."""
    changed = defaults
    if spec.capabilities is not None:
        changed = dataclasses.replace(changed, can=frozenset(cast(tuple[Capability, ...], spec.capabilities)))
    if spec.control_tokens is not None:
        changed = dataclasses.replace(changed, control_tokens=spec.control_tokens)
    if spec.context is not None:
        changed = dataclasses.replace(changed, context=spec.context)
    return changed


def endpoint_identity(spec: ModelSpec) -> dict[str, object]:
    """Return what tells a model behind an address from every other."""
    base_url = spec.base_url or ""
    identity: dict[str, object] = {
        "provider": spec.provider,
        "name": spec.name,
        "base_url": without_secrets(base_url),
    }
    if query := sorted(parse_qsl(urlsplit(base_url).query)):
        identity["query"] = digest(query)  # it may name a deployment, and it may hold a secret
    if spec.expect_model is not None:
        identity["expect_model"] = spec.expect_model  # an answer that was taken unchecked may be of another
    return identity


def spec_problems(
    spec: ModelSpec, *, takes: tuple[str, ...] = (), options: tuple[str, ...] = ()
) -> list[str]:
    """Return the mistakes that any provider would find.

    Args:
        takes: Which of `base_url`, `api_key_env`, `path` and `expect_model` this provider reads.
        options: Names of its options, all positive integers.
    """
    problems = [] if spec.name.strip() else ["name: expected the name of a model, found an empty text"]
    unused = [
        name
        for name in ("base_url", "api_key_env", "path", "expect_model")
        if name not in takes and getattr(spec, name)
    ]
    problems += [f"{name}: the provider {spec.provider} takes none" for name in unused]
    for name, value in sorted(spec.options.items()):
        if name not in options:
            problems.append(f"options.{name}: unknown option{did_you_mean(name, options)}")
        elif value < 1:
            problems.append(f"options.{name}: expected at least 1, found {value}")
    unknown = [name for name in spec.capabilities or () if name not in CAPABILITIES]
    problems += [f"capabilities: unknown {name!r}{did_you_mean(name, CAPABILITIES)}" for name in unknown]
    if spec.context is not None and spec.context < 1:
        problems.append(f"context: expected at least 1, found {spec.context}")
    if any(not token for token in spec.control_tokens or ()):
        problems.append("control_tokens: expected texts, found an empty one")
    return problems + parameter_problems(spec)


def parameter_problems(spec: ModelSpec) -> list[str]:
    """Return the mistakes in the decoding parameters of a model."""
    found = {name: parameter_problem(name, value) for name, value in sorted(spec.parameters.items())}
    return [f"parameters.{name}: {message}" for name, message in found.items() if message]


def parameter_problem(name: str, value: float | str) -> str | None:
    """Return why no model takes a parameter of this name and value, or None; names that are not known take any."""
    if name in RESERVED_PARAMETERS:
        return "set by the prompt, not by a parameter"
    found = json.dumps(value) if isinstance(value, bool) else repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f"expected a finite number, found {found}"
    if name in _NUMBERS:
        expected, fits = _in_range(name, value)
    elif name in _WHOLE_NUMBERS:
        least = _WHOLE_NUMBERS[name]
        expected = "a whole number" if least is None else f"a whole number of at least {least}"
        fits = isinstance(value, int) and (least is None or value >= least)
    elif name in _TEXTS:
        expected, fits = "text", isinstance(value, str)
    else:
        expected, fits = "a number or text", True
    return None if fits and not isinstance(value, bool) else f"expected {expected}, found {found}"


def _in_range(name: str, value: float | str) -> tuple[str, bool]:
    """Return which numbers a parameter may be, in words, and whether a value is one of them."""
    least, most = _NUMBERS[name]
    fits = not isinstance(value, str) and least <= value <= most
    if name == "top_p":  # nothing is left to choose from at 0
        return f"a number above {least} and up to {most}", fits and value != least
    return f"a number from {least} to {most}", fits


def counts_thoughts(base_url: str | None) -> bool:
    """Return whether an address is OpenAI's: its reasoning models take no temperature, and count their thoughts."""
    try:
        host = urlsplit(base_url or "").hostname or ""
    except ValueError:
        return False
    return host == _OPENAI or host.endswith(f".{_OPENAI}")


def _constraint_body(
    constraint: Constraint, name: str, can: frozenset[Capability], joined: Callable[[str], str] | None
) -> dict[str, object]:
    if constraint.choice:
        if "grammar" in can:
            return {"grammar": choice_grammar(constraint.choice)}
        if "choice" in can:
            return {"structured_outputs": {"choice": list(constraint.choice)}}
        raise RejectedError(f"{name} cannot be held to a choice of texts (capability choice)")
    if "json_schema" not in can:
        raise RejectedError(f"{name} cannot be held to a JSON Schema (capability json_schema)")
    schema = constraint.schema()
    if joined is not None:
        return {"grammar": joined(json.dumps(schema, ensure_ascii=False))}
    described = {"name": "answer", "strict": within_strict(schema), "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": described}}
