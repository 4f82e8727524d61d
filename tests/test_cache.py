"""Stored completions that can be trusted, and the command that lists, checks and deletes them."""

import dataclasses
import io
import json
import os
import shutil
import sqlite3
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer import cache as module
from optimizer import commands
from optimizer.cache import SHARED, Cache
from optimizer.commands import main
from optimizer.completion import Completion
from optimizer.digest import canonical
from optimizer.storage import open_storage
from optimizer.store import Store

if TYPE_CHECKING:
    from tests.output_schemas import checked
else:
    from output_schemas import checked

SOUND = {"text": "red", "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 1, "seconds": 0.25}
RED = Completion(text="red", prompt_tokens=3, completion_tokens=1, seconds=0.25)
MODEL = "scripted:rules"

# What JSON can say in each field and a completion cannot be.
WRONG: Mapping[str, tuple[object, ...]] = {
    "text": (5, None, ["red"], "\ud800", {"red": 1}),
    "finish_reason": ("over", None, [], 1),
    "prompt_tokens": (-1, "3", 1.5, True, None, [3]),
    "completion_tokens": (-1, None, float("nan")),
    "seconds": ("0.1", None, -1.0, True, float("nan"), float("inf")),
}

# A program for the unpickler, written by hand; it would leave a file behind.
PLANTED = b"cos\nsystem\n(S'touch unpickled'\ntR."

# Texts that a careless store would end early, join, or read as something else.
FRAGMENTS = (
    *("\0", "\u2028", "\u2029", "\r\n", '"', "\\", "\\u0000", "😀", "👩‍👩‍👧", "\u202e", "\ufeff", "{"),
    "x" * 10_000,
)

laws = settings(max_examples=100, deadline=None)

keys = st.text(st.sampled_from("0123456789abcdef"), min_size=1, max_size=8)
completions = st.builds(
    Completion,
    text=st.lists(st.sampled_from(FRAGMENTS) | st.text(st.characters(codec="utf-8"), max_size=8)).map(
        "".join
    ),
    finish_reason=st.sampled_from(["stop", "length", "refused"]),
    prompt_tokens=st.integers(0, 2**53),
    completion_tokens=st.integers(0, 2**53),
    seconds=st.floats(0, 1e6),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Hold one database for all tests, each of which begins with `emptied`."""
    with open_storage(tmp_path_factory.mktemp("cache") / "study.db") as storage:
        yield Store(storage)


@pytest.fixture
def cache(store: Store) -> Cache:
    return emptied(store)


def emptied(store: Store) -> Cache:
    """Return the completions of a database that has none."""
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ps_completion")
    return Cache(store)


def keep(store: Store, stored: Mapping[str, Completion], *, model: str = MODEL, scope: int = SHARED) -> None:
    with store.engine.begin() as connection:
        Cache(store).keep(connection, stored, model=model, scope=scope)


def keep_sealed(store: Store, key: str, content: str) -> None:
    """Write a row whose checksum is right, whatever its content."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            module, "canonical", lambda value: content if isinstance(value, dict) else canonical(value)
        )
        keep(store, {key: RED})


def clock_at(seconds: float) -> SimpleNamespace:
    """Return what stands for the module `time` where it is asked for one moment of Unix time."""
    return SimpleNamespace(time=lambda: seconds)


def overwrite(store: Store, column: str, value: object, *, key: str = "k", as_text: bool = False) -> None:
    """Change one column of a row past the cache, as a damaged disk or another program would."""
    given_value = "CAST(? AS TEXT)" if as_text else "?"
    with store.engine.begin() as connection:
        query = f"UPDATE ps_completion SET {column} = {given_value} WHERE key = ?"
        assert connection.exec_driver_sql(query, (value, key)).rowcount == 1


def content_of(store: Store, column: str, key: str = "k") -> bytes:
    with store.engine.connect() as connection:
        query = f"SELECT CAST({column} AS BLOB) FROM ps_completion WHERE key = ?"
        return bytes(connection.exec_driver_sql(query, (key,)).scalar_one())


def is_a_miss(cache: Cache, key: str = "k") -> bool:
    """Return whether the only row, of that key, is found damaged by everything that reads it."""
    before = cache.damaged
    return (
        cache.completions([key], SHARED) == {}
        and cache.damaged == before + 1
        and cache.models() == []
        and cache.damaged_keys() == [key]
    )


@laws
@given(st.dictionaries(keys, completions, max_size=5))
def test_what_is_kept_is_found_as_it_was(store: Store, stored: dict[str, Completion]) -> None:
    cache = emptied(store)
    keep(store, stored)
    assert cache.completions(list(stored), SHARED) == stored
    assert cache.damaged == 0
    assert cache.damaged_keys() == []


def test_what_is_known_by_its_price_or_its_payer_alone_is_not_stored(store: Store, cache: Cache) -> None:
    keep(store, {"k": dataclasses.replace(RED, cost_usd=0.5, cached=True)})
    assert cache.completions(["k"], SHARED) == {"k": RED}


def test_the_later_completion_of_a_key_counts(store: Store, cache: Cache) -> None:
    keep(store, {"k": RED})
    keep(store, {"k": Completion(text="later")}, model="scripted:other")
    assert cache.completions(["k"], SHARED) == {"k": Completion(text="later")}
    assert [each.model for each in cache.models()] == ["scripted:other"]


def test_a_scope_sees_its_own_completions_alone(store: Store, cache: Cache) -> None:
    by_scope = {scope: Completion(text=f"of {scope}") for scope in (SHARED, 3, 4)}
    for scope, completion in by_scope.items():
        keep(store, {"k": completion, f"only {scope}": completion}, scope=scope)
    everything = ["k", *(f"only {scope}" for scope in by_scope)]
    for scope, completion in by_scope.items():
        assert cache.completions(everything, scope) == {"k": completion, f"only {scope}": completion}
    assert cache.completions(everything, 5) == {}


def test_thousands_of_keys_are_asked_for_at_once(store: Store, cache: Cache) -> None:
    stored = {f"{n:064x}": Completion(text=str(n)) for n in range(2501)}
    keep(store, stored)
    assert cache.completions([*stored, "unknown"], SHARED) == stored
    assert cache.completions([f"{7:064x}"] * 1200, SHARED) == {f"{7:064x}": Completion(text="7")}
    assert cache.completions([], SHARED) == {}


@laws
@given(st.data(), completions)
def test_a_row_with_one_byte_changed_is_a_miss(
    store: Store, data: st.DataObject, completion: Completion
) -> None:
    cache = emptied(store)
    keep(store, {"k": completion})
    column = data.draw(st.sampled_from(["completion", "checksum"]))
    content = bytearray(content_of(store, column))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    overwrite(store, column, bytes(content), as_text=data.draw(st.booleans()))
    assert is_a_miss(cache)


@laws
@given(st.data(), completions)
def test_a_row_that_was_cut_is_a_miss(store: Store, data: st.DataObject, completion: Completion) -> None:
    cache = emptied(store)
    keep(store, {"k": completion})
    column = data.draw(st.sampled_from(["completion", "checksum"]))
    content = content_of(store, column)
    overwrite(store, column, content[: data.draw(st.integers(0, len(content) - 1))], as_text=True)
    assert is_a_miss(cache)


@pytest.mark.parametrize(
    "value",
    [
        *("", "garbage", "null", json.dumps(SOUND), 7, 0.5, "[" * 100_000),
        *(b"\xff\xfe", b'{"text": "cut in the midd\xc3'),
        pytest.param(PLANTED, id="pickle as bytes"),
        pytest.param(PLANTED.decode(), id="pickle as text"),
    ],
)
def test_a_planted_completion_is_a_miss_and_never_run(
    store: Store, cache: Cache, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keep(store, {"k": RED})
    overwrite(store, "completion", value)
    assert is_a_miss(cache)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        *("", "garbage", "{", "null", "[]", "5", '"red"', "{}", "[[]]"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('{"text":' * 100_000, id="deep object"),
        pytest.param(PLANTED.decode(), id="pickle"),
        json.dumps(list(SOUND)),
        json.dumps({**SOUND, "cost_usd": None}),
        json.dumps({name: value for name, value in SOUND.items() if name != "text"}),
        *(json.dumps({**SOUND, name: value}) for name, values in WRONG.items() for value in values),
        # Numbers that JSON can say and no column or average can hold.
        *(
            pytest.param(json.dumps({**SOUND, name: 10**400}), id=f"{name} of 400 digits")
            for name in ("prompt_tokens", "completion_tokens", "seconds")
        ),
        pytest.param(json.dumps(SOUND).replace("0.25", "9" * 5000), id="more digits than are read"),
    ],
)
def test_a_row_with_a_right_checksum_is_still_checked_field_by_field(
    store: Store, cache: Cache, content: str
) -> None:
    keep_sealed(store, "k", content)
    assert is_a_miss(cache)


def test_the_row_that_the_cases_above_damage_is_sound(store: Store, cache: Cache) -> None:
    keep_sealed(store, "k", json.dumps(SOUND))
    assert cache.completions(["k"], SHARED) == {"k": RED}


@pytest.mark.parametrize("columns", [("completion",), ("checksum",), ("completion", "checksum")])
def test_a_completion_that_was_moved_to_another_key_is_a_miss(
    store: Store, cache: Cache, columns: tuple[str, ...]
) -> None:
    keep(store, {"k": RED, "other": Completion(text="blue")})
    for column in columns:
        overwrite(store, column, content_of(store, column, "other").decode())
    assert cache.completions(["k", "other"], SHARED) == {"other": Completion(text="blue")}
    assert cache.damaged == 1


def test_a_damaged_row_is_replaced_by_the_completion_that_is_asked_for_again(
    store: Store, cache: Cache
) -> None:
    keep(store, {"k": RED})
    overwrite(store, "completion", "{")
    assert cache.completions(["k"], SHARED) == {}
    keep(store, {"k": Completion(text="asked again")})
    assert cache.completions(["k"], SHARED) == {"k": Completion(text="asked again")}
    assert cache.damaged_keys() == []


def test_a_damaged_row_is_counted_once_however_often_it_is_looked_up(store: Store, cache: Cache) -> None:
    keep(store, {"a": RED, "b": RED, "c": RED})
    keep(store, {"a": RED}, scope=3)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ps_completion SET completion = '{' WHERE key <> 'c'")
    for _ in range(3):
        assert cache.completions(["a", "b", "c"], SHARED) == {"c": RED}
    assert cache.damaged == 2
    assert cache.completions(["a"], 3) == {}
    assert cache.damaged == 3


@pytest.mark.parametrize("column", ["scope", "key", "model", "stored_at"])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"\x80\xff", id="bytes"),
        pytest.param("CAST(x'80ff' AS TEXT)", id="text that is no UTF-8"),
        pytest.param("soon", id="text"),
        pytest.param(9e999, id="infinity"),
        pytest.param(-1e300, id="long ago"),
    ],
)
def test_damage_to_any_other_column_is_never_an_error(
    store: Store, cache: Cache, column: str, value: object
) -> None:
    keep(store, {"k": RED, "other": RED})
    is_text = isinstance(value, str) and value.startswith("CAST")
    overwrite(store, column, b"\x80\xff" if is_text else value, as_text=is_text)
    assert cache.completions(["other"], SHARED) == {"other": RED}
    cache.completions(["k"], SHARED)
    # A moment that a calendar has, from 1970 to the end of 9999.
    assert all(0 <= each.oldest <= each.newest < 253402300800 for each in cache.models())
    assert sum(each.n for each in cache.models()) + len(cache.damaged_keys()) == 2
    assert cache.clear() == 2
    assert cache.models() == []
    assert cache.damaged_keys() == []


def test_a_damaged_disk_is_told_from_a_sound_one(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with open_storage(path) as storage:
        keep(Store(storage), {"k": Completion(text="the answer was red"), "other": RED})
    content = path.read_bytes()
    assert content.count(b"the answer was red") == 1
    path.write_bytes(content.replace(b"the answer was red", b"the answer was \xff\x00d"))
    with open_storage(path) as storage:
        cache = Cache(Store(storage))
        assert cache.completions(["k", "other"], SHARED) == {"other": RED}
        assert cache.damaged_keys() == ["k"]


def test_the_figures_are_those_of_each_model(
    store: Store, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache.models() == []
    for stored_at, model, scope in ((30.0, "b", SHARED), (10.0, "a", SHARED), (20.5, "b", 7), (40.0, "b", 8)):
        monkeypatch.setattr(module, "time", clock_at(stored_at))
        several = {
            f"{model}{n}": Completion(text="é", prompt_tokens=5, completion_tokens=n) for n in range(3)
        }
        keep(store, several, model=model, scope=scope)
    first, second = cache.models()
    assert (first.model, first.n, first.private, first.oldest, first.newest) == ("a", 3, 0, 10.0, 10.0)
    assert (second.model, second.n, second.private, second.oldest, second.newest) == ("b", 9, 6, 20.5, 40.0)
    assert (second.prompt_tokens, second.completion_tokens) == (45, 9)
    with store.engine.connect() as connection:
        query = "SELECT sum(length(CAST(completion AS BLOB))) FROM ps_completion WHERE model = 'b'"
        assert second.n_bytes == connection.exec_driver_sql(query).scalar_one()


@pytest.mark.parametrize(
    ("model", "damaged_only", "left"),
    [
        (None, False, set()),
        ("a", False, {"b0", "b1", "b2"}),
        (None, True, {"a0", "a1", "a3", "b0", "b1"}),
        ("a", True, {"a0", "a1", "a3", "b0", "b1", "b2"}),
        ("c", False, {"a0", "a1", "a2", "a3", "b0", "b1", "b2"}),
    ],
)
def test_what_is_cleared_is_what_was_named(
    store: Store, cache: Cache, model: str | None, damaged_only: bool, left: set[str]
) -> None:
    for name in ("a", "b"):
        keep(store, {f"{name}{n}": RED for n in range(3)}, model=name)
        overwrite(store, "completion", "{", key=f"{name}2")
    keep(store, {"a3": RED}, model="a", scope=3)
    n_deleted = cache.clear(model=model, damaged_only=damaged_only)
    with store.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT key FROM ps_completion").scalars().all()
    assert set(rows) == left
    assert n_deleted == 7 - len(rows)


class Told(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


class Terminal(io.StringIO):
    """What a person types, who sits at a terminal."""

    def isatty(self) -> bool:
        return True


Call = Callable[..., Told]


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Call]:
    """Return the command line, in a project and away from a terminal: arguments in, exit code and output out."""
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def run(*arguments: str | Path, typed: str | None = None) -> Told:
        if typed is not None:
            monkeypatch.setattr(sys, "stdin", Terminal(typed))
        monkeypatch.setattr(sys, "argv", ["optimizer", "cache", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        checked(sys.argv, printed.out)
        return Told(int(end.value.code or 0), printed.out, printed.err)

    yield run
    commands._Debug.on = False


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database that holds three answers of one model and two of another, one of them private."""
    path = tmp_path_factory.mktemp("filled") / "study.db"
    with open_storage(path) as storage:
        store = Store(storage)
        keep(store, {f"a{n}": RED for n in range(3)})
        keep(store, {"b0": RED}, model="embedded:smollm2-135m")
        keep(store, {"b1": RED}, model="embedded:smollm2-135m", scope=1)
    return path


@pytest.fixture
def study(tmp_path: Path, filled: Path) -> Path:
    """Write a study that has stored answers."""
    path = tmp_path / "colours" / "study.yaml"
    path.parent.mkdir()
    path.write_text("schema: 1\n")
    shutil.copy(filled, path.with_name("study.db"))
    return path


def damage(path: Path, *stored: str) -> None:
    with open_storage(path) as storage:
        for key in stored:
            overwrite(Store(storage), "completion", "{", key=key)


def test_a_project_without_a_store_has_no_answers_and_gets_no_store(call: Call, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    told = call("ls")
    place = tmp_path / ".optimizer" / "store.db"
    assert (told.code, told.out) == (0, f"no answers are stored in {place}\n")
    assert json.loads(call("ls", "--json").out) == {"database": str(place), "models": [], "damaged": 0}
    assert json.loads(call("verify", "--json").out) == {"database": str(place), "sound": 0, "damaged": 0}
    assert json.loads(call("clear", "--yes", "--json").out) == {"database": str(place), "deleted": 0}
    assert sorted(tmp_path.rglob("*")) == before


def test_a_project_is_found_from_any_folder_in_it(
    call: Call, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tasks" / "colours").mkdir(parents=True)
    (tmp_path / ".optimizer").mkdir()
    shutil.copy(filled, tmp_path / ".optimizer" / "store.db")
    monkeypatch.chdir(tmp_path / "tasks" / "colours")
    found = json.loads(call("ls", "--json").out)
    assert found["database"] == str(tmp_path / ".optimizer" / "store.db")
    assert sum(each["answers"] for each in found["models"]) == 5


def test_answers_are_listed_by_model(call: Call, study: Path) -> None:
    told = call("ls", study)
    place, head, *rows = told.out.splitlines()
    assert (told.code, told.err, place) == (0, "", f"{study.with_name('study.db')}:")
    names = ["model", "answers", "private", "tokens", "read", "tokens", "written", "size", "oldest", "newest"]
    assert head.split() == names
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert [row.split() for row in rows] == [
        ["embedded:smollm2-135m", "2", "1", "6", "2", "184", "B", today, today],
        [MODEL, "3", "0", "9", "3", "276", "B", today, today],
    ]


def test_the_list_as_json_is_json_alone_with_moments_in_utc(
    call: Call, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "time", clock_at(86399.9))
    with open_storage(study.with_name("study.db")) as storage:
        keep(Store(storage), {"a1": RED})
    told = call("ls", study, "--json")
    row = json.loads(told.out)["models"][1]
    newest = row.pop("newest")
    assert row == {
        "model": MODEL,
        "answers": 3,
        "private": 0,
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "bytes": 276,
        "oldest": "1970-01-01T23:59:59Z",
    }
    assert newest > time.strftime("%Y-%m-%d", time.gmtime(time.time() - 3600))
    assert told.err == ""


def test_a_study_is_named_by_its_file_its_folder_its_database_or_its_output(call: Call, study: Path) -> None:
    database = study.with_name("study.db")
    listed = [call("ls", *named) for named in ((study,), (study.parent,), (database,))]
    assert len(set(listed)) == 1
    assert call("ls", "--output", study.parent) == listed[0]
    other = study.parents[1] / "other.yaml"
    other.touch()
    assert call("ls", other, "--output", study.parent) == listed[0]
    assert call("ls", other).out == f"no answers are stored in {other.with_name('study.db')}\n"


@pytest.mark.parametrize("action", ["ls", "verify", "clear"])
def test_what_is_named_and_not_there_is_bad_input(call: Call, tmp_path: Path, action: str) -> None:
    sure = ("--yes",) if action == "clear" else ()
    told = call(action, tmp_path / "studie" / "study.yaml", "--output", tmp_path / "out", *sure)
    assert (told.code, told.out) == (2, "")
    assert (
        f"{tmp_path / 'studie' / 'study.yaml'}: expected a study file, its folder or its database" in told.err
    )
    assert f"{tmp_path / 'out'}: --output: expected a folder, found none" in told.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pyproject.toml"]


@pytest.mark.parametrize("action", ["ls", "verify", "clear"])
def test_a_study_that_another_process_runs_is_left_alone(call: Call, study: Path, action: str) -> None:
    with open_storage(study.with_name("study.db")):
        told = call(action, study, *(("--yes",) if action == "clear" else ()))
    assert (told.code, told.out) == (2, "")
    assert f"already running, process {os.getpid()}" in told.err
    assert json.loads(call("verify", study, "--json").out)["sound"] == 5


def test_a_file_that_is_no_database_is_bad_input_and_left_as_it_is(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "prompt.json"
    path.write_text('{"name": "colours"}' * 100)
    told = call("ls", path)
    assert (told.code, told.out) == (2, "")
    assert f"{path}: is not a study's database" in told.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prompt.json", "pyproject.toml"]
    assert path.read_text() == '{"name": "colours"}' * 100


def test_a_database_that_cannot_be_read_is_not_taken_for_another_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "study.db").mkdir()
    told = call("ls", tmp_path)
    assert (told.code, told.out) == (2, "")
    assert "study.db: cannot be read: " in told.err


def test_a_database_of_another_program_is_never_written_to(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "letters.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE letters (text)")
    connection.close()
    before = path.read_bytes()
    for arguments in (("ls",), ("verify",), ("clear", "--yes")):
        assert call(*arguments, path).code == 0
    assert path.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letters.db", "pyproject.toml"]


def test_damage_is_a_failed_gate_until_it_is_cleared(call: Call, study: Path) -> None:
    assert call("verify", study).code == 0
    damage(study.with_name("study.db"), "a1", "b1")
    told = call("verify", study)
    assert (told.code, told.out) == (1, f"{study.with_name('study.db')}: 3 sound, 2 damaged\n")
    assert "asked again" in told.err
    assert "cache clear --damaged" in told.err
    as_json = call("verify", study, "--json")
    assert (as_json.code, json.loads(as_json.out)["damaged"]) == (1, 2)
    listed = call("ls", study)
    assert (listed.code, listed.err.split()[0]) == (0, "2")
    assert json.loads(call("ls", study, "--json").out)["damaged"] == 2
    assert json.loads(call("clear", study, "--damaged", "--yes", "--json").out)["deleted"] == 2
    assert call("verify", study).out == f"{study.with_name('study.db')}: 3 sound, 0 damaged\n"


def test_nothing_is_deleted_where_nobody_can_be_asked(call: Call, study: Path) -> None:
    told = call("clear", study)
    assert (told.code, told.out) == (2, "")
    assert "--yes: expected where nobody can be asked" in told.err
    assert json.loads(call("verify", study, "--json").out)["sound"] == 5
    assert call("clear", study, "--yes").out == f"{study.with_name('study.db')}: 5 deleted\n"


@pytest.mark.parametrize(
    ("typed", "n_deleted"), [("y\n", 5), ("Yes\n", 5), ("n\n", 0), ("\n", 0), ("", 0), ("yet\n", 0)]
)
def test_a_person_is_asked_before_anything_is_deleted(
    call: Call, study: Path, typed: str, n_deleted: int
) -> None:
    told = call("clear", study, "--json", typed=typed)
    assert (told.code, json.loads(told.out)["deleted"]) == (0, n_deleted)
    assert told.err == f"delete the answers in {study.with_name('study.db')}? [y/N]\n"


def test_the_question_names_what_would_go(call: Call, study: Path) -> None:
    told = call("clear", study, "--damaged", "--model", MODEL, typed="n\n")
    assert f"delete the damaged answers of {MODEL} in {study.with_name('study.db')}?" in told.err


def test_the_answers_of_one_model_are_cleared(call: Call, study: Path) -> None:
    unknown = call("clear", study, "--model", "embedded:smolm2", "--yes")
    assert (unknown.code, unknown.out) == (2, "")
    assert "--model: no answers of 'embedded:smolm2' are stored" in unknown.err
    assert "did you mean 'embedded:smollm2-135m'?" in unknown.err
    assert json.loads(call("clear", study, "--model", MODEL, "--yes", "--json").out)["deleted"] == 3
    assert [each["model"] for each in json.loads(call("ls", study, "--json").out)["models"]] == [
        "embedded:smollm2-135m"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list",), "expected ls, verify or clear, found 'list'; did you mean 'ls'?"),
        (("study.yaml",), "expected ls, verify or clear, found 'study.yaml'"),
        (("ls", "--yes"), "--yes: expected with clear alone, found with ls"),
        (("verify", "--damaged", "--model", "x"), "--damaged: expected with clear alone, found with verify"),
    ],
)
def test_what_no_action_does_is_bad_input(call: Call, arguments: tuple[str, ...], message: str) -> None:
    told = call(*arguments)
    assert (told.code, told.out) == (2, "")
    assert message in told.err


def test_a_hostile_name_of_a_model_is_shown_without_control_characters(call: Call, study: Path) -> None:
    hostile = "scripted:\x1b[2J\u202e[red]evil[/red]\x07"
    with open_storage(study.with_name("study.db")) as storage:
        keep(Store(storage), {"h": RED}, model=hostile)
    for arguments in (
        ("ls", study),
        ("ls", study, "--json"),
        ("clear", study, "--yes", "--model", hostile + "?"),
    ):
        told = call(*arguments)
        shown = told.out + told.err
        assert "[red]evil[/red]" in shown
        assert all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") for c in shown)
    assert hostile in [each["model"] for each in json.loads(call("ls", study, "--json").out)["models"]]


def test_the_table_fits_a_narrow_terminal(
    call: Call, study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    lines = call("ls", study).out.splitlines()[1:]
    assert max(map(len, lines)) <= 80
    assert "".join(line.split()[0] for line in lines[2:5]).startswith("embedded")
