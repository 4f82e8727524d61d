"""LangChain manifests, written and read: what the real library makes of them is what the prompt says."""

import json
import random
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint
from optimizer.exporters import EXPORTERS
from optimizer.exporting import export
from optimizer.frozen import FrozenPrompt
from optimizer.models import chat_body

if TYPE_CHECKING:
    from tests.hostile_prompts import ANY_TEXT, Files, dialogue, frozen_of, hole, message, text_of
else:
    from hostile_prompts import ANY_TEXT, Files, dialogue, frozen_of, hole, message, text_of

LANGCHAIN = EXPORTERS["langchain"]
FILES = Files("langchain")
written, read_of, holds, contents = FILES.written, FILES.read, FILES.holds, FILES.contents

# Signs that mean something to f-strings, to the other templates of the library, or to its manifests.
SIGNS = (
    "{", "}", "{{", "}}", "{{{", "}}}", "{}", "{0}", "{a}", "{a!r}", "{a:>9}", "{a.b}", "{a[0]}", "{{ a }}", "{% raw %}",
    "{#", "#}", "$a", "%s", "\\", "\\n", '"', "'", '{"lc": 1}', "__lc_escaped__", "\n", "\r\n", "\x85", "\u2028", "\t", " ",
    "\x00", "é", "e\u0301", "\ufeff", "😀", "<b>&amp;</b>", "words",
)  # fmt: skip
NAMES = (
    "a", "b", "text", "user_message", "réponse", "a b", " a ", "1a", "-1", "1_0", "in", "class", "None", "a'b", 'a"b', "a/b",
    "a-b", "$x", "%s", "\\", "messages", "template", "config", "metadata", "input", "kwargs", "constructor", "toString",
    "format_string", "a\nb", "😀", "_x", "__x",
)  # fmt: skip
UNNAMEABLE = (
    "", "1", "٣", "²", "a.b", "a[0]", "a]", "{a}", "a}", "a!r", "a:b", ":", "self", "stop", "__proto__", "\ud800",
)  # fmt: skip
OURS = {"human": "user", "ai": "assistant"}


def a_prompt(rng: random.Random) -> FrozenPrompt:
    """Return a prompt of hostile words with up to four messages; one in eight has an input that has no name."""
    names = rng.sample(NAMES, 3) if rng.random() < 0.9 else [*rng.sample(UNNAMEABLE, 1), "a", "b"]
    messages = dialogue(rng, SIGNS, names)
    name, model = (text_of(rng, SIGNS) for _ in range(2))
    return frozen_of(*messages, name=name, model={"name": model, "lc": 1, "type": "constructor"})


def filled(frozen: FrozenPrompt, rng: random.Random) -> Iterator[dict[str, str]]:
    """Yield inputs of which most are hostile."""
    return FILES.fillings(frozen, lambda: text_of(rng, SIGNS))


def loaded(text: str) -> Any:
    """Return what the library makes of a manifest; no secrets and no classes other than its own."""
    from langchain_core.load import loads

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The function `loads` is in beta")
        return loads(text, allowed_objects="core", secrets_map={}, secrets_from_env=False)


def rendered(prompt: Any, inputs: Mapping[str, str]) -> list[dict[str, str]]:
    found = prompt.invoke(dict(inputs)).to_messages()
    return [{"role": OURS.get(each.type, each.type), "content": each.content} for each in found]


def render(text: str, inputs: Mapping[str, str]) -> list[dict[str, str]]:
    return rendered(loaded(text), inputs)


def test_the_library_makes_the_very_messages_or_the_prompt_is_refused() -> None:
    rng = random.Random(7)
    n_carried = n_refused = n_filled = 0
    for _ in range(400):
        frozen = a_prompt(rng)
        text = written(frozen)
        if text is None:
            n_refused += 1
            assert set(frozen.inputs) & set(UNNAMEABLE)
            continue
        n_carried += 1
        assert text.endswith("\n")
        prompt, template = loaded(text), read_of(text)
        assert prompt.metadata["optimizer"]["model"] == frozen.model
        for inputs in filled(frozen, rng):
            if holds(frozen, inputs):
                n_filled += 1
                assert rendered(prompt, inputs) == frozen.messages(**inputs), text
                assert contents(template, inputs) == frozen.messages(**inputs)
    assert n_carried >= 300
    assert n_refused > 10
    assert n_filled > 700


@settings(max_examples=100, deadline=None, derandomize=True)
@given(literal=ANY_TEXT, value=ANY_TEXT)
def test_any_text_is_carried_exactly(literal: str, value: str) -> None:
    frozen = frozen_of(message("user", literal, hole("a"), literal), message("assistant", literal))
    assert render(written(frozen) or "", {"a": value}) == frozen.messages(a=value)


def test_inputs_that_no_f_string_can_name_are_refused() -> None:
    FILES.check_names(NAMES, UNNAMEABLE, render, value="{v}", reason="is no name in an f-string")


def test_half_of_a_surrogate_pair_is_refused_and_written_only_on_purpose() -> None:
    frozen = frozen_of(message("user", "a\ud800"))
    assert list(LANGCHAIN.problems(frozen)) == ["message 1 has half of a surrogate pair"]
    assert export(frozen, "langchain", allow_lossy=True).texts[0].isascii()


SCHEMA = (
    '{"properties":{"lc":{"const":{"id":["A"],"lc":1,"type":"secret"}},"n":{"const":1e-07}},"type":"object"}'
)
DEEP = '{"not":' * 60 + "{}" + "}" * 60


@pytest.mark.parametrize("schema", [SCHEMA, DEEP, '{"default":{"__lc_escaped__":{"lc":1}}}'])
def test_parameters_schema_and_origin_reach_whoever_loads_the_file(schema: str) -> None:
    frozen = frozen_of(
        message("user", "Go: ", hole("a")),
        message("assistant", "I"),
        parameters=(("max_tokens", 16), ("stop", "\n{"), ("temperature", 1e-7)),
        constraint=Constraint(json_schema=schema),
        answer=AnswerFormat(kind="label", labels=("{it's}", "😀")),
    )
    text = export(frozen, "langchain").texts[0]
    prompt, read = loaded(text), read_of(text)
    told = {"stop": "\n{", "temperature": 1e-7, "extra_body": {"max_tokens": 16}}
    assert prompt.metadata["parameters"] == told
    assert prompt.metadata["response_format"]["json_schema"]["schema"] == json.loads(schema)
    assert prompt.metadata["optimizer"]["fingerprint"] == frozen.fingerprint
    assert "starts the model's own turn" in prompt.metadata["note"]
    assert rendered(prompt, {"a": "1"}) == frozen.messages(a="1")
    assert read.calls[0].parameters == frozen.template.calls[0].parameters
    assert read.calls[0].constraint == frozen.template.calls[0].constraint
    assert read.answer == frozen.template.answer


def test_the_librarys_model_is_asked_with_the_parameters_that_were_scored(loopback: Any) -> None:
    """Those that OpenAI's client has no argument for as well, and none under another name."""
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

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
            ("top_k", 5),
        ),
        constraint=Constraint(json_schema='{"additionalProperties":false,"properties":{},"type":"object"}'),
    )
    text = export(frozen, "langchain").texts[0]
    assert read_of(text).calls == frozen.template.calls
    prompt = loaded(text)
    model = ChatOpenAI(model="a-model", base_url=loopback.base_url, api_key=SecretStr("x"), max_retries=0)
    told = prompt.metadata
    bound = model.bind(**told["parameters"], response_format=told["response_format"])
    bound.invoke(prompt.invoke({"q": "hi {x}"}))
    own = chat_body(frozen.request(q="hi {x}"), name="a-model", can=frozenset({"json_schema"}))
    (sent,) = loopback.bodies
    assert {name: value for name, value in sent.items() if name != "stream"} == own


def test_what_the_library_writes_is_read_as_it_renders_it() -> None:
    from langchain_core.load import dumps
    from langchain_core.messages import AIMessage, ChatMessage, SystemMessage
    from langchain_core.prompts import ChatMessagePromptTemplate, ChatPromptTemplate, PromptTemplate

    chat = ChatPromptTemplate.from_messages(
        [
            SystemMessage(content="Literal {braces}."),
            ("system", "You are {{kind}} to {name}."),
            ChatMessage(role="user", content="Hi"),
            AIMessage(content="Yes?"),
            ChatMessagePromptTemplate.from_template("{a}{b}", role="user"),
            ("human", "{a}"),
        ]
    )
    for prompt in (chat, chat.partial(b="{a}"), PromptTemplate.from_template("Say {a} to {name}, {b}.")):
        read = read_of(dumps(prompt))
        assert set(read.inputs) == set(prompt.input_variables)
        inputs = {name: f"<{name}> {{a}}" for name in read.inputs}
        found = prompt.invoke(inputs).to_messages()
        roles = [OURS.get(each.type, getattr(each, "role", each.type)) for each in found]
        expected = [{"role": role, "content": each.content} for role, each in zip(roles, found, strict=True)]
        assert contents(read, inputs) == expected


def made(name: str, **made_of: object) -> dict[str, object]:
    path = ["langchain", "prompts", "somewhere", name]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": made_of}


def chat_of(*messages: object, **more: object) -> dict[str, object]:
    return made("ChatPromptTemplate", messages=list(messages), **more)


def user(template: object, **more: object) -> dict[str, object]:
    return made("HumanMessagePromptTemplate", prompt=made("PromptTemplate", template=template, **more))


REFUSED: tuple[tuple[object, str], ...] = (
    (None, "expected a LangChain manifest"),
    ({"lc": 2, "type": "constructor", "id": ["langchain"], "kwargs": {}}, "expected a LangChain manifest"),
    ({"lc": 1, "type": "secret", "id": ["OPENAI_API_KEY"]}, "expected a LangChain manifest"),
    ({"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {}}, "expected the id of a class"),
    ({"lc": 1, "type": "constructor", "id": "langchain", "kwargs": {}}, "expected the id of a class"),
    (made("RunnableSequence", first=chat_of(user("a"))), "expected a ChatPromptTemplate"),
    (chat_of(), "at least one message"),
    (made("ChatPromptTemplate", messages="x"), "a list of messages"),
    (chat_of(user("a"), template_format="mustache"), "f-strings"),
    (chat_of(made("MessagesPlaceholder", variable_name="history")), "expected a message"),
    (chat_of(user("a", template_format="jinja2")), "expected f-string, found 'jinja2'"),
    (chat_of(user("a", template_format="mustache")), "expected f-string, found 'mustache'"),
    (chat_of(user(["a"])), "expected a PromptTemplate with a text"),
    (chat_of(made("HumanMessagePromptTemplate", prompt=[user("a")])), "expected a LangChain manifest"),
    (chat_of(made("HumanMessagePromptTemplate", prompt=made("ImagePromptTemplate"))), "expected a PromptTemplate"),
    (chat_of(user("a"), partial_variables={"a": made("f")}), "expected texts alone"),
    (chat_of(user("{a", x=1)), "expected '}'"),
    (chat_of(user("}")), "Single '}'"),
    (chat_of(user("{}")), "expected the name of an input"),
    (chat_of(user("{0}")), "expected the name of an input"),
    (chat_of(user("{a.b}")), "expected the name of an input"),
    (chat_of(user("{a[0]}")), "expected the name of an input"),
    (chat_of(user("{a!r}")), "expected the name of an input"),
    (chat_of(user("{a:>9}")), "expected the name of an input"),
    (chat_of(user("{a:{b}}")), "expected the name of an input"),
    (chat_of(made("AIMessage", content="x", tool_calls=[{"name": "f"}])), "found tool_calls"),
    (chat_of(made("HumanMessage", content="x", additional_kwargs={"a": 1})), "found additional_kwargs"),
    (chat_of(made("HumanMessage", content=[{"type": "text", "text": "x"}])), "content: expected text"),
    (chat_of(made("ChatMessage", content="x", role="tool")), "expected a role"),
    (chat_of(user("a"), metadata={"optimizer": {"answer": {}}}), "answer"),
)  # fmt: skip


def test_what_cannot_be_rendered_faithfully_is_refused_with_the_reason() -> None:
    for manifest, reason in REFUSED:
        with pytest.raises(ValueError) as caught:
            read_of(json.dumps(manifest))
        assert reason in str(caught.value), manifest
    for text in ("", "{", "[" * 100_000, '{"a":' * 100_000):
        with pytest.raises(ValueError):
            read_of(text)
