"""Python code that nobody has read, run where it can reach nothing: the caller's side of `optimizer.confinement`.

Works on Linux, in namespaces that an ordinary user may make, too, where the kernel lets them. A failure of the code is a
`Run` that did not pass; a failure of the instrument is an error, and never the other way round.
"""

import contextlib
import functools
import itertools
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from optimizer.errors import SandboxError

# What an interpreter needs of its machine: itself, and where shared libraries are found.
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache")

_PROGRAM = Path(__file__).with_name("confinement.py")

# What confined code sees: the user and group it runs as, and the only folder it can write to, which lies in memory.
_INSIDE = 1000
_FOLDER = "/tmp"  # noqa: S108

# What it runs as on this machine where we are root: users nobody has, one for each run, so that their limits and signals
# do not meet. Well above what machines and directories hand out, and below 2^31.
_FIRST_USER = 0x60000000
_NOBODY = 65534
_turns = itertools.count()

# The limit is the program's to hold; this much later it is taken to hang. Long, for machines that have much to do.
_GRACE_SECONDS = 30.0

# Code that waits for a processor would be taken for slow code.
_seats = threading.BoundedSemaphore(os.cpu_count() or 1)

# With less, the interpreter would not get as far as the code.
_LEAST = {"seconds": 0.1, "memory_mb": 64, "file_mb": 1, "processes": 1, "output_bytes": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What code may use.

    Attributes:
        seconds: Time on the clock for the code and its tests.
        memory_mb: Address space of each process.
        file_mb: Size of a file, and of all files together.
        processes: Processes and threads at once.
        output_bytes: Written to stdout and stderr together; more ends the run.
    """

    seconds: float = 5.0
    memory_mb: int = 512
    file_mb: int = 16
    processes: int = 16
    output_bytes: int = 65536

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: With every value that is too small.
        """
        wrong = [
            f"{name} must be at least {least}, but got {name}={value}"
            for name, least in _LEAST.items()
            if not (value := getattr(self, name)) >= least
        ]
        if wrong:
            raise ValueError("; ".join(wrong))


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What became of code.

    Attributes:
        passed: Whether the code and then its tests ran to their ends.
        reason: "passed", or why not, in a few words that the code may have chosen.
        seconds: From its start to its end.
        output: What it wrote, stdout and stderr together, up to the limit.
    """

    passed: bool
    reason: str
    seconds: float
    output: str


def run_python(source: str, *, tests: str = "", limits: Limits | None = None, confined: bool = True) -> Run:
    """Return what becomes of code and then its tests, both in one module.

    Can be called from many threads at once. The code has the standard library and an empty folder, and no environment,
    network or process but its own.

    Args:
        tests: Run after the code, with its names; the code cannot read them before it has run to its end.
        confined: Without, the code is held by limits alone: it may read, write and connect as its user may. That is a
            user without rights where we are root, and else ourselves.

    Raises:
        SandboxError: When the sandbox could not be made, or broke.
    """
    if sys.platform != "linux":
        raise SandboxError(f"code can be confined on Linux only, and this is {sys.platform}")
    try:
        with _seats:
            return _run(source, tests, limits or Limits(), confined=confined)
    except OSError as error:
        raise SandboxError(f"the sandbox could not be made: {error}") from error


def _run(source: str, tests: str, limits: Limits, *, confined: bool) -> Run:
    user = _user()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (
        ours,
        theirs,
        _file(source) as code,
        _file(tests) as test,
        _folder(user, confined=confined) as folder,
    ):
        files = (theirs.fileno(), code, test)
        inside = _INSIDE if confined else 0 if user == os.geteuid() else user
        processes = limits.processes + _others(user, confined=confined)
        numbers = (*files, int(confined), inside, limits.memory_mb, limits.file_mb, processes, limits.seconds)
        with _started([*map(str, numbers), folder, *_visible()], files, folder) as process:
            theirs.close()
            try:
                return _attend(process, ours, limits, user, confined=confined)
            finally:
                ours.close()  # which ends the code, should it still run


@functools.cache
def available(*, confined: bool = True) -> str | None:
    """Return why code cannot be run here, or None when it can; found out once, by running some."""
    try:
        run = run_python(
            "import json, threading", tests="thread = threading.Thread(); thread.start()", confined=confined
        )
    except SandboxError as error:
        return str(error)
    return None if run.passed else f"a program that does nothing failed in the sandbox: {run.reason}"


def _started(order: list[str], files: tuple[int, ...], folder: str) -> subprocess.Popen[bytes]:
    # The interpreter itself, not the link to it in a virtual environment. -I would ignore the seed of hashes, too, which
    # makes the order of a set the same in every run; the environment holds nothing else of `PYTHON...`.
    interpreter = os.path.realpath(sys.executable)
    command = [interpreter, "-P", "-s", "-S", "-B", str(_PROGRAM), *order]
    environment = {
        "HOME": folder,
        "TMPDIR": folder,
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
    }
    return subprocess.Popen(  # noqa: S603  # our own program; the code comes by a file descriptor
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=folder,
        pass_fds=files,
        start_new_session=True,
    )


def _attend(
    process: subprocess.Popen[bytes], control: socket.socket, limits: Limits, user: int, *, confined: bool
) -> Run:
    """Read what the sandbox says and what the code writes, to the end of both."""
    assert process.stdout is not None
    verdict = ""
    output = bytearray()
    start = time.monotonic()
    deadline = start + limits.seconds + _GRACE_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.get_map():
            ready = [key.fileobj for key, _ in selector.select(max(0.0, deadline - time.monotonic()))]
            if not ready:
                process.kill()
                raise SandboxError(f"the sandbox did not answer within {limits.seconds + _GRACE_SECONDS:g} s")
            if process.stdout in ready:
                written = os.read(process.stdout.fileno(), 65536)
                output += written
                if not written:
                    selector.unregister(process.stdout)
            if len(output) > limits.output_bytes:
                seconds = time.monotonic() - start
                verdict = f"{seconds:.6f} more than {limits.output_bytes} bytes of output"
                break
            if control in ready:
                message = control.recv(65536).decode()
                if not message:
                    selector.unregister(control)
                elif message == "unshared":
                    _name_user(process.pid, user)
                    control.send(b"named")
                else:
                    verdict = message
    if not verdict and not confined and process.wait() < 0:
        verdict = f"{time.monotonic() - start:.6f} killed what watched it"
    return _told(verdict, output[: limits.output_bytes].decode(errors="replace"))


def _told(verdict: str, output: str) -> Run:
    first, _, reason = verdict.partition(" ")
    if first in {"", "error"}:
        told = reason or f"it ended without a verdict, and wrote: {output.strip() or 'nothing'}"
        raise SandboxError(f"the sandbox could not be made: {told}")
    return Run(passed=not reason, reason=reason or "passed", seconds=float(first), output=output)


def _name_user(process: int, user: int) -> None:
    """Say which user of this machine a process with a namespace of users is, in there and out here."""
    folder = Path(f"/proc/{process}")
    group = user
    if user == os.geteuid():
        group = os.getegid()
        folder.joinpath("setgroups").write_text("deny", encoding="ascii")
    for name, number in (("uid_map", user), ("gid_map", group)):
        folder.joinpath(name).write_text(f"{_INSIDE} {number} 1", encoding="ascii")


def _user() -> int:
    """Return the user to run code as: one that nobody else is where we are root, else ourselves."""
    if os.geteuid() != 0:
        return os.geteuid()
    user = _FIRST_USER + os.getpid() % 2**16 * 2**12 + next(_turns) % 2**12
    ranges = [line.split() for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()]
    known = [range(int(first), int(first) + int(length)) for first, _, length in ranges]
    return next((one for one in (user, _NOBODY) if any(one in each for each in known)), 0)


def _others(user: int, *, confined: bool) -> int:
    """Return how many processes and threads count against the limit that are not the code's."""
    if confined or user != os.geteuid():
        return 2  # those that watch it
    tasks = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            tasks += len(list(process.joinpath("task").iterdir())) if process.stat().st_uid == user else 0
    return tasks


def _visible() -> tuple[str, ...]:
    """Return the paths that the interpreter needs, none of them within another."""
    paths = {*_SYSTEM, os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix)}
    return tuple(sorted(path for path in paths if not any(path.startswith(f"{other}/") for other in paths)))


@contextlib.contextmanager
def _file(text: str) -> Iterator[int]:
    """Yield a file that lies in memory and has no name."""
    file = os.memfd_create("python")
    try:
        with open(file, "wb", closefd=False) as opened:
            opened.write(text.encode(errors="surrogatepass"))
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _folder(user: int, *, confined: bool) -> Iterator[str]:
    """Yield the folder the code may write to: a private one of this machine where it is not confined."""
    if confined:
        yield _FOLDER
        return
    folder = tempfile.mkdtemp(prefix="sandbox-")
    try:
        if user != os.geteuid():
            os.chown(folder, user, user)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
