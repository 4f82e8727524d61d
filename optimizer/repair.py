"""JSON as models write it: strictly, or with the mistakes that they make. Standard library only.

Repaired are a fence or text around the value, trailing commas, single quotes, Python's True, False and None, line breaks
within texts, and brackets that were left open. Nothing is guessed: a text, number or word in the middle of which the
completion ends is left out, and a key that is given twice with different values makes the object unreadable. One pass:
where a value cannot be read, the search goes on behind the place at which it failed.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

# Deeper values are not what anybody asked for.
_DEEPEST = 64

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BRACKET = re.compile(r"[{\[]")
_BLANK = re.compile(r"\s*")
# The end of a code fence: nothing else stands behind it on its line.
_FENCE_END = re.compile(r"```[ \t\r]*$", re.MULTILINE)
# Possessive, as no text can be read in two ways. A single quote ends a text where a bracket, comma or colon follows.
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_SINGLE = re.compile(r"'((?:[^'\\]|\\.|'(?!\s*[,}\]:]))*+)'", re.DOTALL)
_SCALAR = re.compile(r"[\w+.-]+")
_FIGURES = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A value in a completion.

    Attributes:
        value: The object or list.
        open_key: The key of the object whose value was left open and may lack its end, "" for none.
        is_whole: Whether no bracket was left open.
        is_bare: Whether nothing stood around it.
    """

    value: object
    open_key: str = ""
    is_whole: bool = True
    is_bare: bool = False


class ConflictError(ValueError):
    """An object gives one key two values: to take either would be luck."""


class _BrokenError(ValueError):
    """Here is no value."""


class _CutError(ValueError):
    """The completion ends in the middle of a value that cannot be used."""


def strict_json(text: str) -> object:
    """Return the JSON value that a text is.

    Raises:
        ConflictError: When an object in it gives one key two values.
        ValueError: When it is none, or is nested without end.
    """
    try:
        return json.loads(text.strip().lstrip("\ufeff"), object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("expected JSON, found brackets nested without end") from error


def unfenced(text: str) -> str:
    """Return what stands in the code fence that a text begins with, or the text itself when it has none, or no end of it."""
    plain = text.strip()
    if plain.startswith("```"):
        body = plain.removeprefix("```")
        if (end := _FENCE_END.search(body)) is not None:
            return body[: end.start()].lstrip(_LETTERS)
    return plain


def fenced_json(text: str) -> tuple[Found, ...]:
    """Return the JSON value that a text is, a code fence around it allowed, or begins with.

    What a model runs on with on further lines or behind the fence, such as examples of its own making, is not read.

    Raises:
        ConflictError: When an object in it gives one key two values.
        ValueError: When it is none.
    """
    plain = unfenced(text)
    try:
        value = strict_json(plain)
    except ConflictError:
        raise
    except ValueError:
        return (Found(value=_leading_json(plain)),)
    # A number has no end of its own: a completion that was cut off may have cut it.
    closed = isinstance(value, bool) or not isinstance(value, int | float)
    return (Found(value=value, is_bare=plain == text.strip(), is_whole=closed),)


def _leading_json(text: str) -> object:
    """Return the object or list that a text begins with, where nothing else stands on its last line.

    Raises:
        ConflictError: When an object in it gives one key two values.
        ValueError: When it begins with none.
    """
    if text[:1] not in {"{", "["}:
        raise ValueError("expected JSON, found other text")
    try:
        value, end = json.JSONDecoder(object_pairs_hook=_object).raw_decode(text)
    except RecursionError as error:
        raise ValueError("expected JSON, found brackets nested without end") from error
    if text[end:].partition("\n")[0].strip():
        raise ValueError("expected nothing more on the line, found some text")
    return value


def repaired_json(text: str) -> tuple[Found, ...]:
    """Return the objects in a text, repaired, or its lists where it has no object; none where it has neither.

    Raises:
        ConflictError: When an object gives one key two values.
    """
    found = tuple(_values(text))
    return tuple(one for one in found if isinstance(one.value, dict)) or found


def without_halves(text: str) -> str:
    """Return a text with a replacement character for each half of a surrogate pair, which JSON can carry."""
    return (
        text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )


def _values(text: str) -> Iterator[Found]:
    place = 0
    while (match := _BRACKET.search(text, place)) is not None:
        scanner = _Scanner(text, match.start())
        try:
            value = scanner.value(0)
        except (_BrokenError, _CutError):
            place = max(scanner.place, match.end())
        else:
            place = scanner.place
            yield Found(value=value, open_key=scanner.open_key, is_whole=not scanner.was_cut)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the object of some members.

    Raises:
        ConflictError: When one key has two values.
    """
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise ConflictError(f"expected one value for the key {key!r}, found several")
        found[key] = value
    return found


class _Scanner:
    """Reads one value and remembers where it is."""

    def __init__(self, text: str, place: int) -> None:
        self.text = text
        self.place = place
        self.was_cut = False
        self.open_key = ""

    def value(self, depth: int) -> object:
        """Return the value that begins here."""
        sign = self.text[self.place : self.place + 1]
        if depth > _DEEPEST:
            raise _BrokenError
        if sign == "{":
            return self._members(depth)
        if sign == "[":
            return self._items(depth)
        return self._string() if sign in {'"', "'"} else self._scalar()

    def _members(self, depth: int) -> dict[str, object]:
        pairs: list[tuple[str, object]] = []
        self.place += 1
        while not self._ends("}"):
            try:
                key = self._string()
                self._expect(":")
                value = self.value(depth + 1)
            except _CutError:
                self.was_cut = True
                break
            pairs.append((key, value))
            if self.was_cut and depth == 0:
                self.open_key = key
            self._comma("}")
        return _object(pairs)

    def _items(self, depth: int) -> list[object]:
        items: list[object] = []
        self.place += 1
        while not self._ends("]"):
            try:
                items.append(self.value(depth + 1))
            except _CutError:
                self.was_cut = True
                break
            self._comma("]")
        return items

    def _ends(self, bracket: str) -> bool:
        """Step over blanks and the bracket; return whether the value ends, be it for want of more text."""
        self._skip()
        if self.was_cut or self.place == len(self.text):
            self.was_cut = True
            return True
        if self.text[self.place] != bracket:
            return False
        self.place += 1
        return True

    def _comma(self, bracket: str) -> None:
        self._skip()
        if self.text.startswith(",", self.place):
            self.place += 1
        elif self.place < len(self.text) and self.text[self.place] != bracket:
            raise _BrokenError

    def _expect(self, sign: str) -> None:
        self._skip()
        if self.place == len(self.text):
            raise _CutError
        if self.text[self.place] != sign:
            raise _BrokenError
        self.place += 1
        self._skip()

    def _skip(self) -> None:
        match = _BLANK.match(self.text, self.place)
        assert match is not None  # it matches nothing as well
        self.place = match.end()

    def _string(self) -> str:
        if self.place == len(self.text):
            raise _CutError
        sign = self.text[self.place]
        if sign not in {'"', "'"}:
            raise _BrokenError
        match = (_DOUBLE if sign == '"' else _SINGLE).match(self.text, self.place)
        if match is None:
            self.place = len(self.text)
            raise _CutError
        self.place = match.end()
        body = (
            match[1] if sign == '"' else match[1].replace("\\'", "'").replace('\\"', '"').replace('"', '\\"')
        )
        try:
            text: str = json.loads(f'"{body}"', strict=False)
        except ValueError:  # a backslash that stands for itself
            return body
        return text

    def _scalar(self) -> object:
        match = _SCALAR.match(self.text, self.place)
        if match is None:
            if self.place == len(self.text):
                raise _CutError
            raise _BrokenError
        self.place = match.end()
        if self.place == len(self.text):
            raise _CutError  # 12 may be the beginning of 123
        if match[0] in _WORDS:
            return _WORDS[match[0]]
        if _FIGURES.fullmatch(match[0]):
            try:
                number: object = json.loads(match[0])
            except ValueError as error:  # 007, or more digits than Python takes
                raise _BrokenError from error
            return number
        raise _BrokenError
