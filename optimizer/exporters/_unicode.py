"""Unicode normalization and one category of numbers from tables in plain text, for modules that import neither.

The tables are made of `unicodedata` when a prompt is exported, so that a text is normal in the same way wherever it is
read, whatever version of Unicode is there. Algorithms: Unicode Standard Annex 15, and chapter 3.12 for Hangul.
"""

from collections.abc import Iterable, Iterator

# Numbers are written in base 45 with the last figure first; each but the last of a number is 45 higher.
_BASE = 45
_FIGURES = "!#$%&()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~"

_MOST_CODE_POINTS = 0x110000

# Syllables of Hangul are made of a lead, a vowel and perhaps a tail: their firsts, and how many there are of each.
_SYLLABLE, _LEAD, _VOWEL, _TAIL = 0xAC00, 0x1100, 0x1161, 0x11A7
_LEADS, _VOWELS, _TAILS = 19, 21, 28

# The tables of a written module, put in their place when it is written.
NORMAL_TABLES = ("", "", "")
CATEGORY_TABLE = ""


class Normal:
    """Normal forms of texts, as `unicodedata` has them.

    Args:
        decompositions: For each character that has one: how far it is behind the last one, twice the number of its
            characters, less 2, plus 1 where they are but compatible, and for each of them how far it is from the one in
            that place of the last, of the first from its successor.
        exclusions: What is never composed: how far each character is behind the last one.
        classes: For each character that combines: how far it is behind the last one, and its class.
    """

    def __init__(self, decompositions: str, exclusions: str, classes: str) -> None:
        self._tables = (decompositions, exclusions, classes)
        self._parts: dict[int, tuple[bool, tuple[int, ...]]] = {}
        self._classes: dict[int, int] = {}
        self._pairs: dict[tuple[int, int], int] = {}

    def normalize(self, form: str, text: str) -> str:
        """Return a text in the form NFC, NFD, NFKC or NFKD."""
        if text.isascii():
            return text
        self._unpack()
        compatible = form.startswith("NFK")
        apart: list[int] = []
        for code in map(ord, text):
            # Most characters are made of nothing else.
            if code in self._parts or _SYLLABLE <= code < _SYLLABLE + _LEADS * _VOWELS * _TAILS:
                apart += self._apart(code, compatible)
            else:
                apart.append(code)
        codes = self._ordered(apart)
        return "".join(map(chr, codes if form.endswith("D") else self._composed(codes)))

    def combining(self, character: str) -> int:
        """Return the combining class of a character, 0 for most."""
        self._unpack()
        return self._classes.get(ord(character), 0)

    def _unpack(self) -> None:
        if self._classes:
            return
        decompositions, exclusions, classes = self._tables
        numbers, code, last = unpacked(decompositions), -1, [0] * _BASE
        for gap in numbers:
            code += gap + 1
            shape = next(numbers)
            for place in range(shape // 2 + 1):
                away = next(numbers)
                last[place] += (-away // 2 if away % 2 else away // 2) + (place == 0)
            self._parts[code] = (shape % 2 == 1, tuple(last[: shape // 2 + 1]))
        numbers, code = unpacked(classes), -1
        for gap in numbers:
            code += gap + 1
            self._classes[code] = next(numbers)
        excluded = set(places(exclusions))
        for code, (compatible, parts) in self._parts.items():
            if len(parts) == 2 and not compatible and code not in excluded:
                self._pairs[parts[0], parts[1]] = code

    def _apart(self, code: int, compatible: bool) -> list[int]:
        """Return what a character is made of, down to what is made of nothing else."""
        place = code - _SYLLABLE
        if 0 <= place < _LEADS * _VOWELS * _TAILS:
            lead, vowel = _LEAD + place // (_VOWELS * _TAILS), _VOWEL + place // _TAILS % _VOWELS
            return [lead, vowel, _TAIL + place % _TAILS] if place % _TAILS else [lead, vowel]
        only_compatible, parts = self._parts.get(code, (False, ()))
        if not parts or (only_compatible and not compatible):
            return [code]
        return [each for part in parts for each in self._apart(part, compatible)]

    def _ordered(self, codes: list[int]) -> list[int]:
        """Return characters with those that combine in the order of their classes."""
        found: list[int] = []
        waiting: list[int] = []
        for code in codes:
            if self._classes.get(code, 0):
                waiting.append(code)
                continue
            found += [*sorted(waiting, key=self._classes.__getitem__), code]
            waiting = []
        return found + sorted(waiting, key=self._classes.__getitem__)

    def _composed(self, codes: list[int]) -> list[int]:
        """Return ordered characters, each with those that follow it and go with it as one."""
        found: list[int] = []
        starter, before = -1, 0  # where the last starter is, and the class of what was kept behind it
        for code in codes:
            kind = self._classes.get(code, 0)
            # What stands right behind the starter, or is of a higher class than all that was kept between.
            free = starter >= 0 and (before < kind or starter == len(found) - 1)
            whole = self._pair(found[starter], code) if free else None
            if whole is not None:
                found[starter] = whole
                continue
            found.append(code)
            before = kind
            if not kind:
                starter = len(found) - 1
        return found

    def _pair(self, first: int, second: int) -> int | None:
        lead, vowel, tail = first - _LEAD, second - _VOWEL, second - _TAIL
        if 0 <= lead < _LEADS and 0 <= vowel < _VOWELS:
            return _SYLLABLE + (lead * _VOWELS + vowel) * _TAILS
        place = first - _SYLLABLE
        if 0 <= place < _LEADS * _VOWELS * _TAILS and place % _TAILS == 0 and 0 < tail < _TAILS:
            return first + tail
        return self._pairs.get((first, second))


class Categories:
    """Which characters are numbers of another kind than digits, such as ½ and ².

    Args:
        numbers: How far each of them is behind the last one.
    """

    def __init__(self, numbers: str) -> None:
        self._numbers = set(places(numbers))

    def category(self, character: str) -> str:
        """Return "No" for such a number, and "" for anything else."""
        return "No" if ord(character) in self._numbers else ""


def packed(numbers: Iterable[int]) -> str:
    """Return numbers, none below 0, as a text that `unpacked` reads."""
    found: list[str] = []
    for number in numbers:
        rest = number
        while rest >= _BASE:
            found.append(_FIGURES[rest % _BASE + _BASE])
            rest //= _BASE
        found.append(_FIGURES[rest])
    return "".join(found)


def unpacked(text: str) -> Iterator[int]:
    """Yield the numbers in a text."""
    values = {sign: value for value, sign in enumerate(_FIGURES)}
    number, worth = 0, 1
    for sign in text:
        value = values[sign]
        number += value % _BASE * worth
        worth *= _BASE
        if value < _BASE:
            yield number
            number, worth = 0, 1


def places(text: str) -> Iterator[int]:
    """Yield the code points in a text of how far each is behind the last one."""
    code = -1
    for gap in unpacked(text):
        code += gap + 1
        yield code


_NORMAL = Normal(*NORMAL_TABLES)
_CATEGORIES = Categories(CATEGORY_TABLE)


def normal_tables() -> tuple[str, str, str]:
    """Return the three tables of `Normal` for the Unicode of this Python."""
    import unicodedata  # only when something is exported

    signs = [chr(code) for code in range(_MOST_CODE_POINTS)]
    made = [(sign, unicodedata.decomposition(sign)) for sign in signs if unicodedata.decomposition(sign)]
    canonical = [(sign, parts) for sign, parts in made if not parts.startswith("<") and " " in parts]
    never = [ord(sign) for sign, _ in canonical if unicodedata.normalize("NFC", sign) != sign]
    classes = {ord(sign): unicodedata.combining(sign) for sign in signs if unicodedata.combining(sign)}
    behind = zip(_gaps(classes), classes.values(), strict=True)
    return (
        packed(_shapes(made)),
        packed(_gaps(never)),
        packed(number for each in behind for number in each),
    )


def category_table() -> str:
    """Return the table of `Categories` for the Unicode of this Python."""
    import unicodedata  # only when something is exported

    found = (code for code in range(_MOST_CODE_POINTS) if unicodedata.category(chr(code)) == "No")
    return packed(_gaps(found))


def _gaps(codes: Iterable[int]) -> Iterator[int]:
    last = -1
    for code in codes:
        yield code - last - 1
        last = code


def _shapes(made: list[tuple[str, str]]) -> Iterator[int]:
    last = [0] * _BASE
    for gap, (_, described) in zip(_gaps(ord(sign) for sign, _ in made), made, strict=True):
        *tag, parts = described.rpartition("> ")[::2] if "<" in described else (described,)
        codes = [int(part, 16) for part in parts.split()]
        yield from (gap, 2 * len(codes) - 2 + bool(tag))
        for place, code in enumerate(codes):
            away = code - last[place] - (place == 0)
            last[place] = code
            yield 2 * away if away >= 0 else -2 * away - 1
