"""Whether a pattern matches the answer."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from optimizer.answer import Answer
from optimizer.metrics import Setting, metric

if TYPE_CHECKING:
    from regex import Pattern


@dataclass(frozen=True, kw_only=True, slots=True)
class Matching:
    """Which pattern is looked for, and how.

    Attributes:
        pattern: A regular expression for all examples; the target of each is its own unless given.
        whole: Whether the whole answer has to match, not some part of it.
        ignore_case: Whether capitals do not matter.
        seconds: How long one search may take.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    pattern: str | None = None
    whole: bool = False
    ignore_case: bool = False
    seconds: float = 0.5

    def problem(self) -> str | None:
        """Return what is wrong with the pattern or the time, or None."""
        if not 0 < self.seconds <= 60:
            return f"seconds: expected more than 0 and at most 60, found {self.seconds:g}"
        if self.pattern == "":
            return "pattern: expected some text, found none; an empty pattern matches every answer"
        try:
            _compiled(self.pattern or "", ignore_case=self.ignore_case)
        except ValueError as error:
            return f"pattern: {error}"
        return None


@metric(outputs=("text",), options=Matching)
def regex(answer: Answer, target: str, setting: Setting) -> float:
    """Return 1 when the pattern matches the answer, else 0, as for an answer that could not be read.

    Raises:
        TimeoutError: When the search takes too long. The pattern is at fault then, so the example has no score.
        ValueError: When the target is no pattern and has to be one.
    """
    options = setting.options
    assert isinstance(options, Matching)
    pattern = _compiled(
        target if options.pattern is None else options.pattern, ignore_case=options.ignore_case
    )
    if answer.text is None:
        return 0.0
    search = pattern.fullmatch if options.whole else pattern.search
    try:
        return float(search(answer.text, timeout=options.seconds) is not None)
    except TimeoutError:
        message = f"the pattern {pattern.pattern[:60]!r} took more than {options.seconds:g} s on one answer"
        raise TimeoutError(message) from None


@cache
def _compiled(pattern: str, *, ignore_case: bool) -> "Pattern[str]":
    """Return a pattern of the library whose searches can be given a time.

    Raises:
        ValueError: When it is none.
    """
    import regex as patterns

    try:
        return patterns.compile(pattern, patterns.IGNORECASE if ignore_case else 0)
    except patterns.error as problem:
        raise ValueError(f"expected a regular expression, found {pattern[:60]!r}: {problem}") from None
