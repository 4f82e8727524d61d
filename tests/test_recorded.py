"""Tables of recorded scores: what is read, and how every mistake is told."""

import gzip
from pathlib import Path

import pytest

from optimizer.errors import InputError
from optimizer.recorded import read_recorded

ROWS = """prompt_id,example_id,score,test_score,style,shots,prompt_text
p2,e1,1,0.75,direct,4,Say it.
p2,e2,0,0.75,direct,4,
p1,e2,0.5,,chain,0,"Think, then say it."
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text(ROWS)
    return path


def test_scores_factors_and_test_scores_are_told_apart(table: Path) -> None:
    found = read_recorded(table)
    assert found.baseline == "p2"
    assert found.scores == {"p1": {"e2": 0.5}, "p2": {"e1": 1.0, "e2": 0.0}}
    assert found.factors == {
        "p1": {"style": "chain", "shots": "0"},
        "p2": {"style": "direct", "shots": "4"},
    }
    assert found.test_scores == {"p2": 0.75}


def test_a_column_can_be_left_out_of_the_factors(table: Path) -> None:
    assert read_recorded(table, ignore=["shots"]).factors["p1"] == {"style": "chain"}


def test_compressed_and_json_lines_tables_hold_the_same(table: Path, tmp_path: Path) -> None:
    packed = tmp_path / "scores.csv.gz"
    packed.write_bytes(gzip.compress(ROWS.encode()))
    assert read_recorded(packed) == read_recorded(table)
    lines = tmp_path / "scores.jsonl.gz"
    text = '{"prompt_id": "a", "example_id": "x", "score": 1}\n{"prompt_id": "b", "example_id": "x", "score": 0.25}\n'
    lines.write_bytes(gzip.compress(text.encode()))
    assert read_recorded(lines).scores == {"a": {"x": 1.0}, "b": {"x": 0.25}}


def test_a_factor_that_is_null_or_absent_has_the_level_of_an_empty_cell(tmp_path: Path) -> None:
    rows = tmp_path / "scores.csv"
    rows.write_text("prompt_id,example_id,score,style,shots\na,x,1,direct,\nb,x,0.25,,4\nb,y,1,,4\n")
    lines = tmp_path / "scores.jsonl"
    lines.write_text(
        '{"prompt_id": "a", "example_id": "x", "score": 1, "style": "direct"}\n'
        '{"prompt_id": "b", "example_id": "x", "score": 0.25, "style": null, "shots": 4}\n'
        '{"prompt_id": "b", "example_id": "y", "score": 1, "shots": 4}\n'
    )
    found = read_recorded(lines)
    assert found == read_recorded(rows)
    assert found.factors == {"a": {"style": "direct", "shots": ""}, "b": {"style": "", "shots": "4"}}
    lines.write_text(lines.read_text().replace('"style": null', '"style": "direct"'))
    with pytest.raises(
        InputError, match=r":3: style: expected 'direct' as in the other rows of 'b', found ''"
    ):
        read_recorded(lines)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "prompt_id,example_id,scor\np,e,1\n",
            ["scores.csv:1: score: expected a column of this name, found none; did you mean 'scor'?"],
        ),
        ("prompt_id,example_id,score\n", ["scores.csv: expected at least one score, found none"]),
        (
            "prompt_id,example_id,score,style\np,e,1.5,a\np,f,one,b\n,g,1,a\np,e,0,a\nq,e,,c\n",
            [
                "scores.csv:2: score: expected a score in [0, 1], found 1.5",
                "scores.csv:3: score: expected a score in [0, 1], found one",
                "scores.csv:3: style: expected 'a' as in the other rows of 'p', found 'b'",
                "scores.csv:4: prompt_id: expected some text, found none",
                "scores.csv:5: example_id: expected one score of 'p' on this example, found another on line 2",
                "scores.csv:6: score: expected a score in [0, 1], found none",
            ],
        ),
        (
            "prompt_id,example_id,score,test_score\np,e,1,0.5\np,f,1,0.6\n",
            ["scores.csv:3: test_score: expected 0.5 as in the other rows of 'p', found 0.6"],
        ),
        (
            "prompt_id,example_id,score\np,e,nan\n",
            ["scores.csv:2: score: expected a score in [0, 1], found nan"],
        ),
    ],
)
def test_every_mistake_is_told_with_its_line(
    table: Path, content: str, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table.parent)
    table.write_text(content)
    with pytest.raises(InputError) as caught:
        read_recorded(table)
    assert [str(problem) for problem in caught.value.problems] == told


def test_a_column_that_is_not_there_cannot_be_ignored(table: Path) -> None:
    with pytest.raises(InputError, match=r"--ignore.*has no column 'stile'; did you mean 'style'"):
        read_recorded(table, ignore=["stile"])
    with pytest.raises(InputError, match="'score' is needed and cannot be ignored"):
        read_recorded(table, ignore=["score"])


def test_a_file_that_is_not_what_its_name_says_is_told(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv.gz"
    path.write_text(ROWS)
    with pytest.raises(InputError, match="cannot be unpacked"):
        read_recorded(path)
    path.write_bytes(gzip.compress(ROWS.encode())[:40])
    with pytest.raises(InputError, match="cannot be unpacked"):
        read_recorded(path)


def test_a_great_many_mistakes_are_counted(table: Path) -> None:
    table.write_text("prompt_id,example_id,score\n" + "".join(f"p,e{k},2\n" for k in range(80)))
    with pytest.raises(InputError, match="and 30 more mistakes"):
        read_recorded(table)


def test_only_plain_decimals_are_scores_and_an_ignored_test_score_is_not_read(table: Path) -> None:
    table.write_text("prompt_id,example_id,score\np,e,0_1\n")
    with pytest.raises(InputError, match="expected a score in \\[0, 1\\], found 0_1"):
        read_recorded(table)
    table.write_text("prompt_id,example_id,score,test_score\np,e,1e-1,junk\n")
    found = read_recorded(table, ignore=["test_score"])
    assert (found.scores, found.test_scores) == ({"p": {"e": 0.1}}, {})
