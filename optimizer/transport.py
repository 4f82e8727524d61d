"""One OpenAI-compatible chat endpoint: client, deadlines, TLS, the key by name, every client error as one of ours.

Retrying belongs to the layer above, so the client never retries. The body goes over the wire as one JSON text that
is made here, and the response is read here: what was asked and what came back pass through no one's models.
"""

import asyncio
import dataclasses
import json
import os
import socket
import ssl
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from optimizer.address import base_url_problem, is_header_text, is_loopback, without_secrets
from optimizer.completion import Completion, FinishReason
from optimizer.errors import (
    BrokenAnswerError,
    EndpointError,
    FilteredError,
    InputError,
    ModelError,
    OverloadedError,
    Problem,
    RejectedError,
    UnreachableError,
)
from optimizer.patience import PAGE
from optimizer.retry import error_message, refusal, server_wait_seconds, stated_error, stated_status
from optimizer.service import Service, finish_reason_of, text_of, tokens_of

if TYPE_CHECKING:
    from httpx2 import Response
    from openai import APIStatusError, AsyncOpenAI

# A machine that is there answers the handshake within a second or two, on slow links too.
CONNECT_SECONDS = 5.0
# Between two bytes, the first included: an answer is not streamed, so this covers all of its writing.
READ_SECONDS = 60.0
# The longest answers take about a minute; the client's own default of ten minutes hides endpoints that hang.
TIMEOUT_SECONDS = 120.0
# Enough for any real message; a server may echo the whole prompt in its error.
MESSAGE_CHARACTERS = 200
# The client insists on a key; servers without keys ignore it.
_NO_KEY = "none"
# What is shorter guards nothing: EMPTY, ollama and the like, which a model may well write.
_KEY_CHARACTERS = 8
# The client adds these headers from the environment, wherever it is pointed; they are meant for one host alone.
_AMBIENT_HEADERS, _AMBIENT_HOST = ("OpenAI-Organization", "OpenAI-Project"), "api.openai.com"
# Names of tokens read, written, and both: first that of chat endpoints.
_COUNTS = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"), ("total_tokens",))
# More than any count has.
_COUNT_DIGITS = 16


class Endpoint:
    """One endpoint, open inside `async with` and bound to the event loop that entered it."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        read_seconds: float = READ_SECONDS,
        expect_model: str | None = None,
        service: Service | None = None,
    ) -> None:
        """Check the address; nothing is contacted.

        Args:
            base_url: Address up to and with `/v1`; its query is sent with every request.
            api_key: The key, or None for a server that wants none.
            timeout_seconds: Bound of one attempt.
            read_seconds: Bound of every wait for data within it.
            expect_model: The name that every answer must carry in `model`; None takes any.
            service: What is asked of it; chat unless given.

        Raises:
            InputError: When the address is none, holds a password, or would carry the key in the clear.
        """
        problem = base_url_problem(base_url, with_key=api_key is not None)
        if problem is None and api_key is not None and not is_header_text(api_key):
            problem = "the API key holds characters that no HTTP header can carry"
        if problem is not None:
            raise InputError([Problem(file="", message=problem)])
        self._url = urlsplit(base_url)
        self._api_key = api_key
        self._key_forms = _written_forms(api_key) if api_key else ()
        self._timeout_seconds = timeout_seconds
        self._read_seconds = min(read_seconds, timeout_seconds)
        self._expect_model = expect_model
        self._service = service or Service("/chat/completions", "a chat completion", read_completion)
        self._accepted = False
        self._client: AsyncOpenAI | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.place})"

    @property
    def place(self) -> str:
        """Return host, port and path, as messages name them."""
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        name, path = self._url.hostname or "", f"{self._url.path.rstrip('/')}{self._service.path}"
        return f"{f'[{name}]' if ':' in name else name}:{port}{path}"

    async def __aenter__(self) -> Self:
        import openai

        http_client = openai.DefaultAioHttpClient(
            follow_redirects=False,  # a redirect may lead out of TLS, or to a machine the key was not meant for
            trust_env=not is_loopback(self._url.hostname or ""),  # no proxy between us and ourselves
        )
        self._client = openai.AsyncOpenAI(
            api_key=self._api_key or _NO_KEY,
            base_url=urlunsplit((self._url.scheme, self._url.netloc, self._url.path, "", "")),
            default_headers=_explicit_headers(self._api_key or _NO_KEY, self._url.hostname or ""),
            default_query=dict(parse_qsl(self._url.query)),
            # No bound on the wait for a free connection: it is ours, not the server's, and the deadline covers it.
            timeout=openai.Timeout(self._read_seconds, connect=CONNECT_SECONDS, pool=None),
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
        """Return the completion of one attempt, as the server wrote it, but for the key.

        What a filter before the model refuses is a refusal, as it is where the same filter says so in an answer.

        Raises:
            ModelError: Whatever went wrong; the message names the place, never the key.
        """
        content = _encoded(body)
        start = time.perf_counter()
        try:
            response = await self._post(content)
        except _client_errors() as error:
            found: Completion | ModelError = self._mapped(error)
        else:
            found = self._read(response, time.perf_counter() - start)
        if isinstance(found, FilteredError) and self._service.read is read_completion:
            return Completion(text="", finish_reason="refused", seconds=time.perf_counter() - start)
        if isinstance(found, Completion):
            return found
        # Outside the handler: the client's error holds the request with its headers, so it must not be chained.
        raise found

    async def _post(self, content: bytes) -> "Response":
        import httpx2

        if self._client is None:
            raise RuntimeError("an Endpoint is used inside `async with`")
        async with asyncio.timeout(self._timeout_seconds):
            if self._service.method == "GET":
                return await self._client.get(self._service.path, cast_to=httpx2.Response)
            return await self._client.post(self._service.path, cast_to=httpx2.Response, content=content)

    def _read(self, response: "Response", seconds: float) -> Completion | ModelError:
        """Return what an answer with status 200 holds: a completion of the right model, or an error."""
        try:
            answer = json.loads(response.content)
        except (ValueError, RecursionError):  # not JSON, or nested without end
            return self._page(response.text) if _is_page(response) else self._broken("no JSON")
        error = stated_error(answer)
        if error is not None:
            return self._stated(error, answer, response.headers)
        try:
            completion = self._service.read(answer, seconds)
        except ValueError as missing:
            return self._broken(str(missing), answer)
        model = answer.get("model")
        if self._expect_model not in (None, model):
            return self._broken("another model", answer, f": {model!r} instead of {self._expect_model!r}")
        self._accepted = True
        guarded = len(self._api_key or "") >= _KEY_CHARACTERS
        text = self._without_key(completion.text) if guarded else completion.text
        return completion if text == completion.text else dataclasses.replace(completion, text=text)

    def _broken(self, reason: str, answer: object = None, more: str = "") -> BrokenAnswerError:
        """Return the error for an answer that holds no completion."""
        what = f"something that is not {self._service.answer}: {self._clean(reason + more)}"
        return BrokenAnswerError(f"{self.place} answered {what}", reason=reason, **_charge(answer))

    def _page(self, text: str) -> BrokenAnswerError:
        """Return the error for a page, as a proxy or a form to sign in has it; no model wrote it."""
        what = f"a web page, not {self._service.answer}: {self._clean(text)}"
        return BrokenAnswerError(f"{self.place} answered {what}", reason=PAGE)

    def _stated(self, error: object, answer: object, headers: Mapping[str, str]) -> ModelError:
        """Return our error for one that came with status 200, by the status that its code stands for."""
        status = stated_status(error)
        if status is None:
            return self._broken("an error in a 200", answer, f": {error_message(error)}")
        message = f"{self.place} answered 200 with an error: {self._clean(error_message(error))}"
        return self._refusal(status, error, headers, message, _charge(answer))

    def _refused(self, answered: "APIStatusError") -> ModelError:
        """Return our error for an answer with another status than 200."""
        error = stated_error(answered.body) or answered.body
        headers, said = answered.response.headers, self._clean(error_message(error))
        moved = f" and points to {self._clean(_location(headers))}" if _location(headers) else ""
        message = f"{self.place} answered {answered.status_code}{moved}{': ' if said else ''}{said}"
        return self._refusal(answered.status_code, error, headers, message, {})

    def _refusal(
        self, status: int, error: object, headers: Mapping[str, str], message: str, charge: dict[str, Any]
    ) -> ModelError:
        kind = refusal(status, error=error, headers=headers, accepted=self._accepted)
        if not issubclass(kind, OverloadedError):
            return kind(message)
        wait = server_wait_seconds(headers, now=time.time())
        return OverloadedError(message, reason=str(status), retry_after_seconds=wait, **charge)

    def _mapped(self, error: Exception) -> ModelError:
        """Return our error for one of the client's."""
        import openai

        if isinstance(error, openai.APIStatusError):
            return self._refused(error)
        if isinstance(error, openai.OpenAIError) and not isinstance(error, openai.APIError):
            return EndpointError(f"{self.place}: the client cannot send: {type(error).__name__}")
        causes = _causes(error)
        reason, sent = _fault(causes)
        told = f"{type(causes[-1]).__name__}: {self._clean(str(causes[-1]))}"
        if reason == "certificate":  # no wait mends it, and nothing may be sent to whoever shows it
            return EndpointError(f"{self.place} shows no certificate that can be trusted: {told}")
        if reason in ("half a body", "no JSON"):
            return self._broken(reason, more=f": {told}")
        message = f"{self.place} {'gave no answer' if sent else 'could not be reached'}: {told}"
        if reason == "time-out":
            bounds = f"{CONNECT_SECONDS:g} s to connect, {self._read_seconds:g} s between bytes"
            message = f"{self.place} did not answer in time ({bounds}, {self._timeout_seconds:g} s in all)"
        return UnreachableError(message, reason=reason, billable=sent)

    def _clean(self, text: str) -> str:
        """Return a text from outside on one line, without control characters and key, cut to a bearable length."""
        line = "".join(character for character in " ".join(text.split()) if character.isprintable())
        shown = self._without_key(line)
        return shown if len(shown) <= MESSAGE_CHARACTERS else shown[: MESSAGE_CHARACTERS - 1] + "…"

    def _without_key(self, text: str) -> str:
        for form in self._key_forms:
            text = text.replace(form, "[key]")
        return text


def read_completion(answer: object, seconds: float) -> Completion:
    """Return the completion that the JSON of a chat endpoint holds.

    A missing content is an empty text where the model refused, ran into its token bound before writing any, or wrote
    nothing but its thoughts; in the first two cases the whole message may be missing. Of a content in parts those of text
    are joined.

    Raises:
        ValueError: When the answer is not a chat completion; the message says what is missing.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError("no choices")
    message, stopped = choices[0].get("message"), finish_reason_of(choices[0])
    if message is None and stopped != "stop":
        message = {}
    if not isinstance(message, dict):
        raise ValueError("no text")
    refusal, (read, written) = message.get("refusal"), tokens_of(_counted(answer))
    reason: FinishReason = "refused" if refusal else stopped
    text = text_of(message, wrote=written > 0)
    if message.get("content") in (None, []) and reason != "stop":
        text = refusal if isinstance(refusal, str) else ""
    if text is None:
        raise ValueError("no text")
    if text and not written:
        read = 0  # half of the usage states none: what the call cost is not known
    return Completion(
        text=text, finish_reason=reason, prompt_tokens=read, completion_tokens=written, seconds=seconds
    )


def _is_page(response: "Response") -> bool:
    kind = response.headers.get("content-type", "").casefold()
    return "text/html" in kind or response.text.lstrip()[:9].casefold().startswith(("<!doctype", "<html"))


def _location(headers: Mapping[str, str]) -> str:
    """Return where an answer points to, without secrets, or "" where it does not, or to nothing that can be read."""
    try:
        return without_secrets(headers.get("location", ""))
    except ValueError:
        return ""


def _charge(answer: object) -> dict[str, Any]:
    """Return what an answer that is of no use may cost, for the error that says so."""
    read, written = tokens_of(_counted(answer))
    counts = {"prompt_tokens": read, "completion_tokens": written}
    return {"billable": True} | {kind: n for kind, n in counts.items() if n}


def _counted(answer: object) -> dict[str, dict[str, int]]:
    """Return the usage that an answer states, each count under the name that chat endpoints have for it, 0 where none is."""
    stated = answer.get("usage") if isinstance(answer, dict) else None
    usage = stated if isinstance(stated, dict) else {}
    return {"usage": {names[0]: max(_whole(usage.get(name)) for name in names) for names in _COUNTS}}


def _whole(stated: object) -> int:
    """Return a count that came as a whole number, whatever its type, or as digits; 0 where it is none."""
    if isinstance(stated, str) and stated.isascii() and stated.isdigit() and len(stated) <= _COUNT_DIGITS:
        return int(stated)
    if isinstance(stated, float) and stated.is_integer():
        return int(stated)
    return stated if isinstance(stated, int) and not isinstance(stated, bool) else 0


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


def _fault(causes: tuple[BaseException, ...]) -> tuple[str, bool]:
    """Return a word for what broke, and whether the request may have reached the server by then."""
    import aiohttp
    import httpx2

    words: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
        ("certificate", (ssl.SSLCertVerificationError,)),
        ("tls", (ssl.SSLError,)),
        ("dns", (socket.gaierror, aiohttp.ClientConnectorDNSError)),
        ("time-out", (TimeoutError,)),
        ("refused", (ConnectionRefusedError,)),
        ("proxy", (aiohttp.ClientHttpProxyError,)),
        ("half a body", (aiohttp.ClientPayloadError,)),
        ("no JSON", (httpx2.DecodingError,)),
        ("reset", (ConnectionError, aiohttp.ServerDisconnectedError)),
        ("no HTTP", (aiohttp.ClientResponseError,)),
    )
    connecting = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)

    def met(kinds: tuple[type[BaseException], ...]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    return next((word for word, kinds in words if met(kinds)), "unreachable"), not met(connecting)


def _causes(error: BaseException) -> tuple[BaseException, ...]:
    """Return an error and what led to it, down to the first."""
    return (error, *(() if error.__cause__ is None else _causes(error.__cause__)))


def _explicit_headers(key: str, host: str) -> dict[str, str]:
    """Return headers that keep what `OPENAI_*` variables would add, another key among them, from other hosts."""
    import openai

    custom = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    added = (*_AMBIENT_HEADERS, *(line.partition(":")[0].strip() for line in custom))
    kept_back: dict[str, object] = dict.fromkeys(() if host == _AMBIENT_HOST else added, openai.Omit())
    return cast(dict[str, str], kept_back | {"Authorization": f"Bearer {key}"})


def _written_forms(key: str) -> tuple[str, ...]:
    """Return the key as it is, and as URLs and JSON write it."""
    in_url, in_json = quote(key, safe=""), json.dumps(key)[1:-1]
    forms = {key, in_url, in_url.replace("%", "%25"), in_url.lower(), in_json, in_json.replace("/", "\\/")}
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))
