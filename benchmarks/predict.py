"""`predict` on many rows: rows a second, memory beside that of one block, and what kills cost.

    python benchmarks/predict.py [--rows 100000] [--provider scripted|loopback] [--kill 5] [--seed 0]

Each run is the command as a process in a folder of its own. `scripted` follows rules inside that process, so what is
measured is all ours; it runs on one block (10,000 rows) as well, and peak memory is compared. `loopback` asks
`tests/loopback_server.py` over HTTP. With `--kill` a second run is killed (`kill -9`) so many times at random moments
and started again: what the server was sent is compared with what was committed at each kill, and the two files with
each other. A call counts as committed when its completion was in the database after a kill.
"""

import argparse
import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from optimizer.answer import AnswerFormat
from optimizer.digest import digest
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate

ROOT = Path(__file__).resolve().parents[1]
LABELS = ("billing", "technical", "account", "shipping", "returns", "sales")
BLOCK = 10_000
CONCURRENCY = 64
_MOODS = ("I cannot pay", "the program crashes", "where is my parcel", "I want my money back", "hello")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one process took.

    Attributes:
        seconds: From its start to its end.
        cpu: Seconds of processor time.
        peak: Largest resident memory, in MiB.
    """

    code: int
    seconds: float
    cpu: float
    peak: float


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--provider", choices=("scripted", "loopback"), default="scripted")
    parser.add_argument("--kill", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="predict-") as name:
        folder = Path(name)
        written(folder, options.rows)
        if options.provider == "scripted":
            scripted(folder, options.rows)
        else:
            with served(folder) as port:
                loopback(folder, port, options)


def scripted(folder: Path, n: int) -> None:
    """Measure a run on one block and one on all rows."""
    small = measured(folder, f"rows-{min(n, BLOCK)}.csv", "small.csv", "--model-path", "rules.json")
    whole = measured(folder, f"rows-{n}.csv", "whole.csv", "--model-path", "rules.json")
    print(_HEAD)
    print(_line(min(n, BLOCK), small, folder / "small.csv"))
    print(_line(n, whole, folder / "whole.csv"))
    print(f"peak memory: {whole.peak / small.peak:.3f} of that of one block")


def loopback(folder: Path, port: int, options: argparse.Namespace) -> None:
    """Measure an undisturbed run, and disturb another."""
    rows, log = f"rows-{options.rows}.csv", folder / "requests.jsonl"
    address = ("--model", "openai_compatible:scripted", "--base-url", f"http://127.0.0.1:{port}/v1")
    whole = measured(folder, rows, "whole.csv", *address)
    print(_HEAD)
    print(_line(options.rows, whole, folder / "whole.csv"), flush=True)
    if not options.kill:
        return
    before = lines(log)
    dice = random.Random(options.seed)
    asked = command(rows, "out.csv", *address)
    marks, in_flight, kills = [], [], 0
    for place in sorted(dice.uniform(0.02, 0.95) for _ in range(options.kill)):
        process = subprocess.Popen(asked, cwd=folder, stdout=subprocess.DEVNULL)
        while process.poll() is None and lines(log) - before < place * options.rows:
            time.sleep(0.05)
        time.sleep(dice.uniform(0, 0.1))
        kills += process.poll() is None
        process.kill()
        process.wait()
        time.sleep(0.5)  # the server may still be reading
        reserved, committed = stored(folder / "out.csv.predict.db")
        in_flight.append(len(reserved - committed))
        marks.append((lines(log), committed))
    last = measured(folder, rows, "out.csv", *address)
    sent = keys_of(log, port, after=before)
    again = sum(len(committed & set(sent[n - before :])) for n, committed in marks)
    same = sha256(folder / "out.csv") == sha256(folder / "whole.csv")
    print("kills  requests  calls  sent twice  in flight at kills (most)  committed sent again  file")
    print(
        f"{kills:>5}{len(sent):>10}{len(set(sent)):>7}{len(sent) - len(set(sent)):>12}"
        f"{f'{sum(in_flight)} ({max(in_flight)})':>27}{again:>22}  {'equal' if same else 'DIFFERENT'}"
    )
    print(f"peak memory after the last kill: {last.peak:.0f} MiB")


_HEAD = "     rows  seconds   rows/s  CPU ms/row  peak MiB  file"


def _line(n: int, found: Measured, output: Path) -> str:
    rate, each = n / found.seconds, 1000 * found.cpu / n
    file = f"{output.stat().st_size / 2**20:.1f} MiB"
    return f"{n:>9}{found.seconds:>9.1f}{rate:>9.0f}{each:>12.3f}{found.peak:>10.1f}  {file}"


def command(rows: str, output: str, *options: str) -> list[str]:
    """Return the command that answers rows, and goes on with it."""
    asked = [sys.executable, "-m", "optimizer", "predict", "prompt.json", rows, "--output", output, "--quiet"]
    return [*asked, "--concurrency", str(CONCURRENCY), *options]


def measured(folder: Path, rows: str, output: str, *options: str) -> Measured:
    """Run the command to its end.

    Raises:
        SystemExit: It failed.
    """
    started = time.monotonic()
    process = subprocess.Popen(command(rows, output, *options), cwd=folder, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"the command ended with {process.returncode}")
    return Measured(
        code=process.returncode,
        seconds=time.monotonic() - started,
        cpu=used.ru_utime + used.ru_stime,
        peak=used.ru_maxrss / 1024,
    )


def written(folder: Path, n: int) -> None:
    """Write a prompt, rules, and files of rows: one of a block and one of all."""
    shown = (
        MessageTemplate(
            role="system", parts=(f"Route the message. Answer with one of: {', '.join(LABELS)}.",)
        ),
        MessageTemplate(role="user", parts=("Message: ", Hole(name="input:message"), "\nTeam:")),
    )
    call = CallTemplate(messages=shown, parameters=(("max_tokens", 16), ("temperature", 0)))
    frozen = FrozenPrompt(
        name="triage",
        template=PromptTemplate(calls=(call,), answer=AnswerFormat(kind="label", labels=LABELS)),
        style="direct",
        format="plain",
        capabilities=(),
        demonstration_ids=(),
        model={"provider": "scripted", "name": "rules"},
        task={"name": "triage"},
        evidence={},
        history=(),
        tool_versions={},
    )
    (folder / "prompt.json").write_text(frozen.dumps(), encoding="utf-8")
    rules = [{"contains": text, "reply": f"{label}."} for text, label in zip(_MOODS, LABELS, strict=False)]
    (folder / "rules.json").write_text(json.dumps({"rules": rules, "default": "none"}), encoding="utf-8")
    for size in {min(n, BLOCK), n}:
        with (folder / f"rows-{size}.csv").open("w", encoding="utf-8") as stream:
            stream.write("id,message,channel\n")
            for k in range(size):
                stream.write(f'c{k:07d},"Customer {k} says: {_MOODS[k % 5]}, please help me.",mail\n')


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """Run the server and return its port."""
    script = [sys.executable, str(ROOT / "tests" / "loopback_server.py"), "--lifetime", "86400"]
    books = ["--log", str(folder / "requests.jsonl"), "--labels", ",".join(LABELS)]
    with subprocess.Popen([*script, *books], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def lines(log: Path) -> int:
    """Return how many requests the server has received; only what was added since the last question is read."""
    known, place = _COUNTED.get(log, (0, 0))
    if log.exists():
        with log.open("rb") as stream:
            stream.seek(place)
            while chunk := stream.read(2**20):
                known, place = known + chunk.count(b"\n"), place + len(chunk)
    _COUNTED[log] = known, place
    return known


_COUNTED: dict[Path, tuple[int, int]] = {}


def stored(database: Path) -> tuple[set[str], set[str]]:
    """Return the keys of the open block's calls that were reserved, and of all that were committed."""
    if not database.exists():
        return set(), set()
    with closing(sqlite3.connect(database)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        if "ps_call" not in tables:
            return set(), set()
        reserved = {key for (key,) in connection.execute("SELECT key FROM ps_call")}
        return reserved, {key for (key,) in connection.execute("SELECT key FROM ps_completion")}


def keys_of(log: Path, port: int, *, after: int) -> list[str]:
    """Return the keys under which the answers to requests are stored, but for the first requests."""
    url = f"http://127.0.0.1:{port}/v1"
    model = digest({"provider": "openai_compatible", "name": "scripted", "base_url": url})
    with log.open(encoding="utf-8", newline="\n") as stream:
        return [digest([model, json.loads(line), 0]) for n, line in enumerate(stream) if n >= after]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    main()
