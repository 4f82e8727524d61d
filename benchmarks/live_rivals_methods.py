"""The methods of the live comparison: what each asks in its search, and the prompt that it returns."""

import csv
import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from live_rivals_client import CAN, Client
from live_rivals_tasks import LiveTask, assert_harmonised, prompt, written

from optimizer.frozen import FrozenPrompt

BUDGET = 1000
# Of the baseline with random demonstrations.
SHOTS = 8
# Numbers of demonstrations that the product tries: its own, and as many as the others show.
SIZES, HARMONISED_SIZES = "0, 2, 4, 8", "0, 1, 2, 4"
POPULATION = 6  # of CAPO
# What CAPO's reader looks for; a user of promptolution writes it into every wording.
MARKERS = " Give the answer between <final_answer> and </final_answer>."
STYLES = ("direct", "first_person")
LABEL_FORMATS, TEXT_FORMATS = (
    ("plain", "inline", "choice", "choice_inline", "json"),
    ("plain", "inline", "json"),
)

_STUDY = """schema: 1
task: task.yaml
model:
  provider: openai_compatible
  name: smollm2-135m
  base_url: {url}/v1
  parameters: {parameters}
  capabilities: [{capabilities}]
  options: {{slots: 4}}
search:
  instructions: {{given: {given}, compose: {compose}}}
  demos: {{sizes: [{sizes}], sets: 24, selectors: [{selectors}]}}
  styles: [{styles}]
  formats: [{formats}]
{sampler}budget: {{calls: {calls}}}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One run of one method.

    Attributes:
        harmonised: Whether all methods share layout, constraint and reader; else each has its own.
        bank: Whether proposals come from the bank; else the model writes them.
        folder: Where the run may write.
        server: Address of the counting server.
        capo_python: Interpreter of the environment that has promptolution.
    """

    task: str
    method: str
    harmonised: bool
    bank: bool
    seed: int
    folder: Path
    server: str
    capo_python: str = "python3"

    @property
    def key(self) -> str:
        """Return the name of the cell."""
        mode = "harmonised" if self.harmonised else "native"
        return ".".join([self.task, self.method, mode, "bank" if self.bank else "model", f"seed{self.seed}"])

    def client(self, part: str) -> Client:
        """Return a run of the server: `search` or `test`."""
        return Client(self.server, f"{self.key}.{part}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a method returned.

    Attributes:
        scores: On the test rows, in their order.
        unread: Test answers that could not be read.
        claimed: The prompt's score on validation, as the method reports it; None where it reports none.
        prompt: What the prompt says.
        notes: Whatever else is worth keeping.
    """

    scores: list[float]
    unread: int = 0
    claimed: float | None = None
    prompt: dict[str, object] = field(default_factory=dict)
    notes: dict[str, object] = field(default_factory=dict)


def the_seed(cell: Cell, task: LiveTask) -> Found:
    """Return the wording that all begin with, as it is."""
    return _tested(cell, task, task.instruction)


def constraint(cell: Cell, task: LiveTask) -> Found:
    """Return the same under a constraint: one of the labels, or JSON where the answer is free text."""
    return _tested(cell, task, task.instruction, layout="choice" if task.labels else "json")


def demonstrations(cell: Cell, task: LiveTask) -> Found:
    """Return the same with eight random demonstrations."""
    shots = random.Random(cell.seed).sample(range(len(task.train)), SHOTS)
    return _tested(cell, task, task.instruction, shots=tuple(shots))


def best_given(cell: Cell, task: LiveTask) -> Found:
    """Return the best of the given wordings, the budget divided evenly among them."""
    read = written(task, cell.folder)
    client = cell.client("search")
    client.begin(budget=BUDGET)
    wordings = [task.instruction, *task.bank]
    rows = task.validation[: BUDGET // len(wordings)]
    means = []
    for wording in wordings:
        template = prompt(task, read, wording, layout=_layout(cell, task))
        means.append(sum(client.scores(template, task, rows)) / len(rows))
    best = means.index(max(means))
    found = _tested(cell, task, wordings[best])
    return Found(scores=found.scores, unread=found.unread, claimed=means[best], prompt=found.prompt)


def mipro(cell: Cell, task: LiveTask) -> Found:
    """Return what DSPy's MIPROv2 finds."""
    return _dspy(cell, task, BUDGET, lambda rival: rival.mipro(BUDGET))


def gepa(cell: Cell, task: LiveTask) -> Found:
    """Return what DSPy's GEPA finds; the server lets it end the iteration in which it passes the budget."""
    last = 2 * (len(task.validation) + 8)
    return _dspy(cell, task, BUDGET + last, lambda rival: rival.gepa(BUDGET))


def capo(cell: Cell, task: LiveTask) -> Found:
    """Return what promptolution's CAPO finds."""
    written(task, cell.folder)
    search, test = cell.client("search"), cell.client("test")
    ending = "" if cell.harmonised else MARKERS
    bank = [text + ending for text in task.bank]
    search.begin(budget=BUDGET, bank=bank if cell.bank else None, seed=cell.seed)
    test.begin()
    order = {
        "seed": cell.seed,
        "harmonised": cell.harmonised,
        "instruction": task.instruction + ending,
        # Its population: the wording that all begin with, and others of the bank.
        "initial": [text + ending for text in (task.instruction, *_drawn(task, cell.seed, POPULATION - 1))],
        "labels": list(task.labels),
        "parameters": task.parameters,
        "search": search.url,
        "test": test.url,
        **{
            name: [{"text": row.text, "target": row.target} for row in rows]
            for name, rows in (
                ("train", task.train),
                ("validation", task.validation),
                ("test_rows", task.test),
            )
        },
    }
    paths = cell.folder / "order.json", cell.folder / "result.json"
    paths[0].write_text(json.dumps(order, ensure_ascii=False), encoding="utf-8")
    script = [cell.capo_python, Path(__file__).with_name("rivals_capo.py"), *paths]
    _started(list(map(str, script)), cell)
    result = json.loads(paths[1].read_text(encoding="utf-8"))
    lowered = {label.lower(): label for label in task.labels}
    answers = [lowered.get(answer.lower(), answer) for answer in result["answers"]]
    return Found(
        scores=[task.right(answer, row) for answer, row in zip(answers, task.test, strict=True)],
        unread=answers.count(""),
        claimed=result["claimed"],
        prompt=result["prompt"],
        notes={"whole_steps": result["whole_steps"]},
    )


def ours(sampler: str | None) -> Callable[[Cell, LiveTask], Found]:
    """Return the search of the product as a method.

    Args:
        sampler: Name of the sampler, or None for the product's default.
    """

    def search(cell: Cell, task: LiveTask) -> Found:
        written(task, cell.folder)
        client = cell.client("search")
        study = cell.folder / "study.yaml"
        run = [sys.executable, "-m", "optimizer", "run", str(study), "--json"]
        # The product tests what it found, and keeps calls for it that are no part of the search.
        study.write_text(_study(cell, task, client, sampler, 10 * BUDGET), encoding="utf-8")
        (planned,) = json.loads(_started([*run, "--dry-run"], cell)).values()
        budget = BUDGET + planned["test"]["calls"]
        client.begin(budget=budget)
        study.write_text(_study(cell, task, client, sampler, budget), encoding="utf-8")
        _started(run, cell, may_end_with=(0, 1))
        return _found_by_us(cell, task)

    return search


METHODS: dict[str, Callable[[Cell, LiveTask], Found]] = {
    "seed": the_seed,
    "constraint": constraint,
    "demonstrations": demonstrations,
    "best-given": best_given,
    "mipro": mipro,
    "gepa": gepa,
    "capo": capo,
    "ours-random": ours("random_search"),
    "ours-tpe": ours("tpe"),
    "ours": ours(None),
}
# Methods that nobody writes proposals for, and which the constraint of all makes the same as `seed`.
WITHOUT_PROPOSALS = frozenset(METHODS) - {"mipro", "gepa", "capo"}
NATIVE_ONLY = frozenset({"constraint"})


def _found_by_us(cell: Cell, task: LiveTask) -> Found:
    """Return what the product's run found: the winner of its search.

    The product itself hands over the prompt that it began with where its test does not show the winner to be better. The
    others decide nothing by a test, so the winner is what is compared; how the prompt handed over scores is a note.
    """
    frozen = FrozenPrompt.load(cell.folder / "prompt.json")
    evidence: Any = frozen.evidence
    test = cell.client("test")
    test.begin()
    answers = test.answers(frozen.template, task, task.test)
    handed = [task.right(answer, row) for answer, row in zip(answers, task.test, strict=True)]
    with closing(sqlite3.connect(cell.folder / "study.db")) as database:
        query = "SELECT example, score FROM ps_score WHERE fingerprint = ?"
        scores = dict(database.execute(query, (evidence["winner_fingerprint"],)).fetchall())
    with (cell.folder / "history.csv").open(encoding="utf-8", newline="") as file:
        history = list(csv.DictReader(file))
    shown: Any = frozen.template.to_dict()["calls"]
    return Found(
        scores=[scores[row.id] for row in task.test],
        unread=evidence["test"]["winner"]["invalid"],
        claimed=evidence["validation"]["winner"]["estimate"],
        prompt={"format": frozen.format, "style": frozen.style, "calls": shown},
        notes={
            "search_calls": sum(int(trial["calls"] or 0) for trial in history),
            "trials": len(history),
            "handed_over": evidence["frozen"],
            "handed_over_test": round(sum(handed) / len(handed), 6),
            "evidence": dict(frozen.evidence),
            "tool_versions": dict(frozen.tool_versions),
        },
    )


def _study(cell: Cell, task: LiveTask, client: Client, sampler: str | None, calls: int) -> str:
    formats = LABEL_FORMATS if task.labels else TEXT_FORMATS
    return _STUDY.format(
        url=client.url,
        parameters=json.dumps(task.parameters),
        capabilities=", ".join(sorted(CAN)),
        given=json.dumps(task.bank, ensure_ascii=False),
        compose=json.dumps(not cell.harmonised),
        sizes=HARMONISED_SIZES if cell.harmonised else SIZES,
        selectors="random, balanced" if task.labels else "random",
        styles="direct" if cell.harmonised else ", ".join(STYLES),
        formats=task.harmonised_format if cell.harmonised else ", ".join(formats),
        sampler="" if sampler is None else f"  sampler: {{name: {sampler}, seed: {cell.seed}}}\n",
        calls=calls,
    )


def _drawn(task: LiveTask, seed: int, n: int) -> list[str]:
    return random.Random(seed).sample(task.bank, n)


def _layout(cell: Cell, task: LiveTask) -> str:
    return task.harmonised_format if cell.harmonised else "plain"


def _tested(
    cell: Cell, task: LiveTask, instruction: str, *, shots: tuple[int, ...] = (), layout: str | None = None
) -> Found:
    read = written(task, cell.folder)
    assert_harmonised(task, read)
    client = cell.client("test")
    client.begin()
    template = prompt(
        task,
        read,
        instruction,
        tuple(task.train[k] for k in shots),
        layout=layout or _layout(cell, task),
    )
    answers = client.answers(template, task, task.test)
    return Found(
        scores=[task.right(answer, row) for answer, row in zip(answers, task.test, strict=True)],
        unread=answers.count(None),
        prompt={"instruction": instruction, "demonstrations": [task.train[k].id for k in shots]},
    )


def _dspy(cell: Cell, task: LiveTask, most_calls: int, work: Callable[[Any], tuple[Any, float]]) -> Found:
    from live_rivals_dspy import DSPyRival, described, quietly

    search, test = cell.client("search"), cell.client("test")
    search.begin(budget=most_calls, bank=task.bank if cell.bank else None, seed=cell.seed)
    test.begin()
    rival = DSPyRival(task, search, test, harmonised=cell.harmonised, seed=cell.seed)
    program, claimed = quietly(lambda: work(rival))
    scores, unread = quietly(lambda: rival.test_scores(program))
    return Found(scores=scores, unread=unread, claimed=claimed, prompt=described(program))


def _started(command: list[str], cell: Cell, *, may_end_with: tuple[int, ...] = (0,)) -> str:
    """Run a command to its end and return what it printed.

    Raises:
        RuntimeError: When it ends with another exit code.
    """
    result = subprocess.run(command, cwd=cell.folder, capture_output=True, text=True, check=False)
    (cell.folder / "output.txt").write_text(f"{result.stdout}\n{result.stderr}", encoding="utf-8")
    if result.returncode not in may_end_with:
        raise RuntimeError(f"exit code {result.returncode}: {result.stderr[-600:]}")
    return result.stdout
