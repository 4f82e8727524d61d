"""The view of a study's database: everything that was asked and answered, and nothing changed by looking."""

import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from optimizer.archive import open_archive
from optimizer.completion import Request
from optimizer.errors import InputError
from optimizer.plan import load_plan
from optimizer.storage import open_storage
from optimizer.store import Store

TASK = """schema: 1
name: colours
dataset: {path: data.csv, inputs: [text], target: colour, splits: {train: 8, validation: 9, test: 9}}
output: {type: label, labels: [red, green, blue]}
metric: accuracy
instruction: Name the colour.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Which colour is it?], compose: false}
  demos: {sizes: [0, 2], sets: 1, selectors: [random]}
  styles: [direct, self_check]
  formats: [plain]
  screen: 6
  sampler: {name: random_search, seed: 0}
budget: {calls: 300}
"""


def said(request: Request) -> str:
    return ("red", "green", "no idea")[len(request.messages[-1].content) % 3]


@pytest.fixture
def study(write_study: Callable[..., Path], finished: Callable[..., object]) -> Path:
    path = write_study(TASK, STUDY, items=26)
    finished(load_plan(path), said)
    return path


def test_every_completion_is_found_by_the_prompt_and_the_example_that_it_answered(study: Path) -> None:
    plan = load_plan(study)
    examples = {e.id: e for e in (*plan.dataset.validation, *plan.dataset.test)}
    with open_archive(plan.database) as archive:
        assert archive.identity == plan.identity
        assert len(archive.trials) > 3
        assert set(archive.scores) == set(archive.templates) >= {row.fingerprint for row in archive.trials}
        completions = archive.completions(archive.templates)
        assert set(completions) == {(name, one) for name, rows in archive.scores.items() for one in rows}
        assert {len(several) for several in completions.values()} == {1, 2}  # a self check asks twice
        for (fingerprint, example), several in completions.items():
            template, row = archive.templates[fingerprint], archive.scores[fingerprint][example]
            texts = [each.text for each in several]
            for k, text in enumerate(texts):
                assert said(template.request(examples[example].values, texts[:k])) == text
            answer = template.answer.read(texts[-1], several[-1].finish_reason)
            assert (answer.outcome, answer.text, answer.reader) == (row.outcome, row.answer, row.reader)
        assert {row.point["instruction"] for row in archive.trials} <= set(archive.instructions)
        assert {row.point["demonstrations"] for row in archive.trials} <= set(archive.demonstrations)
        assert {shown.size for shown in archive.demonstrations.values()} == {0, 2}
        assert len(archive.openings) == 1


def test_to_look_changes_nothing_and_waits_for_nobody(study: Path) -> None:
    database = load_plan(study).database
    before = database.read_bytes()
    with open_storage(database), open_archive(database) as archive:  # somebody runs the study meanwhile
        assert archive.trials
        with pytest.raises(sqlite3.OperationalError):
            sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True).execute("DELETE FROM ps_score")
    assert database.read_bytes() == before


def test_a_database_of_an_earlier_release_is_read_and_left_as_it_was(study: Path) -> None:
    database = load_plan(study).database
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TABLE ps_template")
        connection.execute("ALTER TABLE ps_score DROP COLUMN completions")
        connection.execute("DELETE FROM ps_migration WHERE name > '_m004'")
    connection.close()  # the log is brought into the file
    before = database.read_bytes()
    with open_archive(database) as archive:
        assert archive.trials
        assert archive.scores
        assert archive.templates == {}
        assert archive.completions(archive.scores) == {}
    assert database.read_bytes() == before


def test_what_is_no_longer_stored_whole_is_left_out(study: Path) -> None:
    database = load_plan(study).database
    with open_archive(database) as archive:
        whole = archive.completions(archive.scores)
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE ps_completion SET completion = replace(completion, 'red', 'blue')")
    connection.close()
    with open_archive(database) as archive:
        left = archive.completions(archive.scores)
    assert set(left) < set(whole)
    assert all(each.text != "red" for several in left.values() for each in several)


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "there is no database"), (b"not one at all, but long enough", "is not a study's database")],
)
def test_what_is_no_database_of_a_study_is_told(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "study.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=told), open_archive(path):
        pass


def test_a_database_without_a_study_is_told(tmp_path: Path) -> None:
    with open_storage(tmp_path / "study.db") as storage:
        Store(storage)
    with pytest.raises(InputError, match="no study was begun"), open_archive(tmp_path / "study.db"):
        pass


def test_a_folder_that_cannot_be_written_is_read(study: Path) -> None:
    database = load_plan(study).database
    modes = {path: path.stat().st_mode for path in (database, database.parent)}
    for path, mode in modes.items():
        path.chmod(mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        with open_archive(database) as archive:
            assert archive.trials
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
