"""`export PROMPT --format NAME`: a frozen prompt as a file of another tool."""

from pathlib import Path
from typing import Annotated

import typer

from optimizer.commands import command, complain, printable


@command
def export(
    path: Annotated[Path, typer.Argument(metavar="PROMPT", help="A frozen prompt.")],
    name: Annotated[
        str, typer.Option("--format", metavar="NAME", help="An exporter; `plugins exporters` lists them.")
    ],
    output: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where to write; stdout without it.")
    ] = None,
) -> None:
    """Write a frozen prompt in another tool's format, lossless, or refuse with the reason."""
    import sys

    from optimizer.document import write_atomically
    from optimizer.exporters import EXPORTERS
    from optimizer.frozen import FrozenPrompt

    text = EXPORTERS[name].export(FrozenPrompt.load(path))
    if output is None:
        sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
        return
    target = output / (path.stem + EXPORTERS[name].suffix) if output.is_dir() else output
    write_atomically(target, text)
    complain(f"wrote {target}")
