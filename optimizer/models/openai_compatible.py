"""Any endpoint that speaks OpenAI's chat API: OpenAI, vLLM, Ollama, llama.cpp, a proxy.

OpenAI itself obeys a JSON Schema and no more; whoever runs a server that does more says so with
`capabilities: [...]`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from optimizer.completion import Capabilities
from optimizer.errors import InputError
from optimizer.models import (
    CHOICE_RULE,
    Connection,
    EndpointModel,
    ModelSpec,
    Provider,
    spec_problems,
    stated,
)
from optimizer.transport import (
    TIMEOUT_SECONDS,
    Endpoint,
    base_url_problem,
    key_from_environment,
    without_secrets,
)


def _problems(spec: ModelSpec) -> list[str]:
    problems = spec_problems(spec, takes=("base_url", "api_key_env"), options=("slots", "timeout_seconds"))
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


@asynccontextmanager
async def _connect(spec: ModelSpec) -> AsyncIterator[Connection]:
    base_url = spec.base_url or ""
    capabilities = stated(spec, _defaults(spec))
    seconds = spec.options.get("timeout_seconds", TIMEOUT_SECONDS)
    identity = {"provider": spec.provider, "name": spec.name, "base_url": without_secrets(base_url)}
    if "grammar" in capabilities.can:
        identity["choice"] = CHOICE_RULE
    async with Endpoint(base_url, _key(spec), timeout_seconds=seconds) as endpoint:
        yield Connection(
            model=EndpointModel(endpoint, name=spec.name, can=capabilities.can),
            identity=identity,
            capabilities=capabilities,
        )


def _key(spec: ModelSpec) -> str | None:
    return None if spec.api_key_env is None else key_from_environment(spec.api_key_env)


OPENAI_COMPATIBLE = Provider(defaults=_defaults, problems=_problems, connect=_connect)
