"""Plug-ins by file name and entry point."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from optimizer.errors import PluginError
from optimizer.metrics import METRICS, Metric
from optimizer.registry import Registry, did_you_mean

FOLDER = "plug_in_room"

INIT = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Tool:
    name: str
"""
TOOL = "from plug_in_room import Tool\n{name} = Tool({name!r})\n"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of plug-ins on the path, which is forgotten afterwards."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "__init__.py").write_text(INIT)
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield folder
    for name in set(sys.modules) - known:
        del sys.modules[name]
    importlib.invalidate_caches()


def tools() -> Registry[object]:
    return Registry(FOLDER, importlib.import_module(FOLDER).Tool)


def distribution(folder: Path, *lines: str) -> None:
    """Put a distribution that has these entry points beside the room."""
    info = folder.parent / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{FOLDER}]", *lines, ""]))


def test_a_plug_in_is_told_of_by_the_first_line_of_its_module(room: Path) -> None:
    (room / "hammer.py").write_text('"""Drives nails.\n\nMore of it.\n"""\n' + TOOL.format(name="hammer"))
    (room / "saw.py").write_text(TOOL.format(name="saw"))
    assert [tools().about(name) for name in ("hammer", "saw")] == ["Drives nails.", ""]
    with pytest.raises(PluginError, match="no plug-in 'hamer'"):
        tools().about("hamer")


def test_files_are_listed_in_order_without_being_imported(room: Path) -> None:
    for name in ("zeta", "alpha", "_private"):
        (room / f"{name}.py").write_text("raise RuntimeError('imported')\n")
    (room / "notes.txt").write_text("no plug-in")
    registry = tools()
    assert list(registry) == ["alpha", "zeta"]
    assert "alpha" in registry
    assert "_private" not in registry
    assert not {f"{FOLDER}.alpha", f"{FOLDER}.zeta"} & set(sys.modules)


def test_listing_the_metrics_imports_none_of_them() -> None:
    program = (
        "import sys; from optimizer.metrics import METRICS; assert 'macro_f1' in list(METRICS);"
        " print(*(name for name in sys.modules if name.startswith(('optimizer.metrics.', 'sklearn'))))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_a_plug_in_is_the_one_object_of_its_kind_in_its_file(room: Path) -> None:
    (room / "hammer.py").write_text(TOOL.format(name="hammer") + "_spare = Tool('spare')\nlength = 3\n")
    assert getattr(tools()["hammer"], "name", None) == "hammer"
    assert tools()["hammer"] is tools()["hammer"]


@pytest.mark.parametrize(
    ("content", "n_found"),
    [
        pytest.param("", 0, id="none"),
        pytest.param("from plug_in_room import Tool\n", 0, id="only-the-class"),
        pytest.param("from plug_in_room import Tool\n_a = Tool('a')\n", 0, id="only-a-private-one"),
        pytest.param(TOOL.format(name="a") + TOOL.format(name="b"), 2, id="two"),
    ],
)
def test_a_file_with_no_plug_in_or_two_is_refused(room: Path, content: str, n_found: int) -> None:
    (room / "odd.py").write_text(content)
    with pytest.raises(PluginError) as caught:
        tools()["odd"]
    assert str(caught.value) == f"plug_in_room.odd must define exactly one Tool, found {n_found}"


def test_an_unknown_plug_in_is_named_with_the_nearest_one() -> None:
    with pytest.raises(PluginError) as caught:
        METRICS["exact_mach"]
    assert str(caught.value) == "no plug-in 'exact_mach' in metrics; did you mean 'exact_match'?"


@pytest.mark.parametrize("name", ["_private", "", "__init__", "../hammer", "sub.hammer", "hammer.py"])
def test_a_name_is_never_a_path(room: Path, name: str) -> None:
    for file in ("_private", "hammer"):
        (room / f"{file}.py").write_text(TOOL.format(name="x"))
    with pytest.raises(PluginError, match="no plug-in"):
        tools()[name]


def test_another_distribution_adds_a_plug_in_by_an_entry_point(room: Path) -> None:
    (room / "hammer.py").write_text(TOOL.format(name="hammer"))
    (room.parent / "third_party_saw.py").write_text(TOOL.format(name="saw"))
    distribution(room, "saw = third_party_saw")
    registry = tools()
    assert list(registry) == ["hammer", "saw"]
    assert "third_party_saw" not in sys.modules
    assert getattr(registry["saw"], "name", None) == "saw"


def test_another_distribution_cannot_take_the_name_of_a_file_in_the_folder(room: Path) -> None:
    (room / "hammer.py").write_text(TOOL.format(name="hammer"))
    (room.parent / "third_party_hammer.py").write_text(TOOL.format(name="other"))
    distribution(room, "hammer = third_party_hammer")
    assert list(tools()) == ["hammer"]
    assert getattr(tools()["hammer"], "name", None) == "hammer"
    assert "third_party_hammer" not in sys.modules


def test_a_metric_of_another_distribution_is_found_in_the_groups_own_name(room: Path, tmp_path: Path) -> None:
    (tmp_path / "third_party_metric.py").write_text(
        "from optimizer.metrics import metric\n@metric()\ndef never(answer, target):\n    return 0.0\n"
    )
    distribution(room, "", "[optimizer.metrics]", "never = third_party_metric")
    registry = Registry(METRICS.folder, Metric)  # as another process makes it
    assert "never" in registry
    assert isinstance(registry["never"], Metric)


def test_a_plug_in_that_cannot_be_imported_is_an_input_error(room: Path) -> None:
    (room / "needy.py").write_text("import a_library_nobody_has\n")
    distribution(room, "gone = third_party_gone")
    registry = tools()
    with pytest.raises(PluginError) as caught:
        registry["needy"]
    assert str(caught.value) == (
        "plug_in_room.needy cannot be imported: No module named 'a_library_nobody_has'"
    )
    with pytest.raises(
        PluginError, match="third_party_gone cannot be imported: No module named 'third_party_gone'"
    ):
        registry["gone"]


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("exakt", ["exact", "f1"], "; did you mean 'exact'?"),
        ("zzz", ["b", "a"], "; there are a, b"),
        ("zzz", [], ""),
    ],
)
def test_a_hint_is_the_nearest_name_or_all_of_them(name: str, known: list[str], hint: str) -> None:
    assert did_you_mean(name, known) == hint
