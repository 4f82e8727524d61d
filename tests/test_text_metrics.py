"""Metrics of texts, each against another implementation, a published table or a count by hand."""

import json
import math
import re
import string
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.answer import Answer
from optimizer.metrics import METRICS, Setting
from optimizer.metrics.json_fields import Field

PUBLISHED = json.loads(
    (Path(__file__).parent / "data" / "metrics" / "rouge.json").read_text(encoding="utf-8")
)
few = settings(max_examples=30, deadline=None)
# Few letters, so that words and runs of them meet; with articles, capitals and punctuation.
scraps = st.lists(
    st.sampled_from(
        ["a", "an", "the", "The", "cat", "Cat.", "sat", "(on)", "u.s.", "u", "s", "-", "mat!", "it's"]
    ),
    min_size=1,
    max_size=9,
).map(" ".join)
plain = st.lists(st.sampled_from(["cat", "sat", "on", "mat", "dog"]), min_size=1, max_size=9).map(" ".join)


def score(name: str, text: str | None, target: str, *, language: str = "en", **options: Any) -> float:
    metric = METRICS[name]
    assert metric.score is not None
    made = None if metric.options is None else metric.options(**options)
    answer = Answer(text=text, outcome="ok" if text is not None else "invalid")
    return metric.score(answer, target, Setting(language=language, options=made))


def together(name: str, pairs: Sequence[tuple[str | None, str]], **options: Any) -> float:
    metric = METRICS[name]
    assert metric.aggregate is not None
    made = None if metric.options is None else metric.options(**options)
    answers = [Answer(text=text, outcome="ok" if text is not None else "invalid") for text, _ in pairs]
    return metric.aggregate(answers, [target for _, target in pairs], Setting(options=made))


def squad_normal_form(text: str) -> str:
    """Return what SQuAD's evaluation compares: lower case, no ASCII punctuation, no articles, single spaces."""
    kept = "".join(one for one in text.lower() if one not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def squad_f1(text: str, target: str) -> float:
    """Return F1 as SQuAD v1.1 defines it, from precision and recall over bags of tokens."""
    given, wanted = squad_normal_form(text).split(), squad_normal_form(target).split()
    n_same = sum((Counter(given) & Counter(wanted)).values())
    if n_same == 0:
        return 0.0
    precision, recall = n_same / len(given), n_same / len(wanted)
    return 2 * precision * recall / (precision + recall)


@few
@given(text=scraps, target=scraps)
def test_match_and_token_f1_are_squads_where_a_word_is_left(text: str, target: str) -> None:
    if squad_normal_form(text) and squad_normal_form(target):
        assert score("match", text, target) == (squad_normal_form(text) == squad_normal_form(target))
        assert score("token_f1", text, target) == pytest.approx(squad_f1(text, target), abs=1e-12)


@pytest.mark.parametrize(
    ("text", "target", "language", "same"),
    [
        ("The  Eiffel-Tower!", "eiffeltower", "en", True),
        ("“Paris”", "paris", "en", True),
        ("ﬁn", "fin", "en", True),
        ("STRASSE", "straße", "de", True),
        ("cafe\u0301", "caf\u00e9", "fr", True),
        ("L’hôtel de la gare", "hôtel de gare", "fr", True),
        ("des pommes", "pommes", "fr", True),
        ("qu'il vienne", "qu il vienne", "fr", True),
        ("la gare", "gare", "en", False),
        ("the station", "station", "fr", False),
        ("the station", "station", "en-GB", True),
        ("café", "cafe", "fr", False),
        ("The", "A", "en", False),
        ("?!", "...", "en", False),
        ("?!", "?!", "en", True),
        ("theory", "ory", "en", False),
        ("10 €", "10", "en", False),
    ],
)
def test_match_forgives_case_punctuation_and_the_articles_of_the_language(
    text: str, target: str, language: str, same: bool
) -> None:
    assert score("match", text, target, language=language) == same


@pytest.mark.parametrize(
    ("text", "target", "language", "same"),
    [
        ("15", "1.5", "en", False),
        ("5", ".5", "en", False),
        ("5 °C", "-5 °C", "en", False),
        ("5", "-$5", "en", False),
        ("1250 €", "12,50 €", "fr", False),
        ("12", "1/2", "en", False),
        ("1030", "10:30", "en", False),
        ("v1.12", "v11.2", "en", False),
        ("2024-11-1", "2024-1-11", "en", False),
        ("It is 1.5.", "it is 1.5", "en", True),
        ("(-5)", "-5", "en", True),
        ("−5 °C", "-5 °C", "en", True),
        ("1990–95", "1990-95", "en", True),
        ("+5", "5", "en", True),
        ("5%", "5", "en", True),
        ("$1,234.50", "1234.50", "en", True),
        ("1,234", "1234", "fr", False),
        ("12.50 €", "12,50 €", "fr", True),
        ("covid-19", "COVID19", "en", True),
        ("5-year-old", "5yearold", "en", True),
        ("1, 2, 3", "1 2 3", "en", True),
        ("102", "10²", "en", False),
        ("10^2", "10²", "en", True),
        ("102", "10^2", "en", False),
        ("10⁻³ m", "10^-3 m", "en", True),
        ("103", "10⁻³", "en", False),
        ("5 m²", "5 m2", "en", True),
        ("21/2", "2½", "en", False),
        ("2 ½", "2½", "en", True),
    ],
)
def test_the_marks_of_a_figure_are_no_punctuation(text: str, target: str, language: str, same: bool) -> None:
    assert score("match", text, target, language=language) == same
    assert score("one_of", text, f"{target}|nothing else", language=language) == same
    fields = {"a": Field(match="normalised")}
    found, wanted = (json.dumps({"a": one}) for one in (text, target))
    assert score("json_fields", found, wanted, language=language, fields=fields) == same
    assert (score("token_f1", text, target, language=language) == 1.0) == same


def test_token_f1_counts_a_word_as_often_as_it_occurs() -> None:
    assert score("token_f1", "cat cat cat", "cat dog") == pytest.approx(2 * 1 / (3 + 2))
    assert score("token_f1", "cat cat dog", "cat cat") == pytest.approx(2 * 2 / (3 + 2))


@pytest.mark.parametrize(
    ("name", "text", "target", "options", "right"),
    [
        ("includes", "It is PARIS, I think", "paris", {}, True),
        ("includes", "It is PARIS", "paris", {"ignore_case": False}, False),
        ("includes", "concatenate", "cat", {}, True),
        ("includes", "concatenate", "cat", {"whole_words": True}, False),
        ("includes", "the cat.", "cat", {"whole_words": True}, True),
        ("includes", "C++ it is", "c++", {"whole_words": True}, True),
        ("includes", "a.c", "abc", {}, False),
        ("includes", "abc", "a.c", {"whole_words": True}, False),
        ("includes", "cafe\u0301 noir", "caf\u00e9", {}, True),
        ("includes", "paris", " paris\n", {}, True),
        ("starts_with", "  Paris, of course", "paris", {}, True),
        ("starts_with", "Paris", "paris", {"ignore_case": False}, False),
        ("starts_with", "It is Paris", "paris", {}, False),
        ("one_of", "the UK.", "UK | United Kingdom", {}, True),
        ("one_of", "France", "UK | United Kingdom", {}, False),
        ("one_of", "a|b", '["a|b", "c"]', {}, True),
        ("one_of", "a", '["a|b", "c"]', {}, False),
        ("one_of", "12", "[12, 13]", {}, True),
        ("one_of", "uk", "UK|GB", {"match": "exact"}, False),
        ("one_of", " UK ", "UK|GB", {"match": "exact"}, True),
        ("one_of", "b", "a;b", {"separator": ";"}, True),
        ("one_of", "", "a||b", {}, False),
        ("one_of", "[a", "[a|b", {}, True),
        ("regex", "order 1234 shipped", r"\b\d{4}\b", {}, True),
        ("regex", "order 1234 shipped", r"\d{4}", {"whole": True}, False),
        ("regex", "SHIPPED", "shipped", {}, False),
        ("regex", "SHIPPED", "shipped", {"ignore_case": True}, True),
        ("regex", "abc", "what the target says does not matter", {"pattern": "b"}, True),
    ],
)
def test_texts_are_found_as_the_options_say(
    name: str, text: str, target: str, options: dict[str, Any], right: bool
) -> None:
    assert score(name, text, target, **options) == right


@pytest.mark.parametrize("name", ["includes", "starts_with"])
def test_a_blank_target_is_an_error_and_not_found_everywhere(name: str) -> None:
    with pytest.raises(ValueError, match="found a blank one"):
        score(name, "anything", " ")


@pytest.mark.parametrize("target", ["[]", "|", ' ["", " "] '])
def test_a_target_without_a_right_answer_is_an_error(target: str) -> None:
    with pytest.raises(ValueError, match="expected a list of right answers, found "):
        score("one_of", "anything", target)


def test_a_pattern_that_never_ends_is_stopped_and_is_not_the_answers_fault() -> None:
    start = time.perf_counter()
    with pytest.raises(TimeoutError, match=r"took more than 0\.05 s on one answer"):
        score("regex", "a" * 60 + "!", r"(a|aa)+$", seconds=0.05)
    assert time.perf_counter() - start < 5


def test_a_target_that_is_no_pattern_is_an_error_for_an_unread_answer_too() -> None:
    for text in ("anything", None):
        with pytest.raises(ValueError, match=r"expected a regular expression, found '\(': "):
            score("regex", text, "(")


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("regex", {"pattern": "["}, "pattern: expected a regular expression, found '['"),
        ("regex", {"pattern": ""}, "pattern: expected some text, found none; an empty pattern matches every"),
        ("regex", {"seconds": 0.0}, "seconds: expected more than 0 and at most 60, found 0"),
        ("regex", {"seconds": float("nan")}, "seconds: expected more than 0 and at most 60, found nan"),
        ("one_of", {"separator": ""}, "separator: expected some text, found none"),
        ("chrf", {"word_order": 7}, "word_order: expected 0 to 4, found 7"),
    ],
)
def test_options_tell_what_is_wrong_with_them(name: str, options: dict[str, Any], problem: str) -> None:
    kind = METRICS[name].options
    assert kind is not None
    assert kind(**options).problem().startswith(problem)


@pytest.mark.parametrize("name", ["rouge_1", "rouge_2", "rouge_l"])
@pytest.mark.parametrize("case", PUBLISHED["cases"], ids=range(len(PUBLISHED["cases"])))
def test_rouge_is_what_the_published_package_says(name: str, case: dict[str, object]) -> None:
    found = score(name, str(case["answer"]), str(case["target"]))
    assert found == pytest.approx(case[name], abs=1e-12)


def test_rouge_of_lin_2004_by_hand() -> None:
    # Lin 2004, section 3.1: "police killed the gunman" against two candidates, which ROUGE-2 cannot tell apart.
    target = "police killed the gunman"
    first, second = "police kill the gunman", "the gunman kill police"
    assert score("rouge_2", first, target) == score("rouge_2", second, target) == pytest.approx(1 / 3)
    assert score("rouge_l", first, target) == pytest.approx(3 / 4)
    assert score("rouge_l", second, target) == pytest.approx(2 / 4)


@pytest.mark.parametrize(
    ("name", "text", "target", "figure"),
    [
        ("rouge_2", "word", "Word.", 1.0),  # 0 by the published package: no pair of words
        ("rouge_2", "word", "other", 0.0),
        ("rouge_2", "one two", "one", 0.0),
        ("rouge_l", "?!", "?!", 1.0),
        ("rouge_1", "?!", "...", 0.0),
        ("rouge_1", "été à Paris", "ete a paris", 1 / 3),  # the published package cuts words at an accent
        ("rouge_1", "", "word", 0.0),
        # A vowel that combines with a letter is a part of the word.
        ("rouge_1", "की", "का", 0.0),
        ("rouge_l", "दिल्ली की सड़क", "दाल का साड़", 0.0),
        ("rouge_l", "हिन्दी में बात", "हिन्दी में", 4 / 5),
        ("rouge_1", "দিল্লি", "দাল্লা", 0.0),
        ("rouge_1", "שָׁלוֹם", "שִׁילֵם", 0.0),
        ("rouge_2", "की", "का", 0.0),
        ("rouge_1", "❤️ word", "word", 1.0),
    ],
)
def test_rouge_of_texts_that_the_published_package_does_not_take(
    name: str, text: str, target: str, figure: float
) -> None:
    assert score(name, text, target) == pytest.approx(figure)


def edits(one: str, other: str) -> int:
    """Return the edit distance by the table of Wagner and Fischer 1974."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        above, row = row, [i]
        for j, b in enumerate(other, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]


@few
@given(text=st.text("abé ", max_size=8), target=st.text("abé ", min_size=1, max_size=8).filter(str.strip))
def test_edit_similarity_is_1_minus_the_share_of_edits(text: str, target: str) -> None:
    one, other = text.strip(), target.strip()
    expected = 1 - edits(one, other) / max(len(one), len(other))
    assert score("edit_similarity", text, target) == pytest.approx(expected, abs=1e-12)


def test_edit_similarity_of_the_textbook_words() -> None:
    assert score("edit_similarity", "kitten", "sitting") == pytest.approx(1 - 3 / 7)


def runs_within_words(text: str) -> Counter[str]:
    """Return the runs of 3 to 5 characters of each word, a space before and after it; a shorter word is one run."""
    found: Counter[str] = Counter()
    for word in text.lower().split():
        padded = f" {word} "
        for n in (3, 4, 5):
            found.update(padded[at : at + n] for at in range(max(1, len(padded) - n + 1)))
            if len(padded) <= n:
                break
    return found


def cosine(one: Counter[str], other: Counter[str], weight: dict[str, float]) -> float:
    a, b = (
        {run: (1 + math.log(n)) * weight.get(run, 0.0) for run, n in part.items()} for part in (one, other)
    )
    lengths = math.hypot(*a.values()) * math.hypot(*b.values())
    return sum(a[run] * b.get(run, 0.0) for run in a) / lengths if lengths else 0.0


@few
@given(text=plain, target=plain)
def test_ngram_similarity_is_the_cosine_of_counts(text: str, target: str) -> None:
    one, other = runs_within_words(text), runs_within_words(target)
    expected = cosine(one, other, dict.fromkeys([*one, *other], 1.0))
    assert score("ngram_similarity", text, target) == pytest.approx(expected, abs=1e-9)


@few
@given(text=st.text("abc de", min_size=1).filter(str.strip))
def test_the_ngram_similarity_of_equal_texts_is_1_to_the_last_digit(text: str) -> None:
    assert score("ngram_similarity", text, text) == 1.0


@few
@given(pairs=st.lists(st.tuples(plain | st.none(), plain), min_size=1, max_size=6))
def test_tfidf_similarity_weighs_by_how_few_targets_have_a_run(pairs: list[tuple[str | None, str]]) -> None:
    targets = [runs_within_words(target) for _, target in pairs]
    spread = Counter(run for target in targets for run in target)
    weight = {run: 1 + math.log((1 + len(pairs)) / (1 + n)) for run, n in spread.items()}
    found = [
        cosine(runs_within_words(text or ""), target, weight)
        for (text, _), target in zip(pairs, targets, strict=True)
    ]
    assert together("tfidf_similarity", pairs) == pytest.approx(sum(found) / len(found), abs=1e-9)


def test_likeness_is_of_spelling() -> None:
    assert score("ngram_similarity", "colour", "color") > 0.4
    assert score("ngram_similarity", "car", "automobile") == 0.0
