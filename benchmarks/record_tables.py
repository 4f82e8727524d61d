"""Score every prompt of a joint space on every example, once: what all searches can then be replayed on.

    PYTHONPATH=FOLDER_OF_GGUF python benchmarks/record_tables.py --tasks sst2

Ten wordings (that which all begin with, and nine of the bank) times twenty sets of 0 to 4 demonstrations, in the layout,
constraint and reading of the harmonised live comparison; 300 examples that no demonstration is taken from, or as many as
there are. The weights are those of the embedded model (`record_answers.py`); `--check` asks the model itself as a study
does, and counts the scores that differ (sst2: 3 of 200; llama.cpp multiplies by activations of 8 bits, this does not). A
prompt's scores are written as soon as they are known, as ids and digits: an interrupted recording goes on where it was.
Nothing of the data itself is written.
"""

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from live_rivals_tasks import TASKS, LiveTask, Row, live_task, prompt, rows_beyond, written

from optimizer.digest import sha256
from optimizer.models import ModelSpec
from optimizer.models.embedded import BUNDLED, EMBEDDED, weights_of
from optimizer.prompt import PromptTemplate

FOLDER = Path(__file__).resolve().parent / "results" / "recorded"
WORDINGS, EXAMPLES = 10, 300
# How many sets of each number of demonstrations; half of them with as many of each label as can be.
SETS = {0: 1, 1: 5, 2: 6, 4: 8}


class _Job(NamedTuple):
    """One prompt to score."""

    task: str
    key: str
    instruction: str
    demonstrations: tuple[str, ...]


def main() -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["sst2"])
    parser.add_argument("--jobs", type=int, default=2, help="processes of one core")
    parser.add_argument("--check", type=int, default=0, help="cells to ask the model itself about, instead")
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # two processes are faster than two threads
    for name in options.tasks:
        if options.check:
            check(name, options.check)
        else:
            record(name, options.jobs)


def record(name: str, processes: int) -> None:
    """Record one task.

    Raises:
        SystemExit: Without the package `gguf`, or where something else than this was recorded.
    """
    if find_spec("gguf") is None:
        raise SystemExit("needs the package gguf, which is none of the project's dependencies")
    path, started = FOLDER / f"{name}.json", time.monotonic()
    document = _begun(path, live_task(name, 0), rows_beyond(name, EXAMPLES))
    scores: dict[str, str] = document["scores"]
    jobs = [job for job in _jobs(document) if job.key not in scores]
    with get_context("spawn").Pool(processes, _load) as pool:
        for n, (key, found) in enumerate(pool.imap_unordered(_scored, jobs), start=1):
            scores[key] = found
            _write(path, document)
            took = (time.monotonic() - started) / n
            print(f"{name} {key} {found.count('1') / len(found):.3f}, {took:.1f} s a prompt", flush=True)


def check(name: str, n: int) -> None:
    """Ask the embedded model about cells drawn at random, and count where it scores otherwise."""
    document = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    task, rows = live_task(name, 0), rows_beyond(name, EXAMPLES)
    jobs = {job.key: job for job in _jobs(document)}
    draw = random.Random(f"check of {name}")
    cells = [(draw.choice(sorted(document["scores"])), draw.randrange(len(rows))) for _ in range(n)]

    async def differing() -> int:
        found = 0
        async with EMBEDDED.connect(ModelSpec(provider="embedded", name=BUNDLED)) as connection:
            for key, place in cells:
                template = _template(task, jobs[key])
                completion = await connection.model.complete(template.request({task.input: rows[place].text}))
                reading = template.answer.read(completion.text, completion.finish_reason)
                found += task.right(reading.text, rows[place]) != float(document["scores"][key][place])
        return found

    print(f"{name}: {asyncio.run(differing())} of {n} cells are scored otherwise by the model itself")


def _load() -> None:
    """Load the model in a process of the pool."""
    from forward import Forward
    from record_answers import Words

    weights = _weights()
    _LOADED[:] = [Forward(weights), Words(weights)]


_LOADED: list[Any] = []


def _scored(job: _Job) -> tuple[str, str]:
    """Return the scores of one prompt, a digit an example."""
    from record_answers import answers

    task, rows = live_task(job.task, 0), rows_beyond(job.task, EXAMPLES)
    template = _template(task, job)
    found = answers(_LOADED[0], _LOADED[1], [template.request({task.input: row.text}) for row in rows])
    read = [template.answer.read(text, "length" if cut else "stop").text for text, cut in found]
    scores = (task.right(answer, row) for answer, row in zip(read, rows, strict=True))
    return job.key, "".join(str(round(score)) for score in scores)


def _template(task: LiveTask, job: _Job) -> PromptTemplate:
    shots = tuple(next(row for row in task.train if row.id == each) for each in job.demonstrations)
    with tempfile.TemporaryDirectory() as project:
        read = written(task, Path(project) / task.name)
    return prompt(task, read, job.instruction, shots, layout=task.harmonised_format)


def _weights() -> Path:
    found = weights_of(ModelSpec(provider="embedded", name=BUNDLED))
    if found is None:
        raise SystemExit("the embedded model is not installed")
    return found


def _begun(path: Path, task: LiveTask, rows: tuple[Row, ...]) -> dict[str, Any]:
    """Return what is recorded already, or what is to be recorded.

    Raises:
        SystemExit: Other examples or other weights than those on record.
    """
    wanted: dict[str, Any] = {
        "task": task.name,
        "weights": sha256(_weights().read_bytes()),
        "instructions": [task.instruction, *task.bank[: WORDINGS - 1]],
        "demonstrations": [[row.id for row in each] for each in _sets(task)],
        "examples": [row.id for row in rows],
        "scores": {},
    }
    if not path.exists():
        return wanted
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for name in set(wanted) - {"scores"}:
        if found[name] != wanted[name]:
            raise SystemExit(f"{path}: {name} is not that of this recording")
    return found


def _sets(task: LiveTask) -> Iterator[tuple[Row, ...]]:
    """Yield the sets of demonstrations, by their number."""
    draw = random.Random(f"sets of {task.name}")
    for size, n in SETS.items():
        for k in range(n):
            mixed = draw.sample(task.train, len(task.train))
            yield tuple(_balanced(mixed, size) if k % 2 else mixed[:size])


def _balanced(mixed: list[Row], size: int) -> list[Row]:
    """Return the first rows that are as many of each answer as can be, in their order."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(mixed):
        places.setdefault(row.target, []).append(place)
    turns = sorted((n, place) for of_label in places.values() for n, place in enumerate(of_label))
    return [mixed[place] for place in sorted(place for _, place in turns[:size])]


def _jobs(document: dict[str, Any]) -> list[_Job]:
    """Return the prompts in an order of which every beginning is a fair sample of all."""
    jobs = [
        _Job(document["task"], f"i{i:02} d{k:02}", instruction, tuple(shown))
        for i, instruction in enumerate(document["instructions"])
        for k, shown in enumerate(document["demonstrations"])
    ]
    return random.Random("order").sample(jobs, len(jobs))


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)


if __name__ == "__main__":
    main()
