"""How an answer is read from a completion.

Reading is part of a prompt's identity: a prompt without its reader is not the thing that was scored. Nothing
read is ever executed or looked up; it is compared with text. Where an answer stands is told by `optimizer.narrowing`,
which label a text names by `optimizer.reading`, which number it comes to by `optimizer.numerals`, and what passes for JSON by `optimizer.repair`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from optimizer.completion import FinishReason
from optimizer.digest import canonical
from optimizer.narrowing import (
    FINDING,
    POINTING,
    after_marker,
    first_line,
    last_line,
    narrowed,
    reader_problem,
    spoken,
    unwrapped,
)
from optimizer.numerals import (
    begins_with_number,
    concluding_number,
    find_number,
    is_number,
    leading_number,
    stated_number,
)
from optimizer.reading import ends_itself, exact_label, find_label, listed_labels, lone_label
from optimizer.repair import (
    ConflictError,
    Found,
    fenced_json,
    repaired_json,
    strict_json,
    unfenced,
    without_halves,
)

__all__ = ["Answer", "AnswerFormat", "find_label", "find_number", "reader_problem"]

Outcome = Literal["ok", "invalid", "refused", "truncated", "error", "unscored"]
AnswerKind = Literal["label", "labels", "text", "number", "json"]

OUTCOMES: tuple[Outcome, ...] = ("ok", "invalid", "refused", "truncated", "error", "unscored")
KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What was read from a completion. How it was read does not make it another answer.

    Attributes:
        text: The label, number or text, or None when nothing could be read. Labels are a JSON array in the order of
            the format's labels, `["a", "b"]`; JSON is canonical.
        outcome: `ok`, or why there is no answer. `invalid`, `refused` and `truncated` are the model's own
            failures and score 0; `error` and `unscored` are not the model's and have no score.
        strict: Whether the completion had exactly the form that was asked for; never where nothing was read.
        reader: The reader that found the answer, "" for none.
    """

    text: str | None
    outcome: Outcome
    strict: bool = field(default=True, compare=False)
    reader: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.text is None:
            object.__setattr__(self, "strict", False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    """What one reader made of a text.

    Attributes:
        text: The answer in canonical form, or None where its place holds none.
        strict: Whether the text was nothing but the answer.
        whole: Whether a completion that was cut off cannot have cut this.
        before: What was said before the answer.
        reader: Which reader it was.
    """

    text: str | None
    strict: bool = False
    whole: bool = False
    before: str = ""
    reader: str = ""


_UNREAD = _Reading(text=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerFormat:
    """How the last completion of a prompt is read.

    Attributes:
        kind: What is expected. A label is one of `labels`, labels are any of them; a number is compared as a number.
        labels: The labels, for the kinds `label` and `labels`.
        field: The key that holds the answer when the completion is one JSON object, else "".
        marker: Text that introduces the answer after some reasoning, such as "Answer:", else "".
        readers: Names of readers, in order; where there are none, what the kind, field and marker ask for is read.
        schema: JSON Schema of the kind `json` as canonical text, "" for none. Reading does not check it.
    """

    kind: AnswerKind
    labels: tuple[str, ...] = ()
    field: str = ""
    marker: str = ""
    readers: tuple[str, ...] = ()
    schema: str = ""

    def __post_init__(self) -> None:
        problems = [problem for name in self.readers if (problem := reader_problem(name))]
        for name in self.readers:
            if name in KINDS and name not in {self.kind, "json"}:
                problems.append(f"the reader {name} finds no answer of the kind {self.kind}")
            if name == "marker" and not self.marker:
                problems.append("the reader marker needs a marker, found none")
        if problems:
            raise ValueError(f"answer.readers: {'; '.join(problems)}")

    def read(self, completion: str, finish_reason: FinishReason = "stop") -> Answer:
        """Return the answer in a completion.

        A completion that ran into its token bound is `truncated` unless an answer could be read that has its own end:
        a text or a number may have been cut in the middle, a whole label or a closed JSON object was not. So is one
        whose thinking has no end.
        """
        if finish_reason == "refused":
            return Answer(text=None, outcome="refused")
        said = spoken(completion)
        reading = _UNREAD if said is None else self._reading(said)
        if reading.text is None or (finish_reason == "length" and not reading.whole):
            cut = said is None or finish_reason == "length"
            return Answer(text=None, outcome="truncated" if cut else "invalid")
        return Answer(
            text=without_halves(reading.text), outcome="ok", strict=reading.strict, reader=reading.reader
        )

    def reasoning(self, completion: str) -> str:
        """Return what a completion says before its answer: the text before the marker, or the fields before it.

        Empty where nothing stands before it, or where the answer is not introduced. Thinking between tags of its own
        is not said.
        """
        said = spoken(completion)
        return "" if said is None else self._reading(said).before

    def to_dict(self) -> dict[str, object]:
        """Return the format as plain data; without readers or a schema it has no such key."""
        plain: dict[str, object] = {
            "kind": self.kind,
            "labels": list(self.labels),
            "field": self.field,
            "marker": self.marker,
        }
        plain |= {"readers": list(self.readers)} if self.readers else {}
        return plain | ({"schema": self.schema} if self.schema else {})

    @classmethod
    def from_dict(cls, value: Mapping[str, object]) -> "AnswerFormat":
        """Return the format that `to_dict` wrote.

        Raises:
            ValueError: When a key is missing or of another type, or a reader is unknown.
        """
        found, labels, readers = value.get("kind"), value.get("labels"), value.get("readers", [])
        field, marker, schema = value.get("field"), value.get("marker"), value.get("schema", "")
        kind = next((name for name in KINDS if name == found), None)
        if kind is None:
            raise ValueError(f"answer.kind: expected {', '.join(KINDS[:-1])} or {KINDS[-1]}, found {found!r}")
        for name, texts in (("labels", labels), ("readers", readers)):
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ValueError(f"answer.{name}: expected a list of texts")
        if not isinstance(field, str) or not isinstance(marker, str):
            raise ValueError("answer.field and answer.marker: expected text")
        if not isinstance(schema, str):
            raise ValueError("answer.schema: expected text")
        assert isinstance(labels, list)  # both were checked above
        assert isinstance(readers, list)
        lists = {"labels": tuple(labels), "readers": tuple(readers)}
        return cls(kind=kind, field=field, marker=marker, schema=schema, **lists)

    def _reading(self, text: str) -> _Reading:
        if self.readers:
            return self._piped(text)
        if self.field or self.kind == "json":
            return self._found("json", text) or _UNREAD
        if self.marker:
            return self._marked(text)
        found = self._found(self.kind, text) or _UNREAD
        if self.kind != "label":
            return replace(found, whole=found.whole or (self.kind == "number" and begins_with_number(text)))
        line = first_line(text).text
        first = lone_label(line, self.labels)
        # A label may be of several lines, of which the first is another.
        if first is None or len((lone_label(text, self.labels) or "").splitlines()) > 1:
            return found
        # An answer that was asked for at once stands first; what a model runs on with, such as further examples of
        # its own making, is not read. After some reasoning it stands last.
        whole = len(line.strip()) < len(text.strip()) or ends_itself(first, text, self.labels)
        strict = found.strict and found.text == first
        return replace(found, text=first, strict=strict, whole=whole, reader="label")

    def _marked(self, text: str) -> _Reading:
        """Return what follows the marker; labels without it are looked for in the last line, then anywhere."""
        part = after_marker(text, self.marker)
        if part.found:
            return replace(self._found(self.kind, part.text, pointed=True) or _UNREAD, before=part.before)
        if self.kind in {"text", "number"}:
            number = concluding_number(text) if self.kind == "number" else None
            return _Reading(text=number, reader="number" if number else "")
        last = last_line(text)
        near = self._found(self.kind, last.text) if last.before else None
        return replace(near or self._found(self.kind, text) or _UNREAD, strict=False)

    def _piped(self, text: str) -> _Reading:
        """Return what the first of the readers finds that finds something."""
        names = self.readers if set(self.readers) & set(FINDING) else (*self.readers, self.kind)
        said: list[str] = []
        exactly, pointed, closed = True, False, False
        for name in names:
            if name not in FINDING:
                part = narrowed(text, name, self.marker)
                text, exactly = part.text, exactly and part.found
                pointed |= part.found and name.startswith(POINTING)
                closed |= part.found and name.startswith("xml:")
                said.append(unwrapped(part.before))
            elif found := self._found(name, text, pointed=pointed):
                said.append(found.before)
                before = "\n".join(filter(None, said))
                strict, whole = found.strict and exactly, found.whole or closed
                return replace(found, strict=strict, whole=whole, before=before)
        return replace(_UNREAD, before="\n".join(filter(None, said)))

    def _found(self, reader: str, text: str, *, pointed: bool = False) -> _Reading | None:
        """Return what a reader finds, None for nothing; where something `pointed` to a text, a number begins it."""
        found: str | None
        if reader.startswith("json"):
            return self._json(text, reader)
        if reader == "labels":
            return self._labels(text)
        if reader == "label":
            found = find_label(text, self.labels)
            strict, whole = (
                exact_label(text, self.labels) is not None,
                ends_itself(found or "", text, self.labels),
            )
        elif reader == "number":
            found = leading_number(text) if pointed else stated_number(text)
            strict, whole = is_number(text), False
        else:
            found, strict, whole = text.strip() or None, True, False
        return None if found is None else _Reading(text=found, strict=strict, whole=whole, reader=reader)

    def _labels(self, text: str) -> _Reading | None:
        try:
            value = strict_json(unfenced(text))
        except ValueError:
            value = None
        if isinstance(value, list | dict):
            plain = text.strip().startswith("[") and not self._is_escaped(value)
            return _Reading(text=self._typed_labels(value), strict=plain, whole=True, reader="labels")
        found = listed_labels(text, self.labels)
        if found is None:
            return None
        return _Reading(text=_array(found[0]), strict=found[1], reader="labels")

    def _json(self, text: str, reader: str) -> _Reading | None:
        """Return what the JSON in a text holds; a place that holds no possible answer, or two, ends the search."""
        try:
            values = repaired_json(text) if reader == "json_repaired" else fenced_json(text)
        except ConflictError:
            return replace(_UNREAD, reader=reader)
        except ValueError:
            return None
        holding = [found for found in values if self._holds(found)]
        if not holding:
            return None
        found = holding[0]
        value, fields = found.value, found.value if isinstance(found.value, dict) else {}
        before = ""
        if self.field:
            value, names = fields[self.field], list(fields)
            said = (fields[name] for name in names[: names.index(self.field)])
            before = "\n".join(text.strip() for text in said if isinstance(text, str))
        typed = self._typed(value)
        if any(self._typed(self._inside(other)) != typed for other in holding):
            return replace(_UNREAD, reader=reader, before=before)
        strict = reader == "json" and found.is_bare and self._fits(value) and not self._is_escaped(value)
        whole = found.is_whole or bool(self.field)
        return _Reading(text=typed, strict=strict, whole=whole, before=before, reader=reader)

    def _holds(self, found: Found) -> bool:
        """Return whether a value has the answer in it, and that with its end."""
        if self.field:
            has_field = isinstance(found.value, dict) and self.field in found.value
            return has_field and self.field != found.open_key
        return self.kind != "json" or found.is_bare or isinstance(found.value, dict | list)

    def _inside(self, found: Found) -> object:
        return found.value[self.field] if self.field and isinstance(found.value, dict) else found.value

    def _typed(self, value: object) -> str | None:
        """Return a JSON value as an answer, or None when it is no possible one."""
        if self.kind == "json":
            return _canonical(value)
        if self.kind == "labels":
            return self._typed_labels(value)
        if self.kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
            return find_number(repr(value))
        if self.kind == "label" and isinstance(value, int | float | str):
            return self._one_label(value)
        if not isinstance(value, str):
            return None
        return stated_number(value) if self.kind == "number" else value.strip() or None

    def _typed_labels(self, value: object) -> str | None:
        if isinstance(value, str):
            listed = listed_labels(value, self.labels)
            return None if listed is None else _array(listed[0])
        items = [] if value is None else value if isinstance(value, list) else [value]
        named = {self._one_label(item) for item in items}
        return None if None in named else _array(label for label in self.labels if label in named)

    def _one_label(self, value: object) -> str | None:
        """Return the label that a JSON value is; one that is a figure may be written as one."""
        if not isinstance(value, int | float | str):
            return None
        return lone_label(value if isinstance(value, str) else json.dumps(value), self.labels)

    def _is_escaped(self, value: object) -> bool:
        """Return whether a JSON value has a label in it that is written with the backslashes of Markdown."""
        items = value if isinstance(value, list) else [value]
        texts = [item for item in items if isinstance(item, str)]
        return any(lone_label(text, self.labels) != exact_label(text, self.labels) for text in texts)

    def _fits(self, value: object) -> bool:
        """Return whether a JSON value has the type that was asked for."""
        if self.kind == "number":
            return isinstance(value, int | float)
        return self.kind == "json" or isinstance(value, list if self.kind == "labels" else str)


def _array(labels: Iterable[str]) -> str:
    return json.dumps(list(labels), ensure_ascii=False)


def _canonical(value: object) -> str | None:
    try:
        return canonical(value)
    except ValueError:  # NaN and infinities are no JSON
        return None
