"""How labels, texts, numbers and JSON are read from what models write."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from optimizer.answer import (
    KINDS,
    Answer,
    AnswerFormat,
    AnswerKind,
    find_label,
    find_number,
    reader_problem,
)
from optimizer.completion import FinishReason
from optimizer.digest import digest
from optimizer.targets import canonical_target

# What models write, by hand: each list of completions with the format that reads them and what it makes of them.
COMPLETIONS = Path(__file__).resolve().parent / "data" / "completions.json"

TEAMS = ("billing", "technical", "shipping")
LABEL = AnswerFormat(kind="label", labels=TEAMS)
MARKED_LABEL = AnswerFormat(kind="label", labels=TEAMS, marker="Answer:")
JSON_LABEL = AnswerFormat(kind="label", labels=TEAMS, field="team")
TEXT = AnswerFormat(kind="text")
MARKED_TEXT = AnswerFormat(kind="text", marker="Answer:")
JSON_TEXT = AnswerFormat(kind="text", field="summary")
NUMBER = AnswerFormat(kind="number")
MARKED_NUMBER = AnswerFormat(kind="number", marker="Answer:")
JSON_NUMBER = AnswerFormat(kind="number", field="total")

INVALID = Answer(text=None, outcome="invalid")


@pytest.mark.parametrize(
    "completion",
    [
        pytest.param("billing", id="bare"),
        pytest.param("Billing.", id="case-and-full-stop"),
        pytest.param('  "BILLING"\n', id="quotes-and-spaces"),
        pytest.param("**billing**", id="bold"),
        pytest.param("« billing »", id="guillemets"),
        pytest.param("The right team is billing, I think.", id="in-a-sentence"),
        pytest.param("billing. Yes, billing!", id="twice-the-same"),
        pytest.param(
            "\nBilling.\n\nMessage: Where is it?\nTeam: shipping", id="run-on-examples-are-not-read"
        ),
        pytest.param("I would say: billing\nbecause it is about money", id="not-on-the-last-line"),
    ],
)
def test_a_label_is_read_however_it_is_dressed(completion: str) -> None:
    assert LABEL.read(completion) == Answer(text="billing", outcome="ok")


@pytest.mark.parametrize(
    "completion",
    [
        pytest.param("", id="nothing"),
        pytest.param(" \n\t", id="blanks"),
        pytest.param("...", id="marks-only"),
        pytest.param("sales", id="no-label"),
        pytest.param("rebilling", id="inside-a-word-at-the-end"),
        pytest.param("billings", id="inside-a-word-at-the-start"),
        pytest.param("billing or shipping", id="two-labels"),
        pytest.param("Not technical.\nbilling or shipping", id="two-labels-on-the-last-line"),
        pytest.param(
            "technical or shipping?\nNo.\nbilling\n\n", id="three-labels-without-reasoning-asked-for"
        ),
    ],
)
def test_no_label_and_two_labels_are_invalid(completion: str) -> None:
    assert LABEL.read(completion) == INVALID


def test_the_longest_label_is_looked_for_first() -> None:
    labels = ("card", "card payment", "payment")
    assert find_label("It is about a card payment.", labels) == "card payment"
    assert find_label("It is about a card.", labels) == "card"
    assert find_label("A card payment, so card.", labels) is None


def test_labels_that_differ_in_their_marks_only_are_told_apart_as_they_are_written() -> None:
    assert find_label("(a)", ("a", "(a)")) == "(a)"
    assert find_label(" A ", ("a", "(a)")) == "a"
    assert find_label("'a'", ("a.", "a!")) is None


def test_a_label_of_marks_alone_is_read_from_itself_and_never_from_silence() -> None:
    labels = ("?", "!")
    assert find_label("?", labels) == "?"
    assert find_label("", labels) is None
    assert find_label("...", labels) is None


def test_labels_may_hold_signs_that_mean_something_in_patterns() -> None:
    labels = ("c++", "c", ".*", "a|b")
    assert find_label("I would use c++ here", labels) == "c++"
    assert find_label("the pattern a|b it is", labels) == "a|b"
    assert find_label("anything at all", labels) is None


def test_labels_of_other_alphabets_are_words_too() -> None:
    labels = ("expédition", "réclamation", "配送")
    assert find_label("C'est une RÉCLAMATION.", labels) == "réclamation"
    assert find_label("配送", labels) == "配送"
    assert find_label("réclamations", labels) is None


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("It may be technical.\nAnswer: billing", "billing"),
        ("technical\nanswer:  Shipping.", "shipping"),
        ("**Answer:** billing", "billing"),
        ("Answer: technical? No.\nAnswer: billing", "billing"),
        ("I forgot the marker, but it is billing.", "billing"),
        ("shipping is wrong\nbilling", "billing"),
    ],
)
def test_a_label_is_read_after_the_last_marker(completion: str, expected: str) -> None:
    assert MARKED_LABEL.read(completion) == Answer(text=expected, outcome="ok")


def test_a_marker_with_no_label_after_it_is_not_made_up_for_by_the_reasoning() -> None:
    assert MARKED_LABEL.read("It may be technical.\nAnswer: sales") == INVALID


def test_a_marked_text_or_number_needs_its_marker() -> None:
    assert MARKED_TEXT.read("Because.\nAnswer:  42 is\nthe answer ") == Answer(
        text="42 is\nthe answer", outcome="ok"
    )
    assert MARKED_TEXT.read("42 is the answer") == INVALID
    assert MARKED_NUMBER.read("6 times 7.\nAnswer: 42") == Answer(text="42", outcome="ok")
    assert MARKED_NUMBER.read("6 times 7 is 42") == INVALID


def test_an_empty_text_is_no_answer() -> None:
    assert TEXT.read("  \n ") == INVALID
    assert MARKED_TEXT.read("Answer:  ") == INVALID
    assert JSON_TEXT.read('{"summary": "  "}') == INVALID


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("42", "42"),
        ("It is 42.", "42"),
        ("6 times 7 is 42", "42"),
        ("$1,200.50", "1200.5"),
        ("1,234,567", "1234567"),
        ("95%", "95"),
        ("-3", "-3"),
        ("+3", "3"),
        ("007", "7"),
        (".5", "0.5"),
        ("2.50", "2.5"),
        ("1e3", "1000"),
        ("1.5E-3", "0.0015"),
        ("-0", "0"),
        ("1e15", "1000000000000000"),
        ("1e16", "1e+16"),
        ("1e-400", "0"),
        ("1, 2, 3", "3"),
    ],
)
def test_the_last_number_is_read_in_its_shortest_form(text: str, expected: str) -> None:
    assert find_number(text) == expected
    assert find_number(expected) == expected


@pytest.mark.parametrize(
    "text", ["", "none", "+", "-", ".", ",", "e", "inf", "nan", "1e400", "-1e400", "9" * 5000]
)
def test_what_is_no_finite_number_is_none(text: str) -> None:
    assert find_number(text) is None
    assert NUMBER.read(text) == INVALID


@pytest.mark.parametrize(
    ("value", "expected"),
    [("12", "12"), ("12.50", "12.5"), ("-1e3", "-1000"), ('"$1,200"', "1200"), ("1e16", "1e+16")],
)
def test_a_number_in_json_may_be_a_number_or_a_text(value: str, expected: str) -> None:
    assert JSON_NUMBER.read(f'{{"total": {value}}}') == Answer(text=expected, outcome="ok")


@pytest.mark.parametrize(
    "value",
    ["true", "null", "[1]", '{"a": 1}', "NaN", "Infinity", "1e400", "9" * 400, "9" * 5000, '"many"'],
)
def test_what_is_no_finite_number_in_json_is_invalid(value: str) -> None:
    assert JSON_NUMBER.read(f'{{"total": {value}}}') == INVALID


@pytest.mark.parametrize(
    "completion",
    [
        '{"team": "billing"}',
        '\n {"reasoning": "not technical", "team": " Billing. "} \n',
        '```json\n{"team": "billing"}\n```',
        '```\n{"team": "billing"}```\n',
        '```json{"team": "billing"}```',
    ],
)
def test_a_label_is_read_from_its_field(completion: str) -> None:
    assert JSON_LABEL.read(completion) == Answer(text="billing", outcome="ok")


@pytest.mark.parametrize(
    "completion",
    [
        pytest.param("billing", id="no-json"),
        pytest.param('"billing"', id="not-an-object"),
        pytest.param('["billing"]', id="a-list"),
        pytest.param('{"Team": "billing"}', id="another-key"),
        pytest.param('{"team": "it is billing"}', id="a-sentence"),
        pytest.param('{"team": ["billing"]}', id="a-list-inside"),
        pytest.param('{"team": 1}', id="a-number"),
        pytest.param('{"team": "billing"', id="cut"),
        pytest.param('{"team": "billing"} and more', id="text-after-it"),
        pytest.param("```", id="fence-alone"),
        pytest.param('```{"team": "billing"}', id="fence-left-open"),
        pytest.param('{"team":' * 100_000, id="nested-without-end"),
        pytest.param("[" * 100_000 + "]" * 100_000, id="nested-deeply"),
        pytest.param('{"team": ' + "9" * 5000 + "}", id="a-number-too-long-for-python"),
    ],
)
def test_json_that_does_not_hold_the_label_is_invalid(completion: str) -> None:
    assert JSON_LABEL.read(completion) == INVALID


@pytest.mark.parametrize(
    "completion", ["```json" + "\n" * 50_000, "```" + " " * 50_000 + "x", "\n" * 100_000]
)
def test_blank_lines_without_end_take_no_time(completion: str) -> None:
    start = time.perf_counter()
    assert JSON_LABEL.read(completion) == INVALID
    assert time.perf_counter() - start < 1


def test_a_text_in_json_is_kept_as_it_is() -> None:
    completion = r'{"summary": " {message} \"so\" <b>\né "}'
    assert JSON_TEXT.read(completion) == Answer(text='{message} "so" <b>\né', outcome="ok")


@pytest.mark.parametrize("reader", [LABEL, MARKED_LABEL, JSON_LABEL, TEXT, NUMBER, JSON_NUMBER])
def test_a_refusal_is_refused_whatever_it_says(reader: AnswerFormat) -> None:
    assert reader.read("billing 1", "refused") == Answer(text=None, outcome="refused")


@pytest.mark.parametrize(
    ("reader", "completion", "expected"),
    [
        (LABEL, "billing", Answer(text="billing", outcome="ok")),
        (LABEL, "it could be", Answer(text=None, outcome="truncated")),
        (TEXT, "a text that was c", Answer(text=None, outcome="truncated")),
        (NUMBER, "12", Answer(text=None, outcome="truncated")),
        (NUMBER, "You have 10 vegetables: a cucumber, a", Answer(text="10", outcome="ok")),
        (NUMBER, "1\n\nYou have a couch, an oven and", Answer(text="1", outcome="ok")),
        (NUMBER, "The answer is 3.\n\nSnakes, which are", Answer(text="3", outcome="ok")),
        (NUMBER, "There is 1 fridge, then", Answer(text=None, outcome="truncated")),
        (NUMBER, "To find out, count.\n\nThe trombone is 1.\nThe", Answer(text=None, outcome="truncated")),
        (NUMBER, "You have 10 fruits: 3 apples and", Answer(text=None, outcome="truncated")),
        (NUMBER, "3.\n4.\n", Answer(text=None, outcome="truncated")),
        (MARKED_TEXT, "Answer: a text that was c", Answer(text=None, outcome="truncated")),
        (JSON_NUMBER, '{"total": 12}', Answer(text="12", outcome="ok")),
        (JSON_NUMBER, '{"total": 12', Answer(text=None, outcome="truncated")),
        (JSON_LABEL, '{"team": "bil', Answer(text=None, outcome="truncated")),
    ],
)
def test_a_completion_that_ran_into_its_bound_is_truncated_unless_the_answer_is_whole(
    reader: AnswerFormat, completion: str, expected: Answer
) -> None:
    assert reader.read(completion, "length") == expected


@pytest.mark.parametrize("finish_reason", ["stop", "length", "refused"])
@pytest.mark.parametrize("reader", [LABEL, MARKED_LABEL, JSON_LABEL, TEXT, MARKED_TEXT, NUMBER, JSON_NUMBER])
def test_an_answer_has_a_text_exactly_when_it_is_ok(
    reader: AnswerFormat, finish_reason: FinishReason
) -> None:
    for completion in ("", "billing", "12", '{"team": "billing", "total": 1}', "Answer: shipping 3"):
        answer = reader.read(completion, finish_reason)
        assert (answer.text is not None) == (answer.outcome == "ok")


@pytest.mark.parametrize("reader", [LABEL, MARKED_LABEL, JSON_LABEL, TEXT, MARKED_TEXT, NUMBER, JSON_NUMBER])
def test_a_reader_survives_plain_data(reader: AnswerFormat) -> None:
    assert AnswerFormat.from_dict(reader.to_dict()) == reader


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "yaml"}, "answer.kind: expected label, labels, text, number or json, found 'yaml'"),
        ({"kind": None}, "answer.kind: expected label, labels, text, number or json, found None"),
        ({"labels": "ab"}, "answer.labels: expected a list of texts"),
        ({"labels": ["a", 1]}, "answer.labels: expected a list of texts"),
        ({"field": None}, "answer.field and answer.marker: expected text"),
        ({"marker": 1}, "answer.field and answer.marker: expected text"),
        ({"readers": "label"}, "answer.readers: expected a list of texts"),
        ({"readers": [1]}, "answer.readers: expected a list of texts"),
        ({"schema": {}}, "answer.schema: expected text"),
        ({"readers": ["lable"]}, "answer.readers: unknown reader 'lable'; did you mean 'label'?"),
        ({"readers": ["number"]}, "answer.readers: the reader number finds no answer of the kind label"),
        (
            {"readers": ["marker", "xml:"]},
            "answer.readers: expected a tag such as xml:answer, found 'xml:'; the reader marker needs a marker, found none",
        ),
    ],
)
def test_a_reader_of_another_shape_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        AnswerFormat.from_dict({**LABEL.to_dict(), **change})
    assert str(caught.value) == message


def test_after_reasoning_the_last_line_is_read_even_without_its_marker() -> None:
    reasoned = AnswerFormat(kind="label", labels=LABEL.labels, marker="Answer:")
    assert reasoned.read("technical or shipping?\nNo, so it is billing.\n\n").text == "billing"


def cases() -> list[Any]:
    """Return every case of the file, named after what it is about."""
    found = []
    for group in json.loads(COMPLETIONS.read_text(encoding="utf-8")):
        plain = {"labels": [], "field": "", "marker": "", **group["format"]}
        for number, case in enumerate(group["cases"]):
            found.append(pytest.param(plain, case, id=f"{group['what']}-{number}"))
    return found


@pytest.mark.parametrize(("plain", "case"), cases())
def test_credit_is_never_luck(plain: dict[str, object], case: dict[str, Any]) -> None:
    answer = AnswerFormat.from_dict(plain).read(case["completion"])
    assert (answer.text, answer.strict) == (case["text"], case.get("strict", False)), case["completion"]


def test_the_cases_are_many_and_of_every_kind() -> None:
    groups = json.loads(COMPLETIONS.read_text(encoding="utf-8"))
    assert {group["format"]["kind"] for group in groups} == set(KINDS)
    assert sum(len(group["cases"]) for group in groups) >= 150


def test_the_fingerprint_of_a_format_without_readers_is_what_it_was_before_there_were_any() -> None:
    plain = AnswerFormat(kind="label", labels=("a", "b"), marker="Answer:").to_dict()
    assert plain == {"kind": "label", "labels": ["a", "b"], "field": "", "marker": "Answer:"}
    assert digest(plain) == "46c896c341bdb2518994c3c8843572fd5d9c29206382adb140f78151c0ecfad1"


def test_readers_and_schema_are_written_and_read_back() -> None:
    piped = AnswerFormat(kind="json", readers=("xml:answer", "json"), schema='{"type":"object"}')
    assert piped.to_dict()["readers"] == ["xml:answer", "json"]
    assert piped.to_dict()["schema"] == '{"type":"object"}'
    assert AnswerFormat.from_dict(piped.to_dict()) == piped


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        *(
            (name, None)
            for name in ("thinking", "first_line", "last_line", "marker", "json", "json_repaired")
        ),
        *((name, None) for name in ("label", "labels", "number", "text", "xml:answer", "regex:so (.*)")),
        ("xml:", "expected a tag such as xml:answer, found 'xml:'"),
        ("xml:a b", "expected a tag such as xml:answer, found 'xml:a b'"),
        ("xml", "unknown reader 'xml'; did you mean 'xml:TAG'?"),
        ("regex:", "expected a pattern after regex:, found 'regex:'"),
        (
            "regex:(",
            "expected a regular expression after regex:, found '(': missing ), unterminated subpattern",
        ),
        ("last line", "unknown reader 'last line'; did you mean 'last_line'?"),
        ("xlm:answer", "unknown reader 'xlm:answer'; did you mean 'xml:TAG'?"),
        ("", "unknown reader ''; there are thinking, first_line,"),
    ],
)
def test_the_name_of_a_reader_is_checked(name: str, problem: str | None) -> None:
    found = reader_problem(name)
    assert (found is None) == (problem is None)
    assert (found or "").startswith(problem or "")


@pytest.mark.parametrize(
    ("answer_format", "completion", "reader"),
    [
        (LABEL, "billing", "label"),
        (MARKED_LABEL, "Answer: billing", "label"),
        (JSON_LABEL, '{"team": "billing"}', "json"),
        (TEXT, "so", "text"),
        (NUMBER, "12", "number"),
        (AnswerFormat(kind="labels", labels=TEAMS), "billing", "labels"),
        (AnswerFormat(kind="labels", labels=TEAMS), '["billing"]', "labels"),
        (AnswerFormat(kind="json"), "{}", "json"),
        (AnswerFormat(kind="json", readers=("json", "json_repaired")), "{'a': 1}", "json_repaired"),
        (AnswerFormat(kind="label", labels=TEAMS, readers=("last_line",)), "hm\nbilling", "label"),
        (LABEL, "sales", ""),
    ],
)
def test_an_answer_says_which_reader_found_it(
    answer_format: AnswerFormat, completion: str, reader: str
) -> None:
    assert answer_format.read(completion).reader == reader


def test_how_it_was_read_does_not_make_it_another_answer() -> None:
    assert Answer(text="a", outcome="ok", strict=False, reader="label") == Answer(text="a", outcome="ok")


def test_a_label_of_several_lines_is_not_the_label_of_its_first() -> None:
    several = AnswerFormat(kind="label", labels=("a\nb", "a", "c"))
    assert several.read("a\nb") == Answer(text="a\nb", outcome="ok")
    assert several.read("a\nb").strict
    assert [several.read(text).text for text in ("a", "a\nc", "a\n\nText: d\nLabel: c")] == ["a"] * 3
    assert several.read("a\n", "length").outcome == "truncated"


def test_labels_that_begin_as_the_items_of_a_list_do_are_read_whole() -> None:
    numbered = AnswerFormat(kind="labels", labels=("1. foo", "2. bar", "foo", "- x"))
    assert numbered.read("1. foo, foo").text == '["1. foo", "foo"]'
    assert numbered.read("1. foo\n2. bar").text == '["1. foo", "2. bar"]'
    assert numbered.read("- foo\n- x\n- 2. bar").text == '["2. bar", "foo", "- x"]'


def test_what_was_not_read_is_not_strict() -> None:
    assert not Answer(text=None, outcome="invalid").strict
    assert Answer(text="a", outcome="ok").strict


@pytest.mark.parametrize("finish_reason", ["stop", "length"])
def test_thinking_without_an_end_is_truncated(finish_reason: FinishReason) -> None:
    truncated = Answer(text=None, outcome="truncated")
    assert LABEL.read(" <think>surely billing", finish_reason) == truncated
    assert LABEL.read("<think>a</think>\n<think>surely billing", finish_reason) == truncated


@pytest.mark.parametrize(
    ("answer_format", "completion", "text"),
    [
        (AnswerFormat(kind="label", labels=("card", "card payment")), "It is a card", None),
        (AnswerFormat(kind="label", labels=("card", "card payment")), "card pa", None),
        (AnswerFormat(kind="label", labels=("card", "card payment")), "card payment", "card payment"),
        (AnswerFormat(kind="labels", labels=TEAMS), "billing, shipping", None),
        (AnswerFormat(kind="labels", labels=TEAMS), '["billing"]', '["billing"]'),
        (AnswerFormat(kind="json"), '{"a": 1}', '{"a":1}'),
        (AnswerFormat(kind="json", readers=("json_repaired",)), '{"a": [1, 2', None),
        (AnswerFormat(kind="text", readers=("xml:a", "text")), "<a>so</a> an", "so"),
        (AnswerFormat(kind="text", readers=("xml:a", "text")), "<a>so", None),
        (
            AnswerFormat(kind="labels", labels=TEAMS, field="t", readers=("json_repaired",)),
            '{"t": ["billing", ',
            None,
        ),
    ],
)
def test_an_answer_that_may_have_been_cut_is_none(
    answer_format: AnswerFormat, completion: str, text: str | None
) -> None:
    answer = answer_format.read(completion, "length")
    assert answer == Answer(text=text, outcome="ok" if text else "truncated")


@pytest.mark.parametrize(
    ("answer_format", "completion", "reasoning"),
    [
        (MARKED_LABEL, "It is about money.\nAnswer: billing", "It is about money."),
        (MARKED_LABEL, "<think>hm</think>It is about money.\nAnswer: billing", "It is about money."),
        (JSON_LABEL, '{"why": " money ", "n": 1, "team": "billing", "more": "x"}', "money"),
        (LABEL, "billing", ""),
        (
            AnswerFormat(kind="label", labels=TEAMS, readers=("last_line",)),
            "money\nit is\nbilling",
            "money\nit is",
        ),
        (
            AnswerFormat(kind="label", labels=TEAMS, readers=("xml:team", "label")),
            "<reasoning>money</reasoning>\n<team>billing</team>",
            "money",
        ),
        (
            AnswerFormat(kind="label", labels=TEAMS, readers=("regex:so (\\w+)", "label")),
            "money, so billing",
            "money, so",
        ),
        (
            AnswerFormat(kind="label", labels=TEAMS, field="team", readers=("json_repaired",)),
            "Here: {'why': 'money', 'team': 'billing'}",
            "money",
        ),
        (AnswerFormat(kind="label", labels=TEAMS, readers=("first_line",)), "billing\nmoney", ""),
    ],
)
def test_reasoning_is_what_stands_before_the_answer(
    answer_format: AnswerFormat, completion: str, reasoning: str
) -> None:
    assert answer_format.read(completion).text == "billing"
    assert answer_format.reasoning(completion) == reasoning


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("label", "a", "a"),
        ("text", " as it is ", " as it is "),
        ("number", "$1,200.50", "1200.5"),
        ("number", "12,5", "12.5"),
        ("json", '{"b": 1, "a": "é"}', '{"a":"é","b":1}'),
        ("json", "3", "3"),
        ("labels", "", "[]"),
        ("labels", " [] ", "[]"),
        ("labels", "b; a", '["a", "b"]'),
        ("labels", "b|a|b", '["a", "b"]'),
        ("labels", "b, a", '["a", "b"]'),
        ("labels", '["b", "é"]', '["b", "é"]'),
        ("labels", "b", '["b"]'),
    ],
)
def test_a_target_has_the_form_of_an_answer(kind: AnswerKind, text: str, expected: str) -> None:
    assert canonical_target(text, kind, ("a", "b", "é")) == expected


@pytest.mark.parametrize(
    ("completion", "labels"),
    [
        ("[1, 2]", '["1", "2"]'),
        ("[2, 1.5, true]", '["2", "1.5", "true"]'),
        ('["1", 2]', '["1", "2"]'),
        ("[]", "[]"),
        ("[1, 4]", None),
        ("[1, null]", None),
        ("[[1]]", None),
    ],
)
def test_labels_that_are_figures_may_be_written_as_figures(completion: str, labels: str | None) -> None:
    known = ("1", "2", "1.5", "true")
    assert AnswerFormat(kind="labels", labels=known).read(completion).text == labels
    assert AnswerFormat(kind="labels", labels=known, field="x").read(f'{{"x": {completion}}}').text == labels
    if labels is None:
        with pytest.raises(ValueError, match="expected"):
            canonical_target(completion, "labels", known)
    else:
        assert canonical_target(completion, "labels", known) == labels


def test_a_comma_separates_labels_only_where_no_label_has_one() -> None:
    labels = ("cash, card", "cheque")
    assert canonical_target("cash, card", "labels", labels) == '["cash, card"]'
    assert canonical_target("cheque; cash, card", "labels", labels) == '["cash, card", "cheque"]'


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("label", "biling", "expected one of 'billing', 'shipping', found 'biling'; did you mean 'billing'?"),
        ("label", "", "expected one of 'billing', 'shipping', found ''"),
        (
            "labels",
            "billing; shiping",
            "expected one of 'billing', 'shipping', found 'shiping'; did you mean",
        ),
        ("labels", '["billing", null]', "expected a JSON array of labels, found '[\"billing\", null]'"),
        ("labels", '["billing", 1]', "expected one of 'billing', 'shipping', found '1'"),
        ("labels", "[billing", "expected a JSON array of labels, found '[billing': Expecting value"),
        ("number", "many", "expected a number, found 'many'"),
        ("number", "1,2,3", "expected a number, found '1,2,3'"),
        ("json", "{'a': 1}", "expected JSON, found \"{'a': 1}\": Expecting property name"),
        ("json", "[NaN]", "expected JSON, found '[NaN]': "),
        (
            "json",
            '{"a": 1, "a": 2}',
            "expected JSON, found '{\"a\": 1, \"a\": 2}': expected one value for the key 'a'",
        ),
    ],
)
def test_a_target_that_no_answer_can_equal_is_refused(kind: AnswerKind, text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        canonical_target(text, kind, ("billing", "shipping"))
    assert str(caught.value).startswith(message)


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    assert JSON_TEXT.read(r'{"summary": "a\ud800"}').text == "a\ufffd"
    assert AnswerFormat(kind="json").read(r'["\udc00"]').text == '["\ufffd"]'


def test_a_pattern_is_searched_at_the_end_of_a_long_text_alone() -> None:
    piped = AnswerFormat(kind="number", readers=("regex:is (\\d+)", "number"))
    assert piped.read("it is 3 " + "." * 30_000 + " it is 4 ").text == "4"
    assert not piped.read("it is 3 " + "." * 30_000).strict
