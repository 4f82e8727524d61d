"""How often `verify --rescore` tells of a real model's change, and how often of none: a hundred seeds a case.

    python benchmarks/drift.py --records DIR [--seeds 100] [--only sst2] [--output benchmarks/results]

First the embedded model answers a pool of examples under every condition, and its completions are kept in the folder of
records; what is there already is not asked again. Then each seed draws 150 of the pool, freezes a prompt with what was
said first, and does what `optimizer verify --rescore` does with a model that says again what was said under the
condition: rendering, reading, scoring, pairing and the decision are the product's own. The first looks of each case are
also made by the command itself, in front of an endpoint on the loopback interface, and must tell the same.

    frozen    temperature 0, as the prompt states it
    again     the same from a server started anew, in another order
    sampled   temperature 0.7, four answers an example    hot   temperature 1.0, two answers an example
    small     a server with a context of 256 tokens, which refuses what is longer
    cut       the same context, but the oldest turns of a request that is too long are dropped

`small` and `cut` are asked about the requests that do not fit, where a tenth of all do not; what fits is answered as in
`again`.

For the scripted degradation exactly 15 of the 150 examples, all right now, are answered with a wrong answer that the
model gave to another one. The table and its figures are written to `drift.md` and `drift.json`.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from drift_looks import CASES, Bench, Case, Looked, N
from drift_prompts import SETTINGS, Material, material
from drift_records import Answers, recorded
from drift_replay import replaying
from drift_report import Outcome, page

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> int:
    """Record, look, and write the results; return 1 where nothing could be looked at."""
    options = _options()
    outcomes: list[Outcome] = []
    skipped: list[str] = []
    used: dict[str, dict[str, float]] = {}
    for setting in SETTINGS:
        if options.only and setting.name not in options.only:
            continue
        if setting.missing:
            skipped.append(setting.missing)
            print(f"skipped: {setting.missing}")
            continue
        stuff = material(setting)
        answers, seconds = recorded(stuff, options.records / setting.name, threads=options.threads)
        started = time.monotonic()
        if not options.record_only:
            outcomes += _outcomes(stuff, answers, options)
        looked = time.monotonic() - started
        used[setting.name] = {"pool": setting.pool, "model": round(seconds), "looks": round(looked)}
    if not outcomes:
        return 0 if options.record_only else 1
    about = {
        "seeds": options.seeds,
        "n": N,
        "seconds": used,
        "skipped": skipped,
        "through": options.through,
    }
    about["command"] = f"python benchmarks/drift.py --records DIR --seeds {options.seeds}"
    about["python"] = platform.python_version()
    figures = {**about, "cases": [outcome.figures for outcome in outcomes]}
    (options.output / "drift.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (options.output / "drift.md").write_text(page(about, outcomes), encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, required=True, help="the folder of the completions")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument(
        "--through", type=int, default=2, help="looks of a case that the command makes as well"
    )
    parser.add_argument("--threads", type=int, default=2, help="of the embedded model")
    parser.add_argument("--only", nargs="*", default=(), help="names of tasks")
    parser.add_argument("--cases", nargs="*", default=(), choices=[case.key for case in CASES])
    parser.add_argument(
        "--looks", type=Path, help="keep here what each look told; another decision, another folder"
    )
    parser.add_argument("--record-only", action="store_true", help="ask the model and look at nothing")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the folder of the results")
    return parser.parse_args()


def _outcomes(stuff: Material, answers: Answers, options: argparse.Namespace) -> Iterator[Outcome]:
    """Yield what the looks of each case came to."""
    with tempfile.TemporaryDirectory(prefix="drift-") as name, replaying() as replay:
        bench = Bench(stuff, answers, replay, Path(name))
        for case in CASES:
            if not bench.has(case) or (options.cases and case.key not in options.cases):
                continue
            kept = options.looks / stuff.setting.name / f"{case.key}.jsonl" if options.looks else None
            looks = tuple(_looks(bench, case, options, kept))
            outcome = Outcome(task=stuff.setting.name, case=case, looks=looks)
            print(outcome.line, flush=True)
            yield outcome


def _looks(bench: Bench, case: Case, options: argparse.Namespace, kept: Path | None) -> Iterator[Looked]:
    """Yield a look for each seed; those that were kept are not made again."""
    before = [] if kept is None or not kept.exists() else kept.read_text(encoding="utf-8").split("\n")[:-1]
    for seed in range(options.seeds):
        if seed < len(before):
            yield Looked(**json.loads(before[seed]))
            continue
        look = bench.look(case, seed)
        if seed < options.through and bench.look(case, seed, through=True) != look:
            raise RuntimeError(f"{case.key}, seed {seed}: the command tells otherwise")
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with kept.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(look)) + "\n")
        yield look


if __name__ == "__main__":
    sys.exit(main())
