"""What holds for every provider in the folder; a connected one is asked wherever a spec for it is known here."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optimizer.completion import CAPABILITIES, Capabilities, Completion, Message, Request
from optimizer.models import MODELS, ModelSpec, Provider

if TYPE_CHECKING:
    from tests.loopback_server import Loopback

each = pytest.mark.parametrize("name", list(MODELS))
KNOWN = [
    pytest.param("embedded", marks=pytest.mark.embedded),
    "openai_compatible",
    "scripted",
]


@pytest.fixture
def spec_of(loopback: "Loopback", tmp_path: Path) -> Callable[[str], ModelSpec]:
    def make(name: str) -> ModelSpec:
        if name == "openai_compatible":
            loopback.reply = lambda body: body["messages"][-1]["content"]
            loopback.delay = 0.01
            return ModelSpec(provider=name, name="m", base_url=loopback.base_url)
        if name == "scripted":
            rules = [{"contains": f"number {k}", "reply": f"number {k}"} for k in range(6)]
            script = tmp_path / "script.json"
            script.write_text(json.dumps({"rules": rules, "default": "none"}))
            return ModelSpec(provider=name, name="s", path=str(script))
        return ModelSpec(provider=name, name="smollm2-135m")

    return make


def requests(n: int) -> list[Request]:
    """Make n requests that differ."""
    parameters: tuple[tuple[str, float | int | str], ...] = (("max_tokens", 4), ("temperature", 0))
    return [
        Request(messages=(Message(role="user", content=f"This is number {k}."),), parameters=parameters)
        for k in range(n)
    ]


@each
def test_a_module_holds_one_provider(name: str) -> None:
    assert isinstance(MODELS[name], Provider)


@each
def test_mistakes_are_listed_and_never_raised(name: str) -> None:
    spec = ModelSpec(
        provider=name, name="", base_url="::", api_key_env="NO SUCH VARIABLE", path="/nowhere/at/all"
    )

    problems = MODELS[name].problems(spec)

    assert problems
    assert all(problems)


@pytest.mark.parametrize("name", ["embedded", "openai_compatible", "scripted"])
def test_capabilities_are_known_before_anything_is_started(
    name: str, spec_of: Callable[[str], ModelSpec], loopback: "Loopback"
) -> None:
    provider, spec = MODELS[name], spec_of(name)

    assert provider.problems(spec) == []
    capabilities = provider.capabilities(spec)
    assert isinstance(capabilities, Capabilities)
    assert capabilities.can <= set(CAPABILITIES)
    assert capabilities.slots >= 1
    assert loopback.bodies == []


@pytest.mark.parametrize("name", KNOWN)
def test_each_request_gets_its_own_completion(
    name: str, spec_of: Callable[[str], ModelSpec], tmp_path: Path
) -> None:
    asked = requests(6)
    provider, spec = MODELS[name], spec_of(name)

    async def both() -> tuple[list[Completion], list[Completion], str]:
        async with provider.connect(spec) as connection:
            assert connection.capabilities == provider.capabilities(spec)
            bodies = [json.dumps(connection.body(request)) for request in asked]
            assert len(set(bodies)) == len(asked), "what is asked is in the body"
            assert bodies == [json.dumps(connection.body(request)) for request in requests(6)]
            one_by_one = [await connection.model.complete(request) for request in asked]
            together = await asyncio.gather(*map(connection.model.complete, asked))
            return one_by_one, together, json.dumps(connection.identity)

    one_by_one, together, identity = asyncio.run(both())

    assert [completion.text for completion in together] == [completion.text for completion in one_by_one]
    for completion in together:
        assert completion.prompt_tokens >= 0
        assert completion.completion_tokens >= 0
        assert completion.seconds >= 0
    assert json.loads(identity)["provider"] == name
    assert str(tmp_path) not in identity
