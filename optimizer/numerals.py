"""What number a piece of text comes to. Standard library only.

Nobody gets credit by luck: where two numbers stand side by side, or one could be read in several ways, there is none.
"""

import math
import re
import unicodedata

from optimizer.narrowing import boxed
from optimizer.reading import DECORATION

_SPACES = "\u00a0\u202f\u2009"
_GROUPED = rf"\d{{1,3}}(?:[{_SPACES} ]\d{{3}})+(?:,\d+)?"
_SIGN = rf"[-+–](?:[$€£¥][{_SPACES} ]?)?"
_NUMBER = re.compile(
    # A letter before it makes it a name (B12); after a digit, a closing bracket or a letter the sign is a dash.
    # A comma or full stop that no figure follows is that of the sentence.
    rf"(?<![A-Za-zÀ-ɏ\d_])(?:(?<![)\]%]){_SIGN})?"
    r"(?:(?P<english>[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?!\d|,\d)(?:\.\d+)?)"
    r"|(?P<german>(?:\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,})(?!\d|[,.]\d))"
    # A space between groups is one for certain where it cannot be broken, where there are several, or before a comma.
    rf"|(?P<french>\d{{1,3}}(?:(?:[{_SPACES}]\d{{3}})+|(?:[ ]\d{{3}}){{2,}}|[ ]\d{{3}}(?=,\d))(?!\d)(?:,\d+(?!\d|,\d))?)"
    r"|(?P<comma>(?:0,\d+|\d+,(?:\d{1,2}|\d{4,}))(?!\d|[,.]\d))"
    r"|(?P<unclear>\d+(?:,\d+)+(?:\.\d+)?)"
    r"|(?P<plain>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?))"
)
_MONEY = DECORATION.replace(".", "") + "$€£¥%\u00a0\u202f"
_WHOLE_GROUPED = re.compile(rf"[{re.escape(_MONEY)}]*?((?:{_SIGN})?{_GROUPED})[{re.escape(_MONEY)}]*")
# A number without what stands between its sign and its figures, or between these.
_CLOSED_UP = {**dict.fromkeys(map(ord, f"$€£¥ {_SPACES}")), 0x2013: "-"}

# What may stand between two numbers that are alternatives, a range or a sum that nobody worked out.
_BETWEEN = frozenset(
    str.split(
        "or ou and et to à a through maybe perhaps possibly even about around either peut être - – — / , ; & ( ) [ ] $ € £"
        " % ~ ± + * × x ÷ ^"
        r" { } \ \frac \dfrac \tfrac \sqrt \times \cdot \div \pm"
    )
)
# What a power belongs to that stands after a letter or a bracket of text: a unit, which has it, or something unknown.
_POWER = re.compile(
    r"(?:(?<![A-Za-z])(?P<unit>[cdkmnµμ]?m|in|ft|yd|mi|s|h|inch(?:es)?|feet|foot|met(?:er|re)s?|units?)|(?P<words>[A-Za-z]\})"
    r"|[A-Za-z])[ ]?\^\{?\Z"
)
_LONGEST_UNIT = 12
_TOKEN = re.compile(r"\\?[^\W\d_]+|[^\w\s]")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def find_number(text: str) -> str | None:
    """Return the last number in a text in its shortest decimal form, or None when there is none.

    A number too large for a float is none: `1e400` and `1e500` would be the same.

    Thousands separators, a currency sign or a percent sign around it do not matter: `$1,200.50`, `1 200,50` and
    `1200.5` are one number. A comma before one or two digits is a decimal comma; `1,2,3` and `1234,567` could mean
    several things and are none.
    """
    found = _numbers(text)
    return found[-1][0] if found else None


def stated_number(text: str) -> str | None:
    """Return the number that an answer comes to: what is boxed or follows `####`, else the last in the text.

    None also where the last number stands beside another one as an alternative, a range or a term: to take the last
    of `3 or 4`, `3-4` and `3 * 4` would be luck. Without any word, two different numbers are none.
    """
    if (inside := boxed(text)) is not None:
        text = inside
    elif "####" in text:
        text = next(iter(text.rpartition("####")[2].strip().splitlines()), "")
    found = _numbers(text)
    if not found:
        return None
    number, start, _ = found[-1]
    if len(found) > 1 and found[-2][0] != number:
        between = text[found[-2][2] : start]
        wordless = "=" not in text and not re.search(r"[^\W\d_]", text)
        if wordless or ("\n" not in between and _side_by_side(between)):
            return None
    return number


def leading_number(text: str) -> str | None:
    """Return the number that a text after a marker begins with, or else the one that it comes to.

    Units and remarks may follow: `18 dollars for 2 days` is 18. An equation is read to its end.
    """
    line = next((line for line in text.splitlines() if line.strip(_MONEY)), "")
    found = _numbers(line)
    if not found or "=" in line or line[: found[0][1]].strip(_MONEY + "-+"):
        return stated_number(text)
    if len(found) > 1 and found[1][0] != found[0][0] and _side_by_side(line[found[0][2] : found[1][1]]):
        return None
    return found[0][0]


def concluding_number(text: str) -> str | None:
    """Return the one number that the last sentence of a reasoning comes to, which nothing introduces; None for several."""
    line = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    sentence = _SENTENCE.split(line.strip())[-1]
    named = _numbers(sentence.rpartition("=")[2])
    return named[0][0] if len(named) == 1 else None


def begins_with_number(text: str) -> bool:
    """Return whether a text names one number alone, and that in a first line or clause that it ends and goes on after."""
    first = re.split(r"(?<=[.!?:;])\s|\n", text.strip(), maxsplit=1)
    return len(first) > 1 and bool(_numbers(first[0])) and len({number for number, *_ in _numbers(text)}) == 1


def is_number(text: str) -> bool:
    """Return whether a text is one number and nothing else, signs of currency and percent aside."""
    found = _numbers(text)
    return len(found) == 1 and not (text[: found[0][1]] + text[found[0][2] :]).strip(_MONEY + ".")


def _numbers(text: str) -> list[tuple[str | None, int, int]]:
    """Return every number in a text: its shortest decimal form, None for one that has none, and where it stands."""
    plain = text.replace("\u2212", "-")
    if whole := _WHOLE_GROUPED.fullmatch(plain):
        return [(_shortest(whole[1].translate(_CLOSED_UP).replace(",", ".")), *whole.span(1))]
    found = [(match, _power(match)) for match in _NUMBER.finditer(plain)]
    # The power of a unit, as in square metres, is a part of the unit.
    return [
        (None if power else _value(match), *match.span())
        for match, power in found
        if not (power and power.lastgroup)
    ]


def _power(match: re.Match[str]) -> re.Match[str] | None:
    """Return what a number is the power of, where that is no number."""
    return _POWER.search(match.string, max(0, match.start() - _LONGEST_UNIT), match.start())


def _value(match: re.Match[str]) -> str | None:
    written, kind = match[0].translate(_CLOSED_UP), match.lastgroup
    if kind == "unclear" or unicodedata.category(match.string[match.end() : match.end() + 1] or " ") == "No":
        return None  # 2½ and 10² are not 2 and 10
    if match.string.endswith(("sqrt{", "}{"), 0, match.start()):
        return None  # the root of 3, the lower part of a fraction
    if kind == "english":
        written = written.replace(",", "")
    elif kind in {"german", "french", "comma"}:
        written = written.replace(".", "").replace(",", ".")
    return _shortest(written)


def _shortest(written: str) -> str | None:
    """Return a number in its shortest decimal form: a whole one with all its figures where a float has but the first."""
    number = float(written)
    if not math.isfinite(number):
        return None
    figures, _, rest = written.lstrip("+-0").partition(".")
    exact = int(figures) if 15 < len(figures) < 400 and figures.isdecimal() and not rest.strip("0") else 0
    if exact and exact != abs(number):
        return f"-{exact}" if written.startswith("-") else str(exact)
    return str(int(number)) if number.is_integer() and abs(number) < 1e16 else repr(number)


def _side_by_side(between: str) -> bool:
    """Return whether nothing stands between two numbers but what makes them alternatives, a range or terms."""
    return all(token in _BETWEEN for token in _TOKEN.findall(between.casefold().replace("\u2212", "-")))
