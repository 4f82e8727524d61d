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
    # A comma or full stop that no figure follows is that of the sentence. The x of `3x4` is a sign between two factors.
    rf"(?:(?<![A-Za-zÀ-ÖØ-öø-ɏ\d_])|(?<=\d[xX]))(?:(?<![)\]%]){_SIGN})?"
    r"(?:(?P<english>[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?!\d|,\d)(?:\.\d+)?)"
    r"|(?P<german>(?:\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,})(?!\d|[,.]\d))"
    # A space between groups is one for certain where it cannot be broken, where there are several, or before a comma.
    rf"|(?P<french>\d{{1,3}}(?:(?:[{_SPACES}]\d{{3}})+|(?:[ ]\d{{3}}){{2,}}|[ ]\d{{3}}(?=,\d))(?!\d)(?:,\d+(?!\d|,\d))?)"
    r"|(?P<comma>(?:0,\d+|\d+,(?:\d{1,2}|\d{4,}))(?!\d|[,.]\d))"
    r"|(?P<unclear>\d+(?:,\d+)+(?:\.\d+)?)"
    r"|(?P<plain>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?))"
)
_MONEY = DECORATION.replace(".", "") + "$€£¥%\u00a0\u202f"

# What a number is multiplied by, in powers of ten; words that mean another number in another language are English.
_POWERS = {
    **dict.fromkeys(str.split("hundred hundreds"), 2),
    **dict.fromkeys(str.split("k thousand thousands mille tausend tsd"), 3),
    **dict.fromkeys(str.split("lakh lakhs"), 5),
    **dict.fromkeys(str.split("m mn mio million millions millionen"), 6),
    **dict.fromkeys(str.split("crore crores"), 7),
    **dict.fromkeys(str.split("b bn billion billions md mds mrd milliard milliards milliarde milliarden"), 9),
    **dict.fromkeys(str.split("trillion trillions"), 12),
}
SCALE = (
    r"(?:(?i:hundreds?|thousands?|mille|tausend|tsd|lakhs?|mn|mio|millions?|millionen|crores?|bn|billions?|mrd|milliards?"
    r"|milliarden?|trillions?)|[kK])(?!\w)"
)
# `5k` and `5K`, but `5 K` is a temperature and `2k = 8` an equation.
_SCALE = re.compile(
    rf"(?:-|(?:[{_SPACES} *_~]|\\[,; ]|\\(?:text|textbf|mathrm)\{{){{0,4}})(?![kK])(?P<words>{SCALE})"
    rf"|(?P<joined>[kK])(?![\w^]|[ ]?[=+*])|[{_SPACES} ](?P<apart>k)(?![\w^-]|[ ]?[=+*])"
)
# A bare `m` is metres, but in a sum of money: `$5m`.
_CURRENCY = r"(?:[$€£¥]|\b(?:USD|EUR|GBP|CHF)\b)"
_SUM_BEFORE = re.compile(rf"{_CURRENCY}[{_SPACES} ]?\Z")
_SUM_SCALE = re.compile(r"(?P<joined>[mMbB])(?!\w)")
_SUM_AFTER = re.compile(rf"[{_SPACES} ]?(?P<apart>[mMbB]|[mM]ds?)(?=[{_SPACES} ]?{_CURRENCY})")
# A sign in words. After a term it takes something off ("the value minus 5"), and "au moins" and "plus or minus" are none.
_MINUS = re.compile(rf"(?<!\w)(?:minus|moins)[{_SPACES} ]+(?:[$€£¥][{_SPACES} ]?)?\Z", re.IGNORECASE)
_SIGNED = re.compile(
    r"(?:\A|[\n=:;.!?(\[{>\"'“«$]|(?<!\d),|\b(?:is|are|was|were|be|been|to|at|of|by|from|between|and|about|around|nearly|roughly"
    rf"|approximately|exactly|equals?|reach(?:ed|es)?|hits?|est|fait|vaut|à|de|environ|et|entre))[{_SPACES} *_]*\Z",
    re.IGNORECASE,
)
_LONGEST_WORD = 32

_WHOLE_GROUPED = re.compile(rf"[{re.escape(_MONEY)}]*?((?:{_SIGN})?{_GROUPED})[{re.escape(_MONEY)}]*")
# A number without what stands between its sign and its figures, or between these.
_CLOSED_UP = {**dict.fromkeys(map(ord, f"$€£¥ {_SPACES}")), 0x2013: "-"}

# What may stand between two numbers that are alternatives, a range or a sum that nobody worked out.
_BETWEEN = frozenset(
    str.split(
        "or ou and et to à a plus minus moins through maybe perhaps possibly even about around either peut être"
        " - – — / , ; & ( ) [ ] $ € £ % ~ ± + * × x ÷ ^"
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
    `1200.5` are one number. So are `1.2 million`, `1.2mn` and `1,200,000`, and `minus 5` and `-5`. A comma before one or
    two digits is a decimal comma; `1,2,3` and `1234,567` could mean several things and are none.
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
        _scaled(match) if power is None else (None, *match.span())
        for match, power in found
        if not (power and power.lastgroup)
    ]


def _power(match: re.Match[str]) -> re.Match[str] | None:
    """Return what a number is the power of, where that is no number."""
    return _POWER.search(match.string, max(0, match.start() - _LONGEST_UNIT), match.start())


def _scaled(match: re.Match[str]) -> tuple[str | None, int, int]:
    """Return a number with its sign and its scale, be they signs or words, and where all of it stands."""
    text, (start, end), written = match.string, match.span(), _value(match)
    sign = None if match[0][0] in "+-–" else _MINUS.search(text, max(0, start - _LONGEST_UNIT), start)
    if sign and _SIGNED.search(text, max(0, sign.start() - _LONGEST_WORD), sign.start()):
        start, written = sign.start(), written and f"-{written}"
    power, scale = 0, _first_scale(match)
    while scale:
        end, power = scale.end(), power + _POWERS[scale[scale.lastgroup or 0].casefold()]
        scale = _SCALE.match(text, end)
    return (_shortest(_shifted(written, power)) if written else None), start, end


def _first_scale(match: re.Match[str]) -> re.Match[str] | None:
    """Return what is behind a number and multiplies it; some letters do so in sums of money alone."""
    text, (start, end) = match.string, match.span()
    has_sign = not set("$€£¥").isdisjoint(match[0])
    in_money = has_sign or _SUM_BEFORE.search(text, max(0, start - _LONGEST_UNIT), start)
    found = _SUM_SCALE.match(text, end) if in_money else None
    return found or _SUM_AFTER.match(text, end) or _SCALE.match(text, end)


def _shifted(written: str, power: int) -> str:
    """Return a number times a power of ten, with all the figures that it is written with."""
    mantissa, _, exponent = written.lower().partition("e")
    if exponent:
        # With an exponent of more figures it is too large or too small for a float, by whatever it is multiplied.
        return f"{mantissa}e{int(exponent) + power}" if len(exponent) < 9 else written
    whole, _, rest = mantissa.partition(".")
    return f"{whole}{rest[:power].ljust(power, '0')}.{rest[power:]}"


def _value(match: re.Match[str]) -> str | None:
    """Return what the figures of a number say, or None where they could mean several things."""
    written, kind = match[0].translate(_CLOSED_UP), match.lastgroup
    if kind == "unclear" or unicodedata.category(match.string[match.end() : match.end() + 1] or " ") == "No":
        return None  # 2½ and 10² are not 2 and 10
    if match.string.endswith(("sqrt{", "}{"), 0, match.start()):
        return None  # the root of 3, the lower part of a fraction
    if kind == "english":
        written = written.replace(",", "")
    elif kind in {"german", "french", "comma"}:
        written = written.replace(".", "").replace(",", ".")
    return written


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
