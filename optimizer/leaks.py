"""Leaks: held-out examples that the search sees, so that a gain on them may be memory, not skill.

| found | between | measure |
|---|---|---|
| near duplicate | test and train or validation, validation and train | Jaccard similarity of character 5-grams |
| in a wording | test or validation, and an instruction | a run of 8 words, or the whole of a shorter text |
| in a demonstration | test or validation, and what is shown | either: a near duplicate, or half of the runs of 8 words |

Texts are compared without regard to case, spaces and character width, words without regard to punctuation.

What many examples share is a template, and says nothing about any of them. Phrases of it never count: a pair is a near
duplicate if it is alike as a whole and in what is left without them, and runs of words are of what is left. So twenty
questions that differ in one number are no leak, and neither is a greeting. The price: copies of one text that are so
many that they look like a template are not found, nor is a text that is nothing but template.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Literal, NamedTuple

from optimizer.candidate import Demonstration, DemonstrationSet, Instruction
from optimizer.dataset import Dataset, Example, clusters_of
from optimizer.document import clipped

Kind = Literal["near duplicate", "in a wording", "in a demonstration"]
HeldOut = Literal["test", "validation"]

# A changed letter takes 5 of n grams on either side, (n - 5) / (n + 5): at 0.9 that is one in a hundred characters, or
# one word in about thirty. A typing error is found, and a sentence of one's own is not.
NEAR = Fraction(9, 10)

# Brown et al. (2020, arXiv:2005.14165) look for 13 words in a row, in texts of the web; Chowdhery et al. (2022,
# arXiv:2204.02311) for 8. Wordings and examples are short, so the smaller.
RUN_WORDS = 8

# Whoever writes of the same matters shares a phrase of 8 words now and then. Chowdhery et al. ask for 70 % of the runs,
# of longer texts: one changed word takes 8 runs with it, which of a text of 24 words leaves 9 of 17.
QUOTED = Fraction(1, 2)

# One or two words are found in any text.
PHRASE_WORDS = 3

# A phrase is of a template if more than one example in 20 has it, and no fewer than 5 have: a text and the three or
# four variants that somebody made of it are copies, even in a small data set.
TEMPLATE_ONE_IN = 20
TEMPLATE_LEAST = 5

# Rare grams that a pair must share before it is looked at: with 6 a search takes a third less time than with 1. Smaller
# sets are near only if they are equal, so they share all they have; beyond 9 that would no longer hold.
_SHARED = 6

_GRAM = 5
_NAMED = 3  # pairs in a sentence: enough to look at, and the sentence stays one
_EXCERPT = 30  # characters of a text: enough to find it again, and a sentence stays one
_KINDS: tuple[Kind, ...] = ("near duplicate", "in a wording", "in a demonstration")
_HELD_OUT: tuple[HeldOut, ...] = ("test", "validation")
_WORD = re.compile(r"\w+(?:'\w+)*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """A held-out example, and where the search sees it.

    Attributes:
        example: Id of the held-out example.
        split: The split it is held out in; validation is held out from demonstrations and wordings.
        other: Id of the near duplicate, the instruction, or the example that is shown.
        similarity: Of near duplicates, in [0.9, 1]; None for what is quoted or shown.
    """

    kind: Kind
    example: str
    split: HeldOut
    other: str
    similarity: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Text:
    """A text as it is compared.

    Attributes:
        place: The split, or "demonstration".
        words: All of its words.
        own_words: Those that are in no phrase of a template.
        phrases: Its phrases of templates.
        whole: The 5-grams of all of it.
        own: The 5-grams of its own words; those of all of it where it has no phrase of a template.
    """

    id: str
    place: str
    words: tuple[str, ...]
    own_words: tuple[str, ...]
    phrases: frozenset[str]
    whole: frozenset[str]
    own: frozenset[str]


class _Pair(NamedTuple):
    held_out: _Text
    seen: _Text
    similarity: Fraction


def leaks(
    dataset: Dataset, instructions: Sequence[Instruction], demonstration_sets: Sequence[DemonstrationSet]
) -> tuple[Leak, ...]:
    """Return every leak: those of test first, then by the ids of the examples.

    Equal texts are in one split already, so those found between splits are nearly equal. An instruction that was
    composed from one with the same leak is left out. Scripts without spaces have no words to find in a wording.
    """
    by_split = {"test": dataset.test, "validation": dataset.validation, "train": dataset.train}
    templates = _templates([example for examples in by_split.values() for example in examples])
    split = {place: [_text(e, e.id, place, templates) for e in by_split[place]] for place in by_split}
    demonstrations = {one.example_id: one for shown in demonstration_sets for one in shown.demonstrations}
    shown = [_text(one, id_, "demonstration", templates) for id_, one in demonstrations.items()]
    held_out = split["test"] + split["validation"]
    found = {
        *_near(held_out, [*split["train"], *split["validation"], *shown]),
        *_in_wordings(held_out, instructions, templates),
        *_in_demonstrations(held_out, shown),
    }
    return tuple(sorted(found, key=_place))


def leak_warnings(found: Sequence[Leak], texts: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the leaks in words: a sentence for each split and kind, with counts and the first few ids.

    Args:
        texts: What stands under an id, to be shown by its first words; an id made of a hash says nothing by itself.
    """
    alike = [[leak for leak in found if (leak.split, leak.kind) == (s, k)] for s in _HELD_OUT for k in _KINDS]
    return tuple(_sentence(some, texts or {}) for some in alike if some)


def _place(leak: Leak) -> tuple[int, str, int, str]:
    return _HELD_OUT.index(leak.split), leak.example, _KINDS.index(leak.kind), leak.other


def _sentence(found: Sequence[Leak], texts: Mapping[str, str]) -> str:
    kind, split, n = found[0].kind, found[0].split, len({leak.example for leak in found})
    relatives = "training examples" if split == "validation" else "examples that the search sees"
    said, remedy = {
        "near duplicate": (
            f"{'has' if n == 1 else 'have'} near duplicates among {relatives}",
            "give each pair one `group` value, or drop one of the two",
        ),
        "in a wording": (
            f"{'is' if n == 1 else 'are'} quoted in wordings",
            "word the instructions in words of their own",
        ),
        "in a demonstration": (
            f"{'is' if n == 1 else 'are'} shown as demonstrations, nearly or in large part",
            "give each pair one `group` value, or drop one of the two",
        ),
    }[kind]
    between = " ~ " if kind == "near duplicate" else " in "
    pairs = [
        between.join(_shown(one, texts) for one in (leak.example, leak.other)) for leak in found[:_NAMED]
    ]
    named = ", ".join([*pairs, *(["..."] if len(found) > _NAMED else [])])
    examples = f"{n} {split} example{'s' * (n != 1)}"
    return f"{examples} {said} ({named}): a gain on {split} may be memory, not skill; {remedy}"


def _shown(name: str, texts: Mapping[str, str]) -> str:
    """Return an id with the first words of what stands under it."""
    text = " ".join(texts.get(name, "").split())
    if not text:
        return clipped(name)
    return f"{clipped(name)} “{clipped(text[:_EXCERPT])}{'…' * (len(text) > _EXCERPT)}”"


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _words(folded: str) -> list[str]:
    return _WORD.findall(folded.replace("’", "'"))


def _runs(words: Sequence[str], size: int) -> list[str]:
    """Return every run of so many words; none of a text that has fewer."""
    return [" ".join(words[n : n + size]) for n in range(len(words) - size + 1)]


def _grams(text: str) -> frozenset[str]:
    """Return the 5-grams of a text; a shorter one is its only gram, and nothing has none."""
    return frozenset(text[n : n + _GRAM] for n in range(max(1, len(text) - _GRAM + 1)) if text)


def _joined(inputs: Iterable[tuple[str, str]]) -> str:
    return _fold(" ".join(text for _, text in inputs))


def _templates(examples: Sequence[Example]) -> frozenset[str]:
    """Return the phrases that many examples have; the members of a group count once."""
    clusters = clusters_of(examples) or [example.id for example in examples]
    phrases: dict[str, set[str]] = defaultdict(set)
    for cluster, example in zip(clusters, examples, strict=True):
        phrases[cluster].update(_runs(_words(_joined(example.inputs)), PHRASE_WORDS))
    counts = Counter(phrase for some in phrases.values() for phrase in some)
    most = max(TEMPLATE_LEAST - 1, len(phrases) // TEMPLATE_ONE_IN)
    return frozenset(phrase for phrase, count in counts.items() if count > most)


def _without(phrases: frozenset[str], words: Sequence[str]) -> tuple[str, ...]:
    left: list[str | None] = list(words)
    for n, phrase in enumerate(_runs(words, PHRASE_WORDS)):
        if phrase in phrases:
            left[n : n + PHRASE_WORDS] = [None] * PHRASE_WORDS
    return tuple(word for word in left if word is not None)


def _text(source: Example | Demonstration, id_: str, place: str, templates: frozenset[str]) -> _Text:
    folded = _joined(source.inputs)
    words = tuple(_words(folded))
    phrases = templates.intersection(_runs(words, PHRASE_WORDS))
    own_words, whole = _without(phrases, words), _grams(folded)
    return _Text(
        id=id_,
        place=place,
        words=words,
        own_words=own_words,
        phrases=phrases,
        whole=whole,
        own=_grams(" ".join(own_words)) if phrases else whole,
    )


def _near(held_out: Sequence[_Text], seen: Sequence[_Text]) -> Iterator[Leak]:
    """Yield the near duplicates in different splits, and those that are shown."""
    for text, other, similarity in _pairs(held_out, seen):
        split = _split(text)
        if other.place == "demonstration":
            yield Leak(kind="in a demonstration", example=text.id, split=split, other=other.id)
        elif other.place != text.place:
            likeness = float(similarity)
            yield Leak(
                kind="near duplicate", example=text.id, split=split, other=other.id, similarity=likeness
            )


def _split(text: _Text) -> HeldOut:
    return "test" if text.place == "test" else "validation"


def _pairs(held_out: Sequence[_Text], seen: Sequence[_Text]) -> Iterator[_Pair]:
    """Yield every pair that is alike as a whole, in its own words, and without the phrases that both have.

    Exact, without looking at every pair: of two sets with a Jaccard similarity of t or more, each shares at least
    ceil(t n) of its n elements with the other, so the first n - ceil(t n) + k of each, in any one order, have k
    elements in common (prefix filtering, Chaudhuri et al. 2006; Bayardo et al. 2007; with k > 1, Wang et al. 2012).
    With the rarest first, few pairs do.
    """
    counts = Counter(gram for text in (*held_out, *seen) for gram in text.own)
    rank = {gram: n for n, (gram, _) in enumerate(reversed(counts.most_common()))}
    index: dict[str, list[int]] = defaultdict(list)
    for n, text in enumerate(seen):
        for gram in _prefix(text.own, rank):
            index[gram].append(n)
    for text in held_out:
        shared = Counter(n for gram in _prefix(text.own, rank) for n in index.get(gram, ()))
        least = min(_SHARED, len(text.own))
        for other in (seen[n] for n, count in shared.items() if count >= least):
            similarity = _jaccard(text.whole, other.whole)
            if similarity >= NEAR and _jaccard(text.own, other.own) >= NEAR and _alike(text, other):
                yield _Pair(text, other, similarity)


def _alike(one: _Text, other: _Text) -> bool:
    """Return whether texts are alike without the phrases that both have.

    A word that fills a gap in many examples is in a phrase of a template itself. It is no text's own, and still what
    two texts of one template differ in.
    """
    phrases = one.phrases & other.phrases
    if not phrases:
        return True
    left = [_grams(" ".join(_without(phrases, text.words))) for text in (one, other)]
    return _jaccard(left[0], left[1]) >= NEAR


def _prefix(grams: frozenset[str], rank: Mapping[str, int]) -> list[str]:
    n = len(grams)
    return sorted(grams, key=rank.__getitem__)[: n - ceil(NEAR * n) + min(_SHARED, n)]


def _jaccard(some: frozenset[str], others: frozenset[str]) -> Fraction:
    shared = len(some & others)
    return Fraction(shared, len(some) + len(others) - shared)


def _in_wordings(
    held_out: Sequence[_Text], instructions: Sequence[Instruction], templates: frozenset[str]
) -> Iterator[Leak]:
    quoting: dict[str, set[str]] = defaultdict(set)
    for instruction in instructions:
        words = _without(templates, _words(_fold(instruction.text)))
        for size in range(PHRASE_WORDS, RUN_WORDS + 1):
            for run in _runs(words, size):
                quoting[run].add(instruction.id)
    for text in held_out:
        size = min(RUN_WORDS, max(PHRASE_WORDS, len(text.own_words)))
        ids = {id_ for run in _runs(text.own_words, size) for id_ in quoting.get(run, ())}
        for instruction in instructions:
            inherited = instruction.origin == "composed" and not ids.isdisjoint(instruction.parents)
            if instruction.id in ids and not inherited:
                yield Leak(kind="in a wording", example=text.id, split=_split(text), other=instruction.id)


def _in_demonstrations(held_out: Sequence[_Text], shown: Sequence[_Text]) -> Iterator[Leak]:
    """Yield the examples of whose runs of words at least half are in one demonstration."""
    showing: dict[str, set[str]] = defaultdict(set)
    for demonstration in shown:
        for run in _runs(demonstration.own_words, RUN_WORDS):
            showing[run].add(demonstration.id)
    for text in held_out:
        runs = set(_runs(text.own_words, RUN_WORDS))
        shared = Counter(id_ for run in runs for id_ in showing.get(run, ()))
        for id_, count in shared.items():
            if count >= QUOTED * len(runs):
                yield Leak(kind="in a demonstration", example=text.id, split=_split(text), other=id_)
