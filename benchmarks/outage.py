"""A total outage in the middle of a study, live: how long the run waits, what it sends, whether the results change.

    python benchmarks/outage.py [--seconds 60]

The study runs twice against `tests/loopback_server.py`, in a folder of its own: once undisturbed, and once with an
endpoint that refuses every connection for so many seconds. The run is expected to wait and to go on by itself.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from loopback_study import served, written


def main() -> None:
    """Run the study with and without an outage and print what differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the endpoint is away")
    options = parser.parse_args()
    print("outage  exit  run seconds  calls  requests  answered twice  retried")
    clean, undisturbed = ran(outage_after=math.inf, outage_seconds=0.0)
    disturbed, results = ran(outage_after=undisturbed["calls"] // 2, outage_seconds=options.seconds)
    waited = results["run_seconds"] - undisturbed["run_seconds"]
    print(f"waited {waited:.1f} s for an outage of {options.seconds:g} s")
    print(f"results {'equal' if disturbed == clean else 'DIFFERENT'}")


def ran(*, outage_after: float, outage_seconds: float) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Run the study in a new folder, print a line, and return its results and what it tells of itself."""
    with tempfile.TemporaryDirectory(prefix="outage-") as name:
        folder = Path(name)
        with served(folder, "--outage-after", outage_after, "--outage-seconds", outage_seconds) as port:
            study = written(folder, port)
            command = [sys.executable, "-m", "optimizer", "run", str(study), "--quiet", "--json"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"exit code {done.returncode}: {done.stderr}")
        (told,) = json.loads(done.stdout)["studies"].values()
        events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        bodies = (folder / "requests.jsonl").read_text(encoding="utf-8").split("\n")
        answered = Counter(bodies[event["request"]] for event in events if event["answered"])
        reasons = ", ".join(f"{reason} {n}" for reason, n in told["retried"]["reasons"].items())
        print(
            f"{outage_seconds:>4g} s{done.returncode:>6}{told['run_seconds']:>13}{told['calls']:>7}{told['attempts']:>10}"
            f"{sum(n > 1 for n in answered.values()):>16}  {reasons or '-'}"
        )
        names = ("prompt.json", "history.csv", "instructions.jsonl")
        return {name: (study.parent / name).read_bytes() for name in names}, told


if __name__ == "__main__":
    main()
