"""Whether the answer begins with the target."""

import unicodedata
from dataclasses import dataclass
from typing import ClassVar

from optimizer.answer import Answer
from optimizer.metrics import Setting, metric


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """How the start is compared.

    Attributes:
        ignore_case: Whether capitals do not matter.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    ignore_case: bool = True


@metric(outputs=("text",), options=Beginning)
def starts_with(answer: Answer, target: str, setting: Setting) -> float:
    """Return 1 when the answer begins with the target, spaces before either aside; 0 for an unread answer.

    Raises:
        ValueError: For a blank target, with which any answer would begin.
    """
    options = setting.options
    assert isinstance(options, Beginning)
    if not target.strip():
        raise ValueError("expected a target to begin with, found a blank one")
    if answer.text is None:
        return 0.0
    text, wanted = (unicodedata.normalize("NFC", one.strip()) for one in (answer.text, target))
    if options.ignore_case:
        text, wanted = text.casefold(), wanted.casefold()
    return float(text.startswith(wanted))
