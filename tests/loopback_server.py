"""A deterministic OpenAI-compatible chat server on 127.0.0.1: the `loopback` fixture, and a process of its own.

    python tests/loopback_server.py --log FILE --labels a,b,c [--truth FILE] [--faults 0.3 --fault-seed 7] [--help]

prints its port, then answers as a function of the request body alone, so that runs that are killed and resumed, or
more or less concurrent, or disturbed by faults, can be compared byte by byte. Standard library only.
"""

import argparse
import contextlib
import importlib.util
import json
import math
import os
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tests.loopback_answers import END, Answerer, completion, obedient, prefill, tokens
    from tests.loopback_faults import FAULTS, Chance, Fault
else:

    def _beside(name: str) -> Any:
        """Return a module of this folder, which is no package, however this file itself was found."""
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    _answers, _faults = _beside("loopback_answers"), _beside("loopback_faults")
    Answerer, completion = _answers.Answerer, _answers.completion
    obedient, prefill = _answers.obedient, _answers.prefill
    END, tokens = _answers.END, _answers.tokens
    FAULTS, Chance, Fault = _faults.FAULTS, _faults.Chance, _faults.Fault

__all__ = ["FAULTS", "Answerer", "Chance", "Fault", "Loopback"]

Body = dict[str, Any]
Reply = Callable[[Body], str | tuple[int, object]]


@dataclass(kw_only=True)
class Loopback:
    """The server: set what it does, read what it was sent.

    Attributes:
        reply: The text of an answer, or (status, JSON), from the request body.
        faults: Taken one by one, None for a request that is served well; then `chance` decides.
        chance: What goes wrong with the request of a number, counted from 0.
        outage_after, outage_seconds: After so many requests, vanish for so long, once.
        models: Names that are served, or None for every name.
        repeats_prefill: Whether an answer begins with the last message of the assistant, as llama.cpp's does.
        obeys: Whether constraints in a body are obeyed.
        tells_tokens: Whether it tells tokens, as llama.cpp's server does; that is booked nowhere.
        delay: Seconds before every answer.
        log: File that every body is appended to the moment it is received.
        events: File that tells, of each request that is over, its fault and whether it was answered in full.
        port: Where it listens; 0 for a port that is free.
        bodies, raw, headers, paths: What was sent, in order of arrival; names of headers in lower case.
        counts, answered: Requests, and full answers, per distinct body (by its raw bytes).
        injected: Faults by kind.
        in_flight, most_in_flight: Requests being served now, and the most there ever were at once.
    """

    reply: Reply = field(default=lambda _body: "ok")
    faults: list[Fault | None] = field(default_factory=list)
    chance: Callable[[int], Fault | None] = field(default=lambda _number: None)
    outage_after: float = math.inf
    outage_seconds: float = math.inf
    models: set[str] | None = None
    repeats_prefill: bool = False
    obeys: bool = True
    tells_tokens: bool = True
    delay: float = 0.0
    log: Path | None = None
    events: Path | None = None
    port: int = 0
    bodies: list[Body] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    counts: Counter[bytes] = field(default_factory=Counter)
    answered: Counter[bytes] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._listen()

    def _listen(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.loopback = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.port = int(self._server.server_address[1])

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
        for connection in list(self._server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def vanish(self, seconds: float = math.inf) -> None:
        """Refuse connections and cut those that are open, until `reappear` or for some seconds."""
        self.close()
        if seconds < math.inf:
            timer = threading.Timer(seconds, self.reappear)
            timer.daemon = True
            timer.start()

    def reappear(self) -> None:
        """Listen on the same port again."""
        self._listen()
        self._thread.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def receive(self, raw: bytes, body: Body, headers: dict[str, str], path: str) -> tuple[int, Fault]:
        """Record one request and return its number and what is to go wrong with it."""
        with self._lock:
            number = len(self.bodies)
            if self.log is not None:
                with self.log.open("a", encoding="utf-8") as log:
                    log.write(json.dumps(body, ensure_ascii=False) + "\n")
            self.bodies.append(body)
            self.raw.append(raw)
            self.headers.append(headers)
            self.paths.append(path)
            self.counts[raw] += 1
            fault = (self.faults.pop(0) if self.faults else self.chance(number)) or Fault()
            self.injected.update([fault.kind] if fault.kind else [])
        if number == self.outage_after:
            self.vanish(self.outage_seconds)
        return number, fault

    def over(self, number: int, raw: bytes, fault: Fault, *, answered: bool) -> None:
        """Record how one request ended."""
        event = {"request": number, "fault": fault.kind or None, "answered": answered}
        with self._lock:
            self.answered.update([raw] if answered else [])
            if self.events is not None:
                with self.events.open("a", encoding="utf-8") as events:
                    events.write(json.dumps(event) + "\n")

    def settle(self) -> None:
        """Wait until nothing is being served: a request is booked after its answer is written."""
        while self.in_flight:
            time.sleep(0.001)

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

    def __init__(self, address: tuple[str, int], handler: type["_Handler"]) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        # To say goodbye first would spoil a reset.
        abrupt = request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_ABRUPT)) == _ABRUPT
        (self.close_request if abrupt else super().shutdown_request)(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # the client went away, as tests make it do
            super().handle_error(request, client_address)


# SO_LINGER: on, for no time at all.
_ABRUPT = struct.pack("ii", 1, 0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        loopback = self.server.loopback
        length = int(self.headers.get("Content-Length", 0))
        raw = self.rfile.read(length)
        if len(raw) < length:
            self.close_connection = True
            return
        body = json.loads(raw)
        if self.path == "/tokenize":
            self._tell({"tokens": tokens(body)})
            return
        number, fault = loopback.receive(
            raw, body, {k.lower(): v for k, v in self.headers.items()}, self.path
        )
        loopback.moved(1)
        answered = False
        try:
            time.sleep(fault.delay or loopback.delay)
            answered = self._serve(fault, body) == 200 and fault.harmless
        except OSError:  # the client went away, as tests make it do
            self.close_connection = True
        finally:
            loopback.over(number, raw, fault, answered=answered)
            loopback.moved(-1)

    def do_GET(self) -> None:
        self._tell({"eos_token": END} if self.path == "/props" else None)

    def _tell(self, payload: Body | None) -> None:
        """Answer beside the chat API; with 404 where there is nothing to tell."""
        known = payload is not None and self.server.loopback.tells_tokens
        content = json.dumps(payload if known else {"error": {"message": "Not Found"}}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _serve(self, fault: Fault, body: Body) -> int:
        """Answer one request and return the status."""
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABRUPT)
            self.close_connection = True
            return 0
        if fault.drop:
            self._hang_up()
            return 0
        status, payload = fault.status, fault.payload
        if payload is None and status != 200:
            payload = {"error": {"message": f"scripted fault {status}", "type": "fault", "code": None}}
        elif payload is None:
            status, payload = self.server.loopback.answer(body)
            if fault.model is not None and isinstance(payload, dict):
                payload = {**payload, "model": fault.model}
        content = json.dumps(payload, ensure_ascii=False).encode() if fault.text is None else fault.text
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), *fault.headers):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault.cut else content)
        if fault.cut:
            self._hang_up()
        return status

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: stdout holds the port alone."""


def main() -> None:
    """Serve until the lifetime ends."""
    options = _options()
    truth = json.loads(options.truth.read_text(encoding="utf-8")) if options.truth else {}
    kinds = tuple(options.fault_kinds.split(","))
    loopback = Loopback(
        reply=Answerer(labels=tuple(options.labels.split(",")), truth=truth),
        chance=Chance(rate=options.faults, seed=options.fault_seed, kinds=kinds, stall=options.stall),
        outage_after=options.outage_after,
        outage_seconds=options.outage_seconds,
        log=options.log,
        events=options.events,
        delay=options.delay,
        repeats_prefill=options.repeats_prefill,
        port=options.port,
    )
    with loopback:
        print(loopback.port, flush=True)  # noqa: T201 - what the caller waits for
        time.sleep(options.lifetime)
    os._exit(0)  # requests that still wait are not worth waiting for


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--log", type=Path, help="append every request body to this file")
    add("--events", type=Path, help="append how each request ended to this file")
    add("--labels", default="yes,no", help="comma-separated labels")
    add("--truth", type=Path, help="JSON file: {text of an input: label}")
    add("--port", type=int, default=0, help="listen here; 0 takes a port that is free")
    add("--delay", type=float, default=0.0, help="seconds before every answer")
    add("--lifetime", type=float, default=120.0, help="seconds until the process ends by itself")
    add("--repeats-prefill", action="store_true", help="begin answers with the prefill")
    add("--faults", type=float, default=0.0, help="share of the requests that fail")
    add("--fault-seed", type=int, default=0, help="which of them, and how")
    add("--fault-kinds", default=",".join(FAULTS), help="comma-separated, of: %(default)s")
    add("--stall", type=float, default=1.5, help="seconds that a stalled request waits")
    add("--outage-after", type=float, default=math.inf, help="requests until all connections are refused")
    add("--outage-seconds", type=float, default=math.inf, help="how long; inf is forever")
    return parser.parse_args()


if __name__ == "__main__":
    main()
