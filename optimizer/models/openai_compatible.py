"""Any endpoint that speaks OpenAI's chat API: OpenAI, vLLM, Ollama, llama.cpp, a proxy.

OpenAI itself obeys a JSON Schema and no more; whoever runs a server that does more says so with
`capabilities: [...]`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from optimizer.address import base_url_problem, key_from_environment
from optimizer.completion import Capabilities
from optimizer.errors import InputError
from optimizer.models import (
    Connection,
    EndpointModel,
    ModelSpec,
    Provider,
    endpoint_identity,
    spec_problems,
    stated,
)
from optimizer.models._choice import CHOICE_RULE, ChoiceBias
from optimizer.transport import READ_SECONDS, TIMEOUT_SECONDS, Endpoint


def _problems(spec: ModelSpec) -> list[str]:
    takes, options = ("base_url", "api_key_env", "expect_model"), ("slots", "timeout_seconds", "read_seconds")
    problems = spec_problems(spec, takes=takes, options=options)
    if spec.expect_model == "":
        problems.append("expect_model: expected the name of a model, found an empty text")
    if spec.base_url is None:
        problems.append("base_url: missing; expected an address such as https://api.openai.com/v1")
    else:
        problem = base_url_problem(spec.base_url, with_key=spec.api_key_env is not None)
        problems += [problem] if problem else []
    try:
        _key(spec)
    except InputError as error:
        problems += [f"api_key_env: {problem.message}" for problem in error.problems]
    return problems


def _defaults(spec: ModelSpec) -> Capabilities:
    slots = spec.options.get("slots", Capabilities().slots)
    return Capabilities(can=frozenset({"json_schema"}), slots=slots)


def _identity(spec: ModelSpec) -> dict[str, object]:
    chosen = {"choice": CHOICE_RULE} if "grammar" in stated(spec, _defaults(spec)).can else {}
    return {**endpoint_identity(spec), **chosen}


@asynccontextmanager
async def _connect(spec: ModelSpec) -> AsyncIterator[Connection]:
    base_url = spec.base_url or ""
    capabilities = stated(spec, _defaults(spec))
    total = spec.options.get("timeout_seconds")
    endpoint = Endpoint(
        base_url,
        _key(spec),
        timeout_seconds=TIMEOUT_SECONDS if total is None else total,
        # An answer that is not streamed comes as a whole: who lets it take longer means the wait for its first byte.
        read_seconds=spec.options.get("read_seconds", READ_SECONDS if total is None else total),
        expect_model=spec.expect_model,
    )
    async with endpoint:
        can = capabilities.can
        bias = ChoiceBias(base_url, _key(spec)) if "grammar" in can else None
        model = EndpointModel(endpoint, name=spec.name, can=can, choice_bias=bias)
        yield Connection(model=model, identity=_identity(spec), capabilities=capabilities, body=model.body)


def _key(spec: ModelSpec) -> str | None:
    return None if spec.api_key_env is None else key_from_environment(spec.api_key_env)


OPENAI_COMPATIBLE = Provider(defaults=_defaults, problems=_problems, identity=_identity, connect=_connect)
