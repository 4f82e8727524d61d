import asyncio
import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import httpx2
import openai
import pytest
from openai import _exceptions as openai_exceptions

from optimizer.completion import Completion
from optimizer.errors import (
    EndpointError,
    InputError,
    ModelError,
    OverloadedError,
    RejectedError,
    UnreachableError,
)
from optimizer.transport import (
    Endpoint,
    base_url_problem,
    key_from_environment,
    read_completion,
    without_secrets,
)

if TYPE_CHECKING:
    from tests.loopback_server import Fault, Loopback

CANARY = "sk-canary-3f9a1c77"
BODY: dict[str, object] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def chat(
    base_url: str, body: dict[str, object] = BODY, *, seconds: float = 5.0, key: str | None = CANARY
) -> Completion:
    async def once() -> Completion:
        async with Endpoint(base_url, key, timeout_seconds=seconds) as endpoint:
            return await endpoint.chat(body)

    return asyncio.run(once())


def failure(loopback: "Loopback", fault: "Fault | None" = None, *, seconds: float = 5.0) -> ModelError:
    loopback.faults = [fault]
    with pytest.raises(ModelError) as caught:
        chat(loopback.base_url, seconds=seconds)
    assert_no_key(caught.value)
    return caught.value


def assert_no_key(error: BaseException) -> None:
    assert CANARY not in "".join(traceback.format_exception(error))
    assert error.__cause__ is None
    assert error.__context__ is None


def test_a_completion_carries_text_usage_and_duration(loopback: "Loopback") -> None:
    loopback.reply = lambda _body: "four words in all"

    completion = chat(loopback.base_url)

    assert (completion.text, completion.finish_reason) == ("four words in all", "stop")
    assert (completion.prompt_tokens, completion.completion_tokens) == (1, 4)
    assert 0 < completion.seconds < 5
    assert completion.cost_usd is None


def test_the_messages_go_over_the_wire_byte_by_byte(loopback: "Loopback") -> None:
    text = 'é 日本 🙂 {x} {{y}} "q" \\ \u2028 \x00 \x1b[0m <|im_start|>\r\n\t'
    body: dict[str, object] = {
        "model": "m",
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
    }

    chat(loopback.base_url, body)

    assert loopback.raw == [json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()]
    assert loopback.paths == ["/v1/chat/completions"]
    assert loopback.headers[0]["content-type"] == "application/json"
    assert loopback.headers[0]["authorization"] == f"Bearer {CANARY}"


def test_answers_belong_to_their_requests_however_many_are_under_way(loopback: "Loopback") -> None:
    loopback.reply = lambda body: f"re: {body['messages'][0]['content']}"
    loopback.delay = 0.02

    async def many() -> list[Completion]:
        async with Endpoint(loopback.base_url, None) as endpoint:
            bodies = [{"model": "m", "messages": [{"role": "user", "content": str(k)}]} for k in range(40)]
            return await asyncio.gather(*map(endpoint.chat, bodies))

    assert [completion.text for completion in asyncio.run(many())] == [f"re: {k}" for k in range(40)]
    assert loopback.most_in_flight > 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, RejectedError) for status in (400, 413, 422)),
        *((status, EndpointError) for status in (301, 401, 402, 403, 404, 405)),
        *((status, OverloadedError) for status in (408, 409, 429, 500, 502, 503, 529)),
    ],
)
def test_a_status_becomes_the_error_that_says_what_to_do(
    loopback: "Loopback", loopback_server: ModuleType, status: int, kind: type[ModelError]
) -> None:
    error = failure(loopback, loopback_server.Fault(status=status))

    assert type(error) is kind
    said = f"127.0.0.1:{loopback.port}/v1/chat/completions answered {status}: scripted fault {status}"
    assert str(error) == said
    assert len(loopback.bodies) == 1, "the client must not retry"


@pytest.mark.parametrize("place", ["code", "type"])
def test_an_empty_account_is_not_worth_another_attempt(
    loopback: "Loopback", loopback_server: ModuleType, place: str
) -> None:
    payload = {"error": {"message": "You exceeded your current quota", place: "insufficient_quota"}}

    assert type(failure(loopback, loopback_server.Fault(status=429, payload=payload))) is EndpointError


def test_an_unknown_model_stops_the_run(loopback: "Loopback") -> None:
    loopback.models = {"other"}

    error = failure(loopback)

    assert type(error) is EndpointError
    assert "answered 404: The model `m` does not exist" in str(error)


@pytest.mark.parametrize(
    "fault",
    [
        {"drop": True},
        {"cut": True},
        {"text": b"{broken"},
        {"text": b"[" * 100_000},
        {"text": b"<html>hello</html>", "headers": (("Content-Type", "text/html"),)},
        {"text": b"not gzip", "headers": (("Content-Encoding", "gzip"),)},
        {"payload": []},
        {"payload": {"choices": []}},
        {"payload": {"choices": [{"message": None}]}},
        {"payload": {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}},
        {"payload": {"choices": [{"message": {"content": ["a"]}, "finish_reason": "stop"}]}},
        {"text": "\ud83d".encode("utf-16-le", "surrogatepass")},
    ],
    ids=str,
)
def test_what_is_no_chat_completion_is_no_answer(
    loopback: "Loopback", loopback_server: ModuleType, fault: dict[str, object]
) -> None:
    assert type(failure(loopback, loopback_server.Fault(**fault))) is UnreachableError


def test_a_slow_answer_is_given_up(loopback: "Loopback", loopback_server: ModuleType) -> None:
    error = failure(loopback, loopback_server.Fault(delay=1.0), seconds=0.2)

    assert type(error) is UnreachableError
    assert "did not answer in time (5 s to connect, 0.2 s to answer)" in str(error)


def test_a_refused_connection_names_the_place_and_the_reason() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(UnreachableError) as caught:
            chat(f"http://127.0.0.1:{port}/v1?secret=x")

    assert f"127.0.0.1:{port}/v1/chat/completions could not be reached: Connection" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_server_that_speaks_no_http_is_unreachable() -> None:
    async def talk() -> None:
        async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Endpoint(f"http://127.0.0.1:{port}/v1", None) as endpoint:
            await endpoint.chat(BODY)

    with pytest.raises(UnreachableError):
        asyncio.run(talk())


def test_a_redirect_is_not_followed(loopback: "Loopback", loopback_server: ModuleType) -> None:
    away = loopback_server.Fault(status=307, headers=(("Location", f"{loopback.base_url}/elsewhere"),))

    assert type(failure(loopback, away)) is EndpointError
    assert loopback.paths == ["/v1/chat/completions"]


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
@pytest.mark.parametrize("shape", ["message", "bare", "page", "detail"])
def test_a_key_that_the_server_echoes_is_not_repeated(
    loopback: "Loopback", loopback_server: ModuleType, status: int, shape: str
) -> None:
    echo = f"Incorrect API key provided: Bearer {CANARY}. Get another."
    faults = {
        "message": loopback_server.Fault(status=status, payload={"error": {"message": echo, "code": CANARY}}),
        "bare": loopback_server.Fault(status=status, payload={"error": echo}),
        "page": loopback_server.Fault(status=status, text=f"<b>{echo}</b>".encode()),
        "detail": loopback_server.Fault(
            status=status, payload={"detail": [{"input": {"Authorization": echo}}]}
        ),
    }

    failure(loopback, faults[shape])


def test_a_message_is_one_short_line_of_printable_text(
    loopback: "Loopback", loopback_server: ModuleType
) -> None:
    said = "\x1b[31mred\u202e\r\n two\x00 " + "x" * 500
    error = failure(loopback, loopback_server.Fault(status=400, payload={"error": {"message": said}}))

    _, _, message = str(error).partition("answered 400: ")
    assert message.startswith("[31mred two xxx")
    assert len(message) == 200
    assert message.isprintable()


def every_openai_exception() -> Iterator[openai.OpenAIError]:
    """Make one of every class of error that the client has."""
    request = httpx2.Request("POST", "https://x/v1", headers={"Authorization": f"Bearer {CANARY}"})
    response = httpx2.Response(418, request=request)
    for kind in vars(openai_exceptions).values():
        if not (isinstance(kind, type) and issubclass(kind, openai.OpenAIError)):
            continue
        error = kind.__new__(kind)
        Exception.__init__(error, f"made for the test, with {CANARY}")
        known = {
            "request": request,
            "response": response,
            "body": CANARY,
            "message": CANARY,
            "code": None,
            "type": None,
        }
        for name, value in known.items():
            setattr(error, name, value)
        error.__dict__.setdefault("status_code", getattr(kind, "status_code", 418))
        yield error


@pytest.mark.parametrize("error", list(every_openai_exception()), ids=lambda error: type(error).__name__)
def test_every_error_of_the_client_is_mapped(error: openai.OpenAIError) -> None:
    mapped = Endpoint("https://x/v1", CANARY)._mapped(error)

    assert type(mapped) in (UnreachableError, OverloadedError, RejectedError, EndpointError)
    assert CANARY not in str(mapped)


@pytest.mark.parametrize(
    ("choice", "text", "reason"),
    [
        ({"message": {"content": "a"}, "finish_reason": "length"}, "a", "length"),
        ({"message": {"content": "a"}, "finish_reason": "content_filter"}, "a", "refused"),
        ({"message": {"content": "a"}, "finish_reason": "eos"}, "a", "stop"),
        ({"message": {"content": "a"}}, "a", "stop"),
        (
            {"message": {"content": None, "refusal": "I will not"}, "finish_reason": "stop"},
            "I will not",
            "refused",
        ),
        ({"message": {"content": None}, "finish_reason": "content_filter"}, "", "refused"),
        ({"message": {"content": None}, "finish_reason": "length"}, "", "length"),
        ({"message": {"content": "", "refusal": ""}, "finish_reason": "stop"}, "", "stop"),
    ],
)
def test_why_the_model_stopped_is_read(choice: object, text: str, reason: str) -> None:
    completion = read_completion({"choices": [choice]}, 0.5)

    assert (completion.text, completion.finish_reason, completion.seconds) == (text, reason, 0.5)


@pytest.mark.parametrize(
    "usage", [None, {}, [], {"prompt_tokens": None, "completion_tokens": -3}, {"prompt_tokens": True}]
)
def test_missing_usage_counts_no_tokens(usage: object) -> None:
    completion = read_completion({"choices": [{"message": {"content": "a"}}], "usage": usage}, 0.0)

    assert (completion.prompt_tokens, completion.completion_tokens) == (0, 0)


@pytest.mark.parametrize("bad", ["\ud800", float("nan")])
def test_what_json_cannot_carry_is_rejected_before_it_is_sent(loopback: "Loopback", bad: object) -> None:
    with pytest.raises(RejectedError) as caught:
        chat(loopback.base_url, {"model": "m", "messages": [{"role": "user", "content": bad}]})

    assert caught.value.__context__ is None
    assert loopback.bodies == []


@pytest.mark.parametrize(
    ("url", "with_key", "said"),
    [
        ("https://api.openai.com/v1", True, None),
        ("http://localhost:8000/v1", True, None),
        ("http://127.0.0.1:8000/v1", True, None),
        ("http://[::1]:8000/v1", True, None),
        ("http://models.example/v1", False, None),
        (
            "http://models.example/v1",
            True,
            "base_url: refusing to send a key to models.example over plain http",
        ),
        ("http://127.0.0.1.example/v1", True, "base_url: refusing to send a key to 127.0.0.1.example"),
        ("https://me:hunter2@models.example/v1", False, "base_url: expected no user name or password before"),
        ("models.example/v1", False, "base_url: expected an address such as"),
        ("file:///etc/passwd", False, "base_url: expected an address such as"),
        ("https://", False, "base_url: expected an address such as"),
        ("https://x:port/v1", False, "base_url: expected an address such as"),
        ("http://[::1/v1", False, "base_url: expected an address such as"),
    ],
)
def test_an_address_is_checked_before_a_key_is_sent(url: str, with_key: bool, said: str | None) -> None:
    problem = base_url_problem(url, with_key=with_key)

    if said is None:
        assert problem is None
        return
    assert problem is not None
    assert problem.startswith(said)
    assert "hunter2" not in problem
    with pytest.raises(InputError, match="base_url"):
        Endpoint(url, CANARY if with_key else None)


def test_an_address_is_shown_without_its_secrets() -> None:
    assert without_secrets("https://u:p@h.example:8443/a/v1/?key=k#f") == "https://h.example:8443/a/v1"
    assert (
        repr(Endpoint("https://h.example/v1?key=k", CANARY)) == "Endpoint(h.example:443/v1/chat/completions)"
    )


def test_a_query_in_the_address_is_sent(loopback: "Loopback") -> None:
    chat(f"{loopback.base_url}?api-version=2026-01-01")

    assert loopback.paths == ["/v1/chat/completions?api-version=2026-01-01"]


def test_a_key_comes_from_the_environment_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f" {CANARY}\n")
    assert key_from_environment("SOME_KEY") == CANARY

    monkeypatch.setenv("SOME_KEY", f"{CANARY}é")
    with pytest.raises(InputError) as caught:
        key_from_environment("SOME_KEY")
    assert "SOME_KEY" in str(caught.value)
    assert CANARY not in str(caught.value)

    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(InputError, match="the environment variable SOME_KEY is not set"):
        key_from_environment("SOME_KEY")


def test_a_key_that_no_header_can_carry_is_refused_without_showing_it() -> None:
    with pytest.raises(InputError) as caught:
        Endpoint("https://x/v1", f"{CANARY}\nX-Other: 1")

    assert CANARY not in str(caught.value)


def test_proxies_do_not_stand_between_us_and_ourselves(
    loopback: "Loopback", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    assert chat(loopback.base_url).text == "ok"


def test_an_endpoint_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(Endpoint("https://x/v1", None).chat(BODY))


def test_importing_the_transport_imports_no_client() -> None:
    code = "import sys, optimizer.transport, optimizer.models; print({'openai', 'aiohttp', 'httpx2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


def test_the_standalone_server_logs_answers_and_ends_by_itself(
    loopback_server_path: Path, tmp_path: Path
) -> None:
    log, truth = tmp_path / "log.jsonl", tmp_path / "truth.json"
    truth.write_text(json.dumps({"where is my parcel": "shipping"}))
    options = ["--log", log, "--labels", "billing,shipping", "--truth", truth, "--lifetime", "20"]
    command = [sys.executable, os.fspath(loopback_server_path), *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            shots = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "billing"}] * 8
            asked = {"role": "user", "content": "where is my parcel"}
            body: dict[str, object] = {"model": "m", "messages": [*shots, asked]}
            texts = {chat(f"http://127.0.0.1:{port}/v1", body).text for _ in range(3)}
        finally:
            process.kill()

    assert texts in ({"shipping"}, {"billing"})
    assert [json.loads(line) for line in log.read_text().splitlines()] == [body] * 3
