"""The program in which code that nobody has read runs; `optimizer.sandbox` starts it in an interpreter of its own.

    supervisor   makes namespaces, so that what follows sees no network, process or file of this machine; waits
    └ keeper     their process 1: builds the file system, keeps the time, judges; its end ends all that is in there
      └ runner   gives up every privilege, takes the limits, runs the code and then its tests

The runner holds nothing of worth: the tests and a random token are sent to it once the code has run to its end, and it
proves with the token that the tests have, too. Only the keeper speaks with the caller.

This file is run by its path, without the package. It imports of the standard library what starts fast: with `json`,
`typing` and `platform` a run would take half as long again.

Sources: the manual pages namespaces(7), user_namespaces(7), pid_namespaces(7), pivot_root(2), mount_setattr(2),
seccomp(2).
"""

# pathlib would be one more to wait for.
# ruff: noqa: PTH103, PTH110, PTH112, PTH114, PTH115, PTH120, PTH211

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
import types
from collections.abc import Sequence

# Constants of the kernel, from linux/sched.h, linux/mount.h, linux/fcntl.h, linux/prctl.h, linux/capability.h.
NAMESPACES = (
    0x10000000 | 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000
)  # user, mount, process, network, IPC
MS_NOSUID_NODEV, MS_PRIVATE_ALL, MNT_DETACH = 2 | 4, 0x4000 | 0x40000, 2
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE, OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH = -100, 0x1000, 0x8000, 1, 4
MOUNT_ATTR_RDONLY_NOSUID = 1 | 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = (
    1,
    4,
    22,
    36,
    38,
)
CAPABILITY_VERSION_3 = 0x20080522
# Of these system calls all machines but Alpha have one number.
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR, IO_URING = 428, 429, 442, (425, 426, 427)

# By machine: its name in an audit record, `socket`, and what reaches past namespaces or has a history of holes: ptrace,
# add_key, request_key, keyctl, bpf, perf_event_open, userfaultfd. From asm/unistd.h and linux/audit.h.
SYSTEM_CALLS = {
    "x86_64": (0xC000003E, 41, (101, 248, 249, 250, 321, 298, 323, *IO_URING)),
    "aarch64": (0xC00000B7, 198, (117, 217, 218, 219, 280, 241, 282, *IO_URING)),
}
# Unix, IPv4, IPv6, netlink: those that a network namespace holds. Others (vsock) lead out of it.
HELD_FAMILIES = (1, 2, 10, 16)

MOST_FILES = 1024
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
TICK_SECONDS = 0.02  # how late the end of a process that said nothing may be noticed
MOST_CHARACTERS = 300  # of a reason

_libc = ctypes.CDLL(None, use_errno=True)


class Order:
    """What the caller asks for, in the order of the program's arguments.

    Attributes:
        control: File descriptor of the socket to the caller.
        code: File descriptor of the code.
        tests: File descriptor of the tests.
        confined: Whether to make namespaces; without, limits alone hold.
        user: The user and group to become, or 0 to stay who one is; in namespaces, one of theirs.
        memory_mb: Address space of each process.
        file_mb: Size of a file, and of all of them where there are namespaces.
        processes: How many processes and threads the user may have.
        seconds: Time on the clock, from the start of the code to the end of its tests.
        folder: Where to be; in namespaces, of a file system in memory.
        visible: Paths of this machine that can be read.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.control, self.code, self.tests, self.confined = map(int, words[:4])
        self.user, self.memory_mb, self.file_mb, self.processes = map(int, words[4:8])
        self.seconds = float(words[8])
        self.folder = words[9]
        self.visible = words[10:]


def main() -> None:
    """Run an order and send the verdict, or what failed that is not the code's doing."""
    order = Order(sys.argv[1:])
    control = socket.socket(fileno=order.control)
    try:
        # Where memory runs out, this goes first.
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
        if order.confined:
            _supervise(order, control)
        else:
            _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            _keep(order, control)
            _end_descendants()
    except OSError as error:
        with contextlib.suppress(OSError):
            control.send(f"error {error}".encode())
    os._exit(0)


def _supervise(order: Order, control: socket.socket) -> None:
    _call("unshare", NAMESPACES)
    control.send(b"unshared")
    if not control.recv(16):  # the caller, who may, has now said which user of this machine we are
        return
    keeper = os.fork()
    if keeper:
        os.waitpid(keeper, 0)
        return
    _enter(order)
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # a change of user would have cleared it
    _keep(order, control)


def _enter(order: Order) -> None:
    """Change into a file system that holds the visible paths, read-only, and an empty folder."""
    # A namespace within this one would give privileges back. Where this cannot be forbidden they stay within it.
    with (
        contextlib.suppress(OSError),
        open("/proc/sys/user/max_user_namespaces", "w", encoding="ascii") as file,
    ):
        file.write("0")
    # Taken while we may still reach them: the interpreter may lie in a folder that is closed to others.
    links = {path: os.readlink(path) for path in order.visible if os.path.islink(path)}
    there = [path for path in (*order.visible, *DEVICES) if path not in links and os.path.exists(path)]
    trees = {path: _open_tree(path) for path in there}
    files = {path for path in there if not os.path.isdir(path)}
    # An ordinary user cannot leave groups. No file that can be seen from here on belongs to any.
    with contextlib.suppress(PermissionError):
        os.setgroups([])
    _become(order.user)
    os.umask(0o077)
    _call("mount", None, b"/", None, MS_PRIVATE_ALL, None)
    options = f"size={order.file_mb}m,nr_inodes={MOST_FILES},mode=700,uid={order.user},gid={order.user}"
    _call("mount", b"sandbox", order.folder.encode(), b"tmpfs", MS_NOSUID_NODEV, options.encode())
    os.chdir(order.folder)
    for path, tree in trees.items():
        place = path.lstrip("/")
        os.makedirs(os.path.dirname(place) if path in files else place, exist_ok=True)
        if path in files:
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
        _system_call("move_mount", MOVE_MOUNT, tree, b"", AT_FDCWD, place.encode(), MOVE_MOUNT_F_EMPTY_PATH)
        os.close(tree)
    for path, target in links.items():
        os.symlink(target, path.lstrip("/"))
    _call("pivot_root", b".", b".")
    _call("umount2", b".", MNT_DETACH)
    os.chdir("/")
    os.makedirs(order.folder, exist_ok=True)
    os.makedirs("/dev/shm", exist_ok=True)  # noqa: S108  # where `multiprocessing` has its locks
    os.chdir(order.folder)


def _become(user: int) -> None:
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _open_tree(path: str) -> int:
    """Return a copy of what is mounted at and under a path, read-only and without set-user-id programs."""
    flags = OPEN_TREE_CLONE | AT_RECURSIVE | os.O_CLOEXEC
    tree = _system_call(f"open_tree {path}", OPEN_TREE, AT_FDCWD, os.fsencode(path), flags)
    wanted = struct.pack("4Q", MOUNT_ATTR_RDONLY_NOSUID, 0, 0, 0)
    flags = AT_EMPTY_PATH | AT_RECURSIVE
    _system_call(f"mount_setattr {path}", MOUNT_SETATTR, tree, b"", flags, wanted, len(wanted))
    return tree


def _keep(order: Order, control: socket.socket) -> None:
    """Run the code in a process of its own and send the verdict on it."""
    channel, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    runner = os.fork()
    if not runner:
        channel.close()
        control.close()
        os.close(order.tests)
        _run(order, end)
    end.close()
    before = channel.recv(4 * MOST_CHARACTERS)
    if before != b"bound":  # the code has not begun, so it is not its failure
        raise OSError(before.decode(errors="replace") or "the runner ended before it began")
    start = time.monotonic()
    reason = _judge(runner, channel, control, order)
    with contextlib.suppress(OSError):
        control.send(f"{time.monotonic() - start:.6f} {reason}".encode())


def _judge(runner: int, channel: socket.socket, control: socket.socket, order: Order) -> str:
    """Return why the code failed, or "" for code that sent the token back after its tests."""
    token = b""
    status: int | None = None
    sources = [channel, control]
    deadline = time.monotonic() + order.seconds
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select(sources, [], [], 0 if status is not None else min(left, TICK_SECONDS))
        if control in ready:
            return "stopped by the caller"
        if channel not in ready:
            if status is not None:
                return _ending(status)
            status = _reap(runner)
            continue
        message = channel.recv(4 * MOST_CHARACTERS)
        if not message:  # closed; the process may live on
            sources.remove(channel)
        elif message == b"ready" and not token:
            token = os.urandom(16)
            socket.send_fds(channel, [token], [order.tests])
        elif token and message == b"done" + token:
            return ""
        else:
            return message.decode(errors="replace")
    return f"time limit of {order.seconds:g} s"


def _reap(runner: int) -> int | None:
    """Take leave of every process that has ended; return the status of the runner if it is one of them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                break
            if process == runner:
                found = status
    return found


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended before its tests did, with status {code}"


def _end_descendants() -> None:
    """Kill what is left of the code where no namespace does it: orphans come to us, their adopted parent."""
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            children = file.read().split()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        try:
            while os.waitpid(-1, 0 if children else os.WNOHANG)[0]:
                children = []
        except ChildProcessError:
            return


def _run(order: Order, channel: socket.socket) -> None:
    """Run the code and then its tests, in one module; tell how it went."""
    # What is bound here cannot be replaced by the code.
    run, translate, flush, leave = exec, compile, _flush, os._exit
    send, receive = channel.send, socket.recv_fds
    try:
        _give_up_privileges(order)
        send(b"bound")
        code = _read(order.code)
        module = types.ModuleType("answer")
        sys.modules["answer"] = module
        run(translate(code, "<answer>", "exec", dont_inherit=True), module.__dict__)
        send(b"ready")
        token, files, _, _ = receive(channel, 64, 1)
        tests = _read(files[0])
        # Tests may end with `if __name__ == "__main__":`; the code's own such part is not run.
        sys.settrace(None)
        module.__dict__["__name__"] = "__main__"
        sys.modules["__main__"] = module
        run(translate(tests, "<tests>", "exec", dont_inherit=True), module.__dict__)
        flush()
        send(b"done" + token)
    except BaseException as error:  # noqa: BLE001  # whatever the code raises, SystemExit too, is its failure
        flush()
        channel.send(_told(error))
    finally:
        leave(0)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):  # the code may have put anything in their place
            stream.flush()


def _told(error: BaseException) -> bytes:
    """Return an error in a few words; making its text may run the code's own methods."""
    try:
        text = f"{type(error).__name__}: {error}".rstrip(": ")
    except BaseException:  # noqa: BLE001
        text = type(error).__name__
    return text[:MOST_CHARACTERS].encode(errors="replace") or b"error"


def _read(file: int) -> str:
    with os.fdopen(file, "rb") as opened:
        opened.seek(0)
        return opened.read().decode(errors="surrogatepass")


def _give_up_privileges(order: Order) -> None:
    os.setsid()
    if order.user and not order.confined:
        os.setgroups([])
        _become(order.user)
    megabyte = 1024 * 1024
    seconds = int(order.seconds) + 2  # of the processor; the keeper's clock is the limit, this its double
    for limit, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, order.memory_mb * megabyte),
        (resource.RLIMIT_FSIZE, order.file_mb * megabyte),
        (resource.RLIMIT_NPROC, order.processes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (least, least))
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    _call("capset", struct.pack("Ii", CAPABILITY_VERSION_3, 0), bytes(24))
    _filter_system_calls()


def _filter_system_calls() -> None:
    """Refuse what no test of a function needs; on a machine without a table, namespaces stand alone."""
    if os.uname().machine not in SYSTEM_CALLS:
        return
    audit, socket_call, refused = SYSTEM_CALLS[os.uname().machine]
    # Classic BPF: (operation, steps to leave out if it holds, and if not, value).
    load, equal, at_least, leave = 0x20, 0x15, 0x35, 0x06
    program = [(load, 0, 0, 4), (equal, 1, 0, audit), (leave, 0, 0, 0x80000000), (load, 0, 0, 0)]
    # 0x40000000 marks the calls of x32, which have other numbers.
    checks = [(at_least, 0x40000000), *((equal, number) for number in refused)]
    refusal = len(checks) + 3 + len(HELD_FAMILIES)  # its place, counted from the first check
    program += [(check, refusal - at - 1, 0, value) for at, (check, value) in enumerate(checks)]
    program += [(equal, 1, 0, socket_call), (leave, 0, 0, 0x7FFF0000), (load, 0, 0, 16)]
    program += [(equal, len(HELD_FAMILIES) - at, 0, family) for at, family in enumerate(HELD_FAMILIES)]
    program += [(leave, 0, 0, 0x00050001), (leave, 0, 0, 0x7FFF0000)]  # "operation not permitted"; or go on
    steps = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    whole = struct.pack("HP", len(program), ctypes.addressof(steps))
    _call("prctl", PR_SET_SECCOMP, 2, whole, 0, 0)


def _call(name: str, *arguments: object) -> int:
    """Call a function of the C library.

    Raises:
        OSError: When it fails.
    """
    return _checked(name, getattr(_libc, name)(*map(_wide, arguments)))


def _system_call(name: str, *arguments: object) -> int:
    return _checked(name, _libc.syscall(*map(_wide, arguments)))


def _wide(argument: object) -> object:
    # Of a plain number, ctypes would set 32 bits only.
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def _checked(name: str, result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


if __name__ == "__main__":
    main()
