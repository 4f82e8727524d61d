"""Whether the answer contains the target."""

import re
import unicodedata
from dataclasses import dataclass
from typing import ClassVar

from optimizer.answer import Answer
from optimizer.metrics import Setting, metric


@dataclass(frozen=True, kw_only=True, slots=True)
class Including:
    """How the target is looked for.

    Attributes:
        ignore_case: Whether capitals do not matter.
        whole_words: Whether it must not begin or end within a word, as `cat` does in `concatenate`.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    ignore_case: bool = True
    whole_words: bool = False


@metric(outputs=("text",), options=Including)
def includes(answer: Answer, target: str, setting: Setting) -> float:
    """Return 1 when the target stands somewhere in the answer, else 0, as for an answer that could not be read.

    Raises:
        ValueError: For a blank target, which would stand in any answer.
    """
    options = setting.options
    assert isinstance(options, Including)
    if not target.strip():
        raise ValueError("expected a target to look for, found a blank one")
    if answer.text is None:
        return 0.0
    text, wanted = (unicodedata.normalize("NFC", one) for one in (answer.text, target.strip()))
    if options.ignore_case:
        text, wanted = text.casefold(), wanted.casefold()
    if not options.whole_words:
        return float(wanted in text)
    return float(re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", text) is not None)
