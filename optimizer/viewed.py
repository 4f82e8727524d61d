"""A prompt as one looks back at it: its messages, what it is made of, and what became of each example."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optimizer.candidate import DemonstrationSet, Instruction
from optimizer.frozen import FrozenPrompt
from optimizer.history import TrialRecord
from optimizer.prompt import PromptTemplate
from optimizer.recording import read_records
from optimizer.store import ScoreRow


@dataclass(frozen=True, kw_only=True)
class Viewed:
    """A prompt that is looked at.

    Attributes:
        name: What it is called: the name it was asked for by, and its trial.
        source: The file that knows it.
        trial: The row of the history that scored it last; None where there is none.
        instruction: Its wording; None where only its messages are known.
        demonstrations: What it shows; None where only ids are known.
        model: The model that was asked, "" where that is not known.
        metric: What the scores are of; "" where that is not known.
        results: What became of each example it was asked about.
        same: A digest of the example's inputs and target by its id, where that is known.
        splits: The split of each example, where that is known.
    """

    name: str
    source: Path
    template: PromptTemplate
    style: str
    format: str
    demonstration_ids: tuple[str, ...]
    model: str = ""
    metric: str = ""
    trial: TrialRecord | None = None
    instruction: Instruction | None = None
    demonstrations: DemonstrationSet | None = None
    results: Mapping[str, ScoreRow] = field(default_factory=dict)
    same: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)


def best_so_far(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the best of the trials that may win: a confirmed one before others, the earliest of equal ones."""
    able = [row for row in trials if row.state == "complete" and row.feasible and row.score is not None]
    return max(able, key=lambda row: (row.stage == "confirm", row.score or 0.0, -row.trial), default=None)


def frozen_prompt(frozen: FrozenPrompt, path: Path) -> Viewed:
    """Return a frozen prompt as one looks at it, with what its records know.

    Raises:
        InputError: When its records are none.
    """
    records = read_records(frozen.records, file=str(path))
    rows = () if records is None else records.rows
    results = {
        row.id: ScoreRow(
            example=row.id, outcome=row.outcome, answer=None, score=row.score, strict=row.strict, reader=""
        )
        for row in rows
    }
    return Viewed(
        name=str(path),
        source=path,
        template=frozen.template,
        style=frozen.style,
        format=frozen.format,
        demonstration_ids=frozen.demonstration_ids,
        model=model_of(frozen),
        metric="" if records is None else records.metric,
        results=results,
        same={row.id: same_example({"input": row.input, "target": row.target}) for row in rows},
        splits={} if records is None else dict.fromkeys(results, records.split),
    )


def shared(a: Viewed, b: Viewed) -> dict[str, tuple[str, ...]]:
    """Return the ids of the examples that both have a score for, sorted, by split; "" where that is not known.

    Examples of one id are the same where both come of one database, or have equal inputs and an equal target.
    """
    found: dict[str, list[str]] = {}
    if a.metric != b.metric:
        return {}
    for name in sorted(a.results.keys() & b.results.keys()):
        alike = a.source == b.source or (name in a.same and a.same[name] == b.same.get(name))
        if alike and a.results[name].score is not None and b.results[name].score is not None:
            found.setdefault(a.splits.get(name, b.splits.get(name, "")), []).append(name)
    return {split: tuple(names) for split, names in found.items()}


def judging_split(found: Mapping[str, tuple[str, ...]]) -> str | None:
    """Return the split that judges two prompts: the test where both were asked about it; None where there is none."""
    return next((split for split in ("test", "validation", "train", "") if split in found), None)


def caution(split: str, *, one: bool = False) -> str | None:
    """Return what whoever looks at examples of a split has to know; None where there is nothing.

    Args:
        one: Whether a single example is looked at.
    """
    if split == "test":
        are, them = ("this is a test example", "it") if one else ("these are test examples", "them")
        return (
            f"Caution: {are}. A prompt that is changed because of {them} can no longer be judged by {them}."
        )
    if split == "validation" and not one:
        return "Caution: the search chooses on these examples, so what it found best looks better on them than it is."
    return None


def same_example(digests: Mapping[str, str]) -> str:
    """Return what two examples share that are the same one: the digests of inputs and target together."""
    return f"{digests['input']} {digests['target']}"


def model_of(frozen: FrozenPrompt) -> str:
    """Return provider and name of the model that a prompt was tuned for."""
    return f"{frozen.model.get('provider')}:{frozen.model.get('name')}"
