"""Prompty files, written and read: what the real library makes of them is what the prompt says."""

import json
import random
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint
from optimizer.exporters import EXPORTERS, LossyExportError, Shipment
from optimizer.exporting import export
from optimizer.frozen import FrozenPrompt
from optimizer.models import chat_body

if TYPE_CHECKING:
    from tests.hostile_prompts import ANY_TEXT, Files, Render, dialogue, frozen_of, hole, message, text_of
else:
    from hostile_prompts import ANY_TEXT, Files, Render, dialogue, frozen_of, hole, message, text_of

PROMPTY = EXPORTERS["prompty"]
FILES = Files("prompty")
written, read_of, holds, contents = FILES.written, FILES.read, FILES.holds, FILES.contents

# Signs that mean something to Jinja, to YAML, to the front matter or to the lines of roles.
SIGNS = (
    "{", "}", "{{", "}}", "{{{", "}}}", "{%", "%}", "{#", "#}", "{{ a }}", "{{-", "-}}", "{% raw %}", "{% endraw %}", "\\", '"',
    "'", "---", "+++", "\n---\n", "\n+++\n", "system:", "\nuser:\n", "\n# Assistant :\n", '\nuser[name="x"]:', "developer",
    ":", "${env:HOME}", "${file:x}", "\n", "\n\n", "\r", "\r\n", "\x0b", "\x1c", "\x85", "\u2028", "\t", " ", "\x00", "é",
    "e\u0301", "\ufeff", "\u2060", "😀", "\U000e0001", "<b>&amp;</b>", "![x](y)", "__PROMPTY_THREAD_0_a__", "null", "words", "# note",
)  # fmt: skip
CALM = (
    "Say ",
    "{",
    "}",
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "\\",
    "---",
    "+++",
    "user:",
    "😀",
    "a\nb",
    ": ",
    "${x}",
    "é",
    '"',
    "'",
)
NAMES = (
    "a",
    "b",
    "text",
    "user_message",
    "réponse",
    "_x1",
    "range",
    "dict",
    "class",
    "prompt",
    "context",
    "cycler",
    "loop1",
)
UNNAMEABLE = (
    "",
    "a b",
    "a-b",
    "1a",
    "true",
    "none",
    "self",
    "loop",
    "e\u0301",
    "ﬁ",
    "{{a}}",
    "a.b",
    "\n",
    "if",
    "x" * 2000,
)


@pytest.fixture(scope="module")
def render(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Return a function that makes the messages of a text as the library does."""
    import prompty

    path = tmp_path_factory.mktemp("prompty") / "x.prompty"

    @cache
    def agent(text: str) -> Any:
        path.write_text(text, encoding="utf-8", newline="")
        return prompty.load(path)

    def messages(text: str, inputs: Mapping[str, str]) -> list[dict[str, str]]:
        found = prompty.prepare(agent(text), dict(inputs))
        return [{"role": each.role, "content": each.text} for each in found]

    return messages


def a_prompt(rng: random.Random) -> FrozenPrompt:
    """Return a prompt of hostile or of calm words, with up to four messages."""
    signs = SIGNS if rng.random() < 0.4 else CALM
    messages = dialogue(rng, signs, rng.sample(NAMES, 3))
    return frozen_of(
        *messages,
        name=text_of(rng, SIGNS),
        model={"provider": "openai_compatible", "name": text_of(rng, SIGNS)},
    )


def filled(frozen: FrozenPrompt, rng: random.Random) -> Iterator[dict[str, str]]:
    """Yield inputs of which some are hostile."""
    return FILES.fillings(frozen, lambda: text_of(rng, rng.choice((SIGNS, CALM))))


def test_the_library_makes_the_very_messages_or_the_prompt_is_refused(render: Render) -> None:
    rng = random.Random(7)
    prompts = (a_prompt(rng) for _ in range(350))
    n = FILES.check_messages(prompts, lambda frozen: filled(frozen, rng), render)
    assert min(n["carried"], n["refused"]) > 100
    assert n["filled"] > 500
    assert n["unfit"] > 50


@settings(max_examples=100, deadline=None, derandomize=True)
@given(literal=ANY_TEXT, value=ANY_TEXT)
def test_any_text_is_carried_exactly_or_refused(literal: str, value: str, render: Render) -> None:
    frozen = frozen_of(message("user", literal, hole("a"), "|"), message("assistant", literal))
    text = written(frozen)
    if text is not None and holds(frozen, {"a": value}):
        assert render(text, {"a": value}) == frozen.messages(a=value)


def test_what_is_refused_would_not_be_what_it_is(render: Render) -> None:
    """Every problem and every precondition has its reason: without it the library makes something else, or fails."""
    for literal in (
        "user:",
        "x\nSystem :\ny",
        "a\rb",
        "a\u2028b",
        "\na",
        "a\n",
        'x\nuser[a="b"]:',
        "# assistant:",
    ):
        frozen = frozen_of(message("user", literal), message("assistant", "x"))
        assert written(frozen) is None
        (text,) = PROMPTY.write(Shipment(frozen=frozen))
        assert render(text, {}) != frozen.messages()
        frozen = frozen_of(message("user", hole("a")), message("assistant", "x"))
        (text,) = PROMPTY.write(Shipment(frozen=frozen))
        assert not holds(frozen, {"a": literal})
        try:
            found: object = render(text, {"a": literal})
        except ValueError as error:
            found = str(error)
        assert found != frozen.messages(a=literal)
        assert isinstance(found, list) or "Nonce mismatch" in str(found)


def test_words_that_are_let_go_on_purpose_are_told() -> None:
    rng = random.Random(2)
    assert FILES.check_lossy(a_prompt(rng) for _ in range(60)) > 10
    with pytest.raises(LossyExportError, match="what is left is no prompt"):
        export(frozen_of(message("user", "user:")), "prompty", allow_lossy=True)


def test_inputs_whose_names_jinja_knows_otherwise_are_refused(render: Render) -> None:
    FILES.check_names(NAMES, UNNAMEABLE, render, value="{{ v }}", reason="is no name in Jinja")


def test_parameters_schema_and_origin_reach_whoever_loads_the_file(tmp_path: Path) -> None:
    import prompty

    schema = '{"properties":{"--- ${env:HOME}":{"const":1e-07}},"type":"object"}'
    frozen = frozen_of(
        message("user", "Go: ", hole("a")),
        parameters=(("max_tokens", 16), ("reasoning", "low"), ("stop", "\n---"), ("temperature", 1e-7)),
        constraint=Constraint(json_schema=schema),
        answer=AnswerFormat(kind="label", labels=("it's", "${env:HOME}", "--- +++", "\U000e0001")),
    )
    path = tmp_path / "x.prompty"
    path.write_text(export(frozen, "prompty").texts[0], encoding="utf-8")
    agent: Any = prompty.load(path)
    options = agent.model.options
    assert (agent.name, agent.model.id, agent.model.api_type) == ("triage", "a-model", "chat")
    assert (options.max_output_tokens, options.temperature, options.stop_sequences) == (None, 1e-7, ["\n---"])
    more = options.additional_properties
    assert more["extra_body"] == {"max_tokens": 16, "reasoning": "low"}
    assert more["response_format"]["json_schema"]["schema"] == json.loads(schema)
    told = agent.metadata["optimizer"]
    assert "${" not in told
    assert json.loads(told)["fingerprint"] == frozen.fingerprint
    read = read_of(path.read_text(encoding="utf-8"))
    assert read.calls[0].parameters == frozen.template.calls[0].parameters
    assert read.calls[0].constraint == frozen.template.calls[0].constraint
    assert read.answer == frozen.template.answer


def test_the_librarys_executor_asks_with_the_parameters_that_were_scored(
    loopback: Any, tmp_path: Path
) -> None:
    """Those that OpenAI's client has no argument for as well, and none under another name."""
    import prompty
    from prompty.model import ApiKeyConnection
    from prompty.providers.openai.executor import OpenAIExecutor

    loopback.reply = lambda _: "{}"
    frozen = frozen_of(
        message("user", "Q: ", hole("q")),
        parameters=(
            ("max_completion_tokens", 9),
            ("max_tokens", 16),
            ("min_p", 0.1),
            ("seed", 3),
            ("stop", "\n"),
            ("temperature", 0),
            ("topK", 2),
            ("top_k", 5),
            ("top_p", 0.5),
        ),
        constraint=Constraint(json_schema='{"additionalProperties":false,"properties":{},"type":"object"}'),
    )
    text = export(frozen, "prompty").texts[0]
    assert read_of(text).calls == frozen.template.calls
    path = tmp_path / "x.prompty"
    path.write_text(text, encoding="utf-8")
    agent: Any = prompty.load(path)
    agent.model.connection = ApiKeyConnection(endpoint=loopback.base_url, api_key="x")
    OpenAIExecutor().execute(agent, prompty.prepare(agent, {"q": "hi"}))
    own = chat_body(frozen.request(q="hi"), name="a-model", can=frozenset({"json_schema"}))
    assert loopback.bodies == [{**own, "stop": ["\n"]}]


def test_names_that_look_like_references_are_left_out(render: Render) -> None:
    frozen = frozen_of(
        message("user", "x"),
        name="${env:NONE}",
        model={"provider": "openai_compatible", "name": "${file:none}"},
    )
    assert render(written(frozen) or "", {}) == frozen.messages()
    frozen = frozen_of(message("user", "x"), parameters=(("reasoning_effort", "${env:NONE}"),))
    assert list(PROMPTY.problems(frozen)) == ["the parameter reasoning_effort looks like a reference"]


HEAD = "---\nname: x\nmodel:\n  id: m\n"
BY_HAND: tuple[tuple[str, dict[str, str]], ...] = (
    (HEAD + "---\nsystem:\nYou are  {{a}}.\n\n\nuser:\n\n  {{ b }}\n\n# not a role\n", {"a": "1", "b": "2"}),
    (HEAD + "---\n{# a note #}Be kind.\nUser:\n{{a}} {{ '{{' }}b}}{# x #}\nassistant:\n", {"a": "1"}),
    (HEAD + "inputs:\n  a:\n    kind: string\n    default: z\ntools: []\n---\nuser:\nsystem:\n{{a}}", {"a": "1"}),
    ("\n\n---\n---\n\n\n  Hello {{a}}\r\nuser:\r\nx\u2028y\r\n", {"a": "1"}),
    ("---\n# only a note\n---\nassistant:\n\n\nuser:\nx", {}),
    (HEAD + 'template:\n  format: {kind: jinja2}\n  parser: prompty\n---\nuser[name="A"]:\n{{a}} }} {x}', {"a": "1"}),
)  # fmt: skip

VERSION_1 = """---
name: Basic Prompt
authors:
  - someone
model:
  api: chat
  configuration:
    type: azure_openai
    azure_endpoint: ${env:AZURE_OPENAI_ENDPOINT}
  parameters:
    max_tokens: 300
    stop:
      - END
    stream: true
inputs:
  firstName:
    type: string
    default: Jane
sample:
  firstName: Jane
template: jinja2
---
system:
You help {{firstName}}.

user:
{{question}}
"""


def test_files_written_by_hand_are_read_as_the_library_renders_them(render: Render) -> None:
    for text, inputs in BY_HAND:
        read = read_of(text)
        assert set(read.inputs) == set(inputs)
        assert contents(read, inputs) == render(text, inputs)


def test_files_of_version_1_are_read_and_their_connection_is_not_looked_at() -> None:
    read = read_of(VERSION_1)
    assert contents(read, {"firstName": "Ada", "question": "Why?"}) == [
        {"role": "system", "content": "You help Ada."},
        {"role": "user", "content": "Why?"},
    ]
    assert read.calls[0].parameters == (("max_tokens", 300), ("stop", "END"))
    only = read_of("---\nmodel:\n  connection: {key: '${env:KEY}'}\n---\nuser:\nx")
    assert contents(only, {}) == [{"role": "user", "content": "x"}]


REFUSED = (
    ("", "expected a Prompty file"),
    ("name: x", "expected a Prompty file"),
    ("---\nname: x\n", "expected a Prompty file"),
    ("---\nname: x\n---\n", "expected a Prompty file"),
    ("---\n- x\n---\nuser:\nx", "expected a mapping"),
    ("---\na: &x 1\nb: *x\n---\nuser:\nx", "anchor"),
    ("---\na: 1\na: 2\n---\nuser:\nx", "duplicate key"),
    ("---\na: !!python/object:x 1\n---\nuser:\nx", "tag"),
    ("---\n---\nuser:", "at least one message"),
    ("---\n---\nuser:\n{% for x in y %}{{x}}{% endfor %}", "expected the name of an input"),
    ("---\n---\nuser:\n{% include 'x' %}", "expected the name of an input"),
    ("---\n---\nuser:\n{{ x | upper }}", "expected the name of an input"),
    ("---\n---\nuser:\n{{ x.y }}", "expected the name of an input"),
    ("---\n---\nuser:\n{{- x }}", "expected the name of an input"),
    ("---\n---\nuser:\n a {#- x #}", "expected the name of an input"),
    ("---\n---\nuser:\n{{ x", "expected the name of an input"),
    ("---\n---\nuser:\n{{ true }}", "expected the name of an input"),
    ("---\n---\nuser:\n{{ 'a\\n' }}", "expected the name of an input"),
    ("---\n---\nuser:\nx\n{{ 'user:' }}\n", "would start a message"),
    ("---\n---\n${file:prompt.txt}", "reference"),
    ("---\nname: ${env:HOME}\n---\nuser:\nx", "reference"),
    ("---\nmodel:\n  options: ${file:x.json}\n---\nuser:\nx", "reference"),
    ("---\nsample: {x: '${file:x.json}'}\n---\nuser:\nx", "reference"),
    ("---\ntools: [{name: x}]\n---\nuser:\nx", "tools"),
    ("---\ntemplate: mustache\n---\nuser:\nx", "expected jinja2"),
    ("---\ntemplate: {format: {kind: mustache}}\n---\nuser:\nx", "expected jinja2"),
    ("---\ntemplate: {parser: other}\n---\nuser:\nx", "expected prompty"),
    ("---\ntemplate: {format: {kind: jinja2, strict: false}}\n---\nuser[name=x]:\nx", "without attributes"),
    ("---\nmodel: {api: completion}\n---\nx", "chat messages"),
    ("---\nmodel: {apiType: image}\n---\nx", "chat messages"),
    ("---\ninputs: {x: {kind: image}}\n---\nuser:\n{{x}}", "kind 'image'"),
    ("---\ninputs: {x: {kind: [image]}}\n---\nuser:\n{{x}}", "kind ['image']"),
    ("---\ninputs: [{name: x, kind: thread}]\n---\nuser:\n{{x}}", "kind 'thread'"),
    ("---\nmetadata: {optimizer: '{'}\n---\nuser:\nx", ""),
    ("---\nmetadata: {optimizer: '{\"answer\": {}}'}\n---\nuser:\nx", "answer"),
    ("---\n" + "[" * 5000 + "\n---\nuser:\nx", ""),
)


def test_what_cannot_be_rendered_faithfully_is_refused_with_the_reason() -> None:
    for text, reason in REFUSED:
        with pytest.raises(ValueError) as caught:
            read_of(text)
        assert reason in str(caught.value), text


def test_garbage_is_read_as_the_library_renders_it_or_refused(render: Render) -> None:
    """Files of random signs: what our reader takes, the library takes as well, and both mean the same."""
    rng, n_read = random.Random(3), 0
    for _ in range(300):
        body = text_of(rng, (*SIGNS, *CALM, "user:\n", "\n{{ a }}\n", "{{a}}", "{# x #}", "{{ '{' }}"))
        text = f"---\n{text_of(rng, ('', 'name: x', 'model: m', 'inputs: {}', '{', ' ', '---'))}\n---\n{body}"
        try:
            read = read_of(text)
        except ValueError:
            continue
        inputs = dict.fromkeys(read.inputs, "words")
        n_read += 1
        found = [
            {**each, "role": each["role"].replace("developer", "system")} for each in render(text, inputs)
        ]
        assert contents(read, inputs) == found, text
    assert n_read > 50
