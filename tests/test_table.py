"""Reading rows of CSV, TSV, JSON, JSON Lines and Parquet; every mistake is told by file and line."""

import datetime as dt
import gzip
import json
import math
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from optimizer import table as module
from optimizer.record import Number, Record
from optimizer.table import read_table


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str | bytes) -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def mistakes(name: str) -> list[str]:
    return [str(problem) for problem in read_table(Path(name), name).problems]


def records(name: str, text: str | bytes) -> tuple[Record, ...]:
    table = read_table(Path(write(name, text)), name)
    assert table.problems == ()
    return table.records


def test_every_record_has_the_line_it_begins_on() -> None:
    found = records("d.csv", 'text,kind\r\n"a\r\nb",bug\r\nc,idea\r\n')
    assert found == (
        Record(line=2, values={"text": "a\r\nb", "kind": "bug"}),
        Record(line=4, values={"text": "c", "kind": "idea"}),
    )


def test_a_byte_order_mark_is_no_part_of_the_first_column() -> None:
    assert records("d.csv", "\ufefftext,kind\na,bug\n")[0].values == {"text": "a", "kind": "bug"}


def test_json_numbers_and_booleans_are_told_from_text_and_kept_as_written() -> None:
    (record,) = records("d.jsonl", '{"a": 1.50, "b": true, "c": "1.50"}')
    assert record.values == {"a": "1.50", "b": "true", "c": "1.50"}
    assert [isinstance(value, Number) for value in record.values.values()] == [True, True, False]
    assert type(record.text("a")) is str


def test_columns_are_those_of_any_record_in_order_of_appearance() -> None:
    write("d.jsonl", '{"b": 1}\n{"a": 1, "b": 2}\n')
    assert read_table(Path("d.jsonl"), "d.jsonl").columns == ("b", "a")


def test_sound_rows_are_kept_beside_mistakes() -> None:
    write("d.csv", "text,kind\na\nb,bug\n")
    table = read_table(Path("d.csv"), "shown.csv")
    assert [record.line for record in table.records] == [3]
    assert list(map(str, table.problems)) == ["shown.csv:2: expected 2 fields, found 1"]


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
def test_an_empty_file_is_an_empty_table(name: str) -> None:
    assert records(name, "") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text,kind\na\n", "d.csv:2: expected 2 fields, found 1"),
        ('text,kind\n"a\nb",bug\nc,bug,x\n', "d.csv:4: expected 2 fields, found 3"),
        ("text,kind\na,bug\n\nb,bug\n", "d.csv:3: expected 2 fields, found an empty line"),
        (
            'text,kind\na,bug\n"b,bug\n',
            "d.csv:3: not valid CSV: the quote that opens a field is never closed",
        ),
        (
            'text,kind\n"b"x,bug\n',
            "d.csv:2: not valid CSV: ',' expected after '\"'; nothing after it was read",
        ),
        (
            "text,kind,text\na,bug,c\n",
            "d.csv:1: expected a name of its own for each column, found 'text', 'kind', 'text'",
        ),
        (
            "text,kind,\na,bug,\n",
            "d.csv:1: expected a name of its own for each column, found 'text', 'kind', ''",
        ),
        (
            ",text,kind\n0,a,bug\n",
            "d.csv:1: expected a name of its own for each column, found '', 'text', 'kind'; a nameless first column is",
        ),
        (
            "text;kind\na;bug\n",
            "d.csv:1: expected a header with commas between the columns, found 'text;kind'",
        ),
        ("text,kind\na,bug\nb\0,bug\n", "d.csv:3: expected text, found a NUL byte"),
        (b"text,kind\na,bug\ncaf\xe9,bug\n", "d.csv:3: expected UTF-8 text, found the byte 0xe9"),
    ],
)
def test_a_mistake_in_csv_is_told_with_its_line(text: str | bytes, message: str) -> None:
    assert mistakes(write("d.csv", text))[0].startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "b" "kind": "bug"}', "not valid JSON at character 14: expecting ',' delimiter"),
        ('{"text": "b", "kind": "bug", "text": "c"}', "duplicate key 'text'"),
        ('{"text": "b", "kind": "bug", "x": {"y": 1, "y": 2}}', "duplicate key 'y'"),
        ('["b", "bug"]', "expected one JSON object, found a list"),
        ("null", "expected one JSON object, found null"),
        ('"b"', "expected one JSON object, found a single value"),
        ("", "expected one JSON object, found an empty line"),
        ('{"text": NaN, "kind": "bug"}', "not valid JSON: NaN is not a number"),
        ('{"x": ' + "[" * 100_000, "not valid JSON: nested too deeply"),
    ],
)
def test_a_mistake_in_json_lines_is_told_with_its_line(line: str, message: str) -> None:
    sound = json.dumps({"text": "a", "kind": "bug"})
    assert mistakes(write("d.jsonl", f"{sound}\n{line}\n{sound}\n")) == [f"d.jsonl:2: {message}"]


def test_another_suffix_is_refused_with_those_that_are_read() -> None:
    assert mistakes(write("d.xlsx", "x")) == [
        "d.xlsx: expected a .csv, .tsv, .jsonl, .json or .parquet file, found '.xlsx'"
    ]
    assert mistakes(write("d", "x")) == [
        "d: expected a .csv, .tsv, .jsonl, .json or .parquet file, found a name without suffix"
    ]


def test_a_file_that_is_gone_is_told() -> None:
    assert mistakes("gone.csv") == ["gone.csv: cannot be read: No such file or directory"]


def test_a_file_above_the_cap_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 2**20)
    assert mistakes(write("d.csv", "é" * 2**20)) == ["d.csv: expected at most 1 MiB, found more"]


def test_a_field_above_the_limit_of_the_csv_module_is_told() -> None:
    (found,) = mistakes(write("d.csv", "text,kind\n" + "x" * 200_000 + ",bug\n"))
    assert found.startswith(
        "d.csv:2: not valid CSV: a field is longer than 131072 characters: close its quote"
    )


def test_tabs_part_the_fields_of_a_tsv_file() -> None:
    found = records("d.tsv", 'text\tkind\na, b\tbug\n"c\td"\tidea\n')
    assert [record.values["text"] for record in found] == ["a, b", "c\td"]
    assert mistakes(write("d.tsv", "text\tkind\na\n")) == ["d.tsv:2: expected 2 fields, found 1"]
    assert mistakes(write("d.tsv", "text,kind\na,bug\n")) == [
        "d.tsv:1: expected a header with tabs between the columns, found 'text,kind'"
    ]


def test_one_column_is_a_table_too() -> None:
    assert [record.values for record in records("d.csv", 'text\n"a, b"\nc\n')] == [
        {"text": "a, b"},
        {"text": "c"},
    ]
    assert mistakes(write("d.csv", "text\na\nb,c\n")) == ["d.csv:3: expected 1 field, found 2"]


DOCUMENT = '{\n "about": {"rows": []}, "tags": ["x"],\n "data": [\n  {"a": 1.50, "b": [true]},\n\n  {"a": "]"}\n ]\n}\n'


def test_the_objects_of_an_array_are_the_rows_with_their_lines() -> None:
    expected = (
        Record(line=4, values={"a": "1.50", "b": [True]}),
        Record(line=6, values={"a": "]"}),
    )
    assert records("d.json", DOCUMENT) == expected
    array = DOCUMENT[DOCUMENT.index("[\n") : DOCUMENT.rindex("]") + 1]
    assert [record.line for record in records("d.json", f"\n\n{array}")] == [4, 6]
    assert records("d.json", "[]") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[\n{"a": 1},\n{"a": 1 "b": 2}\n]', "d.json:3: not valid JSON: expecting ',' delimiter"),
        ('[\n{"a": 1},\n{"a": 1, "a": 2},\n7]', "d.json:3: duplicate key 'a'"),
        ('[{"a": 1},\n{"a": NaN}]', "d.json:2: not valid JSON: NaN is not a number"),
        ('[{"a": 1},\n\n7]', "d.json:3: expected one JSON object, found a single value"),
        ('"a"', "d.json: expected an array of objects, found a single value"),
        ('{"a": [{}], "b": [{}]}', "or an object with one of them, found a, b"),
        ('{"a": 1, "a": [{"b": 2}]}', "d.json: duplicate key 'a'"),
        ('{"a": [{"b": 2}], "a": [{"b": 3}]}', "d.json: duplicate key 'a'"),
        ('{"a": [{"b": 2}], "c": {}, "c": 1}', "d.json: duplicate key 'c'"),
        ('{"a": [1]}', "or an object with one of them, found none"),
        ("[" * 100_000, "d.json: not valid JSON: nested too deeply"),
    ],
)
def test_a_mistake_in_json_is_told_with_its_line(text: str, message: str) -> None:
    assert message in mistakes(write("d.json", text))[0]


def test_mistakes_in_a_json_array_do_not_hide_each_other() -> None:
    write("d.json", '[{"a": 1},\n7,\n{"b": 1, "b": 2},\n{"a": 3}]')
    table = read_table(Path("d.json"), "d.json")
    assert [record.line for record in table.records] == [1, 4]
    assert [problem.line for problem in table.problems] == [2, 3]


@pytest.mark.parametrize("suffix", [".tsv", ".json", ".jsonl", ".csv"])
def test_every_kind_of_text_may_be_compressed(suffix: str) -> None:
    text = {".tsv": "a\tb\nx\ty\n", ".csv": "a,b\nx,y\n"}.get(suffix, '{"a": "x", "b": "y"}')
    write(f"d{suffix}.GZ", gzip.compress((f"[{text}]" if suffix == ".json" else text).encode()))
    (record,) = read_table(Path(f"d{suffix}.GZ"), "d").records
    assert record.values == {"a": "x", "b": "y"}


def write_parquet(columns: dict[str, object], name: str = "d.parquet") -> str:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), name)
    return name


def test_a_parquet_file_has_cells_as_json_has_them_and_rows_by_number() -> None:
    write_parquet(
        {
            "text": ["a", None],
            "whole": [12, None],
            "part": [0.5, math.nan],
            "yes": [True, False],
            "list": [["x", "y"], []],
            "object": [{"n": 1, "s": "t"}, None],
            "day": [dt.date(2024, 5, 1), None],
        }
    )
    first, second = read_table(Path("d.parquet"), "d.parquet").records
    assert first.line == 1
    assert first.values == {
        "text": "a",
        "whole": "12",
        "part": "0.5",
        "yes": "true",
        "list": ["x", "y"],
        "object": {"n": "1", "s": "t"},
        "day": "2024-05-01",
    }
    assert isinstance(first.values["whole"], Number)
    assert first.content("object") == {"n": 1, "s": "t"}
    assert second.values == {**dict.fromkeys(first.values), "yes": "false", "list": []}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
@example([0.1, 16777216.0, 1e-45, 2.0**-96, 3.4028234663852886e38])
def test_a_float_of_32_bits_is_the_number_of_fewest_digits_that_is_read_back_as_it(
    numbers: list[float],
) -> None:
    pyarrow, numpy = pytest.importorskip("pyarrow"), pytest.importorskip("numpy")
    singles = pyarrow.array(numbers, pyarrow.float32())
    write_parquet({"part": singles})
    for record, number in zip(read_table(Path("d.parquet"), "d.parquet").records, numbers, strict=True):
        cell = record.values["part"]
        if math.isfinite(number):
            assert isinstance(cell, Number)
            assert numpy.float32(cell) == numpy.float32(number)
            assert float(cell) == float(numpy.format_float_scientific(numpy.float32(number)))
        else:
            assert cell is None if math.isnan(number) else cell == number


def test_floats_of_32_bits_are_short_in_lists_and_objects_beside_those_of_64_bits() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    single, double = pyarrow.float32(), pyarrow.float64()
    parts = pyarrow.struct([("a", pyarrow.list_(single)), ("b", double), ("text", pyarrow.string())])
    exact = 0.10000000149011612
    write_parquet(
        {
            "object": pyarrow.array([{"a": [0.1, None], "b": exact, "text": "0.1"}, None], parts),
            "pair": pyarrow.array([[0.1, 0.2], None], pyarrow.list_(single, 2)),
            "large": pyarrow.array([[0.3], []], pyarrow.large_list(single)),
            "wide": pyarrow.array([exact, None], double),
            "short": pyarrow.array([0.7, None], single),
        }
    )
    first, second = read_table(Path("d.parquet"), "d.parquet").records
    assert first.values == {
        "object": {"a": ["0.1", None], "b": str(exact), "text": "0.1"},
        "pair": ["0.1", "0.2"],
        "large": ["0.3"],
        "wide": str(exact),
        "short": "0.7",
    }
    assert second.values == {**dict.fromkeys(first.values), "large": []}


@pytest.mark.parametrize(
    ("kind", "far"),
    [("date32", 3_000_000), ("date32", -3_000_000), ("timestamp", 2**62), ("duration", 2**61)],
)
def test_a_date_that_python_has_none_of_is_told_with_its_row(kind: str, far: int) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    types = {
        "date32": pyarrow.date32(),
        "timestamp": pyarrow.timestamp("us"),
        "duration": pyarrow.duration("s"),
    }
    write_parquet({"day": pyarrow.array([None, far, None], types[kind])})
    assert mistakes("d.parquet") == [
        "d.parquet:2: expected dates of the years 1 to 9999, found a date or a duration out of range"
    ]
    assert [record.line for record in read_table(Path("d.parquet"), "d.parquet").records] == [1, 3]


def test_what_is_wrong_with_a_parquet_file_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    assert mistakes("gone.parquet") == ["gone.parquet: cannot be read: No such file or directory"]
    (found,) = mistakes(write("d.parquet", b"PAR1 and no more"))
    assert found.startswith("d.parquet: cannot be read: ")
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    write_parquet({"text": ["a" * 1000]})
    assert mistakes("d.parquet") == ["d.parquet: expected at most 0 MiB, found more"]


def test_without_the_library_of_parquet_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (found,) = mistakes(write("d.parquet", b""))
    assert "install the extra `parquet`" in found


def test_the_content_of_a_cell_is_what_json_means() -> None:
    (record,) = records("d.jsonl", '{"a": [1, 2.5, true, null, {"b": "c"}], "d": 1e400, "e": ["x\\u0000"]}')
    assert record.content("a") == [1, 2.5, True, None, {"b": "c"}]
    with pytest.raises(ValueError, match="expected a number that a float can hold, found 1e400"):
        record.content("d")
    with pytest.raises(ValueError, match="found a NUL character"):
        record.content("e")
    with pytest.raises(ValueError, match="expected this key, found none"):
        record.content("f")
