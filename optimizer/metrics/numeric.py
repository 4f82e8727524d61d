"""Whether a number is near enough to the target."""

from dataclasses import dataclass
from typing import ClassVar

from optimizer.answer import Answer, find_number
from optimizer.metrics import Setting, metric
from optimizer.metrics._values import near, tolerance_problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How far off a number may be; the wider of the two counts.

    Attributes:
        absolute: In units of the target.
        relative: In parts of the target.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    absolute: float = 0.0
    relative: float = 0.0

    def problem(self) -> str | None:
        """Return what is wrong with it, or None."""
        return tolerance_problem(absolute=self.absolute, relative=self.relative)


@metric(outputs=("number", "text"), options=Tolerance)
def numeric(answer: Answer, target: str, setting: Setting) -> float:
    """Return 1 for a number within the tolerance of the target, else 0; bounds are within.

    Of a text the last number counts, signs of currency and percent aside.

    Raises:
        ValueError: When the target has no number.
    """
    options = setting.options
    assert isinstance(options, Tolerance)
    wanted = find_number(target)
    if wanted is None:
        raise ValueError(f"expected a target with a number, found {target[:60]!r}")
    found = None if answer.text is None else find_number(answer.text)
    if found is None:
        return 0.0
    return float(near(found, wanted, absolute=options.absolute, relative=options.relative))
