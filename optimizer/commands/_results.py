"""Where the result lies that a path means: a study, its folder, or the frozen prompt itself."""

from pathlib import Path
from typing import Annotated

import typer

from optimizer.errors import InputError, Problem

PromptPath = Annotated[
    Path,
    typer.Argument(metavar="PROMPT", help="A frozen prompt, or the study or folder in which one lies."),
]

# What the database of a study ends with, which lies beside its prompt.
_DATABASE = ".db"


def is_study(path: Path) -> bool:
    """Return whether a path is that of a study's file, by its name."""
    return path.suffix in (".yaml", ".yml")


def prompt_path(path: Path) -> Path:
    """Return where the frozen prompt lies that a path means.

    Raises:
        InputError: When there is nothing at the path, or no result yet.
    """
    if not path.exists():
        raise InputError([Problem(file=str(path), message="there is no such file or folder")])
    if path.is_file() and not is_study(path) and path.suffix != _DATABASE:
        return path
    found = path / "prompt.json" if path.is_dir() else path.with_name("prompt.json")
    if not found.is_file():
        study = path if is_study(path) else found.with_name("study.yaml")
        message = f"no result yet: there is no {found}; `optimizer run {study}` makes it"
        raise InputError([Problem(file=str(path), message=message)])
    return found
