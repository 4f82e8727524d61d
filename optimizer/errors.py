"""The error tree.

* OptimizerError
  x InputError            bad input: every mistake at once, exit code 2
    + PluginError         a plug-in is unknown or its file is broken
    + StudyChangedError   the stored study was asked for something else
    + StudyBusyError      another process runs the study
  x ModelError            the model gave no completion; never a score
    + TransientError      worth another attempt
      - UnreachableError  no answer from the endpoint: refused, reset, timed out
      - OverloadedError   the endpoint asked to come back later, or failed by itself: 429, 5xx
      - BrokenAnswerError an answer that holds no completion: half of one, no JSON, another model's
    + RejectedError       this request was refused; another attempt would be too
      - FilteredError     by a filter before the model
    + EndpointError       every request would be refused (key, unknown model, quota): the run stops
    + OutageError         the endpoint gave no answer at all for as long as a call may take: the run stops
  x SandboxError          code cannot be confined on this machine; it says nothing about the code
  x StorageError          the database cannot be read or written, as on a full disk; what was committed is safe
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


class TransientError(ModelError):
    """No completion this time; another attempt may well have one.

    Attributes:
        reason: What went wrong in a word or two that can be counted, such as "429" or "time-out".
        retry_after_seconds: How long the endpoint asked to wait, or None when it did not say.
        billable: Whether the provider may charge for the attempt.
        prompt_tokens: Tokens that the answer says were read, or None when it does not say.
        completion_tokens: Tokens that the answer says were written, or None when it does not say.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        retry_after_seconds: float | None = None,
        billable: bool = False,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
    ) -> None:
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.billable = billable
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens
        super().__init__(message)


class UnreachableError(TransientError):
    """The endpoint did not answer: refused connection, time-out, broken transfer."""


class OverloadedError(TransientError):
    """The endpoint asked to come back later (429) or failed by itself (5xx)."""


class BrokenAnswerError(TransientError):
    """The endpoint answered, and the answer holds no completion of the model that was asked."""


class RejectedError(ModelError):
    """The endpoint refused this one request, for instance because it is too long."""


class FilteredError(RejectedError):
    """A filter before the model refused this one request for what it says."""


class EndpointError(ModelError):
    """The endpoint would refuse every request: wrong key, unknown model, empty account."""


class OutageError(ModelError):
    """The endpoint gave no answer at all for as long as one call may take; what was paid for is saved."""


class SandboxError(OptimizerError):
    """The sandbox could not be made or broke; it says nothing about the code."""

    exit_code = 3


class StorageError(OptimizerError):
    """The database cannot be read or written, as on a full disk; what was committed is safe."""

    exit_code = 3


class IncompleteError(OptimizerError):
    """More errors than the limit allows; what was paid for is saved."""

    exit_code = 3


class BudgetError(OptimizerError):
    """A budget ended before the work did; what was paid for is saved."""

    exit_code = 4


class InterruptedRunError(OptimizerError):
    """The run was asked to stop; what was paid for is saved."""

    exit_code = 130
