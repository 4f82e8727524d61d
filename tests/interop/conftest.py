"""JavaScript libraries: where they are, how they are run, and the prompts of the tests in Python for them."""

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parent
LIBRARIES = FOLDER.parents[1] / ".interop"


@pytest.fixture(scope="session")
def node() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Return a function that runs a script with the Node that was installed beside the libraries.

    It sees no key of anybody, and no settings.
    """

    def run(
        arguments: Sequence[str | Path],
        *,
        text: str = "",
        cwd: Path = LIBRARIES,
        **variables: str,
    ) -> "subprocess.CompletedProcess[str]":
        places = f"{LIBRARIES / 'node_modules' / '.bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        program = shutil.which("node", path=places)
        assert program is not None
        return subprocess.run(
            [program, *arguments],
            cwd=cwd,
            input=text,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=500,
            check=False,
            env={"PATH": places, "HOME": str(cwd), **variables},
        )

    return run


@pytest.fixture(scope="session")
def library() -> Callable[[str], Path]:
    """Return a function that gives the folder of an installed library, and skips the test where there is none."""

    def folder(name: str) -> Path:
        found = LIBRARIES / "node_modules" / name
        if not found.is_dir():
            pytest.skip(f"npm's {name} is not installed; `make test-interop` installs it and runs this")
        return found

    return folder


@pytest.fixture(scope="session")
def rendered(
    node: Callable[..., "subprocess.CompletedProcess[str]"], library: Callable[[str], Path]
) -> Callable[..., Any]:
    """Return a function that hands JSON to a script of this folder, and returns the JSON that it writes."""

    def render(name: str, script: str, data: object) -> Any:
        library(name)
        done = node([FOLDER / script], text=json.dumps(data))
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    return render


@pytest.fixture(scope="session")
def prompts_of() -> Callable[[str], ModuleType]:
    """Return a function that gives a module of tests in Python, for the prompts it makes."""

    def module(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, FOLDER.parent / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found

    return module
