"""The command line in processes of their own that need not import anything: forks of one process that did.

A cold process spends most of its time on imports. `Starter` runs this file as a program, which imports what the
command line imports, stays a single thread, and forks a child for every command it is asked to run. The child is a
process like any other: its own pid, pipes, environment, folder and signals, and it ends as an interpreter ends.

What it does not have of its own is what an interpreter settles before it runs a program: the seed of hashes, options,
`/proc/PID/cmdline`. A test whose subject is one of these, or the imports themselves, starts a cold process.
"""

import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol, Self

__all__ = ["Process", "Running", "Starter", "read_migrations_once"]

# What commands import, and libraries that they import inside functions. DSPy, whose import starts threads, is not
# among them, nor is the embedded model.
PRELOADED = (
    "alembic.config",
    "alembic.migration",
    "filelock",
    "genai_prices",
    "httpcore2",
    "jinja2",
    "numpy.random",
    "openai.resources.chat",
    "optimizer.commands.compare",
    "optimizer.commands.diff",
    "optimizer.commands.explain",
    "optimizer.commands.export",
    "optimizer.commands.init",
    "optimizer.commands.predict",
    "optimizer.commands.report",
    "optimizer.commands.run",
    "optimizer.commands.score",
    "optimizer.commands.show",
    "optimizer.commands.validate",
    "optimizer.commands.verify",
    "optimizer.comparing",
    "optimizer.comparison",
    "optimizer.metrics.macro_f1",
    "optimizer.models.openai_compatible",
    "optimizer.predicting",
    "optimizer.report",
    "optimizer.rescoring",
    "optimizer.runs",
    "optimizer.samplers.joint",
    "optimizer.selection",
    "optuna.storages._rdb.models",
    "ruamel.yaml",
    "scipy.stats",
    "sklearn.metrics",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.orm",
)

# Variables that an interpreter reads when it starts, and the one of them that a child obeys all the same.
SETTLED, OBEYED = ("PYTHON", "LANG", "LC_", "TZ"), "PYTHONWARNINGS"

# Libraries that would start threads with their import: linear algebra, and the allocator of Arrow.
SINGLE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}

HEADER = 8  # bytes that tell the length of a request

# Of a command line and what it printed.
Check = Callable[[Sequence[str], str], None]


# ---- The side of the test --------------------------------------------------------------------------------------------


class Running(Protocol):
    """What tests use of `subprocess.Popen`, of which a cold process is one."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    @property
    def stdout(self) -> IO[str] | None: ...

    @property
    def stderr(self) -> IO[str] | None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]: ...

    def send_signal(self, sig: int) -> None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Process:
    """A child of the warm process, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, arguments: Sequence[str], stdout: int, stderr: int, status: int) -> None:
        """Take over the ends of the pipes from which output, and pid and exit code, are read."""
        self.args = arguments
        self.check: Check | None = None
        self.stdout: IO[str] | None = os.fdopen(stdout, encoding="utf-8")
        self.stderr: IO[str] | None = os.fdopen(stderr, encoding="utf-8")
        self.returncode: int | None = None
        self._status = os.fdopen(status, "rb", buffering=0)
        self._output = dict[str, str]()
        self._readers = list[threading.Thread]()
        self.pid = self._told()

    def _told(self) -> int:
        line = self._status.readline()
        if not line:
            raise RuntimeError("the warm process has ended")
        return int(line)

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._told()
            self._status.close()
        return self.returncode

    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]:
        """Return all output that was not read before, once the process has ended."""
        if not self._readers:
            streams = {"stdout": self.stdout, "stderr": self.stderr}
            self._readers = [threading.Thread(target=self._read, args=each) for each in streams.items()]
            for reader in self._readers:
                reader.start()
        for reader in self._readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        check, self.check = self.check, None
        if self.wait(timeout) >= 0 and check is not None:  # what was killed may have said but half
            check(self.args, self._output["stdout"])
        return self._output["stdout"], self._output["stderr"]

    def _read(self, name: str, stream: IO[str]) -> None:
        with stream:
            self._output[name] = stream.read()

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Starter:
    """Starts commands warm; its process begins with the first of them and ends when this is left.

    Args:
        check: Handed the arguments and the whole output of each command that comes to its end.
    """

    def __init__(self, check: Check | None = None) -> None:
        self._check = check
        self._socket: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._settled = dict[str, str]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None and self._server is not None:
            self._socket.close()
            self._server.wait()

    def start(self, *arguments: str, cwd: Path, env: Mapping[str, str], module: str = "optimizer") -> Process:
        """Start `python -m MODULE` with arguments, in a folder, with this environment and no other."""
        connection = self._connected()
        for name in {*self._settled, *_settled(env)}:
            if env.get(name) != self._settled.get(name):
                raise ValueError(f"{name} would be without effect on a warm process: start a cold one")
        asked = {"module": module, "arguments": arguments, "cwd": os.fspath(cwd), "env": dict(env)}
        request = json.dumps(asked).encode()
        ours, theirs = zip(*(os.pipe() for _ in range(3)), strict=True)
        socket.send_fds(connection, [len(request).to_bytes(HEADER, "big")], theirs)
        for end in theirs:
            os.close(end)
        connection.sendall(request)
        process = Process(arguments, *ours)
        process.check = self._check if module == "optimizer" else None
        return process

    def run(
        self, *arguments: str, cwd: Path, env: Mapping[str, str], timeout: float, module: str = "optimizer"
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as `subprocess.run` does with `capture_output`."""
        process = self.start(*arguments, cwd=cwd, env=env, module=module)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(arguments, process.wait(), stdout, stderr)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket, theirs = socket.socketpair()
            environment = {name: value for name, value in os.environ.items() if name != OBEYED}
            self._settled = _settled(environment)
            with theirs:
                self._server = subprocess.Popen(
                    [sys.executable, __file__, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=environment | SINGLE,
                    pass_fds=[theirs.fileno()],
                )
        return self._socket


def _settled(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(SETTLED) and name != OBEYED}


# ---- The side of the warm process ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A command to run, and the pipes it writes into: its output, and for this side pid and exit code."""

    module: str
    arguments: list[str]
    cwd: str
    env: dict[str, str]
    stdout: int
    stderr: int
    status: int


@dataclass(kw_only=True)
class Server:
    """The loop of the warm process."""

    connection: socket.socket
    # Where to tell, by the pid of a child, how it ended.
    running: dict[int, int] = field(default_factory=dict)

    def request(self) -> Request | None:
        """Return the first request whose child this process has become; None where the other side is gone."""
        woken, wakes = os.pipe()
        for end in (woken, wakes):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakes)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            for ready in self._ready(selector):
                if ready == woken:
                    os.read(woken, 4096)
                    self._bury()
                elif (request := self._received()) is None:
                    return None
                elif self._forked(request):
                    signal.set_wakeup_fd(-1)
                    for end in (woken, wakes, request.status, *self.running.values()):
                        os.close(end)
                    return request
        return None

    def _ready(self, selector: selectors.BaseSelector) -> Iterator[int]:
        while True:
            for key, _ in selector.select():
                yield key.fd

    def _received(self) -> Request | None:
        header, ends, _, _ = socket.recv_fds(self.connection, HEADER, 3)
        if not header:
            return None
        text, n = b"", int.from_bytes(header, "big")
        while len(text) < n:
            text += self.connection.recv(n - len(text))
        stdout, stderr, status = ends
        return Request(**json.loads(text), stdout=stdout, stderr=stderr, status=status)

    def _forked(self, request: Request) -> bool:
        """Return whether this is the child. Signals wait until it has the handlers of a fresh process."""
        waiting = signal.valid_signals()
        signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
        pid = os.fork()
        if pid == 0:
            for number, handler in FRESH.items():
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waiting)
        if pid == 0:
            return True
        os.close(request.stdout)
        os.close(request.stderr)
        self.running[pid] = request.status
        _tell(request.status, pid)
        return False

    def _bury(self) -> None:
        """Tell of every child that has ended how it ended; a signal is a negative number."""
        while self.running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            end = self.running.pop(pid)
            _tell(end, os.waitstatus_to_exitcode(status))
            os.close(end)


# What the interpreter sets when it starts, and what the warm process changes.
FRESH: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGCHLD: signal.SIG_DFL}


def _tell(end: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it
        os.write(end, b"%d\n" % number)


def read_migrations_once() -> None:
    """Have Optuna read its migrations once in this process, in place of three times for every database it makes.

    They are ten files that are run as they are read, the same for every database, and take longer than all else.
    """
    manager: Any = importlib.import_module("optuna.storages._rdb.storage")._VersionManager
    any_of_them = manager.__new__(manager)
    any_of_them.url = ""  # where a database is does not matter to what it may be migrated to
    read_once = functools.cache(functools.partial(manager._create_alembic_script, any_of_them))
    manager._create_alembic_script = lambda _: read_once()


def open_a_database() -> None:
    """Have the libraries of databases make what they make the first time that one is opened."""
    storage = importlib.import_module("optuna.storages").RDBStorage("sqlite://")
    storage.remove_session()
    storage.engine.dispose()


def preload() -> None:
    """Import what commands need, in one thread, and keep it away from the collector of every child."""
    sys.path.pop(0)  # the folder of this file
    for name in PRELOADED:
        importlib.import_module(name)
    read_migrations_once()
    open_a_database()
    tasks = Path("/proc/self/task")
    if tasks.exists() and len(list(tasks.iterdir())) > 1:
        raise RuntimeError("an import has started a thread, which no fork would have")
    gc.collect()
    gc.freeze()


def become(request: Request) -> None:
    """Make this process what `python -m optimizer` would be."""
    for ours, number in ((request.stdout, 1), (request.stderr, 2)):
        os.dup2(ours, number)
        os.close(ours)
    os.chdir(request.cwd)
    os.environ.clear()
    os.environ.update(request.env)
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 # as text, as the interpreter does
    sys.argv = ["-m", *request.arguments]
    sys.warnoptions = list(filter(None, request.env.get(OBEYED, "").split(",")))
    warnings._processoptions(sys.warnoptions)  # type: ignore[attr-defined] # what the interpreter calls
    tempfile.tempdir = None
    # Generators without a seed differ from process to process; that of `random` sees to it itself.
    importlib.import_module("numpy.random").seed()


def main() -> NoReturn:
    """Serve until the socket is closed; as a child, run the command and end as it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this sees to its end
    preload()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        request = Server(connection=connection).request()
    if request is not None:
        become(request)
        runpy._run_module_as_main(request.module)  # type: ignore[attr-defined] # what the interpreter calls
    sys.exit()


if __name__ == "__main__":
    main()
