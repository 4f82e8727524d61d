"""One OpenAI-compatible chat endpoint: client, deadlines, TLS, the key by name, every client error as one of ours.

Retrying belongs to the layer above, so the client never retries. The body goes over the wire as one JSON text that
is made here, and the response is read here: what was asked and what came back pass through no one's models.
"""

import asyncio
import contextlib
import ipaddress
import json
import os
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from optimizer.completion import Completion, FinishReason
from optimizer.errors import (
    EndpointError,
    InputError,
    ModelError,
    OverloadedError,
    Problem,
    RejectedError,
    UnreachableError,
)

if TYPE_CHECKING:
    from openai import AsyncOpenAI

# A machine that is there answers the handshake within a second or two, on slow links too.
CONNECT_SECONDS = 5.0
# The longest answers take about a minute; the client's own default of ten minutes hides endpoints that hang.
TIMEOUT_SECONDS = 120.0
# Enough for any real message; a server may echo the whole prompt in its error.
MESSAGE_CHARACTERS = 200
# The client insists on a key; servers without keys ignore it.
_NO_KEY = "none"

_FINISH_REASONS: dict[object, FinishReason] = {"length": "length", "content_filter": "refused"}
_OVERLOADED = frozenset({408, 409, 429})
_REJECTED = frozenset({400, 413, 422})
# 429 for an empty account, which no waiting fills.
_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})


class Endpoint:
    """One endpoint, open inside `async with` and bound to the event loop that entered it."""

    def __init__(
        self, base_url: str, api_key: str | None, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        """Check the address; nothing is contacted.

        Args:
            base_url: Address up to and with `/v1`; its query is sent with every request.
            api_key: The key, or None for a server that wants none.
            timeout_seconds: Bound of one attempt, and of every wait for data within it.

        Raises:
            InputError: When the address is none, holds a password, or would carry the key in the clear.
        """
        problem = base_url_problem(base_url, with_key=api_key is not None)
        if problem is None and api_key is not None and not _is_header_text(api_key):
            problem = "the API key holds characters that no HTTP header can carry"
        if problem is not None:
            raise InputError([Problem(file="", message=problem)])
        self._url = urlsplit(base_url)
        self._api_key = api_key
        self._timeout_seconds = timeout_seconds
        self._client: AsyncOpenAI | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.place})"

    @property
    def place(self) -> str:
        """Return host, port and path, as messages name them."""
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        host = self._url.hostname or ""
        return f"{f'[{host}]' if ':' in host else host}:{port}{self._url.path.rstrip('/')}/chat/completions"

    async def __aenter__(self) -> Self:
        import openai

        http_client = openai.DefaultAioHttpClient(
            follow_redirects=False,  # a redirect may lead out of TLS, or to a machine the key was not meant for
            trust_env=not _is_loopback(self._url.hostname or ""),  # no proxy between us and ourselves
        )
        self._client = openai.AsyncOpenAI(
            api_key=self._api_key or _NO_KEY,
            base_url=urlunsplit((self._url.scheme, self._url.netloc, self._url.path, "", "")),
            default_query=dict(parse_qsl(self._url.query)),
            # No bound on the wait for a free connection: it is ours, not the server's, and the deadline covers it.
            timeout=openai.Timeout(self._timeout_seconds, connect=CONNECT_SECONDS, pool=None),
            max_retries=0,
            http_client=http_client,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def chat(self, body: Mapping[str, object]) -> Completion:
        """Return the completion of one attempt, as the server wrote it.

        Raises:
            ModelError: Whatever went wrong; the message names the place, never the key.
        """
        content = _encoded(body)
        start = time.perf_counter()
        try:
            answer = await self._post(content)
        except _client_errors() as error:
            problem = self._mapped(error)
        else:
            return self._completion(answer, time.perf_counter() - start)
        # Outside the handler: the client's error holds the request with its headers, so it must not be chained.
        raise problem

    async def _post(self, content: bytes) -> bytes:
        import httpx2

        if self._client is None:
            raise RuntimeError("an Endpoint is used inside `async with`")
        async with asyncio.timeout(self._timeout_seconds):
            response = await self._client.post("/chat/completions", cast_to=httpx2.Response, content=content)
            return response.content

    def _completion(self, answer: bytes, seconds: float) -> Completion:
        try:
            return read_completion(json.loads(answer), seconds)
        except (ValueError, RecursionError) as error:  # not JSON, nested without end, or JSON of another kind
            problem = (
                f"{self.place} answered something that is not a chat completion: {self._clean(str(error))}"
            )
        raise UnreachableError(problem)

    def _mapped(self, error: Exception) -> ModelError:
        """Return our error for one of the client's."""
        import openai

        if isinstance(error, openai.APIStatusError):
            said = self._clean(_server_message(error.body))
            message = f"{self.place} answered {error.status_code}{': ' if said else ''}{said}"
            return _error_class(error)(message)
        if isinstance(error, openai.LengthFinishReasonError | openai.ContentFilterFinishReasonError):
            return RejectedError(f"{self.place}: {type(error).__name__}")
        if isinstance(error, openai.OpenAIError) and not isinstance(error, openai.APIError):
            return EndpointError(f"{self.place}: the client cannot send: {type(error).__name__}")
        causes = list(_causes(error))
        if any(isinstance(cause, TimeoutError) for cause in causes):
            bounds = f"{CONNECT_SECONDS:g} s to connect, {self._timeout_seconds:g} s to answer"
            return UnreachableError(f"{self.place} did not answer in time ({bounds})")
        root = f"{type(causes[-1]).__name__}: {self._clean(str(causes[-1]))}"
        return UnreachableError(f"{self.place} could not be reached: {root}")

    def _clean(self, text: str) -> str:
        """Return a text from outside on one line, without control characters and key, cut to a bearable length."""
        line = "".join(character for character in " ".join(text.split()) if character.isprintable())
        if self._api_key:
            line = line.replace(self._api_key, "[key]")
        return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 1] + "…"


def key_from_environment(name: str) -> str:
    """Return the key that an environment variable holds, without surrounding white space.

    Raises:
        InputError: When the variable is unset or empty, or cannot be a key; its value is never shown.
    """
    key = os.environ.get(name, "").strip()
    if not key:
        raise InputError([Problem(file="", message=f"the environment variable {name} is not set")])
    if not _is_header_text(key):
        message = f"the environment variable {name} holds characters that no HTTP header can carry"
        raise InputError([Problem(file="", message=message)])
    return key


def base_url_problem(base_url: str, *, with_key: bool) -> str | None:
    """Return why an address cannot be used, or None. Passwords in it are never repeated."""
    try:
        url = urlsplit(base_url)
        host, _ = url.hostname, url.port
    except ValueError:
        return "base_url: expected an address such as https://api.openai.com/v1"
    if url.scheme not in ("http", "https") or not host:
        return "base_url: expected an address such as https://api.openai.com/v1"
    if "@" in url.netloc:
        return f"base_url: expected no user name or password before {host}; name the key's variable in api_key_env"
    if with_key and url.scheme == "http" and not _is_loopback(host):
        return f"base_url: refusing to send a key to {host} over plain http; use https"
    return None


def without_secrets(base_url: str) -> str:
    """Return the address without user name, password, query and final slash."""
    url = urlsplit(base_url)
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path.rstrip("/"), "", ""))


def read_completion(answer: object, seconds: float) -> Completion:
    """Return the completion that the JSON of a chat endpoint holds.

    A missing content is an empty text where the model refused or ran into its token bound before writing any.

    Raises:
        ValueError: When the answer is not a chat completion; the message says what is missing.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError("it has no choices")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise ValueError("its first choice has no message")
    refusal = message.get("refusal")
    reason: FinishReason = (
        "refused" if refusal else _FINISH_REASONS.get(choices[0].get("finish_reason"), "stop")
    )
    text = message.get("content")
    if text is None and reason != "stop":
        text = refusal if isinstance(refusal, str) else ""
    if not isinstance(text, str):
        raise ValueError("its message has no text")
    usage = answer.get("usage") if isinstance(answer, dict) else None
    return Completion(
        text=text,
        finish_reason=reason,
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        seconds=seconds,
    )


def _count(usage: object, key: str) -> int:
    value = usage.get(key) if isinstance(usage, dict) else None
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0


def _encoded(body: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        problem = "the request holds half of a surrogate pair, which is no text"
    except ValueError:
        problem = "the request holds a number that JSON cannot carry"
    raise RejectedError(problem)


def _client_errors() -> tuple[type[Exception], ...]:
    """Return what a call of the client may raise: its own errors, and those of the layers it lets through."""
    import aiohttp
    import httpx2
    import openai

    return (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError)


def _error_class(error: object) -> type[ModelError]:
    status, code = getattr(error, "status_code", 0), getattr(error, "code", None)
    if status == 429 and (code in _QUOTA or getattr(error, "type", None) in _QUOTA):
        return EndpointError
    if status in _OVERLOADED or status >= 500:
        return OverloadedError
    return RejectedError if status in _REJECTED else EndpointError


def _server_message(body: object) -> str:
    """Return what a server said: OpenAI's `message`, FastAPI's `detail`, Ollama's bare text, or a page."""
    if isinstance(body, Mapping):
        said = next((body[key] for key in ("message", "detail", "error") if body.get(key)), "")
        return said if isinstance(said, str) else json.dumps(said, default=str)
    return body if isinstance(body, str) else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it, down to the first."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _is_header_text(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
