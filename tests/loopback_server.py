"""A deterministic OpenAI-compatible chat server on 127.0.0.1: the `loopback` fixture, and a process of its own.

    python tests/loopback_server.py --log FILE --labels a,b,c [--truth FILE] [--delay S] [--lifetime S]

prints its port, then answers as a function of the request body alone, so that runs that are killed and resumed, or
more or less concurrent, can be compared byte by byte. Standard library only.
"""

import argparse
import hashlib
import json
import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

Body = dict[str, Any]
Reply = Callable[[Body], str | tuple[int, object]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What goes wrong with one request.

    Attributes:
        status: Answer with this status instead of 200.
        payload: The JSON to answer with, or None for an error of the usual form (or the usual completion).
        text: Bytes to answer with instead of any JSON.
        headers: More response headers.
        delay: Seconds before the answer.
        drop: Close the connection without an answer.
        cut: Promise the whole body and close the connection in the middle of it.
    """

    status: int = 200
    payload: object = None
    text: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    drop: bool = False
    cut: bool = False


@dataclass(kw_only=True)
class Loopback:
    """The server: set what it does, read what it was sent.

    Attributes:
        reply: The text of an answer, or (status, JSON), from the request body.
        faults: Taken one by one, None for a request that is served well; then all are.
        models: Names that are served, or None for every name.
        repeats_prefill: Whether an answer begins with the last message of the assistant, as llama.cpp's does.
        obeys: Whether constraints in a body are obeyed.
        delay: Seconds before every answer.
        log: File that every body is appended to the moment it is received.
        bodies, raw, headers, paths: What was sent, in order of arrival; names of headers in lower case.
        counts: Requests per distinct body (by its raw bytes).
        in_flight, most_in_flight: Requests being served now, and the most there ever were at once.
    """

    reply: Reply = field(default=lambda _body: "ok")
    faults: list[Fault | None] = field(default_factory=list)
    models: set[str] | None = None
    repeats_prefill: bool = False
    obeys: bool = True
    delay: float = 0.0
    log: Path | None = None
    bodies: list[Body] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    counts: Counter[bytes] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.loopback = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and cut what is still connected."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def receive(self, raw: bytes, body: Body, headers: dict[str, str], path: str) -> Fault:
        """Record one request and return what is to go wrong with it."""
        with self._lock:
            if self.log is not None:
                with self.log.open("a", encoding="utf-8") as log:
                    log.write(json.dumps(body, ensure_ascii=False) + "\n")
            self.bodies.append(body)
            self.raw.append(raw)
            self.headers.append(headers)
            self.paths.append(path)
            self.counts[raw] += 1
            return (self.faults.pop(0) if self.faults else None) or Fault()

    def moved(self, by: int) -> None:
        """Count a request in (1) or out (-1)."""
        with self._lock:
            self.in_flight += by
            self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def answer(self, body: Body) -> tuple[int, object]:
        """Return status and JSON of the answer to a body, faults apart."""
        if self.models is not None and body.get("model") not in self.models:
            message = f"The model `{body.get('model')}` does not exist"
            return 404, {
                "error": {"message": message, "type": "invalid_request_error", "code": "model_not_found"}
            }
        said = self.reply(body)
        if not isinstance(said, str):
            return said
        text = obedient(said, body) if self.obeys else said
        return 200, completion(body, prefill(body) + text if self.repeats_prefill else text, written=text)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    loopback: Loopback


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        loopback = self.server.loopback
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(raw)
        fault = loopback.receive(raw, body, {k.lower(): v for k, v in self.headers.items()}, self.path)
        loopback.moved(1)
        try:
            time.sleep(fault.delay or loopback.delay)
            self._serve(fault, body)
        except (BrokenPipeError, ConnectionResetError):  # the client went away, as tests make it do
            self.close_connection = True
        finally:
            loopback.moved(-1)

    def _serve(self, fault: Fault, body: Body) -> None:
        if fault.drop:
            self._hang_up()
            return
        status, payload = fault.status, fault.payload
        if payload is None and status != 200:
            payload = {"error": {"message": f"scripted fault {status}", "type": "fault", "code": None}}
        elif payload is None:
            status, payload = self.server.loopback.answer(body)
        content = json.dumps(payload, ensure_ascii=False).encode() if fault.text is None else fault.text
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), *fault.headers):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault.cut else content)
        if fault.cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: stdout holds the port alone."""


def completion(body: Body, text: str, *, written: str | None = None) -> Body:
    """Return a chat completion as OpenAI sends it; words count as tokens."""
    words = sum(len(str(message.get("content", "")).split()) for message in body["messages"])
    wrote = len((text if written is None else written).split())
    return {
        "id": "chatcmpl-" + hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12],
        "object": "chat.completion",
        "created": 0,
        "model": body.get("model"),
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": words, "completion_tokens": wrote, "total_tokens": words + wrote},
    }


def prefill(body: Body) -> str:
    """Return the start of the model's own turn, or ""."""
    last = body["messages"][-1]
    return str(last["content"]) if last["role"] == "assistant" else ""


def choices(body: Body) -> list[str]:
    """Return the texts that a body allows by vLLM's or llama.cpp's words, empty when it does not name any."""
    grammar = body.get("grammar")
    if isinstance(grammar, str):
        return [_unescaped(literal) for literal in re.findall(r'"((?:[^"\\]|\\.)*)"', grammar)]
    named = body.get("structured_outputs", {}).get("choice", [])
    return [str(choice) for choice in named]


def obedient(said: str, body: Body) -> str:
    """Return what a server that obeys the body's constraint says where `said` came to mind."""
    allowed = choices(body)
    if allowed:
        return _nearest(said, allowed)
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is None:
        return said
    return json.dumps(
        {name: _value(said, wanted) for name, wanted in schema.get("properties", {}).items()},
        ensure_ascii=False,
    )


def _value(said: str, wanted: Body) -> object:
    if "enum" in wanted:
        return _nearest(said, wanted["enum"])
    return draw(said, 100) if wanted.get("type") in ("number", "integer") else said


def _nearest(said: str, allowed: Sequence[str]) -> str:
    """Return the allowed text that was said or is named in it, else one that depends on what was said."""
    named = [text for text in allowed if text == said] or [text for text in allowed if text in said]
    return named[0] if named else allowed[draw(said, len(allowed))]


def _unescaped(literal: str) -> str:
    plain = re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), literal)
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r", "t": "\t"}.get(found[1], found[1]), plain)


def draw(text: str, n: int) -> int:
    """Return a number in [0, n) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") % n


@dataclass(frozen=True, kw_only=True, slots=True)
class Answerer:
    """Labels as a weak model gives them: right more often the more demonstrations it was shown.

    Attributes:
        truth: Text of an input to its label. The input asked for is the one that occurs last in the last message
            of the user, so that demonstrations in the same message do not count.
    """

    labels: tuple[str, ...]
    truth: dict[str, str] = field(default_factory=dict)

    def __call__(self, body: Body) -> str:
        """Return the answer to a body."""
        turns = body["messages"]
        asked = next((str(turn["content"]) for turn in reversed(turns) if turn["role"] == "user"), "")
        shown = sum(turn["role"] == "assistant" for turn in turns[:-1])
        label = self._label(asked, shown)
        constrained = any(key in body for key in ("grammar", "structured_outputs", "response_format"))
        if not constrained and shown == 0 and draw(f"prose {asked}", 2):
            return f"Well, one could take this for {label} or for something else altogether: {', '.join(self.labels)}."
        return label

    def _label(self, asked: str, shown: int) -> str:
        known = [text for text in self.truth if text and text in asked]
        guess = self.labels[draw(f"guess {shown} {asked}", len(self.labels))]
        if not known:
            return guess
        right = self.truth[max(known, key=lambda text: (asked.rfind(text) + len(text), len(text)))]
        # 40 % right without demonstrations, 88 % with eight.
        return right if draw(f"right {shown} {asked}", 100) < 40 + 6 * min(shown, 8) else guess


def main() -> None:
    """Serve until the lifetime ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, help="append every request body to this file")
    parser.add_argument("--labels", default="yes,no", help="comma-separated labels")
    parser.add_argument("--truth", type=Path, help="JSON file: {text of an input: label}")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument(
        "--lifetime", type=float, default=120.0, help="seconds until the process ends by itself"
    )
    parser.add_argument("--repeats-prefill", action="store_true", help="begin answers with the prefill")
    options = parser.parse_args()
    truth = json.loads(options.truth.read_text(encoding="utf-8")) if options.truth else {}
    answerer = Answerer(labels=tuple(options.labels.split(",")), truth=truth)
    loopback = Loopback(
        reply=answerer, log=options.log, delay=options.delay, repeats_prefill=options.repeats_prefill
    )
    with loopback:
        print(loopback.port, flush=True)  # noqa: T201 - what the caller waits for
        time.sleep(options.lifetime)
    os._exit(0)  # requests that still wait are not worth waiting for


if __name__ == "__main__":
    main()
