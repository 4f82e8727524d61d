"""Figures of the evidence as text in one language: what is missing or of another type is told as absent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from optimizer.explanation import named_apart, shortened
from optimizer.report._language import Language
from optimizer.report._reading import ABSENT, number, text


@dataclass(frozen=True, slots=True)
class Teller:
    """Sentences and figures in one language, as every table of the page shows them."""

    language: Language

    def t(self, sentence: str, /, **values: object) -> str:
        """Return a sentence in this language, its values inserted."""
        return self.language.t(sentence, **values)

    def plural(self, n: int, one: str, many: str, /, **values: object) -> str:
        """Return the sentence that fits a number, which is inserted as {n}."""
        return self.language.plural(n, one, many, **values)

    def score(self, value: object) -> str:
        """Return a score."""
        found = number(value)
        return ABSENT if found is None else self.language.score(found)

    def share(self, value: object) -> str:
        """Return a share in per cent."""
        found = number(value)
        return ABSENT if found is None else self.language.percent(found)

    def signed(self, value: object) -> str:
        """Return a difference of scores in points with its sign, without a unit."""
        found = number(value)
        return ABSENT if found is None else self.language.signed_points(found)

    def named_apart(self, values: Iterable[object]) -> dict[str, str]:
        """Return names or values from the data that stand in one column, in quotes, no two of them alike."""
        return named_apart((each for each in values if isinstance(each, str)), self.language)

    def gain(self, value: object) -> str:
        """Return a difference of scores in points with its sign and its unit."""
        told = self.signed(value)
        return ABSENT if told == ABSENT else self.t("{points} points", points=told)

    def size(self, value: object) -> str:
        """Return a difference of scores in points without a sign."""
        found = number(value)
        return ABSENT if found is None else self.t("{points} points", points=self.language.points(found))

    def chance(self, value: object) -> str:
        """Return a p value."""
        found = number(value)
        return ABSENT if found is None else self.language.p(found)

    def amount(self, value: object, unit: object) -> str:
        """Return an amount of tokens or money with its unit."""
        found = number(value)
        return ABSENT if found is None else self.language.amount(found, unit)

    def decimal(self, value: object, digits: int) -> str:
        """Return a number with so many digits after the point."""
        found = number(value)
        return ABSENT if found is None else self.language.figure(f"{found:.{digits}f}")

    def count(self, value: object) -> str:
        """Return a number as it stands, as this language writes it; a text as it is."""
        told = text(value)
        return told if number(value) is None else self.language.figure(told)

    def between(self, lower: str, upper: str) -> str:
        """Return the ends of an interval as one text."""
        return ABSENT if ABSENT in (lower, upper) else self.t("{lower} to {upper}", lower=lower, upper=upper)

    def score_interval(self, figures: Mapping[str, Any]) -> str:
        """Return the interval of a score."""
        return self.between(self.score(figures.get("lower")), self.score(figures.get("upper")))

    def gain_interval(self, figures: Mapping[str, Any]) -> str:
        """Return the interval of a difference of scores, in points."""
        return self.between(self.signed(figures.get("lower")), self.signed(figures.get("upper")))

    def quoted(self, value: object) -> str:
        """Return a name or value from the data in quotes, not too long."""
        return shortened(value, self.language) if isinstance(value, str) else ABSENT
