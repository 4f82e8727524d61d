"""One database for Optuna and for us, opened by one process at a time.

This and `trialrows` alone know Optuna's storage. SQLite in WAL mode with synchronous=NORMAL: a killed process loses
nothing that was committed. The log is brought to the disk once a second, so a power cut loses at most what was
committed in the second before it and while the disk was writing; never the file.
"""

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.errors import InputError, Problem, StorageError
from optimizer.holding import held

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from sqlalchemy import Connection, Engine, Table

# How much of the newest work a power cut may take.
SYNC_SECONDS = 1.0

# Seconds that a statement waits for another connection's write, such as a dashboard's.
_BUSY_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Storage:
    """An open database."""

    path: Path
    engine: "Engine"
    trials: "RDBStorage"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A database that is looked at and not changed, while its study may be running."""

    path: Path
    engine: "Engine"


@contextmanager
def read_storage(path: Path, *, migrations: int) -> Iterator[Reading]:
    """Look at the database at `path` without holding it; nothing is written to it.

    One of an older version is copied into memory, where it can be brought up to date.

    Args:
        migrations: How many changes of our tables there are; a database with fewer of them is an older one.

    Raises:
        InputError: When there is no database, or it is none of ours.
    """
    import sqlite3

    import sqlalchemy

    if not path.is_file():
        raise InputError([Problem(file=str(path), message="there is no database of a study here")])
    try:
        source = _to_read(path, migrations)
    except sqlite3.DatabaseError as error:
        what = "cannot be read" if is_of_access(error) else "is not a study's database"
        raise InputError([Problem(file=str(path), message=f"{what}: {error}")]) from error
    engine = sqlalchemy.create_engine(
        "sqlite://", creator=lambda: source, poolclass=sqlalchemy.pool.StaticPool
    )
    try:
        yield Reading(path=path, engine=engine)
    finally:
        engine.dispose()
        source.close()


def _to_read(path: Path, migrations: int) -> Any:  # noqa: ANN401  # sqlite3 is imported by the functions that need it
    """Return a connection that changes no file."""
    import sqlite3

    source = sqlite3.connect(_address(path), uri=True, timeout=_BUSY_SECONDS, check_same_thread=False)
    try:
        applied = source.execute("SELECT count(*) FROM ps_migration").fetchone()[0]
        if applied >= migrations:
            return source
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        source.backup(copy)
    except sqlite3.DatabaseError:
        source.close()
        raise
    source.close()
    return copy


def _address(path: Path) -> str:
    """Return the address under which a database is opened to be read.

    Reading takes a file beside the database, by which readers and writers know of each other. Where the folder takes
    none and all that was committed is in the database itself, it is read as one that nobody changes.
    """
    path = path.resolve()
    log = path.with_name(f"{path.name}-wal")
    still = not os.access(path.parent, os.W_OK) and not (log.is_file() and log.stat().st_size)
    return f"{path.as_uri()}?mode=ro{'&immutable=1' if still else ''}"


def is_of_access(error: Exception) -> bool:
    """Return whether a database could not be read, whatever it holds; that a table is missing says what it holds."""
    import sqlite3

    # The lower byte is the kind of a failure, the rest its details.
    return (
        isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_ERROR
    )


@contextmanager
def open_storage(path: Path, *, unwanted: Callable[[], bool] = lambda: False) -> Iterator[Storage]:
    """Open the database at `path`, made if absent, and hold it for this process.

    Args:
        unwanted: Asked after a good end; where it is true the database is deleted, while it is still held.

    Raises:
        StudyBusyError: When another process holds it.
        InputError: When it is not a database, or its folder cannot be written.
        StorageError: When the disk is full, or something cannot be written to it while it is open.
    """
    with held(path, unwanted=unwanted):
        storage = _open(path)
        try:
            with _synced(path), _told(path):
                yield storage
        finally:
            storage.trials.remove_session()
            storage.engine.dispose()


def create_study(storage: Storage, name: str) -> "Study":
    """Return the Optuna study of that name, made if absent."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Sampler and pruner are handed over anew for each ask; the study must not decide by itself.
    return optuna.create_study(
        study_name=name,
        storage=storage.trials,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.NopPruner(),
    )


def _open(path: Path) -> Storage:
    import sqlalchemy
    from optuna.storages import RDBStorage

    url = sqlalchemy.URL.create("sqlite", database=str(path))
    try:
        _prepare(url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes on experimental options, none of which is used
            trials = RDBStorage(
                url.render_as_string(hide_password=False),
                engine_kwargs={"connect_args": {"timeout": _BUSY_SECONDS, "factory": _connected}},
                skip_table_creation=True,
            )
    except sqlalchemy.exc.OperationalError as error:
        message = f"{path} cannot be read or written ({error.orig})"
        raise StorageError(message) from error
    except sqlalchemy.exc.DatabaseError as error:
        raise InputError(
            [Problem(file=str(path), message=f"is not a study's database: {error.orig}")]
        ) from error
    return Storage(path=path, engine=trials.engine, trials=trials)


@contextmanager
def _synced(path: Path) -> Iterator[None]:
    """Bring the log of a database to the disk once a second, in a thread of its own."""
    log, closed = path.with_name(f"{path.name}-wal"), threading.Event()
    failed: list[OSError] = []

    def sync() -> None:
        while not closed.wait(SYNC_SECONDS) and not failed:
            try:
                _sync(log)
            except FileNotFoundError:  # it is made at the first commit and goes with the last connection
                continue
            except OSError as error:
                failed.append(error)

    thread = threading.Thread(target=sync, name="sync", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()
    if failed:
        message = f"{path} was not brought to the disk ({failed[0].strerror}); a power cut may take what was last written"
        raise StorageError(message)


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell a failure to write, Optuna's or ours, as our own error."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DatabaseError, IntegrityError, ProgrammingError

    try:
        yield
    except (IntegrityError, ProgrammingError):  # mistakes of ours, not of the disk
        raise
    except (DatabaseError, StorageInternalError) as error:
        cause: object = error.__cause__ if isinstance(error, StorageInternalError) else error
        reason = str(getattr(cause, "orig", cause or error))
        message = f"{path} cannot be read or written ({reason}); what was committed is safe: the same command resumes"
        raise StorageError(message) from error


def _connected(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  # of the driver's, which makes nothing else
    """Return a new connection of the driver; in a log that is written ahead, a commit need not wait for the disk."""
    import sqlite3

    connection = sqlite3.Connection(*arguments, **named)
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _prepare(url: Any) -> None:  # noqa: ANN401  # sqlalchemy is imported by the functions that need it
    """Have a log written ahead, and all tables of Optuna with their indexes."""
    import sqlalchemy
    from optuna.storages._rdb.models import BaseModel

    tables = BaseModel.metadata.sorted_tables
    wanted = {each.name for table in tables for each in (table, *table.indexes)}
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": _BUSY_SECONDS, "factory": _connected})
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            made = set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())
            if not wanted <= made:
                _make(connection, tables)
    finally:
        engine.dispose()


def _make(connection: "Connection", tables: Sequence["Table"]) -> None:
    """Make what is missing of some tables and their indexes, all of it or nothing.

    Optuna makes one after the other, and an index only with its table. Where a process was killed between the two, a
    study could be made twice under its name, and neither was found any more; the second has no trials.
    """
    import sqlalchemy

    # The driver begins no transaction before a change of tables.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    for table in tables:
        table.create(connection, checkfirst=True)
    studies, *_ = (table for table in tables if table.name == "studies")
    first = sqlalchemy.select(sqlalchemy.func.min(studies.c.study_id)).group_by(studies.c.study_name)
    connection.execute(studies.delete().where(studies.c.study_id.not_in(first)))
    for table in (table for table in tables if "study_id" in table.c and table is not studies):
        left = sqlalchemy.select(studies.c.study_id)
        connection.execute(table.delete().where(table.c.study_id.not_in(left)))
    for index in (each for table in tables for each in table.indexes):
        index.create(connection, checkfirst=True)
    connection.commit()
