"""How long a report takes to be written, and how long its page takes to be looked at.

    python benchmarks/report.py [--repeats 5] [--output benchmarks/results]

1. A study of some 3,000 calls is carried out by the command line with the scripted provider, in a folder of its own; then
   `optimizer report` writes its page, each time in a new process: seconds from start to end, and CPU seconds.
2. The page of a study of 1,000 validation examples and 20 prompts, all of which were asked about all of them, is opened
   in Chromium: the first paint, and from a click on a filter, a letter in the
   search or a choice of an order to the new layout.

The machine is noisy: medians and the largest are told.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stored_study import stored_study

from optimizer.report import report_page

RESULTS = Path(__file__).resolve().parent / "results"
CHROMIUM = Path("/usr/bin/chromium")
LABELS = ("billing", "technical", "account", "shipping")

TASK = """schema: 1
name: tickets
dataset: {path: data.jsonl, inputs: [message], target: team, splits: {train: 60, validation: 300, test: 300}}
output: {type: label, labels: [billing, technical, account, shipping]}
metric: accuracy
metrics: [macro_f1, valid]
instruction: Route the message to the right team.
"""
STUDY = """schema: 1
task: task.yaml
model: {provider: scripted, name: rules, path: rules.json}
search:
  instructions: {given: [Which team is it?, Name the team.], compose: true}
  demos: {sizes: [0, 2, 4], sets: 9, selectors: [random, balanced]}
  styles: [direct, chain_of_thought]
  formats: [plain, inline, json]
budget: {calls: 4400}
"""

# What is done to the page, in its own words: a name and a function of the browser.
_ACTS = """async () => {
  const took = {};
  const time = async (name, act) => {
    const start = performance.now();
    act();
    document.body.offsetHeight;
    (took[name] ??= []).push(performance.now() - start);
    await new Promise((done) => setTimeout(done, 30));
  };
  const set = (id, value, event) => {
    const element = document.getElementById(id);
    element.value = value;
    element.dispatchEvent(new Event(event));
  };
  for (let round = 0; round < 5; round++) {
    for (const status of ["differs", "improved", "regressed", "fails", "right", "invalid", "all"])
      await time("a filter", () => document.querySelector(`[data-status="${status}"]`).click());
    for (const query of ["p", "pa", "par", "nothing like it", ""])
      await time("a letter in the search", () => set("search", query, "input"));
    for (const order of ["disagreement", "gain", "data"]) await time("an order", () => set("order", order, "change"));
    for (const place of ["5", "0"]) await time("another prompt", () => {
      const select = document.querySelector("#compared select");
      select.value = place;
      select.dispatchEvent(new Event("change"));
    });
  }
  return took;
}"""


def main() -> int:
    """Measure both, and write the results."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="report-") as name:
        folder = Path(name)
        written = _written(folder, options.repeats)
        looked = _looked_at(folder)
    found = {"python": platform.python_version(), "written": written, "looked": looked}
    (options.output / "report.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (options.output / "report.md").write_text(_page(written, looked), encoding="utf-8")
    print(_page(written, looked))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="reports that are timed")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the folder of the results")
    return parser.parse_args()


def _written(folder: Path, repeats: int) -> dict[str, Any]:
    """Return what the report of a study of some 3,000 calls takes."""
    project = folder / "written"
    project.mkdir()
    (project / "pyproject.toml").touch()
    rows = [
        {"id": f"t{n:03d}", "message": f"Message {n:03d} about an order", "team": LABELS[n % 4]}
        for n in range(660)
    ]
    (project / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rules = [{"contains": f"Message {n:03d} ", "reply": LABELS[n % 4]} for n in range(0, 660, 2)]
    (project / "rules.json").write_text(json.dumps({"rules": rules, "default": "billing"}))
    (project / "task.yaml").write_text(TASK)
    (project / "study.yaml").write_text(STUDY)
    ran = json.loads(_optimizer(project, "run", "study.yaml", "--quiet", "--json")[0])
    (study,) = ran["studies"].values()
    took = [_optimizer(project, "report", "study.yaml")[1:] for _ in range(repeats)]
    return {
        "calls": study["calls"],
        "prompts": study["trials"],
        "bytes": (project / "report.html").stat().st_size,
        "seconds": [each[0] for each in took],
        "cpu_seconds": [each[1] for each in took],
    }


def _optimizer(folder: Path, *arguments: str) -> tuple[str, float, float]:
    """Return what a command prints, and its seconds by the clock and of a processor."""
    command = [str(Path(sys.executable).with_name("optimizer")), *arguments]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        done.stdout,
        seconds,
        (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime),
    )


def _looked_at(folder: Path) -> dict[str, Any] | None:
    """Return how long the large page takes to be seen and to be sifted; None without a browser."""
    if not CHROMIUM.exists():
        print(f"skipped: there is no browser at {CHROMIUM}")
        return None
    from playwright.sync_api import sync_playwright

    large = folder / "large"
    large.mkdir()
    stored_study(large, validation=1000, test=200, arms=20)
    html = large / "report.html"
    html.write_text(report_page(large / "prompt.json", large / "study.yaml").text, encoding="utf-8")
    paints, ready = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        for _ in range(5):
            page.goto(html.as_uri())
            page.wait_for_timeout(300)
            paints.append(
                page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            )
            ready.append(page.evaluate("performance.getEntriesByType('navigation')[0].domComplete"))
        page.select_option("#split", "1")
        took = page.evaluate(_ACTS)
        rows = page.evaluate("document.querySelectorAll('#list tr[data-place]').length")
        browser.close()
    return {
        "bytes": html.stat().st_size,
        "rows": rows,
        "first_paint_ms": paints,
        "complete_ms": ready,
        "acts_ms": took,
    }


def _page(written: dict[str, Any], looked: dict[str, Any] | None) -> str:
    lines = [
        "# The report: writing it, and looking at it",
        "",
        "Made by `benchmarks/report.py` on a machine of two cores that had other work to do. Median, and the largest in",
        "parentheses.",
        "",
        "## Written",
        "",
        (
            f"A study of {written['calls']:,} calls and {written['prompts']} trials, the scripted provider; "
            f"`optimizer report` in a new process each time, {len(written['seconds'])} times; "
            f"{written['bytes'] / 2**20:.1f} MiB."
        ),
        "",
        "| | seconds |",
        "|---|---|",
        f"| by the clock | {_told(written['seconds'], 2)} |",
        f"| of a processor | {_told(written['cpu_seconds'], 2)} |",
    ]
    if looked is not None:
        lines += [
            "",
            "## Looked at",
            "",
            (
                f"1,000 validation examples and 20 prompts, Chromium without a window, {looked['bytes'] / 2**20:.1f} MiB; "
                f"{looked['rows']} rows are in the page at once."
            ),
            "",
            "| | milliseconds |",
            "|---|---|",
            f"| first paint | {_told(looked['first_paint_ms'])} |",
            f"| page complete, script run | {_told(looked['complete_ms'])} |",
            *(f"| {name}, to the new layout | {_told(took)} |" for name, took in looked["acts_ms"].items()),
        ]
    return "\n".join(lines) + "\n"


def _told(values: Sequence[float], digits: int = 0) -> str:
    return f"{statistics.median(values):.{digits}f} ({max(values):.{digits}f})"


if __name__ == "__main__":
    sys.exit(main())
