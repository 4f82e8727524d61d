"""The shape of the code: who may import whom, what stays light, how long things get."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from optimizer.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "optimizer"

MOST_LINES_OF_A_MODULE = 400
MOST_LINES_OF_A_FUNCTION = 60

# What `optimizer --help` must not wait for.
HEAVY = {
    *("dspy", "genai_prices", "litellm", "numpy", "openai", "optuna", "pandas"),
    *("plotly", "pydantic", "scipy", "sklearn", "sqlalchemy"),
    *("jsonschema", "rapidfuzz", "regex", "sacrebleu"),
}

# All that stands between a frozen prompt and the standard library.
PRODUCTION = {
    "optimizer",
    *(
        f"optimizer.{name}"
        for name in (
            "answer",
            "completion",
            "digest",
            "errors",
            "frozen",
            "narrowing",
            "prompt",
            "reading",
            "numerals",
            "repair",
            "retrieval",
        )
    ),
}


def test_every_import_contract_is_kept() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_frozen_prompt_loads_nothing_but_the_standard_library_and_its_own_modules(tmp_path: Path) -> None:
    loaded = modules_loaded_by("import optimizer.frozen", folder=tmp_path)
    foreign = {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names}
    assert foreign == PRODUCTION


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("from optimizer.commands import main; main()", id="console-script"),
        pytest.param("import runpy; runpy.run_module('optimizer', run_name='__main__')", id="python-m"),
    ],
)
def test_help_loads_none_of_the_heavy_libraries(program: str, tmp_path: Path) -> None:
    loaded = modules_loaded_by(program, "--help", folder=tmp_path)
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_help_of_a_command_loads_none_of_the_heavy_libraries(name: str, tmp_path: Path) -> None:
    program = "from optimizer.commands import main; main()"
    loaded = modules_loaded_by(program, name, "--help", folder=tmp_path)
    # The library that reads a command's arguments takes pydantic for it.
    assert HEAVY & {module.partition(".")[0] for module in loaded} <= {"pydantic"}


def test_there_is_no_utils() -> None:
    assert [path for path in modules() if {"util", "utils"} & {path.stem, *path.parts}] == []


def test_no_plug_in_takes_a_name_that_its_folder_uses() -> None:
    # Importing a plug-in sets its name in the folder's `__init__`, over whatever has that name there.
    clashes = {
        str(init): taken
        for init in modules()
        if init.stem == "__init__" and (taken := names_in(init) & {path.stem for path in siblings(init)})
    }
    assert clashes == {}


@pytest.mark.parametrize("folder", ["datasets", "studies", "tasks", "tests"])
def test_a_folder_that_is_no_package_has_no_init(folder: str) -> None:
    assert sorted((ROOT / folder).rglob("__init__.py")) == []


def test_no_module_is_too_long() -> None:
    lengths = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {path: n for path, n in lengths.items() if n > MOST_LINES_OF_A_MODULE} == {}


def test_no_function_is_too_long() -> None:
    lengths = {place: n for path in modules() for place, n in functions(path)}
    assert {place: n for place, n in lengths.items() if n > MOST_LINES_OF_A_FUNCTION} == {}


def modules_loaded_by(program: str, *arguments: str, folder: Path) -> set[str]:
    """Return the modules that a program loads in a fresh interpreter, away from the checkout.

    What the interpreter itself loads at its start does not count, nor how the program ends, as long as it
    ends with exit code 0.
    """
    watched = f"""
import json, sys
before = set(sys.modules)
try:
    exec({program!r}, {{"__name__": "watched"}})
except SystemExit as end:
    assert not end.code, end.code
sys.stderr.write("\\n" + json.dumps(sorted(set(sys.modules) - before)))
"""
    command = [sys.executable, "-c", watched, *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stderr.splitlines()[-1]))


def modules() -> list[Path]:
    """Return every module of the package, as a path from the root."""
    return sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py"))


def siblings(init: Path) -> set[Path]:
    """Return the modules beside an `__init__`."""
    return {path for path in modules() if path.parent == init.parent and path != init}


def names_in(path: Path) -> set[str]:
    """Return the names that a module defines or imports at its top."""
    names: set[str] = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        else:
            stored = (name for name in ast.walk(node) if isinstance(name, ast.Name))
            names |= {name.id for name in stored if isinstance(name.ctx, ast.Store)}
    return names


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the place and the number of lines of every function in a module."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1
