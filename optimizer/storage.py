"""One database for Optuna and for us, opened by one process at a time.

The only module that knows Optuna's storage. SQLite in WAL mode with synchronous=NORMAL: a killed process loses
nothing that was committed. The log is brought to the disk once a second, so a power cut loses at most what was
committed in the second before it and while the disk was writing; never the file.
"""

import json
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.errors import InputError, Problem, StorageError
from optimizer.holding import held

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, TrialState
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


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a trial ends that was asked for earlier, maybe by another process.

    Attributes:
        value: The value of the trial, None where it failed.
        step: The step at which that value is reported as well, None where it is not.
    """

    trial: "FrozenTrial"
    state: "TrialState"
    value: float | None = None
    step: int | None = None


def add_trials(study: "Study", trials: Sequence["FrozenTrial"]) -> None:
    """Add some trials, under way or ended, in one transaction.

    Optuna's own way is a transaction and a dozen queries for each, and `Study.ask` reads all that are under way before
    it: a race, all of whose arms are under way at once, would take a minute to ask for a thousand of them.
    """
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb import models
    from sqlalchemy import func, select

    number, rows = study._study_id, list[Any]()  # noqa: SLF001  # no public way
    with _session(study) as session:
        n = session.scalar(
            select(func.count()).select_from(models.TrialModel).where(models.TrialModel.study_id == number)
        )
        made: list[Any] = [
            models.TrialModel(
                study_id=number,
                number=n + k,
                state=t.state,
                datetime_start=t.datetime_start,
                datetime_complete=t.datetime_complete,
            )
            for k, t in enumerate(trials)
        ]
        session.add_all(made)
        session.flush()
        for row, trial in zip(made, trials, strict=True):
            rows += [
                models.TrialParamModel(
                    trial_id=row.trial_id,
                    param_name=name,
                    param_value=distribution.to_internal_repr(trial.params[name]),
                    distribution_json=distribution_to_json(distribution),
                )
                for name, distribution in trial.distributions.items()
            ]
            rows += _attributes(row.trial_id, trial.user_attrs)
            if trial.value is not None:
                rows.append(_value(row.trial_id, trial.value))
            rows += [_report(row.trial_id, step, v) for step, v in trial.intermediate_values.items()]
        session.add_all(rows)


def describe_trial(study: "Study", trial_id: int, attributes: Mapping[str, Any]) -> None:
    """Give a trial attributes that it does not have yet, in one transaction."""
    with _session(study) as session:
        session.add_all(_attributes(trial_id, attributes))


def end_trials(study: "Study", endings: Sequence[Ending]) -> None:
    """End some trials in one transaction.

    `Study.tell` is for the process that asked: it reads each trial twice more, and talks to sampler and pruner, which
    here decide elsewhere.
    """
    from optuna.storages._rdb.models import TrialModel
    from sqlalchemy import select

    by_id = {each.trial._trial_id: each for each in endings}  # noqa: SLF001  # no public way
    with _session(study) as session:
        for row in session.scalars(select(TrialModel).where(TrialModel.trial_id.in_(by_id))).all():
            ending, number = by_id[row.trial_id], row.trial_id
            row.state, row.datetime_complete = ending.state, datetime.now()  # noqa: DTZ005  # as Optuna does
            if ending.value is None:
                continue
            session.add(_value(number, ending.value))
            if ending.step is not None and ending.step not in ending.trial.intermediate_values:
                session.add(_report(number, ending.step, ending.value))


def _attributes(trial_id: int, attributes: Mapping[str, Any]) -> list[Any]:
    from optuna.storages._rdb.models import TrialUserAttributeModel

    return [
        TrialUserAttributeModel(trial_id=trial_id, key=key, value_json=json.dumps(value))
        for key, value in attributes.items()
    ]


def _value(trial_id: int, value: float) -> Any:  # noqa: ANN401  # of Optuna's, which is imported where needed
    from optuna.storages._rdb.models import TrialValueModel

    stored, kind = TrialValueModel.value_to_stored_repr(value)
    return TrialValueModel(trial_id=trial_id, objective=0, value=stored, value_type=kind)


def _report(trial_id: int, step: int, value: float) -> Any:  # noqa: ANN401  # of Optuna's, as well
    from optuna.storages._rdb.models import TrialIntermediateValueModel

    stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return TrialIntermediateValueModel(
        trial_id=trial_id, step=step, intermediate_value=stored, intermediate_value_type=kind
    )


def _session(study: "Study") -> Any:  # noqa: ANN401  # sqlalchemy is imported by the functions that need it
    """Return a transaction on the database of a study."""
    from sqlalchemy.orm import sessionmaker

    engine = study._storage._backend.engine  # type: ignore[attr-defined]  # noqa: SLF001  # behind Optuna's cache
    return sessionmaker(engine).begin()


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
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def _prepare(url: Any) -> None:  # noqa: ANN401  # sqlalchemy is imported by the functions that need it
    """Have a log written ahead, and all tables of Optuna with their indexes."""
    import sqlalchemy
    from optuna.storages._rdb.models import BaseModel

    tables = BaseModel.metadata.sorted_tables
    wanted = {each.name for table in tables for each in (table, *table.indexes)}
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": _BUSY_SECONDS, "factory": _connected})
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        made = set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())
        if not wanted <= made:
            _make(connection, tables)
    engine.dispose()


def _make(connection: "Connection", tables: Sequence["Table"]) -> None:
    """Make what is missing of some tables and their indexes, all of it or nothing.

    Optuna makes one after the other, and an index only with its table. Where a process was killed between the two, a
    study could be made twice under its name, and neither was found any more; the second has nothing in it.
    """
    import sqlalchemy

    # The driver begins no transaction before a change of tables.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    for table in tables:
        table.create(connection, checkfirst=True)
    studies, *_ = (table for table in tables if table.name == "studies")
    first = sqlalchemy.select(sqlalchemy.func.min(studies.c.study_id)).group_by(studies.c.study_name)
    connection.execute(studies.delete().where(studies.c.study_id.not_in(first)))
    for index in (each for table in tables for each in table.indexes):
        index.create(connection, checkfirst=True)
    connection.commit()
