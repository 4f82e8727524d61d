"""Kill -9 at random moments of one study: what is sent twice, and whether the results change.

    python benchmarks/kills.py [--kills 50] [--seed 0]

The study runs twice against `tests/loopback_server.py`, in a folder of its own: once undisturbed, and once killed and
started again, at moments of which some hit the start of the process and the making of the database. A call counts as
committed when its completion was in the database after a kill; the server tells what it was sent.
"""

import argparse
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from loopback_study import served, written

from optimizer.digest import digest

# A call that is killed again and again is sent as often.
BUDGET = "calls: 620, attempts: 4000"


@dataclass
class Disturbed:
    """What the kills did.

    Attributes:
        in_flight: Calls that were reserved and not committed at a kill, over all kills.
        most: The most of them at one kill.
        committed: After each kill: how many requests had been sent, and the keys that were committed.
    """

    kills: int = 0
    in_flight: int = 0
    most: int = 0
    committed: list[tuple[int, set[str]]] = field(default_factory=list)


def main() -> None:
    """Run the study with and without kills and print what differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        log = folder / "requests.jsonl"
        with served(folder) as port:
            study = written(folder, port, budget=BUDGET)
            finish(study)
            clean, calls = results(study.parent), lines(log)
            shutil.rmtree(study.parent)
            log.unlink()
            study = written(folder, port, budget=BUDGET)
            done = disturbed(study, log, random.Random(options.seed), kills=options.kills, calls=calls)
            finish(study)
            keys = keys_of(sent(log), port)
            if set(keys) != stored(study)[1]:
                sys.exit("the database holds other calls than the server was sent; nothing can be said")
            again = sum(len(keys_after & set(keys[n:])) for n, keys_after in done.committed)
            print(
                "kills  requests  calls  sent twice  in flight at kills (most)  committed sent again  results"
            )
            print(
                f"{done.kills:>5}{len(keys):>10}{len(set(keys)):>7}{len(keys) - len(set(keys)):>12}"
                f"{f'{done.in_flight} ({done.most})':>27}{again:>22}"
                f"  {'equal' if results(study.parent) == clean else 'DIFFERENT'}"
            )


def disturbed(study: Path, log: Path, dice: random.Random, *, kills: int, calls: int) -> Disturbed:
    """Start the study and kill it, again and again, and return what was seen."""
    done = Disturbed()
    for _ in range(kills):
        process = subprocess.Popen(
            command(study), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        if dice.random() < 0.2:
            time.sleep(dice.uniform(0.0, 1.5))
        else:
            # So many that the study lasts for all kills, and is nearly done after the last.
            wait_for_requests(log, process, lines(log) + dice.randrange(1, max(2, int(1.6 * calls / kills))))
            time.sleep(dice.uniform(0.0, 0.03))
        process.kill()
        _, stderr = process.communicate()
        if process.returncode == 0:
            return done
        if process.returncode > 0:
            sys.exit(stderr)
        time.sleep(0.05)  # the server may still be reading
        reserved, committed = stored(study)
        done.kills += 1
        done.in_flight += len(reserved - committed)
        done.most = max(done.most, len(reserved - committed))
        done.committed.append((lines(log), committed))
    return done


def command(study: Path) -> list[str]:
    """Return the command that runs, and resumes, a study."""
    return [sys.executable, "-m", "optimizer", "run", os.fspath(study), "--quiet"]


def finish(study: Path) -> None:
    """Run a study to its end."""
    subprocess.run(command(study), check=True, stdout=subprocess.DEVNULL)


def results(folder: Path) -> dict[str, bytes]:
    """Return what a study found, byte by byte."""
    return {
        name: (folder / name).read_bytes() for name in ("prompt.json", "history.csv", "instructions.jsonl")
    }


def sent(log: Path) -> list[object]:
    """Return the bodies of the requests that the server has received, in their order."""
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def lines(log: Path) -> int:
    """Return how many requests the server has received."""
    return log.read_bytes().count(b"\n") if log.exists() else 0


def wait_for_requests(log: Path, process: subprocess.Popen[str], number: int) -> None:
    """Return when the server has received so many, or the process has ended."""
    while process.poll() is None and lines(log) < number:
        time.sleep(0.005)


def stored(study: Path) -> tuple[set[str], set[str]]:
    """Return the keys of calls that were reserved, and of those that were committed."""
    database = study.parent / "study.db"
    if not database.exists():
        return set(), set()
    with closing(sqlite3.connect(database)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        if "ps_call" not in tables:
            return set(), set()
        reserved = {key for (key,) in connection.execute("SELECT key FROM ps_call")}
        return reserved, {key for (key,) in connection.execute("SELECT key FROM ps_completion")}


def keys_of(bodies: list[object], port: int) -> list[str]:
    """Return the keys under which the answers to requests are stored."""
    url = f"http://127.0.0.1:{port}/v1"
    model = digest({"provider": "openai_compatible", "name": "scripted", "base_url": url})
    return [digest([model, body, 0]) for body in bodies]


if __name__ == "__main__":
    main()
