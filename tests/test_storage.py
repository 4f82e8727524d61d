"""One process at a time, one database for Optuna and for us, readable again after it was closed."""

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from optimizer import storage as module
from optimizer.errors import InputError, StorageError, StudyBusyError
from optimizer.storage import Storage, create_study, open_storage, read_storage
from optimizer.store import Store


def pragma(storage: Storage, name: str) -> object:
    with storage.engine.connect() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_a_database_is_made_with_the_folders_above_it(tmp_path: Path) -> None:
    path = tmp_path / "some" / "folder" / "study.db"
    with open_storage(path) as storage:
        assert storage.path == path
    assert path.read_bytes().startswith(b"SQLite format 3")


def test_commits_go_to_a_write_ahead_log(tmp_path: Path) -> None:
    with open_storage(tmp_path / "study.db") as storage:
        assert pragma(storage, "journal_mode") == "wal"
        assert pragma(storage, "synchronous") == 1  # NORMAL


class Cut(BaseException):
    """What ends a process in the middle of something."""


@contextmanager
def cut(at: int) -> Iterator[None]:
    """End the block before that statement, with nothing committed by it."""
    n = 0

    def count(*_: object) -> None:
        nonlocal n
        n += 1
        if n > at:
            raise Cut

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", count)


def everything_in(path: Path) -> dict[str, str]:
    """Return what made each table and index of a database."""
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT name, sql FROM sqlite_master"))


def test_a_database_whose_making_ended_anywhere_is_whole_when_it_is_opened_again(tmp_path: Path) -> None:
    whole = tmp_path / "whole.db"
    with open_storage(whole) as storage:
        create_study(storage, "colours")
    for at in range(200):
        path = tmp_path / f"cut{at}.db"
        try:
            with cut(at), open_storage(path) as storage:
                create_study(storage, "colours")
        except Cut:
            pass
        else:
            break
        with open_storage(path) as storage:
            for _ in range(2):
                assert create_study(storage, "colours").get_trials() == []
        assert everything_in(path) == everything_in(whole)
    assert 20 < at < 199


def test_of_two_studies_of_one_name_the_first_stays_where_a_database_was_made_without_its_index(
    tmp_path: Path,
) -> None:
    path = tmp_path / "study.db"
    with open_storage(path) as storage:
        create_study(storage, "colours#1").ask()
        with storage.engine.begin() as connection:
            connection.exec_driver_sql("DROP INDEX ix_studies_study_name")
        for _ in range(2):  # it is made, and then not found
            with pytest.raises(optuna.exceptions.StorageInternalError) as failed:
                create_study(storage, "colours#1")
            assert "Multiple rows" in str(failed.value.__cause__)
    with open_storage(path) as storage:
        assert len(create_study(storage, "colours#1").get_trials()) == 1
        assert create_study(storage, "colours#2").get_trials() == []
        with storage.engine.connect() as connection:
            names = connection.exec_driver_sql("SELECT study_name FROM studies ORDER BY study_id")
            assert list(names.scalars()) == ["colours#1", "colours#2"]


def test_a_second_opener_is_refused_with_the_number_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with open_storage(path):
        with pytest.raises(StudyBusyError) as refused, open_storage(path):
            pass
        assert str(refused.value) == f"{path}: already running, process {os.getpid()}"
        assert refused.value.exit_code == 2
    with open_storage(path):
        pass


def test_another_process_is_refused_while_this_one_holds_the_database(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    program = (
        "import sys; from pathlib import Path; from optimizer.storage import open_storage\n"
        "with open_storage(Path(sys.argv[1])): print('open')"
    )
    command = [sys.executable, "-c", program, str(path)]
    with open_storage(path):
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"already running, process {os.getpid()}" in refused.stderr
    allowed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert allowed.stdout == "open\n", allowed.stderr


def test_a_database_that_is_not_wanted_any_more_is_gone_before_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with open_storage(path, unwanted=lambda: True):
        pass
    assert list(tmp_path.iterdir()) == []
    with open_storage(path), pytest.raises(StudyBusyError), open_storage(path):
        pass
    with pytest.raises(RuntimeError, match="within"), open_storage(path, unwanted=lambda: True):
        raise RuntimeError("within")
    assert path.exists()


def test_who_holds_it_need_not_be_written_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_text", _full)
    with open_storage(tmp_path / "study.db") as storage:
        assert storage.path.exists()


def test_a_full_disk_that_takes_no_lock_is_no_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("filelock.FileLock.acquire", _full)
    with (
        pytest.raises(StorageError, match=r"study\.db cannot be written"),
        open_storage(tmp_path / "study.db"),
    ):
        pass


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_error_inside_releases_the_database(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with pytest.raises(RuntimeError, match="within"), open_storage(path):
        raise RuntimeError("within")
    with open_storage(path):
        pass
    assert not path.with_name("study.db.pid").exists()


@pytest.mark.parametrize(
    "content", [b"name,score\n" * 100, b"\x80\x04K\x01.", b"SQLite format 3\0" + b"\xff" * 200]
)
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.db"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"study\.db: is not a study's database"), open_storage(path):
        pass
    assert path.read_bytes() == content
    path.unlink()
    with open_storage(path):
        pass


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"), open_storage(tmp_path / "file" / "study.db"):
        pass


def test_another_program_can_read_while_a_study_is_open(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with open_storage(path) as storage:
        create_study(storage, "colours#1")
        reader = sqlite3.connect(path)
        assert reader.execute("SELECT study_name FROM studies").fetchall() == [("colours#1",)]
        reader.close()


def test_a_database_that_nobody_writes_is_read_without_a_file_beside_it_where_none_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.db"
    with open_storage(path) as storage:
        Store(storage)
    assert module._address(path) == f"{path.as_uri()}?mode=ro"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert module._address(path) == f"{path.as_uri()}?mode=ro&immutable=1"
    before = sorted(each.name for each in tmp_path.iterdir())
    with read_storage(path, migrations=1) as reading, reading.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM ps_migration").scalar()
        assert sorted(each.name for each in tmp_path.iterdir()) == before
    log = path.with_name("study.db-wal")
    log.touch()
    assert module._address(path).endswith("&immutable=1")
    log.write_bytes(b"what is not in the database yet")
    assert module._address(path).endswith("?mode=ro")


def test_a_database_that_cannot_be_read_is_not_taken_for_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.db"
    with open_storage(path) as storage:
        Store(storage)
    monkeypatch.setattr(module, "_BUSY_SECONDS", 0)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match="cannot be read: database is locked"):
            look(path)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(InputError, match="is not a study's database: no such table"):
        look(tmp_path / "other.db")


def look(path: Path) -> None:
    with read_storage(path, migrations=1):
        pass


def test_what_was_told_is_there_after_reopening_and_what_was_asked_still_runs(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with open_storage(path) as storage:
        study = create_study(storage, "colours#1")
        first, second = study.ask(), study.ask()
        first.suggest_categorical("style", ("direct", "other"))
        study.tell(first, 0.5)
    with open_storage(path) as storage:
        study = create_study(storage, "colours#1")
        assert [trial.state.name for trial in study.trials] == ["COMPLETE", "RUNNING"]
        assert study.trials[0].value == 0.5
        study.tell(second.number, 0.75)
        assert study.best_trial.number == second.number


def test_a_study_is_maximised_and_found_by_its_name(tmp_path: Path) -> None:
    with open_storage(tmp_path / "study.db") as storage:
        study = create_study(storage, "colours#1")
        assert study.direction.name == "MAXIMIZE"
        study.tell(study.ask(), 0.1)
        assert len(create_study(storage, "colours#1").trials) == 1
        assert create_study(storage, "colours#2").trials == []


def writes_ours(storage: Storage) -> None:
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE ps_ours (x INTEGER)")


def writes_optunas(storage: Storage) -> None:
    create_study(storage, "colours#1")


def asks_of_optuna(storage: Storage) -> None:
    create_study(storage, "colours#0").ask()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep everybody else from writing."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("write", [writes_ours, writes_optunas, asks_of_optuna])
def test_what_cannot_be_written_is_told_as_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Storage], None]
) -> None:
    path = tmp_path / "study.db"
    with open_storage(path) as storage:
        Store(storage)
        create_study(storage, "colours#0")
    monkeypatch.setattr(module, "_BUSY_SECONDS", 0)
    with pytest.raises(StorageError) as told, open_storage(path) as storage, held(path):
        write(storage)
    assert told.value.exit_code == 3
    assert str(told.value) == (
        f"{path} cannot be read or written (database is locked); "
        "what was committed is safe: the same command resumes"
    )
    with open_storage(path) as storage:
        write(storage)


def fills_the_disk(storage: Storage) -> None:
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # as many pages as there are, and no more
        connection.exec_driver_sql("CREATE TABLE filler (x)")
        connection.exec_driver_sql("INSERT INTO filler VALUES (zeroblob(100000))")


def meets_a_damaged_page(storage: Storage) -> None:
    error = sqlite3.DatabaseError("database disk image is malformed")
    raise sa.exc.DatabaseError("SELECT 1", {}, error)


@pytest.mark.parametrize(
    ("meets", "said"),
    [
        (fills_the_disk, "database or disk is full"),
        (meets_a_damaged_page, "database disk image is malformed"),
    ],
)
def test_what_was_committed_before_the_disk_failed_is_there_afterwards(
    tmp_path: Path, meets: Callable[[Storage], None], said: str
) -> None:
    path = tmp_path / "study.db"
    with open_storage(path) as storage:
        store = Store(storage)
        store.of(store.add_study("colours", {})).record("trial", 0, {"score": 0.5})
    with pytest.raises(StorageError, match=said), open_storage(path) as storage:
        meets(storage)
    with open_storage(path) as storage:
        assert Store(storage).of(1).records("trial") == {0: {"score": 0.5}}


@pytest.mark.parametrize(
    "error",
    [
        ValueError("ours"),
        sa.exc.ProgrammingError("SELECT", {}, sqlite3.ProgrammingError("one parameter too few")),
        sa.exc.IntegrityError("INSERT", {}, sqlite3.IntegrityError("UNIQUE constraint failed")),
    ],
)
def test_mistakes_of_another_kind_are_told_as_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as raised, open_storage(tmp_path / "study.db"):
        raise error
    assert raised.value is error


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have the log brought to the disk all the time, and return the numbers of the files that were."""
    files: list[int] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        files.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(module, "SYNC_SECONDS", 0.001)
    monkeypatch.setattr(os, "fsync", noting)
    return files


def test_the_log_is_brought_to_the_disk_again_and_again(tmp_path: Path, synced: list[int]) -> None:
    path = tmp_path / "study.db"
    with open_storage(path) as storage:
        Store(storage).add_study("colours", {})
        log = path.with_name("study.db-wal").stat().st_ino
        waits(lambda: synced.count(log) >= 3)
    assert set(synced) == {log}
    done = len(synced)
    threading.Event().wait(0.02)
    assert len(synced) == done


def test_a_log_that_is_not_there_yet_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    open_file = os.open

    def noting(path: object, *arguments: int) -> int:
        looked.append(str(path))
        return open_file(str(path), *arguments)

    monkeypatch.setattr(module, "SYNC_SECONDS", 0.001)
    monkeypatch.setattr(os, "open", noting)
    with module._synced(tmp_path / "study.db"):
        waits(lambda: looked.count(str(tmp_path / "study.db-wal")) >= 3)


def syncing() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "sync"}


def test_the_thread_that_syncs_ends_with_the_context(tmp_path: Path) -> None:
    with open_storage(tmp_path / "one.db"), open_storage(tmp_path / "other.db"):
        assert [thread.daemon for thread in syncing()] == [True, True]
    assert syncing() == set()
    with pytest.raises(RuntimeError, match="within"), open_storage(tmp_path / "one.db"):
        raise RuntimeError("within")
    assert syncing() == set()


def waits(condition: Callable[[], bool]) -> None:
    """Wait until another thread has seen to a condition."""
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("the condition was never met")
