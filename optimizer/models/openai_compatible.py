"""Any endpoint that speaks OpenAI's chat API: OpenAI, vLLM, Ollama, llama.cpp, a proxy.

OpenAI itself obeys a JSON Schema and no more; whoever runs a server that does more says so with
`capabilities: [...]`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlsplit

from optimizer.completion import Capabilities
from optimizer.digest import digest
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
    READ_SECONDS,
    TIMEOUT_SECONDS,
    Endpoint,
    base_url_problem,
    key_from_environment,
    without_secrets,
)


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


@asynccontextmanager
async def _connect(spec: ModelSpec) -> AsyncIterator[Connection]:
    base_url = spec.base_url or ""
    capabilities = stated(spec, _defaults(spec))
    identity = {"provider": spec.provider, "name": spec.name, "base_url": without_secrets(base_url)}
    if query := sorted(parse_qsl(urlsplit(base_url).query)):
        identity["query"] = digest(query)  # it may name a deployment, and it may hold a secret
    if spec.expect_model is not None:
        identity["expect_model"] = spec.expect_model  # an answer that was taken unchecked may be of another
    if "grammar" in capabilities.can:
        identity["choice"] = CHOICE_RULE
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
        model = EndpointModel(endpoint, name=spec.name, can=capabilities.can)
        yield Connection(model=model, identity=identity, capabilities=capabilities, body=model.body)


def _key(spec: ModelSpec) -> str | None:
    return None if spec.api_key_env is None else key_from_environment(spec.api_key_env)


OPENAI_COMPATIBLE = Provider(defaults=_defaults, problems=_problems, connect=_connect)
