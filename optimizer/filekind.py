"""What a file of a project is, by its keys, so that one that stands in place of another is told as what it is."""

from typing import Literal

from optimizer.document import Located
from optimizer.errors import InputError, Problem

FileKind = Literal["task", "study", "frozen prompt"]


def kind_of(content: object) -> FileKind | None:
    """Return what a file with this content is meant to be, or None where its keys do not tell."""
    keys = set(content) if isinstance(content, dict) else set()
    if {"answer", "calls"} <= keys:
        return "frozen prompt"
    if "dataset" in keys:
        return "task"
    return "study" if keys & {"search", "budget", "task"} else None


def refuse_other_kind(source: Located, expected: FileKind) -> None:
    """Refuse a file that is something else, in one sentence in place of one for each of its keys.

    Raises:
        InputError: When it is something else.
    """
    found = kind_of(source.value)
    if found not in (None, expected):
        raise InputError([Problem(file=source.file, message=f"expected a {expected}, found a {found}")])
