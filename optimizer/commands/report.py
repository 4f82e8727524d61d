"""`report PATH`: the evidence of a frozen prompt as a page to show to colleagues."""

from pathlib import Path
from typing import Annotated

import typer

from optimizer.commands import AsJson, command, say, say_json
from optimizer.commands._results import prompt_path


@command
def report(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A frozen prompt, or the study or folder in which one lies."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="File or folder to write to; report.html beside the prompt without it."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the evidence of a frozen prompt as one HTML page, and print where.

    The page needs nothing else: no script, no network. The same prompt gives the same page.
    """
    from optimizer.document import write_atomically
    from optimizer.errors import InputError, Problem, StorageError
    from optimizer.frozen import FrozenPrompt
    from optimizer.report import page

    source = prompt_path(path)
    frozen = FrozenPrompt.load(source)
    target = source.with_name("report.html") if output is None else output
    if target.is_dir():
        target /= "report.html"
    if target.exists() and target.samefile(source):
        raise InputError([Problem(file=str(target), message="is the frozen prompt itself; write elsewhere")])
    if not target.parent.is_dir():
        message = f"there is no folder {target.parent}"
        raise InputError([Problem(file="", field="--output", message=message)])
    try:
        write_atomically(target, page(frozen))
    except OSError as error:
        raise StorageError(f"{target} cannot be written ({error.strerror})") from error
    if as_json:
        say_json({"report": str(target), "fingerprint": frozen.fingerprint})
    else:
        say(str(target))
