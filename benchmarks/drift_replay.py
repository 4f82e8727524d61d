"""A model, and an endpoint on the loopback interface, that say again what was recorded: for `drift.py`."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from optimizer.completion import Completion, Request
from optimizer.errors import RejectedError

_TOO_LONG = "the request exceeds the available context size, try increasing it"


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The model: what it says to each request, by the text of its last message; None refuses it as too long."""

    answers: Mapping[str, Completion | None]

    async def complete(self, request: Request) -> Completion:
        """Return what was recorded.

        Raises:
            RejectedError: When the request was refused.
        """
        said = self.answers[request.messages[-1].content]
        if said is None:
            raise RejectedError(_TOO_LONG)
        return said


@dataclass(kw_only=True)
class Replay:
    """The endpoint.

    Attributes:
        answers: What it says, as above.
        asked: How many requests came.
    """

    port: int = 0
    answers: Mapping[str, Completion | None] = field(default_factory=dict)
    asked: int = 0

    @property
    def base_url(self) -> str:
        """Return the address to ask."""
        return f"http://127.0.0.1:{self.port}/v1"

    def reply(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return status and JSON of the answer to a body."""
        self.asked += 1
        said = self.answers[body["messages"][-1]["content"]]
        if said is None:
            return 400, {"error": {"code": 400, "message": _TOO_LONG, "type": "exceed_context_size_error"}}
        choice = {
            "index": 0,
            "finish_reason": said.finish_reason,
            "message": {"role": "assistant", "content": said.text},
        }
        read, wrote = said.prompt_tokens, said.completion_tokens
        usage = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
        return 200, {"model": body["model"], "choices": [choice], "usage": usage}


@contextmanager
def replaying() -> Iterator[Replay]:
    """Serve until the end of the block."""
    replay = Replay()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            status, answer = replay.reply(json.loads(self.rfile.read(length)))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing: stdout holds what the command says."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    replay.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield replay
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
