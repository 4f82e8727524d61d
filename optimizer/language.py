"""The languages in which results are told: sentences by their English text, figures as each language writes them.

The English sentence is the key. What a language has no sentence for is told in English, so an older or newer piece of
text is never lost. Values are inserted once, as they are: nothing in them is read as a placeholder.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

LANGUAGES = ("en", "fr")

# Four digits are read at a glance; more are grouped.
_GROUPED = 10_000

_PLACEHOLDER = re.compile(r"\{(\w+)\}")

# No-break spaces of French: narrow before high marks and signs, wide before a colon and within quotation marks.
_NARROW, _WIDE = "\u202f", "\u00a0"
_FRENCH_SPACES = (
    (re.compile(r" (?=[;!?%])"), _NARROW),
    (re.compile(r" (?=[:»])|(?<=«) "), _WIDE),
    (re.compile(r"(?<=\bp) (?=[=<])|(?<=\bp [=<]) (?=[\d{])"), _WIDE),
)


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """One language: its code, and its sentences by their English text."""

    code: str
    sentences: Mapping[str, str]

    @classmethod
    def of(cls, code: str) -> "Language":
        """Return a language by its code, one of `LANGUAGES`.

        Raises:
            ValueError: When there is no such language.
        """
        return _language(code)

    def t(self, text: str, /, **values: object) -> str:
        """Return a sentence with its values in this language.

        Args:
            text: The English sentence, with placeholders such as {n}.
            values: Texts are inserted as they are, numbers as this language writes them.

        Raises:
            KeyError: When the sentence names a value that is not given.
        """
        told = {name: self._inserted(value) for name, value in values.items()}
        return _PLACEHOLDER.sub(lambda found: told[found[1]], self.sentences.get(text, text))

    def plural(self, n: int, one: str, many: str, /, **values: object) -> str:
        """Return the sentence that fits a number, which is inserted as {n}; none is singular in French."""
        singular = n in (0, 1) if self.code == "fr" else n == 1
        return self.t(one if singular else many, n=n, **values)

    def figure(self, text: str) -> str:
        """Return a figure, or several in one text, as this language writes them; `text` is as English writes them."""
        if self.code != "fr":
            return text
        text = re.sub(r"(?<=\d),(?=\d{3})", _NARROW, text)
        text = re.sub(r"(?<=\d)\.(?=\d)", ",", text)
        return _french_spaces(text.replace(" to ", " à "))

    def points(self, difference: float) -> str:
        """Return a difference of scores in points, as every table shows it: 0.0312 is 3.1."""
        return self.figure(f"{100 * difference:.1f}")

    def signed_points(self, difference: float) -> str:
        """Return a difference of scores in points with its sign; what rounds to nothing is +0.0."""
        text = f"{100 * difference:+.1f}"
        return self.figure("+0.0" if text == "-0.0" else text)

    def score(self, score: float) -> str:
        """Return a score as every table shows it."""
        return self.figure(f"{score:.3f}")

    def p(self, p_value: float) -> str:
        """Return a p value as every table shows it."""
        return self.figure("p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.4f}")

    def percent(self, share: float) -> str:
        """Return a share in per cent, without needless digits: 0.95 is 95 %."""
        return self.figure(f"{round(100 * share, 1):g} %")

    def amount(self, amount: float, unit: object) -> str:
        """Return an amount of tokens, or of money where the unit is "usd"."""
        if unit == "usd":
            return self.t("{amount} US dollars", amount=self.dollars(amount))
        return self.t("{amount} tokens", amount=self.decimals(amount, 1))

    def dollars(self, amount: float, digits: int = 6) -> str:
        """Return an amount of dollars without the unit, as `decimals` tells it; below 0.001 three digits count."""
        return self.figure(f"{amount:,.{_after_point(amount, digits, least=0.001)}f}")

    def decimals(self, amount: float, digits: int) -> str:
        """Return an amount with so many digits after the point, or three that count where these would say nothing."""
        return self.figure(f"{amount:.{_after_point(amount, digits, least=10.0**-digits)}f}")

    def brief(self, amount: float) -> str:
        """Return an amount in plain decimals with four digits that count at most, as `0.25` or `12,500`."""
        digits = max(0, 3 - math.floor(math.log10(abs(amount)))) if amount else 0
        text = f"{amount:{',' if abs(amount) >= _GROUPED else ''}.{digits}f}"
        return self.figure(text.rstrip("0").rstrip(".") if "." in text else text)

    def method(self, name: str) -> str:
        """Return what a comparison calls its method in this language; a part that nobody knows stays as it is."""
        return ", ".join(map(self._method, name.split(", ")))

    def _method(self, part: str) -> str:
        numbers = {f"n{k}": found for k, found in enumerate(re.findall(r"\d+", part), start=1)}
        keys = iter(numbers)
        sentence = re.sub(r"\d+", lambda _: f"{{{next(keys)}}}", part)
        return self.t(sentence, **numbers) if sentence in _METHODS else part

    def quoted(self, text: str) -> str:
        """Return a text in the quotation marks of this language."""
        return f"«{_WIDE}{text}{_WIDE}»" if self.code == "fr" else f"“{text}”"

    def _inserted(self, value: object) -> str:
        if isinstance(value, float):
            return self.figure(f"{value:g}")
        if self.code == "fr" and isinstance(value, int) and abs(value) >= _GROUPED:
            return self.figure(f"{value:,}")
        return str(value)


def _after_point(amount: float, usual: int, *, least: float) -> int:
    """Return how many digits stand after the point: below `least` as many as make three that count."""
    small = amount and abs(amount) < least
    return 2 - math.floor(math.log10(abs(amount))) if small else usual


def mark(text: str, /) -> str:
    """Return a sentence as it is: it is handed to `Language.t` elsewhere, and this has it looked up in every catalogue."""
    return text


def placeholders(text: str) -> frozenset[str]:
    """Return the names of the values that a sentence takes."""
    return frozenset(_PLACEHOLDER.findall(text))


def script_texts(source: str) -> tuple[str, ...]:
    """Return the sentences that a script or a template asks for, as `t("...")`, in order, each once."""
    found = re.findall(r"\bt\(\s*(\"(?:[^\"\\\n]|\\.)*\")", source)
    return tuple(dict.fromkeys(str(json.loads(text)) for text in found))


# The parts of which the methods of comparisons are named.
_METHODS = (
    mark("exact McNemar test"),
    mark("exact sign-flip test"),
    mark("sign-flip test"),
    mark("corrected t test"),
    mark("{n1} × {n2}-fold cross-validation"),
    mark("Tango interval"),
    mark("BCa bootstrap interval"),
    mark("percentile bootstrap interval"),
    mark("paired bootstrap"),
    mark("{n1} clusters"),
)


@cache
def _language(code: str) -> Language:
    if code not in LANGUAGES:
        raise ValueError(f"expected one of {', '.join(LANGUAGES)}, found {code!r}")
    if code == "en":
        return Language(code, {})
    stated = json.loads(files(__package__).joinpath("french.json").read_text(encoding="utf-8"))
    return Language(code, {text: _french_spaces(told) for text, told in stated.items()})


def _french_spaces(text: str) -> str:
    for where, space in _FRENCH_SPACES:
        text = where.sub(space, text)
    return text


ENGLISH = Language.of("en")
