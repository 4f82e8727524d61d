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
        raise InputError([Problem(file=str(path), message=_missing(path, found))])
    return found


def _missing(path: Path, prompt: Path) -> str:
    """Return why there is no frozen prompt, and what makes it if anything does."""
    from optimizer.document import load_yaml
    from optimizer.filekind import kind_of

    study = path if is_study(path) else prompt.with_name("study.yaml")
    if not study.is_file():
        return f"expected a study or a frozen prompt, found neither study.yaml nor {prompt.name} in {prompt.parent}"
    if (kind := kind_of(load_yaml(study).value)) not in (None, "study"):
        return f"expected a study or a frozen prompt, found a {kind}"
    return f"no result yet: there is no {prompt}; `optimizer run {study}` makes it"
