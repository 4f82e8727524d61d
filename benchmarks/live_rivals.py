"""Prompt optimizers live on the embedded model, all through one counting server.

    python benchmarks/counting_server.py --store ANSWERS.db &
    python benchmarks/live_rivals.py run --output FOLDER --capo-python OTHER_ENVIRONMENT/bin/python
    python benchmarks/live_rivals.py run --output FOLDER --methods ours --modes harmonised --seeds 0
    python benchmarks/live_rivals.py table --output FOLDER

Every cell (task, method, mode, seed) leaves one JSON file; a cell that has one is skipped, and so is one that the tables
hold already: they are filled over several machines and days. A cell that fails leaves one
too, with the error, and counts as the wording that all begin with, which is what its user still has; `--again` runs
failed cells once more. Each cell is a process of its own, and the next begins when it ends.

All methods have the same training, validation and test rows, the same first wording, and 1,000 calls of search. The
test rows are asked outside the budget. In the *native* mode each library has its own layout of examples, its own reader
and, if any, its own constraint. In the *harmonised* mode all send the same message about an example under the same
constraint (one of the labels; for free text the end of the line) and read it alike.

Wordings come from a bank that was written beforehand, the same for all: the model is too small to write any, and what is
compared is the search. `--proposer model` lets MIPROv2, GEPA and CAPO ask the model instead.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from live_rivals_client import Client
from live_rivals_methods import METHODS, NATIVE_ONLY, WITHOUT_PROPOSALS, Cell, the_seed
from live_rivals_table import kept_cells, write_table
from live_rivals_tasks import TASKS, USUAL_TASKS, live_task

KEPT = Path(__file__).resolve().parent / "results" / "live"
MODES = ("harmonised", "native")
# A search that takes longer than this is ended, and counts as failed.
CELL_SECONDS = 2 * 3600
# `ours` last: it is asked for by name, so that rivals can run before the product's default is settled.
USUAL = tuple(name for name in METHODS if name != "ours")


def main() -> None:
    """Run what the command line asks."""
    options = _options()
    if options.command == "table":
        write_table(options.output, options.write)
    elif options.command == "cell":
        _run_here(_cell(options, options.task, options.method, options.mode, options.seed), options.output)
    else:
        kept = kept_cells(options.kept)
        for cell, mode in list(_cells(options)):
            if cell.key not in kept or (options.again and kept[cell.key]["error"]):
                _run_apart(cell, mode, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--output", type=Path, required=True, help="folder of the results")
    calling = argparse.ArgumentParser(add_help=False, parents=[shared])
    calling.add_argument("--server", default="http://127.0.0.1:8917")
    calling.add_argument("--capo-python", default="python3", help="an interpreter that has promptolution")
    calling.add_argument("--proposer", choices=["bank", "model"], default="bank")
    run = commands.add_parser("run", parents=[calling], help="run the cells that have no result")
    run.add_argument("--tasks", nargs="+", choices=TASKS, default=USUAL_TASKS)
    run.add_argument("--methods", nargs="+", choices=list(METHODS), default=USUAL)
    run.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    run.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    run.add_argument("--again", action="store_true", help="run cells that failed once more")
    run.add_argument("--kept", type=Path, default=KEPT, help="name of the tables, without .md and .json")
    one = commands.add_parser("cell", parents=[calling], help="run one cell in this process")
    one.add_argument("--task", choices=TASKS, required=True)
    one.add_argument("--method", choices=list(METHODS), required=True)
    one.add_argument("--mode", choices=MODES, required=True)
    one.add_argument("--seed", type=int, required=True)
    table = commands.add_parser("table", parents=[shared], help="write the tables")
    table.add_argument(
        "--write", type=Path, default=KEPT, help="name of the two files, without .md and .json"
    )
    return parser.parse_args()


def _cells(options: argparse.Namespace) -> Iterator[tuple[Cell, str]]:
    """Yield the cells in order: seeds, modes, methods, tasks."""
    for seed in options.seeds:
        for mode in options.modes:
            for method in options.methods:
                if mode == "harmonised" and method in NATIVE_ONLY:
                    continue
                if options.proposer == "model" and method in WITHOUT_PROPOSALS:
                    continue
                for task in options.tasks:
                    yield _cell(options, task, method, mode, seed), mode


def _cell(options: argparse.Namespace, task: str, method: str, mode: str, seed: int) -> Cell:
    cell = Cell(
        task=task,
        method=method,
        harmonised=mode == "harmonised",
        bank=options.proposer == "bank",
        seed=seed,
        folder=options.output.resolve(),
        server=options.server,
        capo_python=options.capo_python,
    )
    return Cell(**{**_fields(cell), "folder": options.output.resolve() / "cells" / cell.key})


def _fields(cell: Cell) -> dict[str, Any]:
    return {name: getattr(cell, name) for name in Cell.__dataclass_fields__}


def _run_apart(cell: Cell, mode: str, options: argparse.Namespace) -> None:
    """Run a cell in a process of its own, unless it has a result."""
    path = _result(options.output, cell)
    if path.exists() and not (options.again and json.loads(path.read_text(encoding="utf-8"))["error"]):
        return
    command = [sys.executable, __file__, "cell", "--output", options.output, "--server", options.server]
    command += ["--capo-python", options.capo_python, "--proposer", options.proposer, "--task", cell.task]
    command += ["--method", cell.method, "--mode", mode, "--seed", cell.seed]
    began = time.monotonic()
    try:
        subprocess.run(list(map(str, command)), check=False, timeout=CELL_SECONDS, env=os.environ)
        error = None if path.exists() else "the process ended without a result"
    except subprocess.TimeoutExpired:
        error = f"ended after {CELL_SECONDS} s"
    if error:
        _write(path, cell, {"error": error})
    found = json.loads(path.read_text(encoding="utf-8"))
    print(
        f"{cell.key}: {found.get('test', 'no score')} {found['error'] or ''} {time.monotonic() - began:.0f} s",
        file=sys.stderr,
        flush=True,
    )


def _run_here(cell: Cell, output: Path) -> None:
    """Run a cell and write its result, whatever happens."""
    task = live_task(cell.task, cell.seed)
    cell.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    error = None
    try:
        found = METHODS[cell.method](cell, task)
    except Exception as failure:  # noqa: BLE001  # a crash is a result
        error = f"{type(failure).__name__}: {failure}"[:2000]
        (cell.folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
        try:
            found = the_seed(Cell(**{**_fields(cell), "folder": cell.folder / "seed"}), task)
        except Exception as again:  # noqa: BLE001  # without a server there is no score at all
            _write(_result(output, cell), cell, {"error": f"{error}; then {again}"})
            return
    document = {
        "error": error,
        "test": round(sum(found.scores) / len(found.scores), 6),
        **asdict(found),
        "search": _counts(cell.client("search")),
        "tested": _counts(cell.client("test")),
        "wall_seconds": round(time.monotonic() - began, 1),
        "versions": {name: version(name) for name in ("promptstudy", "dspy", "gepa", "optuna")},
    }
    _write(_result(output, cell), cell, document)


def _counts(client: Client) -> dict[str, Any]:
    try:
        return client.counts()
    except RuntimeError:  # no such run: the method searched nothing
        return {}


def _result(output: Path, cell: Cell) -> Path:
    return output / f"{cell.key}.json"


def _write(path: Path, cell: Cell, document: dict[str, Any]) -> None:
    mode = "harmonised" if cell.harmonised else "native"
    named = {"task": cell.task, "method": cell.method, "mode": mode, "seed": cell.seed}
    named["proposer"] = "bank" if cell.bank else "model"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(named | document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    main()
