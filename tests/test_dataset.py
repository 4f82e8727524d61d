"""Reading, checking and dividing examples; every mistake is told by file, line and column."""

import csv
import dataclasses
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from optimizer import dataset as module
from optimizer import rows as rows_module
from optimizer.dataset import Dataset, Example, load_dataset
from optimizer.document import Located
from optimizer.errors import InputError
from optimizer.task import Task
from optimizer.taskfile import DatasetSpec, InputSpec, OutputType, Splits

LABELS = ("bug", "idea")
HALVES = Splits(train=0.0, validation=0.5, test=0.5)
PATHS = Splits(train="train.jsonl", validation="validation.jsonl", test="test.jsonl")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_task(
    *paths: str,
    inputs: tuple[str, ...] = ("text",),
    output: OutputType = "label",
    splits: Splits = HALVES,
    group: str | None = None,
    seed: int = 0,
) -> Task:
    spec = DatasetSpec(inputs=inputs, target="kind", splits=splits, path=paths[0], group=group, seed=seed)
    return Task(
        name="t",
        version="1",
        description="",
        language="en",
        inputs=inputs,
        target="kind",
        output=output,
        labels=LABELS if output == "label" else (),
        label_descriptions=("", "") if output == "label" else (),
        metric="accuracy",
        metrics=(),
        instruction="Sort.",
        dataset=spec,
        paths=tuple(Path.cwd() / path for path in paths),
        source=Located(value={}, file="task.yaml", marks={}),
    )


def some_rows(n: int = 24, start: int = 0) -> list[dict[str, object]]:
    return [{"text": f"row {i}", "kind": LABELS[i % 2]} for i in range(start, start + n)]


def write_jsonl(rows: Sequence[object], name: str = "d.jsonl") -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def write_csv(text: str | bytes, name: str = "d.csv") -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def three_files() -> list[list[dict[str, object]]]:
    return [some_rows(8), some_rows(8, start=8), some_rows(8, start=16)]


def task_of(files: Sequence[Sequence[object]], *, group: str | None = None) -> Task:
    names = [write_jsonl(rows, str(name)) for rows, name in zip(files, PATHS.values, strict=True)]
    return make_task(*names, splits=PATHS, group=group)


def everybody(dataset: Dataset) -> tuple[Example, ...]:
    return dataset.train + dataset.validation + dataset.test


def mistakes(task: Task) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_dataset(task)
    return [str(problem) for problem in caught.value.problems]


def mistakes_of_rows(*rows: object) -> list[str]:
    return mistakes(make_task(write_jsonl(rows)))


def mistakes_of_csv(text: str) -> list[str]:
    return mistakes(make_task(write_csv(text)))


def test_csv_fields_may_hold_commas_quotes_and_line_breaks() -> None:
    text = 'text,kind\r\n"a, ""b""\r\nc",bug\r\n' + "".join(f"row {i},idea\r\n" for i in range(12))
    values = {example.values["text"] for example in everybody(load_dataset(make_task(write_csv(text))))}
    assert 'a, "b"\r\nc' in values


def test_a_byte_order_mark_is_tolerated() -> None:
    text = "\ufefftext,kind\n" + "".join(f"row {i},bug\n" for i in range(12))
    assert len(everybody(load_dataset(make_task(write_csv(text))))) == 12


def test_texts_are_kept_as_they_are() -> None:
    hostile = [" {{x}} <b> \u2028 =1+1 \x1b[31m ", "NA", "012", "null", "C:\\new"]
    rows = some_rows() + [{"text": text, "kind": "bug"} for text in hostile]
    values = {example.values["text"] for example in everybody(load_dataset(make_task(write_jsonl(rows))))}
    assert values >= set(hostile)


def test_csv_and_json_lines_of_the_same_rows_are_the_same_data_set() -> None:
    rows = some_rows()
    with Path("d.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["text", "kind"])
        writer.writeheader()
        writer.writerows(rows)
    assert load_dataset(make_task("d.csv")) == load_dataset(make_task(write_jsonl(rows)))


def test_numbers_and_booleans_of_json_are_their_text() -> None:
    lines = [
        '{"text": 1.50, "kind": "bug"}',
        '{"text": true, "kind": "bug"}',
        '{"text": -2e3, "kind": "bug"}',
    ]
    Path("d.jsonl").write_text("\n".join([*lines, *map(json.dumps, some_rows())]), encoding="utf-8")
    values = {example.values["text"] for example in everybody(load_dataset(make_task("d.jsonl")))}
    assert values >= {"1.50", "true", "-2e3"}


def test_columns_out_of_use_are_ignored() -> None:
    rows = [row | {"notes": {"any": [None]}} for row in some_rows()]
    assert load_dataset(make_task(write_jsonl(rows))) == load_dataset(make_task(write_jsonl(some_rows())))


def test_blank_lines_at_the_end_are_harmless() -> None:
    write_jsonl(some_rows())
    with Path("d.jsonl").open("a") as stream:
        stream.write("\n  \n")
    assert len(everybody(load_dataset(make_task("d.jsonl")))) == 24
    text = "text,kind\n" + "".join(f"row {i},bug\n" for i in range(12)) + "\r\n\n"
    assert len(everybody(load_dataset(make_task(write_csv(text))))) == 12


def test_inputs_are_in_the_order_of_the_task() -> None:
    rows = [{"kind": "bug", "b": f"b{i}", "a": f"a{i}"} for i in range(12)]
    example = load_dataset(make_task(write_jsonl(rows), inputs=("a", "b"))).test[0]
    assert [name for name, _ in example.inputs] == ["a", "b"]


def test_numbers_are_stored_in_their_shortest_form() -> None:
    rows = [{"text": f"row {i}", "kind": "$1,200.50" if i % 2 else "7.0"} for i in range(12)]
    dataset = load_dataset(make_task(write_jsonl(rows), output="number"))
    assert {example.target for example in everybody(dataset)} == {"1200.5", "7"}


@pytest.mark.parametrize("text", ["", "text,kind\n"])
def test_a_file_without_examples_is_told(text: str) -> None:
    assert mistakes_of_csv(text) == ["d.csv: expected at least one example, found none"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": null, "kind": "bug"}', "text: expected text, a number, true or false, found null"),
        ('{"text": ["b"], "kind": "bug"}', "text: expected text, a number, true or false, found a list"),
        (
            '{"text": {"b": 1}, "kind": "bug"}',
            "text: expected text, a number, true or false, found an object",
        ),
        ('{"txt": "b", "kind": "bug"}', "text: expected this key, found none; did you mean 'txt'?"),
        ('{"text": "b\\u0000", "kind": "bug"}', "text: expected text, found a NUL character in it"),
        ('{"text": "b\\ud800", "kind": "bug"}', "text: expected text, found half of a surrogate pair in it"),
        ('{"text": " \\n", "kind": "bug"}', "text: expected some text, found none"),
        (
            '{"text": "b", "kind": "bgu"}',
            "kind: expected one of 'bug', 'idea', found 'bgu'; did you mean 'bug'?",
        ),
        ('{"text": "b", "kind": ""}', "kind: expected a target, found an empty one"),
    ],
)
def test_a_mistake_in_a_cell_is_told_with_its_line_and_column(line: str, message: str) -> None:
    first, last = map(json.dumps, some_rows(2))
    Path("d.jsonl").write_text(f"{first}\n{line}\n{last}\n", encoding="utf-8")
    assert mistakes(make_task("d.jsonl")) == [f"d.jsonl:2: {message}"]


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
def test_a_missing_column_is_one_mistake_that_offers_the_nearest_name(name: str) -> None:
    if name == "d.csv":
        write_csv("txet,kind\na,bug\nb,idea\n")
    else:
        write_jsonl([{"txet": "a", "kind": "bug"}, {"txet": "b", "kind": "idea"}])
    message = f"{name}:1: text: expected a column of this name, found none; did you mean 'txet'?"
    assert mistakes(make_task(name)) == [message]


def test_names_of_columns_are_shown_without_control_characters() -> None:
    found = mistakes_of_rows({"\x1b[31mq": "a", "kind": "bug"})
    assert found == ["d.jsonl:1: text: expected a column of this name, found none; there are ?[31mq, kind"]


def test_a_missing_group_column_is_told() -> None:
    found = mistakes(make_task(write_jsonl(some_rows()), group="thread"))
    assert found == ["d.jsonl:1: thread: expected a column of this name, found none; there are kind, text"]


def test_a_target_that_is_no_number_is_told() -> None:
    found = mistakes(make_task(write_jsonl([{"text": "a", "kind": "many"}]), output="number"))
    assert found == ["d.jsonl:1: kind: expected a number, found 'many'"]


def test_one_empty_input_among_several_is_allowed() -> None:
    rows = [{"a": f"a{i}", "b": "", "kind": "bug"} for i in range(12)]
    assert len(everybody(load_dataset(make_task(write_jsonl(rows), inputs=("a", "b"))))) == 12
    rows[3]["a"] = " "
    found = mistakes(make_task(write_jsonl(rows), inputs=("a", "b")))
    assert found == ["d.jsonl:4: a, b: expected some text, found none"]


def test_every_mistake_of_every_file_is_told_at_once_in_order() -> None:
    paths = [
        write_jsonl([{"text": "a", "kind": "x"}, {"text": "", "kind": "y"}], "1.jsonl"),
        write_csv("text,kind\nb\nc,z\n", "2.csv"),
        write_csv("", "3.csv"),
    ]
    found = mistakes(make_task(*paths, splits=Splits(train="1", validation="2", test="3")))
    places = ["1.jsonl:1: kind", "1.jsonl:2: kind", "1.jsonl:2: text", "2.csv:2", "2.csv:3: kind", "3.csv"]
    assert [
        place for place, message in zip(places, found, strict=True) if message.startswith(place)
    ] == places


def test_the_list_of_mistakes_ends_after_fifty_with_the_number_of_the_others() -> None:
    found = mistakes_of_rows(*({"text": f"row {i}", "kind": "x"} for i in range(53)))
    assert len(found) == 51
    assert found[-1] == "and 3 more mistakes"
    assert (
        mistakes_of_rows(*({"text": f"row {i}", "kind": "x"} for i in range(51)))[-1] == "and 1 more mistake"
    )


def test_the_id_column_is_the_id() -> None:
    rows = [row | {"id": f"r{i}"} for i, row in enumerate(some_rows())]
    assert {e.id for e in everybody(load_dataset(make_task(write_jsonl(rows))))} == {
        f"r{i}" for i in range(24)
    }


def test_without_an_id_column_the_id_is_the_hash_of_the_canonical_inputs() -> None:
    dataset = load_dataset(make_task(write_jsonl(some_rows())))
    ids = {example.values["text"]: example.id for example in everybody(dataset)}
    assert ids["row 0"] == "0f6fe778a295988d"  # sha256sum of {"text":"row 0"}


def test_repeats_of_an_example_are_numbered() -> None:
    rows = some_rows() + [{"text": "row 0", "kind": "bug"}] * 2
    ids = {e.id for e in everybody(load_dataset(make_task(write_jsonl(rows)))) if e.values["text"] == "row 0"}
    assert ids == {"0f6fe778a295988d", "0f6fe778a295988d-2", "0f6fe778a295988d-3"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "expected some text, found none"),
        (1.5, "expected text or a whole number, found 1.5"),
        (True, "expected text or a whole number, found true"),
        (None, "expected text, a number, true or false, found null"),
        ("a", "expected an id of its own, found 'a' again, first on line 1"),
    ],
)
def test_an_id_must_be_text_and_unique(value: object, message: str) -> None:
    found = mistakes_of_rows(
        {"id": "a", "text": "x", "kind": "bug"}, {"id": value, "text": "y", "kind": "bug"}
    )
    assert [text for text in found if "id:" in text] == [f"d.jsonl:2: id: {message}"]


def test_an_id_may_be_a_whole_number_and_is_its_text() -> None:
    rows = [row | {"id": i} for i, row in enumerate(some_rows())]
    assert {e.id for e in everybody(load_dataset(make_task(write_jsonl(rows))))} == {
        str(i) for i in range(len(rows))
    }
    found = mistakes_of_rows({"id": "7", "text": "x", "kind": "bug"}, {"id": 7, "text": "y", "kind": "bug"})
    assert found[0] == "d.jsonl:2: id: expected an id of its own, found '7' again, first on line 1"


def test_ids_must_be_unique_across_files() -> None:
    files = [[row | {"id": f"{n}-{i}"} for i, row in enumerate(rows)] for n, rows in enumerate(three_files())]
    files[2][1]["id"] = "0-3"
    assert mistakes(task_of(files)) == [
        "test.jsonl:2: id: expected an id of its own, found '0-3' again, first on train.jsonl:4"
    ]


def test_equal_inputs_with_different_targets_name_both_lines() -> None:
    found = mistakes_of_rows(
        {"text": "a", "kind": "bug"}, {"text": "b", "kind": "bug"}, {"text": "a", "kind": "idea"}
    )
    assert found == ["d.jsonl:3: kind: expected 'bug' as for the same inputs on line 1, found 'idea'"]


def test_a_wrong_target_does_not_hide_other_mistakes_of_its_row() -> None:
    found = mistakes_of_rows({"id": "1", "text": "a", "kind": "x"}, {"id": "1", "text": "a", "kind": "idea"})
    assert [message.split(": ")[:2] for message in found] == [["d.jsonl:1", "kind"], ["d.jsonl:2", "id"]]


def test_examples_equal_but_for_case_spaces_and_width_form_one_group_with_a_warning() -> None:
    rows = [*some_rows(), {"text": "ＲＯＷ\n  3 ", "kind": "idea"}, {"text": "Row  3", "kind": "idea"}]
    dataset = load_dataset(make_task(write_jsonl(rows)))
    (group,) = {example.group for example in everybody(dataset)} - {None}
    assert [e.group for e in everybody(dataset)].count(group) == 3
    assert group == min(e.id for e in everybody(dataset) if e.group)
    (warning,) = dataset.warnings
    alike = "equal inputs, apart from case, spaces and character width"
    assert warning == f"3 examples form 1 group of {alike}; each group stays in one split"


def test_groups_join_by_value_and_by_likeness() -> None:
    rows = [row | {"thread": f"t{i}"} for i, row in enumerate(some_rows())]
    rows[1]["thread"] = "t0"  # row 1 is related to row 0
    rows.append({"text": "ROW 1", "kind": "idea", "thread": "t9"})  # and through this one to row 9
    dataset = load_dataset(make_task(write_jsonl(rows), group="thread"))
    texts = {example.values["text"] for example in everybody(dataset) if example.group == "t0"}
    assert texts == {"row 0", "row 1", "ROW 1", "row 9"}


def test_an_empty_group_is_no_group() -> None:
    plain = load_dataset(make_task(write_jsonl(some_rows())))
    for empty in ("", None):
        rows = [row | {"thread": empty} for row in some_rows()]
        assert load_dataset(make_task(write_jsonl(rows), group="thread")) == plain
    grouped: list[dict[str, object]] = [{"thread": "t"}, {}]
    rows = [row | grouped[n % 2] for n, row in enumerate(some_rows())]
    found = everybody(load_dataset(make_task(write_jsonl(rows), group="thread")))
    assert {example.group for example in found} == {"t", None}


@pytest.mark.parametrize(
    ("splits", "sizes"),
    [
        (Splits(train=0.3, validation=0.35, test=0.35), (30, 35, 35)),
        (Splits(train=0.333, validation=0.333, test=0.334), (33, 33, 34)),
        (Splits(train=0, validation=0.5, test=0.5), (0, 50, 50)),
        (Splits(train=41, validation=17, test=13), (41, 17, 13)),
        (Splits(train=0, validation=94, test=6), (0, 94, 6)),
    ],
)
def test_sizes_are_the_shares_or_counts(splits: Splits, sizes: tuple[int, ...]) -> None:
    dataset = load_dataset(make_task(write_jsonl(some_rows(100)), splits=splits))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == sizes


def test_each_split_has_each_label_in_proportion() -> None:
    rows = [row | {"kind": "bug" if i % 4 else "idea"} for i, row in enumerate(some_rows(80))]
    dataset = load_dataset(make_task(write_jsonl(rows), splits=Splits(train=20, validation=20, test=20)))
    for split in (dataset.train, dataset.validation, dataset.test):
        assert Counter(example.target for example in split) == {"bug": 15, "idea": 5}


def test_examples_are_dealt_label_by_label_in_the_order_of_the_task() -> None:
    dataset = load_dataset(make_task(write_jsonl(some_rows(24))))
    assert [example.target for example in dataset.test] == ["bug", "idea"] * 6


def test_another_seed_gives_another_split() -> None:
    path = write_jsonl(some_rows(60))
    first, second = load_dataset(make_task(path, seed=0)), load_dataset(make_task(path, seed=1))
    assert first.digest != second.digest
    assert sorted(e.id for e in everybody(first)) == sorted(e.id for e in everybody(second))


def test_more_of_train_leaves_test_as_it_was() -> None:
    path = write_jsonl(some_rows(60))
    few = load_dataset(make_task(path, splits=Splits(train=5, validation=20, test=20)))
    many = load_dataset(make_task(path, splits=Splits(train=20, validation=20, test=20)))
    assert (few.test, few.validation) == (many.test, many.validation)
    assert set(few.train) < set(many.train)


def test_the_split_is_the_same_in_another_process() -> None:
    dataset = load_dataset(make_task(write_jsonl(some_rows(30))))
    source = Path(__file__).read_text(encoding="utf-8")
    Path("twin.py").write_text(source + "\nprint(load_dataset(make_task('d.jsonl')))\n", encoding="utf-8")
    environment = {"PYTHONPATH": str(Path(module.__file__).parents[1]), "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "twin.py"], capture_output=True, check=True, env=environment)
    assert done.stdout.decode().strip() == str(dataset)


def test_counts_above_the_data_are_refused() -> None:
    found = mistakes(make_task(write_jsonl(some_rows(24)), splits=Splits(train=10, validation=10, test=10)))
    assert found == ["task.yaml: dataset.splits: expected at most 24 examples in all, found 30"]


def test_a_split_that_is_too_small_says_what_is_needed() -> None:
    splits = Splits(train=0.01, validation=0.44, test=0.55)
    why = "with fewer no exact paired test can reach p < 0.05 (2 × 0.5^6 = 0.031)"
    why += "; `test: 0` asks for cross-validation instead"
    assert mistakes(make_task(write_jsonl(some_rows(9)), splits=splits)) == [
        "task.yaml: dataset.splits.train: expected at least 1 example in train, found 0",
        "task.yaml: dataset.splits.validation: expected at least 5 examples in validation, found 4",
        f"task.yaml: dataset.splits.test: expected at least 6 examples in test, found 5: {why}",
    ]


def test_three_files_are_the_three_splits() -> None:
    dataset = load_dataset(task_of(three_files()))
    for split, rows in zip((dataset.train, dataset.validation, dataset.test), three_files(), strict=True):
        assert {example.values["text"] for example in split} == {row["text"] for row in rows}
        assert [example.target for example in split] == ["bug", "idea"] * 4


def test_the_same_inputs_in_two_splits_name_both_files_and_lines() -> None:
    files = three_files()
    files[2][4] = {"text": "ROW  3", "kind": "idea"}
    assert mistakes(task_of(files)) == [
        "test.jsonl:5: text: expected in one split only, found the same inputs in train (train.jsonl:4)"
    ]


def test_a_group_in_two_splits_is_told_once_for_each_split() -> None:
    files = [[row | {"thread": f"{n}"} for row in rows] for n, rows in enumerate(three_files())]
    files[2] = [row | {"thread": "1"} for row in files[2]]
    assert mistakes(task_of(files, group="thread")) == [
        "test.jsonl:1: thread: expected in one split only, found the same group in validation (validation.jsonl:1)"
    ]


def test_a_file_of_too_few_examples_is_told_at_its_split() -> None:
    files = three_files()
    files[2] = files[2][:5]
    assert mistakes(task_of(files))[0].startswith(
        "task.yaml: dataset.splits.test: expected at least 6 examples in test, found 5"
    )


def test_the_digest_does_not_depend_on_the_name_of_the_file() -> None:
    here, there = write_jsonl(some_rows()), write_jsonl(some_rows()[::-1], "other.jsonl")
    assert load_dataset(make_task(here)).digest == load_dataset(make_task(there)).digest


def test_without_splits_the_size_of_the_data_decides() -> None:
    small = load_dataset(replace_splits(make_task(write_jsonl(some_rows(40)))))
    assert (len(small.train), len(small.validation), len(small.test)) == (12, 28, 0)
    large = load_dataset(replace_splits(make_task(write_jsonl(some_rows(100)))))
    assert (len(large.train), len(large.validation), len(large.test)) == (25, 35, 40)


def replace_splits(task: Task) -> Task:
    """Return a task that states no splits."""
    return dataclasses.replace(task, dataset=dataclasses.replace(task.dataset, splits=None))


def test_no_test_needs_groups_enough_to_part() -> None:
    rows = [row | {"thread": f"t{n % 2}"} for n, row in enumerate(some_rows(24))]
    splits = Splits(train=0, validation=24, test=0)
    assert mistakes(make_task(write_jsonl(rows), splits=splits, group="thread")) == [
        (
            "task.yaml: dataset.splits.validation: expected at least 5 groups in validation, which cross-validation parts, "
            "found 2"
        )
    ]
    many = [row | {"thread": f"t{n % 6}"} for n, row in enumerate(some_rows(24))]
    assert len(load_dataset(make_task(write_jsonl(many), splits=splits, group="thread")).validation) == 24


def test_the_same_test_is_the_same_whatever_becomes_of_the_rest() -> None:
    rows = some_rows(60)
    one, other = (
        load_dataset(make_task(write_jsonl(rows), splits=Splits(train=train, validation=36 - train, test=24)))
        for train in (12, 16)
    )
    assert one.test_digest == other.test_digest
    assert one.digest != other.digest


def with_inputs(task: Task, **kinds: InputSpec) -> Task:
    """Return a task whose inputs are of these kinds."""
    spec = dataclasses.replace(task.dataset, inputs=kinds)
    return dataclasses.replace(task, inputs=tuple(kinds), kinds=kinds, dataset=spec)


def one_example(task: Task, text: str = "row 0") -> Example:
    (found,) = (e for e in everybody(load_dataset(task)) if text in "".join(e.values.values()))
    return found


def test_an_optional_input_may_be_missing_null_or_blank() -> None:
    notes: list[dict[str, object]] = [{}, {"note": None}, {"note": " "}, {"note": "n"}]
    rows = [row | notes[n % 4] for n, row in enumerate(some_rows())]
    optional = InputSpec(optional=True)
    dataset = load_dataset(with_inputs(make_task(write_jsonl(rows)), text=InputSpec(), note=optional))
    assert Counter(example.values["note"] for example in everybody(dataset)) == {"": 18, "n": 6}
    found = mistakes(with_inputs(make_task("d.jsonl"), text=InputSpec(), note=InputSpec()))
    assert [message.partition(": ")[0] for message in found] == [
        f"d.jsonl:{n}" for n in range(1, 23) if n % 4 in (1, 2)
    ]


def test_an_optional_column_that_no_row_has_is_missing_nevertheless() -> None:
    task = with_inputs(make_task(write_jsonl(some_rows())), text=InputSpec(), nte=InputSpec(optional=True))
    assert mistakes(task)[0].startswith("d.jsonl:1: nte: expected a column of this name, found none")


def test_rows_whose_inputs_are_all_empty_are_told() -> None:
    rows = [*some_rows(), {"text": None, "kind": "bug"}]
    assert mistakes(with_inputs(make_task(write_jsonl(rows)), text=InputSpec(optional=True))) == [
        "d.jsonl:25: text: expected some text, found none"
    ]


@pytest.mark.parametrize("cell", [["first", "second\nline"], '["first", "second\\nline"]'])
def test_a_list_is_shown_with_its_items_numbered(cell: object) -> None:
    rows = [row | {"passages": cell} for row in some_rows()]
    task = with_inputs(make_task(write_jsonl(rows)), text=InputSpec(), passages=InputSpec(type="list"))
    assert everybody(load_dataset(task))[0].values["passages"] == "[1] first\n\n[2] second\nline"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("first", "expected a list of texts, as a JSON array, found 'first'"),
        ('{"a": 1}', "expected a list of texts, as a JSON array, found '{\"a\": 1}'"),
        ([1, "a"], "expected a list of texts, as a JSON array, found '[1, \"a\"]'"),
        ([True], "expected a list of texts, as a JSON array, found '[true]'"),
        ({"a": "b"}, 'expected a list of texts, as a JSON array, found \'{"a": "b"}\''),
        (5, "expected a list of texts, as a JSON array, found '5'"),
        ("", "expected a list of texts, as a JSON array, found none"),
        ([], "expected some texts, found none; an optional input may be empty"),
        (["a\0"], "expected text, found a NUL character in it"),
    ],
)
def test_what_is_no_list_of_texts_is_told(cell: object, message: str) -> None:
    rows = [
        *(row | {"passages": ["p"]} for row in some_rows()),
        {"text": "x", "kind": "bug", "passages": cell},
    ]
    task = with_inputs(make_task(write_jsonl(rows)), text=InputSpec(), passages=InputSpec(type="list"))
    assert mistakes(task) == [f"d.jsonl:25: passages: {message}"]


def test_an_optional_list_may_be_empty() -> None:
    rows = [row | {"passages": []} for row in some_rows()]
    kind = InputSpec(type="list", optional=True)
    task = with_inputs(make_task(write_jsonl(rows)), text=InputSpec(), passages=kind)
    assert everybody(load_dataset(task))[0].values["passages"] == ""


def test_an_image_is_a_url_or_the_content_of_a_file_beside_the_table() -> None:
    Path(".optimizer").mkdir()
    Path("a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    cells = ["https://example.org/a.png", "a.png", "b.png", None]
    rows = [row | {"photo": cells[n] if n < 3 else cells[0]} for n, row in enumerate(some_rows())]
    task = with_inputs(make_task(write_jsonl(rows)), text=InputSpec(), photo=InputSpec(type="image"))
    assert mistakes(task) == ["d.jsonl:3: photo: expected an image, found no file at 'b.png'"]
    rows[2]["photo"] = None
    optional = InputSpec(type="image", optional=True)
    task = with_inputs(make_task(write_jsonl(rows)), text=InputSpec(), photo=optional)
    assert one_example(task, "row 0https").values["photo"] == "https://example.org/a.png"
    assert one_example(task, "row 1data").values["photo"] == "data:image/png;base64,iVBORw0KGgo="


def test_images_in_all_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".optimizer").mkdir()
    Path("a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    monkeypatch.setattr(rows_module, "MAX_BYTES", 100)
    task = make_task(write_jsonl([row | {"photo": "a.png"} for row in some_rows()]))
    found = mistakes(with_inputs(task, text=InputSpec(), photo=InputSpec(type="image")))
    assert found[0].startswith("d.jsonl:3: photo: expected images of at most 0 MiB in all, found more")
    assert len(found) == 1


def test_text_that_names_a_file_is_text() -> None:
    Path(".optimizer").mkdir()
    Path("a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    rows = [*some_rows(), {"text": "a.png", "kind": "bug"}]
    assert one_example(make_task(write_jsonl(rows)), "a.png").values["text"] == "a.png"


def test_slices_are_texts_beside_the_example_and_change_no_digest() -> None:
    rows = [row | {"region": ["north", "", None, 7][n % 4]} for n, row in enumerate(some_rows())]
    del rows[5]["region"]
    plain = make_task(write_jsonl(rows))
    sliced = dataclasses.replace(plain, slices=("region", "kind"))
    assert one_example(sliced, "row 0").slices == (("region", "north"), ("kind", "bug"))
    values = Counter(dict(example.slices)["region"] for example in everybody(load_dataset(sliced)))
    assert values == {"north": 6, "": 12, "7": 6}
    assert one_example(plain, "row 0").slices == ()
    assert load_dataset(sliced).digest == load_dataset(plain).digest
    assert load_dataset(sliced).test_digest == load_dataset(plain).test_digest
    assert mistakes(dataclasses.replace(plain, slices=("regon",)))[0] == (
        "d.jsonl:1: regon: expected a column of this name, found none; did you mean 'region'?"
    )


def test_labels_are_an_array_or_a_text_of_them() -> None:
    cells: list[object] = [["idea", "bug"], "idea; bug", '["bug"]', "", []]
    rows = [row | {"kind": cells[n % 5]} for n, row in enumerate(some_rows(25))]
    task = dataclasses.replace(make_task(write_jsonl(rows)), output="labels")
    targets = Counter(example.target for example in everybody(load_dataset(task)))
    assert targets == {'["bug", "idea"]': 10, '["bug"]': 5, "[]": 10}
    rows[3]["kind"] = None
    del rows[8]["kind"]
    write_jsonl(rows)
    targets = Counter(example.target for example in everybody(load_dataset(task)))
    assert targets == {'["bug", "idea"]': 10, '["bug"]': 5, "[]": 10}
    rows[3]["kind"] = ["bgu"]
    write_jsonl(rows)
    assert mistakes(task) == [
        "d.jsonl:4: kind: expected one of 'bug', 'idea', found 'bgu'; did you mean 'bug'?"
    ]


def test_json_is_a_value_or_a_text_of_it() -> None:
    cells: list[object] = [{"b": 1.50, "a": ["x"]}, '{"b": 1.5, "a": ["x"]}', [1, 2], 7, "[1, 2]", None]
    rows = [row | {"kind": cells[n % 6]} for n, row in enumerate(some_rows(30))]
    task = dataclasses.replace(make_task(write_jsonl(rows)), output="json", labels=())
    targets = Counter(example.target for example in everybody(load_dataset(task)))
    assert targets == {'{"a":["x"],"b":1.5}': 10, "[1,2]": 10, "7": 5, "null": 5}
    rows[0]["kind"] = "{"
    del rows[1]["kind"]
    write_jsonl(rows)
    assert [message[:36] for message in mistakes(task)] == [
        "d.jsonl:1: kind: expected JSON, foun",
        "d.jsonl:2: kind: expected this key, ",
    ]


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_json_number_of_too_many_digits_is_told_in_our_words(quote: str) -> None:
    many = f'{quote}{{{quote and chr(92)}"n{quote and chr(92)}": {"9" * 5000}}}{quote}'
    Path("d.jsonl").write_text(f'{{"text": "a", "kind": {many}}}\n', encoding="utf-8")
    (found,) = mistakes(dataclasses.replace(make_task("d.jsonl"), output="json", labels=()))
    assert found.endswith("expected numbers of at most 4,300 digits, found a longer one")


def several_targets(rows: Sequence[dict[str, object]], schema: dict[str, object] | None = None) -> Task:
    task = make_task(write_jsonl(rows))
    return dataclasses.replace(
        task,
        output="json",
        labels=(),
        target="answer",
        targets=("kind", "price", "tags"),
        schema="" if schema is None else json.dumps(schema),
    )


FIELDS: dict[str, object] = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "enum": ["bug", "idea"]},
        "price": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
    },
    "required": ["kind", "price"],
}


def test_several_targets_are_one_object() -> None:
    rows = [row | {"price": "$1,200.50", "tags": "b; a"} for row in some_rows()]
    assert (
        one_example(several_targets(rows, FIELDS)).target == '{"kind":"bug","price":1200.5,"tags":["a","b"]}'
    )
    plain = [row | {"price": 3, "tags": ["x"]} for row in some_rows()]
    assert one_example(several_targets(plain)).target == '{"kind":"bug","price":3,"tags":["x"]}'


def test_what_is_wrong_with_one_of_several_targets_is_told_at_its_column() -> None:
    rows = [row | {"price": 3, "tags": ""} for row in some_rows()]
    rows[0] |= {"kind": "bgu", "price": "much", "tags": "c"}
    rows[1]["kind"] = ""
    assert mistakes(several_targets(rows, FIELDS)) == [
        "d.jsonl:1: kind: expected one of 'bug', 'idea', found 'bgu'; did you mean 'bug'?",
        "d.jsonl:1: price: expected a number, found 'much'",
        "d.jsonl:1: tags: expected one of 'a', 'b', found 'c'",
        "d.jsonl:2: kind: expected a target, found an empty one",
    ]


def test_a_target_that_is_not_of_the_schema_is_told() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    rows = [row | {"kind": {"a": 1}} for row in some_rows()]
    rows[1]["kind"], rows[2]["kind"], rows[3]["kind"] = {"a": 3}, {}, "[]"
    task = dataclasses.replace(
        make_task(write_jsonl(rows)), output="json", labels=(), schema=json.dumps(schema)
    )
    start = "kind: expected JSON of the task's schema, found"
    assert mistakes(task) == [
        f"d.jsonl:2: {start} at a: 3 is not one of [1, 2]",
        f"d.jsonl:3: {start}: 'a' is a required property",
        f"d.jsonl:4: {start}: [] is not of type 'object'",
    ]


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"$ref": "https://example.org/none.json"}])
def test_a_schema_that_is_none_is_for_others_to_tell(schema: dict[str, object]) -> None:
    rows = [row | {"kind": {"a": 1}} for row in some_rows()]
    task = dataclasses.replace(
        make_task(write_jsonl(rows)), output="json", labels=(), schema=json.dumps(schema)
    )
    assert len(everybody(load_dataset(task))) == 24


def test_a_target_that_may_be_null_is_where_it_is_empty() -> None:
    properties: dict[str, object] = {
        "kind": {"type": ["string", "null"], "enum": ["bug", "idea", None]},
        "price": {"type": ["number", "null"]},
        "tags": {"type": ["array", "null"], "items": {"type": "string", "enum": ["a", "b"]}},
    }
    schema: dict[str, object] = {"type": "object", "properties": properties, "required": list(properties)}
    empty = [row | {"kind": None, "price": "", "tags": None} for row in some_rows()]
    assert one_example(several_targets(empty, schema)).target == '{"kind":null,"price":null,"tags":null}'
    full = [row | {"price": "3.5", "tags": "b; a"} for row in some_rows()]
    assert one_example(several_targets(full, schema)).target == '{"kind":"bug","price":3.5,"tags":["a","b"]}'


def test_a_target_that_the_schema_does_not_require_may_be_empty() -> None:
    schema = FIELDS | {"required": ["kind"]}
    rows = [row | {"price": None, "tags": []} for row in some_rows()]
    assert one_example(several_targets(rows, schema)).target == '{"kind":"bug","tags":[]}'


@pytest.mark.parametrize(
    "tags", [{"type": "array", "items": {"type": "string"}}, {"type": "array", "items": {"enum": ["a", "b"]}}]
)
@pytest.mark.parametrize("cell", [None, "", " "])
def test_an_empty_cell_is_an_empty_list_only_where_there_must_be_one(tags: object, cell: str | None) -> None:
    for required, target in ((["kind"], '{"kind":"bug"}'), (["kind", "tags"], '{"kind":"bug","tags":[]}')):
        properties = {"kind": {"type": "string"}, "price": {"type": "number"}, "tags": tags}
        schema: dict[str, object] = {"type": "object", "properties": properties, "required": required}
        task = several_targets([row | {"price": "", "tags": cell} for row in some_rows()], schema)
        assert one_example(task).target == target
        csv_rows = "".join(f"{row['text']},{row['kind']},,\n" for row in some_rows())
        path = Path(write_csv(f"text,kind,price,tags\n{csv_rows}")).resolve()
        assert one_example(dataclasses.replace(task, paths=(path,))).target == target


def test_a_list_that_must_be_there_is_not_made_of_a_missing_key() -> None:
    rows = [row | {"price": 1, "tags": "a"} for row in some_rows()]
    del rows[0]["tags"]
    required = FIELDS | {"required": ["kind", "price", "tags"]}
    assert mistakes(several_targets(rows, required)) == [
        "d.jsonl:1: tags: expected this key, found none; there are kind, price, text"
    ]


@pytest.mark.parametrize("cell", [[1, 2], "[1, 2]"])
def test_only_texts_are_labels_of_a_list(cell: object) -> None:
    items = {"type": "array", "items": {"enum": [1, 2, 3]}}
    schema: dict[str, object] = {"type": "object", "properties": {"tags": items}, "required": ["tags"]}
    rows = [row | {"price": 1, "tags": cell} for row in some_rows()]
    assert one_example(several_targets(rows, schema)).target == '{"kind":"bug","price":1,"tags":[1,2]}'
    rows[0]["tags"] = [1, 4]
    assert "found at tags.1: 4 is not one of [1, 2, 3]" in mistakes(several_targets(rows, schema))[0]


@pytest.mark.parametrize("cell", ["[1, 2]", [1, 2], ["1", 2], "1; 2", "[2, 1]"])
def test_labels_that_are_figures_may_be_figures_in_a_cell(cell: object) -> None:
    rows = [row | {"kind": cell} for row in some_rows()]
    task = dataclasses.replace(make_task(write_jsonl(rows)), output="labels", labels=("1", "2", "3"))
    assert one_example(task).target == '["1", "2"]'


LONG = (
    "Yesterday I ordered the blue kettle from your shop, and it came with a broken lid and without its cable"
)


def test_near_duplicates_form_one_group_with_a_warning() -> None:
    rows = [
        *some_rows(),
        *({"text": text, "kind": "bug"} for text in (LONG, LONG.replace("kettle", "kettla"), LONG + "s")),
    ]
    dataset = load_dataset(make_task(write_jsonl(rows)))
    groups = {example.group for example in everybody(dataset) if example.values["text"].startswith("Yest")}
    assert len(groups) == 1
    assert groups != {None}
    alike = "nearly equal inputs, with nine in ten of their 5-grams in common"
    assert dataset.warnings == (f"3 examples form 1 group of {alike}; each group stays in one split",)


def test_near_duplicates_in_files_of_their_own_stay_where_they_are() -> None:
    files = three_files()
    files[0].append({"text": LONG, "kind": "bug"})
    files[2].append({"text": LONG + "s", "kind": "idea"})
    dataset = load_dataset(task_of(files))
    assert {example.group for example in everybody(dataset)} == {None}
    assert dataset.warnings == ()
