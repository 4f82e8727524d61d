"""Exporters: a frozen prompt as a file of another tool. Lossless, or refused with the reason."""

from collections.abc import Callable
from dataclasses import dataclass

from optimizer.errors import InputError, Problem
from optimizer.frozen import FrozenPrompt
from optimizer.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Exporter:
    """One format of files.

    Attributes:
        suffix: What the file name ends with, such as `.openai.json`.
        export: Makes the text of the file; raises `LossyExportError` for what the format cannot carry.
    """

    suffix: str
    export: Callable[[FrozenPrompt], str]


class LossyExportError(InputError):
    """The format cannot carry this prompt whole."""

    def __init__(self, reason: str, *, instead: str) -> None:
        super().__init__([Problem(file="", message=f"{reason}; formats that can carry it: {instead}")])


EXPORTERS: Registry[Exporter] = Registry("optimizer.exporters", Exporter)


def exporter(suffix: str) -> Callable[[Callable[[FrozenPrompt], str]], Exporter]:
    """Make an exporter of a function from a frozen prompt to the text of a file."""
    return lambda export: Exporter(suffix=suffix, export=export)
