"""Whether the answer is one of several right ones."""

import json
from dataclasses import dataclass
from typing import ClassVar, Literal

from optimizer.answer import Answer
from optimizer.metrics import Setting, metric
from optimizer.metrics._words import normalised


@dataclass(frozen=True, kw_only=True, slots=True)
class Choosing:
    """How the right answers are written and compared.

    Attributes:
        match: Whether case, punctuation, articles and spaces matter (`exact`) or not (`normalised`).
        separator: What stands between right answers in a target that is no JSON list.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}

    match: Literal["normalised", "exact"] = "normalised"
    separator: str = "|"

    def problem(self) -> str | None:
        """Return what is wrong with the separator, or None."""
        return None if self.separator else "separator: expected some text, found none"


@metric(outputs=("text",), options=Choosing)
def one_of(answer: Answer, target: str, setting: Setting) -> float:
    """Return 1 when the answer is one of those in the target, a JSON list or texts with `|` between; else 0.

    Raises:
        ValueError: When the target names no right answer.
    """
    options = setting.options
    assert isinstance(options, Choosing)
    right = _alternatives(target, options.separator)
    if answer.text is None:
        return 0.0
    text = answer.text.strip()
    if options.match == "exact":
        return float(text in right)
    return float(normalised(text, setting.language) in {normalised(one, setting.language) for one in right})


def _alternatives(target: str, separator: str) -> list[str]:
    try:
        value = json.loads(target)
    except ValueError:
        value = None
    listed = value if isinstance(value, list) else target.split(separator)
    texts = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in listed]
    right = [text.strip() for text in texts if text.strip()]
    if not right:
        raise ValueError(f"expected a list of right answers, found {target[:60]!r}")
    return right
