"""A database is held by one process at a time; whoever comes second is told who holds it."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from optimizer.errors import InputError, Problem, StorageError, StudyBusyError

# What no room on the disk is called; any other reason lies in the place that was named.
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def held(path: Path, *, unwanted: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Hold the database at `path` for this process; its folder is made if absent.

    Args:
        unwanted: Asked after a good end; where it is true the database is deleted while nobody else can hold it.

    Raises:
        StudyBusyError: When another process holds it.
        InputError: When its folder cannot be written.
        StorageError: When the disk is full.
    """
    from filelock import FileLock, Timeout

    file = path.with_name(f"{path.name}.lock")
    lock = FileLock(file, timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()  # a file that whoever held it deletes at this moment is not taken
    except Timeout:
        message = f"already running, process {_holder(file)}"
        raise StudyBusyError([Problem(file=str(path), message=message)]) from None
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(f"{path} cannot be written ({error.strerror})") from error
        raise InputError([Problem(file=str(path), message=f"cannot be written: {error.strerror}")]) from error
    gone = [_holder_file(file)]
    try:
        with suppress(OSError):  # it only says who holds it
            gone[0].write_text(str(os.getpid()), encoding="utf-8")
        yield
        if unwanted():
            # The lock file comes last: until then nobody begins a database whose parts are deleted here.
            gone += [path.with_name(f"{path.name}{suffix}") for suffix in ("", "-wal", "-shm", ".lock")]
    finally:
        for each in gone:
            with suppress(OSError):
                each.unlink(missing_ok=True)
        lock.release()


def _holder_file(lock: Path) -> Path:
    """Return the file beside the lock that tells who holds it; the lock itself is emptied at every attempt."""
    return lock.with_suffix(".pid")


def _holder(lock: Path) -> str:
    try:
        return _holder_file(lock).read_text(encoding="utf-8").strip() or "unknown"
    except OSError:
        return "unknown"
