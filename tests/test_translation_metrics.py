"""BLEU, chrF and TER against their definitions, written out, and against published examples."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.answer import Answer
from optimizer.metrics import METRICS, Setting

few = settings(max_examples=30, deadline=None)
plain = st.lists(st.sampled_from(["cat", "sat", "on", "the", "mat"]), min_size=1, max_size=9).map(" ".join)
some = st.lists(st.tuples(plain | st.none(), plain), min_size=1, max_size=5)
Pairs = Sequence[tuple[str | None, str]]


def together(name: str, pairs: Pairs, **options: Any) -> float:
    metric = METRICS[name]
    assert metric.aggregate is not None
    assert metric.options is not None
    answers = [Answer(text=text, outcome="ok" if text is not None else "invalid") for text, _ in pairs]
    setting = Setting(options=metric.options(**options))
    return metric.aggregate(answers, [target for _, target in pairs], setting)


def single(name: str, text: str | None, target: str, **options: Any) -> float:
    metric = METRICS[name]
    assert metric.score is not None
    assert metric.options is not None
    answer = Answer(text=text, outcome="ok" if text is not None else "invalid")
    return metric.score(answer, target, Setting(options=metric.options(**options)))


def runs(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1))


def bleu(pairs: Pairs, *, orders: int = 4) -> float:
    """Return BLEU by Papineni et al. 2002; where an order has no hit its precision is halved again and again."""
    texts = [((text or "").split(), target.split()) for text, target in pairs]
    n_given, n_wanted = (sum(len(pair[k]) for pair in texts) for k in (0, 1))
    logarithms, halved = [], 1.0
    for n in range(1, orders + 1):
        hits = sum((runs(given, n) & runs(wanted, n)).total() for given, wanted in texts)
        total = sum(max(0, len(given) - n + 1) for given, _ in texts)
        if total == 0 or (n == 1 and hits == 0):
            return 0.0
        if hits == 0:
            halved *= 2
        logarithms.append(math.log(hits / total if hits else 1 / (halved * total)))
    brevity = 1.0 if n_given >= n_wanted else math.exp(1 - n_wanted / n_given)
    return brevity * math.exp(sum(logarithms) / orders)


@few
@given(pairs=some)
def test_bleu_is_what_papineni_defines(pairs: Pairs) -> None:
    assert together("bleu", pairs) == pytest.approx(bleu(pairs), abs=1e-9)


@few
@given(text=plain, target=plain)
def test_sentence_bleu_counts_no_run_that_is_longer_than_the_answer(text: str, target: str) -> None:
    expected = bleu([(text, target)], orders=min(4, len(text.split())))
    assert single("sentence_bleu", text, target) == pytest.approx(expected, abs=1e-9)


def test_bleu_does_not_reward_a_word_said_again_and_again() -> None:
    # Papineni et al. 2002, section 2.1: clipped to 2 of 7; with no pair of words in common the rest is smoothing.
    found = single("sentence_bleu", "the the the the the the the", "the cat is on the mat")
    expected = math.exp(sum(map(math.log, (2 / 7, 1 / (2 * 6), 1 / (4 * 5), 1 / (8 * 4)))) / 4)
    assert found == pytest.approx(expected)


def test_bleu_of_a_set_is_not_the_mean_of_its_sentences() -> None:
    pairs = [("the cat sat on the mat", "the cat sat on the mat"), ("dog", "a bird in the hand")]
    alone = [single("sentence_bleu", text, target) for text, target in pairs]
    assert alone[0] == pytest.approx(1)
    assert together("bleu", pairs) != pytest.approx(sum(alone) / 2, abs=0.01)


def test_tokens_of_bleu_are_cut_as_its_options_say() -> None:
    assert single("sentence_bleu", "Hello, world!", "Hello , world !") == pytest.approx(1)
    assert single("sentence_bleu", "Hello, world!", "Hello , world !", tokenize="none") < 0.5
    assert single("sentence_bleu", "HELLO", "hello") == 0
    assert single("sentence_bleu", "HELLO", "hello", lowercase=True) == pytest.approx(1)
    assert single("sentence_bleu", "我爱你们", "我爱你们大家", tokenize="zh") > 0.5


def chrf(pairs: Pairs) -> float:
    """Return chrF2 by Popović 2015: F of the mean precision and recall over the orders that both sides have."""
    precisions, recalls = [], []
    texts = [(list((text or "").replace(" ", "")), list(target.replace(" ", ""))) for text, target in pairs]
    for n in range(1, 7):
        # What an answer has of an order that its target is too short for is not counted against it.
        given = sum(runs(one, n).total() for one, other in texts if len(other) >= n)
        wanted = sum(runs(other, n).total() for _, other in texts)
        hits = sum((runs(one, n) & runs(other, n)).total() for one, other in texts)
        if given and wanted:
            precisions.append(hits / given)
            recalls.append(hits / wanted)
    if not precisions or not sum(precisions):
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return 5 * precision * recall / (4 * precision + recall)


@few
@given(pairs=some)
def test_chrf_is_what_popovic_defines(pairs: Pairs) -> None:
    read = [(text, target) for text, target in pairs if text is not None] or [("cat", "mat")]
    assert together("chrf", read) == pytest.approx(chrf(read), abs=1e-9)
    text, target = read[0]
    assert single("sentence_chrf", text, target) == pytest.approx(chrf([(text, target)]), abs=1e-9)


def test_an_unread_answer_lowers_what_is_counted_together() -> None:
    pairs: Pairs = [("the cat sat on the mat", "the cat sat on the mat"), (None, "on the mat the cat sat")]
    for name in ("bleu", "chrf", "ter"):
        assert 0 < together(name, pairs) < 1
    assert together("bleu", pairs) == pytest.approx(math.exp(1 - 12 / 6))
    assert together("ter", pairs) == pytest.approx(0.5)


def test_ter_is_that_of_the_example_of_snover() -> None:
    # Snover et al. 2006, section 3: one shift, two substitutions and one insertion over 13 words.
    target = "SAUDI ARABIA denied THIS WEEK information published in the AMERICAN new york times"
    text = "THIS WEEK THE SAUDIS denied information published in the new york times"
    assert single("sentence_ter", text, target) == pytest.approx(1 - 4 / 13)
    assert together("ter", [(text, target)]) == pytest.approx(1 - 4 / 13)


@pytest.mark.parametrize(
    ("text", "target", "n_edits"),
    [
        ("a b c d", "a b c d", 0),
        ("c d a b", "a b c d", 1),  # one shift of two words
        ("a x c d", "a b c d", 1),
        ("a c d", "a b c d", 1),
        ("a b x c d", "a b c d", 1),
        ("w x y z", "a b c d", 4),
        ("w x y z w x y z", "a b c d", 4),  # twice as many edits as words: never under 0
    ],
)
def test_ter_counts_edits_and_shifts_in_parts_of_the_target(text: str, target: str, n_edits: int) -> None:
    assert single("sentence_ter", text, target) == pytest.approx(1 - n_edits / 4)


def test_ter_of_a_set_counts_all_edits_over_all_words() -> None:
    assert together("ter", [("a b c d", "a b c d"), ("x", "y")]) == pytest.approx(1 - 1 / 5)


def test_capitals_count_in_ter_where_the_options_say_so() -> None:
    assert single("sentence_ter", "A B", "a b") == 1
    assert single("sentence_ter", "A B", "a b", case_sensitive=True) == 0
