"""Our tables: migrations, studies, scores and records."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from optimizer import store as module
from optimizer.storage import Storage, open_storage
from optimizer.store import CALLS, COMPLETIONS, FAILURES, RUNS, ScoreRow, Store, StudyStore

OURS = {
    "ps_call",
    "ps_completion",
    "ps_failure",
    "ps_migration",
    "ps_record",
    "ps_run",
    "ps_score",
    "ps_study",
    "ps_template",
}
NAMES = ["_m001_first_tables", "_m002_accounts", "_m003_how_answers_were_read", "_m004_what_was_scored"]

Migration = Callable[[sa.Connection], None]


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


def tables(storage: Storage) -> dict[str, str]:
    """Return our tables with the statements that made them."""
    query = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name LIKE 'ps!_%' ESCAPE '!'"
    with storage.engine.connect() as connection:
        return {row.name: row.sql for row in connection.exec_driver_sql(query)}


def applied(storage: Storage) -> list[str]:
    with storage.engine.connect() as connection:
        return list(connection.exec_driver_sql("SELECT name FROM ps_migration ORDER BY name").scalars())


def test_a_new_database_has_every_table_by_migrations_alone(storage: Storage) -> None:
    Store(storage)
    assert set(tables(storage)) == OURS
    assert applied(storage) == NAMES
    for table in module._METADATA.sorted_tables:
        with storage.engine.connect() as connection:
            rows = connection.exec_driver_sql(f"PRAGMA table_info({table.name})")
            assert [row.name for row in rows] == [column.name for column in table.columns]


def test_migrations_are_applied_once_each_by_name(
    storage: Storage, study: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def _m005_a_column(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE ps_study ADD COLUMN note TEXT")
        made.append("_m005_a_column")

    study.record("trial", 0, {"kept": True})
    monkeypatch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, _m005_a_column))
    for _ in range(2):
        assert Store(storage).of(study.study).records("trial") == {0: {"kept": True}}
    assert made == ["_m005_a_column"]
    assert applied(storage) == [*NAMES, "_m005_a_column"]


def test_a_database_of_the_first_release_keeps_its_studies_and_asks_again(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its completions were keyed by less than the whole body, so none can be found by today's key.
    def _m001_first_tables(connection: sa.Connection) -> None:
        module._m001_first_tables(connection)
        connection.exec_driver_sql("CREATE TABLE ps_completion (key TEXT PRIMARY KEY, completion TEXT)")
        connection.exec_driver_sql(
            "CREATE TABLE ps_call (study INTEGER, key TEXT, payer INTEGER, attempts INTEGER)"
        )
        connection.exec_driver_sql("INSERT INTO ps_completion VALUES ('k', '{}')")
        connection.exec_driver_sql("INSERT INTO ps_call VALUES (1, 'k', 0, 1)")

    with monkeypatch.context() as first_release:
        first_release.setattr(module, "MIGRATIONS", (_m001_first_tables,))
        old = Store(storage)
        old.of(old.add_study("colours", {"task": "1"})).record("trial", 0, {"score": 0.5})
    store = Store(storage)
    assert store.latest_study() == (1, {"task": "1"})
    assert store.of(1).records("trial") == {0: {"score": 0.5}}
    assert applied(storage) == NAMES
    with storage.engine.connect() as connection:
        for table in (COMPLETIONS, CALLS, FAILURES, RUNS):
            assert connection.execute(sa.select(table)).all() == []


def test_scores_of_an_earlier_release_are_kept_and_count_as_read_strictly(storage: Storage) -> None:
    store = Store(storage)
    number = store.add_study("colours", {"task": "1"})
    with storage.engine.begin() as connection:
        for statement in (
            "DROP TABLE ps_score",
            "CREATE TABLE ps_score (study INTEGER, fingerprint TEXT, example TEXT, outcome TEXT, answer TEXT, score FLOAT)",
            f"INSERT INTO ps_score VALUES ({number}, 'f', 'a', 'ok', 'red', 1.0)",
            "DELETE FROM ps_migration WHERE name > '_m003'",
        ):
            connection.exec_driver_sql(statement)
    assert Store(storage).of(number).scores("f") == (
        ScoreRow(example="a", outcome="ok", answer="red", score=1.0, strict=True, reader=""),
    )


def adds_a_row(connection: sa.Connection) -> None:
    connection.exec_driver_sql("INSERT INTO ps_study VALUES (9, 'half', '{}')")
    raise RuntimeError("half way")


def adds_a_table(connection: sa.Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE ps_half (x INTEGER)")
    raise RuntimeError("half way")


def changes_a_table(connection: sa.Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE ps_study ADD COLUMN half TEXT")
    connection.exec_driver_sql("DROP TABLE ps_score")
    raise RuntimeError("half way")


def makes_a_mistake(connection: sa.Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE ps_half (x INTEGER)")
    connection.exec_driver_sql("INSERT INTO ps_nowhere VALUES (1)")


@pytest.mark.parametrize("breaks", [adds_a_row, adds_a_table, changes_a_table, makes_a_mistake])
def test_a_migration_that_fails_half_way_leaves_nothing(
    storage: Storage, study: StudyStore, monkeypatch: pytest.MonkeyPatch, breaks: Migration
) -> None:
    def _m004_comes_before(connection: sa.Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE ps_before (x INTEGER)")

    before = tables(storage)
    with monkeypatch.context() as changed:
        changed.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, _m004_comes_before, breaks))
        with pytest.raises((RuntimeError, sa.exc.OperationalError)):
            Store(storage)
    assert tables(storage) == before
    assert applied(storage) == NAMES
    assert Store(storage).latest_study() == (study.study, {"task": "1"})


def test_a_first_migration_that_fails_leaves_not_even_the_list_of_migrations(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as changed:
        changed.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, adds_a_row))
        with pytest.raises(RuntimeError, match="half way"):
            Store(storage)
    assert tables(storage) == {}
    Store(storage)
    assert (set(tables(storage)), applied(storage)) == (OURS, NAMES)


def test_a_file_that_has_only_optunas_tables_gets_ours(tmp_path: Path) -> None:
    with open_storage(tmp_path / "study.db"):
        pass
    with open_storage(tmp_path / "study.db") as storage:
        assert Store(storage).latest_study() is None


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
    study.keep_scores({("f", row.example): row for row in rows[::-1]})
    assert study.scores("f") == rows
    later = ScoreRow(example="b", outcome="invalid", answer=None, score=0.0)
    study.keep_scores({("f", "b"): later, ("h", "b"): rows[1]})
    assert study.scores("f") == (rows[0], later)
    assert study.scores("h") == (rows[1],)
    assert study.scored() == {"f": {"a", "b"}}
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
