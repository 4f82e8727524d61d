"""The command line in this process, and a small study to look at with it: customers of a parcel service."""

import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from optimizer.commands import main

if TYPE_CHECKING:
    from tests.output_schemas import checked
else:
    from output_schemas import checked

DATA = Path(__file__).with_name("data") / "parcels"


class Told(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def carried_out(folder: Path) -> Path:
    """Carry out the study in an empty folder, and return where it lies."""
    shutil.copytree(DATA, folder, dirs_exist_ok=True)
    (folder / "pyproject.toml").touch()
    path = folder / "studies" / "parcels"
    assert optimizer("run", path / "study.yaml", "--quiet").code == 0
    return path


def optimizer(*arguments: str | Path) -> Told:
    """Run the command line in this process; what it prints as JSON is of its schema."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["optimizer", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    checked(arguments, out.getvalue())
    return Told(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def document(*arguments: str | Path) -> Any:
    """Return the JSON that a command prints."""
    told = optimizer(*arguments, "--json")
    assert told.code == 0, told.err
    return json.loads(told.out)
