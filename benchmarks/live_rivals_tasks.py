"""Tasks of the live comparison: rows, wordings, and the folder of one run of the product."""

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from optimizer.answer import AnswerFormat
from optimizer.candidate import Candidate, Demonstration, DemonstrationSet, Instruction
from optimizer.formats import FORMATS, Draft
from optimizer.models.embedded import CONTROL_TOKENS
from optimizer.prompt import PromptTemplate
from optimizer.styles import STYLES
from optimizer.task import Task, load_task

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "tasks"
BANK = Path(__file__).with_name("live_rivals_bank.json")
# The last is beyond the model: whatever the prompt, it writes the right opposite of about one word in fifty.
TASKS = ("sst2", "fr_tweet_sentiment", "induction_larger_animal", "bbh_navigate", "induction_antonyms")
USUAL_TASKS = TASKS[:4]

TRAIN, VALIDATION, TEST = 100, 150, 200
# Of tasks with fewer rows than TRAIN + VALIDATION: the share that is used to make prompts.
TRAIN_SHARE = 0.4
# Bounds of an answer in tokens. A constraint ends labels by itself.
LABEL_TOKENS, TEXT_TOKENS = 16, 12

_TASK_FILE = """schema: 1
name: {name}
dataset:
  inputs: [{input}]
  target: {target}
  splits: {{train: train.jsonl, validation: validation.jsonl, test: test.jsonl}}
output: {output}
metric: {metric}
instruction: {instruction}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One labelled example."""

    id: str
    text: str
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveTask:
    """One task with the rows of one seed; the test rows are the same for all seeds.

    Attributes:
        instruction: The wording that every method starts from.
        bank: Further wordings.
        input: Name of the one input column.
        target: Name of the column of the answer.
        labels: The labels, or none where the answer is free text.
    """

    name: str
    instruction: str
    bank: tuple[str, ...]
    input: str
    target: str
    labels: tuple[str, ...]
    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    test: tuple[Row, ...]

    @property
    def reader(self) -> AnswerFormat:
        """Return how an answer is read that is nothing but the answer."""
        return AnswerFormat(kind="label" if self.labels else "text", labels=self.labels)

    @property
    def harmonised_format(self) -> str:
        """Return the format that all methods share in the harmonised mode."""
        return "choice" if self.labels else "plain"

    @property
    def parameters(self) -> dict[str, float | int | str]:
        """Return the decoding parameters of an answer that is nothing but the answer."""
        return {"temperature": 0, "max_tokens": LABEL_TOKENS if self.labels else TEXT_TOKENS}

    def right(self, answer: str | None, row: Row) -> float:
        """Return the score of an answer: 1 where it is the target, spaces around it aside."""
        return float(answer is not None and answer.strip() == row.target)


def live_task(name: str, seed: int) -> LiveTask:
    """Return a task with the rows of a seed.

    Raises:
        SystemExit: When the data is not there.
    """
    folder = DATA / name
    if not folder.is_dir():
        raise SystemExit(f"this benchmark reads shared/data/tasks/{name} beside the repository; it is absent")
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    words = json.loads(BANK.read_text(encoding="utf-8"))[name]
    (given,), target = meta["inputs"], meta["output"]
    learnt, held_out = (_rows(folder / f"{split}.jsonl", given, target) for split in ("train", "test"))
    n_train = TRAIN if len(learnt) >= TRAIN + VALIDATION else round(TRAIN_SHARE * len(learnt))
    drawn = random.Random(f"{name} {seed}").sample(learnt, min(len(learnt), n_train + VALIDATION))
    labels = meta["labels"] or sorted({row.target for row in learnt})
    return LiveTask(
        name=name,
        instruction=words["seed"],
        bank=tuple(words["bank"]),
        input=given,
        target=target,
        labels=tuple(labels) if meta["labels"] or len(labels) < 10 else (),
        train=tuple(drawn[:n_train]),
        validation=tuple(drawn[n_train:]),
        test=tuple(random.Random(name).sample(held_out, min(len(held_out), TEST))),
    )


def rows_beyond(name: str, n: int) -> tuple[Row, ...]:
    """Return up to `n` examples of a task that are none of the training rows of seed 0, the same whenever asked."""
    task, folder = live_task(name, 0), DATA / name
    apart = {_folded(row.text) for row in task.train}
    rows: dict[str, Row] = {}
    for split in ("train", "test"):
        for row in _rows(folder / f"{split}.jsonl", task.input, task.target):
            if _folded(row.text) not in apart:
                rows.setdefault(_folded(row.text), row)
    return tuple(random.Random(f"beyond {name}").sample(list(rows.values()), min(n, len(rows))))


def _folded(text: str) -> str:
    """Return what two texts have in common that differ in spaces and capitals alone."""
    return " ".join(text.split()).casefold()


def _rows(path: Path, given: str, target: str) -> list[Row]:
    """Return the rows of a file with one right answer each; of equal inputs the first."""
    rows: dict[str, Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if len(row.get("answers", [target])) == 1:
            rows.setdefault(_folded(row[given]), _row(row, given, target))
    return list(rows.values())


def _row(row: dict[str, str], given: str, target: str) -> Row:
    return Row(id=row["id"], text=row[given].strip(), target=row[target].strip())


def written(task: LiveTask, folder: Path) -> Task:
    """Write a project of the product that holds the task, and return the task as the product reads it."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / ".optimizer").mkdir(parents=True)
    for name, rows in (("train", task.train), ("validation", task.validation), ("test", task.test)):
        lines = [
            json.dumps({"id": row.id, task.input: row.text, task.target: row.target}, ensure_ascii=False)
            for row in rows
        ]
        (folder / f"{name}.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
    labels = json.dumps(task.labels, ensure_ascii=False)
    text = _TASK_FILE.format(
        name=task.name,
        input=task.input,
        target=task.target,
        output=f"{{type: label, labels: {labels}}}" if task.labels else "{type: text}",
        metric="accuracy" if task.labels else "exact_match",
        instruction=json.dumps(task.instruction, ensure_ascii=False),
    )
    (folder / "task.yaml").write_text(text, encoding="utf-8")
    return load_task(folder / "task.yaml")


def prompt(
    task: LiveTask,
    read: Task,
    instruction: str,
    shots: tuple[Row, ...] = (),
    *,
    layout: str,
) -> PromptTemplate:
    """Return a prompt of the product.

    Args:
        read: The task as the product reads it.
        layout: Name of an answer format.
    """
    demonstrations = tuple(
        Demonstration(example_id=row.id, inputs=((task.input, row.text),), target=row.target) for row in shots
    )
    candidate = Candidate(
        instruction=Instruction(id="i0000", text=instruction, origin="given"),
        demonstrations=DemonstrationSet(id="d0001", demonstrations=demonstrations, selector="random"),
        style="direct",
        format=layout,
    )
    draft = Draft(
        task=read,
        candidate=candidate,
        style=STYLES["direct"],
        parameters=tuple(sorted(task.parameters.items())),
        control_tokens=CONTROL_TOKENS,
    )
    return FORMATS[layout].render(draft)


def harmonised_messages(instruction: str, shots: list[tuple[str, str]], text: str) -> list[dict[str, str]]:
    """Return what every method sends about an example in the harmonised mode; shots are inputs with their answers."""
    turns = [
        {"role": role, "content": said}
        for shot in shots
        for role, said in zip(("user", "assistant"), shot, strict=True)
    ]
    system = {"role": "system", "content": instruction}
    return [system, *turns, {"role": "user", "content": text}]


def assert_harmonised(task: LiveTask, read: Task) -> None:
    """Check that `harmonised_messages` is what the product sends, to the last character."""
    shots, row = task.train[:2], task.test[0]
    template = prompt(task, read, task.instruction, shots, layout=task.harmonised_format)
    sent = [message.to_dict() for message in template.request({task.input: row.text}).messages]
    ours = harmonised_messages(task.instruction, [(shot.text, shot.target) for shot in shots], row.text)
    assert sent == ours, f"{sent} is not {ours}"
