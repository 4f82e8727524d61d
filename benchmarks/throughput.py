"""What a call costs: the bare client, ours with everything around it, and DSPy's `Evaluate`, in one run.

    python benchmarks/throughput.py --rounds 7 --calls 1000

A server of its own process answers every chat request on the loopback interface after 50 ms. Each arm runs in a
fresh process that imports what it needs, opens its connections with calls that are not counted, and then counts its
own CPU (all threads, user and system) and the wall clock. Arms take turns within a round, and ratios are formed
within a round.

    bare    `AsyncOpenAI` on aiohttp, `chat.completions.create`, nothing read and nothing kept
    ours    `evaluate` through a Caller: cache, budget, pace, ledger and answers on disk, reading and scoring
    dspy    `dspy.Evaluate` of a `dspy.Predict` with the default engine, cache off, as many threads as calls at once
    replay  ours once more in another process, when every answer is stored

All send the messages that DSPy's ChatAdapter writes, character by character, and the same parameters: after each arm
the server tells what it was sent, and a difference ends the run, as does a difference in score.
"""

import argparse
import asyncio
import hashlib
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import urlopen

MODEL = "bench"
LABELS = ("billing", "technical", "account", "shipping")
MOST_TOKENS = 16
# In the words of DSPy's default engine, so that all arms say the same.
PARAMETERS: dict[str, Any] = {"max_completion_tokens": MOST_TOKENS, "temperature": 0.0}
ANSWER = "[[ ## team ## ]]\nbilling\n\n[[ ## completed ## ]]"

# The limit on requests at once that shows CPU, and the one at which the wall clock is the server's.
BUSY, CALM = 64, 8
ARMS = ("bare", "ours", "dspy")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One arm of one round.

    Attributes:
        warm: Calls before the clock starts.
        folder: Where answers are kept.
    """

    arm: str
    concurrency: int
    calls: int
    warm: int
    port: int
    folder: str

    @property
    def base_url(self) -> str:
        """Return the address of the server."""
        return f"http://127.0.0.1:{self.port}/v1"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a job took.

    Attributes:
        cpu: Seconds of CPU of the process, all threads.
        wall: Seconds.
        score: Share of right answers; nan where none is read.
        peak: Most memory of the process, in MB.
    """

    calls: int
    cpu: float
    wall: float
    score: float
    peak: float

    @property
    def per_cpu(self) -> float:
        """Return calls per second of CPU."""
        return self.calls / self.cpu

    @property
    def per_second(self) -> float:
        """Return calls per second of the wall clock."""
        return self.calls / self.wall


def main() -> None:
    """Run all rounds and print the tables, or, as a process of its own, one part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before every answer")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_serve(options.delay))
    elif options.job:
        print(json.dumps(asdict(_measured(Job(**json.loads(options.job))))))
    else:
        _compare(options.rounds, options.calls, options.delay)


def _compare(rounds: int, calls: int, delay: float) -> None:
    found: dict[tuple[str, int], list[Measured]] = {}
    with _server(delay) as port, tempfile.TemporaryDirectory() as root:
        _write_prompt(Path(root))
        for n in range(rounds):
            for concurrency in (BUSY, CALM):
                for arm in _turned(n):
                    folder = Path(root, f"{n}-{concurrency}")
                    job = _job(arm, concurrency, calls, port, folder)
                    found.setdefault((arm, concurrency), []).append(_run(job))
                    _check(job)
            replayed = _run(_job("replay", BUSY, calls, port, Path(root, f"{n}-{BUSY}")))
            found.setdefault(("replay", BUSY), []).append(replayed)
            assert _seen(port)["requests"] == 0, "a stored answer was asked for again"
            print(f"round {n + 1} of {rounds}", file=sys.stderr)
    _print_tables(found, calls, delay)


def _job(arm: str, concurrency: int, calls: int, port: int, folder: Path) -> Job:
    folder.mkdir(exist_ok=True)
    return Job(
        arm=arm,
        concurrency=concurrency,
        calls=calls,
        warm=2 * concurrency,
        port=port,
        folder=str(folder),
    )


def _turned(n: int) -> tuple[str, ...]:
    """Return the arms in another order each round, so that none always follows the same one."""
    return ARMS[n % len(ARMS) :] + ARMS[: n % len(ARMS)]


def _run(job: Job) -> Measured:
    command = [sys.executable, __file__, "--job", json.dumps(asdict(job))]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Measured(**json.loads(said.splitlines()[-1]))


def _check(job: Job) -> None:
    """Prove that an arm sent what it should, each prompt once, and nothing else."""
    seen = _seen(job.port)
    wanted = _digest_of_all(job)
    assert seen["requests"] == job.calls + job.warm, f"{job.arm}: {seen['requests']} requests"
    assert seen["messages"] == wanted, f"{job.arm}: other messages"
    assert seen["parameters"] == [{"model": MODEL, **PARAMETERS}], f"{job.arm}: {seen['parameters']}"


# ---- The tables -----------------------------------------------------------------------------------------------------


def _print_tables(found: dict[tuple[str, int], list[Measured]], calls: int, delay: float) -> None:
    names = ("openai", "aiohttp", "dspy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    print(
        f"{calls} calls a round, {delay * 1000:.0f} ms each at the server; medians over rounds (least to most)"
    )
    print(f"Python {platform.python_version()}, {versions}, {os.cpu_count()} cores\n")
    print(
        f"{'arm':<8}{'at once':>8}{'CPU ms a call':>26}{'calls a CPU second':>26}{'calls a second':>26}{'MB':>6}"
    )
    for (arm, concurrency), runs in sorted(found.items(), key=lambda item: (-item[0][1], item[0][0])):
        cpu = _spread([1000 / run.per_cpu for run in runs], ".3f")
        per_cpu, per_second = (
            _spread([run.per_cpu for run in runs]),
            _spread([run.per_second for run in runs]),
        )
        peak = max(run.peak for run in runs)
        print(f"{arm:<8}{concurrency:>8}{cpu:>26}{per_cpu:>26}{per_second:>26}{peak:>6.0f}")
    print()
    ours, bare, dspy = found["ours", BUSY], found["bare", BUSY], found["dspy", BUSY]
    _verdict(f"calls a CPU second at {BUSY}, ours / bare", _ratios(ours, bare, "per_cpu"), 0.75)
    _verdict(f"calls a CPU second at {BUSY}, ours / dspy", _ratios(ours, dspy, "per_cpu"), 1.0)
    calm = _ratios(found["ours", CALM], found["bare", CALM], "per_second")
    _verdict(f"calls a second at {CALM}, ours / bare", calm, 0.95)
    _verdict("examples a second from the store", [run.per_second for run in found["replay", BUSY]], 5000.0)
    scores = {round(run.score, 6) for (arm, _), runs in found.items() if arm != "bare" for run in runs}
    assert len(scores) == 1, f"the arms do not agree on the score: {scores}"


def _ratios(runs: list[Measured], others: list[Measured], name: str) -> list[float]:
    return [getattr(run, name) / getattr(other, name) for run, other in zip(runs, others, strict=True)]


def _verdict(what: str, values: list[float], least: float) -> None:
    kept = "kept" if statistics.median(values) >= least else "MISSED"
    digits = ".0f" if least > 100 else ".3f"
    print(f"{what:<48}{_spread(values, digits):>26}   at least {least:g}: {kept}")


def _spread(values: list[float], digits: str = ".0f") -> str:
    return f"{statistics.median(values):{digits}} ({min(values):{digits}} to {max(values):{digits}})"


# ---- What is sent ---------------------------------------------------------------------------------------------------


def _signature() -> Any:  # noqa: ANN401  # DSPy ships no types
    import dspy

    fields = {"message": dspy.InputField(), "team": dspy.OutputField()}
    return dspy.Signature(
        {name: (str, field) for name, field in fields.items()},
        f"Route the customer's message to the right team: {', '.join(LABELS)}.",
    )


def _write_prompt(root: Path) -> None:
    """Write the messages as DSPy's adapter lays them out: the system's, and the user's around its one hole."""
    import dspy

    system, user = dspy.ChatAdapter().format(_signature(), [], {"message": "\x01"})
    before, after = user["content"].split("\x01")
    content = json.dumps([system["content"], before, after])
    (root / "prompt.json").write_text(content, encoding="utf-8")


def _prompt(job: Job) -> tuple[str, str, str]:
    system, before, after = json.loads(Path(job.folder).with_name("prompt.json").read_text(encoding="utf-8"))
    return system, before, after


def _texts(job: Job) -> tuple[list[str], list[str]]:
    """Return the inputs of the calls that warm up, and of those that count."""
    body = "the invoice that came this morning shows an amount that I cannot explain, and nobody answers the phone"
    texts = [f"Case {n}: {body}. Please look into it." for n in range(job.warm + job.calls)]
    return texts[: job.warm], texts[job.warm :]


def _target(n: int) -> str:
    return LABELS[n % len(LABELS)]


def _conversation(prompt: tuple[str, str, str], text: str) -> list[dict[str, str]]:
    system, before, after = prompt
    return [{"role": "system", "content": system}, {"role": "user", "content": before + text + after}]


def _digest_of_all(job: Job) -> str:
    prompt = _prompt(job)
    return _digest(_message_digest(_conversation(prompt, text)) for texts in _texts(job) for text in texts)


def _message_digest(messages: object) -> str:
    return hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()


def _digest(digests: Iterator[str]) -> str:
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


# ---- The arms, each in a process of its own -------------------------------------------------------------------------


def _measured(job: Job) -> Measured:
    if job.arm == "dspy":
        return _dspy(job)
    return asyncio.run(_bare(job) if job.arm == "bare" else _ours(job))


class _Clock:
    """Seconds of CPU and of the wall since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def measured(self, job: Job, score: float = float("nan")) -> Measured:
        """Return what a job took until now."""
        import resource

        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return Measured(calls=job.calls, cpu=cpu, wall=wall, score=score, peak=peak)


async def _bare(job: Job) -> Measured:
    import openai

    prompt = _prompt(job)
    client = openai.AsyncOpenAI(
        api_key="none", base_url=job.base_url, max_retries=0, http_client=openai.DefaultAioHttpClient()
    )

    async def ask(texts: Iterator[str]) -> None:
        for text in texts:
            messages: Any = _conversation(prompt, text)
            await client.chat.completions.create(model=MODEL, messages=messages, **PARAMETERS)

    async def ask_all(texts: list[str]) -> None:
        queue = iter(texts)
        await asyncio.gather(*(ask(queue) for _ in range(job.concurrency)))

    warm, counted = _texts(job)
    await ask_all(warm)
    clock = _Clock()
    await ask_all(counted)
    measured = clock.measured(job)
    await client.close()
    return measured


async def _ours(job: Job) -> Measured:
    from optimizer.budget import Budget
    from optimizer.calls import Caller
    from optimizer.dataset import Example
    from optimizer.evaluation import Scorer, evaluate
    from optimizer.ledger import Ledger
    from optimizer.metrics import Setting
    from optimizer.models import MODELS, ModelSpec
    from optimizer.pacing import Pace
    from optimizer.scoring import plain
    from optimizer.storage import open_storage
    from optimizer.store import Store

    def examples(texts: list[str]) -> list[Example]:
        return [
            Example(id=str(n), inputs=(("message", text),), target=_target(n), group=None)
            for n, text in enumerate(texts)
        ]

    warm, counted = map(examples, _texts(job))
    template, accuracy = _template(job), plain("accuracy", Setting(labels=LABELS))
    scorer = Scorer(objective=accuracy, per_example=accuracy, others={})
    spec = ModelSpec(provider="openai_compatible", name=MODEL, base_url=job.base_url)
    with open_storage(Path(job.folder, "study.db")) as storage:
        store = Store(storage)
        latest = store.latest_study()
        study = latest[0] if latest else store.add_study("throughput", {})
        async with MODELS[spec.provider].connect(spec) as connection:
            caller = Caller(
                connection,
                Ledger(store, study, model=MODEL),
                budget=Budget(calls=10**6, attempts=10**6),
                pace=Pace(start=job.concurrency, most=job.concurrency),
            )
            try:
                await evaluate(template, warm, caller, scorer)
                clock = _Clock()
                evaluation = await evaluate(template, counted, caller, scorer)
                return clock.measured(job, evaluation.value or 0.0)
            finally:
                await caller.close()


def _template(job: Job) -> Any:  # noqa: ANN401  # imported by the arm that needs it alone
    from optimizer.answer import AnswerFormat
    from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate

    system, before, after = _prompt(job)
    user = MessageTemplate(role="user", parts=(before, Hole(name="input:message"), after))
    messages = (MessageTemplate(role="system", parts=(system,)), user)
    call = CallTemplate(messages=messages, parameters=tuple(sorted(PARAMETERS.items())))
    return PromptTemplate(calls=(call,), answer=AnswerFormat(kind="label", labels=LABELS))


def _dspy(job: Job) -> Measured:
    import dspy

    logging.getLogger("dspy").setLevel(logging.ERROR)

    def examples(texts: list[str]) -> list[Any]:
        pairs = ((text, _target(n)) for n, text in enumerate(texts))
        return [dspy.Example(message=text, team=team).with_inputs("message") for text, team in pairs]

    def evaluated(devset: list[Any]) -> float:
        evaluate = dspy.Evaluate(devset=devset, metric=_same, num_threads=job.concurrency, max_errors=1)
        return float(evaluate(program).score) / 100

    plain = {
        "temperature": PARAMETERS["temperature"],
        "max_tokens": MOST_TOKENS,
        "cache": False,
        "num_retries": 0,
    }
    lm = dspy.LM(f"openai/{MODEL}", api_base=job.base_url, api_key="none", **plain)
    program = dspy.Predict(_signature())
    warm, counted = map(examples, _texts(job))
    with dspy.context(lm=lm):
        evaluated(warm)
        clock = _Clock()
        score = evaluated(counted)
        return clock.measured(job, score)


def _same(example: Any, prediction: Any, _trace: object = None) -> bool:  # noqa: ANN401  # DSPy ships no types
    return bool(example.team == prediction.team)


# ---- The server -----------------------------------------------------------------------------------------------------


class _Answering(asyncio.Protocol):
    """One connection: whole requests in, each answered after a while. As little work as HTTP/1.1 allows."""

    def __init__(self, delay: float, seen: list[dict[str, Any]]) -> None:
        self._delay = delay
        self._seen = seen
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            length = _content_length(head)
            if len(rest) < length:
                return
            body, self._buffer = rest[:length], rest[length:]
            if head.startswith(b"GET"):
                self._transport.write(_response(_summary(self._seen)))
                self._seen.clear()
            else:
                self._seen.append(json.loads(body))
                asyncio.get_running_loop().call_later(self._delay, self._transport.write, _COMPLETION)


def _content_length(head: bytes) -> int:
    found = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    return int(found.partition(b":")[2])


def _response(content: object) -> bytes:
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _summary(seen: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how many requests came since the last summary, and what was in them."""
    parameters = {
        json.dumps({k: v for k, v in body.items() if k != "messages"}, sort_keys=True) for body in seen
    }
    return {
        "requests": len(seen),
        "messages": _digest(_message_digest(body["messages"]) for body in seen),
        "parameters": [json.loads(text) for text in sorted(parameters)],
    }


_COMPLETION = _response(
    {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}}
        ],
        "usage": {"prompt_tokens": 180, "completion_tokens": 14, "total_tokens": 194},
    }
)


async def _serve(delay: float) -> None:
    seen: list[dict[str, Any]] = []
    made: Callable[[], asyncio.Protocol] = lambda: _Answering(delay, seen)  # noqa: E731  # typed for mypy
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def _server(delay: float) -> Iterator[int]:
    command = [sys.executable, __file__, "--serve", "--delay", str(delay)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def _seen(port: int) -> dict[str, Any]:
    """Return what the server was sent since the last question."""
    with urlopen(f"http://127.0.0.1:{port}/seen") as answer:
        seen: dict[str, Any] = json.load(answer)
    return seen


if __name__ == "__main__":
    main()
