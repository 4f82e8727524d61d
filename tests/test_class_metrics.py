"""Metrics of labels against their definitions, counted by hand and in fractions."""

import json
import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.answer import Answer
from optimizer.metrics import METRICS, Setting

LABELS = ("a", "b", "c", "d")
few = settings(max_examples=30, deadline=None)
single = st.lists(
    st.tuples(st.sampled_from(LABELS) | st.none(), st.sampled_from(LABELS)), min_size=1, max_size=14
)
subsets = st.sets(st.sampled_from(LABELS)).map(sorted).map(json.dumps)
several = st.lists(st.tuples(subsets | st.none(), subsets), min_size=1, max_size=10)
Pairs = Sequence[tuple[str | None, str]]


def answer(text: str | None) -> Answer:
    return Answer(text=text, outcome="ok" if text is not None else "invalid")


def together(name: str, pairs: Pairs, labels: tuple[str, ...] = LABELS) -> float:
    metric = METRICS[name]
    assert metric.aggregate is not None
    answers, targets = [answer(text) for text, _ in pairs], [target for _, target in pairs]
    return metric.aggregate(answers, targets, Setting(labels=labels))


def score(name: str, text: str | None, target: str) -> float:
    metric = METRICS[name]
    assert metric.score is not None
    return metric.score(answer(text), target, Setting(labels=LABELS))


def named(text: str | None) -> set[str]:
    if text is None:
        return set()
    return {text} if text in LABELS else set(json.loads(text))


def counted(pairs: Pairs, label: str) -> tuple[int, int, int]:
    """Return how often a label was hit, given where it is not wanted, and missed."""
    rows = [(label in named(text), label in named(target)) for text, target in pairs]
    return rows.count((True, True)), rows.count((True, False)), rows.count((False, True))


def ratio(part: int, whole: int) -> Fraction:
    return Fraction(part, whole) if whole else Fraction(0)


def f1(hits: int, false: int, missed: int) -> Fraction:
    return ratio(2 * hits, 2 * hits + false + missed)


def by_definition(name: str, pairs: Pairs) -> float:
    """Return a figure by its definition: counts of each label, averaged."""
    table = [counted(pairs, label) for label in LABELS]
    hits, false, missed = (sum(column) for column in zip(*table, strict=True))
    if hits + false + missed == 0:
        return float(all(text is not None for text, _ in pairs))
    figures = {
        "macro_f1": sum(f1(*row) for row in table) / len(LABELS),
        "micro_f1": f1(hits, false, missed),
        "weighted_f1": sum(ratio((h + m), hits + missed) * f1(h, f, m) for h, f, m in table),
        "macro_precision": sum(ratio(h, h + f) for h, f, _ in table) / len(LABELS),
        "macro_recall": sum(ratio(h, h + m) for h, _, m in table) / len(LABELS),
    }
    return float(figures[name])


@pytest.mark.parametrize("name", ["macro_f1", "micro_f1", "weighted_f1", "macro_precision", "macro_recall"])
@few
@given(pairs=single | several)
def test_figures_of_labels_are_what_their_definitions_say(name: str, pairs: Pairs) -> None:
    assert together(name, pairs) == pytest.approx(by_definition(name, pairs), abs=1e-12)


def test_macro_f1_is_the_mean_of_the_f1_of_the_labels_by_hand() -> None:
    # billing: precision 1/2, recall 1/2, F1 1/2. order status: 1/1, 1/2, 2/3. order: 0. The unread one is a miss.
    labels = ("billing", "order status", "order")
    pairs = [("billing",) * 2, (None, "billing"), ("billing", "order status"), ("order status",) * 2]
    assert together("macro_f1", pairs, labels) == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert together("weighted_f1", pairs, labels) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert together("micro_f1", pairs, labels) == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))


def test_a_task_of_one_label_is_not_taken_for_one_of_yes_and_no() -> None:
    pairs = [('["a"]', '["a"]'), ("[]", '["a"]'), ("[]", "[]")]
    assert together("macro_f1", pairs, ("a",)) == pytest.approx(2 / 3)
    assert together("macro_recall", pairs, ("a",)) == pytest.approx(1 / 2)


def test_no_label_where_none_is_wanted_is_right_if_it_was_said() -> None:
    for name in ("macro_f1", "micro_f1", "weighted_f1", "macro_precision", "macro_recall"):
        assert together(name, [("[]", "[]")] * 3) == 1
        assert together(name, [("[]", "[]"), (None, "[]")]) == 0
    for name in ("jaccard", "labels_f1", "accuracy"):
        assert score(name, "[]", "[]") == 1
        assert score(name, '["a"]', "[]") == score(name, "[]", '["a"]') == score(name, None, "[]") == 0


@few
@given(pairs=single)
def test_micro_f1_of_single_labels_is_accuracy_where_all_could_be_read(pairs: Pairs) -> None:
    read = [(text or "a", target) for text, target in pairs]
    share = sum(text == target for text, target in read) / len(read)
    assert together("micro_f1", read) == pytest.approx(share)


@few
@given(pairs=several)
def test_scores_of_label_sets_are_what_their_definitions_say(pairs: Pairs) -> None:
    for text, target in pairs:
        given, wanted = named(text), named(target)
        if text is not None and (given or wanted):
            assert score("jaccard", text, target) == len(given & wanted) / len(given | wanted)
            both = len(given & wanted)
            assert score("labels_f1", text, target) == pytest.approx(2 * both / (len(given) + len(wanted)))
        assert score("accuracy", text, target) == (text is not None and given == wanted)


@pytest.mark.parametrize(
    ("name", "text", "target", "figure"),
    [
        ("jaccard", '["a","b"]', '["b","c"]', 1 / 3),
        ("labels_f1", '["a","b"]', '["b","c"]', 1 / 2),
        ("labels_f1", '["a","b","c"]', '["a"]', 1 / 2),
        ("jaccard", "a", "a", 1),
        ("jaccard", "a", "b", 0),
        ("labels_f1", "a", "a", 1),
        ("labels_f1", None, "a", 0),
        ("accuracy", '["a"]', '["a","b"]', 0),
    ],
)
def test_scores_of_labels_by_hand(name: str, text: str | None, target: str, figure: float) -> None:
    assert score(name, text, target) == pytest.approx(figure)


def recall_of_wanted(pairs: Pairs) -> float:
    table = [counted(pairs, label) for label in sorted({target for _, target in pairs})]
    return float(sum(ratio(h, h + m) for h, _, m in table) / len(table))


def table_of(pairs: Pairs) -> tuple[list[list[int]], list[int], list[int], int]:
    """Return the confusion of what could be read, its sums by wanted and by given label, and its size."""
    read = [(text, target) for text, target in pairs if text is not None]
    table = [[read.count((given, wanted)) for given in LABELS] for wanted in LABELS]
    return table, [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)], len(read)


def mcc(pairs: Pairs) -> float:
    """Return (R_K + 1) / 2 by Gorodkin 2004, equation 8, of what could be read, times its share."""
    table, wanted, given, n = table_of(pairs)
    hits = sum(table[k][k] for k in range(len(LABELS)))
    above = n * hits - sum(w * g for w, g in zip(wanted, given, strict=True))
    below = (n * n - sum(g * g for g in given)) * (n * n - sum(w * w for w in wanted))
    return ((above / math.sqrt(below) if below else 0.0) + 1) / 2 * n / len(pairs)


def kappa(pairs: Pairs) -> float:
    """Return (kappa + 1) / 2 by Cohen 1960, equation 1, of what could be read, times its share."""
    table, wanted, given, n = table_of(pairs)
    if n == 0:
        return 0.0
    observed = Fraction(sum(table[k][k] for k in range(len(LABELS))), n)
    chance = Fraction(sum(w * g for w, g in zip(wanted, given, strict=True)), n * n)
    found = (observed - chance) / (1 - chance) if chance != 1 else Fraction(0)
    return float((found + 1) / 2 * Fraction(n, len(pairs)))


@pytest.mark.parametrize(
    ("name", "definition"), [("balanced_accuracy", recall_of_wanted), ("mcc", mcc), ("cohen_kappa", kappa)]
)
@few
@given(pairs=single)
def test_figures_beyond_chance_are_what_their_definitions_say(
    name: str, definition: object, pairs: Pairs
) -> None:
    assert callable(definition)
    assert together(name, pairs) == pytest.approx(definition(pairs), abs=1e-9)


def test_kappa_of_a_table_of_two_raters_by_hand() -> None:
    # 20 and 15 agreed, 5 and 10 not: observed 0.7, by chance 0.5, kappa 0.4.
    pairs = [("a", "a")] * 20 + [("b", "b")] * 15 + [("b", "a")] * 5 + [("a", "b")] * 10
    assert together("cohen_kappa", pairs) == pytest.approx((0.4 + 1) / 2)


@pytest.mark.parametrize("name", ["mcc", "cohen_kappa"])
def test_a_guess_is_a_half_the_opposite_is_0_and_the_unread_is_0(name: str) -> None:
    targets = ["a", "b"] * 4
    assert together(name, [("a", target) for target in targets]) == pytest.approx(0.5)
    opposite = [("b" if target == "a" else "a", target) for target in targets]
    assert together(name, opposite) == pytest.approx(0.0, abs=1e-12)
    assert together(name, [(None, target) for target in targets]) == 0.0
    assert together(name, [("a", "a")] * 3) == 0.5  # one label alone: nothing to tell apart
    half = [(target if n % 4 < 2 else None, target) for n, target in enumerate(targets)]
    assert together(name, half) == pytest.approx(0.5)


def test_balanced_accuracy_leaves_out_labels_that_are_not_wanted_and_macro_recall_does_not() -> None:
    pairs = [("a", "a"), ("c", "b"), ("b", "b"), (None, "b"), (None, "b")]
    assert together("balanced_accuracy", pairs) == pytest.approx((1 + 1 / 4) / 2)
    assert together("macro_recall", pairs) == pytest.approx((1 + 1 / 4) / 4)


def test_one_wanted_label_is_judged_by_its_recall() -> None:
    assert together("balanced_accuracy", [("a", "a"), ("b", "a")]) == pytest.approx(0.5)
    assert together("macro_f1", [("a", "a"), ("b", "a")]) == pytest.approx((2 / 3) / 4)
