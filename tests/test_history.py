"""The score history as a table: the same from whatever holds it, its columns of one type each."""

import csv
import io
import json
import math
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer import load_history
from optimizer.commands import main
from optimizer.errors import InputError
from optimizer.historytable import TYPES, Entry, history_entries, write_history

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(__file__).with_name("data") / "parcels"
NOTEBOOK = ROOT / "docs" / "notebooks" / "history.ipynb"
FEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Carry out the study of parcels, with a decoding parameter, and return its folder."""
    folder = tmp_path_factory.mktemp("history")
    shutil.copytree(DATA, folder, dirs_exist_ok=True)
    (folder / "pyproject.toml").touch()
    path = folder / "studies" / "parcels" / "study.yaml"
    text = path.read_text().replace(
        "formats: [plain, choice]", "formats: [choice]\n  parameters: {temperature: [0, 0.5]}"
    )
    path.write_text(text)
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
    ):
        patch.setattr(sys, "argv", ["optimizer", "run", str(path), "--quiet"])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0
    return path.parent


def test_every_file_of_a_study_holds_the_same_history(study: Path, tmp_path: Path) -> None:
    entries = history_entries(study)
    write_history(tmp_path / "h.parquet", entries)
    write_history(tmp_path / "h.csv", entries)
    whole = load_history(study)
    for path in (study / "study.db", study / "study.yaml", tmp_path / "h.parquet", tmp_path / "h.csv"):
        pd.testing.assert_frame_equal(load_history(path), whole)
    beside = whole.drop(columns=["feasible", "outage"])
    pd.testing.assert_frame_equal(load_history(study / "history.csv"), beside)
    frozen = beside.drop(columns="fingerprint")
    pd.testing.assert_frame_equal(load_history(study / "prompt.json")[frozen.columns], frozen)


def test_each_column_has_the_type_that_is_promised(study: Path) -> None:
    table = load_history(study)
    dtypes = {str: "string", int: "Int64", float: "float64", bool: "boolean"}
    for name, kind in TYPES.items():
        assert str(table[name].dtype) == dtypes[kind], name
    assert str(table["temperature"].dtype) == "float64"
    assert math.isnan(table["temperature"][0])  # the baseline has none of its own
    assert list(table["trial"]) == list(range(len(table)))
    assert set(table["instruction_id"]) <= {"i0000", "i0001"}
    assert table["score"].cummax().iloc[-1] == table["score"].max()


def test_values_are_those_of_the_files(study: Path) -> None:
    table = load_history(study)
    rows = list(csv.DictReader(io.StringIO((study / "history.csv").read_text())))
    frozen = json.loads((study / "prompt.json").read_text())["history"]
    assert len(rows) == len(frozen) == len(table) > 4
    for k, (row, entry) in enumerate(zip(rows, frozen, strict=True)):
        assert table["score"][k] == float(row["score"]) == entry["score"]
        assert table["digest"][k] == row["digest"] == entry["digest"]
        assert table["n"][k] == int(row["n"]) == entry["n"]


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=12)
CELLS = {
    str: TEXTS,
    int: st.integers(0, 10**12),
    float: st.floats(0, 1).map(float),
    bool: st.booleans(),
}


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Return rows of a history with what may be missing missing."""
    n = draw(st.integers(1, 4))
    never = {"trial", "state", "stage", "digest", "n"}
    rows = []
    for number in range(n):
        row: dict[str, Any] = {"trial": number}
        for name, kind in TYPES.items():
            if name != "trial":
                some = CELLS[kind]
                row[name] = draw(some if name in never or kind is str else st.none() | some)
        rows.append(row)
    return list(rows)


@FEW
@given(entries=histories())
def test_what_is_written_is_read_again(entries: list[Entry], tmp_path: Path) -> None:
    for suffix in (".csv", ".parquet"):
        path = tmp_path / f"history{suffix}"
        write_history(path, entries)
        assert history_entries(path) == entries


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "x,y\n1,2\n", "is no history: it has no column trial, state, stage, digest, n, score"),
        ("a.csv", "trial,state,stage,digest,n,score\n", "holds no trial"),
        (
            "a.csv",
            "trial,state,stage,digest,n,score\nz,a,b,c,1,0.5\n",
            "a.csv:2: trial: expected a whole number",
        ),
        *(
            (
                "a.csv",
                f"trial,state,stage,digest,n,score\n0,a,b,c,1,0.5\n1,a,b,c,1,{text}\n",
                f"a.csv:3: score: expected a finite number, found '{text}'",
            )
            for text in ("nan", "inf", "-Infinity", "1e999")
        ),
        ("a.csv", "trial,state,stage,digest,n,score\n1,a,b,c,1,0.5,9\n", "more cells than columns"),
        ("a.csv", 'trial,state,stage,digest,n,score\n1,"a"b,b,c,1,0.5\n', "no CSV"),
        ("a.json", "{}", "expected a version"),
        ("a.parquet", "no table", "cannot be read"),
    ],
)
def test_what_is_no_history_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=told):
        load_history(tmp_path / name)


def test_a_folder_without_a_history_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no history yet"):
        load_history(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load_history(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "told"), [("h.xlsx", "ends in .csv or .parquet"), ("nowhere/h.csv", "cannot be written")]
)
def test_what_cannot_be_written_is_told(study: Path, tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        write_history(tmp_path / name, history_entries(study))


def test_to_import_it_loads_no_pandas(tmp_path: Path) -> None:
    program = "import sys; from optimizer import load_history; print(sorted({'pandas', 'numpy', 'optuna'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_the_notebook_shows_what_its_cells_print() -> None:
    command = [sys.executable, str(NOTEBOOK.with_name("run_notebook.py")), "--check", str(NOTEBOOK)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_notebook_with_other_outputs_is_found(tmp_path: Path) -> None:
    for path in NOTEBOOK.parent.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    copy = tmp_path / NOTEBOOK.name
    copy.write_text(copy.read_text().replace("14 trials", "15 trials"))
    command = [sys.executable, str(tmp_path / "run_notebook.py"), "--check", str(copy)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "out of date" in result.stderr
