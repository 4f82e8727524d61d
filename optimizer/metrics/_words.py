"""What texts come to when only their words count: the normal form of SQuAD's evaluation, and n-grams.

SQuAD v1.1 (Rajpurkar et al. 2016, arXiv:1606.05250) lowers a text, drops punctuation and articles, and closes up
spaces. That is for English in ASCII; here it is for any text, and equal to SQuAD's where the text is English in ASCII
and has a word besides articles.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

# An elided article goes with its apostrophe; any other apostrophe of French parts two words (`qu'il`).
_ELIDED = re.compile(r"\bl['’]|(?<=\w)['’](?=\w)")
_ARTICLES = {
    "en": re.compile(r"\b(?:a|an|the)\b"),
    "fr": re.compile(r"\b(?:le|la|les|un|une|des|du)\b"),
}


def folded(text: str) -> str:
    """Return a text in one form of each character (NFKC) and one case, spaces around it dropped."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def normalised(text: str, language: str) -> str:
    """Return a text without case, punctuation, articles and superfluous spaces.

    A text with nothing else in it, such as `The` or `?!`, keeps what it has: two of them are equal only if they are.
    """
    plain = folded(text)
    spoken = language.partition("-")[0].lower()
    words = _ELIDED.sub(" ", plain) if spoken == "fr" else plain
    words = "".join(one for one in words if not _is_punctuation(one))
    articles = _ARTICLES.get(spoken)
    words = articles.sub(" ", words) if articles else words
    return " ".join(words.split()) or " ".join(plain.split())


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def words_of(text: str) -> list[str]:
    """Return the runs of letters and digits of a text, lowered; of ASCII text those of ROUGE's implementations."""
    return re.findall(r"[^\W_]+", folded(text))


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
