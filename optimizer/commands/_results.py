"""Where the result lies that a path means."""

from pathlib import Path

from optimizer.errors import InputError, Problem


def prompt_path(path: Path) -> Path:
    """Return where the frozen prompt lies that a path means.

    Raises:
        InputError: When there is nothing at the path, or no result yet.
    """
    if not path.exists():
        raise InputError([Problem(file=str(path), message="there is no such file or folder")])
    if path.is_file() and path.suffix not in (".yaml", ".yml"):
        return path
    found = path / "prompt.json" if path.is_dir() else path.with_name("prompt.json")
    if not found.is_file():
        study = path / "study.yaml" if path.is_dir() else path
        message = f"no result yet: there is no {found}; `optimizer run {study}` makes it"
        raise InputError([Problem(file=str(path), message=message)])
    return found
