"""What every exporter keeps to: the same bytes, everything carried or the prompt refused with the reason."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint
from optimizer.exporters import EXPORTERS, LossyExportError
from optimizer.formats import FORMATS, Draft
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate
from optimizer.retrieval import Retrieval, Shot
from optimizer.styles import ReasoningStyle
from optimizer.taskfile import OutputType

Pair = tuple[str, ReasoningStyle, OutputType]
MakeFrozen = Callable[[PromptTemplate], FrozenPrompt]

each = pytest.mark.parametrize("name", list(EXPORTERS))

READER = AnswerFormat(kind="text")

# Texts that replacing one placeholder after the other, or reading the result again, would trip over.
HOSTILE = st.lists(
    st.sampled_from(
        ["{{a}}", "{{b}}", "{{a#2}}", "{", "}", "{{", "}}", "a", "b", "#2", '"', "\\", "\n", "é", "😀"]
    )
    | st.text(st.characters(codec="utf-8"), max_size=5),
    max_size=8,
).map("".join)


def one_call(*parts: str | Hole, constraint: Constraint | None = None) -> PromptTemplate:
    messages = (MessageTemplate(role="system", parts=("Obey.",)), MessageTemplate(role="user", parts=parts))
    call = CallTemplate(messages=messages, parameters=(("temperature", 0.5),), constraint=constraint)
    return PromptTemplate(calls=(call,), answer=READER)


def replaced(exported: str, inputs: dict[str, str]) -> list[dict[str, str]]:
    """Return the messages of an exported file with every placeholder replaced in one pass, as its module asks."""
    document: dict[str, Any] = json.loads(exported)
    values = {placeholder: inputs[name] for name, placeholder in document["placeholders"].items()}
    if not values:
        return list(document["messages"])
    pattern = re.compile("|".join(map(re.escape, values)))
    return [
        {**message, "content": pattern.sub(lambda found: values[found[0]], message["content"])}
        for message in document["messages"]
    ]


@pytest.fixture
def frozen(pair: Pair, make_draft: Callable[..., Draft], make_frozen: MakeFrozen) -> FrozenPrompt:
    """Every style in every format, frozen."""
    layout, style, output = pair
    return make_frozen(FORMATS[layout].render(make_draft(style, output=output)))


@each
def test_a_suffix_tells_the_format(name: str) -> None:
    suffixes = [EXPORTERS[other].suffix for other in EXPORTERS]
    assert re.fullmatch(r"(\.\w+)+", EXPORTERS[name].suffix)
    assert suffixes.count(EXPORTERS[name].suffix) == 1


@each
def test_a_prompt_is_carried_or_refused_with_the_reason_and_what_can_carry_it(
    name: str, frozen: FrozenPrompt
) -> None:
    try:
        text = EXPORTERS[name].export(frozen)
    except LossyExportError as error:
        refusal = str(error)
    else:
        assert text == EXPORTERS[name].export(frozen)
        assert text.endswith("\n")
        assert not EXPORTERS[name].suffix.endswith(".json") or isinstance(json.loads(text), dict)
        return
    reason, _, names = refusal.partition("; formats that can carry it: ")
    assert reason
    assert all(EXPORTERS[other].export(frozen) for other in names.split(", "))


def test_the_native_file_carries_everything(frozen: FrozenPrompt) -> None:
    read = FrozenPrompt.loads(EXPORTERS["native"].export(frozen))
    assert read == frozen
    assert read.fingerprint == frozen.fingerprint


def test_openai_messages_carries_what_its_api_has_words_for(frozen: FrozenPrompt) -> None:
    calls = frozen.template.calls
    constraint = calls[0].constraint
    expected = (
        len(calls) == 1 and calls[0].messages[-1].role == "user" and not (constraint and constraint.choice)
    )
    inputs = {"subject": "{{user_message}} {{subject}}", "user_message": '{{subject}}\n"é" {user_message}'}
    if not expected:
        with pytest.raises(LossyExportError):
            EXPORTERS["openai_messages"].export(frozen)
        return
    text = EXPORTERS["openai_messages"].export(frozen)
    assert replaced(text, inputs) == frozen.messages(**inputs)
    document = json.loads(text)
    assert document["parameters"] == dict(calls[0].parameters)
    assert document["fingerprint"] == frozen.fingerprint
    schema = (document["response_format"] or {}).get("json_schema", {}).get("schema")
    assert schema == (json.loads(constraint.json_schema) if constraint and constraint.json_schema else None)


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        pytest.param(
            (one_call("a").calls[0], one_call("b").calls[0]),
            "the prompt makes 2 calls, and a list of messages is one",
            id="two-calls",
        ),
        pytest.param(
            (CallTemplate(messages=(MessageTemplate(role="assistant", parts=("I",)),)),),
            "the prompt starts the model's own turn, which this API does not continue",
            id="prefill",
        ),
        pytest.param(
            one_call("a", constraint=Constraint(choice=("a", "b"))).calls,
            "the answer is constrained to a list of texts, which this API cannot express",
            id="choice",
        ),
    ],
)
def test_openai_messages_says_what_it_cannot_carry(
    calls: tuple[CallTemplate, ...], reason: str, make_frozen: MakeFrozen
) -> None:
    with pytest.raises(LossyExportError) as caught:
        EXPORTERS["openai_messages"].export(make_frozen(PromptTemplate(calls=calls, answer=READER)))
    assert str(caught.value) == f"{reason}; formats that can carry it: native"


def test_a_prompt_that_retrieves_is_carried_whole_or_refused(make_frozen: MakeFrozen) -> None:
    pool = (Shot(values=("one",), reply="1"), Shot(values=("two",), reply="2"))
    retrieval = Retrieval(inputs=("a",), pool=pool, shown=1)
    template = replace(one_call(Hole(name="shot:0:reply"), Hole(name="input:a")), retrieval=retrieval)
    frozen = make_frozen(template)
    assert FrozenPrompt.loads(EXPORTERS["native"].export(frozen)).messages(a="two")[1]["content"] == "2two"
    with pytest.raises(LossyExportError) as caught:
        EXPORTERS["openai_messages"].export(frozen)
    reason = "the prompt picks its demonstrations for each input, and a list of messages is the same for all"
    assert str(caught.value) == f"{reason}; formats that can carry it: native"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(literals=st.lists(HOSTILE, min_size=4, max_size=4), values=st.lists(HOSTILE, min_size=3, max_size=3))
def test_one_pass_over_the_placeholders_gives_the_messages(
    literals: list[str], values: list[str], make_frozen: MakeFrozen
) -> None:
    names = ("a", "a#2", "b")
    parts: list[str | Hole] = [literals[0]]
    for name, literal in zip(names, literals[1:], strict=True):
        parts += [Hole(name=f"input:{name}"), literal]
    frozen, inputs = make_frozen(one_call(*parts)), dict(zip(names, values, strict=True))
    assert replaced(EXPORTERS["openai_messages"].export(frozen), inputs) == frozen.messages(**inputs)


@pytest.mark.parametrize(
    "names",
    [
        ("a", "b"),
        ("a#2", "a"),
        ("a", "a#2"),
        ("b", "a{{b"),
        ("a}}", "a"),
        ("{{a}}", "a"),
        ("{", "}"),
        ("self", "x y"),
    ],
)
@pytest.mark.parametrize("literal", ["", "{{a", "{{a}}", "{{b}}{{a#2}}", "{", "}", "{{}}{{#2}}"])
def test_placeholders_differ_whatever_inputs_are_called(
    names: Sequence[str], literal: str, make_frozen: MakeFrozen
) -> None:
    first, second = (Hole(name=f"input:{name}") for name in names)
    frozen = make_frozen(one_call(literal, first, literal, second, first, literal))
    inputs = {names[0]: "{{a}}{{b}}", names[1]: "{{a#2}}"}
    assert replaced(EXPORTERS["openai_messages"].export(frozen), inputs) == frozen.messages(**inputs)


def test_openai_messages_names_the_control_tokens_that_inputs_must_not_hold(make_frozen: MakeFrozen) -> None:
    hole = Hole(name="input:a", neutralise=("<|im_start|>", "<|im_end|>"))
    document = json.loads(EXPORTERS["openai_messages"].export(make_frozen(one_call("Text: ", hole))))
    assert document["preconditions"] == [
        "no input contains a control token of the model: <|im_end|> <|im_start|>"
    ]
    assert json.loads(EXPORTERS["openai_messages"].export(make_frozen(one_call("a"))))["preconditions"] == []
