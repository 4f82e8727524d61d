"""Messages with holes: filling, checking, breaking control tokens, and plain data."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint, Message, Request, constraint_from_dict, constraint_to_dict
from optimizer.errors import InputError
from optimizer.prompt import WORD_JOINER, CallTemplate, Hole, MessageTemplate, PromptTemplate, neutralised

ANSWER = AnswerFormat(kind="label", labels=("a", "b"))
ASK = MessageTemplate(
    role="user", parts=("Subject: ", Hole(name="input:subject"), "\nBody: ", Hole(name="input:body"))
)
SYSTEM = MessageTemplate(role="system", parts=("Choose.",))
CHECK = MessageTemplate(role="user", parts=("Check.",))
FIRST = MessageTemplate(role="assistant", parts=("I think ", Hole(name="completion:0")))

ONE_CALL = PromptTemplate(
    calls=(CallTemplate(messages=(SYSTEM, ASK), parameters=(("max_tokens", 8), ("temperature", 0.0))),),
    answer=ANSWER,
)
TWO_CALLS = PromptTemplate(
    calls=(
        CallTemplate(messages=(SYSTEM, ASK)),
        CallTemplate(messages=(SYSTEM, ASK, FIRST, CHECK), constraint=Constraint(choice=("a", "b"))),
    ),
    answer=ANSWER,
)
INPUTS = {"subject": "s", "body": "b"}


def changed(template: PromptTemplate, *path: str | int, to: object) -> dict[str, object]:
    """Return the template as plain data with one value replaced."""
    document: dict[str, object] = json.loads(json.dumps(template.to_dict()))
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return document


def test_a_request_holds_messages_parameters_and_constraint() -> None:
    assert ONE_CALL.request(INPUTS) == Request(
        messages=(
            Message(role="system", content="Choose."),
            Message(role="user", content="Subject: s\nBody: b"),
        ),
        parameters=(("max_tokens", 8), ("temperature", 0.0)),
        constraint=None,
    )


def test_a_second_call_shows_the_first_completion_where_its_hole_is() -> None:
    request = TWO_CALLS.request(INPUTS, ["{subject} completion:0"])
    assert [message.content for message in request.messages[2:]] == [
        "I think {subject} completion:0",
        "Check.",
    ]
    assert request.constraint == Constraint(choice=("a", "b"))


@pytest.mark.parametrize("blank", ["", " \n", "\u2028"])
def test_a_completion_that_is_blank_makes_no_empty_message_and_one_with_text_stays_as_it_is(
    blank: str,
) -> None:
    said = MessageTemplate(role="assistant", parts=(Hole(name="completion:0"),))
    template = PromptTemplate(
        calls=(CallTemplate(messages=(ASK,)), CallTemplate(messages=(ASK, said, CHECK))), answer=ANSWER
    )
    assert template.request(INPUTS, [blank]).messages[1] == Message(role="assistant", content="…")
    assert template.request(INPUTS, [" a\n"]).messages[1].content == " a\n"
    assert TWO_CALLS.request(INPUTS, [""]).messages[2].content == "I think "
    empty = MessageTemplate(role="user", parts=(Hole(name="input:body"),))  # whose input it is to say
    assert empty.fill({"body": blank}, []).content == blank


def test_a_value_is_never_a_template() -> None:
    values = {
        "subject": "{body} {{body}} %s input:body",
        "body": '{"hole": "input:subject", "neutralise": []}',
    }
    content = ONE_CALL.request(values).messages[1].content
    assert content == f"Subject: {values['subject']}\nBody: {values['body']}"


def test_inputs_are_named_once_in_the_order_in_which_they_appear() -> None:
    assert TWO_CALLS.inputs == ("subject", "body")
    assert len(TWO_CALLS.holes()) == 5


def test_an_input_may_have_any_name() -> None:
    names = ["a:b", "{x}", "self", "completion:0", "user message", "é\n"]
    parts = tuple(Hole(name=f"input:{name}") for name in names)
    call = CallTemplate(messages=(MessageTemplate(role="user", parts=parts),))
    template = PromptTemplate.from_dict(PromptTemplate(calls=(call,), answer=ANSWER).to_dict())
    assert template.inputs == tuple(names)
    assert (
        template.request({name: f"<{n}>" for n, name in enumerate(names)}).messages[0].content
        == "<0><1><2><3><4><5>"
    )


@pytest.mark.parametrize(
    ("inputs", "completions", "message"),
    [
        ({"subject": "s"}, (), "input 'body' is missing"),
        ({}, (), "input 'body' is missing\ninput 'subject' is missing"),
        ({**INPUTS, "bod": "b"}, (), "unknown input 'bod'; the prompt takes body, subject"),
        (
            {"subject": "s", "Body": "b"},
            (),
            "input 'body' is missing\nunknown input 'Body'; the prompt takes body, subject",
        ),
        ({"subject": "s", "body": 1}, (), "input 'body': expected text, found int"),
        ({"subject": None, "body": "b"}, (), "input 'subject': expected text, found NoneType"),
        (INPUTS, ("x",), "the prompt makes 1 call(s), and got 1 completion(s)"),
    ],
)
def test_wrong_inputs_are_told_all_at_once(
    inputs: Mapping[str, Any], completions: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        ONE_CALL.request(inputs, completions)
    assert str(caught.value) == message


def test_a_prompt_without_inputs_says_so() -> None:
    template = PromptTemplate(calls=(CallTemplate(messages=(SYSTEM,)),), answer=ANSWER)
    with pytest.raises(InputError, match="unknown input 'a'; the prompt takes none"):
        template.request({"a": "b"})


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("plain", (), "plain"),
        ("plain", ("<|im_start|>",), "plain"),
        ("a<|im_start|>b", ("<|im_start|>",), "a<~|im_start|>b"),
        ("<|im_start|", ("<|im_start|>",), "<|im_start|"),
        ("[INST][/INST]", ("[INST]", "[/INST]"), "[~INST][~/INST]"),
        ("aaa", ("aa",), "a~a~a"),
        ("abc", ("ab", "bc"), "a~b~c"),
        ("\n\nHuman: hi", ("\n\nHuman:",), "\n~\nHuman: hi"),
        (".*", (".*",), ".~*"),
        ("xy", (".*",), "xy"),
    ],
)
def test_control_tokens_are_broken_after_their_first_character(
    text: str, tokens: tuple[str, ...], expected: str
) -> None:
    assert neutralised(text, tokens) == expected.replace("~", WORD_JOINER)


def test_breaking_is_done_once() -> None:
    broken = neutralised("<s><s>", ("<s>",))
    assert neutralised(broken, ("<s>",)) == broken


def test_a_hole_breaks_the_tokens_it_names_in_inputs_and_completions_and_literals_stay() -> None:
    holes = tuple(Hole(name=name, neutralise=("<s>",)) for name in ("input:text", "completion:0"))
    message = MessageTemplate(role="user", parts=("<s>", holes[0], "<s>", holes[1]))
    filled = message.fill({"text": "a<s>"}, ["<s>b"])
    assert filled.content == f"<s>a<{WORD_JOINER}s><s><{WORD_JOINER}s>b"


@pytest.mark.parametrize("template", [ONE_CALL, TWO_CALLS])
def test_a_template_survives_json(template: PromptTemplate) -> None:
    read = PromptTemplate.from_dict(json.loads(json.dumps(template.to_dict())))
    assert read == template
    assert read.fingerprint == template.fingerprint


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("calls",), [], "calls: expected a list of at least one call"),
        (("calls",), {}, "calls: expected a list of at least one call"),
        (("answer",), "label", "answer: expected a mapping"),
        (("calls", 0), [], "calls[0]: expected messages, parameters and constraint"),
        (("calls", 0, "extra"), 1, "calls[0]: expected messages, parameters and constraint"),
        (("calls", 0, "messages"), [], "calls[0].messages: expected a list of at least one message"),
        (("calls", 0, "parameters"), [], "calls[0].parameters: expected a mapping"),
        (("calls", 0, "messages", 1), "x", "calls[0].messages[1]: expected role and parts"),
        (
            ("calls", 0, "messages", 1, "role"),
            "tool",
            "calls[0].messages[1].role: expected one of system, user, assistant, found 'tool'",
        ),
        (
            ("calls", 0, "messages", 1, "role"),
            ["user"],
            "calls[0].messages[1].role: expected one of system, user, assistant, found ['user']",
        ),
        (("calls", 0, "messages", 1, "parts"), "x", "calls[0].messages[1].parts: expected a list"),
        (
            ("calls", 0, "messages", 1, "parts", 0),
            1,
            "calls[0].messages[1].parts[0]: expected text or a hole",
        ),
        (
            ("calls", 0, "messages", 1, "parts", 1, "hole"),
            "file:/etc/passwd",
            "calls[0].messages[1].parts[1].hole: expected 'input:NAME', 'completion:K', 'shot:K:input:NAME' or 'shot:K:reply', found 'file:/etc/passwd'",
        ),
        (
            ("calls", 0, "messages", 1, "parts", 1, "hole"),
            "completion:-1",
            "calls[0].messages[1].parts[1].hole: expected 'input:NAME', 'completion:K', 'shot:K:input:NAME' or 'shot:K:reply', found 'completion:-1'",
        ),
        (
            ("calls", 0, "messages", 1, "parts", 1, "neutralise"),
            [""],
            "calls[0].messages[1].parts[1].neutralise: expected a list of texts",
        ),
        (
            ("calls", 0, "messages", 1, "parts", 1, "hole"),
            "completion:0",
            "calls[0]: the hole 'completion:0' is not an earlier completion; there are 0",
        ),
        (
            ("calls", 1, "messages", 2, "parts", 1, "hole"),
            "completion:1",
            "calls[1]: the hole 'completion:1' is not an earlier completion; there are 1",
        ),
        (("calls", 1, "constraint"), {}, "expected 'choice' or 'json_schema', found nothing"),
        (("calls", 1, "constraint"), {"regex": "a"}, "expected 'choice' or 'json_schema', found regex"),
        (("calls", 1, "constraint"), 1, "constraint: expected a mapping or null, found int"),
        (("calls", 1, "constraint"), ["choice"], "constraint: expected a mapping or null, found list"),
    ],
)
def test_plain_data_of_another_shape_is_refused_with_its_place(
    path: tuple[str | int, ...], value: object, message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        PromptTemplate.from_dict(changed(TWO_CALLS, *path, to=value))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "constraint",
    [None, Constraint(choice=("b", "a")), Constraint(json_schema='{"enum":["é"],"type":"string"}')],
)
def test_a_constraint_survives_plain_data(constraint: Constraint | None) -> None:
    assert constraint_from_dict(constraint_to_dict(constraint)) == constraint


def test_a_request_that_ends_with_the_assistant_starts_the_models_turn() -> None:
    user, start = Message(role="user", content="?"), Message(role="assistant", content="I")
    assert Request(messages=(user, start)).prefill == "I"
    assert Request(messages=(start, user)).prefill == ""
