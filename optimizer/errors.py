"""The error tree.

* OptimizerError
  x InputError            bad input: every mistake at once, exit code 2
    + PluginError         a plug-in is unknown or its file is broken
    + StudyChangedError   the stored study was asked for something else
    + StudyBusyError      another process runs the study
  x ModelError            the model gave no completion; never a score
    + UnreachableError    no answer from the endpoint; worth another attempt
    + OverloadedError     429 or 5xx; worth another attempt
    + RejectedError       this request was refused; another attempt would be too
    + EndpointError       every request would be refused (key, unknown model): the run stops
  x IncompleteError       errors above the limit; partial results are saved, exit code 3
  x BudgetError           a budget ended before the work did; state is saved, exit code 4
  x InterruptedRunError   stopped by Ctrl-C or SIGTERM; state is saved, exit code 130
"""

from collections.abc import Sequence
from dataclasses import dataclass


class OptimizerError(Exception):
    """Base of every error raised on purpose."""

    exit_code = 70


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One mistake in an input, with its place.

    Attributes:
        file: The file as the user knows it, or "" where the mistake is in an argument.
        message: What was expected and what was found.
        line: Line number, from 1.
        field: Dotted path, such as `search.demos.sizes[1]`.
    """

    file: str
    message: str
    line: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.field, self.message) if part)


class InputError(OptimizerError):
    """Bad input; carries every mistake that was found."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PluginError(InputError):
    """A plug-in is unknown, or the file that should define it does not."""

    def __init__(self, message: str) -> None:
        super().__init__([Problem(file="", message=message)])


class StudyChangedError(InputError):
    """The study in the storage was asked for something else than this file asks."""


class StudyBusyError(InputError):
    """Another process is running this study."""


class ModelError(OptimizerError):
    """The model gave no completion. Never turned into a score."""

    exit_code = 3


class UnreachableError(ModelError):
    """The endpoint did not answer: refused connection, time-out, broken transfer."""


class OverloadedError(ModelError):
    """The endpoint asked to come back later (429) or failed by itself (5xx)."""


class RejectedError(ModelError):
    """The endpoint refused this one request, for instance because it is too long."""


class EndpointError(ModelError):
    """The endpoint would refuse every request: wrong key, unknown model."""


class IncompleteError(OptimizerError):
    """More errors than the limit allows; what was paid for is saved."""

    exit_code = 3


class BudgetError(OptimizerError):
    """A budget ended before the work did; what was paid for is saved."""

    exit_code = 4


class InterruptedRunError(OptimizerError):
    """The run was asked to stop; what was paid for is saved."""

    exit_code = 130
