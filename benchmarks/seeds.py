"""One study over many seeds: decision, gains and seconds of each, and their means.

    python benchmarks/seeds.py studies/support_triage/study.yaml --seeds 10 --output DIR

Each seed runs in a folder of its own with an empty cache, one after the other, through the command line. A folder
that already holds a result is read and not run again.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Run what is missing and print a line a seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    gains, over_format, improved = [], [], 0
    print(
        "seed  decision             baseline  wording   winner     gain  over wording  seconds  style × format"
    )
    for seed in range(options.seeds):
        document, seconds = _result(options.study, options.output / str(seed), seed)
        evidence = document["evidence"]
        gains.append(100 * evidence["difference"]["value"])
        over_format.append(100 * evidence["difference_over_format"]["value"])
        improved += evidence["decision"] == "improved"
        scores = "".join(
            f"{evidence['test'][arm]['score']:>9.3f}" for arm in ("baseline", "wording", "winner")
        )
        print(
            f"{seed:>4}  {evidence['decision']:<20}{scores}{gains[-1]:>+9.1f}{over_format[-1]:>+14.1f}"
            f"{seconds:>9.0f}  {document['style']} × {document['format']}"
        )
    print(
        f"improved {improved} of {options.seeds}; gain {_mean(gains)}; over the wording {_mean(over_format)}"
    )


def _result(study: Path, folder: Path, seed: int) -> tuple[dict[str, Any], float]:
    command = [
        sys.executable,
        "-m",
        "optimizer",
        "run",
        str(study),
        "--seed",
        str(seed),
        "--output",
        str(folder),
    ]
    started = time.monotonic()
    if not (folder / "prompt.json").exists():
        subprocess.run([*command, "--quiet", "--json"], check=True, stdout=subprocess.DEVNULL)
        (folder / "seconds").write_text(str(time.monotonic() - started), encoding="utf-8")
    timed = folder / "seconds"
    seconds = float(timed.read_text(encoding="utf-8")) if timed.exists() else math.nan
    return json.loads((folder / "prompt.json").read_text(encoding="utf-8")), seconds


def _mean(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return (
        f"{statistics.mean(values):+.1f} points (standard deviation {spread:.1f}, least {min(values):+.1f})"
    )


if __name__ == "__main__":
    main()
