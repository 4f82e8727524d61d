"""Runs a notebook's cells and stores what they print; `--check` says whether what is stored is what they print.

    python docs/notebooks/run_notebook.py [--check] NOTEBOOK

Cells run one after the other in one process, in the notebook's folder. What a cell prints is its output, and nothing
else is: a notebook for this prints what it shows.
"""

import code
import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any


def outputs(notebook: dict[str, Any]) -> list[str]:
    """Return what each cell of code prints, in order.

    Raises:
        RuntimeError: When a cell fails.
    """
    session = code.InteractiveInterpreter({"__name__": "__main__"})
    printed = []
    for number, cell in enumerate(cells(notebook), start=1):
        told, failed = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(failed):
            session.runcode(compile("".join(cell["source"]), f"cell {number}", "exec"))
        if failed.getvalue():
            raise RuntimeError(failed.getvalue())
        printed.append(told.getvalue())
    return printed


def cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cells of code."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def main() -> int:
    """Run the notebook, and store or compare; return the exit code."""
    check, path = "--check" in sys.argv[1:], Path(sys.argv[-1]).resolve()
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    os.chdir(path.parent)
    for number, (cell, told) in enumerate(zip(cells(notebook), outputs(notebook), strict=True), start=1):
        stream = {"name": "stdout", "output_type": "stream", "text": told.splitlines(keepends=True)}
        cell["outputs"], cell["execution_count"] = [stream] if told else [], number
    made = json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"
    if not check:
        path.write_text(made, encoding="utf-8", newline="\n")
        return 0
    if made == text:
        return 0
    print(f"{path.name} is out of date: run python docs/notebooks/run_notebook.py on it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
