"""The tables of the live comparison: every cell that has run, losses and crashes among them."""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from live_rivals_tasks import BANK, TASKS

from optimizer.significance import PairedComparison, compare_paired

RIVALS = ("mipro", "gepa", "capo")
BASELINES = ("seed", "constraint", "demonstrations", "best-given")
OURS = ("ours", "ours-tpe", "ours-random")
METHODS = (*OURS, *RIVALS, *BASELINES)
COUNTS = (
    "calls",
    "refused",
    "stored",
    "proposals",
    "failed",
    "prompt_tokens",
    "completion_tokens",
    "seconds",
)

Results = Sequence[Mapping[str, Any]]

_NOTES = """* Scores are means over the test rows and, where several seeds have run, over seeds; their number is in brackets where
  it is not that of the whole table. `†`: a run crashed or was cut off, and counts as the wording that all begin with.
* Differences are in points, paired on the test rows of the same seeds, with 95 % intervals; the rows of one test example
  under several seeds are one cluster. The best rival is the one whose *test* mean is highest, which favours the rivals.
* `ours` is the default search of the product. What is compared is the winner of its search; where the product's own test
  does not show it to be better, the product hands over the prompt it began with (`handed_over` in the JSON file).
* `calls` are those that were answered, `refused` those beyond the budget; `stored` is the share that the store answered
  because some run had asked the same before. `model s` is the time of the model, the first time each was asked; `wall s`
  is with the test, on a machine that others used as well.
* `claimed - test`: how much better the returned prompt looked to the method than it was on the test, in points.
"""


def kept_cells(written: Path) -> dict[str, Mapping[str, Any]]:
    """Return the cells that `written`.json holds, by their key; none where there is no such file."""
    file = written.with_suffix(".json")
    cells = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return {_key(one): one for one in cells}


def write_table(output: Path, written: Path) -> None:
    """Write `written`.md and `written`.json from what they hold and from the results in a folder."""
    cells = kept_cells(written)
    for path in output.glob("*.seed*.json"):
        one = json.loads(path.read_text(encoding="utf-8"))
        cells[_key(one)] = _kept(one)
    results = [cells[key] for key in sorted(cells)]
    parts = [
        _section(group, mode, proposer)
        for proposer in ("bank", "model")
        for mode in ("harmonised", "native")
        if (group := [one for one in results if (one["mode"], one["proposer"]) == (mode, proposer)])
    ]
    written.parent.mkdir(parents=True, exist_ok=True)
    # What stands above the first table is written by hand, and stays.
    file = written.with_suffix(".md")
    told = file.read_text(encoding="utf-8").partition("\n## ")[0] if file.exists() else "# Live rivals\n"
    text = "\n\n".join([told.strip(), *parts, "## How to read the tables", _NOTES])
    file.write_text(text.rstrip() + "\n", encoding="utf-8")
    kept = json.dumps(results, ensure_ascii=False, indent=1)
    written.with_suffix(".json").write_text(kept + "\n", encoding="utf-8")


def _section(group: Results, mode: str, proposer: str) -> str:
    seeds = sorted({one["seed"] for one in group})
    methods = [name for name in METHODS if any(one["method"] == name for one in group)]
    origin = "wordings from the bank" if proposer == "bank" else "wordings by the model"
    head = f"## {mode.capitalize()}, {origin}\n\nSeeds {', '.join(map(str, seeds))}."
    cells: defaultdict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for one in group:
        cells[one["task"], one["method"]].append(one)
    return "\n\n".join(
        [
            head,
            "Test score, in percent:",
            _by_task(cells, methods, lambda found: _score(found, len(seeds))),
            *_differences(cells),
            "What a run took, means over the tasks and seeds that ran:",
            _costs(group, methods),
        ]
    )


def _by_task(
    cells: Mapping[tuple[str, str], Results], methods: Sequence[str], shown: Callable[[Results], str]
) -> str:
    tasks = [task for task in TASKS if any((task, method) in cells for method in methods)]
    rows = [[task, *(shown(cells.get((task, method), ())) for method in methods)] for task in tasks]
    return _table(["task", *methods], rows)


def _score(found: Results, n_seeds: int) -> str:
    scored = [one["test"] for one in found if "test" in one]
    if not scored:
        return "†" if found else ""
    crashed = "†" if any(one["error"] for one in found) else ""
    number = f" ({len(scored)})" if len(scored) != n_seeds else ""
    return f"{100 * statistics.mean(scored):.1f}{crashed}{number}"


def _differences(cells: Mapping[tuple[str, str], Results]) -> list[str]:
    """Return a table of the product less each rival, for each of its searches that ran."""
    parts = []
    for method in OURS:
        rows = []
        for task in TASKS:
            means = {
                rival: statistics.mean(scored)
                for rival in RIVALS
                if (scored := [one["test"] for one in cells.get((task, rival), ()) if "test" in one])
            }
            mine = cells.get((task, method), ())
            if not mine or not means:
                continue
            best = max(means, key=lambda rival: means[rival])
            each = [_difference(cells.get((task, rival), ()), mine) for rival in RIVALS]
            rows.append([task, best, _difference(cells[task, best], mine), *each])
        if rows:
            head = ["task", "best rival", "less the best", *(f"less {rival}" for rival in RIVALS)]
            parts += [f"`{method}` less the rivals:", _table(head, rows)]
    return parts


def _difference(theirs: Results, mine: Results) -> str:
    comparison = _compared(theirs, mine)
    if comparison is None:
        return ""
    interval = comparison.interval
    low, high = 100 * interval.lower, 100 * interval.upper
    return f"{100 * comparison.difference:+.1f} ({low:+.1f} to {high:+.1f})"


def _key(one: Mapping[str, Any]) -> str:
    return ".".join([*(one[name] for name in ("task", "method", "mode", "proposer")), f"seed{one['seed']}"])


def _compared(theirs: Results, mine: Results) -> PairedComparison | None:
    """Return the comparison over the seeds that both have."""
    before = {one["seed"]: one["scores"] for one in theirs if "scores" in one}
    after = {one["seed"]: one["scores"] for one in mine if "scores" in one}
    common = sorted(before.keys() & after.keys())
    if not common:
        return None
    clusters = [str(row) for seed in common for row in range(len(before[seed]))]
    return compare_paired(
        [int(score) for seed in common for score in before[seed]],
        [int(score) for seed in common for score in after[seed]],
        seed=0,
        clusters=clusters,
    )


def _costs(group: Results, methods: Sequence[str]) -> str:
    rows = []
    for method in methods:
        found = [one for one in group if one["method"] == method and "test" in one]
        searched = [one["search"] for one in found if one["search"]]
        crashes = sum(bool(one["error"]) for one in group if one["method"] == method)
        claims = [100 * (one["claimed"] - one["test"]) for one in found if one["claimed"] is not None]
        calls = [_search_calls(one) for one in found if one["search"]]
        rows.append(
            [
                method,
                str(len(found)),
                str(crashes),
                _mean(calls),
                _mean(one["refused"] for one in searched),
                _mean((100 * one["stored"] / max(1, one["calls"]) for one in searched), "%"),
                _mean(one["prompt_tokens"] for one in searched),
                _mean(one["completion_tokens"] for one in searched),
                _mean(one["seconds"] for one in searched),
                _mean(one["wall_seconds"] for one in found),
                f"{statistics.mean(claims):+.1f}" if claims else "",
            ]
        )
    head = ["method", "runs", "crashes", "calls", "refused", "stored", "tokens read", "tokens written"]
    return _table([*head, "model s", "wall s", "claimed - test"], rows)


def _search_calls(one: Mapping[str, Any]) -> int:
    """Return the calls of a search; the product's run holds its own test as well, which is left out."""
    calls: int = one["notes"].get("search_calls", one["search"]["calls"])
    return calls


def _mean(values: Iterable[float], unit: str = "") -> str:
    listed = list(values)
    return f"{statistics.mean(listed):.0f}{unit}" if listed else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _kept(one: Mapping[str, Any]) -> dict[str, object]:
    """Return what is kept of a result: no text of the data, so of a prompt its wording alone, if the bank has it."""
    words = json.loads(BANK.read_text(encoding="utf-8"))[one["task"]]
    prompt = one.get("prompt", {})
    wording = prompt.get("instruction", "")
    names = (
        "task",
        "method",
        "mode",
        "proposer",
        "seed",
        "error",
        "test",
        "unread",
        "claimed",
        "wall_seconds",
    )
    kept: dict[str, object] = {name: one[name] for name in names if name in one}
    if one["error"]:
        kept["error"] = one["error"].partition(":")[0]  # what follows may name places of one machine
    if "scores" in one:
        kept["scores"] = "".join(str(int(score)) for score in one["scores"])
    if "search" in one:
        kept["search"] = {name: one["search"][name] for name in COUNTS if name in one["search"]}
    if any(wording.startswith(text) for text in (words["seed"], *words["bank"])):
        kept["instruction"] = wording
    kept["shape"] = {name: prompt[name] for name in ("format", "style") if name in prompt}
    kept["notes"] = {
        name: value
        for name, value in one.get("notes", {}).items()
        if name in ("search_calls", "trials", "whole_steps", "handed_over", "handed_over_test")
    }
    return kept
