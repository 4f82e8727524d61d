"""Targets in canonical form: a right answer that reads as nothing else is written as it would be read from a model.

A model's answer may be read generously; a target that could mean two things would make its reading right by luck.
"""

import difflib
import json
import re

from optimizer.digest import canonical
from optimizer.narrowing import boxed
from optimizer.numerals import SCALE, find_number, is_number, stated_number
from optimizer.record import too_many_figures
from optimizer.repair import strict_json

# Words and units beside a number; what is left of a text without them is the number alone.
_WORDS = re.compile(r"[^\W\d_]+|°")
# A number in bare brackets, as accounts write a loss, or after a dash that may be a minus.
_MAYBE_NEGATIVE = re.compile(
    rf"(?:[$€£¥%\s]|\b[A-Z]{{3}}\b)*(?:\(\s*[$€£¥]?\s*\+?[.\d][.,\d\s$€£¥%]*(?:(?:{SCALE}|[mMbB])[\s$€£¥]*)?\)"
    r"|—.*|–(?!(?:[$€£¥]\s?)?[.\d]).*)"
    r"(?:[$€£¥%\s]|\b[A-Z]{3}\b)*",
    re.DOTALL,
)
_SHOWN = 60


def canonical_target(text: str, kind: str, labels: tuple[str, ...]) -> str:
    """Return a target as an answer that equals it would be read.

    Labels are a JSON array, or texts with `;`, `|` or a comma between them, whichever no label has in it; an empty
    text has none. A number is in its shortest decimal form, JSON is canonical, a label or a text is as it was.

    Raises:
        ValueError: When it is no possible answer; says what was expected and what was found.
    """
    if kind == "label" and text not in labels:
        raise ValueError(_unknown_label(text, labels))
    if kind == "number":
        return target_number(text)
    if kind == "labels":
        named = _target_labels(text.strip(), labels)
        for name in named:
            if name not in labels:
                raise ValueError(_unknown_label(name, labels))
        return json.dumps([label for label in labels if label in named], ensure_ascii=False)
    if kind == "json":
        try:
            return canonical(strict_json(text))
        except ValueError as error:
            why = too_many_figures(text) or error
            raise ValueError(f"expected JSON, found {text[:60]!r}: {why}") from error
    return text


def _target_labels(text: str, labels: tuple[str, ...]) -> list[str]:
    if text.startswith("[") and text not in labels:
        try:
            items = strict_json(text)
        except ValueError as error:
            raise ValueError(f"expected a JSON array of labels, found {text[:60]!r}: {error}") from error
        # A label that is a figure may be written as one.
        if not isinstance(items, list) or not all(isinstance(item, str | int | float) for item in items):
            raise ValueError(f"expected a JSON array of labels, found {text[:60]!r}")
        return [item if isinstance(item, str) else json.dumps(item) for item in items]
    if text in labels:
        return [text]
    return _separated(text, labels)


def _separated(text: str, labels: tuple[str, ...]) -> list[str]:
    """Return the texts with `;`, `|` or a comma between them, the first of these that is there and in no label."""
    for separator in ";|,":
        if separator in text and not any(separator in label for label in labels):
            return [item for part in text.split(separator) if (item := part.strip())]
    return [text] if text else []


def _unknown_label(text: str, labels: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(text, labels, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"expected one of {', '.join(map(repr, labels))}, found {text[:60]!r}{meant}"


def target_number(text: str) -> str:
    """Return the number that a target is, in its shortest decimal form.

    Words, units and currency may stand beside it, and a whole solution before `####` or around a box. Other figures may
    not: of `3/4`, `12:30`, `2024-01-05` and `5-7` any one would be a guess. Nor may its sign be one, as of `(1,200)`.

    Raises:
        ValueError: When it is none, or several.
    """
    number = find_number(text)
    if "####" in text or boxed(text) is not None:
        number = stated_number(text)
    elif number is None:
        raise ValueError(f"expected a number, found {text[:_SHOWN]!r}")
    elif _MAYBE_NEGATIVE.fullmatch(text.strip()):
        value = number.lstrip("-")
        raise ValueError(
            f"expected one number, found {text[:_SHOWN]!r}, which may be negative; write {value} or -{value}"
        )
    elif not is_number(text) and not (is_number(_WORDS.sub(" ", text)) and stated_number(text)):
        number = None
    if number is None:
        raise ValueError(
            f"expected one number, found {text[:_SHOWN]!r}, which could be read as several, or is not worked out; a "
            "fraction, a date, a time, a formula or a range is `text`"
        )
    return number
