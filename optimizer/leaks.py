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

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple

from optimizer.candidate import Demonstration, DemonstrationSet, Instruction
from optimizer.cautions import leak_in_words
from optimizer.dataset import Dataset, Example, clusters_of
from optimizer.document import clipped
from optimizer.duplicates import PHRASE_WORDS, Text, fold, pairs, runs, templates, without, words_of

Kind = Literal["near duplicate", "in a wording", "in a demonstration"]
HeldOut = Literal["test", "validation"]

# Brown et al. (2020, arXiv:2005.14165) look for 13 words in a row, in texts of the web; Chowdhery et al. (2022,
# arXiv:2204.02311) for 8. Wordings and examples are short, so the smaller.
RUN_WORDS = 8

# Whoever writes of the same matters shares a phrase of 8 words now and then. Chowdhery et al. ask for 70 % of the runs,
# of longer texts: one changed word takes 8 runs with it, which of a text of 24 words leaves 9 of 17.
QUOTED = Fraction(1, 2)

_NAMED = 3  # pairs in a sentence: enough to look at, and the sentence stays one
_EXCERPT = 30  # characters of a text: enough to find it again, and a sentence stays one
_KINDS: tuple[Kind, ...] = ("near duplicate", "in a wording", "in a demonstration")
_HELD_OUT: tuple[HeldOut, ...] = ("test", "validation")


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


class _Placed(NamedTuple):
    """A text with its id and where it stands: in a split, or as "demonstration"."""

    id: str
    place: str
    text: Text


def leaks(
    dataset: Dataset, instructions: Sequence[Instruction], demonstration_sets: Sequence[DemonstrationSet]
) -> tuple[Leak, ...]:
    """Return every leak: those of test first, then by the ids of the examples.

    Equal texts are in one split already, so those found between splits are nearly equal. An instruction that was
    composed from one with the same leak is left out. Scripts without spaces have no words to find in a wording.
    """
    by_split = {"test": dataset.test, "validation": dataset.validation, "train": dataset.train}
    examples = [example for examples in by_split.values() for example in examples]
    clusters = clusters_of(examples) or [example.id for example in examples]
    phrases = templates([_joined(example.inputs) for example in examples], clusters)
    split = {place: [_placed(e, e.id, place, phrases) for e in by_split[place]] for place in by_split}
    demonstrations = {one.example_id: one for shown in demonstration_sets for one in shown.demonstrations}
    shown = [_placed(one, id_, "demonstration", phrases) for id_, one in demonstrations.items()]
    held_out = split["test"] + split["validation"]
    found = {
        *_near(held_out, [*split["train"], *split["validation"], *shown]),
        *_in_wordings(held_out, instructions, phrases),
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
    between = " ~ " if kind == "near duplicate" else " in "
    pairs = [
        between.join(_shown(one, texts) for one in (leak.example, leak.other)) for leak in found[:_NAMED]
    ]
    return leak_in_words(kind, split, n, ", ".join([*pairs, *(["..."] if len(found) > _NAMED else [])]))


def _shown(name: str, texts: Mapping[str, str]) -> str:
    """Return an id with the first words of what stands under it."""
    text = " ".join(texts.get(name, "").split())
    if not text:
        return clipped(name)
    return f"{clipped(name)} “{clipped(text[:_EXCERPT])}{'…' * (len(text) > _EXCERPT)}”"


def _joined(inputs: Iterable[tuple[str, str]]) -> str:
    """Return the texts of an example as one; images in it are not compared."""
    return fold(" ".join(text for _, text in inputs if not text.startswith("data:image/")))


def _placed(source: Example | Demonstration, id_: str, place: str, phrases: frozenset[str]) -> _Placed:
    return _Placed(id_, place, Text.of(_joined(source.inputs), phrases))


def _near(held_out: Sequence[_Placed], seen: Sequence[_Placed]) -> Iterator[Leak]:
    """Yield the near duplicates in different splits, and those that are shown."""
    for n, m, similarity in pairs([one.text for one in held_out], [one.text for one in seen]):
        one, other = held_out[n], seen[m]
        split = _split(one)
        if other.place == "demonstration":
            yield Leak(kind="in a demonstration", example=one.id, split=split, other=other.id)
        elif other.place != one.place:
            likeness = float(similarity)
            yield Leak(
                kind="near duplicate", example=one.id, split=split, other=other.id, similarity=likeness
            )


def _split(one: _Placed) -> HeldOut:
    return "test" if one.place == "test" else "validation"


def _in_wordings(
    held_out: Sequence[_Placed], instructions: Sequence[Instruction], phrases: frozenset[str]
) -> Iterator[Leak]:
    quoting: dict[str, set[str]] = defaultdict(set)
    for instruction in instructions:
        words = without(phrases, words_of(fold(instruction.text)))
        for size in range(PHRASE_WORDS, RUN_WORDS + 1):
            for run in runs(words, size):
                quoting[run].add(instruction.id)
    for one in held_out:
        size = min(RUN_WORDS, max(PHRASE_WORDS, len(one.text.own_words)))
        ids = {id_ for run in runs(one.text.own_words, size) for id_ in quoting.get(run, ())}
        for instruction in instructions:
            inherited = instruction.origin == "composed" and not ids.isdisjoint(instruction.parents)
            if instruction.id in ids and not inherited:
                yield Leak(kind="in a wording", example=one.id, split=_split(one), other=instruction.id)


def _in_demonstrations(held_out: Sequence[_Placed], shown: Sequence[_Placed]) -> Iterator[Leak]:
    """Yield the examples of whose runs of words at least half are in one demonstration."""
    showing: dict[str, set[str]] = defaultdict(set)
    for demonstration in shown:
        for run in runs(demonstration.text.own_words, RUN_WORDS):
            showing[run].add(demonstration.id)
    for one in held_out:
        own = set(runs(one.text.own_words, RUN_WORDS))
        shared = Counter(id_ for run in own for id_ in showing.get(run, ()))
        for id_, count in shared.items():
            if count >= QUOTED * len(own):
                yield Leak(kind="in a demonstration", example=one.id, split=_split(one), other=id_)
