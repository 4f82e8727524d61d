"""An OpenAI-compatible endpoint in front of the embedded model that counts what each run asks.

    python benchmarks/counting_server.py --port 8917 --store FILE.db
    python benchmarks/counting_server.py --store FILE.db --upstream http://127.0.0.1:9050 --weights FILE.gguf

    POST /runs/KEY                        begin a run anew: {"budget": calls or null, "bank": [texts] or null, "seed": n}
    GET  /runs/KEY                        what it has asked so far
    POST /runs/KEY/v1/chat/completions    one call; 429 once the budget is spent

A call is one request that was answered, whoever answered it: the model, the store or the bank. Equal requests at
temperature 0 (messages, parameters and constraint) are answered by the model once and from the store ever after, over
all runs; they count all the same, with the tokens and seconds of the first time.

With a bank, a request to write or describe an instruction is answered from it: each next proposal is the next text, in
an order of the run's own. So libraries whose model cannot write are compared by how they search. What recognises such
requests is `proposal_reply`; DSPy's MIPROv2 and GEPA and promptolution's CAPO are known to it. Without a bank they go to
the model.

With --upstream the model is a llama.cpp server of the reader's own, for example one that was compiled for the machine
and holds the same weights as 16-bit numbers (`half_precision.py`), which answers about twice as fast.

A turn that was begun for the model and the constraint `choice` are taken in vLLM's words (`continue_final_message`,
`structured_outputs`), a JSON Schema in OpenAI's.
"""

import argparse
import asyncio
import json
import os
import random
import re
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from optimizer.completion import Completion, Constraint, Message, Request, Role
from optimizer.digest import canonical, digest, sha256
from optimizer.errors import ModelError, RejectedError
from optimizer.models import Connection, EndpointModel, ModelSpec
from optimizer.models._choice import CHOICE_RULE, ChoiceBias
from optimizer.models.embedded import EMBEDDED, schema_to_grammar
from optimizer.transport import TIMEOUT_SECONDS, Endpoint

SPENT = "the budget of this run is spent"
NAME = "smollm2-135m"

# What a request holds besides decoding parameters.
_ASKED = frozenset(
    {"model", "messages", "response_format", "structured_outputs", "stream", "n"}
    | {"continue_final_message", "add_generation_prompt"}
)
# The fields that DSPy's adapters want filled, named at the end of the last message.
_WANTED = re.compile(r"`(?:\[\[ ## )?(\w+)(?: ## \]\])?`")
_PROPOSED = frozenset({"proposed_instruction", "new_instruction"})
_DESCRIBED = frozenset({"program_description", "module_description", "observations", "summary"})
_CAPO = "Return the new prompt in the following format:\n<prompt>new prompt</prompt>"


@dataclass(kw_only=True)
class Run:
    """What one run may ask and has asked.

    Attributes:
        budget: Calls that are answered, or None for any number.
        bank: Texts to propose, in this run's order; None sends requests for proposals to the model.
        refused: Calls beyond the budget.
        stored: Calls that the store answered.
        proposals: Calls that the bank answered.
        failed: Calls that the model refused or failed; they are none of `calls`.
        seconds: Of the model, the first time each request was asked.
    """

    budget: int | None = None
    bank: list[str] | None = None
    calls: int = 0
    refused: int = 0
    stored: int = 0
    proposals: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    proposed: int = field(default=0, repr=False)

    def next_proposal(self) -> str:
        """Return the next text of the bank, from the first again after the last."""
        assert self.bank
        text = self.bank[self.proposed % len(self.bank)]
        self.proposed += 1
        return text


class Store:
    """Completions by the digest of their request, on disk."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS answer (request TEXT PRIMARY KEY, completion TEXT)"
        )

    def get(self, request: str) -> Completion | None:
        """Return the stored completion of a request."""
        query = "SELECT completion FROM answer WHERE request = ?"
        with closing(self._database.execute(query, (request,))) as cursor:
            found = cursor.fetchone()
        return None if found is None else Completion(**json.loads(found[0]))

    def put(self, request: str, completion: Completion) -> None:
        """Keep a completion."""
        values = request, json.dumps(asdict(completion))
        self._database.execute("INSERT OR REPLACE INTO answer VALUES (?, ?)", values)


@asynccontextmanager
async def embedded(threads: int, slots: int) -> AsyncIterator[Connection]:
    """Yield the embedded model."""
    spec = ModelSpec(provider="embedded", name=NAME, options={"threads": threads, "slots": slots})
    async with EMBEDDED.connect(spec) as connection:
        yield connection


@asynccontextmanager
async def upstream(url: str, weights: str) -> AsyncIterator[Connection]:
    """Yield a llama.cpp server that holds weights of that digest, spoken to as the embedded model is."""
    capabilities = EMBEDDED.defaults(ModelSpec(provider="embedded", name=NAME))
    address = f"{url.rstrip('/')}/v1"
    async with Endpoint(address, "none", read_seconds=TIMEOUT_SECONDS) as endpoint:
        model = EndpointModel(
            endpoint,
            name=NAME,
            can=capabilities.can,
            schema_to_grammar=schema_to_grammar,
            choice_bias=ChoiceBias(address, "none"),
        )
        identity = {
            "provider": "llama.cpp",
            "name": NAME,
            "weights": weights,
            "choice": CHOICE_RULE,
        }
        yield Connection(model=model, identity=identity, capabilities=capabilities, body=model.body)


class Server:
    """The runs, the store and the model."""

    def __init__(self, store: Store, model: AbstractAsyncContextManager[Connection], *, slots: int) -> None:
        self._store = store
        self._model = model
        self._connection: Connection | None = None
        self._runs: dict[str, Run] = {}
        # What waits here would otherwise wait in the model's own server, against a deadline.
        self._slots = asyncio.Semaphore(slots)

    def app(self) -> web.Application:
        """Return the application; the model lives as long as it."""
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/runs/{key}", self._begin)
        app.router.add_get("/runs/{key}", self._show)
        app.router.add_post("/runs/{key}/v1/chat/completions", self._chat)
        app.cleanup_ctx.append(self._connected)
        return app

    async def _connected(self, _app: web.Application) -> AsyncIterator[None]:
        async with self._model as connection:
            self._connection = connection
            yield

    async def _begin(self, request: web.Request) -> web.Response:
        asked = await request.json()
        bank = asked.get("bank")
        if bank:
            bank = random.Random(asked.get("seed", 0)).sample(bank, len(bank))
        self._runs[request.match_info["key"]] = Run(budget=asked.get("budget"), bank=bank or None)
        return web.json_response({})

    async def _show(self, request: web.Request) -> web.Response:
        run = self._run(request)
        return web.json_response({name: value for name, value in asdict(run).items() if name != "bank"})

    async def _chat(self, request: web.Request) -> web.Response:
        run = self._run(request)
        if run.budget is not None and run.calls >= run.budget:
            run.refused += 1
            return _error(429, SPENT, "insufficient_quota")
        body = await request.json()
        run.calls += 1  # before the answer: calls in flight are within the budget too
        try:
            completion = await self._answer(run, body)
        except (ModelError, ValueError, TypeError, KeyError) as error:
            run.calls -= 1
            run.failed += 1
            refused = isinstance(error, RejectedError) or not isinstance(error, ModelError)
            return _error(400 if refused else 502, str(error), "invalid_request_error")
        run.prompt_tokens += completion.prompt_tokens
        run.completion_tokens += completion.completion_tokens
        run.seconds += completion.seconds
        return web.json_response(_response(completion))

    def _run(self, request: web.Request) -> Run:
        run = self._runs.get(request.match_info["key"])
        if run is None:
            raise web.HTTPNotFound(text=f"no run {request.match_info['key']!r} was begun")
        return run

    async def _answer(self, run: Run, body: Mapping[str, Any]) -> Completion:
        asked = _request(body)
        if run.bank is not None:
            reply = proposal_reply([message.content for message in asked.messages], run)
            if reply is not None:
                run.proposals += 1
                read = sum(len(message.content) for message in asked.messages)
                # No model read it; four characters a token is near enough for English.
                return Completion(text=reply, prompt_tokens=read // 4, completion_tokens=len(reply) // 4)
        assert self._connection is not None
        parameters = dict(asked.parameters)
        if parameters.get("temperature") != 0:
            return await self._asked(self._connection, asked)
        key = digest([dict(self._connection.identity), asked.to_dict()])
        completion = self._store.get(key)
        if completion is not None:
            run.stored += 1
            return completion
        completion = await self._asked(self._connection, asked)
        self._store.put(key, completion)
        return completion

    async def _asked(self, connection: Connection, request: Request) -> Completion:
        async with self._slots:
            return replace(await connection.model.complete(request), cost_usd=None, cached=False)


def proposal_reply(contents: Sequence[str], run: Run) -> str | None:
    """Return the bank's reply to a request for a proposal or for a description on the way to one.

    Returns:
        The reply in the form that the request wants, or None for a request about an example of the task.
    """
    last = contents[-1]
    if last.rstrip().endswith(_CAPO):
        return f"<prompt>{run.next_proposal()}</prompt>"
    wanted = last.rpartition("Respond with ")[2]
    names = [name for name in _WANTED.findall(wanted) if name != "completed"]
    if not _PROPOSED.union(_DESCRIBED).intersection(names):
        return None
    values = {name: run.next_proposal() if name in _PROPOSED else "Not described." for name in names}
    if wanted.startswith("a JSON object"):
        return json.dumps(values, ensure_ascii=False)
    return "\n\n".join(
        [*(f"[[ ## {name} ## ]]\n{text}" for name, text in values.items()), "[[ ## completed ## ]]"]
    )


def _request(body: Mapping[str, Any]) -> Request:
    """Return what a chat body asks.

    Raises:
        ValueError: When it asks for what is not served here.
    """
    if body.get("stream") or body.get("n", 1) != 1:
        raise ValueError("only one whole answer is served")
    parameters = {name: _scalar(name, value) for name, value in body.items() if name not in _ASKED}
    return Request(
        messages=tuple(
            Message(role=cast(Role, m["role"]), content=_text(m["content"])) for m in body["messages"]
        ),
        parameters=tuple(sorted((name, value) for name, value in parameters.items() if value is not None)),
        constraint=_constraint(body),
    )


def _scalar(name: str, value: object) -> float | int | str | None:
    if isinstance(value, list) and len(value) == 1:  # `stop` comes as a list of one, too
        value = value[0]
    if value is None or isinstance(value, float | int | str):
        return value
    raise ValueError(f"{name}: expected a number or a text, found {value!r}")


def _text(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise TypeError("a message holds no text")
    return content


def _constraint(body: Mapping[str, Any]) -> Constraint | None:
    outputs, asked = body.get("structured_outputs"), body.get("response_format")
    if outputs:
        return Constraint(choice=tuple(outputs["choice"]))
    if asked and asked["type"] == "json_schema":
        return Constraint(json_schema=canonical(asked["json_schema"]["schema"]))
    if asked and asked["type"] != "text":
        raise ValueError(f"response_format: {asked['type']} is not served")
    return None


def _response(completion: Completion) -> dict[str, object]:
    reason = {"refused": "content_filter"}.get(completion.finish_reason, completion.finish_reason)
    message = {"role": "assistant", "content": completion.text}
    used = completion.prompt_tokens, completion.completion_tokens
    return {
        "id": "counted",
        "object": "chat.completion",
        "created": 0,
        "model": NAME,
        "choices": [{"index": 0, "finish_reason": reason, "message": message}],
        "usage": {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)},
    }


def _error(status: int, message: str, kind: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind, "code": kind}}, status=status)


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=8917)
    parser.add_argument("--store", type=Path, required=True, help="SQLite file of the answers")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--upstream", help="address of a llama.cpp server to ask instead")
    parser.add_argument("--weights", type=Path, help="the file that it holds")
    options = parser.parse_args()
    if (options.upstream is None) != (options.weights is None):
        parser.error("--upstream and --weights belong together")
    model = (
        embedded(options.threads, options.slots)
        if options.upstream is None
        else upstream(options.upstream, sha256(options.weights.read_bytes()))
    )
    server = Server(Store(options.store), model, slots=options.slots)
    print(f"http://127.0.0.1:{options.port}, process {os.getpid()}", flush=True)
    web.run_app(server.app(), host="127.0.0.1", port=options.port, print=None)


if __name__ == "__main__":
    main()
