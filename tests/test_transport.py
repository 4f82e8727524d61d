import asyncio
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest
from openai import _exceptions as openai_exceptions

from optimizer.address import base_url_problem, key_from_environment, without_secrets
from optimizer.answer import AnswerFormat
from optimizer.completion import Completion
from optimizer.errors import (
    BrokenAnswerError,
    EndpointError,
    InputError,
    ModelError,
    OverloadedError,
    RejectedError,
    TransientError,
    UnreachableError,
)
from optimizer.patience import PAGE
from optimizer.service import Service, read_embedding
from optimizer.transport import Endpoint, read_completion

if TYPE_CHECKING:
    from tests.loopback_server import Fault, Loopback

CANARY = "sk-canary-3f9a1c77"
BODY: dict[str, object] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def chat(
    base_url: str,
    body: dict[str, object] = BODY,
    *,
    key: str | None = CANARY,
    timeout_seconds: float = 5.0,
    **options: Any,
) -> Completion:
    async def once() -> Completion:
        async with Endpoint(base_url, key, timeout_seconds=timeout_seconds, **options) as endpoint:
            return await endpoint.chat(body)

    return asyncio.run(once())


def failed(base_url: str, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        chat(base_url, **options)
    assert_no_key(caught.value)
    return caught.value


def failure(loopback: "Loopback", fault: "Fault | None" = None, **options: Any) -> ModelError:
    loopback.faults = [fault]
    return failed(loopback.base_url, **options)


def facts(error: ModelError) -> tuple[type[ModelError], str, bool]:
    assert isinstance(error, TransientError)
    return type(error), error.reason, error.billable


def assert_no_key(error: BaseException) -> None:
    assert CANARY not in "".join(traceback.format_exception(error))
    assert error.__cause__ is None
    assert error.__context__ is None


def answered_by(serve: Any, *, scheme: str = "http", context: Any = None, **options: Any) -> ModelError:
    """Return the error that a server made of one function on streams leads to."""

    async def talk() -> ModelError:
        open_ones: set[asyncio.Task[Any]] = set()

        async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            open_ones.add(task)
            try:
                await serve(reader, writer)
                await writer.drain()
            except (ConnectionError, asyncio.CancelledError):  # the client went away, or the test is over
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(keep, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        async with server, Endpoint(f"{scheme}://127.0.0.1:{port}/v1", CANARY, **options) as endpoint:
            with pytest.raises(ModelError) as caught:
                await endpoint.chat(BODY)
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)
        assert_no_key(caught.value)
        return caught.value

    return asyncio.run(talk())


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
        *((status, EndpointError) for status in (301, 401, 402, 403, 404, 405, 501)),
        *((status, OverloadedError) for status in (408, 409, 425, 429, 500, 502, 503, 529)),
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
    if isinstance(error, OverloadedError):
        assert (error.reason, error.billable, error.prompt_tokens) == (str(status), False, None)
        assert error.retry_after_seconds is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((("Retry-After", "7"),), 7.0),
        ((("retry-after-ms", "1500"), ("Retry-After", "1")), 1.5),
        ((("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1m30s")), 90.0),
        ((("x-ratelimit-remaining-requests", "5"), ("x-ratelimit-reset-requests", "1m30s")), None),
    ],
)
def test_the_wait_that_a_server_asks_for_is_passed_on(
    loopback: "Loopback",
    loopback_server: ModuleType,
    headers: tuple[tuple[str, str], ...],
    expected: float | None,
) -> None:
    error = failure(loopback, loopback_server.Fault(status=429, headers=headers))

    assert isinstance(error, OverloadedError)
    assert error.retry_after_seconds == expected


def test_a_server_that_says_whether_to_retry_is_believed(
    loopback: "Loopback", loopback_server: ModuleType
) -> None:
    final = loopback_server.Fault(status=500, headers=(("x-should-retry", "false"),))
    again = loopback_server.Fault(status=400, headers=(("x-should-retry", "true"),))

    assert type(failure(loopback, final)) is RejectedError
    assert facts(failure(loopback, again)) == (OverloadedError, "400", False)


@pytest.mark.parametrize("place", ["code", "type"])
def test_an_empty_account_is_not_worth_another_attempt(
    loopback: "Loopback", loopback_server: ModuleType, place: str
) -> None:
    payload = {"error": {"message": "You exceeded your current quota", place: "insufficient_quota"}}

    assert type(failure(loopback, loopback_server.Fault(status=429, payload=payload))) is EndpointError
    assert type(failure(loopback, loopback_server.Fault(payload=payload))) is EndpointError


def test_403_is_about_one_request_once_another_was_answered(
    loopback: "Loopback", loopback_server: ModuleType
) -> None:
    async def kinds() -> list[type[object]]:
        async with Endpoint(loopback.base_url, CANARY) as endpoint:
            asked: list[type[object]] = []
            for fault in (loopback_server.Fault(status=403), None, loopback_server.Fault(status=403)):
                loopback.faults = [fault]
                (found,) = await asyncio.gather(endpoint.chat(BODY), return_exceptions=True)
                asked.append(type(found))
            return asked

    assert asyncio.run(kinds()) == [EndpointError, Completion, RejectedError]


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (
            400,
            {
                "type": "error",
                "error": {"type": "x", "message": "Your credit balance is too low to access the API."},
            },
        ),
        (400, [{"error": {"code": 400, "message": "Bad", "details": [{"reason": "API_KEY_INVALID"}]}}]),
        (
            400,
            {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***yz."},
        ),
        (403, {"error": {"message": "Key limit exceeded (total limit).", "code": 403}}),
    ],
    ids=["Anthropic", "Gemini", "xAI", "OpenRouter"],
)
def test_a_key_or_an_account_that_fails_after_an_answer_stops_the_run(
    loopback: "Loopback", loopback_server: ModuleType, status: int, payload: object
) -> None:
    async def second() -> object:
        async with Endpoint(loopback.base_url, CANARY) as endpoint:
            await endpoint.chat(BODY)
            loopback.faults = [loopback_server.Fault(status=status, payload=payload)]
            return (await asyncio.gather(endpoint.chat(BODY), return_exceptions=True))[0]

    assert type(asyncio.run(second())) is EndpointError


@pytest.mark.parametrize("status", [200, 400])
def test_what_a_filter_before_the_model_refuses_is_a_refusal_as_where_an_answer_says_so(
    loopback: "Loopback", loopback_server: ModuleType, status: int
) -> None:
    payload = {"error": {"message": "filtered", "code": "content_policy_violation"}}
    loopback.faults = [loopback_server.Fault(status=status, payload=payload)]

    completion = chat(loopback.base_url)

    assert (completion.text, completion.finish_reason, completion.completion_tokens) == ("", "refused", 0)
    assert completion.seconds > 0
    vectors = Service("/embeddings", "an embedding", read_embedding)
    fault = loopback_server.Fault(status=status, payload=payload)
    assert isinstance(failure(loopback, fault, service=vectors), RejectedError)


@pytest.mark.parametrize(
    ("page", "headers"),
    [
        (f" <!DOCTYPE html>\n<title>Sign in</title>\x1b {CANARY} {'x' * 500}", ()),
        ("<html><title>Sign in</title></html>", ()),
        ("Sign in", (("Content-Type", "text/HTML; charset=utf-8"),)),
    ],
)
def test_a_page_is_shown_by_its_beginning_and_costs_nothing(
    loopback: "Loopback", loopback_server: ModuleType, page: str, headers: tuple[tuple[str, str], ...]
) -> None:
    error = failure(loopback, loopback_server.Fault(text=page.encode(), headers=headers))

    assert facts(error) == (BrokenAnswerError, PAGE, False)
    _, _, shown = str(error).partition("/v1/chat/completions answered a web page, not a chat completion: ")
    assert "Sign in" in shown
    assert shown.isprintable()
    assert len(shown) <= 200


def test_an_unknown_model_stops_the_run(loopback: "Loopback") -> None:
    loopback.models = {"other"}

    error = failure(loopback)

    assert type(error) is EndpointError
    assert "answered 404: The model `m` does not exist" in str(error)


UNUSABLE = {
    "half a body": ({"cut": True}, "half a body"),
    "broken JSON": ({"text": b"{broken"}, "no JSON"),
    "nothing": ({"text": b""}, "no JSON"),
    "nested without end": ({"text": b"[" * 100_000}, "no JSON"),
    "half a character": ({"text": "\ud83d".encode("utf-16-le", "surrogatepass")}, "no JSON"),
    "no gzip": ({"text": b"not gzip", "headers": (("Content-Encoding", "gzip"),)}, "no JSON"),
    "a list": ({"payload": []}, "no choices"),
    "a text": ({"payload": "billing"}, "no choices"),
    "no choices": ({"payload": {"model": "m"}}, "no choices"),
    "empty choices": ({"payload": {"choices": []}}, "no choices"),
    "a choice of nothing": ({"payload": {"choices": [None]}}, "no choices"),
    "no message": ({"payload": {"choices": [{"message": None}]}}, "no text"),
    "no text": (
        {"payload": {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}},
        "no text",
    ),
    "nothing was written": (
        {"payload": {"choices": [{"message": {"content": None}}], "usage": {"completion_tokens": 0}}},
        "no text",
    ),
    "parts": ({"payload": {"choices": [{"message": {"content": ["a"]}, "finish_reason": []}]}}, "no text"),
    "parts of a picture": (
        {"payload": {"choices": [{"message": {"content": [{"type": "image"}]}}]}},
        "no text",
    ),
    "a number": (
        {"payload": {"choices": [{"message": {"content": 7}}], "usage": {"completion_tokens": 3}}},
        "no text",
    ),
    "a bare error": ({"payload": {"error": "the backend went away"}}, "an error in a 200"),
    "an unknown error": ({"payload": {"error": {"message": "x", "code": 7}}}, "an error in a 200"),
    "an error in a choice": ({"payload": {"choices": [{"error": {"message": "x"}}]}}, "an error in a 200"),
}


@pytest.mark.parametrize(("fault", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_answer_that_holds_no_completion_is_broken_and_may_be_billed(
    loopback: "Loopback", loopback_server: ModuleType, fault: dict[str, Any], reason: str
) -> None:
    error = failure(loopback, loopback_server.Fault(**fault))

    assert facts(error) == (BrokenAnswerError, reason, True)
    assert str(error).startswith(
        f"127.0.0.1:{loopback.port}/v1/chat/completions answered something that is not a chat completion: {reason}"
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (429, OverloadedError),
        ("rate_limit_exceeded", OverloadedError),
        (502, OverloadedError),
        (401, EndpointError),
        ("invalid_api_key", EndpointError),
        ("insufficient_quota", EndpointError),
        (400, RejectedError),
        ("context_length_exceeded", RejectedError),
        ("teapot", BrokenAnswerError),
    ],
)
def test_an_error_in_a_200_means_what_its_code_says(
    loopback: "Loopback", loopback_server: ModuleType, code: object, kind: type[ModelError]
) -> None:
    payload = {"error": {"message": "not today", "code": code}, "usage": {"prompt_tokens": 7}}

    error = failure(loopback, loopback_server.Fault(payload=payload, headers=(("Retry-After", "3"),)))

    assert type(error) is kind
    assert "not today" in str(error)
    if isinstance(error, TransientError):
        assert (error.billable, error.prompt_tokens, error.completion_tokens) == (True, 7, None)
    if isinstance(error, OverloadedError):
        assert (error.reason, error.retry_after_seconds) == ("429" if code != 502 else "502", 3.0)


def test_an_answer_of_another_model_is_refused_where_one_is_expected(
    loopback: "Loopback", loopback_server: ModuleType
) -> None:
    error = failure(loopback, loopback_server.Fault(model="other\x1b"), expect_model="m")

    assert isinstance(error, BrokenAnswerError)
    assert facts(error) == (BrokenAnswerError, "another model", True)
    assert str(error).endswith(": another model: 'other\\x1b' instead of 'm'")
    assert (error.prompt_tokens, error.completion_tokens) == (1, 1)
    assert chat(loopback.base_url, expect_model="m").text == "ok"
    loopback.faults = [loopback_server.Fault(model="other")]
    assert chat(loopback.base_url).text == "ok"


def test_an_answer_without_a_model_is_not_the_expected_one(
    loopback: "Loopback", loopback_server: ModuleType
) -> None:
    nameless = loopback_server.Fault(payload={"choices": [{"message": {"content": "a"}}]})

    assert facts(failure(loopback, nameless, expect_model="m"))[1] == "another model"
    empty = loopback_server.Fault(payload={"choices": []})
    assert facts(failure(loopback, empty, expect_model="m"))[1] == "no choices"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2}, (9, 2)),
        ({"prompt_tokens": 9}, (9, None)),
        ({"prompt_tokens": -1, "completion_tokens": 10**30}, (None, None)),
        ({"prompt_tokens": None, "completion_tokens": 0}, (None, None)),
        (None, (None, None)),
        ([], (None, None)),
    ],
)
def test_a_broken_answer_carries_the_tokens_it_states(
    loopback: "Loopback", loopback_server: ModuleType, usage: object, expected: tuple[int | None, int | None]
) -> None:
    error = failure(loopback, loopback_server.Fault(payload={"choices": [], "usage": usage}))

    assert isinstance(error, BrokenAnswerError)
    assert (error.prompt_tokens, error.completion_tokens) == expected


@pytest.mark.parametrize("bounds", [{"timeout_seconds": 0.2}, {"timeout_seconds": 5.0, "read_seconds": 0.2}])
def test_a_slow_answer_is_given_up_by_the_read_and_the_total_deadline(
    loopback: "Loopback", loopback_server: ModuleType, bounds: dict[str, float]
) -> None:
    error = failure(loopback, loopback_server.Fault(delay=1.0), **bounds)

    assert facts(error) == (UnreachableError, "time-out", True)
    total = bounds["timeout_seconds"]
    said = f"did not answer in time (5 s to connect, 0.2 s between bytes, {total:g} s in all)"
    assert said in str(error)


def test_a_machine_that_does_not_take_the_connection_cannot_have_been_paid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("optimizer.transport.CONNECT_SECONDS", 0.2)
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())

        error = failed(f"http://127.0.0.1:{full.getsockname()[1]}/v1")

    assert facts(error) == (UnreachableError, "time-out", False)
    assert "(0.2 s to connect, 5 s between bytes, 5 s in all)" in str(error)


def test_drops_of_data_do_not_put_the_total_deadline_off() -> None:
    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            writer.write(b" ")
            await asyncio.sleep(0.05)

    error = answered_by(drip, timeout_seconds=0.4, read_seconds=0.2)

    assert facts(error) == (UnreachableError, "time-out", True)


def test_a_connection_that_is_broken_off_may_have_been_paid_for(
    loopback: "Loopback", loopback_server: ModuleType
) -> None:
    for fault in (loopback_server.Fault(drop=True), loopback_server.Fault(reset=True)):
        error = failure(loopback, fault)

        assert facts(error) == (UnreachableError, "reset", True)
        assert "/v1/chat/completions gave no answer: " in str(error)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_refused_connection_names_the_place_and_the_reason(host: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        error = failed(f"http://{host}:{port}/v1?secret=x")

    assert facts(error) == (UnreachableError, "refused", False)
    assert f"{host}:{port}/v1/chat/completions could not be reached: Connection" in str(error)
    assert "secret" not in str(error)


def test_a_host_that_no_one_knows_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    error = failed("https://nowhere.invalid/v1")

    assert facts(error) == (UnreachableError, "dns", False)


def test_a_proxy_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    assert facts(failed("https://nowhere.invalid/v1")) == (UnreachableError, "refused", False)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", (UnreachableError, "no HTTP", True)),
        (b"HTTP/1.1 abc\r\n\r\n", (UnreachableError, "no HTTP", True)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", (UnreachableError, "no HTTP", True)),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, (UnreachableError, "no HTTP", True)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Enc", (UnreachableError, "reset", True)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", (BrokenAnswerError, "half a body", True)),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
            (BrokenAnswerError, "half a body", True),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{",
            (UnreachableError, "no HTTP", True),
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n{", (BrokenAnswerError, "no JSON", True)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (BrokenAnswerError, "no JSON", True)),
    ],
    ids=range(10),
)
def test_whatever_a_server_says_is_one_of_our_errors(
    said: bytes, expected: tuple[type[ModelError], str, bool]
) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}]}")
        writer.write(said)

    assert facts(answered_by(say)) == expected


def test_a_server_without_tls_is_not_spoken_to_in_the_clear(loopback: "Loopback") -> None:
    error = failed(f"https://127.0.0.1:{loopback.port}/v1")

    assert facts(error) == (UnreachableError, "tls", False)
    assert loopback.raw == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_certificate_that_no_one_vouches_for_stops_the_run_before_the_key_is_sent(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*command, *named, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    received = []

    async def read(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read())

    error = answered_by(read, scheme="https", context=context)

    assert type(error) is EndpointError
    assert "shows no certificate that can be trusted: SSLCertVerificationError: " in str(error)
    assert b"".join(received) == b""


def test_a_redirect_is_not_followed(loopback: "Loopback", loopback_server: ModuleType) -> None:
    away = loopback_server.Fault(status=307, headers=(("Location", f"{loopback.base_url}/elsewhere"),))

    assert type(failure(loopback, away)) is EndpointError
    assert loopback.paths == ["/v1/chat/completions"]


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        (
            "https://me:hunter2@h.example/v1/chat/completions?token=hunter2#hunter2",
            "https://h.example/v1/chat/completions",
        ),
        ("/sign-in?next=hunter2", "/sign-in"),
        (f"https://h.example/{CANARY}", "https://h.example/[key]"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_says_where_to_without_secrets(
    loopback: "Loopback", loopback_server: ModuleType, status: int, location: str, shown: str
) -> None:
    error = failure(
        loopback, loopback_server.Fault(status=status, text=b"", headers=(("Location", location),))
    )

    assert str(error).endswith(f"/v1/chat/completions answered {status} and points to {shown}")


@pytest.mark.parametrize("location", ["", "http://[::1"])
def test_a_redirect_to_nothing_that_can_be_read_is_told_without_it(
    loopback: "Loopback", loopback_server: ModuleType, location: str
) -> None:
    error = failure(loopback, loopback_server.Fault(status=308, text=b"", headers=(("Location", location),)))

    assert str(error).endswith("/v1/chat/completions answered 308")


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


@pytest.mark.parametrize(
    "written",
    [
        "{}/+={}",
        '{{"Authorization": "Bearer {}/+={}"}}',
        "{}%2F%2B%3D{}",
        "{}%2f%2b%3d{}",
        "{}%252F%252B%253D{}",
        "{}\\/+={}",
    ],
)
def test_a_key_is_taken_out_of_answers_and_errors_however_it_is_written(
    loopback: "Loopback", loopback_server: ModuleType, written: str
) -> None:
    head, tail = "sk-canary", "3f9a1c77"
    echo = f"You sent {written.format(head, tail)}, thanks"
    loopback.reply = lambda _body: echo
    refused = loopback_server.Fault(status=400, payload={"error": {"message": echo}})

    text = chat(loopback.base_url, key=f"{head}/+={tail}").text
    said = str(failure(loopback, refused, key=f"{head}/+={tail}"))

    for shown in (text, said):
        assert "[key]" in shown
        assert tail not in shown
        assert shown.endswith(", thanks")


def test_a_word_that_stands_for_a_key_is_left_in_answers(loopback: "Loopback") -> None:
    loopback.reply = lambda _body: "The shelf is EMPTY."

    assert chat(loopback.base_url, key="EMPTY").text == "The shelf is EMPTY."


def test_what_the_environment_holds_for_openai_goes_nowhere_else(
    loopback: "Loopback", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-of-the-admin")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-openai")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-of-openai")
    monkeypatch.setenv(
        "OPENAI_CUSTOM_HEADERS", "X-Gateway: sk-of-gateway\nauthorization: Bearer sk-other\njunk"
    )

    chat(loopback.base_url)
    chat(loopback.base_url, key=None)

    for headers in loopback.headers:
        assert not [value for value in headers.values() if "sk-o" in value or "-of-" in value]
    assert [headers["authorization"] for headers in loopback.headers] == [f"Bearer {CANARY}", "Bearer none"]


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
    assert str(mapped).startswith("x:443/v1/chat/completions")


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
        ({"message": {"content": "a"}, "finish_reason": {}, "error": None}, "a", "stop"),
        ({"message": {"content": "a"}, "finish_reason": "model_length"}, "a", "length"),
        ({"message": {"content": "a"}, "finish_reason": "MAX_TOKENS"}, "a", "length"),
        ({"message": {"content": []}, "finish_reason": "max_output_tokens"}, "", "length"),
        ({"message": {"content": "a"}, "finish_reason": "SAFETY"}, "a", "refused"),
        ({"message": {"content": None}, "finish_reason": "sensitive"}, "", "refused"),
        ({"message": {"content": "a"}, "finish_reason": "tool_calls"}, "a", "stop"),
        ({"message": {"content": "a"}, "finish_reason": "content_filter: RECITATION"}, "a", "refused"),
        ({"finish_reason": "content_filter: PROHIBITED_CONTENT"}, "", "refused"),
        ({"message": None, "finish_reason": "MAX_TOKENS"}, "", "length"),
        *(
            ({"message": {"content": "a"}, "finish_reason": reason}, "a", "refused")
            for reason in (
                "RECITATION",
                "PROHIBITED_CONTENT",
                "BLOCKLIST",
                "SPII",
                "refusal",
                "content_filtered",
            )
        ),
        ({"message": {"content": "a"}, "finish_reason": "guardrail_intervened"}, "a", "refused"),
        ({"message": {"content": "a"}, "finish_reason": "model_context_window_exceeded"}, "a", "length"),
    ],
)
def test_why_the_model_stopped_is_read(choice: object, text: str, reason: str) -> None:
    completion = read_completion({"choices": [choice]}, 0.5)

    assert (completion.text, completion.finish_reason, completion.seconds) == (text, reason, 0.5)


@pytest.mark.parametrize(
    "reason", ["error", "abort", "Aborted", "insufficient_system_resource", "network_error"]
)
def test_what_the_server_broke_off_is_no_answer_and_costs_what_it_says(
    loopback: "Loopback", loopback_server: ModuleType, reason: str
) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 9}
    payload = {
        "choices": [{"message": {"content": "The team is bil"}, "finish_reason": reason}],
        "usage": usage,
    }

    error = failure(loopback, loopback_server.Fault(payload=payload))

    assert facts(error) == (BrokenAnswerError, f"finish reason {reason.lower()}", True)
    assert isinstance(error, BrokenAnswerError)
    assert (error.prompt_tokens, error.completion_tokens) == (5, 9)


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


@pytest.mark.parametrize(
    ("message", "usage", "text"),
    [
        (
            {"content": [THOUGHT, {"type": "text", "text": "bil"}, {"type": "text", "text": "ling"}]},
            {},
            "billing",
        ),
        ({"content": [THOUGHT]}, {}, ""),
        ({"content": None, "reasoning_content": "hm"}, {}, ""),
        ({"content": None, "reasoning": "hm"}, {}, ""),
        ({"content": None}, {"completion_tokens": 1500}, ""),
        ({"content": None}, {"prompt_tokens": 500, "completion_tokens": 0, "total_tokens": 2000}, ""),
        ({}, {"completion_tokens": 1500}, ""),
    ],
)
def test_an_answer_without_its_thoughts_is_read_and_may_be_empty(
    message: object, usage: object, text: str
) -> None:
    completion = read_completion(
        {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}, 0.0
    )

    assert (completion.text, completion.finish_reason) == (text, "stop")
    read = AnswerFormat(kind="label", labels=("billing",)).read(completion.text, completion.finish_reason)
    assert read.outcome == ("ok" if text else "invalid")


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10.0, "completion_tokens": 5.0, "total_tokens": 15.0},
        {"prompt_tokens": "10", "completion_tokens": "5"},
        {"input_tokens": 10, "output_tokens": 5},
        {"prompt_tokens": 0, "completion_tokens": None, "input_tokens": "10", "output_tokens": 5.0},
    ],
)
def test_usage_is_read_in_whatever_words_and_numbers_it_comes(usage: object) -> None:
    completion = read_completion({"choices": [{"message": {"content": "a"}}], "usage": usage}, 0.0)
    assert (completion.prompt_tokens, completion.completion_tokens) == (10, 5)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 1.5, "completion_tokens": float("inf")},
        {"prompt_tokens": "ten", "completion_tokens": "-5"},
        {"prompt_tokens": "9" * 5000, "completion_tokens": 1e300},
        {"input_tokens": True, "output_tokens": "\u0665"},
    ],
)
def test_what_is_no_count_counts_no_tokens(usage: object) -> None:
    completion = read_completion({"choices": [{"message": {"content": "a"}}], "usage": usage}, 0.0)
    assert (completion.prompt_tokens, completion.completion_tokens) == (0, 0)
    assert not completion.counted


def test_half_of_the_usage_states_none() -> None:
    answer = {"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 9}}
    assert not read_completion(answer, 0.0).counted
    answer = {"choices": [{"message": {"content": ""}}], "usage": {"prompt_tokens": 9}}
    assert read_completion(answer, 0.0).prompt_tokens == 9


@pytest.mark.parametrize(
    "usage", [None, {}, [], {"prompt_tokens": None, "completion_tokens": -3}, {"prompt_tokens": True}]
)
def test_missing_usage_counts_no_tokens(usage: object) -> None:
    completion = read_completion({"choices": [{"message": {"content": "a"}}], "usage": usage}, 0.0)

    assert (completion.prompt_tokens, completion.completion_tokens) == (0, 0)


@pytest.mark.parametrize(
    ("usage", "written"),
    [
        (
            {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135},
            103,
        ),  # 94 of them in hidden reasoning
        ({"prompt_tokens": 32, "completion_tokens": 103, "total_tokens": 135}, 103),
        ({"prompt_tokens": 32, "completion_tokens": 9}, 9),
        ({"completion_tokens": 9, "total_tokens": 135}, 9),
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": "many"}, 9),
        ({"prompt_tokens": 32, "completion_tokens": 0, "total_tokens": 81}, 49),
    ],
)
def test_tokens_of_hidden_reasoning_are_counted_as_written(usage: object, written: int) -> None:
    completion = read_completion({"choices": [{"message": {"content": "a"}}], "usage": usage}, 0.0)
    assert completion.completion_tokens == written


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
        (
            "localhost:8000/v1",
            False,
            "base_url: expected an address such as https://api.openai.com/v1, found 'loc",
        ),
        ("me:hunter2@models.example/v1", False, "base_url: expected an address such as"),
        ("models.example/v1?key=hunter2", False, "base_url: expected an address such as"),
        (
            "https://api.openai.com/v1/chat/completions",
            True,
            "base_url: expected the address up to /v1, found one that goes on to /chat/completions",
        ),
        ("http://127.0.0.1:1/v1/embeddings/", False, "base_url: expected the address up to /v1"),
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


def test_a_key_in_place_of_the_name_of_its_variable_is_not_shown() -> None:
    with pytest.raises(InputError, match="is it the key itself") as caught:
        key_from_environment(CANARY)

    assert CANARY not in str(caught.value)


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
