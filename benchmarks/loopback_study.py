"""The study of the sample task against the loopback server, in a folder of its own: for the scripts beside it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONCURRENCY = 8
LABELS = "billing,technical,account,shipping,returns,sales"

STUDY = """schema: 1
task: ../../tasks/support_triage.yaml
model: {{provider: openai_compatible, name: scripted, base_url: 'http://127.0.0.1:{port}/v1'}}
search:
  instructions: {{given: ["Which team should answer this customer?"], compose: true}}
  demos: {{sizes: [0, 2, 8], sets: 8, selectors: [random, balanced]}}
  styles: [direct]
  formats: [plain, inline]
  screen: 18
budget: {{{budget}}}
run: {{concurrency: {concurrency}}}
"""


@contextmanager
def served(folder: Path, *options: object) -> Iterator[int]:
    """Run the server and return its port; it writes `requests.jsonl` and `events.jsonl` to the folder."""
    rows = (ROOT / "datasets" / "support_triage.jsonl").read_text(encoding="utf-8").splitlines()
    truth = folder / "truth.json"
    truth.write_text(json.dumps({row["message"]: row["team"] for row in map(json.loads, rows)}))
    books = ["--log", folder / "requests.jsonl", "--events", folder / "events.jsonl"]
    answers = ["--truth", truth, "--labels", LABELS, "--delay", 0.02, "--lifetime", 3600]
    script = [sys.executable, ROOT / "tests" / "loopback_server.py", *books, *answers, *options]
    with subprocess.Popen(list(map(str, script)), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def written(folder: Path, port: int, *, budget: str = "calls: 620") -> Path:
    """Return the study file of a project in a folder."""
    study = folder / "project" / "studies" / "triage" / "study.yaml"
    study.parent.mkdir(parents=True)
    for name in ("tasks/support_triage.yaml", "datasets/support_triage.jsonl"):
        (folder / "project" / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / "project" / name)
    (folder / "project" / "pyproject.toml").touch()
    study.write_text(STUDY.format(port=port, concurrency=CONCURRENCY, budget=budget), encoding="utf-8")
    return study
