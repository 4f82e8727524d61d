"""Any endpoint that speaks OpenAI's embeddings API; for metrics that compare meanings.

The completion of a request is the vector of its last message, as a JSON list: so vectors are cached, counted and
retried like everything else that is asked of a model.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from optimizer.address import base_url_problem, key_from_environment
from optimizer.completion import Capabilities, Completion, Request
from optimizer.errors import InputError
from optimizer.models import Connection, ModelSpec, Provider, endpoint_identity, spec_problems, stated
from optimizer.service import Service, read_embedding
from optimizer.transport import READ_SECONDS, TIMEOUT_SECONDS, Endpoint

_EMBEDDINGS = Service("/embeddings", "an embedding", read_embedding)


class _Embedder:
    """A model behind an embeddings endpoint."""

    def __init__(self, endpoint: Endpoint, *, name: str) -> None:
        self._endpoint = endpoint
        self._name = name

    def body(self, request: Request) -> dict[str, object]:
        """Return what is sent for a request, in full."""
        text = request.messages[-1].content
        return {**dict(request.parameters), "model": self._name, "input": text, "encoding_format": "float"}

    async def complete(self, request: Request) -> Completion:
        """Return the vector of the last message as a JSON list.

        Raises:
            ModelError: When there is none.
        """
        return await self._endpoint.chat(self.body(request))


def _problems(spec: ModelSpec) -> list[str]:
    takes, options = ("base_url", "api_key_env", "expect_model"), ("slots", "timeout_seconds", "read_seconds")
    problems = spec_problems(spec, takes=takes, options=options)
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
    return Capabilities(slots=spec.options.get("slots", Capabilities().slots))


@asynccontextmanager
async def _connect(spec: ModelSpec) -> AsyncIterator[Connection]:
    base_url = spec.base_url or ""
    total = spec.options.get("timeout_seconds")
    endpoint = Endpoint(
        base_url,
        _key(spec),
        timeout_seconds=TIMEOUT_SECONDS if total is None else total,
        read_seconds=spec.options.get("read_seconds", READ_SECONDS if total is None else total),
        expect_model=spec.expect_model,
        service=_EMBEDDINGS,
    )
    async with endpoint:
        model = _Embedder(endpoint, name=spec.name)
        yield Connection(
            model=model,
            identity=endpoint_identity(spec),
            capabilities=stated(spec, _defaults(spec)),
            body=model.body,
        )


def _key(spec: ModelSpec) -> str | None:
    return None if spec.api_key_env is None else key_from_environment(spec.api_key_env)


EMBEDDINGS = Provider(
    defaults=_defaults, problems=_problems, identity=endpoint_identity, connect=_connect, gives=("vectors",)
)
