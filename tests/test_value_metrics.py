"""Metrics of numbers and JSON."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.answer import Answer, Outcome, find_number
from optimizer.metrics import METRICS, Setting
from optimizer.metrics.json_fields import Field, Fields, field_scores

few = settings(max_examples=30, deadline=None)


def score(
    name: str, text: str | None, target: str, *, schema: str = "", language: str = "en", **options: Any
) -> float:
    metric = METRICS[name]
    assert metric.score is not None
    made = None if metric.options is None else metric.options(**options)
    answer = Answer(text=text, outcome="ok" if text is not None else "invalid")
    return metric.score(answer, target, Setting(schema=schema, language=language, options=made))


def problem(name: str, **options: Any) -> object:
    kind = METRICS[name].options
    assert kind is not None
    return kind(**options).problem()


@pytest.mark.parametrize(
    ("text", "target", "options", "right"),
    [
        ("1.1", "1", {"absolute": 0.1}, True),  # 1.1 - 1 is more than 0.1 in floats
        ("0.9", "1", {"absolute": 0.1}, True),
        ("1.1000001", "1", {"absolute": 0.1}, False),
        ("103", "100", {"relative": 0.03}, True),
        ("97", "100", {"relative": 0.03}, True),
        ("100", "97", {"relative": 0.03}, False),  # in parts of the target, not of the answer
        ("-103", "-100", {"relative": 0.03}, True),
        ("103", "100", {"absolute": 1.0, "relative": 0.03}, True),
        ("0.001", "0", {"relative": 0.5}, False),
        ("1e+300", "1e+300", {}, True),
        ("12345678901234567891", "12345678901234567891", {}, True),
        ("12345678901234567890", "12345678901234567891", {}, False),
        ("12345678901234567890", "12345678901234567891", {"absolute": 1.0}, True),
        ("1e+300", "9.99e+299", {"relative": 0.01}, True),
        ("5", "-5", {}, False),
        ("1.0", "1", {}, True),
        ("It costs $1,200.50 in all", "1200.5", {}, True),
        ("no idea", "1200.5", {}, False),
    ],
)
def test_a_number_is_right_within_the_tolerance(
    text: str, target: str, options: dict[str, Any], right: bool
) -> None:
    assert score("numeric", text, target, **options) == right


@few
@given(a=st.integers(-(10**6), 10**6), b=st.integers(-(10**6), 10**6), tenths=st.integers(0, 30))
def test_hundredths_are_compared_as_whole_numbers_would_be(a: int, b: int, tenths: int) -> None:
    text, target = find_number(repr(a / 100)), find_number(repr(b / 100))
    assert text is not None
    assert target is not None
    near = abs(a - b) <= 10 * tenths
    assert score("numeric", text, target, absolute=tenths / 10) == near


def test_a_target_without_a_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected a target with a number, found 'none'"):
        score("numeric", "1", "none")


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_is_a_finite_number_of_at_least_0(bad: float) -> None:
    assert (
        problem("numeric", relative=bad) == f"relative: expected a finite number of at least 0, found {bad:g}"
    )


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"a": [1, 2.5e3, null, true, "\\u00e9"]}', True),
        ("12", True),
        ('"text"', True),
        (" [] \n", True),
        ("{'a': 1}", False),
        ('{"a": 1,}', False),
        ("[1] [2]", False),
        ("NaN", False),
        ("[Infinity]", False),
        ("1e999", False),
        ("[" * 100_000, False),
        ("", False),
        ('```json\n{"a": 1}\n```', False),
    ],
)
def test_json_is_what_rfc_8259_says(text: str, valid: bool) -> None:
    assert score("json_valid", text, "anything") == valid


@pytest.mark.parametrize(
    ("text", "target", "same"),
    [
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', True),
        ('{"a": 1.0}', '{"a": 1}', True),
        ('{"a": true}', '{"a": 1}', False),
        ('{"a": "1"}', '{"a": 1}', False),
        ('{"a": null}', "{}", False),
        ("[1, 2]", "[2, 1]", False),
        ("[[0.0]]", "[[-0.0]]", True),
        ('{"a": 1, "b": 2}', '{"a": 1}', False),
        ("0.1", "0.10", True),
    ],
)
def test_the_same_json_is_the_same_value(text: str, target: str, same: bool) -> None:
    assert score("json_exact", text, target) == same
    assert score("json_exact", target, text) == same


SCHEMA = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/name"}, "n": {"type": "integer", "minimum": 0}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"name": {"type": "string", "minLength": 2}},
}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('{"city": "Paris", "n": 2}', True),
        ('{"city": "Paris", "n": 2.0}', True),  # a whole number, whatever its form (draft 2020-12, 6.1.1)
        ('{"city": "Paris", "n": true}', False),
        ('{"city": "P"}', False),
        ('{"n": 1}', False),
        ('{"city": "Paris", "zip": 1}', False),
        ("not JSON", False),
        (None, False),
    ],
)
def test_an_answer_fits_the_schema_of_the_task_or_of_the_metric(text: str | None, fits: bool) -> None:
    assert score("json_schema", text, "{}", schema=json.dumps(SCHEMA)) == fits
    metric = METRICS["json_schema"]
    assert metric.score is not None
    assert metric.options is not None
    setting = Setting(schema='{"type":"null"}', options=metric.options(schema=SCHEMA))
    answer = Answer(text=text, outcome="ok" if text is not None else "invalid")
    assert metric.score(answer, "{}", setting) == fits


def test_a_schema_has_to_be_given_somewhere() -> None:
    with pytest.raises(ValueError, match="expected a schema in the task's output or the metric's args"):
        score("json_schema", "{}", "{}")


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        (
            {"$ref": "https://example.com/schema.json"},
            "expected references within the schema (#...), found 'https:",
        ),
        ({"items": [{"$ref": "file:///etc/passwd"}]}, "expected a JSON Schema, found at items: "),
        (
            {"allOf": [{"$ref": "other.json#/a"}]},
            "expected references within the schema (#...), found 'other.json",
        ),
        ({"$dynamicRef": "https://json-schema.org/draft/2020-12/schema"}, "expected references within"),
        ({"$ref": "#/$defs/none"}, "expected references within the schema, found none at '#/$defs/none'"),
        ({"$ref": "#"}, "expected references that come to an end"),
        ({"pattern": "("}, "expected a JSON Schema, found at pattern: the pattern '('"),
        ({"type": "texte"}, "expected a JSON Schema, found at type: 'texte' is not valid"),
        ({"properties": {"n": {"minimum": "0"}}}, "expected a JSON Schema, found at properties.n.minimum: "),
    ],
)
def test_a_schema_that_is_none_or_reaches_out_is_refused(schema: dict[str, object], wrong: str) -> None:
    assert str(problem("json_schema", schema=schema)).startswith(f"schema: {wrong}")


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"$ref": {"type": "string"}}},
        {"const": {"$ref": "https://example.com"}},
        {"$ref": "#node", "$defs": {"n": {"$anchor": "node", "type": "object"}}},
        {"properties": {"child": {"$ref": "#"}}},
    ],
)
def test_what_only_looks_like_a_reference_and_what_stays_within_are_allowed(
    schema: dict[str, object],
) -> None:
    assert problem("json_schema", schema=schema) is None
    assert score("json_schema", "{}", "{}", schema=json.dumps(schema)) == ("const" not in schema)


def test_an_answer_that_is_nested_too_deeply_for_the_schema_is_an_error() -> None:
    deep = "[" * 300 + "]" * 300
    tree = json.dumps({"items": {"$ref": "#"}})
    with pytest.raises(ValueError, match="either is nested too deeply"):
        score("json_schema", deep, "[]", schema=tree)


TARGET = '{"name": "The Louvre", "price": 22, "tags": ["art", "paris"], "at": {"city": "Paris"}, "a.b": 1}'


@pytest.mark.parametrize(
    ("field", "name", "answer", "figure"),
    [
        (Field(), "name", '{"name": "The Louvre"}', 1),
        (Field(), "name", '{"name": "louvre"}', 0),
        (Field(match="normalised"), "name", '{"name": "louvre!"}', 1),
        (Field(match="normalised"), "name", '{"name": 5}', 0),
        (Field(match="normalised"), "price", '{"price": 22.0}', 1),
        (Field(match="fuzzy"), "name", '{"name": "the louvr"}', 9 / 10),
        (Field(match="fuzzy"), "name", '{"name": null}', 0),
        (Field(match="numeric", tolerance=0.5), "price", '{"price": 22.5}', 1),
        (Field(match="numeric", tolerance=0.5), "price", '{"price": "22,50 €"}', 1),
        (Field(match="numeric", tolerance=0.4), "price", '{"price": 22.5}', 0),
        (Field(match="numeric"), "price", '{"price": true}', 0),
        (Field(match="set"), "tags", '{"tags": ["paris", "art", "art"]}', 1),
        (Field(match="set"), "tags", '{"tags": ["paris"]}', 0),
        (Field(match="set"), "tags", '{"tags": ["paris", "art", "louvre"]}', 0),
        (Field(), "tags", '{"tags": ["paris", "art"]}', 0),
        (Field(), "at.city", '{"at": {"city": "Paris", "more": 1}}', 1),
        (Field(), "at.city", '{"at": "Paris"}', 0),
        (Field(), "a.b", '{"a.b": 1}', 1),
        (Field(), "name", "{}", 0),
        (Field(), "nowhere", '{"name": 1}', 1),
        (Field(), "nowhere", '{"nowhere": null}', 0),
        (Field(), "name", '["The Louvre"]', 0),
    ],
)
def test_a_field_is_compared_as_it_is_said(field: Field, name: str, answer: str, figure: float) -> None:
    assert score("json_fields", answer, TARGET, fields={name: field}) == pytest.approx(figure)


@pytest.mark.parametrize(
    ("answer", "target", "figure"),
    [
        ("1/4", "3/4", 0),
        ("3/4", "3/4", 1),
        ("2024-01-05", "1999-12-05", 0),
        ("2024-01-05", "2024-01-05", 1),
        ("2024-01-05", 5, 0),
        ("3 or 5", 5, 0),
        ("about 5 days", "5 days", 1),
        ("5", 5, 1),
        ("5.0", "5", 1),
        ("n/a", "n/a", 1),
        ("n/a", "5", 0),
    ],
)
def test_a_text_counts_as_a_number_where_it_is_a_single_one(
    answer: object, target: object, figure: float
) -> None:
    found, wanted = (json.dumps({"x": one}) for one in (answer, target))
    assert score("json_fields", found, wanted, fields={"x": Field(match="numeric")}) == figure


MANY = '{"lines": [{"qty": 1}], "total": 1, "at": {"city": "Paris"}, "a.b": 1}'


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("totl", "; did you mean 'total'?"),
        ("at.town", "; there are a.b, at, at.city, lines, total"),
        ("lines.qty", "; lines is a list, and a list is compared as one field"),
        ("at.city.name", "; did you mean 'at.city'?"),
    ],
)
def test_a_field_that_no_target_has_is_told(name: str, more: str) -> None:
    fields = Fields(fields={"total": Field(), "at.city": Field(), "a.b": Field(), name: Field()})
    told = [(("fields", name), f"expected a field of some target, found none of this name{more}")]
    assert list(fields.unmet(['{"total": 1}', MANY, "{}", "[1]"], "")) == told


def test_a_field_that_some_target_or_the_schema_has_is_not_told() -> None:
    fields = Fields(fields={"total": Field(), "at.city": Field(), "at.zip": Field()})
    schema = json.dumps({"properties": {"at": {"type": "object", "properties": {"zip": {"type": "string"}}}}})
    assert list(fields.unmet(['{"other": 1}', MANY], schema)) == []
    assert [place for place, _ in fields.unmet(['{"other": 1}', MANY], "")] == [("fields", "at.zip")]


def test_fields_count_by_their_weights_and_are_told_apart_in_reports() -> None:
    fields = {"name": Field(weight=3.0), "price": Field(match="numeric"), "at.city": Field(match="fuzzy")}
    text = '{"name": "The Louvre", "price": 21, "at": {"city": "Pari"}, "more": [1]}'
    assert score("json_fields", text, TARGET, fields=fields) == pytest.approx((3 * 1 + 0 + 0.8) / 5)
    setting = Setting(options=Fields(fields=fields))
    told = field_scores(Answer(text=text, outcome="ok"), TARGET, setting)
    assert told == {"name": 1.0, "price": 0.0, "at.city": pytest.approx(0.8)}
    unread = field_scores(Answer(text=None, outcome="invalid"), TARGET, setting)
    assert unread == dict.fromkeys(fields, 0.0)


def test_all_fields_of_the_target_count_alike_unless_some_are_named() -> None:
    assert score("json_fields", '{"a": 1, "b": 2, "z": 0}', '{"a": 1, "b": 3}') == 0.5
    assert score("json_fields", '{"a": {"x": 1}}', '{"a": {"x": 1, "y": 2}}') == 0.0
    assert score("json_fields", "[1, 2]", "[1, 2]") == 1.0
    assert score("json_fields", "[1]", "[1, 2]") == 0.0
    assert score("json_fields", "{}", "{}") == 1.0
    assert score("json_fields", '{"a": 1}', "{}") == 0.0


@pytest.mark.parametrize(
    ("answer", "target", "figure"),
    [
        ("null", "null", 1),
        ("{}", "null", 0),
        ("{}", "{}", 1),
        ('{"name": 1}', "{}", 0),
        ("[1, 2.0]", "[1, 2]", 1),
        ("[1]", "[1, 2]", 0),
        ('{"name": 1}', '"name"', 0),
        (None, "null", 0),
    ],
)
def test_a_target_that_is_no_object_is_compared_whole_whatever_fields_are_named(
    answer: str | None, target: str, figure: float
) -> None:
    fields = {"name": Field(weight=3.0), "price": Field(match="numeric")}
    assert score("json_fields", answer, target, fields=fields) == figure
    setting = Setting(options=Fields(fields=fields))
    outcome: Outcome = "ok" if answer is not None else "invalid"
    assert field_scores(Answer(text=answer, outcome=outcome), target, setting) == {"": figure}


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        (Field(weight=0.0), "fields.x.weight: expected a finite number of more than 0, found 0"),
        (
            Field(match="numeric", tolerance=-1.0),
            "fields.x.tolerance: expected a finite number of at least 0",
        ),
        (Field(tolerance=1.0), "fields.x.tolerance: only numeric fields have one, found exact"),
    ],
)
def test_a_field_tells_what_is_wrong_with_it(field: Field, wrong: str) -> None:
    assert str(problem("json_fields", fields={"x": field})).startswith(wrong)
