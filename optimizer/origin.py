"""Where a frozen prompt comes from: the task and the data that it was tuned on, found again."""

import json
from collections.abc import Sequence
from pathlib import Path

from optimizer.dataset import Dataset, Example
from optimizer.document import load_yaml
from optimizer.errors import InputError, Problem
from optimizer.exporters import Wording
from optimizer.frozen import FrozenPrompt
from optimizer.importing import IMPORTED
from optimizer.intake import MOST_TOLD, intake_of
from optimizer.plan import load_examples, task_path
from optimizer.schema import read
from optimizer.task import Task
from optimizer.taskfile import TaskFile


def origin_of(frozen: FrozenPrompt, path: Path, task: Path | None = None) -> tuple[Task, Dataset] | None:
    """Return the task of a prompt with its data: the one that is named, or that of the study beside the prompt.

    Args:
        frozen: The prompt.
        path: Its file.
        task: A task file, or None to look for `study.yaml` beside the prompt.

    Returns:
        None where no task is named and no study lies beside the prompt.

    Raises:
        InputError: When the task or its data cannot be read, or lacks an input of the prompt.
    """
    named = _task_path(path, task)
    if named is None:
        return None
    found = load_examples(named)
    missing = sorted(set(frozen.inputs) - set(found[0].inputs))
    if missing:
        known = ", ".join(found[0].inputs)
        message = f"the prompt takes {', '.join(missing)}, and the task has {known}"
        raise InputError([Problem(file=found[0].source.file, field="dataset.inputs", message=message)])
    return found


def _task_path(path: Path, task: Path | None) -> Path | None:
    study = path.with_name("study.yaml")
    if task is not None or not study.is_file():
        return task
    return task_path(load_yaml(study), study)


def listed_inputs(frozen: FrozenPrompt, path: Path, task: Path | None = None) -> tuple[str, ...]:
    """Return the inputs of a prompt that its task has as lists, as the prompt says or, if older, the task's file.

    Nothing else is read: where a prompt is used the data and the metrics of its task need not be.

    Args:
        frozen: The prompt.
        path: Its file.
        task: A task file, which comes first; None for the study beside a prompt that does not say. Without one there are
            no lists.

    Raises:
        InputError: When the task cannot be read.
    """
    stated = frozen.task.get("lists")
    if task is None and isinstance(stated, list):
        return tuple(name for name in frozen.inputs if name in stated)
    named = _task_path(path, task)
    inputs = () if named is None else read(load_yaml(named), TaskFile).dataset.inputs
    kinds = inputs if isinstance(inputs, dict) else {}
    return tuple(name for name in frozen.inputs if name in kinds and kinds[name].type == "list")


def judging_examples(frozen: FrozenPrompt, path: Path, task: Path | None = None) -> tuple[Example, ...]:
    """Return the examples that judged a prompt: those of the test, or of validation where there is none.

    Empty where no task is named and no study lies beside the prompt.

    Raises:
        InputError: As `origin_of`.
    """
    origin = origin_of(frozen, path, task)
    return () if origin is None else origin[1].test or origin[1].validation


def rows_of(frozen: FrozenPrompt, rows: Path, *, lists: Sequence[str] = ()) -> tuple[Example, ...]:
    """Return the rows of a table as a prompt is to be sent them: under their ids, or else their numbers; without targets.

    Args:
        frozen: The prompt.
        rows: The table.
        lists: Inputs whose cells are arrays of texts, as JSON where a table has nothing but text.

    Raises:
        InputError: With every mistake found in it; an id that several rows have is one, as answers are joined on it.
    """
    intake = intake_of(frozen.template, rows, lists=lists, kept=())
    named = intake.check(lambda _: None).has_ids
    found, lines, repeated = list[Example](), dict[str, int](), list[Problem]()
    for row in intake.rows():
        name, line = row.record.text("id") if named else str(row.number), row.record.line
        first = lines.setdefault(name, line)
        if first != line:
            message = f"expected an id of its own, found {name[:60]!r} again, first on line {first}"
            repeated.append(Problem(file=intake.file, line=line, field="id", message=message))
        found.append(Example(id=name, inputs=tuple(row.inputs.items()), target="", group=None))
    if len(repeated) > MOST_TOLD:
        message = f"and {len(repeated) - MOST_TOLD:,} more mistakes in the rows after these"
        repeated[MOST_TOLD:] = [Problem(file=intake.file, message=message)]
    if repeated:
        raise InputError(repeated)
    return tuple(found)


def wording_of(
    frozen: FrozenPrompt, path: Path, task: Path | None = None, *, needed: bool = False
) -> Wording | None:
    """Return what a prompt was made of, by its ids; None where the task or the wordings of its search are not found.

    Args:
        frozen: The prompt.
        path: Its file.
        task: A task file, or None to look for `study.yaml` beside the prompt.
        needed: Whether a format is to hold the parts of the prompt, which an imported one does not have.

    Raises:
        InputError: As `origin_of`, or when the prompt was imported and its wording is needed.
    """
    if needed and frozen.style == IMPORTED:
        message = "the prompt was imported, and has no wording apart from its messages; export it in a format of messages"
        raise InputError([Problem(file=str(path), message=message)])
    origin, lines = origin_of(frozen, path, task), path.with_name("instructions.jsonl")
    if origin is None or not lines.is_file():
        return None
    try:
        rows = [json.loads(line) for line in lines.read_text("utf-8").split("\n")[:-1]]
        # What was imported is a whole prompt and no wording.
        texts = {row["id"]: row["text"] for row in rows if row.get("origin") != "imported"}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError([Problem(file=str(lines), message=f"expected wordings by id: {error}")]) from error
    shown = {example.id: example for example in origin[1].train}
    row = next(
        (row for row in frozen.history if row.get("digest") == frozen.evidence.get("frozen_digest")), {}
    )
    instruction = texts.get(row.get("instruction_id"))
    if instruction is None or not shown.keys() >= set(frozen.demonstration_ids):
        return None
    demonstrations = tuple(shown[name] for name in frozen.demonstration_ids)
    return Wording(instruction=instruction, demonstrations=demonstrations, targets=origin[0].targets)
