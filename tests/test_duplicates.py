"""Near duplicates: found exactly, without looking at every pair."""

import time
from collections.abc import Sequence
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.duplicates import Text, fold, pairs_within, templates

SENTENCE = (
    "the parcel that i ordered on the first of may has still not been delivered to my house in the old town"
)


def near(texts: Sequence[str]) -> set[tuple[int, int, Fraction]]:
    folded = [fold(text) for text in texts]
    phrases = templates(folded, [str(n) for n in range(len(folded))])
    return {
        (pair.other, pair.one, pair.similarity)
        for pair in pairs_within([Text.of(text, phrases) for text in folded])
    }


def by_looking_at_all(texts: Sequence[str]) -> set[tuple[int, int, Fraction]]:
    """Return the pairs by the definition, where no phrase is of a template."""
    found = set()
    for n, one in enumerate(map(fold, texts)):
        for m, other in enumerate(map(fold, texts[:n])):
            grams = [{text[k : k + 5] for k in range(max(1, len(text) - 4)) if text} for text in (one, other)]
            union = grams[0] | grams[1]
            if union and Fraction(len(grams[0] & grams[1]), len(union)) >= Fraction(9, 10):
                found.add((m, n, Fraction(len(grams[0] & grams[1]), len(union))))
    return found


@st.composite
def edited(draw: st.DrawFn) -> list[str]:
    """Unrelated texts, and some of them once more with a few characters changed."""
    random = Random(draw(st.integers(0, 2**32)))
    texts = [
        "".join(random.choices("abcdefghijklmnopqrstuvwxyz ", k=draw(st.integers(0, 140)))) for _ in range(12)
    ]
    for n in draw(st.lists(st.integers(0, 11), max_size=4, unique=True)):
        letters = list(texts[n])
        for place in draw(st.lists(st.integers(0, 140), max_size=3)):
            letters[place : place + 1] = draw(st.sampled_from(["", "x", "yz"]))
        texts.append("".join(letters))
    return texts


@settings(max_examples=60, deadline=None)
@given(edited())
def test_exactly_the_pairs_that_looking_at_all_of_them_finds_are_found(texts: list[str]) -> None:
    assert near(texts) == by_looking_at_all(texts)


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (SENTENCE, SENTENCE.upper() + " ", True),
        (SENTENCE, SENTENCE.replace("may", "mai"), True),
        (SENTENCE, SENTENCE.replace("first of may", "third of june"), False),
        ("yes", "yes", True),
        ("yes", "yas", False),
        ("", "", False),
    ],
)
def test_a_changed_letter_is_near_and_another_day_is_not(one: str, other: str, found: bool) -> None:
    assert bool(near([one, other])) == found


def test_questions_of_one_template_are_no_duplicates() -> None:
    assert near([f"{SENTENCE}, and its number is {n * 7919}" for n in range(40)]) == set()


def test_three_thousand_texts_of_three_hundred_characters_take_seconds() -> None:
    random = Random(0)
    words = ["".join(random.choices("etaoinshrdlu", k=random.randint(2, 9))) for _ in range(500)]
    texts = [" ".join(random.choices(words, k=60))[:300] for _ in range(3000)]
    texts[2999] = texts[0][:150] + "z" + texts[0][151:]
    started = time.process_time()
    assert {pair[:2] for pair in near(texts)} == {(0, 2999)}
    assert time.process_time() - started < 20  # about 3 on a machine that does nothing else
