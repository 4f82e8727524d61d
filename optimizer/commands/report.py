"""`report STUDY`: a study, or a frozen prompt alone, as a page to show to colleagues."""

from pathlib import Path
from typing import Annotated

import typer

from optimizer.commands import AsJson, command, complain, say, say_json
from optimizer.commands._results import prompt_path


@command
def report(
    path: Annotated[
        Path,
        typer.Argument(metavar="STUDY", help="A study, the folder in which it lies, or a frozen prompt."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="File or folder to write to; report.html or guide.md beside the prompt without it.",
        ),
    ] = None,
    guide: Annotated[
        bool,
        typer.Option("--guide", help="Write a guide in Markdown instead: what works, and what does not."),
    ] = False,
    language: Annotated[
        str | None, typer.Option(metavar="en|fr", help="Language to write in; the task's own without it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a study as one HTML page: the evidence, every prompt, every example. Print where it is.

    The page needs nothing else: it loads nothing and sends nothing. Without the study's database beside it, it shows the
    prompt and its evidence alone.
    """
    from optimizer.document import write_atomically
    from optimizer.errors import InputError, Problem, StorageError
    from optimizer.report import LANGUAGES, report_guide, report_page

    if language is not None and language not in LANGUAGES:
        message = f"expected one of {', '.join(LANGUAGES)}, found {language!r}"
        raise InputError([Problem(file="", field="--language", message=message)])
    source, name = prompt_path(path), "guide.md" if guide else "report.html"
    target = source.with_name(name) if output is None else output
    if target.is_dir():
        target /= name
    if target.exists() and target.samefile(source):
        raise InputError([Problem(file=str(target), message="is the frozen prompt itself; write elsewhere")])
    if not target.parent.is_dir():
        message = f"there is no folder {target.parent}"
        raise InputError([Problem(file="", field="--output", message=message)])
    made = (report_guide if guide else report_page)(source, _study_file(path, source), language)
    try:
        write_atomically(target, made.text)
    except OSError as error:
        raise StorageError(f"{target} cannot be written ({error.strerror})") from error
    if made.alone:
        complain(f"note: the page shows the prompt without its study: {made.alone}")
    if as_json:
        kind = "guide" if guide else "report"
        say_json({kind: str(target), "fingerprint": made.fingerprint, "alone": made.alone or None})
    else:
        say(str(target))


def _study_file(path: Path, prompt: Path) -> Path:
    """Return where the study file of a prompt is looked for: the one that was named, or the one beside it."""
    return path if path.is_file() and path != prompt else prompt.with_name("study.yaml")
