"""Configurations of promptfoo, written and read. What promptfoo itself makes of them is tested in `interop`."""

import json
import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint
from optimizer.exporters import EXPORTERS
from optimizer.exporters._frontmatter import mapping
from optimizer.exporting import export
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import MessageTemplate

if TYPE_CHECKING:
    from tests.hostile_prompts import Files, dialogue, example, hole, message, text_of
    from tests.hostile_prompts import frozen_of as of_one_call
else:
    from hostile_prompts import Files, dialogue, example, hole, message, text_of
    from hostile_prompts import frozen_of as of_one_call

PROMPTFOO = EXPORTERS["promptfoo"]
FILES = Files("promptfoo")
written, read_of, holds, contents = FILES.text, FILES.read, FILES.holds, FILES.contents

# Signs that mean something to Nunjucks, to YAML, to JSON or to promptfoo itself.
SIGNS = (
    "{", "}", "{{", "}}", "{{{", "}}}", "{{ a }}", "{{a}}", "{{ env.PATH }}", "{{ constructor }}", "{%", "%}", "{% raw %}",
    "{% endraw %}", "{#", "#}", "#", "##}", "{#}", "{{#", "{{{%", "{{-", "-}}", "%", "| upper", "'", '"', "\\", "\\n", "\\u0041",
    "file://x", "package:x", "exec:x", "$ref", "---", "- a", ": ", " #", "|", ">", "&a", "*a", "!x", "null", "\n", "\n\n", "\r\n",
    "\x85", "\u2028", "\t", " ", "\x00", "\x7f", "é", "e\u0301", "\ufeff", "\u200b", "😀", "\U000e0001", "<b>&amp;</b>", "words",
)  # fmt: skip
NAMES = (
    "a", "b", "text", "user_message", "réponse", "名", "env", "range", "loop", "self", "super", "caller", "constructor", "toString",
    "prompt", "vars", "context", "query", "assert", "output", "y", "no", "True", "None", "hasOwnProperty", "x1",
)  # fmt: skip
UNNAMEABLE = (
    "", "a b", "a-b", "a.b", "1a", "_a", "__proto__", "_conversation", "true", "none", "null", "not", "in", "if", "a|b", "$a",
    "a}", "a\n", "x" * 1000,
)  # fmt: skip


def frozen_of(*messages: MessageTemplate, metric: str = "exact_match", **more: Any) -> FrozenPrompt:
    return of_one_call(*messages, task={"name": "triage", "metric": metric}, **more)


def a_prompt(rng: random.Random, name: str = "triage") -> FrozenPrompt:
    """Return a prompt of hostile words with up to four messages."""
    messages = dialogue(rng, SIGNS, rng.sample(NAMES, 3))
    return frozen_of(*messages, name=name, model={"name": text_of(rng, SIGNS)})


def filled(frozen: FrozenPrompt, rng: random.Random) -> Iterator[dict[str, str]]:
    """Yield inputs of which most are hostile."""
    return FILES.fillings(frozen, lambda: text_of(rng, SIGNS))


def rows_of(text: str) -> list[dict[str, Any]]:
    found: Any = mapping(text).get("tests")
    return list(found or [])


def render(text: str, inputs: Mapping[str, str]) -> list[dict[str, Any]]:
    return contents(read_of(text), inputs)


def test_a_file_says_what_the_prompt_says() -> None:
    rng = random.Random(7)
    n_filled = n_unfit = 0
    for _ in range(300):
        frozen = a_prompt(rng)
        assert list(PROMPTFOO.problems(frozen)) == []
        rows = list(filled(frozen, rng))
        text = written(frozen, *(example(str(n), **row) for n, row in enumerate(rows)))
        assert text.endswith("\n")
        template = read_of(text)
        tests = {each["description"]: each["vars"] for each in rows_of(text)}
        for n, inputs in enumerate(rows):
            if not holds(frozen, inputs):
                n_unfit += 1
                assert str(n) not in tests
                assert f"# Left out: {n};" in text
                continue
            n_filled += 1
            assert tests[str(n)] == inputs
            assert contents(template, inputs) == frozen.messages(**inputs)
    assert n_filled > 500
    assert n_unfit > 100


def test_inputs_that_nunjucks_cannot_name_are_refused() -> None:
    FILES.check_names(NAMES, UNNAMEABLE, render, value="v", reason="is no name in Nunjucks")


PARAMETERS = (("max_tokens", 16), ("stop", "\n---"), ("temperature", 1e-7), ("top_k", 3))


def test_parameters_schema_and_origin_are_in_the_file() -> None:
    frozen = frozen_of(
        message("user", "Go: ", hole("a")),
        message("assistant", "I"),
        parameters=PARAMETERS,
        constraint=Constraint(json_schema='{"properties":{"--- x":{"const":1e-07}},"type":"object"}'),
        answer=AnswerFormat(kind="label", labels=("it's", "{{ env.PATH }}", "\U000e0001")),
    )
    found = export(frozen, "promptfoo")
    text, read = found.texts[0], read_of(found.texts[0])
    assert "# The last message starts the model's own turn" in text
    assert "# Inputs must be such that no input has two opening braces, {{." in text
    assert read.calls[0].parameters == PARAMETERS
    assert read.calls[0].constraint == frozen.template.calls[0].constraint
    assert read.answer == frozen.template.answer
    assert frozen.fingerprint in text
    assert "{{ env" not in text


def test_schemas_and_parameters_that_promptfoo_would_change_are_refused() -> None:
    for schema in (
        '{"$defs":{"a":{}},"properties":{"b":{"$ref":"#/$defs/a"}},"type":"object"}',
        '{"description":"{{ a }}"}',
        '{"const":"file://x"}',
        '{"properties":{"__proto__":{}},"type":"object"}',
        '{"const":9007199254740993}',
    ):
        frozen = frozen_of(message("user", "x"), constraint=Constraint(json_schema=schema))
        (problem,) = PROMPTFOO.problems(frozen)
        assert problem.startswith("the JSON Schema of the answer ")
        assert read_of(export(frozen, "promptfoo", allow_lossy=True).texts[0]).calls[0].constraint is None
    (problem,) = PROMPTFOO.problems(frozen_of(message("user", "x"), parameters=(("seed", 2**60),)))
    assert problem.startswith("the parameter seed ")


def test_assertions_say_what_the_metric_says_or_nothing() -> None:
    label, number = AnswerFormat(kind="label", labels=("a", "b")), AnswerFormat(kind="number")
    for answer, metric, target, expected in (
        (label, "accuracy", "a", "a"),
        (number, "exact_match", "-0.5", "-0.5"),
        (AnswerFormat(kind="text"), "exact_match", " {{ a }} #}\n", "{{ '{{' }} a }} {{ '#}' }}"),
        (AnswerFormat(kind="json"), "json_exact", '{"a":[1,null]}', {"a": [1, None]}),
        (AnswerFormat(kind="text"), "exact_match", "file://x", None),
        (AnswerFormat(kind="text"), "exact_match", " ", None),
        (AnswerFormat(kind="json"), "json_exact", '{"$ref":"a"}', None),
        (AnswerFormat(kind="json"), "json_exact", "1", None),
    ):
        frozen = frozen_of(message("user", hole("a")), answer=answer, metric=metric)
        text = written(frozen, example("e", target, a="x"))
        (test,) = rows_of(text)
        found = [each["value"] for each in test.get("assert", [])]
        assert found == ([] if expected is None else [expected])
        assert ("# No assertion: promptfoo would change the target." in text) == (expected is None)
    for answer, metric in (
        (label, "macro_f1"),
        (number, "numeric"),
        (AnswerFormat(kind="labels", labels=("a",)), "exact_match"),
        (AnswerFormat(kind="label", labels=("a",), readers=("last_line",)), "accuracy"),
        (AnswerFormat(kind="text", marker="{{"), "exact_match"),
    ):
        frozen = frozen_of(message("user", hole("a")), answer=answer, metric=metric)
        text = written(frozen, example("e", "a", a="x"))
        assert "# No assertions: " in text
        assert "assert:" not in text


def test_files_written_by_hand_are_read() -> None:
    chat = json.dumps([{"role": "system", "content": "Be."}, {"role": "user", "content": "{{q}} {{ '{{' }}"}])
    for prompts, inputs, expected in (
        ('["Say {{ a }} to {{b}}!\\nNow."]', {"a": "1", "b": "2"}, [("user", "Say 1 to 2!\nNow.")]),
        ("Say {{ a }}", {"a": "1"}, [("user", "Say 1")]),
        ("[{raw: '{{a}}, hello', label: x}]", {"a": "1"}, [("user", "1, hello")]),
        (f"[{json.dumps(chat)}]", {"q": "1"}, [("system", "Be."), ("user", "1 {{")]),
    ):
        read = read_of(f"prompts: {prompts}\nproviders: [{{id: a, config: {{temperature: 1, stop: [x]}}}}]\n")
        assert contents(read, inputs) == [{"role": role, "content": text} for role, text in expected]
        assert read.calls[0].parameters == (("stop", "x"), ("temperature", 1))


REFUSED = (
    ("", "prompts: expected one"),
    ("- x", "expected a mapping"),
    ("prompts: [a, b]", "prompts: expected one"),
    ("prompts: []", "prompts: expected one"),
    ("prompts: [' ']", "prompts: expected one"),
    ("prompts: {raw: b}", "prompts: expected one"),
    ("prompts: [{id: 'a b'}]", "prompts: expected one"),
    ("prompts: [file://a]", "looks like a file"),
    ("prompts: ['file://a\n\n b']", "looks like a file"),
    ("prompts: [exec:a]", "looks like a file"),
    ("prompts: [langfuse://a]", "looks like a file"),
    ("prompts: [prompts.py:f]", "looks like a file"),
    ("prompts: [a.txt]", "looks like a file"),
    ("prompts: ['yes/no {{a}}']", "looks like a file"),
    ("prompts: ['*']", "looks like a file"),
    ("prompts: ['It is 3.14']", "looks like a file"),
    ("prompts: ['{{ a | upper }}']", "expected the name of an input"),
    ("prompts: ['{{ a.b }}']", "expected the name of an input"),
    ("prompts: ['{{ env.KEY }}']", "expected the name of an input"),
    ("prompts: ['{{- a }}']", "expected the name of an input"),
    ("prompts: ['{% if a %}b{% endif %}']", "expected the name of an input"),
    ("prompts: ['{# a #}']", "expected the name of an input"),
    ("prompts: ['a #}']", "expected the name of an input"),
    ("prompts: ['{{ _conversation }}']", "expected the name of an input"),
    ("prompts: ['{{ none }}']", "expected the name of an input"),
    ("prompts: ['{{ a']", "expected messages as JSON, or plain text"),
    ("prompts: [\"{{ '{%' }} {{ a }}\"]", "expected messages as JSON, or plain text"),
    ("prompts: ['- role: user']", "expected messages as JSON, or plain text"),
    ("prompts: ['[{{a}}]']", "expected messages as JSON, or plain text"),
    ("prompts: ['3']", "expected a list of messages"),
    ("prompts: ['{\"role\": \"user\", \"content\": \"a\"}']", "expected a list of messages"),
    ("prompts: ['[{\"role\": \"user\"}]']", "expected a list of messages"),
    ("prompts: ['[{\"role\": \"user\", \"content\": [\"a\"]}]']", "expected a list of messages"),
    ("prompts: ['[{\"role\": \"user\", \"content\": \"a\", \"name\": \"b\"}]']", "expected a list of messages"),
    ("prompts: ['[{\"role\": \"tool\", \"content\": \"a\"}]']", "expected a role"),
    ("prompts: ['[]']", "at least one message"),
    ("prompts: ['x']\ndefaultTest: {options: {prefix: a}}", "expected no prefix"),
    ("prompts: ['x']\ntests: [{options: {suffix: a}}]", "expected no prefix"),
    ("prompts: ['x']\nextensions: [a]", "extensions: expected none"),
    ("prompts: ['x']\ntags: {optimizer: '{'}", ""),
    ("prompts: ['x']\ntags: {optimizer: '{\"answer\": {}}'}", "answer"),
    ("prompts: ['" + "[" * 100_000 + "']", "expected messages as JSON"),
    ("prompts: &a ['x']", "anchor"),
)  # fmt: skip


def test_what_cannot_be_rendered_faithfully_is_refused_with_the_reason() -> None:
    for text, reason in REFUSED:
        with pytest.raises(ValueError) as caught:
            read_of(text)
        assert reason in str(caught.value), text
