"""What every answer format keeps to, with every reasoning style it can lay out."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any, get_args

import pytest

from optimizer.candidate import Candidate, Demonstration
from optimizer.completion import CAPABILITIES, Capabilities
from optimizer.composition import compose
from optimizer.digest import canonical
from optimizer.formats import FORMATS, Draft, Format
from optimizer.prompt import Hole, MessageTemplate, PromptTemplate
from optimizer.space import NO_DEMONSTRATIONS, SearchSpace
from optimizer.styles import STYLES, ReasoningStyle
from optimizer.task import Task
from optimizer.taskfile import OutputType

MakeDraft = Callable[..., Draft]
MakeTask = Callable[..., Task]

Pair = tuple[str, ReasoningStyle, OutputType]

EVERYTHING = Capabilities(can=frozenset(CAPABILITIES))
TOKENS = ("<|im_start|>", "<|im_end|>", "[INST]")

# Between two messages, and around the name of a hole, when a conversation is written as one text.
BETWEEN, HOLE = "\x01", "\x02"


each_layout = pytest.mark.parametrize("layout", list(FORMATS))


@pytest.fixture
def draft(pair: Pair, make_draft: MakeDraft) -> Draft:
    _, style, output = pair
    return make_draft(style, output=output)


@pytest.fixture
def template(pair: Pair, draft: Draft) -> PromptTemplate:
    return FORMATS[pair[0]].render(draft)


def written(messages: tuple[MessageTemplate, ...]) -> str:
    """Return a conversation as one text."""
    parts = (
        "".join(f"{HOLE}{part.name}{HOLE}" if isinstance(part, Hole) else part for part in message.parts)
        for message in messages
    )
    return BETWEEN.join(parts)


def reply(template: PromptTemplate, shot: Demonstration) -> str:
    """Return how a demonstration is answered: what stands where the model's completion would.

    That is the next message. Where all is in one message, what leads from the last input to the completion leads from
    a demonstration's last input to its reply, which ends with a blank line.
    """
    texts = [written((message,)) for message in template.calls[0].messages]
    at = next(n for n, text in enumerate(texts) if shot.inputs[-1][1] in text)
    if HOLE not in texts[at]:
        return texts[at + 1]
    lead = texts[at].rpartition(HOLE)[2]
    after = texts[at].split(shot.inputs[-1][1])[1]
    assert after.startswith(lead)
    return after.removeprefix(lead).split("\n\n")[0]


def said(template: PromptTemplate, draft: Draft, shot: Demonstration) -> str:
    """Return what a provider would hand on of a reply: the text after the model's own first words."""
    opener = f"{draft.style.opener} " if draft.style.opener and draft.style.n_calls == 1 else ""
    return reply(template, shot).removeprefix(opener)


def test_every_input_is_shown_exactly_once_in_every_conversation(
    template: PromptTemplate, draft: Draft
) -> None:
    for k, call in enumerate(template.calls):
        names = re.findall(f"{HOLE}(.+?){HOLE}", written(call.messages))
        earlier = [f"completion:{n}" for n in range(k)]
        assert names == [*(f"input:{name}" for name in draft.task.inputs), *earlier]


def test_there_is_one_call_for_each_turn_and_a_constraint_on_the_last_alone(
    template: PromptTemplate, draft: Draft
) -> None:
    assert len(template.calls) == draft.style.n_calls
    assert [call.constraint for call in template.calls[:-1]] == [None] * len(draft.style.follow_ups)


def test_turns_take_turns(template: PromptTemplate) -> None:
    for call in template.calls:
        roles = [message.role for message in call.messages]
        spoken = roles[1:] if roles[0] == "system" else roles
        assert spoken == [("user", "assistant")[n % 2] for n in range(len(spoken))]


def test_a_later_conversation_continues_the_first(template: PromptTemplate, draft: Draft) -> None:
    start = template.calls[0].messages
    start = start[:-1] if draft.style.opener else start
    for call in template.calls:
        assert call.messages[: len(start)] == start


def test_literal_texts_are_shown_as_they_are(template: PromptTemplate, draft: Draft) -> None:
    for call in template.calls:
        text = written(call.messages)
        assert text.count(draft.candidate.instruction.text) == 1
        for shot in draft.candidate.demonstrations.demonstrations:
            assert [text.count(value) for _, value in shot.inputs] == [1, 1]


def test_demonstrations_are_shown_in_their_order_before_the_inputs(
    template: PromptTemplate, draft: Draft
) -> None:
    text = written(template.calls[0].messages)
    shots = draft.candidate.demonstrations.demonstrations
    places = [text.index(value) for shot in shots for _, value in shot.inputs]
    assert [*places, text.index(HOLE)] == sorted([*places, text.index(HOLE)])


def test_the_inputs_of_a_demonstration_are_laid_out_as_the_inputs_are(
    template: PromptTemplate, draft: Draft
) -> None:
    texts = [written((message,)) for message in template.calls[0].messages if message.role == "user"]
    for shot in draft.candidate.demonstrations.demonstrations:
        filled = texts[-1]
        for name, value in shot.inputs:
            filled = filled.replace(f"{HOLE}input:{name}{HOLE}", value)
        # DSPy says how to answer behind the inputs, and before those of a demonstration that lacks a reasoning.
        shown = next(text for text in texts if shot.inputs[0][1] in text)
        first, last = shot.inputs[0][1], shot.inputs[-1][1]
        between = shown[shown.index(first) : shown.index(last)]
        assert between in filled
        lead = filled[: filled.index(first)].rpartition("\n\n")[2]
        assert shown[: shown.index(first)].endswith(lead)


def test_a_demonstrations_own_reply_is_read_as_its_target(template: PromptTemplate, draft: Draft) -> None:
    for shot in draft.candidate.demonstrations.demonstrations:
        answer = template.answer.read(said(template, draft, shot))
        assert (answer.text, answer.outcome) == (shot.target, "ok")


@pytest.mark.parametrize("layout", list(FORMATS))
def test_in_every_style_and_language_a_demonstrations_reply_is_read_as_its_target(
    layout: str, make_draft: MakeDraft
) -> None:
    for style, output, language in product(STYLES, get_args(OutputType), ("en", "fr")):
        draft = make_draft(STYLES[style].in_language(language), output=output)
        draft = replace(draft, task=replace(draft.task, language=language))
        if FORMATS[layout].misfit(draft.task, draft.style) is None:
            draft = varied(draft, reasoning="Il dit :")
            template = FORMATS[layout].render(draft)
            for shot in draft.candidate.demonstrations.demonstrations:
                assert template.answer.read(said(template, draft, shot)).text == shot.target


def test_what_a_constraint_allows_is_read(template: PromptTemplate, draft: Draft) -> None:
    constraint = template.calls[-1].constraint
    if constraint is None:
        return
    if constraint.choice:
        assert tuple(label.strip() for label in constraint.choice) == draft.task.labels
        assert [template.answer.read(label).text for label in constraint.choice] == list(draft.task.labels)
        return
    schema, asked = asked_of(template)
    field = template.answer.field
    labels = list(draft.task.labels)
    allowed: dict[str, list[object]] = {
        "string": asked.get("enum", ["a text"]),
        "number": [12],
        "array": [labels, labels[1:], []],
        "object": [{"n": 1, "city": "Lyon"}],
    }
    for one in allowed[asked["type"]]:
        document = {**dict.fromkeys(schema["required"], "because"), field: one} if field else one
        read = template.answer.read(json.dumps(document))
        assert (read.text, read.strict) == (one if isinstance(one, str) else as_text(one), True)


def asked_of(template: PromptTemplate) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema that a completion is held to, and the part of it that the answer is held to."""
    constraint, field = template.calls[-1].constraint, template.answer.field
    assert constraint is not None
    schema: dict[str, Any] = constraint.schema()
    return schema, schema["properties"][field] if field else schema


def as_text(value: object) -> str:
    return canonical(value) if isinstance(value, dict) else json.dumps(value)


def test_a_demonstration_in_json_holds_its_answer_in_the_type_that_the_schema_asks_for(
    template: PromptTemplate, draft: Draft
) -> None:
    constraint = template.calls[-1].constraint
    if constraint is None or constraint.json_schema is None:
        return
    _, asked = asked_of(template)
    field = template.answer.field
    types: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "number": (int, float),
        "array": (list,),
        "object": (dict,),
    }
    for shot in draft.candidate.demonstrations.demonstrations:
        document = json.loads(reply(template, shot))
        value = document[field] if field else document
        assert isinstance(value, types[asked["type"]])
        assert value in asked.get("enum", [value])
        # A model that is held to the schema writes the fields in its order, and should find that order shown.
        assert not isinstance(value, dict) or list(value) == list(asked["properties"])


def test_a_rendering_is_deterministic_and_survives_plain_data(
    template: PromptTemplate, draft: Draft, pair: Pair
) -> None:
    again = FORMATS[pair[0]].render(draft)
    read = PromptTemplate.from_dict(json.loads(json.dumps(template.to_dict())))
    assert again == template == read
    assert again.fingerprint == template.fingerprint == read.fingerprint


def test_inputs_are_filled_in_as_they_are(template: PromptTemplate) -> None:
    inputs = {
        "subject": "{user_message} input:user_message",
        "user_message": 'user: "{{subject}}"\n\nassistant: \\',
    }
    completions = ["{subject} completion:0", "input:subject {user_message}", "completion:1"]
    for k in range(len(template.calls)):
        request = template.request(inputs, completions[:k])
        text = BETWEEN.join(message.content for message in request.messages)
        assert [text.count(value) for value in inputs.values()] == [1, 1]
        assert [text.count(value) for value in completions[:k]] == [1] * k


def test_no_control_token_that_comes_from_the_data_stays_whole(pair: Pair, make_draft: MakeDraft) -> None:
    layout, style, output = pair
    draft = make_draft(style, output=output, control_tokens=TOKENS)
    sets = draft.candidate.demonstrations
    hostile = tuple(
        replace(shot, inputs=tuple((name, f"{''.join(TOKENS)} {n}") for name, _ in shot.inputs))
        for n, shot in enumerate(sets.demonstrations)
    )
    if output == "text":
        hostile = tuple(replace(shot, target="".join(TOKENS)) for shot in hostile)
    candidate = replace(draft.candidate, demonstrations=replace(sets, demonstrations=hostile))
    template = FORMATS[layout].render(replace(draft, candidate=candidate))
    inputs, completions = dict.fromkeys(template.inputs, "<|im_start|>"), ["[INST]<|im_end|>"] * 3
    for k in range(len(template.calls)):
        for message in template.request(inputs, completions[:k]).messages:
            assert not [token for token in TOKENS if token in message.content]


def test_without_demonstrations_only_the_instruction_and_the_inputs_are_left(
    pair: Pair, make_draft: MakeDraft
) -> None:
    layout, style, output = pair
    draft = make_draft(style, output=output, targets=())
    messages = FORMATS[layout].render(draft).calls[0].messages
    roles = [message.role for message in messages]
    assert roles.count("user") == 1
    assert roles.count("assistant") == bool(draft.style.opener)


def varied(draft: Draft, *, reasoning: str = "", retrieved: int = 0) -> Draft:
    """Return a draft whose demonstrations have a reasoning, or are retrieved."""
    sets = draft.candidate.demonstrations
    shots = tuple(
        replace(shot, reasoning=reasoning and f"{reasoning} {shot.target}") for shot in sets.demonstrations
    )
    shown = replace(sets, demonstrations=shots, retrieved=retrieved)
    return replace(draft, candidate=replace(draft.candidate, demonstrations=shown))


def test_a_reasoning_is_shown_before_its_answer_where_the_style_reasons_in_one_turn_or_as_an_explanation(
    pair: Pair, draft: Draft, template: PromptTemplate
) -> None:
    reasoned = FORMATS[pair[0]].render(varied(draft, reasoning="Surely it is"))
    if pair[0] == "label_then_explanation":
        for shot in draft.candidate.demonstrations.demonstrations:
            assert reply(reasoned, shot) == f"{reply(template, shot)}\nSurely it is {shot.target}"
        return
    if not draft.style.reasons_in_one_turn:
        assert reasoned == template
        return
    for shot in draft.candidate.demonstrations.demonstrations:
        answered = said(reasoned, draft, shot)
        assert reasoned.answer.read(answered).text == shot.target
        found = reasoned.answer.reasoning(answered)
        assert (found.count("Surely"), f"Surely it is {shot.target}" in found) == (1, True)
        assert found == f"Surely it is {shot.target}"


def test_control_tokens_in_a_reasoning_are_broken(pair: Pair, make_draft: MakeDraft) -> None:
    layout, style, output = pair
    draft = make_draft(style, output=output, control_tokens=TOKENS)
    template = FORMATS[layout].render(varied(draft, reasoning="".join(TOKENS)))
    text = written(template.calls[0].messages)
    assert not [token for token in TOKENS if token in text]


def test_what_is_retrieved_is_laid_out_like_demonstrations_that_are_always_shown(
    pair: Pair, make_draft: MakeDraft
) -> None:
    layout, style, output = pair
    draft = varied(make_draft(style, output=output, control_tokens=TOKENS), reasoning="Surely")
    shots = draft.candidate.demonstrations.demonstrations
    template = FORMATS[layout].render(varied(draft, reasoning="Surely", retrieved=len(shots)))
    read = PromptTemplate.from_dict(json.loads(json.dumps(template.to_dict())))
    assert (read, read.inputs) == (template, draft.task.inputs)
    inputs = {"subject": "{subject}", "user_message": f"of shot {len(shots) - 1} shot:0:reply <|im_start|>"}
    assert template.retrieval is not None
    order = [picked["input:subject"] for picked in template.retrieval.nearest(inputs)]
    by_subject = {
        shot.inputs[0][1]: shot
        for shot in varied(draft, reasoning="Surely").candidate.demonstrations.demonstrations
    }
    fixed = replace(draft.candidate.demonstrations, demonstrations=tuple(by_subject[one] for one in order))
    always = FORMATS[layout].render(replace(draft, candidate=replace(draft.candidate, demonstrations=fixed)))
    completions = ["one", "two"][: len(template.calls) - 1]
    for k in range(len(template.calls)):
        assert template.request(inputs, completions[:k]) == always.request(inputs, completions[:k])


def fits(layout: str, style: str, task: Task) -> bool:
    return FORMATS[layout].misfit(task, STYLES[style]) is None


def guarded(layout: Format) -> Format:
    """Return the format with a renderer that fails where it must not be called."""

    def render(draft: Draft) -> PromptTemplate:
        reason = layout.misfit(draft.task, draft.style)
        if reason is not None:
            raise AssertionError(reason)
        return layout.render(draft)

    return replace(layout, render=render)


@pytest.mark.parametrize("output", get_args(OutputType))
def test_a_space_never_renders_a_pair_that_does_not_fit(
    output: OutputType, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optimizer.space.FORMATS", {name: guarded(FORMATS[name]) for name in FORMATS})
    task = make_task(output)
    space = SearchSpace(
        task=task,
        instructions=compose(task, (), slots=False),
        demonstration_sets=(NO_DEMONSTRATIONS,),
        styles=tuple(STYLES),
        formats=tuple(FORMATS),
        model_parameters={},
        parameters={},
        capabilities=EVERYTHING,
    )
    pairs = {(style, layout) for style in STYLES for layout in FORMATS}
    unfit = {(style, layout) for style, layout in pairs if not fits(layout, style, task)}
    assert {(pair.style, pair.format) for pair in space.exclusions} == unfit
    assert all(pair.reason for pair in space.exclusions)
    for style, layout in pairs:
        candidate = Candidate(
            instruction=space.instructions[0], demonstrations=NO_DEMONSTRATIONS, style=style, format=layout
        )
        assert (space.render(candidate) is None) == ((style, layout) in unfit)


@each_layout
def test_a_format_can_lay_out_some_style_for_labels(layout: str, make_task: MakeTask) -> None:
    assert any(fits(layout, style, make_task()) for style in STYLES)


@each_layout
def test_answering_and_checking_in_two_calls_can_be_laid_out_for_labels(
    layout: str, make_task: MakeTask, several_calls: dict[str, ReasoningStyle]
) -> None:
    assert FORMATS[layout].misfit(make_task(), several_calls["answer_then_check"]) is None


def test_plug_ins_render_in_whichever_order_they_are_loaded(make_draft: MakeDraft) -> None:
    # Loading a file of the folder puts its name into the folder's own; nothing there may be called the same.
    draft = make_draft(STYLES["direct"])
    for name in [*FORMATS, *reversed(list(FORMATS))]:
        assert len(FORMATS[name].render(draft).calls) == 1
