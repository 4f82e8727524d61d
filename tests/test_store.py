"""Our tables: migrations, completions that can be trusted, the account of calls, scores, records."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from optimizer import store as module
from optimizer.completion import Completion
from optimizer.storage import Storage, open_storage
from optimizer.store import ScoreRow, Store, StudyStore

SOUND = {
    "text": "red",
    "finish_reason": "stop",
    "prompt_tokens": 3,
    "completion_tokens": 1,
    "seconds": 0.25,
    "cost_usd": None,
}


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with open_storage(tmp_path / "study.db") as opened:
        yield opened


@pytest.fixture
def store(storage: Storage) -> Store:
    return Store(storage)


@pytest.fixture
def study(store: Store) -> StudyStore:
    return store.of(store.add_study("colours", {"task": "1"}))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """Hold one database for all the cases that plant a row in it."""
    with open_storage(tmp_path_factory.mktemp("shared") / "study.db") as opened:
        yield opened


def plant(storage: Storage, key: str, value: str | bytes | float) -> None:
    """Write a row past the store, as a damaged disk or another program would."""
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("INSERT OR REPLACE INTO ps_completion VALUES (?, ?)", (key, value))


def test_migrations_are_applied_once_by_name(
    storage: Storage, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[str] = []

    def _m002_a_column(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE ps_study ADD COLUMN note TEXT")
        applied.append("_m002_a_column")

    store.keep_completion("k", Completion(text="kept"))
    monkeypatch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, _m002_a_column))
    for _ in range(2):
        assert Store(storage).completion("k") == Completion(text="kept")
    assert applied == ["_m002_a_column"]
    with storage.engine.connect() as connection:
        names = connection.exec_driver_sql("SELECT name FROM ps_migration ORDER BY name").scalars().all()
    assert names == ["_m001_first_tables", "_m002_a_column"]


def test_a_migration_that_fails_leaves_nothing_half_done(
    storage: Storage, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def _m002_breaks(connection: sa.Connection) -> None:
        connection.execute(sa.text("INSERT INTO ps_study VALUES (9, 'half', '{}')"))
        raise RuntimeError("half way")

    with monkeypatch.context() as changed:
        changed.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, _m002_breaks))
        with pytest.raises(RuntimeError, match="half way"):
            Store(storage)
    assert Store(storage).latest_study() is None


def test_a_file_that_has_only_optunas_tables_gets_ours(tmp_path: Path) -> None:
    with open_storage(tmp_path / "study.db"):
        pass
    with open_storage(tmp_path / "study.db") as storage:
        assert Store(storage).latest_study() is None


def test_a_completion_comes_back_as_it_was_kept_and_the_later_one_counts(store: Store) -> None:
    first = Completion(
        text='a\n"é"\0 \u2028',
        finish_reason="length",
        prompt_tokens=3,
        completion_tokens=4,
        seconds=0.1,
        cost_usd=0.5,
    )
    store.keep_completion("k", first)
    assert store.completion("k") == first
    store.keep_completion("k", Completion(text="later"))
    assert store.completion("k") == Completion(text="later")
    assert store.completion("other") is None


def test_a_completion_outlives_the_process_that_kept_it(tmp_path: Path) -> None:
    with open_storage(tmp_path / "study.db") as storage:
        Store(storage).keep_completion("k", Completion(text="red"))
        other = sqlite3.connect(tmp_path / "study.db")
        assert other.execute("SELECT count(*) FROM ps_completion").fetchone() == (1,)  # committed at once
        other.close()
    with open_storage(tmp_path / "study.db") as storage:
        assert Store(storage).completion("k") == Completion(text="red")


# A program for the unpickler, written by hand; it would leave a file behind.
PLANTED = b"cos\nsystem\n(S'touch unpickled'\ntR."


@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        "{",
        "null",
        "[]",
        "5",
        '"red"',
        "{}",
        7,
        "[" * 100_000,
        b"\xff\xfe",
        b'{"text": "cut in the midd\xc3',
        pytest.param(PLANTED, id="pickle"),
        json.dumps({**SOUND, "unknown": 1}),
        json.dumps({name: value for name, value in SOUND.items() if name != "text"}),
        *(
            json.dumps({**SOUND, name: wrong})
            for name, wrong in (
                ("text", 5),
                ("text", None),
                ("text", ["red"]),
                ("text", "\ud800"),
                ("finish_reason", "over"),
                ("finish_reason", None),
                ("finish_reason", []),
                ("prompt_tokens", -1),
                ("prompt_tokens", "3"),
                ("prompt_tokens", 1.5),
                ("prompt_tokens", True),
                ("completion_tokens", None),
                ("seconds", "0.1"),
                ("seconds", None),
                ("seconds", float("nan")),
                ("seconds", -1.0),
                ("cost_usd", "free"),
                ("cost_usd", float("inf")),
            )
        ),
    ],
)
def test_a_damaged_or_planted_completion_is_a_miss(
    shared: Storage, value: str | bytes | float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(shared)
    plant(shared, "k", value)
    assert store.completion("k") is None
    assert not Path("unpickled").exists()
    store.keep_completion("k", Completion(text="asked again"))
    assert store.completion("k") == Completion(text="asked again")


def test_text_that_is_no_utf_8_is_a_miss(storage: Storage, store: Store) -> None:
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO ps_completion VALUES ('k', CAST(x'7b80ff' AS TEXT))")
    assert store.completion("k") is None


def test_the_row_that_the_cases_above_damage_is_sound(storage: Storage, store: Store) -> None:
    plant(storage, "k", json.dumps(SOUND))
    assert store.completion("k") == Completion(**SOUND)  # type: ignore[arg-type]


def test_a_call_is_counted_once_and_every_attempt(study: StudyStore) -> None:
    assert study.calls() == (0, 0)
    study.attempt("a", 0)
    study.attempt("a", 3)
    study.attempt("b", 1)
    assert study.calls() == (2, 3)
    assert study.knows("a")
    assert not study.knows("c")


def test_the_earliest_trial_that_used_a_call_pays_for_it(study: StudyStore) -> None:
    study.attempt("a", 5)
    study.attempt("b", 5)
    assert study.paid_by(5) == 2
    study.share("a", 7)
    assert (study.paid_by(5), study.paid_by(7)) == (2, 0)
    study.share("a", 2)
    assert (study.paid_by(5), study.paid_by(2)) == (1, 1)
    study.attempt("a", 1)  # a further attempt moves no account by itself
    assert (study.paid_by(2), study.paid_by(1)) == (1, 0)


def test_nobody_pays_for_a_call_of_another_study(store: Store, study: StudyStore) -> None:
    other = store.of(store.add_study("colours", {"task": "2"}))
    study.attempt("a", 0)
    other.share("a", 0)
    assert (other.calls(), other.paid_by(0), other.knows("a")) == ((0, 0), 0, False)


def test_the_newest_study_is_the_one_that_goes_on(store: Store) -> None:
    assert store.latest_study() is None
    first = store.add_study("colours", {"task": "1", "data": "x"})
    assert store.latest_study() == (first, {"task": "1", "data": "x"})
    second = store.add_study("colours", {"task": "2"})
    assert second > first
    assert store.latest_study() == (second, {"task": "2"})


def test_scores_come_back_by_example_and_the_later_ones_count(store: Store, study: StudyStore) -> None:
    rows = (
        ScoreRow(example="a", outcome="ok", answer="red", score=1.0),
        ScoreRow(example="b", outcome="error", answer=None, score=None),
    )
    study.keep_scores("f", rows[::-1])
    assert study.scores("f") == rows
    later = ScoreRow(example="b", outcome="invalid", answer=None, score=0.0)
    study.keep_scores("f", [later])
    assert study.scores("f") == (rows[0], later)
    assert study.scores("g") == ()
    assert store.of(study.study + 1).scores("f") == ()


def test_records_come_back_by_kind_in_the_order_of_their_numbers(store: Store, study: StudyStore) -> None:
    study.record_all("trial", {2: {"x": "é"}, 0: {"x": None}})
    study.record("trial", 1, {"x": [1, 2.5, True]})
    study.record("batch", 0, {"size": 4})
    study.record("batch", 0, {"size": 3})
    assert study.records("trial") == {0: {"x": None}, 1: {"x": [1, 2.5, True]}, 2: {"x": "é"}}
    assert list(study.records("trial")) == [0, 1, 2]
    assert study.records("batch") == {0: {"size": 3}}
    assert store.of(study.study + 1).records("trial") == {}


def test_records_are_kept_all_or_none(study: StudyStore) -> None:
    with pytest.raises(ValueError, match="JSON"):
        study.record_all("trial", {0: {"x": 1.0}, 1: {"x": float("nan")}})
    assert study.records("trial") == {}
