"""Reading rows of CSV and JSON Lines; every mistake is told by file and line."""

import json
from pathlib import Path

import pytest

from optimizer import table as module
from optimizer.table import Number, Record, read_table


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
    assert mistakes(write("d.xlsx", "x")) == ["d.xlsx: expected a .csv or .jsonl file, found '.xlsx'"]
    assert mistakes(write("d", "x")) == ["d: expected a .csv or .jsonl file, found a name without suffix"]


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
