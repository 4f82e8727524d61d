import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from annotated_types import Ge, Gt, Le, MinLen

from optimizer.document import (
    Located,
    inside_project,
    load_json,
    load_yaml,
    project_root,
    write_atomically,
)
from optimizer.errors import InputError
from optimizer.schema import read, schema

FORBID: dict[str, object] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Demos:
    __pydantic_config__: ClassVar[dict[str, object]] = FORBID
    sizes: tuple[int, ...] = (0,)
    sets: Annotated[int, Ge(1)] = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    __pydantic_config__: ClassVar[dict[str, object]] = FORBID
    demos: Demos = field(default_factory=Demos)
    styles: Annotated[tuple[str, ...], MinLen(1)] = ("direct",)


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedMetric:
    __pydantic_config__: ClassVar[dict[str, object]] = FORBID
    name: str
    args: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class PythonMetric:
    __pydantic_config__: ClassVar[dict[str, object]] = FORBID
    python: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    __pydantic_config__: ClassVar[dict[str, object]] = FORBID
    model: str
    search: Search | None = None
    output: Literal["label", "labels", "text"] | None = None
    metric: str | NamedMetric | PythonMetric = "accuracy"
    labels: tuple[str, ...] | dict[str, str] = ()
    concurrency: Annotated[int, Ge(1)] | Literal["auto"] = "auto"
    share: Annotated[float, Gt(0), Le(1)] = 1.0
    compose: bool = False
    pair: tuple[int, int] = (0, 1)
    bounds: dict[Literal["min", "max"], float] | None = None
    anything: object = None

    def __post_init__(self) -> None:
        if self.model == self.metric:
            raise ValueError("model and metric must differ")


@pytest.fixture
def yaml(tmp_path: Path) -> Callable[[str | bytes], Located]:
    def load(text: str | bytes) -> Located:
        path = tmp_path / "study.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_yaml(path, display="study.yaml")

    return load


@pytest.fixture
def from_json(tmp_path: Path) -> Callable[[str], Located]:
    def load(text: str) -> Located:
        path = tmp_path / "prompt.json"
        path.write_text(text, encoding="utf-8")
        return load_json(path, display="prompt.json")

    return load


Loader = Callable[[str], Located]


def lines_of(load: Callable[[], object]) -> list[str]:
    with pytest.raises(InputError) as caught:
        load()
    return [str(problem) for problem in caught.value.problems]


def mistakes(located: Located, kind: type = Study) -> list[str]:
    return lines_of(lambda: read(located, kind))


# One row for each thing that strict YAML refuses: the text, and every line of the message.
REFUSED: dict[str, tuple[str | bytes, list[str]]] = {
    "duplicate keys": ("a: 1\nb: 2\na: 3\n", ["study.yaml:3: duplicate key 'a', first on line 1"]),
    "nested duplicates": ("a:\n  b: 2\n  b: 3\n", ["study.yaml:3: a: duplicate key 'b', first on line 2"]),
    "anchors": (
        "a: &x 1\n",
        ["study.yaml:1: a: anchor '&x' is not allowed: write the value out where it is used"],
    ),
    "aliases": ("a: *x\n", ["study.yaml:1: a: alias '*x' is not allowed: write the value out"]),
    "merge keys": (
        "a:\n  <<: {b: 1}\n",
        ["study.yaml:2: a: merge key '<<' is not allowed: write the fields out"],
    ),
    "own tags": (
        "a: !x 1\n",
        ["study.yaml:1: a: tag '!x' is not allowed: quotes make text, nothing else needs a tag"],
    ),
    "core tags": (
        "- !!str 1\n",
        ["study.yaml:1: [0]: tag '!!str' is not allowed: quotes make text, nothing else needs a tag"],
    ),
    "tagged lists": (
        "a: !!set [1]\n",
        ["study.yaml:1: a: tag '!!set' is not allowed: quotes make text, nothing else needs a tag"],
    ),
    "documents": ("a: 1\n---\nb: 1\n", ["study.yaml:2: expected one document, found a second"]),
    "directives": ("%YAML 1.1\n---\na: no\n", ["study.yaml:1: directives (%YAML, %TAG) are not allowed"]),
    "number keys": ("012: a\n", ['study.yaml:1: keys must be text, found the number 012: write "012"']),
    "boolean keys": ("true: a\n", ['study.yaml:1: keys must be text, found the boolean true: write "true"']),
    "date keys": (
        "2026-01-01: a\n",
        ['study.yaml:1: keys must be text, found the date 2026-01-01: write "2026-01-01"'],
    ),
    "empty keys": (": a\n", ["study.yaml:1: keys must be text, found nothing"]),
    "list keys": ("? [a]\n: b\n", ["study.yaml:1: keys must be text, found a list of 1 item"]),
    "alias keys": ("*x : b\n", ["study.yaml:1: *x: alias '*x' is not allowed: write the value out"]),
    "infinities": ("a: -.inf\n", ["study.yaml:1: a: expected a finite number, found -.inf"]),
    "not a number": ("a: .nan\n", ["study.yaml:1: a: expected a finite number, found .nan"]),
    "too large": ("a: 1e999\n", ["study.yaml:1: a: expected a finite number, found 1e999"]),
    "half a pair": ('a: "\\ud800"\n', ["study.yaml:1: a: text holds half of a surrogate pair"]),
    "no such character": (
        'a: 1\nb: "\\UFFFFFFFF"\n',
        ["study.yaml:2: not valid YAML: an escape or a directive has no meaning"],
    ),
    "no such version": (
        "%YAML 1.2012\n---\na: 1\n",
        ["study.yaml:1: not valid YAML: an escape or a directive has no meaning"],
    ),
    "long numbers": (
        "a: 1" + "0" * 400,
        [f"study.yaml:1: a: expected a finite number, found 1{'0' * 59}..."],
    ),
    "open list": ("a: [1\nb: 2\n", ["study.yaml:2: not valid YAML: expected ',' or ']', but got ':'"]),
    "colons": ("x: 1\na: b: c\n", ["study.yaml:2: not valid YAML: mapping values are not allowed here"]),
    "controls": ("x: 1\na: \x07\n", ["study.yaml:2: not valid YAML: the character U+0007 is not allowed"]),
    "depth": ("[" * 5000, ["study.yaml:1: nested deeper than 100 levels"]),
    "encoding": (b"a: 1\nb: caf\xe9\n", ["study.yaml:2: expected UTF-8 text, found the byte 0xe9"]),
    "utf-16": (
        "a: 1".encode("utf-16-le"),
        ["study.yaml:1: not valid YAML: the character U+0000 is not allowed"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_strict_yaml_refuses(case: str, yaml: Callable[[str | bytes], Located]) -> None:
    text, expected = REFUSED[case]
    assert lines_of(lambda: yaml(text)) == expected


def test_mistakes_before_a_syntax_error_are_told_with_it(yaml: Loader) -> None:
    assert lines_of(lambda: yaml("a: &x 1\na: 2\nb: !t 3\nc: [\n")) == [
        "study.yaml:1: a: anchor '&x' is not allowed: write the value out where it is used",
        "study.yaml:2: duplicate key 'a', first on line 1",
        "study.yaml:3: b: tag '!t' is not allowed: quotes make text, nothing else needs a tag",
        "study.yaml:5: not valid YAML: expected the node content, but found '<stream end>'",
    ]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *[
            (text, text)
            for text in ("no", "on", "yes", "NO", "y", "12:30", "1_000", "0b1", "1.2.3", "<<", "=")
        ],
        *[
            ("012", 12),
            ("-3", -3),
            ("+3", 3),
            ("0o17", 15),
            ("0x1F", 31),
            ("1.0", 1.0),
            (".5", 0.5),
            ("1e3", 1000.0),
        ],
        *[
            ("true", True),
            ("False", False),
            ("null", None),
            ("~", None),
            ("", None),
            ("'1'", "1"),
            ('"no"', "no"),
        ],
        *[("|\n  1\n  2\n", "1\n2\n"), ('"\\ud83d\\ude00"', "😀"), ("2026-01-01", "2026-01-01")],
    ],
)
def test_plain_scalars_follow_yaml_1_2(written: str, value: object, yaml: Loader) -> None:
    found = yaml(f"a: {written}").value
    assert isinstance(found, dict)
    assert (found["a"], type(found["a"])) == (value, type(value))


def test_a_byte_order_mark_is_tolerated(yaml: Callable[[bytes], Located], from_json: Loader) -> None:
    assert yaml(b"\xef\xbb\xbfa: 1").value == {"a": 1}
    assert from_json('\ufeff{"a": 1}').value == {"a": 1}


def test_an_empty_file_holds_nothing(yaml: Loader) -> None:
    assert yaml("").value is None
    assert yaml("# a comment\n").value is None
    assert mistakes(yaml("")) == ["study.yaml:1: expected a mapping, found nothing"]


def test_lines_and_raw_scalars_are_known_by_path(yaml: Loader) -> None:
    located = yaml("a:\n  - 1\n  - b: 012\n    c: 'x'\n\nd: {e: ~}\n")
    assert located.line(("a", 1, "b")) == 3
    assert located.line(("a", 1, "missing", 7)) == 3
    assert located.line(("d", "e")) == 6
    assert located.line(("nowhere",)) == 1
    assert located.raw(("a", 1, "b")) == "012"
    assert located.raw(("a", 1, "c")) == "'x'"
    assert located.raw(("a",)) is None
    assert located.raw(("nowhere",)) is None


def test_a_line_is_what_an_editor_counts(yaml: Loader) -> None:
    assert yaml('a: "x\u2028y"\r\nb: |\r\n  t\r\nc: 1\r\n').line(("c",)) == 4


def test_json_knows_its_lines(from_json: Loader) -> None:
    located = from_json('{\n "a": [1,\n  {"b": "x\\n,{"}],\n "c": -1.50}')
    assert located.value == {"a": [1, {"b": "x\n,{"}], "c": -1.5}
    assert located.line(("a", 1, "b")) == 3
    assert located.line(("c",)) == 4
    assert located.raw(("c",)) == "-1.50"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{"a": 1,\n"a": NaN}',
            ["2: duplicate key 'a', first on line 1", "2: a: expected a finite number, found NaN"],
        ),
        ("[-Infinity]", ["1: [0]: expected a finite number, found -Infinity"]),
        ('{"a": 1,\n\n}', ["3: not valid JSON: expecting property name enclosed in double quotes"]),
        ("[1] 2", ["1: not valid JSON: extra data"]),
        ("", ["1: not valid JSON: expecting value"]),
        ("[" * 120 + "]" * 120, ["1: nested deeper than 100 levels"]),
        ('["\\udc00"]', ["1: [0]: text holds half of a surrogate pair"]),
        ("[" + "9" * 5000 + "]", [f"1: [0]: expected a finite number, found {'9' * 60}..."]),
    ],
)
def test_strict_json_refuses(text: str, expected: list[str], from_json: Loader) -> None:
    assert lines_of(lambda: from_json(text)) == [f"prompt.json:{line}" for line in expected]


def test_json_of_any_depth_is_an_input_error(from_json: Loader) -> None:
    assert lines_of(lambda: from_json("[" * 200_000)) == ["prompt.json: nested deeper than 100 levels"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "large.json").write_bytes(b" " * (16 * 2**20 + 1))
    (tmp_path / "loop").symlink_to("loop")
    assert lines_of(lambda: load_yaml(tmp_path / "none.yaml")) == [f"{tmp_path}/none.yaml: no such file"]
    assert lines_of(lambda: load_json(tmp_path, display="x")) == ["x: expected a file, found a folder"]
    assert lines_of(lambda: load_json(tmp_path / "large.json", display="x")) == ["x: larger than 16 MiB"]
    assert lines_of(lambda: load_yaml(tmp_path / "loop", display="x"))[0].startswith("x: cannot be read: ")


def test_a_right_file_becomes_its_dataclass(yaml: Loader) -> None:
    located = yaml(
        "model: m\nsearch: {demos: {sizes: [0, 4]}}\nshare: 1\nmetric: {python: a.py:f}\npair: [1, 2]\n"
    )
    study = read(located, Study)
    assert study.search == Search(demos=Demos(sizes=(0, 4)))
    assert study.metric == PythonMetric(python="a.py:f")
    assert (study.share, type(study.share), study.pair) == (1.0, float, (1, 2))
    assert read(located, Demos, at=("search", "demos")) == Demos(sizes=(0, 4))


# Each row is one field of a study and the message about it, without the name of the file and the line.
WRONG = {
    "share: seven": 'share: expected a number of more than 0 and at most 1, found text "seven"',
    "share: 0": "share: expected a number of more than 0 and at most 1, found 0",
    "share: 1.50": "share: expected a number of more than 0 and at most 1, found 1.50",
    "share: true": "share: expected a number of more than 0 and at most 1, found the boolean true",
    "compose: 1": "compose: expected true or false, found the number 1",
    "compose: no": 'compose: expected true or false, found text "no"',
    "output: lable": (
        "output: expected one of 'label', 'labels', 'text' or null, found 'lable'; did you mean 'label'?"
    ),
    "output: zzz": "output: expected one of 'label', 'labels', 'text' or null, found 'zzz'",
    "output: 3": "output: expected one of 'label', 'labels', 'text' or null, found the number 3",
    "search: 3": "search: expected a mapping or null, found the number 3",
    "search: {styles: []}": "search.styles: expected a list of at least 1 item, found an empty list",
    "search: {styles: direct}": 'search.styles: expected a list of at least 1 item, found text "direct"',
    "search: {demos: {sizes: '4'}}": 'search.demos.sizes: expected a list of whole numbers, found text "4"',
    "search: {demos: {sizes: [1, 1.0]}}": "search.demos.sizes[1]: expected a whole number, found 1.0",
    "search: {demos: {sizes: [1, seven]}}": (
        'search.demos.sizes[1]: expected a whole number, found text "seven"'
    ),
    "search: {demos: {sizes: [2026-01-01]}}": (
        "search.demos.sizes[0]: expected a whole number, found the date 2026-01-01"
    ),
    "search: {demos: {sets: 0}}": "search.demos.sets: expected a whole number of at least 1, found 0",
    "search: {demo: 1}": "search: unknown field 'demo'; did you mean 'demos'?",
    "search: {zzz: 1}": "search: unknown field 'zzz'; known fields: 'demos', 'styles'",
    "labels: [a, 012]": 'labels[1]: expected text, found the number 012: write "012"',
    "labels: [true]": 'labels[0]: expected text, found the boolean true: write "true"',
    "labels: [~]": 'labels[0]: expected text, found ~: write "~"',
    "labels: [2026-01-01]": 'labels[0]: expected text, found the date 2026-01-01: write "2026-01-01"',
    "labels: {a: 1}": 'labels.a: expected text, found the number 1: write "1"',
    "labels: 3": "labels: expected a list of texts or a mapping, found the number 3",
    "metric: 1.5": 'metric: expected text or a mapping, found the number 1.5: write "1.5"',
    "metric: {name: f1, agrs: {}}": "metric: unknown field 'agrs'; did you mean 'args'?",
    "metric: {name: f1, args: {k: x}}": 'metric.args.k: expected a number, found text "x"',
    "metric: {python: 3}": 'metric.python: expected text, found the number 3: write "3"',
    "concurrency: 0": "concurrency: expected a whole number of at least 1 or 'auto', found 0",
    "concurrency: aut": (
        "concurrency: expected a whole number of at least 1 or 'auto', found 'aut'; did you mean 'auto'?"
    ),
    "pair: [1]": "pair: missing item 1, counted from 0",
    "pair: [1, 2, 3]": "pair: expected a list of 2 items, found a list of 3 items",
    "pair: [1, x]": 'pair[1]: expected a whole number, found text "x"',
    "bounds: {mix: 1}": "bounds: expected one of 'min', 'max' as a key, found 'mix'; did you mean 'min'?",
    "anything: [2026-01-01]": 'anything[0]: expected text, found the date 2026-01-01: write "2026-01-01"',
    "metric: m": "model and metric must differ",
}


@pytest.mark.parametrize(("written", "message"), WRONG.items())
def test_a_wrong_field_is_told(written: str, message: str, yaml: Loader) -> None:
    line = 1 if written == "metric: m" else 2
    assert mistakes(yaml(f"model: m\n{written}\n")) == [f"study.yaml:{line}: {message}"]


def test_all_mistakes_come_at_once_in_the_order_of_the_lines(yaml: Loader) -> None:
    text = (
        "share: 2\nsearch:\n  demos:\n    sizes: [0, x]\n    sets: y\nmodle: m\nlabels:\n- 2026-01-01\n- 3\n"
    )
    assert mistakes(yaml(text)) == [
        "study.yaml:1: missing field 'model'",
        "study.yaml:1: share: expected a number of more than 0 and at most 1, found 2",
        'study.yaml:4: search.demos.sizes[1]: expected a whole number, found text "x"',
        'study.yaml:5: search.demos.sets: expected a whole number of at least 1, found text "y"',
        "study.yaml:6: unknown field 'modle'; did you mean 'model'?",
        'study.yaml:8: labels[0]: expected text, found the date 2026-01-01: write "2026-01-01"',
        'study.yaml:9: labels[1]: expected text, found the number 3: write "3"',
    ]


def test_fields_below_a_place_are_told_from_the_top(yaml: Loader) -> None:
    located = yaml("search:\n  demos: {sizes: 4}\n")
    expected = ["study.yaml:2: search.demos.sizes: expected a list of whole numbers, found the number 4"]
    assert lines_of(lambda: read(located, Demos, at=("search", "demos"))) == expected
    assert lines_of(lambda: read(located, Demos, at=("search", "demo"))) == [
        "study.yaml:1: search: missing field 'demo'"
    ]


def test_a_message_shows_no_control_character_and_no_novel(yaml: Loader) -> None:
    (message,) = mistakes(yaml(f'model: m\nshare: "\\e[31m{"x" * 100}"\n'))
    assert message.endswith(f'found text "\\x1b[31m{"x" * 55}..."')


def test_json_is_read_like_yaml(from_json: Loader) -> None:
    assert mistakes(from_json('{"model": 12,\n "labels": [null]}')) == [
        'prompt.json:1: model: expected text, found the number 12: write "12"',
        'prompt.json:2: labels[0]: expected text, found null: write "null"',
    ]


def test_a_schema_is_sorted_and_closed() -> None:
    document = schema(Demos)
    assert list(document) == sorted(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["additionalProperties"] is False


def test_writing_keeps_the_mode_and_follows_links(tmp_path: Path) -> None:
    target, link = tmp_path / "prompt.json", tmp_path / "link.json"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_atomically(link, "é\n")
    assert target.read_bytes() == "é\n".encode()
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "prompt.json"]


def test_a_new_file_has_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_atomically(tmp_path / "new", "")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "prompt.json"
    target.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("mark", ["pyproject.toml", ".git", ".optimizer"])
def test_the_project_is_the_nearest_marked_folder(mark: str, tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "x"
    folder.mkdir(parents=True)
    if mark == ".optimizer":
        (tmp_path / mark).mkdir()
    else:
        (tmp_path / mark).touch()
    assert project_root(folder / "study.yaml") == tmp_path.resolve()


def test_without_a_mark_the_project_is_the_folder_of_the_file(tmp_path: Path) -> None:
    assert project_root(tmp_path / "task.yaml") == tmp_path.resolve()


def test_paths_stay_inside_the_project(tmp_path: Path) -> None:
    (tmp_path / "p" / "tasks").mkdir(parents=True)
    (tmp_path / "p" / ".git").mkdir()
    (tmp_path / "p" / "tasks" / "out").symlink_to(tmp_path)
    (tmp_path / "p" / "tasks" / "loop").symlink_to("loop")
    file = tmp_path / "p" / "tasks" / "t.yaml"
    root = (tmp_path / "p").resolve()

    def message(reference: str) -> str:
        with pytest.raises(ValueError, match="path") as caught:
            inside_project(reference, file=file)
        return str(caught.value)

    assert inside_project("../datasets/d.csv", file=file) == root / "datasets" / "d.csv"
    outside = f"leads outside the project ({root})"
    assert message("../../x") == f"the path '../../x' {outside}"
    assert message("out/x") == f"the path 'out/x' {outside}"
    assert (
        message("/etc/passwd") == "expected a path relative to the folder of this file, found '/etc/passwd'"
    )
    assert message("") == "expected a path relative to the folder of this file, found ''"
    assert message("loop") == "the path 'loop' cannot be followed"
    assert message("a\0b") == "the path 'a\\x00b' cannot be followed"
