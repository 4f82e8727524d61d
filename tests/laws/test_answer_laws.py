"""Reading ends, is repeatable and canonical, and takes time in proportion to what is read."""

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat, find_number
from optimizer.digest import canonical
from optimizer.repair import repaired_json, strict_json
from optimizer.targets import canonical_target

laws = settings(max_examples=30, deadline=None)

LABELS = ("spam", "ham", "card", "card payment", "payment method", "no", "A", "not spam")
FORMATS = (
    AnswerFormat(kind="label", labels=LABELS),
    AnswerFormat(kind="label", labels=LABELS, marker="Answer:"),
    AnswerFormat(kind="label", labels=LABELS, field="team"),
    AnswerFormat(kind="labels", labels=LABELS),
    AnswerFormat(kind="labels", labels=LABELS, field="team"),
    AnswerFormat(kind="number"),
    AnswerFormat(kind="number", marker="Réponse :"),
    AnswerFormat(kind="text", marker="Answer:"),
    AnswerFormat(kind="json"),
    AnswerFormat(kind="json", readers=("json", "json_repaired")),
    AnswerFormat(
        kind="label",
        labels=LABELS,
        field="team",
        marker="Answer:",
        readers=(
            "thinking",
            "json",
            "json_repaired",
            "xml:answer",
            "marker",
            "last_line",
            "first_line",
            "label",
        ),
    ),
)
PIECES = (
    *(
        "```",
        "```json\n",
        "{",
        "[",
        "}",
        "]",
        '{"a":',
        '{"team": "',
        '"',
        "'",
        "\\",
        '\\"',
        "{'a': 'b' ",
        "[1,",
        ",",
    ),
    *(
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<answer ",
        "Answer:",
        "Réponse ",
        "**",
        "\n",
        " ",
        "\u200b",
    ),
    *("spam ", "not spam ", "spam or ", "card payment ", "no ", "a ", "A ", "- spam\n", "none "),
    *("9", "1,", "11,", "1 111 ", "1\u00a0111", "1.111.", "-", "–", "$", "####", "\\boxed{", "é", "e\u0301"),
    *("\\text{", "\\frac{", "\\left", "^", "^{\\circ}", "\\,", "~"),
)
soup = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12).map("".join)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
words = st.text(st.sampled_from('ab é,:{}"'), max_size=6)
objects = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), values, min_size=1, max_size=3)


@pytest.mark.parametrize("answer_format", FORMATS)
@laws
@given(completion=soup)
def test_whatever_is_read_is_a_possible_answer_in_canonical_form(
    answer_format: AnswerFormat, completion: str
) -> None:
    answer = answer_format.read(completion)
    assert (answer.text is not None) == (answer.outcome == "ok") == bool(answer.reader)
    assert answer_format.read(completion) == answer
    assert isinstance(answer_format.reasoning(completion), str)
    if answer.text is not None and answer_format.kind != "text":
        assert canonical_target(answer.text, answer_format.kind, LABELS) == answer.text


@laws
@given(named=st.sets(st.sampled_from(LABELS)))
def test_labels_written_as_they_are_stored_are_read_back(named: set[str]) -> None:
    stored = json.dumps([label for label in LABELS if label in named], ensure_ascii=False)
    answer = AnswerFormat(kind="labels", labels=LABELS).read(stored)
    assert (answer.text, answer.strict) == (stored, True)
    if named:
        listed = AnswerFormat(kind="labels", labels=LABELS).read(", ".join(named))
        assert (listed.text, listed.strict) == (stored, True)


@laws
@given(label=st.sampled_from(LABELS), around=st.sampled_from(["{}", " {}.\n", "**{}**", "“{}”", "`{}`"]))
def test_every_label_alone_is_itself(label: str, around: str) -> None:
    answer = AnswerFormat(kind="label", labels=LABELS).read(around.format(label))
    assert (answer.text, answer.strict) == (label, True)


@laws
@given(value=objects)
def test_sound_json_needs_no_repair_and_loses_nothing_by_it(value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert strict_json(text) == value
    assert [found.value for found in repaired_json(f"Here: {text} Done")] == [value]
    assert AnswerFormat(kind="json").read(text).text == canonical(value)


@laws
@given(value=st.dictionaries(words, st.none() | st.booleans() | st.lists(words | st.integers()), min_size=1))
def test_python_s_way_of_writing_is_read_as_json(value: dict[str, Any]) -> None:
    assert [found.value for found in repaired_json(f"So: {value!r}")] == [value]


@laws
@given(value=objects, data=st.data())
def test_a_cut_object_says_nothing_that_the_whole_one_did_not(
    value: dict[str, Any], data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=False)
    cut = data.draw(st.integers(1, len(text) - 1))
    for found in repaired_json(text[:cut]):
        assert isinstance(found.value, dict)
        for key, part in found.value.items():
            assert key == found.open_key or part == value[key]


@laws
@given(number=st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_however_its_digits_are_grouped(number: float) -> None:
    shortest = find_number(repr(number))
    assert shortest is not None
    assert find_number(shortest) == shortest
    if isinstance(number, int):
        assert find_number(f"{number:,}") == shortest
        assert find_number(f"{number:,}".replace(",", "\u202f")) == shortest


def lines_run(act: Callable[[], object]) -> int:
    """Return how many lines of Python some act runs."""
    n = 0

    def local(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal n
        n += event == "line"
        return local

    before = sys.gettrace()
    sys.settrace(lambda frame, event, argument: local)
    try:
        act()
    finally:
        sys.settrace(before)
    return n


@pytest.mark.parametrize("piece", PIECES)
def test_twice_the_text_takes_no_more_than_twice_the_steps(piece: str) -> None:
    # What Python runs is counted; that no pattern goes over a text again and again is seen below.
    for answer_format in (FORMATS[3], FORMATS[10]):
        short, long = (piece * n for n in (100, 200))
        once = lines_run(lambda text=short, by=answer_format: by.read(text))  # type: ignore[misc]
        assert lines_run(lambda text=long, by=answer_format: by.read(text)) <= 2.2 * once + 100  # type: ignore[misc]


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "```json\n",
            "{",
            "[",
            '{"a":',
            '"',
            "'",
            "{'a': 'b' ",
            "\\",
            "<think>",
            "<answer>",
            "<answer ",
            "Answer:",
        ),
        *(
            "not spam ",
            "card ",
            "a ",
            "\n",
            "1 111 ",
            "11,",
            "-$",
            "–1",
            "####",
            "\\boxed{",
            "\\boxed",
            "}{1",
        ),
    ],
)
def test_a_long_hostile_text_is_read_to_its_end(piece: str) -> None:
    # In quadratic time each of these takes minutes.
    hostile = piece * (200_000 // len(piece))
    for answer_format in (FORMATS[5], FORMATS[10]):
        answer = answer_format.read(hostile)
        assert (answer.text is not None) == (answer.outcome == "ok")


@pytest.mark.parametrize("piece", ["\\text{", "\\text {a}^", "{", "\\", " ", "^{", "\\left", "{,", "1 111 "])
def test_a_box_of_any_length_is_read_to_its_end(piece: str) -> None:
    hostile = piece * (200_000 // len(piece))
    for text in (
        f"\\boxed{{{hostile}",
        f"\\boxed{{{hostile}}}",
        f"\\boxed{{{hostile}{'}' * hostile.count('{')}}}",
    ):
        assert FORMATS[5].read(text).outcome in {"ok", "invalid"}
