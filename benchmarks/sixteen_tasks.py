"""Whether `init` alone makes sound studies of public data sets, and a search on them completes.

    python benchmarks/sixteen_tasks.py --output FOLDER

Each data set in `../shared/data/tasks` becomes one CSV file: the rows of all its parts, with their inputs, their right
answer and their id; lists and objects as JSON text. Then come the commands that a person would use, in a folder of their
own and with nothing edited between them: `init` with a budget of 300 calls, `validate`, and `run` on the embedded model.
The table has a line for each data set as soon as it is done; what a run found is beside its study.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TASKS = Path(__file__).resolve().parents[2] / "shared" / "data" / "tasks"
CALLS = 300


@dataclass(frozen=True, kw_only=True)
class Line:
    """What became of one data set.

    Attributes:
        code: Exit code of the command that failed, or of `run`.
        decision: What the search decided, or the first line that a failed command said.
    """

    task: str
    output: str
    metric: str
    splits: str
    code: int
    decision: str
    baseline: str
    score: str
    seconds: float

    def __str__(self) -> str:
        cells = (self.task, self.output, self.metric, self.splits, str(self.code), self.decision)
        return f"| {' | '.join(cells)} | {self.baseline} | {self.score} | {self.seconds:.0f} |"


def main() -> int:
    """Print the table, and return 0 where all that was asked for completed."""
    arguments = _arguments()
    print(
        "| task | output | metric | train, validation, test | exit | decision | baseline | score | seconds |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    codes = []
    for name in arguments.only or sorted(path.name for path in TASKS.iterdir()):
        folder = TASKS / name
        line = _line(folder, arguments.output, validate_only=arguments.validate_only)
        codes.append(line.code)
        print(line, flush=True)
    print(f"\n{codes.count(0)} of {len(codes)} completed")
    return int(any(codes))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--output", type=Path, required=True, help="the folder of the projects")
    parser.add_argument("--only", nargs="*", default=(), help="names of data sets, in this order")
    parser.add_argument("--validate-only", action="store_true", help="make no call")
    return parser.parse_args()


def _line(source: Path, output: Path, *, validate_only: bool) -> Line:
    project = output / source.name
    project.mkdir(parents=True, exist_ok=True)
    data = project / f"{source.name}.csv"
    write_csv(source, data)
    study = f"studies/{source.name}/study.yaml"
    commands: list[Sequence[str]] = [
        ("init", source.name, "--data", data.name, "--calls", str(CALLS), "--output", ".", "--json"),
        ("validate", f"tasks/{source.name}.yaml", study),
    ]
    if not validate_only:
        commands.append(("run", study, "--json"))
    started = time.monotonic()
    choices: dict[str, str] = {}
    done = subprocess.CompletedProcess[str]([], 0, "", "")
    for command in commands:
        done = _optimizer(command, project)
        if command[0] == "init" and done.returncode == 0:
            choices = {one["field"]: one["value"] for one in json.loads(done.stdout)["choices"]}
        if done.returncode:
            break
    found = {} if validate_only or done.returncode else _outcome(json.loads(done.stdout))
    failed = (done.stderr.strip().splitlines() or ["?"])[-1][:100] if done.returncode else ""
    return Line(
        task=source.name,
        output=choices.get("output", "?"),
        metric=choices.get("metric", "?"),
        splits=choices.get("splits", "?")
        .replace("train ", "")
        .replace("validation ", "")
        .replace("test ", ""),
        code=done.returncode,
        decision=found.get("decision", failed or "not run"),
        baseline=found.get("baseline", ""),
        score=found.get("score", ""),
        seconds=time.monotonic() - started,
    )


def _optimizer(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "optimizer", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _outcome(printed: dict[str, Any]) -> dict[str, str]:
    """Return the decision and the scores that it rests on in what `run --json` printed."""
    (study,) = printed["studies"].values()
    evidence = study["evidence"]
    judged = evidence["test"] or evidence["validation"]
    scores = {name: f"{judged[name]['score']:.3f}" for name in ("baseline", "winner") if judged.get(name)}
    return {
        "decision": evidence["decision"],
        "baseline": scores.get("baseline", ""),
        "score": scores.get("winner", scores.get("baseline", "")),
    }


def write_csv(source: Path, target: Path) -> None:
    """Write the rows of a data set as one CSV file."""
    columns, rows = _rows(source)
    with target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)


def _rows(source: Path) -> tuple[list[str], Iterator[list[str]]]:
    meta = json.loads((source / "meta.json").read_text(encoding="utf-8"))
    columns = ["id", *meta["inputs"], meta["output"]]
    lines = (line for path in sorted(source.glob("*.jsonl")) for line in path.read_bytes().splitlines())
    return columns, ([_text(row[name]) for name in columns] for row in map(json.loads, lines))


def _text(cell: object) -> str:
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
