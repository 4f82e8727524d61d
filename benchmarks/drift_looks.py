"""Looks at a frozen prompt whose model says again what was recorded: for `drift.py`.

A look is what `optimizer verify --rescore` does: the recorded examples are evaluated, paired with the rows of then and
decided upon by `optimizer.rescoring`. It takes the model at the seam that every provider fills, or as the command itself
in front of an endpoint on the loopback interface, which tells the same and takes ten times as long.
"""

import asyncio
import io
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from drift_prompts import MODEL, Item, Material, frozen, template, written_task
from drift_records import CONDITIONS, Answers, Condition
from drift_replay import Replay, Replayed

from optimizer.commands import main as command
from optimizer.completion import Completion
from optimizer.config import RunSpec
from optimizer.evaluation import Evaluation, Scorer, evaluate
from optimizer.models import ModelSpec
from optimizer.plan import load_examples
from optimizer.recording import Records, Row, records_of
from optimizer.rescoring import Job, Rescored, rescored

N = 150
CONCURRENCY = 8

# One completion for each example: the condition, and which of its answers.
Round = Mapping[str, tuple[Condition, int]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What happened between then and now.

    Attributes:
        key: A short name, in files and on the command line.
        then: What was recorded; its temperature is the one that the prompt states.
        now: What answers today.
        worse: Whether a tenth of all examples is turned from right to wrong.
        alarm: Whether an alarm would be false.
    """

    key: str
    name: str
    then: Condition
    now: Condition
    worse: bool = False
    alarm: bool = False


CASES = (
    Case(key="same", name="unchanged", then="frozen", now="again", alarm=True),
    Case(key="worse", name="a tenth turned from right to wrong", then="frozen", now="again", worse=True),
    Case(key="sampled", name="sampled at 0.7", then="frozen", now="sampled"),
    Case(key="hot", name="sampled at 1.0", then="frozen", now="hot"),
    Case(key="refused", name="context too small, long requests refused", then="frozen", now="small"),
    Case(key="cut", name="context too small, oldest turns dropped", then="frozen", now="cut"),
    Case(key="sampling-same", name="unchanged", then="sampled", now="sampled", alarm=True),
    Case(
        key="sampling-worse",
        name="a tenth turned from right to wrong",
        then="sampled",
        now="sampled",
        worse=True,
    ),
    Case(key="sampling-hot", name="sampled at 1.0", then="sampled", now="hot"),
    Case(key="sampling-greedy", name="sampled at 0", then="sampled", now="again"),
)


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What one look told.

    Attributes:
        changed: Examples whose score, outcome, text or tokens read are others than then, by sign.
        scores: Mean score then and now.
    """

    drifted: bool
    telling: tuple[str, ...]
    changed: Mapping[str, int]
    scores: tuple[float | None, float | None]


class Bench:
    """One prompt in a project of its own, and everything that was recorded of it."""

    def __init__(self, stuff: Material, answers: Answers, replay: Replay, folder: Path) -> None:
        """Write the project and freeze every recorded round."""
        self._stuff, self._answers, self._replay, self._folder = stuff, answers, replay, folder
        self._task = written_task(stuff, folder)
        self._loaded, dataset = load_examples(self._task)
        self._examples = {example.id: example for example in dataset.test}
        self._rows: dict[tuple[Condition, int], dict[str, Row]] = {}
        self._metric = ""

    def has(self, case: Case) -> bool:
        """Return whether the answers of a case were recorded for the whole pool."""
        return all(
            len(self._answers.get((condition, item.id), ())) == CONDITIONS[condition][1]
            for condition in (case.then, case.now)
            for item in self._stuff.pool
        )

    def look(self, case: Case, seed: int, *, through: bool = False) -> Looked:
        """Return what is told of the examples that a seed draws.

        Args:
            through: Whether to have the command tell it.
        """
        dice = random.Random(f"{case.key} {seed}")  # another draw for each case and seed
        drawn = sorted(dice.sample(self._stuff.pool, N), key=lambda item: item.id)
        then, now = _rounds(case, drawn, dice)
        rows = tuple(self._row(item.id, *then[item.id]) for item in drawn)
        said = {item.id: self._said(item, *now[item.id]) for item in drawn}
        if case.worse:
            said |= self._turned(drawn, now, said, dice)
        answers = {self._asked(item): said[item.id] for item in drawn}
        if through:
            return self._command(self._written(case, rows), answers)
        job = self._job(case.then, [row.id for row in rows])
        again = rescored(job, rows, self._evaluated(job, answers))
        assert again.drift is not None  # there are examples
        if again.lost or again.drift.n != N:
            raise RuntimeError(f"{len(again.lost)} examples are lost")
        sides = [mean_score(rows) for rows in _both_scored(again)]
        return Looked(
            drifted=again.drift.verdict == "drifted",
            telling=tuple(again.drift.telling),
            changed={sign.sign: sign.changed for sign in again.drift.signs},
            scores=(sides[0], sides[1]),
        )

    def _command(self, prompt: Path, answers: Mapping[str, Completion | None]) -> Looked:
        """Return what `optimizer verify --rescore --json` tells."""
        self._replay.answers, self._replay.asked = answers, 0
        asked = ["verify", str(prompt), "--task", str(self._task), "--rescore", "--json"]
        asked += ["--base-url", self._replay.base_url, "--concurrency", str(CONCURRENCY)]
        before, sys.argv = sys.argv, ["optimizer", *asked]
        code: object = None
        with redirect_stdout(io.StringIO()) as printed:
            try:
                command()
            except SystemExit as ended:
                code = ended.code
            finally:
                sys.argv = before
        (told,) = json.loads(printed.getvalue())["prompts"].values()
        again: Mapping[str, Any] = told["rescored"]
        # That the file names no data set is a note, and all there may be.
        unsound = [finding for finding in told["findings"] if finding["weight"] != "note"]
        if code not in (0, 1) or again["n"] != N or self._replay.asked != N or unsound:
            raise RuntimeError(f"exit code {code}, n = {again['n']}, {unsound}")
        return Looked(
            drifted=again["verdict"] == "drifted",
            telling=tuple(again["telling"]),
            changed={sign["sign"]: sign["changed"] for sign in again["signs"]},
            scores=(again["then"]["score"], again["now"]["score"]),
        )

    def _row(self, name: str, condition: Condition, draw: int) -> Row:
        """Return what a prompt records of an example, as the product itself records it."""
        key = condition, draw
        if key not in self._rows:
            records = self._recorded(condition, draw)
            self._metric = records.metric
            self._rows[key] = {row.id: row for row in records.rows}
        return self._rows[key][name]

    def _recorded(self, condition: Condition, draw: int) -> Records:
        """Return the records of one round of the whole pool."""
        pool = self._stuff.pool
        job = self._job(condition, [item.id for item in pool])
        answers = {self._asked(item): self._said(item, condition, draw) for item in pool}
        return records_of(job.frozen.template, self._evaluated(job, answers), "test")

    def _job(self, condition: Condition, names: Sequence[str]) -> Job:
        """Return what is asked again: the prompt as it states a condition, on some examples, in their order."""
        return Job(
            frozen=frozen(self._stuff, template(self._stuff, CONDITIONS[condition][0])),
            task=self._loaded,
            spec=ModelSpec(provider="openai_compatible", name=MODEL, base_url=self._replay.base_url),
            examples=tuple(self._examples[name] for name in names),
            asked={},
            run=RunSpec(),
            cache="private",
            database=self._folder / "store.db",
            purpose="verify",
        )

    def _evaluated(self, job: Job, answers: Mapping[str, Completion | None]) -> Evaluation:
        scorer = Scorer.of(job.task, {})
        return asyncio.run(evaluate(job.frozen.template, job.examples, Replayed(answers=answers), scorer))

    def _written(self, case: Case, rows: tuple[Row, ...]) -> Path:
        records = Records(split="test", metric=self._metric, rows=rows)
        asked = template(self._stuff, CONDITIONS[case.then][0])
        path = self._folder / "prompt.json"
        path.write_text(frozen(self._stuff, asked, records).dumps(), encoding="utf-8")
        return path

    def _asked(self, item: Item) -> str:
        return self._stuff.setting.caption + item.text

    def _said(self, item: Item, condition: Condition, draw: int) -> Completion | None:
        return self._answers[condition, item.id][draw].completion

    def _turned(
        self,
        drawn: Sequence[Item],
        now: Round,
        said: Mapping[str, Completion | None],
        dice: random.Random,
    ) -> dict[str, Completion]:
        """Return wrong answers to a tenth of all examples, taken from those that are answered right now."""
        right = [item for item in drawn if self._row(item.id, *now[item.id]).score == 1]
        wrong = {}
        for item in dice.sample(right, N // 10):
            before = said[item.id]
            assert before is not None  # it was right
            others = [
                found for found in said.values() if found is not None and found.text.strip() != item.target
            ]
            wrong[item.id] = replace(before, text=dice.choice(others).text)
        return wrong


def _both_scored(again: Rescored) -> tuple[list[Row], list[Row]]:
    """Return the rows of then and now of the examples that have both scores."""
    pairs = [
        (a, b)
        for a, b in zip(again.then, again.now, strict=True)
        if a.score is not None and b.score is not None
    ]
    return [a for a, _ in pairs], [b for _, b in pairs]


def mean_score(rows: Sequence[Row]) -> float | None:
    """Return the mean score of rows that have one, None where there are none."""
    scores = [row.score for row in rows if row.score is not None]
    return fmean(scores) if scores else None


def _rounds(case: Case, drawn: Sequence[Item], dice: random.Random) -> tuple[Round, Round]:
    """Return which recorded answers are those of then, and which those of now; never the same draw in both."""
    then: dict[str, tuple[Condition, int]] = {}
    now: dict[str, tuple[Condition, int]] = {}
    for item in drawn:
        first = dice.randrange(CONDITIONS[case.then][1])
        second = dice.choice(list(_others(case, first)))
        then[item.id], now[item.id] = (case.then, first), (case.now, second)
    return then, now


def _others(case: Case, first: int) -> Iterator[int]:
    for n in range(CONDITIONS[case.now][1]):
        if case.now != case.then or n != first:
            yield n
