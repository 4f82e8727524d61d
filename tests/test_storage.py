"""One process at a time, one database for Optuna and for us, readable again after it was closed."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from optimizer.errors import InputError, StudyBusyError
from optimizer.storage import Storage, create_study, open_storage


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
