"""Whether a frozen prompt is what it was: its bytes, its version, its digests, and every request it recorded.

No model is asked. What is found is sorted by what it takes away: what is `broken` cannot be trusted or looked at, what
`differs` is sound but no longer what was recorded, a `note` takes nothing away.
"""

import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optimizer.dataset import Dataset, Example
from optimizer.digest import pretty
from optimizer.errors import InputError, Problem
from optimizer.explanation import shortened
from optimizer.frozen import FrozenPrompt, text_of
from optimizer.lineup import other_metric
from optimizer.origin import origin_of
from optimizer.recording import Records, Row, digests_of, read_records
from optimizer.task import Task
from optimizer.taskfile import SPLITS

Weight = Literal["broken", "differs", "note"]

# Ids named of those that a finding is about.
_NAMED = 5

_MISSING = "there is no such file or folder"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        about: What it is about: file, layout, schema, records, task, wording, data.
        line: Line of the file that it is about, from 1; None where it is about no line.
    """

    weight: Weight
    about: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.about}: {self.message}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """What became of each recorded request.

    Attributes:
        task: The task that the examples are of.
        alike: Recorded rows whose example has the inputs and the target of then, with that example.
        reworded: Ids among them whose request is another one.
    """

    task: Task
    alike: tuple[tuple[Row, Example], ...]
    reworded: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """A file that was looked at.

    Attributes:
        frozen: The prompt in it; None where it cannot be read.
        records: What it recorded; None where there is nothing.
        rendered: The requests made again; None where no task was found, or nothing was recorded.
    """

    path: Path
    findings: tuple[Finding, ...]
    frozen: FrozenPrompt | None = None
    records: Records | None = None
    rendered: Rendered | None = None

    @property
    def is_missing(self) -> bool:
        """Return whether there was no file to look at."""
        return any(finding.message == _MISSING for finding in self.of("broken"))

    def of(self, weight: Weight) -> tuple[Finding, ...]:
        """Return the findings of one weight."""
        return tuple(finding for finding in self.findings if finding.weight == weight)


def verified(path: Path, task: Path | None = None) -> Verified:
    """Return everything that is found about a frozen prompt, without a call of a model.

    Args:
        path: Its file.
        task: A task file, or None to look for `study.yaml` beside the prompt.
    """
    if not path.exists():
        return Verified(path=path, findings=(_broken("file", _MISSING),))
    try:
        text = text_of(path)
        with warnings.catch_warnings(record=True) as newer:
            warnings.simplefilter("always")
            frozen = FrozenPrompt.loads(text, file=str(path))
    except InputError as error:
        told = (_broken("file", problem.message, line=problem.line) for problem in error.problems)
        return Verified(path=path, findings=tuple(told))
    findings = [Finding(weight="note", about="schema", message=str(each.message)) for each in newer]
    findings += _layout(text)
    try:
        records = read_records(frozen.records)
    except InputError as error:
        findings += [_broken("records", problem.message) for problem in error.problems]
        return Verified(path=path, findings=tuple(findings))
    if records is None:
        message = (
            "the file holds none; what was asked cannot be made again and compared. A new run records it"
        )
        findings.append(Finding(weight="note", about="records", message=message))
        return Verified(path=path, findings=tuple(findings), frozen=frozen)
    rendered, others = _rendered(frozen, records, path, task)
    return Verified(
        path=path, findings=(*findings, *others), frozen=frozen, records=records, rendered=rendered
    )


def _broken(about: str, message: str, *, line: int | None = None) -> Finding:
    return Finding(weight="broken", about=about, message=message, line=line)


def _layout(text: str) -> Iterator[Finding]:
    """Yield whether the bytes are others than those that are written, though they mean the same."""
    repeated: list[str] = []

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        repeated.extend(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        return dict(pairs)

    # The document itself is laid out: what a newer version added is not in the prompt that was read.
    same = pretty(json.loads(text, object_pairs_hook=once)) == text
    if repeated:  # another reader may take the other value
        yield _broken("layout", f"duplicate key {shortened(repeated[0])}")
    elif not same:
        message = "the bytes are not those that were written, though they mean the same"
        yield Finding(weight="differs", about="layout", message=message)


def _rendered(
    frozen: FrozenPrompt, records: Records, path: Path, task: Path | None
) -> tuple[Rendered | None, list[Finding]]:
    """Return the recorded requests made again, with what is found."""
    try:
        origin = origin_of(frozen, path, task)
    except InputError as error:
        return None, [_broken("task", str(problem)) for problem in error.problems]
    if origin is None:
        message = (
            "no task is named and no study.yaml lies beside the prompt, so the recorded requests were not rendered"
            " again; name the task with --task"
        )
        return None, [Finding(weight="note", about="task", message=message)]
    return _compared(frozen, records, *origin)


def _compared(
    frozen: FrozenPrompt, records: Records, task: Task, dataset: Dataset
) -> tuple[Rendered, list[Finding]]:
    splits = {example.id: name for name in SPLITS for example in getattr(dataset, name)}
    examples = {example.id: example for name in SPLITS for example in getattr(dataset, name)}
    known = [(row, examples[row.id]) for row in records.rows if row.id in examples]
    now = {row.id: digests_of(frozen.template, example) for row, example in known}
    changed = {
        "inputs": [row.id for row, _ in known if now[row.id]["input"] != row.input],
        "targets": [row.id for row, _ in known if now[row.id]["target"] != row.target],
    }
    touched = {name for names in changed.values() for name in names}
    alike = tuple((row, example) for row, example in known if row.id not in touched)
    reworded = tuple(row.id for row, _ in alike if now[row.id]["request"] != row.request)
    missing = [row.id for row in records.rows if row.id not in examples]
    moved = [f"{row.id} to {splits[row.id]}" for row, _ in known if splits[row.id] != records.split]
    findings = [
        *_data(missing, "{} no longer among the data of the task"),
        *_data(changed["inputs"], "{} other inputs than were recorded"),
        *_data(changed["targets"], "{} another target than was recorded"),
        *_wording(reworded, len(alike)),
        *_metric(frozen, task),
        *_notes(frozen, records, dataset, moved=moved, sound=not (missing or touched)),
    ]
    return Rendered(task=task, alike=alike, reworded=reworded), findings


def _data(ids: Sequence[str], words: str) -> Iterator[Finding]:
    if ids:
        are, have = ("is", "has") if len(ids) == 1 else ("are", "have")
        verb = are if "no longer" in words else have
        message = words.format(f"{_counted(len(ids))} ({_listed(ids)}) {verb}")
        yield Finding(weight="differs", about="data", message=message)


def _wording(reworded: Sequence[str], n: int) -> Iterator[Finding]:
    if reworded:
        message = (
            f"{len(reworded)} of {n} recorded requests are rendered in other words ({_listed(reworded)}), though their"
            " examples are the same"
        )
        yield Finding(weight="differs", about="wording", message=message)


def _metric(frozen: FrozenPrompt, task: Task) -> Iterator[Finding]:
    if other := other_metric(frozen, task):
        yield Finding(weight="differs", about="task", message=other)


def _notes(
    frozen: FrozenPrompt, records: Records, dataset: Dataset, *, moved: Sequence[str], sound: bool
) -> Iterator[Finding]:
    """Yield what changed of the data and touches no recorded example."""
    if moved:
        message = f"{_counted(len(moved))} of {records.split} went to another split ({_listed(moved)})"
        yield Finding(weight="note", about="data", message=message)
    recorded = frozen.task.get("dataset")
    stated = recorded.get("fingerprint") if isinstance(recorded, Mapping) else None
    if stated != dataset.digest and sound and not moved:
        message = "other rows, or their splits, changed since; the recorded examples are as they were"
        yield Finding(weight="note", about="data", message=message)


def _counted(n: int) -> str:
    return f"{n} example{'s' * (n != 1)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(shortened(name) for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def prompts_below(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return the prompts that are named, and those below the folders that are named, each once.

    Below a folder that is `prompt.json` and `*.prompt.json`, in the order of their paths; hidden folders are not entered.

    Raises:
        InputError: When a folder holds none.
    """
    found: list[Path] = []
    problems = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        below = sorted(each for each in path.rglob("*.json") if _is_prompt(each.relative_to(path)))
        found += below
        if not below:
            message = "expected a prompt.json or *.prompt.json below this folder, found none"
            problems.append(Problem(file=str(path), message=message))
    if problems:
        raise InputError(problems)
    return tuple(dict.fromkeys(found))


def _is_prompt(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and (path.name == "prompt.json" or path.name.endswith(".prompt.json"))
