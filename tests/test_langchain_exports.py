"""LangChain manifests, written and read: what the real library makes of them is what the prompt says."""

import json
import random
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint, Role
from optimizer.exporters import EXPORTERS, LossyExportError, Shipment, input_preconditions
from optimizer.exporting import export
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import CallTemplate, Hole, MessageTemplate, PromptTemplate

LANGCHAIN = EXPORTERS["langchain"]

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
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
OURS = {"human": "user", "ai": "assistant"}


def frozen_of(*messages: MessageTemplate, **more: Any) -> FrozenPrompt:
    call = CallTemplate(
        messages=messages, parameters=more.get("parameters", ()), constraint=more.get("constraint")
    )
    answer = more.get("answer", AnswerFormat(kind="text"))
    return FrozenPrompt(
        name=more.get("name", "triage"),
        template=PromptTemplate(calls=(call,), answer=answer),
        style="direct",
        format="plain",
        capabilities=(),
        demonstration_ids=(),
        model=more.get("model", {"provider": "openai_compatible", "name": "a-model"}),
        task=more.get("task", {"name": "triage"}),
        evidence={},
        history=(),
        tool_versions={},
    )


def message(role: Role, *parts: str | Hole) -> MessageTemplate:
    return MessageTemplate(role=role, parts=parts)


def hole(name: str, **more: Any) -> Hole:
    return Hole(name=f"input:{name}", **more)


def a_text(rng: random.Random) -> str:
    return "".join(rng.choice(SIGNS) for _ in range(rng.randint(0, 5)))


def a_prompt(rng: random.Random) -> FrozenPrompt:
    """Return a prompt of hostile words with up to four messages; one in eight has an input that has no name."""
    names = rng.sample(NAMES, 3) if rng.random() < 0.9 else [*rng.sample(UNNAMEABLE, 1), "a", "b"]
    messages = []
    for _ in range(rng.randint(1, 4)):
        parts: list[str | Hole] = [a_text(rng)]
        for _ in range(rng.randint(0, 3)):
            lead, tail = (a_text(rng) if rng.random() < 0.2 else "" for _ in range(2))
            tokens = ("<|end|>",) if rng.random() < 0.2 else ()
            parts += [hole(rng.choice(names), lead=lead, tail=tail, neutralise=tokens), a_text(rng)]
        messages.append(message(rng.choice(ROLES), *parts))
    return frozen_of(*messages, name=a_text(rng), model={"name": a_text(rng), "lc": 1, "type": "constructor"})


def fillings(frozen: FrozenPrompt, rng: random.Random) -> Iterator[dict[str, str]]:
    """Yield inputs of which most are hostile."""
    yield dict.fromkeys(frozen.inputs, "words")
    for _ in range(3):
        yield {name: a_text(rng) for name in frozen.inputs}


def written(frozen: FrozenPrompt) -> str | None:
    """Return the file of a prompt, or None where it is refused."""
    if list(LANGCHAIN.problems(frozen)):
        return None
    (text,) = LANGCHAIN.write(Shipment(frozen=frozen))
    return text


def holds(frozen: FrozenPrompt, inputs: Mapping[str, str]) -> bool:
    conditions = [*input_preconditions(frozen, LANGCHAIN.carries), *LANGCHAIN.preconditions(frozen)]
    return all(condition.holds(inputs) for condition in conditions)


def read_of(text: str) -> PromptTemplate:
    assert LANGCHAIN.read is not None
    return LANGCHAIN.read(text, ())


def loaded(text: str) -> Any:
    """Return what the library makes of a manifest; no secrets and no classes other than its own."""
    from langchain_core.load import loads

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The function `loads` is in beta")
        return loads(text, allowed_objects="core", secrets_map={}, secrets_from_env=False)


def rendered(prompt: Any, inputs: Mapping[str, str]) -> list[dict[str, str]]:
    found = prompt.invoke(dict(inputs)).to_messages()
    return [{"role": OURS.get(each.type, each.type), "content": each.content} for each in found]


def contents(template: PromptTemplate, inputs: Mapping[str, str]) -> list[dict[str, Any]]:
    return [each.to_dict() for each in template.request(inputs).messages]


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
        for inputs in fillings(frozen, rng):
            if holds(frozen, inputs):
                n_filled += 1
                assert rendered(prompt, inputs) == frozen.messages(**inputs), text
                assert contents(template, inputs) == frozen.messages(**inputs)
    assert n_carried >= 300
    assert n_refused > 10
    assert n_filled > 700


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    literal=st.text(st.characters(codec="utf-8"), max_size=8),
    value=st.text(st.characters(codec="utf-8"), max_size=8),
)
def test_any_text_is_carried_exactly(literal: str, value: str) -> None:
    frozen = frozen_of(message("user", literal, hole("a"), literal), message("assistant", literal))
    assert rendered(loaded(written(frozen) or ""), {"a": value}) == frozen.messages(a=value)


def test_inputs_that_no_f_string_can_name_are_refused() -> None:
    for name in NAMES:
        frozen = frozen_of(message("user", "x", hole(name)))
        assert rendered(loaded(written(frozen) or ""), {name: "{v}"}) == frozen.messages(**{name: "{v}"})
    for name in UNNAMEABLE:
        frozen = frozen_of(message("user", "x", hole(name)))
        assert any("is no name in an f-string" in problem for problem in LANGCHAIN.problems(frozen))
        with pytest.raises(LossyExportError, match="is no name in an f-string"):
            export(frozen, "langchain", allow_lossy=True)


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
    assert prompt.metadata["parameters"] == dict(frozen.template.calls[0].parameters)
    assert prompt.metadata["response_format"]["json_schema"]["schema"] == json.loads(schema)
    assert prompt.metadata["optimizer"]["fingerprint"] == frozen.fingerprint
    assert "starts the model's own turn" in prompt.metadata["note"]
    assert rendered(prompt, {"a": "1"}) == frozen.messages(a="1")
    assert read.calls[0].parameters == frozen.template.calls[0].parameters
    assert read.calls[0].constraint == frozen.template.calls[0].constraint
    assert read.answer == frozen.template.answer


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
