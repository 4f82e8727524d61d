"""Frozen prompts of public data sets and the examples they are looked at with: for `drift.py`.

Data are read in place from `../shared/data/tasks`; what is written of them goes to the folder of a run and no further.
"""

import csv
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from optimizer.answer import AnswerFormat
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.recording import Records

TASKS = Path(__file__).resolve().parents[2] / "shared" / "data" / "tasks"
MODEL = "smollm2-135m"

# Examples that are neither shown nor looked at; a task has to have them.
_ASIDE = 12
# Long demonstrations would leave no room in the smaller context that one case is about.
_SHOWN_CHARACTERS = 90


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A task, and how its prompt asks.

    Attributes:
        files: Of the data set; the first is where demonstrations come from, the second where examples do.
        labels: What an answer may be; empty for free text.
        pool: How many examples looks draw from.
        shown: How many demonstrations.
        seed: Of their choice. The model follows some sets and says one label to all with others.
    """

    name: str
    files: tuple[str, str]
    source: str
    target: str
    instruction: str
    caption: str
    shown: int
    seed: int
    pool: int
    labels: tuple[str, ...] = ()
    max_tokens: int = 8

    @property
    def missing(self) -> str | None:
        """Return why it cannot be looked at here, or None where it can."""
        gone = [name for name in self.files if not (TASKS / self.name / f"{name}.jsonl").is_file()]
        return f"no {', '.join(gone)} of {self.name} in ../shared/data/tasks" if gone else None


SETTINGS = (
    Setting(
        name="sst2",
        files=("train", "test"),
        source="text",
        target="label",
        instruction="Say whether the sentence of a film review is positive or negative. Answer with that one word.",
        caption="Sentence: ",
        shown=7,
        seed=2,
        pool=300,
        labels=("negative", "positive"),
    ),
    Setting(
        name="induction_larger_animal",
        files=("train", "train"),
        source="input",
        target="answer",
        instruction="Name the larger one of the two animals.",
        caption="Animals: ",
        shown=10,
        seed=20,
        pool=200,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One example."""

    id: str
    text: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a prompt shows, and what it is looked at with.

    Attributes:
        shown: Demonstrations, in their order.
        pool: What every look draws its examples from.
        aside: What the splits that nobody looks at are made of.
    """

    setting: Setting
    shown: tuple[Item, ...]
    pool: tuple[Item, ...]
    aside: tuple[Item, ...]


def material(setting: Setting) -> Material:
    """Return the same demonstrations and the same pool, every time; no text is in it twice."""
    first, second = (list(_items(setting, name)) for name in setting.files)
    dice = random.Random(setting.seed)
    dice.shuffle(first)
    short = [item for item in first if len(item.text) <= _SHOWN_CHARACTERS]
    shown = _balanced(short, setting.shown)
    dice.shuffle(shown)
    taken = {_words(item) for item in shown}
    aside = [item for item in reversed(first) if _words(item) not in taken][:_ASIDE]
    taken |= {_words(item) for item in aside}
    pool: list[Item] = []
    for item in dice.sample(second, len(second)):
        if len(pool) < setting.pool and _words(item) not in taken:
            taken.add(_words(item))
            pool.append(item)
    return Material(setting=setting, shown=tuple(shown), pool=tuple(pool), aside=tuple(aside))


def _items(setting: Setting, name: str) -> Iterator[Item]:
    for line in (TASKS / setting.name / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield Item(id=row["id"], text=row[setting.source], target=row[setting.target])


def _words(item: Item) -> tuple[str, ...]:
    """Return what is the same in examples that are one example: `a, b` and `b, a` are."""
    return tuple(sorted(item.text.lower().replace(",", " ").split()))


def _balanced(items: Sequence[Item], size: int) -> list[Item]:
    """Return the first examples, no target much more often than another."""
    found: list[Item] = []
    counts: Counter[str] = Counter()
    most = -(-size // len({item.target for item in items}))
    for item in items:
        if len(found) < size and counts[item.target] < most:
            counts[item.target] += 1
            found.append(item)
    return found


def template(stuff: Material, temperature: float) -> PromptTemplate:
    """Return the prompt of a setting."""
    setting = stuff.setting
    messages = [MessageTemplate(role="system", parts=(setting.instruction,))]
    for item in stuff.shown:
        messages.append(MessageTemplate(role="user", parts=(setting.caption + item.text,)))
        messages.append(MessageTemplate(role="assistant", parts=(item.target,)))
    messages.append(MessageTemplate(role="user", parts=(setting.caption, Hole(name="input:text"))))
    call = CallTemplate(
        messages=tuple(messages),
        parameters=(("max_tokens", setting.max_tokens), ("temperature", temperature)),
    )
    reader = AnswerFormat(kind="label" if setting.labels else "text", labels=setting.labels)
    return PromptTemplate(calls=(call,), answer=reader)


def frozen(stuff: Material, asked: PromptTemplate, records: Records | None = None) -> FrozenPrompt:
    """Return the prompt as a search would have left it."""
    return FrozenPrompt(
        name=stuff.setting.name,
        template=asked,
        style="direct",
        format="plain",
        capabilities=(),
        demonstration_ids=tuple(item.id for item in stuff.shown),
        model={"provider": "openai_compatible", "name": MODEL},
        task={"name": stuff.setting.name},
        evidence={},
        history=(),
        tool_versions={},
        records=None if records is None else records.to_dict(),
    )


def written_task(stuff: Material, folder: Path) -> Path:
    """Write the task and its examples into a project of their own and return the task file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").touch()
    half = len(stuff.aside) // 2
    parts = {"train": stuff.aside[:half], "validation": stuff.aside[half:], "test": stuff.pool}
    for name, items in parts.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(("id", "text", "answer"))
            rows.writerows((item.id, item.text, item.target) for item in items)
    setting = stuff.setting
    output = {"type": "label", "labels": list(setting.labels)} if setting.labels else {"type": "text"}
    task = {
        "schema": 1,
        "name": setting.name,
        "dataset": {
            "inputs": ["text"],
            "target": "answer",
            "splits": {name: f"{name}.csv" for name in parts},
        },
        "output": output,
        "metric": "accuracy" if setting.labels else "exact_match",
        "instruction": setting.instruction,
    }
    path = folder / "task.yaml"
    path.write_text(json.dumps(task, ensure_ascii=False, indent=1), encoding="utf-8")  # JSON is YAML
    return path
