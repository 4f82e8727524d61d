"""`export PROMPT --format NAME`: a frozen prompt as a file of another tool."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optimizer.commands import command, complain, printable
from optimizer.commands._results import PromptPath, prompt_path

if TYPE_CHECKING:
    from optimizer.exporting import Export

Rows = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Rows to send, for formats that hold requests, such as openai_batch."),
]
Lists = Annotated[
    list[str] | None,
    typer.Option(
        "--list",
        metavar="INPUT",
        help="An input of the rows whose cells are JSON arrays of texts; those that the task has as lists are.",
    ),
]


@command
def export(
    path: PromptPath,
    name: Annotated[
        str, typer.Option("--format", metavar="NAME", help="An exporter; `plugins exporters` lists them.")
    ],
    output: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where to write; stdout without it.")
    ] = None,
    task_path: Annotated[
        Path | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help="The task whose test examples are compared; that of the study beside the prompt without it.",
        ),
    ] = None,
    rows: Rows = None,
    lists: Lists = None,
    allow_lossy: Annotated[
        bool, typer.Option("--allow-lossy", help="Leave out what the format cannot carry, and record it.")
    ] = False,
) -> None:
    """Write a frozen prompt in another tool's format, lossless, or refuse with the reason.

    What was written is read again and compared with the prompt's own messages, on the test examples and on inputs made
    to break it. A structural format, `dspy_state`, carries the parts of the prompt and not its words, and is not compared.
    """
    import sys

    from optimizer.exporters import EXPORTERS
    from optimizer.exporting import export as exported
    from optimizer.frozen import FrozenPrompt
    from optimizer.origin import judging_examples, listed_inputs, rows_of, wording_of

    path = prompt_path(path)
    suffix, frozen = EXPORTERS[name].suffix, FrozenPrompt.load(path)
    _check_options(rows, name, output, lists or ())
    examples = (
        judging_examples(frozen, path, task_path)
        if rows is None
        else rows_of(frozen, rows, lists=(*(lists or ()), *listed_inputs(frozen, path, task_path)))
    )
    found = exported(
        frozen,
        name,
        examples,
        wording=wording_of(frozen, path, task_path, needed=EXPORTERS[name].structural),
        allow_lossy=allow_lossy,
    )
    for line in _notes(found, name):
        complain(line)
    if output is None:
        for text in found.texts:
            sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
        return
    target = output / (path.stem + suffix) if output.is_dir() else output
    _write(target, found.texts)


def _check_options(rows: Path | None, name: str, output: Path | None, lists: Sequence[str]) -> None:
    from optimizer.errors import InputError, Problem
    from optimizer.exporters import EXPORTERS

    problems = []
    if rows is not None and not EXPORTERS[name].of_rows:
        message = f"expected none: {name} holds the prompt, not requests"
        problems.append(Problem(file="", field="--rows", message=message))
    if rows is None and lists:
        message = "expected none without --rows, of which it says what their cells are"
        problems.append(Problem(file="", field="--list", message=message))
    if output is not None and not output.parent.is_dir():
        message = f"there is no folder {output.parent}"
        problems.append(Problem(file="", field="--output", message=message))
    if problems:
        raise InputError(problems)


def _notes(found: "Export", name: str) -> Iterator[str]:
    """Yield what whoever ships the file has to know."""
    from optimizer.exporters import EXPORTERS

    yield from (f"lossy: {loss}" for loss in found.losses)
    if EXPORTERS[name].structural:
        yield from (f"inputs must be such that {condition}" for condition in found.preconditions)
        yield f"{name} lays the prompt out anew: its words are not those that were scored"
        return
    kept = "lossless" if not found.losses else "all else is as it was scored"
    yield from (f"{kept} where {condition}" for condition in found.preconditions)
    if found.losses:
        yield "the score on the test is of the whole prompt, so the file does not state it"


def _write(target: Path, texts: Sequence[str]) -> None:
    """Write each text to a file of its own.

    Raises:
        StorageError: When one cannot be written.
    """
    from optimizer.document import write_atomically
    from optimizer.errors import StorageError

    for file, text in zip(_files(target, len(texts)), texts, strict=True):
        try:
            write_atomically(file, text)
        except OSError as error:
            raise StorageError(f"{file} cannot be written ({error.strerror})") from error
        complain(f"wrote {file}")


def _files(target: Path, n: int) -> Sequence[Path]:
    """Return the paths of n files: the one that was named, or numbered ones beside it."""
    if n == 1:
        return [target]
    stem, dot, rest = target.name.partition(".")
    return [target.with_name(f"{stem}-{k + 1}{dot}{rest}") for k in range(n)]
