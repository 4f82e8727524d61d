"""What texts come to when only their words count: the normal form of SQuAD's evaluation, and n-grams.

SQuAD v1.1 (Rajpurkar et al. 2016, arXiv:1606.05250) lowers a text, drops punctuation and articles, and closes up
spaces. That is for English in ASCII; here it is for any text, and equal to SQuAD's where the text is English in ASCII,
has a word besides articles, and no figure with a mark in it or a sign before it. SQuAD takes `1.5` for `15`, `-5` for `5`
and `2024-1-11` for `2024-11-1`; here the marks between two digits and the sign before one count, and so does a power.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import dropwhile, groupby

# An elided article goes with its apostrophe; any other apostrophe of French parts two words (`qu'il`).
_ELIDED = re.compile(r"\bl['’]|(?<=\w)['’](?=\w)")
_ARTICLES = {
    "en": re.compile(r"\b(?:a|an|the)\b"),
    "fr": re.compile(r"\b(?:le|la|les|un|une|des|du)\b"),
}
# The marks of a figure: between two digits, a caret before a power, a point that begins a fraction, or a minus that no
# letter or digit stands before. A plus says nothing.
_OF_FIGURE = re.compile(
    r"(?<=\d)[.,/:٫–−-](?=\d)|(?<=\d)\^(?=[–−-]?\d)|(?<![\w.])\.(?=\d)|(?<![^\W_])[–−-](?=(?:[$€£¥] ?)?\.?\d)"
)
# NFKC writes both as common digits: `10²` would be `102`, and `2½` would be `21⁄2`.
_POWER = re.compile(r"(?<=\d)(?=[⁺⁻]?[⁰¹²³⁴-⁹])")
_FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞↉])")
_DASHES = {"–": "-", "−": "-"}
# `1,234` is `1234` in English; elsewhere `12,5` is `12.5`.
_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)")
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d+),(?=\d{1,2}(?!\d|[.,]\d))")


def folded(text: str) -> str:
    """Return a text in one form of each character (NFKC) and one case, spaces around it dropped."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def normalised(text: str, language: str) -> str:
    """Return a text without case, punctuation, articles and superfluous spaces; its figures keep their marks.

    A text with nothing else in it, such as `The` or `?!`, keeps what it has: two of them are equal only if they are.
    """
    plain = folded(_FRACTION.sub(" ", _POWER.sub("^", text)))
    spoken = language.partition("-")[0].lower()
    words = _ELIDED.sub(" ", plain) if spoken == "fr" else plain
    words = _unpunctuated(_plain_figures(words, spoken))
    articles = _ARTICLES.get(spoken)
    words = articles.sub(" ", words) if articles else words
    return " ".join(words.split()) or " ".join(plain.split())


def _plain_figures(text: str, spoken: str) -> str:
    """Return a text whose figures have no separators of thousands, in English, and no decimal comma, elsewhere."""
    if spoken == "en":
        return _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    return _DECIMAL_COMMA.sub(r"\1.", text)


def _unpunctuated(text: str) -> str:
    kept = {match.start() for match in _OF_FIGURE.finditer(text)}
    return "".join(
        _DASHES.get(one, one) if at in kept else one
        for at, one in enumerate(text)
        if at in kept or not _is_punctuation(one)
    )


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def words_of(text: str) -> list[str]:
    """Return the runs of letters and digits of a text, lowered; of ASCII text those of ROUGE's implementations.

    What combines with a letter, such as the vowels of Hindi and Hebrew, is a part of its word.
    """
    runs = (run for is_word, run in groupby(folded(text), _is_of_word) if is_word)
    return [word for run in runs if (word := "".join(dropwhile(_is_combining, run)))]


def _is_of_word(character: str) -> bool:
    return character.isalnum() or _is_combining(character)


def _is_combining(character: str) -> bool:
    # Without those that choose how an emoji is drawn.
    return unicodedata.category(character) in {"Mn", "Mc"} and not "\ufe00" <= character <= "\ufe0f"


def ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """Return how often each run of `n` words occurs."""
    return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))


def f_measure(common: int, given: int, wanted: int) -> float:
    """Return the harmonic mean of precision and recall of so many given and so many wanted, so many in common."""
    return 2 * common / (given + wanted) if common else 0.0


def rouge_n(answer: str, target: str, n: int) -> float:
    """Return ROUGE-N, the F-measure of runs of `n` words (Lin 2004).

    Where neither text has as many words, they are compared as they are, word by word, or as texts without any.
    """
    words, wanted = words_of(answer), words_of(target)
    if max(len(words), len(wanted)) < n:
        return float(words == wanted if words or wanted else folded(answer) == folded(target))
    runs, wanted_runs = ngrams(words, n), ngrams(wanted, n)
    return f_measure((runs & wanted_runs).total(), runs.total(), wanted_runs.total())
