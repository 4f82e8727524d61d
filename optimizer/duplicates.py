"""Near duplicates: texts that are one text but for a word or a letter, found without looking at every pair.

Texts are compared without regard to case, spaces and character width, by the Jaccard similarity of their character
5-grams. A text of fewer characters is its only gram: it is like its equals alone.

What many texts share is a template, and says nothing about any of them: texts are near duplicates if they are alike as
a whole and in what is left without its phrases. So twenty questions that differ in one number are none, and neither is
a greeting. The price: copies of one text that are so many that they look like a template are not found.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import NamedTuple

# A changed letter takes 5 of n grams on either side, (n - 5) / (n + 5): at 0.9 that is one in a hundred characters, or
# one word in about thirty. A typing error is found, and a sentence of one's own is not.
NEAR = Fraction(9, 10)

# One or two words are found in any text.
PHRASE_WORDS = 3

# A phrase is of a template if more than one text in 20 has it, and no fewer than 5 have: a text and the three or
# four variants that somebody made of it are copies, even in a small data set.
TEMPLATE_ONE_IN = 20
TEMPLATE_LEAST = 5

# Rare grams that a pair must share before it is looked at: with 6 a search takes a third less time than with 1. Smaller
# sets are near only if they are equal, so they share all they have; beyond 9 that would no longer hold.
_SHARED = 6

_GRAM = 5
_WORD = re.compile(r"\w+(?:'\w+)*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text as it is compared.

    Attributes:
        words: All of its words.
        own_words: Those that are in no phrase of a template.
        phrases: Its phrases of templates.
        whole: The 5-grams of all of it.
        own: The 5-grams of its own words; those of all of it where it has no phrase of a template.
    """

    words: tuple[str, ...]
    own_words: tuple[str, ...]
    phrases: frozenset[str]
    whole: frozenset[str]
    own: frozenset[str]

    @classmethod
    def of(cls, folded: str, templates: frozenset[str]) -> "Text":
        """Return a folded text as it is compared beside others that share these phrases."""
        words = words_of(folded)
        phrases = templates.intersection(runs(words, PHRASE_WORDS))
        own_words, whole = without(phrases, words), _grams(folded)
        own = _grams(" ".join(own_words)) if phrases else whole
        return cls(words=words, own_words=own_words, phrases=phrases, whole=whole, own=own)


class Pair(NamedTuple):
    """Two places, and how alike the texts there are."""

    one: int
    other: int
    similarity: Fraction


def fold(text: str) -> str:
    """Return a text without its differences in case, spaces and character width."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words_of(folded: str) -> tuple[str, ...]:
    """Return the words of a folded text, without punctuation."""
    return tuple(_WORD.findall(folded.replace("’", "'")))


def runs(words: Sequence[str], size: int) -> list[str]:
    """Return every run of so many words; none of a text that has fewer."""
    return [" ".join(words[n : n + size]) for n in range(len(words) - size + 1)]


def templates(texts: Sequence[str], clusters: Sequence[str]) -> frozenset[str]:
    """Return the phrases that many of the folded texts have; those of one cluster count once."""
    phrases: dict[str, set[str]] = defaultdict(set)
    for cluster, text in zip(clusters, texts, strict=True):
        phrases[cluster].update(runs(words_of(text), PHRASE_WORDS))
    counts = Counter(phrase for some in phrases.values() for phrase in some)
    most = max(TEMPLATE_LEAST - 1, len(phrases) // TEMPLATE_ONE_IN)
    return frozenset(phrase for phrase, count in counts.items() if count > most)


def without(phrases: frozenset[str], words: Sequence[str]) -> tuple[str, ...]:
    """Return the words that are in none of the phrases."""
    left: list[str | None] = list(words)
    for n, phrase in enumerate(runs(words, PHRASE_WORDS)):
        if phrase in phrases:
            left[n : n + PHRASE_WORDS] = [None] * PHRASE_WORDS
    return tuple(word for word in left if word is not None)


def pairs(some: Sequence[Text], others: Sequence[Text]) -> Iterator[Pair]:
    """Yield every near pair of one text and another.

    Exact, without looking at every pair: of two sets with a Jaccard similarity of t or more, each shares at least
    ceil(t n) of its n elements with the other, so the first n - ceil(t n) + k of each, in any one order, have k
    elements in common (prefix filtering, Chaudhuri et al. 2006; Bayardo et al. 2007; with k > 1, Wang et al. 2012).
    With the rarest first, few pairs do.
    """
    rank = _ranks([*some, *others])
    index: dict[str, list[int]] = defaultdict(list)
    for n, text in enumerate(others):
        for gram in _prefix(text.own, rank):
            index[gram].append(n)
    for n, text in enumerate(some):
        yield from _partners(n, text, _prefix(text.own, rank), others, index)


def pairs_within(texts: Sequence[Text]) -> Iterator[Pair]:
    """Yield every near pair of different places, the later one first; exact as `pairs`."""
    rank = _ranks(texts)
    index: dict[str, list[int]] = defaultdict(list)
    for n, text in enumerate(texts):
        prefix = _prefix(text.own, rank)
        yield from _partners(n, text, prefix, texts, index)
        for gram in prefix:
            index[gram].append(n)


def _partners(
    n: int, text: Text, prefix: Sequence[str], others: Sequence[Text], index: Mapping[str, Sequence[int]]
) -> Iterator[Pair]:
    shared = Counter(m for gram in prefix for m in index.get(gram, ()))
    least = min(_SHARED, len(text.own))
    for m in (m for m, count in shared.items() if count >= least):
        similarity = _jaccard(text.whole, others[m].whole)
        if similarity >= NEAR and _jaccard(text.own, others[m].own) >= NEAR and _alike(text, others[m]):
            yield Pair(n, m, similarity)


def _alike(one: Text, other: Text) -> bool:
    """Return whether texts are alike without the phrases that both have.

    A word that fills a gap in many examples is in a phrase of a template itself. It is no text's own, and still what
    two texts of one template differ in.
    """
    phrases = one.phrases & other.phrases
    if not phrases:
        return True
    left = [_grams(" ".join(without(phrases, text.words))) for text in (one, other)]
    return _jaccard(left[0], left[1]) >= NEAR


def _grams(text: str) -> frozenset[str]:
    """Return the 5-grams of a text; a shorter one is its only gram, and nothing has none."""
    return frozenset(text[n : n + _GRAM] for n in range(max(1, len(text) - _GRAM + 1)) if text)


def _ranks(texts: Sequence[Text]) -> dict[str, int]:
    counts = Counter(gram for text in texts for gram in text.own)
    return {gram: n for n, (gram, _) in enumerate(reversed(counts.most_common()))}


def _prefix(grams: frozenset[str], rank: Mapping[str, int]) -> list[str]:
    n = len(grams)
    return sorted(grams, key=rank.__getitem__)[: n - ceil(NEAR * n) + min(_SHARED, n)]


def _jaccard(some: frozenset[str], others: frozenset[str]) -> Fraction:
    shared = len(some & others)
    return Fraction(shared, len(some) + len(others) - shared) if some or others else Fraction(0)
