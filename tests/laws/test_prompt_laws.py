"""Filling is one pass, control tokens are broken, a fingerprint is the content, and files give it all back."""

import json
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from optimizer.answer import AnswerFormat
from optimizer.completion import Constraint, Role
from optimizer.digest import canonical
from optimizer.frozen import FrozenPrompt
from optimizer.prompt import WORD_JOINER, CallTemplate, Hole, MessageTemplate, PromptTemplate, neutralised

INPUTS = ("message", "subject", "self")
FRAGMENTS = (
    *(
        "{message}",
        "{{message}}",
        "input:message",
        "completion:0",
        '{"hole": "input:message", "neutralise": []}',
    ),
    *("{", "}", "'", '"', '"""', "\\", "\\1", "\\g<0>", "%s", "$message", "\n", "\r\n", "\t", "\0", "\u2028"),
    *("user:", "\n\nassistant:", "<|im_start|>system", "<|im_end|>", "</s>", "[INST]", "[/INST]", "```"),
    *("😀", "👩‍👩‍👧", "é", "e\u0301", "\u202e", "x" * 10_000),
)
TOKENS = ("<|im_start|>", "<|im_end|>", "<s>", "</s>", "[INST]", "\n\nHuman:", "aba", "{{", "<|")

laws = settings(max_examples=50, deadline=None)

hostile = st.lists(
    st.sampled_from(FRAGMENTS) | st.text(st.characters(codec="utf-8"), max_size=8), max_size=6
).map("".join)
tokens = st.lists(st.sampled_from(TOKENS), max_size=4, unique=True).map(tuple)
token_soup = st.lists(
    st.sampled_from(
        [*TOKENS, *(token[:-1] for token in TOKENS), *(token[1:] for token in TOKENS), "a", "b", "\n"]
    )
    | st.text(st.characters(codec="utf-8", exclude_characters=WORD_JOINER), max_size=3),
    max_size=8,
).map("".join)
values = st.fixed_dictionaries(dict.fromkeys(INPUTS, hostile))


def holes(*, earlier: int = 0) -> st.SearchStrategy[Hole]:
    names = [f"input:{name}" for name in INPUTS] + [f"completion:{k}" for k in range(earlier)]
    return st.builds(Hole, name=st.sampled_from(names), neutralise=tokens)


def calls(*, earlier: int = 0) -> st.SearchStrategy[CallTemplate]:
    parts = st.lists(hostile | holes(earlier=earlier), max_size=4).map(tuple)
    roles: list[Role] = ["system", "user", "assistant"]
    message = st.builds(MessageTemplate, role=st.sampled_from(roles), parts=parts)
    parameter = st.integers(0, 99) | st.floats(0, 2) | hostile
    choice = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), min_size=1, max_size=3)
    schema = st.dictionaries(st.sampled_from(["type", "enum"]), hostile).map(canonical)
    return st.builds(
        CallTemplate,
        messages=st.lists(message, min_size=1, max_size=3).map(tuple),
        parameters=st.dictionaries(st.sampled_from(["seed", "stop", "temperature"]), parameter).map(
            lambda found: tuple(sorted(found.items()))
        ),
        constraint=st.none()
        | st.builds(Constraint, choice=choice.map(tuple))
        | st.builds(Constraint, json_schema=schema),
    )


readers = st.builds(
    AnswerFormat,
    kind=st.sampled_from(["label", "text", "number"]),
    labels=st.lists(hostile, max_size=3).map(tuple),
    field=hostile,
    marker=hostile,
)
templates = st.builds(
    PromptTemplate, calls=st.tuples(calls()) | st.tuples(calls(), calls(earlier=1)), answer=readers
)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | hostile,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(hostile, inner, max_size=2),
    max_leaves=4,
)
mappings = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), plain, max_size=2)
prompts = st.builds(
    FrozenPrompt,
    name=hostile,
    template=templates,
    style=hostile,
    format=hostile,
    capabilities=st.lists(hostile, max_size=2).map(tuple),
    demonstration_ids=st.lists(hostile, max_size=2).map(tuple),
    model=mappings,
    task=mappings,
    evidence=mappings,
    history=st.lists(mappings, max_size=2).map(tuple),
    tool_versions=mappings,
)


@laws
@given(literals=st.lists(hostile, min_size=4, max_size=4), inputs=values)
def test_the_content_is_exactly_the_literals_and_the_values(
    literals: list[str], inputs: dict[str, str]
) -> None:
    parts: list[str | Hole] = [literals[0]]
    for name, literal in zip(INPUTS, literals[1:], strict=True):
        parts += [Hole(name=f"input:{name}"), literal]
    call = CallTemplate(messages=(MessageTemplate(role="user", parts=tuple(parts)),))
    template = PromptTemplate(calls=(call,), answer=AnswerFormat(kind="text"))
    expected = literals[0] + "".join(
        inputs[name] + text for name, text in zip(INPUTS, literals[1:], strict=True)
    )
    assert [message.content for message in template.request(inputs).messages] == [expected]


SILENT = PromptTemplate(
    calls=tuple(
        CallTemplate(messages=(MessageTemplate(role="assistant", parts=parts),))
        for parts in ((), (Hole(name="completion:0"),))
    ),
    answer=AnswerFormat(kind="text"),
)


@laws
@given(template=templates, inputs=values, completion=hostile)
@example(template=SILENT, inputs={}, completion=" ")  # a blank completion alone is shown as an ellipsis
def test_filling_touches_nothing_but_the_holes(
    template: PromptTemplate, inputs: dict[str, str], completion: str
) -> None:
    known = {name: inputs[name] for name in template.inputs}
    for k, call in enumerate(template.calls):
        request = template.request(known, [completion] * k)
        found = {f"input:{name}": text for name, text in known.items()} | {"completion:0": completion}
        expected = []
        for message in call.messages:
            text = "".join(
                p if isinstance(p, str) else neutralised(found[p.name], p.neutralise) for p in message.parts
            )
            silent = not text.strip() and any(isinstance(p, Hole) and p.completes for p in message.parts)
            expected.append((message.role, "…" if silent else text))
        assert [(message.role, message.content) for message in request.messages] == expected
        assert (request.parameters, request.constraint) == (call.parameters, call.constraint)


@laws
@given(text=token_soup, broken=tokens)
def test_no_control_token_stays_whole_and_taking_out_the_joiners_restores_the_text(
    text: str, broken: tuple[str, ...]
) -> None:
    found = neutralised(text, broken)
    assert [token for token in broken if token in found] == []
    assert found.replace(WORD_JOINER, "") == text
    assert found == text or any(token in text for token in broken)


@laws
@given(text=hostile, broken=tokens)
def test_breaking_twice_is_breaking_once(text: str, broken: tuple[str, ...]) -> None:
    once = neutralised(text, broken)
    assert neutralised(once, broken) == once


@laws
@given(one=templates, other=templates)
def test_a_fingerprint_is_the_content(one: PromptTemplate, other: PromptTemplate) -> None:
    same = PromptTemplate.from_dict(json.loads(json.dumps(one.to_dict())))
    assert same == one
    assert same.fingerprint == one.fingerprint
    assert (one.fingerprint == other.fingerprint) == (canonical(one.to_dict()) == canonical(other.to_dict()))


@laws
@given(template=templates, added=hostile.filter(bool))
def test_any_change_of_the_content_changes_the_fingerprint(template: PromptTemplate, added: str) -> None:
    first = template.calls[0]
    message = replace(first.messages[0], parts=(*first.messages[0].parts, added))
    longer = replace(first, messages=(message, *first.messages[1:]))
    doubled = replace(first, messages=(*first.messages, first.messages[-1]))
    marked = replace(template.answer, marker=template.answer.marker + added)
    changed = [
        replace(template, calls=(longer, *template.calls[1:])),
        replace(template, calls=(doubled, *template.calls[1:])),
        replace(template, calls=(*template.calls, template.calls[-1])),
        replace(template, answer=marked),
        template,
    ]
    assert len({one.fingerprint for one in changed}) == len(changed)


@laws
@given(prompt=prompts)
def test_a_frozen_prompt_is_read_back_as_it_was(prompt: FrozenPrompt) -> None:
    read = FrozenPrompt.loads(prompt.dumps())
    assert read == prompt
    assert read.fingerprint == prompt.fingerprint
    assert read.dumps() == prompt.dumps()


@laws
@given(prompt=prompts, inputs=values)
def test_what_was_scored_is_what_is_shipped(prompt: FrozenPrompt, inputs: dict[str, str]) -> None:
    known = {name: inputs[name] for name in prompt.inputs}
    shipped = FrozenPrompt.loads(prompt.dumps())
    for k in range(len(prompt.template.calls)):
        completions = ["{message}"] * k
        assert shipped.request(*completions, **known) == prompt.template.request(known, completions)
