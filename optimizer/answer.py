"""How an answer is read from a completion.

Reading is part of a prompt's identity: a prompt without its reader is not the thing that was scored. Nothing
read is ever executed or looked up; it is compared with text.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from optimizer.completion import FinishReason

Outcome = Literal["ok", "invalid", "refused", "truncated", "error", "unscored"]
AnswerKind = Literal["label", "text", "number"]

OUTCOMES: tuple[Outcome, ...] = ("ok", "invalid", "refused", "truncated", "error", "unscored")

# Marks that models put around a bare label; taken off both ends before comparing.
_DECORATION = " \t\r\n\"'`*_.,:;!?()[]{}<>“”‘’«»"
_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What was read from a completion.

    Attributes:
        text: The label, number or text, or None when nothing could be read.
        outcome: `ok`, or why there is no answer. `invalid`, `refused` and `truncated` are the model's own
            failures and score 0; `error` and `unscored` are not the model's and have no score.
    """

    text: str | None
    outcome: Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerFormat:
    """How the last completion of a prompt is read.

    Attributes:
        kind: What is expected. A label is one of `labels`; a number is compared as a number.
        labels: The labels, for the kind `label`.
        field: The key that holds the answer when the completion is one JSON object, else "".
        marker: Text that introduces the answer after some reasoning, such as "Answer:", else "".
    """

    kind: AnswerKind
    labels: tuple[str, ...] = ()
    field: str = ""
    marker: str = ""

    def read(self, completion: str, finish_reason: FinishReason = "stop") -> Answer:
        """Return the answer in a completion.

        A completion that ran into its token bound is `truncated` unless a label could be read all the same:
        a text or a number may have been cut in the middle, a whole label was not.
        """
        if finish_reason == "refused":
            return Answer(text=None, outcome="refused")
        text = self._read_json(completion) if self.field else self._read_text(completion)
        if finish_reason == "length" and (text is None or (self.kind != "label" and not self.field)):
            return Answer(text=None, outcome="truncated")
        return Answer(text=text, outcome="invalid" if text is None else "ok")

    def reasoning(self, completion: str) -> str:
        """Return what a completion says before its answer: the text before the marker, or the fields before it.

        Empty where nothing stands before it, or where the answer is not introduced.
        """
        if not self.field:
            return _rpartition_folded(completion, self.marker)[0].strip() if self.marker else ""
        said = _json_object(completion)
        before = list(said)[: list(said).index(self.field)] if self.field in said else []
        return "\n".join(text.strip() for name in before if isinstance(text := said[name], str))

    def to_dict(self) -> dict[str, object]:
        """Return the format as plain data."""
        return {"kind": self.kind, "labels": list(self.labels), "field": self.field, "marker": self.marker}

    @classmethod
    def from_dict(cls, value: Mapping[str, object]) -> "AnswerFormat":
        """Return the format that `to_dict` wrote.

        Raises:
            ValueError: When a key is missing or of another type.
        """
        kind, labels = value.get("kind"), value.get("labels")
        field, marker = value.get("field"), value.get("marker")
        if kind not in ("label", "text", "number"):
            raise ValueError(f"answer.kind: expected label, text or number, found {kind!r}")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise ValueError("answer.labels: expected a list of texts")
        if not isinstance(field, str) or not isinstance(marker, str):
            raise ValueError("answer.field and answer.marker: expected text")
        return cls(kind=kind, labels=tuple(labels), field=field, marker=marker)

    def _read_text(self, completion: str) -> str | None:
        _, found, after = _rpartition_folded(completion, self.marker) if self.marker else ("", "", completion)
        if self.kind == "label":
            if found:
                return find_label(after, self.labels)
            # An answer that was asked for at once stands first; what a model runs on with, such as further examples
            # of its own making, is not read. After some reasoning it stands last.
            if self.marker:
                near = find_label(_last_line(completion), self.labels)
            else:
                near = _exact_label(_first_line(completion), self.labels)
            return near or find_label(completion, self.labels)
        if self.marker and not found:
            return None
        return after.strip() or None if self.kind == "text" else find_number(after)

    def _read_json(self, completion: str) -> str | None:
        value = _json_object(completion).get(self.field)
        if self.kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
            return find_number(repr(value))
        if not isinstance(value, str):
            return None
        if self.kind == "label":
            return _exact_label(value, self.labels)
        return value.strip() or None if self.kind == "text" else find_number(value)


def find_label(text: str, labels: tuple[str, ...]) -> str | None:
    """Return the one label that a text names, or None when it names none or several.

    A text that is nothing but a label, give or take case and punctuation, names it. Otherwise labels are
    looked for as whole words, longer ones first, so that `card payment` is not also `card`. Two different
    labels are no answer: to take either would be luck.
    """
    exact = _exact_label(text, labels)
    if exact is not None:
        return exact
    longest_first = sorted(labels, key=len, reverse=True)
    pattern = r"(?<!\w)(?:" + "|".join(re.escape(label) for label in longest_first) + r")(?!\w)"
    found = {_exact_label(match, labels) for match in re.findall(pattern, text, re.IGNORECASE)}
    return found.pop() if len(found) == 1 else None


def find_number(text: str) -> str | None:
    """Return the last number in a text in its shortest decimal form, or None when there is none.

    A number too large for a float is none: `1e400` and `1e500` would be the same.

    Thousands separators, a currency sign or a percent sign around it do not matter: `$1,200.50` and `1200.5`
    are one number.
    """
    found = _NUMBER.findall(text)
    if not found:
        return None
    number = float(found[-1].replace(",", ""))
    if not math.isfinite(number):
        return None
    return str(int(number)) if number.is_integer() and abs(number) < 1e16 else repr(number)


def _exact_label(text: str, labels: tuple[str, ...]) -> str | None:
    """Return the one label that a text is: as it is written, or else without the marks around it."""
    for marks in (None, _DECORATION):
        plain = text.strip(marks).casefold()
        found = [label for label in labels if label.strip(marks).casefold() == plain]
        if plain and len(found) == 1:
            return found[0]
    return None


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if len(lines) > 1 else ""


def _rpartition_folded(text: str, separator: str) -> tuple[str, str, str]:
    """Split at the last occurrence of `separator`, whatever its case."""
    matches = list(re.finditer(re.escape(separator), text, re.IGNORECASE))
    if not matches:
        return "", "", text
    start, end = matches[-1].span()
    return text[:start], text[start:end], text[end:]


def _json_object(text: str) -> Mapping[str, object]:
    """Return the JSON object that a text is, a code fence around it allowed; empty when it is none."""
    plain = text.strip()
    # By hand: a regular expression takes cubic time on a fence that is followed by blank lines without end.
    if plain.startswith("```") and plain.endswith("```"):
        plain = plain.removeprefix("```").removesuffix("```").removeprefix("json")
    try:
        value = json.loads(plain)
    except (ValueError, RecursionError):  # not JSON, or nested without end
        return {}
    return value if isinstance(value, dict) else {}
